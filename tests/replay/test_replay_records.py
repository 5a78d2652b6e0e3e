import copy
import json

import pytest

from .errors import ReplayError
from .records import (
    MANIFEST_RULES,
    Change,
    comparable,
    compare_records,
    flatten,
    follow_names,
    read_manifest,
    read_record,
)

MANIFEST = {
    "format": 2,
    "gates": [{"tensor": "score", "metric": "scalar", "limits": {"fp32": 0.01, "any": 0.25}, "over": "each"}],
    "files": {"models/tflite-fp32/net.tflite": {"bytes": 10, "sha256": "aa"}},
    "variants": [
        {"name": "tflite-fp32", "measured": {"bytes": 10, "points": 0.5}},
        {"name": "coreml-fp16", "measured": {"bytes": 5, "points": 0.5}},
    ],
    "goldens": [{"name": "one", "values": {"score": 50.0}}],
    "provenance": {"commit": "1", "mien": "0.1", "versions": {"torch": "2"}, "checkpoint": "cc"},
}


@pytest.fixture
def new():
    return copy.deepcopy(MANIFEST)


def compared(new):
    return compare_records("manifest", comparable(MANIFEST), comparable(new), MANIFEST_RULES)


def test_equal_records_are_equal_and_counted(new):
    found = compared(new)
    assert found.equal
    assert (found.compared, found.numbers) == (len(flatten(comparable(MANIFEST))), 12)


def test_a_changed_number_is_named(new):
    new["goldens"][0]["values"]["score"] = 50.5
    found = compared(new)
    assert found.changed == (
        Change("goldens[one].values.score", 50.0, 50.5),
        Change("goldens[one].score", 50.0, 50.5),
    )
    assert not found.equal


@pytest.mark.parametrize(("old", "new"), [(1, 1.0), (1, True), (0.0, -0.0), (1, "1"), (None, 0), ([], {})])
def test_values_of_another_kind_differ(old, new):
    assert not compare_records("a", {"x": old}, {"x": new}).equal


def test_what_is_not_a_number_is_never_equal():
    assert not compare_records("a", {"x": float("nan")}, {"x": float("nan")}).equal


def test_the_commit_is_expected_to_differ_and_is_shown(new):
    new["provenance"]["commit"] = "2"
    new["provenance"]["versions"]["torch"] = "3"
    found = compared(new)
    assert found.equal
    assert [change.path for change in found.expected] == ["provenance.commit", "provenance.versions.torch"]


def test_another_checkpoint_is_not_expected(new):
    new["provenance"]["checkpoint"] = "dd"
    assert not compared(new).equal


def test_a_value_of_one_side_differs_within_a_format(new):
    del new["variants"][1]["measured"]["points"]
    new["more"] = 1
    found = compared(new)
    assert found.only_old == ("variants[coreml-fp16].measured.points",)
    assert found.only_new == ("more",)
    assert not found.equal


@pytest.mark.parametrize("change", [lambda m: m.update(more=1), lambda m: m.pop("goldens")])
def test_a_value_of_either_side_alone_is_enough(new, change):
    change(new)
    assert not compared(new).equal


def test_another_format_may_have_other_keys_but_is_listed(new):
    new["format"], new["pipeline"] = 3, new.pop("provenance")
    found = compared(new)
    assert found.equal
    assert "provenance.checkpoint" in found.only_old
    assert "pipeline.checkpoint" in found.only_new
    assert found.expected == (Change("format", 2, 3),)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda m: m["goldens"].clear(), "goldens[one].score"),
        (lambda m: m["gates"][0]["limits"].clear(), "variants[tflite-fp32].tolerance"),
        (lambda m: m["gates"].clear(), "variants[tflite-fp32].tolerance"),
        (lambda m: m["goldens"][0]["values"].clear(), "goldens[one].score"),
        (lambda m: m["files"].clear(), "files[models/tflite-fp32/net.tflite].sha256"),
    ],
)
def test_another_format_must_keep_files_scores_and_gates(new, change, lost):
    new["format"] = 3
    change(new)
    found = compared(new)
    assert lost in found.lost
    assert not found.equal


def test_another_format_with_another_number_differs(new):
    new["format"] = 3
    new["gates"][0]["limits"] = {"fp32": 0.02, "any": 0.25}
    assert [change.path for change in compared(new).changed] == [
        "gates[0].limits.fp32",
        "variants[tflite-fp32].tolerance",
    ]


