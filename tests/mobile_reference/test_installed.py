"""Entry points: mien's own are found without a look at the other packages, whose own are found too."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from mien.mobile_reference import installed

OTHERS = EntryPoints(
    [
        EntryPoint("verify", "another:verify", "mien.commands"),
        EntryPoint("judge", "another:judge", "mien.commands"),
        EntryPoint("theirs", "another:theirs", "another.group"),
    ]
)


@pytest.fixture(autouse=True)
def another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_all", lambda: OTHERS)


def test_a_name_that_mien_has_is_its_own() -> None:
    (found,) = installed.entry_points("mien.commands", "verify")
    assert found.module == "mien.mobile_reference.commands.verify"


def test_a_name_that_another_package_has_is_found() -> None:
    (found,) = installed.entry_points("mien.commands", "judge")
    assert found.value == "another:judge"


def test_all_of_a_group_are_those_of_every_package() -> None:
    assert {one.name for one in installed.entry_points("mien.commands")} == {"verify", "judge"}


def test_a_group_that_mien_has_is_its_own_alone() -> None:
    assert [one.name for one in installed.own_entry_points("mien.bundles")] == ["appraisal"]
    assert [one.name for one in installed.own_entry_points("another.group")] == ["theirs"]
