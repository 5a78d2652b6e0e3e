"""The ``adb`` program: which device, commands on it, files to it.

The program itself is called, not its protocol: its states and messages are those that people know, and
a phone that it reaches is a phone that we reach.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mien.benchmarks.errors import DeviceError, DeviceLost
from mien.benchmarks.programs import Answer, run_program
from mien.mobile_reference.output.text import shown

_CALL_LIMIT_S = 120
_READY = "device"
_REMEDIES = {
    "unauthorized": "unlock the phone and accept this computer's key",
    "authorizing": "unlock the phone and accept this computer's key",
    "offline": "unplug the phone and plug it in again, or run 'adb reconnect'",
    "no permissions": "see 'adb devices' about the udev rules that the phone needs",
}


@dataclass(frozen=True)
class Adb:
    """One device, by its serial number."""

    program: str
    serial: str

    def _call(self, arguments: Iterable[str | Path], limit: float) -> Answer:
        answer = run_program([self.program, "-s", self.serial, *map(str, arguments)], limit)
        if answer.code and not self.is_there():
            raise DeviceLost(f"{shown(self.serial)} is gone ({answer.last}); plug it in again")
        return answer

    def is_there(self) -> bool:
        """Tell whether the device answers."""
        command = [self.program, "-s", self.serial, "get-state"]
        return run_program(command, _CALL_LIMIT_S).out.strip() == _READY

    def shell(self, script: str, limit: float = _CALL_LIMIT_S) -> Answer:
        """Run a script in the device's shell.

        Raises:
            DeviceLost: the device went away.
            ProgramError: adb cannot be started, or the device says more than is read.
            ProgramTimeout: it took longer than ``limit`` seconds; it may still be running there.
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
    # A path, which has lost its "./" by now, is not looked up on PATH.
    if given is not None and given.exists():
        if given.is_file() and os.access(given, os.X_OK):
            return str(given.absolute())
        raise DeviceError(f"{given} is not a program that can be run; name adb itself by --adb")
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
    answer = run_program([program, "devices"], _CALL_LIMIT_S)
    if answer.code:
        raise DeviceError(
            f"'adb devices' ended with {answer.code}: {answer.last}; run 'adb start-server' and look at it"
        )
    lines = [
        [shown(cell) for cell in line.split("\t", 1)] for line in answer.out.splitlines() if "\t" in line
    ]
    states = dict(lines)
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
