"""Whether a float16 model has the weights of the float32 one, each rounded to the nearest float16.

Both files of a platform are made of one graph. Gates judge what comes out, and golden inputs forgive much:
that one of many layers has other weights may not show. Here it does, whatever the gates allow.

Weights of eight bits are not compared. They are scaled from channel to channel, and rounded by what they are
multiplied with, so that none of them need be near a float32 one; gates alone judge them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml import products as coreml
from mien.mobile_reference.run.models import COREML, TFLITE
from mien.mobile_reference.tflite import model_file as tflite

Constants = Sequence[tuple[str, NDArray[Any]]]
"""Names and values [N] of the float constants of a model."""
# The greatest and the least positive float16. coremltools writes the least for what would become 0, and
# whoever rounds may write infinity or the greatest for what is greater.
_GREATEST, _LEAST = 65504.0, 2.0**-24
# What the converters put behind a constant's name in float16.
_ADDED = ("_half", "_to_fp16")


@dataclass(frozen=True)
class WeightsResult:
    """What one float16 model has of the constants of the float32 one, the variant ``against``.

    ``compared`` is their number; ``differing`` says by name how far one is from the rounded constant, in
    shares of the largest value of it. ``unknown`` are those that the float32 model has none for.
    """

    variant: str
    stage: str
    against: str
    compared: int
    differing: Mapping[str, float]
    unknown: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether no constant is another."""
        return not self.differing


def weight_results(bundle: Bundle) -> Iterator[WeightsResult]:
    """Compare every model of the float16 variants that are looked at with the float32 one of its platform.

    Raises:
        BundleError: a file is damaged.
        PackageError: a Core ML package is.
    """
    packed = {variant.name: variant for variant in bundle.packed}
    for variant in bundle.variants:
        against = f"{variant.platform}-fp32"
        if variant.name == f"{variant.platform}-fp16" and against in packed:
            read = _READERS[variant.platform]
            for model, file in variant.files.items():
                halves, singles = read(file), read(packed[against].files[model])
                yield compare_weights(variant.name, model, against, halves, singles)


def _read_coreml(package: Path) -> Constants:
    program = load_package(package)
    return list(coreml.float_constants(program.functions[program.default_function]))


_READERS: Mapping[str, Callable[[Path], Constants]] = {TFLITE: tflite.float_constants, COREML: _read_coreml}


def compare_weights(
    variant: str, stage: str, against: str, halves: Constants, singles: Constants
) -> WeightsResult:
    """Compare the constants of a float16 model with those of a float32 one, by their names.

    Converters number some constants, and two conversions may count differently. So one that is another than
    its namesake may still be the rounded copy of any of its size.
    """
    named: dict[str, list[NDArray[Any]]] = {}
    sized: dict[int, list[NDArray[Any]]] = {}
    for name, values in singles:
        named.setdefault(name, []).append(values)
        sized.setdefault(values.size, []).append(values)
    differing, unknown = {}, []
    for name, values in halves:
        namesakes = named.get(name) or named.get(_plain(name)) or []
        others = sized.get(values.size, ())
        if _is_one_of(values, namesakes) or _is_one_of(values, others):
            continue
        if namesakes:
            differing[name] = min(_distance(values, one) for one in namesakes)
        else:
            unknown.append(name)
    return WeightsResult(variant, stage, against, len(halves) - len(unknown), differing, tuple(unknown))


def _plain(name: str) -> str:
    for ending in _ADDED:
        name = name.removesuffix(ending)
    return name


def _is_one_of(values: NDArray[Any], singles: Sequence[NDArray[Any]]) -> bool:
    return any(_is_rounded(values, single) for single in singles)


def _is_rounded(values: NDArray[Any], single: NDArray[Any]) -> bool:
    """Tell whether values are those of float32, each as near as their type has it; NaN is near nothing."""
    if values.size != single.size:
        return False
    if values.dtype != np.float16:
        return np.array_equal(values, single)
    # Not by a difference first: it would be NaN between infinities.
    nearest, there = (np.clip(one, -_GREATEST, _GREATEST).astype(np.float16) for one in (single, values))
    return bool(np.all(np.abs(there.astype(np.float32) - nearest.astype(np.float32)) <= _LEAST))


def _distance(values: NDArray[Any], single: NDArray[Any]) -> float:
    """Say how far values are from others, in shares of the largest of these; infinity for another number."""
    if values.size != single.size:
        return np.inf
    largest = float(np.abs(single).max()) or 1.0
    return float(np.abs(values.astype(np.float64) - single).max()) / largest
