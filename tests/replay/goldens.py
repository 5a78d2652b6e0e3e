"""Running two models on the golden inputs of a bundle, by the same runner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from mien.mobile_reference.coreml import Evaluator, load_package
from mien.mobile_reference.errors import BundleError

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Runnable:
    """A model with the names of its inputs."""

    inputs: tuple[str, ...]
    run: Callable[[Arrays], Arrays]


def load_tflite(file: Path) -> Runnable:
    """Load a TFLite model into LiteRT; its tensors go by the names in its signature."""
    interpreter = Interpreter(str(file), num_threads=1)
    signature = interpreter.get_signature_runner()

    def run(inputs: Arrays) -> Arrays:
        outputs: Arrays = signature(**inputs)
        return outputs

    return Runnable(tuple(signature.get_input_details()), run)


def load_coreml(package: Path) -> Runnable:
    """Load a Core ML package into mien's evaluator, which is not Apple's runtime."""
    program = load_package(package)
    evaluator = Evaluator(program)

    def run(inputs: Arrays) -> Arrays:
        given = {name: _as_package_has_it(value) for name, value in inputs.items()}
        return {name: np.asarray(value) for name, value in evaluator(state=None, **given).items()}

    inputs = program.functions[program.default_function].inputs
    return Runnable(tuple(entry.name for entry in inputs), run)


def _as_package_has_it(array: Array) -> Array:
    """Turn pixels [1, H, W, 3] into a picture [H, W, 3], and other maps channels second.

    A tensor is known by its axes: the manifest beside the model may be of any format.
    """
    if array.dtype == np.uint8:
        return np.asarray(array[0])
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart: ``equal`` bit by bit, and the ``largest`` difference.

    ``largest`` is None where there is no such number: shapes differ, an array is missing or holds what is
    not finite.
    """

    equal: bool
    largest: float | None


def array_difference(old: Array | None, new: Array | None) -> Difference:
    """Compare two arrays. What is not a number is never equal."""
    if old is None or new is None or old.shape != new.shape:
        return Difference(equal=False, largest=None)
    with np.errstate(invalid="ignore"):
        largest = float(np.abs(old.astype(np.float64) - new.astype(np.float64)).max(initial=0))
    same = old.dtype == new.dtype and old.tobytes() == new.tobytes() and not np.isnan(largest)
    return Difference(same, largest if np.isfinite(largest) else None)


def compare_on_goldens(old: Runnable, new: Runnable, goldens: Path) -> dict[str, Difference]:
    """Run both models on every golden face.

    Args:
        old: the model that was.
        new: the model that is.
        goldens: a folder of one folder for each face, with a ``.npy`` file for each tensor.

    Returns:
        The worst difference of each output over all faces, by the output's name.

    Raises:
        BundleError: there is no golden face, or one lacks an input of a model.
    """
    faces = sorted(folder for folder in goldens.iterdir() if folder.is_dir())
    if not faces:
        raise BundleError(f"{goldens} holds no golden face")
    found: dict[str, list[Difference]] = {}
    for face in faces:
        before, after = (model.run(_inputs(face, model.inputs)) for model in (old, new))
        for name in {**before, **after}:
            found.setdefault(name, []).append(array_difference(before.get(name), after.get(name)))
    return {name: _worst(differences) for name, differences in found.items()}


def _inputs(face: Path, names: tuple[str, ...]) -> dict[str, Array]:
    missing = [name for name in names if not (face / f"{name}.npy").is_file()]
    if missing:
        raise BundleError(f"{face.name} has no golden input {', '.join(missing)}")
    return {name: np.load(face / f"{name}.npy", allow_pickle=False) for name in names}


def _worst(differences: list[Difference]) -> Difference:
    known = [difference.largest for difference in differences if difference.largest is not None]
    largest = max(known) if len(known) == len(differences) else None
    return Difference(all(difference.equal for difference in differences), largest)
