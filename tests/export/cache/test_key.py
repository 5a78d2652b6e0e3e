"""The key of an export: it changes with everything that a bundle follows from."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.export.cache import key as module
from mien.export.cache.key import Asked, key_of
from mien.export.environments import Environment
from mien.mobile_reference.front.resize import ResizeRule


class Package:
    """Stands for an installed package."""

    def __init__(self, name: str, version: str = "1", **files: str) -> None:
        self.name, self.version, self.files = name, version, files

    def read_text(self, name: str) -> str | None:
        return self.files.get(name.partition(".")[0])


RULE = ResizeRule(8, 10, (0.5,), (0.25,))
PACKAGES = [
    Package("torch", RECORD="torch/a.py,sha256=1,2\n"),
    Package("mien", entry_points="[mien.pipelines]"),
]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """An export of a folder with two inputs; mien is a folder with a file, beside one package."""
    for name in ("model.pt", "precision.json", "inputs/a.npz", "inputs/b.npz", "golden.npz", "room/code.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(module, "_folder_of", lambda room: tmp_path / "room")
    monkeypatch.setattr(module, "distributions", lambda: PACKAGES)
    monkeypatch.setattr(Environment, "packages", lambda *_: (Package("onnx2tf", RECORD="a.py"),))
    monkeypatch.setattr(module, "source_commit", lambda: "1234")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    named = [tmp_path / name for name in ("model.pt", "inputs", "golden.npz", "precision.json")]
    return Asked(named[0], (named[1],), (named[2],), ("tflite-fp32",), named[3], False, False)  # noqa: FBT003


def _packages(*packages: Package) -> Callable[..., None]:
    return lambda folder, monkeypatch: monkeypatch.setattr(module, "distributions", lambda: packages)


def _write(name: str, text: str = "changed") -> Callable[..., None]:
    def change(folder: Path, monkeypatch: Any) -> None:
        (folder / name).write_text(text)

    return change


CHANGES: dict[str, Callable[..., None]] = {
    "source": _write("model.pt"),
    "input": _write("inputs/b.npz"),
    "one input more": _write("inputs/c.npz"),
    "an input renamed": lambda folder, _: (folder / "inputs/b.npz").rename(folder / "inputs/c.npz"),
    "an input gone": lambda folder, _: (folder / "inputs/b.npz").unlink(),
    "golden": _write("golden.npz"),
    "precision": _write("precision.json"),
    "code": _write("room/code.py"),
    "more code": _write("room/more.json"),
    "commit": lambda _, patch: patch.setattr(module, "source_commit", lambda: "5678"),
    "threads": lambda _, patch: patch.setenv("OMP_NUM_THREADS", "7"),
    "processor": lambda _, patch: patch.setattr(module, "_processor", lambda: ["another"]),
    "version": _packages(Package("torch", "2", RECORD="torch/a.py,sha256=1,2\n"), PACKAGES[1]),
    "build": _packages(Package("torch", RECORD="torch/a.py,sha256=9,2\n"), PACKAGES[1]),
    "one package more": _packages(*PACKAGES, Package("onnx", RECORD="")),
    "converter": lambda _, patch: patch.setattr(
        Environment, "packages", lambda *_: (Package("onnx2tf", RECORD="b.py"),)
    ),
    "entry points": _packages(PACKAGES[0], Package("mien", entry_points="[mien.sources]")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_bundle_follows_from_changes_the_key(
    change: Callable[..., None], asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_of(asked)
    assert before is not None
    assert before == key_of(asked)
    change(tmp_path, monkeypatch)
    after = key_of(asked)
    assert after is not None
    assert after != before


def _options(asked: Asked) -> Iterator[Asked]:
    yield asked
    yield replace(asked, source=None)
    yield replace(asked, calibration=())
    yield replace(asked, golden=())
    yield replace(asked, calibration=asked.calibration + asked.golden, golden=())
    yield replace(asked, variants=("tflite-fp16",))
    yield replace(asked, variants=())
    yield replace(asked, precision=None)
    yield replace(asked, skip_unreadable=True)
    yield replace(asked, trust_pt2=True)
    yield replace(asked, front=RULE)
    yield replace(asked, front=replace(RULE, mean=RULE.std, std=RULE.mean))


def test_every_option_that_decides_has_a_key_of_its_own(asked: Asked) -> None:
    keys = [key_of(one) for one in _options(asked)]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_what_decides_nothing_changes_no_key(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_of(asked)
    (tmp_path / "room" / "code.pyc").write_text("compiled")
    (tmp_path / "beside.npz").write_text("not named")
    monkeypatch.setenv("COLUMNS", "77")
    assert key_of(asked) == before


@pytest.mark.parametrize(
    ("name", "text"), [("grader.py", "pipeline = ..."), ("model.onnx", "...location...weights.bin")]
)
def test_what_executes_or_refers_to_other_files_is_not_kept(
    name: str, text: str, asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert key_of(replace(asked, source=tmp_path / name)) is None


def test_an_onnx_file_that_is_whole_is_kept(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("...")
    assert key_of(replace(asked, source=tmp_path / "model.onnx")) is not None


@pytest.mark.parametrize(
    "change",
    [
        _packages(Package("torch"), PACKAGES[1]),
        _packages(Package("torch", RECORD="x", direct_url='{"dir_info":{"editable":true}}'), PACKAGES[1]),
        lambda _, patch: patch.setenv("PYTHONPATH", "/somewhere"),
        lambda folder, _: (folder / "inputs" / "more").symlink_to(folder / "room"),
    ],
    ids=["no list of files", "editable", "path", "link to a folder"],
)
def test_what_may_change_unseen_is_not_kept(
    change: Callable[..., None], asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(tmp_path, monkeypatch)
    assert key_of(asked) is None


def test_a_source_that_is_not_there_is_an_error_of_the_system(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.onnx"):
        key_of(replace(asked, source=tmp_path / "nowhere.onnx"))


def test_a_key_is_found_without_pytorch() -> None:
    code = (
        "import sys\n"
        "from mien.export.cache.key import Asked\n"
        "from mien.export.cache.reuse import Reuse\n"
        "Reuse.begin(Asked(None, (), (), (), None, False, False))\n"
        "print(sorted({'torch', 'onnx', 'scipy', 'coremltools'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
