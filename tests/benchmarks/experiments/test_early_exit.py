"""What an early exit saves is counted over faces, and a rating that differs is no saving."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.benchmarks.experiments import early_exit
from mien.benchmarks.experiments.early_exit import main, photographs, saving
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main as mien
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.run.runner import BundleRunner
from tests.benchmarks.tinymodels import leaving_bundle


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A photograph of noise, one that is black, and a file that is none."""
    folder = tmp_path / "faces"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    Image.fromarray(0 * noise).save(folder / "black.png")
    (folder / "none.png").write_text("no picture")
    return folder


@pytest.fixture
def clock_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass with every model that is run, and none otherwise."""
    ran: list[object] = []
    run = BundleRunner.run

    def counted(runner: BundleRunner, model: Any, known: Any) -> Any:
        ran.append(model)
        return run(runner, model, known)

    monkeypatch.setattr(BundleRunner, "run", counted)
    monkeypatch.setattr(early_exit, "time", SimpleNamespace(process_time=lambda: float(len(ran))))


@pytest.mark.usefixtures("clock_of_models")
def test_faces_that_leave_are_counted_and_cost_less(bundle: Path, faces: Path, tmp_path: Path) -> None:
    found = saving(
        open_bundle(leaving_bundle(bundle, tmp_path / "leaving")), "tflite-fp32", "all", photographs(faces)
    )
    assert (found.rated, found.refused, found.left, found.differing) == (2, 1, 1, 0)
    # Who stays has run the first stage in vain.
    assert (found.full_ms, found.left_ms, found.stayed_ms, found.mean_ms) == (1000, 1000, 2000, 1500)


def test_a_rating_that_differs_fails(
    bundle: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = leaving_bundle(bundle, tmp_path / "other", {"score": 0.0, "heatmap": 0.5})
    sets = tmp_path / "list.txt"
    sets.write_text(f"{faces / 'black.png'}\n{faces / 'noise.png'}\n")
    with pytest.raises(SystemExit) as ended:
        main([str(other), "--faces", f"listed={sets}", "--json"])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    for record in map(json.loads, out.splitlines()):
        assert (record["faces"], record["rated"], record["left"], record["differing"]) == ("listed", 2, 1, 1)
    assert err == "2 ratings differ from those of the full path\n"


def test_what_leaves_nothing_out_is_refused(bundle: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no variant of .* leaves early"):
        main([str(bundle), "--faces", f"all={faces}"], standalone_mode=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="has no photographs"):
        photographs(empty)
    none = open_bundle(leaving_bundle(bundle, tmp_path / "leaving"))
    with pytest.raises(UsageError, match="none of the 1 photographs of bad can be rated"):
        saving(none, "tflite-fp32", "bad", [faces / "none.png"])


@pytest.mark.parametrize(("options", "score"), [((), 0.25), (("--full-path",), 0)])
def test_the_full_path_leaves_nothing_out(
    options: tuple[str, ...],
    score: float,
    bundle: Path,
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What is declared is another score than the end-to-end model's, so that it shows which was run.
    other = leaving_bundle(bundle, tmp_path / "other", {"score": 0.25, "heatmap": 0.0})
    with pytest.raises(SystemExit):
        mien(["appraise", str(faces / "black.png"), "--bundle", str(other), "--json", *options])
    assert json.loads(capsys.readouterr().out)["score"] == score
