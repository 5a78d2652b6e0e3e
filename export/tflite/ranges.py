"""Activation ranges: what every tensor of a float graph reaches on faces that came through the pipeline.

One pass over the faces keeps a histogram of every tensor; from it follow the ranges by three methods, of
which the score chooses (``search``).
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.tflite.flatbuffer import activation_ranks, activation_sizes
from mien.mobile_reference.tflite.litert import Kernels

from .interpreter import Runner

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name, channels last."""
Range = tuple[float, float]
"""The least and the greatest value that a tensor's eight bits reach."""
_BINS = 512
# A map of more values is looked at with a stride; its least and greatest value are still those of all.
_VALUES = 1 << 14
# What percentile leaves out at each end.
_TAIL = 1e-4
_STEPS = 255
_SHRINKS = np.linspace(0.3, 1.0, 36)
_CLIPPED = 0.05
_ENOUGH, _FEWEST = 1_000_000, 16


class Method(StrEnum):
    """How a range follows from the values that a tensor had."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(frozen=True)
class Histogram:
    """The values of one tensor over all faces: a histogram of equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of every bin."""
        width = (self.high - self.low) / len(self.counts)
        return np.asarray(self.low + (np.arange(len(self.counts)) + 0.5) * width, np.float64)

    def stretched(self, reach: float) -> "Histogram":
        """Return the same for values that are ``reach`` times as large."""
        return Histogram(self.low * reach, self.high * reach, self.counts)

    def reaching(self, low: float, high: float) -> "Histogram":
        """Return the same over a range that reaches to ``low`` and ``high`` too; nothing is counted there."""
        least, greatest = min(self.low, low), max(self.high, high)
        return _weighted(self.centres, self.counts, least, greatest)

    def within(self, low: float, high: float) -> "Histogram":
        """Return the same for values that are cut at ``low`` and ``high``."""
        least, greatest = (min(max(end, low), high) for end in (self.low, self.high))
        return _weighted(self.centres.clip(least, greatest), self.counts, least, greatest)


Histograms = Mapping[str, Histogram]
"""Histograms by tensor."""


def histograms(
    component: Component, model: bytes, samples: Sequence[Arrays], wanted: Collection[str] | None = None
) -> dict[str, Histogram]:
    """Watch float tensors of ``component``, as the ``model`` has them, over the samples.

    Those that are ``wanted``, or else all: of a large graph every one costs a copy of hundreds of megabytes.
    """
    runner = Runner(model, Kernels.LITERT)
    names = frozenset(activation_ranks(model))
    names = names if wanted is None else names.intersection(wanted)
    seen: dict[str, list[Histogram]] = {}
    for sample in samples:
        runner.run([sample[name] for name in component.inputs])
        for name, values in runner.tensors(names).items():
            seen.setdefault(name, []).append(_histogram(values.ravel()))
    return {name: _joined(parts) for name, parts in seen.items()}


def widened(found: Histograms, others: Histograms) -> dict[str, Histogram]:
    """Join every histogram with what its tensor reaches elsewhere, where it is there."""
    return {
        name: _joined([histogram, others[name]]) if name in others else histogram
        for name, histogram in found.items()
    }


def with_headroom(found: Histograms, model: bytes, samples: int) -> dict[str, Histogram]:
    """Widen histograms of tensors of which few values were seen, over ``samples`` runs of a float ``model``.

    The largest of n values of a normal distribution lies near the square root of 2 ln n deviations; every
    tensor is given the room that ``_ENOUGH`` values would have taken.
    """
    sizes = activation_sizes(model)
    return {name: histogram.stretched(_reach(sizes[name] * samples)) for name, histogram in found.items()}


def _reach(count: int) -> float:
    return math.sqrt(math.log(_ENOUGH) / math.log(min(max(count, _FEWEST), _ENOUGH)))


def _histogram(values: NDArray[np.float32]) -> Histogram:
    # The ends tell whether all between them is finite, at a third of the cost of asking every value.
    if not values.size or not (np.isfinite(values.min()) and np.isfinite(values.max())):
        # Such as the logarithm of what an int8 block rounded to zero: it has no place in eight bits.
        values = values[np.isfinite(values)]
        values = values if values.size else np.zeros(1, np.float32)
    low, high = float(values.min()), float(values.max())
    some = values[:: -(-values.size // _VALUES)]
    if 0 < high - low < _BINS * np.spacing(np.float32(max(abs(low), abs(high)))):
        some = some.astype(np.float64)  # whose numbers lie closer, so that every bin has borders
    counts, _ = np.histogram(some, _BINS, (low, high) if high > low else (low, low + 1))
    return Histogram(low, high, counts / len(some))


def _joined(parts: Sequence[Histogram]) -> Histogram:
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    centres = np.concatenate([part.centres for part in parts])
    weights = np.concatenate([part.counts for part in parts]) / len(parts)
    return _weighted(centres, weights, low, high)


def _weighted(
    values: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float
) -> Histogram:
    counts, _ = np.histogram(values, _BINS, (low, high) if high > low else (low, low + 1), weights=weights)
    return Histogram(low, high, counts)


def _min_max(histogram: Histogram) -> Range:
    """Reach every value that was seen."""
    return histogram.low, histogram.high


def _percentile(histogram: Histogram) -> Range:
    """Leave out the outermost ten-thousandth at each end; bins are never cut."""
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    width = (histogram.high - histogram.low) / len(share)
    first = int(np.searchsorted(share, _TAIL, side="right"))
    last = int(np.searchsorted(share, 1 - _TAIL, side="left"))
    return histogram.low + first * width, histogram.low + (last + 1) * width


def _least_squares(histogram: Histogram) -> Range:
    """Take the shrunk range whose rounding and clipping have the least mean square."""

    def error(shrink: float) -> float:
        low, high = histogram.low * shrink, histogram.high * shrink
        outside = histogram.centres - histogram.centres.clip(low, high)
        return float(((high - low) / _STEPS) ** 2 / 12 + (histogram.counts * outside**2).sum())

    best = min(_SHRINKS, key=error)
    return histogram.low * best, histogram.high * best


_METHODS: Mapping[Method, Callable[[Histogram], Range]] = {
    Method.MIN_MAX: _min_max,
    Method.PERCENTILE: _percentile,
    Method.MSE: _least_squares,
}


def joined_ranges(found: Iterable[tuple[str, Range]]) -> dict[str, Range]:
    """Give every name the least range that holds all of its own."""
    held: dict[str, Range] = {}
    for name, (low, high) in found:
        least, greatest = held.get(name, (low, high))
        held[name] = min(low, least), max(high, greatest)
    return held


def ranges_by(method: Method, found: Histograms) -> dict[str, Range]:
    """Turn histograms into ranges."""
    return {name: _METHODS[method](histogram) for name, histogram in found.items()}


def range_warnings(found: Histograms, ranges: Mapping[str, Range]) -> Iterator[str]:
    """Say which tensors no sample moved, and which their ranges cut off."""
    for name, histogram in found.items():
        low, high = ranges[name]
        outside = (histogram.centres < low) | (histogram.centres > high)
        share = float(histogram.counts[outside].sum())
        if histogram.low == histogram.high == 0:
            yield f"{name} never left zero: no calibration input uses it; add inputs that do"
        elif share > _CLIPPED:
            yield f"{name} has {share:.0%} of its values outside its range; calibrate with other inputs"


def write_ranges(ranges: Mapping[str, Range], file: Path) -> None:
    """Write ranges as JSON: [least, greatest] by tensor."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json_text({name: list(ends) for name, ends in sorted(ranges.items())}, indent=1) + "\n")


def read_ranges(file: Path) -> dict[str, Range]:
    """Read what ``write_ranges`` wrote."""
    return {name: (low, high) for name, (low, high) in json.loads(file.read_text()).items()}


def write_histograms(found: Histograms, file: Path) -> None:
    """Write histograms as JSON."""
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(json_text({n: [s.low, s.high, s.counts.tolist()] for n, s in sorted(found.items())}))


def read_histograms(file: Path) -> dict[str, Histogram]:
    """Read what ``write_histograms`` wrote."""
    stored = json.loads(file.read_text())
    return {name: Histogram(low, high, np.array(counts)) for name, (low, high, counts) in stored.items()}
