"""Faces of nobody: morphs and averages of several people, shape and texture apart."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial import Delaunay
from torch import Tensor

from mien.mobile_reference.files import check_size
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.portraits import FaceSet, Progress

Points = NDArray[np.float64]
# How far shapes go beyond those that they are mixed of: much further, and eyes and mouths come apart.
_BEYOND = 0.12
_MAX_BYTES = 1 << 20


def read_landmarks(path: Path) -> Points:
    """Read template points, [P, 2] as x,y in pixels, from a CSV file with one header line."""
    try:
        check_size(path, _MAX_BYTES)
        lines = path.read_text(encoding="utf-8").splitlines()
        points = np.loadtxt(lines, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise ImageSetError(f"{path} is not a list of x,y points: {error}") from error
    if points.shape[1:] != (2,) or not np.isfinite(points).all():
        raise ImageSetError(f"{path} has points of shape {points.shape}, expected finite pairs x,y")
    return points


def moved(points: Points, matrix: Points) -> Points:
    """Take points [P, 2] through a 2x3 transform."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def morph(faces: Tensor, shapes: Sequence[Points], shape: Points, textures: Sequence[float]) -> Tensor:
    """Warp ``faces`` (uint8 [K, 3, S, S]) from their ``shapes`` to one ``shape`` and blend their textures.

    The warp is affine on each triangle between the landmarks, and still at the picture's border.
    ``textures`` are the K weights, of sum 1. Returns uint8 [3, S, S].
    """
    size = faces.shape[-1]
    inside = _all_inside([*shapes, shape], size)
    target = _with_border(shape[inside], size)
    triangles = Delaunay(target)
    axis = np.arange(size, dtype=np.float64)
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    owner = triangles.find_simplex(pixels, tol=1e-9).clip(min=0)
    transform = triangles.transform[owner]
    partial = np.einsum("nij,nj->ni", transform[:, :2], pixels - transform[:, 2])
    shares = np.concatenate([partial, 1 - partial.sum(axis=1, keepdims=True)], axis=1)
    corners = triangles.simplices[owner]
    blended = torch.zeros(3, size, size)
    for face, own, weight in zip(faces, shapes, textures, strict=True):
        source = np.einsum("nk,nkd->nd", shares, _with_border(own[inside], size)[corners])
        grid = torch.from_numpy((source + 0.5) / size * 2 - 1).float().view(1, size, size, 2)
        blended += (
            weight * F.grid_sample(face[None].float(), grid, padding_mode="border", align_corners=False)[0]
        )
    return torch.floor(blended + 0.5).clamp(0, 255).to(torch.uint8)


def _all_inside(shapes: Sequence[Points], size: int) -> NDArray[np.bool_]:
    """Mark the landmarks that every shape has well inside the picture."""
    stacked = np.stack(shapes)
    return np.asarray(((stacked > 2) & (stacked < size - 3)).all(axis=(0, 2)))


def _with_border(points: Points, size: int) -> Points:
    """Add corners and middles of the picture's sides, which hold the background still."""
    low, middle, high = -0.5, (size - 1) / 2, size - 0.5
    border = [(x, y) for x in (low, middle, high) for y in (low, middle, high) if (x, y) != (middle, middle)]
    return np.concatenate([points, np.array(border)])


def morphed_faces(faces: FaceSet, count: int, seed: int, progress: Progress) -> Tensor:
    """Make ``count`` faces, uint8 [count, 3, S, S], of nobody, from people of ``faces`` with landmarks.

    A shape is mixed of up to three people, and may lie a little beyond them. Half of the faces have the skin
    of one of them, as sharp as a photograph, the others that of two. ``progress`` is told how many are made.
    """
    marked = [i for i, portrait in enumerate(faces.portraits) if portrait.landmarks]
    if len(marked) < 2:
        return faces.faces[:0]
    shapes = {
        i: moved(read_landmarks(path), faces.matrices[i].numpy())
        for i in marked
        if (path := faces.portraits[i].landmarks)
    }
    rng = np.random.default_rng(seed)
    made = []
    for number in range(1, count + 1):
        people = [int(i) for i in rng.choice(marked, min(3, len(marked)), replace=False)]
        shape = sum(share * shapes[i] for share, i in zip(_shares(len(people), rng), people, strict=True))
        textures = _textures(rng)
        seen = people[: len(textures)]
        made.append(morph(faces.faces[seen], [shapes[i] for i in seen], np.asarray(shape), textures))
        progress(number, count)
    return torch.stack(made)


def _shares(people: int, rng: np.random.Generator) -> Points:
    """Draw shares of sum 1 that may lie beyond 0 and 1 by a twenty-fifth or so."""
    drawn = rng.dirichlet([0.7] * people)
    return np.asarray(drawn + _BEYOND * (drawn - 1 / people))


def _textures(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the weights of one texture or of two."""
    if rng.uniform() < 0.5:
        return (1.0,)
    share = float(rng.uniform(0.1, 0.9))
    return (share, 1 - share)
