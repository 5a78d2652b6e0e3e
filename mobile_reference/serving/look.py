"""What is shown of one photograph: its score, its views, and the time of each step."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.bundle.reader import Bundle, face_front
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.report.page import Block, Gallery, Picture, Section, Table, Text, jpeg
from mien.mobile_reference.report.pictures import input_picture, views
from mien.mobile_reference.run.runner import BundleRunner, Rating


@dataclass(frozen=True)
class Look:
    """A rated photograph, ready to be shown; ``times`` are milliseconds of each step."""

    score: float
    meaning: str
    pictures: tuple[Picture, ...]
    times: dict[str, float]


def look_at(bundle: Bundle, variant: str | None, photograph: Path) -> Look:
    """Rate a photograph and draw what was seen.

    Raises:
        FaceError: it cannot be read, shows no face, or one that cannot be rated.
    """
    times = _Times()
    runner = BundleRunner(bundle, variant)
    runner.load((*face_front(bundle.spec).models, *runner.rating_models))
    times.mark("load the models")
    pixels = read_photograph(photograph)
    times.mark("decode the photograph")
    prepared = runner.prepare(pixels)
    prepared.check()
    times.mark("find and align the face")
    rating = Rating(bundle.spec, prepared, runner.rate(prepared.inputs))
    times.mark("run the models")
    spec = bundle.spec
    return Look(rating.score, spec.tensor(spec.rating.tensor).meaning, tuple(_pictures(rating)), times.found)


class _Times:
    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, step: str) -> None:
        now = time.perf_counter()
        self.found[step], self._last = 1000 * (now - self._last), now


def _pictures(rating: Rating) -> Iterator[Picture]:
    picture = input_picture(rating)
    yield jpeg(picture, "the picture that went in", "input")
    for name, view in views(rating.spec, picture, rating.tensors).items():
        yield jpeg(view, f"{name}, as the pipeline sees it", name)


def sections(name: str, look: Look) -> list[Section]:
    """Lay a look out for a page."""
    blocks: list[Block] = [
        Text(f"{look.score:.1f} ({look.meaning})", "strong"),
        Gallery(look.pictures),
        Table("time of each step", ("step", "ms"), [(k, f"{v:.1f}") for k, v in look.times.items()]),
    ]
    return [Section(name, blocks)]
