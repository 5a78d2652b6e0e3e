"""The target ``android``: a phone, through adb and the phone runner, every block a process of its own."""

import math
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.model_names import check_names
from mien.benchmarks.phone.phone_runner import LITERT, PhoneRunner
from mien.benchmarks.phone.session import FOLDER, Measured, PhoneCommand, Session, thermal_notes
from mien.benchmarks.pipeline import Given, differences, judged_limits, models_behind
from mien.benchmarks.programs import Answer
from mien.benchmarks.results.records import (
    ANDROID,
    DECODE,
    FRONT,
    MODEL,
    STEP,
    BenchSpec,
    Device,
    Latency,
    Parity,
    Result,
    Stage,
    stability_notes,
    sum_of,
)
from mien.mobile_reference.bundle.reader import Bundle, Variant, alignment_rule, face_front
from mien.mobile_reference.contract import PipelineSpec, SkipSpec, StageSpec, TensorSpec
from mien.mobile_reference.front.formats import SIGNATURE_BYTES, format_name
from mien.mobile_reference.front.photograph import FORMATS, read_photograph
from mien.mobile_reference.output.json_text import parse_json
from mien.mobile_reference.run.models import TFLITE

from .host import gate_parity, unjudged_notes

_UPRIGHT, _ORIENTATION = (None, 1), 0x0112
_PNG_DEPTH = 24
"""Where a PNG file says how many bits its values have (PNG, third edition, 11.2.1)."""
_MOST_PIXELS = 50_000_000
"""What ``runner/decode.c`` reads; the reference runner decodes larger pictures at a reduced size."""
_RUNNER, _INPUT = "runner", "input"
# Fields of the rule by which the runner finds and frames a face, beside the template.
_RULE = ("size", "detector_size", "score", "overlap", "second_look", "smallest", "sure")


