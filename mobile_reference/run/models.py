"""Running one model of a bundle: numpy arrays in, numpy arrays out, by the names of the contract."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.contract import PICTURE, PipelineSpec, TensorSpec
from mien.mobile_reference.errors import BundleError, ModelError
from mien.mobile_reference.tflite.half_words import may_ask_for_half
from mien.mobile_reference.tflite.litert import LiteRTModel, LiteRTTensor

from .threads import computing_threads

Arrays = Mapping[str, NDArray[Any]]
Model = Callable[[Arrays], dict[str, NDArray[Any]]]
"""Maps inputs by name to outputs by name."""
Tensors = tuple[TensorSpec, ...]
EXPORT_AGAIN = "export the bundle again"
"""What to do about a model that cannot be run, where nothing but the model can be at fault."""
TFLITE = "tflite"
COREML = "coreml"


class Loaded(Protocol):
    """A TFLite model that LiteRT has loaded, with its tensors by position."""

    inputs: tuple[LiteRTTensor, ...]
    outputs: tuple[LiteRTTensor, ...]

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once."""
        ...


def on_cpu(model: Path, threads: int) -> Loaded:
    """Load a model for the CPU, to compute in half floats where it asks and this processor can."""
    if may_ask_for_half(model):
        # Imported here: it takes a twentieth of a first rating, and few models ask.
        from mien.mobile_reference.tflite.half import HalfModel, computes_in_half
        from mien.mobile_reference.tflite.model_file import asks_for_half

        if asks_for_half(model) and computes_in_half():
            return HalfModel(model, threads)
    return LiteRTModel(model, threads)


class TFLiteModel:
    """A TFLite model run by LiteRT, with its tensors taken by position; on the CPU (XNNPACK) if not said.

    One that asks for half floats is computed in them where this processor can. Shapes and types are checked
    against the contract once, when the model is loaded. ``remedy`` says what to do where it fails.
    """

    def __init__(
        self,
        model: Path,
        inputs: Tensors,
        outputs: Tensors,
        threads: int,
        load: Callable[[Path, int], Loaded] = on_cpu,
        remedy: str = EXPORT_AGAIN,
    ) -> None:
        self._file, self._inputs, self._outputs, self._remedy = model, inputs, outputs, remedy
        try:
            self._model = load(model, threads)
        except ModelError as error:
            raise self._failed(error) from error
        _match(model, self._model.inputs, inputs)
        _match(model, self._model.outputs, outputs)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the model once.

        Raises:
            BundleError: it fails, or makes tensors of other shapes than it declares.
        """
        try:
            made = self._model.run([inputs[tensor.name] for tensor in self._inputs])
        except ModelError as error:
            raise self._failed(error) from error
        for tensor, array in zip(self._outputs, made, strict=True):
            if array.shape != tensor.shape:
                raise self._failed(
                    f"LiteRT cannot run {self._file}: {tensor.name} became {array.shape}, not {tensor.shape}"
                )
        return {tensor.name: array for tensor, array in zip(self._outputs, made, strict=True)}

    def _failed(self, reason: object) -> BundleError:
        return BundleError(f"{reason}; {self._remedy}")


def _match(model: Path, tensors: Sequence[LiteRTTensor], expected: Tensors) -> None:
    """Say how the file differs from the manifest, if it does."""
    found = [(tensor.shape, tensor.dtype) for tensor in tensors]
    wanted = [(tensor.shape, tensor.dtype) for tensor in expected]
    if found != wanted:
        raise BundleError(f"{model} has tensors {found}, its manifest says {wanted}; export the bundle again")


class CoreMLModel:
    """A Core ML package executed by mien's evaluator, with tensors as the manifest has them.

    The evaluator follows the published definitions of the operations, float16 stored and float32 summed;
    it is not Apple's runtime, and nothing it says is validated on Apple hardware.
    """

    def __init__(self, model: Path, inputs: Tensors, outputs: Tensors, threads: int) -> None:
        # Imported here: who rates with TFLite alone does not load the evaluator's operations.
        from mien.mobile_reference.coreml import Evaluator, load_package

        self._file, self._inputs, self._outputs, self._threads = model, inputs, outputs, threads
        with computing_threads(threads):
            self._evaluator = Evaluator(load_package(model))

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the package once."""
        given = {tensor.name: as_package_has_it(inputs[tensor.name], tensor) for tensor in self._inputs}
        with computing_threads(self._threads):
            outputs = self._evaluator(state=None, **given)
        return {tensor.name: self._made(np.asarray(outputs[tensor.name]), tensor) for tensor in self._outputs}

    def _made(self, array: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
        if array.shape != tensor.channels_second:
            raise BundleError(
                f"{self._file} makes {tensor.name} of shape {array.shape}, its manifest says "
                f"{tensor.channels_second}; export the bundle again"
            )
        return _as_manifest_has_it(array, tensor).astype(tensor.dtype)


def as_package_has_it(array: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    """Turn pixels [1, H, W, 3] into a picture [H, W, 3] or [H, W], and other maps channels second."""
    if tensor.layout != PICTURE:
        return array
    if not tensor.image:
        return array.transpose(0, 3, 1, 2)
    return np.asarray(array[0, :, :, 0] if array.shape[3] == 1 else array[0])


def _as_manifest_has_it(array: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    return array.transpose(0, 2, 3, 1) if tensor.layout == PICTURE else array


_RUNNERS: Mapping[str, Callable[[Path, Tensors, Tensors, int], Model]] = {
    TFLITE: TFLiteModel,
    COREML: CoreMLModel,
}


def timed(variant: Variant) -> bool:
    """Tell whether a runtime that apps use runs the variant here, so that its time says something."""
    return variant.platform == TFLITE


def load_model(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Model:
    """Load the model ``name`` of a variant."""
    return open_model(variant.platform, variant.files[name], bundle.spec, name, threads)


def open_model(platform: str, file: Path, spec: PipelineSpec, name: str, threads: int = 1) -> Model:
    """Load a file, which need not be in a bundle, as the model ``name`` of a pipeline."""
    model = spec.model(name)
    return _RUNNERS[platform](file, spec.tensors_of(model.inputs), spec.tensors_of(model.outputs), threads)
