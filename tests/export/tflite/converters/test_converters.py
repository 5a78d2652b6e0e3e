"""Each trap of a converter has its guard: without it the test fails."""

import hashlib
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.environments import Environment
from mien.export.errors import ConversionError
from mien.export.running.isolation import Limits, run_isolated
from mien.export.tflite import conversion
from mien.export.tflite.conversion import convert_float, convert_proven
from mien.export.tflite.converters import (
    CONVERTERS,
    Convert,
    flatbuffer_direct,
    litert_torch,
    tf_converter,
)
from mien.export.tflite.converters.onnx2tf_program import run_onnx2tf
from mien.export.tflite.converters.onnx_graph import to_onnx
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.onnx_to_tflite.repairs import shield_shared
from mien.export.tflite.passes.layout import channels_last_model
from mien.export.tflite.signature import order_by_signature
from mien.mobile_reference.tflite.flatbuffer import LAYOUT_OPERATIONS, operation_names, parse, serialise
from mien.models.appraisal.checkpoint import REFERENCE
from tests.export.components import shipped, with_module
from tests.export.small_models import Gates, Tapped, convert, nhwc_input, onnx_file
from tests.networks import Input, Network, component_of, samples_of


class Negated(nn.Module):
    """A converter's mistake: what the mask's graph computes, turned about."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, heat: Tensor) -> tuple[Tensor, ...]:
        return (1 - self.net.mask(heat),)


class Spectrum(nn.Module):
    """A graph with an operation that no converter converts."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, heat: Tensor) -> tuple[Tensor, ...]:
        return (torch.fft.fft2(self.net.mask(heat)).abs(),)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_input_file_is_not_rewritten(tmp_path: Path) -> None:
    module = Gates()
    ours, theirs = (onnx_file(module, tmp_path / f"{name}.onnx") for name in ("ours", "theirs"))
    before = _sha256(ours)
    run_onnx2tf(ours, tmp_path / "out", tflite_backend="flatbuffer_direct")
    assert _sha256(ours) == before == hashlib.sha256(onnx.load(str(ours)).SerializeToString()).hexdigest()
    # Without the guard it is: this is what the copy is for.
    convert(theirs, tmp_path / "other")
    assert _sha256(theirs) != before


def test_a_graph_is_simplified_as_onnx2tf_does_it_by_a_program(tmp_path: Path) -> None:
    file = onnx_file(Gates(), tmp_path / "gates.onnx")
    shielded = onnx.load(str(file))
    shield_shared(shielded)
    copy = tmp_path / "theirs" / "ours.copy.onnx"  # a model bears the name of its file
    copy.parent.mkdir()
    onnx.save(shielded, str(copy))
    theirs = convert(copy, copy.parent)
    assert run_onnx2tf(file, tmp_path / "ours", tflite_backend="flatbuffer_direct").read_bytes() == theirs


def test_an_output_read_inside_keeps_data_and_layout(tmp_path: Path) -> None:
    module = Tapped()
    file = onnx_file(module, tmp_path / "tapped.onnx", ("inside", "out"))
    made = run_onnx2tf(file, tmp_path / "out", tflite_backend="flatbuffer_direct").read_bytes()
    guarded = Runner(channels_last_model(made)).run([nhwc_input()])
    assert [output.shape for output in guarded] == [(1, 12, 16, 4)] * 2
    expected = module(torch.from_numpy(nhwc_input()).permute(0, 3, 1, 2))
    # Without the guards they come channels first, and the pass over layouts turns them.
    made = convert(file, tmp_path / "bare")
    assert [output.shape for output in Runner(made).run([nhwc_input()])] == [(1, 4, 12, 16)] * 2
    bare = Runner(channels_last_model(made)).run([nhwc_input()])
    for outputs in (guarded, bare):
        for output, reference in zip(outputs, expected, strict=True):
            # Sums of 36 products in another order.
            np.testing.assert_allclose(output, reference.detach().permute(0, 2, 3, 1).numpy(), atol=1e-5)


def _outputs_shielded_alone(model: onnx.ModelProto) -> None:
    shield_shared(model)
    copies = [node for node in model.graph.node if node.output[0].endswith("_shielded")]
    for node in copies:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [name.removesuffix("_shielded") for name in node.input]