class AndroidTarget:
    """Measures on one phone's processor, from the encoded photograph, or tensors, to the outputs."""

    def __init__(self, session: Session, runner: PhoneRunner) -> None:
        self._session = session
        self._runner = runner

    def probe(self) -> Device:
        """Describe the phone."""
        return replace(self._session.phone.device, runtime=f"LiteRT {LITERT}, mien's runner")

    def run(self, spec: BenchSpec) -> Result:
        """Measure a variant; blocks that were finished before the phone went away are kept.

        Raises:
            DeviceError: nothing could be measured.
            BundleError: a model's tensors have other names than the manifest says.
        """
        if spec.given.photograph:
            _check_photograph(spec.given.photograph)
        variant, models = (
            tflite_variant(spec.bundle, spec.variant),
            models_behind(spec.bundle.spec, spec.given),
        )
        check_names(variant, models)
        with tempfile.TemporaryDirectory(prefix="mien-android-") as name:
            tried = spec.bundle.spec.served_early if variant.early_exit else ()
            check_names(variant, tried)
            names = dict.fromkeys(model.name for model in (*models, *tried))
            files = {
                _RUNNER: [self._runner.folder / file for file in self._runner.hashes],
                spec.variant: [variant.files[name] for name in names],
                _INPUT: list(_input_files(spec.given, Path(name))),
            }
            loader, *_, runner = self._runner.command
            self._session.install(spec.variant, files, [f"{_RUNNER}/{loader}", f"{_RUNNER}/{runner}"])
            job = self._job(spec, full_path(spec.bundle.spec, f"../{spec.variant}", variant))
            measured = self._session.measure([job] * spec.blocks, partial(self._read, spec, steps_of(spec)))
            result = self._result(spec, measured)
            return self._with_early_exit(spec, variant, measured.answers[0], result) if tried else result

    def _with_early_exit(
        self, spec: BenchSpec, variant: Variant, full: Mapping[str, Any], result: Result
    ) -> Result:
        """Measure one block more that leaves stages out, and compare its outputs with those of all stages.

        What was measured before is of the full path, and stays so.
        """
        pipeline = spec.bundle.spec
        job = self._job(spec, early_path(pipeline, f"../{spec.variant}", variant))
        steps = (*_front_steps(spec), *((MODEL, stage.name) for stage in pipeline.stages))
        steps = (*steps, *(((MODEL, pipeline.whole.name),) if pipeline.whole else ()), _sum_step(spec))
        measured = self._session.measure([job], partial(self._read, spec, steps))
        (answer,) = measured.answers
        parity = (
            Parity(
                f"{name} with the early exit",
                int(found["bytes"] != full["tensors"][name]["bytes"]),
                0,
                "differ",
            )
            for name, found in answer["tensors"].items()
        )
        total = statistics.median(answer["steps"][-1])
        leaves = "leaves early" if answer["left_early"] else "does not leave early"
        note = f"with the early exit {total:.1f} ms: the input {leaves}; all other times are of the full path"
        return replace(result, parity=(*result.parity, *parity), notes=(*result.notes, note))

    def _job(self, spec: BenchSpec, models: Iterable[str]) -> PhoneCommand:
        words = [*self._runner.command, *self._settings(spec, models)]
        return PhoneCommand(spec.variant, f"{FOLDER}/{_RUNNER}", words)

    def _result(self, spec: BenchSpec, measured: Measured[dict[str, Any]]) -> Result:
        answers = measured.answers
        stages = tuple(
            Stage(part, name, tuple(tuple(answer["steps"][place]) for answer in answers))
            for place, (part, name) in enumerate(steps_of(spec))
        )
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
            parity=(
                *gate_parity(spec, [answer["differences"] for answer in answers]),
                *_repeatability(answers),
            ),
            notes=(
                *self._pinning(answers),
                *unjudged_notes(spec),
                *thermal_notes(measured.trace),
                *stability_notes(stages),
            ),
            conditions=measured.trace,
            missing=measured.missing,
        )

    def _pinning(self, answers: Sequence[dict[str, Any]]) -> Iterator[str]:
        granted = {tuple(answer["cpus"]) for answer in answers}
        if not self._session.phone.big:
            yield "not pinned: the phone does not say which processors are its big ones"
        elif granted != {self._session.phone.big}:
            got = " or ".join(",".join(map(str, cpus)) for cpus in sorted(granted))
            yield f"the system refused to pin to the big processors {self._pinned()}; the runs had {got}"
        else:
            yield f"pinned to the big processors {self._pinned()}"

    def _pinned(self) -> str:
        return ",".join(map(str, self._session.phone.big))

    def _read(
        self, spec: BenchSpec, steps: Sequence[tuple[str, str]], job: PhoneCommand, answer: Answer
    ) -> dict[str, Any]:
        """Read what one process on the phone measured: the times of its runs, and tensors of the first."""
        if answer.code:
            raise DeviceError(
                f"{job.name}: the runner ended with {answer.code} on the phone: {answer.last}; "
                "run 'mien verify' first"
            )
        try:
            result: dict[str, Any] = parse_json(answer.out.encode())
        except ValueError as error:
            raise DeviceError(f"{job.name}: the runner's answer is not JSON; run it again") from error
        if result["page_size"] != self._session.phone.page_size:
            raise DeviceError(f"the runner saw pages of {result['page_size']} bytes; report this phone")
        if len(result["steps"]) != len(steps):
            raise DeviceError(
                f"{job.name}: the phone timed {len(result['steps'])} steps; set the phone runner up again"
            )
        given, pipeline = spec.given.golden, spec.bundle.spec
        tensors = {
            name: _array(pipeline.tensor(name), found["bytes"]) for name, found in result["tensors"].items()
        }
        result["differences"] = differences(given, tensors) if given else {}
        return result

    def _settings(self, spec: BenchSpec, models: Iterable[str]) -> Iterator[str]:
        """Say in the words of ``runner/runner.c`` what to do; ``models`` are its words for those that run."""
        variant, pipeline, mode = spec.bundle.variant(spec.variant), spec.bundle.spec, self._session.mode
        place = f"../{spec.variant}"
        settings = {
            "cpus": self._pinned(),
            "threads": spec.threads,
            "warmup": spec.warmup,
            "runs": spec.runs,
            "seconds": mode.seconds,
            "limit": mode.limit,
        }
        yield from (f"{name}={value}" for name, value in settings.items())
        if spec.given.photograph:
            yield f"photo=../{_INPUT}/{spec.given.photograph.name}"
            yield "profile=srgb"  # or there is none: see _check_photograph
            yield from _front_settings(pipeline, f"{place}/{{}}", variant)
        else:
            for name in pipeline.inputs:
                yield from (f"input={name}", f"file=../{_INPUT}/{name}.bin")
        yield from models
        yield from (f"keep={name}" for name in judged_limits(pipeline, spec.variant))


def steps_of(spec: BenchSpec) -> tuple[tuple[str, str], ...]:
    """List part and name of what the runner times, in its order."""
    models = ((MODEL, model.name) for model in spec.bundle.spec.served)
    return (*_front_steps(spec), *models, _sum_step(spec))


def _front_steps(spec: BenchSpec) -> tuple[tuple[str, str], ...]:
    return ((STEP, DECODE), (STEP, FRONT)) if spec.given.photograph else ()


def _sum_step(spec: BenchSpec) -> tuple[str, str]:
    return STEP, sum_of(spec.given)


def full_path(pipeline: PipelineSpec, place: str, variant: Variant) -> Iterator[str]:
    """Say in the runner's words which models run, of those in a folder."""
    for model in pipeline.served:
        yield f"model={place}/{variant.files[model.name].name}"
        yield from _tensors(model)


