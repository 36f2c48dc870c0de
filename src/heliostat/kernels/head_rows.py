"""What may stand behind a product whose rows are heads of queries, keys or values, in the product's epilogue: the
rotation by positions, rounding, and rows of caches.

A warp has a row of one head at a time, `size` / 32 neighbours in each thread, so that pairs that are rotated together
lie in one thread, or half of the threads apart. Runs of values hold eight positions of an element: a warp has 16 rows,
and where a sequence begins at a multiple of eight it stores whole runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..ir.graph import Node, Value
from ..ir.types import f32
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..kernel.warp import WARP
from .cache import RUN, CacheRows, CacheWriter, cache_refusal, table_of, value_runs
from .cache_layout import KeyPanels, ValuePanels
from .elementwise import PointEvaluator, unrounded
from .group import ALIASES, Dims, Group, TensorOperand
from .tensor_linear import zipped

SIZES = (64, 128, 256)  # of a head: two to eight neighbours in a thread


@dataclass(frozen=True)
class Tail:
    """The part of a group behind what a product gives: `made` (N, heads * size) becomes rows of heads `rows`
    (N, heads, size), which may be rotated and go through elementwise nodes, or into a cache."""

    made: Value
    rows: Value
    rotation: Node | None
    update: Node | None

    @property
    def size(self) -> int:
        """Elements of a head."""
        return int(self.rows.type.shape[2])  # type: ignore[arg-type]

    @property
    def rotated(self) -> Value:
        """Rows of heads behind the rotation, if there is one."""
        return self.rows if self.rotation is None else self.rotation.results[0]


def tail_of(group: Group) -> Tail | None:
    """The tail of a product's group; None where it has no rows of heads."""
    first = next((n for n in group.nodes if n.op.name in ALIASES), None)
    if first is None:
        return None
    named = [n for n in group.nodes if n.op.name in ALIASES]
    update = next((n for n in group.nodes if n.op.name == "cache_update"), None)
    rotation = next((n for n in group.nodes if n.op.name == "rope"), None)
    return Tail(first.inputs[0], named[-1].results[0], rotation, update)


def without_tail(group: Group, tail: Tail) -> Group:
    """The group that ends in front of its tail."""
    behind = next(n for n, node in enumerate(group.nodes) if node.op.name in ALIASES)
    nodes = group.nodes[:behind]
    read = {id(v) for n in nodes for v in n.inputs}
    return replace(group, nodes=nodes, inputs=tuple(v for v in group.inputs if id(v) in read), outputs=(tail.made,))


def refusal(group: Group, tail: Tail) -> str | None:
    """Why a tail is not for the epilogue of a product by four warps together; None where it is."""
    if tail.made.type.rank != 2 or tail.rows.type.rank != 3 or tail.rows.type.shape[0] != tail.made.type.shape[0]:
        return "rows of heads are (N, heads, size), made of (N, heads * size)"
    if tail.made.type.element is not f32 or tail.rows.type.shape[2] not in SIZES:
        return f"heads are f32 of {SIZES} elements"
    if len(group.outputs) != 1:
        return "what stands in front of the rows of heads is wanted too"
    if tail.rotation is not None and (reason := _rotation_refusal(tail)) is not None:
        return reason
    if tail.update is not None:
        return _update_refusal(group, tail)
    if tail.rotation is None:
        return "rows of heads that are neither rotated nor put into a cache have their names for nothing"
    behind = group.nodes[group.nodes.index(tail.rotation) + 1 :]
    plain = all(getattr(n.op, "elementwise", False) and n.results[0].type.shape == tail.rows.type.shape for n in behind)
    return None if plain else "only elementwise nodes stand behind a rotation"


