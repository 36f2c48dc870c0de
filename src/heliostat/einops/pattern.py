"""Patterns of einops: one side is groups of axes, `b (h w) c`, with `...` for axes without names."""

from __future__ import annotations

import keyword
import warnings
from dataclasses import dataclass
from functools import lru_cache

from ..diagnostics import EinopsError

ELLIPSIS = "…"


@dataclass(frozen=True)
class Axis:
    """An axis by its name, or an anonymous one, which is like no other, by its length and its place in the pattern."""

    name: str
    length: int | None = None

    def __str__(self) -> str:
        return self.name if self.length is None else f"{self.length}-axis"


Group = tuple[Axis, ...]
ANY = Axis(ELLIPSIS)


@dataclass(frozen=True)
class Side:
    """One side of a pattern. A group without axes is an axis of length 1; `...` outside of brackets is the group
    (ANY,) with `open_ellipsis`."""

    groups: tuple[Group, ...]
    open_ellipsis: bool

    @property
    def axes(self) -> list[Axis]:
        """All axes in order."""
        return [a for g in self.groups for a in g]

    @property
    def has_ellipsis(self) -> bool:
        """Whether axes without names are among them."""
        return ANY in self.axes

    def composed(self) -> bool:
        """Whether a group has several axes."""
        return any(len(g) > 1 for g in self.groups)


def name_problem(name: str, allow_underscore: bool = False) -> str:
    """Why a text cannot name an axis, empty if it can. Warns of names that Python keeps for itself."""
    if not name.isidentifier():
        return "not a valid python identifier"
    if name == "_" and allow_underscore:
        return ""
    if name.startswith("_") or name.endswith("_"):
        return "axis name should should not start or end with underscore"
    if keyword.iskeyword(name):
        message = f"It is discouraged to use axes names that are keywords: {name}"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    if name == "axis":
        message = "It is discouraged to use 'axis' as an axis name and will raise an error in future"
        warnings.warn(message, FutureWarning, stacklevel=4)
    return ""


def _tokens(expression: str) -> list[str]:
    if "." in expression:
        if "..." not in expression:
            raise EinopsError("Expression may contain dots only inside ellipsis (...)")
        if expression.count("...") != 1 or expression.count(".") != 3:
            raise EinopsError("Expression may contain dots only inside ellipsis (...); only one ellipsis for tensor ")
        expression = expression.replace("...", ELLIPSIS)
    for c in expression:
        if not (c in "() _" or c == ELLIPSIS or c.isalnum()):
            raise EinopsError(f"Unknown character '{c}'")
    return expression.replace("(", " ( ").replace(")", " ) ").split()


@lru_cache(maxsize=1024)
def parse(
    expression: str, number_from: int = 0, *, allow_underscore: bool = False, allow_duplicates: bool = False
) -> Side:
    """One side of a pattern. Anonymous axes are numbered from `number_from`. Raises EinopsError with what is wrong."""
    groups: list[Group] = []
    inside: list[Axis] | None = None
    open_ellipsis = False
    seen: set[str] = set()
    for token in _tokens(expression):
        if token == "(":
            if inside is not None:
                raise EinopsError("Axis composition is one-level (brackets inside brackets not allowed)")
            inside = []
            continue
        if token == ")":
            if inside is None:
                raise EinopsError("Brackets are not balanced")
            groups.append(tuple(inside))
            inside = None
            continue
        if token in seen and not allow_duplicates and not (token == "_" and allow_underscore):
            raise EinopsError(f'Indexing expression contains duplicate dimension "{token}"')
        axis: Axis | None
        if token == ELLIPSIS:
            axis = ANY
            open_ellipsis = inside is None
        elif token.isdecimal():
            if int(token) == 0:
                raise EinopsError("Anonymous axis should have positive length, not 0")
            place = number_from + len(groups) + sum(len(g) for g in groups) + len(inside or ())
            axis = None if int(token) == 1 else Axis(f"{token}#{place}", int(token))
        else:
            problem = name_problem(token, allow_underscore)
            if problem:
                raise EinopsError(f"Invalid axis identifier: {token}\n{problem}")
            axis = Axis(token)
        if axis is not None and axis.length is None:
            seen.add(token)
        if inside is not None:
            inside += [] if axis is None else [axis]
        else:
            groups.append(() if axis is None else (axis,))
    if inside is not None:
        raise EinopsError(f'Imbalanced parentheses in expression: "{expression}"')
    return Side(tuple(groups), open_ellipsis)
