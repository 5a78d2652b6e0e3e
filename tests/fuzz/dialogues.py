"""Dialogues with a stand-in for adb that lies, floods, is slow, or goes away in the middle."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

STAND_IN = r"""#!{python} -SE
import hashlib, json, os, shlex, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/dialogue.json", "rb") as file:
    raw = file.read()
try:
    dialogue = json.loads(raw)
except ValueError:
    sys.stdout.buffer.write(raw)
    sys.exit(0)
words = sys.argv[1:]
script = words[-1] if "shell" in words else ""
hashed = [word for word in shlex.split(script.replace(";", " ; ")) if word.startswith("/data/")]
if words[:1] == ["devices"]:
    name = "devices"
elif "push" in words:
    name = "push"
    for path in words[3:-1]:
        with open(path, "rb") as file:
            known = hashlib.sha256(file.read()).hexdigest()
        with open(folder + "/pushed", "a") as file:
            file.write(known + "  " + words[-1] + os.path.basename(path) + "\n")
elif "get-state" in words:
    name = "state"
elif "getprop" in script:
    name = "phone"
elif "sha256sum" in script:
    name = "hashes"
elif "after the job" in script:
    name = "job"
else:
    name = "condition"
answer = dialogue.get(name)
if not isinstance(answer, dict):
    sys.exit(1)
def number(key, most):
    value = answer.get(key, 0)
    good = isinstance(value, (int, float)) and value == value
    return max(min(value, most), 0) if good else most
time.sleep(number("wait", 60))
def text(value):
    if isinstance(value, list):
        return "".join(map(text, value))
    return value if isinstance(value, str) else json.dumps(value)
if name == "hashes" and os.path.exists(folder + "/pushed"):
    with open(folder + "/pushed") as file:
        sys.stdout.write(file.read())
    sys.stdout.flush()
sys.set_int_max_str_digits(0)
said = text(answer.get("out")).encode("utf-8", "surrogatepass")
try:
    for _ in range(int(number("times", 10**6))):
        sys.stdout.buffer.write(said)
        sys.stdout.buffer.flush()
    sys.stderr.buffer.write(text(answer.get("err")).encode("utf-8", "surrogatepass"))
    sys.stderr.buffer.flush()
except BrokenPipeError:
    os._exit(1)
os._exit(int(number("code", 255)))
"""

_CPU = "/sys/devices/system/cpu/cpu"
_HEAT = [
    *(
        "Thermal Status: ",
        "0",
        "\n\tTemperature{mValue=",
        "31.5",
        ", mType=3, mName=",
        "skin",
        ", mStatus=0}\n",
    ),
    *("thermal_zone7/type=cpu\nthermal_zone7/temp=", "41500", "\n", f"{_CPU}3/cpufreq/scaling_max_freq="),
    *("1804800", "\n", "  level: ", "80", "\n", "low_power=", "0", "\n"),
]
_TIMES = [
    *(
        "count=",
        "10",
        " first=",
        "1200",
        " curr=",
        "1100",
        " min=",
        "1000",
        " max=",
        "1300",
        " avg=",
        "1110.5",
    ),
    *(" std=", "12", "\nInference timings in us: Init: ", "5000", ", First inference: ", "1500", "\n"),
]


def _answer(*out: Any, code: int = 0) -> dict[str, Any]:
    return {"out": list(out), "err": [""], "code": code, "wait": 0, "times": 1}


DIALOGUE: Mapping[str, Any] = {
    "devices": _answer("List of devices attached\n", "serial", "\t", "device", "\n"),
    "state": _answer("device", "\n"),
    "phone": _answer(
        *("[ro.product.manufacturer]: [", "mien", "]\n[ro.product.model]: [", "Double", "]\n"),
        *(
            "[ro.product.cpu.abi]: [",
            "arm64-v8a",
            "]\n[ro.build.version.sdk]: [",
            "35",
            "]\npage=",
            "4096",
            "\n",
        ),
        *(f"{_CPU}0/cpu_capacity=", "250", f"\n{_CPU}3/cpu_capacity=", "1024", "\n"),
        *(f"{_CPU}3/cpufreq/cpuinfo_max_freq=", "2800000", "\n"),
    ),
    "hashes": _answer(""),
    "push": _answer(""),
    "condition": _answer(*_HEAT),
    "job": _answer(*_TIMES, "\n=== after the job ===\n", *_HEAT),
}
"""What a phone says; the texts are in parts, each of which may become another."""


def stand_in(folder: Path, dialogue: bytes) -> Path:
    """Write a program that answers as ``dialogue`` says, or says its bytes to every question."""
    program = folder / "adb"
    program.write_text(STAND_IN.replace("{python}", os.path.realpath(sys.executable)))
    program.chmod(0o755)
    (folder / "dialogue.json").write_bytes(dialogue)
    return program


def impatient() -> None:
    """Shorten what the command waits for, so that a slow phone costs seconds: in its own process."""
    from mien.benchmarks.phone import adb, session

    adb._CALL_LIMIT_S = 3
    adb.Adb.shell.__defaults__ = (3,)
    session._GRACE_S = 1
    session.MODES["quick"] = replace(session.MODES["quick"], blocks=1, limit=2, cool=0.1)


def sound(folder: Path) -> Path:
    """Write the dialogue in which all is well."""
    file = folder / "dialogue.json"
    file.write_text(json.dumps(DIALOGUE))
    return file
