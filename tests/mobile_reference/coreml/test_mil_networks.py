"""A few of the twelve networks; all of them with ``python -m tests.mobile_reference.coreml.networks``."""

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("coremltools")
pytest.importorskip("onnxruntime")

from tests.mobile_reference.coreml import networks

# The size of PyTorch's own float32 rounding against float64: 4e-7 to 5e-6 over the twelve.
FLOAT32 = 1e-5


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x1_0", "squeezenet1_1"])
def test_a_network_agrees_with_pytorch(name, tmp_path):
    row = networks.measure(name, tmp_path)
    assert row.operations > 40
    assert 0 < row.float32 <= FLOAT32
    # A third opinion, which knows neither Core ML's converter nor the evaluator.
    assert 0 < row.onnx <= FLOAT32
    # float16 has 4.9e-4 per rounding; dozens of layers and random weights make up to 2e-2 of it
    assert FLOAT32 < row.float16 < 3e-2


def test_every_operation_of_coremltools_is_known_but_one_that_is_never_saved():
    assert networks.operations() == (167, 168)
