"""The limits of the built-in pipeline: what the page says of them."""

import re
from pathlib import Path

from mien.mobile_reference.contract import LimitSpec
from mien.mobile_reference.front.quality import MEASURES
from mien.models.appraisal.pipeline import LIMITS

PAGE = (Path(__file__).parents[3] / "docs/refusals.md").read_text()


def told(limit: LimitSpec, bound: float | None) -> str:
    return "never" if bound is None else f"{limit.worse} {bound:g}"


def test_the_page_has_a_row_for_every_limit_in_their_order():
    meanings = {measure.name: measure.meaning for measure in MEASURES}
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (one.measure, meanings[one.measure], told(one, one.note), told(one, one.refuse)) for one in LIMITS
    ]


def test_every_measure_has_a_limit():
    assert {one.measure for one in LIMITS} == {measure.name for measure in MEASURES}
    assert all(one.note is not None for one in LIMITS)
