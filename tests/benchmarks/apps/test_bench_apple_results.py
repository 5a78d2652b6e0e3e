"""Reading what measure.sh leaves. The logs are made up: no Apple device has been measured."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.benchmarks.apps import apple_results
from mien.benchmarks.apps.apple_package import PAYLOAD
from mien.benchmarks.apps.generated_project import RESULTS, SPEC
from mien.benchmarks.results.records import read_report
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from tests.benchmarks.pipelines import GRADER, make_bundle

UNITS = ("cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine", "all")
Change = Callable[[dict[str, Any]], None]


def bench(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(["bench", *map(str, arguments)])
    text = "".join(capsys.readouterr())
    assert (end.value.code or 0) == expect, text
    return text


class Package:
    """A generated package and made-up measurements of it."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.bundle = bundle
        self.spec = json.loads((folder / PAYLOAD / SPEC).read_text())
        (folder / RESULTS).mkdir()

    def record(self, units: str) -> dict[str, Any]:
        device = {"model": "made-up", "system": "macOS 0 (made up)", "isa": "arm64", "cores": 8}
        graphs = {name: [1.0, 2.0] for name in self.spec["graphs"] if name != "appraisal"}
        stages = open_bundle(self.bundle).spec.stages
        starts = ["appraisal", *(stage.name for stage in stages)]
        return {
            "id": self.spec["id"],
            "variant": "coreml-fp16",
            "units": units,
            "device": device | {"simulator": False},
            "load_ms": 10.5,
            "first_ms": 5,
            "inputs_ms": [0.1, 0.2],
            "models_ms": {"appraisal": [12.4, 12.4]},
            "runs_ms": [12.5, 12.6],
            "graphs": graphs,
            "peak_memory_bytes": 1000,
            "notes": ["thermal state after: fair"],
            "scores": [
                {"golden": golden["name"], "from": start, "differences": {"score": 0.01}}
                for golden in self.spec["goldens"]
                for start in starts
            ],
            "photographs": [
                {
                    "golden": golden["name"],
                    "differences": {"face": 0, "score": 0.01},
                    "skipped": [],
                    "changed": [],
                    "findings": {"faces": 1, "turn": None},
                }
                for golden in self.spec["goldens"]
                if golden["photograph"]
            ],
        }

    def write(self, change: Change = lambda _: None) -> None:
        for block in (1, 2):
            lines = ["Test Suite 'All tests' started"]
            for units in UNITS:
                record = self.record(units)
                change(record)
                lines.append("MIEN " + json.dumps(record))
            (self.folder / RESULTS / f"block-{block}.log").write_text("\n".join(lines) + "\n")

    def read(self, capsys: pytest.CaptureFixture[str], expect: int = 0) -> str:
        return bench(capsys, self.bundle, "--target", "macos", "-o", self.folder, expect=expect)


