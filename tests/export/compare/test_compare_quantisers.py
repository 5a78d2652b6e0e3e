"""What the comparison of quantisers shows of the ARM64 instructions."""

import json

import pytest
from rich.console import Console

from mien.export.compare.command import Comparison, quantiser_table, show_json
from mien.export.compare.converters import FAILED, WORKS
from mien.export.compare.instructions import Instructions
from mien.export.compare.quantisers import Cost, Quantised
from tests.schemas import schema

HOW = "nothing was set up; run 'mien setup arm64'"


def _shown(*arm64: Instructions) -> str:
    found = [
        Quantised(f"by-{number}", WORKS, cost=Cost(36, 0.1, 0.2, 0.3, 3_000_000, 40.5, counted))
        for number, counted in enumerate(arm64)
    ]
    console = Console(width=100)
    with console.capture() as shown:
        console.print(quantiser_table([*found, Quantised("broken", FAILED, "it divides by zero")]))
    return shown.get()


def _cells(shown: str, row: str) -> list[str]:
    (line,) = (line for line in shown.splitlines() if row in line)
    return line.replace("\u2502", " ").split()


def test_counts_stand_beside_the_milliseconds() -> None:
    shown = _shown(Instructions(587_100_000))
    assert _cells(shown, "by-0")[-2:] == ["40.5", "587.1"]
    assert _cells(shown, "broken")[-1] == "-"
    assert "no time" in shown
    assert "not counted" not in shown


def test_what_was_not_counted_says_how_to_get_it_once() -> None:
    shown = _shown(Instructions(None, HOW), Instructions(None, HOW))
    assert _cells(shown, "by-0")[-2:] == _cells(shown, "by-1")[-2:] == ["40.5", "-"]
    assert " ".join(shown.split()).count(HOW) == 1


def test_one_model_that_was_not_counted_does_not_hide_the_other() -> None:
    shown = _shown(Instructions(None, "it ended with 1"), Instructions(1_000_000))
    assert [_cells(shown, f"by-{n}")[-1] for n in (0, 1)] == ["-", "1.0"]
    assert "not counted: it ended with 1" in shown


def test_json_tells_a_missing_count_from_none_needed(capsys: pytest.CaptureFixture[str]) -> None:
    cost = Cost(36, 0.1, 0.2, 0.3, 3_000_000, 40.5, Instructions(None, HOW))
    found = [Quantised("mien", WORKS, cost=cost), Quantised("broken", FAILED, "it divides by zero")]
    show_json(Comparison(lambda *_: found, quantiser_table), found)
    printed = json.loads(capsys.readouterr().out)
    assert printed[0]["cost"]["arm64"] == {"count": None, "reason": HOW}
    assert schema("export-compare-quantisers").problems(printed) == []
