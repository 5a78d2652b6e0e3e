"""What a pipeline is worth by labels: metrics that a file of Python gives, ``Pipeline(metric=...)``.

Of a ``.pt2`` or ``.onnx`` file the labels themselves say which.
The labels stand in a CSV file, ``mien verify --labels``; ``mobile_reference.verify.labels`` judges by them.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import check_size
from mien.mobile_reference.labels import LabelMetric, Row, Values

from .errors import PipelineError
from .user_file import number_of

IGNORED = 255
"""The value of a label map's pixels that do not count."""
_LARGEST_MAP = 64 << 20
_MODES = ("1", "L", "P")
_HALF = 0.5
_NOWHERE = -1
"""The class of what is not a number: no label has it."""


def accuracy(tensor: str) -> LabelMetric:
    """Ask for the share of inputs whose class is the label's.

    The tensor holds one value for each class, [1, K], the largest of which counts, or is the class itself,
    one whole number. A label is a class, 0..K-1. A value that is not a number makes the input wrong.

    Example:
        >>> mien.accuracy("logits").title
        'accuracy of logits'
    """
    return LabelMetric("accuracy", tensor, _read_class, _is_right, _mean, share=True)


def mean_iou(tensor: str) -> LabelMetric:
    """Ask for intersection over union by class, over all inputs, in the mean over the classes that are seen.

    The tensor has a score of each class at each pixel, [1, K, H, W], or [1, H, W, K] where its layout is
    "NHWC"; or a mask of 0..1 in the place of K, of which a half and less is class 0 and the rest class 1; or
    it is the class of each pixel, whole numbers [1, H, W]. A label is a PNG file H x W of class numbers, by
    its path from the folder of the CSV file, in which pixels of 255 do not count; of a mask, pixels of 0 and
    of 1 or 255, which all count.

    Example:
        >>> mien.mean_iou("mask").title
        'mean IoU of mask'
    """
    return LabelMetric("mean IoU", tensor, _read_map, _overlaps, _mean_overlap)


def scored_by(tensor: str, function: Callable[[NDArray[Any], str], float]) -> LabelMetric:
    """Ask for the mean of ``function(output, label)`` over inputs.

    The function gets a float64 array, shaped as in the contract, and the label as it stands in the file.

    Raises:
        PipelineError: the function has no name to be called by.

    Example:
        >>> def off(output, label):
        ...     return abs(output.item() - float(label))
        >>> mien.scored_by("grade", off).title
        'off of grade'
    """
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise PipelineError(f"{tensor} is scored by {name or function!r}; give a function that has a name")

    def score(output: NDArray[Any], label: Any, _: TensorSpec) -> list[float]:
        return [number_of(f"{name} of {tensor}", function, output.astype(np.float64), label)]

    return LabelMetric(name, tensor, lambda text, *_: text, score, _mean)


def metric_of_labels(file: Path, rows: Sequence[Row], outputs: Sequence[TensorSpec]) -> LabelMetric:
    """Return the metric that labels are for, where nothing says it: of classes or of maps of them.

    Raises:
        UsageError: no output, or more than one, can be judged so.
    """
    maps = all(row.label.lower().endswith(".png") for row in rows)
    check = _map_of if maps else _check_class
    fitting = [one for one in outputs if _accepts(check, one)]
    if len(fitting) == 1:
        return (mean_iou if maps else accuracy)(fitting[0].name)
    what = "maps of classes [1, K, H, W] or [1, H, W]" if maps else "values of classes [1, K] or one class"
    found = ", ".join(f"{one.name} {list(one.shape)} of {one.dtype}" for one in fitting or outputs)
    raise UsageError(
        f"{file} is for {what}, and {'more than one output' if fitting else 'no output'} is that "
        f"({found:.200}); say what is judged in a file of Python: Pipeline(metric=...)"
    )


def _accepts(check: Callable[[TensorSpec], object], tensor: TensorSpec) -> bool:
    try:
        check(tensor)
    except ValueError:
        return False
    return True


def _mean(sums: Values, count: int) -> Values:
    return np.asarray(sums[..., 0] / count)


def _check_class(tensor: TensorSpec) -> bool:
    """Tell whether a tensor is a class itself, and refuse one that has none."""
    whole = tensor.dtype != "float32"
    if whole != (tensor.values == 1) or max(tensor.shape) != tensor.values:
        raise ValueError(
            f"accuracy judges values of classes [1, K], or one whole number, {tensor.name} is "
            f"{list(tensor.shape)} of {tensor.dtype}; give another metric"
        )
    return whole


