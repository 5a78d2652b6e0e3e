"""What many photographs cost: steps are those of a rating, runs those of the command, paper is arithmetic."""

import json
from pathlib import Path

import pytest

from mien.benchmarks.experiments.scale import NO_FACE, NOT_AN_IMAGE, Steps, main, paper_of
from mien.mobile_reference.commands.console import run


def test_paper_is_what_one_costs_times_their_number() -> None:
    steps = Steps(1000, {"decode": 10.0, "graph": 26.0}, file_bytes=1000, row_bytes=50)
    paper = paper_of(10**6, steps)
    assert paper["core_hours"] == pytest.approx(10)
    assert paper["cores_for_a_day"] == pytest.approx(10 / 24)
    assert (paper["photograph_bytes"], paper["row_bytes"]) == (10**9, 5 * 10**7)


def test_steps_and_runs_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        run(main, ["--most", "100", "--rounds", "1", "--json"])
    assert left.value.code == 0
    said = json.loads(capsys.readouterr().out)
    small, large = said["steps"]
    assert small["ms"].keys() == large["ms"].keys()
    assert {"decode", "detector", "align and measure", "appraisal"} <= small["ms"].keys()
    assert 0 < small["ms"]["decode"] < large["ms"]["decode"]
    assert min(small["ms"].values()) > 0
    assert [(one["kind"], one["rows"]) for one in said["runs"]] == [(NOT_AN_IMAGE, 100), (NO_FACE, 100)]
    assert said["runs"][0]["cpu"] < said["runs"][1]["cpu"]
    assert len(said["paper"]) == 4
