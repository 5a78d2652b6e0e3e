"""The one writer of JSON: what it writes is JSON, whatever it is given."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.mobile_reference.errors import ResultError
from mien.mobile_reference.output.json_text import json_text

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
_VALUES = st.recursive(_LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(st.characters()), v))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_refused_by_its_place(value: float):
    with pytest.raises(ResultError, match=r"holds (nan|inf|-inf) at results/1/score"):
        json_text({"results": [{"score": 1.0}, {"score": value}]})


@pytest.mark.parametrize("value", [{"name": "caf\udce9"}, {"caf\udce9": 1}, ["\ud800"]])
def test_text_that_is_no_unicode_is_refused(value: Any):
    with pytest.raises(ResultError, match="the text"):
        json_text(value)


def test_what_json_can_say_is_written_as_python_writes_it():
    value = {"b": [1, 2.5, None, True], "a": "é\n\x1b"}
    assert json_text(value) == json.dumps(value)
    assert json_text(value, indent=1, sort_keys=True) == json.dumps(value, indent=1, sort_keys=True)


@given(_VALUES)
def test_every_value_is_refused_or_comes_back(value: Any):
    def strict(text: str) -> float:
        raise AssertionError(f"{text} is not JSON")

    try:
        text = json_text(value)
    except ResultError:
        return
    text.encode("ascii")
    assert json.loads(text, parse_constant=strict) == value
