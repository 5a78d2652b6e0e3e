"""The appraisal with parts of a user's own: what is taken, what is refused, and what every command sees."""

import sys
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from mien.mobile_reference.bundle.reader import sha256
from mien.models.appraisal.appraiser import open_checkpoint
from mien.models.appraisal.checkpoint import load_checkpoint
from mien.models.appraisal.parts import Appraisal, load_appraisal
from mien.models.errors import CheckpointError, PipelineError
from mien.models.pipeline import Pipeline
from mien.models.sources import open_pipeline

OWN = """
import torch
from torch import nn
from mien import appraisal


class Grey(nn.Module):
    def forward(self, face, mask):
        return face * (1 - mask) + 0.5 * mask


pipeline = appraisal.replace(inpainter=Grey(), name="grey")
"""


class Grey(nn.Module):
    """Paints grey."""

    def forward(self, face: Tensor, mask: Tensor) -> Tensor:
        return face * (1 - mask) + 0.5 * mask


class Failing(nn.Module):
    """Cannot be run."""

    def forward(self, *_: Tensor) -> Tensor:
        raise RuntimeError("no such layer")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of Python whose appraisal paints grey."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "own_parts.py"
    file.write_text(OWN)
    return file


@pytest.fixture(scope="module")
def grey() -> Pipeline:
    """The appraisal that paints grey."""
    return Appraisal().replace(inpainter=Grey())


FACE = {"face": np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)}


def test_an_inpainter_of_ones_own_takes_its_place(grey: Pipeline) -> None:
    mask = np.zeros((1, 256, 256, 1), np.float32)
    mask[:, 100:160, 100:160] = 1
    made = grey.run_models((grey.model("inpaint"),), {**FACE, "mask": mask})["normalised"]
    np.testing.assert_allclose(made[0, 100:160, 100:160], 127.5)
    np.testing.assert_allclose(made[0, :100], FACE["face"][0, :100], atol=1e-4)
    assert grey.end_to_end is not None
    for model in ("inpaint", grey.end_to_end.name):
        assert any(isinstance(part, Grey) for part in grey.model(model).module.modules())
    assert grey.record["replaced"] == ["inpainter"]


def test_a_file_of_python_is_opened_by_every_command(own: Path, grey: Pipeline) -> None:
    pipeline = open_pipeline(own)
    assert pipeline.name == "grey"
    assert pipeline.weights not in (grey.weights, open_pipeline().weights)  # the name counts
    appraiser = open_checkpoint(own, 1)
    assert appraiser.checkpoint.config.name == "grey"
    assert type(appraiser.checkpoint.appraisal.inpainter).__name__ == "Grey"


def test_what_a_folder_cannot_hold_is_not_trained(own: Path) -> None:
    before = sha256(own)
    with pytest.raises(CheckpointError, match="train and fit-score take checkpoints alone"):
        load_checkpoint(own)
    assert sha256(own) == before


def test_a_file_of_another_pipeline_is_refused(own: Path) -> None:
    own.write_text("pipeline = 3\n")
    with pytest.raises(CheckpointError, match="defines no appraisal"):
        load_appraisal(own)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "no part is replaced; give one or more of inpainter, teacher"),
        ({"head": Failing()}, "another head: RuntimeError: no such layer"),
        ({"detector": nn.Flatten()}, r"candidates is of shape \[1, 49152\], expected \[1, 896, 17\]"),
        ({"teacher": 3}, r"teacher is 3, expected a torch\.nn\.Module"),
        ({"inpainter": nn.Bilinear(3, 1, 3).half()}, "stage inpainter: weight is float16, expected float32"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, nn.Module], said: str) -> None:
    with pytest.raises(PipelineError, match=said) as raised:
        Appraisal().replace(**parts)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
