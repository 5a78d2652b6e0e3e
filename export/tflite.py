"""TFLite models: checked against PyTorch, then stored in float16 and quantised to int8 (ai-edge-quantizer).

Every step is checked on real faces before the next one uses it: an exit code of a converter proves nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConversionError
from .fusion import halve_biases
from .graphs import Graph, TensorSpec
from .litert import Runner
from .ranges import Range

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name, channels last."""
# A float32 graph differs from PyTorch by the order of sums alone.
FLOAT_TOLERANCE = 5e-5


def channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Turn [N, C, H, W] into [N, H, W, C]; other ranks stay."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def check_contract(graph: Graph, model: Path) -> None:
    """Refuse a model whose tensors are not those of the contract, in its order, channels last."""
    expected = tuple(
        [(spec.channels_last, spec.dtype) for spec in graph.specs(names)]
        for names in (graph.inputs, graph.outputs)
    )
    found = Runner(model).signature()
    if found != expected:
        raise ConversionError(f"{graph.name}: the converter made tensors {found}, expected {expected}")


def check_float(graph: Graph, model: Path, samples: Sequence[Arrays]) -> None:
    """Refuse a float32 model that does not compute what PyTorch computed for the samples."""
    runner = Runner(model)
    for sample in samples:
        outputs = runner.run([sample[name] for name in graph.inputs])
        for spec, output in zip(graph.specs(graph.outputs), outputs, strict=True):
            error = largest_error(spec, sample[spec.name], output)
            if not error <= FLOAT_TOLERANCE:
                raise ConversionError(
                    f"{graph.name}: output {spec.name} of the converted model is off by {error:.2g} of its "
                    f"full scale, at most {FLOAT_TOLERANCE:g} is rounding; the converter changed the graph"
                )


def largest_error(spec: TensorSpec, reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference of a tensor in units of its full scale."""
    return float(np.abs(other.astype(np.float64) - reference).max()) / spec.full_scale


def to_float16(model: Path) -> bytes:
    """Store the weights in half the bytes; arithmetic stays float32."""
    from ai_edge_quantizer import quantizer

    job = quantizer.Quantizer(str(model))
    _halve_weights(job)
    return halve_biases(bytes(job.quantize().quantized_model))


def to_int8(graph: Graph, model: Path, ranges: Mapping[str, Range]) -> bytes:
    """Quantise the graph's int8 parts: weights per channel, activations by their ``ranges``.

    The other weights are stored in float16, unless nothing is to be quantised.
    """
    if not graph.int8:
        return model.read_bytes()
    from ai_edge_quantizer import qtyping, quantizer

    job = quantizer.Quantizer(str(model))
    _halve_weights(job)
    # Of two rules that fit, the later one counts.
    job.add_static_config(
        regex=graph.int8,
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    return halve_biases(bytes(job.quantize(dict(ranges)).quantized_model))


def _halve_weights(job: Any) -> None:
    """Ask for float16 weights everywhere."""
    from ai_edge_quantizer import qtyping, quantizer

    job.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
    )
