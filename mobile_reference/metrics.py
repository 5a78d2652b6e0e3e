"""The metrics of gates: how far a tensor is from float's, as one table for whoever judges.

``mien verify``, the choice of variants at export and the search for precisions all judge by it. Every metric
gives a loss: 0 where two tensors are equal, the greater the worse, not a number where either tensor has
values that are not finite. So nothing that is not a number is ever within a limit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import (
    CORRELATION,
    IOU,
    MEAN,
    PSNR,
    RANK,
    RELATIVE,
    SCALAR,
    TOP1,
    GateSpec,
    PipelineSpec,
)

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Values = NDArray[np.float64]
Measure = Callable[[Values, Values, float], Any]
"""Compares a tensor of the float pipeline with another's, given the span of its values."""
Combine = Callable[[Sequence[Any]], float | None]
"""Makes a loss of what was measured of several inputs; none where none of them leaves anything to judge."""

FEW = 20
"""Ranks of fewer inputs are not judged: two equally typical ones that swap places would decide."""
# A map whose standard deviation is this part of its span has no shape that could correlate, and masks that
# cover so small a part of the pixels no overlap to speak of.
_FLAT = 0.005
_EMPTY = 1 / 1024


@dataclass(frozen=True)
class Metric:
    """One way to judge a tensor.

    ``measure`` compares the tensors of one input, ``combine`` makes one loss of several inputs. ``shown``
    turns a loss into the number that people know, such as a correlation or decibels, and ``allowed`` the
    limit of a gate into the largest loss.
    """

    label: str
    measure: Measure
    combine: Combine
    shown: Callable[[float], float] = float
    allowed: Callable[[float], float] = float

    @property
    def worst_word(self) -> str:
        """The word for the worst of several numbers as they are shown."""
        return "least" if self.shown(1.0) < self.shown(0.0) else "worst"


def measured(metric: Metric, reference: Array, other: Array, span: float) -> Any:
    """Compare one input's tensors; not a number where either has values that are not finite."""
    one, two = reference.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        return math.nan
    return metric.measure(one, two, span)


def _largest(reference: Values, other: Values, span: float) -> float:
    return float(np.abs(other - reference).max())


def _relative(reference: Values, other: Values, span: float) -> float:
    return _largest(reference, other, span) / span


def _noise(reference: Values, other: Values, span: float) -> float:
    return float(np.sqrt(np.square(other - reference).mean())) / span


def _correlation_loss(reference: Values, other: Values, span: float) -> float | None:
    """Return what Pearson's correlation lacks to 1; none where float's map is flat."""
    if reference.std() <= _FLAT * span:
        return None
    if other.std() == 0:
        return 1.0
    return max(0.0, 1 - float(np.corrcoef(reference.ravel(), other.ravel())[0, 1]))


def _iou_loss(reference: Values, other: Values, span: float) -> float | None:
    """Return what the sum of lesser values over the sum of greater ones lacks to 1.

    For masks of 0 and 1 that is intersection over union. None where both masks are empty; not a number where
    values lie below 0, for such a tensor does not mask.
    """
    if min(reference.min(), other.min()) < 0:
        return math.nan
    united = float(np.maximum(reference, other).sum())
    if united <= _EMPTY * reference.size * span:
        return None
    return 1 - float(np.minimum(reference, other).sum()) / united


def _top1_loss(reference: Values, other: Values, span: float) -> float:
    """Return the share of places whose largest value along the last axis is another."""
    return float((reference.argmax(axis=-1) != other.argmax(axis=-1)).mean())


def _pair(reference: Values, other: Values, span: float) -> tuple[float, float]:
    return float(reference.reshape(-1)[0]), float(other.reshape(-1)[0])


def worst(losses: Sequence[float | None]) -> float | None:
    """Return the largest loss; one that is not a number is larger than any."""
    judged = [loss for loss in losses if loss is not None]
    return max(judged, key=lambda loss: (math.isnan(loss), loss), default=None)


def mean(losses: Sequence[float | None]) -> float | None:
    """Return the mean of those that could be judged."""
    judged = [loss for loss in losses if loss is not None]
    return float(np.mean(judged)) if judged else None


def _rank_loss(pairs: Sequence[Any]) -> float | None:
    """Return what Spearman's coefficient lacks to 1; none for few inputs, or where float's do not differ."""
    if any(not isinstance(pair, tuple) for pair in pairs):
        return math.nan
    if len(pairs) < FEW or len({first for first, _ in pairs}) < 2:
        return None
    agreement = rank_agreement(pairs)
    return 1.0 if math.isnan(agreement) else max(0.0, 1 - agreement)


def rank_agreement(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's coefficient of pairs; equal values share their mean rank."""
    first, second = (_ranks(np.array(column)) for column in zip(*pairs, strict=True))
    if first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Values) -> Values:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def _of_one(loss: float) -> float:
    return 1 - loss


def decibels(noise: float) -> float:
    """Turn root mean square error over span into decibels, infinite for none."""
    return -20 * math.log10(noise) if noise else math.inf


def _noise_at(limit: float) -> float:
    return float(10 ** (-limit / 20))


METRICS: Mapping[str, Metric] = {
    SCALAR: Metric("error", _largest, worst),
    RELATIVE: Metric("error over span", _relative, worst),
    PSNR: Metric("PSNR dB", _noise, worst, decibels, _noise_at),
    MEAN: Metric("error, mean", _largest, mean),
    RANK: Metric("rank agreement", _pair, _rank_loss, _of_one),
    CORRELATION: Metric("correlation", _correlation_loss, mean, _of_one),
    IOU: Metric("IoU", _iou_loss, mean, _of_one),
    TOP1: Metric("top-1 agreement", _top1_loss, mean, _of_one),
}
"""By the names of the contract. A gate whose metric is not in the table that judges is not judged."""


def allowed(gate: GateSpec, variant: str, metrics: Mapping[str, Metric] = METRICS) -> float | None:
    """Return the largest loss that a gate allows a variant; none where it asks nothing, or is not known."""
    limit = gate.limit(variant)
    if limit is None or gate.metric not in metrics:
        return None
    return metrics[gate.metric].allowed(limit)


def within(loss: float | None, limit: float) -> bool | None:
    """Tell whether a loss is within what is allowed; none where there was nothing to judge."""
    return None if loss is None else loss <= limit


def measure_gate(
    gate: GateSpec,
    spec: PipelineSpec,
    reference: Arrays,
    other: Arrays,
    metrics: Mapping[str, Metric] = METRICS,
) -> Any:
    """Compare the tensors of one input by a gate; its metric's ``combine`` makes a loss of several."""
    span = spec.tensor(gate.tensor).full_scale
    return measured(metrics[gate.metric], reference[gate.tensor], other[gate.tensor], span)


def error_of(spec: PipelineSpec, reference: Arrays, other: Arrays) -> float:
    """Return the loss of one input by the first gate; not a number where nothing could be judged."""
    loss = measure_gate(spec.rating, spec, reference, other)
    return math.nan if loss is None else float(loss)