def test_a_convolution_s_input_that_others_read_keeps_its_data(tmp_path: Path) -> None:
    graph = shipped("heatmap")
    for folder in ("guarded", "bare"):
        (tmp_path / folder).mkdir()
    face = np.zeros((1, 256, 256, 3), np.uint8)
    Runner(channels_last_model(flatbuffer_direct.convert(graph, REFERENCE, tmp_path / "guarded"))).run([face])
    # Without the guard the teacher's taps have none. No smaller model was found that shows it.
    exported = tmp_path / "bare" / "heatmap.onnx"
    to_onnx(graph, exported)
    model = onnx.load(str(exported))
    _outputs_shielded_alone(model)
    onnx.save(model, str(exported))
    bare = channels_last_model(convert(exported, tmp_path / "bare" / "made"))
    with pytest.raises((ConversionError, RuntimeError), match="lacks data"):
        Runner(bare).run([face])


def _swapped(model: bytes) -> bytes:
    """Do to a model's outputs what TensorFlow's converter does: another order, other names."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    graph.outputs = list(reversed([int(i) for i in graph.outputs]))
    for index in graph.outputs:
        graph.tensors[index].name = b"PartitionedCall:%d" % index
    return serialise(parsed)


def test_outputs_in_another_order_are_put_right(exported: Path) -> None:
    graph = shipped("rate")
    made = (exported / "models/tflite-fp32/rate.tflite").read_bytes()
    swapped = _swapped(made)
    assert Runner(swapped).signature() != Runner(made).signature()
    assert (
        Runner(order_by_signature(swapped, graph.inputs, graph.outputs)).signature()
        == Runner(made).signature()
    )


def _with_names(model: bytes, inputs: str, outputs: str) -> bytes:
    """Rename the tensors in a signature as litert-torch does."""
    parsed = parse(model)
    (signature,) = parsed.signatureDefs
    for maps, name, order in (
        (signature.inputs, inputs, list(parsed.subgraphs[0].inputs)),
        (signature.outputs, outputs, list(reversed(parsed.subgraphs[0].outputs))),
    ):
        for entry in maps:
            entry.name = f"{name}_{order.index(entry.tensorIndex)}".encode()
    return serialise(parsed)


def test_tensorflows_order_and_names_are_put_right(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored model, its outputs turned about, stands for what TensorFlow's converter would make."""
    graph = shipped("rate")
    made = (exported / "models/tflite-fp32/rate.tflite").read_bytes()
    (tmp_path / "swapped").write_bytes(_swapped(made))
    monkeypatch.setattr(tf_converter, "to_onnx", lambda *_: None)
    monkeypatch.setattr(tf_converter, "run_onnx2tf", lambda *_, **__: tmp_path / "swapped")
    found = tf_converter.convert(graph, REFERENCE, tmp_path)
    assert Runner(found).signature() == Runner(made).signature()


