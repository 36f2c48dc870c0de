"""Programs for many sizes: what a loop computes whose batch or text has another size at each turn.

A structure is taken apart into its *form*, all that is no size, and its sizes. Where a form comes again with others,
those of the leaves that differ become symbols, and those in attributes polynomials of them; the ops' own rules say
what follows. Such a program is used for a structure only if every size in it, those of all values too, is what
its polynomial says: then it is the same graph, node by node, and a wrong guess costs a compilation, not a result.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np

from ..diagnostics import HeliostatError
from ..ir.graph import CONSTANT, PARAMETER, Graph, Node, Value, parameter, round_bf16, storage_dtype
from ..ir.types import Dim, Symbol, SymbolicDim, TensorType, bf16, dim, evaluate, f32, f64
from ..ir.types import element as of_name
from ..ops import REGISTRY, cast, counted, reciprocal

MOST_SYMBOLS = 8
"""Sizes that change together: batch, length, and how many are chosen by masks; nodes, edges and graphs."""

SLICE = REGISTRY["slice"]

MOST_SUMS = 24
"""Sums of sizes in a graph that others are looked for among, in pairs."""

LEAST_UPPER = 64
"""A symbol's upper bound is at least this, and at least twice the largest size that was met."""

MOST_SAMPLES = 4
MOST_FAILURES = 3
MOST_FITS = 16
MOST_ENTRIES = 4
KEPT_FORMS = 512

OFTEN = 64
"""A size that a program of symbols was run with so many times gets a program of its own, which is faster."""

FEW_SIZES = 32
"""Only where no more than so many sizes were met: where there are more, others will follow."""

MOST_ADMITTED = 4096
_MOST_WAYS = 16

SIZE = "#"
"""Stands for a size in a form."""

INVERSE = "1/#"
"""Stands there for a number divided by a size."""

MOST = 1 << 24
"""Larger numbers are no sizes."""


class Closed(Protocol):
    """What `lazy.Closed` found."""

    order: list[Value]
    number: dict[Value, int]
    leaves: list[Value]
    results: list[Value]
    key: Any

    def same(self, v: Value) -> Value | None: ...


class Inlined(Protocol):
    """An op that stands for a graph: `lazy.Inlined`."""

    graph: Graph


class _Refused(Exception):
    """Why sizes are not made symbols."""


class _Form:
    """A form that is hashed once."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = tuple(items)
        self._hash = hash(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Form) and self._hash == other._hash and self._items == other._items)


@cache
def _sized(op: Any) -> frozenset[str]:
    """The attributes of an op that may be symbolic: those that its type rule takes as `Dim`."""
    parameters = inspect.signature(op.infer).parameters.values() if hasattr(op, "infer") else ()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and "Dim" in str(p.annotation))


@cache
def _sized_by_name(name: str) -> frozenset[str]:
    return _sized(REGISTRY[name]) if name in REGISTRY else frozenset()


def _taken(value: Any, form: list[Any], sizes: list[int]) -> None:
    """Append the sizes of an attribute, and the rest of it to the form."""
    if type(value) is int:
        form.append(SIZE)
        sizes.append(value)
    elif type(value) is tuple:
        form.append(len(value))
        for item in value:
            _taken(item, form, sizes)
    else:
        form.append(value)


def _shape(shape: Any, form: list[Any], sizes: list[int]) -> None:
    """The same of a leaf's shape. Sizes of 0 and 1 have rules of their own: they belong to the form."""
    form.append(len(shape))
    for d in shape:
        form.append(d if d < 2 else SIZE)
    sizes += shape


def _constant(element: str, shape: Any, data: bytes, form: list[Any], sizes: list[int]) -> None:
    """The same of a constant: a number without axes may be a size, or one divided by it (gradients of means)."""
    how, number = ("", 0) if shape else _number(element, data)
    form += (element, shape, how or data)
    if how:
        sizes.append(number)


def _written(node: Node) -> tuple[str, Any, bytes]:
    """A constant as its row in a key has it."""
    type = node.results[0].type
    return type.element.name, type.shape, node.attrs["value"].tobytes()


