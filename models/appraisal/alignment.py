"""From a photograph to the aligned face: two runs of the detector, then one similarity transform.

Coordinates are pixels with the first pixel's centre at (0, 0), x to the right and y down.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.mobile_reference.front.alignment import parts
from mien.models.errors import CheckpointError, NoFaceError

from .networks.detector import INPUT_SIZE, BlazeFace

# The same numbers as SNAP, EPSILON and _SINGULAR of mobile_reference.front.alignment, which say why; written
# again, since this side follows the rule of the manifest on its own.
_BIT = 1e-6
_HALF = 0.5 + _BIT
_SINGULAR = 1e-12
# Two runtimes' detectors differ in their last bits. Places that are rounded frame the same pixels by either,
# but for the one face in some hundreds where a bit decides between two steps.
_STEPS = 8
SURE = 0.75
"""Score at the second detection from which a face stands upright.

Upright faces that are frontal have 0.69 (1st percentile) to 0.85, those upside down 0.5 to 0.65.
"""


@dataclass(frozen=True)
class AlignmentRule:
    """How a face is found and framed.

    ``template`` holds where the right eye, left eye, nose tip and mouth of the detector shall lie in
    the face of ``size`` x ``size`` pixels. ``second_look`` is the side of the second detection's square in
    units of the box found by the first. ``smallest`` is the least side of a usable box, in pixels.
    """

    size: int
    template: tuple[tuple[float, float], ...]
    score: float = 0.5
    overlap: float = 0.3
    second_look: float = 2.0
    smallest: float = 64.0


@dataclass(frozen=True)
class AlignedFace:
    """A face cut from a photograph.

    ``pixels``: uint8 [3, size, size]; ``matrix``: [2, 3], photograph pixels to face pixels, float64;
    ``faces``: how many faces the photograph shows, of which this is the largest; ``picture``: what the
    detector saw in its second detection, uint8 [3, 128, 128]; ``score``: what it gave the face there, 0 if it
    saw none; ``keypoints``: [6, 2] in pixels of the photograph, float64.
    """

    pixels: Tensor
    matrix: Tensor
    faces: int
    picture: Tensor
    score: float
    keypoints: Tensor


def align(photo: Tensor, detector: BlazeFace, rule: AlignmentRule) -> AlignedFace:
    """Find the largest face of ``photo`` (uint8 [3, H, W]) and frame it.

    Where the second detection gives it less than ``SURE``, the photograph is turned by quarters as well, and
    the surest face is taken.

    Raises:
        NoFaceError: there is no face, or it is smaller than the rule allows.
        CheckpointError: the detector gives values that are not finite.
    """
    best = _sight(photo, detector, rule, 0)
    if best is None or best.score < SURE:
        for turn in (2, 1, 3):
            other = _sight(photo, detector, rule, turn)
            if other and (best is None or other.score > best.score):
                best = other
    if best is None:
        raise _nothing_found(photo, detector, rule)
    if best.box < rule.smallest:
        raise _too_small(best.box, rule)
    matrix = similarity(best.keypoints[:4], torch.tensor(rule.template))
    if not float(torch.linalg.det(matrix[:, :2])) > _SINGULAR:
        raise NoFaceError("the features of the face fall together; give a larger, frontal face")
    pixels = warp(photo, matrix, rule.size)
    return AlignedFace(pixels, matrix, best.faces, best.picture, best.score, best.keypoints)


@dataclass(frozen=True)
class _Sighting:
    """What two detections saw of the largest face; ``box``, its longer side, is of the first."""

    box: float
    faces: int
    picture: Tensor
    score: float
    keypoints: Tensor


def _sight(photo: Tensor, detector: BlazeFace, rule: AlignmentRule, turn: int) -> _Sighting | None:
    """Detect twice in a photograph that is turned counter-clockwise by so many quarters."""
    height, width = photo.shape[1:]
    square = Square(width / 2, height / 2, max(height, width))
    found = _detect(_view(photo, square, turn), detector, rule)
    if not found:
        return None
    largest = max(found, key=_area)
    box = float(torch.maximum(largest.values[2], largest.values[3]))
    if not box > 0:
        raise _too_small(0, rule)
    square = Square(float(largest.values[0]) + 0.5, float(largest.values[1]) + 0.5, rule.second_look * box)
    view = _view(photo, square, turn)
    closer = _detect(view, detector, rule)
    face = max(closer, key=_area) if closer else largest
    return _Sighting(
        box, len(found), view.picture, face.score if closer else 0.0, face.values[4:].reshape(6, 2)
    )


@dataclass(frozen=True)
class _Face:
    """What it saw: ``values`` are x, y, width, height, six keypoints, in pixels of the photograph."""

    score: float
    values: Tensor


def _area(face: _Face) -> float:
    return float(face.values[2] * face.values[3])


def _too_small(box: float, rule: AlignmentRule) -> NoFaceError:
    return NoFaceError(
        f"the largest face is {box:.0f} pixels wide, at least {rule.smallest:.0f} are needed; "
        "give a closer or larger photograph"
    )


def _nothing_found(photo: Tensor, detector: BlazeFace, rule: AlignmentRule) -> NoFaceError:
    """Say why the first detection found nothing: there is no face, or it is lost in a large picture.

    The detector misses a face of less than an eighth of its picture, so it runs on parts of the photograph.
    What it finds there only chooses the words: it is not rated.
    """
    height, width = photo.shape[1:]
    for part in parts(width, height, rule.smallest):
        found = _detect(_view_of_part(photo, Square(part.x, part.y, part.side)), detector, rule)
        if found:
            largest = max(found, key=_area)
            box = float(torch.maximum(largest.values[2], largest.values[3]))
            if box < rule.smallest:
                return _too_small(box, rule)
            return NoFaceError(
                f"the face is too small a part of the photograph, about {box:.0f} of {max(height, width)} "
                "pixels; cut the photograph to the head and shoulders"
            )
    return NoFaceError("no face found; give a photograph with one upright, frontal face")


def similarity(points: Tensor, target: Tensor) -> Tensor:
    """Return the 2x3 similarity that takes ``points`` to ``target`` (both [K, 2]) with least squares.

    With the points as complex numbers z and w the answer is w = a z + b, a = <z, w> / <z, z> about the
    centroids.
    """
    z, w = (torch.view_as_complex(p.double().contiguous()) for p in (points, target))
    z_mean, w_mean = z.mean(), w.mean()
    a = torch.vdot(z - z_mean, w - w_mean) / torch.vdot(z - z_mean, z - z_mean)
    b = w_mean - a * z_mean
    return torch.stack([torch.stack([a.real, -a.imag, b.real]), torch.stack([a.imag, a.real, b.imag])])


def warp(photo: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Cut ``size`` x ``size`` pixels from ``photo`` (uint8 [3, H, W]) through ``matrix`` (to the cut).

    Where the photograph is larger it is first reduced by a whole box filter, so that no pixel is
    skipped; then sampled bilinearly, its border repeated; then rounded to uint8.
    """
    scale = math.sqrt(abs(float(torch.linalg.det(matrix[:, :2]))))
    box = max(1, min(int(1 / scale + _BIT), *photo.shape[1:]))
    # One colour at a time: in float64 a large photograph takes eight times its bytes.
    reduced = torch.stack([F.avg_pool2d(colour[None].double(), box) for colour in photo], dim=1)
    height, width = reduced.shape[2:]
    inverse = torch.linalg.inv(torch.cat([matrix, torch.tensor([[0.0, 0.0, 1.0]]).double()]))[:2]
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    target = torch.stack([u, v, torch.ones_like(u)], dim=-1).double()
    source = (target @ inverse.T + 0.5) / box
    grid = source / torch.tensor([width, height]) * 2 - 1
    cut = F.grid_sample(reduced, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return torch.floor(cut[0] + _HALF).to(torch.uint8)


@dataclass(frozen=True)
class Square:
    """A square of a photograph by its centre and side; whole numbers are edges of pixels."""

    x: float
    y: float
    side: float


@dataclass(frozen=True)
class View:
    """What the detector sees of a photograph: a ``picture``, uint8 [3, 128, 128], of a ``square`` in it.

    The square is turned counter-clockwise by ``turn`` quarters.
    """

    picture: Tensor
    square: Square
    turn: int = 0


def _view(photo: Tensor, square: Square, turn: int = 0) -> View:
    zoom = INPUT_SIZE / square.side
    x, y = ((0.5 - centre + square.side / 2) * zoom - 0.5 for centre in (square.x, square.y))
    matrix = torch.tensor([[zoom, 0, x], [0, zoom, y]], dtype=torch.float64)
    return View(torch.rot90(warp(photo, matrix, INPUT_SIZE), turn, (1, 2)), square, turn)


def _view_of_part(photo: Tensor, square: Square) -> View:
    """View a small square without reducing the whole photograph; the detector sees the same pixels."""
    box = max(1, int(square.side / INPUT_SIZE + _BIT))
    # Whole boxes, and one more on every side, since sampling reaches half a box over the square.
    (left, right), (top, bottom) = (
        (
            max(0, int((centre - square.side / 2) // box - 1) * box),
            int((centre + square.side / 2) // box + 2) * box,
        )
        for centre in (square.x, square.y)
    )
    part = photo[:, top:bottom, left:right]
    picture = _view(part, Square(square.x - left, square.y - top, square.side)).picture
    return View(picture, square)


def _detect(view: View, detector: BlazeFace, rule: AlignmentRule) -> list[_Face]:
    """Detect faces, in pixels of the photograph."""
    with torch.inference_mode():
        candidates = detector(view.picture[None].float())[0].double()
    if not torch.isfinite(candidates).all():
        raise CheckpointError("the detector gives values that are not finite; train the checkpoint again")
    likely = candidates[candidates[:, 0] >= rule.score]
    square = view.square
    values = _upright(likely[:, 1:], view.turn) * square.side
    corner = torch.tensor([square.x, square.y], dtype=torch.float64) - square.side / 2 - 0.5
    values[:, :2] += corner
    values[:, 4:] += corner.repeat(6)
    blends = _merge(likely[:, 0], values, rule.overlap)
    return [_Face(blend.score, torch.floor(blend.values * _STEPS + 0.5) / _STEPS) for blend in blends]


def _upright(shares: Tensor, turn: int) -> Tensor:
    """Take boxes and keypoints [K, 16] of a square that was turned by quarters back to the square."""
    points = shares.reshape(-1, 8, 2)
    for _ in range(turn):
        points = torch.stack([1 - points[..., 1], points[..., 0]], dim=2)
        # The second pair is not a place but a width and a height.
        points[:, 1, 0] = 1 - points[:, 1, 0]
    return points.reshape(-1, 16).clone()


def _merge(scores: Tensor, boxes: Tensor, overlap: float) -> list[_Face]:
    """Blend candidates that overlap, weighted by score: blending moves steadily where picking jumps."""
    faces = []
    while len(scores):
        best = int(scores.argmax())
        same = _overlap(boxes[best], boxes) > overlap
        same[best] = True
        weights = scores[same]
        blend = (boxes[same] * weights[:, None]).sum(dim=0) / weights.sum()
        score = float((weights * weights).sum() / weights.sum())
        faces.append(_Face(score, blend))
        scores, boxes = scores[~same], boxes[~same]
    return faces


def _overlap(box: Tensor, boxes: Tensor) -> Tensor:
    """Return intersection over union of one box with many, each (x, y, width, height) about its centre."""
    low = torch.maximum(box[:2] - box[2:4] / 2, boxes[:, :2] - boxes[:, 2:4] / 2)
    high = torch.minimum(box[:2] + box[2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2)
    shared = (high - low).clamp(min=0).prod(dim=1)
    return shared / (box[2:4].prod() + boxes[:, 2:4].prod(dim=1) - shared)
