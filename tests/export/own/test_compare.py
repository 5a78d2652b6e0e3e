"""The comparisons of converters and quantisers, of a pipeline of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from mien.export.compare import command
from mien.export.compare.converters import MISSING, WORKS
from mien.export.tflite.converters import CONVERTERS, DEFAULT
from mien.models import sources
from tests.commands import call_mien

from .conftest import GRADER


@pytest.mark.parametrize("name", command.COMPARISONS)
def test_a_comparison_opens_its_pipeline_once(
    name: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    real = sources.open_pipeline

    def counted(source: sources.Source) -> Any:
        opened.append(real(source))
        return opened[-1]

    def compared(subject: command.Compared, folder: Path, _report: Any) -> tuple[()]:
        assert subject.pipeline.spec.tensors
        assert list((folder / "traces").iterdir())
        return ()

    monkeypatch.setattr(sources, "open_pipeline", counted)
    monkeypatch.setitem(command.COMPARISONS, name, command.Comparison(compared, command.converter_table))
    options = ("--calibration", pictures, *(("--held-out", pictures) if name == "quantisers" else ()))
    call_mien("export", GRADER, f"--compare-{name}", *options)
    assert len(opened) == 1


def test_the_command_reports_each_converter_and_writes_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = [one for one in CONVERTERS if not one.installed()]
    options = ("--graph", "segment", "--calibration", pictures, "--json")
    done = call_mien("export", GRADER, "--compare-converters", *options)
    found = {one["converter"]: one for one in json.loads(done.stdout)}
    assert list(found) == [one.name for one in CONVERTERS]
    assert found[DEFAULT.name]["state"] == WORKS
    for one in missing:
        assert found[one.name]["state"] == MISSING
        assert one.install in done.stderr
    assert list(tmp_path.iterdir()) == []
