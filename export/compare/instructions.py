"""ARM64 instructions of models, as the room ``benchmarks`` counts them.

It is called as a program: export imports nothing of it, and works where no emulation was set up.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TIME_LIMIT_S = 7200
_COUNTED = (0, 1)  # 1: a model among them does not run there


@dataclass(frozen=True)
class Instructions:
    """Instructions of one run, or None and the reason why nobody counted them."""

    count: int | None
    reason: str = ""


def count_instructions(models: Mapping[str, Path], face: Path) -> dict[str, Instructions]:
    """Count one run of each model on an emulated processor with dot products.

    Args:
        models: TFLite files of one input, by name.
        face: A .npy file of that input; it is changed to the type that each model takes.
    """
    if not models:
        return {}
    program = [sys.executable, "-m", "mien.benchmarks.emulation.count", "--json", "--input", str(face)]
    try:
        done = subprocess.run(  # noqa: S603 - our own argument list
            [*program, *map(str, models.values())],
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(models, Instructions(None, f"not counted within {_TIME_LIMIT_S} s"))
    if done.returncode not in _COUNTED:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return dict.fromkeys(models, Instructions(None, last.removeprefix("mien: ")))
    found = json.loads(done.stdout)
    return {
        name: Instructions(one["instructions"], one["reason"])
        for name, one in zip(models, found, strict=True)
    }
