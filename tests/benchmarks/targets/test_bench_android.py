"""The target android: the real adb client and server against a double, whose shell the summary names."""

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.benchmarks.errors import DeviceError, DeviceLost
from mien.benchmarks.phone import session as session_module
from mien.benchmarks.phone.adb import choose_device, find_adb
from mien.benchmarks.phone.phone import probe, read_condition
from mien.benchmarks.phone.phone_runner import PhoneRunner, set_up_phone_runner
from mien.benchmarks.phone.session import MODES, Mode, Session, thermal_notes
from mien.benchmarks.pipeline import first_given
from mien.benchmarks.results.records import BenchSpec, Result, read_report
from mien.benchmarks.targets.android import AndroidTarget
from mien.benchmarks.targets.host import gate_parity
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.report.steps import Part
from tests.benchmarks.phone.double import phone as double_phone
from tests.benchmarks.phone.double.phone import (
    INSTALL,
    MISSING,
    PLAIN,
    best_shell,
    make_phone,
    own_server,
    refusal,
    running,
    write_heat,
    write_properties,
)
from tests.benchmarks.pipelines import EDGES, GRADER, SENSORS, make_bundle
from tests.benchmarks.tinymodels import leaving_bundle

needs_double = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: {INSTALL}")
SHELL = best_shell()
needs_namespace = pytest.mark.skipif(
    SHELL is PLAIN,
    reason=f"a plain shell has neither storage nor pages of its own: {refusal() or 'as asked'}",
)
MODE = replace(MODES["quick"], blocks=2, warmup=0, runs=3, limit=60, cool=0)
Start = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def runner(cache: Path) -> PhoneRunner:
    return set_up_phone_runner(cache, SHELL.abi, quiet)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An adb server of the tests' own; its home is that of all programs meanwhile."""
    with own_server(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture
def root(cache: Path, server: None) -> Iterator[Path]:
    """One phone's files, beside the system's: they share the disk."""
    place = cache / f"phone-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    yield make_phone(cache, place, SHELL)
    shutil.rmtree(place, ignore_errors=True)


def connected(root: Path, **settings: Any) -> AbstractContextManager[tuple[str, int]]:
    return double_phone.connected(root, SHELL, **settings)


def quiet(_: Part) -> None:
    return None


def spec_of(bundle: Path, mode: Mode = MODE) -> BenchSpec:
    opened = open_bundle(bundle)
    return BenchSpec(opened, "tflite-int8", first_given(opened), 1, mode.warmup, mode.runs, mode.blocks)


def measure(
    bundle: Path, runner: PhoneRunner, progress: Callable[[Part], None] = quiet, mode: Mode = MODE
) -> Result:
    adb = choose_device(find_adb(None), None)
    return AndroidTarget(Session(adb, probe(adb), mode, progress), runner).run(spec_of(bundle, mode))


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@needs_double
def test_the_command_measures_a_phone(
    bundle: Path,
    runner: PhoneRunner,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setitem(MODES, "quick", MODE)
    report, page = tmp_path / "bench.json", tmp_path / "bench.html"
    with connected(root) as (serial, _):
        cache = runner.folder.parent
        options = ("--serial", serial, "--variant", "tflite-int8", "--cache", cache, "-o", report)
        assert call("bench", bundle, "--target", "android", *options) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90
    (record,) = read_report(report)["results"]
    assert record["kind"] == "android"
    assert [len(block) for block in record["latency"]["stages"][3]["blocks"]] == [3, 3]
    assert [(c["block"], c["when"]) for c in record["conditions"]] == [
        (0, "before"),
        (0, "after"),
        (1, "before"),
        (1, "after"),
    ]
    assert SHELL.soc in record["device"]["name"]
    # The score of the phone's own run, from the photograph on: the runner's alignment is a third one.
    parity, repeated = record["parity"]
    assert parity["passed"]
    assert 0 < parity["error"] < 2
    assert (repeated["name"], repeated["error"]) == ("score from run to run", 0)
    assert call("bench", "page", report, "-o", page) == 0
    assert "heat and clock" in page.read_text()


@needs_double
def test_a_plain_shell_stands_for_a_phone_where_the_kernel_allows_no_other(
    bundle: Path, cache: Path, server: None, tmp_path: Path
) -> None:
    plain = set_up_phone_runner(cache, PLAIN.abi, quiet)
    phone = make_phone(cache, tmp_path / "phone", PLAIN)
    with running(phone, PLAIN) as (port, _):
        subprocess.run(["adb", "connect", f"127.0.0.1:{port}"], capture_output=True, check=True, timeout=300)
        result = measure(bundle, plain)
        subprocess.run(["adb", "disconnect"], capture_output=True, check=False)
    assert result.device.isa == "x86_64"
    assert list(result.failures) == []


@needs_double
@pytest.mark.parametrize("pipeline", [GRADER, SENSORS, EDGES], ids=lambda spec: spec.name)
def test_any_pipeline_is_measured_and_judged(
    pipeline: PipelineSpec, runner: PhoneRunner, root: Path, tmp_path: Path
) -> None:
    opened = open_bundle(make_bundle(tmp_path / "bundle", pipeline))
    spec = BenchSpec(opened, "tflite-fp32", first_given(opened), 1, 0, 3, 2)
    with connected(root):
        adb = choose_device(find_adb(None), None)
        result = AndroidTarget(Session(adb, probe(adb), MODE, quiet), runner).run(spec)
    assert result.latency is not None
    assert [(stage.part, stage.name) for stage in result.latency.stages] == [
        *(("model", stage.name) for stage in pipeline.stages),
        ("step", "total"),
    ]
    assert list(result.failures) == []
    rated, repeated = result.parity
    assert rated.error < 1e-5
    assert (repeated.error, repeated.gate) == (0, 0)


@needs_double
@pytest.mark.parametrize(("brightest", "said"), [(0, "leaves early"), (255, "does not leave early")])
def test_an_early_exit_is_measured_beside_the_full_path(
    brightest: int, said: str, bundle: Path, runner: PhoneRunner, root: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "photograph.png"
    noise = np.random.default_rng(3).integers(0, brightest + 1, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(photograph)
    opened = open_bundle(leaving_bundle(bundle, tmp_path / "leaving"))
    spec = BenchSpec(opened, "tflite-fp32", first_given(opened, photograph), 1, 0, 3, 2)
    with connected(root):
        adb = choose_device(find_adb(None), None)
        result = AndroidTarget(Session(adb, probe(adb), MODE, quiet), runner).run(spec)
    assert result.latency is not None
    # What is timed is the full path.
    assert [stage.name for stage in result.latency.stages] == ["decode", "front", "appraisal", "total"]
    assert list(result.failures) == []
    assert "score with the early exit" in [one.name for one in result.parity]
    assert [note for note in result.notes if f"the input {said};" in note]


@needs_double
def test_an_early_exit_of_other_bits_fails(
    bundle: Path, runner: PhoneRunner, root: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "black.png"
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(photograph)
    opened = open_bundle(leaving_bundle(bundle, tmp_path / "leaving", {"score": 1e-5, "heatmap": 0.0}))
    spec = BenchSpec(opened, "tflite-fp32", first_given(opened, photograph), 1, 0, 3, 1)
    with connected(root):
        adb = choose_device(find_adb(None), None)
        result = AndroidTarget(Session(adb, probe(adb), MODE, quiet), runner).run(spec)
    assert "score with the early exit" in " ".join(map(str, result.failures))


def refused_by_the_runner(
    bundle: Path, runner: PhoneRunner, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """Change one word that the runner is told, and measure."""
    given = AndroidTarget._settings

    def changed(target: AndroidTarget, spec: BenchSpec, models: Iterable[str]) -> Iterator[str]:
        yield from (new if word == old else word for word in given(target, spec, models))

    monkeypatch.setattr(AndroidTarget, "_settings", changed)
    opened = open_bundle(bundle)
    adb = choose_device(find_adb(None), None)
    spec = BenchSpec(opened, "tflite-fp32", first_given(opened), 1, 0, 1, 1)
    AndroidTarget(Session(adb, probe(adb), MODE, quiet), runner).run(spec)


@needs_double
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gives=low", "gives=lower", "has no tensor lower"),
        ("reads=bound", "reads=limit", "has no tensor limit"),
        ("input=limit", "input=low", "reads limit, which nothing before it makes"),
        ("file=../input/grey.bin", "file=../input/limit.bin", "tensor grey has 64 bytes in one model and 16"),
        ("keep=margin", "keep=nothing", "no model makes nothing"),
        ("reads=grey", "gives=grey", "takes 1 tensors, the bundle gives it 0"),
        ("threads=1", "threats=1", "threats is not among the runner's settings"),
    ],
)
def test_the_runner_refuses_by_name(
    runner: PhoneRunner,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    message: str,
) -> None:
    bundle = make_bundle(tmp_path / "bundle", EDGES)
    with connected(root), pytest.raises(DeviceError, match=message):
        refused_by_the_runner(bundle, runner, monkeypatch, old, new)


@needs_double
def test_a_block_has_its_runs_and_its_seconds(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    with connected(root):
        begun: dict[str, float] = {}
        result = measure(
            bundle, runner, lambda part: begun.update({part.text: time.monotonic()}), replace(MODE, seconds=1)
        )
        ended = time.monotonic()
    assert result.latency is not None
    blocks = result.latency.step("total").blocks
    assert ended - next(at for text, at in begun.items() if "block 1 of 2" in text) > len(blocks)
    for block in blocks:
        assert len(block) >= MODE.runs
        # The last run ends after the second. A busy machine may do something else between two runs.
        assert sum(block) > 500


def may_be_pinned_to(processor: int) -> bool:
    """Tell whether a process that asks for one processor is given it, wherever it runs now."""
    ask = f"import os; os.sched_setaffinity(0, {{{processor}}})"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False).returncode == 0


@needs_double
def test_pinning_is_to_the_big_processors_or_said_to_be_refused(
    bundle: Path, runner: PhoneRunner, root: Path
) -> None:
    if not may_be_pinned_to(1):
        pytest.skip("processor 1 is not ours: nothing to choose")
    with connected(root):
        assert "pinned to the big processors 1" in measure(bundle, runner).notes
        for name in ("cpuinfo_max_freq", "scaling_max_freq"):
            file = root / "sys/devices/system/cpu/cpu900/cpufreq" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("3300000\n")
        assert any("refused to pin" in note for note in measure(bundle, runner).notes)


@needs_double
def test_a_stale_model_of_equal_name_and_size_is_replaced(
    bundle: Path, runner: PhoneRunner, root: Path
) -> None:
    with connected(root):
        measure(bundle, runner)
        model = root / "data/local/tmp/mien/tflite-int8/appraisal.tflite"
        good = model.read_bytes()
        model.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        photo = next((root / "data/local/tmp/mien/input").iterdir())
        untouched = photo.stat().st_mtime_ns
        measure(bundle, runner)
        assert model.read_bytes() == good
        assert photo.stat().st_mtime_ns == untouched


@needs_double
def test_the_double_gives_back_what_was_copied_to_it(root: Path, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(256)) * 1000)
    with connected(root) as (serial, _):
        for words in (["push", sent, "/data/local/tmp/"], ["pull", "/data/local/tmp/sent", got]):
            subprocess.run(["adb", "-s", serial, *words], capture_output=True, check=True, timeout=300)
    assert got.read_bytes() == sent.read_bytes()


@needs_double
def test_an_unplugged_phone_leaves_its_finished_blocks(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    with connected(root) as (_, process):

        def unplug(part: Part) -> None:
            if "block 2" in part.text:
                subprocess.run(["kill", "-9", str(process)], check=True)

        result = measure(bundle, runner, unplug)
    assert result.latency is not None
    assert [len(stage.blocks) for stage in result.latency.stages] == [1] * 4
    assert "blocks missing: 2 of 2" in next(result.failures)


@needs_double
def test_the_command_says_what_an_unplugged_phone_left_out(
    bundle: Path,
    runner: PhoneRunner,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setitem(MODES, "quick", MODE)
    given = AndroidTarget._read
    with connected(root) as (_, process):

        def unplug(target: AndroidTarget, spec: BenchSpec, *rest: Any) -> dict[str, Any]:
            subprocess.run(["kill", "-9", str(process)], check=True)
            return given(target, spec, *rest)

        monkeypatch.setattr(AndroidTarget, "_read", unplug)
        options = ("--cache", runner.folder.parent, "-o", tmp_path / "bench.json")
        assert call("bench", bundle, "--target", "android", *options) == 1
    messages = capsys.readouterr().err
    assert "blocks missing: 2 of 2" in messages
    assert "not measured: tflite-int8" in messages
    (record,) = read_report(tmp_path / "bench.json")["results"]
    assert [len(block) for block in record["latency"]["stages"][3]["blocks"]] == [3]


@needs_double
def test_a_phone_that_goes_at_once_is_an_error(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    with connected(root) as (_, process), pytest.raises(DeviceLost, match="is gone"):
        measure(bundle, runner, lambda _: subprocess.run(["kill", "-9", str(process)], check=True) and None)


@needs_double
@needs_namespace
@pytest.mark.parametrize("storage", ["size=1m", "ro"])
def test_full_or_locked_storage(bundle: Path, runner: PhoneRunner, root: Path, storage: str) -> None:
    with connected(root, storage=storage), pytest.raises(DeviceError, match="cannot write to"):
        measure(bundle, runner)


@needs_double
def test_a_runner_that_fails_is_reported_with_its_last_line(
    bundle: Path, runner: PhoneRunner, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AndroidTarget, "_settings", lambda *_: ["unknown=1"])
    with connected(root), pytest.raises(DeviceError, match=r"ended with 3 on the phone: .*settings"):
        measure(bundle, runner)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_score_that_is_no_number_fails(bundle: Path, place: int) -> None:
    spec = spec_of(bundle)
    found = [{"score": 0.0} for _ in range(3)]
    assert [parity.passed for parity in gate_parity(spec, found)] == [True]
    found[place] = {"score": float("nan")}
    assert [parity.passed for parity in gate_parity(spec, found)] == [False]
    # What was not measured at all is no pass either.
    assert [parity.passed for parity in gate_parity(spec, [])] == [False]


def job_ends(serial: str) -> bool:
    """Tell whether the job on the phone is gone, or soon will be."""
    adb = choose_device(find_adb(None), serial)
    for _ in range(3000):
        if adb.shell("kill -0 $(cat /data/local/tmp/mien/pid)").code:
            return True
        time.sleep(0.1)
    return False


@needs_double
def test_a_job_that_hangs_ends_itself(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    with connected(root) as (serial, _):
        endless = replace(MODE, seconds=3000, limit=1)
        # Its own alarm, which would end it with the cable pulled too.
        with pytest.raises(DeviceError, match="took longer than 1 s and ended itself"):
            measure(bundle, runner, mode=endless)
        assert job_ends(serial)


@needs_double
def test_a_job_without_an_alarm_is_killed_by_the_host(
    bundle: Path, runner: PhoneRunner, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = AndroidTarget._settings

    def endless(target: AndroidTarget, spec: BenchSpec, models: Iterable[str]) -> Iterator[str]:
        for setting in given(target, spec, models):
            yield "limit=0" if setting.startswith("limit=") else setting

    monkeypatch.setattr(AndroidTarget, "_settings", endless)
    with connected(root) as (serial, _):
        with pytest.raises(DeviceError, match="the job was killed"):
            measure(bundle, runner, mode=replace(MODE, seconds=3000, limit=-7))
        assert job_ends(serial)


@needs_double
def test_a_phone_that_throttles_is_noted(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    def heat(part: Part) -> None:
        if "block 2" in part.text:
            write_heat(root, 3, 48.0)
            (root / "sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq").write_text("1200000\n")

    with connected(root):
        # What is read after the second block is how the phone is before the third.
        result = measure(bundle, runner, heat, replace(MODE, blocks=3))
    assert any("thermal status 3" in note for note in result.notes)
    assert any("from 2.80 to 1.20 GHz" in note for note in result.notes)
    assert any("did not cool down" in note for note in result.notes)


@needs_double
def test_it_waits_for_a_hot_phone(
    bundle: Path, runner: PhoneRunner, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_POLL_S", 0.1)
    write_heat(root, 2, 45.0)
    with connected(root):
        timer = threading.Timer(2.0, write_heat, (root, 0, 30.0))
        result = measure(
            bundle,
            runner,
            lambda part: timer.start() if "block 1 of" in part.text else None,
            replace(MODE, cool=30),
        )
    assert [condition.thermal_status for condition in result.conditions] == [0] * 4


@needs_double
@needs_namespace
def test_pages_of_16_kb(bundle: Path, runner: PhoneRunner, root: Path) -> None:
    with connected(root, page=16384):
        result = measure(bundle, runner)
    assert "16 KB pages" in result.device.system
    assert list(result.failures) == []


@needs_double
def test_an_emulator_is_labelled_and_never_judged_by_time(
    bundle: Path, runner: PhoneRunner, root: Path
) -> None:
    write_properties(root, SHELL, **{"ro.kernel.qemu": "1"})
    with connected(root):
        result = measure(bundle, runner)
    assert result.device.kind == "android-emulator"
    assert result.p90_ms is not None
    assert result.verdict == "no evidence"


def _wait_until(state: str) -> None:
    """adb tries its keys one after the other before it gives up."""
    for _ in range(3000):
        listed = subprocess.run(["adb", "devices"], capture_output=True, text=True, check=True).stdout
        if f"\t{state}" in listed:
            return
        time.sleep(0.1)


@needs_double
def test_an_unauthorised_phone(root: Path) -> None:
    with running(root, SHELL, auth="deny") as (port, _):
        serial = f"127.0.0.1:{port}"
        subprocess.run(["adb", "connect", serial], capture_output=True, check=False, timeout=300)
        try:
            _wait_until("unauthorized")
            # adb tries again by itself, and says so for a moment.
            with pytest.raises(DeviceError, match=r"is (unauthorized|authorizing); unlock the phone"):
                choose_device(find_adb(None), None)
        finally:
            subprocess.run(["adb", "disconnect"], capture_output=True, check=False)


@needs_double
def test_two_phones_need_a_choice(root: Path) -> None:
    with connected(root) as (first, _):
        # A second connection to the same double is a second device for adb.
        second = first.replace("127.0.0.1", "localhost")
        subprocess.run(["adb", "connect", second], capture_output=True, check=True, timeout=300)
        with pytest.raises(DeviceError, match=r"2 devices: .*--serial"):
            choose_device(find_adb(None), None)
        assert choose_device(find_adb(None), second).serial == second
        with pytest.raises(DeviceError, match="no device nobody"):
            choose_device(find_adb(None), "nobody")
        subprocess.run(["adb", "disconnect", second], capture_output=True, check=False)


@pytest.mark.skipif(shutil.which("adb") is None, reason=f"no adb: {INSTALL}")
def test_no_phone(server: None, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", bundle, "--target", "android") == 2
    assert "no device; plug a phone in" in capsys.readouterr().err


def test_no_adb(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    assert call("bench", bundle, "--target", "android") == 2
    assert "apt-get install adb" in capsys.readouterr().err


@pytest.mark.parametrize("name", MODES)
def test_full_keeps_the_rule_of_mlperf(name: str) -> None:
    mode = MODES[name]
    assert mode.blocks * mode.runs >= 50
    assert name != "full" or (mode.runs >= 1024 and mode.seconds >= 60)


def test_what_a_phone_does_not_say_is_missing() -> None:
    silent = read_condition("", 0, "before")
    assert (silent.thermal_status, silent.battery_percent, dict(silent.temperatures)) == (None, None, {})
    assert list(thermal_notes([silent, replace(silent, when="after")])) == []


@needs_double
def test_the_phone_runner_is_checked(runner_copy: PhoneRunner) -> None:
    from mien.benchmarks.errors import SetupError
    from mien.benchmarks.phone.phone_runner import open_phone_runner

    program = runner_copy.folder / "runner"
    program.chmod(stat.S_IRWXU)
    program.write_bytes(b"another")
    with pytest.raises(SetupError, match="was changed"):
        open_phone_runner(runner_copy.folder.parent, SHELL.abi)
    with pytest.raises(SetupError, match="no runner for mips"):
        open_phone_runner(runner_copy.folder.parent, "mips")


@pytest.fixture
def runner_copy(request: pytest.FixtureRequest, tmp_path: Path) -> PhoneRunner:
    runner: PhoneRunner = request.getfixturevalue("runner")
    shutil.copytree(runner.folder, tmp_path / runner.folder.name)
    return replace(runner, folder=tmp_path / runner.folder.name)
