"""Models of the search for precisions, each quantised and measured once, in a process of its own.

Everything measured is kept in a folder by content, so that a search goes on where it was stopped.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.export.component import component
from mien.export.running.isolation import converter_context, own_group
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.precision import Assignment
from mien.export.tflite.quantise import quantise, seen_by_converted
from mien.export.tflite.ranges import Histograms, read_histograms
from mien.export.weights.gptq import read_roundings
from mien.mobile_reference.output.json_text import json_text
from mien.models.sources import Source, open_pipeline


class Ranges(StrEnum):
    """What the ranges of a model are made from: how far one face is off is much a matter of chance."""

    FOUND = "as found"
    WIDER = "3 % wider"
    NARROWER = "2 % narrower"
    CONVERTED = "behind converted blocks too"


@dataclass(frozen=True)
class SearchedModel:
    """What is searched: a float model, and what belongs to it.

    ``name`` is that of the model in the pipeline that comes from ``source``. ``faces`` [K, H, W, 3] are its
    inputs, ``histograms`` those of its tensors over them, ``roundings`` its weights. All are files, since
    other processes read them; ``work`` keeps what was measured.
    """

    source: Source
    name: str
    model: Path
    faces: Path
    histograms: Path
    roundings: Path
    work: Path


@dataclass(frozen=True)
class Model:
    """One model to be measured."""

    assignment: Assignment
    ranges: Ranges = Ranges.FOUND


@dataclass(frozen=True)
class Measured:
    """What a model made: the scores of all faces and of their mirror images, and its size in bytes."""

    scores: tuple[float, ...]
    bytes: int


class Bench:
    """Measures models in processes of their own, each once."""

    def __init__(self, subject: SearchedModel, workers: int) -> None:
        self.subject = subject
        self.pool = ProcessPoolExecutor(workers, converter_context(), own_group)
        files = (subject.model, subject.faces, subject.histograms, subject.roundings)
        parts = [path.read_bytes() for path in files]
        parts.append(version("ai-edge-quantizer").encode())
        self.state = sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()
        subject.work.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # nobody waits for what is being measured
            for child in multiprocessing.active_children():
                child.kill()
        self.pool.shutdown(cancel_futures=True)

    def measure(
        self, models: Sequence[Model], faces: tuple[int, ...], report: Callable[[int], None]
    ) -> list[Measured]:
        """Measure many models on the numbered faces, or on all where none is named.

        What the folder has is not measured again.
        """
        files = [self._file(model, faces) for model in models]
        jobs = {
            file: self.pool.submit(_measure, self.subject, model, faces, file)
            for file, model in zip(files, models, strict=True)
            if not file.exists()
        }
        for done, file in enumerate(files, start=1):
            if file in jobs:
                jobs[file].result()
            report(done)
        return [_read(file) for file in files]

    def _file(self, model: Model, faces: tuple[int, ...]) -> Path:
        choices = sorted((block, str(choice)) for block, choice in model.assignment.items())
        chosen = json_text([choices, model.ranges, faces])
        return self.subject.work / f"{sha256((self.state + chosen).encode()).hexdigest()}.json"


def _measure(subject: SearchedModel, model: Model, faces: tuple[int, ...], file: Path) -> None:
    """Quantise, rate the faces, and write the scores; a stopped search finds whole files alone."""
    rounded = read_roundings(subject.roundings)
    found = _HISTOGRAMS[model.ranges](subject, model.assignment)
    content = quantise(subject.model, model.assignment, found, rounded)
    runner = Runner(content)
    pictures = with_mirrored(np.load(subject.faces))
    chosen = pictures[list(faces)] if faces else pictures
    scores = [float(runner.run([face[None]])[0][0]) for face in chosen]
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json_text({"bytes": len(content), "scores": scores}))
    partial.replace(file)


def with_mirrored(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the mirror images of faces [K, 256, 256, 3].

    To the networks they are faces of other people: neither ranges nor roundings were made from them.
    """
    return np.concatenate([faces, faces[:, :, ::-1]])


def _stretched(reach: float, subject: SearchedModel, assignment: Assignment) -> Histograms:
    """Return what was found as if values were ``reach`` times as large."""
    return {name: one.stretched(reach) for name, one in read_histograms(subject.histograms).items()}


def _converted(subject: SearchedModel, assignment: Assignment) -> Histograms:
    """Return what an export will find for an assignment."""
    one = component(open_pipeline(subject.source), subject.name)
    samples = [{one.inputs[0]: face[None]} for face in np.load(subject.faces)]
    rounded = read_roundings(subject.roundings)
    return seen_by_converted(one, subject.model, assignment, rounded, samples, samples)


_HISTOGRAMS: Mapping[Ranges, Callable[[SearchedModel, Assignment], Histograms]] = {
    Ranges.FOUND: partial(_stretched, 1.0),
    Ranges.WIDER: partial(_stretched, 1.03),
    Ranges.NARROWER: partial(_stretched, 0.98),
    Ranges.CONVERTED: _converted,
}


def _read(file: Path) -> Measured:
    record = json.loads(file.read_text())
    return Measured(tuple(record["scores"]), record["bytes"])
