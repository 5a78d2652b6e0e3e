"""A bundle with a valid manifest and no real models, and numpy functions that stand for its graphs."""

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

from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.run import runner
from mien.mobile_reference.verify import stages as parity

Arrays = dict[str, NDArray[Any]]

SHAPES: Mapping[str, tuple[tuple[int, ...], str]] = {
    "picture": ((1, 128, 128, 3), "uint8"),
    "candidates": ((1, 896, 17), "float32"),
    "face": ((1, 256, 256, 3), "uint8"),
    "heat": ((1, 64, 64, 1), "float32"),
    "mask": ((1, 256, 256, 1), "float32"),
    "normalised": ((1, 256, 256, 3), "float32"),
    "heatmap": ((1, 256, 256, 1), "float32"),
    "score": ((1,), "float32"),
}
CONTRACT = {
    "detector": (("picture",), ("candidates",)),
    "heatmap": (("face",), ("heat",)),
    "mask": (("heat",), ("mask",)),
    "inpaint": (("face", "mask"), ("normalised",)),
    "compare": (("face", "normalised", "heat"), ("score", "heatmap")),
    "appraisal": (("face",), ("score", "heatmap", "mask", "normalised")),
}
STAGES = ("heatmap", "mask", "inpaint", "compare")


def detector(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One face in the middle of whatever is seen, unless it is black."""
    rows = np.zeros((1, 896, 17), np.float32)
    keypoints = [(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.5, 0.6), (0.3, 0.4), (0.7, 0.4)]
    rows[0, 0] = [0.9 * bool(picture.any()), 0.5, 0.5, 0.5, 0.5, *np.ravel(keypoints)]
    return rows


def heatmap(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (face.reshape(1, 64, 4, 64, 4, 3).mean(axis=(2, 4, 5), dtype=np.float32) / 255)[..., None]


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


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    f.__name__: f for f in (detector, heatmap, mask, inpaint, compare, appraisal)
}


def run_graph(name: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Run the function that stands for a graph."""
    takes, gives = CONTRACT[name]
    result = FUNCTIONS[name](*(inputs[key] for key in takes))
    return dict(zip(gives, result if isinstance(result, tuple) else (result,), strict=True))


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


def _tensor(name: str) -> dict[str, Any]:
    shape, dtype = SHAPES[name]
    return {"name": name, "shape": list(shape), "dtype": dtype, "full_scale": 1, "meaning": "of a test"}


def _variant(folder: Path, name: str, suffix: str, gate: float) -> dict[str, Any]:
    (folder / "models" / name).mkdir(parents=True)
    models = {graph: f"models/{name}/{graph}{suffix}" for graph in CONTRACT}
    for graph, file in models.items():
        if suffix == ".mlpackage":
            (folder / file).mkdir()
            (folder / file / "Manifest.json").write_text(graph)
        else:
            (folder / file).write_text(f"not really {name} {graph}")
    return {"name": name, "platform": name.split("-")[0], "gate": gate, "files": models}


def _golden(folder: Path, photograph: Path) -> dict[str, Any]:
    """Store what the functions make of a photograph, along the path of the runner itself."""
    place = folder / "golden" / "someone"
    place.mkdir(parents=True)
    pixels = np.asarray(Image.open(photograph))
    Image.fromarray(pixels).save(place / "photograph.png")
    frame = runner.align(pixels, lambda picture: detector(picture)[0], _rule())
    known: Arrays = {"face": frame.pixels[None], "picture": pixels[None, ::4, ::4].copy()}
    for name in ("detector", *STAGES):
        known |= run_graph(name, known)
    for name, value in known.items():
        np.save(place / f"{name}.npy", value.astype(SHAPES[name][1]))
    return {
        "name": "someone",
        "photograph": "golden/someone/photograph.png",
        "score": float(known["score"][0]),
        "alignment": frame.matrix.tolist(),
        "vectors": {name: f"golden/someone/{name}.npy" for name in SHAPES},
    }


ALIGNMENT = {
    "size": 256,
    "template": [[90.0, 100.0], [166.0, 100.0], [128.0, 139.0], [128.0, 179.0]],
    "score": 0.5,
    "overlap": 0.3,
    "second_look": 2.0,
    "smallest": 64.0,
    "detector_size": 128,
}


def _rule() -> Any:
    from mien.mobile_reference.front.alignment import AlignmentRule

    template = tuple((x, y) for x, y in ALIGNMENT["template"])
    return AlignmentRule(**{**ALIGNMENT, "template": template})


def _write(folder: Path, photograph: Path) -> None:
    folder.mkdir()
    variants = [
        _variant(folder, "tflite-fp32", ".tflite", 0.01),
        _variant(folder, "tflite-fp16", ".tflite", 0.1),
        _variant(folder, "coreml-fp16", ".mlpackage", 0.1),
    ]
    golden = _golden(folder, photograph)
    manifest = {
        "format": 1,
        "name": "fake",
        "alignment": ALIGNMENT | {"keypoints": list("abcdef"), "coordinates": "c", "resampling": "r"},
        "platforms": {"tflite": {"layout": "NHWC", "pixels": "uint8", "minimum": "2.1"}},
        "graphs": {
            name: {"inputs": [_tensor(t) for t in takes], "outputs": [_tensor(t) for t in gives]}
            for name, (takes, gives) in CONTRACT.items()
        },
        "stages": list(STAGES),
        "variants": variants,
        "score": {"lowest": 0, "typical": 100, "map": "m", "tolerated_evidence": 1.0},
        "appraisal": {
            "region_centre": [128, 143],
            "region_radii": [70, 84],
            "region_exponent": 2.3,
            "mask_from": 0.15,
            "mask_to": 0.45,
            "mask_growth": 5,
            "change_gain": 1.0,
        },
        "goldens": [golden],
        "files": {
            file.relative_to(folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
        "provenance": {
            "mien": "0",
            "commit": "unknown",
            "versions": {},
            "checkpoint": "0" * 64,
            "calibration": {"faces": 4, "sha256": "0" * 64, "ranges": "ranges"},
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


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
"""Maps variant, graph and its outputs to what the variant shall answer."""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Disturb], None]:
    """Let numpy functions stand for the models, disturbed as a test says."""

    def install(disturb: Disturb) -> None:
        def load(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Any:
            return lambda inputs: disturb(variant.name, name, run_graph(name, inputs))

        monkeypatch.setattr(parity, "load_graph", load)
        monkeypatch.setattr(runner, "load_graph", load)

    return install
