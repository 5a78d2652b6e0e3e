"""The samples that converters' processes work with, stage by stage, as files in a folder.

Each holds what the float pipeline made of one input. A stage is given these, and in a second row of samples
what the converted stages before it made instead: the real stage before is not a float one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from mien.export.component import Component
from mien.models.pipeline import Sample

from .interpreter import Runner
from .ranges import Arrays


def save_samples(samples: Sequence[Mapping[str, NDArray[Any]]], folder: Path) -> None:
    """Write samples into a new folder."""
    folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        save_file(dict(sample), folder / f"{number:04}.safetensors")


def save_traces(traces: Sequence[Sample], folder: Path) -> None:
    """Write what the float pipeline made where the converters' processes find it."""
    save_samples([trace.tensors for trace in traces], folder)


def load_samples(folder: Path) -> list[dict[str, NDArray[Any]]]:
    """Read what ``save_samples`` wrote."""
    return [load_file(file) for file in sorted(folder.glob("*.safetensors"))]


def received(before: str | None, samples: Sequence[Arrays], propagated: Path) -> Sequence[Arrays]:
    """Return what a model is given behind the converted stage ``before`` it, where there is one.

    ``propagated`` is the folder in which each stage left its own.
    """
    return load_samples(propagated / before) if before else samples


def propagate(component: Component, model: bytes, samples: Sequence[Arrays], propagated: Path) -> None:
    """Run a stage's converted model on what it received, and leave what it makes for the next stage."""
    runner = Runner(model)
    made = []
    for sample in samples:
        outputs = runner.run([sample[name] for name in component.inputs])
        made.append({**sample, **dict(zip(component.outputs, outputs, strict=True))})
    save_samples(made, propagated / component.name)
