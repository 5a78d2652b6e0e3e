"""Options that several commands have in common."""

from importlib.metadata import entry_points
from importlib.util import find_spec

import click
import pytest

from mien.mobile_reference.commands import console
from mien.mobile_reference.commands.options import FiniteRange


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "1e999", "-0.1", "64.1", "x", ""])
def test_a_number_that_is_not_finite_or_out_of_range_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        FiniteRange(0, 64)(text)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_without_a_limit_infinity_is_no_number_either(text: str):
    with pytest.raises(click.BadParameter, match="is not a finite number"):
        FiniteRange(min=0)(text)


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("64", 64.0), ("1e-3", 0.001)])
def test_a_number_of_the_range_is_one(text: str, number: float):
    assert FiniteRange(0, 64)(text) == number


def test_every_option_of_a_range_of_real_numbers_is_of_this_type():
    loaded = [entry.load() for entry in entry_points(group=console.COMMANDS) if find_spec(entry.module)]
    commands = [c for one in loaded for c in getattr(one, "commands", {"": one}).values()]
    ranges = [o.type for c in commands for o in c.params if isinstance(o.type, click.FloatRange)]
    assert ranges
    assert {type(one) for one in ranges} == {FiniteRange}
