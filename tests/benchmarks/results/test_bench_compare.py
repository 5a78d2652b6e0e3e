"""``mien bench compare``: reports with known differences, made from one real report."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.benchmarks.errors import ReportError
from mien.benchmarks.results.compare import INSTRUCTIONS, MS, compare
from mien.benchmarks.results.records import Device, Latency, Reported, Result, Stage, Work, make_report
from mien.benchmarks.results.stats import Blocks
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from tests.schemas import schema

HOST = Device("host", "processor", "x86_64", 2, "Linux", "ai-edge-litert")
EMULATED = Device("arm64-emulation", "cortex-a76", "aarch64", 1, "Linux", "ai-edge-litert")
SETTINGS = {
    "input": "p.png",
    "input_sha256": "0" * 64,
    "blocks": 5,
    "runs": 20,
    "warmup": 1,
    "cpus": [],
}
THRESHOLDS = {MS: 0.05, INSTRUCTIONS: 0.02}


def times(seed: int, ms: float) -> Blocks:
    generator = np.random.default_rng(seed)
    return [(ms * generator.lognormal(0, 0.03, 20)).tolist() for _ in range(5)]


def host_result(seed: int, ms: float) -> Result:
    stages = (Stage("step", "decode", times(seed + 100, 2)), Stage("step", "total", times(seed, ms)))
    return Result("host", "tflite-fp32", HOST, 1, Latency(stages, (1.0,), (1.0,), 1), ())


def counted_result(instructions: int) -> Result:
    work = (Work("appraisal", instructions, {"convolution": 0.9}, 0.9),)
    return Result("arm64-emulation", "tflite-int8", EMULATED, 1, None, (), work)


@pytest.fixture
def make(bundle: Path) -> Callable[..., dict[str, Any]]:
    opened = open_bundle(bundle)
    return lambda *results: make_report(opened, SETTINGS, results)


def write(folder: Path, name: str, report: dict[str, Any]) -> str:
    (folder / name).write_text(json.dumps(report))
    return str(folder / name)


@pytest.mark.parametrize(("after", "regressed"), [(120, True), (103, False), (100, False), (80, False)])
def test_a_slower_program_is_a_regression_above_the_threshold(
    make: Callable[..., dict[str, Any]],
    after: float,
    regressed: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    changes = compare(make(host_result(1, 100)), make(host_result(2, after)))
    assert [change.what for change in changes] == ["decode", "total"]
    assert [change.regressed(THRESHOLDS) for change in changes] == [False, regressed]
    assert changes[1].ratio.low < after / 100 < changes[1].ratio.high


@pytest.mark.parametrize(("after", "regressed"), [(1_021_000, True), (1_019_000, False), (900_000, False)])
def test_instruction_counts_have_a_threshold_of_their_own(
    make: Callable[..., dict[str, Any]],
    after: int,
    regressed: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    (change,) = compare(make(counted_result(1_000_000)), make(counted_result(after)))
    assert change.regressed(THRESHOLDS) == regressed


def test_counts_are_compared_whatever_the_emulators_release(make: Callable[..., dict[str, Any]]) -> None:
    before, after = make(counted_result(1_000_000)), make(counted_result(1_000_000))
    after["results"][0]["device"]["system"] = "another qemu"
    after["settings"]["input_sha256"] = "1" * 64
    (change,) = compare(before, after)
    assert change.ratio.estimate == 1
    after["results"][0]["device"]["name"] = "cortex-a53"
    with pytest.raises(ReportError, match="differ in processor"):
        compare(before, after)


def test_the_command_exits_1_and_names_the_regression(
    make: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write(tmp_path, "a.json", make(host_result(1, 100), counted_result(1_000_000)))
    after = write(tmp_path, "b.json", make(host_result(2, 120), counted_result(1_000_100)))
    with pytest.raises(SystemExit) as end:
        main(["bench", "compare", before, after])
    assert end.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.count("mien:") == 1
    assert "tflite-fp32: total needs +" in captured.err
    assert max(map(len, captured.out.splitlines())) <= 80


def test_a_report_compared_with_itself_is_well(
    make: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "a.json", make(host_result(1, 100)))
    with pytest.raises(SystemExit) as end:
        main(["bench", "compare", file, file, "--json"])
    assert not end.value.code
    records = json.loads(capsys.readouterr().out)
    assert [record["ratio"]["estimate"] for record in records] == [1, 1]
    assert not any(record["regressed"] for record in records)
    assert schema("bench-compare").problems(records) == []


def test_times_stand_in_a_comparison_of_bundles(
    make: Callable[..., dict[str, Any]], bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write(tmp_path, "before.json", make(host_result(1, 40.0)))
    after = write(tmp_path, "after.json", make(host_result(2, 60.0)))
    for option, said in (("--markdown", "| total | 40."), ("--json", '"verdict": "more"')):
        with pytest.raises(SystemExit) as end:
            main(["compare", str(bundle), str(bundle), "--times", before, after, option])
        assert not end.value.code
        assert said in capsys.readouterr().out


def _other_device(report: dict[str, Any]) -> None:
    report["results"][0]["device"]["name"] = "another"


def _other_photograph(report: dict[str, Any]) -> None:
    report["settings"]["input_sha256"] = "1" * 64


def _other_threads(report: dict[str, Any]) -> None:
    report["results"][0]["threads"] = 2


def _other_variant(report: dict[str, Any]) -> None:
    report["results"][0]["variant"] = "tflite-fp16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_device, "differ in device"),
        (_other_photograph, "differ in input"),
        (_other_threads, "differ in threads"),
        (_other_variant, "share no result"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    make: Callable[..., dict[str, Any]], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    before = make(host_result(1, 100))
    after = copy.deepcopy(before)
    change(after)
    with pytest.raises(ReportError, match=message):
        compare(before, after)


def test_sums_without_single_runs_are_not_compared(make: Callable[..., dict[str, Any]]) -> None:
    sums = Reported("appraisal", "gpu", ({"avg": 5.0},))
    report = make(replace(counted_result(1), target="android", work=(), reported=(sums,)))
    with pytest.raises(ReportError, match="neither single runs nor instruction counts"):
        compare(report, report)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_report_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main(["bench", "compare", str(file), str(file)])
    assert end.value.code == 2
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_what_is_not_a_time_is_never_no_difference(make: Callable[..., dict[str, Any]], value: float) -> None:
    good, bad = make(host_result(1, 100)), make(host_result(2, 100))
    stage = bad["results"][0]["latency"]["stages"][1]
    stage["blocks"] = [[value] * len(block) for block in stage["blocks"]]
    for before, after in ((good, bad), (bad, good)):
        with pytest.raises(ReportError, match=r"total (has a time that is not a finite number|took 0 ms)"):
            compare(before, after)


@pytest.mark.parametrize("option", ["--threshold", "--work-threshold"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_threshold_that_nothing_exceeds_is_refused(
    make: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
) -> None:
    report = write(tmp_path, "report.json", make(host_result(1, 100)))
    with pytest.raises(SystemExit) as end:
        main(["bench", "compare", report, report, option, value])
    assert end.value.code == 2
    assert f"{option} is {float(value)}, expected a number" in capsys.readouterr().err


def _no_results(report: dict[str, Any]) -> None:
    report["results"] = []


def _only_graphs(report: dict[str, Any]) -> None:
    for stage in report["results"][0]["latency"]["stages"]:
        stage["part"] = "graph"


def _no_loading(report: dict[str, Any]) -> None:
    report["results"][0]["latency"]["load_ms"] = []


def _empty_block(report: dict[str, Any]) -> None:
    report["results"][0]["latency"]["stages"][0]["blocks"][0] = []


def _endless(report: dict[str, Any]) -> None:
    report["results"][0]["latency"]["stages"][0]["blocks"][0][0] = 10**400


def _many_cores(report: dict[str, Any]) -> None:
    report["results"][0]["device"]["cores"] = 10**400


@pytest.mark.parametrize(
    "damage", [_no_results, _only_graphs, _no_loading, _empty_block, _endless, _many_cores]
)
def test_a_damaged_report_is_one_line(
    make: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[dict[str, Any]], None],
) -> None:
    report = make(host_result(1, 100))
    damage(report)
    file = write(tmp_path, "report.json", report)
    for words in (["compare", file, file], ["page", file, "-o", str(tmp_path / "page.html")]):
        with pytest.raises(SystemExit) as end:
            main(["bench", *words])
        assert end.value.code == 2
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) == 1
        assert "report.json" in captured.err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_a_report_of_another_version_says_which(
    make: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    version: object,
) -> None:
    file = write(tmp_path, "report.json", make(host_result(1, 100)) | {"format": version})
    for words in (["compare", file, file], ["page", file, "-o", str(tmp_path / "page.html")]):
        with pytest.raises(SystemExit) as end:
            main(["bench", *words])
        assert end.value.code == 2
        said = (
            f"report.json: the report has format {version!r}, this mien reads 2; make it again with this mien"
        )
        assert capsys.readouterr().err.strip().endswith(said)
    assert not (tmp_path / "page.html").exists()


def test_names_are_not_markup(
    make: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = make(host_result(1, 100))
    report["results"][0]["variant"] = "[/x]"
    file = write(tmp_path, "report.json", report)
    with pytest.raises(SystemExit) as end:
        main(["bench", "compare", file, file])
    assert not end.value.code
    assert "[/x]" in capsys.readouterr().out
