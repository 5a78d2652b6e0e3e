"""The bundle that ships with mien is of the shipped checkpoint, of the code's contract, and exact."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mien.mobile_reference.bundle.app_bundle import served_pipeline, write_small_bundle
from mien.mobile_reference.bundle.reader import Bundle, open_bundle, size_of
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.runner import BundleRunner
from mien.mobile_reference.verify.stages import verify
from mien.models.appraisal.appraiser import CheckpointAppraiser
from mien.models.appraisal.checkpoint import Checkpoint, checkpoint_hash
from mien.models.appraisal.small_bundle import GOLDENS, SMALL_BUNDLE, VARIANT
from tests.benchmarks.tinymodels import tiny_bundle


@pytest.fixture(scope="module")
def small() -> Bundle:
    return open_bundle(shipped_bundle())


def test_it_was_made_from_the_shipped_checkpoint(small: Bundle, checkpoint: Checkpoint) -> None:
    assert small.path == SMALL_BUNDLE
    assert small.manifest["provenance"]["checkpoint"] == checkpoint_hash(checkpoint)


def test_it_has_the_contract_of_the_code(small: Bundle, checkpoint: Checkpoint) -> None:
    """All but the gates, which say how exact other variants must be."""
    ours = served_pipeline(CheckpointAppraiser(checkpoint).spec)
    found = replace(small.spec, gates=ours.gates)
    assert json.loads(json_text(found.record())) == json.loads(json_text(ours.record()))


def test_it_scores_as_the_float_pipeline_does(
    small: Bundle, checkpoint: Checkpoint, samples: list[Path]
) -> None:
    exact, ours = CheckpointAppraiser(checkpoint), BundleRunner(small)
    (variant,) = small.variants
    for path in samples:
        photograph = read_photograph(path)
        assert ours.appraise(photograph).score == pytest.approx(
            exact.appraise(photograph).score, abs=variant.tolerance
        )


def test_every_gate_holds_on_its_golden_inputs(small: Bundle) -> None:
    found = verify(small, lambda _: None)
    assert found.failures == ()
    assert {result.stage for result in found.results} >= {"detector", "appraisal", "photograph"}


def test_its_pictures_are_samples_of_nobody_and_nothing_else_lies_there(
    small: Bundle, samples: list[Path]
) -> None:
    names = {path.stem for path in samples}
    assert [golden.name for golden in small.kept] == list(GOLDENS)
    assert set(GOLDENS) <= names
    for golden in small.kept:
        (sample,) = (path for path in samples if path.stem == golden.name)
        assert (golden.read_photograph() == read_photograph(sample)).all()
    there = {path.relative_to(SMALL_BUNDLE).as_posix() for path in SMALL_BUNDLE.rglob("*") if path.is_file()}
    assert there == {*small.manifest["files"], "manifest.json"}
    assert "images" not in small.manifest["provenance"]["calibration"]


def test_it_is_small(small: Bundle) -> None:
    assert [variant.name for variant in small.variants] == [VARIANT]
    assert size_of(small.path) < 10e6


def test_one_is_made_again_in_its_place_but_not_over_something_else(tmp_path: Path) -> None:
    whole = open_bundle(tiny_bundle(tmp_path / "bundle"))
    (name,) = (golden.name for golden in whole.kept)
    variant = whole.variant("tflite-fp32")
    for _ in range(2):
        write_small_bundle(whole, variant, [name], tmp_path / "small")
    made = open_bundle(tmp_path / "small")
    assert (made.kept[0].read_photograph() == whole.kept[0].read_photograph()).all()
    assert verify(made, lambda _: None).results
    with pytest.raises(UsageError, match=f"no golden input nobody; it has {name}"):
        write_small_bundle(whole, variant, ["nobody"], tmp_path / "other")
    (tmp_path / "small" / "own.txt").write_text("of the user")
    with pytest.raises(UsageError, match=r"own\.txt was not written by mien"):
        write_small_bundle(whole, variant, [name], tmp_path / "small")
    shutil.rmtree(tmp_path / "small")
