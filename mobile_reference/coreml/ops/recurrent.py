"""Recurrent layers. Sequences are (time, batch, features)."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import op
from mien.mobile_reference.errors import EvaluationError

Curve = Callable[[Any], Any]

CURVES: dict[str, Curve] = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "scaled_tanh": np.tanh,  # inside a layer both of its factors are 1
    "hard_sigmoid": lambda x: np.clip(x * 0.2 + 0.5, 0, 1),
    "sigmoid_hard": lambda x: np.clip(x * 0.2 + 0.5, 0, 1),
}


def _curve(name: str) -> Curve:
    if name not in CURVES:
        raise EvaluationError(f"activation '{name}' is unknown; known are {', '.join(CURVES)}")
    return CURVES[name]


def _ordered(x: Array, direction: str) -> Any:
    if direction not in ("forward", "reverse"):
        raise EvaluationError(f"direction '{direction}' is not known here")
    return x if direction == "forward" else x[::-1]


def _sequence(outputs: list[Any], *, whole: bool) -> Any:
    """All outputs in order of processing, or the last alone."""
    return np.stack(outputs if whole else outputs[-1:])


@op("rnn")
def rnn(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> Any:
    """H = activation(W x + R h + b)."""
    curve, hidden, outputs = _curve(activation), initial_h, []
    offset: Any = 0 if bias is None else bias
    for step in _ordered(x, direction):
        hidden = curve(step @ weight_ih.T + hidden @ weight_hh.T + offset)
        outputs.append(hidden)
    return _sequence(outputs, whole=output_sequence), hidden


@op("gru")
def gru(
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Array | None = None,
) -> Any:
    """Gates in the order reset, output, update; the reset acts before or after the product."""
    gate, curve = _curve(recurrent_activation), _curve(activation)
    zeros = np.zeros(weight_hh.shape[0], dtype=x.dtype)
    inner = np.split(zeros if bias is None else bias, 3)
    outer = np.split(zeros if input_bias is None else input_bias, 3)
    w_r, w_o, w_z = np.split(weight_ih, 3)
    r_r, r_o, r_z = np.split(weight_hh, 3)
    hidden, outputs = initial_h, []
    for step in _ordered(x, direction):
        reset = gate(step @ w_r.T + hidden @ r_r.T + inner[0] + outer[0])
        update = gate(step @ w_z.T + hidden @ r_z.T + inner[2] + outer[2])
        if reset_after:
            memory = reset * (hidden @ r_o.T + inner[1]) + outer[1]
        else:
            memory = (reset * hidden) @ r_o.T + inner[1] + outer[1]
        hidden = (1 - update) * curve(step @ w_o.T + memory) + update * hidden
        outputs.append(hidden)
    return _sequence(outputs, whole=output_sequence), hidden


@dataclass(frozen=True)
class _Cell:
    """One direction of an LSTM; gates in the order input, forget, output, cell."""

    weight_ih: Array
    weight_hh: Array
    bias: Array
    peephole: Array
    curves: tuple[Curve, Curve, Curve]
    clip: float | None

    def run(self, x: Array, hidden: Array, memory: Array) -> tuple[list[Any], Any, Any]:
        outputs = []
        for step in x:
            hidden, memory = self._step(step, hidden, memory)
            outputs.append(hidden)
        return outputs, hidden, memory

    def _step(self, step: Array, hidden: Array, memory: Array) -> tuple[Any, Any]:
        gate, cell, out = self.curves
        total = step @ self.weight_ih.T + hidden @ self.weight_hh.T + self.bias
        i, f, o, z = np.split(total, 4, axis=-1)
        p_i, p_f, p_o = np.split(self.peephole, 3)
        memory = gate(f + p_f * memory) * memory + gate(i + p_i * memory) * cell(z)
        if self.clip is not None:
            memory = np.clip(memory, -self.clip, self.clip)
        return gate(o + p_o * memory) * out(memory), memory


@op("lstm")
def lstm(
    x: Array,
    initial_h: Array,
    initial_c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    peephole: Array | None = None,
    weight_ih_back: Array | None = None,
    weight_hh_back: Array | None = None,
    bias_back: Array | None = None,
    peephole_back: Array | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> Any:
    """Long short-term memory, in one direction or both."""
    curves = (_curve(recurrent_activation), _curve(cell_activation), _curve(activation))
    first = _cell(weight_ih, weight_hh, bias, peephole, curves, clip)
    if direction != "bidirectional":
        outputs, hidden, memory = first.run(_ordered(x, direction), initial_h, initial_c)
        return _sequence(outputs, whole=output_sequence), hidden, memory
    second = _cell(weight_ih_back, weight_hh_back, bias_back, peephole_back, curves, clip)
    h, c = np.split(initial_h, 2, axis=-1), np.split(initial_c, 2, axis=-1)
    forth, h_forth, c_forth = first.run(x, h[0], c[0])
    back, h_back, c_back = second.run(x[::-1], h[1], c[1])
    if output_sequence:
        both = np.concatenate([np.stack(forth), np.stack(back[::-1])], axis=-1)
    else:
        both = np.concatenate([h_forth, h_back], axis=-1)[np.newaxis]
    ends = np.concatenate([h_forth, h_back], axis=-1)
    return both, ends, np.concatenate([c_forth, c_back], axis=-1)


def _cell(
    weight_ih: Array | None,
    weight_hh: Array | None,
    bias: Array | None,
    peephole: Array | None,
    curves: tuple[Curve, Curve, Curve],
    clip: float | None,
) -> _Cell:
    if weight_ih is None or weight_hh is None:
        raise EvaluationError("a bidirectional lstm needs weights for both directions")
    zeros = np.zeros(weight_hh.shape[0], dtype=weight_hh.dtype)
    no_peephole = np.zeros(weight_hh.shape[1] * 3, dtype=weight_hh.dtype)
    return _Cell(
        weight_ih,
        weight_hh,
        zeros if bias is None else bias,
        no_peephole if peephole is None else peephole,
        curves,
        clip,
    )
