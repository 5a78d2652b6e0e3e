"""onnx2tf's TensorFlow back end: ONNX to a SavedModel, and that to TFLite by TensorFlow's own converter.

It re-orders and renames inputs and outputs; their names survive in the signature alone.
"""

from pathlib import Path

from mien.export.component import Component
from mien.export.environments import TENSORFLOW
from mien.export.tflite.signature import order_by_signature
from mien.models.sources import Source

from .onnx2tf_program import run_onnx2tf
from .onnx_graph import to_onnx

SAVED_MODEL = "tf_converter"
"""The folder in which the SavedModel lies."""


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it, its tensors in the contract's order."""
    exported = folder / f"{component.name}.onnx"
    to_onnx(component, exported)
    made = run_onnx2tf(exported, folder / SAVED_MODEL, environment=TENSORFLOW, tflite_backend="tf_converter")
    return order_by_signature(made.read_bytes(), component.inputs, component.outputs)
