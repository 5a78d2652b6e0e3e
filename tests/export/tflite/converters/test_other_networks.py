"""Networks whose graphs a converter once spoiled or gave up on: each computes what PyTorch does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.tflite.blocks import find_blocks
from mien.export.tflite.conversion import convert_float, convert_proven
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.precision import ALL_INT8
from mien.export.tflite.quantise import finished, quantise, seen_by_converted
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_names, parse
from mien.models.exported_program import ProgramModule
from tests.networks import Input, Network, component_of, samples_of


class Residual(nn.Module):
    """A map of one or three axes that convolutions read, and a sum beside them."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.first, self.second = kind(2, 4, 3, padding=1), kind(4, 4, 3, padding=1)
        self.last = kind(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return torch.as_tensor(self.last(x + self.second(x)))


def pooled() -> nn.Module:
    """Make a network whose pooling's last window reaches beyond the map."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 2, 1))


NETWORKS = {
    "one_axis": Network(lambda: Residual(nn.Conv1d), {"x": Input((1, 2, 24))}),
    "three_axes": Network(lambda: Residual(nn.Conv3d), {"x": Input((1, 2, 4, 6, 6))}),
    "pooled": Network(pooled, {"x": Input((1, 32, 32, 3))}),
}


def _one(name: str, network: Network) -> Component:
    return component_of(name, {name: network})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_is_converted_the_usual_way(tmp_path: Path, name: str) -> None:
    samples = samples_of(one := _one(name, NETWORKS[name]), 4, 1, NETWORKS)
    convert_float(WAYS[0], one, None, samples, tmp_path)


class Linear(nn.Module):
    """Attention without a softmax: products of three tensors by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.all(x).sigmoid().chunk(3, -1)
        return torch.einsum("bnd,bde,bn->bne", query, torch.einsum("bnd,bne->bde", key, value), query.sum(-1))


def test_a_graph_that_a_converter_does_not_know_is_decomposed(tmp_path: Path) -> None:
    networks = {"linear": Network(Linear, {"x": Input((1, 6, 8))})}
    samples = samples_of(one := _one("linear", networks["linear"]), 4, 1, networks)
    (tmp_path / "usual").mkdir()
    with pytest.raises(ConversionError, match="does not convert ONNX_EINSUM"):
        convert_float(WAYS[0], one, None, samples, tmp_path / "usual")
    convert_proven(WAYS, one, None, samples, tmp_path)


class Causal(nn.Module):
    """Attention to what came before: a mask of negative infinity is added to the products."""

    def __init__(self, hidden: float) -> None:
        super().__init__()
        self.all, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.register_buffer("mask", torch.full((6, 6), hidden).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.all(x).chunk(3, -1)
        shares = (query @ key.transpose(1, 2) + self.get_buffer("mask")).softmax(-1)
        return torch.as_tensor(self.out(shares @ value))


@pytest.mark.parametrize("hidden", [float("-inf"), float(torch.finfo(torch.float32).min), -1e9])
def test_a_mask_of_infinity_stays_float_in_an_int8_graph(tmp_path: Path, hidden: float) -> None:
    networks = {"causal": Network(lambda: Causal(hidden), {"x": Input((1, 6, 8))})}
    samples = samples_of(one := _one("causal", networks["causal"]), 8, 1, networks)
    model = convert_proven(WAYS, one, None, samples, tmp_path)
    assert sum(block.weights > 0 for block in find_blocks(model.read_bytes())) == 2
    seen = seen_by_converted(one, model, ALL_INT8, {}, samples, samples)
    eight = Runner(quantise(model, ALL_INT8, seen, {}))
    exact = np.concatenate([sample["out0"] for sample in samples])
    made = np.concatenate([eight.run([sample["x"]])[0] for sample in samples])
    assert np.abs(exact - made).max() < 0.03 * np.ptp(exact)


class Unpooled(nn.Module):
    """Puts maxima back to where they were."""

    def forward(self, x: Tensor) -> Tensor:
        found, places = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(found, places, 2)


def test_a_function_that_fails_in_a_trace_is_named(tmp_path: Path) -> None:
    networks = {"unpooled": Network(Unpooled, {"x": Input((1, 8, 8, 3))})}
    one = _one("unpooled", networks["unpooled"])
    with pytest.raises(ConversionError, match=r"does not convert max_unpool2d; use nn\.Upsample or a"):
        convert_float(WAYS[0], one, None, samples_of(one, 1, 1, networks), tmp_path)


class Half(nn.Module):
    """Takes two inputs, and computes of one."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return F.relu(x)


def test_an_input_of_which_nothing_is_computed_is_told(tmp_path: Path) -> None:
    networks = {"half": Network(Half, {"x": Input((1, 4)), "other": Input((1, 4))})}
    one = _one("half", networks["half"])
    with pytest.raises(ConversionError, match=r"1 of the 2 inputs x, other are left .* leave it out of"):
        convert_float(WAYS[0], one, None, samples_of(one, 1, 1, networks), tmp_path)


def _unread(model: bytes) -> list[str]:
    """Name the constants that no operation reads."""
    parsed = parse(model)
    (graph,) = parsed.subgraphs
    read = {int(index) for one in graph.operators for index in one.inputs}
    return [
        one.name.decode()
        for place, one in enumerate(graph.tensors)
        if place not in read and constant_data(parsed, one) is not None
    ]


def test_weights_that_were_replaced_are_not_stored(tmp_path: Path) -> None:
    networks = {"rows": Network(lambda: nn.Linear(8, 24), {"x": Input((1, 6, 8))})}
    samples = samples_of(one := _one("rows", networks["rows"]), 1, 1, networks)
    model = convert_float(WAYS[0], one, None, samples, tmp_path).read_bytes()
    assert _unread(model)
    shipped = finished(model)
    assert not _unread(shipped)
    assert len(shipped) < len(model) - 8 * 24 * 4
    given = [samples[0]["x"]]
    np.testing.assert_array_equal(Runner(shipped).run(given)[0], Runner(model).run(given)[0])


class Widest(nn.Module):
    """Maxima of windows that overlap, since their number does not divide a map's rows and columns."""

    def __init__(self, count: tuple[int | None, ...] | int, axes: int = 2) -> None:
        super().__init__()
        kinds: tuple[tuple[type[nn.Module], type[nn.Module]], ...] = (
            (nn.Conv1d, nn.AdaptiveMaxPool1d),
            (nn.Conv2d, nn.AdaptiveMaxPool2d),
            (nn.Conv3d, nn.AdaptiveMaxPool3d),
        )
        kind, pool = kinds[axes - 1]
        self.first, self.pool, self.last = kind(3, 4, 3), pool(count), kind(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.last(self.pool(self.first(x))))


WIDEST = {
    "rows_and_columns": Network(lambda: Widest((2, 3)), {"x": Input((1, 13, 15, 3))}),
    "rows": Network(lambda: Widest((3, None)), {"x": Input((1, 12, 15, 3))}),
    "one_axis": Network(lambda: Widest(5, axes=1), {"x": Input((1, 3, 19))}),
    "three_axes": Network(lambda: Widest((2, 3, 2), axes=3), {"x": Input((1, 3, 7, 9, 8))}),
}


@pytest.mark.parametrize("name", WIDEST)
def test_maxima_of_uneven_windows_are_written_out(tmp_path: Path, name: str) -> None:
    samples = samples_of(one := component_of(name, WIDEST), 4, 1, WIDEST)
    (tmp_path / "module").mkdir()
    convert_float(WAYS[0], one, None, samples, tmp_path / "module")
    program = ProgramModule(torch.export.export(one.module, one.examples()))
    convert_float(WAYS[0], replace(one, module=program), None, samples, tmp_path)


def test_windows_that_are_alike_stay_one_pooling(tmp_path: Path) -> None:
    networks = {"even": Network(lambda: Widest((2, 3)), {"x": Input((1, 14, 17, 3))})}
    samples = samples_of(one := component_of("even", networks), 2, 1, networks)
    model = convert_float(WAYS[0], one, None, samples, tmp_path).read_bytes()
    names = list(operation_names(model))
    assert names.count("MAX_POOL_2D") == 1
    assert "CONCATENATION" not in names


class Placed(nn.Module):
    """The places of the maxima of uneven windows."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, (2, 3), return_indices=True)[1]


def test_an_operation_that_pytorch_cannot_write_as_onnx_is_named(tmp_path: Path) -> None:
    networks = {"placed": Network(Placed, {"x": Input((1, 13, 16, 3))})}
    one = component_of("placed", networks)
    with pytest.raises(ConversionError, match="does not convert adaptive_max_pool2d; use a maximum over"):
        convert_proven(WAYS, one, None, samples_of(one, 2, 1, networks), tmp_path)


class Best(nn.Module):
    """The best three of what every token is, and which these are."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(8, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, places = torch.topk(self.all(x), 3)
        return values, places.to(torch.int32)


def test_the_largest_values_and_their_places_are_converted(tmp_path: Path) -> None:
    networks = {"best": Network(Best, {"x": Input((1, 6, 8))})}
    samples = samples_of(one := component_of("best", networks), 4, 1, networks)
    (tmp_path / "module").mkdir()
    model = convert_float(WAYS[0], one, None, samples, tmp_path / "module").read_bytes()
    assert "TOPK_V2" in operation_names(model)
    program = ProgramModule(torch.export.export(one.module, one.examples()))
    convert_float(WAYS[0], replace(one, module=program), None, samples, tmp_path)
