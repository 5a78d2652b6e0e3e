"""The way of a value: who hands it on, who only answers, and where it climbs."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT

from . import tracer
from .way import STARTS, Way, read_way

# As several processes write it: in any order.
CALLS = [
    (4, "export.plan", "models.sources"),
    (1, "export.cli", "export.exporter"),
    (2, "export.exporter", "models.sources"),
    (3, "models.sources", "models.checkpoint"),
    (5, "export.exporter", "export.plan"),
    (6, "export.plan", "mobile_reference.reader"),
]


@dataclass(frozen=True)
class Request:
    """Something that holds what is followed."""

    source: object


def test_modules_that_hand_on_are_the_way_and_the_others_are_tools() -> None:
    way = read_way([json.dumps(call) for call in CALLS], "export.cli")
    assert way.stops == {
        "export.cli": [],
        "export.exporter": [],
        "models.sources": ["models.checkpoint"],
        "export.plan": ["mobile_reference.reader"],
    }
    assert way.climbs == [("models.sources", "export.plan")]


def test_a_way_down_has_no_climb() -> None:
    assert Way({"export.a": [], "models.b": [], "mobile_reference.c": []}).climbs == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Path("model.tflite"), "checkpoint"),
        (b"\x1c\0\0\0TFL3", "checkpoint"),
        (partial(print, Path("a.pt2")), "checkpoint"),
        (Request((1, Path("a.onnx"))), "checkpoint"),
        (Path("face.jpg"), "photograph"),
        ({"face": np.zeros((64, 64, 3))}, "photograph"),
    ],
)
def test_what_is_followed_is_known_inside_what_holds_it(value: object, kind: str) -> None:
    assert tracer.carries(value, kind)
    (other,) = tracer.KINDS.keys() - {kind}
    assert not tracer.carries(value, other)


def test_numbers_and_other_files_are_not_followed() -> None:
    for value in (1, "a.tflite", Path("a.json"), b"TFL3", np.zeros(3), [], {}):
        assert not any(tracer.carries(value, kind) for kind in tracer.KINDS)


def test_every_way_begins_at_a_module_of_the_rooms() -> None:
    for kind, start in STARTS.values():
        assert kind in tracer.KINDS
        assert (ROOT / start.replace(".", "/")).with_suffix(".py").is_file()


def test_a_process_is_traced_from_its_start(tmp_path: Path) -> None:
    """The tracer sees one module give a photograph to another, and nothing where it is not asked to."""
    (tmp_path / "sitecustomize.py").write_bytes(Path(tracer.__file__).read_bytes())
    (tmp_path / "mien").mkdir()
    (tmp_path / "mien" / "__init__.py").touch()
    (tmp_path / "mien" / "b.py").write_text("def take(photo, number):\n    pass\n")
    (tmp_path / "mien" / "a.py").write_text(
        "from pathlib import Path\nfrom mien import b\n"
        "def give():\n    b.take(None, 1)\n    b.take(Path('x.png'), 2)\ngive()\n"
    )
    file = tmp_path / "way.jsonl"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MIEN_WAY")}
    followed = {tracer.FILE: str(file), tracer.VALUE: "photograph"}
    for settings, lines in (({}, 0), (followed, 1)):
        seen = plain | {"PYTHONPATH": str(tmp_path)} | settings
        subprocess.run([sys.executable, "-S", "-c", "import sitecustomize, mien.a"], check=True, env=seen)
        assert len(file.read_text().splitlines() if file.exists() else []) == lines
    assert json.loads(file.read_text())[1:] == ["a", "b"]
