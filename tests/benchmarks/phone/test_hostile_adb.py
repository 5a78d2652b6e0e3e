"""An adb that lies, floods, hangs or is none: one line each, and nothing that it did not say."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mien.benchmarks.errors import DeviceError, ProgramError, ProgramTimeout, TargetError
from mien.benchmarks.phone import adb as adb_module
from mien.benchmarks.phone.adb import Adb, choose_device, find_adb
from mien.benchmarks.phone.phone import probe, read_condition
from mien.benchmarks.phone.session import is_hot
from mien.benchmarks.programs import run_program

Program = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Write a shell script that stands for adb."""

    def write(script: str, name: str = "adb") -> Path:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    return write


def refused(call: Callable[[], object], kind: type[TargetError] = DeviceError) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    assert caught.value.exit_code == 2
    return message


def test_a_server_that_cannot_start_is_quoted(program: Program) -> None:
    adb = program("echo '* daemon not running' >&2; echo 'adb: cannot connect to daemon' >&2; exit 1")
    message = refused(lambda: choose_device(str(adb), None))
    assert "'adb devices' ended with 1: adb: cannot connect to daemon" in message


def test_a_program_for_another_processor_is_said(tmp_path: Path) -> None:
    adb = tmp_path / "adb"
    adb.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0" + bytes(100))
    adb.chmod(0o755)
    assert "cannot be started (Exec format error)" in refused(
        lambda: choose_device(str(adb), None), ProgramError
    )


def test_a_hang_is_ended_with_all_that_it_started(program: Program, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    adb = program(f"sleep 600 & echo $! > {pid}.part; mv {pid}.part {pid}; wait")
    limit = 0.5
    while not pid.exists():  # until it has begun before the limit, which a busy machine may not allow at once
        start = time.monotonic()
        message = refused(partial(run_program, [str(adb), "devices"], limit), ProgramTimeout)
        assert f"adb took longer than {limit:g} s and was ended; run it by hand to see why" in message
        assert time.monotonic() - start < limit + 300
        limit *= 4
    assert _ends(Path(f"/proc/{int(pid.read_text())}/stat"), time.monotonic() + 300)


def _ends(stat: Path, latest: float) -> bool:
    """Tell whether a process that was killed ends before a time; on a busy machine that takes a moment."""
    while time.monotonic() < latest:
        with suppress(FileNotFoundError, ProcessLookupError):
            if " Z " not in stat.read_text():
                time.sleep(0.05)
                continue
        return True
    return False


def test_a_flood_is_read_up_to_a_limit(program: Program) -> None:
    adb = program("yes")
    assert "said more than 100000 bytes" in refused(
        lambda: run_program([str(adb)], 300, most_bytes=100_000), ProgramError
    )


def test_the_limit_of_the_caller_reaches_the_shell_of_the_device(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_module, "_CALL_LIMIT_S", 0.5)
    adb = program("sleep 600")
    refused(lambda: choose_device(str(adb), None), ProgramTimeout)


def test_bytes_that_are_no_text_are_shown_as_text(program: Program) -> None:
    adb = program(r"printf 'List\n\377\376\tdevice\nAA\033[31mred\tunauthorized\n'")
    message = refused(lambda: choose_device(str(adb), None))
    assert "2 devices" in message
    assert "\x1b" not in message


def test_a_path_is_run_and_not_looked_up(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    other = program("echo other", "bin/adb")
    own = program("echo own", "adb")
    monkeypatch.setenv("PATH", f"{other.parent}:/bin:/usr/bin")
    monkeypatch.chdir(tmp_path)
    for given in (Path("./adb"), Path("adb"), own):
        assert find_adb(given) == str(own)
    own.unlink()
    assert find_adb(Path("adb")) == str(other)
    assert find_adb(None) == str(other)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adb").write_text("text")
    assert "is not a program that can be run" in refused(lambda: find_adb(tmp_path / "adb"))
    assert "was not found" in refused(lambda: find_adb(tmp_path / "none"))


PROPERTIES = r"""
[ro.product.model]: [Model]
[ro.product.cpu.abi]: [arm64-v8a]
"""


def probed(program: Program, text: str) -> object:
    script = program(f"cat <<'END'\n{PROPERTIES}{text}\nEND")
    return probe(Adb(str(script), "serial"))


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_many_digits_are_as_if_not_said(program: Program, digits: int) -> None:
    nines = "9" * digits
    cpu = "/sys/devices/system/cpu/cpu"
    phone = probed(
        program,
        f"page={nines}\n{cpu}0/cpu_capacity={nines}\n{cpu}1/cpu_capacity=1024\n"
        f"{cpu}1/cpufreq/cpuinfo_max_freq={nines}\n{cpu}{nines}/cpu_capacity=1",
    )
    assert phone.page_size == 0  # type: ignore[attr-defined]
    assert phone.big == (1,)  # type: ignore[attr-defined]


def test_a_name_cannot_write_on_the_terminal(program: Program) -> None:
    phone = probed(program, "[ro.product.manufacturer]: [A\x1b]0;title\x07" + "b" * 5000 + "]")
    assert phone.device.name.isprintable()  # type: ignore[attr-defined]
    assert len(phone.device.name) < 400  # type: ignore[attr-defined]


CONDITIONS = {
    "three parts": "Temperature{mValue=1.2.3, mType=3, mName=skin}",
    "dots": "Temperature{mValue=..., mName=skin}",
    "status 9": "Thermal Status: 9",
    "status of 5000 digits": "Thermal Status: " + "9" * 5000,
    "level 999": "  level: 999",
    "level of 400 digits": "  level: " + "9" * 400,
    "clock of 400 digits": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq=" + "9" * 400,
    "zone of 400 digits": "thermal_zone0/type=x\nthermal_zone0/temp=" + "9" * 400,
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_condition_that_is_not_understood_is_missing(case: str) -> None:
    condition = read_condition(CONDITIONS[case], 0, "before")
    assert condition.thermal_status is condition.battery_percent is None
    assert condition.temperatures == condition.max_khz == {}
    assert not is_hot(condition, [condition])


def test_a_condition_is_read_as_a_phone_says_it() -> None:
    text = (
        "Thermal Status: 2\n\tTemperature{mValue=-3.25, mType=3, mName=skin, mStatus=0}\n  level: 100\n"
        "thermal_zone7/type=cpu\nthermal_zone7/temp=41500\n"
        "/sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq=1804800\nlow_power=1\n"
    )
    condition = read_condition(text, 1, "after")
    assert (condition.thermal_status, condition.battery_percent, condition.power_saver) == (2, 100, True)
    assert condition.temperatures == {"skin": -3.25, "cpu": 41.5}
    assert condition.max_khz == {"3": 1804800}
