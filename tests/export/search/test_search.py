"""The search on a made-up cost of every block: what it takes, what it leaves, and what it keeps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mien.export.search import search
from mien.export.search.search import SIXTEEN, WHOLE, Search, explain
from mien.export.search.tables import search_table
from mien.export.search.trials import Bench as RealBench
from mien.export.search.trials import Measured, Model, Ranges, SearchedModel, with_mirrored
from mien.export.tflite.blocks import Block
from mien.export.tflite.precision import HALF, Assignment, Choice, Precision
from mien.export.tflite.ranges import Method

FACES = 20
EIGHT = Choice(Precision.INT8)
# Points that a block costs in int8 by min-max; percentile a little more than halves that. int8 weights alone
# cost a fiftieth of it, float16 a hundredth.
COSTS = {"quiet": 0.01, "large": 0.2, "loud": 0.4, "awful": 5.0}
CUT: dict[Method, float] = {Method.PERCENTILE: 2.1}
FRAGILE: dict[Ranges, float] = {}
"""By how much more a model errs with other ranges."""
WEIGHTS = {"quiet": 100, "large": 1000, "loud": 100, "awful": 1000}


class Bench:
    """Stands for real models: errors add up, and the second half of the faces errs less."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def measure(self, models: Sequence[Model], faces: tuple[int, ...], report: Any) -> list[Measured]:
        self.calls.append(faces)
        return [self._one(model, faces or tuple(range(FACES))) for model in models]

    def _one(self, model: Model, faces: tuple[int, ...]) -> Measured:
        error = sum(self._cost(name, choice) for name, choice in model.assignment.items())
        error *= 1 + FRAGILE.get(model.ranges, 0.0)
        return Measured(tuple(90 - error / (1 + (face >= 10)) for face in faces), 1000)

    def _cost(self, name: str, choice: Choice) -> float:
        cost = COSTS[name] / CUT.get(choice.method, 1)
        shares = {
            Precision.INT8: 1.0,
            Precision.INT16: 0.015,
            Precision.WEIGHTS: 0.02,
            Precision.FLOAT16: 0.01,
            Precision.FLOAT32: 0.0,
        }
        return cost * shares[choice.precision]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    blocks = tuple(
        Block(name, frozenset(), (), WEIGHTS[name], WEIGHTS[name] * 1000, WEIGHTS[name] * 1000)
        for name in COSTS
    )
    monkeypatch.setattr(search, "find_blocks", lambda model: blocks)
    return Bench()


def started(bench: Any, tmp_path: Path, budget: float) -> Search:
    model = tmp_path / "model"
    model.write_bytes(b"")
    subject = SearchedModel(None, "appraisal", model, model, model, model, tmp_path)
    return Search(subject, bench, budget, lambda title, done, total: None, {})


def eights(found: Assignment) -> set[str]:
    return {name for name, choice in found.items() if choice.ranged}


@pytest.mark.parametrize(
    ("budget", "taken"),
    [
        (0.001, set()),
        (0.1, {"quiet"}),
        (0.2, {"quiet", "large"}),
        (0.5, {"quiet", "large", "loud"}),
        (9.0, set(COSTS)),
    ],
)
def test_as_many_blocks_are_int8_as_the_budget_bears(
    bench: Bench, tmp_path: Path, budget: float, taken: set[str]
) -> None:
    one = started(bench, tmp_path, budget)
    found, trials = one.eights(one.whole)
    assert eights(found) == taken
    assert one.outcome(found, trials).worst <= budget


