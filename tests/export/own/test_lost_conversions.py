"""A network that one platform's converter cannot take: the other platform's variants stay."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.commands import call_mien
from tests.export.own.conftest import CHANGE


class Twice(nn.Module):
    """One tensor under two names, which Core ML has no second name for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        made = torch.relu(self.layer(x)).mean((2, 3))
        return made, made


@pytest.fixture
def twice(tmp_path: Path) -> tuple[Path, ...]:
    """Arguments that export it."""
    torch.manual_seed(0)
    pictures = torch.rand(8, 3, 16, 16)
    torch.export.save(torch.export.export(Twice().eval(), (pictures[:1],)), tmp_path / "twice.pt2")
    np.savez(tmp_path / "inputs.npz", x=pictures.numpy())
    return (
        tmp_path / "twice.pt2",
        Path("--calibration"),
        tmp_path / "inputs.npz",
        Path("-o"),
        tmp_path / "b",
    )


def test_the_other_platform_stays_and_what_is_lost_is_said(twice: tuple[Path, ...], tmp_path: Path) -> None:
    for _ in range(2):  # what lacks something is made anew
        done = call_mien("export", *twice)
        said = " ".join(done.stderr.split())
        assert (
            "warning: conversions: coreml-fp32, coreml-fp16, coreml-int8w left out, for a conversion" in said
        )
        assert "output 1 is an input or another output as it is" in said
        assert "unchanged" not in done.stdout
    assert (tmp_path / "b.work" / "coreml-twice.log").is_file()
    made = [one["name"] for one in json.loads((tmp_path / "b" / "manifest.json").read_text())["variants"]]
    assert made[:2] == ["tflite-fp32", "tflite-fp16"]
    assert not [name for name in made if name.startswith("coreml")]
    call_mien("verify", tmp_path / "b")


def test_where_nothing_else_was_asked_for_there_is_no_bundle(twice: tuple[Path, ...], tmp_path: Path) -> None:
    done = call_mien("export", *twice, "--variant", "coreml-fp16", expect=1)
    assert "1 of 2 conversions lost, no bundle is made: coreml twice: output 1 is" in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_float_model_that_its_gate_refuses_is_one_line_though_models_ran(tmp_path: Path) -> None:
    strict = tmp_path / "strict.py"
    strict.write_text(CHANGE.read_text().replace("fp32=1e-4", "fp32=1e-12"))
    drawn = np.random.default_rng(0).normal(size=(2, 12, 1, 8)).astype(np.float32)
    for number, (before, after) in enumerate(zip(*drawn, strict=True)):
        np.savez(tmp_path / f"{number}.npz", before=before, after=after)
    given = [word for number in range(12) for word in ("--calibration", tmp_path / f"{number}.npz")]
    done = call_mien("export", strict, "-o", tmp_path / "b", *given, "--variant", "tflite-fp16", expect=1)
    lines = done.stderr.splitlines()
    progress = [line for line in lines if line.startswith("0:")]
    assert {line.partition(" ")[2] for line in progress} >= {
        "running the float pipeline 12/12",
        "tflite change 1/1",
    }
    (said,) = (line for line in lines if line not in progress)
    assert said.startswith("mien: no bundle is made: tflite-fp32 is left out")
