"""Schedules of `count_flags` and `partition`: a worker has a chunk of flags, and adds up the counts of those before it.
The threads of a warp know how many of a vector hold before theirs by exchanging sums (Hillis and Steele, Data parallel
algorithms, 1986)."""

from __future__ import annotations

from typing import Any

from ..ir.types import numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse

ROOTS = ("count_flags", "partition")


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name not in ("count_flags", "partition") or len(group.nodes) != 1:
        return Refuse("not a count_flags or partition by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., N) bool. Reads x once, `partition` the counts of a row for each chunk, and writes the result once."""
    return _Flags(group, target, name).build()


class _Flags:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        self.flags, *counts = (buffers[v] for v in group.root.inputs)
        self.counts = counts[0] if counts else None
        type = group.root.inputs[0].type
        self.size, self.chunk = int(type.shape[-1]), group.root.attrs["chunk"]  # type: ignore[arg-type]
        self.chunks = -(-self.size // self.chunk)
        self.rows = Dims(k, group.symbols)(numel(type.shape[:-1]))
        self.lanes, self.gpu = target.lanes, target.gpu

    def build(self) -> Kernel:
        k = self.k
        for item in k.parallel(self.rows * self.chunks):
            row, chunk = item // self.chunks, item % self.chunks
            lo = chunk * self.chunk
            hi = k.minimum(lo + self.chunk, self.size)
            if self.counts is None:
                held = self._total(lambda at, m, row=row: self._held(row, at, self.lanes, m), lo, hi)
                k.store(self.out, item * 8, k.convert(held, "i64"))
            else:
                self._places(row, chunk, lo, hi)
        return k.finish()

    def _held(self, row: Instruction, at: Instruction, lanes: int = 1, mask: Instruction | None = None) -> Instruction:
        """Flags of a row as 0 or 1, i32."""
        k = self.k
        raw = k.load(self.flags, row * self.size + at, "i8", lanes, mask)
        return k.convert(k.binary("ne", raw, 0), "i32", signed=False)

    def _total(self, load: Any, lo: Instruction, hi: Instruction) -> Instruction:
        """The sum of i32 vectors from lo to hi; load(at, mask)."""
        k, lanes = self.k, self.lanes
        total = k.var(k.zeros("i32", lanes))
        for at in k.loop(lo, hi, lanes):
            there = k.first_lanes(hi - at, lanes)
            total.set(total.get() + load(at, there))
        return k.reduce_add(total.get())

    def _places(self, row: Instruction, chunk: Instruction, lo: Instruction, hi: Instruction) -> None:
        k, lanes = self.k, self.lanes
        counts = self.counts
        assert counts is not None
        first = row * self.chunks

        def count(at: Instruction, mask: Instruction) -> Instruction:
            return k.convert(k.load(counts, (first + at) * 8, "i64", lanes, mask), "i32")

        before = self._total(count, k.const(0, "i64"), chunk)
        total = before + self._total(count, chunk, k.const(self.chunks, "i64"))
        holding = k.var(before)
        base = row * (self.size * 8)
        whole = (hi - lo) // lanes * lanes + lo if self.gpu else lo
        if self.gpu:
            lane = k.iota("i32", lanes)
            for at in k.loop(lo, whole, lanes):
                held = sums = self._held(row, at, lanes)
                mine = k.zeros("i32", lanes)
                distance = 1
                while distance < lanes:
                    other = k.shuffle(sums, sums, [n ^ distance for n in range(lanes)])
                    mine = mine + k.select(k.binary("ne", lane & distance, 0), other, 0)
                    sums, distance = sums + other, 2 * distance
                number = k.convert(at, "i32") + lane
                ahead = holding.get() + mine
                place = self._inside(k.select(k.binary("ne", held, 0), ahead, total + (number - ahead)))
                k.scatter(self.out, base, place * 8, k.convert(number, "i64"))
                holding.set(holding.get() + k.extract(sums, 0))
        for at in k.loop(whole, hi):
            held = self._held(row, at)
            ahead = holding.get()
            place = k.select(k.binary("ne", held, 0), ahead, total + (k.convert(at, "i32") - ahead))
            k.store(self.out, base + k.convert(self._inside(place), "i64") * 8, at)
            holding.set(ahead + held)

    def _inside(self, place: Instruction) -> Instruction:
        """Counts of other rows lead nowhere else."""
        return self.k.select(self.k.ult(place, self.size), place, 0)
