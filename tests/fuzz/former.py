"""The same damage put to the mien of another checkout: what was found there shows that the fuzzer finds.

Its sound files are made by it, in its own environment: its bundles have another format.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.fuzz import dialogues
from tests.fuzz.exports.over_files import OUT
from tests.fuzz.surroundings import OWN, RATED, REPORT
from tests.fuzz.targets import (
    TARGETS,
    Case,
    Command,
    Target,
    compared,
    met,
    packages,
    pictures,
    sources,
)

_BUNDLE = """
import sys
from pathlib import Path
import numpy as np
from mien.mobile_reference.bundle import open_bundle
from mien.mobile_reference.graphs import load_graph
from tests.benchmarks import tinymodels as tiny

# Its pictures are drawn of maps as large as the face.
stride = 1 if sys.argv[2] == "drawn" else 2
side = 256 // stride
FACE, MAP = [1, 256, 256, 3], [1, side, side, 1]

def rated(maker, pixels):
    first, second = (maker.constant(f"w{n}", w) for n, w in enumerate(tiny._appraisal_weights()))
    wide = maker.tensor("wide", [1, side, side, 32])
    maker.convolve(pixels, first, tiny._zeros(maker, "b1", 32), wide, stride)
    heat = maker.convolve(wide, second, tiny._zeros(maker, "b2", 1), maker.tensor("heatmap", MAP))
    return tiny._mean(maker, heat, "score"), heat

def twice(maker, source):
    return tiny._plus(maker, source, source, maker.tensor("mask", MAP))

def appraisal(file):
    maker = tiny.Maker()
    face = maker.tensor("face", FACE, "uint8")
    pixels = tiny._cast(maker, face, "normalised", FACE)
    score, heat = rated(maker, pixels)
    return maker.write(file, [face], [score, heat, twice(maker, heat), pixels])

def mask(file):
    maker = tiny.Maker()
    heat = maker.tensor("heat", MAP)
    return maker.write(file, [heat], [twice(maker, heat)])

def inpaint(file):
    maker = tiny.Maker()
    face = maker.tensor("face", FACE, "uint8")
    return maker.write(file, [face], [tiny._cast(maker, face, "normalised", FACE)])

def compare(file):
    maker = tiny.Maker()
    pixels = maker.tensor("normalised", FACE)
    return maker.write(file, [pixels], list(rated(maker, pixels)))

maps = [(name, MAP) for name in ("heatmap", "mask")]
face, normalised, score = ("face", FACE, "uint8"), ("normalised", FACE), ("score", [1])
tiny._GRAPHS["appraisal"] = (appraisal, [face], [score, *maps, normalised])
tiny.int8_appraisal = appraisal
folder, vectors = Path(sys.argv[1]), {}
if sys.argv[2] == "stages":
    tiny._GRAPHS["mask"] = (mask, [("heat", MAP)], maps[1:])
    tiny._GRAPHS["inpaint"] = (inpaint, [face], [normalised])
    tiny._GRAPHS["compare"] = (compare, [normalised], [score, maps[0]])
    described = tiny._manifest
    def with_vectors(score):
        manifest = described(score)
        manifest["goldens"][0]["vectors"].update({name: f"{name}.npy" for name in vectors})
        return manifest
    tiny._manifest = with_vectors
tiny.tiny_bundle(folder)
if sys.argv[2] == "stages":
    bundle = open_bundle(folder)
    golden = bundle.goldens[0]
    appraiser = tiny.BundleAppraiser(bundle)
    pixels = appraiser.align(golden.read_photograph()).pixels
    vectors.update(picture=np.zeros([1, 128, 128, 3], np.uint8), face=pixels[None])
    for name, graph in bundle.graphs.items():
        if name != "appraisal":
            run = load_graph(bundle, bundle.variants[0], name, 1)
            vectors.update(run({tensor.name: vectors[tensor.name] for tensor in graph.inputs}))
    for name, values in vectors.items():
        np.save(folder / f"{name}.npy", values)
    (folder / "vector.npy").unlink()
    tiny.write_manifest(folder, golden.score)
"""

_EXPORT = """
import sys
import time
from mien.export import exporter
from mien.export.packing import check_output, staged
from mien.mobile_reference import console

def export_bundle(request, progress):
    check_output(request.output)
    with staged(request.output) as folder:
        time.sleep(1)
        (folder / "manifest.json").write_text('{"format": 1, "name": "stub", "variants": [], "files": {}}')
    return exporter.ExportReport(1.0, 0, (), {})

