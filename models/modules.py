"""Modules as the pipeline needs them: composed of stages, found fit to be exported, told apart by a hash."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor, nn

from mien.mobile_reference.contract import StageSpec

from .errors import PipelineError


class Composed(nn.Module):
    """Stages one after the other as one module, from the pipeline's inputs to what is asked for."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        stages: Sequence[StageSpec],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(modules)
        self.specs, self.inputs, self.outputs = tuple(stages), tuple(inputs), tuple(outputs)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run every stage; ``given`` are the pipeline's inputs in their order."""
        known = dict(zip(self.inputs, given, strict=True))
        for module, spec in zip(self.stages, self.specs, strict=True):
            made = all_stated(module(*(known[name] for name in spec.inputs)))
            known.update(zip(spec.outputs, made, strict=True))
        return tuple(known[name] for name in self.outputs)


def as_tuple(made: object) -> tuple[Tensor, ...]:
    """Return what a module made as a tuple.

    Raises:
        PipelineError: it is neither a tensor nor a tuple or list of tensors.
    """
    if isinstance(made, dict):
        parts = ", ".join(f"made[{key!r}]" for key in made)
        raise PipelineError(f"made a dictionary, expected tensors in order; return {parts:.200} of it")
    outputs = tuple(made) if isinstance(made, tuple | list) else (made,)
    found = [output for output in outputs if isinstance(output, Tensor)]
    if len(found) != len(outputs):
        kinds = ", ".join(type(output).__name__ for output in outputs)
        raise PipelineError(f"made {kinds}, expected a tensor or a tuple of tensors; return those alone")
    return tuple(found)


def stated(made: Tensor) -> Tensor:
    """Return what a module makes as a manifest can state it.

    Whole numbers of 64 bits become int32, as indices of classes and tokens are, and so do true and false; a
    single number gets an axis.
    """
    made = made.to(torch.int32) if made.dtype in (torch.int64, torch.bool) else made
    return made.reshape(1) if made.ndim == 0 else made


class Stated(nn.Module):
    """Makes what a module makes, as a manifest can state it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the module."""
        return all_stated(self.module(*given))


def all_stated(made: object) -> tuple[Tensor, ...]:
    """Return what a module made as a tuple of what a manifest can state.

    Raises:
        PipelineError: it is neither a tensor nor a tuple or list of tensors.
    """
    return tuple(stated(one) for one in as_tuple(made))


def check_module(name: str, module: nn.Module) -> None:
    """Put a module into evaluation mode, and refuse one that cannot be exported as it is.

    Raises:
        PipelineError: it stays in training mode, or a parameter is not float32 on the CPU.
    """
    module.eval()
    for path, part in module.named_modules():
        if part.training:
            where = f"module {path} of it" if path else "it"
            raise PipelineError(
                f"stage {name}: {where} is in training mode even after eval(); export what inference computes"
            )
    for path, tensor in _stored(module):
        if tensor.device.type != "cpu":
            raise PipelineError(
                f"stage {name}: {path} is on {tensor.device}, expected the CPU; call .cpu() on the module"
            )
        if (tensor.is_floating_point() or tensor.is_complex()) and tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise PipelineError(
                f"stage {name}: {path} is {kind}, expected float32; call .float() on the module"
            )


def weights_hash(modules: Iterable[nn.Module]) -> str:
    """Return a hash of all tensors that modules hold, with their names, in hexadecimal."""
    state = sha256()
    for module in modules:
        for path, tensor in _stored(module):
            value = tensor.detach().contiguous()
            state.update(f"{path} {tuple(value.shape)} {value.dtype}\n".encode())
            state.update(np.ascontiguousarray(value.numpy()).tobytes())
    return state.hexdigest()


def _stored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters, buffers and plain tensors that are kept as attributes."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    for path, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{path}.{key}".lstrip("."), value
