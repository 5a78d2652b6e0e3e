"""What people look at: the views of a pipeline, such as heat over the picture that went in."""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.contract import COLOUR, GREY, OVERLAY, PipelineSpec
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import Rating

# Heat at which the overlay is fully coloured.
_FULL_HEAT = 1.0
# From no heat to full heat: dark violet, red, orange, pale yellow.
_COLOURS = np.array([(60, 0, 90), (190, 30, 60), (250, 130, 20), (255, 245, 160)], dtype=np.float64)


def heat_colours(heatmap: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return colours [H, W, 3] in 0..255 and opacities [H, W, 1] in 0..1 of a heatmap [H, W]."""
    level = np.clip(heatmap / _FULL_HEAT, 0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(level, steps, _COLOURS[:, c]) for c in range(3)], axis=-1)
    return colours, np.sqrt(level)[..., None] * 0.85


def overlay(picture: Pixels, heatmap: NDArray[np.float32]) -> Pixels:
    """Lay a heatmap [H, W] over its picture [H, W, 3]."""
    colours, opacity = heat_colours(heatmap)
    return np.asarray(np.round(picture + opacity * (colours - picture)), dtype=np.uint8)


def views(spec: PipelineSpec, picture: Pixels, tensors: Arrays) -> dict[str, Pixels]:
    """Draw the views of a pipeline over the ``picture`` [H, W, 3] that went in: pictures by a short name.

    An overlay is named so, another view after its tensor.
    """
    found = {}
    for view in spec.views:
        name = view.kind if view.kind == OVERLAY else view.tensor
        found[name] = _DRAWN[view.kind](picture, np.asarray(tensors[view.tensor][0]))
    return found


def _overlay(picture: Pixels, values: NDArray[Any]) -> Pixels:
    return overlay(picture, values[..., 0])


def _grey(picture: Pixels, values: NDArray[Any]) -> Pixels:
    return np.asarray(np.round(values[..., 0] * 255), dtype=np.uint8)


def _colour(picture: Pixels, values: NDArray[Any]) -> Pixels:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


_DRAWN: Mapping[str, Callable[[Pixels, NDArray[Any]], Pixels]] = {
    OVERLAY: _overlay,
    GREY: _grey,
    COLOUR: _colour,
}


def side_by_side(pictures: Iterable[Pixels]) -> Pixels:
    """Put pictures of one height side by side, [H, W, 3]; grey ones [H, W] become RGB."""
    coloured = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pictures]
    return np.concatenate(coloured, axis=1)


def drawn_rating(rating: Rating, stem: str) -> dict[str, bytes]:
    """Return ``<stem>.<view>.png`` for every view, ``<stem>.panel.png``, and overlaid values, by name."""
    picture = input_picture(rating)
    drawn = views(rating.spec, picture, rating.tensors)
    every = {**drawn, "panel": side_by_side([picture, *drawn.values()])}
    files = {f"{stem}.{kind}.png": _png(pixels) for kind, pixels in every.items()}
    for view in rating.spec.views:
        if view.kind == OVERLAY:
            stream = BytesIO()
            np.save(stream, rating.tensors[view.tensor][0, ..., 0].astype(np.float32))
            files[f"{stem}.{view.tensor}.npy"] = stream.getvalue()
    return files


def drawn_panel(rating: Rating, stem: str) -> dict[str, bytes]:
    """Return ``<stem>.mien.png``: the picture that went in, and every view, side by side."""
    picture = input_picture(rating)
    return {
        f"{stem}.mien.png": _png(
            side_by_side([picture, *views(rating.spec, picture, rating.tensors).values()])
        )
    }


def _png(pixels: Pixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def input_picture(rating: Rating) -> Pixels:
    """Return the picture [H, W, 3] that the front gave to the stages."""
    (picture,) = rating.prepared.inputs.values()
    return np.asarray(picture[0])
