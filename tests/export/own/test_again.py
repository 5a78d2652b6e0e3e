"""A file of Python exported again: nothing is converted of which nothing changed, whatever its bytes say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mien.export.cache.contents import ReuseOfContents
from mien.export.cache.store import CONVERSIONS, PLACE, FolderCache
from mien.export.exporter import ExportReport, ExportRequest, make_bundle
from mien.mobile_reference.bundle.reader import open_bundle

_FILE = """
from pathlib import Path

import numpy as np
import torch

import mien

net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
net.load_state_dict(torch.load(Path(__file__).with_name("net.pt"), weights_only=True))
pipeline = mien.Pipeline(
    name="small",
    stages=[mien.Stage("rate", net, inputs=["x"], outputs=["y"])],
    prepare=lambda path: {"x": np.load(path)},
    gates=[mien.relative("y", fp32=0.01, fp16=LIMIT)],
)
"""


def _weights(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    torch.save(net.state_dict(), folder / "net.pt")


def _file(folder: Path, limit: float) -> Path:
    (folder / "small.py").write_text(_FILE.replace("LIMIT", str(limit)))
    return folder / "small.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inputs").mkdir()
    for seed in range(3):
        array = np.random.default_rng(seed).random((1, 1, 8, 8), np.float32)
        np.save(tmp_path / "inputs" / f"{seed}.npy", array)
    monkeypatch.setenv(PLACE, str(tmp_path / "cache"))
    return tmp_path


def _export(folder: Path) -> ExportReport:
    reuse = ReuseOfContents.begin({})
    if reuse is None:  # this environment has packages that may change without a new version
        caches = (FolderCache(folder / "cache" / kind) for kind in ("bundles", CONVERSIONS))
        reuse = ReuseOfContents(*caches, {})
    request = ExportRequest(
        folder / "small.py",
        [folder / "inputs"],
        folder / "out",
        variants=("tflite-fp32", "tflite-fp16"),
        reuse=reuse,
    )
    return make_bundle(request, lambda *_: None)


def test_weights_beside_the_file_count_and_a_gate_converts_nothing(folder: Path) -> None:
    _file(folder, 0.01)
    _weights(folder, 1)
    first = _export(folder)
    assert (first.reused, first.unchanged) == (0, False)
    bundle = open_bundle(folder / "out")
    again = _export(folder)
    assert again.unchanged
    assert open_bundle(folder / "out").manifest == bundle.manifest
    _file(folder, 0.02)
    gated = _export(folder)
    assert (gated.reused, gated.unchanged) == (1, False)
    assert open_bundle(folder / "out").spec.gates[0].limits["fp16"] == 0.02
    assert open_bundle(folder / "out").manifest["files"].keys() == bundle.manifest["files"].keys()
    _weights(folder, 2)  # small.py stays as it is
    other = _export(folder)
    assert (other.reused, other.unchanged) == (0, False)
    assert (
        open_bundle(folder / "out").manifest["provenance"]["checkpoint"]
        != (bundle.manifest["provenance"]["checkpoint"])
    )