@pytest.fixture
def package(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Package:
    bench(capsys, exported, "--target", "macos", "-o", tmp_path / "package")
    return Package(tmp_path / "package", exported)


def test_a_measurement_becomes_a_report(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    package.write()
    out = package.read(capsys)
    assert max(map(len, out.splitlines())) <= 80 or "p90 12.6 ms on this mac" in out
    assert "no evidence of the whole way" in out
    results = read_report(package.folder / "report.json")["results"]
    assert [result["target"] for result in results] == [f"apple-{units}" for units in UNITS]
    assert {result["kind"] for result in results} == {"mac"}
    for result in results:
        assert result["verdict"] == {"budget_ms": 1000, "p90_ms": None, "state": "no evidence"}
        assert result["threads"] is None
        assert [p["error"] for p in result["parity"]] == [0.01] * 7
        assert [(s["part"], s["name"]) for s in result["latency"]["stages"]][:3] == [
            ("step", "pixels"),
            ("model", "appraisal"),
            ("step", "inference"),
        ]
        assert result["latency"]["stages"][2]["blocks"] == [[12.5, 12.6]] * 2
        assert any("the front is not in the times" in note for note in result["notes"])
    report = package.folder / "report.json"
    bench(capsys, "page", report, "-o", package.folder / "report.html")
    assert "12.6" in (package.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("system", "simulator", "kind"), [("iOS 1", False, "iphone"), ("iOS 1", True, "ios-simulator")]
)
def test_the_kind_is_the_devices(
    package: Package,
    capsys: pytest.CaptureFixture[str],
    system: str,
    simulator: bool,  # noqa: FBT001 - parametrised
    kind: str,
) -> None:
    package.write(lambda r: r["device"].update(system=system, simulator=simulator))
    package.read(capsys)
    (found,) = {r["kind"] for r in read_report(package.folder / "report.json")["results"]}
    assert found == kind


def _drop_a_face(record: dict[str, Any]) -> None:
    record["scores"] = record["scores"][1:]


def test_photographs_are_judged(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    package.write(lambda r: r["photographs"].pop())
    assert "score from the photograph on is off by inf" in " ".join(package.read(capsys, expect=1).split())
    package.write(lambda r: r["photographs"][0].update(changed=["score"]))
    assert "score with the early exit is off by 1" in " ".join(package.read(capsys, expect=1).split())


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["scores"][0]["differences"].update(score=0.2),
        lambda r: r["scores"][0]["differences"].update(score=None),
        lambda r: r["scores"][0]["differences"].pop("score"),
        _drop_a_face,
    ],
)
def test_a_wrong_or_missing_score_fails(
    package: Package, capsys: pytest.CaptureFixture[str], change: Change
) -> None:
    package.write(change)
    assert "score from appraisal on is off by" in package.read(capsys, expect=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(id="0" * 64), "measured another bundle"),
        (lambda r: r.update(extra=1), "damaged"),
        (lambda r: r.update(load_ms=float("nan")), "damaged"),
        (lambda r: r["models_ms"].update(appraisal=[float("inf")]), "damaged"),
        (lambda r: r["models_ms"].update(other=r["models_ms"].pop("appraisal")), "damaged"),
        (lambda r: r["device"].update(system="Debian"), "damaged"),
        (lambda r: r.update(variant="coreml-none"), "has no variant"),
        (lambda r: r["device"].update(cores=len(r["units"])), "several devices"),
    ],
)
def test_what_is_no_measurement_is_refused(
    package: Package, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    package.write(change)
    assert message in package.read(capsys, expect=2)
    assert not (package.folder / "report.json").exists()


@pytest.mark.parametrize(("status", "message"), [(0, "p90 12.6 ms"), (3, "ended with 3: no such module")])
def test_a_mac_measures_at_once(
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    message: str,
) -> None:
    """A script stands for the swift command: this shows how it is called, and nothing of a Mac."""
    package.write()
    log = (package.folder / RESULTS / "block-1.log").rename(package.folder.parent / "log")
    folder = package.folder.parent / "fresh"
    tools = package.folder.parent / "tools"
    tools.mkdir()
    script = f"echo no such module >&2; exit {status}" if status else f'[ "$1" = test ] && cat {log}'
    (tools / "swift").write_text(f"#!/bin/sh\n{script}\ntrue\n")
    (tools / "swift").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(apple_results.sys, "platform", "darwin")
    out = bench(capsys, package.bundle, "--target", "macos", "-o", folder, expect=2 if status else 0)
    assert message in out
    assert (folder / "report.json").exists() is (status == 0)


def test_an_empty_log_says_so(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    (package.folder / RESULTS / "block-1.log").write_text("error: it does not build\nMIEN {cut\n")
    assert "damaged" in package.read(capsys, expect=2)
    (package.folder / RESULTS / "block-1.log").write_text("error: it does not build\n")
    assert "holds no measurement" in package.read(capsys, expect=2)
    assert len(open_bundle(package.bundle).goldens) > 1


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda _: None, 0, "under 1000 ms met on this mac (p90 12.6 ms)"),
        (lambda r: r["scores"][0]["differences"].update(grade=7.0), 1, "grade from segment on is off by 7"),
        (lambda r: r["scores"][1]["differences"].update(grade=None), 1, "grade from rate on is off by inf"),
        (lambda r: r["scores"].pop(), 1, "grade from rate on is off by inf"),
        (lambda r: r["models_ms"].pop("rate"), 2, "models_ms are not of rate, segment"),
        (lambda r: r["graphs"].update(other=[1.0]), 2, "graphs are not of none"),
        (lambda r: r.update(runs_ms=[]), 2, "damaged"),
    ],
)
def test_stages_of_a_pipeline_without_a_front_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Change, code: int, message: str
) -> None:
    made, folder = make_bundle(tmp_path / "made", GRADER), tmp_path / "package"
    bench(capsys, made, "--target", "macos", "-o", folder)
    package = Package(folder, made)
    record = package.record("all") | {
        "models_ms": {"segment": [6.0, 6.0], "rate": [6.4, 6.4]},
        "graphs": {},
        "scores": [
            {"golden": "one", "from": start, "differences": {"mask": 0.0, "grade": 0.01}}
            for start in ("segment", "rate")
        ],
    }
    damage(record)
    (folder / RESULTS / "block-1.log").write_text("MIEN " + json.dumps(record) + "\n")
    assert message in " ".join(package.read(capsys, expect=code).split())
    if code:
        return
    (result,) = read_report(folder / "report.json")["results"]
    assert [(stage["part"], stage["name"]) for stage in result["latency"]["stages"]] == [
        ("step", "pixels"),
        ("model", "segment"),
        ("model", "rate"),
        ("step", "total"),
    ]
