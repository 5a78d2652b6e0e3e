import json
import shutil

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import QuantizationParametersT

from mien.mobile_reference.tflite.flatbuffer import parse, serialise

from .files import Verdict, compare_files
from .goldens import array_difference
from .smallbundles import (
    MODELS,
    PACKAGE,
    RANGES,
    SECOND,
    TFLITE,
    VECTOR,
    write_bundle,
    write_package,
    write_tflite,
)


@pytest.fixture
def old(tmp_path):
    return write_bundle(tmp_path / "old")


def judged(old, new):
    return {one.name: one for one in compare_files(old, new)}


def test_a_copy_is_equal_file_by_file(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    found = judged(old, new)
    assert found.keys() == {*MODELS, RANGES, VECTOR, SECOND}
    assert {one.verdict for one in found.values()} == {Verdict.EQUAL}


def test_renamed_modules_are_equal_but_for_names(old, tmp_path):
    found = judged(old, write_bundle(tmp_path / "new", module="rooms.face.net"))
    for name in MODELS:
        assert found[name].verdict is Verdict.NAMES, found[name]
        assert found[name].outputs["y"].equal
    assert found[RANGES].verdict is Verdict.NAMES
    assert found[VECTOR].verdict is Verdict.EQUAL


@pytest.mark.parametrize("module", ["net", "renamed"])
def test_a_changed_weight_is_found_in_both_platforms(old, tmp_path, module):
    found = judged(old, write_bundle(tmp_path / "new", module=module, weight=2.5))
    assert found[TFLITE].parts == ("tensor /net/conv_filter",)
    assert found[PACKAGE].parts == ("const net_w",)
    for name in MODELS:
        assert found[name].verdict is Verdict.DIFFERS
        assert found[name].outputs["y"].largest == 7.5  # of x = 15
    assert found[RANGES].verdict is Verdict.DIFFERS


def test_a_weight_that_no_golden_shows_is_found_too(old, tmp_path):
    new = write_bundle(tmp_path / "new", weight=2.5)
    for vector in (VECTOR, SECOND):
        np.save(old / vector, np.zeros((1, 4, 4, 1), np.float32))
    found = judged(old, new)
    for name in MODELS:
        assert found[name].outputs["y"].equal
        assert found[name].verdict is Verdict.DIFFERS


def test_the_names_that_apps_feed_are_no_names_to_overlook(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    for vector in (VECTOR, SECOND):
        shutil.copy(old / vector, (old / vector).with_name("face.npy"))
    write_tflite(new / TFLITE, "net", 2.0, signature="face")
    assert judged(old, new)[TFLITE].verdict is Verdict.DIFFERS


def test_missing_and_added_files_are_named(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    shutil.rmtree(new / PACKAGE)
    (new / "ranges" / "more.json").write_text("{}")
    found = judged(old, new)
    assert found[PACKAGE].verdict is Verdict.ONLY_OLD
    assert found["ranges/more.json"].verdict is Verdict.ONLY_NEW
    assert not found[PACKAGE].equal
    assert not found["ranges/more.json"].equal


@pytest.mark.parametrize("name", [TFLITE, f"{PACKAGE}/Data/com.apple.CoreML/model.mlmodel", RANGES])
def test_a_damaged_file_is_a_finding_and_hides_no_other(old, tmp_path, name):
    new = write_bundle(tmp_path / "new", module="renamed")
    (new / name).write_bytes((new / name).read_bytes()[:40])
    found = judged(old, new)
    bad = [one for one in found.values() if name.startswith(one.name)]
    assert [one.verdict for one in bad] == [Verdict.DIFFERS]
    assert "not compared to the end" in bad[0].note
    assert sum(one.verdict is Verdict.NAMES for one in found.values()) == 2


def test_a_model_that_was_not_run_is_never_equal_but_for_names(old, tmp_path):
    (old / VECTOR).unlink()
    found = judged(old, write_bundle(tmp_path / "new", module="renamed"))
    for name in MODELS:
        assert found[name].verdict is Verdict.DIFFERS
        assert "no golden input x" in found[name].note


def test_what_is_not_a_number_is_never_equal(old, tmp_path):
    for bundle in (old, new := write_bundle(tmp_path / "new", module="renamed")):
        np.save(bundle / VECTOR, np.full((1, 4, 4, 1), np.nan, np.float32))
    found = judged(old, new)
    for name in MODELS:
        assert found[name].verdict is Verdict.DIFFERS
        assert found[name].outputs["y"].largest is None


def test_weights_in_another_place_differ_and_are_not_said_to_be_others(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    shutil.rmtree(new / PACKAGE)
    write_package(new / PACKAGE, "net", 2.0, before=[9.0])
    found = judged(old, new)[PACKAGE]
    assert (found.verdict, found.parts) == (Verdict.DIFFERS, ("outside of tensors and operations",))
    assert found.outputs["y"].equal


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: setattr(tensor, "quantization", QuantizationParametersT(scale=[0.5], zeroPoint=[1])),
        lambda tensor: setattr(tensor, "shapeSignature", [-1, 4, 4, 1]),
        lambda tensor: setattr(tensor, "isVariable", True),
    ],
)
def test_what_a_tensor_is_said_to_be_is_no_name(old, tmp_path, change):
    new = shutil.copytree(old, tmp_path / "new")
    model = parse((old / TFLITE).read_bytes())
    change(model.subgraphs[0].tensors[3])
    (new / TFLITE).write_bytes(serialise(model))
    found = judged(old, new)[TFLITE]
    assert (found.verdict, found.parts) == (Verdict.DIFFERS, ("tensor /net/conv",))


def test_a_changed_golden_tells_how_far(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    np.save(new / VECTOR, np.load(new / VECTOR) + np.float32(0.5))
    found = judged(old, new)[VECTOR]
    assert (found.verdict, found.outputs["x"].largest) == (Verdict.DIFFERS, 0.5)


def test_ranges_that_changed_hands_differ_where_a_value_is_new(old, tmp_path):
    new = shutil.copytree(old, tmp_path / "new")
    (new / RANGES).write_text(json.dumps({"/net/conv": [0.0, 2.0], "x": [0.0, 16.0]}))
    found = judged(old, new)[RANGES]
    assert (found.verdict, found.parts) == (Verdict.DIFFERS, ("x[1]",))


@pytest.mark.parametrize(
    ("other", "equal", "largest"),
    [
        (np.float32([1, -0.0]), False, 0.0),  # another bit, no other value
        (np.float32([1, 0]), True, 0.0),
        (np.float64([1, 0]), False, 0.0),
        (np.float32([1, 2]), False, 2.0),
        (np.float32([1]), False, None),
        (np.float32([1, np.inf]), False, None),
        (None, False, None),
    ],
)
def test_arrays_are_compared_bit_by_bit(other, equal, largest):
    found = array_difference(np.float32([1, 0]), other)
    assert (found.equal, found.largest) == (equal, largest)
