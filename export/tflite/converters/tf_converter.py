"""onnx2tf's TensorFlow back end: ONNX to a SavedModel, and that to TFLite by TensorFlow's own converter.

It re-orders and renames inputs and outputs; their names survive in the signature alone.
"""

from pathlib import Path

from mien.export.graphs import Graph
from mien.export.tflite.signature import order_by_signature
from mien.models.appraisal.checkpoint import load_checkpoint

from .onnx2tf_call import run_onnx2tf
from .onnx_graph import to_onnx

SAVED_MODEL = "tf_converter"
"""The folder in which the SavedModel lies."""


def convert(graph: Graph, checkpoint: Path, folder: Path) -> bytes:
    """Return the model as the converter made it, its tensors in the contract's order."""
    source = folder / f"{graph.name}.onnx"
    to_onnx(graph, load_checkpoint(checkpoint), source)
    made = run_onnx2tf(source, folder / SAVED_MODEL, tflite_backend="tf_converter")
    return order_by_signature(made.read_bytes(), graph.inputs, graph.outputs)
