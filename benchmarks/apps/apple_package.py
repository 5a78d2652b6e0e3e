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
from mien.mobile_reference.contract import PICTURE, PipelineSpec, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.run.models import COREML, as_package_has_it

from .generated_project import SPEC, copy_sources, identified, spec_text, variants_for, write_folder

PAYLOAD = PurePosixPath("Tests/MienPipelineTests/Payload")
PLACE = PAYLOAD / SPEC
RUNS, WARMUP = 50, 5
"""Of every step in each of the blocks that ``measure.sh`` runs."""
_FORMAT = 3
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
    graphs = {
        model.name: {
            "inputs": [_tensor(t) for t in pipeline.tensors_of(model.inputs)],
            "outputs": [_tensor(t) for t in pipeline.tensors_of(model.outputs)],
        }
        for model in pipeline.models
    }
    spec: dict[str, Any] = {
        "format": _FORMAT,
        "bundle": bundle.name,
        "manifest_sha256": sha256(bundle.path / MANIFEST),
        "warmup": WARMUP,
        "runs": RUNS,
        "inputs": list(pipeline.inputs),
        "served": [model.name for model in pipeline.served],
        "stages": [stage.name for stage in pipeline.stages],
        "graphs": graphs,
        "variants": [_variant(pipeline, variant) for variant in variants],
        "goldens": [_golden(golden) for golden in bundle.goldens],
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
    for entry in spec["variants"]:
        for graph, model in bundle.variant(entry["name"]).files.items():
            shutil.copytree(model, payload / entry["models"][graph], copy_function=shutil.copyfile)
    for golden, entry in zip(bundle.goldens, spec["goldens"], strict=True):
        for name, file in entry["vectors"].items():
            target = payload / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(package_bytes(golden, name))


def package_bytes(golden: Golden, name: str) -> bytes:
    """Return a golden tensor as the Swift package reads it: pixels by rows; numbers, maps channels second."""
    array = as_package_has_it(golden.read(name), golden.spec.tensor(name))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    image = (tensor.layout, tensor.dtype) == (PICTURE, "uint8")
    if not image and tensor.dtype not in _NUMBERS:
        raise UsageError(
            f"{tensor.name} is {tensor.dtype}; Core ML takes {' and '.join(_NUMBERS)}, and pictures of uint8"
        )
    shape = as_package_has_it(np.broadcast_to(np.zeros((), tensor.dtype), tensor.shape), tensor).shape
    if image and not tensor.image:
        raise UsageError(
            f"{tensor.name} is {list(tensor.shape)} of pixels; Core ML takes single RGB and grey pictures"
        )
    return {"name": tensor.name, "shape": list(shape), "kind": "image" if image else tensor.dtype}


def _variant(pipeline: PipelineSpec, variant: Variant) -> dict[str, Any]:
    models = {graph: f"models/{variant.name}/{graph}.mlpackage" for graph in sorted(variant.files)}
    limits = judged_limits(pipeline, variant.name)
    return {"name": variant.name, "limits": limits, "models": models}


def _golden(golden: Golden) -> dict[str, Any]:
    vectors = {name: f"golden/{golden.name}/{name}.bin" for name in sorted(golden.vectors)}
    return {"name": golden.name, "vectors": vectors}
