"""Compiles the Android library by the real Kotlin compiler and runs its test on a JVM, also with sabotages.

    python -m tests.benchmarks.apps.run_kotlin COMPILER FACES OWN

``COMPILER`` is the folder that .ci/check-kotlin fills, ``FACES`` a bundle of the built-in pipeline, ``OWN`` a
folder of tests.benchmarks.apps.own_bundles. Android's classes, LiteRT's and JUnit's are stand-ins
(``kotlin_stub``), which hand tensors to LiteRT in another process; org.json is Android's own. Exit code 1:
something is wrong, or a sabotage was not seen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.benchmarks.apps.android_package import (
    APP_ASSETS,
    TEST_ASSETS,
    make_spec,
    tflite_variants,
    write_library,
)
from mien.benchmarks.apps.android_results import MEASUREMENTS, RECORD_SCHEMA, read_results
from mien.benchmarks.apps.generated_project import RESULTS
from mien.benchmarks.results.measurements import read_records
from mien.mobile_reference.bundle.reader import open_bundle

from .running import (
    CLASSIFIER,
    FACES,
    PAINTER,
    TIME_LIMIT_S,
    Harm,
    Sabotage,
    awkward_faces,
    intact,
    model_server,
    quick,
    refusals_of,
    report,
    with_more_photographs,
    wrong_against_reference,
    wrong_in_results,
)

STAND_INS = Path(__file__).with_name("kotlin_stub")
SOURCES = Path(__file__).parents[3] / "benchmarks/apps/kotlin/src"
TEST = "mien.pipeline.BenchTest"

SABOTAGES = (
    # Title, bundle by which it must be seen, file, what stands there, what stands there then.
    Sabotage("red and blue change places", FACES, "Photograph.kt", "16 - 8 * number", "8 * number"),
    Sabotage("half a pixel in resampling", FACES, "Photograph.kt", "/ side - 0.5)", "/ side)"),
    Sabotage("half a pixel in the detections", FACES, "FaceFront.kt", "left) * zoom - 0.5", "left) * zoom"),
    Sabotage("turned the other way", FACES, "FaceFront.kt", "Affine(a, -b,", "Affine(a, b,"),
    Sabotage(
        "places not rounded", FACES, "FaceFront.kt", "floor(values[it] / SNAP + 0.5) * SNAP", "values[it]"
    ),
    Sabotage("candidates not blended", FACES, "FaceFront.kt", "best.overlap(it) > limit", "false"),
    Sabotage("no box filter", FACES, "Photograph.kt", "min(zoom.toInt(), min(width, height))", "1"),
    Sabotage("turns not undone", FACES, "FaceFront.kt", "1 - values[place + 1]", "values[place + 1]"),
    Sabotage("no turns", FACES, "FaceFront.kt", "rule.sure > 0", "rule.sure < 0"),
    Sabotage("another brightness", FACES, "Quality.kt", "* 0.587", "* 0.114"),
    Sabotage(
        "outputs of equal size change places",
        FACES,
        "Pipeline.kt",
        "return outputs\n",
        "return outputs.mapValues { (_, own) -> outputs.values.last { it.capacity() == own.capacity() } }\n",
    ),
    Sabotage(
        "stages left out always", FACES, "Pipeline.kt", "known).any { it != 0.0", "known).any { it > 9.0"
    ),
    Sabotage(
        "stages left out never", PAINTER, "Pipeline.kt", "variant.earlyExit &&", "!variant.earlyExit &&"
    ),
    Sabotage(
        "a wrong known output",
        PAINTER,
        "Pipeline.kt",
        "(value.tensor, known))",
        "(value.tensor, known).apply { reverse() })",
    ),
    Sabotage("early exit not read", PAINTER, "Manifest.kt", '"early_exit") != null', '"early") != null'),
    Sabotage("no half pixel in the filter", CLASSIFIER, "ResizeFront.kt", "- centre + 0.5", "- centre"),
    Sabotage("channels last", CLASSIFIER, "ResizeFront.kt", "% (height * width) * channels + channel]", "]"),
    Sabotage(
        "the wrong golden", FACES, "BenchTest.kt", "expected(golden, name)", "expected(spec.goldens[0], name)"
    ),
)


@dataclass(frozen=True)
class Kotlin:
    """The compiler that was fetched, and where what it makes goes."""

    folder: Path

    @property
    def _json(self) -> Path:
        return self.folder / "json/usr/share/java/json-android.jar"

    @property
    def _stand_ins(self) -> Path:
        return self.folder / "stand-ins"

    def compile_stand_ins(self) -> None:
        """Compile the stand-ins, once for all runs."""
        shutil.rmtree(self._stand_ins, ignore_errors=True)
        self._stand_ins.mkdir()
        sources = map(str, sorted(STAND_INS.rglob("*.java")))
        options = ["-nowarn", "-cp", str(self._json), "-d", str(self._stand_ins)]
        subprocess.run(["javac", *options, *sources], check=True)

    def compile(self, sources: Path, classes: Path) -> None:
        """Compile the library and its test; warnings are errors."""
        libraries = f"{self._json}{os.pathsep}{self._stand_ins}"
        compiler = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{self.folder}/package/lib/*"]
        options = ["-jvm-target", "17", "-no-reflect", "-cp", libraries, "-d", str(classes)]
        files = map(str, sorted(sources.rglob("*.kt")))
        main = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
        subprocess.run([*compiler, main, "-Werror", *options, *files], check=True)

    def run(self, classes: Path, library: Path) -> tuple[str, str]:
        """Run the test against a library's assets; returns its log, and the last words where it failed."""
        standard = self.folder / "package/lib/kotlin-stdlib.jar"
        path = os.pathsep.join(map(str, (classes, self._stand_ins, self._json, standard)))
        assets = os.pathsep.join(str(library / place) for place in (APP_ASSETS, TEST_ASSETS))
        with tempfile.TemporaryDirectory() as name, model_server(Path(name)) as pipes:
            options = [f"-Dmien.assets={assets}", f"-Dmien.models={pipes}", "-Djava.awt.headless=true"]
            command = ["java", "-cp", path, *options, "org.junit.RunTests", TEST]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
        failed = next((line for line in done.stderr.splitlines() if line.strip()), "it failed without a word")
        return done.stdout, failed if done.returncode else ""


