"""Odd shards of every kind end well, and what is whole in them is rated."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import shards
from tests.fuzz.campaign import Prepared, prepare, try_data
from tests.fuzz.harness import PASSED, PROMISED, REFUSED
from tests.fuzz.targets import TARGETS, Case, Command

KINDS: Mapping[str, tuple[str, shards.Maker]] = {
    **{kind: ("a.tar", make) for kind, make in shards.TARS.items()},
    **{kind: ("a.parquet", make) for kind, make in shards.PARQUETS.items()},
}


def as_it_is(case: Case) -> Command:
    return "appraise", "--bundle", case.sound / "bundle", "--json", case.alone()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    target = replace(TARGETS["shards"], command=as_it_is, enter=lambda _: nullcontext())
    (one,) = prepare({"shards": target}, tmp_path_factory.mktemp("shards"))
    return one


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_shard_ends_as_promised(prepared: Prepared, kind: str) -> None:
    name, make = KINDS[kind]
    (seed,) = (seed for seed in prepared.seeds if seed.name == name)
    picture = shards.picture(0, "JPEG")
    for number in range(2):
        random = Random(f"{kind} {number}")  # noqa: S311 - damage, no secrets
        assert try_data(prepared, seed, make(random, picture)) in PROMISED


def test_the_same_damage_draws_the_same_shard() -> None:
    drawn = [[shards.odd("a.tar", bytes([number])) for number in range(16)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert None in drawn[0]
    assert len({data for data in drawn[0] if data}) > 4


def test_a_shard_that_is_made_by_hand_is_a_shard(prepared: Prepared, tmp_path: Path) -> None:
    (seed,) = (seed for seed in prepared.seeds if seed.name == "a.tar")
    picture = shards.picture(0, "JPEG")
    whole = shards.member("a.jpg", picture) + shards.END
    assert try_data(prepared, seed, whole) == PASSED
    assert try_data(prepared, seed, whole[: -len(shards.END)]) == REFUSED
