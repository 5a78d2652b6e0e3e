"""Which operations of a float16 package stay float32.

Those that the pipeline names, and those that make an output for whose values float16 has too few numbers.
Between 56.3 and 56.9 there are 18 of them, so that a grade that varies no more is off by 0.03 of its span
each time it is rounded. And those that decide by inputs, such as a threshold: a rounded input may lie on its
other side, and what was 1 is 0. Behind a product everything is rounded already.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.coreml.products import KINDS
from mien.models.pipeline import CoreMLChoices

Samples = Sequence[Mapping[str, NDArray[Any]]]
"""Tensors by name as the contract has them, of inputs that went through the float pipeline."""
# The largest step between float16 numbers where an output lies, in shares of what it spans: a quarter of what
# gates that state no limit allow float16. It is rounded more than once behind the last product.
_COARSE = 0.0025
# What makes a step of a value, however little it changes.
_DECISIONS = frozenset(
    [
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "equal",
        "not_equal",
        "ceil",
        "floor",
        "floor_div",
        "mod",
        "round",
        "sign",
    ]
)


def mostly_float16(component: Component, choices: CoreMLChoices, samples: Samples) -> Any:
    """Return what Core ML's converter asks of every operation: whether to give it float16."""
    import coremltools as ct

    fine = [
        place
        for place, spec in enumerate(component.specs(component.outputs))
        if is_too_fine(spec, [sample[spec.name] for sample in samples])
    ]

    @cache
    def kept(block: Any) -> Collection[Any]:
        return _makers([block.outputs[place] for place in fine]) | _deciding_by_inputs(block)

    def fits(operation: Any) -> bool:
        function = _function_of(operation.enclosing_block)
        return operation not in kept(function) and _fits_float16(choices, operation)

    return ct.transform.FP16ComputePrecision(fits)


def is_too_fine(spec: TensorSpec, values: Sequence[NDArray[Any]]) -> bool:
    """Tell whether float16 has too few numbers where a tensor's values lie."""
    finite = [np.abs(one[np.isfinite(one)]).max(initial=0) for one in values]
    if not spec.dtype.startswith("float") or not finite:
        return False
    return bool(np.finfo(np.float16).eps * max(finite) > _COARSE * spec.full_scale)


def _makers(outputs: Sequence[Any]) -> frozenset[Any]:
    """Return the operations that make outputs, back to the products behind which no other lies.

    These too: what they give would be rounded. What they read may be.
    """
    found: set[Any] = set()
    waiting = [output.op for output in outputs]
    while waiting:
        operation = waiting.pop()
        if operation is None or operation in found:
            continue
        found.add(operation)
        if operation.op_type not in KINDS:
            waiting += [one.op for given in operation.inputs.values() for one in _as_list(given)]
    return frozenset(found)


def _deciding_by_inputs(block: Any) -> frozenset[Any]:
    """Return the operations that decide by a function's inputs, and all between, where no product lies."""
    chains = [_makers(one.outputs) for one in block.operations if one.op_type in _DECISIONS]
    return frozenset().union(*(one for one in chains if KINDS.isdisjoint(made.op_type for made in one)))


def _as_list(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else [given]


def _function_of(block: Any) -> Any:
    while block.outer_op is not None:
        block = block.outer_op.enclosing_block
    return block


def _fits_float16(choices: CoreMLChoices, operation: Any) -> bool:
    """Keep in float32 what the pipeline chooses: modules, single numbers and narrow maps, and large maps."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    shapes = [output.shape for output in operation.outputs]
    module = ".".join(operation.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, ()))
    return (
        not re.match(choices.single, module)
        and any(math.prod(shape) > choices.narrow for shape in shapes)
        and not any(
            len(shape) == 4 and (shape[1] <= choices.narrow or shape[-1] >= choices.largest_map)
            for shape in shapes
        )
    )
