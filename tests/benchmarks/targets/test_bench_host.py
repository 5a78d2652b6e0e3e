"""``mien bench BUNDLE`` on the host, with real LiteRT and real processes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.benchmarks.results.records import check_report, read_report, read_result
from mien.benchmarks.results.stats import summarise
from mien.mobile_reference.commands.console import main
from tests.benchmarks.tinymodels import write_manifest

QUICK = ("--processes", "2", "--runs", "3", "--warmup", "1")


def call(*arguments: str | Path) -> int:
    """Call the command line and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def report_file(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "bench.json"
    assert call("bench", bundle, *QUICK, "-o", file) == 0
    return file


@pytest.fixture
def report(report_file: Path) -> dict[str, Any]:
    return read_report(report_file)


def test_every_stage_of_every_variant_is_timed(report: dict[str, Any]) -> None:
    assert [result["variant"] for result in report["results"]] == ["tflite-fp32", "tflite-int8"]
    for result in report["results"]:
        names = [(stage["part"], stage["name"]) for stage in result["latency"]["stages"]]
        assert names == [
            ("step", "decode"),
            ("step", "front"),
            ("model", "appraisal"),
            ("step", "total"),
            ("graph", "detector"),
            ("graph", "heatmap"),
            ("graph", "compare"),
        ]


def test_raw_times_are_kept_by_process_and_the_summary_is_theirs(report: dict[str, Any]) -> None:
    for stage in report["results"][0]["latency"]["stages"]:
        assert [len(block) for block in stage["blocks"]] == [3, 3]
        summary = summarise([time for block in stage["blocks"] for time in block])
        assert stage["summary"]["p90"] == summary.p90


def test_the_whole_is_no_shorter_than_its_steps(report: dict[str, Any]) -> None:
    stages = {
        s["name"]: s["blocks"] for s in report["results"][0]["latency"]["stages"] if s["part"] != "graph"
    }
    for decode, align, appraisal, total in zip(*stages.values(), strict=True):
        assert (np.add(np.add(decode, align), appraisal) <= total).all()


def test_results_are_labelled_and_judged(report: dict[str, Any]) -> None:
    for result in report["results"]:
        total = result["latency"]["stages"][3]["summary"]
        assert result["kind"] == result["device"]["kind"] == "host"
        assert result["verdict"]["p90_ms"] == total["p90"]
        assert result["verdict"]["state"] == ("met" if total["p90"] < 1000 else "not met")
        (parity,) = result["parity"]
        assert (parity["name"], parity["unit"], parity["passed"]) == ("score of noise", "points", True)
    exact, quantised = (result["parity"][0]["error"] for result in report["results"])
    assert exact == 0 < quantised < 2


def test_loading_and_the_first_appraisal_are_apart(report: dict[str, Any]) -> None:
    latency = report["results"][0]["latency"]
    assert len(latency["load_ms"]) == len(latency["first_ms"]) == 2
    assert latency["peak_memory_bytes"] > 20 << 20


def test_a_result_survives_the_way_through_the_file(report: dict[str, Any]) -> None:
    result = read_result(report["results"][0])
    assert result.p90_ms == report["results"][0]["verdict"]["p90_ms"]
    assert result.parity[0].passed


def test_the_table_fits_a_terminal(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", bundle, *QUICK, "--variant", "tflite-int8", "--threads", "2") == 0
    out = capsys.readouterr().out
    assert "2 threads" in out
    assert "not a phone" in " ".join(out.split())
    assert "tflite-fp32" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_goes_to_standard_output_alone(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", "run", bundle, *QUICK, "--variant", "tflite-fp32", "--json") == 0
    check_report(json.loads(capsys.readouterr().out))


def test_another_photograph_has_no_float_score_to_compare_with(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = tmp_path / "grey.jpg"
    Image.new("RGB", (640, 480), "grey").save(photograph)
    cpu = str(min(os.sched_getaffinity(0)))
    arguments = ("--photo", photograph, "--variant", "tflite-fp32", "--json", "--cpus", cpu)
    assert call("bench", bundle, *QUICK, *arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"][0]["parity"] == []
    assert report["settings"]["input"] == "grey.jpg"
    assert report["settings"]["cpus"] == [int(cpu)]


def test_junit_tells_of_a_wrong_answer_and_of_none(bundle: Path, tmp_path: Path) -> None:
    wrong, file = shutil.copytree(bundle, tmp_path / "wrong"), tmp_path / "bench.xml"
    write_manifest(wrong, 1.0)
    quick = (*QUICK, "--variant", "tflite-int8", "--junit", file)
    for arguments, code, said in (
        ((wrong, *quick), 1, '<failure message="score of noise is off by'),
        ((wrong, *quick, "--photo", bundle / "noise.png"), 0, "<skipped"),
        ((bundle, *quick), 0, "/>"),
    ):
        assert call("bench", *arguments) == code
        assert said in file.read_text()
    assert "<failure" not in file.read_text()
    assert "<skipped" not in file.read_text()


def test_a_fast_wrong_answer_fails(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = shutil.copytree(bundle, tmp_path / "wrong")
    write_manifest(wrong, 1.0)
    assert call("bench", wrong, *QUICK, "--variant", "tflite-int8") == 1
    assert "score of noise is off by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "is not a bundle"),
        (
            ("{bundle}", "--variant", "tflite-in8"),
            "tflite-int8; did you mean tflite-int8?",
        ),
        (("{bundle}", "--photo", "nowhere.jpg"), "does not exist"),
        (("{bundle}", "--cpus", "4000"), "--cpus is '4000'"),
        (("{bundle}", "-o", "no/such/folder/bench.json"), "is not a folder"),
        (("{bundle}", "-o", "{bundle}"), "is a folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    bundle: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert call("bench", *(argument.format(bundle=bundle) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_model_that_cannot_be_loaded_is_reported(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / "tflite-fp32" / "appraisal.tflite").write_bytes(b"not a model at all")
    write_manifest(broken, 0.0)
    assert call("bench", broken, *QUICK, "-o", tmp_path / "bench.json") == 2
    assert "LiteRT cannot load" in capsys.readouterr().err
    assert not (tmp_path / "bench.json").exists()


def test_help_names_the_options_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", "--help") == 0
    out = capsys.readouterr().out
    assert "--processes" in out
    assert "Commands:" in out


@pytest.mark.parametrize("damage", ["kind", "time", "extra"])
def test_a_changed_report_is_refused(report: dict[str, Any], tmp_path: Path, damage: str) -> None:
    from mien.benchmarks.errors import ReportError

    result = report["results"][0]
    if damage == "kind":
        result["kind"] = "arm64-emulation"  # which has no times
    elif damage == "time":
        result["latency"]["stages"][0]["blocks"][0][0] = -1
    else:
        result["extra"] = 1
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(report))
    with pytest.raises(ReportError, match=str(file)):
        read_report(file)
