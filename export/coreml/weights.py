"""Weights of a Core ML model in fewer bits: int8 per channel, or indices into a palette per tensor."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .passes import mended_passes

Palette = tuple[NDArray[Any], NDArray[np.uint8]]
"""The values of a palette [2 ** bits], ascending, of the weights' type; the place of each weight's, flat."""
_TURNS = 100  # of Lloyd's algorithm, at most: a few dozen settle every tensor here


def int8_weights(model: Any, names: Collection[str]) -> Any:
    """Quantise the constants ``names`` symmetrically per channel; activations stay float."""
    import coremltools.optimize as cto

    config = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    with mended_passes():
        return cto.coreml.linear_quantize_weights(model, _for_weights(names, config))


def palette_weights(model: Any, names: Collection[str], bits: int) -> Any:
    """Let each of the constants ``names`` index 2 ** ``bits`` values of its own; activations stay float."""
    import coremltools.optimize as cto

    # A palette of our own: coremltools' k-means needs a scikit-learn that Python 3.13 does not have.
    config = cto.coreml.OpPalettizerConfig(mode="custom", lut_function=_palette(bits), weight_threshold=0)
    with mended_passes():
        return cto.coreml.palettize_weights(model, _for_weights(names, config))


def _for_weights(names: Collection[str], config: Any) -> Any:
    import coremltools.optimize as cto

    return cto.coreml.OptimizationConfig(op_name_configs=dict.fromkeys(sorted(names), config))


def _palette(bits: int) -> Callable[[NDArray[Any]], Palette]:
    return lambda weight: palette(weight, 2**bits)


def palette(weight: NDArray[Any], size: int) -> Palette:
    """Find ``size`` values that stand for the numbers of ``weight`` with little squared error.

    Lloyd's algorithm, begun half way between evenly filled and evenly spaced cells: from there it settles in
    twenty turns on half the error that either alone leads to. It needs no chance, so the same weights have
    the same palette everywhere.
    """
    values = np.sort(weight.ravel().astype(np.float64))
    filled_evenly = values[(np.arange(size) * 2 + 1) * values.size // (2 * size)]
    centres = (filled_evenly + np.linspace(values[0], values[-1], size)) / 2
    for _ in range(_TURNS):
        ends = np.searchsorted(values, _borders(centres), side="right")  # of cells: they lie in a row
        filled = np.diff(ends, prepend=0, append=values.size)
        sums = np.bincount(np.repeat(np.arange(size), filled), weights=values, minlength=size)
        moved = np.where(filled, sums / np.maximum(filled, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    places = np.searchsorted(_borders(centres), weight.ravel())
    return centres.astype(weight.dtype), places.astype(np.uint8)


def _borders(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    return (centres[1:] + centres[:-1]) / 2
