"""The target ``android``: a phone, through adb and the runner kit, every block a process of its own."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.phone.adb import Answer
from mien.benchmarks.phone.runner_kit import LITERT, Kit
from mien.benchmarks.phone.session import FOLDER, Job, Measured, Session, thermal_notes
from mien.benchmarks.pipeline import front_models, models_of_app, picture_model
from mien.benchmarks.results.records import (
    ANDROID,
    BenchSpec,
    Device,
    Latency,
    Result,
    Stage,
    stability_notes,
)
from mien.mobile_reference.bundle.reader import Bundle, Variant, alignment_rule
from mien.mobile_reference.run.models import TFLITE

from .host import score_parity

_UPRIGHT, _ORIENTATION = (None, 1), 0x0112
_KIT, _PHOTO = "kit", "photo"
# Fields of the rule by which the runner finds and frames a face, beside the template.
_RULE = ("size", "detector_size", "score", "overlap", "second_look", "smallest")


class AndroidTarget:
    """Measures on one phone's processor, from the encoded photograph to the score."""

    def __init__(self, session: Session, kit: Kit) -> None:
        self._session = session
        self._kit = kit

    def probe(self) -> Device:
        """Describe the phone."""
        return replace(self._session.phone.device, runtime=f"LiteRT {LITERT}, mien's runner")

    def run(self, spec: BenchSpec) -> Result:
        """Measure a variant; blocks that were finished before the phone went away are kept.

        Raises:
            DeviceError: nothing could be measured.
        """
        _check_photograph(spec.photograph)
        variant = tflite_variant(spec.bundle, spec.variant)
        files = {
            _KIT: [self._kit.folder / name for name in self._kit.hashes],
            spec.variant: [variant.files[model.name] for model in models_of_app(spec.bundle.spec)],
            _PHOTO: [spec.photograph],
        }
        loader, *_, runner = self._kit.command
        job = Job(spec.variant, f"{FOLDER}/{_KIT}", [*self._kit.command, *self._settings(spec)])
        self._session.install(spec.variant, files, [f"{_KIT}/{loader}", f"{_KIT}/{runner}"])
        return self._result(spec, self._session.measure([job] * spec.blocks, self._read))

    def _result(self, spec: BenchSpec, measured: Measured[dict[str, Any]]) -> Result:
        answers = measured.answers
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
            notes=(*self._pinning(answers), *thermal_notes(measured.trace), *stability_notes(stages)),
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

    def _read(self, job: Job, answer: Answer) -> dict[str, Any]:
        """Read what one process on the phone measured: the times and the score of each of its runs."""
        if answer.code:
            raise DeviceError(
                f"{job.name}: the runner ended with {answer.code} on the phone: {answer.last}; "
                "run 'mien verify' first"
            )
        try:
            result: dict[str, Any] = json.loads(answer.out)
        except ValueError as error:
            raise DeviceError(f"{job.name}: the runner's answer is not JSON; run it again") from error
        if result["page_size"] != self._session.phone.page_size:
            raise DeviceError(f"the runner saw pages of {result['page_size']} bytes; report this phone")
        result["scores"] = [math.nan if score is None else score for score in result["scores"]]
        if len(result["scores"]) != len(result["chain"]["total"]):
            raise DeviceError(f"{job.name}: the phone gave {len(result['scores'])} scores; run it again")
        return result

    def _settings(self, spec: BenchSpec) -> Iterator[str]:
        variant, pipeline, mode = spec.bundle.variant(spec.variant), spec.bundle.spec, self._session.mode
        rule, whole, (detector,) = alignment_rule(pipeline), picture_model(pipeline), front_models(pipeline)
        place = f"../{spec.variant}"
        points = {
            f"{axis}{n}": v for n, p in enumerate(rule.template) for axis, v in zip("xy", p, strict=True)
        }
        settings = {
            "detector": f"{place}/{variant.files[detector.name].name}",
            "found": detector.outputs[0],
            "model": f"{place}/{variant.files[whole.name].name}",
            "step": whole.name,
            "rating": pipeline.rating.tensor,
            "photo": f"../{_PHOTO}/{spec.photograph.name}",
            "cpus": self._pinned(),
            "threads": spec.threads,
            "warmup": spec.warmup,
            "runs": spec.runs,
            "seconds": mode.seconds,
            "limit": mode.limit,
            **{name: getattr(rule, name) for name in _RULE},
            **points,
        }
        return (f"{name}={value}" for name, value in settings.items())


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
    """Refuse what the runner would read otherwise than the reference runner."""
    with Image.open(path) as image:
        plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L")
        if not plain or image.getexif().get(_ORIENTATION) not in _UPRIGHT or "transparency" in image.info:
            raise DeviceError(
                f"{path}: phones read upright JPEG and PNG files without transparency; convert it"
            )
