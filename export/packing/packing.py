"""Packing a bundle: models, golden vectors and a manifest, written beside and moved into place."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.export.environments import TFLITE
from mien.export.errors import ExportError
from mien.export.variants import VARIANTS, variant_named
from mien.mobile_reference.bundle.reader import FORMAT, MANIFEST, manifest_schema
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.output.folder import files_of
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.steps import Progress, Step, quietly
from mien.models.pipeline import Golden, Pipeline

from .commit import source_commit
from .promises import is_complete, share_of_int8
from .variant_selection import Judgement, choose

_FORMS = {
    "tflite": {"layout": "NHWC", "pixels": "uint8 tensors, RGB"},
    "coreml": {"layout": "NCHW", "pixels": "images, RGB"},
}
_PHOTOGRAPH = "photograph.png"
_PACKAGES = ("torch", "onnx", "ai-edge-litert", "ai-edge-quantizer", "coremltools", "numpy")


@dataclass(frozen=True)
class CalibrationRecord:
    """Which inputs gave the int8 ranges: how many, the hash of their values, those of their files."""

    inputs: int
    sha256: str
    images: tuple[str, ...]


def check_said(pipeline: Pipeline) -> None:
    """Check what a pipeline says of itself for the manifest, before anything of it runs.

    Raises:
        ExportError: it is not as the schema says, so that no bundle could be made.
        ResultError: it holds a number that is not finite.
    """
    later = {"tensors", *_AFTERWARDS, *_BY_RUNS}
    if not pipeline.gates:
        later.add("gates")
    _checked(_said(pipeline, pipeline.declared), frozenset(later))


def manifest_head(
    pipeline: Pipeline, goldens: Sequence[Golden], calibration: CalibrationRecord
) -> dict[str, Any]:
    """Return the manifest as far as it is known before the first conversion.

    Raises:
        ExportError: it is not as the schema says, so that no bundle could be made: a name with a space, a
            threshold out of its range.
        ResultError: it holds a number that is not finite.
    """
    head = {
        **_said(pipeline, pipeline.spec),
        "goldens": [_golden(pipeline.spec, golden) for golden in goldens],
        "provenance": {
            "mien": version("mien"),
            "commit": source_commit(),
            "versions": {name: version(name) for name in _PACKAGES} | {"onnx2tf": TFLITE.version("onnx2tf")},
            "checkpoint": pipeline.weights,
            "calibration": asdict(calibration) | {"ranges": "ranges"},
        },
    }
    return _checked(head, frozenset(_AFTERWARDS))


def _said(pipeline: Pipeline, spec: PipelineSpec) -> dict[str, Any]:
    """Return what is not found by running anything."""
    return {
        "format": FORMAT,
        **spec.record(),
        "platforms": _platforms(),
        **_AFTERWARDS,
        **_BY_RUNS,
        **({} if pipeline.agreement is None else {"agreement": pipeline.agreement}),
        "record": dict(pipeline.record),
    }


def _checked(head: dict[str, Any], found_later: frozenset[str]) -> dict[str, Any]:
    read = json.loads(json_text(head))
    for problem in manifest_schema().problems(read):
        if problem.path and problem.path[0] not in found_later:
            raise ExportError(
                f"pipeline {head['name']}: {problem.where} in the manifest: {problem.message[:200]}; "
                "change it in the pipeline, or in the name of its file"
            )
    return head


_AFTERWARDS: Mapping[str, Any] = {"variants": [], "choice": {}, "left_out": []}
"""What the conversions tell, at its place in the manifest."""
_BY_RUNS: Mapping[str, Any] = {"goldens": [], "provenance": {}}
"""What the inputs tell."""


def pack(
    folder: Path,
    made: Path,
    pipeline: Pipeline,
    goldens: Sequence[Golden],
    head: Mapping[str, Any],
    judged: Sequence[Judgement],
    progress: Progress = quietly,
) -> None:
    """Fill ``folder`` with what the conversions ``made``, the golden inputs and the manifest.

    A variant whose gates do not hold, a palette that does not keep to a third of its tolerance, and what has
    not all models are left out; the manifest says so.
    """
    complete = [
        one
        for one in judged
        if is_complete(made, one.name, pipeline.spec)
        and (one.passed or (one.holds and variant_named(one.name).bits is None))
    ]
    step = Step("packing", len(complete) + len(goldens), progress)
    variants = [_pack_variant(folder, made, pipeline.spec, judgement) for judgement in step.over(complete)]
    shutil.copytree(made / "ranges", folder / "ranges")
    for golden in step.over(goldens):
        _pack_golden(folder, golden)
    manifest = dict(head) | {
        "variants": variants,
        "choice": choose(complete),
        "left_out": [
            _measured(judgement) | {"tolerance": judgement.tolerance}
            for judgement in judged
            if judgement not in complete
        ],
        "files": files_of(folder),
    }
    text = json_text(manifest, indent=1) + "\n"
    for problem in manifest_schema().problems(json.loads(text)):
        raise AssertionError(f"the manifest is not as its schema says: {problem.where}: {problem.message}")
    (folder / MANIFEST).write_text(text)


def _platforms() -> dict[str, dict[str, str]]:
    """Say how each platform has tensors; the least system is that of its first variant."""
    least: dict[str, str] = {}
    for variant in VARIANTS:
        least.setdefault(variant.platform, variant.minimum)
    return {name: {**form, "minimum": least[name]} for name, form in _FORMS.items()}


def _pack_variant(folder: Path, made: Path, spec: PipelineSpec, judgement: Judgement) -> dict[str, Any]:
    variant = variant_named(judgement.name)
    shutil.copytree(made / variant.name, folder / "models" / variant.name)
    return _measured(judgement) | {
        "platform": variant.platform,
        "precision": variant.precision,
        "files": {m.name: f"models/{variant.name}/{m.name}{variant.suffix}" for m in spec.models},
        "minimum": variant.minimum,
        "products_int8": round(share_of_int8(made, spec, variant), 4),
        "runtime": None,
        "early_exit": judgement.early_exit.record() if judgement.early_exit else None,
    }


def _measured(judgement: Judgement) -> dict[str, Any]:
    """Say what a variant weighs and costs; JSON has no NaN, so null stands for it."""
    points = judgement.points if math.isfinite(judgement.points) else None
    return {"name": judgement.name, "measured": {"bytes": judgement.bytes, "points": points}}


def _pack_golden(folder: Path, golden: Golden) -> None:
    """Store the photograph without loss, so that every platform decodes the same pixels."""
    place = folder / "golden" / golden.sample.name
    place.mkdir(parents=True)
    if golden.source is not None:
        Image.fromarray(golden.source).save(place / _PHOTOGRAPH)
    for tensor, value in golden.sample.tensors.items():
        np.save(place / f"{tensor}.npy", value)


def _golden(spec: PipelineSpec, golden: Golden) -> dict[str, Any]:
    name, tensors = golden.sample.name, golden.sample.tensors
    single = [one for one in (spec.rating.tensor,) if tensors[one].size == 1]
    return {
        "name": name,
        "source": None if golden.source is None else f"golden/{name}/{_PHOTOGRAPH}",
        "front": dict(golden.found),
        "values": {one: float(tensors[one].reshape(-1)[0]) for one in single},
        "vectors": {tensor: f"golden/{name}/{tensor}.npy" for tensor in tensors},
    }
