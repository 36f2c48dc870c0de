"""Ops as they were before their meaning changed, for graphs that were kept in files.

A file says of which version its ops are (`versions_of`). Where an op's meaning changes, its record gets the next
version, and `OLDER` a declaration of what the one before meant, in ops of today, which a graph that is read gets then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..diagnostics import FileFormatError
from ..ir.graph import CONSTANT, PARAMETER, Graph, Node, OpRecord, Value
from ..ir.rewrite import rewrite
from ..ir.types import TensorType
from .op import REGISTRY


@dataclass(frozen=True)
class Older:
    """A version of an op that is not its newest. infer: its type rule, as an op's. now(*values, **attrs): its results,
    made of ops as they are now."""

    name: str
    version: int
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    now: Callable[..., Value | tuple[Value, ...]]

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """The type rule as the graph calls it. Raises ShapeError or DTypeError."""
        result = self.infer(*inputs, **attrs)
        return result if isinstance(result, tuple) else (result,)


OLDER: dict[tuple[str, int], Older] = {}
"""By name and version. No op has changed its meaning yet."""


def versions_of(graph: Graph) -> dict[str, int]:
    """The versions of the ops in a graph, by name."""
    found = {node.op.name: node.op.version for node in graph.nodes() if node.op not in (PARAMETER, CONSTANT)}
    return dict(sorted(found.items()))


def finder(path: str, versions: Mapping[str, Any] | None) -> Callable[[str], OpRecord]:
    """What finds the ops of a file by name, as they were there. versions: None of files that name none, in which all
    are of version 1. Raises KeyError for no op, and FileFormatError for a version that is not known."""

    def find(name: str) -> OpRecord:
        newest = REGISTRY[name]
        version = 1 if versions is None else versions[name]
        if version == newest.version:
            return newest
        found = OLDER.get((name, version)) if type(version) is int else None
        if found is None:
            raise FileFormatError(
                f"{path}: {name} is of version {str(version)[:20]}, known is {newest.version}",
                help="read it with the version of heliostat that wrote it, or a newer one",
            )
        return found

    return find


def renewed(graph: Graph) -> Graph:
    """The graph with ops as they are now in the places of older ones."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Older):
            return None
        made = node.op.now(*inputs, **node.attrs)
        return made if isinstance(made, tuple) else (made,)

    return rewrite(graph, replace)
