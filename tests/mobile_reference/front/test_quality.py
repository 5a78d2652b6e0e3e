"""Measures of a photograph: what each counts, by hand and by the vectors, and what a limit makes of it."""

import json
import math
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import manifest_schema
from mien.mobile_reference.contract import ABOVE, BELOW, LimitSpec, RefusalSpec
from mien.mobile_reference.front.alignment import AlignedFace, similarity
from mien.mobile_reference.front.quality import (
    MEASURES,
    NOTE,
    OK,
    REFUSE,
    Finding,
    RefusedError,
    _patch,
    _shown,
    face_region,
    judge,
    measure,
    turn,
)
from mien.mobile_reference.front.quality_vectors import REGION, SIZE, TEMPLATE, vectors
from mien.mobile_reference.output.json_text import json_text

FILE = files("mien.mobile_reference.front") / "quality_vectors.json"
VECTORS = json.loads(FILE.read_text())
CASES = [pytest.param(case, id=case["name"]) for case in VECTORS["cases"]]
FACE = np.array([*TEMPLATE, (3.0, 6.5), (13.0, 6.5)])
TWO_PIXELS = 2 / face_region(REGION, SIZE).sum()


def measured(
    pixels: NDArray[np.uint8], keypoints: NDArray[np.float64] = FACE, extent: tuple[int, int] = (SIZE, SIZE)
) -> dict[str, float]:
    """Measure a face that is a whole photograph, where eyes, nose and mouth lie as in the template."""
    return measure(AlignedFace(pixels, np.eye(2, 3), 1, 0.8, keypoints), *extent, TEMPLATE, REGION)


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def test_the_file_is_what_the_command_makes():
    made = json.loads(json.dumps(vectors()))
    assert made.keys() == VECTORS.keys()
    for ours, theirs in zip(made["cases"], VECTORS["cases"], strict=True):
        assert ours["measures"] == pytest.approx(theirs["measures"], abs=1e-8)
        assert ours["matrix"] == theirs["matrix"] or np.allclose(ours["matrix"], theirs["matrix"], atol=1e-8)
        assert ours["pixels"] == theirs["pixels"]
    assert made["looks"] == VECTORS["looks"]


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_every_measure(case: dict[str, Any]):
    assert list(case["measures"]) == [one.name for one in MEASURES]


