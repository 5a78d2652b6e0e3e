"""What a release is made of: equal bytes, and the files that belong into it."""

import ast
import io
import re
import runpy
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import setuptools

from .dist import ROOT, build, normalised

EPOCH = 1_700_000_000


def archive(names: list[str], now: int, owner: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = 1, now, owner
            made.addfile(member, io.BytesIO(b"x"))
    return stream.getvalue()


def test_an_archive_does_not_tell_when_where_and_by_whom_it_was_made():
    one = normalised(archive(["a/c", "a/b"], 1, "me"), EPOCH)
    assert one == normalised(archive(["a/b", "a/c"], int(time.time()), "you"), EPOCH)
    assert one != normalised(archive(["a/b", "a/d"], 1, "me"), EPOCH)
    with tarfile.open(fileobj=io.BytesIO(one)) as made:
        assert {(member.mtime, member.uname) for member in made} == {(EPOCH, "")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("a release is made of a commit, and this is not a clone")
    return build(tmp_path_factory.mktemp("dist"), EPOCH)


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


def test_a_second_build_has_the_same_bytes(built: tuple[Path, Path], tmp_path: Path):
    again = build(tmp_path, EPOCH)
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in built]


def test_the_wheel_holds_every_file_of_the_rooms_and_no_other(built: tuple[Path, Path]):
    rooms = tracked("models", "calibration", "export", "mobile_reference", "benchmarks")
    names = {_packaged(name) for name in rooms}
    held = {name for name in zipfile.ZipFile(built[0]).namelist() if ".dist-info/" not in name}
    assert held - names == set()
    # Documents beside the code stay behind.
    assert {name for name in names - held if not name.endswith((".md", ".gitignore"))} == set()


def _packaged(name: str) -> str:
    inside = name.removeprefix("mobile_reference/api/")
    return f"mien/{inside}"


def test_the_archive_holds_what_a_build_needs(built: tuple[Path, Path]):
    with tarfile.open(built[1]) as made:
        held = {name.partition("/")[2] for name in made.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "PKG-INFO"} <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/", ".ci/"))]


def test_what_is_packed_of_others_is_named_with_its_licence():
    """Weights, pictures and models are all that is not text of ours."""
    notice = (ROOT / "NOTICE").read_text()
    kinds = (".safetensors", ".tflite", ".jpg", ".png", ".npy", ".mlpackage", ".npz", ".jar", ".so", ".bin")
    others = {n for n in tracked("models", "export", "mobile_reference", "benchmarks") if n.endswith(kinds)}
    assert others
    homes = {"models/appraisal/reference", "models/appraisal/bundle", "models/appraisal/samples"}
    assert not [name for name in others if not name.startswith(tuple(f"{home}/" for home in homes))]
    assert not [home for home in homes if home not in notice]
    assert "Apache License 2.0" in notice
    assert "CC BY 4.0" in notice


def test_the_version_stands_in_one_place():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("mien") == stated
    files = [
        ROOT / name for name in tracked("models", "export", "mobile_reference", "benchmarks", "calibration")
    ]
    said = re.compile(rf"__version__ *=|version *= *['\"]{re.escape(stated)}['\"]")
    assert not [file for file in files if file.suffix == ".py" and said.search(file.read_text())]


@pytest.mark.parametrize("version", [(3, 8), (3, 11), (3, 15)])
def test_another_python_is_told_in_one_line_what_to_do(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """By the file that pip runs before it compares versions; a Python that old can read it."""
    file = ROOT / "setup.py"
    ast.parse(file.read_text(), feature_version=(3, 8))
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(file))
    assert str(end.value).startswith(f"mien: this is Python {version[0]}.{version[1]}, and mien needs ")
    assert "\n" not in str(end.value)


def test_the_pythons_that_are_let_through_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch):
    ran: list[None] = []
    monkeypatch.setattr(setuptools, "setup", lambda: ran.append(None))
    bounds = runpy.run_path(str(ROOT / "setup.py"))
    assert len(ran) == 1
    (least, beyond) = (".".join(map(str, bounds[name])) for name in ("LEAST", "BEYOND"))
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert stated == f">={least},<{beyond}"


def test_metadata_is_complete(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        lines = wheel.read(name).decode().splitlines()
    wanted = ("Name: mien", "License-Expression: Apache-2.0", "License-File: NOTICE", "License-File: LICENSE")
    assert set(lines) >= {*wanted, "Description-Content-Type: text/markdown"}
