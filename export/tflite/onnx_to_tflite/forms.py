"""Operations of ONNX that onnx2tf has no form for, as others that it has.

It makes no model of a border that goes on at the other end: ``join_borders`` joins it from the map's own
ends. Of a convolution in groups along one axis it makes an operation that no runtime has: ``lift_groups``
makes it one of a map of one row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .graph import attributes_of, sliced, store, stored_in

_END = np.iinfo(np.int64).max


def join_borders(model: onnx.ModelProto) -> None:
    """Let borders that go on at the other end be parts of the map, in place; their widths must be stored."""
    stored = stored_in(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        around = node.op_type == "Pad" and attributes_of(node).get("mode") == b"wrap"
        widths = stored.get(node.input[1]) if around else None
        if widths is None or widths.min() < 0:
            nodes.append(node)
            continue
        given = stored.get(node.input[3]) if any(node.input[3:4]) else None
        axes = range(len(widths) // 2) if given is None else given.tolist()
        nodes += _joined(model.graph, node, [*zip(axes, *np.split(widths, 2), strict=True)])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def lift_groups(model: onnx.ModelProto) -> None:
    """Let convolutions in groups along one axis be those of maps of one row, in place.

    Those of one channel each are left alone, and those whose weights are computed.
    """
    stored = stored_in(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        weights = stored.get(node.input[1]) if node.op_type == "Conv" else None
        grouped = weights is not None and weights.ndim == 3 and weights.shape[1] > 1
        if weights is not None and grouped and attributes_of(node).get("group", 1) > 1:
            nodes += _lifted(model.graph, node, weights)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _joined(
    graph: onnx.GraphProto, node: onnx.NodeProto, borders: Sequence[tuple[int, int, int]]
) -> list[onnx.NodeProto]:
    """Return what makes a map with its borders, each an axis and the widths before and after."""
    target, made = node.output[0], list[onnx.NodeProto]()
    source = node.input[0]
    for axis, before, after in borders:
        parts = [source]
        if before:
            parts.insert(0, f"{target}_last{axis}")
            made.append(sliced(graph, source, parts[0], start=-before, end=_END, axis=axis))
        if after:
            parts.append(f"{target}_first{axis}")
            made.append(sliced(graph, source, parts[-1], start=0, end=after, axis=axis))
        if len(parts) > 1:
            source = f"{target}_joined{axis}"
            made.append(onnx.helper.make_node("Concat", parts, [source], axis=int(axis)))
    return [*made, onnx.helper.make_node("Identity", [source], [target])]


def _lifted(graph: onnx.GraphProto, node: onnx.NodeProto, weights: NDArray[Any]) -> list[onnx.NodeProto]:
    source, target, attributes = node.input[0], node.output[0], attributes_of(node)
    for name, row in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
        if name in attributes:
            attributes[name] = [row, *attributes[name]]
    if "pads" in attributes:
        before, after = attributes["pads"]
        attributes["pads"] = [0, before, 0, after]
    lifted, made = f"{target}_source_row", f"{target}_row"
    to_row = store(graph, f"{lifted}_shape", [0, 0, 1, -1])
    from_row = store(graph, f"{made}_shape", [0, 0, -1])
    graph.initializer.append(onnx.numpy_helper.from_array(weights[:, :, None], f"{made}_weights"))
    read = [lifted, f"{made}_weights", *node.input[2:]]
    return [
        onnx.helper.make_node("Reshape", [source, to_row], [lifted]),
        onnx.helper.make_node("Conv", read, [made], **attributes),
        onnx.helper.make_node("Reshape", [made, from_row], [target]),
    ]