@pytest.mark.parametrize("case", CASES)
def test_a_case_follows_the_meaning_of_the_measures(case: dict[str, Any]):
    """Worked out here pixel by pixel, with none of the code under test."""
    size, values = VECTORS["size"], case["measures"]
    pixels = np.frombuffer(bytes.fromhex(case["pixels"]), np.uint8).reshape(size, size, 3)
    (x, y), (across, down) = VECTORS["region_centre"], VECTORS["region_radii"]
    inside = [
        (row, column)
        for row in range(size)
        for column in range(size)
        if (abs(column - x) / across) ** 3 + (abs(row - y) / down) ** 3 <= 1
    ]
    light = pixels.astype(float) @ [0.299, 0.587, 0.114]
    levels = [light[place] for place in inside]
    assert values["brightness"] == pytest.approx(sum(levels) / len(levels), abs=1e-6)
    spread = math.sqrt(sum((level - values["brightness"]) ** 2 for level in levels) / len(levels))
    assert values["contrast"] == pytest.approx(spread, abs=1e-6)
    edges = [
        abs(4 * light[r, c] - light[r - 1, c] - light[r + 1, c] - light[r, c - 1] - light[r, c + 1])
        for r, c in inside
    ]
    assert values["sharpness"] == pytest.approx(
        sum(edges) / len(edges) / spread if spread > 1e-6 else 0, abs=1e-6
    )
    assert values["black"] == pytest.approx(
        sum(pixels[p].max() <= 12 for p in inside) / len(inside), abs=1e-6
    )
    burnt = sum(pixels[place].min() >= 250 for place in inside)
    assert values["burnt"] == pytest.approx(burnt / len(inside), abs=1e-6)
    matrix, points = np.array(case["matrix"]), np.array(case["keypoints"])
    placed = points @ matrix[:, :2].T + matrix[:, 2]
    nose, ear, far_ear = placed[[2, 4, 5]]
    template = np.array(VECTORS["template"])
    assert values["eye_distance"] == pytest.approx(math.dist(*points[:2]), abs=1e-6)
    squares = ((placed[:4] - template) ** 2).sum(axis=1)
    assert values["misfit"] == pytest.approx(
        math.sqrt(squares.mean()) / math.dist(*template[:2].tolist()), abs=1e-6
    )
    apart = max(far_ear[0] - ear[0], 1)
    assert values["turn"] == pytest.approx(abs(2 * nose[0] - ear[0] - far_ear[0]) / apart, abs=1e-6)
    assert values["roll"] == pytest.approx(
        math.degrees(abs(math.atan2(matrix[1, 0], matrix[0, 0]))), abs=1e-6
    )
    assert (values["detector_score"], values["faces"]) == (case["score"], case["faces"])
    unit = math.dist(*template[:2].tolist()) / 76

    def about(place: Any, right: float, down: float, across: float, tall: float) -> list[float]:
        x, y = place[0] + right * unit, place[1] + down * unit
        return [
            light[row, column]
            for row in range(size)
            for column in range(size)
            if abs(column - x) <= max(across * unit, 0.5) + 1e-6
            and abs(row - y) <= max(tall * unit, 0.5) + 1e-6
        ]

    beneath = max(np.mean(about(eye, 0, 17, 12, 5)) for eye in template[:2])
    skin = [
        about(template[2], 0, -15, 8, 10),
        about(template[0], -6, 50, 8, 8),
        about(template[1], 6, 50, 8, 8),
    ]
    assert values["eyes_shown"] == pytest.approx(
        beneath / max(np.mean([np.mean(s) for s in skin]), 1), abs=1e-6
    )
    eyes = np.std(about((template[0] + template[1]) / 2, 0, 0, 48, 30))
    mouth = np.std(about(template[3], 0, 3, 40, 14))
    assert values["mouth_shown"] == pytest.approx(mouth / eyes if eyes > 1e-6 else 0, abs=1e-6)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    places = [(back @ [column, row, 1])[:2] for row, column in inside]
    width, height = case["photograph"]["width"], case["photograph"]["height"]
    beyond = [not (-0.5 <= px <= width - 0.5 and -0.5 <= py <= height - 0.5) for px, py in places]
    assert values["outside"] == pytest.approx(sum(beyond) / len(beyond), abs=TWO_PIXELS)


def test_the_vectors_tell_every_measure_apart():
    for name in (one.name for one in MEASURES):
        assert len({round(case["measures"][name], 3) for case in VECTORS["cases"]}) > 1, name


def test_a_frontal_face_turns_nowhere_and_either_side_counts():
    assert turn(FACE) == 0
    aside = FACE.copy()
    aside[2, 0] += 2.5
    assert turn(aside) == pytest.approx(0.5)
    aside[2, 0] -= 5
    assert turn(aside) == pytest.approx(0.5)


def test_ears_on_the_wrong_sides_are_a_large_turn():
    assert turn(FACE[[0, 1, 2, 3, 5, 4]] + [(0, 0), (0, 0), (3, 0), (0, 0), (0, 0), (0, 0)]) == 6


def test_a_photograph_that_ends_at_the_faces_middle_cuts_half_of_it():
    assert measured(grey(99))["outside"] == 0
    half = measured(grey(99), extent=(8, SIZE))["outside"]
    # Column 8 is the middle one: what is left of it stays.
    assert half == pytest.approx(face_region(REGION, SIZE)[:, 8:].sum() / face_region(REGION, SIZE).sum())


