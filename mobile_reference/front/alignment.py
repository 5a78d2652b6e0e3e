"""From a photograph to the aligned face, in numpy: the rule of the manifest and nothing else.

It is written apart from the float pipeline's own alignment on purpose: parity from photograph to score
then shows that the rule, and not one shared function, is what both follow. Coordinates are pixels with
the first pixel's centre at (0, 0).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import FaceError

from .photograph import Pixels

Floats = NDArray[np.float64]
Detector = Callable[[Pixels], NDArray[np.float32]]
"""Maps a picture [P, P, 3] to candidates [K, 17]: score, box (x, y, w, h), six keypoints (x, y), in 0..1."""

_BOX = slice(1, 5)
_SCORE = 0
_X, _Y = [1, *range(5, 17, 2)], [2, *range(6, 18, 2)]
_TURNS = (2, 1, 3)
"""Counter-clockwise quarter turns at which a photograph is looked at whose face is not surely upright."""

SNAP = 0.125
"""Boxes and keypoints of a merged face, in pixels of the photograph, are rounded half up to multiples of it.

Two runtimes' detectors differ in their last bits. Places that are rounded frame the same pixels by either,
but for the one face in some hundreds where a bit decides between two steps.
"""
EPSILON = 1e-6
"""Added to 1 / scale before a box filter's side is rounded down, and to a half before pixels are rounded.

