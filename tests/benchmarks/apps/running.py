"""Runs generated apps on this machine: real compilers, stand-ins of the platform's classes, real runtimes.

What an app writes is read by the reader of ``mien bench`` and held against the reference runner: every
difference from the float pipeline must be the very number that the reference runner has, the same stages must
be left out, and the photographs must have the same measures. A stand-in is no phone: this says what the
sources compute, not what Android or Core ML do with them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from mien.benchmarks.apps.generated_project import identified, photograph_of
from mien.benchmarks.pipeline import largest_difference, outputs_of
from mien.benchmarks.results.records import Result
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, open_bundle, sha256
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.front.resize import RESIZE, read_rule
from mien.mobile_reference.run.early_exit import outputs_without
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner

FACES, PAINTER, CLASSIFIER = "faces", "painter", "classifier"
"""What the bundles are called by which apps are run: a built-in one, and those of ``own_bundles``."""
TIME_LIMIT_S = 900
_MEASURES_AGREE = 1e-9
SCORES, PHOTOGRAPHS = "scores", "photographs"
"""What a record has of golden inputs, from their tensors and from their photographs on."""
Block = Mapping[str, Any]
Harm = Callable[[Path], None]
"""Changes the folder in a generated app that holds the bundle's manifest."""


@dataclass(frozen=True)
class Sabotage:
    """A change of one place in the sources that must be seen; ``bundle`` is the bundle by which."""

    title: str
    bundle: str
    file: str
    old: str
    new: str

    def damage(self, sources: Path) -> None:
        """Change the file, in which the place must stand once."""
        (file,) = sources.rglob(self.file)
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {text.count(self.old)} times, expected once")
        file.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Damage:
    """Something wrong with a bundle in an app, which this must refuse by the words of ``message``."""

    title: str
    message: str
    harm: Harm


def intact(bundle: Path) -> None:
    """Leave a bundle as it is."""


def _other_format(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"format": 3}))


