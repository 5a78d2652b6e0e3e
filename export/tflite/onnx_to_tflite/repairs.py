"""Graphs of ONNX in a form that onnx2tf does not spoil.

onnx2tf leaves a tensor without data when a convolution and something else read it, or when an output is also
read inside; the exit code is 0 all the same: ``shield_shared`` gives the others a copy. The last states that
it makes of an RNN are wrong, the steps are right: ``take_last_steps`` takes the one from the other. A mean
over a window that reaches beyond the last column is divided by the whole window: ``count_inside`` mends that.
A normalisation that no convolution takes in is done along the columns where there are as many of them as
channels: ``normalise_by_channels`` says which they are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .graph import attributes_of

_COPY = "_shielded"


def shield_shared(model: onnx.ModelProto) -> None:
    """Let every 4-D output, and every reader beside a convolution, have a tensor of its own, in place.

    The copy is a pooling of one value, which changes none and which onnx2tf does not fold away.
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
                nodes.append(_copied(name, name.removesuffix("_inside"), 4))
            elif name in convolved and readers[name] > 1:
                nodes.append(_copied(name, name + _COPY, rank[name]))
    for node in nodes:
        if node.op_type != "AveragePool":
            _rename(node.input, {n: n + "_inside" for n in node.input if n in outputs and rank[n] == 4})
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def take_last_steps(model: onnx.ModelProto) -> None:
    """Let the last states of an RNN be those of its last steps, in place.

    One with a length for each sequence, or with the batch first, is left alone.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        attributes = attributes_of(node)
        usual = not any(node.input[4:5]) and not attributes.get("layout")
        if node.op_type == "RNN" and any(node.output[1:2]) and usual:
            nodes += _last_steps(node, attributes.get("direction", b"forward"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def count_inside(model: onnx.ModelProto) -> None:
    """Let poolings whose last window reaches beyond the input count the values inside of it alone, in place.

    That is what they do: without padding there are no others that ``count_include_pad`` could count.
    """
    for node in model.graph.node:
        attributes = attributes_of(node)
        beyond = node.op_type == "AveragePool" and attributes.get("ceil_mode")
        if beyond and not any(attributes.get("pads", ())):
            kept = [one for one in node.attribute if one.name != "count_include_pad"]
            del node.attribute[:]
            node.attribute.extend(kept)


def normalise_by_channels(model: onnx.ModelProto) -> None:
    """Let normalisations of maps with as many columns as channels be depthwise convolutions, in place.

    One that a convolution before it takes in is left alone.
    """
    graph = model.graph
    known = (*onnx.shape_inference.infer_shapes(model).graph.value_info, *graph.input)
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in known}
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    taken = {node.output[0] for node in graph.node if "Conv" in node.op_type and readers[node.output[0]] == 1}
    for node in (one for one in graph.node if one.op_type == "BatchNormalization"):
        source, *parameters = node.input
        shape = shapes.get(source, ())
        square = len(shape) == 4 and shape[1] == shape[3]
        if square and source not in taken and stored.keys() >= {*parameters}:
            _normalised_depthwise(graph, node, [stored[name] for name in parameters])


def _normalised_depthwise(
    graph: onnx.GraphProto, node: onnx.NodeProto, parameters: Sequence[NDArray[Any]]
) -> None:
    scale, shift, mean, variance = parameters
    epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
    factor = (scale / np.sqrt(variance + epsilon)).astype(scale.dtype)
    source, target = node.input[0], node.output[0]
    made = {f"{target}_scale": factor.reshape(-1, 1, 1, 1), f"{target}_shift": shift - mean * factor}
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in made.items())
    groups = len(scale)
    node.CopyFrom(onnx.helper.make_node("Conv", [source, *made], [target], group=groups, kernel_shape=[1, 1]))


def _last_steps(node: onnx.NodeProto, direction: bytes) -> list[onnx.NodeProto]:
    """Return the nodes that make an RNN's last states, which it makes itself no more."""
    target = node.output[1]
    steps = node.output[0] or f"{target}_steps"
    node.output[:] = [steps]
    if direction != b"bidirectional":
        return _gathered(steps, 0 if direction == b"reverse" else -1, target)
    ways = {f"{target}_forward": (-1, [0]), f"{target}_backward": (0, [1])}
    made = []
    for name, (step, way) in ways.items():
        made += _gathered(steps, step, f"{name}_step") + _gathered(f"{name}_step", way, name)
    return [*made, onnx.helper.make_node("Concat", list(ways), [target], axis=0)]


def _gathered(source: str, place: int | list[int], target: str) -> list[onnx.NodeProto]:
    """Take one place of the first axis; in a list it keeps the axis."""
    index = onnx.numpy_helper.from_array(np.array(place, np.int64))
    return [
        onnx.helper.make_node("Constant", [], [f"{target}_place"], value=index),
        onnx.helper.make_node("Gather", [source, f"{target}_place"], [target], axis=0),
    ]


def _rename(names: "list[str]", changes: dict[str, str]) -> None:
    for position, name in enumerate(names):
        names[position] = changes.get(name, name)


def _copied(source: str, target: str, rank: int) -> onnx.NodeProto:
    one = [1] * (rank - 2)
    return onnx.helper.make_node("AveragePool", [source], [target], kernel_shape=one, strides=one)
