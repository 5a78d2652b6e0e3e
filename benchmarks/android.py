"""The target ``android``: a phone, through adb and the runner kit, every block a process of its own."""

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.mobile_reference.bundle import APPRAISAL, DETECTOR, sha256
from mien.mobile_reference.graphs import TFLITE

from .adb import Adb
from .errors import DeviceError, DeviceLost
from .host import score_parity
from .kit import LITERT, Kit
from .phone import Phone, condition
from .records import ANDROID, BenchSpec, Condition, Device, Latency, Result, Stage, stability_notes

FOLDER = "/data/local/tmp/mien"
_UPRIGHT, _ORIENTATION = (None, 1), 0x0112
_WARMER = 2.0
_LOW_BATTERY = 20
_POLL_S = 5.0
# What a shell makes of a program that its own alarm ended: 128 + SIGALRM.
_ALARM = 142


@dataclass(frozen=True)
class Mode:
    """How much to measure: each of ``blocks`` has at least ``runs`` runs and ``seconds`` seconds.

    ``limit`` is when a block counts as hung, ``cool`` how long to wait for the phone to cool, in seconds.
    """

    blocks: int
    warmup: int
    runs: int
    seconds: int
    limit: int
    cool: float


MODES = {
    "quick": Mode(blocks=5, warmup=3, runs=10, seconds=0, limit=120, cool=60),
    # Every block keeps the rule of MLPerf Mobile for a single stream, and five show whether it repeats.
    "full": Mode(blocks=5, warmup=3, runs=1024, seconds=60, limit=3600, cool=300),
}


class AndroidTarget:
    """Measures on one phone. ``progress`` hears of every block."""

    def __init__(self, adb: Adb, phone: Phone, kit: Kit, mode: Mode, progress: Callable[[str], None]) -> None:
        self._adb = adb
        self._phone = phone
        self._kit = kit
        self._mode = mode
        self._progress = progress

    def probe(self) -> Device:
        """Describe the phone."""
        return replace(self._phone.device, runtime=f"LiteRT {LITERT}, mien's runner")

    def run(self, spec: BenchSpec) -> Result:
        """Measure a variant; blocks that were finished before the phone went away are kept.

        Raises:
            DeviceError: nothing could be measured.
        """
        _check_photograph(spec.photograph)
        if spec.bundle.variant(spec.variant).platform != TFLITE:
            raise DeviceError(f"{spec.variant} is not for Android; choose a tflite variant with --variant")
        self._progress(f"{spec.variant}: copying to the phone")
        self._install(spec)
        answers: list[dict[str, Any]] = []
        trace: list[Condition] = []
        missing: tuple[str, ...] = ()
        try:
            for block in range(spec.blocks):
                self._progress(f"{spec.variant}: block {block + 1} of {spec.blocks}")
                trace.append(self._cool(block, trace))
                answers.append(self._block(spec))
                trace.append(condition(self._adb, block, "after"))
        except DeviceLost as error:
            if not answers:
                raise
            lost = ", ".join(str(n + 1) for n in range(len(answers), spec.blocks)) or "none"
            missing = (f"blocks missing: {lost} of {spec.blocks}; {error}",)
        return self._result(spec, answers, trace, missing)

    def _result(
        self, spec: BenchSpec, answers: list[dict[str, Any]], trace: list[Condition], missing: tuple[str, ...]
    ) -> Result:
        names = answers[0]["chain"]
        stages = tuple(Stage("chain", n, tuple(tuple(a["chain"][n]) for a in answers)) for n in names)
        return Result(
            target=ANDROID,
            variant=spec.variant,
            device=self.probe(),
            threads=spec.threads,
            latency=Latency(
                stages=stages,
                load_ms=tuple(answer["load"] for answer in answers),
                first_ms=tuple(answer["first"] for answer in answers),
                peak_memory_bytes=max(answer["peak_memory_bytes"] for answer in answers),
            ),
            parity=tuple(score_parity(spec, [score for answer in answers for score in answer["scores"]])),
            notes=(*self._pinning(answers), *thermal_notes(trace), *stability_notes(stages)),
            conditions=tuple(trace),
            missing=missing,
        )

    def _pinning(self, answers: Sequence[dict[str, Any]]) -> Iterator[str]:
        granted = {tuple(answer["cpus"]) for answer in answers}
        if not self._phone.big:
            yield "not pinned: the phone does not say which processors are its big ones"
        elif granted != {self._phone.big}:
            got = " or ".join(",".join(map(str, cpus)) for cpus in sorted(granted))
            yield f"the system refused to pin to the big processors {self._pinned()}; the runs had {got}"
        else:
            yield f"pinned to the big processors {self._pinned()}"

    def _pinned(self) -> str:
        return ",".join(map(str, self._phone.big))

    def _cool(self, block: int, trace: Sequence[Condition]) -> Condition:
        """Wait until the phone is as cool as at the start, or the wait is over."""
        end = time.monotonic() + self._mode.cool
        now = condition(self._adb, block, "before")
        while is_hot(now, trace) and time.monotonic() < end:
            self._progress(f"block {block + 1}: waiting for the phone to cool")
            time.sleep(min(_POLL_S, max(end - time.monotonic(), 0)))
            now = condition(self._adb, block, "before")
        return now

    def _install(self, spec: BenchSpec) -> None:
        """Make the phone's files those that are meant, by their hashes."""
        variant = spec.bundle.variant(spec.variant)
        kit = [self._kit.folder / name for name in self._kit.hashes]
        models = [variant.files[graph] for graph in (DETECTOR, APPRAISAL)]
        wanted = {
            f"{FOLDER}/{folder}/{file.name}": file
            for folder, files in (("kit", kit), (spec.variant, models), ("photo", [spec.photograph]))
            for file in files
        }
        folders = sorted({path.rpartition("/")[0] for path in wanted})
        made = self._adb.shell(f"mkdir -p {shlex.join(folders)}")
        if made.code:
            raise DeviceError(f"{self._adb.serial}: cannot write to {FOLDER} ({made.last}); free its storage")
        stale = self._stale(wanted)
        for folder in folders:
            if files := [file for path, file in stale.items() if path.rpartition("/")[0] == folder]:
                self._adb.push(files, folder)
        if stale and (wrong := self._stale(wanted)):
            raise DeviceError(f"{next(iter(wrong))} is not what was pushed to it; try another cable")
        if stale:
            programs = [f"{FOLDER}/kit/{name}" for name in (self._kit.command[0], self._kit.command[-1])]
            self._adb.shell(f"chmod 755 {shlex.join(programs)}")

    def _stale(self, wanted: dict[str, Path]) -> dict[str, Path]:
        listed = self._adb.shell(f"sha256sum {shlex.join(wanted)} 2>/dev/null").out
        there = {path: known for known, _, path in (line.partition("  ") for line in listed.splitlines())}
        return {path: file for path, file in wanted.items() if there.get(path) != sha256(file)}

    def _block(self, spec: BenchSpec) -> dict[str, Any]:
        """Run one process on the phone and fetch the score of each of its runs."""
        scores, running = f"{FOLDER}/scores.raw", f"{FOLDER}/pid"
        words = shlex.join([*self._kit.command, *self._settings(spec, scores)])
        script = f"cd {FOLDER}/kit && rm -f {scores} && echo $$ > {running} && exec {words}"
        try:
            answer = self._adb.shell(script, self._mode.limit + 10)
        except TimeoutError as error:
            self._adb.shell(f"kill -9 $(cat {running})")
            raise DeviceError(f"{spec.variant}: {error}; the job was killed, try --mode quick") from error
        if answer.code == _ALARM:
            raise DeviceError(
                f"{spec.variant}: a block took longer than {self._mode.limit} s and ended itself; "
                "try --mode quick"
            )
        if answer.code:
            raise DeviceError(
                f"{spec.variant}: the runner ended with {answer.code} on the phone: {answer.last}; "
                "run 'mien verify' first"
            )
        try:
            result: dict[str, Any] = json.loads(answer.out)
        except ValueError as error:
            raise DeviceError(f"{spec.variant}: the runner's answer is no JSON; run it again") from error
        if result["page_size"] != self._phone.page_size:
            raise DeviceError(f"the runner saw pages of {result['page_size']} bytes; report this phone")
        with tempfile.TemporaryDirectory(prefix="mien-android-") as folder:
            self._adb.pull(scores, Path(folder) / "scores")
            result["scores"] = np.fromfile(Path(folder) / "scores", "<f4").tolist()
        if len(result["scores"]) != len(result["chain"]["total"]):
            raise DeviceError(f"{spec.variant}: the phone gave {len(result['scores'])} scores; run it again")
        return result

    def _settings(self, spec: BenchSpec, scores: str) -> Iterator[str]:
        variant, rule, mode = spec.bundle.variant(spec.variant), spec.bundle.alignment, self._mode
        models = {graph: f"../{spec.variant}/{variant.files[graph].name}" for graph in (DETECTOR, APPRAISAL)}
        fields = ("size", "detector_size", "score", "overlap", "second_look", "smallest")
        points = {
            f"{axis}{n}": v for n, p in enumerate(rule.template) for axis, v in zip("xy", p, strict=True)
        }
        settings = {
            **models,
            "photo": f"../photo/{spec.photograph.name}",
            "out": scores,
            "cpus": self._pinned(),
            "threads": spec.threads,
            "warmup": spec.warmup,
            "runs": spec.runs,
            "seconds": mode.seconds,
            "limit": mode.limit,
            **{name: getattr(rule, name) for name in fields},
            **points,
        }
        return (f"{name}={value}" for name, value in settings.items())


