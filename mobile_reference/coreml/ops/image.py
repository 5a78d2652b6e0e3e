"""Resizing, cropping and sampling of pictures."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, exact, op
from mien.mobile_reference.errors import EvaluationError

from .shape import room_for

Points = Any  # float64 positions in pixels of the input


def grid(mode: str, size: float, count: int) -> Points:
    """Where ``count`` samples lie on an axis of ``size`` pixels, before any clamping.

    The five rules are those of MIL's ``sampling_mode``.
    """
    steps = np.arange(count, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        return steps + (size - 1) / 2
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return steps * ((size - 1) / max(count - 1, 1))
    if mode == "DEFAULT":
        return steps * ((size - size / count) / max(count - 1, 1))
    if mode == "OFFSET_CORNERS":
        return (steps + 0.5) * (max(1.0, size - 1) / count)
    if mode == "UNALIGN_CORNERS":
        return (steps + 0.5) * (size / count) - 0.5
    raise EvaluationError(f"sampling_mode '{mode}' is unknown")


def _interpolated(x: Array, axis: int, points: Points) -> Any:
    """Linear interpolation along one axis at ``points``, clamped to the picture."""
    last = x.shape[axis] - 1
    points = np.clip(points, 0, last)
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, last)
    shape = [1] * x.ndim
    shape[axis] = -1
    share = (points - low).astype(x.dtype).reshape(shape)
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def _bilinear(x: Array, mode: str, height: int, width: int) -> Any:
    room_for((*x.shape[:-2], height, width))
    rows = _interpolated(x, x.ndim - 2, grid(mode, x.shape[-2], height))
    return _interpolated(rows, x.ndim - 1, grid(mode, x.shape[-1], width))


def _nearest(x: Array, height: int, width: int) -> Any:
    """Pixel floor(i * input / output): whole factors repeat pixels, as PyTorch's nearest does."""
    room_for((*x.shape[:-2], height, width))
    rows = np.arange(height) * x.shape[-2] // height
    columns = np.arange(width) * x.shape[-1] // width
    return x[..., rows[:, np.newaxis], columns]


def _scaled(x: Array, height: float, width: float) -> tuple[int, int]:
    """Sizes times factors, rounded down; float32 factors such as 1/3 may fall just short."""
    return (
        int(np.floor(x.shape[-2] * height + 1e-4)),
        int(np.floor(x.shape[-1] * width + 1e-4)),
    )


