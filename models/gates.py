"""Gates: what is asked of a pipeline's tensors, each within a limit by variant or precision.

A limit is named by a precision (``fp32``, ``fp16``, ``int8``, ``int8w``, ``pal6``, ``pal4``, ``w8a8``,
``dynamic``) or by a whole variant, as in ``**{"coreml-w8a8": 2}``, which counts first. ``int8`` also holds
for the five after it where they are not named, ``any`` for whatever is not named.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mien.mobile_reference.contract import (
    CORRELATION,
    EACH,
    FUNCTION,
    IOU,
    PSNR,
    RELATIVE,
    SCALAR,
    SET,
    TOP1,
    GateSpec,
    TensorSpec,
)
from mien.mobile_reference.metrics import Metric, measured, worst

from .errors import PipelineError
from .user_file import number_of

Judge = Callable[[NDArray[Any], NDArray[Any]], float]
"""Compares a tensor of the float pipeline with a variant's, shaped as in the contract; 0 is equal."""


@dataclass(frozen=True)
class FunctionGate:
    """A gate that a function of the user's judges: ``spec`` is what the manifest says of it."""

    spec: GateSpec
    function: Judge

    @property
    def metric(self) -> Metric:
        """What judges it."""
        return Metric(
            self.spec.metric.removeprefix(FUNCTION),
            lambda reference, other, _: number_of(self._name, self.function, reference, other),
            worst,
        )

    @property
    def _name(self) -> str:
        return f"the gate {self.spec.metric.removeprefix(FUNCTION)} of {self.spec.tensor}"


Gate = GateSpec | FunctionGate


def try_functions(gates: Sequence[Gate], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Have each gate that is a function compare a tensor with itself: what fails, fails before a conversion.

    Raises:
        PipelineError: a function raises, or returns no number.
    """
    for gate in gates:
        if isinstance(gate, FunctionGate):
            tensor = tensors[gate.spec.tensor]
            measured(gate.metric, tensor, tensor, 1.0)


def scalar(tensor: str, **limits: float) -> GateSpec:
    """Ask that a tensor of one value is off by at most a limit, in its own units, for every input.

    Example:
        >>> mien.scalar("score", fp32=0.01, int8=2.0).limit("coreml-w8a8")
        2.0
    """
    return _gate(tensor, SCALAR, limits)


def relative(tensor: str, **limits: float) -> GateSpec:
    """Ask that no value of a tensor is off by more than a limit, in parts of its full scale.

    Example:
        >>> mien.relative("boxes", fp32=1e-4, int8=0.05).limit("tflite-int8")
        0.05
    """
    return _gate(tensor, RELATIVE, limits)


def psnr(tensor: str, **limits: float) -> GateSpec:
    """Ask for a ratio of full scale to root mean square error of at least a limit, in decibels.

    Example:
        >>> mien.psnr("picture", fp16=50, int8=30).limit("tflite-int8")
        30
    """
    return _gate(tensor, PSNR, limits)


def correlation(tensor: str, **limits: float) -> GateSpec:
    """Ask that Pearson's correlation with float's tensor lacks at most a limit to 1, in the mean over inputs.

    An input for which float's tensor is flat, its standard deviation up to 0.005 of full scale, does not
    count.

    Example:
        >>> mien.correlation("heatmap", fp16=0.001, int8=0.01).limit("coreml-fp16")
        0.001
    """
    return _gate(tensor, CORRELATION, limits, SET)


def iou(tensor: str, **limits: float) -> GateSpec:
    """Ask that intersection over union with float's mask lacks at most a limit to 1, in the mean over inputs.

    It is the sum of lesser values over that of greater ones, so masks need not be of 0 and 1, but have no
    values below 0. An input whose masks cover less than a thousandth of the pixels does not count.

    Example:
        >>> mien.iou("mask", fp16=0.01, int8=0.03).limit("coreml-pal6")
        0.03
    """
    return _gate(tensor, IOU, limits, SET)


def top1(tensor: str, **limits: float) -> GateSpec:
    """Ask that the largest value along the last axis is float's, but for a share of all places and inputs.

    Example:
        >>> mien.top1("logits", **{"int8": 0.02, "coreml-w8a8": 0.05}).limit("coreml-w8a8")
        0.05
    """
    return _gate(tensor, TOP1, limits, SET)


def judged_by(tensor: str, function: Judge, **limits: float) -> FunctionGate:
    """Ask that ``function(float, variant)`` is at most a limit for every input.

    The function gets two float64 arrays, shaped as in the contract, and returns 0 where they are equal. It is
    called at export and by ``mien verify --pipeline``; whoever has the bundle alone cannot judge by it.

    Raises:
        PipelineError: the function has no name that a manifest could say.

    Example:
        >>> def farthest(reference, other):
        ...     return abs(reference - other).max()
        >>> mien.judged_by("points", farthest, fp32=0.1, int8=1.5).spec.metric
        'function:farthest'
    """
    name = getattr(function, "__name__", "")
    if not (name.isidentifier() and name.isascii()):
        raise PipelineError(
            f"the gate of {tensor} is judged by {name or function!r}; give a function that has a name"
        )
    return FunctionGate(_gate(tensor, FUNCTION + name, limits), function)


def _gate(tensor: str, metric: str, limits: Mapping[str, float], over: str = EACH) -> GateSpec:
    """Make a gate.

    Raises:
        PipelineError: it has no limit, or one that is not a number from 0.
    """
    for key, limit in limits.items():
        if not (math.isfinite(limit) and limit >= 0):
            raise PipelineError(f"the limit {key} of {metric} of {tensor} is {limit}; give a number from 0")
    if not limits:
        raise PipelineError(f"{metric} of {tensor} has no limit; give one by precision, such as fp32=0.01")
    return GateSpec(tensor, metric, dict(limits), over)


def default_gates(outputs: Sequence[TensorSpec]) -> tuple[GateSpec, ...]:
    """Return the gates of a pipeline that gives none: of every output of its last stage.

    The largest error over span is at most 1e-4 / 1e-2 / 5e-2 in float32 / float16 / int8, and the correlation
    of a tensor of several values at least 0.9999 / 0.999 / 0.99. Of several whole numbers, such as the class
    of every pixel, the correlation alone is asked for: how far two classes are apart says nothing.
    """
    maps = [tensor for tensor in outputs if math.prod(tensor.shape) > 1]
    classes = [tensor for tensor in maps if tensor.dtype != "float32"]
    distances = [tensor for tensor in outputs if tensor not in classes]
    gates = [relative(tensor.name, fp32=1e-4, fp16=1e-2, int8=5e-2) for tensor in distances]
    return (*gates, *(correlation(tensor.name, fp32=1e-4, fp16=1e-3, int8=1e-2) for tensor in maps))


def data_of(gates: Sequence[Gate]) -> tuple[GateSpec, ...]:
    """Return what a manifest says of gates."""
    return tuple(gate.spec if isinstance(gate, FunctionGate) else gate for gate in gates)


def metrics_of(gates: Sequence[Gate]) -> Mapping[str, Metric]:
    """Return the metrics that functions of the user's are, by the names that their gates have."""
    return {gate.spec.metric: gate.metric for gate in gates if isinstance(gate, FunctionGate)}
