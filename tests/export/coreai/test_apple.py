"""Core AI: packages that are refused, a process that dies, modules that Apple refuses, Apple's runtime."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.coreai import apple as module
from mien.export.coreai.apple import Apple, check_version
from mien.export.environments import COREAI, Environment
from mien.export.errors import ConversionError, CoreAIError, ExportError
from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.files import default_cache

FACE = TensorSpec("face", (1, 8, 6, 3), "uint8", 255, "of a test", PICTURE)
HEAT = TensorSpec("heat", (1, 8, 6, 4), "float32", 1, "of a test", PICTURE)
SCORE = TensorSpec("score", (1,), "float32", 1, "of a test")
# A worker that dies, and one that refuses all it is asked for.
DIES = "import sys\nsys.stderr.write('no such symbol\\n')\nsys.exit(3)\n"
REFUSES = (
    'import sys\nfor _ in sys.stdin:\n    print(\'{"fault": "ValueError: aten.odd\\\\nmore"}\', flush=True)\n'
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        heat = torch.relu(self.layer(face.float() / 255))
        return heat, heat.mean((1, 2, 3))


@pytest.fixture
def component() -> Component:
    tensors = {one.name: one for one in (FACE, HEAT, SCORE)}
    return Component("net", Net().eval(), ("face",), ("heat", "score"), quantise=True, tensors=tensors)


def package(folder: Path, metadata: object) -> Path:
    folder.mkdir()
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts another program in the place of the worker."""

    def put(code: str) -> Path:
        worker = tmp_path / "worker.py"
        worker.write_text(code)
        monkeypatch.setattr(module, "_WORKER", worker)
        monkeypatch.setattr(Environment, "checked", lambda self, cache: Path(sys.executable))
        return tmp_path

    return put


def test_a_package_of_this_version_is_taken(tmp_path: Path) -> None:
    check_version(package(tmp_path / "a.aimodel", {"assetVersion": "2.0"}))


def test_a_package_of_a_later_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    later = package(tmp_path / "a.aimodel", {"assetVersion": "3.1"})
    with pytest.raises(CoreAIError, match=r"version 3\.1, this mien reads 2; make it with mien coreai"):
        check_version(later)


@pytest.mark.parametrize("metadata", [{}, [], {"assetVersion": "new"}, {"assetVersion": None}])
def test_what_is_not_a_package_is_refused(tmp_path: Path, metadata: object) -> None:
    with pytest.raises(CoreAIError, match="is not a Core AI package"):
        check_version(package(tmp_path / "a.aimodel", metadata))
    with pytest.raises(CoreAIError, match="is not a Core AI package"):
        check_version(tmp_path / "nothing.aimodel")


def test_without_the_environment_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is not set up; mien setup coreai$"):
        Apple(tmp_path)


def test_a_process_that_dies_is_told_by_its_last_words(pretend, component: Component, tmp_path: Path) -> None:
    cache = pretend(DIES)
    with Apple(cache) as apple, pytest.raises(CoreAIError, match=r"died \(no such symbol\); delete .*coreai"):
        apple.convert(component, tmp_path / "net.aimodel")


def test_what_apple_refuses_is_one_line(pretend, component: Component, tmp_path: Path) -> None:
    with (
        Apple(pretend(REFUSES)) as apple,
        pytest.raises(ConversionError, match=r"cannot make net: .*aten\.odd$"),
    ):
        apple.convert(component, tmp_path / "net.aimodel")


def test_a_module_that_pytorch_cannot_export_is_one_line(
    pretend, component: Component, tmp_path: Path
) -> None:
    class Asks(nn.Module):
        def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
            return (face, face) if face.sum() > 3 else (face + 1, face)

    odd = replace(component, name="odd", module=Asks())
    with (
        Apple(pretend(REFUSES)) as apple,
        pytest.raises(ConversionError, match="PyTorch cannot export odd: "),
    ):
        apple.convert(odd, tmp_path / "odd.aimodel")


def test_apples_runtime_computes_what_the_module_does(component: Component, tmp_path: Path) -> None:
    if not COREAI.is_ready(default_cache()):
        pytest.skip("Apple's runtime is not set up here; mien setup coreai")
    target = tmp_path / "net.aimodel"
    face = np.random.default_rng(5).integers(0, 256, FACE.shape).astype(np.uint8)
    with Apple(default_cache()) as apple:
        apple.convert(component, target)
        made = apple.model(target, (FACE,), (HEAT, SCORE))({"face": face})
    with torch.no_grad():
        heat, score = component.module(torch.from_numpy(face).permute(0, 3, 1, 2))
    assert made["heat"].shape == HEAT.shape
    np.testing.assert_allclose(made["heat"], heat.permute(0, 2, 3, 1).numpy(), atol=1e-6)
    np.testing.assert_allclose(made["score"], score.numpy(), atol=1e-6)