Sides and zooms are often small fractions, so that exact halves and whole reductions are common (a photograph
of 1024 pixels has 8). Two ways of counting them differ in a last bit and must not round apart.
"""
_HALF = 0.5 + EPSILON
_SINGULAR = 1e-12
"""A transform that shrinks areas more than this cannot be turned round."""


@dataclass(frozen=True)
class AlignmentRule:
    """How a face is found and framed; the fields are those of the manifest's ``alignment``.

    A face whose score at the second detection is at least ``sure`` stands upright; below it the photograph
    is also turned, and the surest face is taken. At 0 nothing is ever turned.
    """

    size: int
    template: tuple[tuple[float, float], ...]
    score: float
    overlap: float
    second_look: float
    smallest: float
    detector_size: int
    sure: float = 0.0


@dataclass(frozen=True)
class AlignedFace:
    """The largest face of a photograph: ``pixels`` [size, size, 3], ``matrix`` [2, 3] to its pixels.

    ``faces`` is how many the first detection saw; ``score`` 0..1 the detector's at the second one,
    0 where that saw none; ``keypoints`` [6, 2] lie in pixels of the photograph, in the order of the manifest.
    """

    pixels: Pixels
    matrix: Floats
    faces: int
    score: float
    keypoints: Floats


@dataclass(frozen=True)
class Square:
    """A square of a photograph, by its centre and side; whole numbers are edges of pixels."""

    x: float
    y: float
    side: float

    @property
    def corner(self) -> Floats:
        """The upper left corner."""
        return np.array([self.x - self.side / 2, self.y - self.side / 2])

    def matrix(self, size: int) -> Floats:
        """Return the transform to a picture of ``size`` x ``size`` pixels."""
        zoom = size / self.side
        offset = (0.5 - self.corner) * zoom - 0.5
        return np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])


def align(photograph: Pixels, detector: Detector, rule: AlignmentRule) -> AlignedFace:
    """Find the largest face and frame it.

    The detector runs twice: at the whole photograph, then at a square about the largest face, where
    its keypoints are finer. Where it is not sure, it runs on the photograph turned by quarters too.

    Raises:
        FaceError: there is no face, or it is smaller than the rule allows.
    """
    sighting = _sight(photograph, detector, rule)
    if sighting is None or sighting.score < rule.sure:
        turned = [_sight(photograph, detector, rule, turn) for turn in _TURNS if rule.sure > 0]
        seen = [one for one in (sighting, *turned) if one is not None]
        sighting = max(seen, key=lambda one: one.score, default=None)
    if sighting is None:
        raise _nothing_found(photograph, detector, rule)
    box = sighting.face[_BOX][2:].max()
    if box < rule.smallest:
        raise _too_small(box, rule)
    keypoints = sighting.closest[5:].reshape(6, 2)
    matrix = similarity(keypoints[:4], np.array(rule.template))
    if not np.linalg.det(matrix[:, :2]) > _SINGULAR:
        raise FaceError("the features of the face fall together; give a larger, frontal face")
    pixels = warp(photograph, matrix, rule.size)
    return AlignedFace(pixels, matrix, sighting.faces, sighting.score, keypoints)


@dataclass(frozen=True)
class _Sighting:
    """The largest of ``faces`` as the first detection saw it, and the second, if it saw it; both [17]."""

    face: Floats
    closer: Floats | None
    faces: int

    @property
    def score(self) -> float:
        return 0.0 if self.closer is None else float(self.closer[_SCORE])

    @property
    def closest(self) -> Floats:
        return self.face if self.closer is None else self.closer


def _sight(photograph: Pixels, detector: Detector, rule: AlignmentRule, turn: int = 0) -> _Sighting | None:
    """Detect twice in a photograph that is turned by so many quarters; none where no face is seen.

    Raises:
        FaceError: the face has no size, so that nothing can be looked at more closely.
    """
    height, width = photograph.shape[:2]
    found = detections(photograph, whole(width, height), detector, rule, turn)
    if not len(found):
        return None
    face = _largest(found)
    if not face[_BOX][2:].max() > 0:
        raise _too_small(0, rule)
    closer = detections(photograph, about(face, rule), detector, rule, turn)
    return _Sighting(face, _largest(closer) if len(closer) else None, len(found))


def _too_small(box: float, rule: AlignmentRule) -> FaceError:
    return FaceError(
        f"the largest face is {box:.0f} pixels wide, at least {rule.smallest:.0f} are needed; "
        "give a closer or larger photograph"
    )


def _nothing_found(photograph: Pixels, detector: Detector, rule: AlignmentRule) -> FaceError:
    """Say why the first detection found nothing: there is no face, or it is lost in a large picture.

    The detector misses a face of less than an eighth of its picture, so it runs on parts of the photograph.
    What it finds there only chooses the words: it is not rated.
    """
    height, width = photograph.shape[:2]
    for part in parts(width, height, rule.smallest):
        found = detections(photograph, part, detector, rule)
        if len(found):
            box = _largest(found)[_BOX][2:].max()
            if box < rule.smallest:
                return _too_small(box, rule)
            return FaceError(
                f"the face is too small a part of the photograph, about {box:.0f} of {max(height, width)} "
                "pixels; cut the photograph to the head and shoulders"
            )
    return FaceError("no face found; give a photograph with one upright, frontal face")


def parts(width: int, height: int, smallest: float) -> Iterator[Square]:
    """Yield squares of a quarter of the longer side that overlap by half; none that hold no usable face."""
    side = max(width, height) / 4
    if side < smallest:
        return
    for y in _centres(height, side):
        for x in _centres(width, side):
            yield Square(x, y, side)


def _centres(extent: int, side: float) -> list[float]:
    if extent <= side:
        return [extent / 2]
    steps = math.ceil((extent - side) / (side / 2))
    return [side / 2 + (extent - side) * step / steps for step in range(steps + 1)]


def whole(width: int, height: int) -> Square:
    """Return the square of the first detection."""
    return Square(width / 2, height / 2, max(height, width))


def about(face: Floats, rule: AlignmentRule) -> Square:
    """Return the square of the second detection about a face [17] of the first."""
    return Square(face[1] + 0.5, face[2] + 0.5, rule.second_look * face[_BOX][2:].max())


def in_photograph(candidates: Floats, square: Square) -> Floats:
    """Take candidates [K, 17] from shares of a square, 0..1, to pixels of the photograph."""
    places = candidates.copy()
    places[:, 1:] *= square.side
    places[:, 1:3] += square.corner - 0.5
    places[:, 5:] += np.tile(square.corner - 0.5, 6)
    return places


def _largest(faces: Floats) -> Floats:
    areas = faces[:, 3] * faces[:, 4]
    return np.asarray(faces[areas.argmax()])


def detections(
    photograph: Pixels, square: Square, detector: Detector, rule: AlignmentRule, turn: int = 0
) -> Floats:
    """Detect faces inside a square, [F, 17]: score, box and keypoints in pixels of the photograph.

    The detector sees the square turned counter-clockwise by ``turn`` quarters.
    """
    picture = warp(photograph, square.matrix(rule.detector_size), rule.detector_size)
    candidates = detector(np.ascontiguousarray(np.rot90(picture, turn))).astype(np.float64)
    likely = turned_back(candidates[candidates[:, _SCORE] >= rule.score], turn)
    faces = merge(in_photograph(likely, square), rule.overlap)
    faces[:, 1:] = snap(faces[:, 1:])
    return faces


def turned_back(candidates: Floats, turn: int) -> Floats:
    """Take candidates [K, 17] back to a square that was turned counter-clockwise by ``turn`` quarters."""
    places = candidates.copy()
    for _ in range(turn):
        places[:, _X], places[:, _Y] = 1 - places[:, _Y], places[:, _X]
        places[:, 3:5] = places[:, [4, 3]]
    return places


def snap(places: Floats) -> Floats:
    """Round places in pixels half up to multiples of ``SNAP``."""
    return np.floor(places / SNAP + 0.5) * SNAP


def reduction(matrix: Floats, width: int, height: int) -> int:
    """Return the side in pixels of the box filter that comes before sampling through ``matrix``, [2, 3]."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return max(1, min(int(1 / scale + EPSILON), height, width))


