"""A photograph that cannot be rated is refused, whatever its score would be; one with a note is rated."""

import numpy as np
import pytest

from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.run.runner import Prepared

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
