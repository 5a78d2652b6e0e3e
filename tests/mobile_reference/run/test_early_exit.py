"""A stage is left out where a tensor is all zero, and then every bit is what it is with the stage."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import SkipSpec
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.run.early_exit import outputs_without
from mien.mobile_reference.run.runner import BundleRunner
from mien.mobile_reference.verify.stages import check_early_exit, verify
from tests.mobile_reference.conftest import SIDE, SPEC, FakeBundle
from tests.mobile_reference.fakebundles import Arrays

SKIP = SkipSpec("mask", {"normalised": "face"})
INPAINT = replace(SPEC.model("inpaint"), skip_when=SKIP)
SHOWN = {"inputs": 3, "left": 1}
# The functions of the fake bundle mask what is bright: nothing of a black face, and something of any other.
BLACK = {"face": np.zeros((1, SIDE, SIDE, 3), np.uint8)}
GREY = {"face": np.full((1, SIDE, SIDE, 3), 100, np.uint8)}
Ran = list[str]


@pytest.fixture
def ran(stand_in: Callable[..., None]) -> Ran:
    """The models that were run, in order."""
    names: Ran = []

    def note(variant: str, model: str, outputs: Arrays) -> Arrays:
        names.append(model)
        return outputs

    stand_in(note)
    return names


def runner(fake: FakeBundle, **changed: Any) -> BundleRunner:
    """A runner of the bundle, with a stage that may be left out in its first variant."""
    record = replace(
        SPEC, stages=tuple(INPAINT if s.name == INPAINT.name else s for s in SPEC.stages)
    ).record()
    fake.manifest |= {"stages": record["stages"], **changed}
    fake.manifest["variants"][0]["early_exit"] = SHOWN
    fake.save()
    return BundleRunner(open_bundle(fake.path))


def in_full(subject: BundleRunner, inputs: Arrays) -> Arrays:
    """What everything makes of the inputs."""
    return BundleRunner(subject.bundle.in_full()).rate(inputs)


def bits(tensors: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in tensors.items()}


def test_what_is_masked_nowhere_leaves_early_with_the_bits_of_the_end_to_end_model(
    fake: FakeBundle, ran: Ran
) -> None:
    subject = runner(fake)
    found = subject.rate(BLACK)
    assert ran == ["heatmap", "mask", "compare"]
    assert bits(found) == bits(in_full(subject, BLACK))
    assert ran[3:] == ["appraisal"]


def test_what_is_masked_is_rated_by_the_end_to_end_model(fake: FakeBundle, ran: Ran) -> None:
    subject = runner(fake)
    found = subject.rate(GREY)
    assert ran == ["heatmap", "mask", "appraisal"]
    assert bits(found) == bits(in_full(subject, GREY))


def test_a_variant_of_which_the_export_did_not_see_it_runs_everything(fake: FakeBundle, ran: Ran) -> None:
    bundle = runner(fake).bundle
    subject = BundleRunner(bundle, bundle.variants[1].name)
    subject.rate(BLACK)
    assert ran == ["appraisal"]
    assert subject.rating_models == SPEC.served


def test_without_an_end_to_end_model_a_stage_is_left_out_by_itself(fake: FakeBundle, ran: Ran) -> None:
    files = [variant["files"] for variant in fake.manifest["variants"]]
    for one in files:
        del one["appraisal"]
    subject = runner(fake, whole=None)
    left = subject.rate(BLACK)
    assert ran == ["heatmap", "mask", "compare"]
    assert bits(left) == bits(in_full(subject, BLACK))
    ran.clear()
    subject.rate(GREY)
    assert ran == ["heatmap", "mask", "inpaint", "compare"]


def test_the_models_that_may_run_are_known_before(fake: FakeBundle, ran: Ran) -> None:
    names = [model.name for model in runner(fake).rating_models]
    assert names == ["heatmap", "mask", "compare", "appraisal"]


@pytest.mark.parametrize(
    ("value", "leaves"), [(0.0, True), (-0.0, True), (1e-45, False), (np.nan, False), (-1.0, False)]
)
def test_a_single_value_that_is_not_zero_keeps_the_stage(value: float, *, leaves: bool) -> None:
    mask = np.zeros((1, SIDE, SIDE, 1), np.float32)
    mask[0, -1, -1, 0] = value
    made = outputs_without(INPAINT, SPEC, {**GREY, "mask": mask})
    assert (made is not None) == leaves
    if made is not None:
        assert made["normalised"].dtype == np.float32
        np.testing.assert_array_equal(made["normalised"], GREY["face"])


def test_a_number_fills_the_tensor() -> None:
    filled = replace(INPAINT, skip_when=SkipSpec("mask", {"normalised": 2.5}))
    made = outputs_without(filled, SPEC, {"mask": np.zeros((1, SIDE, SIDE, 1), np.float32)})
    assert made is not None
    np.testing.assert_array_equal(made["normalised"], np.full((1, SIDE, SIDE, 3), 2.5, np.float32))


def test_a_stage_that_says_nothing_is_never_left_out() -> None:
    assert outputs_without(SPEC.model("compare"), SPEC, {}) is None


def test_verify_says_so_where_leaving_stages_out_changes_a_bit(
    fake: FakeBundle, stand_in: Callable[..., None]
) -> None:
    def blacken(variant: str, model: str, outputs: Arrays) -> Arrays:
        """Find nothing anywhere, so that everything leaves early, as the end-to-end model does not."""
        return {"mask": 0 * outputs["mask"]} if (variant, model) == ("tflite-fp32", "mask") else outputs

    stand_in()
    bundle = runner(fake).bundle
    verify(bundle, lambda _: None)
    stand_in(blacken)
    with pytest.raises(BundleError, match=r"tflite-fp32 makes another \w+ of someone when it leaves stages"):
        check_early_exit(runner(fake), bundle.goldens)
    check_early_exit(BundleRunner(bundle.in_full(), "tflite-fp32"), bundle.goldens)
    # Its gates fail, too, and are the verdict.
    assert verify(bundle, lambda _: None).failures
