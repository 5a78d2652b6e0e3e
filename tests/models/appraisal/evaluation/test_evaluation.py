"""``mien evaluate``: what is drawn, what is counted, what is said, and what is refused."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.checkpoint import TEMPLATE, Checkpoint
from mien.models.appraisal.evaluation import statistics
from mien.models.appraisal.evaluation.evaluation import (
    KINDS,
    SEVERITIES,
    UNTOUCHED,
    Case,
    Cases,
    changed_regions,
)
from mien.models.appraisal.evaluation.peers import FACES, HEATMAPS, SCORES
from mien.models.appraisal.evaluation.raters import HEAT_ALONE, HEAT_AND_COMPARISON, PipelineRater
from mien.models.appraisal.portraits import FaceSet, Portrait, read_portraits
from tests.schemas import schema

PER_PORTRAIT = 1 + len(KINDS) * len(SEVERITIES)


def cases_of(face: Tensor, *identities: str) -> Cases:
    portraits = tuple(Portrait(Path(f"{number}.jpg"), name) for number, name in enumerate(identities))
    faces = torch.stack([face] * len(portraits))
    return Cases(FaceSet(faces, torch.zeros(len(portraits), 2, 3), portraits, ()), TEMPLATE)


def test_every_portrait_meets_every_kind_at_every_severity(face: Tensor):
    cases = cases_of(face, "anna", "anna")
    drawn = list(cases)
    assert len(drawn) == len(cases) == 2 * PER_PORTRAIT
    assert [case.number for _, case in drawn] == list(range(len(cases)))
    assert drawn[0][1].kind == UNTOUCHED
    assert {(case.kind, case.severity) for _, case in drawn[1:PER_PORTRAIT]} == {
        (kind, severity) for kind in KINDS for severity in SEVERITIES
    }
    # Two portraits of one person are drawn on apart.
    assert not np.array_equal(drawn[1][1].face, drawn[1 + PER_PORTRAIT][1].face)


def test_a_drawing_does_not_depend_on_the_other_people(face: Tensor):
    alone, second = cases_of(face, "anna"), cases_of(face, "bo", "anna")
    np.testing.assert_array_equal(alone.draw(0, "cleft", 1.0).face, second.draw(1, "cleft", 1.0).face)


def test_the_cameras_noise_comes_after_the_drawing_and_is_the_cases_own(face: Tensor):
    plain = cases_of(face, "anna")
    noisy = replace(plain, noise=3.0)
    first, second, clean = (
        cases.draw(0, *what)
        for cases, what in ((noisy, ("cleft", 1.0)), (noisy, ("cleft", 0.5)), (plain, ("cleft", 1.0)))
    )
    noise = first.face.astype(float) - clean.face
    assert noise.std() == pytest.approx(3, rel=0.1)
    # Where nothing is drawn, the untouched face has the same noise, and another case has its own.
    np.testing.assert_array_equal(first.face[:40], first.untouched[:40])
    assert np.corrcoef(noise[:40].ravel(), (second.face - clean.face.astype(float))[:40].ravel())[0, 1] < 0.1
    np.testing.assert_array_equal(changed_regions(first) > 0, changed_regions(clean) > 0)


def test_changed_pixels_are_numbered_by_region_and_specks_left_out():
    before = np.full((256, 256, 3), 100, np.uint8)
    after = before.copy()
    after[10:30, 10:30] = 160
    after[100:120, 100:110, 1] = 160
    after[200, 200] = 110
    regions = changed_regions(Case(0, Portrait(Path("a.jpg"), "a"), "scar", 1.0, after, before))
    assert set(np.unique(regions)) == {0, 1, 2}
    assert regions[20, 20] != regions[110, 105] > 0
    assert regions[200, 200] == 0
    assert not changed_regions(Case(0, Portrait(Path("a.jpg"), "a"), UNTOUCHED, 0.0, before, before)).any()


def test_the_whole_verdict_is_the_pipelines_own(face: Tensor, checkpoint: Checkpoint):
    case = cases_of(face, "anna").draw(0, "cleft", 1.0)
    rating = PipelineRater(checkpoint).rate(case)
    pixels = torch.from_numpy(case.face).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        expected = checkpoint.appraisal(pixels)
    assert rating.verdicts[HEAT_AND_COMPARISON].score == pytest.approx(float(expected.score), abs=1e-4)
    # Less evidence never lowers a score.
    assert rating.verdicts[HEAT_ALONE].score >= rating.verdicts[HEAT_AND_COMPARISON].score
    assert rating.normalised
    assert rating.normalised.before[0] > 0


def test_an_index_tells_more_of_its_portraits(tmp_path: Path):
    (tmp_path / "index.csv").write_text("image,identity,split,gender,age\na.jpg,anna,val,female,30\n")
    (portrait,) = read_portraits(tmp_path)
    assert portrait.attributes == {"gender": "female", "age": "30"}


Run = Callable[..., tuple[object, str, str]]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, samples: list[Path]) -> Path:
    """A folder of two people, each of a gender of their own, and a file that is not a portrait."""
    folder = tmp_path_factory.mktemp("people")
    rows = ["image,identity,split,gender"]
    for number, gender in ((0, "female"), (2, "male")):
        shutil.copy(samples[number], folder / f"{number}.jpg")
        rows.append(f"{number}.jpg,person {number},val,{gender}")
    (folder / "broken.jpg").write_text("broken")
    rows.append("broken.jpg,nobody,val,")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def evaluated(people: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two people evaluated by the shipped checkpoint, with few resamples."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 20)
        code = run("evaluate", people, "-o", folder / "report.json", "--page", folder / "page.html")
    record = json.loads((folder / "report.json").read_text())
    return SimpleNamespace(code=code, record=record, page=(folder / "page.html").read_text())


def figure(record: dict, **key: str) -> dict:
    wanted = {"stage": HEAT_AND_COMPARISON, "kind": "pooled", "at": "", "group": "everyone"} | key
    (found,) = (f for f in record["figures"] if all(f[name] == value for name, value in wanted.items()))
    return found


def test_a_report_says_what_was_measured(evaluated: SimpleNamespace):
    record = evaluated.record
    assert evaluated.code == 0
    assert (record["schema"], record["version"]) == ("mien.evaluation", 1)
    assert schema("evaluate").problems(record) == []
    assert record["faces"]["portraits"] == record["faces"]["identities"] == 2
    assert record["subject"]["noise"] == 0
    assert record["faces"]["skipped"][0].startswith("broken.jpg: ")
    assert "not with people's judgement" in record["note"]
    for measure in ("pearson", "spearman"):
        found = figure(record, measure=measure)
        # A stronger drawing lowers the score, whatever the checkpoint: agreement is positive.
        assert 0 < found["low"] <= found["estimate"] <= found["high"] <= 1
    assert 0.5 < figure(record, measure="pixel_auroc", at="region")["estimate"] <= 1
    assert 0 < figure(record, measure="pro", at="frame")["estimate"] <= 1
    assert figure(record, measure="image_auroc", at=">=0.5")["estimate"] > 0.5
    assert figure(record, measure="removed", at="l1", kind="cleft")["estimate"] < 1
    by_kind = [figure(record, measure="pearson", kind=kind)["estimate"] for kind in KINDS]
    assert figure(record, measure="mean_pearson")["estimate"] == pytest.approx(np.mean(by_kind))
    assert 0 <= figure(record, measure="caught", at="0.25")["estimate"] <= 1
    assert record["parts"] == []
    male = figure(record, measure="untouched_median", kind="untouched", group="gender male")
    female = figure(record, measure="untouched_median", kind="untouched", group="gender female")
    assert male["low"] is None
    gap = figure(record, measure="group_gap", kind="untouched")
    assert gap["estimate"] == pytest.approx(abs(male["estimate"] - female["estimate"]))


def test_targets_are_judged_by_the_figures(evaluated: SimpleNamespace):
    targets = {target["text"]: target for target in evaluated.record["targets"]}
    assert len(targets) == 12
    for target in targets.values():
        assert target["met"] == (target["sign"] * (target["estimate"] - target["bound"]) >= 0)
    assert targets["10^9 multiply-accumulates"]["met"]


def test_the_page_shows_the_worst_cases_and_what_they_mean(evaluated: SimpleNamespace):
    worst = evaluated.record["worst"]
    assert len(worst) == evaluated.page.count("data:image/jpeg") == 12
    off = [abs(case["points_off"]) for case in worst]
    assert off == sorted(off, reverse=True)
    assert worst[0]["face"] in evaluated.page
    for text in ("not with people&#39;s judgement", "gender female (1)", "PRO", "Changed pixels"):
        assert text in evaluated.page
    assert evaluated.page.count("<script") == 1
    assert not re.search("https?:", evaluated.page)


@pytest.fixture(scope="module")
def dumped(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumped") / "faces"
    assert run("evaluate", people, "--dump", folder) == 0
    return folder


def test_a_place_for_faces_is_looked_at_before_they_are_cut(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").write_text("x")
    assert run("evaluate", people, "--dump", tmp_path / "mine") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "give a new folder for the faces" in line


def test_faces_whose_names_are_not_utf8_are_evaluated(samples: list[Path], tmp_path: Path):
    folder = tmp_path / os.fsdecode(b"p\xff")
    folder.mkdir()
    shutil.copy(samples[0], folder / os.fsdecode(b"a\xff.jpg"))
    assert run("evaluate", folder, "--dump", tmp_path / "dumped") == 0
    assert r",a\xff," in "".join((tmp_path / "dumped/cases.csv").read_text().splitlines(keepends=True)[1:2])
    (portrait,) = read_portraits(folder, "")
    assert (portrait.name, portrait.identity) == (r"a\xff.jpg", r"a\xff")


def test_noise_lies_on_the_faces_that_are_rated(dumped: Path, people: Path, tmp_path: Path):
    assert run("evaluate", people, "--noise", 3, "--dump", tmp_path / "faces") == 0
    clean, noisy = (np.load(folder / FACES).astype(float) for folder in (dumped, tmp_path / "faces"))
    # What would leave 0..255 is cut off.
    assert (noisy - clean).std() == pytest.approx(3, rel=0.15)


def test_ratings_made_elsewhere_are_judged_alike(
    dumped: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A rater that knows what was drawn: it sees everything, and nothing else."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    faces = np.load(dumped / FACES).astype(float)
    untouched = faces[::PER_PORTRAIT].repeat(PER_PORTRAIT, axis=0)
    heat = np.abs(faces - untouched).max(axis=3).astype(np.float32)
    lines = (dumped / "cases.csv").read_text().splitlines()[1:]
    np.save(dumped / HEATMAPS, heat)
    np.save(dumped / SCORES, np.array([100 - 100 * float(line.split(",")[3]) for line in lines]))
    assert run("evaluate", people, "--rated", dumped, "-o", tmp_path / "report.json") == 0
    record = json.loads((tmp_path / "report.json").read_text())
    assert figure(record, measure="pearson", stage="ratings")["estimate"] == pytest.approx(1)
    assert figure(record, measure="image_auroc", stage="ratings", at="0.25")["estimate"] == 1
    # Changed pixels are those of the averaged difference: at their rim the plain one is not the same.
    assert figure(record, measure="pixel_auroc", stage="ratings", at="frame")["estimate"] > 0.95
    cost = next(target for target in record["targets"] if target["measure"] == "megabytes")
    assert cost["estimate"] is None
    assert not cost["met"]


def test_ratings_of_other_faces_or_out_of_range_are_refused(
    dumped: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    count = 2 * PER_PORTRAIT
    folder = tmp_path / "ratings"
    folder.mkdir()
    shutil.copy(dumped / FACES, folder)

    def refused(scores: np.ndarray, value: float) -> str:
        np.save(folder / SCORES, scores)
        np.save(folder / HEATMAPS, np.full((count, 256, 256), value, np.float16))
        assert run("evaluate", people, "--rated", folder, "-o", tmp_path / "report.json") == 2
        assert not (tmp_path / "report.json").exists()
        return capsys.readouterr().err.splitlines()[-1]

    assert "expected numbers of shape (42,)" in refused(np.zeros(3), 0)
    assert "is 101, expected 0 to 100" in refused(np.full(count, 101.0), 0)
    assert "not finite and >= 0" in refused(np.zeros(count), math.nan)
    assert "not finite and >= 0" in refused(np.zeros(count), -1)
    other = np.load(folder / FACES)
    other[0] = 0
    np.save(folder / FACES, other)
    assert "write the faces anew" in refused(np.zeros(count), 0)
    (folder / SCORES).write_bytes(b"\x80\x04.")
    assert run("evaluate", people, "--rated", folder) == 2
    assert "is not an array" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "its splits are val"),
        (["--checkpoint", "nowhere"], "does not exist"),
        (["-o", "nowhere/report.json"], "is not a folder"),
        (["--page", "."], "is a folder"),
        (["--rated", "nowhere"], "have the faces rated first"),
        (["--dump", ".", "--json"], "--dump only writes faces"),
        (["--dump", "new", "--also", "unseen"], "--dump only writes faces"),
        (["--scale", "1:7"], "give them with --ratings"),
        (["--ratings", "nowhere.csv"], "cannot be read"),
        (["--ratings", "nowhere.csv", "--scale", "7"], "not SEVERE:TYPICAL"),
        (["--ratings", "nowhere.csv", "--everyday", "."], "leave out --rated, --everyday"),
        (["--everyday", "nowhere"], "is not a folder"),
        (["--dump", Path(statistics.__file__).parent], "give a new folder"),
    ],
)
def test_wrong_use_is_one_line(
    people: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
):
    assert run("evaluate", people, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err.strip().splitlines()[-1]
    assert captured.out == ""
