"""A backward through a graph of a structure that was gone through before: one node instead of dozens.

The first one builds gradients by the rules of the ops, keeps what they built over the values of the forward pass as a
`Recorded`, and puts its node in their place. Who gathers gradients, what is spent and what was changed in place is
known from the values themselves; hooks, functions of the user's and the like go the whole way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..ir.graph import CONSTANT, Node, Value
from . import lazy
from .recorded import Recorded

KEPT = 512
"""Structures that are remembered,"""

KEPT_ROWS = 200_000
"""of so many rows in their keys together: those of long loops are large, and each count of steps is another one."""

Use = tuple[Value, Any, int]


class Rewound(NamedTuple):
    """recorded: the gradients of the leaves over `Behind.given`. leaves: whose they are, as places in the order.
    spent: the places of values that such a backward leaves spent."""

    recorded: Recorded
    leaves: list[int]
    spent: list[int]


_known: dict[Any, Rewound | None] = {}


class Behind:
    """What a backward goes through. `key`: its structure, None where the whole way has to be gone. `given`: the values
    that gradients may read: first gradients that were given, values of the order, and operands that no gradient goes
    to."""

    def __init__(
        self, outputs: Sequence[Value], seeds: Sequence[Value | None], parents: dict[int, Sequence[Value]],
        order: Sequence[Value],
    ) -> None:  # fmt: skip
        self.order = order
        self.key: Any = None
        self.given = given = [v for v in seeds if v is not None]
        self.since = next(Node.count)
        number = {v: n for n, v in enumerate(given)}
        if len(number) < len(given):
            return
        device: str | None = None
        rows: list[Any] = [v if v is None else (v.type.element.name, v.type.shape) for v in seeds]
        add = rows.append
        for v in order:
            node, m, type = v.node, v.meta, v.type
            leaf = False
            if m is not None:
                if m.spent or m.function is not None or m.hooks or m.passing or (m.uses and _changed(m.uses)):
                    return
                leaf = m.leaf is not None
            op = node.op
            if v in number or op is lazy.TO_DEVICE or isinstance(op, lazy.Inlined):
                return
            number[v] = len(number)
            if op is CONSTANT:
                add((type.element.name, type.shape, node.attrs["value"].tobytes()))
                continue
            given.append(v)
            if not parents[id(v)]:
                if lazy.is_cut(v):
                    return
                add((type.element.name, type.shape, leaf))
                continue
            add(op.name)
            if node.attrs:
                add(tuple(node.attrs.items()))
            if v.index:
                add(("result", v.index))
            for i in node.inputs:
                n = number.get(i)
                if n is None:
                    n = number[i] = len(number)
                    type = i.type
                    if i.node.op is CONSTANT:
                        add((type.element.name, type.shape, i.node.attrs["value"].tobytes()))
                    else:
                        given.append(i)
                        add((type.element.name, type.shape))
                add(n)
        for v in given:
            if v.device is not device and v.device is not None:
                if device is not None and v.device != device:
                    return
                device = v.device
        if device == lazy.META:  # there is nothing to run again
            return
        self.key = (tuple(rows), tuple([number[y] for y in outputs]))

    def again(self) -> dict[int, Value] | None:
        """Gradients of the leaves by value id, results of one node; None where such a backward is not known."""
        found = _known.get(self.key)
        if found is None:
            return None
        order = self.order
        lazy.let_go(order)
        for n in found.spent:
            lazy.meta(order[n]).spent = True
        made = found.recorded(self.given)
        return {id(order[n]): g for n, g in zip(found.leaves, made, strict=True)}

    def remember(self, total: dict[int, Value]) -> dict[int, Value]:
        """Keep what the rules built for the next time. Returns the gradients as they will be made then."""
        if self.key in _known:
            return total  # it cannot be one node
        if len(_known) >= KEPT or sum(len(rows) for rows, _ in list(_known)) + len(self.key[0]) > KEPT_ROWS:
            _known.clear()
        order = self.order
        leaves = [n for n, v in enumerate(order) if v.meta is not None and v.meta.leaf is not None and id(v) in total]
        _known[self.key] = None
        try:
            recorded = Recorded(self.given, [total[id(order[n])] for n in leaves])
        except ValueError:  # a first gradient, or a constant, is the gradient of a leaf
            return total
        if not leaves or not all(type(r) is int for r in recorded.read):
            return total
        spent = [n for n, v in enumerate(order) if v.meta is not None and v.meta.spent]
        _known[self.key] = Rewound(recorded, leaves, spent)
        self._drop(total, recorded)
        return {id(order[n]): g for n, g in zip(leaves, recorded(self.given), strict=True)}

    def _drop(self, total: dict[int, Value], recorded: Recorded) -> None:
        """Cut what the rules built: values and nodes refer to each other until the garbage collector comes."""
        shared = {id(v) for node in recorded.graph.nodes() for v in node.results}  # of constants alone
        stack = list(total.values())
        while stack:
            v = stack.pop()
            if v.node.serial > self.since and v.node.inputs and id(v) not in shared:
                stack.extend(v.node.inputs)
                lazy.cut(v)


def _changed(uses: Sequence[Use]) -> bool:
    """Whether a tensor was changed in place since its value was used: the whole way knows whether that matters."""
    for _, owner, version in uses:
        t = owner()
        if t is not None and t._version != version:
            return True
    return False
