"""Sorting, filling, counting, and the suppression of overlapping boxes."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, exact, op

from .shape import room_for


@exact("band_part")
def band_part(x: Array, lower: int = -1, upper: int = -1) -> Any:
    """Zeros outside a band around the diagonal; a negative width keeps that side whole."""
    rows, columns = np.indices(x.shape[-2:], sparse=True)
    kept = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return np.where(kept, x, x.dtype.type(0))


@op("cumsum")
def cumsum(
    x: Array,
    axis: int = 0,
    exclusive: bool = False,
    reverse: bool = False,
) -> Any:
    """Running sums, with or without the element itself, from either end."""
    turned = np.flip(x, axis) if reverse else x
    total = np.cumsum(turned, axis=axis, dtype=x.dtype)
    if exclusive:
        total = total - turned
    return np.flip(total, axis) if reverse else total


@exact("fill")
def fill(shape: Ints, value: Array | None = None) -> Any:
    """A tensor of one value."""
    return np.full(room_for(shape), np.float32(0) if value is None else value)


@exact("fill_like", "CoreML6", "CoreML7", "CoreML8")
def fill_like(ref_tensor: Array, value: Array | None = None) -> Any:
    """A tensor of one value, shaped as another."""
    return np.full(ref_tensor.shape, np.float32(0) if value is None else value)


@exact("range_1d")
def range_1d(end: Array, start: Array, step: Array) -> Any:
    """start, start + step, ... before end."""
    first, last, stride = end.dtype.type(start), end.dtype.type(end), end.dtype.type(step)
    count = int(np.ceil((float(last) - float(first)) / float(stride)))
    (size,) = room_for((max(count, 0),))
    return (first + np.arange(size) * stride).astype(end.dtype)


@exact("non_zero")
def non_zero(x: Array) -> Any:
    """Indices of the elements that are not zero, one row each."""
    return np.argwhere(x).astype(np.int32)


@exact("one_hot")
def one_hot(
    indices: Array,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Array | None = None,
    off_value: Array | None = None,
) -> Any:
    """A new axis that is ``on_value`` at the index and ``off_value`` elsewhere."""
    (size,) = room_for((one_hot_vector_size,))
    on: Any = np.int32(1) if on_value is None else on_value
    off: Any = np.int32(0) if off_value is None else off_value
    hot = indices[..., np.newaxis] == np.arange(size)
    return np.moveaxis(np.where(hot, on, off), -1, axis)


@exact("argsort")
def argsort(x: Array, axis: int = -1, ascending: bool = False) -> Any:
    """Indices that sort; equals keep their order."""
    return _order(x, axis, ascending=ascending).astype(np.int32)


def _order(x: Array, axis: int, *, ascending: bool) -> Any:
    if ascending:
        return np.argsort(x, axis=axis, kind="stable")
    # Sorting the reversed axis and reversing the result keeps equals in order, for every type.
    backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - backwards, axis)


@exact("topk")
def topk(
    x: Array,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Any:
    """The ``k`` largest or smallest along ``axis``, sorted, and where they are; -1 takes all."""
    count = x.shape[axis] if k == -1 else k
    places = np.take(_order(x, axis, ascending=ascending), range(count), axis=axis)
    values = np.take_along_axis(x, places, axis)
    if not return_indices:
        return values
    return values, places.astype(dtypes.from_name(output_indices_dtype).dtype)


@dataclass(frozen=True)
class _Suppression:
    """The rule by which boxes (n, 4: centre and size) are kept, best score first."""

    iou: float
    score: float
    most: int
    per_class: bool

    def kept(self, boxes: Array, scores: Array) -> list[int]:
        best = scores.max(axis=-1)
        classes = scores.argmax(axis=-1) if self.per_class else np.zeros(len(boxes), dtype=int)
        overlap = _overlaps(boxes.astype(np.float64))
        chosen: list[int] = []
        for i in np.argsort(-best, kind="stable"):
            hidden = any(overlap[i, j] > self.iou and classes[i] == classes[j] for j in chosen)
            if best[i] > self.score and not hidden:
                chosen.append(int(i))
        return chosen[: self.most]


def _overlaps(boxes: Array) -> Any:
    """Intersection over union of every pair; 0 where both are empty."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = np.maximum(sides, 0).prod(axis=-1)
    area = boxes[:, 2] * boxes[:, 3]
    union = area[:, None] + area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _suppressed(boxes: Array, scores: Array, rule: _Suppression) -> tuple[Any, Any, Any, Any]:
    """Boxes, scores, indices (-1 beyond the kept ones) and counts, batch by batch."""
    n, most = boxes.shape[0], rule.most
    room_for((n, most, scores.shape[-1]))
    kept_boxes = np.zeros((n, most, 4), dtype=boxes.dtype)
    kept_scores = np.zeros((n, most, scores.shape[-1]), dtype=scores.dtype)
    indices = np.full((n, most), -1, dtype=np.int32)
    counts = np.zeros(n, dtype=np.int32)
    for item in range(n):
        chosen = rule.kept(boxes[item], scores[item])
        counts[item] = len(chosen)
        kept_boxes[item, : len(chosen)] = boxes[item, chosen]
        kept_scores[item, : len(chosen)] = scores[item, chosen]
        indices[item, : len(chosen)] = chosen
    return kept_boxes, kept_scores, indices, counts


@exact("non_maximum_suppression", "CoreML5", "CoreML6")
def non_maximum_suppression_with_threshold(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> Any:
    """Boxes (n, B, 4) and scores (n, B, classes); gives the counts too."""
    rule = _Suppression(iou_threshold, score_threshold, max_boxes, per_class_suppression)
    return _suppressed(boxes, scores, rule)


@exact("non_maximum_suppression", "CoreML7", "CoreML8")
def non_maximum_suppression(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> Any:
    """Boxes (n, 4, B) and scores (n, classes, B)."""
    rule = _Suppression(iou_threshold, float("-inf"), max_boxes, per_class_suppression)
    found = _suppressed(np.swapaxes(boxes, 1, 2), np.swapaxes(scores, 1, 2), rule)
    return np.swapaxes(found[0], 1, 2), np.swapaxes(found[1], 1, 2), found[2]
