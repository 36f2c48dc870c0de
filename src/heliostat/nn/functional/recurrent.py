"""Steps of recurrent networks, and layers of them over whole sequences.

The products of a layer's inputs are one product for all steps; only what depends on the state before goes step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
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
    gates = linear(x, w_ih, b_ih)
    steps = range(x.shape[0])
    outputs: list[Tensor] = []
    for t in reversed(steps) if backwards else steps:
        new = step(gates[t], state, w_hh, b_hh, proj)
        if masks is not None and masks[t] is not None:
            new = tuple(where(masks[t], a, b) for a, b in zip(new, state, strict=True))
        state = new
        outputs.append(state[0])
    return FUNCTIONS["stack"](outputs[::-1] if backwards else outputs), state


@ruled
def lstm(*args: Any) -> tuple[Tensor, States]:
    """`run_layer` of an LSTM without projections, which autocast takes as one function: its states too have the lower
    precision."""
    return run_layer(lstm_step, *args)
