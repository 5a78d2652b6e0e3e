"""onnx2tf's flatbuffer_direct: ONNX to TFLite without TensorFlow.

Inputs and outputs keep the contract's names and order. It writes channels first between convolutions and
bridges that by TRANSPOSE, and outputs in one layout or the other by accident: ``layout`` turns the whole
graph. A part that is used twice is stored twice: ``sharing`` stores it once.
"""

from pathlib import Path

from mien.export.graphs import Graph
from mien.models.appraisal.checkpoint import load_checkpoint

from .onnx2tf_call import run_onnx2tf
from .onnx_graph import to_onnx


def convert(graph: Graph, checkpoint: Path, folder: Path) -> bytes:
    """Return the model as the converter made it."""
    source = folder / f"{graph.name}.onnx"
    to_onnx(graph, load_checkpoint(checkpoint), source)
    return run_onnx2tf(source, folder / "flatbuffer_direct", tflite_backend="flatbuffer_direct").read_bytes()
