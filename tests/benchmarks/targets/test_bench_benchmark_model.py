"""The second runner on a phone: a stand-in for LiteRT's program, which prints what that one prints.

The program itself cannot be had from a package. The lines have its format in two releases, and made-up times.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.phone.adb import choose_device, find_adb
from mien.benchmarks.phone.phone import probe
from mien.benchmarks.phone.session import MODES, Session
from mien.benchmarks.results.records import read_report
from mien.benchmarks.targets import benchmark_model
from mien.benchmarks.targets.benchmark_model import UNKNOWN, BenchmarkModelTarget, read_times, read_unit
from tests.benchmarks.phone.double.phone import write_program
from tests.benchmarks.targets.test_bench_android import (  # noqa: F401 - fixtures
    MODE,
    SHELL,
    call,
    connected,
    needs_double,
    quiet,
    root,
    runner,
    server,
    spec_of,
)

OLD = """\
Initialized session in 66.002ms.
count=1 curr=637079
count=50 first=2531 curr=2793 min=1171 max=9925 avg=1885.74 std=870
Inference timings in us: Init: 66002, First inference: 637079, Inference (avg): 1885.74
"""
NEW = """\
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate.
INFO: [tool.cc:9] count=4 first=3100000 curr=2900000 min=2.9e+06 max=3.1e+06 avg=3e+06 std=9
INFO: [tool.cc:9] count=10 first=25 curr=24 min=23 max=27 avg=1.25e+06 std=2 p5=23 median=24 p95=27
INFO: [tool.cc:9] Inference timings in us: Init: 13, First inference: 33, Inference (avg): 1.25e+06
"""
LITERT_2 = """\
INFO: [gpu_registry.cc:101] Attempting to load GPU accelerator(libLiteRtOpenClAccelerator.so).
WARNING: [gpu_registry.cc:152] GPU accelerator could not be loaded and registered.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Replacing 861 out of 866 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 5 partitions.
INFO: count=10 first=38800 curr=38650 min=38400 max=39200 avg=38700 std=210 p5=38400 median=38660 p95=39200
INFO: [benchmark_litert_model.h:94] Model initialization: 41.50 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       40.10 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         38.90 ms (13 runs)
"""
ON_GPU = "INFO: Replacing 860 out of 866 node(s) with delegate (TfLiteGpuDelegateV2) node"
ON_XNNPACK = "Replacing 861 out of 866 node(s) with delegate (TfLiteXNNPackDelegate) node"
APPLIED = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate."
ONE_RUN, EQUAL_RUNS = "count=1 curr=130000000", "count=3 avg=7\ncount=10 curr=1400(all same)"
REFUSED = "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate."
Make = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path) -> Make:
    """Make a stand-in that prints a text, and the library beside it without which it does not start."""

    def make(text: str) -> Path:
        folder = tmp_path / "program"
        folder.mkdir()
        (folder / "libvendor.so").write_text("a library\n")
        checks = (
            "read -r word < libvendor.so || exit 9",
            'echo "$@" >> flags',
            'echo "$LD_LIBRARY_PATH" >> flags',
        )
        script = "\n".join((*checks, text))
        return write_program(folder, SHELL, "benchmark_model", script)

    return make


def says(text: str) -> str:
    return "\n".join(f"echo '{line}'" for line in text.splitlines())


def run(bundle: Path, program: Path, unit: str) -> Any:
    adb = choose_device(find_adb(None), None)
    return BenchmarkModelTarget(Session(adb, probe(adb), MODE, quiet), program, unit).run(spec_of(bundle))


def test_the_last_line_of_runs_is_the_measurement() -> None:
    times = read_times(OLD)
    assert (times["count"], times["avg"], times["Init"], times["First inference"]) == (
        50,
        1885.74,
        66002,
        637079,
    )
    assert "median" not in times


def test_fields_of_newer_releases_are_kept() -> None:
    times = read_times(NEW)
    assert (times["median"], times["p95"], times["avg"], times["p5"]) == (24, 27, 1.25e6, 23)
    assert read_times("count=oops") == {}


def test_one_run_and_equal_runs_have_their_time_alone() -> None:
    assert read_times(ONE_RUN)["avg"] == 130_000_000
    assert {read_times(EQUAL_RUNS)[name] for name in ("avg", "min", "max")} == {1400}
    assert "avg" not in read_times("count=10 curr=1400")


def test_litert_2_tells_loading_in_milliseconds() -> None:
    times = read_times(LITERT_2)
    assert (times["Init"], times["First inference"], times["avg"]) == (41_500, 40_100, 38_700)


@pytest.mark.parametrize("value", ["nan", "inf", "-5", "1.2.3", "9" * 400, "1e999", "0x10", ""])
def test_what_is_not_a_time_is_none(value: str) -> None:
    assert "avg" not in read_times(f"count=10 avg={value} min=3")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        (LITERT_2, "gpu", None),
        (ON_XNNPACK, "gpu", None),
        (ON_XNNPACK, "npu", None),
        (REFUSED, "gpu", None),
        (OLD, "gpu", UNKNOWN),
        (APPLIED, "gpu", "gpu"),
        (APPLIED, "nnapi", UNKNOWN),
        (APPLIED.replace("GPU", "XNNPACK"), "gpu", UNKNOWN),
        (ON_GPU, "gpu", "gpu"),
        (f"{ON_GPU}\n{ON_XNNPACK}", "gpu", "gpu"),
        (ON_GPU.replace("860", "0"), "gpu", None),
        (ON_GPU.replace("TfLiteGpuDelegateV2", "DispatchDelegate"), "npu", "npu"),
        (LITERT_2, "cpu", "cpu"),
    ],
)
def test_the_unit_is_proven_or_unknown(text: str, unit: str, expected: str | None) -> None:
    taken = read_unit(text, unit)
    assert (taken and taken.unit) == expected


def test_how_much_the_unit_took_is_noted() -> None:
    taken = read_unit(f"{ON_GPU}\n{ON_XNNPACK}", "gpu")
    assert taken
    assert taken.note == "the gpu took 860 of 866 nodes"


@needs_double
def test_times_of_an_unknown_unit_are_never_the_units(
    bundle: Path,
    root: Path,  # noqa: F811
    program: Make,
) -> None:
    with connected(root):
        result = run(bundle, program(says(OLD)), "gpu")
    assert result.target == "android-benchmark_model-unknown"
    assert {one.unit for one in result.reported} == {UNKNOWN}
    assert any("which unit ran is unknown: gpu was asked for" in note for note in result.notes)


@needs_double
def test_the_command_reports_averages_and_no_verdict(
    bundle: Path,
    root: Path,  # noqa: F811
    program: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(MODES, "quick", MODE)
    report, page = tmp_path / "bench.json", tmp_path / "bench.html"
    with connected(root):
        options = ("--benchmark-model", program(says(NEW)), "--unit", "gpu", "--variant", "tflite-int8")
        assert call("bench", bundle, "--target", "android", *options, "-o", report) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 90
    for words in ("1250.0", "partially executed", "no evidence", "random inputs"):
        assert words in out
    (record,) = read_report(report)["results"]
    assert record["latency"] is None
    assert record["verdict"] == {"budget_ms": 1000.0, "p90_ms": None, "state": "no evidence"}
    assert [(r["graph"], len(r["blocks"])) for r in record["reported"]] == [("detector", 2), ("appraisal", 2)]
    assert len(record["conditions"]) == 8
    flags = (root / "data/local/tmp/mien/benchmark_model/flags").read_text().splitlines()
    assert "--graph=../tflite-int8/detector.tflite --num_threads=1" in flags[0]
    assert flags[0].endswith("--num_runs=3 --min_secs=0 --max_secs=60 --use_gpu=true")
    assert flags[1] == "."
    assert call("bench", "page", report, "-o", page) == 0
    assert "1250.0" in page.read_text()


@needs_double
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (says(f"{REFUSED}\n{OLD}"), "the gpu took nothing of the graph"),
        (says(LITERT_2), "the gpu took nothing of the graph"),
        ("echo no such flag >&2; exit 1", "ended with 1 on the phone: no such flag"),
        ("echo hello", "printed no line"),
    ],
    ids=["on the CPU", "no GPU", "failed", "another program"],
)
def test_what_is_no_measurement_is_an_error(
    bundle: Path,
    root: Path,  # noqa: F811
    program: Make,
    script: str,
    message: str,
) -> None:
    with connected(root), pytest.raises(DeviceError, match=message):
        run(bundle, program(script), "gpu")


def test_a_unit_needs_the_program(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", bundle, "--target", "android", "--unit", "npu") == 2
    assert "--benchmark-model" in capsys.readouterr().err


def test_a_word_of_a_megabyte_is_read_in_no_time() -> None:
    patterns = [value for value in vars(benchmark_model).values() if isinstance(value, re.Pattern)]
    assert len(patterns) > 5
    begun = time.process_time()
    for word in ("x" * 300_000, "1" * 300_000, "applied " * 3000):
        for pattern in patterns:
            pattern.findall(word)
    assert time.process_time() - begun < 20