def _read_class(text: str, _: Path, tensor: TensorSpec) -> int:
    whole = _check_class(tensor)
    classes = math.inf if whole else tensor.values
    if not (text.isdecimal() and text.isascii() and int(text) < classes):
        expected = "a whole number from 0" if whole else f"a class of {tensor.name}, 0..{tensor.values - 1}"
        raise ValueError(f"label '{text:.40}' is not {expected}")
    return int(text)


def _is_right(output: NDArray[Any], label: int, tensor: TensorSpec) -> list[float]:
    values = output.reshape(-1)
    found = _best(values, 0) if tensor.dtype == "float32" else values[0]
    return [float(found == label)]


def _best(values: NDArray[Any], axis: int) -> NDArray[np.int64]:
    """Return the places of the largest values along an axis, none where one is not a number."""
    finite = np.isfinite(values).all(axis=axis)
    return np.where(finite, np.nan_to_num(values).argmax(axis=axis), _NOWHERE)


def _read_map(text: str, folder: Path, tensor: TensorSpec) -> NDArray[np.int64]:
    shape, classes = _map_of(tensor)
    file = folder / text
    try:
        check_size(file, _LARGEST_MAP)
        with Image.open(file, formats=("PNG",)) as picture:
            if picture.size != shape[::-1] or picture.mode not in _MODES:
                raise ValueError(
                    f"it is {picture.width}x{picture.height} of mode {picture.mode}, expected "
                    f"{shape[1]}x{shape[0]} of 8-bit grey or of a palette"
                )
            values = np.asarray(picture, np.int64)
    except (ValueError, OSError, SyntaxError) as error:  # SyntaxError is Pillow's for a broken PNG
        raise ValueError(f"label {text:.80} cannot be used ({error!s:.200})") from error
    if not _has_classes(tensor):
        values = np.where(values == IGNORED, 1, values)
    counted = values if not _has_classes(tensor) else values[values != IGNORED]
    if counted.size and not counted.max() < classes:
        raise ValueError(f"label {text:.80} has class {counted.max()}, {tensor.name} has 0..{classes - 1}")
    return values


def _has_classes(tensor: TensorSpec) -> bool:
    """Tell whether a tensor has several classes, rather than one mask."""
    return tensor.dtype != "float32" or _channels(tensor) > 1


def _channels(tensor: TensorSpec) -> int:
    return tensor.channels_second[1] if len(tensor.shape) == 4 else 1


def _map_of(tensor: TensorSpec) -> tuple[tuple[int, int], int]:
    """Return the height and width of a tensor's map, and how many classes it has; 255 where nothing says."""
    if len(tensor.shape) not in (3, 4) or tensor.shape[0] != 1:
        raise ValueError(
            f"mean IoU judges maps [1, K, H, W] or [1, H, W], {tensor.name} is {list(tensor.shape)}; give "
            "another metric"
        )
    whole = tensor.dtype != "float32"
    if whole and _channels(tensor) != 1:
        raise ValueError(f"mean IoU judges one class for each pixel, {tensor.name} has {list(tensor.shape)}")
    height, width = tensor.channels_second[-2:]
    return (height, width), IGNORED if whole else max(2, _channels(tensor))


def _overlaps(output: NDArray[Any], label: NDArray[np.int64], tensor: TensorSpec) -> Values:
    """Return the pixels of intersection and of union by class, [2 K]."""
    found = _classes(output, tensor)
    counted = label != IGNORED
    _, classes = _map_of(tensor)
    both = np.bincount(label[counted & (found == label)], minlength=classes)
    seen = counted & (found >= 0) & (found < classes)
    union = (
        np.bincount(label[counted], minlength=classes) + np.bincount(found[seen], minlength=classes) - both
    )
    return np.asarray(np.concatenate([both, union]), np.float64)


def _classes(output: NDArray[Any], tensor: TensorSpec) -> NDArray[np.int64]:
    """Return the class of every pixel [H, W]."""
    (height, width), _ = _map_of(tensor)
    if tensor.dtype != "float32":
        return output.reshape(height, width).astype(np.int64)
    if not _has_classes(tensor):
        values = output.reshape(height, width)
        return np.where(np.isfinite(values), values > _HALF, _NOWHERE).astype(np.int64)
    return _best(output[0], 2 if tensor.layout == PICTURE else 0)


def _mean_overlap(sums: Values, _: int) -> Values:
    both, union = np.split(sums, 2, axis=-1)
    seen = union > 0
    share = np.divide(both, union, out=np.zeros_like(both), where=seen)
    return np.asarray(share.sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1))