def _check_photograph(path: Path) -> None:
    """Refuse what the runner would read otherwise than the reference runner."""
    with Image.open(path) as image:
        plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L")
        if not plain or image.getexif().get(_ORIENTATION) not in _UPRIGHT or "transparency" in image.info:
            raise DeviceError(
                f"{path}: phones read upright JPEG and PNG files without transparency; convert it"
            )


def is_hot(now: Condition, trace: Sequence[Condition]) -> bool:
    """Tell whether a phone throttles, or is warmer than when its first block began."""
    if now.thermal_status:
        return True
    start = trace[0].temperatures if trace else {}
    return any(value > start[name] + _WARMER for name, value in now.temperatures.items() if name in start)


def thermal_notes(trace: Sequence[Condition]) -> Iterator[str]:
    """Say what makes the times of a phone doubtful."""
    status = max((c.thermal_status or 0 for c in trace), default=0)
    if status:
        yield f"unstable: the phone throttled, thermal status {status} of 6"
    if any(is_hot(now, trace) for now in trace if now.when == "before"):
        yield "unstable: the phone did not cool down before a block"
    for cpu, khz in trace[0].max_khz.items():
        low = min(now.max_khz.get(cpu, khz) for now in trace)
        if low < khz:
            cut = f"from {khz / 1e6:.2f} to {low / 1e6:.2f} GHz"
            yield f"unstable: the clock of processor {cpu} was cut {cut}"
    if any(now.power_saver for now in trace):
        yield "unstable: the battery saver is on"
    if any((now.battery_percent or 100) < _LOW_BATTERY for now in trace):
        yield f"unstable: the battery is below {_LOW_BATTERY} %"
