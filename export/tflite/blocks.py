"""The blocks of a float TFLite graph: the parts that are given one precision each.

A block is a module of the networks, such as one inverted residual, where the converter named weights after
modules; elsewhere every operation with weights is a block of its own. An operation without weights belongs to
the module that makes what it takes in; a sum that a module's output goes into is a block beside that, for
errors of eight bits add up along sums. Else it is a block as well, if LiteRT has an int8 kernel for it and it
takes in what blocks make: so it can stay in int8 between two that do. The others, such as roots and
divisions, belong to no block and stay float.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import TensorType

from mien.mobile_reference.tflite.flatbuffer import constant_data, looked_into, operation_name

from .products import Product, product_of

# onnx2tf names outputs after whoever reads them; only the constants bear the name of their own module. The
# further runs of a network that is called again have the suffixes _1, _2.
_CONSTANT = re.compile(r"^(?:/net)?/(?!net/)(.+)/Conv_(?:conv_filter|depthwise_filter|pads_nhwc)$")
_INSIDE = re.compile(r"/(?:layers|spatial|feature|gate|stem\.\d+)(?:[/_].*)?$|_\d+$")
_STAGE = re.compile(r"((?:stages|refine)\.\d+)/(stages|refine)\.")
_WEIGHTS = re.compile(r"^(?:/net)?/?(.+?)_(?:transpose_conv_filter|conv_filter|depthwise_filter|fc_weights)$")
_LARGEST = float(np.finfo(np.float16).max)
_SUM = "/sum"
_FOLLOWERS = frozenset(["ADD", "MUL", "LOGISTIC", "RESIZE_BILINEAR", "CONCATENATION"])
_SUMS = frozenset(["ADD", "MUL", "SUB"])
FIXED_SCALE = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}
"""Scale and zero point that int8 kernels make, whatever is calibrated: LiteRT's 8-bit specification."""
ALONE_INT8 = frozenset(
    ["DEPTH_TO_SPACE", "ELU", "EXPAND_DIMS", "LEAKY_RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "SQUEEZE"]
)
"""Operations whose int8 kernels the quantiser does not know; see ``passes.int8_activations``."""
INT8_KERNELS = (
    _FOLLOWERS
    | _SUMS
    | ALONE_INT8
    | {
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "GATHER",
        "GELU",
        "HARD_SWISH",
        "MAX_POOL_2D",
        "MEAN",
        "MIRROR_PAD",
        "PAD",
        "RELU",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SPLIT",
        "STRIDED_SLICE",
        "TANH",
        "TRANSPOSE",
    }
)
"""Operations without weights that may stand between int8 ones. A division is not among them: its divisor may
be rounded to zero."""


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


@lru_cache(maxsize=4)  # an export asks for those of one graph some ten times
def find_blocks(model: bytes) -> tuple[Block, ...]:
    """Find the blocks of a float graph in the order in which they run."""
    (graph,) = (parsed := looked_into(model)).subgraphs
    return _Finder(parsed, graph).blocks()


@dataclass(frozen=True)
class _Owner:
    """The block of a tensor: when it is made, the block's name, and whether that is a module's."""

    position: int
    name: str
    module: bool


class _Finder:
    def __init__(self, parsed: Any, graph: Any) -> None:
        self.parsed = parsed
        self.graph = graph

    @cached_property
    def owners(self) -> Mapping[int, _Owner]:
        """Say which block makes a tensor, by the tensor's number."""
        owners: dict[int, _Owner] = {}
        for position, operator in enumerate(self.graph.operators):
            owner = self._owner(position, operator, owners)
            if owner:
                owners.update((int(output), owner) for output in operator.outputs)
        return owners

    def _owner(self, position: int, operator: Any, owners: Mapping[int, _Owner]) -> _Owner | None:
        constants, computed = self._inputs(operator)
        named = [match[1] for index in constants if (match := _CONSTANT.match(self._name(index)))]
        if named:
            return _Owner(position, _module(named[0]), module=True)
        if self._product(operator) is not None:
            weights = next(self._name(i) for i in constants if len(self._shape(i)) > 1)
            match = _WEIGHTS.match(weights)
            return _Owner(position, match[1] if match else weights, module=False)
        makers = [owners[index] for index in computed if index in owners]
        if not makers or len(makers) < len(computed):
            return None
        return self._follower(position, operator, computed, makers)

    def _follower(
        self, position: int, operator: Any, computed: list[int], makers: list[_Owner]
    ) -> _Owner | None:
        """Say which block an operation without weights is of, all of whose inputs blocks make."""
        name = operation_name(self.parsed, operator)
        joins = name not in ("ADD", "MUL") or len(set(computed)) > 1
        modules = [maker for maker in makers if maker.module]
        if name == "ADD" and joins and modules:
            last = max(modules, key=lambda maker: maker.position).name
            return _Owner(position, last.removesuffix(_SUM) + _SUM, module=True)
        if name in _FOLLOWERS and joins and all(maker.module for maker in makers):
            return _Owner(position, max(makers, key=lambda maker: maker.position).name, module=True)
        # What a file gives loses nothing in float, and the scale of these is fixed whatever they span.
        if name in FIXED_SCALE and int(operator.outputs[0]) in self.graph.outputs:
            return None
        # A square is not a part of a network: it begins the length of a feature.
        if name not in INT8_KERNELS or (name in _SUMS and len(set(computed)) < len(computed)):
            return None
        if any(self._masks(index) for index in operator.inputs if index >= 0):
            return None
        return _Owner(position, self._name(int(operator.outputs[0])), module=False)

    def _masks(self, index: int) -> bool:
        """Tell whether a stored tensor has values that stand for infinity: 256 steps hold nothing else."""
        tensor = self.graph.tensors[index]
        data = constant_data(self.parsed, tensor)
        if data is None or tensor.type != TensorType.FLOAT32:
            return False
        values = np.frombuffer(bytes(data), np.float32)
        return bool((~np.isfinite(values) | (np.abs(values) > _LARGEST)).any())

    def blocks(self) -> tuple[Block, ...]:
        """Collect the operations of every block."""
        members: dict[str, list[Any]] = {}
        for operator in self.graph.operators:
            owner = self.owners.get(int(operator.outputs[0]))
            if owner:
                members.setdefault(owner.name, []).append(operator)
        return tuple(self._block(name, operators) for name, operators in members.items())

    def _block(self, name: str, operators: list[Any]) -> Block:
        products = [found for op in operators if (found := self._product(op)) is not None]
        return Block(
            name=name,
            inputs=frozenset(self._name(i) for op in operators for i in self._inputs(op)[1]),
            outputs=tuple(self._name(int(output)) for op in operators for output in op.outputs),
            weights=sum({one.weight.tobytes(): one.weight.size for one in products}.values()),
            macs=sum(one.macs for one in products),
            dense=sum(one.macs for one in products if one.kind != "DEPTHWISE_CONV_2D"),
        )

    def _product(self, operator: Any) -> Product | None:
        return product_of(self.parsed, self.graph, operator)

    def _inputs(self, operator: Any) -> tuple[list[int], list[int]]:
        """Return an operation's stored and computed inputs."""
        inputs = [int(index) for index in operator.inputs if index >= 0]
        stored = [i for i in inputs if constant_data(self.parsed, self.graph.tensors[i]) is not None]
        return stored, [index for index in inputs if index not in stored]

    def _name(self, index: int) -> str:
        return str(self.graph.tensors[index].name.decode())

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self.graph.tensors[index].shape
        return () if shape is None else tuple(int(size) for size in shape)


def _module(path: str) -> str:
    """Turn the path of a convolution into that of its block: student/stages.2.0."""
    return _STAGE.sub(r"\2.", _INSIDE.sub("", path))
