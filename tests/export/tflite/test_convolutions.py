"""Convolutions of a TFLite graph by their names in PyTorch, and the ranges of what they read."""

import json
from pathlib import Path

import pytest
from torch import nn

from mien.export.tflite.convolutions import convolution_ranges, module_name
from mien.mobile_reference.tflite.flatbuffer import activation_ranks
from mien.models.appraisal.checkpoint import Checkpoint


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("student/stages.1/stages.1.0/layers/layers.6", "student.stages.1.0.layers.6"),
        ("inpainter/coarse/up.2/gate", "inpainter.coarse.up.2.gate"),
        ("head/project.0", "head.project.0"),
        ("stages.1/stages.10", "stages.1.stages.10"),
    ],
)
def test_a_path_in_onnx_is_a_module_in_pytorch(path: str, name: str) -> None:
    assert module_name(path) == name


@pytest.fixture(scope="module")
def graph(exported: Path) -> bytes:
    return (exported / "models" / "tflite-fp32" / "appraisal.tflite").read_bytes()


def test_every_convolution_of_the_net_has_a_range(
    exported: Path, graph: bytes, checkpoint: Checkpoint
) -> None:
    ranges = json.loads((exported / "ranges" / "appraisal.json").read_text())
    net = checkpoint.appraisal.named_modules()
    convolutions = {name for name, module in net if isinstance(module, nn.Conv2d)}
    assert convolutions == convolution_ranges(graph, ranges).keys()


def test_a_convolution_that_runs_again_has_the_range_of_all_runs(graph: bytes) -> None:
    names = activation_ranks(graph)
    low = {name: -2.0 for name in names if "_1/Conv" in name}
    high = {name: 4.0 for name in names if "_2/Conv" in name}
    found = convolution_ranges(graph, {name: (low.get(name, -1.0), high.get(name, 3.0)) for name in names})
    assert found["teacher.stages.2.0.layers.3"] == (-2.0, 4.0)
    assert found["student.stages.2.0.layers.3"] == (-2.0, 3.0)
    assert found["inpainter.refine.to_rgb"] == (-1.0, 3.0)
