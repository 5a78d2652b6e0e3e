"""What the converters alone cost for the models that an app runs: the least that any user of theirs pays.

Each is called once, as its own documents say, and nothing is done to make it faster or what it makes better.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.export.component import Component, component
from mien.export.environments import TFLITE
from mien.export.running.isolation import Limits, Usage, run_isolated
from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.files import default_cache
from mien.models.pipeline import to_module
from mien.models.sources import Source, as_origin, open_pipeline

Arrays = Mapping[str, NDArray[Any]]
ALONE = """
import sys, onnx2tf
file, folder = sys.argv[1:]
onnx2tf.convert(
    input_onnx_file_path=file, output_folder_path=folder, tflite_backend="flatbuffer_direct", non_verbose=True
)
"""
"""A program that converts an ONNX file into a folder, by onnx2tf alone."""


def measure_yardstick(source: Source, bundle: Bundle, limits: Limits) -> dict[str, Usage]:
    """Convert the models that an app runs by onnx2tf and by coremltools, one after the other.

    Args:
        source: the pipeline that the bundle was made of.
        bundle: its first golden input is what models are traced with.
        limits: of each conversion.

    Returns:
        What each conversion used, by title. A model that is an ONNX file reaches onnx2tf alone.

    Raises:
        ConversionError: a converter failed.
    """
    # Its contract is that of the bundle: a file of Python may know shapes by its inputs alone.
    source = replace(as_origin(source), spec=bundle.spec)
    pipeline, golden = open_pipeline(source), bundle.goldens[0]
    sample = {name: golden.read(name) for name in golden.vectors}
    used = {}
    with TemporaryDirectory() as scratch:
        for model in pipeline.spec.served:
            onnx_file = component(pipeline, model.name).onnx is not None
            for route, convert in (("onnx2tf", by_onnx2tf), ("coremltools", by_coremltools)):
                if onnx_file and convert is by_coremltools:
                    continue
                title, folder = f"{route} {model.name}", Path(scratch) / route / model.name
                folder.mkdir(parents=True)
                task = partial(_convert, convert, source, model.name, sample, folder)
                used[title] = run_isolated(task, folder / "log", limits, title)
    return used


def _convert(convert: Any, source: Source, name: str, sample: Arrays, folder: Path) -> None:
    convert(component(open_pipeline(source), name), sample, folder)


def by_onnx2tf(one: Component, sample: Arrays, folder: Path) -> None:
    """Convert a component to float32 TFLite, in the environment of onnx2tf."""
    file = one.onnx
    if file is None:
        file = folder / "model.onnx"
        torch.onnx.export(
            one.module, _examples(one, sample), str(file), input_names=list(one.inputs), dynamo=False
        )
    python = TFLITE.checked(default_cache())
    # It runs the program onnxsim, which lies beside Python.
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    subprocess.run(  # noqa: S603 - our own argument list
        [str(python), "-I", "-c", ALONE, str(file), str(folder / "made")],
        env=os.environ | {"PATH": path},
        check=True,
    )


def by_coremltools(one: Component, sample: Arrays, folder: Path) -> None:
    """Convert a component to a Core ML package of float16."""
    import coremltools as ct

    from mien.export.coreml.convert import input_type

    traced = torch.jit.trace(one.module, _examples(one, sample))  # type: ignore[no-untyped-call]
    made = ct.convert(
        traced,
        inputs=[input_type(spec) for spec in one.specs(one.inputs)],
        convert_to="mlprogram",
        skip_model_load=True,
    )
    made.save(str(folder / "model.mlpackage"))


def _examples(one: Component, sample: Arrays) -> tuple[torch.Tensor, ...]:
    return tuple(to_module(np.ascontiguousarray(sample[spec.name]), spec) for spec in one.specs(one.inputs))
