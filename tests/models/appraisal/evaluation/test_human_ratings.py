"""People's ratings: what is read, what is refused, what is warned of, and agreement with a known truth."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.errors import RequestError
from mien.models.appraisal.evaluation import statistics
from mien.models.appraisal.evaluation.ratings.human_ratings import HumanRatings, Scale, read_ratings
from mien.models.appraisal.evaluation.ratings.rating_agreement import KIND, RatedFaces, agreement_part
from mien.models.appraisal.portraits import Portrait
from tests.schemas import schema

Table = dict[tuple[str, str], object]
FOLDER = Path("photographs")
PORTRAITS = [Portrait(FOLDER / f"{n}.jpg", f"person {n}") for n in range(8)]


def write(file: Path, table: Table) -> Path:
    lines = [f"{photograph},{rater},{rating}" for (photograph, rater), rating in table.items()]
    file.write_text("\n".join(("photograph,rater,rating", *lines)) + "\n")
    return file


def by_raters(**ratings: Callable[[int], object]) -> Table:
    return {(f"{n}.jpg", rater): rating(n) for rater, rating in ratings.items() for n in range(8)}


def read(tmp_path: Path, table: Table, scale: str = "0:100") -> HumanRatings:
    return read_ratings(write(tmp_path / "r.csv", table), FOLDER, PORTRAITS, Scale.parse(scale))


def test_ratings_become_points_and_what_is_missing_stays_missing(tmp_path: Path):
    table = by_raters(a=lambda n: n % 7 + 1, b=lambda n: 7)
    del table["3.jpg", "b"], table["5.jpg", "a"], table["5.jpg", "b"]
    ratings = read(tmp_path, table, "1:7")
    assert ratings.raters == ("a", "b")
    assert [portrait.identity for portrait in ratings.portraits] == [
        f"person {n}" for n in (0, 1, 2, 3, 4, 6, 7)
    ]
    np.testing.assert_allclose(ratings.table[0], [0, 100])
    assert np.isnan(ratings.table[3, 1])
    assert ratings.means[3] == 50
    # The same ratings read the other way round.
    np.testing.assert_allclose(read(tmp_path, table, "7:1").table, 100 - ratings.table)


@pytest.mark.parametrize("text", ["1", "1:1", "a:b", "1:2:3", "nan:1", "", "1e308:-1e308"])
def test_a_scale_is_two_numbers(text: str):
    with pytest.raises(RequestError, match="not SEVERE:TYPICAL"):
        Scale.parse(text)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({("9.jpg", "a"): 5}, "line 10: there is no photograph '9.jpg'"),
        ({("0.jpg", "b"): "good"}, "line 10: rating 'good' is not a number"),
        ({("0.jpg", "b"): "nan"}, "line 10: rating 'nan' is not a number"),
        ({("0.jpg", "b"): "inf"}, "line 10: rating 'inf' is not a number"),
        ({("0.jpg", "b"): 101}, "line 10: rating 101 is not on the scale 0:100"),
        ({("0.jpg", "b"): ""}, "line 10: photograph, rater, rating must be filled"),
        ({("photographs/0.jpg", "b"): 5}, "there is no photograph 'photographs/0.jpg'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, entry: Table, message: str):
    with pytest.raises(RequestError, match=message):
        read(tmp_path, by_raters(a=lambda n: 10 * n) | entry)


def test_files_that_are_no_ratings(tmp_path: Path):
    file = tmp_path / "r.csv"

    def refused(content: bytes) -> str:
        file.write_bytes(content)
        with pytest.raises(RequestError) as error:
            read_ratings(file, FOLDER, PORTRAITS, Scale())
        return str(error.value)

    heading = b"photograph,rater,rating\n"
    assert "needs the columns" in refused(b"")
    assert "needs the columns" in refused(b"photograph,score\n0.jpg,5\n")
    assert "rates 0 photographs" in refused(heading)
    assert "rates 2 photographs, at least 3" in refused(heading + b"0.jpg,a,1\n1.jpg,a,2\n")
    assert "again (line 2)" in refused(heading + b"0.jpg,a,1\n0.jpg,a,2\n")
    assert "not a CSV file" in refused(heading + b"\xff\xfe,a,1\n")
    assert "must be filled" in refused(heading + b"0.jpg\n")
    with pytest.raises(RequestError, match="cannot be read"):
        read_ratings(tmp_path / "nowhere.csv", FOLDER, PORTRAITS, Scale())
    with pytest.raises(RequestError, match="it is not a file"):
        read_ratings(Path("/dev/zero"), FOLDER, PORTRAITS, Scale())


def test_constant_ratings_are_refused_and_a_constant_rater_is_told(tmp_path: Path):
    with pytest.raises(RequestError, match="gives every photograph the same rating"):
        read(tmp_path, by_raters(a=lambda _: 50, b=lambda _: 50))
    warnings = read(tmp_path, by_raters(a=lambda n: 10 * n, b=lambda _: 50)).warnings
    assert warnings == ("rater b gave every photograph the same rating",)


def test_weak_ratings_are_told(tmp_path: Path):
    def warnings(**ratings: Callable[[int], object]) -> str:
        return "; ".join(read(tmp_path, by_raters(**ratings)).warnings)

    assert warnings(a=lambda n: 12 * n, b=lambda n: 11 * n, c=lambda n: 10 * n) == ""
    assert "one rater (a)" in warnings(a=lambda n: 12 * n)
    assert "span 7 % of their scale" in warnings(a=lambda n: n, b=lambda n: n)
    others: dict[str, Callable[[int], object]] = {"a": lambda n: 12 * n, "b": lambda n: 11 * n}
    assert "rater c uses a scale unlike the others: the ratings spread 0.087" in warnings(
        **others, c=lambda n: n
    )
    assert "rater c's ratings run against the others'" in warnings(**others, c=lambda n: 90 - 11 * n)
    level: dict[str, Callable[[int], object]] = {"a": lambda n: 80 + 2 * n, "b": lambda n: 81 + 2 * n}
    assert "rater c uses a scale unlike the others: the ratings lie 78 points" in warnings(
        **level, c=lambda n: 2 + 2 * n
    )


def simulated(error: float, seed: int = 5) -> RatedFaces:
    """150 people; scores are the truth with an error of 5, four raters' ratings with another."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 80, 150)
    table = truth[:, None] + rng.normal(0, error, (150, 4))
    scores = truth + 3 + rng.normal(0, 5, 150)
    groups = [{"gender": "female" if n % 3 else "male"} for n in range(150)]
    portraits = tuple(Portrait(Path(f"{n}.jpg"), f"p{n}", attributes=groups[n]) for n in range(150))
    return RatedFaces(HumanRatings(portraits, ("a", "b", "c", "d"), table), scores, ())


