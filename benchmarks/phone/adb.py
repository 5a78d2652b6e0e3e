"""The ``adb`` program: which device, commands on it, files to it.

The program itself is called, not its protocol: its states and messages are those that people know, and
a phone that it reaches is a phone that we reach.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mien.benchmarks.errors import DeviceError, DeviceLost

_CALL_LIMIT_S = 120
_READY = "device"
_REMEDIES = {
    "unauthorized": "unlock the phone and accept this computer's key",
    "authorizing": "unlock the phone and accept this computer's key",
    "offline": "unplug the phone and plug it in again, or run 'adb reconnect'",
    "no permissions": "see 'adb devices' about the udev rules that the phone needs",
}


@dataclass(frozen=True)
class Answer:
    """What a command on the device said."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of what went wrong."""
        return ((self.err.strip() or self.out.strip()).splitlines() or ["it said nothing"])[-1].strip()


@dataclass(frozen=True)
class Adb:
    """One device, by its serial number."""

    program: str
    serial: str

    def _call(self, arguments: Iterable[str | Path], limit: float) -> Answer:
        command = [self.program, "-s", self.serial, *map(str, arguments)]
        try:
            done = subprocess.run(  # noqa: S603 - adb, with our own argument list
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"'adb {command[3]}' took longer than {limit:g} s") from error
        texts = [text.decode(errors="replace").replace("\r", "") for text in (done.stdout, done.stderr)]
        answer = Answer(done.returncode, *texts)
        if answer.code and not self.is_there():
            raise DeviceLost(f"{self.serial} is gone ({answer.last}); plug it in again")
        return answer

    def is_there(self) -> bool:
        """Tell whether the device answers."""
        command = [self.program, "-s", self.serial, "get-state"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_CALL_LIMIT_S)  # noqa: S603
        return done.stdout.strip() == _READY

    def shell(self, script: str, limit: float = _CALL_LIMIT_S) -> Answer:
        """Run a script in the device's shell.

        Raises:
            DeviceLost: the device went away.
            TimeoutError: it took longer than ``limit`` seconds; it may still be running there.
        """
        return self._call(["shell", "-T", script], limit)

    def push(self, local: Iterable[Path], remote: str) -> None:
        """Copy files into a folder of the device, which must exist.

        Raises:
            DeviceError: they could not be written.
            DeviceLost: the device went away.
        """
        answer = self._call(["push", *local, remote + "/"], 10 * _CALL_LIMIT_S)
        if answer.code:
            raise DeviceError(
                f"{self.serial}: cannot write to {remote} ({answer.last}); free or unlock its storage"
            )


def find_adb(given: Path | None) -> str:
    """Find the program: the one that was given, on PATH, or in ANDROID_HOME.

    Raises:
        DeviceError: there is none.
    """
    home = os.environ.get("ANDROID_HOME", "")
    places = (
        [str(given)] if given else ["adb", *([str(Path(home) / "platform-tools" / "adb")] if home else [])]
    )
    for place in places:
        if found := shutil.which(place):
            return found
    raise DeviceError(
        f"'{places[0]}' was not found; apt-get install adb, or install Android's platform tools "
        "and name it by --adb"
    )


def choose_device(program: str, serial: str | None) -> Adb:
    """Find the device with a serial number, or the only one.

    Raises:
        DeviceError: there is none, there are several, or it is not ready.
    """
    done = subprocess.run(  # noqa: S603 - adb
        [program, "devices"], capture_output=True, text=True, check=False, timeout=_CALL_LIMIT_S
    )
    lines = [line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line]
    states = {name: state.strip() for name, state in lines}
    if serial is None:
        serial = _only(states)
    if serial not in states:
        raise DeviceError(f"no device {serial}; 'adb devices' has {', '.join(states) or 'none'}")
    if states[serial] != _READY:
        remedy = next(
            (text for state, text in _REMEDIES.items() if states[serial].startswith(state)), "replug it"
        )
        raise DeviceError(f"{serial} is {states[serial]}; {remedy}")
    return Adb(program, serial)


def _only(states: dict[str, str]) -> str:
    if not states:
        raise DeviceError(
            "no device; plug a phone in, allow USB debugging (developer options), and look at 'adb devices'"
        )
    if len(states) > 1:
        raise DeviceError(f"{len(states)} devices: {', '.join(states)}; choose one with --serial")
    return next(iter(states))
