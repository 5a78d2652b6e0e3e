"""The faces that converters' processes work with, stage by stage, as files in a folder.

Each holds what the float pipeline made of one face. A stage is given these, and in a second row of samples
what the converted stages before it made instead: the real stage before is no float one.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from mien.export.graphs import Graph
from mien.mobile_reference.bundle.reader import STAGES
from mien.models.appraisal.traces import Trace

from .interpreter import Runner
from .quantise import channels_last
from .ranges import Arrays

BEFORE: Mapping[str, str] = {stage: before for before, stage in pairwise(STAGES)}
"""The stage before each, for those that have one."""


def save_traces(traces: Sequence[Trace], folder: Path) -> None:
    """Write traces where the converters' processes find them."""
    save_samples(
        [{name: channels_last(tensor.numpy()) for name, tensor in t.tensors.items()} for t in traces], folder
    )


def save_samples(samples: Sequence[Arrays], folder: Path) -> None:
    """Write samples into a new folder."""
    folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        save_file(dict(sample), folder / f"{number:04}.safetensors")


def load_samples(folder: Path) -> list[dict[str, NDArray[Any]]]:
    """Read what ``save_samples`` wrote."""
    return [load_file(file) for file in sorted(folder.glob("*.safetensors"))]


def received(name: str, samples: Sequence[Arrays], handed_on: Path) -> Sequence[Arrays]:
    """Return what a graph is given behind the converted stages before it, where there are any.

    ``handed_on`` is the folder in which each stage left its own.
    """
    return load_samples(handed_on / BEFORE[name]) if name in BEFORE else samples


def hand_on(graph: Graph, model: bytes, samples: Sequence[Arrays], handed_on: Path) -> None:
    """Run a stage's converted model on what it received, and leave what it makes for the next stage."""
    runner = Runner(model)
    made = [
        {**sample, **dict(zip(graph.outputs, runner.run([sample[i] for i in graph.inputs]), strict=True))}
        for sample in samples
    ]
    save_samples(made, handed_on / graph.name)
