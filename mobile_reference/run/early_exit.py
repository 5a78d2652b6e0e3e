"""Stages that need not run: what their outputs are is known where a tensor before them is all zero."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.contract import PipelineSpec, StageSpec, TensorSpec

Arrays = Mapping[str, NDArray[Any]]


def outputs_without(stage: StageSpec, spec: PipelineSpec, known: Arrays) -> dict[str, NDArray[Any]] | None:
    """Return what a stage's outputs are where it may be left out, by name; none where it must run.

    What is not a number is not zero.
    """
    if stage.skip_when is None or known[stage.skip_when.zero].any():
        return None
    return {name: _filled(spec.tensor(name), value, known) for name, value in stage.skip_when.outputs.items()}


def _filled(tensor: TensorSpec, value: float | str, known: Arrays) -> NDArray[Any]:
    if isinstance(value, str):
        return known[value].astype(tensor.dtype)
    return np.full(tensor.shape, value, tensor.dtype)