def test_light_is_measured_within_the_region_alone():
    pixels = grey(100)
    pixels[~face_region(REGION, SIZE)] = 255
    values = measured(pixels)
    assert values["brightness"] == pytest.approx(100)
    assert (values["black"], values["burnt"]) == (0, 0)
    assert values["contrast"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("level", "black", "burnt"), [(12, 1, 0), (13, 0, 0), (249, 0, 0), (250, 0, 1)])
def test_black_and_burnt_begin_where_they_say(level: int, black: float, burnt: float):
    values = measured(grey(level))
    assert (values["black"], values["burnt"]) == (black, burnt)
    coloured = grey(level)
    coloured[..., 1] = 128
    assert (measured(coloured)["black"], measured(coloured)["burnt"]) == (0, 0)


def sharpness(pixels: NDArray[Any]) -> float:
    return measured(pixels.astype(np.uint8))["sharpness"]


def test_blur_is_less_sharp_whatever_the_brightness():
    sharp = np.random.default_rng(2).integers(60, 190, (SIZE, SIZE, 1)).repeat(3, axis=2)
    blurred = sum(np.roll(sharp, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    assert sharpness(blurred) < 0.7 * sharpness(sharp)
    assert sharpness(sharp // 2) == pytest.approx(sharpness(sharp), rel=0.05)


def with_patch(place: tuple[float, float], half: tuple[float, float], level: int) -> NDArray[np.uint8]:
    """A noisy face with a patch of one level."""
    pixels = np.random.default_rng(6).integers(100, 200, (SIZE, SIZE, 1)).repeat(3, axis=2).astype(np.uint8)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    pixels[(abs(columns - place[0]) <= half[0]) & (abs(rows - place[1]) <= half[1])] = level
    return pixels


def test_dark_lenses_and_a_plain_mask_are_seen_each_by_its_own_measure():
    bare = measured(with_patch((0, 0), (0, 0), 150))
    glasses = measured(with_patch((8, 6.6), (5, 1.5), 20))
    mask = measured(with_patch((8, 11.4), (5, 2), 150))
    one_eye = measured(with_patch((5.6, 6.6), (2, 1.5), 20))
    assert (
        glasses["eyes_shown"] < 0.3 < 0.8 < min(bare["eyes_shown"], mask["eyes_shown"], one_eye["eyes_shown"])
    )
    assert mask["mouth_shown"] < 0.3 < 0.8 < bare["mouth_shown"]


def test_a_template_beyond_the_picture_still_has_patches():
    far = [(x + 99, y - 99) for x, y in TEMPLATE]
    values = measure(AlignedFace(grey(50), np.eye(2, 3), 1, 0.8, FACE), 9, 9, far, REGION)
    assert all(map(math.isfinite, values.values()))


UP, DOWN = LimitSpec("turn", ABOVE, 0.6, 0.9), LimitSpec("contrast", BELOW, 14, 7)


@pytest.mark.parametrize(
    ("limit", "value", "verdict", "bound"),
    [
        (UP, 0.6, OK, 0.6),
        (UP, 0.61, NOTE, 0.6),
        (UP, 0.9, NOTE, 0.6),
        (UP, 0.91, REFUSE, 0.9),
        (UP, math.nan, REFUSE, 0.9),
        (DOWN, 14, OK, 14),
        (DOWN, 13.9, NOTE, 14),
        (DOWN, 7, NOTE, 14),
        (DOWN, 6.9, REFUSE, 7),
        (DOWN, math.nan, REFUSE, 7),
        (replace(UP, refuse=None), 99, NOTE, 0.6),
        (replace(UP, note=None), 0.8, OK, 0.9),
        (replace(UP, note=None), 1, REFUSE, 0.9),
        (replace(UP, note=None, refuse=None), 1, OK, None),
    ],
)
def test_a_limit_is_still_within(limit: LimitSpec, value: float, verdict: str, bound: float | None):
    (finding,) = judge({limit.measure: value}, [limit])
    assert (finding.verdict, finding.limit) == (verdict, bound)
    assert finding.measure == limit.measure


def test_a_measure_that_is_not_a_number_is_refused_and_null_in_json():
    findings = judge({"turn": math.nan, "contrast": math.inf}, [UP, replace(DOWN, worse=ABOVE)])
    records = json.loads(json_text([finding.record() for finding in findings]))
    assert [(record["value"], record["verdict"]) for record in records] == [(None, REFUSE)] * 2
    assert "turn nan, limit 0.9" in Finding.read(records[0]).reason


def test_a_refusal_is_one_line_that_says_what_to_do():
    findings = judge({"turn": 1.5, "contrast": 2, "roll": 50}, [UP, DOWN, LimitSpec("roll", ABOVE, 30, None)])
    error = RefusedError(findings)
    assert str(error) == (
        "not rated, since the head is turned aside (turn 1.5, limit 0.9), the face has hardly any contrast "
        "(contrast 2, limit 7); give a photograph that faces the camera"
    )
    assert error.findings == findings
    assert error.exit_code == 2


@pytest.mark.parametrize("one", MEASURES, ids=lambda one: one.name)
def test_every_measure_says_in_plain_words_what_is_wrong(one: Any):
    finding = Finding(one.name, 1.0, 2.0, NOTE)
    assert one.reason in finding.reason
    assert finding.advice
    assert "\n" not in one.meaning + one.reason + one.advice


def test_the_schema_knows_the_measures_and_no_others():
    limit = manifest_schema().definition["properties"]["refusals"]["properties"]["limits"]["items"]
    assert limit["properties"]["measure"]["enum"] == [one.name for one in MEASURES]


def test_measures_do_not_depend_on_where_the_face_lies():
    """The same face twice as large and further right: only what counts the photograph's pixels changes."""
    pixels = np.random.default_rng(4).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    keypoints = FACE * 2 + 40
    matrix = similarity(keypoints[:4], np.array(TEMPLATE))
    moved = measure(AlignedFace(pixels, matrix, 1, 0.8, keypoints), 200, 200, TEMPLATE, REGION)
    here = measured(pixels, extent=(200, 200))
    assert moved.pop("eye_distance") == pytest.approx(2 * here.pop("eye_distance"))
    assert moved == pytest.approx(here, abs=1e-9)


def test_the_region_is_the_superellipse():
    region = face_region(RefusalSpec((4.0, 4.0), (2.0, 3.0), 2.0, ()), 9)
    assert region[4, [1, 2, 6, 7]].tolist() == [False, True, True, False]
    assert region[[0, 1, 7, 8], 4].tolist() == [False, True, True, False]
    assert not region[2, 2]


def test_eyes_and_mouth_are_looked_for_where_the_manifest_says() -> None:
    """With 76 pixels between the eyes: what lies beneath an eye, the nose, the cheeks, the mouth."""
    goal = np.array([[90.0, 100.0], [166.0, 100.0], [128.0, 145.0], [128.0, 180.0]])
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 255, (256, 256))

    def patch(x: int, y: int, across: int, tall: int) -> NDArray[Any]:
        return picture[y - tall : y + tall + 1, x - across : x + across + 1]

    beneath = max(patch(x, 117, 12, 5).mean() for x in (90, 166))
    skin = (patch(128, 130, 8, 10).mean() + patch(84, 150, 8, 8).mean() + patch(172, 150, 8, 8).mean()) / 3
    found = _shown(picture, goal)
    assert found["eyes_shown"] == pytest.approx(beneath / skin)
    assert found["mouth_shown"] == pytest.approx(
        patch(128, 183, 40, 14).std() / patch(128, 100, 48, 30).std()
    )


def test_a_patch_has_a_pixel_wherever_it_lies() -> None:
    picture = np.arange(16.0).reshape(4, 4)
    assert _patch(picture, np.array([9.0, 9.0]), (0.0, 0.0)).tolist() == [[15.0]]
    assert _patch(picture, np.array([-9.0, 1.0]), (0.0, 1.0)).tolist() == [[0.0], [4.0], [8.0]]
