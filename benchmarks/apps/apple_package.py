"""A Swift package that measures a bundle's Core ML models on Apple hardware.

Its sources are the files under ``swift``; only the payload depends on the bundle: the models, the golden
tensors as Core ML has them, and ``spec.json``. Identical bundles give identical bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.benchmarks.pipeline import judged_limits
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, Golden, Variant, sha256
from mien.mobile_reference.contract import PICTURE, PipelineSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.run.models import COREML, as_package_has_it

from .generated_project import (
    SPEC,
    copy_sources,
    identified,
    photograph_of,
    spec_text,
    variants_for,
    write_folder,
)

PAYLOAD = PurePosixPath("Tests/MienPipelineTests/Payload")
PLACE = PAYLOAD / SPEC
RUNS, WARMUP = 50, 5
"""Of every step in each of the blocks that ``measure.sh`` runs."""
_FORMAT = 4
_NUMBERS = ("float32", "int32")


def core_ml_variants(bundle: Bundle, names: Sequence[str]) -> list[Variant]:
    """Choose what to measure: the named variants, or all of Core ML."""
    return variants_for(bundle, names, COREML, "Apple's runtime takes Core ML packages")


def make_spec(bundle: Bundle, variants: Sequence[Variant]) -> dict[str, Any]:
    """Describe the payload; ``id`` is the hash of the rest.

    The rest names the manifest's hash, and the manifest that of every model and golden tensor.

    Raises:
        UsageError: the pipeline has tensors that Core ML does not take.
    """
    pipeline = bundle.spec
    _check_tensors(pipeline)
    spec: dict[str, Any] = {
        "format": _FORMAT,
        "bundle": bundle.name,
        "manifest_sha256": sha256(bundle.path / MANIFEST),
        "warmup": WARMUP,
        "runs": RUNS,
        "served": [model.name for model in pipeline.served],
        "graphs": [model.name for model in pipeline.models],
        "variants": [
            {"name": variant.name, "limits": judged_limits(pipeline, variant.name)} for variant in variants
        ],
        "goldens": [
            {
                "name": golden.name,
                "vectors": {name: f"golden/{golden.name}/{name}.bin" for name in sorted(golden.vectors)},
                "photograph": photograph_of(bundle, golden),
            }
            for golden in bundle.goldens
        ],
    }
    return identified(spec)


def write_package(bundle: Bundle, spec: Mapping[str, Any], platform: str, folder: Path) -> None:
    """Write the package for ``macos`` or ``ios`` into a folder, whole or not at all.

    Raises:
        UsageError: the folder holds something else or results, or cannot be made.
    """

    def fill(part: Path) -> None:
        for room in ("common", platform):
            copy_sources(f"swift/{room}", part)
        (part / "measure.sh").chmod(0o755)
        _write_payload(bundle, spec, part / PAYLOAD)

    write_folder(folder, PLACE, fill)


def _write_payload(bundle: Bundle, spec: Mapping[str, Any], payload: Path) -> None:
    payload.mkdir(parents=True)
    (payload / SPEC).write_text(spec_text(spec))
    shutil.copyfile(bundle.path / MANIFEST, payload / MANIFEST)
    for entry in spec["variants"]:
        for model in bundle.variant(entry["name"]).files.values():
            place = payload / model.relative_to(bundle.path)
            shutil.copytree(model, place, copy_function=shutil.copyfile)
    for golden, entry in zip(bundle.goldens, spec["goldens"], strict=True):
        (payload / "golden" / golden.name).mkdir(parents=True)
        if entry["photograph"]:
            shutil.copyfile(bundle.path / entry["photograph"], payload / entry["photograph"])
        for name, file in entry["vectors"].items():
            (payload / file).write_bytes(package_bytes(golden, name))


def package_bytes(golden: Golden, name: str) -> bytes:
    """Return a golden tensor as the Swift package reads it: pixels by rows; numbers, maps channels second."""
    array = as_package_has_it(golden.read(name), golden.spec.tensor(name))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _check_tensors(pipeline: PipelineSpec) -> None:
    for name in dict.fromkeys(name for model in pipeline.models for name in (*model.inputs, *model.outputs)):
        tensor = pipeline.tensor(name)
        image = (tensor.layout, tensor.dtype) == (PICTURE, "uint8")
        if not image and tensor.dtype not in _NUMBERS:
            raise UsageError(
                f"{name} is {tensor.dtype}; Core ML takes {' and '.join(_NUMBERS)}, and pictures of uint8"
            )
        if image and not tensor.image:
            raise UsageError(
                f"{name} is {list(tensor.shape)} of pixels; Core ML takes single RGB and grey pictures"
            )
