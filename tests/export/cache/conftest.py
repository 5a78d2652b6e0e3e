"""A small bundle without models, and a cache of its own."""

from pathlib import Path

import numpy as np
import pytest

from mien.export.cache.store import BUNDLES, PLACE, FolderCache
from mien.mobile_reference.contract import SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec
from tests.mobile_reference.fakebundles import write_bundle

SPEC = PipelineSpec(
    name="grader",
    tensors=(TensorSpec("x", (1, 4), "float32", 1, ""), TensorSpec("grade", (1,), "float32", 100, "")),
    stages=(StageSpec("rate", ("x",), ("grade",)),),
    gates=(GateSpec("grade", SCALAR, {"fp32": 0.01, "fp16": 0.1}),),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle as an export leaves it, but for its models; the manifest has what the command shows."""
    folder = tmp_path / "made"
    write_bundle(folder, SPEC, {"x": np.zeros((1, 4)), "grade": np.zeros(1)})
    return folder


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderCache:
    """An empty cache, which the command uses too."""
    monkeypatch.setenv(PLACE, str(tmp_path / "cache"))
    found = FolderCache.of_user(BUNDLES)
    assert found is not None
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
