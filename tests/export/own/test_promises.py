"""A variant is packed only if an app gets what its name promises."""

import shutil
from pathlib import Path

import pytest

from mien.export.exporter import chosen_variants
from mien.export.packing.promises import broken_promises, lacks
from mien.export.variants import NAMES, TFLITE_DYNAMIC, TFLITE_HALF, variant_named
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.models.sources import open_pipeline
from tests.export.own.conftest import CHANGE, VARIANTS


@pytest.fixture
def spec(grader_bundle: Path) -> PipelineSpec:
    return open_bundle(grader_bundle).spec


@pytest.fixture
def made(grader_bundle: Path, tmp_path: Path) -> Path:
    """The models as the conversions made them, to be changed."""
    return shutil.copytree(grader_bundle / "models", tmp_path / "made")


def test_variants_that_keep_their_promises_are_packed(made: Path, spec: PipelineSpec) -> None:
    assert broken_promises(made, spec, VARIANTS) == {}


@pytest.mark.parametrize("milder", ["tflite-fp32", "tflite-fp16"])
def test_an_end_to_end_model_that_is_a_milder_one_is_told_though_its_stages_are_int8(
    made: Path, spec: PipelineSpec, milder: str
) -> None:
    shutil.copy(made / milder / "whole.tflite", made / "tflite-int8" / "whole.tflite")
    assert broken_promises(made, spec, VARIANTS) == {
        "tflite-int8": f"tflite-int8 is left out: it computes what {milder} computes"
    }
    # Whether or not the milder one is there to be compared with.
    assert broken_promises(made, spec, ("tflite-int8",)) == {
        "tflite-int8": "tflite-int8 is left out: none of its multiplications are int8"
    }


def test_a_dynamic_variant_whose_weights_are_float_is_told(made: Path, spec: PipelineSpec) -> None:
    shutil.copy(made / "tflite-fp16" / "whole.tflite", made / "tflite-dynamic" / "whole.tflite")
    assert broken_promises(made, spec, VARIANTS) == {
        "tflite-dynamic": "tflite-dynamic is left out: it computes what tflite-fp16 computes"
    }
    assert lacks(made, spec, variant_named("tflite-dynamic")) is not None


def test_a_variant_that_lacks_a_model_is_told(made: Path, spec: PipelineSpec) -> None:
    shutil.rmtree(made / "coreml-fp16" / "rate.mlpackage")
    assert broken_promises(made, spec, VARIANTS) == {
        "coreml-fp16": "coreml-fp16 is left out: it has not every model"
    }


@pytest.mark.parametrize("name", ["coreml-int8w", "coreml-w8a8", "coreml-pal6"])
def test_a_float_package_under_the_name_of_a_smaller_one_is_told(
    made: Path, spec: PipelineSpec, name: str
) -> None:
    shutil.copytree(made / "coreml-fp16", made / name)
    assert lacks(made, spec, variant_named(name)) is not None
    assert lacks(made, spec, variant_named("coreml-fp16")) is None


def test_a_pipeline_with_precisions_by_block_has_the_dynamic_variant_if_it_is_named() -> None:
    built_in, own = open_pipeline(), open_pipeline(CHANGE)
    rare = (TFLITE_HALF, TFLITE_DYNAMIC)
    assert chosen_variants((), own) == tuple(name for name in NAMES if name != TFLITE_HALF)
    assert chosen_variants((), built_in) == tuple(name for name in NAMES if name not in rare)
    assert chosen_variants(rare, built_in) == (NAMES[0], *rare)
