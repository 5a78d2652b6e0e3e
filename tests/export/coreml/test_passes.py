"""What coremltools leaves out of its passes changes no package."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mien.export.coreml.canonical_package import canonicalise
from mien.export.coreml.passes import rarely_validated


def _package(folder: Path) -> dict[str, bytes]:
    """Convert a small network, and read the files of its package."""
    import coremltools as ct

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 1)
    ).eval()
    traced = torch.jit.trace(net, torch.rand(1, 3, 16, 16))
    given = [ct.TensorType(name="x", shape=(1, 3, 16, 16))]
    ct.convert(traced, inputs=given, convert_to="mlprogram", skip_model_load=True).save(str(folder))
    canonicalise(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_validated_or_not_a_package_is_the_same(tmp_path: Path) -> None:
    with rarely_validated():
        ours = _package(tmp_path / "ours.mlpackage")
    assert ours == _package(tmp_path / "theirs.mlpackage")


def test_the_thorough_validations_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil import Program

    validate, asked = Program.validate, list[bool]()

    def count(program: Any, **how: bool) -> None:
        asked.append(how.get("check_essential_scope", False))
        validate(program, **how)

    monkeypatch.setattr(Program, "validate", count)
    _package(tmp_path / "all.mlpackage")
    thorough = asked.count(True)
    assert len(asked) > 3 * thorough > 0
    asked.clear()
    with rarely_validated():
        _package(tmp_path / "rarely.mlpackage")
    assert asked == [True] * thorough
    assert Program.validate is count