def early_path(pipeline: PipelineSpec, place: str, variant: Variant) -> Iterator[str]:
    """Say in the runner's words which stages run or are left out, and what the end-to-end model is."""
    served = [model.name for model in pipeline.served_early]
    for stage in pipeline.stages:
        yield f"model={place}/{variant.files[stage.name].name}" if stage.name in served else "model="
        yield from _tensors(stage)
        if stage.skip_when:
            yield from _skip(pipeline, stage.skip_when)
    if pipeline.whole:
        yield f"whole={place}/{variant.files[pipeline.whole.name].name}"
        yield from _tensors(pipeline.whole)


def _tensors(model: StageSpec) -> Iterator[str]:
    yield from (f"reads={name}" for name in model.inputs)
    yield from (f"gives={name}" for name in model.outputs)


def _skip(pipeline: PipelineSpec, skip: SkipSpec) -> Iterator[str]:
    yield from (f"zero={skip.zero}", f"zero_kind={pipeline.tensor(skip.zero).dtype}")
    for name, value in skip.outputs.items():
        yield from (f"fill={name}", f"kind={pipeline.tensor(name).dtype}")
        yield f"from={value}" if isinstance(value, str) else f"number={value!r}"


def _front_settings(pipeline: PipelineSpec, place: str, variant: Variant) -> Iterator[str]:
    rule, front = alignment_rule(pipeline), face_front(pipeline)
    (detector,), (face,) = front.models, front.outputs
    points = {f"{axis}{n}": v for n, p in enumerate(rule.template) for axis, v in zip("xy", p, strict=True)}
    settings = {
        "detector": place.format(variant.files[detector.name].name),
        "picture": detector.inputs[0],
        "found": detector.outputs[0],
        "face": face,
        **{name: getattr(rule, name) for name in _RULE},
        **points,
    }
    yield from (f"{name}={value}" for name, value in settings.items())


def _input_files(given: Given, folder: Path) -> Iterator[Path]:
    """Yield what a run begins with: the photograph, or the bytes of each tensor, little-endian."""
    if given.photograph:
        yield given.photograph
        return
    for name, array in given.arrays.items():
        file = folder / f"{name}.bin"
        file.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        yield file


def _array(tensor: TensorSpec, text: str) -> NDArray[Any]:
    """Read the bytes of a tensor, in hexadecimal; of another size they are not that tensor."""
    values = np.frombuffer(bytes.fromhex(text), np.dtype(tensor.dtype).newbyteorder("<"))
    return values.reshape(tensor.shape) if values.size == math.prod(tensor.shape) else values


def _repeatability(answers: Sequence[Mapping[str, Any]]) -> Iterator[Parity]:
    """Say in how many runs a tensor was not what it was in the first run of its process, to the byte."""
    for name in answers[0]["tensors"]:
        differing = sum(answer["tensors"][name]["differing"] for answer in answers)
        yield Parity(f"{name} from run to run", differing, 0, "differing runs")


def tflite_variant(bundle: Bundle, name: str) -> Variant:
    """Find a variant that Android can run.

    Raises:
        DeviceError: it is for another platform.
    """
    variant = bundle.variant(name)
    if variant.platform != TFLITE:
        raise DeviceError(f"{name} is not for Android; choose a tflite variant with --variant")
    return variant


def _check_photograph(path: Path) -> None:
    """Refuse what the runner would read otherwise than the reference runner.

    Its decoders know neither orientation nor transparency nor colour profiles, apply a PNG's gAMA, take
    16 bits for linear light, and read no reduced size.

    Raises:
        DeviceError: the file is of that kind.
    """
    with path.open("rb") as stream:
        head = stream.read(SIGNATURE_BYTES)
        kind = format_name(head)
        if kind not in ("JPEG", "PNG"):
            raise DeviceError(f"{path}: phones read JPEG and PNG files; convert it")
        stream.seek(_PNG_DEPTH)
        deep = kind == "PNG" and stream.read(1) == b"\x10"
        stream.seek(0)
        with FORMATS[kind].open(stream) as image:
            turned = image.getexif().get(_ORIENTATION) not in _UPRIGHT
            found = (
                (image.width * image.height > _MOST_PIXELS, f"it has more than {_MOST_PIXELS} pixels"),
                (deep, "it has 16 bits"),
                (turned, "it is not upright"),
                (
                    image.mode not in ("RGB", "L") or "transparency" in image.info,
                    "it is not plain RGB or grey",
                ),
                ("gamma" in image.info and "srgb" not in image.info, "it has a gamma of its own"),
                ("icc_profile" in image.info and _is_managed(path, image), "its colour profile is not sRGB"),
            )
    for is_so, reason in found:
        if is_so:
            raise DeviceError(
                f"{path}: phones read upright 8-bit sRGB without transparency, and {reason}; convert it"
            )


def _is_managed(path: Path, image: Image.Image) -> bool:
    """Tell whether a colour profile changes pixels by more than a rounding."""
    plain = np.asarray(image.convert("RGB"), np.int16)
    managed = read_photograph(path)
    return plain.shape != managed.shape or bool((np.abs(plain - managed) > 1).any())
