"""The same damage put to the mien of another checkout: what was found there shows that the fuzzer finds.

Its sound files are made by it, in its own environment: its bundles have another format.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.fuzz import dialogues
from tests.fuzz.targets import (
    TARGETS,
    Case,
    Command,
    Target,
    compared,
    packages,
    pictures,
    sources,
)

_BUNDLE = """
import sys
from pathlib import Path
import numpy as np
from tests.benchmarks import tinymodels as tiny

def appraisal(file):
    maker = tiny.Maker()
    face = maker.tensor("face", [1, 256, 256, 3], "uint8")
    pixels = tiny._cast(maker, face, "normalised", [1, 256, 256, 3])
    first, second = (maker.constant(f"w{n}", w) for n, w in enumerate(tiny._appraisal_weights()))
    wide = maker.tensor("wide", [1, 128, 128, 32])
    maker.convolve(pixels, first, tiny._zeros(maker, "b1", 32), wide, stride=2)
    heat, mask = (maker.tensor(name, [1, 128, 128, 1]) for name in ("heatmap", "mask"))
    maker.convolve(wide, second, tiny._zeros(maker, "b2", 1), heat)
    maker.convolve(wide, second, tiny._zeros(maker, "b3", 1), mask)
    return maker.write(file, [face], [tiny._mean(maker, heat, "score"), heat, mask, pixels])

maps = [(name, [1, 128, 128, 1]) for name in ("heatmap", "mask")]
outputs = [("score", [1]), *maps, ("normalised", [1, 256, 256, 3])]
whole = (appraisal, tiny._GRAPHS["appraisal"][1], outputs)
if sys.argv[2] == "rated":
    tiny._GRAPHS["appraisal"] = whole
    tiny.int8_appraisal = appraisal
tiny.tiny_bundle(Path(sys.argv[1]))
"""


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
    }
    program = place / ".venv" / "bin" / "mien"
    return {
        name: replace(
            TARGETS[name],
            make=partial(make, place),
            command=command or TARGETS[name].command,
            program=program,
            loaded=(),
        )
        for name, (make, command) in makers.items()
    }


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
    bundle, report = _bundle(place, folder, "rated"), folder / "report.json"
    fast = ("--processes", 2, "--runs", 2, "--warmup", 0)
    _run(place, place / ".venv/bin/mien", "bench", bundle, *fast, "-o", report)
    return [report]


def _dialogues(place: Path, folder: Path) -> Sequence[Path]:
    _bundle(place, folder, "rated")
    (folder / "benchmark_model").write_text("a program of phones")
    return [dialogues.sound(folder)]


def _surroundings(place: Path, folder: Path) -> Sequence[Path]:
    return [_bundle(place, folder, "rated") / "noise.png"]
