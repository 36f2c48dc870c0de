"""What the shape parameters of a function are in a call: linear equations between dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heliostat.ir.types import Dim, Symbol, SymbolicDim, dim


def substitute(d: Dim, values: dict[str, Dim]) -> Dim:
    """`d` with its symbols replaced by dimensions; those without a value stay."""
    if isinstance(d, int):
        return d
    total: Dim = 0
    for symbols, coefficient in d.terms:
        term: Dim = coefficient
        for symbol in symbols:
            term = term * values.get(symbol.name, dim(symbol))
        total = total + term
    return total


def solve(pairs: Sequence[tuple[Dim, Dim]], symbols: Iterable[str]) -> dict[str, Dim]:
    """What `symbols` must be for the dimensions on the left to equal those on the right, as far as equations with
    one unknown, `a * M + b`, say it. The right side may use symbols of the same names: they are others."""
    fresh = {name: Symbol(f"{name}'", 1) for name in symbols}
    own: dict[str, Dim] = {name: dim(symbol) for name, symbol in fresh.items()}
    left = [(substitute(pattern, own), actual) for pattern, actual in pairs]
    found: dict[str, Dim] = {}
    while left:
        rest: list[tuple[Dim, Dim]] = []
        for pattern, actual in left:
            unknown = [s for s in fresh.values() if s.name not in found and _uses(pattern, s)]
            if not unknown:
                continue
            value = _solved(substitute(pattern, found), unknown[0], actual) if len(unknown) == 1 else None
            if value is None:
                rest.append((pattern, actual))
            else:
                found[unknown[0].name] = value
        if len(rest) == len(left):
            break
        left = rest
    return {name: found[symbol.name] for name, symbol in fresh.items() if symbol.name in found}


def _uses(d: Dim, symbol: Symbol) -> bool:
    return isinstance(d, SymbolicDim) and symbol in d.symbols


def _solved(pattern: Dim, unknown: Symbol, actual: Dim) -> Dim | None:
    """The dimension for which a * unknown + b is `actual`, if it is one."""
    if not isinstance(pattern, SymbolicDim):
        return None
    slope = dict(pattern.terms).get((unknown,), 0)
    if not slope or any(unknown in key and key != (unknown,) for key, _ in pattern.terms):
        return None
    rest = actual - (pattern - slope * dim(unknown))
    if isinstance(rest, int):
        return rest // slope if rest % slope == 0 else None
    try:
        return rest // slope
    except ValueError:
        return None