def _unknown_key(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["stages"][0]["repeat"] = 2
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def _models(bundle: Path) -> list[str]:
    manifest = json.loads((bundle / MANIFEST).read_text())
    return [path for variant in manifest["variants"] for path in variant["files"].values()]


def _outer_path(bundle: Path) -> None:
    text = (bundle / MANIFEST).read_text()
    for path in _models(bundle):
        text = text.replace(f'"{path}', f'"../{path}')
    (bundle / MANIFEST).write_text(text)


def _other_byte(bundle: Path) -> None:
    places = [bundle / path for path in _models(bundle)]
    for file in (file for place in places for file in (place, *place.rglob("*")) if file.is_file()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


DAMAGES = (
    Damage("a manifest of another format", "has format 3, expected 2", _other_format),
    Damage("a key that nobody knows", "has the unknown key /stages/*/repeat", _unknown_key),
    Damage("a path that leaves the bundle", "leaves the bundle", _outer_path),
    Damage("models of other bytes", "is not the file that was exported", _other_byte),
)


@contextmanager
def model_server(folder: Path, root: Path | None = None) -> Iterator[Path]:
    """Run the model server on two pipes in a folder; paths of packages are taken below ``root``."""
    for name in ("questions", "answers"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    command = [sys.executable, "-m", "tests.benchmarks.apps.model_server", str(folder), str(root or "/")]
    server = subprocess.Popen(command)
    try:
        yield folder
    finally:
        # It waits for whoever was to ask, where that one never began.
        server.terminate()
        server.wait()


def with_more_photographs(
    bundle: Path, folder: Path, photographs: Mapping[str, Pixels], keep: int | None = None
) -> Path:
    """Copy a bundle, with a golden input for each photograph; float32 TFLite models make their tensors.

    Of the golden inputs that it had, the first ``keep`` stay, or all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle, folder)
    opened = open_bundle(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["goldens"] = manifest["goldens"][:keep]
    for name, pixels in photographs.items():
        _add_golden(opened, manifest, name, np.ascontiguousarray(pixels))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def with_early_exit(bundle: Path, folder: Path, variants: Sequence[str]) -> Path:
    """Copy a bundle that says of some variants that stages may be left out; no export says so of Core ML."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for entry in manifest["variants"]:
        if entry["name"] in variants:
            entry["early_exit"] = {"inputs": 1, "left": 1}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def awkward_faces(bundle: Path) -> dict[str, Pixels]:
    """Make photographs out of a golden one for which the front has more to do.

    One is turned by a quarter, one is large, so that box filters reduce it, of one the border cuts the face.
    """
    pixels = open_bundle(bundle).goldens[0].read_photograph()
    height, width = pixels.shape[:2]
    large = Image.fromarray(pixels).resize((3 * width + 1, 3 * height - 1), Image.Resampling.BICUBIC)
    return {"turned": np.rot90(pixels), "large": np.asarray(large), "cut": pixels[:, int(0.36 * width) :]}


def _add_golden(bundle: Bundle, manifest: dict[str, Any], name: str, pixels: Pixels) -> None:
    place = bundle.path / "golden" / name
    place.mkdir(parents=True)
    Image.fromarray(pixels).save(place / "photograph.png")
    runner, first = BundleRunner(bundle, "tflite-fp32"), bundle.goldens[0]
    inputs = _prepared(runner, pixels)[0]
    made = runner.finish(bundle.spec.stages, inputs) | runner.finish(bundle.spec.served, inputs)
    for tensor, file in first.vectors.items():
        np.save(place / f"{tensor}.npy", made[tensor] if tensor in made else np.load(file))
    entry = {
        "name": name,
        "source": f"golden/{name}/photograph.png",
        "front": first.front,
        "values": {tensor: float(made[tensor].reshape(-1)[0]) for tensor in first.values},
        "vectors": {tensor: f"golden/{name}/{tensor}.npy" for tensor in first.vectors},
    }
    manifest["goldens"].append(entry)
    for file in sorted(place.iterdir()):
        path = file.relative_to(bundle.path).as_posix()
        manifest["files"][path] = {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _prepared(runner: BundleRunner, pixels: Pixels) -> tuple[Arrays, dict[str, float]]:
    """Return what the front makes of a photograph, and the measures of it."""
    front = runner.spec.front
    if front and front.kind == RESIZE:
        return {front.outputs[0]: read_rule(front.rule).tensor(pixels)}, {}
    prepared = runner.prepare(pixels)
    return prepared.inputs, {finding.measure: finding.value for finding in prepared.findings}


def wrong_in_results(results: Sequence[Result]) -> Iterator[str]:
    """Say which gates the reader of ``mien bench`` finds broken, and what it misses."""
    for result in results:
        yield from (
            f"{result.variant}: {parity.name} is off by {parity.error:g}, allowed {parity.gate:g}"
            for parity in result.parity
            if not parity.passed
        )
        yield from result.missing


def wrong_against_reference(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[str]:
    """Say where what an app recorded is not what the reference runner says."""
    for block in blocks:
        for rated in (SCORES, PHOTOGRAPHS):
            for found in block.get(rated, ()):
                start = found.get("from", rated)
                expected = _expected(bundle, block["variant"], found["golden"], start)
                yield from (
                    f"{block['variant']}, {found['golden']}, {start}: {problem}"
                    for problem in _unequal(found, expected)
                )


def _unequal(found: Block, expected: Block) -> Iterator[str]:
    for key in ("differences", "skipped"):
        if key in found and found[key] != expected[key]:
            yield f"{key} are {found[key]}, the reference runner's {expected[key]}"
    measures = found.get("findings", {})
    for name, value in measures.items():
        if value is None or abs(value - expected["findings"][name]) > _MEASURES_AGREE:
            yield f"{name} is {value}, the reference runner's {expected['findings'][name]}"
    if measures.keys() != expected["findings"].keys():
        yield f"measures are {sorted(measures)}, the reference runner's {sorted(expected['findings'])}"


@cache
def _runner(bundle: Path, variant: str) -> BundleRunner:
    return BundleRunner(open_bundle(bundle), variant)


@cache
def _expected_of(bundle: Path, variant: str, name: str, start: str) -> Block:
    """Return what a record of a golden input must say, from its tensors, its photograph or a model on."""
    runner = _runner(bundle, variant)
    golden = next(one for one in runner.bundle.goldens if one.name == name)
    spec, inputs, findings = runner.spec, golden.inputs(), dict[str, float]()
    names = [tensor.name for tensor in outputs_of(spec)]
    if start == PHOTOGRAPHS:
        names = [*spec.inputs, *names]
        if photograph_of(runner.bundle, golden):
            inputs, findings = _prepared(runner, golden.read_photograph())
    if start in (SCORES, PHOTOGRAPHS):
        made = {**inputs, **runner.rate(inputs)}
    else:
        models = (spec.model(start), *(() if start not in map(_name, spec.stages) else spec.after(start)))
        known = {tensor: golden.read(tensor) for tensor in golden.vectors}
        made = runner.finish(models, known)
        names = [tensor for model in models for tensor in model.outputs]
    return {
        "differences": {one: largest_difference(golden.read(one), made[one]) for one in names},
        "skipped": _skipped(runner, inputs),
        "findings": findings,
    }


def _name(stage: StageSpec) -> str:
    return stage.name


def _expected(bundle: Bundle, variant: str, golden: str, start: str) -> Block:
    return _expected_of(bundle.path, variant, golden, start)


def _skipped(runner: BundleRunner, inputs: Arrays) -> list[str]:
    """Name the stages that the reference runner leaves out, all or none."""
    found, skipped = dict(inputs), []
    for stage in runner.spec.stages if runner.chosen.early_exit else ():
        made = outputs_without(stage, runner.spec, found)
        if made is None and stage not in runner.spec.served_early:
            return []
        skipped += [] if made is None else [stage.name]
        found |= runner.run(stage, found) if made is None else made
    return skipped


def quick(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the same measurement with a run or two of each model: nothing is timed here."""
    return identified({**{key: value for key, value in spec.items() if key != "id"}, "warmup": 0, "runs": 2})


def refusals_of(run: Callable[[Harm], list[str]]) -> dict[str, Callable[[], list[str]]]:
    """Run an app with each damage of its bundle; only a refusal by the right words counts as seen."""

    def refused(damage: Damage) -> list[str]:
        return [line for line in run(damage.harm) if damage.message in line]

    return {damage.title: partial(refused, damage) for damage in DAMAGES}


def report(
    whole: Mapping[str, Callable[[], list[str]]], sabotaged: Mapping[str, Callable[[], list[str]]]
) -> int:
    """Print what is wrong with apps that must be right, and how sabotages were seen; return the exit code."""
    code = 0
    for name, run in whole.items():
        found = run()
        click.echo("\n".join([f"{name}: {'wrong' if found else 'right'}", *(f"  {line}" for line in found)]))
        code |= bool(found)
    for title, run in sabotaged.items() if not code else ():
        found = run()
        click.echo(f"{'seen' if found else 'NOT SEEN'}: {title}" + (f" ({found[0][:160]})" if found else ""))
        code |= not found
    return code
