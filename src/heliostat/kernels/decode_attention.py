"""Schedule of `attention` of a single token on a GPU: a team of warps shares the keys of a head, each with a running
softmax of its own, and joins the parts at the end (flash decoding). A lane is a key, then an element of the head.
"""

from __future__ import annotations

from ..ir.types import upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import attention
from .attention import LOWEST
from .cache_layout import KeyPanels
from .group import Accept, Dims, Group, Refuse, TensorOperand, load_as_compute
from .math import Math

PRIVATE_BYTES = 40 << 10  # of shared memory for the parts of a team


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `attention` accepts, of one token and on a GPU."""
    verdict = attention.accepts_caches(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if not target.gpu:
        return Refuse("a core has no team of warps")
    if upper_bound(group.root.inputs[0].type.shape[0]) != 1:
        return Refuse("more than one token")
    return verdict


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (1, Hq, D), keys and values: (Hkv, C, D), start: () i32, out: (1, Hq, D). Reads each key and value once."""
    return _Nest(group, target, name).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        self.math, self.lanes = Math(k), target.lanes
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        out = k.buffer("o0", "w")
        dims = Dims(k, group.symbols)
        q, keys, values, start = group.root.inputs
        self.q = TensorOperand(k, dims, buffers[q], q.type)
        self.out = TensorOperand(k, dims, out, group.outputs[0].type)
        self.keys, self.values = buffers[keys], buffers[values]
        self.key_dtype, self.value_dtype = keys.type.dtype, values.type.dtype
        heads, self.size = int(q.type.shape[1]), int(q.type.shape[2])  # type: ignore[arg-type]
        self.kv_heads, self.capacity = int(keys.type.shape[0]), int(keys.type.shape[1])  # type: ignore[arg-type]
        self.group_size = heads // self.kv_heads
        attrs = group.root.attrs
        self.scale = float(attrs["scale"])
        self.window = int(attrs.get("window", 0) or 0)
        layout = keys.type.layout
        assert isinstance(layout, KeyPanels)
        self.layout = layout
        self.run = layout.run  # elements of a key, and keys of a value's element, that lie together
        self.start = k.convert(TensorOperand(k, dims, buffers[start], start.type).load([]), "i64")
        self.record = 4 * (self.size + 2)  # of a part: its largest score, its sum of weights, its weighed values
        # One head to a block: heads of a group read the same keys, which the second-level cache then has.
        self.team, self.together = 32, 1
        while self.team > 1 and self.team * self.together * self.record > PRIVATE_BYTES:
            self.team //= 2
        self.parts = k.alloc(self.team * self.together * self.record)

    def build(self) -> Kernel:
        k = self.k
        end = k.minimum(self.start + 1, self.capacity)
        first = k.maximum(end - self.window, 0) if self.window else k.const(0, "i64")
        for head in k.parallel(self.kv_heads * self.group_size // self.together):
            for s in k.team(self.team):
                self._part(head, s, first, end)
            for s in k.team(self.team):
                for m in k.loop(s, self.together, self.team):
                    self._join(head, m)
        return k.finish()

    def at(self, s: Instruction | int, m: Instruction | int) -> Instruction | int:
        """Where part s keeps its record of query head m of the group."""
        return (s * self.together + m) * self.record

    def kv_head(self, head: Instruction) -> Instruction:
        """The head of keys and values that query heads `head` * together ... read."""
        return head * self.together // self.group_size

    def _part(self, head: Instruction, s: Instruction, first: Instruction, end: Instruction) -> None:
        """Panels of keys s, s + team, s + 2 team ... from the first that is seen."""
        k, lanes, group = self.k, self.lanes, range(self.together)
        vectors = range(0, self.size, lanes)
        best = [k.var(k.const(LOWEST, "f32")) for _ in group]
        total = [k.var(k.zeros("f32")) for _ in group]
        sums = [[k.var(k.zeros("f32", lanes)) for _ in vectors] for _ in group]
        for base in k.loop(first // lanes * lanes + s * lanes, end, lanes * self.team):
            number = k.splat(k.convert(base, "i32"), lanes) + self.layout.slot(k.iota("i32", lanes))
            seen = number < k.convert(end, "i32")
            if self.window:
                seen = seen & (number >= k.convert(first, "i32"))
            weights = []
            for m, score in enumerate(self._scores(head, base)):
                score = k.select(seen, score * self.scale, LOWEST)
                old = best[m].get()
                new = k.maximum(old, k.reduce_max(score))
                weight = k.select(seen, self.math.exp(score - k.splat(new, lanes)), 0.0)
                factor = self.math.exp(old - new)
                total[m].set(k.fma(total[m].get(), factor, k.reduce_add(weight)))
                for v in sums[m]:
                    v.set(v.get() * k.splat(factor, lanes))
                best[m].set(new)
                weights.append(weight)
            at = (self.kv_head(head) * self.capacity + base) * self.size
            self.held: dict[tuple[int, int], Instruction] = {}
            for t in range(lanes):
                for n, d in enumerate(vectors):
                    value = self._value(at, t, d)
                    for m in group:
                        weight = k.splat(k.extract(weights[m], self.layout.slot(t)), lanes)
                        sums[m][n].set(k.fma(value, weight, sums[m][n].get()))
        for m in group:
            place = self.at(s, m)
            k.store(self.parts, place, best[m].get())
            k.store(self.parts, place + 4, total[m].get())
            for n, d in enumerate(vectors):
                k.store(self.parts, place + (8 + 4 * d), sums[m][n].get())

    def _scores(self, head: Instruction, base: Instruction) -> list[Instruction]:
        """q . key for the keys of a panel, one key a lane, of every query head of the group."""
        k, lanes = self.k, self.lanes
        acc = [k.var(k.zeros("f32", lanes)) for _ in range(self.together)]
        at = (self.kv_head(head) * self.capacity + base) * self.size
        unroll, run, nbytes = 8, self.run, self.key_dtype.nbytes
        for d in k.loop(0, self.size, unroll):
            held: dict[int, Instruction] = {}
            for e in range(unroll):
                if e % run == 0:
                    place = (at + (d + e) * lanes) * nbytes
                    held[e] = load_as_compute(k, self.keys, place, self.key_dtype, lanes * run)
                key = one_of(k, held[e // run * run], e % run, run)
                for m, sum_ in enumerate(acc):
                    q = self.q.load([0, head * self.together + m, d + e])
                    sum_.set(k.fma(key, k.splat(q, lanes), sum_.get()))
        return [a.get() for a in acc]

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

    def _join(self, head: Instruction, m: Instruction) -> None:
        """The parts' values, weighed by how far each part's largest score lies below the largest of all."""
        k, lanes = self.k, self.lanes
        best = [k.load(self.parts, self.at(s, m), "f32") for s in range(self.team)]
        top = best[0]
        for b in best[1:]:
            top = k.maximum(top, b)
        factors = [self.math.exp(b - top) for b in best]
        total = k.zeros("f32")
        for s, f in enumerate(factors):
            total = k.fma(k.load(self.parts, self.at(s, m) + 4, "f32"), f, total)
        inverse = k.splat(1.0 / total, lanes)
        for d in range(0, self.size, lanes):
            value = k.zeros("f32", lanes)
            for s, f in enumerate(factors):
                part = k.load(self.parts, self.at(s, m) + (8 + 4 * d), "f32", lanes)
                value = k.fma(part, k.splat(f, lanes), value)
            self.out.store([0, head * self.together + m, d], value * inverse)


def one_of(k: KernelBuilder, runs: Instruction, n: int, run: int) -> Instruction:
    """Element n of every run of a vector of runs."""
    return runs if run == 1 else k.shuffle(runs, runs, range(n, runs.lanes, run))
