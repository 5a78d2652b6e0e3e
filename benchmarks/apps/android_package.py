"""An Android library that runs a bundle's one graph in an app, with a test that measures it on a phone.

Its sources are the files under ``kotlin``; only the assets depend on the bundle: the models, the golden
faces with the float pipeline's scores and heatmaps, and ``spec.json``. Equal bundles give equal bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.mobile_reference.bundle.reader import APPRAISAL, MANIFEST, Bundle, Golden, Variant, sha256
from mien.mobile_reference.run.models import TFLITE

from .generated_project import SPEC, copy_sources, identified, spec_text, variants_for, write_folder

APP_ASSETS = PurePosixPath("src/main/assets")
TEST_ASSETS = PurePosixPath("src/androidTest/assets")
_ROOM = "mien"
PLACE = TEST_ASSETS / _ROOM / SPEC
RUNS, WARMUP = 50, 5
"""Of the one graph, for each variant and unit."""
_FORMAT = 1
_VECTORS = ("face", "heatmap")


def tflite_variants(bundle: Bundle, names: Sequence[str]) -> list[Variant]:
    """Choose what to measure: the named variants, or all of TFLite."""
    return variants_for(bundle, names, TFLITE, "LiteRT takes TFLite models")


def make_spec(bundle: Bundle, variants: Sequence[Variant]) -> dict[str, Any]:
    """Describe the assets; ``id`` is the hash of the rest, which names the manifest's hash."""
    return identified(
        {
            "format": _FORMAT,
            "bundle": bundle.name,
            "manifest_sha256": sha256(bundle.path / MANIFEST),
            "warmup": WARMUP,
            "runs": RUNS,
            "variants": [
                {"name": variant.name, "gate": variant.gate, "model": f"{_ROOM}/models/{variant.name}.tflite"}
                for variant in variants
            ],
            "goldens": [
                {"name": golden.name, "score": golden.score, **{v: _asset(golden, v) for v in _VECTORS}}
                for golden in bundle.goldens
            ],
        }
    )


def write_library(bundle: Bundle, spec: Mapping[str, Any], folder: Path) -> None:
    """Write the library into a folder, whole or not at all.

    Raises:
        UsageError: the folder holds something else or results, or cannot be made.
    """

    def fill(part: Path) -> None:
        copy_sources("kotlin", part)
        (part / "measure.sh").chmod(0o755)
        for entry in spec["variants"]:
            model = _made(part / APP_ASSETS / entry["model"])
            shutil.copyfile(bundle.variant(entry["name"]).files[APPRAISAL], model)
        for golden in bundle.goldens:
            for name in _VECTORS:
                array = golden.read(name)
                _made(part / TEST_ASSETS / _asset(golden, name)).write_bytes(
                    np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
                )
        _made(part / PLACE).write_text(spec_text(spec))

    write_folder(folder, PLACE, fill)


def _asset(golden: Golden, name: str) -> str:
    return f"{_ROOM}/golden/{golden.name}/{name}.bin"


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
