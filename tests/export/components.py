"""Models of the built-in pipeline for tests."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from mien.export.component import Component, component
from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from mien.models.sources import open_pipeline


def shipped(name: str) -> Component:
    """Return a model of the shipped checkpoint."""
    return component(open_pipeline(), name)


def with_module(name: str, kind: Callable[[nn.Module], nn.Module]) -> Component:
    """Return what claims to be a model of the pipeline and computes something else with its net."""
    one = shipped(name)
    return replace(one, module=kind(one.module.net).eval())


def with_larger_constant(model: bytes) -> bytes:
    """Return a finished model whose largest constant is a hundredth too large."""
    parsed = parse(model)
    largest = max((b for b in parsed.buffers if b.data is not None), key=lambda b: len(b.data))
    values = np.frombuffer(bytes(largest.data), np.float32) * np.float32(1.01)
    largest.data = np.frombuffer(values.tobytes(), np.uint8)
    return serialise(parsed)
