"""The way of a checkpoint through ``mien export``, or of a photograph through ``mien appraise``.

A module lies on the way if one module gives it the value, or what was made of it, and it gives that to
another. One that only gives an answer back is a tool, named beside the module that first asked it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from . import tracer

ROOMS = ("mobile_reference", "models", "calibration", "export")
"""From the ground floor up: none imports one that stands behind it."""
STARTS = {
    "export": ("checkpoint", "export.cli"),
    "appraise": ("photograph", "mobile_reference.commands.appraise"),
}
"""By command: what is followed, and the module that it comes in by."""


@dataclass(frozen=True)
class Way:
    """The modules that hand the value on, in the order in which they got it, each with its tools."""

    stops: Mapping[str, Sequence[str]]

    @property
    def climbs(self) -> list[tuple[str, str]]:
        """The neighbours of which the second lies in a room above the first."""
        return [(one, other) for one, other in pairwise(self.stops) if _floor(one) < _floor(other)]


def _floor(module: str) -> int:
    return ROOMS.index(module.partition(".")[0])


def read_way(lines: Iterable[str], start: str) -> Way:
    """Read what traced processes wrote: time, caller and called module by line."""
    calls = [(caller, called) for _, caller, called in sorted(json.loads(line) for line in lines)]
    asked: dict[str, str] = {start: ""}
    for caller, called in calls:
        asked.setdefault(called, caller)
    handing = {caller for caller, _ in calls} | {start}
    stops: dict[str, list[str]] = {module: [] for module in asked if module in handing}
    for module, caller in asked.items():
        if module not in stops and caller in stops:
            stops[caller].append(module)
    return Way(stops)


def trace(command: str, arguments: Sequence[str], folder: Path) -> list[str]:
    """Run a command of ``mien``, every process of it traced in ``folder``; returns what these wrote."""
    shutil.copy(tracer.__file__, folder / "sitecustomize.py")
    file = folder / "way.jsonl"
    settings = {"PYTHONPATH": str(folder), "MIEN_CACHE": "off"}
    settings |= {tracer.FILE: str(file), tracer.VALUE: STARTS[command][0]}
    subprocess.run([sys.executable, "-m", "mien", command, *arguments], check=True, env=os.environ | settings)
    return file.read_text().splitlines()