def _rotation_refusal(tail: Tail) -> str | None:
    assert tail.rotation is not None
    x, cos, sin = tail.rotation.inputs
    angles = all(v.type.element is f32 and tuple(v.type.shape) == (x.type.shape[0], tail.size // 2) for v in (cos, sin))
    if x is not tail.rows or not angles:
        return "whole heads are rotated, each token by its own angles in f32"
    return None


def _update_refusal(group: Group, tail: Tail) -> str | None:
    assert tail.update is not None
    cache, new, start = tail.update.inputs[:3]
    if group.nodes[-1] is not tail.update or new is not tail.rotated:
        return "a cache takes rows as they are, or rotated"
    if (reason := cache_refusal(cache.type)) is not None:
        return reason
    layout = cache.type.layout
    if not isinstance(layout, (KeyPanels, ValuePanels)) or layout.run != RUN:
        return "the cache has no runs of 16 bytes"
    if isinstance(layout, ValuePanels) and tail.rotation is not None:
        return "rotated rows go to caches of keys"
    return "a token of each sequence" if start.type.rank else None


class HeadRows:
    """Takes rows of heads through what is behind the product, and stores them."""

    def __init__(
        self,
        k: KernelBuilder,
        dims: Dims,
        group: Group,
        tail: Tail,
        buffers: Mapping[Value, Instruction],
        epilogue: PointEvaluator,
    ) -> None:
        """`buffers`: of the group's inputs and its output. `epilogue`: evaluates what is elementwise."""
        self.k, self.tail, self.size, self.epilogue = k, tail, tail.size, epilogue
        self.run = self.size // WARP  # neighbours in a thread
        (self.result,) = group.outputs
        self.operand = TensorOperand(k, dims, buffers[self.result], self.result.type)
        self.by_position = False  # whether eight rows are stored together
        if tail.rotation is not None:
            self.angles = [buffers[v] for v in tail.rotation.inputs[1:]]
        if tail.update is not None:
            cache, _, start = tail.update.inputs[:3]
            self.start = k.convert(TensorOperand(k, dims, buffers[start], start.type).load([]), "i64")
            self.places = CacheRows(k, dims, cache.type, start.type, table_of(tail.update), buffers)
            self.writer = CacheWriter(k, self.operand.buffer, cache.type, self.places)
            self.by_position = isinstance(cache.type.layout, ValuePanels)

    def row(self, row: Instruction, head: Instruction, value: Instruction) -> Callable[[], None]:
        """What stores a head of a row; it is computed here."""
        k, tail = self.k, self.tail
        if tail.rotation is not None:
            value = self._rotated(row, value)
        if tail.update is None:
            index = [row, head, k.const(0, "i64")]
            value = self.epilogue.at(unrounded(self.result), index, self.size, preset={tail.rotated: value})
            return partial(self.operand.store, index, value)
        if self.by_position:
            return partial(self.writer.store, self.start + row, head, 0, value)
        return partial(self._store_key, row, head, self._words(value))

    def _rotated(self, row: Instruction, value: Instruction) -> Instruction:
        """What `rope` does: a * c - b * s, b * c + a * s, for the pairs (a, b) of a head."""
        k, half = self.k, self.size // 2
        assert self.tail.rotation is not None
        if self.tail.rotation.attrs["interleaved"]:
            cos, sin = (k.load(v, row * (half * 4), "f32", half) for v in self.angles)
            a, b = (k.shuffle(value, value, range(n, self.size, 2)) for n in range(2))
            return zipped(k, a * cos - b * sin, b * cos + a * sin, 1)
        lanes = (k.iota("i32", WARP) * self.run & (half - 1)) * 4
        cos, sin = (k.gather(v, row * (half * 4), lanes, "f32", self.run) for v in self.angles)
        other = k.shuffle(value, value, [n ^ half for n in range(self.size)])
        second = k.iota("i32", self.size) >= half
        return value * cos + other * k.select(second, sin, k.negate(sin))

    def _words(self, value: Instruction) -> Instruction:
        """Elements as the cache holds them, two in a word."""
        low, high = (self.k.shuffle(value, value, range(n, self.size, 2)) for n in range(2))
        return self.k.pack_pair(low, high, self.result.type.dtype.name)

    def _store_key(self, row: Instruction, head: Instruction, words: Instruction) -> None:
        k, layout = self.k, self.result.type.layout
        assert isinstance(layout, KeyPanels)
        element = k.iota("i32", WARP) * self.run
        lanes = ((element >> 3) * (layout.keys * RUN) + (element & (RUN - 1))) * 2
        for place in self.places.for_writing(head, self.start + row):
            first = place // layout.keys * (layout.keys * self.size) + place % layout.keys * RUN
            k.scatter(self.operand.buffer, first * 2, lanes, words)

    def positions(self, row: Instruction, head: Instruction, at: int, values: Sequence[Instruction]) -> None:
        """Store elements at .. at + 32 of a head of eight rows, from one on whose position is a multiple of eight."""
        run = value_runs(self.k, values, self.result.type.dtype.name)
        for place in self.places.for_writing(head, self.start + row):
            self.k.store(self.operand.buffer, (place * self.size + at * RUN) * 2, run)
