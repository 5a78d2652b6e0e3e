"""Steps of int8 weights that are too small for their bias.

The step of an int32 bias is that of the input times that of the weight. Where a channel's weights are next to
nothing, as weight decay leaves them, the bias has more steps than int32 counts, and the quantiser stores the
greatest integer instead: another bias.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer
from mien.export.tflite.int8_products import Int8Product, int8_products
from mien.mobile_reference.tflite.flatbuffer import looked_into, parse, serialise

# Steps of a bias at most: half of what int32 counts, so that the sum has room.
_MOST = float(1 << 30)


def floor_steps(model: bytes, exact: bytes) -> bytes:
    """Widen the steps of channels whose bias would overflow; ``exact`` is the float model of ``model``."""
    parsed = parse(model)
    found = [_widened(parsed, one) for one in int8_products(parsed, looked_into(exact))]
    return serialise(parsed) if any(found) else model


def _widened(parsed: Any, one: Int8Product) -> bool:
    """Widen the steps of one product where they must be, and tell whether they were."""
    floor = np.abs(one.exact_bias) / (one.source_scale * _MOST)
    if len(one.scales) == 1:
        floor = floor.max(keepdims=True)
    scales = np.maximum(one.scales, floor)
    if np.array_equal(scales, one.scales):
        return False
    weight = np.rint(one.exact_weight / one.along(scales)).clip(-127, 127)
    bias = np.rint(one.exact_bias / (one.source_scale * scales))
    _store(parsed, one.weight, weight.astype(np.int8), scales)
    _store(parsed, one.bias, bias.astype(np.int32), one.source_scale * scales)
    return True


def _store(parsed: Any, tensor: Any, values: Any, scales: Any) -> None:
    """Give a tensor values and scales of its own: others may share what it had."""
    tensor.buffer = add_buffer(parsed, values)
    old, tensor.quantization = tensor.quantization, schema.QuantizationParametersT()
    tensor.quantization.scale = np.asarray(scales, np.float32)
    tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    tensor.quantization.quantizedDimension = old.quantizedDimension
