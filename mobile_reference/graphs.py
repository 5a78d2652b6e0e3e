"""Running one graph of a bundle: numpy arrays in, numpy arrays out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from .bundle import Bundle, GraphSpec, Tensor, Variant
from .errors import BundleError, UsageError

Arrays = Mapping[str, NDArray[Any]]
Graph = Callable[[Arrays], dict[str, NDArray[Any]]]
"""Maps inputs by name to outputs by name."""
TFLITE = "tflite"


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


# Platforms whose models can be executed here.
_RUNNERS: Mapping[str, Callable[[Path, GraphSpec, int], Graph]] = {TFLITE: TFLiteGraph}


def executable(variant: Variant) -> bool:
    """Tell whether this machine can run the variant's models."""
    return variant.platform in _RUNNERS


def load_graph(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Graph:
    """Load the graph ``name`` of a variant."""
    if not executable(variant):
        raise UsageError(f"variant '{variant.name}' cannot be executed here; choose a tflite variant")
    return _RUNNERS[variant.platform](variant.files[name], bundle.graphs[name], threads)
