"""An Android library that runs a bundle's models in an app, with a test that measures them.

Its sources are the files under ``kotlin``; only the assets depend on the bundle: the models, the golden
inputs with the float pipeline's outputs, and ``spec.json``. Equal bundles give equal bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.benchmarks.model_names import check_names, check_signatures
from mien.benchmarks.pipeline import judged_limits, outputs_of
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, Golden, Variant, sha256
from mien.mobile_reference.run.models import TFLITE

from .generated_project import SPEC, copy_sources, identified, spec_text, variants_for, write_folder

APP_ASSETS = PurePosixPath("src/main/assets")
TEST_ASSETS = PurePosixPath("src/androidTest/assets")
_ROOM = "mien"
PLACE = TEST_ASSETS / _ROOM / SPEC
RUNS, WARMUP = 50, 5
"""Of all models, for each variant and unit."""
_FORMAT = 3


def tflite_variants(bundle: Bundle, names: Sequence[str]) -> list[Variant]:
    """Choose what to measure: the named variants, or all of TFLite.

    Raises:
        UsageError: there are none, or a named one is for another platform.
        BundleError: a model's signature has other tensors than the manifest says.
    """
    variants = variants_for(bundle, names, TFLITE, "LiteRT takes TFLite models")
    for variant in variants:
        check_names(variant, bundle.spec.served)
        check_signatures(variant, bundle.spec.served)
    return variants


def make_spec(bundle: Bundle, variants: Sequence[Variant]) -> dict[str, Any]:
    """Describe the assets; ``id`` is the hash of the rest, which names the manifest's hash."""
    pipeline = bundle.spec
    return identified(
        {
            "format": _FORMAT,
            "bundle": bundle.name,
            "manifest_sha256": sha256(bundle.path / MANIFEST),
            "warmup": WARMUP,
            "runs": RUNS,
            "inputs": list(pipeline.inputs),
            "outputs": {tensor.name: tensor.dtype for tensor in outputs_of(pipeline)},
            "stages": [
                {"name": model.name, "inputs": list(model.inputs), "outputs": list(model.outputs)}
                for model in pipeline.served
            ],
            "variants": [
                {
                    "name": variant.name,
                    "models": {
                        model.name: f"{_ROOM}/models/{variant.name}/{model.name}.tflite"
                        for model in pipeline.served
                    },
                    "limits": judged_limits(pipeline, variant.name),
                }
                for variant in variants
            ],
            "goldens": [
                {"name": golden.name, "tensors": {name: _asset(golden, name) for name in _tensors(bundle)}}
                for golden in bundle.goldens
            ],
        }
    )


def write_library(bundle: Bundle, spec: Mapping[str, Any], folder: Path) -> None:
    """Write the library into a folder, whole or not at all.

    Raises:
        UsageError: the folder holds something else or results, or cannot be made.
    """

    def fill(part: Path) -> None:
        copy_sources("kotlin", part)
        (part / "measure.sh").chmod(0o755)
        for entry in spec["variants"]:
            for model, asset in entry["models"].items():
                file = bundle.variant(entry["name"]).files[model]
                shutil.copyfile(file, _made(part / APP_ASSETS / asset))
        for golden in bundle.goldens:
            for name in _tensors(bundle):
                array = golden.read(name)
                _made(part / TEST_ASSETS / _asset(golden, name)).write_bytes(
                    np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
                )
        _made(part / PLACE).write_text(spec_text(spec))

    write_folder(folder, PLACE, fill)


def _tensors(bundle: Bundle) -> tuple[str, ...]:
    """Name the tensors of which golden values go along: what goes in, and what comes out."""
    outputs = (tensor.name for tensor in outputs_of(bundle.spec))
    return tuple(dict.fromkeys((*bundle.spec.inputs, *outputs)))


def _asset(golden: Golden, name: str) -> str:
    return f"{_ROOM}/golden/{golden.name}/{name}.bin"


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