@lru_cache(maxsize=4096)
def _number(element: str, data: bytes) -> tuple[str, int]:
    """The size that a number of these bytes may be made of, and how: SIZE, INVERSE, or "" for none."""
    kind = storage_dtype(of_name(element))  # type: ignore[arg-type]
    number = np.frombuffer(data, kind)[0].item()
    if type(number) is bool or not 0 < number < MOST:
        return "", 0
    if number == int(number):
        return SIZE, int(number)
    if 1 / MOST < number < 1:
        size = round(1 / number)
        inverse = kind(1 / size)
        if (round_bf16(np.array([inverse]))[0] if element == "bf16" else inverse) == number:
            return INVERSE, size
    return "", 0


def parted(key: tuple[tuple[Any, ...], tuple[int, ...]]) -> tuple[_Form, list[int]]:
    """The form of `lazy.Closed.key`, and its sizes in order."""
    rows, results = key
    form: list[Any] = [results]
    sizes: list[int] = []
    add = form.append
    n, end = 0, len(rows)
    while n < end:
        x = rows[n]
        add(x)
        n += 1
        kind = type(x)
        if kind is int:
            continue
        if kind is not str:  # an Inlined op, with its (no) attributes behind
            inner, more = _of_graph(x)
            form[-1] = inner
            sizes += more
            n += 1
        elif x == "leaf":
            add(rows[n])
            _shape(rows[n + 1], form, sizes)
            n += 2
        elif x == "constant":
            _constant(rows[n], rows[n + 1], rows[n + 2], form, sizes)
            n += 3
        elif n < end and type(attrs := rows[n]) is tuple:
            n += 1
            if attrs:
                sized = _sized_by_name(x)
                for name, value in attrs:
                    add(name)
                    if name in sized:
                        _taken(value, form, sizes)
                    else:
                        add(value)
    return _Form(form), sizes


def _of_graph(op: Any) -> tuple[_Form, list[int]]:
    """The same of what an `Inlined` op stands for; kept with the op."""
    known: tuple[_Form, list[int]] | None = op.__dict__.get("_parted")
    if known is not None:
        return known
    graph: Graph = op.graph
    form: list[Any] = []
    sizes: list[int] = []
    number = {p: n for n, p in enumerate(graph.parameters)}
    for node in graph.nodes():
        if node.op is PARAMETER:
            continue
        form += [node.op.name, *[number[i] for i in node.inputs]]
        for v in node.results:
            number[v] = len(number)
        if node.op is CONSTANT:
            _constant(*_written(node), form, sizes)
            continue
        op_: Any = node.op
        sized = _sized(op_)
        for name, value in node.attrs.items():
            form.append(name)
            if name in sized:
                _taken(value, form, sizes)
            else:
                form.append(value)
    form += [number[v] for v in graph.outputs]
    known = op.__dict__["_parted"] = _Form(form), sizes
    return known


def shapes_of(closed: Closed) -> list[Any]:
    """The shape of each value of a structure, by its number."""
    found: list[Any] = [None] * (1 + max(closed.number.values(), default=0))
    for v, n in closed.number.items():
        found[n] = v.type.shape
    return found


