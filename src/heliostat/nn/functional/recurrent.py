"""Steps of recurrent networks, and layers of them over whole sequences.

The products of a layer's inputs are one product for all steps; only what depends on the state before goes step by step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ... import ops
from ...ir.types import TensorType
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import current, ruled
from ...tensor.core import wrap
from ...tensor.gradient_mode import grad_mode
from ...tensor.quantized import QuantizedTensor
from ...tensor.recorded import Recorded, Unrolled, record, unwatched
from .linear import linear

States = tuple[Tensor, ...]
where = FUNCTIONS["where"]


@ruled
def rnn_step(gates: Tensor, state: States, w: Tensor, b: Tensor | None, proj: Tensor | None, relu: bool) -> States:
    """gates: (B, H), what the input gives; state: (h,), (B, H)."""
    y = gates + linear(state[0], w, b)
    return (y.relu() if relu else y.tanh(),)


@ruled
def lstm_step(gates: Tensor, state: States, w: Tensor, b: Tensor | None, proj: Tensor | None) -> States:
    """gates: (B, 4 H) for input, forget, cell, output; state: (h, c), (B, H or the projection's size) and (B, H)."""
    h, c = state
    i, f, g, o = (gates + linear(h, w, b)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if proj is None else linear(h, proj)), c


@ruled
def gru_step(gates: Tensor, state: States, w: Tensor, b: Tensor | None, proj: Tensor | None) -> States:
    """gates: (B, 3 H) for reset, update, new; state: (h,), (B, H)."""
    h = state[0]
    of_state = linear(h, w, b)
    ir, iz, n = gates.chunk(3, -1)
    hr, hz, hn = of_state.chunk(3, -1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    new = (n + r * hn).tanh()
    return (new + z * (h - new),)


def run_layer(
    step: Any, x: Tensor, state: States, weights: Sequence[Tensor | None], backwards: bool, masks: list[Any] | None
) -> tuple[Tensor, States]:
    """One direction of one layer. x: (T, B, F); weights: ih, hh, their biases or None, projection or None; masks:
    which sequences have a step, (B, 1) each, or None for all. (T, B, H) and the last state."""
    w_ih, w_hh, b_ih, b_hh, proj = weights
    assert w_ih is not None
    assert w_hh is not None
    quantized = isinstance(w_hh, QuantizedTensor)  # each step has a range of its own
    gates = linear(x, w_ih, b_ih)
    if step is not gru_step and b_hh is not None:
        gates, b_hh = gates + b_hh, None  # once for all steps
    steps = range(x.shape[0])
    if masks is None and len(steps) > 1 and unwatched() and current() is None and not quantized:
        found = _unrolled(step, gates, state, (w_hh, b_hh, proj), backwards)
        if found is not None:
            return found
    outputs: list[Tensor] = []
    for t in reversed(steps) if backwards else steps:
        new = step(gates[t], state, w_hh, b_hh, proj)
        if masks is not None and masks[t] is not None:
            new = tuple(where(masks[t], a, b) for a, b in zip(new, state, strict=True))
        state = new
        outputs.append(state[0])
    return FUNCTIONS["stack"](outputs[::-1] if backwards else outputs), state


def _unrolled(
    step: Any, gates: Tensor, state: States, weights: Sequence[Tensor | None], backwards: bool
) -> tuple[Tensor, States] | None:
    """The steps of a layer over its gates, (T, B, F), as nodes without a tensor for each; None where a step reads
    values, or does not give states of the types that it takes."""
    count, rows = gates.shape[0], gates.value
    short = tuple(gates.shape[1:])
    there = [w for w in weights if w is not None]
    first = ops.reshape(ops.slice(rows, 0, 0, 1), short)
    values = [s.value for s in state]
    types = tuple(v.type for v in (first, *values, *(w.value for w in there)))
    recorded = _recorded(step, types, len(values), tuple(w is not None for w in weights))
    if recorded is None or [recorded.types[n] for n in recorded.which] != [v.type for v in values]:
        return None
    after = 1 + len(values)
    body = Unrolled(recorded, {after + n: w.value for n, w in enumerate(there)})
    outputs = []
    for t in reversed(range(count)) if backwards else range(count):
        row = ops.reshape(ops.slice(rows, 0, t, t + 1), short) if t else first
        values = body([row, *values])
        outputs.append(ops.reshape(values[0], (1, *values[0].type.shape)))
    y = ops.concat(*(outputs[::-1] if backwards else outputs), axis=0)
    sources = (gates, *state, *there)
    return wrap(y, *sources), tuple(wrap(v, *sources) for v in values)


@functools.lru_cache(maxsize=64)
def _recorded(step: Any, types: tuple[TensorType, ...], states: int, there: tuple[bool, ...]) -> Recorded | None:
    """A step for a row of gates, states, and the weights that are there."""

    def walk(given: list[Tensor]) -> Sequence[Tensor]:
        rest = iter(given[1 + states :])
        weights = [next(rest) if w else None for w in there]
        made: States = step(given[0], tuple(given[1 : 1 + states]), *weights)
        return made

    with grad_mode(False):
        return record(walk, types)


@ruled
def lstm(*args: Any) -> tuple[Tensor, States]:
    """`run_layer` of an LSTM without projections, which autocast takes as one function: its states too have the lower
    precision."""
    return run_layer(lstm_step, *args)
