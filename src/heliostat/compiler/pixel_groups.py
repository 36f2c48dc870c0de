"""What is computed of pixels, put together into kernels: sums and stored matrices read what lies in memory anyway, and
compute the rest again.

The sums of a normalization and the pass behind them need the same values; written once and read again they would cost
more bytes than what they are made of. So every stored matrix, and all sums that may be taken at once, get nodes of
their own down to what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import copy, rewrite
from ..ops import REGISTRY, slice, sum

PRODUCTS = frozenset({"matmul", "window_matmul"})
MOST_READ = 3  # matrices that a kernel reads before one of them is worth storing


def pixel_groups(graph: Graph) -> Graph:
    """The graph with elementwise nodes over pixels for each of their kernels, where there are sums over pixels."""
    if not any(n.op.name == "pixel_sums" for n in graph.nodes()):
        return graph
    return _Groups(_merged(graph)).run()


class _Groups:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self.kept = {id(v) for v in graph.results()}
        self.shapes = {n.inputs[0].type.shape for n in graph.nodes() if n.op.name == "pixel_sums"}
        self.stored: set[int] = set()  # elementwise values that lie in memory
        self.behind: dict[int, Value] = {}  # of a stored value: the product that it is the epilogue of
        self.new: dict[int, Value] = {}
        self.names: dict[int, Value] = {}

    def run(self) -> Graph:
        nodes = self.graph.nodes()
        for node in nodes:
            for v in node.results:
                if self._inner(v) and (id(v) in self.kept or any(self._outer(u) for u in self.users.get(id(v), ()))):
                    self.stored.add(id(v))
        for node in nodes:
            if node.op.name in PRODUCTS:
                self._store_epilogue(node.results[0])
        self._store_wide(nodes)
        return rewrite(self.graph, self._replace)

    def _inner(self, v: Value) -> bool:
        """Whether a value is made of pixels, element by element."""
        return bool(getattr(v.node.op, "elementwise", False)) and v.type.shape in self.shapes

    def _outer(self, node: Node) -> bool:
        """Whether a node reads its operands from memory."""
        return node.op.name != "pixel_sums" and not self._inner(node.results[0])

    def _store_epilogue(self, v: Value) -> None:
        """What alone is made of a product comes with it, and is stored in its place."""
        made = v
        while id(made) not in self.kept:
            users = list(self.users.get(id(made), ()))
            if len({id(u) for u in users}) != 1 or not self._inner(users[0].results[0]):
                break
            if users[0].results[0].type.dtype.nbytes > v.type.dtype.nbytes:
                break
            made = users[0].results[0]
            if id(made) in self.stored:
                return
        if made is not v:
            self.stored.add(id(made))
            self.behind[id(made)] = v

    def _store_wide(self, nodes: Sequence[Node]) -> None:
        """Store something of what is made of too many matrices: of sums, which have it in common, the least."""
        for node in nodes:
            sums = node.op.name == "pixel_sums"
            if not (sums or self._inner(node.results[0])):
                continue
            while True:
                wide = [v for v in node.inputs if len(self._read(v)) > 1]
                if not wide or len(frozenset().union(*map(self._read, node.inputs))) <= MOST_READ:
                    break
                wide.sort(key=lambda v: len(self._read(v)))
                chosen = wide[0 if sums else -1]
                self.stored.add(id(self._narrow(chosen)))

    def _read(self, v: Value) -> frozenset[int]:
        """The matrices in memory that a value is made of."""
        found: set[int] = set()
        stack, seen = [v], set()
        while stack:
            u = stack.pop()
            if u.type.shape not in self.shapes or id(u) in seen:
                continue
            seen.add(id(u))
            if self._inner(u) and id(u) not in self.stored:
                stack += u.node.inputs
            else:
                found.add(id(u))
        return frozenset(found)

    def _narrow(self, v: Value) -> Value:
        """What a value is a wider copy of, where that is no less made of pixels."""
        while v.node.op.name == "cast" and self._inner(source := v.node.inputs[0]):
            if source.type.dtype.nbytes > v.type.dtype.nbytes:
                break
            v = source
        return v

    def _replace(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        """Values that are not stored are made where they are read."""
        results = node.results
        if node.op.name == "pixel_sums" or (self._inner(results[0]) and id(results[0]) in self.stored):
            made = self._again(node)
        else:
            made = copy(node, inputs)
        self.new.update((id(old), value) for old, value in zip(results, made, strict=True))
        return made

    def _again(self, node: Node) -> tuple[Value, ...]:
        """The node over nodes of its own, down to what is stored."""
        order: list[Node] = []
        seen: set[int] = set()
        stack = [(node, False)]
        while stack:
            n, done = stack.pop()
            if done:
                order.append(n)
            elif id(n) not in seen:
                seen.add(id(n))
                stack.append((n, True))
                stack += [(v.node, False) for v in n.inputs if self._inner(v) and id(v) not in self.stored]
        mine: dict[int, Value] = {}
        product = self.behind.get(id(node.results[0]))
        for n in order:
            inputs = [mine[id(v)] if id(v) in mine else self._named(v, product) for v in n.inputs]
            made = Node(n.op, inputs, n.attrs, [r.type for r in n.results]).results
            mine.update((id(r), m) for r, m in zip(n.results, made, strict=True))
        return tuple(mine[id(r)] for r in node.results)

    def _named(self, v: Value, product: Value | None) -> Value:
        """A matrix in memory under a name of its own, which keeps its reader out of the kernel that makes it."""
        if v is product or v.type.shape not in self.shapes:
            return self.new[id(v)]
        if id(v) not in self.names:
            self.names[id(v)] = REGISTRY["reshape"].build(self.new[id(v)], shape=v.type.shape)
        return self.names[id(v)]


def _merged(graph: Graph) -> Graph:
    """Sums of matrices of one shape that wait for the same sums, and read a matrix together, become one node."""
    nodes = graph.nodes()
    number = {id(n): i for i, n in enumerate(n for n in nodes if n.op.name == "pixel_sums")}
    before: dict[int, int] = {}  # by node: bits of the sums that it waits for
    for node in nodes:
        bits = 0
        for v in node.inputs:
            bits |= before[id(v.node)]
            if id(v.node) in number:
                bits |= 1 << number[id(v.node)]
        before[id(node)] = bits
    together: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        if id(node) in number:
            key = (node.inputs[0].type.shape, node.attrs["parts"], before[id(node)])
            together.setdefault(key, []).append(node)
    groups = [g for g in together.values() if len(g) > 1]
    if not groups:
        return graph
    return _joined(graph, {id(n): group for group in groups for n in group})


def _joined(graph: Graph, group_of: dict[int, list[Node]]) -> Graph:
    """The graph with the sums of each group in one node. Nodes are made when all that a group needs is there."""
    new: dict[int, Value] = {}
    users = graph.users()
    waiting = graph.nodes()
    while waiting:
        later = []
        for node in waiting:
            group = group_of.get(id(node), [node])
            if id(node.results[0]) in new:
                continue
            if any(id(v) not in new for n in group for v in n.inputs):
                later.append(node)
            elif len(group) == 1:
                made = copy(node, tuple(new[id(v)] for v in node.inputs))
                new.update((id(old), value) for old, value in zip(node.results, made, strict=True))
            else:
                operands = list({id(v): new[id(v)] for n in group for v in n.inputs}.values())
                whole = REGISTRY["pixel_sums"].build(*operands, parts=node.attrs["parts"])
                total = sum(whole, 1)
                for n in group:
                    at = operands.index(new[id(n.inputs[0])])
                    new[id(n.results[0])] = slice(whole, 0, at, at + 1)
                    for u in users[id(n.results[0])]:
                        if u.op.name == "sum" and u.attrs["axes"] == (1,) and not u.attrs["keepdim"]:
                            new[id(u.results[0])] = slice(total, 0, at, at + 1)
        if len(later) == len(waiting):
            return graph
        waiting = later
    return Graph(
        graph.name,
        [new[id(p)] for p in graph.parameters],
        [new[id(v)] for v in graph.outputs],
        [(new[id(s)], new[id(v)]) for s, v in graph.updates],
    )
