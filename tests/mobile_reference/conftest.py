"""A bundle of the appraisal's contract without real models, and numpy functions that stand for these."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.bundle.reader import FACE_ALIGNMENT, Bundle, Variant, alignment_rule
from mien.mobile_reference.contract import (
    ANY,
    AS_IT_IS,
    COLOUR,
    CORRELATION,
    GREY,
    IOU,
    MEAN,
    OVERLAY,
    PICTURE,
    RANK,
    SCALAR,
    SET,
    FrontSpec,
    GateSpec,
    PipelineSpec,
    StageSpec,
    TensorSpec,
    ViewSpec,
)
from mien.mobile_reference.front.alignment import align
from mien.mobile_reference.run import runner
from mien.mobile_reference.verify import stages
from tests.mobile_reference.fakebundles import Arrays, Functions, run_function, run_functions, write_bundle


def _picture(name: str, size: int, channels: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, (1, size, size, channels), dtype, 1, "of a test", PICTURE)


# A quarter of the appraisal's: what takes a test's time is numpy.
SIDE = 64
ALIGNMENT: Mapping[str, Any] = {
    "size": SIDE,
    "template": [[22.5, 25.0], [41.5, 25.0], [32.0, 34.75], [32.0, 44.75]],
    "keypoints": list("abcdef"),
    "score": 0.5,
    "overlap": 0.3,
    "second_look": 2.0,
    "smallest": 64.0,
    "detector_size": 128,
    "coordinates": "c",
    "resampling": "r",
    "snap": 0.125,
}
TOLERANCES = {"fp32": 0.01, "fp16": 0.1}
SPEC = PipelineSpec(
    name="fake",
    tensors=(
        _picture("picture", 128, 3, "uint8"),
        TensorSpec("candidates", (1, 896, 17), "float32", 1, "of a test"),
        _picture("face", SIDE, 3, "uint8"),
        _picture("heat", SIDE // 4, 1),
        _picture("mask", SIDE, 1),
        _picture("normalised", SIDE, 3),
        _picture("heatmap", SIDE, 1),
        TensorSpec("score", (1,), "float32", 1, "of a test", AS_IT_IS),
    ),
    front=FrontSpec(
        FACE_ALIGNMENT, ("face",), ALIGNMENT, (StageSpec("detector", ("picture",), ("candidates",)),)
    ),
    stages=(
        StageSpec("heatmap", ("face",), ("heat",)),
        StageSpec("mask", ("heat",), ("mask",)),
        StageSpec("inpaint", ("face", "mask"), ("normalised",)),
        StageSpec("compare", ("face", "normalised", "heat"), ("score", "heatmap")),
    ),
    whole=StageSpec("appraisal", ("face",), ("score", "heatmap", "mask", "normalised")),
    gates=(
        GateSpec("score", SCALAR, TOLERANCES),
        GateSpec("score", MEAN, {"fp32": 0.1, "fp16": 0.1}, SET),
        GateSpec("score", RANK, {ANY: 0.001}, SET),
        GateSpec("heatmap", CORRELATION, {ANY: 0.005}, SET),
        GateSpec("mask", IOU, {ANY: 0.03}, SET),
    ),
    views=(ViewSpec("heatmap", OVERLAY), ViewSpec("mask", GREY), ViewSpec("normalised", COLOUR)),
)


def detector(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One face in the middle of whatever is seen, unless it is black."""
    rows = np.zeros((1, 896, 17), np.float32)
    keypoints = [(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.5, 0.6), (0.3, 0.4), (0.7, 0.4)]
    rows[0, 0] = [0.9 * bool(picture.any()), 0.5, 0.5, 0.5, 0.5, *np.ravel(keypoints)]
    return rows


def heatmap(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (face.reshape(1, SIDE // 4, 4, SIDE // 4, 4, 3).mean(axis=(2, 4, 5), dtype=np.float32) / 255)[
        ..., None
    ]


def mask(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    return heat.repeat(4, axis=1).repeat(4, axis=2) ** 2


def inpaint(face: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    return face * (1 - mask)


def compare(
    face: NDArray[np.uint8], normalised: NDArray[np.float32], heat: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    final = (np.abs(face - normalised).mean(axis=3, keepdims=True) / 255).astype(np.float32)
    return 100 / (1 + final.mean(axis=(1, 2, 3)) + heat.mean(axis=(1, 2, 3))), final


def appraisal(face: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    heat = heatmap(face)
    shown = inpaint(face, mask(heat))
    return (*compare(face, shown, heat), mask(heat), shown)


FUNCTIONS: Functions = {f.__name__: f for f in (detector, heatmap, mask, inpaint, compare, appraisal)}


def run_model(name: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Run the function that stands for a model of the appraisal."""
    return run_function(FUNCTIONS[name], SPEC.model(name), inputs)


SOURCE = "golden/someone/photograph.png"


class FakeBundle:
    """A bundle's folder, and what an attacker would do to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())

    def save(self) -> None:
        """Write the changed manifest."""
        (self.path / "manifest.json").write_text(json.dumps(self.manifest))

    def put(self, name: str, content: bytes) -> None:
        """Write a file and list its hash, as one who packs a hostile bundle would."""
        (self.path / name).write_bytes(content)
        entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.manifest["files"][name] = entry
        self.save()


def _write(folder: Path, photograph: Path) -> None:
    """Store what the functions make of a photograph, along the path of the runner itself."""
    pixels = np.asarray(Image.open(photograph))
    frame = align(pixels, lambda picture: detector(picture)[0], alignment_rule(SPEC))
    given: Arrays = {"face": frame.pixels[None], "picture": pixels[None, ::4, ::4].copy()}
    known = run_functions(FUNCTIONS, (SPEC.model("detector"), *SPEC.stages), given)
    (folder / "golden" / "someone").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / SOURCE)
    write_bundle(folder, SPEC, known, SOURCE, {"alignment": frame.matrix.tolist()})


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory, untouched: Path) -> Path:
    folder = tmp_path_factory.mktemp("fake") / "bundle"
    _write(folder, untouched)
    return folder


@pytest.fixture
def fake(_written: Path, tmp_path: Path) -> FakeBundle:
    """A bundle of one's own to attack."""
    return FakeBundle(shutil.copytree(_written, tmp_path / "bundle"))


Disturb = Callable[[str, str, Arrays], Arrays]
"""Maps variant, model and its outputs to what the variant shall answer."""


def faithful(variant: str, model: str, outputs: Arrays) -> Arrays:
    """Disturb nothing."""
    return outputs


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let numpy functions stand for the models, disturbed as a test says."""

    def install(disturb: Disturb = faithful, functions: Functions = FUNCTIONS) -> None:
        def load(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Any:
            model = bundle.spec.model(name)
            return lambda inputs: disturb(variant.name, name, run_function(functions[name], model, inputs))

        monkeypatch.setattr(runner, "load_model", load)
        # Functions have no weights.
        monkeypatch.setattr(stages, "weight_results", lambda bundle: ())

    return install
