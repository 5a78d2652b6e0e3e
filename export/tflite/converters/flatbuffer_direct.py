"""onnx2tf's flatbuffer_direct: ONNX to TFLite without TensorFlow.

Inputs and outputs keep the contract's names and order. It writes channels first between convolutions and
bridges that by TRANSPOSE, and outputs in one layout or the other by accident: ``layout`` turns the whole
graph. A part that is used twice is stored twice: ``sharing`` stores it once. Its own passes over layouts know
hundreds of patterns, and some go by shapes alone: a map of up to eight columns, or of as many columns as a
convolution has channels, is taken for one whose channels lie last. ``WAYS`` do without more and more of them.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from unittest import mock

import onnx

from mien.export.component import Component
from mien.mobile_reference.contract import PICTURE
from mien.models.sources import Source

from .onnx2tf_call import run_onnx2tf
from .onnx_graph import to_onnx
from .unsupported import unsupported

_PACKAGE = "onnx2tf.tflite_builder"
_GUESSES = re.compile(r"_?sanitize_probable_\w+")
"""Functions that go by a map of few columns."""
_MOVES = re.compile(r"_?(optimize|repair|sanitize_probable)_\w+")
"""These, those that move transpositions, and those that repair what was moved, which go by shapes as well."""


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it."""
    return _made(component, folder / "flatbuffer_direct")


def convert_warily(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter makes it when it takes no map of few columns for channels last."""
    with _without(_GUESSES):
        return _made(component, folder / "flatbuffer_direct_warily")


def convert_plainly(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter makes it without moving any of its own transpositions."""
    with _without(_MOVES) as builder:
        plain = partial(builder.lower_onnx_to_ir, optimize_layout_transpose_chains=False)
        with mock.patch.object(builder, "lower_onnx_to_ir", plain):
            return _made(component, folder / "flatbuffer_direct_plainly")


WAYS = (convert, convert_warily, convert_plainly)
"""The ways to convert a graph, the one that makes the fewest operations first."""


@contextmanager
def _without(pattern: re.Pattern[str]) -> Iterator[ModuleType]:
    """Let functions of the converter do nothing, which no option of it asks for; gives its module."""
    builder = import_module(_PACKAGE)
    import_module(f"{_PACKAGE}.lower_from_onnx2tf")  # and with it what it calls
    parts = [part for name, part in sys.modules.items() if name.startswith(_PACKAGE) and part is not None]
    with ExitStack() as stack:
        for part in parts:
            for name in [name for name, one in vars(part).items() if isfunction(one)]:
                if pattern.fullmatch(name):
                    # What each returns is how often it changed something.
                    stack.enter_context(mock.patch.object(part, name, return_value=Counter()))
        yield builder


def _check_known(model: onnx.ModelProto) -> None:
    """Refuse what it makes channels of another number of: a sampling that interpolates."""
    for node in model.graph.node:
        if node.op_type == "GridSample":
            mode = next((one.s.decode() for one in node.attribute if one.name == "mode"), "bilinear")
            if mode != "nearest":
                raise unsupported("flatbuffer_direct", f"grid_sample, {mode}")


def _made(component: Component, folder: Path) -> bytes:
    exported = folder.parent / f"{component.name}.onnx"
    to_onnx(component, exported)
    _check_known(onnx.load(str(exported)))
    # It takes any input of three axes and more for a picture, and turns it.
    kept = [
        spec.name
        for spec in component.specs(component.inputs)
        if spec.layout != PICTURE and len(spec.shape) > 2
    ]
    options = {"keep_shape_absolutely_input_names": kept} if kept else {}
    return run_onnx2tf(exported, folder, tflite_backend="flatbuffer_direct", **options).read_bytes()
