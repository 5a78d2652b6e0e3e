"""Activation ranges: what every tensor of a float graph reaches on faces that came through the pipeline."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import OpResolverType
from numpy.typing import NDArray

from .flatbuffer import activation_names
from .graphs import Graph
from .litert import Runner

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name, channels last."""
Extreme = NDArray[np.float32]
Range = dict[str, Extreme]
"""``min`` and ``max``, each of the tensor's rank with every size 1."""


def activation_ranges(graph: Graph, model: Path, samples: Sequence[Arrays]) -> dict[str, Range]:
    """Find the least and greatest value of every float tensor over the samples.

    Minimum and maximum, not the quantiser's moving average, which clips: 45 dB instead of 40 on the
    inpainter.
    """
    runner = Runner(model, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    names = activation_names(model.read_bytes())
    found: dict[str, Range] = {}
    for sample in samples:
        runner.run([sample[name] for name in graph.inputs])
        for name, values in runner.tensors(names).items():
            widen(found, name, values.min(keepdims=True), values.max(keepdims=True))
    return found


def widen(found: dict[str, Range], name: str, low: Extreme, high: Extreme) -> None:
    """Let the range of a tensor reach ``low`` and ``high`` too."""
    before = found.get(name, {"min": low, "max": high})
    found[name] = {"min": np.minimum(before["min"], low), "max": np.maximum(before["max"], high)}


def write_ranges(ranges: Mapping[str, Range], file: Path) -> None:
    """Write ranges as JSON: [least, greatest] by tensor."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: [float(r["min"].item()), float(r["max"].item())] for name, r in sorted(ranges.items())}
    file.write_text(json.dumps(plain, indent=1) + "\n")
