"""Gates as an engineer writes them, and the gates of a pipeline that gives none."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mien.mobile_reference.contract import EACH, SET, TensorSpec
from mien.mobile_reference.metrics import METRICS, allowed, measured, within
from mien.models.errors import PipelineError
from mien.models.gates import (
    correlation,
    data_of,
    default_gates,
    iou,
    judged_by,
    metrics_of,
    psnr,
    relative,
    scalar,
    top1,
    try_functions,
)


@pytest.mark.parametrize("ask", [scalar, relative, psnr, correlation, iou, top1])
def test_limits_are_by_precision(ask: object) -> None:
    gate = ask("t", fp32=0.01, fp16=0.1, int8=0.2)  # type: ignore[operator]
    assert [gate.limit(f"coreml-{name}") for name in ("fp32", "fp16", "pal4")] == [0.01, 0.1, 0.2]
    assert gate.over == (EACH if ask in (scalar, relative, psnr) else SET)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -0.1])
def test_a_limit_that_nothing_or_everything_keeps_is_refused(limit: float) -> None:
    with pytest.raises(PipelineError, match="give a number from 0"):
        iou("mask", int8=limit)


def test_a_gate_without_a_limit_is_refused() -> None:
    with pytest.raises(PipelineError, match="mask has no limit; give one by precision"):
        iou("mask")


def test_a_function_judges_under_its_own_name() -> None:
    def border(reference: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(reference[0] - other[0]).max())

    gates = [scalar("grade", any=1), judged_by("mask", border, fp16=0.1)]
    assert [gate.metric for gate in data_of(gates)] == ["scalar", "function:border"]
    metric = metrics_of(gates)["function:border"]
    losses = [measured(metric, np.array([1, 5]), np.array([value, 0]), 1) for value in (1.05, 1.5)]
    assert metric.combine(losses) == pytest.approx(0.5)
    assert math.isnan(measured(metric, np.array([1]), np.array([math.nan]), 1))


def test_a_function_that_fails_is_said_before_a_conversion() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise KeyError

    def raises(reference: np.ndarray, other: np.ndarray) -> float:
        raise {0: ValueError("no\nnumber"), 1: SystemExit(0), 2: OddError()}[int(other[0])]

    def no_number(reference: np.ndarray, other: np.ndarray) -> object:
        return "far"

    said = {0: "ValueError: no number", 1: "SystemExit: 0", 2: "OddError"}
    for value, text in said.items():
        with pytest.raises(PipelineError) as refused:
            try_functions(
                [scalar("grade", any=1), judged_by("mask", raises, any=1)], {"mask": np.array([value])}
            )
        assert str(refused.value) == f"the gate raises of mask raised {text}; let it return one number"
    with pytest.raises(PipelineError, match="the gate no_number of mask raised ValueError"):
        try_functions([judged_by("mask", no_number, any=1)], {"mask": np.array([1])})


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(PipelineError, match="give a function that has a name"):
        judged_by("mask", lambda reference, other: 0.0, fp16=0.1)


class Net(nn.Module):
    """A small network with a map and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.first(image).relu()
        return self.second(features).sigmoid(), self.head(features.mean((2, 3)))


def _judged(net: Net, other: Net, variant: str) -> list[bool | None]:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = ([value.numpy() for value in one(image)] for one in (net, other))
    outputs = [
        TensorSpec(name, value.shape, "float32", float(np.ptp(value)), "")
        for name, value in zip(("map", "vector"), ours, strict=True)
    ]
    pairs = {tensor.name: pair for tensor, *pair in zip(outputs, ours, theirs, strict=True)}
    verdicts = []
    for gate in default_gates(outputs):
        metric = METRICS[gate.metric]
        span = next(tensor.full_scale for tensor in outputs if tensor.name == gate.tensor)
        loss, limit = metric.combine([measured(metric, *pairs[gate.tensor], span)]), allowed(gate, variant)
        assert limit is not None
        verdicts.append(within(loss, limit))
    return verdicts


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_weights_of_one_layer_times_1_1_fail_in_float16(layer: str) -> None:
    net, other = Net().eval(), Net().eval()
    assert _judged(net, other, "tflite-fp16") == [True] * 4
    with torch.no_grad():
        getattr(other, layer).weight.mul_(1.1)
    assert False in _judged(net, other, "tflite-fp16")


def test_weights_rounded_to_float16_pass_in_float16_and_fail_in_float32() -> None:
    net, other = Net().eval(), Net().eval()
    with torch.no_grad():
        for weights in other.parameters():
            weights.copy_(weights.half().float())
    assert _judged(net, other, "coreml-fp16") == [True] * 4
    assert False in _judged(net, other, "coreml-fp32")


def test_one_value_has_no_correlation() -> None:
    (gate,) = default_gates([TensorSpec("grade", (1,), "float32", 1, "")])
    assert gate.metric == "relative"


def test_distances_between_classes_are_not_asked_for() -> None:
    (gate,) = default_gates([TensorSpec("classes", (1, 8, 8), "int32", 3, "")])
    assert gate.metric == "correlation"
