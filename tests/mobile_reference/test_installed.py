"""Entry points: mien's own are found without a look at the other packages, whose own are found too."""

from importlib import metadata

import pytest

from mien.mobile_reference import installed
from mien.mobile_reference.installed import EntryPoint

OTHERS = (
    EntryPoint("verify", "another:verify", "mien.commands"),
    EntryPoint("judge", "another:judge", "mien.commands"),
    EntryPoint("theirs", "another:theirs", "another.group"),
)


@pytest.fixture(autouse=True)
def another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_all", lambda: OTHERS)


def test_a_name_that_mien_has_is_its_own() -> None:
    (found,) = installed.entry_points("mien.commands", "verify")
    assert found.value == "mien.mobile_reference.commands.verify:verify"
    assert found.load().name == "verify"


def test_a_name_that_another_package_has_is_found() -> None:
    (found,) = installed.entry_points("mien.commands", "judge")
    assert found.value == "another:judge"


def test_all_of_a_group_are_those_of_every_package() -> None:
    assert {one.name for one in installed.entry_points("mien.commands")} == {"verify", "judge"}


def test_a_group_that_mien_has_is_its_own_alone() -> None:
    assert [one.name for one in installed.own_entry_points("mien.bundles")] == ["appraisal"]
    assert [one.name for one in installed.own_entry_points("another.group")] == ["theirs"]


def test_mien_finds_its_own_as_pythons_own_reader_does() -> None:
    expected = metadata.distribution("mien").entry_points
    assert {(one.group, one.name, one.value) for one in installed._own()} == {
        (one.group, one.name, one.value) for one in expected
    }


def test_without_a_list_of_its_own_mien_has_what_all_packages_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_own", lambda: ())
    assert [one.value for one in installed.entry_points("mien.commands", "verify")] == ["another:verify"]
