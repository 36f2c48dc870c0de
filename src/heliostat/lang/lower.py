"""Function bodies to graphs. The ops build the graph and judge the types; here their refusals get places in the text.

Calls of the file's own functions are inlined: the body is lowered again, with its parameters standing for the
arguments and its shape parameters for their dimensions. A value that is wrong is `POISON`, and silent from then on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heliostat.diagnostics import HeliostatError
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Dim, Symbol, SymbolicDim, TensorType, dim, lower_bound, upper_bound
from heliostat.lang import ast
from heliostat.lang.calls import CallProblem, call_op, check_arguments, described, is_op, op_names, usage
from heliostat.lang.findings import POISON, Findings
from heliostat.lang.fold import FoldError, fold_binary, fold_unary
from heliostat.lang.source import Located
from heliostat.lang.text import expression_text
from heliostat.lang.types import Types, did_you_mean
from heliostat.lang.unify import solve, substitute

MAX_INLINE_DEPTH = 32
MAX_INLINED = 100_000  # expressions of inlined bodies in one file: calls of calls grow exponentially


@dataclass(eq=False)
class Function:
    """A declared function: its signature (None for a type that is wrong), and its graph once it is lowered."""

    node: ast.Function
    symbols: dict[str, Symbol]
    parameters: tuple[TensorType | None, ...]
    results: tuple[TensorType | None, ...]
    broken: bool
    cyclic: bool = False
    graph: Graph | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.node.name.name


_OPERATORS = {
    "@": "matmul",
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "%": "remainder",
    "**": "pow",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "logical_and",
    "or": "logical_or",
}
_UNARY = {"-": "neg", "not": "logical_not"}


class Lowering:
    """Lowers the functions of one file, callees first."""

    def __init__(self, types: Types, functions: dict[str, Function], findings: Findings) -> None:
        self.types = types
        self.functions = functions
        self.findings = findings
        self.budget = MAX_INLINED

    def function(self, function: Function) -> None:
        """Lower `function` to its `graph`; an error in it leaves the function `broken`."""
        before = len(self.findings.all)
        scope = Scope({n: dim(s) for n, s in function.symbols.items()})
        for node, type_ in zip(function.node.parameters, function.parameters, strict=True):
            # Blocks are repacked for the kernels that read them: once, as a weight, unless their number may change.
            weight = type_ is not None and type_.element.block > 1 and type_.static
            kind = "weight" if weight else "input"
            value = parameter(node.name.name, type_, kind) if type_ is not None else POISON
            scope.define(node.name, value, declared=True)
        parameters = [v for v in scope.values.values() if isinstance(v, Value)]
        results = _Body(self, scope, self.findings).run(function)
        if results is not None and len(self.findings.all) == before:
            function.graph = Graph(function.name, tuple(parameters), tuple(results))
        function.broken |= len(self.findings.all) > before


class Scope:
    """What the names of one body stand for, and where the parameters among them are declared."""

    def __init__(self, dims: dict[str, Dim]) -> None:
        self.values: dict[str, object] = dict(dims)
        self.shape_parameters = frozenset(dims)
        self.declared: dict[str, ast.Identifier] = {}

    def define(self, name: ast.Identifier, value: object, declared: bool = False) -> None:
        self.values[name.name] = value
        if declared:
            self.declared[name.name] = name
        else:
            self.declared.pop(name.name, None)


class _Body:
    """Lowers the statements and expressions of one body. `depth` counts the calls that it is inlined through."""

    def __init__(
        self,
        lowering: Lowering,
        scope: Scope,
        findings: Findings,
        depth: int = 0,
    ) -> None:
        self.lowering = lowering
        self.types = lowering.types
        self.scope = scope
        self.findings = findings
        self.depth = depth

    # -- statements

    def run(self, function: Function) -> list[Value] | None:
        """The values that the body returns, checked against the declared types; None where something is wrong."""
        returned: list[Value] | None = None
        ended: ast.Statement | None = None
        unsure = False  # a statement that did not parse may have been the `return`
        for statement in function.node.body:
            if ended is not None:
                self.findings.report(statement, "this is never reached: the function has returned before")
                break
            if isinstance(statement, ast.Let):
                self.let(statement)
            elif isinstance(statement, ast.Return):
                ended = statement
                returned = self.return_(statement, function)
            else:
                unsure = True
        unsure |= isinstance(function.node.result, ast.BadType)
        if ended is None and not unsure:
            self.findings.report(
                function.node.name, f"`{function.name}` returns nothing", help="end its body with `return ...;`"
            )
        return returned

    def let(self, statement: ast.Let) -> None:
        value = self.expression(statement.value)
        values: Sequence[object] = [value]
        if len(statement.names) > 1:
            if value is POISON:
                values = [POISON] * len(statement.names)
            elif isinstance(value, tuple) and len(value) == len(statement.names):
                values = value
            else:
                has = f"{len(value)} results" if isinstance(value, tuple) else "one result"
                self.findings.report(
                    statement.value,
                    f"{len(statement.names)} names for {has}",
                )
                values = [POISON] * len(statement.names)
        elif isinstance(value, tuple):
            self.findings.report(
                statement.value,
                f"one name for {len(value)} results",
                help=f"write `let ({', '.join('abcdefgh'[: len(value)])}) = ...;`",
            )
            values = [POISON]
        if statement.type is not None:
            values = [self.annotated(statement, v) for v in values]
        for name, item in zip(statement.names, values, strict=True):
            if name.name in self.scope.shape_parameters:
                self.findings.report(name, f"`{name.name}` is a shape parameter, it cannot be given another meaning")
                continue
            if isinstance(item, Value) and not item.name:
                item.name = name.name
            self.scope.define(name, item)

    def annotated(self, statement: ast.Let, value: object) -> object:
        """`value`, if it has the type that the `let` says; POISON otherwise."""
        assert statement.type is not None
        type_ = self.types.tensor(statement.type, self.scope.values)
        if type_ is None or value is POISON:
            return POISON
        if not isinstance(value, Value):
            self.findings.report(statement.type, f"a type is declared, but the value is {described(value)}")
            return POISON
        if value.type != type_:
            self.mismatch(statement.value, value, type_, statement.type)
            return POISON
        return value

    def mismatch(self, place: ast.Expr, value: Value, expected: TensorType, declared: Located | None) -> None:
        """Report a value of another type than was declared."""
        help = None
        if value.type.shape == expected.shape:
            text = expression_text(place)
            help = f"convert it explicitly: `cast({text if len(text) < 40 else '...'}, {expected.element})`"
        notes: list[tuple[Located, str]] = [] if declared is None else [(declared, "declared here")]
        self.findings.report(place, f"expected {expected}, found {value.type}", notes=notes, help=help)

    def return_(self, statement: ast.Return, function: Function) -> list[Value] | None:
        if isinstance(statement.value, ast.TupleExpr):
            places: Sequence[ast.Expr] = statement.value.items
            values: Sequence[object] = [self.expression(item) for item in places]
        else:
            value = self.expression(statement.value)
            values = value if isinstance(value, tuple) else [value]
            places = [statement.value] * len(values)
            if value is POISON:
                return None
        result = function.node.result
        if isinstance(result, ast.BadType):
            return None
        if len(values) != len(function.results):
            self.findings.report(
                statement.value,
                f"`{function.name}` is declared to return {_count(len(function.results))}, found {len(values)}",
                notes=[(result, "declared here")],
            )
            return None
        declared = result.items if isinstance(result, ast.TupleTypeExpr) else (result,)
        good: list[Value] = []
        for place, item, type_, node in zip(places, values, function.results, declared, strict=True):
            if item is POISON or type_ is None:
                continue
            if not isinstance(item, Value):
                self.findings.report(place, f"expected {type_}, found {described(item)}")
            elif item.type != type_ and self.depth == 0:
                self.mismatch(place, item, type_, node)
            else:
                good.append(item)
        return good if len(good) == len(values) else None

    # -- expressions

    def expression(self, node: ast.Expr) -> object:
        """What `node` stands for: a `Value`, a number, a dimension, a list ...; POISON after an error."""
        self.lowering.budget -= self.depth > 0
        if isinstance(node, ast.Literal):
            return node.value
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Binary):
            return self.binary(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Unary):
            return self.unary(node)
        if isinstance(node, ast.Index):
            return self.index(node)
        if isinstance(node, ast.ListExpr):
            items = [self.expression(item) for item in node.items]
            return POISON if any(i is POISON for i in items) else items
        if isinstance(node, ast.TupleExpr):
            self.findings.report(node, "several values stand together only behind `return`")
            for item in node.items:
                self.expression(item)
        return POISON

    def name(self, node: ast.Name) -> object:
        if node.name in self.scope.values:
            return self.scope.values[node.name]
        element = self.types.elements.get(node.name.lower())
        if element is not None:
            return element
        if node.name.lower() in self.types.broken:
            return POISON
        help = did_you_mean(node.name, self.scope.values)
        if help is None and (node.name in self.lowering.functions or is_op(node.name)):
            help = f"`{node.name}` is called: write `{node.name}(...)`"
        self.findings.report(node, f"there is no value `{node.name}`", help=help)
        self.scope.values[node.name] = POISON  # each once
        return POISON

    def unary(self, node: ast.Unary) -> object:
        operand = self.expression(node.operand)
        if operand is POISON:
            return POISON
        if isinstance(operand, Value):
            return self.apply(node, _UNARY[node.op], [operand], {}, [node.operand])
        if not isinstance(operand, _CONSTANT):
            self.findings.report(node.operand, f"`{node.op}` needs a tensor or a number, not {described(operand)}")
            return POISON
        try:
            return fold_unary(node.op, operand)
        except FoldError as error:
            self.findings.report(node, error.message, help=error.help)
            return POISON

    def binary(self, node: ast.Binary) -> object:
        left, right = self.expression(node.left), self.expression(node.right)
        if left is POISON or right is POISON:
            return POISON
        for operand, place in ((left, node.left), (right, node.right)):
            if not isinstance(operand, (Value, *_CONSTANT)):
                self.findings.report(place, f"`{node.op}` needs tensors or numbers, not {described(operand)}")
                return POISON
        sign = _Place(*node.sign)
        for operand, place in ((left, node.left), (right, node.right)):
            if isinstance(operand, SymbolicDim) and (isinstance(left, Value) or isinstance(right, Value)):
                self.findings.report(
                    place,
                    f"`{operand}` is a dimension: it takes part in shapes, not in the arithmetic of tensors",
                    help="its value is known only when the program runs",
                )
                return POISON
        if isinstance(left, Value) or isinstance(right, Value):
            if not is_op(_OPERATORS[node.op]):
                self.findings.report(sign, f"`{node.op}` takes numbers, there is no such op of tensors")
                return POISON
            return self.apply(sign, _OPERATORS[node.op], [left, right], {}, [node.left, node.right], node.op)
        assert isinstance(left, _CONSTANT)
        assert isinstance(right, _CONSTANT)
        try:
            return fold_binary(node.op, left, right)
        except FoldError as error:
            self.findings.report(sign, error.message, help=error.help)
            return POISON

    # -- calls

    def call(self, node: ast.Call) -> object:
        arguments = [self.expression(a) for a in node.arguments]
        keywords = {k.name.name: self.expression(k.value) for k in node.keywords}
        name = node.function.name
        function = self.lowering.functions.get(name)
        if function is not None:
            return self.call_function(node, function, arguments)
        if not is_op(name):
            help = did_you_mean(name, [*self.lowering.functions, *op_names()])
            if name in self.scope.values:
                help = f"`{name}` is a value; only functions and ops are called"
            self.findings.report(node.function, f"there is no function or op `{name}`", help=help)
            return POISON
        if any(a is POISON for a in (*arguments, *keywords.values())):
            return POISON
        return self.apply(node.function, name, arguments, keywords, [*node.arguments, *node.keywords])

    def apply(
        self,
        place: Located,
        name: str,
        arguments: Sequence[object],
        keywords: Mapping[str, object],
        places: Sequence[ast.Expr | ast.Keyword],
        sign: str | None = None,
    ) -> object:
        """The results of an op; POISON where it refuses, which is reported at `place` with the operands' types.
        `places` are those of the arguments, then the keywords'; `sign` is how the op was written as an operator."""
        try:
            check_arguments(name, arguments, keywords)
        except CallProblem as problem:
            at: Located = place
            if isinstance(problem.argument, int):
                at = places[problem.argument]
            elif isinstance(problem.argument, str):
                at = places[len(arguments) + list(keywords).index(problem.argument)]
            self.findings.report(at, problem.message, help=None if sign else problem.help)
            return POISON
        try:
            return call_op(name, arguments, keywords)
        except HeliostatError as error:
            message, help = error.message, error.help
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            message, help = f"`{name}` does not take these arguments: {error}", f"it is {usage(name)}"
        values = zip(places, (*arguments, *keywords.values()), strict=True)
        operands = [(p.value if isinstance(p, ast.Keyword) else p, v) for p, v in values if isinstance(v, Value)]
        notes = [(p, str(v.type)) for p, v in operands]
        if sign is not None:
            message = re.sub(rf"^`?{name}`?:? ", f"`{sign}` ", message)
        self.findings.report(place, message, notes=notes, help=help or self.where_declared(name, operands))
        return POISON

    def where_declared(self, name: str, operands: Sequence[tuple[ast.Expr, Value]]) -> str | None:
        """Help with shapes: where the parameter that an operand is made of was declared. For a matrix product, the
        right one, and what its dimension must be."""
        wanted: Dim | None = None
        if name == "matmul" and len(operands) == 2 and all(v.type.rank >= 2 for _, v in operands):
            wanted = operands[0][1].type.shape[-1]
        for place, _ in reversed(operands):
            turned = isinstance(place, ast.Call) and place.function.name == "transpose" and len(place.arguments) == 1
            inner = place.arguments[0] if isinstance(place, ast.Call) and turned else place
            if not isinstance(inner, ast.Name) or inner.name not in self.scope.declared:
                continue
            value = self.scope.values[inner.name]
            if not isinstance(value, Value):
                continue
            line, column = self.findings.source.position(self.scope.declared[inner.name].start)
            shape = ", ".join(map(str, value.type.shape))
            text = f"{inner.name} is declared [{shape}] at {line}:{column}"
            if wanted is not None and place is operands[-1][0] and value.type.rank == 2:
                text += f"; its {'last' if turned else 'first'} dimension must be {wanted}"
            return text
        return None

    def index(self, node: ast.Index) -> object:
        """`x[1]`, `x[0:4, ::2]`: a `slice` for each axis that is cut; an axis with a single index is dropped."""
        value = self.expression(node.value)
        parts = [self.index_item(item) for item in node.items]
        if value is POISON or any(p is POISON for part in parts for p in part):
            return POISON
        if not isinstance(value, Value):
            self.findings.report(node.value, f"only tensors are indexed, not {described(value)}")
            return POISON
        if len(parts) > value.type.rank:
            self.findings.report(
                node.items[value.type.rank],
                f"{_count(len(parts), 'index', 'indices')} for {_count(value.type.rank, 'axis', 'axes')}",
                notes=[(node.value, str(value.type))],
            )
            return POISON
        axis = 0
        for item, part in zip(node.items, parts, strict=True):
            cut = self.cut(item, part, value.type.shape[axis])
            if cut is None:
                return POISON
            start, stop, step = cut
            if (start, stop, step) != (0, value.type.shape[axis], 1):
                done = self.apply(item, "slice", [value, axis, start, stop, step], {}, [node.value] + [_bare(item)] * 4)
                if not isinstance(done, Value):
                    return POISON
                value = done
            if isinstance(item, ast.Slice):
                axis += 1
                continue
            done = self.apply(item, "squeeze", [value, axis], {}, [node.value, _bare(item)])
            if not isinstance(done, Value):
                return POISON
            value = done
        return value

    def index_item(self, item: ast.Expr | ast.Slice) -> list[object]:
        if not isinstance(item, ast.Slice):
            return [self.expression(item)]
        return [None if part is None else self.expression(part) for part in (item.first, item.stop, item.step)]

    def cut(self, item: ast.Expr | ast.Slice, part: Sequence[object], size: Dim) -> tuple[Dim, Dim, int] | None:
        """Start, stop and step on an axis of `size` elements; negative integers count from its end."""
        dims: list[Dim | None] = []
        for p in part:
            if p is not None and (not isinstance(p, (int, SymbolicDim)) or isinstance(p, bool)):
                self.findings.report(item, f"an index is an integer or a dimension, not {described(p)}")
                return None
            dims.append(size + p if isinstance(p, int) and p < 0 else p)
        if len(dims) == 1:
            index = dims[0]
            assert index is not None
            if lower_bound(index) < 0 or lower_bound(size - 1 - index) < 0:
                self.findings.report(item, f"index {index} is outside of an axis of {size} elements")
                return None
            return index, index + 1, 1
        first, stop, step = dims
        if isinstance(step, SymbolicDim) or part[2] == 0 or (isinstance(part[2], int) and part[2] < 0):
            self.findings.report(item, "the step of a slice is an integer of at least 1")
            return None
        return 0 if first is None else first, size if stop is None else stop, 1 if step is None else step

    def call_function(self, node: ast.Call, function: Function, arguments: Sequence[object]) -> object:
        """The results of the file's own function, whose body is inlined here."""
        parameters = function.node.parameters
        if node.keywords:
            self.findings.report(
                node.keywords[0].name,
                f"`{function.name}` takes its arguments by position",
                help=_declared(self, function),
            )
            return POISON
        if function.broken and not parameters and isinstance(function.node.result, ast.BadType):
            return POISON  # its header did not parse: nothing is known of it
        if len(arguments) != len(parameters):
            self.findings.report(
                node.function,
                f"`{function.name}` takes {_count(len(parameters), 'argument')}, found {len(arguments)}",
                help=_declared(self, function),
            )
            return self.declared_results(function, {})
        if any(a is POISON for a in arguments):
            return self.declared_results(function, {})
        dims = self.unify(node, function, arguments)
        if dims is None or function.broken:
            return self.declared_results(function, dims or {})
        return self.inline(node, function, arguments, dims)

    def inline(self, node: ast.Call, function: Function, arguments: Sequence[object], dims: dict[str, Dim]) -> object:
        scope = Scope(dims)
        for declared, value in zip(function.node.parameters, arguments, strict=True):
            scope.define(declared.name, value)
        inner = Findings(self.findings.source)
        body = _Body(self.lowering, scope, inner, self.depth + 1)
        try:
            if self.depth >= MAX_INLINE_DEPTH or self.lowering.budget <= 0:
                raise _TooMuchInlined
            results = body.run(function)
        except (_TooMuchInlined, RecursionError):  # deep expressions in deep calls exhaust the stack
            if self.depth:
                raise
            self.findings.report(
                node.function,
                f"there is too much to inline in this call of `{function.name}`",
                help=f"calls nest at most {MAX_INLINE_DEPTH} deep and add at most {MAX_INLINED} expressions in a file",
            )
            return POISON
        if inner.all:
            first = inner.all[0]
            self.findings.report(
                node.function,
                f"`{function.name}` cannot be used here: {first.message}",
                help=f"the error is at {first.at}, with the shapes of this call" if first.at else None,
            )
            return POISON
        if results is None:
            return POISON
        return results[0] if len(results) == 1 else tuple(results)

    def declared_results(self, function: Function, dims: dict[str, Dim]) -> object:
        """Stand-ins of the declared types, so that an error in a call does not hide the errors after it; POISON where
        the types depend on shape parameters that are not known."""
        results: list[object] = []
        for type_ in function.results:
            if type_ is None or any(s.name not in dims for s in type_.symbols):
                results.append(POISON)
            else:
                shape = tuple(substitute(d, dims) for d in type_.shape)
                results.append(parameter("missing", TensorType(type_.element, shape)))
        return results[0] if len(results) == 1 else tuple(results)

    def unify(self, node: ast.Call, function: Function, arguments: Sequence[object]) -> dict[str, Dim] | None:
        """What the shape parameters of `function` are in this call; None where an argument does not fit."""
        good = True
        pairs: list[tuple[Dim, Dim]] = []
        rows = list(zip(node.arguments, arguments, function.node.parameters, function.parameters, strict=True))
        for place, value, declared, type_ in rows:
            if type_ is None:
                good = False
            elif not isinstance(value, Value):
                self.findings.report(
                    place, f"expected {type_}, found {described(value)}", help=_declared(self, function)
                )
                good = False
            elif value.type.element != type_.element or value.type.rank != type_.rank:
                self.unfit(place, value, type_, declared, function)
                good = False
            else:
                pairs += zip(type_.shape, value.type.shape, strict=True)
        if not good:
            return None
        found = solve(pairs, function.symbols)
        for name in function.symbols:
            if name in found:
                continue
            using = [row for row in rows if row[3] is not None and any(t.name == name for t in row[3].symbols)]
            for place, value, declared, type_ in using:
                assert isinstance(value, Value)
                assert type_ is not None
                self.unfit(place, value, type_, declared, function)
            if not using:
                help = f"some parameter must have `{name}` itself as a dimension"
                message = f"the arguments do not say what `{name}` of `{function.name}` is"
                self.findings.report(node.function, message, help=help)
            return None
        for place, value, declared, type_ in rows:
            assert isinstance(value, Value)
            assert type_ is not None
            if tuple(substitute(d, found) for d in type_.shape) != value.type.shape:
                self.unfit(place, value, type_, declared, function)
                good = False
        if not good:
            return None
        return found if self.bounded(node, function, found) else None

    def unfit(
        self, place: ast.Expr, value: Value, expected: TensorType, declared: ast.Parameter, function: Function
    ) -> None:
        line, column = self.findings.source.position(declared.start)
        self.findings.report(
            place,
            f"`{declared.name.name}` of `{function.name}` is {expected}, found {value.type}",
            help=f"`{declared.name.name}` is declared at {line}:{column}",
        )

    def bounded(self, node: ast.Call, function: Function, dims: dict[str, Dim]) -> bool:
        """Whether the shape parameters stay in the bounds that `function` declares."""
        for shape in function.node.shapes:
            symbol, value = function.symbols[shape.name.name], dims[shape.name.name]
            low, high = lower_bound(value), upper_bound(value)
            if low >= symbol.lower and high <= symbol.upper:
                continue
            range_ = str(low) if low == high else f"{low} to {high}"
            line, column = self.findings.source.position(shape.start)
            self.findings.report(
                node.function,
                f"`{symbol}` of `{function.name}` is {symbol.lower} to {symbol.upper}, here it is {range_}",
                help=f"its bounds are declared at {line}:{column}",
            )
            return False
        return True


class _TooMuchInlined(Exception):
    """An expression makes a function too large by inlining; reported at the outermost call."""


@dataclass(frozen=True)
class _Place:
    start: int
    end: int


_CONSTANT = (bool, int, float, SymbolicDim)


def _count(n: int, one: str = "result", many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _bare(item: ast.Expr | ast.Slice) -> ast.Expr:
    """The place of an index, as that of an argument."""
    return ast.Bad(item.start, item.end)


def _declared(body: _Body, function: Function) -> str:
    line, column = body.findings.source.position(function.node.start)
    return f"`{function.name}` is declared at {line}:{column}"