def test_what_errs_more_with_other_ranges_has_to_fit_with_them(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = started(bench, tmp_path, 0.2)
    assert eights(one.eights(one.whole)[0]) == {"quiet", "large"}
    # 0.105 of 0.14 points, and twice that.
    monkeypatch.setitem(FRAGILE, Ranges.NARROWER, 1.0)
    found, trials = one.eights(one.whole)
    assert eights(found) == {"quiet"}
    assert one.outcome(found, trials).worst == pytest.approx(2 * one.outcome(found, trials).mean / 0.75)


def test_a_block_behind_one_that_does_not_fit_is_still_tried(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gain for cost puts the large block first, but the budget bears the loud one alone.
    monkeypatch.setitem(COSTS, "large", 0.7)
    one = started(bench, tmp_path, 0.35)
    assert eights(one.eights(one.whole)[0]) == {"quiet", "loud"}


def test_the_ranges_that_cost_least_are_chosen(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.4)
    found, _ = one.eights(one.whole)
    assert found["large"] == Choice(Precision.INT8, Method.PERCENTILE)


def test_other_ranges_have_to_cost_less_than_half(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CUT, Method.PERCENTILE, 1.9)
    one = started(bench, tmp_path, 0.4)
    found, _ = one.eights(one.whole)
    assert found["large"] == Choice(Precision.INT8, Method.MIN_MAX)


def test_int8_is_taken_back_until_the_ranges_of_an_export_keep_the_budget(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = started(bench, tmp_path, 0.2)
    found, trials = one.eights(one.whole)
    assert one.settled(found, trials) == found
    monkeypatch.setitem(FRAGILE, Ranges.CONVERTED, 2.0)
    assert one.outcome(found, trials).worst > 0.2
    settled = one.settled(found, trials)
    assert eights(settled) == {"quiet"}
    assert settled["large"] == Choice(Precision.WEIGHTS)
    assert one.outcome(settled, trials).worst <= 0.2


def test_faces_are_rated_with_their_mirror_images() -> None:
    faces = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    both = with_mirrored(faces)
    assert np.array_equal(both[:2], faces)
    assert np.array_equal(both[2:], np.flip(faces, 2))


def test_what_int8_costs_too_much_is_stored_in_it(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.2)
    base, _ = one.eights(one.whole)
    found, trials = one.stored(base)
    assert eights(found) == eights(base) == {"quiet", "large"}
    assert {trial.block.name for trial in trials} == {"loud", "awful"}
    # 0.105 of int8 and 0.008; the awful block would add 0.1.
    assert found["loud"] == Choice(Precision.WEIGHTS)
    assert found["awful"] == WHOLE


def test_int16_is_not_given_where_it_is_slow(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.2)
    base, _ = one.eights(one.whole)
    found, trials = one.sixteens(base)
    assert found == base
    assert {trial.block.name for trial in trials} == {"loud", "awful"}
    assert all(trial.gain < 0 for trial in trials)


def test_int16_is_given_where_it_gains_within_the_budget(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_INT16_LOSS", 0.0)
    one = started(bench, tmp_path, 0.2)
    base, _ = one.eights(one.whole)
    found, _ = one.sixteens(base)
    # 0.105 of int8 and 0.006; the awful block adds 0.075.
    assert found == base | {"loud": SIXTEEN, "awful": SIXTEEN}


def test_what_is_stored_is_taken_if_it_gains_more_within_the_budget(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.5)
    found = one.whole | {"quiet": EIGHT}
    better, dear = one.whole | {"large": EIGHT}, one.whole | {"awful": EIGHT}
    assert one.better(found, better) == better
    assert one.better(better, found) == better
    assert one.better(found, dear) == found
    assert one.better(found, {"a block of another net": EIGHT}) == found


def test_a_depthwise_block_gains_bytes_alone(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.2)
    dense, depthwise = (Block("one", frozenset(), (), 10, 1000, share) for share in (1000, 0))
    assert one._gain(dense, EIGHT) - one._gain(depthwise, EIGHT) == pytest.approx(1000 / 2200e3)
    assert one._gain(depthwise, EIGHT) == pytest.approx(0.75 * 10 / 2200)


def test_float16_goes_as_far_as_its_budget(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.5)
    assert one.halves(1.0)[0] == dict.fromkeys(COSTS, HALF)
    assert one.halves(0.01)[0] == dict.fromkeys(COSTS, HALF) | {"awful": WHOLE}


def test_blocks_are_tried_on_the_faces_that_rounding_moves_most(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.5)
    one.eights(one.whole)
    assert set(range(10)) <= set(one.touchy)
    assert one.touchy in bench.calls
    # What is decided is decided on all of them.
    assert bench.calls[-1] == ()


def test_a_score_that_is_not_a_number_never_fits(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "quiet", float("nan"))
    one = started(bench, tmp_path, 9.0)
    assert "quiet" not in eights(one.eights(one.whole)[0])


def test_the_table_says_what_was_tried_and_given(bench: Bench, tmp_path: Path) -> None:
    one = started(bench, tmp_path, 0.2)
    found, trials = one.eights(one.whole)
    _, wide = one.sixteens(found)
    outcome = one.outcome(found, (*trials, *wide))
    assert [row["tried"] for row in explain(outcome)[-2:]] == ["int16 min-max"] * 2
    rows = {row["block"]: row for row in explain(outcome)[:-2]}
    assert rows["quiet"]["chosen"] == rows["quiet"]["tried"] == "int8 percentile"
    assert rows["awful"]["chosen"] == "float32"
    assert rows["awful"]["worst"] == pytest.approx(5.0 / 2.1)
    assert outcome.integer == pytest.approx(0.5)
    console = Console(width=120, record=True)
    console.print(search_table("tflite-int8", outcome))
    assert "int16 min-max: 2 blocks tried cost at most 0.064 points each" in console.export_text()


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("model", "faces", "histograms", "roundings")]
    for file in files:
        file.write_bytes(file.name.encode())
    subject = SearchedModel(None, "appraisal", *files, work=tmp_path / "work")
    with RealBench(subject, 1) as real:
        file = real._file(Model({"a": EIGHT}), ())
        file.write_text(json.dumps({"scores": [1.0], "bytes": 2}))
        assert real.measure([Model({"a": EIGHT})], (), lambda done: None) == [Measured((1.0,), 2)]
        names = {file, real._file(Model({"a": HALF}), ()), real._file(Model({"a": EIGHT}), (0,))}
        names.add(real._file(Model({"a": EIGHT}, 1.03), ()))
    files[1].write_bytes(b"other faces")
    with RealBench(subject, 1) as real:
        names.add(real._file(Model({"a": EIGHT}), ()))
    assert len(names) == 5
