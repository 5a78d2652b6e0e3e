"""PyTorch -> ONNX -> float32 TFLite by onnx2tf's flatbuffer_direct, with a guard for each of its known traps.

- It rewrites the file it is given: it gets a copy.
- It calls the program ``onnxsim`` from PATH: ``isolation`` puts the environment's programs there.
- It leaves a tensor without data when a convolution and something else read it, or when an output is
  also read inside; the exit code is 0 all the same: ``shield_shared`` gives the others a copy.
- It returns outputs in one layout or the other by accident: ``layout`` turns the whole graph.
"""

import shutil
import warnings
from collections import Counter
from pathlib import Path

import onnx
import torch

from mien.models.checkpoint import Checkpoint

from .fusion import fuse_relu
from .graphs import Graph
from .layout import channels_last_model

_OPSET = 17
_COPY = "_shielded"


def to_onnx(graph: Graph, checkpoint: Checkpoint, file: Path) -> None:
    """Write a graph as ONNX, channels second, with the contract's names."""
    examples = tuple(
        torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in graph.specs(graph.inputs)
    )
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, and the one that onnx2tf is tested with.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.build(checkpoint),
            examples,
            str(file),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=_OPSET,
            dynamo=False,
        )


def shield_shared(model: onnx.ModelProto) -> None:
    """Let every 4-D output, and every reader beside a convolution, have a tensor of its own, in place.

    The copy is a pooling of 1x1, which changes no value and which onnx2tf does not fold away.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    rank = {v.name: len(v.type.tensor_type.shape.dim) for v in (*inferred.value_info, *inferred.output)}
    outputs = {output.name for output in model.graph.output}
    readers = Counter(name for node in model.graph.node for name in set(node.input))
    made = {name for node in model.graph.node for name in node.output}
    convolved = made & {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            _rename(node.input, {n: n + _COPY for n in node.input if n in convolved and readers[n] > 1})
        _rename(node.output, {n: n + "_inside" for n in node.output if n in outputs and rank[n] == 4})
        nodes.append(node)
        for name in node.output:
            if name.endswith("_inside"):
                nodes.append(_copied(name, name.removesuffix("_inside")))
            elif name in convolved and readers[name] > 1:
                nodes.append(_copied(name, name + _COPY))
    for node in nodes:
        if node.op_type != "AveragePool":
            _rename(node.input, {n: n + "_inside" for n in node.input if n in outputs and rank[n] == 4})
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rename(names: "list[str]", changes: dict[str, str]) -> None:
    for position, name in enumerate(names):
        names[position] = changes.get(name, name)


def _copied(source: str, target: str) -> onnx.NodeProto:
    return onnx.helper.make_node("AveragePool", [source], [target], kernel_shape=[1, 1], strides=[1, 1])


def to_tflite(graph: Graph, checkpoint: Checkpoint, folder: Path) -> Path:
    """Convert a graph; returns a float32 TFLite file with every tensor channels last."""
    import onnx2tf

    source = folder / f"{graph.name}.onnx"
    to_onnx(graph, checkpoint, source)
    shielded = onnx.load(str(source))
    shield_shared(shielded)
    copy = folder / f"{graph.name}.copy.onnx"
    onnx.save(shielded, str(copy))
    made = folder / f"{graph.name}.onnx2tf"
    onnx2tf.convert(
        input_onnx_file_path=str(copy),
        output_folder_path=str(made),
        tflite_backend="flatbuffer_direct",
        non_verbose=True,
    )
    result = folder / f"{graph.name}.tflite"
    model = (made / f"{copy.stem}_float32.tflite").read_bytes()
    result.write_bytes(fuse_relu(channels_last_model(model)))
    shutil.rmtree(made)
    return result
