"""Batch normalisation folded into the convolution that it follows.

Converters fold it too, but Core ML's then gives the weights new names; folded here, every weight keeps the
name of its module. Which convolution a normalisation follows is seen in a run: the order in which modules
were registered says nothing.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


def fold_batch_norm(module: nn.Module, example: Sequence[Tensor]) -> nn.Module:
    """Return a copy of ``module``, in evaluation mode, that computes the same without batch normalisation.

    A normalisation is folded where in a run on ``example`` it alone reads what one convolution makes, as
    often as the two run; another stays.
    """
    folded = copy.deepcopy(module).eval()
    for conv, norm in list(_pairs(folded, example)):
        _replace(folded, conv, fuse_conv_bn_eval(conv, norm))
        _replace(folded, norm, nn.Identity())
    return folded


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under all of its names."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


def _pairs(module: nn.Module, example: Sequence[Tensor]) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Find the convolutions that a normalisation alone reads, and which reads nothing else."""
    run = _Run(module)
    run.watch(example)
    for conv, norms in run.norms.items():
        norm = norms[0]
        if norm is None or not norm.track_running_stats:
            continue
        if all(other is norm for other in norms) and run.read[norm] == [conv] * len(norms):
            yield conv, norm


class _Run(TorchFunctionMode):
    """A run in which it is seen what reads the results of convolutions.

    ``norms`` has for every run of a convolution the normalisation that alone reads its result, else None;
    ``read`` has for every run of a normalisation the convolution that it reads, else None.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.norms: dict[nn.Conv2d, list[nn.BatchNorm2d | None]] = {}
        self.read: dict[nn.BatchNorm2d, list[nn.Conv2d | None]] = {}
        # By the numbers of results, which are kept so that no other gets the number.
        self._made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
        self._readers: dict[int, list[nn.BatchNorm2d | None]] = {}
        self._inside: list[nn.BatchNorm2d] = []

    def watch(self, example: Sequence[Tensor]) -> None:
        """Run the module once."""
        hooks: list[Any] = []
        for one in self.module.modules():
            if isinstance(one, nn.Conv2d):
                hooks.append(one.register_forward_hook(self._convolved))
            elif isinstance(one, nn.BatchNorm2d):
                hooks.append(one.register_forward_pre_hook(self._enter))
                hooks.append(one.register_forward_hook(self._leave))
        try:
            with torch.no_grad(), self:
                made = self.module(*example)
        finally:
            for hook in hooks:
                hook.remove()
        for result in tree_leaves(made):
            self._note(result, None)
        for number, (conv, _) in self._made.items():
            readers = self._readers.get(number, [])
            self.norms.setdefault(conv, []).append(readers[0] if len(readers) == 1 else None)

    def _convolved(self, conv: nn.Conv2d, _: Any, made: Tensor) -> None:
        self._made[id(made)] = (conv, made)

    def _enter(self, norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        conv, _ = self._made.get(id(inputs[0]), (None, None))
        self.read.setdefault(norm, []).append(conv)
        self._inside.append(norm)

    def _leave(self, *_: Any) -> None:
        self._inside.pop()

    def _note(self, value: Any, reader: nn.BatchNorm2d | None) -> None:
        if id(value) in self._made:
            self._readers.setdefault(id(value), []).append(reader)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Properties, such as a shape, are looked at and compute nothing.
        if getattr(function, "__name__", "") not in ("__get__", "dim", "size"):
            for value in tree_leaves((args, kwargs or {})):
                self._note(value, self._inside[-1] if self._inside else None)
        return function(*args, **(kwargs or {}))
