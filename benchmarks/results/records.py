"""What a target is asked to measure and what it answers, and the report file that keeps it.

The report is described by ``report.schema.json``. ``kind`` says what a result was made on; a result of
an emulated processor has no times at all.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from mien.benchmarks.errors import ReportError
from mien.benchmarks.pipeline import Given
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, sha256
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.output.json_text import json_text, parse_json
from mien.mobile_reference.schema import Schema

from .stats import Blocks, Summary, block_spread, summarise

FORMAT = 2
ESTIMATE_FORMAT = 1
REPORT_SCHEMA = "report.schema.json"
ESTIMATE_SCHEMA = "estimate.schema.json"
BUDGET_MS = 1000.0
"""The promise: from the encoded photograph, or the app's tensors, to the result in less than a second."""
HOST = "host"
ARM64_EMULATION = "arm64-emulation"
ANDROID = "android"
ANDROID_EMULATOR = "android-emulator"
IPHONE, IOS_SIMULATOR, MAC = "iphone", "ios-simulator", "mac"
STEP, MODEL, GRAPH = "step", "model", "graph"
"""Parts that times are of: what we do around the models, a model in its place, a model alone."""
DECODE, FRONT, PIXELS = "decode", "front", "pixels"
"""Steps: a file to pixels, pixels to the inputs, bytes to a pixel buffer."""
TOTAL = "total"
"""The step that is the whole way: from the encoded photograph, or the app's tensors, to the result."""
INFERENCE = "inference"
"""The step that is all models, where the front before them was not timed."""
MET, NOT_MET, NO_EVIDENCE = "met", "not met", "no evidence"
UNSTABLE = 0.05
"""By what share processes may differ before their times are called unstable."""
UNSTABLE_NOTE = "unstable"
"""How a note begins that casts doubt on the times."""
_MAX_REPORT_BYTES = 256 << 20


@dataclass(frozen=True)
class BenchSpec:
    """What to measure: ``blocks`` fresh processes, each ``warmup`` untimed and ``runs`` timed runs."""

    bundle: Bundle
    variant: str
    given: Given
    threads: int
    warmup: int
    runs: int
    blocks: int
    cpus: tuple[int, ...] = ()


def sum_behind_front(spec: PipelineSpec) -> str:
    """Name the step that is the sum of all from tensors on: the whole way, where there is no front."""
    return TOTAL if spec.front is None else INFERENCE


def sum_of(given: Given) -> str:
    """Name the step that is the sum of all: the whole way, where no front was left out."""
    if given.photograph is not None or given.golden is None:
        return TOTAL
    return sum_behind_front(given.golden.spec)


@dataclass(frozen=True)
class Device:
    """What measured."""

    kind: str
    name: str
    isa: str
    cores: int
    system: str
    runtime: str


@dataclass(frozen=True)
class Stage:
    """The times of one step in ms; ``part`` is ``STEP``, ``MODEL`` or ``GRAPH``.

    A model may be called what a step is called, so that the two together say what was timed.
    """

    part: str
    name: str
    blocks: Blocks

    @property
    def title(self) -> str:
        """What was timed, in a word or two that no other stage has."""
        return self.name if self.part == STEP else f"{self.part} {self.name}"

    @property
    def summary(self) -> Summary:
        """Sum up the runs of all blocks."""
        return summarise([time for block in self.blocks for time in block])


@dataclass(frozen=True)
class Latency:
    """Times in ms: of every stage, and of what happens once in each process, before the warm-up."""

    stages: tuple[Stage, ...]
    load_ms: tuple[float, ...]
    first_ms: tuple[float, ...]
    peak_memory_bytes: int

    def step(self, name: str) -> Stage:
        """Find one of our own steps."""
        return next(stage for stage in self.stages if (stage.part, stage.name) == (STEP, name))

    @property
    def chain(self) -> tuple[Stage, ...]:
        """What one run consists of, in its order; its sum stands last."""
        return tuple(stage for stage in self.stages if stage.part != GRAPH)

    @property
    def whole(self) -> bool:
        """Tell whether the whole way was timed, not only that behind the front."""
        return any((stage.part, stage.name) == (STEP, TOTAL) for stage in self.stages)

    @property
    def longest(self) -> Stage:
        """The step that says most, and stands last: the whole way, or else all models."""
        return self.chain[-1]


