"""Other raters, which run in environments of their own: faces go out as one file, ratings come back as two.

A folder of cases holds ``faces.npy``, uint8 [N, 256, 256, 3], and ``cases.csv`` with one line for each.
Whoever rates them adds ``scores.npy`` [N], 0..100 with 100 for a typical face, and ``heatmaps.npy``
[N, 256, 256], >= 0 where the larger is the more unusual; on the page, 1 is full heat.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from mien.mobile_reference.files import check_size
from mien.mobile_reference.output.folder import Kind, OutputFolder
from mien.models.appraisal.errors import RequestError

from .evaluation import Case, Cases, Progress, RatedFace, Rating

_MAX_BYTES = 4 << 30
FACES, CASES, SCORES, HEATMAPS = "faces.npy", "cases.csv", "scores.npy", "heatmaps.npy"
ALONE = "ratings"
"""The name of the one stage that ratings from elsewhere have."""


def new_folder(folder: Path) -> OutputFolder:
    """Return the folder that is to hold cases, before minutes are spent on them.

    Raises:
        RequestError: it holds something.
        UsageError: it cannot be a folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"{folder} exists; give a new folder for the faces")
    return OutputFolder.at(folder, Kind("folder of faces"))


def write_cases(cases: Cases, folder: OutputFolder, progress: Progress) -> None:
    """Write every case's face into ``folder``."""
    with folder.staged() as staging:
        _fill(cases, staging, progress)


def _fill(cases: Cases, folder: Path, progress: Progress) -> None:
    side = cases.faces.faces.shape[-1]
    faces = open_memmap(  # type: ignore[no-untyped-call]  # numpy has no types for it
        folder / FACES, "w+", np.uint8, (len(cases), side, side, 3)
    )
    with (folder / CASES).open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("number", "identity", "kind", "severity"))
        for _, case in cases:
            faces[case.number] = case.face
            writer.writerow((case.number, case.portrait.identity, case.kind, case.severity))
            progress(case.number + 1, len(cases))
    faces.flush()


class FolderRater:
    """Rates by what another program wrote beside the faces of a folder of cases."""

    stages = (ALONE,)

    def __init__(self, folder: Path, count: int) -> None:
        """Open the ratings of ``count`` cases.

        Raises:
            RequestError: a file is missing, no plain array, or of another shape or range.
        """
        self.folder = folder
        self.faces = _array(folder / FACES, (count, 256, 256, 3))
        self.scores = _array(folder / SCORES, (count,))
        self.heatmaps = _array(folder / HEATMAPS, (count, 256, 256))

    def rate(self, case: Case) -> Rating:
        """Return the rating of a face.

        Raises:
            RequestError: the folder's face is another one, or its rating is out of range.
        """
        if not np.array_equal(self.faces[case.number], case.face):
            raise RequestError(
                f"face {case.number} of {self.folder / FACES} is not the one drawn now; write the faces anew"
            )
        score, heatmap = float(self.scores[case.number]), np.asarray(self.heatmaps[case.number], np.float32)
        if not 0 <= score <= 100:
            raise RequestError(
                f"score {case.number} of {self.folder / SCORES} is {score:g}, expected 0 to 100"
            )
        if not (np.isfinite(heatmap).all() and heatmap.min() >= 0):
            raise RequestError(
                f"map {case.number} of {self.folder / HEATMAPS} has values that are not finite and >= 0"
            )
        return Rating({ALONE: RatedFace(score, heatmap)}, normalised=None)


def _array(file: Path, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Map an array without reading or unpickling it."""
    try:
        check_size(file, _MAX_BYTES)
        array: NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises whatever its parser of headers meets first
        raise RequestError(f"{file} is not an array that can be read; have the faces rated first") from error
    if array.shape != shape or array.dtype.kind not in "uf":
        raise RequestError(f"{file} is {array.dtype} {array.shape}, expected numbers of shape {shape}")
    return array
