"""What is damaged, and the command that reads it: one row for every reader."""

import hashlib
import io
import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image, ImageCms

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.commands import console
from tests.benchmarks.tinymodels import tiny_bundle
from tests.fuzz import dialogues, shards
from tests.fuzz.exports import kills, over_files, real_export, stub_export
from tests.fuzz.harness import Bounds, attempt
from tests.fuzz.mutation import damaged, damaged_record, damaged_vector
from tests.fuzz.surroundings import OWN, RATED, REPORT, drawn, surround

Command = Sequence[object]
_USUAL = Bounds()
_CONVERTING = Bounds(seconds=1200)
_EXPORTER = ("mien.export.exporter",)
_CHECKPOINTS = "mien.models.appraisal.appraiser"
_EVALUATOR = ("mien.mobile_reference.coreml", "rich.console", "rich.table")
_SOURCES = ("torch", "onnxruntime", "mien.models.exported_program")


@dataclass(frozen=True)
class Case:
    """A damaged file: ``data`` in the place of ``seed``, one of the ``sound`` files; ``work`` is empty."""

    sound: Path
    work: Path
    seed: Path
    data: bytes

    def beside(self, name: str) -> Path:
        """Copy a sound folder in which the seed lies, and put the damaged file there."""
        copy = shutil.copytree(self.sound / name, self.work / name)
        (copy / self.seed.relative_to(self.sound / name)).write_bytes(self.data)
        return copy

    def alone(self) -> Path:
        """Put the damaged file alone, under its own name."""
        file = self.work / self.seed.name
        file.write_bytes(self.data)
        return file


@dataclass(frozen=True)
class Target:
    """A reader: ``make`` makes sound files in a folder and names those to be damaged, ``command`` reads one.

    ``damage`` changes the bytes of one, and ``must_refuse`` tells of damage that no command may let pass.
    ``bounds`` are those of one command, and ``enter`` changes what surrounds it, in its process, while it
    runs. ``trial`` tries a case in another way than by running the command to its end, and names how it
    ended; ``loaded`` are modules that the command would import.
    ``program`` is run instead of this checkout's command.
    """

    make: Callable[[Path], Sequence[Path]]
    command: Callable[[Case], Command]
    damage: Callable[[bytes, Random], bytes] = damaged
    must_refuse: Callable[[bytes], bool] = lambda _: False
    bounds: Bounds = _USUAL
    enter: Callable[[Case], AbstractContextManager[None]] = lambda _: nullcontext()
    trial: Callable[[Case], str] | None = None
    loaded: Sequence[str] = ()
    program: Path | None = None


