"""Rounding that lets errors cancel: what it promises to quantisers, and that it errs less."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mien.calibration.moments import Moments
from mien.export.plan import ROUNDINGS, round_weights
from mien.export.weights.gptq import (
    Rounded,
    read_roundings,
    round_convolution,
    round_convolutions,
    same_weights,
    scaled,
    scales,
    write_roundings,
)
from mien.models.appraisal.checkpoint import REFERENCE
from mien.models.sources import open_pipeline


def drawn(seed: int, outputs: int, inputs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw weights [outputs, inputs, 1, 1] and samples [K, inputs] whose values go together."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(outputs, inputs, 1, 1))
    causes = generator.normal(size=(500, max(1, inputs // 4)))
    samples = causes @ generator.normal(size=(causes.shape[1], inputs)) + 0.1 * generator.normal(
        size=(500, inputs)
    )
    return weights, samples + 3


def moments_of(samples: NDArray[np.float64]) -> Moments:
    covariance = np.cov(samples, rowvar=False, bias=True).reshape(samples.shape[1], -1)
    return Moments(samples.mean(axis=0), covariance)


def steps(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), outputs=st.integers(1, 5), inputs=st.integers(1, 12))
def test_weights_are_whole_steps_and_the_greatest_stays(seed: int, outputs: int, inputs: int) -> None:
    weights, samples = drawn(seed, outputs, inputs)
    found = round_convolution(weights, np.zeros(outputs), moments_of(samples)).weight
    levels = found / steps(weights)
    # float32 weights: seven digits.
    np.testing.assert_allclose(levels, np.rint(levels), atol=2e-5)
    # A quantiser that looks for the greatest weight finds the same steps.
    np.testing.assert_allclose(steps(found), steps(weights), rtol=1e-6)


def test_outputs_err_less_than_by_rounding_to_the_nearest() -> None:
    weights, samples = drawn(0, 16, 32)
    found = round_convolution(weights, np.zeros(16), moments_of(samples))
    nearest = np.rint(weights / steps(weights)) * steps(weights)

    def error(kernel: NDArray[np.float64], bias: NDArray[np.float32]) -> float:
        made = samples @ kernel[:, :, 0, 0].T + bias
        return float(np.square(made - samples @ weights[:, :, 0, 0].T).mean())

    assert error(found.weight, found.bias) < 0.25 * error(nearest, np.zeros(16, np.float32))


def test_the_mean_of_every_output_is_kept() -> None:
    weights, samples = drawn(1, 8, 12)
    bias = np.linspace(-1, 1, 8)
    found = round_convolution(weights, bias, moments_of(samples))
    expected = samples.mean(axis=0) @ weights[:, :, 0, 0].T + bias
    np.testing.assert_allclose(
        samples.mean(axis=0) @ found.weight[:, :, 0, 0].T + found.bias, expected, atol=1e-5
    )


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_inputs_that_never_vary_and_channels_of_zeros_are_no_trouble(value: float) -> None:
    weights = np.zeros((2, 3, 1, 1))
    weights[0] = 0.7
    moments = Moments(np.full(3, value), np.zeros((3, 3)))
    found = round_convolution(weights, np.zeros(2), moments)
    np.testing.assert_allclose(found.weight, weights, rtol=1e-6)
    np.testing.assert_allclose(found.bias, 0, atol=1e-6)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    made = {
        name: Rounded(*(generator.normal(size=shape).astype(np.float32) for shape in ((4, 3, 1, 1), 4) * 2))
        for name in ("a.b.0", "a")
    }
    write_roundings(made, tmp_path / "r.safetensors")
    read = read_roundings(tmp_path / "r.safetensors")
    assert read.keys() == made.keys()
    for name, one in made.items():
        for field, array in asdict(one).items():
            np.testing.assert_array_equal(asdict(read[name])[field], array)


def test_roundings_do_not_depend_on_the_number_of_threads(exported: Path, tmp_path: Path) -> None:
    made = []
    before = torch.get_num_threads()
    for threads in (1, 4):
        traces = tmp_path / f"of {threads}"
        traces.mkdir()
        face = np.load(exported / "golden" / "nobody-02-cleft" / "face.npy")
        save_file({"face": face}, traces / "0000.safetensors")
        torch.set_num_threads(threads)
        round_weights(open_pipeline(REFERENCE), traces)
        assert torch.get_num_threads() == threads
        made.append((traces / ROUNDINGS).read_bytes())
    torch.set_num_threads(before)
    assert made[0] == made[1]


def test_weights_of_a_dead_channel_are_known_after_float16() -> None:
    weights = drawn(0, 4, 12)[0].astype(np.float32)
    weights[2] *= 3e-6  # below float16's normal numbers, whose steps are coarser than a thousandth there
    halved = weights.astype(np.float16).astype(np.float32).reshape(4, -1)
    assert same_weights(halved, weights)
    halved[1, 0] *= 1.01
    assert not same_weights(halved, weights)


def test_convolutions_are_rounded_with_batch_normalisation_folded_and_the_net_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3)).eval()
    net[1].weight.data = torch.tensor([1.0, 2.0, -4.0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    told: list[tuple[str, int, int]] = []
    samples = [[torch.rand(1, 2, 4, 4)] for _ in range(3)]
    found = round_convolutions(net, samples, lambda *part: told.append(part))
    assert told == [
        *(("watching convolutions", done, 3) for done in range(4)),
        *(("rounding weights", done, 1) for done in range(2)),
    ]
    assert {name: bool(torch.equal(value, before[name])) for name, value in net.state_dict().items()} == (
        dict.fromkeys(before, True)
    )
    (rounded,) = found.values()
    scale = net[1].weight.detach() / torch.sqrt(net[1].running_var + net[1].eps)
    folded = net[0].weight.detach() * scale[:, None, None, None]
    np.testing.assert_allclose(rounded.source, folded.numpy(), rtol=1e-5)
    step = np.abs(rounded.source).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(rounded.weight - rounded.source) <= step * 1.5).all()


def test_rows_that_are_multiples_of_others_say_of_how_much() -> None:
    source = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    factors = np.array([2.0, 0.5], np.float32)
    found = scales(source * factors[:, None], source)
    assert found is not None
    assert found.tolist() == factors.tolist()
    assert scales(source, source[::-1]) is None
    # A row of one weight is a multiple of any other.
    assert scales(np.array([[2], [3]], np.float32), np.array([[1], [1]], np.float32)) is None
    same = scales(np.array([[2], [3]], np.float32), np.array([[2], [3]], np.float32))
    assert same is not None
    assert same.tolist() == [1.0, 1.0]


def test_every_output_channel_is_multiplied_by_its_factor() -> None:
    weight, bias = np.ones((2, 3, 1, 1), np.float32), np.array([1.0, 2.0], np.float32)
    made = scaled(Rounded(weight, bias, 2 * weight, 3 * bias), np.array([2.0, 5.0], np.float32))
    assert made.weight[:, 0, 0, 0].tolist() == [2.0, 5.0]
    assert made.source[:, 2, 0, 0].tolist() == [4.0, 10.0]
    assert made.bias.tolist() == [2.0, 10.0]
    assert made.source_bias.tolist() == [6.0, 30.0]