@exact("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Array, target_size_height: int, target_size_width: int) -> Any:
    """Nearest pixel, by target size."""
    return _nearest(x, target_size_height, target_size_width)


@exact("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Array, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Any:
    """Nearest pixel, by factor."""
    return _nearest(x, *_scaled(x, scale_factor_height, scale_factor_width))


@op("resize_bilinear")
def resize_bilinear(
    x: Array,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> Any:
    """Bilinear interpolation, by target size."""
    return _bilinear(x, sampling_mode, target_size_height, target_size_width)


@op("upsample_bilinear")
def upsample_bilinear(
    x: Array,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Any:
    """Bilinear interpolation, by factor; without corners and half pixels the rule is DEFAULT."""
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half:
        raise EvaluationError("align_corners and half_pixel_centers exclude each other")
    unaligned = "UNALIGN_CORNERS" if half else "DEFAULT"
    mode = "STRICT_ALIGN_CORNERS" if align_corners else unaligned
    return _bilinear(x, mode, *_scaled(x, scale_factor_height, scale_factor_width))


@op("resize", "CoreML7", "CoreML8")
def resize(
    x: Array,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Any:
    """The last ``resized_dims`` axes to new sizes; a size of 0 keeps the old one."""
    first = x.ndim - resized_dims
    sizes = [n or x.shape[first + i] for i, n in enumerate(shape[len(shape) - resized_dims :])]
    room_for((*x.shape[:first], *sizes))
    result = x
    for axis, size in enumerate(sizes, start=first):
        points = grid(sampling_mode, x.shape[axis], size)
        if interpolation_mode == "LINEAR":
            result = _interpolated(result, axis, points)
            continue
        nearest = np.rint(np.clip(points, 0, x.shape[axis] - 1)).astype(np.int64)
        result = np.take(result, nearest, axis)
    return result.astype(x.dtype, copy=False)


@exact("crop")
def crop(x: Array, crop_height: Ints, crop_width: Ints) -> Array:
    """Without rows at top and bottom and columns at left and right."""
    height, width = x.shape[-2:]
    rows = slice(crop_height[0], height - crop_height[1])
    return x[..., rows, crop_width[0] : width - crop_width[1]]


CORNERS = {
    "CORNERS_HEIGHT_FIRST": (0, 1, 2, 3),
    "CORNERS_WIDTH_FIRST": (1, 0, 3, 2),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2),
}


def _corners(boxes: Array, mode: str) -> Any:
    """Boxes (n, 4) as first row, first column, last row, last column."""
    if mode not in CORNERS:
        raise EvaluationError(f"box_coordinate_mode '{mode}' is unknown")
    ordered = boxes.astype(np.float64)[:, CORNERS[mode]]
    if mode.startswith("CENTER"):
        middle, half = ordered[:, :2], ordered[:, 2:] / 2
        ordered = np.concatenate([middle - half, middle + half], axis=1)
    return ordered


def _cut_out(image: Array, box: Array, height: int, width: int, mode: str, pad_value: float) -> Any:
    """One box of one image (channels, height, width), resized; outside lies ``pad_value``."""
    rows = box[0] + grid(mode, box[2] - box[0] + 1, height)
    columns = box[1] + grid(mode, box[3] - box[1] + 1, width)
    part = _interpolated(_interpolated(image, 1, rows), 2, columns)
    hidden = _outside(rows, image.shape[1])[:, np.newaxis] | _outside(columns, image.shape[2])
    return np.where(hidden, image.dtype.type(pad_value), part)


def _outside(points: Points, size: int) -> Any:
    """Whether points lie outside an axis, by more than the rounding of float32 coordinates."""
    slack = 1e-6 * size
    return (points < -slack) | (points > size - 1 + slack)


@op("crop_resize", "CoreML5", "CoreML6")
def crop_resize_roi(
    x: Array,
    roi: Array,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Any:
    """Boxes (n, 1, 4, 1, 1) cut from every image, or (n, 1, 5, 1, 1) naming an image each."""
    flat = roi.reshape(roi.shape[0], -1)
    named = flat.shape[1] == 5
    boxes = _pixel_boxes(
        flat[:, -4:], x, box_coordinate_mode, spatial_scale, normalised=normalized_coordinates
    )
    rows = []
    for number, box in enumerate(boxes):
        images = x[int(flat[number, 0])][np.newaxis] if named else x
        size = (target_height, target_width)
        rows.append([_cut_out(i, box, *size, sampling_mode, pad_value) for i in images])
    return np.array(rows, dtype=x.dtype)


@op("crop_resize", "CoreML7", "CoreML8")
def crop_resize(
    x: Array,
    boxes: Array,
    box_indices: Ints | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Any:
    """Boxes (n, 4), each cut from the image that ``box_indices`` names."""
    pixels = _pixel_boxes(boxes, x, box_coordinate_mode, spatial_scale, normalised=normalized_coordinates)
    images = range(len(boxes)) if box_indices is None else box_indices
    parts = [
        _cut_out(x[i], box, target_height, target_width, sampling_mode, pad_value)
        for i, box in zip(images, pixels, strict=True)
    ]
    return np.array(parts, dtype=x.dtype)


def _pixel_boxes(boxes: Array, x: Array, mode: str, scale: float, *, normalised: bool) -> Any:
    corners = _corners(boxes, mode) * scale
    if not normalised:
        return corners
    height, width = x.shape[-2] - 1, x.shape[-1] - 1
    return corners * np.array([height, width, height, width])


def _pixels(coordinates: Array, size: int, mode: str, *, align_corners: bool) -> Points:
    """Coordinates of one axis in pixels."""
    if mode == "unnormalized":
        return coordinates
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise EvaluationError(f"coordinates_mode '{mode}' is unknown")
    unit = coordinates if mode == "normalized_zero_to_one" else (coordinates + 1) / 2
    return unit * (size - 1) if align_corners else unit * size - 0.5


def _reflected(index: Array, size: int) -> Any:
    """Mirror at the outermost pixels, which are not repeated."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(index) % period
    return np.where(folded >= size, period - folded, folded)


def _mirrored(index: Array, size: int) -> Any:
    """Mirror at the outer edges: the outermost pixels are repeated."""
    folded = index % (2 * size)
    return np.where(folded >= size, 2 * size - 1 - folded, folded)


PADDING = {
    "constant": lambda index, size: np.clip(index, 0, size - 1),
    "border": lambda index, size: np.clip(index, 0, size - 1),
    "reflection": _reflected,
    "symmetric": _mirrored,
}


def _pick(x: Array, rows: Array, columns: Array, padding: str, value: float) -> Any:
    """Pixels (n, c, h, w) of ``x`` at whole positions (n, h, w), by the padding rule outside."""
    height, width = x.shape[-2:]
    inner_rows, inner_columns = PADDING[padding](rows, height), PADDING[padding](columns, width)
    batch = np.arange(x.shape[0])[:, np.newaxis, np.newaxis]
    picked = np.moveaxis(x[batch, :, inner_rows, inner_columns], -1, 1)
    if padding != "constant":
        return picked
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    return np.where(outside[:, np.newaxis], x.dtype.type(value), picked)


def _sampled(x: Array, rows: Array, columns: Array, mode: str, padding: str, value: float) -> Any:
    """Sample ``x`` (n, c, H, W) at positions (n, h, w) in pixels."""
    if padding not in PADDING:
        raise EvaluationError(f"padding_mode '{padding}' is unknown")
    if mode == "nearest":
        row, column = (np.floor(p + 0.5).astype(np.int64) for p in (rows, columns))
        return _pick(x, row, column, padding, value)
    if mode != "bilinear":
        raise EvaluationError(f"sampling_mode '{mode}' is unknown")
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down = (rows - top)[:, np.newaxis].astype(x.dtype)
    right = (columns - left)[:, np.newaxis].astype(x.dtype)
    total = _pick(x, top, left, padding, value) * (1 - down) * (1 - right)
    total += _pick(x, top, left + 1, padding, value) * (1 - down) * right
    total += _pick(x, top + 1, left, padding, value) * down * (1 - right)
    return total + _pick(x, top + 1, left + 1, padding, value) * down * right


@op("resample")
def resample(
    x: Array,
    coordinates: Array,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Any:
    """Pixels at ``coordinates`` (n, h, w, 2), column first."""
    places = coordinates.astype(np.float64)
    height, width = x.shape[-2:]
    columns = _pixels(places[..., 0], width, coordinates_mode, align_corners=align_corners)
    rows = _pixels(places[..., 1], height, coordinates_mode, align_corners=align_corners)
    return _sampled(x, rows, columns, sampling_mode, padding_mode, padding_value)


@op("affine")
def affine(
    x: Array,
    transform_matrix: Array,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Any:
    """Each output position times a 2 x 3 matrix gives the position to sample."""
    room_for((*x.shape[:2], output_height, output_width))
    rows = _positions(output_height, coordinates_mode, align_corners=align_corners)
    columns = _positions(output_width, coordinates_mode, align_corners=align_corners)
    b, a = np.meshgrid(rows, columns, indexing="ij")
    plane = np.stack([a, b, np.ones_like(a)], axis=-1)
    matrices = transform_matrix.astype(np.float64).reshape(-1, 1, 2, 3)
    places = plane[np.newaxis] @ np.swapaxes(matrices, -1, -2)
    places = np.broadcast_to(places, (x.shape[0], *places.shape[1:]))
    rules = (sampling_mode, padding_mode, padding_value, coordinates_mode)
    return resample(x, places, *rules, align_corners)


def _positions(count: int, mode: str, *, align_corners: bool) -> Points:
    steps = np.arange(count, dtype=np.float64)
    if mode == "unnormalized":
        return steps
    unit = steps / max(count - 1, 1) if align_corners else (steps + 0.5) / count
    return unit if mode == "normalized_zero_to_one" else unit * 2 - 1
