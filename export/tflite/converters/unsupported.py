"""Operations that a converter does not convert: which one it is, and what to use instead."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn import functional

from mien.export.errors import ConversionError
from mien.export.tflite.onnx_to_tflite.unroll_lstm import STEPS

# Where several fit, the first counts.
_INSTEAD: tuple[tuple[str, str], ...] = (
    (r"fft|stft|complex", "a convolution with fixed weights"),
    (r"linalg|det\b|inverse|svd|eig|qr\b|cholesky", "matrix products, or compute it before the export"),
    (r"sort|topk|unique|nonzero|median|kth", "a maximum, or a pooling of a fixed window"),
    (r"adaptive_max", "a maximum over the map, or a pooling of a fixed window"),
    (r"quantized", "the float module, which is quantised here"),
    (r"unpool", "nn.Upsample or a transposed convolution"),
    (r"deform", "a convolution, dilated where it must reach further"),
    (
        r"grid_?sampl|affine_?grid",
        "a resize by a fixed factor, a warp before the graph, or grid_sample of mode='nearest'",
    ),
    (r"onnx_conv", "a convolution whose weights are stored, or a matrix product for computed weights of 1x1"),
    (
        r"lstm",
        f"torch.nn.LSTM of a fixed length, at most {STEPS} steps over all layers and directions, or a GRU",
    ),
    (r"gru|rnn|loop|while|\bif\b", "a fixed number of steps, written out"),
)
_GENERAL = "convolution, pooling, resizing and element-wise arithmetic, which every converter converts"


def unsupported(converter: str, operation: str) -> ConversionError:
    """Say which operation it is, and what to write in its place."""
    fits = (instead for pattern, instead in _INSTEAD if re.search(pattern, operation.lower()))
    return ConversionError(f"{converter} does not convert {operation}; use {next(fits, _GENERAL)} instead")


@contextmanager
def naming_operations(converter: str, pattern: str) -> Iterator[None]:
    """Turn an error whose text has ``pattern``, the operation its first group, into one that says more."""
    try:
        yield
    except Exception as failure:
        found = re.search(pattern, str(failure))
        operation = found[1] if found else _function(failure)
        if operation is None:
            raise
        raise unsupported(converter, operation) from failure


def _function(failure: Exception) -> str | None:
    """Name the function of ``torch.nn.functional`` that failed in a trace; none if none did."""
    frames = (frame for frame, _ in traceback.walk_tb(failure.__traceback__))
    functions = (f.f_code.co_name for f in frames if f.f_globals.get("__name__") == functional.__name__)
    return next((name for name in functions if not name.startswith("_")), None)
