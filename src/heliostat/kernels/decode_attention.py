"""Schedule of `attention` of a single token, or of one for each of several sequences, on a GPU: a team of warps shares
the keys of a head, each with a running softmax of its own, and joins the parts at the end (flash decoding). A lane is a
key, then an element of the head. Where there are sequences enough, query heads that read the same keys are one team's,
and what one warp has read is near for the others.
"""

from __future__ import annotations

from ..ir.graph import Node, Value
from ..ir.types import DType, TensorType, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel, Operand
from ..targets.target import Target
from . import attention, rope
from .attention import LOWEST
from .cache import CacheRows, Sequences, sequences, table_of
from .cache_layout import KeyPanels
from .group import Accept, Dims, Group, Refuse, TensorOperand, load_as_compute, stored_form
from .math import Math

ROOTS = ("attention",)
PRIVATE_BYTES = 40 << 10  # of shared memory for the parts of a team
ITEMS = 128  # teams that are enough to take query heads of one key head together: a multiprocessor each, or two


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `attention` accepts, of one token and on a GPU; before it, what rotates that token and puts it into caches:
    its own key and value are then read from where they were made, not from the caches.
    """
    *before, _ = group.nodes
    alone = Group((group.root,), tuple(group.root.inputs), group.outputs, group.root)
    if group.nodes[-1] is not group.root:
        return Refuse("nothing is fused behind attention of one token")
    verdict = attention.accepts_caches(alone, target)
    if isinstance(verdict, Refuse):
        return verdict
    if not target.gpu:
        return Refuse("a core has no team of warps")
    if upper_bound(group.root.inputs[0].type.shape[0]) != sequences(group.root.inputs[3].type):
        return Refuse("more than one token of a sequence")
    if before and [id(n) for n in before] != [id(n) for n in brought(group.root) if n in before]:
        return Refuse("only rotated rows and their caches come before attention")
    for node in before:
        if node.op.name == "rope" and isinstance(verdict := rope.accepts(_alone(node), target), Refuse):
            return verdict
    if any(n.op.name == "cache_update" for n in before) and len(_caches(group.root)) != 2:
        return Refuse("keys and values are put into their caches by one step")
    return Accept()


def _alone(node: Node) -> Group:
    return Group((node,), node.inputs, node.results, node)


def _caches(root: Node) -> list[Node]:
    """The updates of the key cache and of the value cache with this token, where both are there."""
    _, keys, values, *place = root.inputs
    updates = [keys.node, values.node]
    if any(n.op.name != "cache_update" or [id(v) for v in n.inputs[2:]] != [id(v) for v in place] for n in updates):
        return []
    start = place[0]
    return updates if all(n.inputs[1].type.shape[0] == sequences(start.type) for n in updates) else []


def brought(root: Node) -> list[Node]:
    """What may come before attention of one token: the rotation of q, then that of k, then the updates of caches."""
    updates = _caches(root)
    sources = [root.inputs[0], *(n.inputs[1] for n in updates[:1])]
    return [*(v.node for v in sources if v.node.op.name == "rope"), *updates]


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (S, Hq, D), keys and values: (S Hkv, C, D) or pages, start: () or (S,) i32, out: (S, Hq, D). Reads each key
    and value once for each query head.
    """
    return _Nest(group, target, name).build()


