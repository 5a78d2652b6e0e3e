"""The long run: it goes on where it ended, and its counts stand side by side."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fuzz import longrun
from tests.fuzz.targets import Target


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The numbers of the cases that were tried; every fourth ends by a signal."""
    numbers: list[int] = []

    def try_case(_prepared: object, _seed: int, number: int) -> str:
        numbers.append(number)
        return "passed" if number % 4 else "crash: signal 11"

    monkeypatch.setattr(longrun, "ROOT", tmp_path)
    monkeypatch.setattr(longrun, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(longrun, "WANTED", {"models": 12})
    monkeypatch.setattr(longrun, "TARGETS", {"models": Target(lambda _: [], lambda _: ())})
    monkeypatch.setattr(longrun, "prepare", lambda targets, _: list(targets.values()))
    monkeypatch.setattr(longrun, "try_case", try_case)
    return numbers


def run(*words: str) -> str:
    done = CliRunner().invoke(longrun.longrun, words)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_goes_on_until_every_target_has_its_count(
    tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(longrun.time, "monotonic", lambda: next(clock))
    run("--seconds", "6")
    assert 0 < len(tried) < 12
    run("--seconds", "1000")
    assert tried == list(range(12))
    assert "models           12 tried: 3 crash, 9 passed" in run()
    assert tried == list(range(12))


def test_its_counts_are_written_between_their_marks(tried: list[int]) -> None:
    run()
    longrun.PAGE.write_text(f"before\n{longrun.BEGIN}old\n{longrun.END}after\n")
    run("--write")
    assert longrun.PAGE.read_text() == (
        f"before\n{longrun.BEGIN}| target | this code | 35216d8 |\n|---|---|---|\n"
        f"| `models` | 12: 3 crash, 9 passed | not tried |\n{longrun.END}after\n"
    )
