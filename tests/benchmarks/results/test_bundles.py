"""``mien compare``: two bundles on the same inputs, by real small models."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mien.benchmarks.results.bundles import Shift, VariantChange
from mien.mobile_reference.bundle.reader import MANIFEST
from mien.mobile_reference.commands.console import main
from tests.benchmarks.pipelines import GRADER, SENSORS, make_bundle
from tests.benchmarks.tinymodels import list_files

Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(capfd: pytest.CaptureFixture[str]) -> Compare:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, arguments)])
        captured = capfd.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def changed(bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with the int8 model in the place of float32's."""
    folder = shutil.copytree(bundle, tmp_path / "changed")
    shutil.copy(folder / "tflite-int8/appraisal.tflite", folder / "tflite-fp32/appraisal.tflite")
    manifest = json.loads((folder / MANIFEST).read_text())
    list_files(folder, manifest)
    return folder


def test_a_bundle_is_like_itself(bundle: Path, compare: Compare) -> None:
    code, out, err = compare(bundle, bundle, "--max-shift", 0)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("tflite-")]
    assert [row[:5] for row in rows[:2]] == [
        [variant, "1", "0.000", "0.000", "-"] for variant in ("tflite-fp32", "tflite-int8")
    ]


def test_the_page_draws_shifts_where_there_are_any_and_else_says_so(
    bundle: Path, changed: Path, tmp_path: Path, compare: Compare
) -> None:
    page = tmp_path / "compare.html"
    none, drawn = "no input has shifted", "the shift of every input"
    assert compare(bundle, bundle, "--page", page)[0] == 0
    assert none in page.read_text()
    assert drawn not in page.read_text()
    assert compare(bundle, changed, "--variant", "tflite-fp32", "--page", page)[0] == 0
    assert none not in page.read_text()
    assert drawn in page.read_text()


def test_a_shift_beyond_what_is_allowed_is_exit_1(bundle: Path, changed: Path, compare: Compare) -> None:
    code, out, err = compare(bundle, changed, "--max-shift", 0, "--json")
    record: dict[str, Any] = json.loads(out)
    float_, int8 = record["variants"]
    (one,) = float_["inputs"]
    assert code == 1
    assert record["passed"] is False
    assert float_["beyond"] == ["noise"]
    assert one["shift"] == float_["largest_shift"] == pytest.approx(abs(one["new"] - one["old"]))
    assert one["shift"] > 0
    assert int8["beyond"] == []
    assert float_["bytes"]["old"] != float_["bytes"]["new"]
    assert int8["bytes"]["old"] == int8["bytes"]["new"]
    assert re.fullmatch(r"mien: tflite-fp32: noise moves by \S+, at most 0 is allowed\n", err)
    assert compare(bundle, changed, "--max-shift", one["shift"])[0] == 0
    assert compare(bundle, changed, "--max-shift", 0, "--variant", "tflite-int8")[0] == 0
    assert json.loads(compare(bundle, changed, "--json")[1])["passed"] is None


def test_scores_across_a_threshold_are_counted(bundle: Path, changed: Path, compare: Compare) -> None:
    (one,) = json.loads(compare(bundle, changed, "--json")[1])["variants"][0]["inputs"]
    middle = (one["old"] + one["new"]) / 2
    for threshold, crossing in ((middle, ["noise"]), (-1, [])):
        record = json.loads(compare(bundle, changed, "--threshold", threshold, "--json")[1])
        assert record["variants"][0]["crossings"] == crossing


def test_photographs_are_put_to_both_and_one_that_neither_rates_is_said(
    bundle: Path, changed: Path, compare: Compare, tmp_path: Path
) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "small.png")
    photographs = bundle / "noise.png", tmp_path / "small.png", tmp_path / "nowhere.png"
    code, out, _ = compare(bundle, changed, *photographs)
    assert code == 0
    assert "no bundle rates" in out
    assert "nowhere.png" in out
    code, _, err = compare(bundle, changed, tmp_path / "nowhere.png")
    assert code == 2
    assert err.startswith("mien: nothing was compared, for neither bundle rates an input; ")


def test_names_that_are_no_utf8_are_escaped_in_json(
    bundle: Path, changed: Path, compare: Compare, tmp_path: Path
) -> None:
    photo = shutil.copy(bundle / "noise.png", tmp_path / os.fsdecode(b"n\xff.png"))
    broken = tmp_path / os.fsdecode(b"b\xff.png")
    broken.write_bytes(b"no picture")
    old = shutil.copytree(bundle, tmp_path / os.fsdecode(b"o\xff"))
    code, out, err = compare(old, changed, photo, broken, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["old"] == rf"{tmp_path}/o\xff"
    one, other = json.loads(out)["variants"][0]["inputs"]
    assert one["input"] == rf"{tmp_path}/n\xff.png"
    assert other["problem"].startswith(rf"{tmp_path}/b\xff.png ")


def test_markdown_is_a_table_in_which_names_are_text(
    bundle: Path, changed: Path, compare: Compare, tmp_path: Path
) -> None:
    photo = shutil.copy(bundle / "noise.png", tmp_path / "a|b<img src=x>.png")
    code, out, _ = compare(bundle, changed, photo, "--max-shift", 0, "--markdown")
    assert code == 1
    table, lines = out.split("\n\n")
    heading, marks, *rows = table.splitlines()
    assert heading.startswith("| variant | inputs | mean shift |")
    assert {row.count("|") for row in (heading, marks, *rows)} == {8}
    assert len(rows) == 2
    assert r"a\|b&lt;img src=x&gt;.png moves by" in lines
    assert "<" not in out


def test_what_only_one_rates_is_beyond_every_shift() -> None:
    refused = Shift("face", 50.0, None, math.inf, "not rated")
    nobody = Shift("wall", None, None, math.nan, "no face found")
    change = VariantChange("v", 1, 1, (Shift("a", 49.0, 51.0, 2.0), refused, nobody))
    assert change.beyond(1e9) == (refused,)
    assert change.largest is refused
    assert [one.input for one in change.crossing(50.0)] == ["a"]
    assert len(change.judged) == 2


def test_pipelines_without_a_front_are_compared(tmp_path: Path, compare: Compare) -> None:
    grader = make_bundle(tmp_path / "grader", GRADER)
    assert compare(grader, grader, "--max-shift", 0, "--variant", "tflite-fp32")[0] == 0
    code, _, err = compare(grader, grader, grader / "x.png", "--variant", "tflite-fp32")
    assert code == 2
    assert "takes no photographs" in err
    other = make_bundle(tmp_path / "sensors", SENSORS)
    code, out, err = compare(grader, other)
    assert (code, out) == (2, "")
    assert "compare bundles of one pipeline" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-shift", "nan"), "nan is not a finite number"),
        (("--max-shift", "-1"), "'--max-shift'"),
        (("--threshold", "inf"), "inf is not a finite number"),
        (("--json", "--markdown"), "both given"),
        (("--variant", "tflite-int4"), "no variant 'tflite-int4'"),
        (("--times", "nowhere.json", "nowhere.json"), "nowhere.json"),
    ],
)
def test_wrong_use_is_exit_2(bundle: Path, compare: Compare, options: tuple[str, ...], message: str) -> None:
    code, out, err = compare(bundle, bundle, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