def _noise(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def _photographs(folder: Path) -> Sequence[Path]:
    tiny_bundle(folder / "bundle")
    return pictures(folder)


def pictures(folder: Path) -> Sequence[Path]:
    """Write a picture of noise in every format, with all that a photograph may have."""
    picture, exif = Image.fromarray(_noise((200, 180, 3))), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = Image.fromarray(_noise((200, 180)).astype(np.uint16) * 257)
    clear = Image.fromarray(_noise((200, 180, 4)))
    kinds: Mapping[str, tuple[Image.Image, Mapping[str, Any]]] = {
        "plain.jpg": (picture, {}),
        "turned.jpg": (picture, {"exif": exif, "icc_profile": profile, "progressive": True}),
        "plain.png": (picture, {"exif": exif, "icc_profile": profile}),
        "deep.png": (deep, {}),
        "clear.png": (clear, {}),
        "palette.png": (picture.quantize(16), {}),
        "lossy.webp": (picture, {"exif": exif}),
        "clear.webp": (clear, {"lossless": True}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return [folder / name for name in kinds]


def _appraised(case: Case) -> Command:
    return "appraise", "--bundle", case.sound / "bundle", "--json", case.alone()


def _manifests(folder: Path) -> Sequence[Path]:
    return [tiny_bundle(folder / "bundle") / "manifest.json"]


def _with_damaged_manifest(case: Case) -> Command:
    bundle = case.beside("bundle")
    return "appraise", "--bundle", bundle, "--json", bundle / "noise.png"


def _models(folder: Path) -> Sequence[Path]:
    models = tiny_bundle(folder / "bundle") / "tflite-fp32"
    return [models / "detector.tflite", models / "appraisal.tflite"]


def _rehashed(case: Case) -> Path:
    """Put the damaged file into a copy of the bundle whose manifest has its hash."""
    bundle = case.beside("bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    name = case.seed.relative_to(case.sound / "bundle").as_posix()
    manifest["files"][name] = {"bytes": len(case.data), "sha256": hashlib.sha256(case.data).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def _with_damaged_model(case: Case) -> Command:
    bundle = _rehashed(case)
    return "appraise", "--bundle", bundle, "--json", bundle / "noise.png"


def _goldens(folder: Path) -> Sequence[Path]:
    bundle = tiny_bundle(folder / "bundle")
    return sorted(bundle.rglob("*.npy"))


def _verified(case: Case) -> Command:
    return "verify", _rehashed(case), "--json"


def _is_not_finite(data: bytes) -> bool:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # it is not an array at all, which is refused or has the bytes of another
        return False
    return bool(array.dtype.kind == "f" and not np.isfinite(array).all())


def packages(folder: Path) -> Sequence[Path]:
    """Write a Core ML package and an input for it."""
    package = build.write(folder, build.add_one())
    np.save(folder / "x.npy", np.ones((2, 3), np.float32))
    return [path for path in sorted(package.rglob("*")) if path.is_file()] + [folder / "x.npy"]


def _executed(case: Case) -> Command:
    if case.seed.suffix == ".npy":
        return "coreml", "run", case.sound / "net.mlpackage", "--input", case.alone(), "--json"
    package = case.beside("net.mlpackage")
    return "coreml", "run", package, "--input", case.sound / "x.npy", "--json"


def sources(folder: Path) -> Sequence[Path]:
    """Write a network as a .pt2 and an .onnx file, and its Core ML package."""
    import onnx
    import torch
    from onnx import TensorProto, helper

    class AddOne(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    build.write(folder, build.add_one())
    torch.export.save(torch.export.export(AddOne().eval(), (torch.ones(2, 3),)), folder / "net.pt2")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "net", [x], [y], [one])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "net.onnx")
    return [folder / "net.pt2", folder / "net.onnx"]


def _checked(case: Case) -> Command:
    return "coreml", "check", case.sound / "net.mlpackage", "--against", case.alone(), "--json"


def _checkpoints(folder: Path) -> Sequence[Path]:
    import torch

    from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint

    shutil.copytree(REFERENCE, folder / "checkpoint", ignore=shutil.ignore_patterns("*.md"))
    shutil.copy(REFERENCE.parent / "samples" / "nobody-01.jpg", folder / "nobody.jpg")
    torch.save({"state_dict": load_checkpoint(REFERENCE).state_dict()}, folder / "own.pt")
    return [folder / "checkpoint/config.json", folder / "checkpoint/model.safetensors", folder / "own.pt"]


def _rated_by(case: Case) -> Command:
    checkpoint = case.alone() if case.seed.suffix == ".pt" else case.beside("checkpoint")
    return "appraise", "--checkpoint", checkpoint, "--json", case.sound / "nobody.jpg"


def _reports(folder: Path) -> Sequence[Path]:
    return [_report_of(tiny_bundle(folder / "bundle"), folder / "report.json")]


def _report_of(bundle: Path, file: Path) -> Path:
    from mien.benchmarks.results.records import (
        Device,
        Latency,
        Parity,
        Result,
        Stage,
        make_report,
    )
    from mien.mobile_reference.bundle.reader import open_bundle

    times = ((5.0, 6.0, 7.0), (5.5, 6.5, 8.5))
    host = Device("host", "a host", "x86_64", 2, "Linux", "litert")
    stages = (Stage("step", "decode", times), Stage("model", "total", times), Stage("step", "total", times))
    parity = (Parity("score of a", 0.5, 2.0, "points"),)
    result = Result("host", "tflite-fp32", host, 1, Latency(stages, (1.0,), (2.0,), 3), parity)
    settings = {"input": "a", "input_sha256": "0" * 64, "blocks": 2, "runs": 3, "warmup": 1, "cpus": []}
    file.write_text(json.dumps(make_report(open_bundle(bundle), settings, (result,))))
    return file


def _has_no_number(data: bytes) -> bool:
    """Tell whether a file of JSON holds NaN or infinity, which no time and no count may be."""
    found: list[str] = []
    try:
        json.loads(data, parse_constant=found.append)
    except ValueError:  # it is refused as no JSON
        return False
    return bool(found)


def compared(case: Case) -> Command:
    """Compare with a damaged report."""
    return "bench", "compare", case.sound / "report.json", case.alone()


def _paged_or_compared(case: Case) -> Command:
    # Which of the two reads it is decided by the damage itself.
    if crc32(case.data) % 2:
        return "bench", "page", case.alone(), "-o", case.work / "page.html"
    return compared(case)


def _dialogues(folder: Path) -> Sequence[Path]:
    tiny_bundle(folder / "bundle")
    (folder / "benchmark_model").write_text("a program of phones")
    return [dialogues.sound(folder)]


def _asked(case: Case) -> Command:
    program = dialogues.stand_in(case.work, case.data)
    phone = ("--target", "android", "--adb", program, "--benchmark-model", case.sound / "benchmark_model")
    return "bench", case.sound / "bundle", "--variant", "tflite-fp32", *phone, "--json"


def stub_of(folder: Path) -> kills.Export:
    """Return the export whose conversions are copies, of the sources in a folder."""
    return kills.Export(folder, stub_export.SOURCE, stub_export.OPTIONS, stub_export.stub)


def real_of(folder: Path) -> kills.Export:
    """Return the export by the real converters, of the sources in a folder."""
    return kills.Export(folder, real_export.SOURCE, real_export.OPTIONS)


def _stub_exports(folder: Path) -> Sequence[Path]:
    stub_export.write_sources(folder)
    return _exported(stub_of(folder), _USUAL)


def _real_exports(folder: Path) -> Sequence[Path]:
    real_export.write_sources(folder)
    return _exported(real_of(folder), _CONVERTING)


def _exported(export: kills.Export, bounds: Bounds) -> Sequence[Path]:
    """Export to the end, and note how long that took: blows fall within it."""
    folder, begun = export.sound, time.monotonic()
    ended = attempt(kills.exported(export, folder, "sound"), folder, bounds)
    if ended.code:
        raise RuntimeError(f"{export.source} was not exported: {ended.err}")
    (folder / "seconds").write_text(str(time.monotonic() - begun))
    return [folder / "out" / "manifest.json"]


def _struck(case: Case, export: kills.Export, bounds: Bounds) -> str:
    shutil.copytree(case.sound / "out", case.work / "out")
    if _is_sound(case):
        blow = kills.Blow(signal.SIGKILL, 0)
    else:
        blow = kills.Blow.drawn(case.data, float((case.sound / "seconds").read_text()))
    return kills.how_it_ended(export, case.work, blow, bounds)


def met(case: Case, export: Callable[[], None]) -> str:
    """Export where somebody's files are met; nothing is, where nothing is damaged."""
    if _is_sound(case):
        meeting = over_files.Meeting(over_files.aside, None, over=True)
    else:
        meeting = over_files.Meeting.drawn(case.data, float((case.sound / "seconds").read_text()))
    if meeting.over:
        shutil.copytree(case.sound / "out", case.work / over_files.OUT)
    return over_files.how_it_ended(export, case.work, meeting, _USUAL)


def _shards(folder: Path) -> Sequence[Path]:
    tiny_bundle(folder / "bundle")
    return shards.sound(folder)


def _rated_shard(case: Case) -> Command:
    rated = ("appraise", "--bundle", case.sound / "bundle", case.alone())
    # Which of the two forms of rows is decided by the damage itself.
    return (*rated, "--shards", case.work / "rows") if crc32(case.data) % 4 == 0 else (*rated, "--json")


def _make_odd(case: Case) -> AbstractContextManager[None]:
    made = None if _is_sound(case) else shards.odd(case.seed.name, case.data)
    if made is not None:
        (case.work / case.seed.name).write_bytes(made)
    return nullcontext()


def _be_impatient(_: Case) -> AbstractContextManager[None]:
    dialogues.impatient()
    return nullcontext()


def _own(folder: Path) -> Sequence[Path]:
    """Write a bundle, a report, and an output folder of ``mien appraise``."""
    own = folder / OWN
    photograph = tiny_bundle(own / "bundle") / "noise.png"
    _report_of(own / "bundle", own / REPORT)
    words = ["appraise", "--bundle", str(own / "bundle"), str(photograph), "-o", str(own / RATED)]
    ended = attempt(lambda: console.main(words), folder, _USUAL)
    if ended.code:
        raise RuntimeError(f"{photograph} was not rated: {ended.err}")
    return [photograph]


def _is_sound(case: Case) -> bool:
    return case.data == case.seed.read_bytes()


def _in_a_place(case: Case) -> Command:
    if _is_sound(case):
        return "appraise", "--bundle", case.sound / OWN / "bundle", case.seed, "-o", case.work / "new"
    # Beside files of its own, for a command may write there.
    shutil.copytree(case.sound / OWN, case.work / OWN)
    return drawn(case.data, case.work)


def _surround(case: Case) -> AbstractContextManager[None]:
    return nullcontext() if _is_sound(case) else surround(case.data, case.work)


TARGETS: Mapping[str, Target] = {
    "photographs": Target(_photographs, _appraised),
    "manifests": Target(_manifests, _with_damaged_manifest),
    "models": Target(_models, _with_damaged_model),
    "goldens": Target(_goldens, _verified, damage=damaged_vector, must_refuse=_is_not_finite),
    "packages": Target(packages, _executed, loaded=(*_EVALUATOR, "torch")),
    "sources": Target(sources, _checked, loaded=(*_EVALUATOR, *_SOURCES)),
    "checkpoints": Target(_checkpoints, _rated_by, loaded=(_CHECKPOINTS,)),
    "reports": Target(_reports, _paged_or_compared, damage=damaged_record, must_refuse=_has_no_number),
    "dialogues": Target(_dialogues, _asked, enter=_be_impatient),
    "kills": Target(
        _stub_exports,
        lambda _: (),
        trial=lambda case: _struck(case, stub_of(case.sound), _USUAL),
        loaded=_EXPORTER,
    ),
    "exports": Target(
        _stub_exports,
        lambda _: (),
        trial=lambda case: met(case, kills.exported(stub_of(case.sound), case.work, "met")),
        loaded=_EXPORTER,
    ),
    "shards": Target(_shards, _rated_shard, enter=_make_odd, loaded=("pyarrow.parquet",)),
    "surroundings": Target(_own, _in_a_place, enter=_surround),
}
"""Every reader of files from outside, and what is damaged for it."""

SLOW: Mapping[str, Target] = {
    "conversions": Target(
        _real_exports,
        lambda _: (),
        trial=lambda case: _struck(case, real_of(case.sound), _CONVERTING),
        loaded=_EXPORTER,
    ),
}
"""What takes a minute a case: tried when it is named, and in the long run."""
