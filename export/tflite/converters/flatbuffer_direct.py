"""onnx2tf's flatbuffer_direct: ONNX to TFLite without TensorFlow.

Inputs and outputs keep the contract's names and order. It writes channels first between convolutions and
bridges that by TRANSPOSE, and outputs in one layout or the other by accident: ``layout`` turns the whole
graph. A part that is used twice is stored twice: ``sharing`` stores it once. Its own passes over layouts know
hundreds of patterns, and take some graphs for what they are not: ``convert_plainly`` does without them.
"""

from functools import partial
from pathlib import Path
from unittest import mock

from mien.export.component import Component
from mien.mobile_reference.contract import PICTURE
from mien.models.sources import Source

from .onnx2tf_call import run_onnx2tf
from .onnx_graph import to_onnx


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it."""
    return _made(component, folder / "flatbuffer_direct")


def convert_plainly(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter makes it without moving any of its own transpositions."""
    import onnx2tf.tflite_builder as builder

    plain = partial(builder.lower_onnx_to_ir, optimize_layout_transpose_chains=False)
    with mock.patch.object(builder, "lower_onnx_to_ir", plain):
        return _made(component, folder / "flatbuffer_direct_plain")


def _made(component: Component, folder: Path) -> bytes:
    exported = folder.parent / f"{component.name}.onnx"
    to_onnx(component, exported)
    # It takes any input of three axes and more for a picture, and turns it.
    kept = [
        spec.name
        for spec in component.specs(component.inputs)
        if spec.layout != PICTURE and len(spec.shape) > 2
    ]
    options = {"keep_shape_absolutely_input_names": kept} if kept else {}
    return run_onnx2tf(exported, folder, tflite_backend="flatbuffer_direct", **options).read_bytes()
