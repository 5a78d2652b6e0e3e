"""How far the tensors of a pipeline's float graphs reached on inputs that need not be there any more.

A range holds what calibration inputs reach. The samples that come with a pipeline may be few, and pictures of
people are not for every repository; how far tensors reached on them may be. This command runs the float
TFLite models on folders of inputs and writes it down; an export then widens its own ranges by it. It holds
for the weights that it was found with alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.errors import ExportError
from mien.mobile_reference.files import check_size
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text, parse_json
from mien.mobile_reference.tflite.flatbuffer import activation_ranks
from mien.mobile_reference.tflite.litert import Kernels
from mien.models.pipeline import Pipeline

from .interpreter import Runner
from .passes.scale_inputs import Reaches, scaled_inputs
from .ranges import Arrays, Histogram, Histograms, Range

_MAX_BYTES = 4 << 20
_DIGITS = 6


@dataclass(frozen=True)
class Reach:
    """How far one model's tensors reached: the range of each, and of some the magnitude of every channel."""

    ranges: Mapping[str, Range]
    channels: Reaches


NOTHING = Reach({}, {})


@dataclass(frozen=True)
class KnownReach:
    """What tensors of a pipeline with some ``weights`` reached on inputs: how many, from which files."""

    weights: str
    inputs: int
    files: tuple[str, ...]
    models: Mapping[str, Reach]


def known_reach(pipeline: Pipeline) -> KnownReach | None:
    """Return what is known of a pipeline's tensors; None where nothing is, or of other weights.

    Raises:
        ExportError: the file is none that ``write_reach`` wrote.
    """
    found = read_reach(pipeline.reach) if pipeline.reach else None
    return found if found and found.weights == pipeline.weights else None


def reach_of_model(pipeline: Pipeline, name: str) -> Reach:
    """Return what is known of the model ``name`` of a pipeline."""
    known = known_reach(pipeline)
    return known.models.get(name, NOTHING) if known else NOTHING


def not_known(pipeline: Pipeline) -> tuple[str, ...]:
    """Say that ranges come from this export's inputs alone though others are stored."""
    if pipeline.reach is None or known_reach(pipeline):
        return ()
    return (
        f"the stored ranges are of weights {read_reach(pipeline.reach).weights[:12]}, these are "
        f"{pipeline.weights[:12]}: int8 has the ranges of the calibration inputs alone; give --calibration "
        "many that are like those to come",
    )


def extents(
    component: Component, model: bytes, samples: Iterable[Arrays], names: Collection[str]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Watch the least and the greatest value of every channel, the last axis, of float tensors of a model."""
    found: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    wanted = frozenset(activation_ranks(model)).intersection(names)
    if not wanted:
        return found
    runner = Runner(model, Kernels.LITERT)
    for sample in samples:
        runner.run([sample[name] for name in component.inputs])
        for name, values in runner.tensors(wanted).items():
            rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
            least, greatest = rows.min(axis=0), rows.max(axis=0)
            before = found.get(name, (least, greatest))
            found[name] = np.minimum(before[0], least), np.maximum(before[1], greatest)
    return found


def reached(found: Histograms, model: bytes, reach: Reach) -> dict[str, Histogram]:
    """Widen histograms of a ``model``'s tensors by what they reached on other inputs."""
    if not reach.ranges:
        return dict(found)
    ranges = {
        name: (0.0 if found[name].low >= 0 else -1.0, 1.0) for name in scaled_inputs(model) & found.keys()
    }
    ranges |= reach.ranges
    return {
        name: histogram.reaching(*ranges[name]) if name in ranges else histogram
        for name, histogram in found.items()
    }


def read_reach(file: Path) -> KnownReach:
    """Read what ``write_reach`` wrote.

    Raises:
        ExportError: the file is not one.
    """
    try:
        check_size(file, _MAX_BYTES)
        stored = parse_json(file.read_bytes())
        models = {
            name: Reach(
                {tensor: _range(ends) for tensor, ends in one["ranges"].items()},
                {tensor: _magnitudes(ends) for tensor, ends in one["channels"].items()},
            )
            for name, one in stored["models"].items()
        }
        return KnownReach(
            str(stored["weights"]), int(stored["inputs"]), tuple(map(str, stored["files"])), models
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{file} says of no tensor how far it reaches ({error}); write it with "
            "python -m mien.export.reach"
        ) from error


def _range(ends: Sequence[float]) -> Range:
    low, high = map(_number, ends)
    if low > high:
        raise ValueError(f"a range from {low} to {high}")
    return low, high


def _magnitudes(ends: Sequence[float]) -> NDArray[np.float64]:
    found = np.array([_number(end) for end in ends])
    if not found.size or found.min() < 0:
        raise ValueError("magnitudes of channels that are none, or below 0")
    return found


def _number(value: object) -> float:
    """Return a number; of a text ``float`` would make one too, and of "nan" none that can be compared."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    return float(value)


def write_reach(known: KnownReach, output: OutputFile) -> None:
    """Write it as JSON, numbers with six digits: a range moves by less than a thousandth of a step."""
    models = {
        name: {
            "ranges": {tensor: _short(ends) for tensor, ends in sorted(one.ranges.items())},
            "channels": {tensor: _short(ends) for tensor, ends in sorted(one.channels.items())},
        }
        for name, one in known.models.items()
    }
    plain = {"weights": known.weights, "inputs": known.inputs, "files": list(known.files), "models": models}
    output.write(json_text(plain, indent=0) + "\n")


def _short(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [float(f"{float(value):.{_DIGITS}g}") for value in values]
