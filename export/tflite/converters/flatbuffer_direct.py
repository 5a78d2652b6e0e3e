"""onnx2tf's flatbuffer_direct: ONNX to TFLite without TensorFlow.

Inputs and outputs keep the contract's names and order. It writes channels first between convolutions and
bridges that by TRANSPOSE, and outputs in one layout or the other by accident: ``layout`` turns the whole
graph. A part that is used twice is stored twice: ``deduplicate_buffers`` stores it once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from mien.export.component import Component
from mien.mobile_reference.contract import PICTURE
from mien.models.sources import Source

from .onnx2tf_program import run_onnx2tf
from .onnx_graph import to_decomposed_onnx, to_onnx
from .unsupported import unsupported

NAME = "flatbuffer_direct"


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it."""
    return _made(component, folder / NAME, "usual")


def convert_warily(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter makes it when it takes no map of few columns for channels last."""
    return _made(component, folder / f"{NAME}_warily", "warily")


def convert_plainly(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter makes it without moving any of its own transpositions."""
    return _made(component, folder / f"{NAME}_plainly", "plainly")


def convert_decomposed(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model of a graph in which rare operations are decomposed into usual ones."""
    return _made(component, folder / f"{NAME}_decomposed", "usual", to_decomposed_onnx)


WAYS = (convert, convert_warily, convert_decomposed, convert_plainly)
"""The ways to convert a graph, the one that makes the fewest operations first.

What the last one says is what is wrong, in the operations that the module itself has.
"""


def _check_known(model: onnx.ModelProto) -> None:
    """Refuse what it makes channels of another number of: a sampling that interpolates."""
    for node in model.graph.node:
        if node.op_type == "GridSample":
            mode = next((one.s.decode() for one in node.attribute if one.name == "mode"), "bilinear")
            if mode != "nearest":
                raise unsupported(NAME, f"grid_sample, {mode}")


def _made(
    component: Component, folder: Path, way: str, write: Callable[[Component, Path], None] = to_onnx
) -> bytes:
    exported = folder.parent / f"{component.name}.onnx"
    write(component, exported)
    _check_known(onnx.load(str(exported)))
    # It takes any input of three axes and more for a picture, and turns it.
    kept = [
        spec.name
        for spec in component.specs(component.inputs)
        if spec.layout != PICTURE and len(spec.shape) > 2
    ]
    options: dict[str, Any] = {"keep_shape_absolutely_input_names": kept} if kept else {}
    return run_onnx2tf(exported, folder, way, tflite_backend=NAME, **options).read_bytes()
