"""How the key cache lies in memory: keys side by side, so that one vector instruction scores a key per lane."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.types import Layout


@dataclass(frozen=True)
class KeyPanels(Layout):
    """Layout of a key cache (heads, capacity, head_dim): [head][capacity / keys][head_dim][keys].

    `capacity` is a multiple of `keys`. Element (h, t, d) is number ((h * capacity + t // keys * keys) * head_dim
    + d * keys + t % keys).
    """

    keys: int

    def __str__(self) -> str:
        return f"key_panels({self.keys})"