# --- fitting ----------------------------------------------------------------------------------------------------------
class _Fit:
    """Polynomials for the sizes of a form, of which some samples are known; the last one is that of `closed`."""

    def __init__(self, closed: Closed, samples: Sequence[Sequence[int]], divided: bool) -> None:
        """divided: whether symbols are sizes without their common factor, so that parts of them are polynomials too.
        Raises _Refused where sizes do not follow from those of the leaves."""
        self.samples = list(zip(*samples, strict=True))
        self.divided = divided
        self.at = 0
        self.dims: list[Dim] = []
        self.symbols: dict[tuple[int, ...], Symbol] = {}
        self.now: dict[str, int] = {}
        self.of_leaves: dict[tuple[int, ...], Dim] = {}
        self.sums: dict[tuple[int, ...], SymbolicDim] = {}
        at = 0
        fixed = set(closed.leaves)
        differing: set[tuple[int, ...]] = set()
        for v in closed.order:
            if v in fixed:
                here = {x for x in self.samples[at : at + v.type.rank] if len(set(x)) > 1}
                if here and v.meta is not None and v.meta.leaf is not None:
                    raise _Refused("weights differ")
                differing |= here
                at += v.type.rank
            elif closed.same(v) is None and v.index == _first(v, closed):
                at += _count(v.node)
        for values in sorted(differing):
            self.of_leaves[values] = self._of_leaf(values)

    def _of_leaf(self, values: tuple[int, ...]) -> Dim:
        """A symbol for a size with these values, or what is made of one by adding a number or multiplying."""
        for smaller, s in self.symbols.items():
            pairs = list(zip(values, smaller, strict=True))
            if len({a - b for a, b in pairs}) == 1:
                return dim(s) + (values[0] - smaller[0])
            if len({a / b for a, b in pairs}) == 1 and values[0] % smaller[0] == 0:
                return dim(s) * (values[0] // smaller[0])
        for _, d, at in self._monomials():  # all elements of what has such axes
            if all(a * at[0] == values[0] * b for a, b in zip(values, at, strict=True)) and values[0] % at[0] == 0:
                return d * (values[0] // at[0])
        return self._symbol(values, 2)

    def _symbol(self, values: tuple[int, ...], lower: int) -> Dim:
        """A new symbol for a size with these values, or what they are multiples of."""
        if self.divided and (factor := math.gcd(*values)) > 1:
            return self._symbol(tuple([n // factor for n in values]), min(lower, 1)) * factor
        if len(self.symbols) == MOST_SYMBOLS:
            raise _Refused("many sizes differ")
        upper = max(LEAST_UPPER, 1 << (2 * max(values) - 1).bit_length())
        s = self.symbols[values] = Symbol(f"N{len(self.symbols)}", upper=upper, lower=lower)
        self.now[s.name] = values[-1]
        return dim(s)

    def leaf(self, type: TensorType) -> TensorType:
        """The type of the next leaf."""
        shape = [self._leaf_size() for _ in type.shape]
        return type.with_shape(shape)

    def _leaf_size(self) -> Dim:
        values = self.samples[self.at]
        self.at += 1
        found: Dim = values[0] if len(set(values)) == 1 else self.of_leaves[values]
        self.dims.append(found)
        return found

    def copied(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """The next node over new inputs. Raises _Refused, or what the op's rule raises."""
        op: Any = node.op
        count = _count(node)
        if op is CONSTANT:
            return (self._constant(node),) if count else node.results
        sized = _sized(op)
        places = [self.samples[n] for n in range(self.at, self.at + count)]
        self.at += count
        for v in inputs:
            self._note(v.type.shape)
        ways = self._strided(node, places) if op is SLICE and node.attrs["step"] > 1 else self._ways(places)
        error: Exception | None = None
        for way in itertools.islice(ways, _MOST_WAYS):
            rest = iter(way)
            attrs = {k: _placed(v, rest) if k in sized else v for k, v in node.attrs.items()} if count else node.attrs
            try:
                types = op.infer_types([v.type for v in inputs], attrs)
            except (HeliostatError, TypeError, ValueError) as failed:
                error = failed
                continue
            if all(self._fits(t, v.type) for t, v in zip(types, node.results, strict=True)):
                self.dims += way
                self._note(way)
                return Node(op, inputs, attrs, types).results
        raise error or _Refused(f"the type of {op.name} is another one")

    def _note(self, dims: Iterable[Dim]) -> None:
        """Remember sizes that are sums: others are made of them, as what lies behind a slice is."""
        for d in dims:
            if isinstance(d, SymbolicDim) and len(d.terms) > 1 and len(self.sums) < MOST_SUMS:
                given = [(s.name, values) for values, s in self.symbols.items()]
                at = [{name: values[n] for name, values in given} for n in range(len(given[0][1]))]
                self.sums.setdefault(tuple([d.evaluate(values) for values in at]), d)

    def _ways(self, places: Sequence[tuple[int, ...]]) -> Iterator[tuple[Dim, ...]]:
        """Polynomials for the sizes in an attribute, or several, the simplest first."""
        return itertools.product(*[self._candidates(values) or [self._free(values)] for values in places])

    def _strided(self, node: Node, places: Sequence[tuple[int, ...]]) -> Iterator[tuple[Dim, ...]]:
        """The same for the bounds of a slice by steps, which ends behind its last element: its length is a size."""
        step = node.attrs["step"]
        starts, stops = places
        lengths = tuple([(stop - start - 1) // step + 1 for start, stop in zip(starts, stops, strict=True)])
        for start, length in self._ways((starts, lengths)):
            yield start, start + (length - 1) * step + 1

    def _free(self, values: tuple[int, ...]) -> Dim:
        """A symbol for a size in an attribute that no input has, where a slice begins say."""
        if min(values) < 0:
            raise _Refused("a size is negative")
        return self._symbol(values, 0)

    def _constant(self, node: Node) -> Value:
        values = self.samples[self.at]
        self.at += 1
        known = node.results[0]
        found = self._candidates(values)
        if not found:
            raise _Refused("a number does not follow from the sizes of the inputs")
        d = found[0]
        self.dims.append(d)
        if isinstance(d, int):
            return known
        dtype = known.type.dtype
        if _number(*_written(node)[::2])[0] == SIZE:
            return counted(d, dtype)
        # 259 is no bfloat16: 1 / 259 is divided in what holds the size, and rounded once, as the number was
        return cast(reciprocal(counted(d, f32 if dtype is bf16 else f64)), dtype)

    def _fits(self, symbolic: TensorType, found: TensorType) -> bool:
        return (
            symbolic.shape_at(self.now) == found.shape
            and symbolic.element == found.element
            and symbolic.layout == found.layout
        )

    def _candidates(self, values: tuple[int, ...]) -> list[Dim]:
        """Polynomials that have these values at the samples, the simplest first."""
        if len(set(values)) == 1:
            return [values[0]]
        found: list[tuple[Any, Dim]] = []
        for degree, d, at in self._monomials():
            a, b = min(range(len(at)), key=at.__getitem__), max(range(len(at)), key=at.__getitem__)
            if at[a] == at[b] or (values[b] - values[a]) % (at[b] - at[a]):
                continue
            factor = (values[b] - values[a]) // (at[b] - at[a])
            rest = values[a] - factor * at[a]
            if all(factor * m + rest == value for m, value in zip(at, values, strict=True)):
                found.append(((rest != 0, degree, abs(factor)), d * factor + rest))
        parts = [*((x, dim(s)) for x, s in self.symbols.items()), *self.sums.items()]
        for n, (x, d) in enumerate(parts):
            for k, (y, e) in enumerate(parts):
                for sign in (1, -1) if n < k else (-1,) if n > k else ():
                    rest = values[0] - x[0] - sign * y[0]
                    if all(a + sign * b + rest == value for a, b, value in zip(x, y, values, strict=True)):
                        found.append(((rest != 0, 1, 2), d + e * sign + rest))
        return [d for _, d in sorted(found, key=lambda pair: pair[0])]

    def _monomials(self) -> Iterator[tuple[int, Dim, tuple[int, ...]]]:
        """Their degree, they themselves, and their values at the samples."""
        single: list[tuple[int, Dim, tuple[int, ...]]] = [(1, dim(s), values) for values, s in self.symbols.items()]
        single += [(1, d, values) for values, d in self.sums.items()]
        yield from single
        for (_, d, x), (_, e, y) in itertools.combinations_with_replacement(single, 2):
            yield 2, d * e, tuple([a * b for a, b in zip(x, y, strict=True)])
        symbols = [(dim(s), values) for values, s in self.symbols.items()]
        for (d, x), (e, y), (f, z) in itertools.combinations_with_replacement(symbols, 3):  # weights of attention
            yield 3, d * e * f, tuple([a * b * c for a, b, c in zip(x, y, z, strict=True)])


def _count(node: Node) -> int:
    """How many sizes there are in a node, and in what it stands for."""
    op: Any = node.op
    attrs = node.attrs
    sizes: list[int] = []
    if op is CONSTANT:
        _constant(*_written(node), [], sizes)
    elif hasattr(op, "inline"):
        return len(_of_graph(op)[1])
    elif attrs:
        for name in _sized(op):
            if name in attrs:
                _taken(attrs[name], [], sizes)
    return len(sizes)


def _first(v: Value, closed: Closed) -> int:
    """The result of v's node whose row has its attributes."""
    known = [u for u in v.node.results if u in closed.number]
    return min(known, key=closed.number.__getitem__).index


def _placed(value: Any, sizes: Iterator[Dim]) -> Any:
    """An attribute with sizes in the places of its own; the inverse of `_taken`."""
    if type(value) is int:
        return next(sizes)
    if type(value) is tuple:
        return tuple([_placed(item, sizes) for item in value])
    return value


def placed_attributes(node: Node, dims: Sequence[Dim]) -> dict[str, Any]:
    """The attributes of a node with these sizes in the places of its own."""
    op: Any = node.op
    sized, rest = _sized(op), iter(dims)
    return {k: _placed(v, rest) if k in sized else v for k, v in node.attrs.items()}


def same_number(v: Value, known: Value, size: int) -> bool:
    """Whether a constant is made of a size as a known one is made of its own."""
    if v.type is not known.type and v.type != known.type:
        return False
    (element, _, data), (_, _, other) = _written(v.node), _written(known.node)
    return _number(element, data) == (_number(element, other)[0], size)


def sizes_inside(op: Any, known: Any) -> Sequence[int] | None:
    """The sizes in an `Inlined` op that has the form of a known one; None for one of another form."""
    form, sizes = _of_graph(op)
    return tuple(sizes) if form == _of_graph(known)[0] else None


def _built(closed: Closed, fit: _Fit) -> tuple[Graph, list[Any]]:
    """The graph of a structure over symbols, and the shape of each value by its number."""
    new: dict[int, Value] = {}
    whole: dict[int, Sequence[Value]] = {}  # results by the id of the node
    parameters: list[Value] = []
    fixed = set(closed.leaves)
    shapes: list[Any] = [None] * (1 + max(closed.number.values(), default=0))
    for v in closed.order:
        if v in fixed:
            made = parameter(f"p{len(parameters)}", fit.leaf(v.type))
            parameters.append(made)
        elif (source := closed.same(v)) is not None:
            made = new[id(source)]
        else:
            node = v.node
            if id(node) not in whole:
                inputs = tuple([new[id(i)] for i in node.inputs])
                inner = getattr(node.op, "inline", None)
                whole[id(node)] = fit.copied(node, inputs) if inner is None else inner(inputs, fit.copied)
            made = whole[id(node)][v.index]
            if not fit._fits(made.type, v.type):
                raise _Refused(f"the type of {node.op.name} is another one")
        new[id(v)] = made
        shapes[closed.number[v]] = made.type.shape
    return Graph("lazy", parameters, [new[id(v)] for v in closed.results]), shapes


def _graph_for(closed: Closed, samples: Sequence[Sequence[int]]) -> tuple[_Fit, Graph, list[Any]]:
    """Polynomials for the samples, with the graph and the shapes that they make. Raises as `_built` does."""
    error: Exception | None = None
    for divided in (False, True):
        try:
            fit = _Fit(closed, samples, divided)
            graph, shapes = _built(closed, fit)
        except (HeliostatError, TypeError, ValueError, _Refused) as failed:
            error = error or failed
            continue
        if fit.symbols:
            return fit, graph, shapes
    raise error or _Refused("no size differs")


# --- programs ---------------------------------------------------------------------------------------------------------
class SymbolicProgram:
    """A program whose sizes are symbols.

    dims: polynomials of the sizes of its form, in order. shapes: those of its values, by number. exact: values of the
    symbols that have programs of their own. admitted: those that a structure was found to have all sizes for."""

    def __init__(self, fit: _Fit, graph: Graph, shapes: Sequence[Any], runner: Any) -> None:
        bounds = {s.name: s for s in fit.symbols.values()}
        if tuple(sorted(bounds)) != tuple(runner.symbols):
            raise _Refused("a symbol is not part of the program")
        if runner.program.arena_nbytes > runner.owner.most_scratch:
            raise _Refused("scratch memory for the upper bounds is large")
        self.runner = runner
        self.symbols = [bounds[name] for name in runner.symbols]
        self.dims, self.shapes = fit.dims, shapes
        self.exact: set[tuple[int, ...]] = set()
        self.uses: dict[tuple[int, ...], int] | None = {}
        self._derived = {d for node in graph.nodes() for v in node.results for d in v.type.shape if type(d) is not int}
        self.admitted: set[tuple[int, ...]] = set()
        self._read = _reader(self.symbols, self.dims, shapes)

    def places(self, closed: Closed) -> dict[Any, Sequence[Dim]]:
        """Polynomials for a structure of its form: those of each leaf's shape, and those in each node that has sizes of
        its own, in order."""
        found: dict[Any, Sequence[Dim]] = {}
        fixed = set(closed.leaves)
        at = 0
        for v in closed.order:
            if v in fixed:
                found[v] = self.dims[at : at + v.type.rank]
                at += v.type.rank
            elif closed.same(v) is None and v.index == _first(v, closed) and (count := _count(v.node)):
                found[v.node] = self.dims[at : at + count]
                at += count
        return found

    def keep_exact(self, sizes: Sequence[int]) -> None:
        """Leave a structure with these sizes to the program of its own that it has."""
        values: dict[str, int] = {}
        for s, at, factor, rest in solved(self.symbols, self.dims):
            values[s.name] = (sizes[at] - evaluate(rest, values)) // factor
        self.exact.add(tuple([values[s.name] for s in self.symbols]))

    def sizes_of(self, sizes: Sequence[int], shapes: Sequence[Any]) -> tuple[int, ...] | None:
        """The symbols' values for a structure of its form with these sizes and shapes; None where it is no program
        for them."""
        found = self._read(tuple(sizes), shapes)
        return found if found is not None and self.admits(found) else None

    def admits(self, sizes: tuple[int, ...]) -> bool:
        """Whether a run with these values is allowed: they lie within their bounds, no size falls below 2 (which rules
        of ops treat apart), and no part of a value lies outside of it."""
        if sizes in self.admitted:
            return True
        if not all(s.lower <= n <= s.upper for s, n in zip(self.symbols, sizes, strict=True)):
            return False
        values = {s.name: n for s, n in zip(self.symbols, sizes, strict=True)}
        if any(evaluate(d, values) < 2 for d in self._derived):
            return False
        if any(evaluate(d, values) < 0 for d, _ in self.runner.program.constraints):
            return False
        if len(self.admitted) >= MOST_ADMITTED:
            self.admitted.clear()
        self.admitted.add(sizes)
        return True

    def is_exact(self, sizes: tuple[int, ...]) -> bool:
        """Whether a structure with these values has, or gets, a program of its own. Counts the use."""
        if sizes in self.exact:
            return True
        uses = self.uses
        if uses is not None:
            count = uses[sizes] = uses.get(sizes, 0) + 1
            if count > OFTEN:
                self.exact.add(sizes)
                return True
            if len(uses) > FEW_SIZES:
                self.uses = None
        return False


def _reader(
    symbols: Sequence[Symbol], dims: Sequence[Dim], shapes: Sequence[Any]
) -> Callable[[Sequence[int], Sequence[Any]], tuple[int, ...] | None]:
    """A function of the sizes and shapes of a structure: the symbols' values, or None where one is another."""
    lines = ["def read(sizes, shapes):"]
    lines += [f" {s.name} = (sizes[{at}] - ({rest})) // {factor}" for s, at, factor, rest in solved(symbols, dims)]
    lines += [f" if sizes != {text_of(tuple(dims))}: return None", f" if shapes != [{_list_of(shapes)}]: return None"]
    lines.append(f" return {text_of(tuple(dim(s) for s in symbols))}")
    known: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<sizes>", "exec"), known)
    read: Callable[[Sequence[int], Sequence[Any]], tuple[int, ...] | None] = known["read"]
    return read


def solved(symbols: Sequence[Symbol], dims: Sequence[Dim]) -> list[tuple[Symbol, int, int, Dim]]:
    """How symbols follow from sizes that have these polynomials: each with the number of a size, a factor and a rest of
    symbols that stand before it; it is the size less the rest, divided by the factor. Raises _Refused where one does
    not follow."""
    found: dict[Symbol, tuple[Symbol, int, int, Dim]] = {}
    open_ = [(n, d, d.symbols) for n, d in enumerate(dims) if isinstance(d, SymbolicDim)]
    count = -1
    while count < len(found) < len(symbols):
        count = len(found)
        for n, d, inside in open_:
            left = [s for s in inside if s not in found]
            if len(left) != 1:
                continue
            terms = dict(d.terms)
            factor = terms.pop((left[0],), 0)
            if factor and not any(left[0] in key for key in terms):
                found[left[0]] = (left[0], n, factor, d - dim(left[0]) * factor)
    if len(found) < len(symbols):
        raise _Refused("a symbol is no size")
    return list(found.values())


def _list_of(items: Sequence[Any]) -> str:
    return ", ".join(map(text_of, items))


def text_of(value: Any) -> str:
    """Polynomials, and tuples of them, as an expression of Python in their symbols' names."""
    if isinstance(value, SymbolicDim):
        return str(value)
    if isinstance(value, tuple):
        return f"({_list_of(value)},)" if value else "()"
    return repr(value)


class _Kind:
    """Structures of one form. samples: their sizes, the latest last. exact: those that have programs of their own.
    reason: why there was no program of symbols at the last try."""

    __slots__ = ("entries", "exact", "failures", "fits", "reason", "samples")

    def __init__(self) -> None:
        self.exact: list[list[int]] = []
        self.samples: list[list[int]] = []
        self.entries: list[SymbolicProgram] = []
        self.failures = self.fits = 0
        self.reason = ""

    def refuse(self, error: Exception) -> None:
        """Note why there is no program of symbols for the samples, of which the latest stays."""
        self.failures += 1
        self.reason = f"{type(error).__name__}: {error}"
        del self.samples[:-1]


Found = tuple[SymbolicProgram, tuple[int, ...], bool]


class SymbolicPrograms:
    """Programs of symbols by device and form. `active`: whether any are made and used."""

    def __init__(self) -> None:
        self.kinds: OrderedDict[tuple[str, _Form], _Kind] = OrderedDict()
        self.active = True

    def find(self, closed: Closed, device: str, compile: Callable[[Graph], Any]) -> Found | None:
        """The program for a structure that has none of its own on a device, the values of its symbols, and whether it
        is new. None where it is to get one of its own, as the first of its form does. `compile` makes programs of that
        device, which `device` tells apart from those of others."""
        form, sizes = parted(closed.key)
        key = (device, form)
        kind = self.kinds.get(key)
        if kind is None:
            kind = self.kinds[key] = _Kind()
            if len(self.kinds) > KEPT_FORMS:
                self.kinds.popitem(last=False)
        else:
            self.kinds.move_to_end(key)
        found = self._known(kind, closed, sizes) or self._fitted(kind, closed, sizes, compile)
        if found is None or found[0].is_exact(found[1]):
            kind.exact = [*[s for s in kind.exact if s != sizes], sizes][-FEW_SIZES:]
            return None
        return found

    def _known(self, kind: _Kind, closed: Closed, sizes: list[int]) -> Found | None:
        shapes = shapes_of(closed) if kind.entries else []
        for n, entry in enumerate(kind.entries):
            values = entry.sizes_of(sizes, shapes)
            if values is not None:
                if n:
                    kind.entries.insert(0, kind.entries.pop(n))
                return entry, values, False
        return None

    def _fitted(self, kind: _Kind, closed: Closed, sizes: list[int], compile: Callable[[Graph], Any]) -> Found | None:
        samples = [s for s in kind.samples if s != sizes]
        samples.append(sizes)
        kind.samples = samples
        if len(samples) < 2 or kind.failures >= MOST_FAILURES or kind.fits >= MOST_FITS:
            del samples[:-1]
            return None
        if len(samples) > MOST_SAMPLES:
            del samples[1]
        kind.fits += 1
        try:
            fit, graph, shapes = _graph_for(closed, samples)
        except Exception as error:  # rules do not know all of symbols: the size gets its own program
            kind.refuse(error)
            return None
        try:
            entry = SymbolicProgram(fit, graph, shapes, compile(graph))
        except Exception as error:  # nor do schedules; to see that takes long, and is done once
            kind.refuse(error)
            kind.failures = MOST_FAILURES
            return None
        values = entry.sizes_of(sizes, shapes_of(closed))
        if values is None:
            kind.failures += 1
            return None
        for known in kind.exact:
            entry.keep_exact(known)
        kind.entries.insert(0, entry)
        del kind.entries[MOST_ENTRIES:]
        return entry, values, True
