"""Packing a bundle: models, golden vectors and a manifest, written beside and moved into place."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.export.coreml.convert import MINIMUM, QUANTISED_MINIMUM
from mien.export.errors import ExportError
from mien.export.graphs import GRAPHS, TensorSpec
from mien.export.tflite.quantise import channels_last
from mien.mobile_reference.bundle.reader import FORMAT, MANIFEST, STAGES, manifest_validator, sha256
from mien.models.appraisal.checkpoint import Checkpoint, Config, checkpoint_hash
from mien.models.appraisal.networks.detector import INPUT_SIZE, KEYPOINTS
from mien.models.appraisal.portraits import Portrait
from mien.models.appraisal.traces import Trace

from .variant_selection import SUFFIXES, Judgement, choose, model_of

# What else must hold over held-out faces.
FIDELITY = {"rank": 0.999, "heatmap_correlation": 0.995, "mask_iou": 0.97}
# A mean score error is held to the gate of the largest one, but where that one leaves room.
MEAN_GATES = {"tflite-int8": 0.3}
# The least system, where it is not the platform's.
MINIMA = {"coreml-w8a8": QUANTISED_MINIMUM}
AGREEMENT = 1.0
"""Largest difference of scores between a TFLite and a Core ML variant, in points."""
_PACKAGES = ("torch", "onnx", "onnx2tf", "ai-edge-litert", "ai-edge-quantizer", "coremltools", "numpy")
_COORDINATES = "pixels, x right and y down, the centre of the first pixel at (0, 0)"
_RESAMPLING = (
    "reduce by a box filter of whole size max(1, floor(1 / scale)), then bilinear with the border repeated, "
    "then add 0.500001 and round down"
)
_SCORE_MAP = (
    "100 * tolerated_evidence / (tolerated_evidence + evidence), "
    "evidence: mean of the final heatmap to the power of 1.5 over the face region"
)


@dataclass(frozen=True)
class GoldenFace:
    """A portrait, and what the float pipeline makes of it."""

    portrait: Portrait
    photograph: np.ndarray[Any, np.dtype[np.uint8]]
    trace: Trace


def check_output(output: Path) -> None:
    """Refuse to replace what is not a bundle.

    Raises:
        ExportError: ``output`` exists and is no bundle of ours.
    """
    if output.exists() and not output.is_dir():
        raise ExportError(f"{output} is a file; give a folder for the bundle")
    if output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).is_file():
        raise ExportError(f"{output} exists and is no bundle; give a new folder")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Give a folder beside ``output`` that takes its place when all went well, and vanishes otherwise."""
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = output.with_name(f".{output.name}.{os.getpid()}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        old = output.with_name(f".{output.name}.{os.getpid()}.old")
        if output.exists():
            output.rename(old)
        staging.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@dataclass(frozen=True)
class CalibrationRecord:
    """Which faces gave the int8 ranges: how many, the hash of their pixels, those of their photographs."""

    faces: int
    sha256: str
    images: tuple[str, ...]


def pack(
    folder: Path,
    made: Path,
    checkpoint: Checkpoint,
    goldens: Sequence[GoldenFace],
    calibration: CalibrationRecord,
    judged: Sequence[Judgement],
) -> None:
    """Fill ``folder`` with what the conversions ``made``, the golden vectors and the manifest.

    A variant that has not all graphs, as a palette that failed its gate, is left out; the manifest says so.
    """
    whole = [judgement for judgement in judged if _is_whole(made, judgement)]
    variants = [_pack_variant(folder, made, judgement) for judgement in whole]
    shutil.copytree(made / "ranges", folder / "ranges")
    entries = [_pack_golden(folder, golden) for golden in goldens]
    manifest = {
        "format": FORMAT,
        **_rules(checkpoint.config, float(checkpoint.appraisal.tolerated_evidence)),
        "platforms": {
            "tflite": {"layout": "NHWC", "pixels": "uint8 tensors, RGB", "minimum": "LiteRT 2.1"},
            "coreml": {"layout": "NCHW", "pixels": "images, RGB", "minimum": MINIMUM},
        },
        "graphs": {
            graph.name: {
                "inputs": [_tensor(spec) for spec in graph.specs(graph.inputs)],
                "outputs": [_tensor(spec) for spec in graph.specs(graph.outputs)],
            }
            for graph in GRAPHS
        },
        "stages": list(STAGES),
        "variants": variants,
        "choice": choose(whole),
        "left_out": [_measured(judgement) for judgement in judged if judgement not in whole],
        "agreement": AGREEMENT,
        "goldens": entries,
        "provenance": {
            "mien": version("mien"),
            "commit": source_commit(),
            "versions": {name: version(name) for name in _PACKAGES},
            "checkpoint": checkpoint_hash(checkpoint),
            "calibration": asdict(calibration) | {"ranges": "ranges"},
        },
    }
    manifest["files"] = _listing(folder)
    text = json.dumps(manifest, indent=1) + "\n"
    manifest_validator().validate(json.loads(text))
    (folder / MANIFEST).write_text(text)


def _rules(config: Config, tolerated_evidence: float) -> dict[str, Any]:
    return {
        "name": config.name,
        "alignment": {
            **asdict(config.alignment),
            "keypoints": list(KEYPOINTS),
            "detector_size": INPUT_SIZE,
            "coordinates": _COORDINATES,
            "resampling": _RESAMPLING,
        },
        "score": {"lowest": 0, "typical": 100, "map": _SCORE_MAP, "tolerated_evidence": tolerated_evidence},
        "appraisal": asdict(config.appraisal),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """Describe a tensor as TFLite has it; other platforms state their layout under ``platforms``."""
    return {
        "name": spec.name,
        "shape": list(spec.channels_last),
        "dtype": spec.dtype,
        "full_scale": spec.full_scale,
        "meaning": spec.meaning,
    }


def _is_whole(made: Path, judgement: Judgement) -> bool:
    return all(model_of(made, judgement.name, graph.name).exists() for graph in GRAPHS)


def _pack_variant(folder: Path, made: Path, judgement: Judgement) -> dict[str, Any]:
    name, platform = judgement.name, judgement.platform
    shutil.copytree(made / name, folder / "models" / name)
    fidelity = FIDELITY | {"score_mean": MEAN_GATES.get(name, judgement.gate)}
    return _measured(judgement) | {
        "platform": platform,
        "files": {graph.name: f"models/{name}/{graph.name}{SUFFIXES[platform]}" for graph in GRAPHS},
        "fidelity": fidelity,
        **({"minimum": MINIMA[name]} if name in MINIMA else {}),
    }


def _measured(judgement: Judgement) -> dict[str, Any]:
    """Say what a variant weighs and costs; JSON has no NaN, so null stands for it."""
    points = judgement.points if math.isfinite(judgement.points) else None
    measured = {"bytes": judgement.bytes, "points": points}
    return {"name": judgement.name, "gate": judgement.gate, "measured": measured}


def _pack_golden(folder: Path, golden: GoldenFace) -> dict[str, Any]:
    """Store the photograph without loss, so that every platform decodes the same pixels."""
    name = golden.portrait.image.stem
    place = folder / "golden" / name
    place.mkdir(parents=True)
    Image.fromarray(golden.photograph).save(place / "photograph.png")
    for tensor, value in golden.trace.tensors.items():
        np.save(place / f"{tensor}.npy", channels_last(value.numpy()))
    return {
        "name": name,
        "photograph": f"golden/{name}/photograph.png",
        "score": golden.trace.score,
        "alignment": golden.trace.aligned.matrix.tolist(),
        "vectors": {tensor: f"golden/{name}/{tensor}.npy" for tensor in golden.trace.tensors},
    }


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in files
    }


def source_commit() -> str:
    """Return the commit of mien's own source tree, or ``unknown`` when it runs from a wheel."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return asked.stdout.strip() or "unknown"
