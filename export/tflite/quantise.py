"""TFLite models: checked against PyTorch, then quantised block by block (ai-edge-quantizer).

Every step is checked on real faces before the next one uses it: an exit code of a converter proves nothing.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.weights.gptq import Roundings
from mien.export.whole_numbers import share_changed
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.tflite.flatbuffer import activation_ranks, following_inputs, looked_into

from .blocks import Block, find_blocks
from .check_parameters import check_parameters
from .interpreter import Runner
from .passes.deduplicate_buffers import deduplicate_buffers
from .passes.floor_steps import floor_steps
from .passes.gptq_weights import unrounded, with_rounded
from .passes.int8_activations import stay_int8
from .passes.split_clamps import split_clamps
from .passes.xnnpack_rewrites import cast_biases_fp16, widen_by_float
from .precision import BYTES, Assignment, Precision, choices, tensor_ranges
from .products import Product, products
from .ranges import Arrays, Histogram, Histograms, Range, histograms, range_warnings, widened

# A float32 graph differs from PyTorch by the order of sums alone. That is a share of what a tensor spans,
# and of what is added up: a tensor of values near 1 that spans a ten-thousandth has the grain of 1.
FLOAT_TOLERANCE = 5e-5
_GRAIN = 16 * float(np.finfo(np.float32).eps)
# Of whole numbers, where two classes are as likely as each other to all digits.
_TIES = 1e-3


def check_contract(component: Component, model: Path) -> None:
    """Refuse a model whose tensors are not those of the contract, in its order, channels last."""
    expected = tuple(
        [(spec.shape, spec.dtype) for spec in component.specs(names)]
        for names in (component.inputs, component.outputs)
    )
    found = Runner(model).signature()
    if len(found[0]) < len(component.inputs):
        raise ConversionError(
            f"{component.name}: {len(found[0])} of the {len(component.inputs)} inputs "
            f"{', '.join(component.inputs)} are left in the converted model; what the module takes and does "
            "not use is dropped: leave it out of the stage's inputs"
        )
    if found != expected:
        raise ConversionError(f"{component.name}: the converter made tensors {found}, expected {expected}")


def check_float(component: Component, model: Path, samples: Sequence[Arrays]) -> None:
    """Refuse a float32 model that does not compute what PyTorch computed for the samples."""
    runner = Runner(model)
    for sample in samples:
        outputs = runner.run([sample[name] for name in component.inputs])
        for spec, output in zip(component.specs(component.outputs), outputs, strict=True):
            error = largest_error(spec, sample[spec.name], output)
            grain = _GRAIN * float(np.abs(sample[spec.name]).max()) / spec.full_scale
            alike = share_changed(sample[spec.name], output) <= _TIES
            if not (alike or error <= FLOAT_TOLERANCE + grain):
                raise ConversionError(
                    f"{component.name}: output {spec.name} of the converted model is off by {error:.2g} of "
                    f"its full scale, at most {FLOAT_TOLERANCE + grain:.2g} is rounding; the converter "
                    "changed it"
                )


def largest_error(spec: TensorSpec, reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference of a tensor in units of its full scale."""
    return float(np.abs(other.astype(np.float64) - reference).max()) / spec.full_scale


def quantise(model: Path, assignment: Assignment, found: Histograms, rounded: Roundings) -> bytes:
    """Give every block of a float graph its precision; what belongs to no block stays float32.

    int8 weights have a scale for each channel, and are ``rounded`` where they can be; int8 activations have
    one scale for each tensor, from the ``found`` values. float16 is a way of storing weights: arithmetic
    stays float32.
    """
    from ai_edge_quantizer import quantizer

    content = model.read_bytes()
    blocks = find_blocks(content)
    outputs: dict[Precision, list[str]] = {precision: [] for precision in Precision}
    settled = choices(blocks, assignment)
    for block in blocks:
        outputs[settled[block.name].precision] += block.outputs
    exact = with_rounded(content, _stored_in_eight(content, assignment), rounded)
    job = quantizer.Quantizer(bytearray(exact))
    for precision, ask in _RECIPES.items():
        if outputs[precision]:
            ask(job, _exactly(outputs[precision]))
    if job.get_quantization_recipe():
        _keep_outputs(job)
        ranges = tensor_ranges(blocks, assignment, found)
        made = quantised(job, as_statistics(content, ranges))
        made = stay_int8(made, frozenset(outputs[Precision.INT8]), ranges)
        content = floor_steps(widen_by_float(cast_biases_fp16(made)), exact)
        check_parameters(content, exact)
    return finished(content)


