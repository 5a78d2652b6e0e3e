"""What mien export and mien cache do with bundles that are kept."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.export.cache.store import PLACE, FolderCache
from mien.mobile_reference.commands.console import main

from .conftest import content


class Exports:
    """Stands for the real export: counts, puts the fake bundle in its place, and does what a test asks."""

    def __init__(self, bundle: Path) -> None:
        self.bundle, self.count = bundle, 0
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, request: Any, progress: Any) -> Any:
        from mien.export.exporter import ExportReport

        self.count += 1
        shutil.rmtree(request.output, ignore_errors=True)
        shutil.copytree(self.bundle, request.output)
        self.meanwhile()
        return ExportReport(1.0, 1, ("few inputs",), {}, ())


@pytest.fixture
def exports(bundle: Path, kept: FolderCache, monkeypatch: pytest.MonkeyPatch) -> Exports:
    # What the libraries leave in the environment is there in every export of this process, or in none.
    importlib.import_module("mien.export.exporter")
    made = Exports(bundle)
    monkeypatch.setattr("mien.export.exporter.make_bundle", made)
    # Whoever works on mien while its tests run changes these.
    monkeypatch.setattr("mien.export.cache.key._folder_of", lambda room: bundle)
    monkeypatch.setattr("mien.export.cache.key.source_commit", lambda: "1234")
    # What the table shows; a bundle without models has no sizes.
    monkeypatch.setattr("mien.export.packing.variants_table.variants_table", lambda spec, manifest: spec.name)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "model.pt").write_text("weights")
    return tmp_path / "model.pt"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_nothing_is_made_again_of_which_nothing_changed(
    exports: Exports,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def import_libraries() -> None:
        """They leave variables behind, for the export's own process alone."""
        monkeypatch.setenv("TF_OF_THIS_TEST", "3")

    exports.meanwhile = import_libraries
    assert run("export", source, "-o", tmp_path / "one") == 0
    monkeypatch.delenv("TF_OF_THIS_TEST")
    assert "unchanged" not in capsys.readouterr().out
    assert run("export", source, "-o", tmp_path / "two") == 0
    told = capsys.readouterr()
    assert exports.count == 1
    assert "unchanged" in told.out
    assert "warning: few inputs" in told.err
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(exports.bundle)
    source.write_text("other weights")
    assert run("export", source, "-o", tmp_path / "two") == 0
    assert exports.count == 2


@pytest.mark.parametrize("option", ["--fresh", "--timings"])
def test_an_export_can_be_asked_to_make_it_anew(
    option: str, exports: Exports, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.export.compare.yardstick.measure_yardstick", lambda *_: {})
    monkeypatch.setattr("mien.export.running.timings.timings_table", lambda *_: "")
    for _ in range(2):
        assert run("export", source, "-o", tmp_path / "out", option) == 0
    assert exports.count == 2


def test_what_changed_during_an_export_is_not_kept(exports: Exports, source: Path, tmp_path: Path) -> None:
    exports.meanwhile = lambda: source.write_text("changed meanwhile")
    for _ in range(2):
        assert run("export", source, "-o", tmp_path / "out") == 0
    assert exports.count == 2
    source.write_text("weights")
    assert run("export", source, "-o", tmp_path / "out") == 0
    assert exports.count == 3


def test_what_lies_at_the_place_and_is_not_a_bundle_stays(
    exports: Exports, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", source, "-o", tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "thesis").write_text("mine")
    assert run("export", source, "-o", tmp_path / "two") == 2
    assert "move it away" in capsys.readouterr().err
    assert content(tmp_path / "two") == {"thesis": b"mine"}


def test_a_damaged_bundle_is_made_anew_and_the_one_at_the_place_is_replaced(
    exports: Exports, source: Path, kept: FolderCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", source, "-o", tmp_path / "out")
    (entry,) = kept.entries()
    (entry.folder / "files" / "manifest.json").write_text("{}")
    capsys.readouterr()
    assert run("export", source, "-o", tmp_path / "out") == 0
    assert "is damaged" in capsys.readouterr().err
    assert exports.count == 2
    assert content(tmp_path / "out") == content(exports.bundle)
    assert run("export", source, "-o", tmp_path / "out") == 0
    assert exports.count == 2


def test_it_can_be_switched_off(
    exports: Exports, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, "off")
    for _ in range(2):
        assert run("export", source, "-o", tmp_path / "out") == 0
    assert exports.count == 2
    assert not (tmp_path / "cache").exists()


def test_mien_cache_shows_and_clears(
    exports: Exports, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", source, "-o", tmp_path / "out")
    capsys.readouterr()
    assert run("cache") == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert shown[1].startswith("1 bundles, ")
    assert str(tmp_path / "cache" / "bundles") in shown[1]
    assert shown[2].startswith("0 conversions, ")
    assert run("cache", "--clear") == 0
    assert capsys.readouterr().out.startswith("0 bundles, 0.0 MB")
    assert content(tmp_path / "out") == content(exports.bundle)


def test_mien_cache_says_that_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PLACE, "off")
    assert run("cache") == 0
    assert capsys.readouterr().out == "nothing is kept: MIEN_CACHE is off\n"
