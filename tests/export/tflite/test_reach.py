"""Ranges hold what tensors reached on inputs that are not there any more, for the same weights alone."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.export.errors import ExportError
from mien.export.reach import main
from mien.export.tflite.channels import with_scaled_inputs
from mien.export.tflite.passes.scale_inputs import scaled_inputs
from mien.export.tflite.precision import ALL_INT8
from mien.export.tflite.ranges import histograms
from mien.export.tflite.reach import (
    NOTHING,
    KnownReach,
    Reach,
    extents,
    known_reach,
    not_known,
    reach_of_model,
    reached,
    read_reach,
    write_reach,
)
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.output.file import OutputFile
from mien.models.pipeline import Pipeline
from mien.models.sources import open_pipeline

from .test_channels import COMPONENT, UNEVEN, net
from .test_int8_regions import samples_of

REACH = Reach({"y": (-50.0, 0.25)}, {"fed": np.array([4.0, 1.0, 900.0, 0.5])})
KNOWN = KnownReach("abc", 12, ("01", "02"), {"appraisal": REACH})


def pipeline(weights: str, file: Path | None) -> Pipeline:
    return Pipeline(name="p", stages=(), weights=weights, reach=file)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_reach(KNOWN, OutputFile.at(tmp_path / "reach.json"))
    found = read_reach(tmp_path / "reach.json")
    assert (found.weights, found.inputs, found.files) == ("abc", 12, ("01", "02"))
    assert found.models["appraisal"].ranges == REACH.ranges
    np.testing.assert_array_equal(found.models["appraisal"].channels["fed"], REACH.channels["fed"])


def test_it_holds_for_the_weights_that_it_was_found_with(tmp_path: Path) -> None:
    file = tmp_path / "reach.json"
    write_reach(KNOWN, OutputFile.at(file))
    same, other = pipeline("abc", file), pipeline("0123456789abcdef", file)
    assert reach_of_model(same, "appraisal").ranges == REACH.ranges
    assert reach_of_model(same, "inpaint") is NOTHING
    assert not_known(same) == not_known(pipeline("abc", None)) == ()
    assert known_reach(other) is None
    (line,) = not_known(other)
    assert "of weights abc, these are 0123456789ab" in line
    assert "--calibration" in line


NO_REACH = '{"weights": "a", "inputs": 1, "files": [], "models": {"m": {"ranges": %s, "channels": %s}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"weights": "a", "inputs": 1, "files": [], "models": [1]}',
        NO_REACH % ('{"y": ["nan", "nan"]}', "{}"),
        NO_REACH % ('{"y": [1, -1]}', "{}"),
        NO_REACH % ('{"y": [false, true]}', "{}"),
        NO_REACH % ("{}", '{"fed": ["inf"]}'),
        NO_REACH % ("{}", '{"fed": [-1]}'),
        NO_REACH % ("{}", '{"fed": []}'),
        NO_REACH % ("{}", '{"fed": 3}'),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "reach.json"
    file.write_text(text)
    with pytest.raises(ExportError, match=r"reach\.json says of no tensor .*; write it with python -m"):
        read_reach(file)


def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.export.reach.open_pipeline", lambda _: pytest.fail("it was opened"))
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", Path("/dev/null"), tmp_path / "nowhere" / "reach.json"):
        with pytest.raises(SystemExit) as ended:
            run(main, ["--calibration", str(tmp_path), "-o", str(place)])
        assert ended.value.code == 2
        assert re.fullmatch(r"mien: .*; (give|make) .*\n", capsys.readouterr().err)


def test_what_ships_is_of_the_weights_that_ship() -> None:
    shipped = open_pipeline()
    assert not_known(shipped) == ()
    known = known_reach(shipped)
    assert known is not None
    assert known.models.keys() == {"appraisal", "heatmap", "inpaint", "compare"}
    assert len(known.files) == len(set(known.files)) == 96


def test_extents_are_those_of_every_channel_over_all_samples() -> None:
    model, samples = net(UNEVEN), samples_of()
    seen = extents(COMPONENT, model, samples, ["fed", "y"])
    alone = [extents(COMPONENT, model, [sample], ["fed"])["fed"] for sample in samples]
    np.testing.assert_array_equal(seen["fed"][0], np.min([low for low, _ in alone], axis=0))
    np.testing.assert_array_equal(seen["fed"][1], np.max([high for _, high in alone], axis=0))
    whole = histograms(COMPONENT, model, samples, ["y"])["y"]
    assert (seen["y"][0].min(), seen["y"][1].max()) == (whole.low, whole.high)
    assert seen.keys() == {"fed", "y"}


def test_ranges_hold_what_was_reached_elsewhere_and_lose_nothing() -> None:
    model, samples = net(UNEVEN), samples_of()
    found = histograms(COMPONENT, model, samples)
    wider = reached(found, model, REACH)
    assert (wider["y"].low, wider["y"].high) == (-50.0, found["y"].high)
    assert wider["y"].counts.sum() == pytest.approx(1)
    assert wider["first"] is found["first"]
    assert reached(found, model, NOTHING) == found


def test_channels_are_scaled_by_what_they_reached_anywhere() -> None:
    model, samples = net(UNEVEN), samples_of()
    ready = with_scaled_inputs(COMPONENT, model, ALL_INT8, samples, REACH)
    (name,) = scaled_inputs(ready)
    low, high = extents(COMPONENT, ready, samples, [name])[name]
    # The third channel reached much further elsewhere: here it fills little of its range.
    assert 0 <= low.min() < high[2] < 0.001 < high[0] <= 1
    assert not scaled_inputs(model)
    found = histograms(COMPONENT, ready, samples)
    wider = reached(found, ready, replace(REACH, ranges={"y": (0.0, 0.0)}))
    # What is below zero nowhere gets no levels there.
    assert (wider[name].low, wider[name].high) == (0.0, 1.0)