exporter.export_bundle = export_bundle
console.main()
"""
"""An export that converts nothing: its checks, its staging and its move into place are the program's own."""


def former_targets(place: Path) -> Mapping[str, Target]:
    """Return the targets that another checkout has too, with its program in the place of this one's."""
    makers: Mapping[str, tuple[Callable[[Path, Path], Sequence[Path]], Callable[[Case], Command] | None]] = {
        "photographs": (_photographs, None),
        "manifests": (_manifests, None),
        "models": (_models, None),
        "goldens": (_goldens, None),
        "packages": (lambda _, folder: packages(folder), None),
        "sources": (lambda _, folder: sources(folder), None),
        "checkpoints": (_checkpoints, None),
        "reports": (_reports, compared),
        "dialogues": (_dialogues, None),
        "surroundings": (_surroundings, None),
        "exports": (_exports, None),
    }
    program = _program(place)
    targets = {
        name: replace(
            TARGETS[name],
            make=partial(make, place),
            command=command or TARGETS[name].command,
            program=program,
            loaded=(),
        )
        for name, (make, command) in makers.items()
    }
    exports = replace(targets["exports"], trial=lambda case: met(case, _exported(place, case.work)))
    return targets | {"exports": exports}


def _program(place: Path) -> Path:
    return place / ".venv" / "bin" / "mien"


def _run(place: Path, *words: object) -> None:
    python = place / ".venv" / "bin" / "python"
    subprocess.run([str(python), *map(str, words)], cwd=place, check=True, stdout=subprocess.DEVNULL)


def _bundle(place: Path, folder: Path, kind: str) -> Path:
    _run(place, "-c", _BUNDLE, folder / "bundle", kind)
    return folder / "bundle"


def _photographs(place: Path, folder: Path) -> Sequence[Path]:
    _bundle(place, folder, "rated")
    return pictures(folder)


def _manifests(place: Path, folder: Path) -> Sequence[Path]:
    return [_bundle(place, folder, "rated") / "manifest.json"]


def _models(place: Path, folder: Path) -> Sequence[Path]:
    models = _bundle(place, folder, "rated") / "tflite-fp32"
    return [models / "detector.tflite", models / "appraisal.tflite"]


def _goldens(place: Path, folder: Path) -> Sequence[Path]:
    return sorted(_bundle(place, folder, "stages").rglob("*.npy"))


def _checkpoints(place: Path, folder: Path) -> Sequence[Path]:
    import shutil

    (reference,) = (file.parent for file in place.glob("models/**/reference/model.safetensors"))
    shutil.copytree(reference, folder / "checkpoint", ignore=shutil.ignore_patterns("*.md"))
    samples = Path(__file__).parent.parent.parent / "models" / "appraisal" / "samples"
    shutil.copy(samples / "nobody-01.jpg", folder / "nobody.jpg")
    return [folder / "checkpoint" / name for name in ("config.json", "model.safetensors")]


def _reports(place: Path, folder: Path) -> Sequence[Path]:
    _bundle(place, folder, "rated")
    return [_report(place, folder)]


def _report(place: Path, folder: Path) -> Path:
    fast = ("--processes", 2, "--runs", 2, "--warmup", 0)
    _run(place, _program(place), "bench", folder / "bundle", *fast, "-o", folder / REPORT)
    return folder / REPORT


def _dialogues(place: Path, folder: Path) -> Sequence[Path]:
    _bundle(place, folder, "rated")
    (folder / "benchmark_model").write_text("a program of phones")
    return [dialogues.sound(folder)]


def _surroundings(place: Path, folder: Path) -> Sequence[Path]:
    own = folder / OWN
    photograph = _bundle(place, own, "drawn") / "noise.png"
    _report(place, own)
    _run(place, _program(place), "appraise", "--bundle", own / "bundle", photograph, "-o", own / RATED)
    return [photograph]


def _exported(place: Path, work: Path) -> Callable[[], None]:
    python = place / ".venv" / "bin" / "python"
    words = [str(python), "-c", _EXPORT, "export", "-o", str(work / OUT)]
    return lambda: os.execv(python, words)  # noqa: S606 - that is the point


def _exports(place: Path, folder: Path) -> Sequence[Path]:
    begun = time.monotonic()
    _run(place, "-c", _EXPORT, "export", "-o", folder / OUT)
    (folder / "seconds").write_text(str(time.monotonic() - begun))
    return [folder / OUT / "manifest.json"]
