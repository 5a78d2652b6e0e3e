"""What a pipeline computes, by what PyTorch traces: every change of it is another, a new copy is the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mien.export.cache.contents import MadeBefore, ReuseOfContents
from mien.export.cache.store import FolderCache
from mien.models.file_inputs import FileInputs
from mien.models.gates import judged_by, relative
from mien.models.pipeline import Calibration, Gathered, Golden, Pipeline, Sample, Stage


class Net(nn.Module):
    """A small network that has everything that a graph may hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 3, stride=2)
        self.register_buffer("shift", torch.tensor([1.0]))
        self.register_buffer("hidden", torch.tensor([2.0]), persistent=False)
        self.plain, self.factor, self.most = torch.tensor([3.0]), 0.1, 10.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x) * self.factor + self.shift + self.hidden * self.plain
        return y.clamp(max=self.most)


def _with(name: str, value: object) -> Callable[[Net], None]:
    return lambda net: setattr(net, name, value)


def _weight(net: Net) -> None:
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] = torch.nextafter(net.conv.weight[0, 0, 0, 0], torch.tensor(9.0))


CHANGES: dict[str, Callable[[Net], None]] = {
    "the last bit of a weight": _weight,
    "a buffer": _with("shift", torch.tensor([1.5])),
    "a buffer that no state has": _with("hidden", torch.tensor([2.5])),
    "a tensor that is no buffer": _with("plain", torch.tensor([3.5])),
    "the last bit of a number": _with("factor", float(np.nextafter(0.1, 1))),
    "a limit that no input reaches": _with("most", 11.0),
    "an option of a layer": lambda net: setattr(net.conv, "stride", (3, 3)),
}


def _pipeline(net: nn.Module, **options: Any) -> Pipeline:
    options = {"gates": [relative("y", fp32=1)]} | options
    example = {"x": np.ones((1, 3, 9, 9), np.float32)}
    stage = Stage("rate", net.eval(), ("x",), ("y",))
    return Pipeline(name="small", stages=[stage], example=example, inputs=FileInputs(), **options)


def _changed(change: Callable[[Net], None]) -> Pipeline:
    net = Net()
    change(net)
    return _pipeline(net)


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., MadeBefore | None]:
    """Find what was made of a pipeline before; ``sample`` is added to its inputs."""
    reuse = ReuseOfContents(FolderCache(tmp_path / "b"), FolderCache(tmp_path / "c"), {"python": "3"})
    (tmp_path / "precision.json").write_text("{}")

    def of(pipeline: Pipeline, sample: float = 0, variants: tuple[str, ...] = ()) -> MadeBefore | None:
        tensors = {"x": np.full((1, 3, 9, 9), sample, np.float32), "y": np.zeros((1, 2, 4, 4), np.float32)}
        known = Calibration((Sample("one", tensors),), ("1" * 64,), ())
        gathered = Gathered(pipeline, known, [Golden(Sample("two", tensors), None, {})])
        source = tmp_path / "grader.py"
        return reuse.of(source, gathered, tmp_path / "precision.json", variants, tmp_path / "work")

    return of


def _keys(made: MadeBefore | None) -> tuple[object, str | None]:
    assert made is not None
    return made.conversions.common, made.key


def test_a_new_copy_of_a_network_is_the_same(found: Callable[..., Any]) -> None:
    one, other = _keys(found(_pipeline(Net()))), _keys(found(_pipeline(Net())))
    assert one == other
    assert one[1] is not None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_a_network_is_another(
    change: Callable[[Net], None], found: Callable[..., Any]
) -> None:
    one, other = _keys(found(_pipeline(Net()))), _keys(found(_changed(change)))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_a_gate_and_a_list_of_variants_change_the_bundle_and_no_conversion(
    found: Callable[..., Any],
) -> None:
    one = _keys(found(_pipeline(Net())))
    gated = _keys(found(_pipeline(Net(), gates=[relative("y", fp32=2)])))
    fewer = _keys(found(_pipeline(Net()), variants=("tflite-fp32",)))
    assert one[0] == gated[0] == fewer[0]
    assert len({one[1], gated[1], fewer[1]}) == 3


def test_an_input_changes_both(found: Callable[..., Any]) -> None:
    one, other = _keys(found(_pipeline(Net()))), _keys(found(_pipeline(Net()), sample=1))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_what_functions_judge_is_judged_again(found: Callable[..., Any]) -> None:
    def far(reference: Any, other: Any) -> float:
        return float(np.abs(reference - other).max())

    made = found(_pipeline(Net(), gates=[relative("y", fp32=1), judged_by("y", far, fp32=1)]))
    assert made is not None
    assert made.key is None


def test_what_pytorch_cannot_trace_is_not_kept(found: Callable[..., Any]) -> None:
    class Refuses(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("no tracing")
            return x

    assert found(_pipeline(Refuses())) is None
