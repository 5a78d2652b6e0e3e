"""LiteRT as the exporter needs it: what it refuses is a converter's fault."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien.export.errors import ConversionError
from mien.mobile_reference.errors import ModelError
from mien.mobile_reference.tflite.litert import Kernels, LiteRTModel


class Runner:
    """A TFLite file under LiteRT, for checks and ranges. Tensors are taken by position.

    Raises:
        ConversionError: LiteRT cannot load or run the model: it is cut short, or a tensor lacks its data.
    """

    def __init__(self, model: Path | bytes, kernels: Kernels = Kernels.XNNPACK) -> None:
        try:
            self._model = LiteRTModel(model, kernels=kernels)
        except ModelError as error:
            raise ConversionError(f"what the converter made is damaged: {error}") from error

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, inputs and outputs in the file's order."""
        try:
            return self._model.run(inputs)
        except ModelError as error:
            raise ConversionError(f"what the converter made is damaged: {error}") from error

    def tensors(self, names: frozenset[str]) -> dict[str, NDArray[Any]]:
        """Return tensors of the last run by name."""
        return {one.name: self._model.value(one) for one in self._model.tensors if one.name in names}

    def signature(self) -> tuple[list[tuple[tuple[int, ...], str]], ...]:
        """Return shapes and types of inputs and of outputs."""
        inputs, outputs = (
            [(tensor.shape, tensor.dtype) for tensor in side]
            for side in (self._model.inputs, self._model.outputs)
        )
        return inputs, outputs

    def undelegated(self) -> tuple[str, ...]:
        """Name the operations that XNNPACK left to LiteRT's own kernels, in the file's order."""
        return self._model.undelegated()
