"""An Android library that runs a bundle's models in an app, with a test that measures them.

Its sources are the files under ``kotlin``; only the assets depend on the bundle: the models, the golden
inputs with the float pipeline's outputs, and ``spec.json``. Equal bundles give equal bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.benchmarks.model_names import SIGNATURE, check_names
from mien.benchmarks.pipeline import judged_limits, outputs_of
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, Golden, Variant, sha256
from mien.mobile_reference.run.models import TFLITE

from .generated_project import (
    SPEC,
    copy_sources,
    identified,
    models_of,
    photograph_of,
    spec_text,
    variants_for,
    write_folder,
)

APP_ASSETS = PurePosixPath("src/main/assets")
TEST_ASSETS = PurePosixPath("src/androidTest/assets")
_ROOM = "mien"
PLACE = TEST_ASSETS / _ROOM / SPEC
RUNS, WARMUP = 50, 5
"""Of all models, for each variant and unit."""
_FORMAT = 4


def tflite_variants(bundle: Bundle, names: Sequence[str]) -> list[Variant]:
    """Choose what to measure: the named variants, or all of TFLite.

    Raises:
        UsageError: there are none, or a named one is for another platform.
        BundleError: a model's signature has other tensors than the manifest says.
    """
    variants = variants_for(bundle, names, TFLITE, "LiteRT takes TFLite models")
    for variant in variants:
        check_names(variant, models_of(bundle.spec, variant), SIGNATURE)
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
            "served": [model.name for model in pipeline.served],
            "variants": [
                {"name": variant.name, "limits": judged_limits(pipeline, variant.name)}
                for variant in variants
            ],
            "goldens": [
                {
                    "name": golden.name,
                    "tensors": {name: _file(golden, name) for name in _tensors(bundle)},
                    "photograph": photograph_of(bundle, golden),
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

    def fill(part: Path) -> None:
        copy_sources("kotlin", part)
        (part / "measure.sh").chmod(0o755)
        _copy(bundle, MANIFEST, part / APP_ASSETS)
        for entry in spec["variants"]:
            variant = bundle.variant(entry["name"])
            for model in models_of(bundle.spec, variant):
                _copy(bundle, variant.files[model.name].relative_to(bundle.path), part / APP_ASSETS)
        for golden, entry in zip(bundle.goldens, spec["goldens"], strict=True):
            if entry["photograph"]:
                _copy(bundle, entry["photograph"], part / TEST_ASSETS)
            for name, file in entry["tensors"].items():
                array = golden.read(name)
                _made(part / TEST_ASSETS / _ROOM / file).write_bytes(
                    np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
                )
        _made(part / PLACE).write_text(spec_text(spec))

    write_folder(folder, PLACE, fill)


def _tensors(bundle: Bundle) -> tuple[str, ...]:
    """Name the tensors of which golden values go along: what goes in, and what comes out."""
    outputs = (tensor.name for tensor in outputs_of(bundle.spec))
    return tuple(dict.fromkeys((*bundle.spec.inputs, *outputs)))


def _file(golden: Golden, name: str) -> str:
    return f"golden/{golden.name}/{name}.bin"


def _copy(bundle: Bundle, file: Path | str, assets: Path) -> None:
    """Copy a file of a bundle to its place among the assets."""
    shutil.copyfile(bundle.path / file, _made(assets / _ROOM / file))


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
