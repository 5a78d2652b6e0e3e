"""The readers: sound files end well, known damage is refused, and a short campaign finds nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.campaign import Prepared, campaign, prepare, try_data
from tests.fuzz.harness import GATE, PASSED, REFUSED
from tests.fuzz.surroundings import FOREIGN, PLACES
from tests.fuzz.targets import TARGETS, Case, Command


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Prepared]:
    return {one.name: one for one in prepare(TARGETS, tmp_path_factory.mktemp("fuzz"))}


@pytest.mark.parametrize("name", TARGETS)
def test_sound_files_are_not_refused(prepared: Mapping[str, Prepared], name: str) -> None:
    # The stages of the tiny bundle are not one pipeline, so a gate fails.
    right = GATE if name == "goldens" else PASSED
    one = prepared[name]
    assert {seed.name: try_data(one, seed, seed.read_bytes()) for seed in one.seeds} == {
        seed.name: right for seed in one.seeds
    }


def test_a_lost_file_of_somebody_else_is_found(prepared: Mapping[str, Prepared]) -> None:
    def overwrite(case: Case) -> None:
        next((case.work / FOREIGN).iterdir()).write_text("gone")

    def beside_foreign_files(case: Case) -> Command:
        PLACES[0](case.work)
        return ("--version",)

    one = prepared["surroundings"]
    target = replace(one.target, command=beside_foreign_files)
    assert try_data(replace(one, target=target), one.seeds[0], b"") == PASSED
    target = replace(target, enter=overwrite)
    assert try_data(replace(one, target=target), one.seeds[0], b"").startswith("lost")


def test_a_campaign_goes_on_where_another_ended(prepared: Mapping[str, Prepared]) -> None:
    tried: list[bytes] = []

    def version(case: Case) -> Command:
        tried.append(case.data)
        return ("--version",)

    one = replace(prepared["surroundings"], target=replace(prepared["surroundings"].target, command=version))
    for first in (0, 1, 0):
        campaign([one], seed=1, seconds=0, tell=lambda _: None, first=first)
    assert tried[0] == tried[2] != tried[1]


def test_a_model_cut_in_half_is_refused(prepared: Mapping[str, Prepared]) -> None:
    one = prepared["models"]
    data = one.seeds[0].read_bytes()
    assert try_data(one, one.seeds[0], data[: len(data) // 2]) == REFUSED


def test_goldens_that_are_no_numbers_are_refused(prepared: Mapping[str, Prepared], tmp_path: Path) -> None:
    one = prepared["goldens"]
    seed = next(seed for seed in one.seeds if np.load(seed).dtype == np.float32)
    np.save(tmp_path / "nan.npy", np.full_like(np.load(seed), np.nan))
    data = (tmp_path / "nan.npy").read_bytes()
    assert one.target.must_refuse(data)
    assert try_data(one, seed, data) == REFUSED


def test_a_short_campaign_finds_nothing(prepared: Mapping[str, Prepared]) -> None:
    counts = campaign(list(prepared.values()), seed=1, seconds=60, tell=lambda _: None)
    assert [finding for count in counts.values() for finding in count.findings] == []
    assert all(count.tried for count in counts.values())
