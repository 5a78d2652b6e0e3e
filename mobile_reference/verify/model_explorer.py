"""Errors of layers in a form that Model Explorer draws over a model's graph.

The files are "custom node data" of Model Explorer (https://github.com/google-ai-edge/model-explorer, which
opens a .tflite file and one of these side by side): under the graph's name, a value for each layer by the
name of the tensor that it makes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.folder import Kind, OutputFolder
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.tflite.model_file import read_tflite

from .layers import POOR_DB, LayerErrors, comparable

LAYERS = Kind("folder of layer errors")
NOT_FINITE = 1e6
"""What stands for the error of a layer whose values are not all numbers; JSON has no word for it."""
# Up to an error that rounding to eight bits makes, up to the limit of a layer that has diverged, above it.
_COLOURS = (
    {"value": 100 * 10 ** (-59 / 20), "bgColor": "#b7e1cd"},
    {"value": 100 * 10 ** (-POOR_DB / 20), "bgColor": "#fce8b2"},
    {"value": NOT_FINITE, "bgColor": "#f4c7c3"},
)


def node_data(graph: str, title: str, decibels: Mapping[str, float]) -> dict[str, Any]:
    """Return what Model Explorer reads, of the layers of one model.

    Args:
        graph: the name of the graph in the file, by which Model Explorer knows it.
        title: whose layers they are.
        decibels: how far each layer's float span is above its error, by the name of its tensor.

    Returns:
        The JSON object. The value of a layer is its root mean square error in per cent of its float span.
    """
    return {
        graph: {
            "name": f"{title}: error, % of span",
            "results": {layer: {"value": _percent(value)} for layer, value in decibels.items()},
            "thresholds": list(_COLOURS),
        }
    }


def _percent(decibels: float) -> float:
    percent = 100 * 10 ** (-decibels / 20) if not math.isnan(decibels) else math.inf
    return percent if percent < NOT_FINITE else NOT_FINITE


def layers_folder(path: Path, bundle: Bundle, exact: Variant) -> OutputFolder:
    """Find out before the work whether there is something to write, and whether it can be written.

    Raises:
        UsageError: the bundle has no TFLite variant beside the most exact one, or the folder is not ours.
    """
    if not comparable(bundle, exact):
        raise UsageError(
            f"{bundle.name} has no TFLite variant to hold against {exact.name}; leave --layers out, or pick "
            "another --variant"
        )
    return OutputFolder.at(path, LAYERS)


def write_layers(folder: OutputFolder, bundle: Bundle, errors: Sequence[LayerErrors]) -> None:
    """Write ``VARIANT-STAGE.json`` for each graph that was looked into."""
    with folder.staged() as staging:
        for one in errors:
            graph = read_tflite(bundle.variant(one.variant).files[one.stage]).name
            data = node_data(graph, f"{one.variant} {one.stage}", one.decibels)
            (staging / f"{one.variant}-{one.stage}.json").write_text(json_text(data, indent=2) + "\n")
