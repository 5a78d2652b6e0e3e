"""Moments of what convolutions read, against windows that are cut out one by one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mien.calibration import moments as watching
from mien.calibration.moments import Window, convolution_moments, seen
from mien.models.appraisal.networks.layers import SameConv


class Twice(nn.Module):
    """Runs one convolution on the face and on its half, and a depthwise one."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.dense = convolution
        self.depthwise = nn.Conv2d(3, 3, 3, groups=3)

    def forward(self, face: Tensor) -> Tensor:
        return self.depthwise(face).sum() + self.dense(face).sum() + self.dense(face / 2).sum()


class Dense(nn.Module):
    """Runs one convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.dense = convolution

    def forward(self, face: Tensor) -> Tensor:
        return torch.as_tensor(self.dense(face))


def windows(face: np.ndarray, kernel: int, stride: int, before: int, after: int) -> np.ndarray:
    """List every window of [C, H, W], flat."""
    padded = np.pad(face, ((0, 0), (before, after), (before, after)))
    rows = range(0, padded.shape[1] - kernel + 1, stride)
    columns = range(0, padded.shape[2] - kernel + 1, stride)
    return np.stack([padded[:, y : y + kernel, x : x + kernel].ravel() for y in rows for x in columns])


def test_groups_looked_at_one_by_one_have_the_bits_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Conv2d(6, 9, 3, groups=3)
    face = torch.rand(1, 6, 40, 50, generator=torch.manual_seed(1))
    once = convolution_moments(nn.Sequential(net), [[face]])["0"]
    monkeypatch.setattr(watching, "_NUMBERS", 1)
    one_by_one = convolution_moments(nn.Sequential(net), [[face]])["0"]
    assert once.covariance.shape == (3, 18, 18)
    assert np.array_equal(once.covariance, one_by_one.covariance)
    assert np.array_equal(once.mean, one_by_one.mean)


@pytest.mark.parametrize(
    ("convolution", "cut"),
    [
        (nn.Conv2d(3, 4, 1), (1, 1, 0, 0)),
        (nn.Conv2d(3, 4, 3, padding=1), (3, 1, 1, 1)),
        # An even picture and a stride of 2: all of the padding is on the far side.
        (SameConv(3, 4, 3, 2), (3, 2, 0, 1)),
        (nn.Conv2d(3, 4, 3, padding="same"), (3, 1, 1, 1)),
    ],
    ids=["1x1", "padded", "same", "same by name"],
)
def test_moments_are_those_of_all_windows(convolution: nn.Conv2d, cut: tuple[int, int, int, int]) -> None:
    faces = [torch.randint(0, 256, (1, 3, 12, 16), generator=torch.manual_seed(n)) for n in range(2)]
    found = convolution_moments(Twice(convolution), [[face] for face in faces])
    assert found.keys() == {"dense", "depthwise"}
    (dense,) = found["dense"].groups
    pictures = [face[0].float().numpy() * share for face in faces for share in (1, 0.5)]
    seen = np.concatenate([windows(picture, *cut) for picture in pictures]).astype(np.float64)
    np.testing.assert_allclose(dense.mean, seen.mean(axis=0))
    expected = np.cov(seen, rowvar=False, bias=True)
    np.testing.assert_allclose(dense.covariance, expected, rtol=1e-9, atol=1e-9 * expected.max())


def test_a_dilated_convolution_is_seen_at_its_own_places() -> None:
    convolution = nn.Conv2d(1, 1, 3, dilation=4, bias=False)
    face = torch.rand(1, 1, 12, 12, generator=torch.manual_seed(0))
    (found,) = convolution_moments(Dense(convolution), [[face]])["dense"].groups
    expected = [
        float(face[0, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean()) for y in range(3) for x in range(3)
    ]
    np.testing.assert_allclose(found.mean, expected, rtol=1e-6)


def test_a_depthwise_convolution_is_seen_channel_by_channel() -> None:
    face = torch.rand(1, 3, 12, 16, generator=torch.manual_seed(0))
    found = convolution_moments(Twice(nn.Conv2d(3, 4, 1)), [[face]])["depthwise"].groups
    for channel, moments in enumerate(found):
        alone = windows(face[0, channel : channel + 1].numpy(), 3, 1, 0, 0).astype(np.float64)
        np.testing.assert_allclose(moments.mean, alone.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(moments.covariance, np.cov(alone, rowvar=False, bias=True), atol=1e-9)
    assert len(found) == 3


def test_what_a_convolution_reads_beyond_the_border_is_what_it_is_padded_with() -> None:
    zeros, repeated = (nn.Conv2d(1, 1, 3, padding=1, padding_mode=mode) for mode in ("zeros", "reflect"))
    face = torch.ones(1, 1, 8, 8)
    assert convolution_moments(Dense(repeated), [[face]])["dense"].mean[0] == pytest.approx(np.ones(9))
    assert convolution_moments(Dense(zeros), [[face]])["dense"].mean[0, 0] < 0.9


def test_a_large_map_is_seen_in_all_of_its_columns() -> None:
    # Every column has its own value: seen at an even step, some would never be.
    face = torch.arange(256.0).expand(1, 3, 256, 256)
    (moments,) = convolution_moments(Twice(nn.Conv2d(3, 4, 1)), [[face]])["dense"].groups
    # Some thousand of 65,536 places are looked at.
    assert moments.mean[0] == pytest.approx(127.5 * 0.75, rel=0.02)


_PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    size=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    window=st.builds(Window, _PAIRS, _PAIRS, _PAIRS, st.tuples(*[st.integers(-1, 2)] * 4)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_seen_at_some_places_is_what_all_windows_have_there(
    size: tuple[int, int], window: Window, layout: torch.memory_format
) -> None:
    x = torch.rand(1, 2, *size, generator=torch.manual_seed(0)).to(memory_format=layout)
    every = F.unfold(F.pad(x, window.padding), window.kernel, window.dilation, 0, window.stride)[0]
    step = every.shape[1] // 1024 | 1
    assert np.array_equal(seen(x, window), every[:, ::step].double().numpy())


class Overwriting(nn.Module):
    """Writes into what its convolution has read."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv2d(1, 1, 1)

    def forward(self, face: Tensor) -> Tensor:
        x = face * 2
        y = self.dense(x)
        return torch.as_tensor(y + x.zero_())


def test_what_is_overwritten_later_counts_as_it_was_read() -> None:
    face = torch.full((1, 1, 8, 8), 3.0)
    assert convolution_moments(Overwriting(), [[face]])["dense"].mean[0] == pytest.approx([6.0])