FORMAT_1 = {
    "format": 1,
    "files": MANIFEST["files"],
    "variants": [
        {"name": "tflite-fp32", "gate": 0.01, "measured": {"bytes": 10, "points": 0.5}},
        {"name": "coreml-fp16", "gate": 0.25, "measured": {"bytes": 5, "points": 0.5}},
    ],
    "goldens": [{"name": "one", "score": 50.0}],
    "provenance": MANIFEST["provenance"],
}


def from_format_1(new):
    return compare_records("manifest", comparable(FORMAT_1), comparable(new), MANIFEST_RULES)


def test_a_commit_of_format_1_is_compared_by_files_scores_and_tolerances(new):
    found = from_format_1(new)
    assert found.equal
    assert (found.only_old, found.lost) == ((), ())
    assert found.expected == (Change("format", 1, 2),)
    # All that format 1 says of these: nothing was left out to make it equal.
    assert found.compared == len(flatten(FORMAT_1))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda m: m["goldens"][0]["values"].update(score=50.5), Change("goldens[one].score", 50.0, 50.5)),
        (
            lambda m: m["gates"][0]["limits"].update(fp32=0.02),
            Change("variants[tflite-fp32].tolerance", 0.01, 0.02),
        ),
        (
            lambda m: m["gates"][0]["limits"].update({"coreml-fp16": 0.5}),
            Change("variants[coreml-fp16].tolerance", 0.25, 0.5),
        ),
        (
            lambda m: m["files"]["models/tflite-fp32/net.tflite"].update(sha256="bb"),
            Change("files[models/tflite-fp32/net.tflite].sha256", "aa", "bb"),
        ),
    ],
)
def test_another_number_than_a_commit_of_format_1_had_differs(new, change, changed):
    change(new)
    assert from_format_1(new).changed == (changed,)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda m: m["goldens"].clear(), "goldens[one].score"),
        (lambda m: m["variants"].pop(), "variants[coreml-fp16].tolerance"),
        (lambda m: m["gates"].clear(), "variants[tflite-fp32].tolerance"),
    ],
)
def test_what_a_commit_of_format_1_had_may_not_be_lost(new, change, lost):
    change(new)
    assert lost in from_format_1(new).lost
    assert not from_format_1(new).equal


def test_a_manifest_of_either_format_is_read(tmp_path):
    file = tmp_path / "manifest.json"
    for manifest in (FORMAT_1, MANIFEST):
        file.write_text(json.dumps(manifest))
        read = read_manifest(file)
        assert [variant["tolerance"] for variant in read["variants"]] == [0.01, 0.25]
        assert read["goldens"][0]["score"] == 50.0
    file.write_text("[1]")
    assert read_manifest(file) == [1]


def test_records_with_nothing_in_common_are_not_equal():
    assert not compare_records("a", {"format": 1, "x": 1}, {"form": 2, "y": 1}).equal


def test_one_more_entry_does_not_shift_the_others(new):
    new["variants"].insert(0, {"name": "new", "precision": "int3"})
    found = compared(new)
    assert found.changed == ()
    assert found.only_new == ("variants[new].tolerance", "variants[new].name", "variants[new].precision")


def test_entries_that_share_a_name_are_told_apart_by_position():
    assert list(flatten([{"name": "a", "x": 1}, {"name": "a", "x": 2}])) == [
        "[0].name",
        "[0].x",
        "[1].name",
        "[1].x",
    ]


def test_sizes_and_hashes_of_renamed_files_follow(new):
    new["files"]["models/tflite-fp32/net.tflite"] = {"bytes": 12, "sha256": "bb"}
    new["variants"][0]["measured"]["bytes"] = 12
    assert len(compared(new).changed) == 3
    patterns = follow_names(["models/tflite-fp32/net.tflite"])
    rules = MANIFEST_RULES.__class__((*MANIFEST_RULES.expected, *patterns), MANIFEST_RULES.essential)
    assert compare_records("manifest", MANIFEST, new, rules).equal
    new["variants"][1]["measured"]["bytes"] = 6  # of a variant with nothing renamed
    new["variants"][0]["measured"]["points"] = 0.6
    found = compare_records("manifest", MANIFEST, new, rules)
    assert [change.path for change in found.changed] == [
        "variants[tflite-fp32].measured.points",
        "variants[coreml-fp16].measured.bytes",
    ]


def test_json_and_lines_of_json_are_read(tmp_path):
    file = tmp_path / "record.json"
    file.write_text('{\n "a": 1\n}\n')
    assert read_record(file) == {"a": 1}
    file.write_text('{"a": 1}\n{"a": 2}\n')
    assert read_record(file) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["", "no", '{"a": 1}\n{"a"', "no\nno"])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ReplayError, match=r"record\.json is n"):
        read_record(tmp_path / "record.json")
