"""A TFLite model that asks for half-float arithmetic, computed in it on this processor.

XNNPACK takes its half-float kernels by itself on ARM alone. On x86 it has them too, of F16C and AVX2, but
must be made to take them, which LiteRT's ``CompiledModel`` can. Those round what they make to half floats,
and may keep sums in more digits than ARM's do. On both some work stays float32, as what follows the bilinear
resizing of a map.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.errors import ModelError

from .flatbuffer import parse, serialise
from .litert import Kernels, LiteRTModel
from .model_file import asks_for_half

FORCED = (
    "half floats, where XNNPACK has kernels for them on this processor; a phone's may sum in fewer digits"
)
FLOAT32 = "float32, for XNNPACK has no half-float kernels on this processor; phones compute in half floats"
# TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16 of xnnpack_delegate.h.
_FORCE_FP16 = 4
# What LiteRT's exceptions are made of: its wrapper has no type of its own for them.
_ERRORS = (RuntimeError, ValueError, TypeError)


class HalfModel:
    """A TFLite file computed in half floats; inputs and outputs are taken by position, as of LiteRTModel.

    Raises:
        ModelError: LiteRT cannot load the model.
    """

    def __init__(self, model: Path | bytes, threads: int = 1) -> None:
        self._title = "the model" if isinstance(model, bytes) else str(model)
        # It says what the file holds, and refuses one that is damaged.
        plain = LiteRTModel(model, threads, Kernels.REFERENCE)
        self.inputs, self.outputs = plain.inputs, plain.outputs
        self._content = _unsigned(model if isinstance(model, bytes) else model.read_bytes())
        # Imported here: who runs no such model does not load it.
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_options import CpuOptions
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import Options

        options = Options(
            hardware_accelerators=HardwareAccelerator.CPU,
            cpu_options=CpuOptions(num_threads=threads, xnnpack_flags=_FORCE_FP16),
        )
        try:
            self._model = CompiledModel.from_buffer(self._content, options=options)
            self._given = self._model.create_input_buffers(0)
            self._made = self._model.create_output_buffers(0)
        except _ERRORS as error:
            raise self._failed("load", error) from error

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, inputs and outputs in the file's order.

        Raises:
            ModelError: LiteRT refuses an input, or cannot compute.
        """
        try:
            for buffer, tensor, value in zip(self._given, self.inputs, inputs, strict=True):
                buffer.write(np.ascontiguousarray(value, tensor.dtype).reshape(tensor.shape))
            self._model.run_by_index(0, self._given, self._made)
            return [
                buffer.read(int(np.prod(tensor.shape)), np.dtype(tensor.dtype).type).reshape(tensor.shape)
                for buffer, tensor in zip(self._made, self.outputs, strict=True)
            ]
        except _ERRORS as error:
            raise self._failed("run", error) from error

    def _failed(self, what: str, error: Exception) -> ModelError:
        return ModelError(
            f"LiteRT cannot {what} {self._title} in half floats: {' '.join(str(error).split()):.500}"
        )


def arithmetic(model: Path) -> str | None:
    """Say what a model that asks for half floats is computed in here; None for one that does not ask."""
    if not asks_for_half(model):
        return None
    return FORCED if computes_in_half() else FLOAT32


@cache
def computes_in_half() -> bool:
    """Tell whether XNNPACK computes in half floats here: a sum that they cannot hold shows it."""
    fine = np.full((1, 8), 1 + 2.0**-20, np.float32)
    try:
        (made,) = HalfModel(_doubling()).run([fine])
    except ModelError:  # without kernels it refuses to be made to take them
        return False
    return bool((made == 2).all())


def _doubling() -> bytes:
    """Return a model that adds its input to itself, [1, 8]."""
    model, graph, add, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for name, tensor in zip((b"x", b"y"), graph.tensors, strict=True):
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 8], schema.TensorType.FLOAT32, 0
    add.inputs, add.outputs, add.opcodeIndex = [0, 0], [1], 0
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    graph.inputs, graph.outputs, graph.operators = [0], [1], [add]
    model.version, model.buffers = 3, [schema.BufferT()]
    model.subgraphs, model.operatorCodes = [graph], [code]
    return serialise(model)


def _unsigned(model: bytes) -> bytes:
    """Leave signatures out, so that inputs and outputs are in the order of the graph."""
    parsed = parse(model)
    parsed.signatureDefs = None
    return serialise(parsed)
