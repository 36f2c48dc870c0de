"""Tiles of queries, one to a lane: the loops that attention in rows and its gradient share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..targets.target import Target
from .group import vectors
from .row_view import Rows
from .transpose import transposed

LINE = 64  # bytes
AHEAD = 12  # rows
KEYS = 6  # keys, and elements of values, that are multiplied together: with 4 vectors of queries 24 sums


def most_vectors(target: Target) -> int:
    """Vectors of queries whose sums with KEYS keys the registers hold."""
    return 4 if target.vector_registers >= 32 else 2


class QueryLanes:
    """Tiles of queries, one to a lane: what attention and its gradient share. Private memory is in rows of `vectors`
    vectors, a value for each query."""

    def __init__(self, k: KernelBuilder, target: Target, vectors: int) -> None:
        self.k, self.count, self.lanes = k, vectors, target.lanes
        self.row = vectors * target.lanes * 4  # bytes of a value for each query
        self.tall = vectors * target.lanes

    def places(self, n: Instruction | int = 0) -> list[Instruction | int]:
        """Byte offsets of the vectors of row `n`."""
        return [n * self.row + s * self.lanes * 4 for s in range(self.count)]

    def turn(
        self, buffer: Instruction, rows: Rows, first: Instruction, to: Instruction, scale: float,
        copy: Instruction | None = None,
    ) -> None:  # fmt: skip
        """Rows from `first` on, scaled: a row of vectors for each of their elements. The last is repeated. `copy`:
        where they go as they are, one behind the other."""
        k, lanes = self.k, self.lanes
        for s in k.loop(self.count):
            lines = [rows.offset(k.minimum(first + s * lanes + r, rows.count - 1)) for r in range(lanes)]
            for d, mask in vectors(k, k.const(0, "i64"), k.const(rows.size, "i64"), lanes):
                square = [k.load(buffer, at + d * 4, "f32", lanes, mask) for at in lines]
                for r, row in enumerate(square if copy is not None else ()):
                    assert copy is not None
                    k.store(copy, (s * lanes + r) * (rows.size * 4) + d * 4, row, mask)
                for n, column in enumerate(transposed(k, square)):
                    k.store(to, (d + n) * self.row + s * (lanes * 4), column * scale)

    def turn_back(
        self, source: Instruction, buffer: Instruction, rows: Rows, first: Instruction, factors: Instruction | float
    ) -> None:
        """The reverse, times a number or what lies in `factors` for each query; rows past the last are dropped."""
        k, lanes = self.k, self.lanes
        for s in k.loop(self.count):
            column = s * (lanes * 4)
            factor = factors if isinstance(factors, float) else k.load(factors, column, "f32", lanes)
            for d, mask in vectors(k, k.const(0, "i64"), k.const(rows.size, "i64"), lanes):
                square = [k.load(source, (d + n) * self.row + column, "f32", lanes) * factor for n in range(lanes)]
                for n, row in enumerate(transposed(k, square)):
                    query = first + s * lanes + n
                    for _ in k.when(query < rows.count):
                        k.store(buffer, rows.offset(query) + d * 4, row, mask)

    def score(
        self, buffer: Instruction, rows: Rows, base: Instruction, count: Instruction, turned: Instruction,
        to: Instruction, asked: Sequence[tuple[Instruction, Rows]] = (),
    ) -> None:  # fmt: skip
        """Products of `count` rows from `base` on with every query. A last tile that is not full takes the last row
        again, which nothing reads. `asked`: buffers and rows of which those some tiles ahead are asked for where they
        lie apart: a core sees no stream in pieces of rows."""
        k, lanes = self.k, self.lanes
        for key in k.loop(0, count, KEYS):
            for other, apart in asked:
                for j in range(KEYS if apart.stride != apart.size * 4 else 0):
                    for place in range(0, apart.size * 4, LINE):
                        k.prefetch(other, apart.offset(base + key + (j + AHEAD)) + place)
            lines = [rows.offset(k.minimum(base + key + j, rows.count - 1)) for j in range(KEYS)]
            acc = [[k.var(k.zeros("f32", lanes)) for _ in range(self.count)] for _ in lines]
            for e in k.loop(rows.size):
                queries = [k.load(turned, at, "f32", lanes) for at in self.places(e)]
                for line, start in zip(acc, lines, strict=True):
                    x = k.splat(k.load(buffer, start + e * 4, "f32"), lanes)
                    for q, var in zip(queries, line, strict=True):
                        var.set(k.fma(x, q, var.get()))
            for j, line in enumerate(acc):
                for at, var in zip(self.places(key + j), line, strict=True):
                    k.store(to, at, var.get())

    def hide(self, scores: Instruction, ahead: Instruction, count: Instruction, begin: Instruction | int = 0) -> None:
        """Of `count` rows of scores from `begin` on, those behind their query become -inf. The first row's key is so
        many `ahead` of the first query."""
        k, lanes = self.k, self.lanes
        for key in k.loop(count):
            behind = k.splat(k.convert(ahead + key, "i32"), lanes) - k.iota("i32", lanes)
            for s, at in enumerate(self.places(begin + key)):
                score = k.load(scores, at, "f32", lanes)
                k.store(scores, at, k.select(behind <= s * lanes, score, -math.inf))

    def mix(
        self, buffer: Instruction, rows: Rows, base: Instruction, count: Instruction, weights: Instruction,
        sums: Instruction, factors: Instruction,
    ) -> None:  # fmt: skip
        """sums = sums * factors + the weighted sum of `count` rows from `base` on, for every query."""
        k = self.k
        whole = rows.size // KEYS * KEYS
        given = buffer, rows, base, count, weights, sums, factors
        for d in k.loop(0, whole, KEYS):
            self._mix_elements(*given, d, KEYS)
        if whole < rows.size:
            self._mix_elements(*given, k.const(whole, "i64"), rows.size - whole)

    def _mix_elements(
        self, buffer: Instruction, rows: Rows, base: Instruction, count: Instruction, weights: Instruction,
        sums: Instruction, factors: Instruction, d: Instruction, many: int,
    ) -> None:  # fmt: skip
        k, lanes = self.k, self.lanes
        scales = [k.load(factors, at, "f32", lanes) for at in self.places()]
        acc = [
            [
                k.var(k.load(sums, at, "f32", lanes) * scale)
                for at, scale in zip(self.places(d + j), scales, strict=True)
            ]
            for j in range(many)
        ]
        start = rows.offset(base) + d * 4
        for key in k.loop(count):
            held = [k.load(weights, at, "f32", lanes) for at in self.places(key)]
            for j, line in enumerate(acc):
                x = k.splat(k.load(buffer, start + (key * rows.stride + j * 4), "f32"), lanes)
                for weight, var in zip(held, line, strict=True):
                    var.set(k.fma(x, weight, var.get()))
        for j, line in enumerate(acc):
            for at, var in zip(self.places(d + j), line, strict=True):
                k.store(sums, at, var.get())

    def clear(self, memory: Instruction, rows: int) -> None:
        """Zeros in so many rows."""
        k = self.k
        for n in k.loop(rows):
            for at in self.places(n):
                k.store(memory, at, k.zeros("f32", self.lanes))


def whole_lanes(count: int, target: Target) -> int:
    """A count rounded up to whole vectors."""
    return -(-count // target.lanes) * target.lanes