def wrong(
    kotlin: Kotlin, classes: Path, bundle: Path, library: Path, names: Sequence[str], harm: Harm = intact
) -> list[str]:
    """Generate a library of a bundle, run it, and say what is wrong with what it wrote."""
    opened = open_bundle(bundle)
    spec = quick(make_spec(opened, tflite_variants(opened, names)))
    shutil.rmtree(library, ignore_errors=True)
    write_library(opened, spec, library)
    harm(library / APP_ASSETS / "mien")
    log, failed = kotlin.run(classes, library)
    (library / RESULTS).mkdir()
    records = library / RESULTS / MEASUREMENTS
    records.write_text("".join(f"{line}\n" for line in log.splitlines() if line.startswith("{")))
    if failed and not records.read_text():
        return [failed]
    blocks = [block for block in read_records(records, "{", RECORD_SCHEMA, spec["id"]) if "scores" in block]
    found = [*wrong_in_results(read_results(opened, spec, library)), *wrong_against_reference(opened, blocks)]
    return [*([failed] if failed else []), *found]


def main(folder: Path, faces: Path, own: Path) -> int:
    """Run everything; returns the exit code."""
    kotlin, made = Kotlin(folder), folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    kotlin.compile_stand_ins()
    kotlin.compile(SOURCES, made / "classes")
    more = with_more_photographs(faces, made / "faces", awkward_faces(faces))
    bundles = {FACES: more, PAINTER: own / PAINTER, CLASSIFIER: own / CLASSIFIER}

    def run(classes: Path, name: str, names: Sequence[str] = (), harm: Harm = intact) -> list[str]:
        return wrong(kotlin, classes, bundles[name], made / f"library-{name}", names, harm)

    def sabotaged(sabotage: Sabotage) -> list[str]:
        with tempfile.TemporaryDirectory() as name:
            sources, classes = Path(name, "src"), Path(name, "classes")
            shutil.copytree(SOURCES, sources)
            sabotage.damage(sources)
            kotlin.compile(sources, classes)
            return run(classes, sabotage.bundle, ("tflite-fp32",))

    whole = {name: lambda name=name: run(made / "classes", name) for name in bundles}
    refused = refusals_of(lambda harm: run(made / "classes", PAINTER, ("tflite-fp32",), harm))
    return report(whole, refused | {one.title: lambda one=one: sabotaged(one) for one in SABOTAGES})


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