@pytest.mark.parametrize("error", [4.0, 20.0])
def test_agreement_with_simulated_raters_is_what_was_put_in(error: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    part = agreement_part(simulated(error), "here", "stage")
    found = {(f.key.measure, f.key.group): f.value for f in part.figures}
    spread = 60**2 / 12
    reliability = spread / (spread + error**2 / 4)
    expected = spread / np.sqrt((spread + 25) * (spread + error**2 / 4))
    assert found["pearson", "everyone"].estimate == pytest.approx(expected, abs=0.03)
    assert found["pearson", "everyone"].low < expected < found["pearson", "everyone"].high
    assert found["icc_mean", "everyone"].estimate == pytest.approx(reliability, abs=0.04)
    assert found["ceiling", "everyone"].estimate == pytest.approx(np.sqrt(reliability), abs=0.02)
    assert found["icc_single", "everyone"].estimate == pytest.approx(spread / (spread + error**2), abs=0.06)
    assert found["bias", "everyone"].estimate == pytest.approx(3, abs=2)
    width = found["limit_high", "everyone"].estimate - found["limit_low", "everyone"].estimate
    assert width == pytest.approx(2 * 1.96 * np.sqrt(25 + error**2 / 4), rel=0.15)
    assert {group for _, group in found} == {"everyone", "gender female", "gender male"}
    assert all(f.key.kind == KIND for f in part.figures)


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_evaluate_compares_with_ratings(
    tmp_path: Path, sample_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """On samples with drawn anomalies, rated by two people who know how severe they were drawn."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    index = (sample_folder / "index.csv").read_text().splitlines()[1:]
    severity = {line.split(",")[0]: float(line.split(",")[3]) for line in index}
    file = write(
        tmp_path / "r.csv",
        {
            (name, rater): 100 - 80 * s - b
            for name, s in severity.items()
            for rater, b in (("x", 0), ("y", 5))
        },
    )
    outputs = ("-o", tmp_path / "r.json", "--page", tmp_path / "p.html")
    assert run("evaluate", sample_folder, "--ratings", file, *outputs) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert schema("evaluate").problems(record) == []
    (part,) = record["parts"]
    assert (record["schema"], part["part"], part["raters"], part["portraits"]) == (
        "mien.evaluation",
        "ratings",
        2,
        len(severity),
    )
    pearson = next(f for f in part["figures"] if f["measure"] == "pearson" and f["group"] == "everyone")
    assert pearson["estimate"] > 0.5
    page = (tmp_path / "p.html").read_text()
    assert "Bland-Altman" in page
    assert {name for name in severity if f"<title>{name}</title>" in page} == set(severity)
    assert page.count("<script") == 1
    assert "ceiling" in capsys.readouterr().out
    assert run("evaluate", sample_folder, "--ratings", file, "--also", "unseen") == 2
    assert "leave out" in capsys.readouterr().err
    assert run("evaluate", sample_folder, "--ratings", tmp_path / "r.json", "-o", tmp_path / "no.json") == 2
    assert "needs the columns" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()
