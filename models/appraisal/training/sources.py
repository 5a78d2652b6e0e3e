"""Folders to train on: each with a share of what is seen, its faces, and morphs of its people."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from mien.mobile_reference.report.progress import Report
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.errors import ImageSetError, RecipeError
from mien.models.appraisal.portraits import (
    TRAINING,
    TRAITS,
    FaceSet,
    Portrait,
    check_apart,
    check_index,
    cut_faces,
    read_portraits,
)
from mien.models.appraisal.training.mixture import Pool
from mien.models.appraisal.training.morphs import morphed_faces
from mien.models.appraisal.training.normal import SCORE_THERE, SCORE_THERE_EVERYDAY, Untouched

# More morphs of so few people hardly tell anything new, and so often a morph is seen if there are fewer.
MORPHS_PER_FACE = 48
_TIMES_SEEN = 2
# Of a folder's share so much is morphs: none of them has a smile or a blemish of its own.
_MORPHS = 2 / 3


@dataclass(frozen=True)
class Source:
    """A folder of portraits, and its share of what is trained on, in units of all sources' sum."""

    folder: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read FOLDER or FOLDER=WEIGHT; a folder of the whole name comes first.

        Raises:
            RecipeError: the weight is not a finite number from 0 on.
        """
        folder, sign, weight = text.rpartition("=")
        if not sign or Path(text).is_dir():
            return cls(Path(text))
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise RecipeError(f"the weight of {folder} is '{weight:.20}', expected a number from 0 on")
        return cls(Path(folder), number)


@dataclass(frozen=True)
class SourceFaces:
    """The faces of one source, with morphs of them if it has landmarks."""

    weight: float
    photographs: FaceSet
    morphs: Tensor

    def pools(self) -> Iterator[Pool]:
        """Yield photographs and morphs."""
        worn = [_wears(portrait.attributes) for portrait in self.photographs.portraits]
        share = _MORPHS if len(self.morphs) else 0.0
        yield Pool(self.photographs.faces, self.weight * (1 - share), ~torch.tensor(worn))
        if share:
            yield Pool(self.morphs, self.weight * share, torch.ones(len(self.morphs)).bool(), mined=False)

    def untouched(self) -> Untouched:
        """Return the photographs, and what they shall score: less under everyday light than in a studio."""
        everyday = any(TRAITS & portrait.attributes.keys() for portrait in self.photographs.portraits)
        return Untouched(self.photographs.faces, SCORE_THERE_EVERYDAY if everyday else SCORE_THERE)


def _wears(attributes: Mapping[str, str]) -> bool:
    return "1" in (attributes.get("glasses"), attributes.get("hat"))


def list_sources(sources: Sequence[Source]) -> dict[Source, list[Portrait]]:
    """List the portraits of folders that have a share, and check what their indices say.

    Raises:
        ImageSetError: a folder has nothing to train on, an index cannot be used, or one picture is both among
            those to train on and among others.
    """
    listed = {source: _listed(source) for source in sources if source.weight}
    check_apart([portrait for portraits in listed.values() for portrait in portraits])
    return listed


def _listed(source: Source) -> list[Portrait]:
    """List the portraits of a folder, of which some may be trained on."""
    portraits = read_portraits(source.folder)
    check_index(source.folder, portraits)
    if not any(portrait.split in TRAINING for portrait in portraits):
        raise ImageSetError(
            f"{source.folder} has no portrait of the split 'train'; give a folder that has some"
        )
    return portraits


def gather(
    source: Source,
    portraits: Sequence[Portrait],
    checkpoint: Checkpoint,
    drawn: float,
    seed: int,
    report: Report,
) -> SourceFaces:
    """Align the faces of a folder that are to train on, and make morphs of its people from a seed.

    ``drawn`` is how many faces training will draw from the folder: no more morphs are made than it needs.
    """
    name = source.folder.name

    def cut(done: int, total: int) -> None:
        report(f"aligning faces: {name}", done, total, "")

    def morphed(done: int, total: int) -> None:
        report(f"making faces of nobody: {name}", done, total, "")

    chosen = [portrait for portrait in portraits if portrait.split in TRAINING]
    faces = cut_faces(chosen, checkpoint, cut)
    needed = max(round(_MORPHS * drawn / _TIMES_SEEN), 1)
    count = min(needed, MORPHS_PER_FACE * len(faces.faces))
    return SourceFaces(source.weight, faces, morphed_faces(faces, count, seed, morphed))
