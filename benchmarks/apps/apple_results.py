"""From the logs that ``measure.sh`` left to the records that every target has."""

import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import ReportError, TargetError
from mien.benchmarks.pipeline import unit_of
from mien.benchmarks.reporting.tables import APPLE
from mien.benchmarks.results.measurements import read_records
from mien.benchmarks.results.records import (
    GRAPH,
    IOS_SIMULATOR,
    IPHONE,
    MAC,
    MODEL,
    STEP,
    Device,
    Latency,
    Parity,
    Result,
    Stage,
    stability_notes,
)
from mien.mobile_reference.bundle.reader import Bundle

from .generated_project import RESULTS

RECORD_SCHEMA = "apple_record.schema.json"
_MARK = "MIEN {"
_PIXELS = "pixels"
_TIME_LIMIT_S = 3600
_NOT_IN_IT = "photograph decoding and alignment are not in it; Core ML chooses its threads"
Block = Mapping[str, Any]


def can_measure(platform: str) -> bool:
    """Tell whether this is a Mac that can measure itself; an iPhone needs a team that signs."""
    return (sys.platform, platform) == ("darwin", "macos") and shutil.which("swift") is not None


def measure(folder: Path) -> None:
    """Measure on this Mac.

    Raises:
        TargetError: the package did not build, or took too long.
    """
    script = folder.absolute() / "measure.sh"
    try:
        done = subprocess.run(  # noqa: S603 - the package's own script
            [script], capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{script} did not finish within {_TIME_LIMIT_S} s; run it by hand") from error
    if done.returncode:
        last = ((done.stderr + done.stdout).strip().splitlines() or ["it said nothing"])[-1]
        raise TargetError(f"{script} ended with {done.returncode}: {last}; run it by hand")


def read_results(bundle: Bundle, spec: Mapping[str, Any], folder: Path) -> tuple[Result, ...]:
    """Read the measurements of a package, one result for each variant and choice of compute units.

    Raises:
        ReportError: there are none, a log is damaged, or they are of another package or of several devices.
    """
    logs = sorted((folder / RESULTS).glob("block-*.log"))
    blocks = [block for log in logs for block in read_records(log, _MARK, RECORD_SCHEMA, spec["id"])]
    if not blocks:
        raise ReportError(f"{folder / RESULTS} holds no measurement; read its logs, and run measure.sh again")
    if any(block["device"] != blocks[0]["device"] for block in blocks):
        raise ReportError(f"{folder / RESULTS} is of several devices; run measure.sh again on one")
    steps = [_PIXELS, spec["whole"]]
    if any(sorted(block["chain"]) != sorted(steps) for block in blocks):
        raise ReportError(
            f"{folder / RESULTS} is damaged: the steps are not {' and '.join(steps)}; measure again"
        )
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block["variant"], block["units"]), []).append(block)
    return tuple(_result(bundle, steps, group) for group in groups.values())


def _result(bundle: Bundle, steps: Sequence[str], blocks: Sequence[Block]) -> Result:
    first = blocks[0]
    stages = tuple(_stages(steps, blocks))
    notes = dict.fromkeys(note for block in blocks for note in block["notes"])
    return Result(
        target=f"{APPLE}{first['units']}",
        variant=first["variant"],
        device=_device(first["device"]),
        threads=None,
        latency=Latency(
            stages=stages,
            load_ms=tuple(block["load_ms"] for block in blocks),
            first_ms=tuple(block["first_ms"] for block in blocks),
            peak_memory_bytes=max(block["peak_memory_bytes"] for block in blocks),
        ),
        parity=tuple(_parity(bundle, blocks)),
        notes=(_NOT_IN_IT, *notes, *stability_notes(stages)),
    )


def _device(facts: Mapping[str, Any]) -> Device:
    kind = IPHONE if facts["system"].startswith("iOS ") else MAC
    return Device(
        kind=IOS_SIMULATOR if facts["simulator"] else kind,
        name=facts["model"],
        isa=facts["isa"],
        cores=facts["cores"],
        system=facts["system"],
        runtime=f"Core ML of {facts['system']}",
    )


def _stages(steps: Sequence[str], blocks: Sequence[Block]) -> Iterator[Stage]:
    for key in ("chain", "graphs"):
        for name in steps if key == "chain" else sorted(blocks[0][key]):
            part = GRAPH if key == "graphs" else STEP if name == _PIXELS else MODEL
            yield Stage(part, name, tuple(tuple(block[key].get(name, ())) for block in blocks))


def _parity(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[Parity]:
    """Judge the worst score from each graph on; a golden face that was not measured fails."""
    tolerance = bundle.variant(blocks[0]["variant"]).tolerance
    rating = bundle.spec.tensor(bundle.spec.rating.tensor)
    wanted = {golden.name for golden in bundle.goldens}
    for graph in (model.name for model in (*bundle.spec.served, *bundle.spec.stages)):
        errors = []
        for block in blocks:
            points = {s["golden"]: s.get("points") for s in block["scores"] if s["from"] == graph}
            complete = points.keys() == wanted and None not in points.values()
            errors.append(max(points.values()) if complete else math.inf)
        yield Parity(f"{rating.name} from {graph} on", max(errors), tolerance, unit_of(rating))
