"""Folders that commands write: whole or not at all, and only what mien wrote before is ever replaced."""

# ruff: noqa: PT012 - a folder takes its place at the end of a context, and may be refused there

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output import folder as module
from mien.mobile_reference.output.folder import LISTING, Kind, OutputFolder, files_of
from mien.mobile_reference.output.json_text import json_text

PLAIN = Kind("checkpoint")
BUNDLE = Kind("bundle", "manifest.json")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def make(path: Path, kind: Kind = PLAIN, text: str = "weights") -> None:
    """Write a folder of one file in a folder, as a command does."""
    with OutputFolder.at(path, kind).staged() as staging:
        (staging / "deep").mkdir()
        (staging / "deep" / "model").write_text(text)
        if kind.listing != LISTING:
            (staging / kind.listing).write_text(json_text({"format": 2, "files": files_of(staging)}))


@pytest.fixture(params=["exchanged", "renamed twice"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system exchange folders in one step, or not."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "no exchange here")

    if request.param != "exchanged":
        monkeypatch.setattr(module, "_rename_exchange", refuse)


@pytest.mark.parametrize("kind", [PLAIN, BUNDLE])
@pytest.mark.usefixtures("system")
def test_a_folder_of_ours_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, kind: Kind):
    output = tmp_path / "out"
    make(output, kind, "before")
    make(output, kind, "after")
    assert names(tmp_path) == ["out", *sorted(["out/deep", "out/deep/model", f"out/{kind.listing}"])]
    assert (output / "deep" / "model").read_text() == "after"


def test_no_folder_is_put_into_a_bundle_that_the_command_reads(tmp_path: Path):
    @click.command()
    @click.argument("bundle", type=click.Path(path_type=Path))
    @click.option("-o", "--output", type=click.Path(path_type=Path))
    def command(bundle: Path, output: Path) -> None:
        make(output)

    make(tmp_path / "bundle", BUNDLE)
    before = names(tmp_path)
    for inside in ("bundle/new", "bundle/deep/new", "bundle/deep"):
        ended = CliRunner().invoke(command, [str(tmp_path / "bundle"), "-o", str(tmp_path / inside)])
        assert "lies in the bundle" in str(ended.exception)
    assert names(tmp_path) == before
    assert CliRunner().invoke(command, [str(tmp_path / "bundle"), "-o", str(tmp_path / "new")]).exit_code == 0


def test_an_empty_folder_is_filled_and_a_new_one_is_made_with_those_above_it(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    make(tmp_path / "not" / "there" / "yet")
    assert (tmp_path / "not" / "there" / "yet" / "deep" / "model").exists()


def test_a_core_ml_package_without_weights_has_an_empty_folder_for_them(tmp_path: Path):
    for _ in range(2):
        with OutputFolder.at(tmp_path / "out", PLAIN).staged() as staging:
            (staging / "net.mlpackage" / "Data" / "weights").mkdir(parents=True)
            (staging / "net.mlpackage" / "Data" / "model").write_text("a graph")
    (tmp_path / "out" / "net.mlpackage" / "Data" / "weights" / "mine").write_text("precious")
    with pytest.raises(UsageError, match="weights was not written by mien"):
        OutputFolder.at(tmp_path / "out", PLAIN)


def _add(folder: Path) -> None:
    (folder / "deep" / "thesis.docx").write_text("precious")


def _change(folder: Path) -> None:
    (folder / "deep" / "model").write_text("trained on")


def _make_folder(folder: Path) -> None:
    (folder / "mine").mkdir()


def _link(folder: Path) -> None:
    (folder / "deep" / "model").unlink()
    (folder / "deep" / "model").symlink_to(folder.parent / "secret")


def _unlist(folder: Path) -> None:
    (folder / LISTING).unlink()


def _break_listing(folder: Path) -> None:
    (folder / LISTING).write_text("[" * 100_000)


FOREIGN = [_add, _change, _make_folder, _link, _unlist, _break_listing]


@pytest.mark.parametrize("touch", FOREIGN)
def test_what_is_unknown_or_changed_is_refused_before_the_work(tmp_path: Path, touch: Callable[[Path], None]):
    (tmp_path / "secret").write_text("weights")
    make(tmp_path / "out")
    touch(tmp_path / "out")
    before = names(tmp_path)
    with pytest.raises(UsageError, match="move it away, or give a new folder"):
        OutputFolder.at(tmp_path / "out", PLAIN)
    assert names(tmp_path) == before


@pytest.mark.parametrize("touch", FOREIGN)
@pytest.mark.usefixtures("system")
def test_what_comes_into_the_folder_during_the_work_stays_and_so_does_the_work(
    tmp_path: Path, touch: Callable[[Path], None]
):
    (tmp_path / "secret").write_text("weights")
    output = tmp_path / "out"
    make(output, text="before")
    with (
        pytest.raises(UsageError, match=r"what was made lies in .*out\.new1"),
        OutputFolder.at(output, PLAIN).staged() as staging,
    ):
        (staging / "model").write_text("after")
        touch(output)
        before = names(output)
    assert names(output) == before
    assert (tmp_path / "out.new1" / "model").read_text() == "after"
    assert not list(tmp_path.glob(".*"))


def test_what_comes_at_the_very_moment_of_the_swap_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "out"
    make(output, text="before")
    exchange = module.exchange

    def late(one: Path, other: Path) -> None:
        if not (output / "thesis").exists() and "partial" in one.name:
            (output / "thesis").write_text("precious")
        exchange(one, other)

    monkeypatch.setattr(module, "exchange", late)
    with pytest.raises(UsageError, match="thesis"):
        make(output, text="after")
    assert (output / "thesis").read_text() == "precious"
    assert (output / "deep" / "model").read_text() == "before"


def test_a_folder_that_is_made_during_the_work_stays(tmp_path: Path):
    with (
        pytest.raises(UsageError, match="what was made lies in"),
        OutputFolder.at(tmp_path / "out", PLAIN).staged() as staging,
    ):
        (staging / "model").write_text("after")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis").write_text("precious")
    assert names(tmp_path / "out") == ["thesis"]


@pytest.mark.parametrize("content", ['{"name": "an app", "icons": []}', '{"files": {}}', "[]", "{", "1"])
def test_a_folder_with_some_other_manifest_is_left_alone(tmp_path: Path, content: str):
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "index.html").write_text("an app")
    with pytest.raises(UsageError, match="is not a bundle as mien wrote it"):
        OutputFolder.at(tmp_path, BUNDLE)


def test_a_folder_of_another_kind_is_left_alone(tmp_path: Path):
    """Who exports into the folder of a checkpoint would lose what was trained."""
    make(tmp_path / "out", PLAIN)
    for kind in (BUNDLE, Kind("folder of appraisals")):
        with pytest.raises(UsageError, match=f"is not a {kind.name} as mien wrote it"):
            OutputFolder.at(tmp_path / "out", kind)


def test_work_that_fails_leaves_the_folder_as_it_was(tmp_path: Path):
    make(tmp_path / "out", text="before")
    before = names(tmp_path)
    with pytest.raises(ZeroDivisionError), OutputFolder.at(tmp_path / "out", PLAIN).staged() as staging:
        (staging / "model").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == before
    assert (tmp_path / "out" / "deep" / "model").read_text() == "before"


def test_a_file_and_a_mount_point_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        OutputFolder.at(tmp_path / "file", PLAIN)
    with pytest.raises(UsageError, match="is a mount point"):
        OutputFolder.at(Path("/proc"), PLAIN)
    with pytest.raises(UsageError, match="is a mount point"):
        OutputFolder.at(Path("/"), PLAIN)


def test_a_link_that_the_user_names_is_followed_once(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "real", text="before")
    make(tmp_path / "link", text="after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "deep" / "model").read_text() == "after"


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path):
    """Where folders cannot be exchanged in one step: the next command gives back what was put aside."""
    output, aside = tmp_path / "out", tmp_path / ".out.mien-before"
    make(output, text="before")
    output.rename(aside)
    OutputFolder.at(output, PLAIN)
    assert (output / "deep" / "model").read_text() == "before"
    make(aside, text="older")
    OutputFolder.at(output, PLAIN)
    assert not aside.exists()
    assert (output / "deep" / "model").read_text() == "before"


def _killed(output: Path, moment: int) -> bool:
    """Write a folder in a child that ends without a word before its ``moment``th call to the system."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    left = moment

    def count(event: str, _: object) -> None:
        nonlocal left
        left -= event.startswith(("os.", "open", "shutil.", "ctypes."))
        if left < 0:
            os._exit(9)

    sys.addaudithook(count)
    make(output, text="after")
    os._exit(0)


def test_a_kill_at_any_moment_leaves_the_folder_of_before_or_after(tmp_path: Path):
    """The next command sweeps what was left."""
    output, found, moment = tmp_path / "out", set(), 0
    make(output, text="before")
    while _killed(output, moment):
        found.add((output / "deep" / "model").read_text())
        make(output, text="before")
        assert not list(tmp_path.glob(".*"))
        moment += 1
    assert moment > 50
    assert found == {"before", "after"}


APPRAISALS = Kind("folder of appraisals")


def test_what_is_written_in_place_replaces_what_was_there_and_is_listed(tmp_path: Path):
    output = tmp_path / "out"
    for name in ("first", "second"):
        with OutputFolder.at(output, APPRAISALS).in_place() as writer:
            assert names(output) == []
            with writer.new(name) as stream:
                stream.write(b"picture")
    assert names(output) == [LISTING, "second"]
    assert list(json.loads((output / LISTING).read_text())["files"]) == ["second"]


def test_interrupted_work_in_place_keeps_what_was_written_and_may_be_replaced(tmp_path: Path):
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), OutputFolder.at(output, APPRAISALS).in_place() as writer:
        writer.new("first").close()
        raise KeyboardInterrupt
    assert names(output) == [LISTING, "first"]
    with OutputFolder.at(output, APPRAISALS).in_place():
        assert names(output) == []


def test_what_comes_into_the_folder_is_neither_overwritten_nor_taken_for_ours(tmp_path: Path):
    output, secret = tmp_path / "out", tmp_path / "secret"
    secret.write_text("mine")
    with (
        pytest.raises(UsageError, match="was put there meanwhile"),
        OutputFolder.at(output, APPRAISALS).in_place() as writer,
    ):
        (output / "picture").symlink_to(secret)
        writer.new("picture")
    assert secret.read_text() == "mine"
    with pytest.raises(UsageError, match="picture was not written by mien"):
        OutputFolder.at(output, APPRAISALS)


def test_half_of_a_file_is_not_kept_and_the_folder_stays_ours(tmp_path: Path):
    """As when the disk gets full while a picture is written."""
    output = tmp_path / "out"
    with pytest.raises(TypeError), OutputFolder.at(output, APPRAISALS).in_place() as writer:
        writer.write_all({"whole": b"data", "half": "no bytes"})  # type: ignore[dict-item]
    assert names(output) == [LISTING, "whole"]
    OutputFolder.at(output, APPRAISALS)


def test_a_listing_that_names_files_elsewhere_removes_none(tmp_path: Path):
    output, thesis = tmp_path / "out", tmp_path / "thesis"
    thesis.write_text("mine")
    entry = files_of(tmp_path)["thesis"]
    output.mkdir()
    (output / LISTING).write_text(json_text({"kind": "folder of appraisals", "files": {"../thesis": entry}}))
    with OutputFolder.at(output, APPRAISALS).in_place():
        assert os.listdir(output) == []  # noqa: PTH208
    assert thesis.read_text() == "mine"


def test_names_that_are_not_utf_8_are_listed_and_known_again(tmp_path: Path):
    name = os.fsdecode(b"n\xff.png")
    for text in (b"before", b"after"):
        with OutputFolder.at(tmp_path / "out", PLAIN).in_place() as writer:
            writer.write_all({name: text})
    assert (tmp_path / "out" / name).read_bytes() == b"after"
    assert list(json.loads((tmp_path / "out" / LISTING).read_text())["files"]) == [r"n\xff.png"]
    (tmp_path / "out" / name).write_bytes(b"changed")
    with pytest.raises(UsageError, match=r"n.*xff.png was not written by mien, or was changed"):
        OutputFolder.at(tmp_path / "out", PLAIN)
