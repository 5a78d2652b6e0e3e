"""Reports as one HTML page that asks for nothing else: every page of mien is put together and written here.

A page is a list of sections, and a section a list of blocks. Each block is drawn by the macro of its name in
``templates/blocks.html``; all text is escaped there. matplotlib draws the charts, and a page without any
does without it.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.output.text import shown

from .charts import Chart

_BRIEF = 48
"""Letters of a cell that a phone shows on one line: a name broken at its hyphens is hard to read."""
_SMALL, _MEDIUM = 192, 320
"""Pixels: two small pictures stand side by side on a phone; a large one has a face beside its heat."""
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?\S{1,3})?|-|unknown|exact|nan|", re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` is ``plain``, ``strong`` or ``note``, which stands out."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Table:
    """Rows of text under headings, which the reader may sort; ``caption`` says what they are about."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Tell of each column whether all its cells are numbers, which stand to the right."""
        return tuple(any(column) and all(map(_NUMBER.fullmatch, column)) for column in self._columns)

    @property
    def brief(self) -> tuple[bool, ...]:
        """Tell of each column whether all its cells are short, and so stay on one line on a phone."""
        return tuple(all(len(cell) <= _BRIEF for cell in column) for column in self._columns)

    @property
    def _columns(self) -> list[tuple[str, ...]]:
        return list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.headings)


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: ``source`` is a data URI, ``alt`` says what one would see."""

    source: str
    width: int
    height: int
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side; those out of sight cost a browser next to nothing."""

    pictures: Sequence[Picture]

    @property
    def size(self) -> str:
        """How wide a column is at least: ``small``, ``medium`` or ``large``, by the widest picture."""
        widest = max((picture.width for picture in self.pictures), default=0)
        return "small" if widest <= _SMALL else "medium" if widest <= _MEDIUM else "large"


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Upload:
    """A form that sends one file under ``name``; ``action`` is what its button says."""

    name: str
    action: str


Block = Upload | Text | Table | Picture | Gallery | Terms | Chart


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; ``kind`` is a word that the heading sets off, such as ``host``."""

    title: str
    blocks: Sequence[Block]
    kind: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page: the ``command`` that makes it, what it is about, and its sections."""

    command: str
    name: str
    lead: Sequence[Block]
    sections: Sequence[Section]


def jpeg(pixels: NDArray[Any], alt: str, caption: str = "") -> Picture:
    """Make a picture [H, W, 3] of uint8 part of a page, as small as JPEG makes it."""
    return _picture(pixels, "JPEG", alt, caption)


def png(pixels: NDArray[Any], alt: str, caption: str = "") -> Picture:
    """Make a picture [H, W, 3] of uint8 part of a page, with every pixel as it is."""
    return _picture(pixels, "PNG", alt, caption)


def picture_of(file: bytes, form: str, alt: str, caption: str = "") -> Picture:
    """Make the bytes of a file of pictures, JPEG or PNG as ``form`` says, part of a page."""
    with Image.open(BytesIO(file)) as image:
        width, height = image.size
    data = base64.b64encode(file).decode()
    return Picture(f"data:image/{form.lower()};base64,{data}", width, height, alt, caption)


def _draw(chart: Chart) -> Markup:
    from .drawing import draw

    return draw(chart)


def _picture(pixels: NDArray[Any], form: str, alt: str, caption: str) -> Picture:
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, quality=85)
    return picture_of(file.getvalue(), form, alt, caption)


def write_page(page: Page) -> str:
    """Return a page as HTML.

    Its Content-Security-Policy lets it load nothing and run only the script that sorts its tables.
    """
    return _environment().get_template("page.html").render(page=page)


@cache
def _environment() -> Environment:
    made = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=PackageLoader("mien.mobile_reference.report"),
        finalize=lambda value: shown(value) if type(value) is str else value,
    )
    for name in ("style.css", "sort.js"):
        text = files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        key = name.partition(".")[0]
        made.globals |= {key: Markup(text), f"{key}_hash": digest}  # noqa: S704 - files of ours
    made.filters |= {"block": lambda block: type(block).__name__, "drawn": _draw}
    return made
