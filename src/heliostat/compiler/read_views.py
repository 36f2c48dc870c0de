"""Lets kernels that read rows take views of them as they lie: heads are cut from the rows of a projection, and
transposed, by strides instead of a pass for each of queries, keys and values.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..ir.graph import Node
from ..kernels.row_view import views_before

if TYPE_CHECKING:
    from .fuse import Fuser

READERS = frozenset({"dot_product_attention", "dot_product_attention_gradient"})


def read_by_views(fuser: Fuser) -> None:
    """Put views of operands into the groups of their readers, and leave out the launches that nobody needs then."""
    taken: dict[int, set[int]] = {}  # views by id(), and the groups that have them
    for number, reader in enumerate(fuser.open):
        if not reader.nodes or reader.root.op.name not in READERS:
            continue
        before = list({id(n): n for v in reader.root.inputs for n in views_before(v)}.values())
        if not before or not isinstance(fuser.with_views(number, before), ModuleType):
            continue
        for node in before:
            taken.setdefault(id(node), set()).add(number)
    for number, host in enumerate(fuser.open):
        if host.nodes and all(_is_taken(fuser, node, taken) for node in host.nodes):
            fuser.dissolve(number)


def _is_taken(fuser: Fuser, node: Node, taken: dict[int, set[int]]) -> bool:
    """Whether all readers of a view have it themselves, or are such views."""
    if id(node) not in taken or any(id(v) in fuser.kept for v in node.results):
        return False
    users = [u for v in node.results for u in fuser.users.get(id(v), ())]
    return all(id(u) in taken or fuser.group_of.get(id(u), -1) in taken[id(node)] for u in users)
