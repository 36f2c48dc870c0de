"""Structures that were run before, found again by a walk that makes nothing.

`lazy.Closed` numbers, sorts and hashes a graph to find its program. A loop asks for the same graph at every turn: a
`Plan` knows ops, attributes and how nodes hang together, and compares what is asked for with that, node by node. Its
walk is written out as a Python function, as loops and tables would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any, Protocol

from ..ir.graph import CONSTANT, Value

MOST_ALIKE = 4
"""Plans of one kind; the one that was found last is tried first."""

PATIENCE = 64
"""So many graphs of a kind that no plan fits, and all of that kind are forgotten: others are asked for now."""

MOST_KINDS = 128
MOST_VALUES = 2000
"""Larger graphs have no plan: their functions would take long to compile."""


Match = Callable[..., tuple[list[Any], list[Value]] | None]


class Closed(Protocol):
    """What `lazy.Closed` found: values, operands before users; their numbers; those that a program reads and makes."""

    order: list[Value]
    number: dict[Value, int]
    leaves: list[Value]
    results: list[Value]


class Plan:
    """How the values behind some roots are made of each other, and the program that makes them.

    match(*roots): buffers for the program, and the values that it makes known, operands before users; None where the
    roots are made in another way. It is None itself until `compiled` has made it: what runs once needs no function.
    sources: for each root whether its buffer is made (True) or read, and which one."""

    __slots__ = ("_known", "_text", "match", "runner", "sources")

    def __init__(self, roots: Sequence[Value], is_leaf: Callable[[Value], bool], closed: Closed, runner: Any) -> None:
        """Of roots that differ, which have no data. closed: what is behind them. runner: the program of that."""
        made = {closed.number[v]: n for n, v in enumerate(closed.results)}
        read = {closed.number[v]: n for n, v in enumerate(closed.leaves)}
        numbers = [closed.number[v] for v in roots]
        self.sources = [(True, made[n]) if n in made else (False, read[n]) for n in numbers]
        self.runner = runner
        self._known: dict[str, Any] = {"alike": _alike}
        self._text = _written(roots, is_leaf, closed, self._known)
        self.match: Match | None = None

    def compiled(self) -> Match:
        """`match`, made."""
        exec(_code(self._text), self._known)
        made: Match = self._known["match"]
        self.match, self._text = made, ""
        return made


def _written(roots: Sequence[Value], is_leaf: Callable[[Value], bool], closed: Closed, known: dict[str, Any]) -> str:
    """The text of `match`. What it compares with comes to `known`, so that graphs of one form have one text."""
    values = list(roots)
    place = {v: n for n, v in enumerate(values)}
    lines = [f"def match({', '.join(f'v{n}' for n in range(len(values)))}):", " try:"]
    for n, v in enumerate(values):  # grows on the way
        if is_leaf(v):
            known[f"t{n}"] = v.type
            test = f"m is None or (b{n} := m.buffer) is None or (v{n}.type is not t{n} and v{n}.type != t{n})"
            lines += [f"  m = v{n}.meta", f"  if {test}: return"]
            continue
        node = v.node
        known |= {f"o{n}": node.op, f"a{n}": node.attrs}
        test = f"(o.op is not o{n} and o.op != o{n}) or (o.attrs is not a{n} and not alike(o{n}, a{n}, o.attrs))"
        test += f" or ((m := v{n}.meta) is not None and m.buffer is not None)"
        if len(node.results) > 1:
            test += f" or v{n}.index != {v.index}"
        operands: list[str] = []
        again: list[str] = []
        for u in node.inputs:
            if u in place:
                operands.append(f"u{len(again)}")
                again.append(f"{operands[-1]} is not v{place[u]}")
            else:
                place[u] = len(values)
                operands.append(f"v{place[u]}")
                values.append(u)
        lines += [f"  o = v{n}.node", f"  if {test}: return", f"  [{', '.join(operands)}] = o.inputs"]
        if again:
            lines.append(f"  if {' or '.join(again)}: return")
    given = ", ".join(f"b{place[v]}" for v in closed.leaves)
    computed = ", ".join(f"v{place[v]}" for v in closed.order if not is_leaf(v))
    return "\n".join(
        [*lines, " except ValueError: return  # another number of operands", f" return [{given}], [{computed}]"]
    )


@lru_cache(maxsize=256)
def _code(text: str) -> CodeType:
    return compile(text, "<plan>", "exec")


def _alike(op: Any, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if op is CONSTANT:
        x, y = a["value"], b["value"]
        return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())
    return a == b


class _Kind:
    """Plans that are tried for the same roots. misses: how often none fitted while there was no place for more."""

    __slots__ = ("misses", "plans")

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.misses = 0


class Plans:
    """Plans by the number of their roots, and ops and shapes of the first and of the last."""

    def __init__(self) -> None:
        self.found: dict[Any, _Kind] = {}
        self.last: Plan | None = None

    def find(self, roots: Sequence[Value]) -> tuple[Plan, list[Any], list[Value]] | None:
        """The plan that these roots follow, with what its `match` gives."""
        last = self.last
        if last is not None and len(last.sources) == len(roots):
            found = (last.match or last.compiled())(*roots)
            if found is not None:
                return last, found[0], found[1]
        a, b = roots[0], roots[-1]
        kind = self.found.get((len(roots), a.node.op, b.node.op, a.type.shape, b.type.shape))
        if kind is None:
            return None
        plans = kind.plans
        for n, plan in enumerate(plans):
            found = (plan.match or plan.compiled())(*roots)
            if found is not None:
                if n:
                    plans.insert(0, plans.pop(n))
                self.last = plan
                return plan, found[0], found[1]
        return None

    def keep(self, roots: Sequence[Value], is_leaf: Callable[[Value], bool], closed: Closed, runner: Any) -> None:
        """Make a plan of these roots, where there is place for it."""
        if len(closed.order) > MOST_VALUES:
            return
        if len(self.found) >= MOST_KINDS:
            self.clear()
        a, b = roots[0], roots[-1]
        kind = self.found.setdefault((len(roots), a.node.op, b.node.op, a.type.shape, b.type.shape), _Kind())
        if len(kind.plans) >= MOST_ALIKE:
            kind.misses += 1
            if kind.misses < PATIENCE:
                return
            kind.plans.clear()
            kind.misses = 0
        kind.plans.insert(0, Plan(roots, is_leaf, closed, runner))

    def clear(self) -> None:
        """Forget all plans, and the programs that they hold."""
        self.found.clear()
        self.last = None