@dataclass(frozen=True)
class Parity:
    """How far a result of the measured program is from a reference; both in ``unit``."""

    name: str
    error: float
    gate: float
    unit: str

    @property
    def passed(self) -> bool:
        """Tell whether the gate holds; an error that is not a number never passes."""
        return self.error <= self.gate


@dataclass(frozen=True)
class Work:
    """ARM64 instructions of one run of a graph, and the share of each kernel.

    ``dot_product`` is the share of the kernels that the processor's int8 products are for, or None
    where the processor or the graph has none of them. ``products`` are the multiply-accumulates of the
    convolutions and matrix products by the kind of kernel that does them; reports of former versions have
    none.
    """

    graph: str
    instructions: int
    kernels: Mapping[str, float]
    dot_product: float | None
    products: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reported:
    """What a program of others reports of one graph on one unit of a phone: times in microseconds.

    ``blocks`` has one mapping for each process, with the keys of that program. There are no single runs.
    """

    graph: str
    unit: str
    blocks: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Condition:
    """How warm and how fast a phone was ``before`` or ``after`` a block; empty is what it did not say.

    ``thermal_status`` is Android's 0 (none) to 6, ``temperatures`` are in degrees Celsius by sensor, the
    clocks by processor.
    """

    block: int
    when: str
    thermal_status: int | None
    temperatures: Mapping[str, float]
    max_khz: Mapping[str, int]
    current_khz: Mapping[str, int]
    battery_percent: int | None
    power_saver: bool


@dataclass(frozen=True)
class Result:
    """What a target found out about one variant.

    ``latency`` is None where time means nothing, ``threads`` where the runtime chooses.
    """

    target: str
    variant: str
    device: Device
    threads: int | None
    latency: Latency | None
    parity: tuple[Parity, ...]
    work: tuple[Work, ...] = ()
    notes: tuple[str, ...] = field(default=())
    conditions: tuple[Condition, ...] = ()
    missing: tuple[str, ...] = ()
    reported: tuple[Reported, ...] = ()

    @property
    def p90_ms(self) -> float | None:
        """The time that nine of ten runs keep, or None where the whole way was not timed."""
        return self.latency.longest.summary.p90 if self.latency and self.latency.whole else None

    @property
    def failures(self) -> Iterator[str]:
        """Say what makes the result worthless: a wrong answer, or kernels that a phone would not use."""
        yield from self.missing
        for parity in self.parity:
            if not parity.passed:
                off, unit = f"{parity.error:.3g}", parity.unit
                yield f"{parity.name} is off by {off} {unit}, at most {parity.gate:g} are allowed"
        for work in self.work:
            if work.dot_product == 0:
                yield f"{work.graph} ran without the processor's dot products, which it should have used"

    @property
    def verdict(self) -> str:
        """Say whether the budget is kept by nine of ten runs."""
        if self.p90_ms is None or self.device.kind == ANDROID_EMULATOR:
            return NO_EVIDENCE
        return MET if self.p90_ms < BUDGET_MS else NOT_MET


class Target(Protocol):
    """Something that a bundle can be measured on."""

    def probe(self) -> Device:
        """Say what it is."""
        ...

    def run(self, spec: BenchSpec) -> Result:
        """Measure one variant."""
        ...