def quantised(job: Any, statistics: Mapping[str, Any] | None = None) -> bytes:
    """Let a quantiser do what its recipe asks, without a word."""
    # It would look for tensors without statistics by an interpreter of sixteen threads; there are none.
    job._ensure_model_qsv_sufficient = lambda _: None
    made = job.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


def finished(model: bytes) -> bytes:
    """Return a model as it ships: clamps as GPUs take them, equal constants stored once."""
    return deduplicate_buffers(split_clamps(model))


def seen_by_converted(
    component: Component,
    model: Path,
    assignment: Assignment,
    rounded: Roundings,
    samples: Sequence[Arrays],
    downstream: Sequence[Arrays],
    also: Collection[str] = (),
) -> dict[str, Histogram]:
    """Watch tensors of a float graph over the samples, in float and then behind converted blocks.

    They are what int8 blocks read and make, and those that are ``also`` named; every one costs time.
    ``downstream`` are the samples as the converted stages before the graph make them. A block so has room for
    what the real blocks before it make. Tensors inside int8 blocks tell nothing new: what they were given no
    room for, they cannot reach.
    """
    content = model.read_bytes()
    wanted = _ranged(find_blocks(content), assignment).union(also)
    exact = histograms(component, content, samples, wanted)
    converted = quantise(model, assignment, exact, rounded)
    return widened(exact, histograms(component, converted, downstream, wanted))


def read_by_products(model: bytes) -> frozenset[str]:
    """Name the tensors that the products of a float graph read; Core ML is given the ranges of these."""
    return frozenset(one.source for one in products(looked_into(model)))


def _ranged(blocks: Sequence[Block], assignment: Assignment) -> frozenset[str]:
    """Name the tensors that int8 blocks read or make."""
    settled = choices(blocks, assignment)
    ranged = [block for block in blocks if settled[block.name].ranged]
    return frozenset(name for block in ranged for name in (*block.inputs, *block.outputs))


def chosen_ranges(model: Path, assignment: Assignment, found: Histograms) -> dict[str, Range]:
    """Return the ranges that ``quantise`` gives the tensors of a float graph."""
    return tensor_ranges(find_blocks(model.read_bytes()), assignment, found)


def int8_range_warnings(model: Path, assignment: Assignment, found: Histograms) -> list[str]:
    """Say what is wrong with the ranges of the tensors that int8 blocks of a graph read or make."""
    content = model.read_bytes()
    blocks = find_blocks(content)
    names = _ranged(blocks, assignment) & following_inputs(content)
    seen = {name: found[name] for name in sorted(names)}
    return list(range_warnings(seen, tensor_ranges(blocks, assignment, found)))


def left_to_the_nearest(
    model: Path, assignment: Assignment, rounded: Roundings, kinds: Collection[str]
) -> list[str]:
    """Say which int8 weights of a graph's products of some ``kinds`` go to the nearest step.

    These are the ones that were not rounded by what they are multiplied with.
    """
    return [
        f"int8 weights of {one.made} are rounded to the nearest step, not by what they are multiplied with"
        for one in _without_rounding(model.read_bytes(), assignment, rounded)
        if one.kind in kinds
    ]