class _Nest:
    token_apart = False  # whether a token that is not in the cache yet is a part of its own; else it begins the last

    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        self.math, self.lanes, self.target = Math(k), target.lanes, target
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        out = k.buffer("o0", "w")
        dims = Dims(k, group.symbols)
        q, keys, values, start = group.root.inputs[:4]
        inside = {id(r): n for n in group.nodes for r in n.results}
        self.size = int(q.type.shape[2])  # type: ignore[arg-type]

        def head(value: Value) -> _Head:
            if id(value) not in inside:
                return _Head(k, TensorOperand(k, dims, buffers[value], value.type))
            node = inside[id(value)]
            x, cos, sin = (TensorOperand(k, dims, buffers[v], v.type) for v in node.inputs)
            return _Head(k, x, node, (cos, sin), target)

        self.q = head(q)
        self.new: tuple[_Head, _Head] | None = None
        if id(keys) in inside:
            self.new = head(keys.node.inputs[1]), head(values.node.inputs[1])
            keys, values = keys.node.inputs[0], values.node.inputs[0]
        self.out = TensorOperand(k, dims, out, group.outputs[0].type)
        self.keys, self.values = buffers[keys], buffers[values]
        self._hold(keys.type, values.type)
        self.heads = int(q.type.shape[1])  # type: ignore[arg-type]
        table = table_of(group.root)
        self.rows = CacheRows(k, dims, keys.type, start.type, table, buffers)
        self.capacity = self.rows.capacity
        self.kv_heads = self.rows.heads * sequences(start.type)
        self.group_size = attention.heads_of_a_key(group)
        attrs = group.root.attrs
        self.scale = float(attrs["scale"])
        self.window = int(attrs.get("window", 0) or 0)
        self.record = 4 * (self.size + 2)  # of a part: its largest score, its sum of weights, its weighed values
        self.team, self.together, self.shared = self._teams(start)
        for h in (self.q, *(self.new or ())):
            h.keep(self.together if h is self.q else 1)
        self.parts = k.alloc(self._places())
        if start.is_parameter and (table is None or table.is_parameter):
            self._come_early(TensorOperand(k, dims, buffers[start], start.type))
        k.ready()
        self.sequences = Sequences(k, dims, buffers[start], start.type, q.type.shape[0])
        self.start: Instruction

    def _hold(self, keys: TensorType, values: TensorType) -> None:
        """How elements of the caches are read. `run`: elements of a key, and keys of a value's element, that lie
        together."""
        self.key_dtype, self.value_dtype = keys.dtype, values.dtype
        assert isinstance(keys.layout, KeyPanels)
        self.run = keys.layout.run

    def _teams(self, start: Value) -> tuple[int, int, int]:
        """Warps of a team, query heads that it takes together, and parts that the keys of one are cut into."""
        team = 32
        while team > 1 and team * self.record > PRIVATE_BYTES:
            team //= 2
        together = _together(self.kv_heads, self.group_size, team, sequences(start.type))
        return team, together, team // together

    def _places(self) -> int:
        """Bytes for the parts of a team: those of a head are `apart`, and their places begin `each` bytes apart."""
        self.apart, self.each = self.record, self.shared * self.record
        return self.together * self.each

    def _come_early(self, starts: TensorOperand) -> None:
        """Ask for the first panel of each warp, while the launch before still runs: earlier steps wrote it."""
        k, lanes = self.k, self.lanes
        items = self.kv_heads * self.group_size // self.together
        head = k.minimum(k.worker() * items // k.workers(), items - 1) * self.together
        start = k.convert(
            starts.load([head // self.heads] if sequences(starts.type) > 1 else [0] * starts.type.rank), "i64"
        )
        end = k.maximum(k.minimum(start + 1, self.capacity), 1)
        first = k.maximum(end - self.window, 0) if self.window else k.const(0, "i64")
        kv = self.kv_head(head)
        for s in k.team(self.team):
            part = s if self.shared == self.team else s % self.shared
            base = k.minimum(first // lanes * lanes + part * lanes, self.capacity - lanes)
            for _ in k.when(base < end):
                at = self.rows.row(kv, base) * self.size
                k.prefetch_all(self.keys, at * self.key_dtype.nbytes, lanes * self.size * self.key_dtype.nbytes)
                k.prefetch_all(self.values, at * self.value_dtype.nbytes, lanes * self.size * self.value_dtype.nbytes)

    def build(self) -> Kernel:
        k = self.k
        alone = self.sequences.first
        bounds = None if alone is None else self._bounds(alone)
        for item in k.parallel(self.kv_heads * self.group_size // self.together):  # of one sequence after the other
            head = item * self.together
            first, end = bounds or self._bounds(self.sequences.start(head // self.heads))
            rotated = [(h, n) for h, n in self._heads(head) if h.node is not None]
            if rotated:
                for s in k.team(self.team):
                    for turn, (h, n) in enumerate(rotated):
                        for _ in k.when(k.binary("eq", s, turn % self.team)):
                            h.rotate(n)
            for s in k.team(self.team):
                self._part(head + s // self.shared, s, first, end)
            vectors = self.size // self.lanes
            for s in k.team(self.team):
                for n in k.loop(s, self.together * vectors, self.team):
                    self._join(head + n // vectors, n // vectors * self.each, n % vectors * self.lanes)
        return k.finish()

    def _bounds(self, start: Instruction) -> tuple[Instruction, Instruction]:
        """The first key in the cache that a token sees, and the end, for a sequence that held `start` tokens."""
        k = self.k
        self.start = start
        end = k.minimum(start + 1, self.capacity)
        first = k.maximum(end - self.window, 0) if self.window else k.const(0, "i64")
        if self.new is not None:  # the token's own key is not in the cache yet
            end = k.minimum(start, self.capacity)
        return first, end

    def _heads(self, head: Instruction) -> list[tuple[_Head, Instruction]]:
        """The rows that a query head needs, and their heads' numbers."""
        rows = [(self.q, head + n) for n in range(self.together)]
        if self.new is not None:
            rows += [(h, self.kv_head(head)) for h in self.new]
        return rows

    def at(self, s: Instruction | int) -> Instruction | int:
        """Where part s keeps its record."""
        return s * self.record

    def kv_head(self, head: Instruction) -> Instruction:
        """The head of keys and values that a query head reads."""
        return head // self.group_size

    def _part(self, head: Instruction, s: Instruction, first: Instruction, end: Instruction) -> None:
        """Every `shared`-th panel of the keys that are seen, from number s % shared on."""
        k, lanes = self.k, self.lanes
        vectors = range(0, self.size, lanes)
        best, total = k.var(k.const(LOWEST, "f32")), k.var(k.zeros("f32"))
        sums = [k.var(k.zeros("f32", lanes)) for _ in vectors]
        part = s % self.shared
        if self.new is not None:  # the token itself, with the part that has fewest keys
            inside = self.start < self.capacity
            for _ in k.when(inside & k.binary("eq", part, self.shared - 1)):
                best.set(self._own_score(head))
                total.set(k.const(1.0, "f32"))
                for v, d in zip(sums, vectors, strict=True):
                    v.set(self._own_value(head, d))
        for base in k.loop(first // lanes * lanes + part * lanes, end, lanes * self.shared):
            number = k.splat(k.convert(base, "i32"), lanes) + k.iota("i32", lanes)
            seen = number < k.convert(end, "i32")
            if self.window:
                seen = seen & (number >= k.convert(first, "i32"))
            at = self.rows.row(self.kv_head(head), base) * self.size
            score = k.select(seen, self._scores(head, at) * self.scale, LOWEST)
            old = best.get()
            new = k.maximum(old, largest(k, score))
            weight = k.select(seen, self.math.exp(score - k.splat(new, lanes)), 0.0)
            factor = self.math.exp(old - new)
            total.set(k.fma(total.get(), factor, k.reduce_add(weight)))
            for v in sums:
                v.set(v.get() * k.splat(factor, lanes))
            best.set(new)
            self.held: dict[tuple[int, int], Instruction] = {}
            for t in range(lanes):
                mine = k.splat(k.extract(weight, t), lanes)
                for n, d in enumerate(vectors):
                    sums[n].set(k.fma(self._value(at, t, d), mine, sums[n].get()))
        place = self.at(s)
        k.store(self.parts, place, best.get())
        k.store(self.parts, place + 4, total.get())
        for n, d in enumerate(vectors):
            k.store(self.parts, place + (8 + 4 * d), sums[n].get())

    def _scores(self, head: Instruction, at: Instruction) -> Instruction:
        """q . key for the keys of the panel that starts at element `at` of the cache, one key a lane."""
        k, lanes = self.k, self.lanes
        acc = k.var(k.zeros("f32", lanes))
        run, nbytes = self.run, self.key_dtype.nbytes
        side_by_side = next(n for n in (8, 4, 2, 1) if self.size % (n * run) == 0)  # loads that wait together
        unroll = min(side_by_side * run, 2 * lanes) if run > 1 else 8
        for d in k.loop(0, self.size, unroll):
            held: dict[int, Instruction] = {}
            for e in range(unroll):
                if e % run == 0:
                    place = (at + (d + e) * lanes) * nbytes
                    held[e] = load_as_compute(k, self.keys, place, self.key_dtype, lanes * run)
                key = one_of(k, held[e // run * run], e % run, run)
                acc.set(k.fma(key, k.splat(self.q.load(head, d + e), lanes), acc.get()))
        return acc.get()

    def _value(self, at: Instruction, t: int, d: int) -> Instruction:
        """32 elements from d on of the value of key t of a panel that starts at element `at` of the cache."""
        k, lanes, run, nbytes = self.k, self.lanes, self.run, self.value_dtype.nbytes
        if run == 1:
            return load_as_compute(k, self.values, (at + (t * self.size + d)) * nbytes, self.value_dtype, lanes)
        key = (t // run, d)
        if key not in self.held:
            place = (at + (t // run * self.size + d) * run) * nbytes
            self.held[key] = load_as_compute(k, self.values, place, self.value_dtype, lanes * run)
        return one_of(k, self.held[key], t % run, run)

    def _join(self, head: Instruction, start: Instruction, d: Instruction) -> None:
        """32 elements from d on: the values of parts from byte `start` on, weighed by how far each part's largest score
        lies below the largest of all. Where `token_apart`, the token is one more part, of one key.
        """
        k, lanes = self.k, self.lanes
        places = k.minimum(k.iota("i32", lanes), self.shared - 1) * self.apart
        best, totals = (k.gather(self.parts, start + at, places, "f32") for at in (0, 4))
        if self.shared < lanes:
            inside = k.iota("i32", lanes) < self.shared
            best, totals = k.select(inside, best, LOWEST), k.select(inside, totals, 0.0)
        top, own = largest(k, best), None
        if self.token_apart and self.new is not None:
            own = k.select(self.start < self.capacity, self._own_score(head), LOWEST)
            top = k.maximum(top, own)
        factors = self.math.exp(best - k.splat(top, lanes))
        total = k.reduce_add(totals * factors)
        value = k.zeros("f32", lanes)
        if own is not None:
            mine = k.select(self.start < self.capacity, self.math.exp(own - top), k.zeros("f32"))
            total, value = total + mine, self._own_value(head, d) * k.splat(mine, lanes)
        inverse = k.splat(1.0 / total, lanes)
        for s in range(self.shared):
            part = k.load(self.parts, start + d * 4 + (s * self.apart + 8), "f32", lanes)
            value = k.fma(part, k.splat(k.extract(factors, s), lanes), value)
        self.out.store([*where(self.out, head), d], value * inverse)

    def _own_value(self, head: Instruction, d: Instruction | int) -> Instruction:
        """32 elements from d on of the token's own value, rounded as the cache will hold it."""
        assert self.new is not None
        return rounded(self.k, self.new[1].load(self.kv_head(head), d, self.lanes), self.value_dtype)

    def _own_score(self, head: Instruction) -> Instruction:
        """Of the token's own key, rounded as the cache will hold it."""
        k, lanes = self.k, self.lanes
        assert self.new is not None
        total = k.zeros("f32", lanes)
        for d in range(0, self.size, lanes):
            key = rounded(k, self.new[0].load(self.kv_head(head), d, lanes), self.key_dtype)
            total = k.fma(key, self.q.load(head, d, lanes), total)
        return k.reduce_add(total) * self.scale


def where(x: TensorOperand, head: Instruction) -> tuple[Instruction | int, Instruction]:
    """Row and head of a head that is counted over all rows of x, (S, H, D)."""
    rows, heads = x.type.shape[0], int(x.type.shape[1])  # type: ignore[arg-type]
    return (0, head) if rows == 1 else (head // heads, head % heads)


def _together(key_heads: int, group: int, team: int, sequences: int) -> int:
    """How many query heads of one key head a team takes: the more, the fewer teams there are."""
    if sequences == 1:
        return 1
    fits = [n for n in range(1, group + 1) if group % n == 0 and team % n == 0]
    return max((n for n in fits if key_heads * group // n >= ITEMS), default=1)


class _Head:
    """Heads of the rows of tokens: in memory, or rotated into private memory, one or a few neighbours at a time."""

    def __init__(
        self,
        k: KernelBuilder,
        x: TensorOperand,
        node: Node | None = None,
        angles: tuple[TensorOperand, ...] = (),
        target: Target | None = None,
    ) -> None:
        self.k, self.x, self.node, self.angles, self.target = k, x, node, angles, target
        self.count = 1
        self.place: Instruction | None = None

    def keep(self, count: int) -> None:
        """Make room for so many neighbours, where they are rotated."""
        if self.node is not None:
            self.count, self.place = count, self.k.alloc(4 * self.size * count)

    @property
    def size(self) -> int:
        return int(self.x.type.shape[2])  # type: ignore[arg-type]

    def _at(self, head: Instruction, at: Operand) -> Instruction:
        """Where an element of a head lies in private memory."""
        inside = head % self.count * self.size if self.count > 1 else self.k.const(0, "i64")
        return (inside + at) * 4

    def rotate(self, head: Instruction) -> None:
        """Make `load` give this head."""
        assert self.node is not None
        assert self.target is not None
        place = self.place
        assert place is not None

        def put(n: Instruction, h: Instruction, at: Operand, value: Instruction) -> None:
            self.k.store(place, self._at(head, at), value)

        row, mine = where(self.x, head)
        place_of = (row if isinstance(row, Instruction) else self.k.const(row, "i64"), mine)
        rope.rotate_head(self.k, self.target, self.node, self.x, self.angles, place_of, put)

    def source(self, head: Instruction) -> tuple[Instruction, Instruction]:
        """Where the first element of a head lies: a buffer and the byte offset in it. Neighbours that are kept with it
        lie behind.
        """
        if self.place is None:
            return self.x.buffer, self.x.offset([*where(self.x, head), 0])
        return self.place, self._at(head, 0)

    def load(self, head: Instruction, at: Operand, lanes: int = 1) -> Instruction:
        """f32 elements from `at` on of a head."""
        if self.place is None:
            return self.x.load([*where(self.x, head), at], lanes)
        return self.k.load(self.place, self._at(head, at), "f32", lanes)


def largest(k: KernelBuilder, values: Instruction) -> Instruction:
    """The largest f32 of a vector by its bits as integers in the same order, which a warp compares at once."""

    def turned(bits: Instruction) -> Instruction:
        return bits ^ (k.ashr(bits, 31) & 0x7FFFFFFF)

    return k.bitcast(turned(k.reduce_max(turned(k.bitcast(values, "i32")))), "f32")


def rounded(k: KernelBuilder, value: Instruction, dtype: DType) -> Instruction:
    """f32 values as a cache of a dtype gives them back."""
    stored = stored_form(k, value, dtype)
    if dtype.name == "bf16":
        return k.bitcast(k.convert(stored, "i32", signed=False) << 16, "f32")
    return k.convert(stored, "f32")


def one_of(k: KernelBuilder, runs: Instruction, n: int, run: int) -> Instruction:
    """Element n of every run of a vector of runs."""
    return runs if run == 1 else k.shuffle(runs, runs, range(n, runs.lanes, run))
