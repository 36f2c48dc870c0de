"""For tests of loops over changing sizes: programs of their own, and counts of what was compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import heliostat as hs
from heliostat.tensor import lazy, repeats, sizes


@contextmanager
def no_programs() -> Iterator[None]:
    """Programs of other tests are not found inside of a `with` block."""
    before = lazy.programs.symbolic, lazy.programs.repeats
    lazy.flush()
    lazy.programs.symbolic, lazy.programs.repeats = sizes.SymbolicPrograms(), repeats.Repeats()
    lazy.programs.found.clear()
    lazy.programs.plans.clear()
    yield
    lazy.programs.symbolic, lazy.programs.repeats = before


@contextmanager
def exact() -> Iterator[None]:
    """Programs of fixed sizes alone, and of whole loops."""
    symbolic, before = lazy.programs.symbolic, lazy.programs.repeats
    lazy.programs.repeats = repeats.Repeats()
    symbolic.active = False
    try:
        yield
    finally:
        symbolic.active = True
        lazy.programs.repeats = before


def misses(f: Callable[[int], Any], counts: list[int]) -> list[int]:
    """How many programs each call compiled."""
    found = []
    for n in counts:
        before = lazy.programs.misses
        f(n)
        found.append(lazy.programs.misses - before)
    return found


def array(rng: np.random.Generator, *shape: int, device: str = "cpu") -> Any:
    """Normal numbers, f32."""
    return hs.tensor(rng.standard_normal(shape).astype(np.float32), device=device)
