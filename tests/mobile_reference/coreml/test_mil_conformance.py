"""The operation tests that ship inside coremltools, sampled; conformance/run.py runs them all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("coremltools")

FOLDER = Path(__file__).parent / "conformance"
RESULTS = json.loads((FOLDER / "results.json").read_text())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("conformance") / "report.json"
    command = [sys.executable, "-W", "ignore", str(FOLDER / "run.py"), "--one"]
    command += ["--variants", "1", "--known", str(FOLDER / "results.json"), "--report", str(path)]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(path.parent)}
    subprocess.run(command, check=True, env=variables, capture_output=True)
    return json.loads(path.read_text())


def failing(report):
    return {name.partition("[")[0]: text for name, text in report["failed"].items()}


def test_only_known_tests_fail(report):
    surprising = {n: t for n, t in failing(report).items() if n not in RESULTS["known_failures"]}
    assert not surprising


def test_nothing_shrank(report):
    assert report["coremltools"] == RESULTS["coremltools"]
    for count in ("reached", "passed"):
        assert report[count] >= RESULTS["sample"][count], count
    assert len(report["operations"]) >= RESULTS["sample"]["operations"]


def test_the_record_is_sound():
    full = RESULTS["full"]
    assert full["reached"] > 10_000
    assert full["reached"] - full["passed"] >= len(RESULTS["known_failures"]) > 0
    assert all(len(reason) > 20 for reason in RESULTS["known_failures"].values())
    assert RESULTS["known_failures"].keys() <= set(RESULTS["functions"])
