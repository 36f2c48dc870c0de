"""Ops that other ops define. The decomposition is compiled where no schedule claims the op, and is its test oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Value
from .gradient import through_decomposition
from .op import Batching, Op


class Composite(Op):
    """An op with `decompose`; the gradient follows from it where the record gives none of its own."""

    kind = "composite"
    batching = Batching.DECOMPOSE
    decompose: Callable[..., Value]

    def gradient(self, g: Value, *inputs_and_y: Value, **attrs: Any) -> Sequence[Value | None]:
        return through_decomposition(self, g, inputs_and_y[:-1], attrs)


class Claimed(Composite):
    """A composite that the compiler leaves whole: a schedule of its own takes it on every target."""

    kind = "kernel"