def test_litert_torchs_order_and_names_are_put_right(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that copies a stored model stands for the environment of litert-torch."""
    graph = shipped("rate")
    made = (exported / "models/tflite-fp32/rate.tflite").read_bytes()
    (tmp_path / "swapped").write_bytes(_with_names(_swapped(made), "args", "output"))
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec cp {tmp_path / "swapped"} "$4"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(Environment, "checked", lambda *_: tmp_path / "python")
    found = litert_torch.convert(graph, REFERENCE, tmp_path)
    assert Runner(found).signature() == Runner(made).signature()


def test_a_model_of_other_tensors_is_refused(exported: Path, tmp_path: Path) -> None:
    graph = shipped("mask")
    stored = partial(_stored, exported / "models/tflite-fp32/heatmap.tflite")
    with pytest.raises(ConversionError, match="the converter made tensors"):
        convert_float(stored, graph, REFERENCE, _samples(graph, exported), tmp_path)


def test_channels_first_by_accident_is_turned(exported: Path, tmp_path: Path) -> None:
    graph = shipped("compare")
    made = flatbuffer_direct.convert(graph, REFERENCE, tmp_path)
    assert LAYOUT_OPERATIONS & set(operation_names(made))
    again = partial(_stored, tmp_path / "made")
    (tmp_path / "made").write_bytes(made)
    model = convert_float(again, graph, REFERENCE, _samples(graph, exported), tmp_path)
    assert not LAYOUT_OPERATIONS & set(operation_names(model.read_bytes()))


def test_a_signature_of_other_names_is_refused(exported: Path) -> None:
    made = (exported / "models/tflite-fp32/mask.tflite").read_bytes()
    with pytest.raises(ConversionError, match=r"signature has \['heat'\], expected \['face'\]"):
        order_by_signature(made, ("face",), ("mask",))


def _samples(graph: Component, exported: Path) -> list[dict[str, np.ndarray]]:
    golden = exported / "golden/nobody-01"
    return [{name: np.load(golden / f"{name}.npy") for name in (*graph.inputs, *graph.outputs)}]


def _stored(file: Path, graph: Component, source: Path | None, folder: Path) -> bytes:
    return file.read_bytes()


def _convert_stored(file: Path, exported: Path, folder: Path) -> None:
    graph = shipped("mask")
    convert_float(partial(_stored, file), graph, REFERENCE, _samples(graph, exported), folder)


def _convert_spectrum(folder: Path) -> None:
    flatbuffer_direct.convert(with_module("mask", Spectrum), None, folder)


def test_a_model_that_computes_something_else_is_refused(exported: Path, tmp_path: Path) -> None:
    wrong = with_module("mask", Negated)
    with pytest.raises(ConversionError, match="the converter changed it"):
        convert_float(flatbuffer_direct.convert, wrong, REFERENCE, _samples(wrong, exported), tmp_path)


def test_another_way_is_tried_where_one_makes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def proven(way: str, *rest: object) -> Path:
        asked.append(way)
        if way != "right":
            raise ConversionError(f"{way} changed it")
        return tmp_path

    monkeypatch.setattr(conversion, "convert_float", proven)
    one = shipped("mask")

    def convert(*ways: str) -> Path:
        return convert_proven(cast(Any, ways), one, REFERENCE, (), tmp_path)

    assert convert("wrong", "right") == tmp_path
    assert convert("right", "wrong") == tmp_path
    assert asked == ["wrong", "right", "right"]
    with pytest.raises(ConversionError, match="worse changed it"):
        convert("wrong", "worse")


@pytest.mark.parametrize("way", flatbuffer_direct.WAYS)
def test_a_map_of_eight_columns_is_split_by_its_channels(tmp_path: Path, way: Convert) -> None:
    one = component_of("shuffled")
    guesses = way in (flatbuffer_direct.convert, flatbuffer_direct.convert_decomposed)
    with pytest.raises(ConversionError, match="LiteRT cannot load") if guesses else nullcontext():
        convert_float(way, one, None, samples_of(one, 2, 1000), tmp_path)


def test_what_a_convolution_of_three_dimensions_makes_has_its_own_order(tmp_path: Path) -> None:
    networks = {"volume": Network(partial(nn.Conv3d, 2, 3, 3, padding=1), {"x": Input((1, 2, 4, 8, 8))})}
    one = component_of("volume", networks)
    convert_float(flatbuffer_direct.convert, one, None, samples_of(one, 2, 1000, networks), tmp_path)


@pytest.mark.parametrize("cut", [0, 7, 100, 0.5, 0.99])
def test_a_truncated_model_is_refused(exported: Path, tmp_path: Path, cut: float) -> None:
    made = (exported / "models/tflite-fp32/mask.tflite").read_bytes()
    (tmp_path / "cut").write_bytes(made[: int(cut * len(made)) if 0 < cut < 1 else int(cut)])
    task = partial(_convert_stored, tmp_path / "cut", exported, tmp_path)
    # In a process of its own, as always: LiteRT may crash on such a file.
    with pytest.raises(ConversionError, match=r"LiteRT cannot load|signal"):
        run_isolated(task, tmp_path / "log", Limits(), "cut")


def test_an_operation_that_no_converter_knows_is_named(exported: Path, tmp_path: Path) -> None:
    task = partial(_convert_spectrum, tmp_path)
    with pytest.raises(ConversionError, match=r"aten::fft_fft2; use a convolution"):
        run_isolated(task, tmp_path / "log", Limits(), "spectrum")


def test_what_is_missing_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = {one.name: one.install for one in CONVERTERS if not one.installed()}
    assert missing == {
        "flatbuffer_direct": "mien setup tflite",
        "tf_converter": "mien setup tensorflow",
        litert_torch.NAME: "mien setup litert-torch",
    }


def test_the_server_of_conversions_ends_with_the_export_and_loads_no_tensorflow() -> None:
    # coremltools would load it, and Triton then crashes the server that every conversion is forked from. It
    # would load torchvision too, and that PyTorch's compiler, which takes two seconds.
    seen = """
import ctypes, sys, mien.export.exporter
print({"torch._dynamo"} & set(sys.modules))
import mien.export.running.preload
print({"tensorflow", "onnx2tf", "torchvision", "torch._dynamo"} & set(sys.modules))
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal))  # PR_GET_PDEATHSIG
print(signal.value)
"""
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()", str(int(SIGKILL))]
