"""Everyday faces: which are taken, what is said of them by trait, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.errors import ImageSetError, RequestError
from mien.models.appraisal.evaluation import statistics
from mien.models.appraisal.evaluation.everyday import read_everyday, trait_groups, untouched_figures
from mien.models.appraisal.evaluation.figures import EVERYONE, Key
from mien.models.appraisal.portraits import Portrait
from tests.schemas import schema

HEADINGS = "image,identity,split,turn,glasses,child"


def folder_of(folder: Path, samples: list[Path], *rows: str, headings: str = HEADINGS) -> Path:
    folder.mkdir()
    for row in rows:
        image = row.split(",")[0]
        shutil.copy(samples[int(image.split(".")[0])], folder / image)
    (folder / "index.csv").write_text("\n".join((headings, *rows)) + "\n")
    return folder


def test_the_held_out_split_is_taken(tmp_path: Path, samples: list[Path]):
    folder = folder_of(tmp_path / "e", samples, "0.jpg,a,train,0,0,0", "2.jpg,b,val,0.5,1,")
    (portrait,) = read_everyday(folder, "val", [])
    assert portrait.identity == "b"
    with pytest.raises(ImageSetError, match="no face of split 'test'; its splits are train, val"):
        read_everyday(folder, "test", [])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0.jpg,a,val,0,maybe,0", "says glasses 'maybe' of 0.jpg; expected 0, 1 or nothing"),
        ("0.jpg,a,val,0,0,2", "says child '2' of 0.jpg"),
        ("0.jpg,a,val,left,0,0", "says turn 'left' of 0.jpg; expected a number"),
        ("0.jpg,a,val,nan,0,0", "says turn 'nan'"),
    ],
)
def test_an_unknown_trait_is_refused(tmp_path: Path, samples: list[Path], row: str, message: str):
    folder = folder_of(tmp_path / "e", samples, row)
    with pytest.raises(ImageSetError, match=message):
        read_everyday(folder, "val", [])


def test_people_who_are_evaluated_twice_are_refused(tmp_path: Path, samples: list[Path]):
    folder = folder_of(tmp_path / "e", samples, "0.jpg,a,val,0,0,0")
    by_name = Portrait(samples[2], "a")
    by_file = Portrait(samples[0], "somebody else")
    for other in (by_name, by_file):
        with pytest.raises(RequestError, match=r"person a of .* also stands in the evaluation"):
            read_everyday(folder, "val", [other])
    assert read_everyday(folder, "val", [Portrait(samples[2], "b")])


def people(*attributes: dict[str, str]) -> list[Portrait]:
    return [Portrait(Path(f"{n}.jpg"), str(n), attributes=told) for n, told in enumerate(attributes)]


def test_groups_are_those_of_whom_something_is_told():
    found = trait_groups(
        people(
            {"glasses": "1", "turn": "-0.2"},
            {"glasses": "0", "turn": "0.05"},
            {"glasses": "", "turn": "0.95"},
        )
    )
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "glasses": [0],
        "turn 0 to 0.1": [1],
        "turn 0.1 to 0.3": [0],
        "turn over 0.6": [2],
    }


def test_figures_of_untouched_faces_by_trait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    portraits = people(*[{"glasses": "1" if row < 10 else "0"} for row in range(20)])
    scores = np.concatenate([np.full(10, 40.0), np.full(10, 95.0)])
    found = {figure.key: figure.value for figure in untouched_figures(portraits, scores, "s")}
    for group, median, high, low in ((EVERYONE, 67.5, 0.5, 0.5), ("glasses", 40, 0, 1)):
        values = {
            measure: found[Key(measure, "s", "untouched", "", group)].estimate
            for measure in ("untouched_median", "share_high", "share_low")
        }
        assert values == {"untouched_median": median, "share_high": high, "share_low": low}
    assert found[Key("trait_gap", "s", "untouched")].estimate == 27.5
    assert found[Key("trait_p5", "s", "untouched")].estimate == 40
    # A group too small to say anything widens no gap.
    few = {f.key for f in untouched_figures(portraits[6:], scores[6:], "s")}
    assert Key("trait_gap", "s", "untouched") not in few


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_everyday_faces_stand_beside_the_studios(
    tmp_path: Path, samples: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    studio = folder_of(tmp_path / "studio", samples, "0.jpg,a,val", headings="image,identity,split")
    rows = [f"{n}.jpg,p{n},val,0,{int(n < 12)},0" for n in (4, 6, 8, 10, 12)]
    everyday = folder_of(tmp_path / "everyday", samples, *rows)
    code = run(
        "evaluate", studio, "--everyday", everyday, "-o", tmp_path / "r.json", "--page", tmp_path / "p.html"
    )
    assert code == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert schema("evaluate").problems(record) == []
    part, refusals = record["parts"]
    assert (refusals["part"], refusals["portraits"]) == ("refusals", 5)
    shares = {(f["measure"], f["kind"]): f["estimate"] for f in refusals["figures"] if f["group"] == EVERYONE}
    assert shares["refused", "untouched"] == 0
    sure = ("upside down", "sideways", "cut by the border", "sunglasses")
    assert {shares["flagged", kind] for kind in sure} == {1}
    assert (part["part"], part["faces"], part["portraits"]) == ("everyday", "everyday", 5)
    groups = {f["group"] for f in part["figures"] if f["measure"] == "untouched_p5"}
    assert groups == {EVERYONE, "glasses", "turn 0 to 0.1"}
    assert {f["kind"] for f in part["figures"] if f["measure"] == "caught"} >= {"cleft", "pooled"}
    page = (tmp_path / "p.html").read_text()
    for text in ("everyday, everyday: untouched", "glasses (4)", "worst group"):
        assert text in page
    out = capsys.readouterr().out
    assert "everyday, everyday: 5 faces, median" in out
    assert "refusals, everyday: 0.0 % of 5 frontal" in out
    assert run("evaluate", studio, "--everyday", studio, "-o", tmp_path / "no.json") == 2
    assert "also stands in the evaluation" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()
    assert run("evaluate", studio, "--rated", studio, "--everyday", everyday) == 2
    assert "leave out --everyday" in capsys.readouterr().err
