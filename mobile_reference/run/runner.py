"""The torch-free reference runner: what an app does with a bundle, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import APPRAISAL, DETECTOR, Bundle
from mien.mobile_reference.front.alignment import AlignedFace, Detector, align
from mien.mobile_reference.front.photograph import Pixels

from .models import Graph, load_graph

DEFAULT_VARIANT = "tflite-fp32"


class Appraisal(Protocol):
    """What is said of one photograph.

    ``score`` 0..100, 100 typical. In the aligned frame of 256x256: ``face`` and ``normalised`` uint8
    [256, 256, 3], the final ``heatmap`` float32 [256, 256] (0 where nothing is unusual) and ``mask``
    float32 [256, 256] in 0..1. ``alignment`` [2, 3] takes pixels of the photograph to pixels of the
    face, both counted from 0 at the first pixel's centre. ``faces`` is how many the photograph shows.
    """

    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def face(self) -> Pixels: ...  # noqa: D102
    @property
    def heatmap(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def mask(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def normalised(self) -> Pixels: ...  # noqa: D102
    @property
    def alignment(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def faces(self) -> int: ...  # noqa: D102


class Appraiser(Protocol):
    """Something that rates photographs, and the name of what it is."""

    variant: str

    def appraise(self, photograph: Pixels) -> Appraisal:
        """Rate an RGB photograph [H, W, 3]."""
        ...

    def rate(self, face: Pixels) -> Mapping[str, NDArray[Any]]:
        """Rate an aligned face [256, 256, 3]; returns the tensors of the graph ``appraisal``."""
        ...


@dataclass(frozen=True)
class BundleAppraisal:
    """An ``Appraisal`` made by a bundle."""

    score: float
    face: Pixels
    heatmap: NDArray[np.float32]
    mask: NDArray[np.float32]
    normalised: Pixels
    alignment: NDArray[np.float64]
    faces: int


class BundleAppraiser:
    """Rates photographs with one variant of a bundle."""

    def __init__(self, bundle: Bundle, variant: str = DEFAULT_VARIANT, threads: int = 1) -> None:
        chosen = bundle.variant(variant)
        self.variant = chosen.name
        self._rule = bundle.alignment
        self._detector = as_detector(load_graph(bundle, chosen, DETECTOR, threads))
        self._appraisal = load_graph(bundle, chosen, APPRAISAL, threads)

    def align(self, photograph: Pixels) -> AlignedFace:
        """Cut the largest face."""
        return align(photograph, self._detector, self._rule)

    def rate(self, face: Pixels) -> dict[str, NDArray[Any]]:
        """Run the one graph on an aligned face [256, 256, 3]."""
        return self._appraisal({"face": face[None]})

    def appraise(self, photograph: Pixels) -> BundleAppraisal:
        """Rate an RGB photograph [H, W, 3]."""
        aligned = self.align(photograph)
        result = self.rate(aligned.pixels)
        return BundleAppraisal(
            score=float(result["score"][0]),
            face=aligned.pixels,
            heatmap=result["heatmap"][0, :, :, 0],
            mask=result["mask"][0, :, :, 0],
            normalised=np.floor(result["normalised"][0] + 0.5).clip(0, 255).astype(np.uint8),
            alignment=aligned.matrix,
            faces=aligned.faces,
        )


def as_detector(graph: Graph) -> Detector:
    """Make a detector of the graph ``detector``."""

    def detect(picture: Pixels) -> NDArray[np.float32]:
        return np.asarray(graph({"picture": picture[None]})["candidates"][0])

    return detect
