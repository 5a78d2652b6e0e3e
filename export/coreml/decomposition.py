"""Operations that Core ML's converter does not know, as others that it knows."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import default_decompositions

from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.models.exported_program import ProgramModule


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
    # What PyTorch makes of a batch normalisation is not known either.
    program = torch.export.export(fold_batch_norm(module, examples), examples, strict=False)
    return ProgramModule(program.run_decompositions(table)).eval()
