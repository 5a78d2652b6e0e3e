"""From the measurements of the Kotlin library in an app to the records that every target has."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import ReportError
from mien.benchmarks.pipeline import judged_limits, outputs_of, unit_of, unjudged_note, worst
from mien.benchmarks.reporting.tables import APP
from mien.benchmarks.results.measurements import read_records
from mien.benchmarks.results.records import (
    ANDROID,
    ANDROID_EMULATOR,
    MODEL,
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

from .generated_project import RESULTS
from .photographs import largest, photograph_parity

RECORD_SCHEMA = "app_record.schema.json"
MEASUREMENTS = "measurements.jsonl"
_CPU, _GPU = "CPU", "GPU"
_ISA = {"arm64-v8a": "aarch64", "armeabi-v7a": "arm", "x86_64": "x86_64", "x86": "x86"}
_FACTS = ("device", "android", "abi", "cores", "emulator")
_NOT_IN_IT = "measured in an app: the front is not in the times, and no stage is left out"
_MEMORY = "peak memory is that of one process for everything before it too"
_LONGEST_REASON = 200
Block = Mapping[str, Any]


def read_results(bundle: Bundle, spec: Mapping[str, Any], folder: Path) -> tuple[Result, ...]:
    """Read the measurements of a library, one result for each variant and unit that took it.

    A GPU may refuse a graph, which is a note of that variant's other result. What is not there at all is
    ``missing``.

    Raises:
        ReportError: there are none, one is damaged, or they are of another library or of several phones.
    """
    log = folder / RESULTS / MEASUREMENTS
    blocks = list(read_records(log, "{", RECORD_SCHEMA, spec["id"])) if log.is_file() else []
    if not any("refused" not in block for block in blocks):
        raise ReportError(f"{log} holds no measurement; run measure.sh again, and read what it says")
    _check(blocks, spec, log)
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block["variant"], block["unit"]), []).append(block)
    runtime = _runtime(folder)
    results = [
        _result(bundle, group, _refusals(groups.get((variant, _GPU), ())), runtime)
        for (variant, _), group in groups.items()
        if not any("refused" in block for block in group)
    ]
    return tuple(_with_missing(results, spec, groups))


def _check(blocks: Sequence[Block], spec: Mapping[str, Any], log: Path) -> None:
    """Refuse what fits the schema and not the library."""
    known = {entry["name"] for entry in spec["variants"]}
    models = set(spec["served"])
    for block in blocks:
        if block["variant"] not in known:
            raise ReportError(f"{log} names {block['variant']!r}, which the library has not; measure again")
        times = [block["runs_ms"], *block["models_ms"].values()] if "runs_ms" in block else []
        if wrong := [len(runs) for runs in times if len(runs) != spec["runs"]]:
            raise ReportError(
                f"{log} has {wrong[0]} runs of a variant, expected {spec['runs']}; measure again"
            )
        if "models_ms" in block and block["models_ms"].keys() != models:
            raise ReportError(f"{log} times other models than the library has; measure again")
        if any(block[fact] != blocks[0][fact] for fact in _FACTS):
            raise ReportError(f"{log} is of several phones; run measure.sh again on one")


def _refusals(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        if "refused" in block:
            # What a driver says may have several lines, or none that can be printed.
            words = "".join(c if c.isprintable() else " " for c in block["refused"]).split()
            yield f"{_GPU} refused it: {' '.join(words)[:_LONGEST_REASON] or 'without a word'}"


def _with_missing(
    results: Sequence[Result], spec: Mapping[str, Any], groups: Mapping[tuple[str, str], object]
) -> Iterator[Result]:
    """Say with the last result what was not measured."""
    wanted = [(entry["name"], unit) for entry in spec["variants"] for unit in (_CPU, _GPU)]
    missing = [f"{variant} on {unit}" for variant, unit in wanted if (variant, unit) not in groups]
    lost = (f"not measured: {', '.join(missing)}; run measure.sh again",) if missing else ()
    yield from results[:-1]
    yield replace(results[-1], missing=lost)


def _runtime(folder: Path) -> str:
    """Name the release of LiteRT that the library was built with."""
    build = folder / "build.gradle.kts"
    found = re.search(r'val litert = "([\w.-]{1,20})"', build.read_text()) if build.is_file() else None
    return f"LiteRT {found[1] if found else 'of an unknown release'} in an app"


def _result(bundle: Bundle, blocks: Sequence[Block], refusals: Iterator[str], runtime: str) -> Result:
    first, pipeline = blocks[0], bundle.spec
    stages = (
        *(
            Stage(MODEL, model.name, tuple(tuple(block["models_ms"][model.name]) for block in blocks))
            for model in pipeline.served
        ),
        Stage(STEP, sum_behind_front(pipeline), tuple(tuple(block["runs_ms"]) for block in blocks)),
    )
    return Result(
        target=f"{APP}{first['unit'].lower()}",
        variant=first["variant"],
        device=_device(first, runtime),
        threads=1,
        latency=Latency(
            stages=stages,
            load_ms=tuple(block["load_ms"] for block in blocks),
            first_ms=tuple(block["first_ms"] for block in blocks),
            peak_memory_bytes=max(block["peak_memory_bytes"] for block in blocks),
        ),
        parity=tuple(_parity(bundle, blocks)),
        notes=(
            *((_NOT_IN_IT,) if pipeline.front else ()),
            _MEMORY,
            *refusals,
            *unjudged_note(pipeline, first["variant"]),
            *_others(bundle, blocks),
            *stability_notes(stages),
        ),
    )


def _device(facts: Block, runtime: str) -> Device:
    return Device(
        kind=ANDROID_EMULATOR if facts["emulator"] else ANDROID,
        name=facts["device"],
        isa=_ISA[facts["abi"]],
        cores=facts["cores"],
        system=f"Android API {facts['android']}",
        runtime=runtime,
    )


def _parity(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[Parity]:
    """Hold the gates; a golden input that was not run, was run twice or gave what is not a number fails."""
    every = [golden.name for golden in bundle.goldens]
    for name, limit in judged_limits(bundle.spec, blocks[0]["variant"]).items():
        errors = [largest(block["scores"], every, name) for block in blocks]
        yield Parity(name, worst(errors), limit, unit_of(bundle.spec.tensor(name)))
    yield from photograph_parity(bundle, blocks)


def _others(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[str]:
    """Tell the largest difference of the outputs that have no gate here."""
    held = judged_limits(bundle.spec, blocks[0]["variant"])
    every = [golden.name for golden in bundle.goldens]
    for tensor in outputs_of(bundle.spec):
        error = worst([largest(block["scores"], every, tensor.name) for block in blocks])
        if tensor.name in held:
            continue
        if math.isfinite(error):
            yield f"{tensor.name} differs from the float pipeline's by at most {error:.2g}"
        else:
            yield f"{tensor.name} holds what is not a number, or is missing"
