"""Rated photographs as one page of small pictures: a thousand are looked through in a minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from mien.mobile_reference.run.runner import Rating

from .page import Gallery, Page, Section, Table, Text, picture_of, write_page
from .pictures import input_picture, side_by_side, views

SIDE = 96
"""Pixels along a small picture: a page of a thousand has some 8 MB."""


@dataclass(frozen=True)
class Rated:
    """A photograph by its name: its score or none, what is to be said of it, its small picture as JPEG."""

    name: str
    score: float | None
    note: str
    thumbnail: bytes


def thumbnail(rating: Rating) -> bytes:
    """Draw the picture that went in beside the first view, small, as JPEG."""
    picture = input_picture(rating)
    first = list(views(rating.spec, picture, rating.tensors).values())[:1]
    image = Image.fromarray(side_by_side([picture, *first]))
    image.thumbnail((image.width, SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def contact_sheet(name: str, meaning: str, photographs: Sequence[Rated]) -> str:
    """Make the page: what has no score first, then every photograph, the lowest score first.

    ``name`` is that of the variant, ``meaning`` what a score says.
    """
    failed = [one for one in photographs if one.score is None]
    rated = sorted((one for one in photographs if one.score is not None), key=lambda one: one.score or 0.0)
    pictures = [
        picture_of(one.thumbnail, "JPEG", f"{one.name}, and what was seen", _caption(one)) for one in rated
    ]
    rows = [(one.name, one.note) for one in failed]
    sections = [
        *(
            [Section("Not rated", [Table("photographs without a score", ("photograph", "why"), rows)])]
            if rows
            else []
        ),
        *([Section("By score", [Text("The lowest score comes first."), Gallery(pictures)])] if rated else []),
    ]
    lead = [
        Text(f"{len(rated)} of {len(photographs)} photographs were rated: {meaning or 'by their score'}.")
    ]
    return write_page(Page("mien appraise", name, lead, sections))


def _caption(one: Rated) -> str:
    return f"{one.score:.1f} {one.name.rpartition('/')[2]}" + (f": {one.note}" if one.note else "")
