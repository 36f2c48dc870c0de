"""Deterministic mode: results are bitwise the same from run to run, or an error names the op.

Each op's record says whether it is deterministic. Those of today all are, on any number of threads: sums have an order
that depends on shapes alone, and random numbers are a function of seed, draw and element.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from ..diagnostics import NondeterministicError, UnsupportedError
from ..ir.graph import Value

MODES = ("default", "warn", "error")


class _Mode:
    number = 0


def check(values: Iterable[Value]) -> None:
    """Raises NondeterministicError, or warns, where the mode forbids an op that made one of the values."""
    if not _Mode.number:
        return
    for v in values:
        if not getattr(v.node.op, "deterministic", True):
            what = f"{v.node.op.name} of a result of {v.type} is not deterministic"
            if _Mode.number == 2:
                raise NondeterministicError(what, help="leave it out, or call set_deterministic(False)")
            warnings.warn(what, stacklevel=2)


def set_deterministic(mode: bool) -> None:
    """Whether ops that are not deterministic are an error."""
    _Mode.number = 2 if mode else 0


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Whether ops that are not deterministic are an error, or with `warn_only` a warning."""
    _Mode.number = (1 if warn_only else 2) if mode else 0


def are_deterministic_algorithms_enabled() -> bool:
    """Whether ops that are not deterministic are an error or a warning."""
    return _Mode.number > 0


is_deterministic = are_deterministic_algorithms_enabled


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether they are a warning."""
    return _Mode.number == 1


def get_deterministic_debug_mode() -> int:
    """0: nothing is forbidden; 1: a warning; 2: an error."""
    return _Mode.number


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Set the mode, by number or as "default", "warn" or "error". Raises UnsupportedError for others."""
    if debug_mode in MODES:
        _Mode.number = MODES.index(str(debug_mode))
    elif debug_mode in (0, 1, 2) and not isinstance(debug_mode, bool):
        _Mode.number = int(debug_mode)
    else:
        raise UnsupportedError(f"there is no deterministic mode {debug_mode!r}", help=f"0, 1, 2 or {', '.join(MODES)}")
