"""A TFLite model under LiteRT: loaded, run, looked into. Nothing else of mien talks to its interpreter."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mien.mobile_reference.errors import ModelError

_DELEGATE = "DELEGATE"


class Kernels(Enum):
    """What computes: XNNPACK, as in apps; LiteRT's own kernels; or the plain loops that define operations.

    With LiteRT's own every tensor can be read after a run, which costs memory; XNNPACK keeps what is between
    its operations to itself.
    """

    XNNPACK = OpResolverType.AUTO
    LITERT = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    REFERENCE = OpResolverType.BUILTIN_REF


@dataclass(frozen=True)
class LiteRTTensor:
    """A tensor of a model: its ``index`` in the file, and what one step of a quantised value stands for."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero: int


class LiteRTModel:
    """A TFLite file, or its bytes, loaded by LiteRT. Inputs and outputs are taken by position.

    Names are not trusted: converters rename outputs that are also used inside.

    Raises:
        ModelError: LiteRT cannot load the model: it is cut short, or a tensor lacks its data.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, kernels: Kernels = Kernels.XNNPACK) -> None:
        self._title = "the model" if isinstance(model, bytes) else str(model)
        # As bytes: a name that is not UTF-8 cannot be given as text.
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fsencode(model)}
        try:
            self._interpreter = _interpreter(source, threads, kernels)
            self._interpreter.allocate_tensors()
            # Details have the tensors' names, which are not UTF-8 in a damaged file.
            self.inputs = tuple(map(_tensor, self._interpreter.get_input_details()))
            self.outputs = tuple(map(_tensor, self._interpreter.get_output_details()))
        except (RuntimeError, ValueError) as error:
            raise self._failed("load", error) from error

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, inputs and outputs in the file's order.

        Raises:
            ModelError: LiteRT refuses an input, or cannot compute.
        """
        try:
            for tensor, value in zip(self.inputs, inputs, strict=True):
                self._interpreter.set_tensor(tensor.index, value)
            self._interpreter.invoke()
            return [self.value(tensor) for tensor in self.outputs]
        except (RuntimeError, ValueError) as error:
            raise self._failed("run", error) from error

    @cached_property
    def tensors(self) -> tuple[LiteRTTensor, ...]:
        """All tensors in the order of the file."""
        return tuple(map(_tensor, self._interpreter.get_tensor_details()))

    @cached_property
    def made(self) -> tuple[LiteRTTensor, ...]:
        """The tensors that operations make, in the order in which they run."""
        by_index = {tensor.index: tensor for tensor in self.tensors}
        return tuple(by_index[int(i)] for one in self._operations for i in one["outputs"])

    def value(self, tensor: LiteRTTensor) -> NDArray[Any]:
        """Return what a tensor holds after the last run, or always if it is constant."""
        return np.asarray(self._interpreter.get_tensor(tensor.index))

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of the ways to call the model by names."""
        return tuple(map(str, self._interpreter.get_signature_list()))

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The names of inputs and of outputs, in the order of positions: of its first signature, if any."""
        sides = self.inputs, self.outputs
        if not self.signatures:
            inputs, outputs = ([tensor.name for tensor in side] for side in sides)
            return inputs, outputs
        runner = self._interpreter.get_signature_runner(self.signatures[0])
        given, made = runner.get_input_details(), runner.get_output_details()
        return [_name_at(given, one.index) for one in sides[0]], [
            _name_at(made, one.index) for one in sides[1]
        ]

    def undelegated(self) -> tuple[str, ...]:
        """Name the operations that XNNPACK left to LiteRT's own kernels, in the file's order.

        An operation was taken over when it lies between a delegate's inputs and its outputs.
        """
        operations = self._operations
        made_by = {int(i): o for o in operations if o["op_name"] != _DELEGATE for i in o["outputs"]}
        taken: set[int] = set()
        for delegate in (o for o in operations if o["op_name"] == _DELEGATE):
            given = {int(i) for i in delegate["inputs"]}
            open_ = {int(i) for i in delegate["outputs"]}
            while open_:
                operation = made_by.get(open_.pop())
                if operation is not None and operation["index"] not in taken:
                    taken.add(operation["index"])
                    open_ |= {int(i) for i in operation["inputs"]} - given
        left = (o for o in operations if o["op_name"] != _DELEGATE and o["index"] not in taken)
        return tuple(str(o["op_name"]) for o in left)

    @property
    def _operations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._interpreter._get_ops_details()
        return found

    def _failed(self, what: str, error: Exception) -> ModelError:
        reason = " ".join(str(error).split())  # LiteRT's may take several lines
        return ModelError(f"LiteRT cannot {what} {self._title}: {reason:.500}")


def _interpreter(source: Mapping[str, Any], threads: int, kernels: Kernels) -> Interpreter:
    with warnings.catch_warnings():
        # Reading every tensor costs memory, which is what it is for.
        warnings.simplefilter("ignore", UserWarning)
        return Interpreter(
            **source,
            num_threads=threads,
            experimental_op_resolver_type=kernels.value,
            experimental_preserve_all_tensors=kernels is Kernels.LITERT,
        )


def _tensor(detail: Mapping[str, Any]) -> LiteRTTensor:
    scale, zero = detail["quantization"]
    return LiteRTTensor(
        str(detail["name"]),
        int(detail["index"]),
        tuple(int(length) for length in detail["shape"]),
        np.dtype(detail["dtype"]).name,
        float(scale),
        int(zero),
    )


def _name_at(by_name: Mapping[str, Mapping[str, Any]], index: int) -> str:
    return next((name for name, one in by_name.items() if one["index"] == index), "?")
