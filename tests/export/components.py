"""Models of the built-in pipeline for tests."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from mien.export.component import Component, component
from mien.models.sources import open_pipeline


def shipped(name: str) -> Component:
    """Return a model of the shipped checkpoint."""
    return component(open_pipeline(), name)


def with_module(name: str, kind: Callable[[nn.Module], nn.Module]) -> Component:
    """Return what claims to be a model of the pipeline and computes something else with its net."""
    one = shipped(name)
    return replace(one, module=kind(one.module.net).eval())
