"""Checks that a graph keeps the rules of its form. Passes are verified with it, and so is every graph read as text.

The first broken rule is raised, and names the value as the text form prints it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..diagnostics import HeliostatError, VerifyError
from .graph import CONSTANT, PARAMETER, PARAMETER_KINDS, Graph, Node, Value, node_symbols, storage_dtype
from .text import value_names
from .types import DType, Symbol, upper_bound


def verify(graph: Graph) -> None:
    """Raise VerifyError, naming the value, for the first rule that is broken.

    - Parameters have different names, are all declared, and hold whole blocks.
    - Values form no cycle, and each is a result of its node.
    - Results have the types that their op's rule gives; no size is negative for all values of the symbols.
    - Symbols are declared, are identifiers, have sound bounds, and one name is one symbol.
    - Constants hold an array of their type that cannot be written.
    - Updates go from different states to values of the same type.
    """
    _Check(graph).run()


class _Check:
    """One verification. A name is worked out only where something is wrong."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.declared = {id(p) for p in graph.parameters}
        self.symbols = {s.name: s for s in graph.symbols}

    def error(self, message: str) -> VerifyError:
        return VerifyError(f"graph {self.graph.name}: {message}")

    def name(self, value: Value) -> str:
        found = value_names(self.graph).get(id(value)) or (f"%{value.name}" if value.name else "")
        return found or f"a result of {value.node.op.name}"

    def run(self) -> None:
        for s in self.graph.symbols:
            self._symbol(s)
        self._parameters()
        nodes = self.graph.walk()
        self._reads((*self.graph.results(), *(old for old, _ in self.graph.updates)))
        for node in nodes:
            self._reads(node.inputs)
            self._types(node)
            if node.op is PARAMETER:
                self._parameter(node.results[0])
            elif node.op is CONSTANT:
                self._constant(node.results[0])
            else:
                self._rule(node)
        self._updates()

    def _symbol(self, s: Symbol) -> None:
        if not s.name.isidentifier():
            raise self.error(f"symbol {s.name!r} is not an identifier")
        if not 0 <= s.lower <= s.upper:
            raise self.error(f"symbol {s.name} has the bounds {s.lower} .. {s.upper}")

    def _parameters(self) -> None:
        names: set[str] = set()
        for p in self.graph.parameters:
            if not p.is_parameter:
                raise self.error(f"{self.name(p)} is listed as a parameter, but is a result of {p.node.op.name}")
            name = p.node.attrs["name"]
            if name in names:
                raise self.error(f"two parameters are called %{name}")
            names.add(name)

    def _reads(self, values: Iterable[Value]) -> None:
        """What is read is a result of the node that it names."""
        for v in values:
            if not 0 <= v.index < len(v.node.results) or v.node.results[v.index] is not v:
                raise self.error(f"{self.name(v)} dangles: result {v.index} of its {v.node.op.name} is another value")

    def _types(self, node: Node) -> None:
        """Sizes and symbols of result types and attributes."""
        if not node.results:
            raise self.error(f"a node of {node.op.name} has no result")
        for s in node_symbols(node):
            known = self.symbols.get(s.name)
            if known is None:
                raise self.error(f"{self.name(node.results[0])} uses the symbol {s.name}, which is not declared")
            if known != s:
                bounds = f"{s.lower} .. {s.upper} instead of {known.lower} .. {known.upper}"
                raise self.error(f"{self.name(node.results[0])} has the symbol {s.name} with bounds {bounds}")
        for r in node.results:
            for d in r.type.shape:
                if upper_bound(d) < 0:
                    raise self.error(f"{self.name(r)} of {r.type} has the negative size {d}")

    def _parameter(self, p: Value) -> None:
        if id(p) not in self.declared:
            raise self.error(f"{self.name(p)} is used, but is not among the parameters")
        if p.node.inputs or p.kind not in PARAMETER_KINDS:
            raise self.error(f"parameter {self.name(p)} is of the kind {p.kind!r}")
        block = p.type.element.block
        if block > 1:
            last = p.type.shape[-1] if p.type.shape else 1
            if not isinstance(last, int) or last % block:
                raise self.error(f"{self.name(p)} of {p.type} does not hold whole blocks of {block} in its rows")

    def _constant(self, v: Value) -> None:
        array = v.node.attrs["value"]
        if not isinstance(v.type.element, DType) or not isinstance(array, np.ndarray):
            raise self.error(f"constant {self.name(v)} of {v.type} does not hold an array of plain elements")
        if array.shape != v.type.shape:
            raise self.error(f"constant {self.name(v)} of {v.type} holds values of shape {list(array.shape)}")
        if array.dtype != storage_dtype(v.type.element):
            raise self.error(f"constant {self.name(v)} of {v.type} holds values of {array.dtype}")
        if array.flags.writeable:
            raise self.error(f"the array of constant {self.name(v)} can be written")

    def _rule(self, node: Node) -> None:
        what = f"= {node.op.name}"
        try:
            types = node.op.infer_types([v.type for v in node.inputs], node.attrs)
        except HeliostatError as error:
            raise self.error(f"{self.name(node.results[0])} {what}: {error.message}") from None
        except (TypeError, ValueError, IndexError, AttributeError) as error:  # wrong operand count or attributes
            raise self.error(f"{self.name(node.results[0])} {what} does not fit the op: {error}") from None
        if len(types) != len(node.results):
            found = f"{len(node.results)} results, its rule gives {len(types)}"
            raise self.error(f"{self.name(node.results[0])} {what} has {found}")
        for value, type in zip(node.results, types, strict=True):
            if value.type != type:
                raise self.error(f"{self.name(value)} {what} has type {value.type}, its rule gives {type}")

    def _updates(self) -> None:
        seen: set[int] = set()
        for old, new in self.graph.updates:
            if old.kind != "state":
                found = old.kind or f"result of {old.node.op.name}"
                raise self.error(f"{self.name(old)} is updated, but is not a state: it is a {found}")
            if id(old) in seen:
                raise self.error(f"{self.name(old)} is updated twice")
            seen.add(id(old))
            if old.type != new.type:
                raise self.error(f"state {self.name(old)} of {old.type} is updated with {self.name(new)} of {new.type}")
