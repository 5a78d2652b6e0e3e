"""onnx2tf's flatbuffer_direct: ONNX to TFLite without TensorFlow.

Inputs and outputs keep the contract's names and order. It writes channels first between convolutions and
bridges that by TRANSPOSE, and outputs in one layout or the other by accident: ``layout`` turns the whole
graph. A part that is used twice is stored twice: ``sharing`` stores it once.
"""

from pathlib import Path

from mien.export.component import Component
from mien.mobile_reference.contract import PICTURE
from mien.models.sources import Source

from .onnx2tf_call import run_onnx2tf
from .onnx_graph import to_onnx


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it."""
    exported = folder / f"{component.name}.onnx"
    to_onnx(component, exported)
    # It takes any input of three axes and more for a picture, and turns it.
    kept = [
        spec.name
        for spec in component.specs(component.inputs)
        if spec.layout != PICTURE and len(spec.shape) > 2
    ]
    options = {"keep_shape_absolutely_input_names": kept} if kept else {}
    return run_onnx2tf(
        exported, folder / "flatbuffer_direct", tflite_backend="flatbuffer_direct", **options
    ).read_bytes()
