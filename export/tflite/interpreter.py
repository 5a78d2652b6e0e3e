"""LiteRT as the exporter needs it: any tensor of a model can be read."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mien.export.errors import ConversionError

_DELEGATE = "DELEGATE"


class Runner:
    """A TFLite file under LiteRT, for checks and ranges. Tensors are taken by position.

    Raises:
        ConversionError: LiteRT cannot load the model: it is cut short, or a tensor lacks its data.
    """

    def __init__(self, model: Path | bytes, resolver: OpResolverType = OpResolverType.AUTO) -> None:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        try:
            self._interpreter = _interpreter(source, resolver)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())  # LiteRT's may take several lines
            raise ConversionError(f"LiteRT cannot load what the converter made: {reason}") from error

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, inputs and outputs in the file's order."""
        for detail, value in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(d["index"]) for d in self._interpreter.get_output_details()]

    def tensors(self, names: frozenset[str]) -> dict[str, NDArray[Any]]:
        """Return tensors of the last run by name."""
        return {
            detail["name"]: self._interpreter.get_tensor(detail["index"])
            for detail in self._interpreter.get_tensor_details()
            if detail["name"] in names
        }

    def signature(self) -> tuple[list[tuple[tuple[int, ...], str]], ...]:
        """Return shapes and types of inputs and of outputs."""
        return tuple(
            [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name) for d in details]
            for details in (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        )

    def undelegated(self) -> tuple[str, ...]:
        """Name the operations that XNNPACK left to LiteRT's own kernels, in the file's order.

        An operation was taken over when it lies between a delegate's inputs and its outputs.
        """
        operations = self._interpreter._get_ops_details()
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


def _interpreter(source: dict[str, Any], resolver: OpResolverType) -> Interpreter:
    with warnings.catch_warnings():
        # Reading every tensor costs memory, which is what it is for.
        warnings.simplefilter("ignore", UserWarning)
        return Interpreter(
            **source,
            num_threads=1,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=resolver is not OpResolverType.AUTO,
        )
