"""Bundles that are kept: found whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.export.cache.store import FolderCache, NotKept, files_in
from mien.mobile_reference.bundle.reader import sha256

from .conftest import content

KEY, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64


def fetched(kept: FolderCache, key: str, target: Path) -> tuple[str, ...]:
    return kept.fetch(key, target)


def test_what_was_kept_is_found_with_its_warnings(kept: FolderCache, bundle: Path, tmp_path: Path) -> None:
    kept.keep(KEY, bundle, files_in(bundle), ["few inputs", "left out: x"])
    assert fetched(kept, KEY, tmp_path / "out") == ("few inputs", "left out: x")
    assert content(tmp_path / "out") == content(bundle)
    with pytest.raises(NotKept):
        fetched(kept, OTHER, tmp_path / "other")


def _append(name: str) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        with (entry / name).open("ab") as stream:
            stream.write(b" ")

    return damage


DAMAGE: dict[str, Callable[[Path], None]] = {
    "manifest": _append("files/manifest.json"),
    "model": _append("files/models/tflite-fp32/rate.tflite"),
    "golden": _append("files/golden/someone/x.npy"),
    "no manifest": lambda entry: (entry / "files/manifest.json").unlink(),
    "no model": lambda entry: (entry / "files/models/tflite-fp16/rate.tflite").unlink(),
    "no bundle": lambda entry: (entry / "files").rename(entry / "gone"),
    "a file more": lambda entry: (entry / "files/notes.txt").touch(),
    "no record": lambda entry: (entry / "record.json").unlink(),
    "record cut short": lambda entry: (entry / "record.json").write_text('{"manifest'),
    "record of another kind": lambda entry: (entry / "record.json").write_text("[]"),
    "record of another bundle": lambda entry: (entry / "record.json").write_text(
        '{"files": {"manifest.json": "0"}, "notes": []}'
    ),
    "record of files outside": lambda entry: (entry / "record.json").write_text(
        '{"files": {"../manifest.json": "0"}, "notes": []}'
    ),
    "record is a folder": lambda entry: ((entry / "record.json").unlink(), (entry / "record.json").mkdir())[
        0
    ],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_bundle_is_said_and_removed(
    damage: Callable[[Path], None],
    kept: FolderCache,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept.keep(KEY, bundle, files_in(bundle), [])
    damage(kept.folder / KEY)
    with pytest.raises(NotKept):
        fetched(kept, KEY, tmp_path / "out")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is damaged" in said
    assert not (kept.folder / KEY).exists()
    kept.keep(KEY, bundle, files_in(bundle), [])
    assert fetched(kept, KEY, tmp_path / "again") == ()


def test_the_ones_not_used_for_longest_make_room(bundle: Path, tmp_path: Path) -> None:
    size = sum(map(len, content(bundle).values()))
    kept = FolderCache(tmp_path / "cache", int(2.5 * size))
    for number, key in enumerate((KEY, OTHER)):
        kept.keep(key, bundle, files_in(bundle), [])
        os.utime(kept.folder / key, (number, number))
    fetched(kept, KEY, tmp_path / "out")  # now it was used last
    kept.keep(THIRD, bundle, files_in(bundle), [])
    assert {entry.folder.name for entry in kept.entries()} == {KEY, THIRD}


def test_what_is_too_large_is_not_kept(bundle: Path, tmp_path: Path) -> None:
    kept = FolderCache(tmp_path / "cache", 100)
    kept.keep(KEY, bundle, files_in(bundle), [])
    assert kept.entries() == []


def test_foreign_files_stay(kept: FolderCache, bundle: Path) -> None:
    kept.keep(KEY, bundle, files_in(bundle), [])
    (kept.folder / "thesis.txt").write_text("mine")
    (kept.folder / ("d" * 64)).write_text("a file with the name of a key")
    (kept.folder / "notes").mkdir()
    assert [entry.folder.name for entry in kept.entries()] == [KEY]
    kept.clear()
    assert {one.name for one in kept.folder.iterdir()} == {"thesis.txt", "d" * 64, "notes"}


def test_what_a_killed_export_left_is_swept(kept: FolderCache, bundle: Path) -> None:
    kept.folder.mkdir(parents=True)
    left = kept.folder / ".mien-01234567.partial"
    left.mkdir()
    kept.keep(KEY, bundle, files_in(bundle), [])
    assert not left.exists()


def test_the_second_of_two_exports_keeps_what_the_first_did(
    kept: FolderCache, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found nothing; the other one is done while this one copies."""

    def slow(file: Path) -> str:
        monkeypatch.undo()
        FolderCache(kept.folder).keep(KEY, bundle, files_in(bundle), ["first"])
        return sha256(file)

    monkeypatch.setattr("mien.export.cache.store.sha256", slow)
    kept.keep(KEY, bundle, files_in(bundle), ["second"])
    assert fetched(kept, KEY, tmp_path / "out") == ("first",)
    assert [one.name for one in kept.folder.iterdir()] == [KEY]


def test_a_cache_that_cannot_be_written_is_said_and_stops_nothing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept = FolderCache(tmp_path / "file" / "cache")
    kept.keep(KEY, bundle, files_in(bundle), [])
    assert "nothing is kept" in capsys.readouterr().err
    assert kept.entries() == []


def test_a_full_disk_leaves_nothing_behind(
    kept: FolderCache, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mien.export.cache.store.sha256", full)
    kept.keep(KEY, bundle, files_in(bundle), [])
    assert "No space left" in capsys.readouterr().err
    assert list(kept.folder.iterdir()) == []
