"""What passes over ONNX graphs share: attributes, constants, slices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def stored_in(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return the constants of a graph by name, however it holds them."""
    found = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for node in (one for one in graph.node if one.op_type == "Constant"):
        value = attributes_of(node).get("value")
        if value is not None:
            found[node.output[0]] = onnx.numpy_helper.to_array(value)
    return found


def store(graph: onnx.GraphProto, name: str, numbers: Sequence[int]) -> str:
    """Store whole numbers in a graph; returns their name."""
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), name))
    return name


def sliced(graph: onnx.GraphProto, source: str, target: str, **bounds: int) -> onnx.NodeProto:
    """Return what cuts a tensor along an axis; ``bounds`` are start, end, axis and, last, a step if any."""
    names = [store(graph, f"{target}_{name}", [number]) for name, number in bounds.items()]
    return onnx.helper.make_node("Slice", [source, *names], [target])
