"""Ranges from histograms, and what is wrong with them."""

import numpy as np
import pytest

from mien.export.tflite import ranges as ranges_module
from mien.export.tflite.ranges import (
    Histogram,
    Method,
    _histogram,
    _joined,
    range_warnings,
    ranges_by,
    with_headroom,
)


def seen(*samples: np.ndarray) -> Histogram:
    return _joined([_histogram(np.asarray(sample, np.float32)) for sample in samples])


def by(method: Method, histogram: Histogram) -> tuple[float, float]:
    return ranges_by(method, {"x": histogram})["x"]


def test_min_max_reaches_every_value_of_every_face() -> None:
    histogram = seen(np.linspace(-1, 2, 100), np.linspace(0, 5, 100_000))
    assert by(Method.MIN_MAX, histogram) == (-1.0, 5.0)
    assert histogram.counts.sum() == pytest.approx(1)


def test_a_value_that_the_stride_skips_still_counts_for_the_range() -> None:
    values = np.zeros(1 << 18)
    values[1] = 7
    assert seen(values).high == 7


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_counts_for_nothing(odd: float) -> None:
    values = np.array([3.0, odd, -1.0, 2.0])
    assert by(Method.MIN_MAX, seen(values)) == (-1.0, 3.0)
    np.testing.assert_array_equal(seen(values).counts, seen(np.array([3.0, -1.0, 2.0])).counts)
    assert by(Method.MIN_MAX, seen(np.array([odd]))) == (0.0, 0.0)


def test_percentile_leaves_out_rare_values() -> None:
    values = np.concatenate([np.linspace(0, 1, 16_383), [50.0]])
    low, high = by(Method.PERCENTILE, seen(values))
    assert low == 0
    # One bin of 512 is a tenth wide.
    assert 1 <= high <= 1.2


def test_least_squares_gives_up_an_outlier_for_finer_steps() -> None:
    usual = np.random.default_rng(0).normal(0, 1, 16_384)
    rare = np.concatenate([usual[:-2], [-9.0, 9.0]])
    low, high = by(Method.MSE, seen(*[usual] * 47, rare))
    assert -6 < low < -2
    assert 2 < high < 6


def test_values_without_outliers_keep_their_range() -> None:
    histogram = seen(np.linspace(0, 1, 16_000))
    for method in Method:
        np.testing.assert_allclose(by(method, histogram), (0, 1), atol=0.03)


def test_a_constant_has_a_range() -> None:
    for method in Method:
        low, high = by(method, seen(np.full(100, 3.0)))
        assert np.isfinite([low, high]).all()


def test_a_tensor_that_never_left_zero_is_named() -> None:
    dead, alive = seen(np.zeros(100)), seen(np.linspace(0, 1, 100))
    found = {"dead": dead, "alive": alive}
    (warning,) = range_warnings(found, ranges_by(Method.MIN_MAX, found))
    assert warning.startswith("dead never left zero")


def test_a_tensor_that_its_range_cuts_off_is_named() -> None:
    found = {"x": seen(np.linspace(0, 1, 1000))}
    assert list(range_warnings(found, {"x": (0.0, 1.0)})) == []
    (warning,) = range_warnings(found, {"x": (0.0, 0.5)})
    assert warning.startswith("x has 50% of its values outside its range")


def test_the_fewer_values_were_seen_the_more_room_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"few": 4, "some": 100, "many": 1_000_000}
    monkeypatch.setattr("mien.export.tflite.ranges.activation_sizes", lambda _: sizes)
    found = {name: seen(np.linspace(-1, 2, 100)) for name in sizes}
    highs = {name: histogram.high for name, histogram in with_headroom(found, b"", 10).items()}
    assert highs["few"] > highs["some"] > highs["many"] == 2
    assert highs["few"] < 2 * 2.1


def test_the_room_holds_what_a_million_values_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.export.tflite.ranges.activation_sizes", lambda _: {"x": 100})
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        found = with_headroom({"x": seen(rng.normal(size=900))}, b"", 9)["x"]
        held += found.low < -4 and found.high > 4
    # Of a normal distribution's values one of 15,800 lies outside of 4 deviations, one of a million of 4.9.
    assert held > 80


def test_values_that_float32_hardly_tells_apart_have_a_histogram() -> None:
    """Of numbers so close that float32 has no borders for all bins."""
    low = np.float32(1e6)
    values = np.array([low, np.nextafter(low, np.float32(2e6))], np.float32)
    found = ranges_module._histogram(values)
    assert (found.low, found.high) == (float(values[0]), float(values[1]))
    assert (found.counts[0], found.counts[-1]) == (0.5, 0.5)


def test_least_squares_weighs_what_is_cut_off_against_a_step_s_rounding() -> None:
    """A step of uniform error has a mean square of its twelfth part."""
    values = np.random.default_rng(0).normal(0, 1, 20_000).astype(np.float32)
    histogram = ranges_module._histogram(np.append(values, np.float32(9)))

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        outside = histogram.centres - histogram.centres.clip(low, high)
        return float(step * step / 12 + (histogram.counts * outside**2).sum())

    low, high = ranges_module._least_squares(histogram)
    shrinks = np.linspace(0.3, 1.0, 36)
    best = min(shrinks, key=lambda shrink: error(histogram.low * shrink, histogram.high * shrink))
    assert (low, high) == pytest.approx((histogram.low * best, histogram.high * best))
    assert 0.3 < best < 1.0
