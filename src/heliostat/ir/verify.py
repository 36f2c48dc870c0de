"""Checks that a graph keeps the rules of its form. Passes are verified between each other by the pipeline's tests."""

from __future__ import annotations

from ..diagnostics import HeliostatError, VerifyError
from .graph import CONSTANT, PARAMETER, Graph, Value


def verify(graph: Graph) -> None:
    """Raise VerifyError, naming the value, for the first rule that is broken.

    Parameters have different names and are all declared; results have the types that their op's rule gives; updates go
    from states to values of the same type; symbols of one name are one symbol.
    """
    names: set[str] = set()
    for p in graph.parameters:
        if not p.is_parameter:
            raise VerifyError(
                f"graph {graph.name}: {_name(p)} is listed as a parameter but is a result of {p.node.op.name}"
            )
        if p.node.attrs["name"] in names:
            raise VerifyError(f"graph {graph.name}: two parameters are called {p.node.attrs['name']}")
        names.add(p.node.attrs["name"])
    declared = {id(p) for p in graph.parameters}
    bounds = {}
    for node in graph.nodes():
        for value in node.results:
            for s in value.type.symbols:
                if bounds.setdefault(s.name, s) != s:
                    raise VerifyError(f"graph {graph.name}: {_name(value)} has another symbol {s.name} than the others")
        if node.op is PARAMETER:
            if id(node.results[0]) not in declared:
                raise VerifyError(f"graph {graph.name}: {_name(node.results[0])} is used but not among the parameters")
            continue
        if node.op is CONSTANT:
            if node.attrs["value"].shape != node.results[0].type.shape:
                raise VerifyError(
                    f"graph {graph.name}: constant {_name(node.results[0])} does not have its type's shape"
                )
            continue
        try:
            types = node.op.infer_types([v.type for v in node.inputs], node.attrs)
        except HeliostatError as error:
            raise VerifyError(
                f"graph {graph.name}: {_name(node.results[0])} = {node.op.name}: {error.message}"
            ) from None
        for value, type in zip(node.results, types, strict=True):
            if value.type != type:
                raise VerifyError(
                    f"graph {graph.name}: {_name(value)} = {node.op.name} has type {value.type}, its rule gives {type}"
                )
    for old, new in graph.updates:
        if old.kind != "state":
            raise VerifyError(f"graph {graph.name}: {_name(old)} is updated but is not a state")
        if old.type != new.type:
            raise VerifyError(f"graph {graph.name}: state {_name(old)} of {old.type} is updated with {new.type}")


def _name(v: Value) -> str:
    return f"%{v.name}" if v.name else f"a result of {v.node.op.name}"