def stability_notes(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Say which steps differ between processes by more than chance should allow."""
    longest = Latency(stages, (), (), 0).longest
    spread = block_spread(longest.blocks)
    if spread <= UNSTABLE:
        return ()
    return (f"{UNSTABLE_NOTE}: medians of the processes differ by {spread:.0%}, more than {UNSTABLE:.0%}",)


def make_report(bundle: Bundle, spec: Mapping[str, Any], results: tuple[Result, ...]) -> dict[str, Any]:
    """Make the JSON of a report; ``spec`` states the settings that all results share."""
    report = {
        "format": FORMAT,
        "mien": version("mien"),
        "bundle": {"name": bundle.name, "manifest_sha256": sha256(bundle.path / MANIFEST)},
        "settings": dict(spec),
        "results": [_record(result) for result in results],
    }
    check_report(report)
    return report


def _record(result: Result) -> dict[str, Any]:
    record = asdict(result) | {"kind": result.device.kind}
    record["parity"] = [_parity_record(parity) for parity in result.parity]
    if result.latency:
        for stage, entry in zip(result.latency.stages, record["latency"]["stages"], strict=True):
            entry["summary"] = asdict(stage.summary)
    record["verdict"] = {"budget_ms": BUDGET_MS, "p90_ms": result.p90_ms, "state": result.verdict}
    plain: dict[str, Any] = json.loads(json_text(record))
    return plain


def _parity_record(parity: Parity) -> dict[str, Any]:
    """Keep an error that is not a finite number as null, which JSON has."""
    error = parity.error if math.isfinite(parity.error) else None
    return asdict(parity) | {"error": error, "passed": parity.passed}


def _read_parity(record: Mapping[str, Any]) -> Parity:
    error = math.inf if record["error"] is None else record["error"]
    return Parity(record["name"], error, record["gate"], record["unit"])


@cache
def _schema(name: str) -> Schema:
    return Schema(json.loads(files(__package__).joinpath(name).read_text()))


def check_report(report: Any, schema: str = REPORT_SCHEMA) -> None:
    """Check a report against a JSON Schema that ships with mien.

    Raises:
        ReportError: the report is not as the schema says.
    """
    for problem in _schema(schema).problems(report):
        where = problem.where or "the report"
        raise ReportError(f"{where}: {problem.message[:200]}; make the report again with 'mien bench'")


def read_report(path: Path) -> dict[str, Any]:
    """Read a report of measurements.

    Raises:
        ReportError: the file is missing, too large, or no report of a version that is known.
    """
    report: dict[str, Any] = _load(path)
    _check_file(path, report, REPORT_SCHEMA)
    return report


def read_evidence(path: Path) -> dict[str, Any]:
    """Read a report of measurements or of estimates; ``is_estimate`` tells which it is.

    Raises:
        ReportError: as ``read_report``.
    """
    report: dict[str, Any] = _load(path)
    _check_file(path, report, ESTIMATE_SCHEMA if is_estimate(report) else REPORT_SCHEMA)
    return report


def is_estimate(report: Any) -> bool:
    """Tell whether a report is one of estimates."""
    return isinstance(report, dict) and report.get("kind") == "estimate"


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ReportError(f"{path} is not a file; give a report that 'mien bench BUNDLE -o FILE' wrote")
    if path.stat().st_size > _MAX_REPORT_BYTES:
        raise ReportError(f"{path} is larger than {_MAX_REPORT_BYTES} bytes; give a report of 'mien bench'")
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ReportError(f"{path} is not JSON: {error}; give a report of 'mien bench'") from error


def _check_file(path: Path, report: Any, schema: str) -> None:
    known = _schema(schema).definition["properties"]["format"]["const"]
    if isinstance(report, dict) and report.get("format", known) != known:
        raise ReportError(
            f"{path}: the report has format {report['format']!r:.20}, this mien reads {known}; "
            "make it again with this mien"
        )
    try:
        check_report(report, schema)
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ReportError(f"{path} is not JSON: {error}; give a report of 'mien bench'") from error


def read_result(record: Mapping[str, Any]) -> Result:
    """Make the result that a report's record describes."""
    latency = record["latency"]
    return Result(
        target=record["target"],
        variant=record["variant"],
        device=Device(**record["device"]),
        threads=record["threads"],
        latency=_latency(latency) if latency else None,
        parity=tuple(_read_parity(parity) for parity in record["parity"]),
        work=tuple(Work(**work) for work in record["work"]),
        notes=tuple(record["notes"]),
        conditions=tuple(Condition(**condition) for condition in record.get("conditions", ())),
        missing=tuple(record.get("missing", ())),
        reported=tuple(
            Reported(r["graph"], r["unit"], tuple(r["blocks"])) for r in record.get("reported", ())
        ),
    )


def _latency(record: Mapping[str, Any]) -> Latency:
    return Latency(
        stages=tuple(Stage(s["part"], s["name"], s["blocks"]) for s in record["stages"]),
        load_ms=tuple(record["load_ms"]),
        first_ms=tuple(record["first_ms"]),
        peak_memory_bytes=record["peak_memory_bytes"],
    )
