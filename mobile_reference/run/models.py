"""Running one graph of a bundle: numpy arrays in, numpy arrays out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, GraphSpec, Tensor, Variant
from mien.mobile_reference.errors import BundleError

Arrays = Mapping[str, NDArray[Any]]
Graph = Callable[[Arrays], dict[str, NDArray[Any]]]
"""Maps inputs by name to outputs by name."""
TFLITE = "tflite"
COREML = "coreml"


class TFLiteGraph:
    """A TFLite model run by LiteRT on the CPU (XNNPACK), with its tensors taken by position.

    Names are not trusted: converters rename outputs that are also used inside. Shapes and types are
    checked against the manifest once, when the model is loaded.
    """

    def __init__(self, model: Path, spec: GraphSpec, threads: int) -> None:
        self._spec = spec
        try:
            self._interpreter = Interpreter(str(model), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())  # LiteRT's may take several lines
            raise BundleError(f"LiteRT cannot load {model}: {reason}; export the bundle again") from error
        self._inputs = _match(model, self._interpreter.get_input_details(), spec.inputs)
        self._outputs = _match(model, self._interpreter.get_output_details(), spec.outputs)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the model once."""
        for tensor, index in zip(self._spec.inputs, self._inputs, strict=True):
            self._interpreter.set_tensor(index, inputs[tensor.name])
        self._interpreter.invoke()
        return {
            tensor.name: self._interpreter.get_tensor(index)
            for tensor, index in zip(self._spec.outputs, self._outputs, strict=True)
        }


def _match(model: Path, details: list[dict[str, Any]], expected: tuple[Tensor, ...]) -> list[int]:
    """Return the tensors' indices, or say how the file differs from the manifest."""
    found = [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name) for d in details]
    wanted = [(tensor.shape, tensor.dtype) for tensor in expected]
    if found != wanted:
        raise BundleError(f"{model} has tensors {found}, its manifest says {wanted}; export the bundle again")
    return [int(detail["index"]) for detail in details]


class CoreMLGraph:
    """A Core ML package executed by mien's evaluator, with tensors as the manifest has them.

    The evaluator follows the published definitions of the operations, float16 stored and float32 summed;
    it is not Apple's runtime, and nothing it says is validated on Apple hardware.
    """

    def __init__(self, model: Path, spec: GraphSpec, threads: int) -> None:
        # Here, since it takes longer to import than all that a TFLite variant needs.
        from mien.mobile_reference.coreml import Evaluator, load_package

        self._spec = spec
        self._evaluator = Evaluator(load_package(model))

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the package once."""
        given = {t.name: as_package_has_it(inputs[t.name]) for t in self._spec.inputs}
        outputs = self._evaluator(state=None, **given)
        return {
            tensor.name: _as_manifest_has_it(np.asarray(outputs[tensor.name])).astype(tensor.dtype)
            for tensor in self._spec.outputs
        }


def as_package_has_it(array: NDArray[Any]) -> NDArray[Any]:
    """Turn pixels [1, H, W, 3] into a picture [H, W, 3], and other maps channels second."""
    if array.dtype == np.uint8:
        return np.asarray(array[0])
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def _as_manifest_has_it(array: NDArray[Any]) -> NDArray[Any]:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


_RUNNERS: Mapping[str, Callable[[Path, GraphSpec, int], Graph]] = {
    TFLITE: TFLiteGraph,
    COREML: CoreMLGraph,
}


def timed(variant: Variant) -> bool:
    """Tell whether a runtime that apps use runs the variant here, so that its time says something."""
    return variant.platform == TFLITE


def load_graph(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Graph:
    """Load the graph ``name`` of a variant."""
    return load_model(variant.platform, variant.files[name], bundle.graphs[name], threads)


def load_model(platform: str, model: Path, spec: GraphSpec, threads: int = 1) -> Graph:
    """Load a model that need not be in a bundle."""
    return _RUNNERS[platform](model, spec, threads)
