"""Calling onnx2tf, with a guard for each trap that both of its back ends share.

- It rewrites the file it is given: it gets a copy, on which shared tensors are shielded (``repairs``).
- Its LSTMs are off: they are written out (``unroll_lstm``), or refused. An RNN's last states are taken from
  its steps (``repairs``).
- It runs the program ``onnxsim`` three times, and goes on without where there is none, to a model that cannot
  be loaded. Here onnxsim is called as a library, until it finds nothing more to change.
- Its own passes over layouts know hundreds of patterns, and some go by shapes alone: a map of up to eight
  columns, or of as many columns as a convolution has channels, is taken for one whose channels lie last.
  ``WAYS`` do without more and more of them.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import Any
from unittest import mock

import onnx

from .forms import join_borders, lift_groups
from .repairs import count_inside, normalise_by_channels, shield_shared, take_last_steps
from .unroll_lstm import unroll_lstms
from .volumes import flatten_volumes, has_volumes

_TIMES = 3
_PACKAGE = "onnx2tf.tflite_builder"
_GUESSES = re.compile(r"_?sanitize_probable_\w+")
"""Functions that go by a map of few columns."""
_MOVES = re.compile(r"_?(optimize|repair|sanitize_probable)_\w+")
"""These, those that move transpositions, and those that repair what was moved, which go by shapes as well."""


class UnsupportedError(Exception):
    """An operation is not converted."""


def convert(source: str, made: str, way: str, options: Mapping[str, Any]) -> Path:
    """Convert the ONNX file ``source``, which stays as it is; returns the float32 file that onnx2tf wrote.

    ``made`` is the folder it writes to, ``way`` one of ``WAYS``, ``options`` are passed to onnx2tf.
    """
    import onnx2tf

    folder = Path(made)
    copy = folder.with_suffix(".copy.onnx")
    onnx.save(_repaired(onnx.load(source)), str(copy))
    with WAYS[way]():
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(folder),
            non_verbose=True,
            not_use_onnxsim=True,
            **options,
        )
    written = folder / f"{copy.stem}_float32.tflite"
    if not written.is_file():
        raise FileNotFoundError(f"onnx2tf ended without an error and wrote no {written.name}")
    return written


def _repaired(model: onnx.ModelProto) -> onnx.ModelProto:
    if _has_lstm(model):
        # A graph that was simplified knows its shapes, and stores its states and weights.
        model = _simplified(model)
        unroll_lstms(model)
        if _has_lstm(model):
            raise UnsupportedError("not supported by onnx2tf: LSTM")
    join_borders(model)
    lift_groups(model)
    if has_volumes(model):
        # Of a graph that was not simplified lengths may not be known.
        model = _simplified(model)
        flatten_volumes(model)
    take_last_steps(model)
    count_inside(model)
    normalise_by_channels(model)
    shield_shared(model)
    return _simplified(model)


def _has_lstm(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "LSTM" for node in model.graph.node)


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify a graph as often as onnx2tf would, but not where that changes nothing."""
    from onnxsim import simplify

    for _ in range(_TIMES):
        before = model.SerializeToString(deterministic=True)
        model, _ = simplify(model)
        if model.SerializeToString(deterministic=True) == before:
            break
    return model


@contextmanager
def _without(pattern: re.Pattern[str]) -> Iterator[Any]:
    """Let functions of the converter do nothing, which no option of it asks for; gives its module."""
    builder = import_module(_PACKAGE)
    import_module(f"{_PACKAGE}.lower_from_onnx2tf")  # and with it what it calls
    parts = [part for name, part in sys.modules.items() if name.startswith(_PACKAGE) and part is not None]
    with ExitStack() as stack:
        for part in parts:
            for name in [name for name, one in vars(part).items() if isfunction(one)]:
                if pattern.fullmatch(name):
                    # What each returns is how often it changed something.
                    stack.enter_context(mock.patch.object(part, name, return_value=Counter()))
        yield builder


@contextmanager
def _plainly() -> Iterator[None]:
    """Let the converter move none of its own transpositions."""
    with _without(_MOVES) as builder:
        plain = partial(builder.lower_onnx_to_ir, optimize_layout_transpose_chains=False)
        with mock.patch.object(builder, "lower_onnx_to_ir", plain):
            yield


WAYS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "usual": nullcontext,
    # Takes no map of few columns for channels last.
    "warily": partial(_without, _GUESSES),
    "plainly": _plainly,
}
"""The ways to convert a graph, the one that makes the fewest operations first."""
