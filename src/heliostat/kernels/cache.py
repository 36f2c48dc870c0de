"""Schedule of `cache_update`: new rows of keys or values go into the cache in place, converted to its dtype and
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..ir.graph import Node, Value
from ..ir.types import Dim, DType, TensorType, f32
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel, Operand
from ..kernel.warp import WARP
from ..quant.format import BlockFormat
from ..targets.target import Target
from .cache_layout import KeyPanels, ValuePanels
from .group import Accept, Dims, Group, Refuse, TensorOperand, store_from_compute, stored_form, vectors
from .tensor_linear import zipped

ROOTS = ("cache_update",)
RUN = 8  # elements of 16 bytes, of f16 and bf16


def vector_length(size: int, target: Target) -> int:
    """The widest vector of at most the target's lanes that divides `size` elements."""
    lanes = target.lanes
    while size % lanes:
        lanes //= 2
    return lanes


class Sequences:
    """Whose rows those of a batch are: `count` sequences of `tokens` rows each, one after the other, each with a start
    and a part of the heads of a cache."""

    def __init__(self, k: KernelBuilder, dims: Dims, buffer: Instruction, start: TensorType, rows: Dim) -> None:
        self.k = k
        self.starts = TensorOperand(k, dims, buffer, start)
        self.count = sequences(start)
        self.tokens = rows if self.count == 1 else int(rows) // self.count  # type: ignore[arg-type]
        self.first = self._load([0] * start.rank) if self.count == 1 else None

    def _load(self, at: list[Operand]) -> Instruction:
        return self.k.convert(self.starts.load(at), "i64")

    def start(self, sequence: Instruction) -> Instruction:
        """How many tokens of a sequence stood in the cache before."""
        return self.first if self.first is not None else self._load([sequence])

    def place(self, row: Instruction, head: Instruction, heads: int) -> tuple[Instruction, Instruction]:
        """The position of a row in its sequence, and the number in the cache of one of its `heads` heads."""
        if self.first is not None:
            return self.first + row, head
        assert isinstance(self.tokens, int)
        sequence = row // self.tokens
        return self.start(sequence) + row % self.tokens, sequence * heads + head


def table_of(node: Node) -> Value | None:
    """The table of pages of `attention` or `cache_update`, None where caches are not in pages."""
    return next(iter(node.inputs[4 if node.op.name == "attention" else 3 :]), None)


def sequences(start: TensorType) -> int:
    """How many sequences a start, () or (S,), speaks of."""
    return int(start.shape[0]) if start.rank else 1  # type: ignore[arg-type]


