"""The blocks of a float TFLite graph: the parts that are given one precision each.

A block is a module of the networks, such as one inverted residual. An operation belongs to the module whose
weights it reads; one without weights follows the operations that it takes its inputs from. What belongs to
no module, the sums, divisions and composites between the networks, stays float.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse

# onnx2tf names outputs after whoever reads them; only the constants bear the name of their own module. The
# further runs of a network that is called again have the suffixes _1, _2.
_CONSTANT = re.compile(r"^(?:/net)?/(?!net/)(.+)/Conv_(?:conv_filter|depthwise_filter|pads_nhwc)$")
_INSIDE = re.compile(r"/(?:layers|spatial|feature|gate|stem\.\d+)(?:[/_].*)?$|_\d+$")
_STAGE = re.compile(r"((?:stages|refine)\.\d+)/(stages|refine)\.")
_FOLLOWERS = frozenset(["ADD", "MUL", "LOGISTIC", "RESIZE_BILINEAR", "CONCATENATION"])
_CONVOLUTIONS = frozenset(["CONV_2D", "DEPTHWISE_CONV_2D"])


@dataclass(frozen=True)
class Block:
    """One block: what its operations read and make, how many ``weights`` it has, and its ``macs``.

    ``inputs`` and ``outputs`` are names of computed tensors. All runs of a network are one
    block: they share their weights. ``dense`` are the ``macs`` of convolutions that are not depthwise.
    """

    name: str
    inputs: frozenset[str]
    outputs: tuple[str, ...]
    weights: int
    macs: int
    dense: int


def find_blocks(model: bytes) -> tuple[Block, ...]:
    """Find the blocks of a float graph in the order in which they run."""
    (graph,) = (parsed := parse(model)).subgraphs
    return _Finder(parsed, graph).blocks()


class _Finder:
    def __init__(self, parsed: Any, graph: Any) -> None:
        self.parsed = parsed
        self.graph = graph

    @cached_property
    def owners(self) -> Mapping[int, tuple[int, str]]:
        """When and by which module a tensor is made, by the tensor's number."""
        owners: dict[int, tuple[int, str]] = {}
        for position, operator in enumerate(self.graph.operators):
            owner = self._owner(operator, owners)
            if owner:
                owners.update((int(output), (position, owner)) for output in operator.outputs)
        return owners

    def _owner(self, operator: Any, owners: Mapping[int, tuple[int, str]]) -> str | None:
        constants, computed = self._inputs(operator)
        named = [match[1] for index in constants if (match := _CONSTANT.match(self._name(index)))]
        if named:
            return _module(named[0])
        name = operation_name(self.parsed, operator)
        # A square is not a part of a network: it begins the length of a feature.
        if name not in _FOLLOWERS or (name in ("ADD", "MUL") and len(set(computed)) < 2):
            return None
        makers = [owners[index] for index in computed if index in owners]
        return max(makers)[1] if makers and len(makers) == len(computed) else None

    def blocks(self) -> tuple[Block, ...]:
        """Collect every module's operations."""
        members: dict[str, list[Any]] = {}
        for operator in self.graph.operators:
            _, owner = self.owners.get(int(operator.outputs[0]), (0, ""))
            if owner:
                members.setdefault(owner, []).append(operator)
        return tuple(self._block(name, operators) for name, operators in members.items())

    def _block(self, name: str, operators: list[Any]) -> Block:
        convolutions = [op for op in operators if operation_name(self.parsed, op) in _CONVOLUTIONS]
        filters = {self._data(op.inputs[1]): prod(self._shape(op.inputs[1])) for op in convolutions}
        return Block(
            name=name,
            inputs=frozenset(self._name(i) for op in operators for i in self._inputs(op)[1]),
            outputs=tuple(self._name(int(op.outputs[0])) for op in operators),
            weights=sum(filters.values()),
            macs=sum(map(self._macs, convolutions)),
            dense=sum(self._macs(op) for op in convolutions if operation_name(self.parsed, op) == "CONV_2D"),
        )

    def _data(self, index: int) -> bytes:
        return bytes(self.parsed.buffers[self.graph.tensors[index].buffer].data)

    def _macs(self, operator: Any) -> int:
        height, width = self._shape(operator.outputs[0])[1:3]
        return height * width * prod(self._shape(operator.inputs[1]))

    def _inputs(self, operator: Any) -> tuple[list[int], list[int]]:
        """Return an operation's stored and computed inputs."""
        inputs = [int(index) for index in operator.inputs if index >= 0]
        stored = [i for i in inputs if constant_data(self.parsed, self.graph.tensors[i]) is not None]
        return stored, [index for index in inputs if index not in stored]

    def _name(self, index: int) -> str:
        return str(self.graph.tensors[index].name.decode())

    def _shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self.graph.tensors[index].shape)


def _module(path: str) -> str:
    """Turn the path of a convolution into that of its block: student/stages.2.0."""
    return _STAGE.sub(r"\2.", _INSIDE.sub("", path))