def rounding_lost(before: bytes, after: bytes, assignment: Assignment, known: Roundings) -> frozenset[str]:
    """Name what products make whose int8 weights are ``known`` in one graph and, changed, not in another."""
    were, are = (
        {one.made for one in _without_rounding(model, assignment, known)} for model in (before, after)
    )
    return frozenset(are - were)


def _without_rounding(model: bytes, assignment: Assignment, rounded: Roundings) -> tuple[Product, ...]:
    return unrounded(model, _stored_in_eight(model, assignment), rounded)


def _stored_in_eight(model: bytes, assignment: Assignment) -> frozenset[str]:
    """Name what products of int8 weights make: in blocks of int8 weights alone these are the dense ones."""
    blocks = find_blocks(model)
    settled = choices(blocks, assignment)
    eight = [(block, settled[block.name].precision) for block in blocks]
    names = {name for block, precision in eight if BYTES[precision] == 1 for name in block.outputs}
    halved = {name for block, precision in eight if precision is Precision.WEIGHTS for name in block.outputs}
    return frozenset(
        one.made
        for one in products(looked_into(model))
        if one.made in names and not (one.made in halved and one.kind != "CONV_2D")
    )


def as_statistics(model: bytes, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Give ranges of a model's tensors the form of the quantiser's calibration: arrays of their ranks."""
    ranks = activation_ranks(model)

    def filled(name: str, value: float) -> NDArray[np.float32]:
        return np.full((1,) * ranks[name], value, np.float32)

    return {
        name: {"min": filled(name, low), "max": filled(name, high)}
        for name, (low, high) in ranges.items()
        if name in ranks
    }


def _exactly(names: Sequence[str]) -> str:
    """Match operations by the outputs that they have; the quantiser puts a semicolon behind each name."""
    return f"^(?:(?:{'|'.join(map(re.escape, names))});)+$"


def _keep_outputs(job: Any) -> None:
    """Ask that the file's outputs keep their types, whatever makes them."""
    from ai_edge_quantizer import qtyping, quantizer

    job.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.OUTPUT,
        algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE,
    )


def _quantise_all(activation_bits: int, job: Any, regex: str) -> None:
    """Ask for int8 weights, and activations of so many bits."""
    from ai_edge_quantizer import qtyping

    job.add_static_config(
        regex=regex,
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=activation_bits,
        weight_num_bits=8,
    )


def _quantise_weights(job: Any, regex: str) -> None:
    """Ask for int8 weights of dense convolutions, which are brought back when the model is loaded."""
    from ai_edge_quantizer import qtyping

    job.add_weight_only_config(regex=regex, operation_name=qtyping.TFLOperationName.CONV_2D, num_bits=8)
    # Those of depthwise convolutions are few, and cannot be rounded so that errors cancel.
    _halve(job, regex, qtyping.TFLOperationName.DEPTHWISE_CONV_2D)


def _quantise_dynamically(job: Any, regex: str) -> None:
    """Ask for int8 weights, and products that round what they read as they run."""
    from ai_edge_quantizer import qtyping

    job.add_dynamic_config(regex=regex, operation_name=qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=8)


def _halve_all(job: Any, regex: str) -> None:
    """Ask for float16 weights."""
    from ai_edge_quantizer import qtyping

    _halve(job, regex, qtyping.TFLOperationName.ALL_SUPPORTED)


def _halve(job: Any, regex: str, operation: Any) -> None:
    from ai_edge_quantizer import qtyping, quantizer

    job.update_quantization_recipe(
        regex=regex,
        operation_name=operation,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
    )


_RECIPES: Mapping[Precision, Callable[[Any, str], None]] = {
    Precision.FLOAT16: _halve_all,
    Precision.DYNAMIC: _quantise_dynamically,
    Precision.WEIGHTS: _quantise_weights,
    Precision.INT8: partial(_quantise_all, 8),
    Precision.INT16: partial(_quantise_all, 16),
}
