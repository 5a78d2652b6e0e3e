"""Small networks of an engineer's own: what was exported is verified, and no sabotage of it goes unseen."""

from pathlib import Path

import pytest

from mien.export.scripting import export_bundle
from mien.mobile_reference.scripting import verify_bundle
from tests.matrix.__main__ import written
from tests.matrix.record import PT2
from tests.matrix.sabotage import SABOTAGES, sabotages_seen


@pytest.mark.parametrize("name", ["hourglass", "attended", "detected", "layers", "scored"])
def test_every_sabotage_is_seen(name: str, tmp_path: Path) -> None:
    file, inputs = written(tmp_path, name, PT2)
    bundle = tmp_path / "bundle"
    export_bundle(file, bundle, calibration=inputs, variants=("tflite-fp32", "tflite-fp16"))
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert not verify_bundle(bundle).failures
    assert sabotages_seen(bundle) == dict.fromkeys(SABOTAGES, True)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
