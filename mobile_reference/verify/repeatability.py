"""One model, one face, one score: whatever kernels, threads, order or process compute it (TFLite only)."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import APPRAISAL, Bundle
from mien.mobile_reference.run.models import TFLITE

Faces = Sequence[NDArray[Any]]
XNNPACK = OpResolverType.BUILTIN
REFERENCE_KERNELS = OpResolverType.BUILTIN_REF
"""The plain loops that define what an operation means; XNNPACK is what apps run."""


@dataclass(frozen=True)
class Repeat:
    """The greatest difference of the golden faces' scores when ``changed`` differs, in points.

    Kernels add up in another order and round int8 in other places, so they have the variant's own gate;
    the others must change nothing.
    """

    variant: str
    changed: str
    points: float
    limit: float


def repeats(bundle: Bundle, progress: Callable[[str], None]) -> list[Repeat]:
    """Rate the golden faces of every TFLite variant in five ways, and compare with the plain one."""
    faces = [golden.read("face") for golden in bundle.goldens]
    found = []
    for variant in bundle.variants:
        if variant.platform == TFLITE:
            progress(f"{variant.name}: kernels, threads, order, processes")
            found += _variant_repeats(variant.name, variant.files[APPRAISAL], variant.gate, faces)
    return found


def _variant_repeats(name: str, model: Path, gate: float, faces: Faces) -> list[Repeat]:
    plain = scores(model, faces)
    # Forked from nothing, so that the other process shares no state with this one.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(scores, model, faces).result()
    others = (
        ("reference kernels", scores(model, faces, REFERENCE_KERNELS), gate),
        ("four threads", scores(model, faces, threads=4), 0.0),
        ("order", scores(model, faces[::-1])[::-1], 0.0),
        ("process", elsewhere, 0.0),
    )
    return [Repeat(name, changed, _apart(plain, other), limit) for changed, other, limit in others]


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the greatest difference; not a number when any score is not one."""
    differences = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return max(differences, key=lambda points: (points != points, points))


def scores(model: Path, faces: Faces, resolver: OpResolverType = XNNPACK, threads: int = 1) -> list[float]:
    """Rate aligned faces [1, 256, 256, 3] with a one-graph model, whose first output is the score."""
    interpreter = Interpreter(str(model), num_threads=threads, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    score = interpreter.get_output_details()[0]["index"]
    found = []
    for face in faces:
        interpreter.set_tensor(source, face)
        interpreter.invoke()
        found.append(float(interpreter.get_tensor(score)[0]))
    return found
