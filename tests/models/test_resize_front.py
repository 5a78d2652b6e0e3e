"""Pictures for a model file whose front resizes: prepared as the rule says, and refused where none can be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mien.mobile_reference.front.resize import ResizeRule
from mien.models.errors import InputError, ModelsError, PipelineError
from mien.models.pipeline import Gathered
from mien.models.sources import Origin, open_pipeline

RULE = ResizeRule(4, 6, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))


class Net(nn.Module):
    """A picture and, where asked for, another tensor to the sum of both."""

    def forward(self, picture: Tensor, other: Tensor | None = None) -> Tensor:
        """Return a mean by channel."""
        found = picture.mean((2, 3))
        return found if other is None else found + other.mean()


def saved(file: Path, *example: Tensor) -> Path:
    torch.export.save(torch.export.export(Net().eval(), example), file)
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.pt2`` file that takes a picture [1, 3, 4, 6]."""
    return saved(tmp_path_factory.mktemp("models") / "net.pt2", torch.rand(1, 3, 4, 6))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of one colour each, of several sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        colour = (51 * number, 255 - 51 * number, 102)
        Image.new("RGB", (20 + number, 9), colour).save(folder / f"{number}.png")
    return folder


def gathered(model: Path, pictures: Path, rule: ResizeRule | None, *, skip: bool = False) -> Gathered:
    pipeline = open_pipeline(Origin(model, skip_unreadable=skip, front=rule))
    return pipeline.inputs.gather(pipeline, (pictures,), ())


def test_pictures_become_the_tensor_that_the_rule_says(model: Path, pictures: Path) -> None:
    found = gathered(model, pictures, RULE)
    tensors = {s.name: s.tensors for s in found.calibration.samples}
    tensors |= {golden.sample.name: golden.sample.tensors for golden in found.goldens}
    made = tensors["1"]["picture"]
    assert made.shape == (1, 3, 4, 6)
    expected = [(0.2 - 0.5) / 0.5, (0.8 - 0.25) / 0.25, 0.4]
    np.testing.assert_allclose(made[0, :, 2, 3], expected, atol=1e-6)
    assert found.pipeline.spec.front is not None
    assert found.pipeline.spec.front.rule == RULE.record()


def test_the_bundle_s_front_prepares_held_out_pictures(model: Path, pictures: Path) -> None:
    made = gathered(model, pictures, RULE).pipeline
    again = open_pipeline(model, made.spec.front)
    assert again.weights == made.weights
    first = next(iter(again.inputs.held_out(again, pictures).samples(slice(None))))
    np.testing.assert_allclose(first.tensors["picture"][0, :, 0, 0], [-1, 3, 0.4], atol=1e-6)


def test_a_front_that_was_changed_is_not_that_of_the_weights(model: Path, pictures: Path) -> None:
    made = gathered(model, pictures, RULE).pipeline
    assert made.spec.front is not None
    swapped = replace(RULE, mean=(0.25, 0.5, 0.0)).record()
    assert open_pipeline(model, replace(made.spec.front, rule=swapped)).weights != made.weights
    assert open_pipeline(model).weights != made.weights


def test_pictures_without_a_front_are_refused_with_the_option(model: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match=r"inputs picture \[1, 3, 4, 6\]; .*--front resize:HxW --mean"):
        gathered(model, pictures, None)


def test_what_is_no_picture_is_named_or_left_out(model: Path, pictures: Path) -> None:
    np.savez(pictures / "9.npz", picture=np.zeros((1, 3, 4, 6), np.float32))
    with pytest.raises(InputError, match=r"9\.npz is not"):
        gathered(model, pictures, RULE)
    (warning,) = gathered(model, pictures, RULE, skip=True).calibration.warnings
    assert "9.npz" in warning


REFUSED = {
    "--front resizes to 6x4, .* takes .1, 3, 4, 6.; give --front resize:4x6": replace(
        RULE, height=6, width=4
    ),
    "--mean has 2 values, the model's picture is rgb; give one value or 3": replace(RULE, mean=(0.5, 0.5)),
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_rule_that_does_not_fit_is_refused(model: Path, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        open_pipeline(Origin(model, front=REFUSED[said]))


OTHERS = {
    "several inputs": (torch.rand(1, 3, 4, 6), torch.rand(2)),
    "channels last": (torch.rand(1, 4, 6, 3),),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_model_that_takes_no_picture_is_refused(tmp_path: Path, what: str) -> None:
    file = saved(tmp_path / "other.pt2", *OTHERS[what])
    with pytest.raises(PipelineError, match=r"--front makes one picture .* of float32; give \.npz files"):
        open_pipeline(Origin(file, front=RULE))


@pytest.mark.parametrize("path", [None, Path("grader.py"), Path("checkpoint")])
def test_a_front_is_for_model_files_alone(path: Path | None) -> None:
    with pytest.raises(ModelsError, match=r"--front is for a file that ends in \.pt2 or \.onnx, not for"):
        open_pipeline(Origin(path, front=RULE))
