"""One model, one face, one score: whatever kernels, threads, order or process compute it (TFLite only)."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.metrics import error_of
from mien.mobile_reference.report.steps import Part, counted
from mien.mobile_reference.run.models import TFLITE
from mien.mobile_reference.tflite.litert import Kernels, LiteRTModel

Array = NDArray[Any]
Inputs = Sequence[Sequence[Array]]
"""What a model is given, by its inputs in the file's order, for several runs."""


@dataclass(frozen=True)
class Repeat:
    """The greatest difference of the golden inputs' ratings when ``changed`` differs, by the first gate.

    Kernels add up in another order and round int8 in other places, so they have the variant's own gate;
    the others must change nothing.
    """

    variant: str
    changed: str
    error: float
    limit: float


def repeats(bundle: Bundle, progress: Callable[[Part], None]) -> list[Repeat]:
    """Rate the golden inputs of every TFLite variant in five ways, and compare with the plain one."""
    whole, found = bundle.spec.whole, []
    if whole is None:
        return []
    inputs = [[golden.read(name) for name in whole.inputs] for golden in bundle.goldens]
    place = whole.outputs.index(bundle.spec.rating.tensor)
    judged = [variant for variant in bundle.variants if variant.platform == TFLITE]
    tell = counted(progress, len(judged))
    for variant in judged:
        tell(f"{variant.name}: kernels, threads, order, processes")
        rated = partial(ratings, variant.files[whole.name], place=place)
        found += _variant_repeats(bundle.spec, variant.name, variant.tolerance, rated, inputs)
    return found


def _variant_repeats(
    spec: PipelineSpec, name: str, tolerance: float, rated: Callable[..., list[Array]], inputs: Inputs
) -> list[Repeat]:
    plain = rated(inputs)
    # Forked from nothing, so that the other process shares no state with this one.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(rated, inputs).result()
    others = (
        ("reference kernels", rated(inputs, kernels=Kernels.REFERENCE), tolerance),
        ("four threads", rated(inputs, threads=4), 0.0),
        ("order", rated(inputs[::-1])[::-1], 0.0),
        ("process", elsewhere, 0.0),
    )
    return [Repeat(name, changed, _apart(spec, plain, other), limit) for changed, other, limit in others]


def _apart(spec: PipelineSpec, one: Sequence[Array], other: Sequence[Array]) -> float:
    """Return the greatest error; not a number when any is not one."""
    name = spec.rating.tensor
    errors = [error_of(spec, {name: a}, {name: b}) for a, b in zip(one, other, strict=True)]
    return max(errors, key=lambda error: (error != error, error))


def ratings(
    model: Path, inputs: Inputs, place: int, kernels: Kernels = Kernels.XNNPACK, threads: int = 1
) -> list[Array]:
    """Return what an end-to-end model makes of several inputs as its output number ``place``."""
    loaded = LiteRTModel(model, threads, kernels)
    return [loaded.run(given)[place].copy() for given in inputs]
