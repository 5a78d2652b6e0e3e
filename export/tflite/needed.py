"""How far the values of a tensor must be told apart: beyond it, all that reads them gives the same.

A sigmoid of eight bits has 256 levels, and the outermost begin at -6.2 and 5.1. What it reads may reach 40: a
range that goes so far both ways leaves a seventh of the steps to what the sigmoid can tell apart.
"""

import math
from collections.abc import Mapping
from typing import Any

from mien.mobile_reference.tflite.flatbuffer import looked_into, operation_name

from .blocks import FIXED_SCALE
from .ranges import Histogram, Histograms, Range, joined_ranges, with_headroom

# So that rounding does not bring what lies at an end of the range to the level before the last.
_MARGIN = 1.02


def _logit(value: float) -> float:
    return math.log(value / (1 - value))


def _saturation(kind: str, inverse: Any) -> Range:
    """Return where the first level of an operation of fixed scale ends, and where its last one begins."""
    scale, zero = FIXED_SCALE[kind]
    first, last = (-128 - zero + 0.5) * scale, (127 - zero - 0.5) * scale
    return inverse(first) * _MARGIN, inverse(last) * _MARGIN


_EIGHT_BITS: Mapping[str, Range] = {
    "LOGISTIC": _saturation("LOGISTIC", _logit),
    "TANH": _saturation("TANH", math.atanh),
}
# These cut in float as well.
_CLAMPS: Mapping[str, Range] = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def needed_ranges(model: bytes) -> dict[str, Range]:
    """Say of every tensor of a float model that only saturating operations read between what it counts.

    An operation that makes an output of the file computes in float, where a sigmoid has no last level.
    """
    parsed = looked_into(model)
    found: dict[str, Range] = {}
    for graph in parsed.subgraphs:
        readers: dict[int, list[Any]] = {}
        for operator in graph.operators:
            for index in operator.inputs:
                readers.setdefault(int(index), []).append(operator)
        given = set(map(int, graph.outputs))
        for index, reading in readers.items():
            reaches = [_reach(parsed, one, given) for one in reading]
            known = [reach for reach in reaches if reach is not None]
            if index not in given and len(known) == len(reaches):
                found |= joined_ranges((graph.tensors[index].name.decode(), reach) for reach in known)
    return found


def _reach(parsed: Any, operator: Any, given: set[int]) -> Range | None:
    """Return between what the inputs of an operation count; None if they all do."""
    kind = operation_name(parsed, operator)
    inside = not given.intersection(map(int, operator.outputs))
    return _CLAMPS.get(kind, _EIGHT_BITS.get(kind) if inside else None)


def within_needed(found: Histograms, model: bytes) -> dict[str, Histogram]:
    """Cut histograms of tensors of a float ``model`` that is wholly int8 to what counts of them."""
    needed = needed_ranges(model)
    return {
        name: histogram.within(*needed[name]) if name in needed else histogram
        for name, histogram in found.items()
    }


def room_for_others(found: Histograms, model: bytes, samples: int) -> dict[str, Histogram]:
    """Give histograms over so many ``samples`` the room that other inputs take, as far as needed."""
    return within_needed(with_headroom(found, model, samples), model)
