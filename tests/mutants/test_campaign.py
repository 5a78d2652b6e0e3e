"""A campaign on a small project: what tests notice is killed, the rest survives, results are kept."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import campaign
from tests.mutants.campaign import Coverage, Result, measure_coverage, report, run, sample, try_mutant
from tests.mutants.faults import MODULE, Mutant, find_mutants
from tests.mutants.scratch import Scratch, ScratchError
from tests.mutants.sources import SOURCES, files_of, room_of

ROOT = Path(__file__).parent.parent.parent
SOURCE = """LIMIT = 3


def small(value):
    return value < LIMIT


def unused(value):
    return value + 1


def forever(value):
    while value < 1:
        value += 1
    return value
"""
TESTS = """import pytest
from mien.mobile_reference.verify.rule import small, forever


@pytest.fixture
def half():
    return small(0.5)


def test_small():
    assert small(1) and not small(5)


def test_fixture(half):
    assert half


def test_forever():
    assert forever(0) == 1
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree of the shape of ours, with one file that gets faults."""
    root = tmp_path / "project"
    markers = "[tool.pytest.ini_options]\nmarkers = ['small']\n"
    packages = "[tool.setuptools.package-dir]\n'mien.mobile_reference' = 'mobile_reference'\n"
    write(
        root,
        {
            "pyproject.toml": packages + markers,
            "mobile_reference/__init__.py": "",
            "mobile_reference/verify/__init__.py": "",
            "mobile_reference/verify/rule.py": SOURCE,
            "tests/__init__.py": "",
            "tests/layers.py": (ROOT / "tests/layers.py").read_text(),
            "tests/mutants/__init__.py": "",
            "tests/mutants/tracing.py": (ROOT / "tests/mutants/tracing.py").read_text(),
            "tests/test_rule.py": TESTS.replace(
                "import pytest\n", "import pytest\npytestmark = pytest.mark.small\n"
            ),
        },
    )
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def mutant(source: str, function: str, kind: str) -> Mutant:
    found = find_mutants("mobile_reference/verify/rule.py", source.encode())
    return next(m for m in found if (m.function, m.kind) == (function, kind))


def test_a_campaign_on_a_small_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "LEAST_SECONDS", 4.0)
    scratch = Scratch(project, tmp_path / "build")
    coverage = measure_coverage(scratch, ["small"], [], tmp_path)
    rule = "mobile_reference/verify/rule.py"
    of_small = {"tests/test_rule.py::test_small", "tests/test_rule.py::test_fixture"}
    chosen = [
        mutant(SOURCE, "small", "comparison"),
        mutant(SOURCE, "small", "boundary"),
        mutant(SOURCE, "unused", "arithmetic"),
        mutant(SOURCE, "forever", "arithmetic"),
    ]
    assert [set(coverage.tests_for(m)) for m in chosen] == [
        of_small,
        of_small,
        set(),
        {"tests/test_rule.py::test_forever"},
    ]
    assert set(coverage.tests_for(mutant(SOURCE, MODULE, "constant"))) == {
        *of_small,
        "tests/test_rule.py::test_forever",
    }

    folder = tmp_path / "results"
    results = list(run(chosen, scratch, coverage, folder, lambda _: None))
    assert [r.status for r in results] == ["killed", "survived", "survived", "timed out"]
    assert results[0].killer in of_small
    assert (project / rule).read_text() == (scratch.tree / rule).read_text() == SOURCE

    tried: list[Any] = []
    monkeypatch.setattr(campaign, "try_mutant", lambda m, *_: tried.append(m) or Result(m, "killed", 1))
    assert list(run(chosen, scratch, coverage, folder, lambda _: None)) == results
    assert not tried
    (scratch.tree / "tests/test_rule.py").write_text(TESTS + "\n")
    list(run(chosen, scratch, coverage, folder, lambda _: None))
    assert tried == [chosen[0], chosen[1], chosen[3]]  # no test executes the other one


def test_a_test_that_fails_without_a_fault_ends_the_campaign(project: Path, tmp_path: Path) -> None:
    tests = project / "tests/test_rule.py"
    tests.write_text(tests.read_text().replace("forever(0) == 1", "forever(0) == 2"))
    with pytest.raises(ScratchError, match=r"fail without any fault.*test_rule.py::test_forever"):
        measure_coverage(Scratch(project, tmp_path / "build"), ["small"], [], tmp_path)


def test_a_copy_that_would_not_feel_faults_is_refused(project: Path, tmp_path: Path) -> None:
    write(project, {"pyproject.toml": "[tool.setuptools.package-dir]\n'other' = 'mobile_reference'\n"})
    with pytest.raises(ScratchError, match="not its own files"):
        Scratch(project, tmp_path / "build")


def test_a_sample_is_drawn_by_its_seed(project: Path) -> None:
    one, same, other = (sample(project, ("verify",), seed, 6) for seed in (1, 1, 2))
    assert one == same != other
    assert len({m.identity for m in one}) == 6
    assert len(sample(project, (), 1, 10_000)) < 100


def test_the_report_counts_by_room_and_names_survivors() -> None:
    one = mutant(SOURCE, "small", "comparison")
    results = [Result(one, status, 1) for status in ("killed", "killed", "timed out", "survived")]
    found = report(results, lambda _: "verify", seed=1)
    counts = {"mutants": 4, "killed": 2, "timed_out": 1, "survived": 1, "rate": 0.75}
    assert (found["all"], found["rooms"], found["seed"]) == (counts, {"verify": counts}, 1)
    assert [(s["place"], s["new"]) for s in found["survivors"]] == [(f"{one.file}:5", "(value >= LIMIT)")]


def test_a_mutant_that_no_test_executes_survives() -> None:
    one = mutant(SOURCE, "unused", "arithmetic")
    assert try_mutant(one, None, Coverage({}, {}), []) == Result(one, "survived", 0)  # type: ignore[arg-type]


def test_every_room_has_files_and_every_file_one_room() -> None:
    # A pattern may match nothing yet, a room may not.
    assert all(files_of(ROOT, (room,)) for room in SOURCES)
    every = files_of(ROOT)
    assert sum(len(files_of(ROOT, (room,))) for room in SOURCES) == len(every)
    assert room_of(ROOT, "mobile_reference/verify/limits.py") == "verify"
