"""What a GPU made, watched and judged: all zero, not finite, nothing on the GPU, half floats' limit."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import numpy as np
import pytest

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import ANY, RELATIVE, GateSpec
from mien.mobile_reference.errors import VulkanError
from mien.mobile_reference.metrics import METRICS
from mien.mobile_reference.tflite.gpu import Placement
from mien.mobile_reference.verify import on_gpu as on_gpu_module
from mien.mobile_reference.verify.on_gpu import HALF_FACTOR, Placed, _relaxed, _zero_in_float
from mien.mobile_reference.verify.stages import StageResult

ON = Placement(3, 3, (), "a test")


@pytest.mark.parametrize(
    ("runs", "zero", "said"),
    [
        ([[0.0, 0.0], [0.0, -2.0]], False, ""),
        ([[0.0, -2.0], [0.0, 0.0]], False, ""),
        ([[0.0, 0.0], [0.0, 0.0]], False, "heat is all zero on the GPU"),
        ([[0.0, 0.0], [0.0, 0.0]], True, ""),
        ([[1.0, np.nan], [1.0, 1.0]], False, "heat has values that are not finite"),
        ([[1.0, 1.0], [1.0, -np.inf]], False, "heat has values that are not finite"),
    ],
)
def test_what_no_gate_may_see_is_said(runs: list[list[float]], *, zero: bool, said: str) -> None:
    placed = Placed("v", "m", ON)
    for values in runs:
        placed.watch({"heat": np.array(values, np.float32)})
    problems = list(placed.problems({"heat": zero}))
    assert len(problems) == bool(said)
    assert all(one.startswith("v: model m") and said in one for one in problems)


def test_a_model_of_which_nothing_is_on_the_gpu_says_why() -> None:
    (line,) = Placed("v", "m", Placement(3, 0, ("CAST: no",), "a test")).problems({})
    assert line == "v: model m: the GPU runs none of its operations; CAST: no"


def test_a_tensor_is_zero_in_float_if_it_is_in_every_golden_input() -> None:
    def golden(**tensors: list[float]) -> Any:
        return SimpleNamespace(vectors=tensors, read=lambda name: np.array(tensors[name]))

    goldens = [golden(a=[0.0, 0.0], b=[0.0, 0.0]), golden(a=[0.0, 0.0], b=[0.0, 1.0])]
    tensors = [SimpleNamespace(name=name) for name in ("a", "b", "nowhere")]
    bundle = SimpleNamespace(goldens=goldens, spec=SimpleNamespace(tensors=tensors))
    assert _zero_in_float(cast(Bundle, bundle)) == {"a": True, "b": False, "nowhere": True}


def test_half_floats_may_be_further_off_than_half_weights_and_never_less() -> None:
    gate = GateSpec("heat", RELATIVE, {ANY: 0.1})
    for limit in (0.01, 5.0):
        result = StageResult("v", "m", 0.0, gate, None, limit, "x")
        assert _relaxed(result, METRICS).limit == pytest.approx(max(limit, HALF_FACTOR * 0.1))
        unknown = replace(result, gate=GateSpec("heat", "its own", {ANY: 0.1}))
        assert _relaxed(unknown, METRICS) == unknown


def test_half_floats_that_are_not_there_are_not_taken_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu_module.os, "dup2", lambda *_: None)
    monkeypatch.setattr(on_gpu_module, "has_half_floats", lambda: False)
    monkeypatch.setattr(on_gpu_module, "verify", lambda *_, **__: pytest.fail("was judged"))
    vulkan = Mock(remedy="mien setup gpu-half")
    unit = Mock(arithmetic=on_gpu_module.Arithmetic.HALF)
    with pytest.raises(VulkanError, match=r"computes in float32 where half floats .*; mien setup gpu-half"):
        on_gpu_module.verify_on_gpu(Mock(), unit, vulkan, lambda _: None, METRICS)
    vulkan.find.assert_called_once()


def test_the_table_names_the_device_on_which_shaders_ran() -> None:
    placed = (Placed("tflite-fp32", "rate", Placement(3, 2, ("CUMSUM: no",), "a device")),)
    found = on_gpu_module.OnGPU(Mock(), placed, Mock(), {})
    table = on_gpu_module.placements_table(found)
    assert table.title == "operations on the GPU (a device)"
    assert [next(iter(column.cells)) for column in table.columns[:4]] == ["tflite-fp32", "rate", "2", "3"]
    nothing = on_gpu_module.placements_table(replace(found, placed=()))
    assert nothing.title == "operations on the GPU (no device)"
