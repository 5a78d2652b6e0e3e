"""A photograph that cannot be rated is refused, whatever its score would be; one with a note is rated."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.contract import AS_IT_IS, TensorSpec
from mien.mobile_reference.errors import RatingError
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import Appraiser, Prepared, check_values
from tests.mobile_reference.conftest import SPEC

FINE = Finding("brightness", 120.0, None, "fine")
NOTED, REFUSED = Finding("roll", 45.0, 30.0, NOTE), Finding("turn", 0.95, 0.9, REFUSE)


def prepared(*findings: Finding) -> Prepared:
    return Prepared({}, np.eye(2, 3), 1, findings)


def test_one_measure_beyond_its_limit_refuses_and_is_named() -> None:
    with pytest.raises(RefusedError) as caught:
        prepared(FINE, NOTED, REFUSED).check()
    assert caught.value.findings == (FINE, NOTED, REFUSED)
    assert str(caught.value).startswith("not rated, since the head is turned aside (turn 0.95, limit 0.9); ")
    assert "roll" not in str(caught.value)


@pytest.mark.parametrize("findings", [(), (FINE,), (FINE, NOTED)])
def test_what_is_fine_or_noted_is_rated(findings: tuple[Finding, ...]) -> None:
    prepared(*findings).check()


class Fixed(Appraiser):
    """Rates every photograph alike, and finds what it is told to find."""

    def __init__(self, *findings: Finding) -> None:
        self.variant, self.spec = "fixed", SPEC
        self.findings, self.rated = findings, 0

    def prepare(self, photograph: Pixels) -> Prepared:
        return prepared(*self.findings)

    def rate(self, inputs: Arrays) -> Mapping[str, NDArray[Any]]:
        self.rated += 1
        made = {name: np.zeros(1, np.float32) for name in SPEC.served[-1].outputs}
        return made | {"score": np.float32([42])}


PHOTOGRAPH = np.zeros((8, 8, 3), np.uint8)


def test_a_refused_photograph_is_not_even_rated() -> None:
    appraiser = Fixed(REFUSED)
    with pytest.raises(RefusedError):
        appraiser.appraise(PHOTOGRAPH)
    assert appraiser.rated == 0
    assert appraiser.appraise_anyway(PHOTOGRAPH).score == 42


def test_a_noted_photograph_is_rated() -> None:
    rating = Fixed(NOTED).appraise(PHOTOGRAPH)
    assert (rating.score, rating.prepared.findings) == (42, (NOTED,))


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "has the value nan"), (-0.5, "has the value -0.5, outside of 0..1"), (1.5, "outside of 0..1")],
)
def test_values_that_no_sound_model_gives_are_no_rating(value: float, said: str) -> None:
    tensor = TensorSpec("share", (3,), "float32", 1, "of a test", AS_IT_IS, range=(0.0, 1.0))
    check_values(tensor, np.float32([0, 0.5, 1]))
    with pytest.raises(RatingError, match=said):
        check_values(tensor, np.float32([0.5, value, 1]))
    free = TensorSpec("free", (3,), "float32", 1, "of a test", AS_IT_IS)
    if np.isfinite(value):
        check_values(free, np.float32([0.5, value, 1]))
