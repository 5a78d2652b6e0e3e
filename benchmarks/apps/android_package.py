"""An Android library that runs a bundle's end-to-end model in an app, with a test that measures it.

Its sources are the files under ``kotlin``; only the assets depend on the bundle: the models, the golden
inputs with the float pipeline's ratings and maps, and ``spec.json``. Equal bundles give equal bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, Golden, Variant, sha256
from mien.mobile_reference.contract import PICTURE, PipelineSpec, StageSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.run.models import TFLITE

from .generated_project import SPEC, copy_sources, identified, spec_text, variants_for, write_folder

APP_ASSETS = PurePosixPath("src/main/assets")
TEST_ASSETS = PurePosixPath("src/androidTest/assets")
_ROOM = "mien"
PLACE = TEST_ASSETS / _ROOM / SPEC
RUNS, WARMUP = 50, 5
"""Of the end-to-end model, for each variant and unit."""
_FORMAT = 2
_INPUT, _MAP = "input", "map"


def picture_model(spec: PipelineSpec) -> StageSpec:
    """Return the end-to-end model, for programs that give it one picture of bytes and read floats.

    Raises:
        UsageError: there is none, or it has other inputs or outputs.
    """
    if spec.whole is None:
        raise UsageError(f"pipeline {spec.name} has no end-to-end model, which this target runs; add one")
    inputs, outputs = spec.tensors_of(spec.whole.inputs), spec.tensors_of(spec.whole.outputs)
    pictures = [tensor.name for tensor in inputs if (tensor.layout, tensor.dtype) == (PICTURE, "uint8")]
    floats = all(tensor.dtype == "float32" for tensor in outputs)
    if len(inputs) != 1 or not pictures or not floats or spec.rating.tensor not in spec.whole.outputs:
        given, made = (", ".join(names) for names in (spec.whole.inputs, spec.whole.outputs))
        raise UsageError(
            f"{spec.whole.name} takes {given} and gives {made}; this target gives one uint8 picture and "
            f"reads float32 tensors, {spec.rating.tensor} among them"
        )
    return spec.whole


def tflite_variants(bundle: Bundle, names: Sequence[str]) -> list[Variant]:
    """Choose what to measure: the named variants, or all of TFLite."""
    return variants_for(bundle, names, TFLITE, "LiteRT takes TFLite models")


def make_spec(bundle: Bundle, variants: Sequence[Variant]) -> dict[str, Any]:
    """Describe the assets; ``id`` is the hash of the rest, which names the manifest's hash.

    Raises:
        UsageError: the pipeline has no end-to-end model that takes one picture.
    """
    tensors = _tensors(bundle.spec)
    return identified(
        {
            "format": _FORMAT,
            "bundle": bundle.name,
            "manifest_sha256": sha256(bundle.path / MANIFEST),
            "warmup": WARMUP,
            "runs": RUNS,
            "tensors": {"rating": bundle.spec.rating.tensor, **tensors},
            "variants": [
                {
                    "name": variant.name,
                    "gate": variant.tolerance,
                    "model": f"{_ROOM}/models/{variant.name}.tflite",
                }
                for variant in variants
            ],
            "goldens": [
                {
                    "name": golden.name,
                    "rating": golden.rating,
                    **{role: _asset(golden, name) for role, name in tensors.items()},
                }
                for golden in bundle.goldens
            ],
        }
    )


def write_library(bundle: Bundle, spec: Mapping[str, Any], folder: Path) -> None:
    """Write the library into a folder, whole or not at all.

    Raises:
        UsageError: the folder holds something else or results, or cannot be made.
    """
    whole, names = picture_model(bundle.spec).name, _tensors(bundle.spec).values()

    def fill(part: Path) -> None:
        copy_sources("kotlin", part)
        (part / "measure.sh").chmod(0o755)
        for entry in spec["variants"]:
            model = _made(part / APP_ASSETS / entry["model"])
            shutil.copyfile(bundle.variant(entry["name"]).files[whole], model)
        for golden in bundle.goldens:
            for name in names:
                array = golden.read(name)
                _made(part / TEST_ASSETS / _asset(golden, name)).write_bytes(
                    np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
                )
        _made(part / PLACE).write_text(spec_text(spec))

    write_folder(folder, PLACE, fill)


def _tensors(spec: PipelineSpec) -> dict[str, str]:
    """Name the tensors of which golden values go along: the input, and the map that is compared."""
    whole = picture_model(spec)
    return {_INPUT: whole.inputs[0], _MAP: spec.map_of(whole).name}


def _asset(golden: Golden, name: str) -> str:
    return f"{_ROOM}/golden/{golden.name}/{name}.bin"


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
