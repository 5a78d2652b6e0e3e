"""Compiles the Swift package by the real compiler and runs its test on Linux, also with sabotages.

    python -m tests.benchmarks.apps.run_swift COMPILER FACES OWN

``COMPILER`` is the folder that .ci/check-swift fills, ``FACES`` a bundle of the built-in pipeline with the
variants tflite-fp32 and coreml-fp16, ``OWN`` a folder of tests.benchmarks.apps.own_bundles. Core ML,
CoreVideo, CoreGraphics, ImageIO and CryptoKit are stand-ins (``swift_stub``), which hand tensors to mien's
evaluator in another process, and files to Pillow and hashlib. Exit code 1: something is wrong, or a sabotage
was not seen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.benchmarks.apps.apple_package import PAYLOAD, core_ml_variants, make_spec, write_package
from mien.benchmarks.apps.apple_results import RECORD_SCHEMA, read_results
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
    with_early_exit,
    with_more_photographs,
    wrong_against_reference,
    wrong_in_results,
)

STRICT = "-warnings-as-errors"
"""For what is sound: a sabotage may leave a value unused, and must be seen by its results."""
STAND_INS = Path(__file__).with_name("swift_stub")
SOURCES = Path(__file__).parents[3] / "benchmarks/apps/swift/common"
MODULES = ("CoreML", "CoreVideo", "CoreGraphics", "ImageIO", "CryptoKit")
"""What the stand-ins stand for: each is a module that gives on all of them."""
VARIANTS = {
    FACES: ("coreml-fp16",),
    PAINTER: ("coreml-fp32", "coreml-fp16"),
    CLASSIFIER: ("coreml-fp32", "coreml-fp16"),
}

SABOTAGES = (
    # Title, bundle by which it must be seen, file, what stands there, what stands there then.
    Sabotage("red and blue change places", PAINTER, "Value.swift", "= bytes[source + 2]", "= bytes[source]"),
    Sabotage(
        "half a pixel in resampling", FACES, "Photograph.swift", "Double(side) - 0.5, 0)", "Double(side), 0)"
    ),
    Sabotage("places not rounded", FACES, "FaceFront.swift", ".rounded(.down) * Self.snap", " * Self.snap"),
    Sabotage(
        "turns not undone",
        FACES,
        "FaceFront.swift",
        ": 1 - values[place + 1]",
        ": values[place + 1]",
    ),
    Sabotage(
        "strides of a model's array not heeded", FACES, "Value.swift", "start + $0 * stride", "start + $0"
    ),
    Sabotage(
        "outputs of equal size change places",
        FACES,
        "Graph.swift",
        "found.featureValue(for: tensor.name)",
        "found.featureValue(for: spec.outputs.last { $0.count == tensor.count }!.name)",
    ),
    Sabotage("stages left out never", PAINTER, "Pipeline.swift", "variant.early_exit != nil)", "false)"),
    Sabotage(
        "a wrong known output",
        PAINTER,
        "Pipeline.swift",
        "known[source]?.numbers ??",
        "known[source]?.numbers.reversed() ??",
    ),
    Sabotage("no half pixel in the filter", CLASSIFIER, "ResizeFront.swift", "- centre + 0.5", "- centre"),
)
_BOX = """
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec env -i HOME=/tmp PATH=/usr/libexec/swift/bin:/usr/bin MIEN_MODELS=/work \\
    LD_LIBRARY_PATH=/usr/libexec/swift/lib/swift/linux:/work /usr/sbin/chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Swift:
    """The compiler, which lives in a root of its own; what it reads and makes is under ``work`` there."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the root."""
        return subprocess.run(
            ["unshare", "--mount", "bash", "-euc", _BOX, "bash", *command],
            env={**os.environ, "root": str(self.root.absolute())},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )

    def _swiftc(self, *arguments: str) -> None:
        done = self.inside("swiftc", "-swift-version", "5", "-I", "/work", "-L", "/work", *arguments)
        if done.returncode:
            raise RuntimeError(f"the Swift compiler said: {done.stdout}{done.stderr}")

    def _place(self, file: Path) -> str:
        return f"/{file.relative_to(self.root)}"

    def compile_stand_ins(self) -> None:
        """Compile the stand-ins, once for all runs."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(STAND_INS, self.work / "stand-ins")
        sources = map(self._place, sorted((self.work / "stand-ins/StandIn").glob("*.swift")))
        emit = ("-parse-as-library", "-emit-module")
        module = ("-module-name", "StandIn", "-emit-module-path", "/work/StandIn.swiftmodule")
        self._swiftc(*emit, STRICT, "-O", "-emit-library", "-o", "/work/libStandIn.so", *module, *sources)
        for name in MODULES:
            (self.work / f"{name}.swift").write_text("@_exported import StandIn\n")
            module = ("-module-name", name, "-emit-module-path", f"/work/{name}.swiftmodule")
            self._swiftc(*emit, STRICT, *module, f"/work/{name}.swift")

    def compile(self, sources: Path, program: Path, *options: str) -> None:
        """Compile the library with its test to a program."""
        place = self.work / "package"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sources, place)
        main = self.work / "stand-ins/main.swift"
        files = map(self._place, [main, *sorted(place.glob("[ST]*/**/*.swift"))])
        made = ("-module-name", "bench", "-lStandIn", "-o", self._place(program))
        self._swiftc(*options, "-O", "-wmo", *made, *files)

    def run(self, program: Path, payload: Path) -> tuple[str, str]:
        """Run the test beside a payload; returns its log, and the first complaint where it failed."""
        place = self.work / "run"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(payload, place / "Payload")
        shutil.copy(program, place / "bench")
        with model_server(self.work, self.root):
            done = self.inside("/work/run/bench")
        said = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        return done.stdout, (said or ["it failed without a word"])[0] if done.returncode else ""


def wrong(
    swift: Swift, program: Path, bundle: Path, folder: Path, names: Sequence[str], harm: Harm = intact
) -> list[str]:
    """Generate a package of a bundle, run it, and say what is wrong with what it wrote."""
    opened = open_bundle(bundle)
    spec = quick(make_spec(opened, core_ml_variants(opened, names)))
    shutil.rmtree(folder, ignore_errors=True)
    write_package(opened, spec, "macos", folder)
    harm(folder / PAYLOAD)
    log, failed = swift.run(program, folder / PAYLOAD)
    (folder / RESULTS).mkdir()
    records = folder / RESULTS / "block-1.log"
    # The stand-ins are no Mac; the reader knows no other systems than Apple's.
    records.write_text(log)
    if failed and "MIEN {" not in log:
        return [failed]
    blocks = list(read_records(records, "MIEN {", RECORD_SCHEMA, spec["id"]))
    found = [*wrong_in_results(read_results(opened, spec, folder)), *wrong_against_reference(opened, blocks)]
    return [*([failed] if failed else []), *found]


def main(folder: Path, faces: Path, own: Path) -> int:
    """Run everything; returns the exit code."""
    swift, made = Swift(folder), folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    swift.compile_stand_ins()
    swift.compile(SOURCES, swift.work / "bench", STRICT)
    # The evaluator takes its time: two of the golden faces, and those for which the front has more to do.
    bundles = {
        FACES: with_more_photographs(faces, made / "faces", awkward_faces(faces), keep=2),
        PAINTER: with_early_exit(own / PAINTER, made / "painter", VARIANTS[PAINTER]),
        CLASSIFIER: own / CLASSIFIER,
    }
    turned = {"turned": awkward_faces(faces)["turned"]}
    few = bundles | {FACES: with_more_photographs(faces, made / "few", turned, keep=1)}

    def run(program: Path, name: str, bundle: Path, harm: Harm = intact) -> list[str]:
        return wrong(swift, program, bundle, made / f"package-{name}", VARIANTS[name], harm)

    def sabotaged(sabotage: Sabotage) -> list[str]:
        with tempfile.TemporaryDirectory() as name:
            sources = Path(name, "sources")
            shutil.copytree(SOURCES, sources)
            sabotage.damage(sources)
            swift.compile(sources, swift.work / "damaged")
        return run(swift.work / "damaged", sabotage.bundle, few[sabotage.bundle])

    whole = {name: lambda name=name: run(swift.work / "bench", name, bundles[name]) for name in bundles}
    refused = refusals_of(lambda harm: run(swift.work / "bench", PAINTER, bundles[PAINTER], harm))
    return report(whole, refused | {one.title: lambda one=one: sabotaged(one) for one in SABOTAGES})


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
