"""The picture of docs/refusals.md: spoilt photographs, each with what ``mien appraise`` says of it.

``python -m mien.models.appraisal.evaluation.drawings.refused_examples -o docs/pages/refused.jpg`` spoils the
pictures of nobody that ship, and rates them with the bundle that ships.
"""

import textwrap
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from zlib import crc32

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.run.runner import BundleRunner
from mien.models.appraisal.evaluation.spoilt import SPOILERS, Spoiler
from mien.models.appraisal.portraits import SAMPLES

_SIDE, _TEXT, _COLUMNS = 220, 74, 4
_LETTERS, _LINES = 38, 5
_SHOWN = (
    "nobody-01",
    "nobody-03",
    "nobody-05",
    "nobody-07",
    "nobody-09",
    "nobody-11",
    "nobody-13",
    "nobody-15",
)


def _dark(photograph: Pixels, _matrix: NDArray[np.float64], _rng: np.random.Generator) -> Pixels:
    return np.asarray(photograph // 16, dtype=np.uint8)


def _blurred(photograph: Pixels, _matrix: NDArray[np.float64], _rng: np.random.Generator) -> Pixels:
    radius = photograph.shape[1] / 40
    return np.asarray(Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(radius)))


EXAMPLES: dict[str, Spoiler] = {**SPOILERS, "dark": _dark, "blurred": _blurred}


def examples() -> Iterator[tuple[str, Pixels, str]]:
    """Yield kinds of spoilt photographs with the photograph, RGB [H, W, 3], and what is said of it."""
    runner = BundleRunner(open_bundle(shipped_bundle()))
    for name, (kind, spoil) in zip(_SHOWN, EXAMPLES.items(), strict=True):
        photograph = read_photograph(SAMPLES / f"{name}.jpg")
        matrix = runner.prepare(photograph).alignment
        spoilt = spoil(photograph, matrix, np.random.default_rng(crc32(f"{name} {kind}".encode())))
        yield kind, spoilt, _said(runner, spoilt)


def _said(runner: BundleRunner, photograph: Pixels) -> str:
    rating = runner.appraise_anyway(photograph)
    for verdict, word in ((REFUSE, "refused"), (NOTE, f"rated {rating.score:.1f}, with a note")):
        reasons = [finding.reason for finding in rating.prepared.findings if finding.verdict == verdict]
        if reasons:
            return f"{word}: {reasons[0]}"
    return f"rated {rating.score:.1f}, without a note"


def drawn(found: list[tuple[str, Pixels, str]]) -> bytes:
    """Draw photographs in rows, each above what is said of it, as a JPEG."""
    rows = -(-len(found) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, rows * (_SIDE + _TEXT)), "white")
    font, pen = ImageFont.load_default(10), ImageDraw.Draw(sheet)
    for place, (kind, photograph, said) in enumerate(found):
        left, top = place % _COLUMNS * _SIDE, place // _COLUMNS * (_SIDE + _TEXT)
        picture = Image.fromarray(photograph)
        picture.thumbnail((_SIDE - 8, _SIDE - 8))
        sheet.paste(picture, (left + (_SIDE - picture.width) // 2, top + (_SIDE - picture.height) // 2))
        lines = textwrap.wrap(f"{kind}: {said}", _LETTERS, max_lines=_LINES)
        pen.multiline_text((left + 6, top + _SIDE), "\n".join(lines), fill="black", font=font, spacing=3)
    stream = BytesIO()
    sheet.save(stream, "JPEG", quality=85)
    return stream.getvalue()


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(output: Path) -> None:
    """Draw spoilt photographs of nobody, with what is said of each."""
    found = list(examples())
    OutputFile.at(output).write(drawn(found))
    for kind, _, said in found:
        click.echo(f"{kind}: {said}")


if __name__ == "__main__":
    run(main, name="refused_examples")
