"""From the logs that ``measure.sh`` left to the records that every target has."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import ReportError, TargetError
from mien.benchmarks.pipeline import judged_limits, unit_of, unjudged_note, worst
from mien.benchmarks.reporting.tables import APPLE
from mien.benchmarks.results.measurements import read_records
from mien.benchmarks.results.records import (
    GRAPH,
    IOS_SIMULATOR,
    IPHONE,
    MAC,
    MODEL,
    PIXELS,
    STEP,
    Device,
    Latency,
    Parity,
    Result,
    Stage,
    stability_notes,
    sum_behind_front,
)
from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import PipelineSpec

from .generated_project import RESULTS
from .photographs import largest, photograph_parity

RECORD_SCHEMA = "apple_record.schema.json"
_MARK = "MIEN {"
_TIME_LIMIT_S = 3600
_NOT_IN_IT = "the front is not in the times, and no stage is left out"
_THREADS = "Core ML chooses its threads"
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
        UsageError: one is of a variant that the bundle has not.
    """
    logs = sorted((folder / RESULTS).glob("block-*.log"))
    blocks = [block for log in logs for block in read_records(log, _MARK, RECORD_SCHEMA, spec["id"])]
    if not blocks:
        raise ReportError(f"{folder / RESULTS} holds no measurement; read its logs, and run measure.sh again")
    if any(block["device"] != blocks[0]["device"] for block in blocks):
        raise ReportError(f"{folder / RESULTS} is of several devices; run measure.sh again on one")
    for block in blocks:
        bundle.variant(block["variant"])
        _check(block, spec, folder / RESULTS)
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block["variant"], block["units"]), []).append(block)
    return tuple(_result(bundle, group) for group in groups.values())


def _check(block: Block, spec: Mapping[str, Any], place: Path) -> None:
    """Refuse what fits the schema and not the package."""
    alone = set(spec["graphs"]) - set(spec["served"])
    for key, wanted in (("models_ms", set(spec["served"])), ("graphs", alone)):
        if block[key].keys() != wanted:
            names = ", ".join(sorted(wanted)) or "none"
            raise ReportError(f"{place} is damaged: {key} are not of {names}; measure again")


def _result(bundle: Bundle, blocks: Sequence[Block]) -> Result:
    first, pipeline = blocks[0], bundle.spec
    stages = tuple(_stages(pipeline, blocks))
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
        notes=(
            *((_NOT_IN_IT,) if pipeline.front else ()),
            _THREADS,
            *unjudged_note(pipeline, first["variant"]),
            *notes,
            *stability_notes(stages),
        ),
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


def _stages(pipeline: PipelineSpec, blocks: Sequence[Block]) -> Iterator[Stage]:
    yield Stage(STEP, PIXELS, tuple(tuple(block["inputs_ms"]) for block in blocks))
    for model in pipeline.served:
        yield Stage(MODEL, model.name, tuple(tuple(block["models_ms"][model.name]) for block in blocks))
    yield Stage(STEP, sum_behind_front(pipeline), tuple(tuple(block["runs_ms"]) for block in blocks))
    for name in sorted(blocks[0]["graphs"]):
        yield Stage(GRAPH, name, tuple(tuple(block["graphs"][name]) for block in blocks))


def _parity(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[Parity]:
    """Hold the gates from each graph on that leads to their tensor; a missing golden input fails."""
    pipeline = bundle.spec
    for name, limit in judged_limits(pipeline, blocks[0]["variant"]).items():
        tensor = pipeline.tensor(name)
        for start in _starts(pipeline, tensor.name):
            errors = [_largest(bundle, block, start, tensor.name) for block in blocks]
            yield Parity(f"{tensor.name} from {start} on", worst(errors), limit, unit_of(tensor))
    yield from photograph_parity(bundle, blocks)


def _starts(pipeline: PipelineSpec, tensor: str) -> Iterator[str]:
    """Name the graphs from which on a tensor is made: the end-to-end one, and stages up to its maker."""
    if pipeline.whole is not None and tensor in pipeline.whole.outputs:
        yield pipeline.whole.name
    for stage in pipeline.stages:
        if any(tensor in one.outputs for one in (stage, *pipeline.after(stage.name))):
            yield stage.name


def _largest(bundle: Bundle, block: Block, start: str, tensor: str) -> float:
    scores = [score for score in block["scores"] if score["from"] == start]
    return largest(scores, [golden.name for golden in bundle.goldens], tensor)
