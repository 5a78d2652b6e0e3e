"""The comparison with Apple's outputs, tried on outputs of mien's own evaluator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.benchmarks.apps.apple_outputs import compare_outputs
from mien.benchmarks.errors import ReportError
from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.run.models import load_model


@pytest.fixture(scope="module")
def one_face(exported: Path) -> Bundle:
    """The smallest graph and one golden face: the evaluator takes its time."""
    opened = open_bundle(exported)
    mask = replace(opened.spec, front=None, whole=None, stages=(opened.spec.model("mask"),))
    return replace(opened, spec=mask, kept=opened.kept[:1])


@pytest.fixture
def made_here(one_face: Bundle, tmp_path: Path) -> Path:
    golden = one_face.goldens[0]
    for model in one_face.spec.models:
        run = load_model(one_face, one_face.variant("coreml-fp16"), model.name)
        folder = tmp_path / "results/tensors/coreml-fp16/evaluator" / golden.name / model.name
        folder.mkdir(parents=True)
        for tensor, value in run({name: golden.read(name) for name in model.inputs}).items():
            last = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
            np.ascontiguousarray(last, "<f4").tofile(folder / f"{tensor}.bin")
    return tmp_path


def test_equal_outputs_agree_and_a_changed_one_is_seen(one_face: Bundle, made_here: Path) -> None:
    found = compare_outputs(one_face, made_here)
    assert {(a.units, a.graph, a.tensor) for a in found} == {
        ("evaluator", "mask", "mask"),
    }
    assert {a.largest for a in found} == {0.0}
    (file,) = made_here.rglob("mask.bin")
    values = np.fromfile(file, "<f4")
    values[7] += 0.25
    values.tofile(file)
    assert max(a.largest for a in compare_outputs(one_face, made_here)) == pytest.approx(0.25, rel=1e-6)
    values[7] = np.nan
    values.tofile(file)
    assert max(a.largest for a in compare_outputs(one_face, made_here)) == np.inf


def test_what_is_missing_is_no_agreement(one_face: Bundle, made_here: Path, tmp_path: Path) -> None:
    (file,) = made_here.rglob("mask.bin")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ReportError, match="missing or not of"):
        compare_outputs(one_face, made_here)
    with pytest.raises(ReportError, match="holds no outputs"):
        compare_outputs(one_face, tmp_path / "nothing")
