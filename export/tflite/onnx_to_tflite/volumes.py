"""Convolutions of volumes as ones of maps, which every quantiser and every runtime has.

LiteRT has a plain loop for a convolution along three axes, and nothing stores its weights in fewer bits. One
of maps, a map for each place along the first axis, reads what its taps there read as channels: C x taps of
them, in the order in which the weights lie already.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray

from .graph import attributes_of, sliced, store, stored_in

_DIRECTIONS = 3


def has_volumes(model: onnx.ModelProto) -> bool:
    """Tell whether a graph has convolutions along three axes."""
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    return any(len(attributes_of(node).get("kernel_shape", ())) == _DIRECTIONS for node in convolutions)


def flatten_volumes(model: onnx.ModelProto) -> None:
    """Let convolutions of one volume be ones of maps, in place; weights must be stored, and lengths known."""
    graph = model.graph
    known = (*onnx.shape_inference.infer_shapes(model).graph.value_info, *graph.input, *graph.output)
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in known}
    stored = stored_in(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weights = stored.get(node.input[1]) if node.op_type == "Conv" else None
        ends = [shapes.get(name, []) for name in (node.input[:1] + node.output[:1])]
        single = all(len(one) == 5 and one[0] == 1 and all(one) for one in ends)
        automatic = attributes_of(node).get("auto_pad", b"NOTSET") != b"NOTSET"
        if weights is not None and weights.ndim == 5 and single and not automatic:
            nodes += _flattened(graph, node, weights, ends)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _flattened(
    graph: onnx.GraphProto, node: onnx.NodeProto, weights: NDArray[Any], ends: Sequence[Sequence[int]]
) -> list[onnx.NodeProto]:
    (_, channels, _, *size), (_, made, places, *made_size) = ends
    target, ((step, spread, before, after), others) = node.output[0], _by_axis(attributes_of(node))
    taps = weights.shape[2]
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, inputs: Sequence[str], name: str, **more: Any) -> str:
        nodes.append(onnx.helper.make_node(kind, inputs, [name], **more))
        return name

    def reshaped(source: str, shape: Sequence[int], name: str) -> str:
        return add("Reshape", [source, store(graph, f"{name}_shape", shape)], name)

    read = reshaped(node.input[0], [channels, -1, prod(size)], f"{target}_rows")
    if before or after:
        widths = store(graph, f"{target}_widths", [0, before, 0, 0, after, 0])
        read = add("Pad", [read, widths], f"{target}_bordered")
    slices = [f"{target}_tap{tap}" for tap in range(taps)]
    for start, name in zip(count(0, spread), slices, strict=False):
        end = start + (places - 1) * step + 1
        nodes.append(sliced(graph, read, name, start=start, end=end, axis=1, step=step))
    joined = add("Concat", slices, f"{target}_taps", axis=1) if taps > 1 else slices[0]
    maps = reshaped(joined, [channels * taps, places, prod(size)], f"{target}_channels")
    maps = add("Transpose", [maps], f"{target}_turned", perm=[1, 0, 2])
    maps = reshaped(maps, [places, channels * taps, *size], f"{target}_maps")
    flat = weights.reshape(len(weights), -1, *weights.shape[3:])
    graph.initializer.append(onnx.numpy_helper.from_array(flat, f"{target}_weights"))
    maps = add("Conv", [maps, f"{target}_weights", *node.input[2:]], f"{target}_made", **others)
    # The first axes are at last those of the volume: onnxsim makes one of two reshapings, and takes a 0 in
    # the second for an axis of what the first was given.
    maps = reshaped(maps, [1, places, made, prod(made_size)], f"{target}_made_rows")
    maps = add("Transpose", [maps], f"{target}_back", perm=[0, 2, 1, 3])
    reshaped(maps, [1, made, places, *made_size], target)
    return nodes


def _by_axis(attributes: Mapping[str, Any]) -> tuple[tuple[int, int, int, int], dict[str, Any]]:
    """Return step, dilation and border before and after along the first axis; and what the others have."""
    step, *strides = attributes.get("strides", [1, 1, 1])
    spread, *dilations = attributes.get("dilations", [1, 1, 1])
    before, *first, after, last_rows, last_columns = attributes.get("pads", [0] * 6)
    pads = [*first, last_rows, last_columns]
    others = {
        "group": attributes.get("group", 1),
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
    }
    return (step, spread, before, after), others
