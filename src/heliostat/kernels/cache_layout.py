"""How caches of keys and values lie in memory, so that one vector instruction reads what it multiplies.

Keys lie side by side, one a lane. Where a thread of a GPU reads 16 bytes at once, these are neighbours of the direction
that a product sums over: elements of the head for keys, keys for values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..ir.types import Layout


@dataclass(frozen=True)
class KeyPanels(Layout):
    """Layout of a key cache (heads, capacity, head_dim): [head][capacity / keys][head_dim / run][keys][run].

    Of pages (pages, heads, page, head_dim) each head of each page lies so. `capacity`, or `page`, is a multiple of
    `keys`, `head_dim` of `run`.
    """

    keys: int
    run: int = 1

    def __str__(self) -> str:
        return f"key_panels({self.keys})" if self.run == 1 else f"key_panels({self.keys}, {self.run})"


@dataclass(frozen=True)
class ValuePanels(Layout):
    """Layout of a value cache (heads, capacity, head_dim): [head][capacity / run][head_dim][run]."""

    run: int


def arranged(array: npt.NDArray[np.uint8], layout: Layout, inverse: bool = False) -> npt.NDArray[np.uint8]:
    """A row-major cache (heads, capacity, head_dim, bytes of an element) in the order of a layout, flat; or back.

    Raises TypeError for another layout.
    """
    heads, capacity, size, nbytes = array.shape
    if isinstance(layout, KeyPanels):
        keys, run = layout.keys, layout.run
        shape, order = (heads, capacity // keys, keys, size // run, run, nbytes), (0, 1, 3, 2, 4, 5)
    elif isinstance(layout, ValuePanels):
        shape, order = (heads, capacity // layout.run, layout.run, size, 1, nbytes), (0, 1, 3, 2, 4, 5)
    else:
        raise TypeError(f"{layout} is no layout of a cache")
    if inverse:
        rows = array.reshape([shape[n] for n in order]).transpose(order)  # the order swaps two axes: its own inverse
        return np.ascontiguousarray(rows).reshape(-1)
    return np.ascontiguousarray(array.reshape(shape).transpose(order)).reshape(-1)