def merge(candidates: Floats, overlap: float) -> Floats:
    """Blend overlapping candidates [K, 17], the best first, each weighing by its score; returns [F, 17]."""
    faces = []
    while len(candidates):
        best = candidates[:, _SCORE].argmax()
        same = _intersection_over_union(candidates[best, _BOX], candidates[:, _BOX]) > overlap
        same[best] = True
        faces.append(np.average(candidates[same], axis=0, weights=candidates[same, _SCORE]))
        candidates = candidates[~same]
    return np.array(faces).reshape(-1, candidates.shape[1])


def _intersection_over_union(box: Floats, boxes: Floats) -> Floats:
    """Compare one box (centre x, y, width, height) with many."""
    low = np.maximum(box[:2] - box[2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    return np.asarray(shared / (box[2:].prod() + boxes[:, 2:].prod(axis=1) - shared))


def similarity(points: Floats, target: Floats) -> Floats:
    """Return the turn, scale and shift, 2x3, that takes ``points`` to ``target`` ([K, 2]) best."""
    rows = np.zeros((2 * len(points), 4))
    rows[0::2] = np.stack([points[:, 0], -points[:, 1], np.ones(len(points)), np.zeros(len(points))], 1)
    rows[1::2] = np.stack([points[:, 1], points[:, 0], np.zeros(len(points)), np.ones(len(points))], 1)
    a, b, x, y = np.linalg.lstsq(rows, target.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, x], [b, a, y]])


def warp(photograph: Pixels, matrix: Floats, size: int) -> Pixels:
    """Cut [size, size, 3] from ``photograph`` through ``matrix`` (photograph pixels to the cut's).

    A larger photograph is first reduced by a whole box filter, then sampled bilinearly with its border
    repeated, then rounded half up.
    """
    height, width = photograph.shape[:2]
    box = reduction(matrix, width, height)
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    # All x, then all y: numpy is slow along an axis of two.
    source = np.ascontiguousarray((_places(size) @ inverse.T).reshape(-1, 2).T)
    source += 0.5
    source /= box
    source -= 0.5
    limit = np.array([[width // box - 1], [height // box - 1]])
    source = source.clip(0, limit)
    low = np.floor(source)
    across, down = (source - low)[..., None]
    near = low.astype(np.int64)
    corners = near[:, [0, size - 1, -size, -1]]
    first, last = corners.min(axis=1, keepdims=True), corners.max(axis=1, keepdims=True)
    reduced = _reduce(photograph, first[:, 0], np.minimum(last + 1, limit)[:, 0], box)
    far = np.minimum(near + 1, limit) - first
    near -= first
    (left, upper), (right, lower) = near, far
    pixels, columns = reduced.reshape(-1, 3), reduced.shape[1]
    upper *= columns
    lower *= columns
    top = _mix(pixels.take(upper + left, 0), pixels.take(upper + right, 0), across)
    bottom = _mix(pixels.take(lower + left, 0), pixels.take(lower + right, 0), across)
    mixed = _mix(top, bottom, down)
    mixed += _HALF
    return np.floor(mixed, out=mixed).astype(np.uint8).reshape(size, size, 3)


@lru_cache(maxsize=4)
def _places(size: int) -> Floats:
    """Return the places [size, size, 3] of a cut's pixels: x, y and 1; they cannot be written to."""
    rows, columns = np.mgrid[0.0:size, 0.0:size]
    places = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    places.setflags(write=False)
    return places


def _mix(a: Floats, b: Floats, share: Floats) -> Floats:
    """Return ``a + (b - a) * share``, in the place of ``b``: memory costs more than the arithmetic."""
    b -= a
    b *= share
    b += a
    return b


def _reduce(photograph: Pixels, first: NDArray[np.int64], last: NDArray[np.int64], box: int) -> Floats:
    """Average boxes of ``box`` x ``box`` pixels, only those from ``first`` to ``last`` (x, y)."""
    columns, rows = last - first + 1
    part = photograph[first[1] * box : (last[1] + 1) * box, first[0] * box : (last[0] + 1) * box]
    if box == 1:
        return part.astype(np.float64)
    # Whole numbers, rows first: a mean over two axes of five takes numpy ten times as long.
    strips = part.reshape(rows, box, columns * box, 3).sum(axis=1, dtype=np.uint32)
    total = sum(strips[:, column::box].astype(np.float64) for column in range(box))
    return np.asarray(total / box**2)
