"""Packing a bundle: models, golden vectors and a manifest, written beside and moved into place."""

import json
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.export.errors import ExportError
from mien.export.variants import TFLITE, TFLITE_INT8, VARIANTS, VariantSpec, variant_named
from mien.mobile_reference.bundle.reader import FORMAT, MANIFEST, manifest_validator, sha256
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.output.folder import Kind, files_of
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.tflite.model_file import read_tflite
from mien.models.pipeline import Golden, Pipeline

from .variant_selection import Judgement, choose, model_of

_FORMS = {
    "tflite": {"layout": "NHWC", "pixels": "uint8 tensors, RGB"},
    "coreml": {"layout": "NCHW", "pixels": "images, RGB"},
}
_PHOTOGRAPH = "photograph.png"
_PACKAGES = ("torch", "onnx", "onnx2tf", "ai-edge-litert", "ai-edge-quantizer", "coremltools", "numpy")


BUNDLE = Kind("bundle", MANIFEST)
"""The manifest lists the files of a bundle, so that it is known what of a folder is ours."""


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
    _checked(_said(pipeline, pipeline.declared), found_later=frozenset({"tensors", *_AFTERWARDS, *_BY_RUNS}))


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
            "versions": {name: version(name) for name in _PACKAGES},
            "checkpoint": pipeline.weights,
            "calibration": asdict(calibration) | {"ranges": "ranges"},
        },
    }
    return _checked(head, found_later=frozenset(_AFTERWARDS))


def _said(pipeline: Pipeline, spec: PipelineSpec) -> dict[str, Any]:
    """Return what is not found by running anything."""
    return {
        "format": FORMAT,
        **spec.record(),
        "platforms": _platforms(),
        **_AFTERWARDS,
        **_BY_RUNS,
        "agreement": pipeline.agreement,
        "record": dict(pipeline.record),
    }


def _checked(head: dict[str, Any], found_later: frozenset[str]) -> dict[str, Any]:
    read = json.loads(json_text(head))
    for problem in manifest_validator().iter_errors(read):
        if problem.path and problem.path[0] not in found_later:
            where = "/".join(str(part) for part in problem.path)
            raise ExportError(
                f"pipeline {head['name']}: {where} in the manifest: {problem.message[:200]}; "
                "change it where the pipeline says so"
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
) -> tuple[str, ...]:
    """Fill ``folder`` with what the conversions ``made``, the golden inputs and the manifest.

    A variant that has not all models, as a palette that failed its tolerance, is left out, and so is one that
    promises more by its name than it does; the manifest says so. What is returned says why.
    """
    complete = [judgement for judgement in judged if _is_complete(made, pipeline.spec, judgement)]
    broken = _broken_promises(made, pipeline.spec, [judgement.name for judgement in complete])
    complete = [judgement for judgement in complete if judgement.name not in broken]
    variants = [_pack_variant(folder, made, pipeline.spec, judgement) for judgement in complete]
    shutil.copytree(made / "ranges", folder / "ranges")
    for golden in goldens:
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
    manifest_validator().validate(json.loads(text))
    (folder / MANIFEST).write_text(text)
    return tuple(f"{name} is left out: {reason}" for name, reason in broken.items())


def _broken_promises(made: Path, spec: PipelineSpec, variants: Sequence[str]) -> dict[str, str]:
    """Say of variants why they do less than their names promise; judged is what an app runs."""
    found: dict[str, str] = {}
    seen: dict[tuple[str, ...], str] = {}
    for variant in variants:
        content = tuple(_content(model_of(made, variant, model.name)) for model in spec.served)
        milder = seen.setdefault(content, variant)
        if milder != variant:
            found[variant] = f"it computes what {milder} does"
        elif variant == TFLITE_INT8 and not products_int8(made, spec, variant_named(variant)):
            found[variant] = "none of its multiplications are int8"
    return found


def _content(model: Path) -> str:
    """Return a hash of a file, or of a folder's files by their names."""
    if model.is_file():
        return sha256(model)
    files = sorted(file for file in model.rglob("*") if file.is_file())
    return " ".join(f"{file.relative_to(model)} {sha256(file)}" for file in files)


def _platforms() -> dict[str, dict[str, str]]:
    """Say how each platform has tensors; the least system is that of its first variant."""
    least: dict[str, str] = {}
    for variant in VARIANTS:
        least.setdefault(variant.platform, variant.minimum)
    return {name: {**form, "minimum": least[name]} for name, form in _FORMS.items()}


def _is_complete(made: Path, spec: PipelineSpec, judgement: Judgement) -> bool:
    return all(model_of(made, judgement.name, model.name).exists() for model in spec.models)


def _pack_variant(folder: Path, made: Path, spec: PipelineSpec, judgement: Judgement) -> dict[str, Any]:
    variant = variant_named(judgement.name)
    shutil.copytree(made / variant.name, folder / "models" / variant.name)
    return _measured(judgement) | {
        "platform": variant.platform,
        "precision": variant.precision,
        "files": {m.name: f"models/{variant.name}/{m.name}{variant.suffix}" for m in spec.models},
        "minimum": variant.minimum,
        "products_int8": products_int8(made, spec, variant),
        "runtime": None,
    }


def products_int8(made: Path, spec: PipelineSpec, variant: VariantSpec) -> float | None:
    """Return the share of multiplications of what an app runs that are of int8; None where none are counted.

    Counted are TFLite models, with the end-to-end one or else all stages.
    """
    if variant.platform != TFLITE:
        return None
    files = [read_tflite(model_of(made, variant.name, model.name)) for model in spec.served]
    macs = sum(file.macs.total() for file in files)
    return round(sum(file.integer_macs for file in files) / macs, 4) if macs else 0.0


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


def source_commit() -> str:
    """Return the commit of mien's own source tree, or ``unknown`` when it runs from a wheel."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return asked.stdout.strip() or "unknown"
