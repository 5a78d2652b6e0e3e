"""Bundles of any pipeline with a valid manifest and no real models."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.contract import PipelineSpec, StageSpec

Arrays = dict[str, NDArray[Any]]
Functions = Mapping[str, Callable[..., Any]]
"""The numpy functions that stand for models, by the models' names."""
VARIANTS = ("tflite-fp32", "tflite-fp16", "coreml-fp16")
_SUFFIXES = {"tflite": ".tflite", "coreml": ".mlpackage"}
GOLDEN = "someone"


def run_function(
    function: Callable[..., Any], model: StageSpec, inputs: Mapping[str, NDArray[Any]]
) -> Arrays:
    """Run the function that stands for a model on what it needs of ``inputs``."""
    result = function(*(inputs[name] for name in model.inputs))
    return dict(zip(model.outputs, result if isinstance(result, tuple) else (result,), strict=True))


def run_functions(functions: Functions, models: Sequence[StageSpec], inputs: Arrays) -> Arrays:
    """Run the functions of ``models`` in order; returns the inputs with all that was made."""
    known = dict(inputs)
    for model in models:
        known |= run_function(functions[model.name], model, known)
    return known


def write_bundle(
    folder: Path,
    spec: PipelineSpec,
    tensors: Arrays,
    source: str | None = None,
    found: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle with one golden input, whose ``tensors`` are everything that the float pipeline has.

    ``source`` is the file of the folder that the front was given, ``found`` what it found.
    """
    place = folder / "golden" / GOLDEN
    place.mkdir(parents=True, exist_ok=True)
    for tensor in spec.tensors:
        np.save(place / f"{tensor.name}.npy", tensors[tensor.name].astype(tensor.dtype))
    manifest = {
        "format": 2,
        **spec.record(),
        "platforms": {"tflite": {"layout": "NHWC", "pixels": "uint8", "minimum": "2.1"}},
        "variants": [_variant(folder, spec, name) for name in VARIANTS],
        "agreement": 1.0,
        "goldens": [
            {
                "name": GOLDEN,
                "source": source,
                "front": dict(found or {}),
                "values": {
                    t.name: float(tensors[t.name].item()) for t in spec.tensors if math.prod(t.shape) == 1
                },
                "vectors": {t.name: f"golden/{GOLDEN}/{t.name}.npy" for t in spec.tensors},
            }
        ],
        "record": {"of": "a test"},
        "files": {
            file.relative_to(folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
        "provenance": {
            "mien": "0",
            "commit": "unknown",
            "versions": {},
            "checkpoint": "0" * 64,
            "calibration": {"inputs": 4, "sha256": "0" * 64, "ranges": "ranges"},
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _variant(folder: Path, spec: PipelineSpec, name: str) -> dict[str, Any]:
    platform, _, precision = name.partition("-")
    (folder / "models" / name).mkdir(parents=True)
    files = {model.name: f"models/{name}/{model.name}{_SUFFIXES[platform]}" for model in spec.models}
    for model, file in files.items():
        if platform == "coreml":
            (folder / file).mkdir()
            (folder / file / "Manifest.json").write_text(model)
        else:
            (folder / file).write_text(f"not really {name} {model}")
    return {
        "name": name,
        "platform": platform,
        "precision": precision,
        "files": files,
        "minimum": "2.1",
        "products_int8": None,
        "runtime": None,
    }
