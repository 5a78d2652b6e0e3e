"""Operations that Core ML's converter does not know, as others that it knows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import default_decompositions

from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.models.exported_program import ProgramModule

# Of what is normalised: the first of a map, and with how many axes the converter does it.
_AXES, _MOST_AXES = 2, 4


def decomposed(module: nn.Module, examples: tuple[Tensor, ...]) -> nn.Module:
    """Return a module that computes the same, by PyTorch's own decompositions of what is not known."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    known = _TORCH_OPS_REGISTRY.name_to_func_mapping
    decompositions: Any = default_decompositions()
    table = {
        operation: simpler
        for operation, simpler in decompositions.items()
        if operation.name().partition("::")[2].partition(".")[0] not in known
    }
    aten = torch.ops.aten
    table[aten.pad.default] = _wrapped
    for operation in (aten.group_norm.default, aten.instance_norm.default):
        table[operation] = partial(_flattened, operation)
    # What PyTorch makes of a batch normalisation is not known either.
    program = torch.export.export(fold_batch_norm(module, examples), examples, strict=False)
    return ProgramModule(program.run_decompositions(table)).eval()


def _wrapped(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Join a border that goes on at the other end from the map's own; leave other borders as they are.

    The converter knows those, and PyTorch has no simpler operations for this one but writing into a map.
    """
    if mode != "circular" or min(pad) < 0:
        return NotImplemented
    for place, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        axis = x.ndim - 1 - place
        last = x.narrow(axis, x.shape[axis] - before, before)
        parts = [last, x, x.narrow(axis, 0, after)]
        x = torch.cat([part for part in parts if part.shape[axis]], axis)
    return x


def _flattened(normalise: Callable[..., Tensor], x: Tensor, *given: Any, **named: Any) -> Any:
    """Normalise maps of three axes as ones of one: the converter would give them an axis more than it may."""
    if x.ndim <= _MOST_AXES:
        return NotImplemented
    return normalise(x.flatten(_AXES), *given, **named).reshape(x.shape)
