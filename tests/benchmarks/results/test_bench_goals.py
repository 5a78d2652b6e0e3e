"""Figures beside their goals: the whole command, with fewer runs and processors that were counted before."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mien.benchmarks.experiments import baseline
from mien.benchmarks.results.targets_met import Goal
from tests.benchmarks import goals
from tests.benchmarks.phone.double import overhead
from tests.benchmarks.targets.test_bench_android import needs_double


@pytest.mark.parametrize(
    ("found", "limit", "verdict"),
    [(0.6, 0.6, "met"), (0.601, 0.6, "missed"), (None, 0.6, "no figure"), (0.6, None, "no goal")],
)
def test_a_goal_is_kept_missed_or_not_known(found: float | None, limit: float | None, verdict: str) -> None:
    assert Goal("x", found, limit, "s", "y").verdict == verdict


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the stored instruction counts for those of the bundle, which test_bench_baseline counts."""
    stored = baseline.read_stored()
    monkeypatch.setattr(goals, "work_goals", lambda *_: baseline.goals(stored, stored))


@needs_double
def test_every_figure_is_printed_with_its_goal(
    bundle: Path, cache: Path, counted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "WAYS", ((1, 2),))
    arguments = [str(bundle), "--cache", str(cache), "--json"]
    done = CliRunner().invoke(goals.main, arguments, catch_exceptions=False)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["unit"] for record in records] == ["instructions", "%", "", "ms", "ms", "s", "s"]
    assert all(record["found"] > 0 for record in records if record["unit"] == "s")
    assert all(record["verdict"] in ("met", "missed") for record in records[1:])


def test_a_missed_goal_is_said_and_is_no_error(
    bundle: Path, counted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Goal("harness", 3.0, 2.0, "s", "made up")
    monkeypatch.setattr(goals, "harness_goals", lambda _: [slow])
    done = CliRunner().invoke(goals.main, [str(bundle)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "harness" in done.stdout.split("missed: ")[-1]
