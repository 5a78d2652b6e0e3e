"""What a phone says about itself: identity, clusters, heat and clock. Each is one script in its shell.

The scripts use what Android's shell has built in, so that asking costs little; what a phone does not
let its shell user see, or says in a form that is not understood, is simply missing.
"""

import re
from dataclasses import dataclass

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.programs import Answer
from mien.benchmarks.results.records import ANDROID, ANDROID_EMULATOR, Condition, Device
from mien.mobile_reference.output.text import shown

from .adb import Adb

_MOST_LETTERS = 100
"""Of one property that is shown."""
_CPU = "/sys/devices/system/cpu/cpu[0-9]*"
_SHOW = 'show() { for f in "$@"; do { read -r v < "$f"; } 2>/dev/null && echo "$f=$v"; done; }'
_PROBE = (
    f"getprop; echo page=$(getconf PAGE_SIZE); {_SHOW}; "
    f"show {_CPU}/cpu_capacity {_CPU}/cpufreq/cpuinfo_max_freq"
)
CONDITION = (
    f"{_SHOW}; show {_CPU}/cpufreq/scaling_max_freq {_CPU}/cpufreq/scaling_cur_freq "
    "/sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp; "
    "dumpsys thermalservice; dumpsys battery; echo -n low_power=; settings get global low_power"
)
"""The script that asks for heat, clock and battery; ``read_condition`` reads what it prints."""


@dataclass(frozen=True)
class Phone:
    """A probed device: ``big`` are the processors of its fastest cluster, empty where it did not say."""

    device: Device
    abi: str
    page_size: int
    big: tuple[int, ...]


def _asked(answer: Answer) -> str:
    if not answer.out.strip():
        raise DeviceError(f"the device did not answer ({answer.last}); look at 'adb shell getprop'")
    return answer.out


def _per_cpu(text: str, name: str) -> dict[int, int]:
    found = re.findall(rf"cpu/cpu(\d{{1,3}})/(?:cpufreq/)?{name}=(\d{{1,9}})$", text, re.MULTILINE)
    return {int(cpu): int(value) for cpu, value in found}


def probe(adb: Adb) -> Phone:
    """Ask a device what it is.

    Raises:
        DeviceError: it does not answer.
    """
    text = _asked(adb.shell(_PROBE))
    properties = dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]$", text, re.MULTILINE))

    def first(*names: str) -> str:
        found = (shown(properties.get(name, ""))[:_MOST_LETTERS] for name in names)
        return next(filter(None, found), "unknown")

    emulator = "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
    speed, rank = _per_cpu(text, "cpuinfo_max_freq"), _per_cpu(text, "cpu_capacity")
    rank = rank or speed
    page = int((re.findall(r"^page=(\d{1,9})$", text, re.MULTILINE) or ["0"])[0])
    soc = first("ro.soc.model", "ro.board.platform", "ro.hardware")
    return Phone(
        device=Device(
            kind=ANDROID_EMULATOR if emulator else ANDROID,
            name=f"{first('ro.product.manufacturer')} {first('ro.product.model')}, {soc}{_clusters(speed)}",
            isa=first("ro.product.cpu.abi"),
            cores=max(len(rank), 1),
            system=f"Android {first('ro.build.version.release')} (API {first('ro.build.version.sdk')}), "
            f"{page // 1024} KB pages",
            runtime="",
        ),
        abi=first("ro.product.cpu.abi"),
        page_size=page,
        big=tuple(cpu for cpu, value in rank.items() if value == max(rank.values())),
    )


def _clusters(speed: dict[int, int]) -> str:
    counts = {khz: list(speed.values()).count(khz) for khz in sorted(set(speed.values()), reverse=True)}
    parts = [f"{count}x{khz / 1e6:.2f}" for khz, count in counts.items()]
    return f", {'+'.join(parts)} GHz" if parts else ""


def read_condition(text: str, block: int, when: str) -> Condition:
    """Read what ``CONDITION`` printed ``before`` or ``after`` the block of a number."""
    types = dict(re.findall(r"(thermal_zone\d+)/type=(\S+)", text))
    zones = re.findall(r"(thermal_zone\d+)/temp=(-?\d{1,6})$", text, re.MULTILINE)
    heat = {types.get(zone, zone): int(value) / 1000 for zone, value in zones}
    current = text.partition("Current temperatures from HAL")[2] or text
    pattern = r"Temperature\{mValue=(-?\d{1,3}(?:\.\d{1,9})?),[^}]{0,200}mName=([^,}]{1,200})"
    heat |= {name: float(value) for value, name in re.findall(pattern, current)}
    # From none, 0, to shutdown, 6 (android.os.PowerManager).
    status = re.search(r"Thermal Status: ([0-6])$", text, re.MULTILINE)
    battery = re.search(r"^\s*level: (100|\d{1,2})$", text, re.MULTILINE)
    return Condition(
        block=block,
        when=when,
        thermal_status=int(status[1]) if status else None,
        temperatures={shown(name): degrees for name, degrees in heat.items()},
        max_khz={str(cpu): khz for cpu, khz in _per_cpu(text, "scaling_max_freq").items()},
        current_khz={str(cpu): khz for cpu, khz in _per_cpu(text, "scaling_cur_freq").items()},
        battery_percent=int(battery[1]) if battery else None,
        power_saver="low_power=1" in text,
    )
