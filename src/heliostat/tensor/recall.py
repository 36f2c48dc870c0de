"""Structures that were run before, found again by a walk that makes nothing.

`lazy.Closed` numbers, sorts and hashes a graph to find its program. A loop asks for the same graph at every turn: a
`Plan` knows ops, attributes and how nodes hang together, and compares what is asked for with that, node by node. Its
walk is written out as a Python function, as loops and tables would take most of the time. That of a program of symbols
takes every size of its form, and gives the symbols' values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

from ..ir.graph import CONSTANT, Value
from ..ir.types import Dim, SymbolicDim, dim
from .sizes import Closed, SymbolicProgram, placed_attributes, same_number, sizes_inside, solved, text_of

MOST_ALIKE = 4
"""Plans of one kind; the one that was found last is tried first."""

PATIENCE = 64
"""So many graphs of a kind that no plan fits, and all of that kind are forgotten: others are asked for now."""

MOST_KINDS = 128
MOST_VALUES = 2000
"""Larger graphs have no plan: their functions would take long to compile."""


Match = Callable[..., tuple[list[Any], list[Value], Sequence[int]] | None]


class Plan:
    """How the values behind some roots are made of each other, and the program that makes them.

    match(*roots): buffers for the program, the values that it makes known, operands before users, and the values of its
    symbols; None where the roots are made in another way. It is None itself until `compiled` has made it: what runs
    once needs no function. sources: for each root whether its buffer is made (True) or read, and which one."""

    __slots__ = ("_known", "_text", "device", "match", "runner", "sources", "symbolic")

    def __init__(
        self,
        roots: Sequence[Value],
        device: str,
        is_leaf: Callable[[Value], bool],
        closed: Closed,
        runner: Any,
        symbolic: SymbolicProgram | None,
    ) -> None:
        """Of roots that differ, which have no data. closed: what is behind them. runner: the program of that, made for
        the sizes that they have, or for those of `symbolic`."""
        made = {closed.number[v]: n for n, v in enumerate(closed.results)}
        read = {closed.number[v]: n for n, v in enumerate(closed.leaves)}
        numbers = [closed.number[v] for v in roots]
        self.sources = [(True, made[n]) if n in made else (False, read[n]) for n in numbers]
        self.runner, self.device, self.symbolic = runner, device, symbolic is not None
        walk = _Walk(roots, is_leaf, closed, symbolic)
        self._text, self._known = walk.text(), walk.known
        self.match: Match | None = None

    def compiled(self) -> Match:
        """`match`, made."""
        exec(_code(self._text), self._known)
        made: Match = self._known["match"]
        self.match, self._text = made, ""
        return made


class _Walk:
    """The text of `match`. What it compares with comes to `known`, so that graphs of one form have one text."""

    def __init__(
        self,
        roots: Sequence[Value],
        is_leaf: Callable[[Value], bool],
        closed: Closed,
        symbolic: SymbolicProgram | None,
    ) -> None:
        self.closed, self.is_leaf, self.symbolic = closed, is_leaf, symbolic
        self.known: dict[str, Any] = {"alike": _alike}
        self.values = list(roots)
        self.roots = len(roots)
        self.place = {v: n for n, v in enumerate(self.values)}
        self.dims: dict[Any, Sequence[Dim]] = {} if symbolic is None else symbolic.places(closed)
        self.found: list[tuple[str, Dim]] = []  # where symbols may be read
        self.inside: list[str] = []  # lines that read the sizes in `Inlined` ops
        self.sized: list[str] = []  # what differs where a size is another one; looked at when the symbols are known

    def text(self) -> str:
        """All of it."""
        closed, place, values = self.closed, self.place, self.values
        lines = [f"def match({', '.join(f'v{n}' for n in range(self.roots))}):", " try:"]
        for n, v in enumerate(values):  # grows on the way
            lines += [f"  {line}" for line in (self._leaf(n, v) if self.is_leaf(v) else self._node(n, v))]
        lines += [f"  {line}" for line in self._sizes()]
        given = ", ".join(f"b{place[v]}" for v in closed.leaves)
        computed = ", ".join(f"v{place[v]}" for v in closed.order if not self.is_leaf(v))
        # Another number of operands or axes, other attributes, sizes that a form is not made for (0, say).
        last = " except (LookupError, TypeError, ValueError, ArithmeticError): return"
        return "\n".join([*lines, last, f" return [{given}], [{computed}], {'()' if self.symbolic is None else 's'}"])

    def _leaf(self, n: int, v: Value) -> list[str]:
        test = f"m is None or (b{n} := m.buffer) is None or "
        if v in self.dims and _any_symbolic(self.dims[v]):
            self.known[f"e{n}"] = v.type.element
            self._note_symbols(f"t{n}.shape", tuple(self.dims[v]))
            self.sized.append(f"t{n}.shape != {text_of(tuple(self.dims[v]))}")
            test += f"((e := (t{n} := v{n}.type).element) is not e{n} and e != e{n}) or t{n}.layout is not None"
        else:
            self.known[f"t{n}"] = v.type
            test += f"(v{n}.type is not t{n} and v{n}.type != t{n})"
        return [f"m = v{n}.meta", f"if {test}: return"]

    def _node(self, n: int, v: Value) -> list[str]:
        node = v.node
        place, values = self.place, self.values
        symbolic = _any_symbolic(self.dims.get(node, ()))
        test = self._sized_test(n, v) if symbolic else self._test(n, v)
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
        lines = [f"o = v{n}.node", f"if {test}: return", f"[{', '.join(operands)}] = o.inputs"]
        if again:
            lines.append(f"if {' or '.join(again)}: return")
        return lines

    def _test(self, n: int, v: Value) -> str:
        self.known |= {f"o{n}": v.node.op, f"a{n}": v.node.attrs}
        return f"(o.op is not o{n} and o.op != o{n}) or (o.attrs is not a{n} and not alike(o{n}, a{n}, o.attrs))"

    def _sized_test(self, n: int, v: Value) -> str:
        """The same of a node of which some sizes are symbolic: those are looked at later."""
        node, dims = v.node, self.dims[v.node]
        op: Any = node.op
        known = self.known
        known[f"o{n}"] = op
        if hasattr(op, "inline"):
            known |= {f"a{n}": node.attrs, "inside": sizes_inside}
            self.inside += [f"i{n} = inside(p{n}, o{n})", f"if i{n} is None: return"]
            self._note_symbols(f"i{n}", tuple(dims))
            self.sized.append(f"i{n} != {text_of(tuple(dims))}")
            return f"(p{n} := o.op).__class__ is not o{n}.__class__ or o.attrs != a{n}"
        take = f"(o.op is not o{n} and o.op != o{n}) or (a{n} := o.attrs) is None"
        if op is CONSTANT:
            known |= {f"c{n}": v, "number": same_number}
            self.sized.append(f"not number(v{n}, c{n}, {text_of(dims[0])})")
            return take
        self.sized.append(f"len(a{n}) != {len(node.attrs)}")
        for name, value in placed_attributes(node, dims).items():
            if _any_symbolic(value):
                self._note_symbols(f"a{n}[{name!r}]", value)
                self.sized.append(f"a{n}[{name!r}] != {text_of(value)}")
            else:
                known[f"k{n}{name}"] = value
                self.sized.append(f"a{n}[{name!r}] != k{n}{name}")
        return take

    def _note_symbols(self, text: str, value: Any) -> None:
        """Note where symbols may be read, in a value that `text` names."""
        if isinstance(value, tuple):
            for n, item in enumerate(value):
                self._note_symbols(f"{text}[{n}]", item)
        elif isinstance(value, SymbolicDim):
            self.found.append((text, value))

    def _sizes(self) -> list[str]:
        """Lines that read the symbols, and compare all that is made of them. Shapes of values that are computed follow
        from the others: they are looked at once for each choice of sizes."""
        entry = self.symbolic
        if entry is None:
            return []
        lines = self.inside
        for s, at, factor, rest in solved(entry.symbols, [d for _, d in self.found]):
            lines.append(f"{s.name} = ({self.found[at][0]} - ({rest})) // {factor}")
        shapes = [(n, entry.shapes[self.closed.number[v]]) for n, v in enumerate(self.values) if not self.is_leaf(v)]
        all_shapes = [f"v{n}.type.shape == {text_of(shape)}" for n, shape in shapes if _any_symbolic(shape)]
        self.known |= {"admitted": entry.admitted, "admits": entry.admits, "is_exact": entry.is_exact}
        lines += [f"if {' or '.join(self.sized)}: return", f"s = {text_of(tuple(dim(s) for s in entry.symbols))}"]
        lines += [f"if s not in admitted and not ({' and '.join([*all_shapes, 'admits(s)'])}): return"]
        return [*lines, "if is_exact(s): return"]


def _any_symbolic(value: Any) -> bool:
    return isinstance(value, SymbolicDim) or (isinstance(value, tuple | list) and any(map(_any_symbolic, value)))


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
    """Plans by the device and the number of their roots, and ops and shapes of the first and of the last; those of
    programs of symbols by the number of their axes."""

    def __init__(self) -> None:
        self.found: dict[Any, _Kind] = {}
        self.last: Plan | None = None

    def find(
        self, roots: Sequence[Value], device: str, symbolic: bool
    ) -> tuple[Plan, list[Any], list[Value], Sequence[int]] | None:
        """The plan that these roots follow, which lie on a device, with what its `match` gives. symbolic: whether it
        may be one of a program of symbols."""
        last = self.last
        if (
            last is not None
            and len(last.sources) == len(roots)
            and last.device == device
            and (symbolic or not last.symbolic)
        ):
            found = (last.match or last.compiled())(*roots)
            if found is not None:
                return last, *found
        for sized in (False, True) if symbolic else (False,):
            key = _key(roots, device, sized)
            kind = self.found.get(key)
            if kind is None:
                continue
            plans = kind.plans
            for n, plan in enumerate(plans):
                found = (plan.match or plan.compiled())(*roots)
                if found is not None:
                    if n:
                        plans.insert(0, plans.pop(n))
                    self.last = plan
                    return plan, *found
        return None

    def keep(
        self,
        roots: Sequence[Value],
        device: str,
        is_leaf: Callable[[Value], bool],
        closed: Closed,
        runner: Any,
        symbolic: SymbolicProgram | None = None,
    ) -> None:
        """Make a plan of these roots, where there is place for it. device: what tells the programs of theirs from those
        of others. symbolic: what their program is, if it has symbols."""
        if len(closed.order) > MOST_VALUES:
            return
        plan = Plan(roots, device, is_leaf, closed, runner, symbolic)
        if device != "cpu" and not all(new for new, _ in plan.sources):
            return  # what is read may lie on the host
        if len(self.found) >= MOST_KINDS:
            self.clear()
        kind = self.found.setdefault(_key(roots, device, plan.symbolic), _Kind())
        if len(kind.plans) >= MOST_ALIKE:
            kind.misses += 1
            if kind.misses < PATIENCE:
                return
            kind.plans.clear()
            kind.misses = 0
        kind.plans.insert(0, plan)

    def clear(self) -> None:
        """Forget all plans, and the programs that they hold."""
        self.found.clear()
        self.last = None


def _key(roots: Sequence[Value], device: str, symbolic: bool) -> tuple[Any, ...]:
    a, b = roots[0], roots[-1]
    x, y = a.type.shape, b.type.shape
    return (device, len(roots), a.node.op, b.node.op, *((len(x), len(y)) if symbolic else (x, y)))