class CacheRows:
    """Which row of memory a position of a head is, of a cache (S H, C, D) or of pages (P, H, page, D) with a table.

    Heads are counted over all sequences. Neighbouring positions are neighbouring rows, `together` of them from a
    multiple of that on.
    """

    def __init__(
        self,
        k: KernelBuilder,
        dims: Dims,
        cache: TensorType,
        start: TensorType,
        table: Value | None,
        buffers: Mapping[Value, Instruction],
    ) -> None:
        """`table`: of a cache in pages. `buffers`: of the kernel's inputs."""
        self.k = k
        self.size = int(cache.shape[-1])  # type: ignore[arg-type]
        self.table: TensorOperand | None = None
        if table is None:
            self.heads = int(cache.shape[0]) // sequences(start)  # type: ignore[arg-type]
            self.capacity = self.together = int(cache.shape[1])  # type: ignore[arg-type]
            return
        self.table = TensorOperand(k, dims, buffers[table], table.type)
        self.pages, self.heads, self.together = (int(d) for d in cache.shape[:3])  # type: ignore[arg-type]
        self.capacity = int(table.type.shape[-1]) * self.together  # type: ignore[arg-type]

    def row(self, head: Instruction, position: Instruction) -> Instruction:
        """The row of a position that is not negative; a position past the capacity is one of the last page."""
        if self.table is None:
            return head * self.capacity + position
        k, last = self.k, self.capacity // self.together - 1
        page, own = self._page(head, k.minimum(position // self.together, last))
        inside = k.select(k.ult(page, self.pages), page, k.const(0, "i64"))
        return (inside * self.heads + own) * self.together + position % self.together

    def for_writing(self, head: Instruction, position: Instruction) -> Iterator[Instruction]:
        """Runs its block, with the row, where the position has a place: `for row in rows.for_writing(head, p)`."""
        k = self.k
        for _ in k.when(k.ult(position, self.capacity)):
            if self.table is None:
                yield head * self.capacity + position
                continue
            page, own = self._page(head, position // self.together)
            for _ in k.when(k.ult(page, self.pages)):
                yield (page * self.heads + own) * self.together + position % self.together

    def _page(self, head: Instruction, place: Instruction) -> tuple[Instruction, Instruction]:
        """The page at a place of the table of a head's sequence, and the head's number in it."""
        assert self.table is not None
        at, own = [place], head
        if self.table.type.rank == 2:
            at, own = [head // self.heads, place], head % self.heads
        return self.k.convert(self.table.load(at), "i64"), own


class CacheWriter:
    """Writes rows (token, head, elements) into a cache. Rows that have no place there are not written."""

    def __init__(self, k: KernelBuilder, buffer: Instruction, type: TensorType, rows: CacheRows) -> None:
        self.k, self.buffer, self.type, self.rows = k, buffer, type, rows
        self.size = rows.size

    def store(self, position: Instruction, head: Instruction, at: Operand, value: Instruction) -> None:
        """`value`: the elements at .. at + lanes of the row at `position` of a head, in compute form."""
        k, dtype = self.k, self.type.dtype
        for row in self.rows.for_writing(head, position):
            if isinstance(self.type.layout, KeyPanels):
                keys = self.type.layout.keys
                if self.type.layout.run > 1:
                    self._scatter(row, at, value)
                    continue
                first = row // keys * keys * self.size + row % keys
                for lane in range(value.lanes):
                    number = first + (k.const(0, "i64") + at + lane) * keys
                    store_from_compute(k, self.buffer, number * dtype.nbytes, k.extract(value, lane), dtype)
            elif isinstance(self.type.layout, ValuePanels):
                self._scatter(row, at, value)
            else:
                number = row * self.size + at
                store_from_compute(k, self.buffer, number * dtype.nbytes, value, dtype)

    def _scatter(self, row: Instruction, at: Operand, value: Instruction) -> None:
        """Elements of a row, each to its place in a layout with runs. For GPUs: an element is a thread's."""
        k = self.k
        if value.lanes < WARP:  # all threads have all of them: the first ones store
            for lane in range(value.lanes):
                one = k.splat(k.extract(value, lane), WARP)
                self._to_places(row, k.const(0, "i64") + at + lane, one, k.zeros("i32", WARP))
            return
        self._to_places(row, at, value, k.iota("i32", value.lanes))

    def _to_places(self, row: Instruction, at: Operand, value: Instruction, element: Instruction) -> None:
        """Lane i of a value goes to element at + element[i]. `at` is a multiple of the run where elements differ."""
        k, dtype, layout = self.k, self.type.dtype, self.type.layout
        start = k.const(0, "i64") + at
        if isinstance(layout, KeyPanels):
            keys, run = layout.keys, layout.run
            first = row // keys * keys * self.size + row % keys * run
            first = first + start // run * (keys * run) + start % run
            lanes = (element // run) * (keys * run) + element % run
        else:
            assert isinstance(layout, ValuePanels)
            run = layout.run
            first = row // run * run * self.size + row % run
            first = first + start * run
            lanes = element * run
        k.scatter(self.buffer, first * dtype.nbytes, lanes * dtype.nbytes, stored_form(k, value, dtype))


class CacheRuns:
    """Rows of many tokens of one sequence into a cache whose layout has runs of 16 bytes, on a GPU: a warp takes eight
    neighbouring positions of a head, which begin at a multiple of eight, so that each thread stores whole runs. Where
    a sequence begins or ends in between, rows are written one by one.

    Threads t of values have element 32 i + t of all eight rows, those of keys eight elements of row t % 8.
    """

    def __init__(
        self,
        k: KernelBuilder,
        buffer: Instruction,
        type: TensorType,
        rows: CacheRows,
        new: tuple[Instruction, TensorType],
        tokens: Instruction,
        first: Instruction,
    ) -> None:
        """`buffer`, `type`: the cache. `new`: the buffer and type of the rows (tokens, heads, elements), f32.
        `first`: the position of the first row."""
        self.k, self.buffer, self.type, self.rows = k, buffer, type, rows
        self.new, self.tokens, self.first = new[0], tokens, first
        self.heads, self.size = int(new[1].shape[1]), int(new[1].shape[2])  # type: ignore[arg-type]
        thread = k.iota("i32", WARP)
        self.key, self.part = thread & (RUN - 1), thread >> 3

    @staticmethod
    def refusal(target: Target, type: TensorType, new: TensorType, start: TensorType) -> str | None:
        """Why rows do not go to a cache in runs; None where they do. A token alone fills no run."""
        if target.capability < 80 or not isinstance(type.layout, (KeyPanels, ValuePanels)) or type.layout.run != RUN:
            return "no runs of 16 bytes, or no instruction that rounds pairs"
        if start.rank or new.element is not f32 or new.shape[0] == 1:
            return "a token of each sequence, or rows that are no f32"
        return None if int(new.shape[2]) % WARP == 0 else "heads of no multiple of 32 elements"  # type: ignore[arg-type]

    def write(self, run: Callable[[Instruction, Instruction], None], row: Callable[..., None]) -> None:
        """`run(token, head)` writes the rows of eight tokens from one on, `row(token, head)` a single one."""
        k = self.k
        begin = self.first // RUN
        count = (self.first + self.tokens + (RUN - 1)) // RUN - begin
        for item in k.parallel(count * self.heads):
            head = item % self.heads
            token = (begin + item // self.heads) * RUN - self.first
            for _ in k.when((token >= 0) & (token + RUN <= self.tokens)):
                run(token, head)
            for _ in k.otherwise():
                for n in k.loop(k.maximum(token, 0), k.minimum(token + RUN, self.tokens)):
                    row(n, head)

    def copy(self, token: Instruction, head: Instruction) -> None:
        """The rows as they are, rounded."""
        if isinstance(self.type.layout, ValuePanels):
            self._copy_values(token, head)
            return
        for place in self.rows.for_writing(head, self.first + token):
            found = {d: [self.words(v) for v in self.elements(token, head, d)] for d in range(0, self.size, WARP)}
            self.store_keys(place, found)

    def elements(self, token: Instruction, head: Instruction, at: int) -> list[Instruction]:
        """Eight elements of a key for each thread, four neighbours and four more, from element `at` on."""
        k, each = self.k, self.heads * self.size
        lanes = self.key * (each * 4) + self.part * (RUN * 4)
        base = (token * each + head * self.size) * 4
        return [k.gather(self.new, base + (at + n) * 4, lanes, "f32", 4) for n in (0, 4)]

    def words(self, values: Instruction) -> Instruction:
        """Elements of a thread rounded to the cache's dtype, two in a word."""
        low, high = (self.k.shuffle(values, values, range(n, values.lanes, 2)) for n in (0, 1))
        return self.k.pack_pair(low, high, self.type.dtype.name)

    def store_keys(self, place: Instruction, words: Mapping[int, Sequence[Instruction]]) -> None:
        """Words of `elements` by their first element, four for a thread in two halves, to the rows from `place` on.
        All at once: a load does not pass a store, which might be to the same memory."""
        k, layout = self.k, self.type.layout
        assert isinstance(layout, KeyPanels)
        panel, own = place // layout.keys * (layout.keys * self.size), place % layout.keys * RUN
        lanes = self.key * (RUN * 2) + self.part * (layout.keys * RUN * 2)
        for at, (low, high) in words.items():
            value = zipped(k, low, high, low.lanes // WARP)
            k.scatter(self.buffer, (panel + own + at * layout.keys) * 2, lanes, value)

    def _copy_values(self, token: Instruction, head: Instruction) -> None:
        k, kind = self.k, self.type.dtype.name
        each = self.heads * self.size
        base = token * each + head * self.size
        for place in self.rows.for_writing(head, self.first + token):
            found = []
            for d in range(0, self.size, WARP):
                of = [k.load(self.new, (base + n * each + d) * 4, "f32", WARP) for n in range(RUN)]
                found.append(value_runs(k, of, kind))
            for n, value in enumerate(found):
                k.store(self.buffer, (place * self.size + n * (WARP * RUN)) * 2, value)


def value_runs(k: KernelBuilder, rows: Sequence[Instruction], kind: str) -> Instruction:
    """Elements of eight rows, an f32 of each in a thread, as a thread's run of 16 bytes."""
    pairs = [k.pack_pair(rows[n], rows[n + 1], kind) for n in range(0, RUN, 2)]
    return zipped(k, zipped(k, pairs[0], pairs[1], 1), zipped(k, pairs[2], pairs[3], 1), 2)


def cache_refusal(type: TensorType) -> str | None:
    """Why floats cannot be written into a cache of that type; None where they can."""
    if not isinstance(type.element, DType):
        return f"a cache of {type.element} blocks"
    if type.layout is not None and not isinstance(type.layout, (KeyPanels, ValuePanels)):
        return f"a cache in layout {type.layout}"
    return None if type.static else "a cache whose size is not known"


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "cache_update":
        return Refuse(f"root is {group.root.op.name}, not cache_update")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into cache_update")
    type = group.root.inputs[0].type
    if isinstance(type.element, BlockFormat):
        return (
            Accept() if type.layout is None and type.static else Refuse("blocks of a cache lie in rows of known size")
        )
    reason = cache_refusal(type)
    if reason is None and not isinstance(group.root.inputs[1].type.shape[2], int):
        reason = "rows of unknown size"
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """new: (S N, H, D), start: () or (S,) i32, out: the cache (S H, C, D) or pages, in place. Reads new once."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    cache, new, start = group.root.inputs[:3]
    where = Sequences(k, dims, buffers[start], start.type, new.type.shape[0])
    places = CacheRows(k, dims, cache.type, start.type, table_of(group.root), buffers)
    if isinstance(cache.type.element, BlockFormat):
        _copy_blocks(k, target, dims, buffers[new], new.type, out, where, places)
        return k.finish()
    rows, writer = TensorOperand(k, dims, buffers[new], new.type), CacheWriter(k, out, cache.type, places)
    heads, size = int(new.type.shape[1]), int(new.type.shape[2])  # type: ignore[arg-type]
    lanes = vector_length(size, target)

    def one(n: Instruction, h: Instruction) -> None:
        for d in k.loop(0, size, lanes):
            position, place = where.place(n, h, heads)
            writer.store(position, place, d, rows.load([n, h, d], lanes))

    if CacheRuns.refusal(target, cache.type, new.type, start.type) is None:
        assert where.first is not None
        runs = CacheRuns(k, out, cache.type, places, (buffers[new], new.type), dims(new.type.shape[0]), where.first)
        runs.write(runs.copy, one)
        return k.finish()
    for item in k.parallel(dims(new.type.shape[0]) * heads):
        one(item // heads, item % heads)
    return k.finish()


def _copy_blocks(
    k: KernelBuilder,
    target: Target,
    dims: Dims,
    new: Instruction,
    type: TensorType,
    out: Instruction,
    where: Sequences,
    places: CacheRows,
) -> None:
    """Rows of blocks to their places, as they are."""
    heads, nbytes = int(type.shape[1]), row_nbytes(type)  # type: ignore[arg-type]
    for item in k.parallel(dims(type.shape[0]) * heads):
        n, h = item // heads, item % heads
        position, place = where.place(n, h, heads)
        for row in places.for_writing(place, position):
            for at, mask in vectors(k, k.const(0, "i64"), k.const(nbytes, "i64"), target.lanes):
                k.store(out, row * nbytes + at, k.load(new, item * nbytes + at, "i8", target.lanes, mask), mask)


def row_nbytes(type: TensorType) -> int:
    """Bytes of a row of blocks."""
    return int(type.shape[-1]) // type.element.block * type.element.nbytes  # type: ignore[arg-type]
