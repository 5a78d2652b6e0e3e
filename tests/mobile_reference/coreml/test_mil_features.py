"""Interfaces as the converter writes them: pictures, flexible shapes, classifiers, functions."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")  # before coremltools: the other order can crash
ct = pytest.importorskip("coremltools")

from mien.mobile_reference.coreml import Evaluator, load_package  # noqa: E402
from mien.mobile_reference.coreml.parity import difference  # noqa: E402
from mien.mobile_reference.coreml.probes import Probes  # noqa: E402
from mien.mobile_reference.coreml.sources import SourceInput  # noqa: E402
from mien.mobile_reference.errors import EvaluationError  # noqa: E402

GENERATOR = np.random.default_rng(5)
PIXELS = GENERATOR.integers(0, 256, (12, 16, 3), dtype=np.uint8)
SCALE, BIAS = 1 / 127.5, [-1.0, -0.9, -1.1]


class Net(torch.nn.Module):
    """A convolution, so that neither colours nor axes can be exchanged unseen."""

    def __init__(self, channels, out):
        super().__init__()
        torch.manual_seed(1)
        self.conv = torch.nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x):
        return torch.sigmoid(self.conv(x)) * 255


class Labels(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x.mean((2, 3)), dim=1)


def convert(net, shape, folder, *, outputs=None, target="iOS16", **options):
    model = ct.convert(
        torch.jit.trace(net.eval(), torch.rand(shape)),
        outputs=outputs or [ct.TensorType(name="y")],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, target),
        skip_model_load=True,
        **options,
    )
    model.save(str(folder / "net.mlpackage"))
    return folder / "net.mlpackage"


def picture_type(layout, channels=3, **options):
    shape = (1, channels, *PIXELS.shape[:2])
    return ct.ImageType(name="face", shape=shape, color_layout=layout, scale=SCALE, **options)


def scaled(pixels, bias):
    planes = pixels.astype(np.float32).transpose(2, 0, 1) * SCALE
    return torch.from_numpy((planes + np.reshape(bias, (-1, 1, 1)))[None].astype(np.float32))


@pytest.mark.parametrize(("layout", "order"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_a_picture_is_scaled_and_ordered_as_the_package_says(layout, order, tmp_path):
    net = Net(3, 2)
    inputs = [picture_type(getattr(ct.colorlayout, layout), bias=BIAS)]
    package = convert(net, (1, 3, 12, 16), tmp_path, inputs=inputs)
    # The network was trained on the package's own order: for BGR it sees blue first.
    with torch.no_grad():
        expected = net(scaled(PIXELS[..., order], BIAS)).numpy()
    result = Evaluator(load_package(package))(face=PIXELS)["y"]
    assert difference("y", result, expected).relative <= 1e-5


def test_grey_in_and_a_picture_out(tmp_path):
    net, grey = Net(1, 1), PIXELS[..., :1]
    inputs = [picture_type(ct.colorlayout.GRAYSCALE, channels=1, bias=-1.0)]
    outputs = [ct.ImageType(name="mask", color_layout=ct.colorlayout.GRAYSCALE)]
    package = convert(net, (1, 1, 12, 16), tmp_path, inputs=inputs, outputs=outputs)
    with torch.no_grad():
        expected = net(scaled(grey, [-1.0])).numpy()[0, 0]
    mask = Evaluator(load_package(package))(face=grey[..., 0])["mask"]
    assert mask.dtype == np.uint8
    np.testing.assert_allclose(mask, expected, atol=0.501)  # whole numbers are at most half away


@pytest.mark.parametrize(
    ("flexible", "good", "bad"),
    [
        ("enumerated", [(12, 16), (24, 32)], (16, 16)),
        ("range", [(8, 8), (20, 9)], (7, 8)),
    ],
)
def test_flexible_shapes(flexible, good, bad, tmp_path):
    net = Net(3, 2)
    sizes = {
        "enumerated": ct.EnumeratedShapes(shapes=[(1, 3, 12, 16), (1, 3, 24, 32)]),
        "range": ct.Shape(shape=(1, 3, ct.RangeDim(8, 24, 12), ct.RangeDim(8, 24, 16))),
    }[flexible]
    inputs = [ct.TensorType(name="x", shape=sizes)]
    evaluator = Evaluator(load_package(convert(net, (1, 3, 12, 16), tmp_path, inputs=inputs)))
    for size in good:
        x = GENERATOR.random((1, 3, *size), dtype=np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(x)).numpy()
        assert difference("y", evaluator(x=x)["y"], expected).relative <= 1e-5
    with pytest.raises(EvaluationError, match="allowed"):
        evaluator(x=np.zeros((1, 3, *bad), np.float32))
    probe = next(iter(Probes(evaluator.function, evaluator.interface, Anything(), seed=0)))
    assert probe.inputs["x"].shape == (1, 3, 12, 16)


class Anything:
    """A source model that takes any x."""

    def takes(self, names):
        return {"x": SourceInput("x", "float32", (None, None, None, None))}

    def __call__(self, given):
        return list(given.values())


@pytest.mark.parametrize("labels", [["cat", "dog", "cow"], [7, 8, 9]])
def test_classifiers(labels, tmp_path):
    inputs = [ct.TensorType(name="x", shape=(1, 3, 4, 4))]
    settings = {"classifier_config": ct.ClassifierConfig(labels), "inputs": inputs}
    model = ct.convert(
        torch.jit.trace(Labels().eval(), torch.rand(1, 3, 4, 4)),
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
        **settings,
    )
    model.save(str(tmp_path / "net.mlpackage"))
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[0, 1] = 1
    result = Evaluator(load_package(tmp_path / "net.mlpackage"))(x=x)
    assert result["classLabel"] == labels[1]
    (shares,) = (value for value in result.values() if isinstance(value, dict))
    assert list(shares) == labels
    assert shares[labels[1]] == pytest.approx(np.e / (np.e + 2), abs=1e-3)


def test_several_functions_share_their_weights(tmp_path):
    nets, description = [Net(3, 2), Net(3, 4)], ct.utils.MultiFunctionDescriptor()
    for number, net in enumerate(nets):
        folder = tmp_path / str(number)
        folder.mkdir()
        inputs = [ct.TensorType(name="x", shape=(1, 3, 12, 16))]
        package = convert(net, (1, 3, 12, 16), folder, inputs=inputs, target="iOS18")
        description.add_function(str(package), "main", f"net{number}")
    description.default_function_name = "net1"
    ct.utils.save_multifunction(description, str(tmp_path / "both.mlpackage"))
    program = load_package(tmp_path / "both.mlpackage")
    x = GENERATOR.random((1, 3, 12, 16), dtype=np.float32)
    assert program.default_function == "net1"
    for number, net in enumerate(nets):
        with torch.no_grad():
            expected = net(torch.from_numpy(x)).numpy()
        result = Evaluator(program, function=f"net{number}")(x=x)["y"]
        assert difference("y", result, expected).relative <= 1e-5
