"""Runs a kernel as the threads of a GPU do: warps of 32 threads in lock-step, private memory shared by a block,
barriers and shuffles. For tests: it gives `warp.for_threads` its meaning on a machine without a GPU.

A value is an array of shape (32, elements of a thread). Buffers are byte arrays; every access is checked against the
buffer's end and against the alignment that the kernel claims.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import arithmetic
from .arithmetic import DTYPES, UNSIGNED, bits_of
from .ir import Block, Instruction, Kernel
from .warp import WARP, for_threads, team_size

Array = npt.NDArray[Any]
_GOES_ON = -1  # what a warp yields where others may run before it does
_CONTROL = frozenset({
    "arrive", "await", "commit_copies", "if", "index", "loop", "parallel", "prefetch", "ready", "together",
    "wait_copies", "wait_mma",
})  # fmt: skip
POISON = 0xA5  # what private memory holds before it is written


class LockstepError(Exception):
    """A thread broke a rule: an access outside of a buffer, a wrong alignment, threads that part at a branch."""


def run_lockstep(kernel: Kernel, arrays: Sequence[Array], blocks: int = 2, warps: int = 2) -> None:
    """Run a kernel once on `arrays`, one for each parameter, with `blocks` of `warps` warps (of its team, if it has
    one). Raises LockstepError.
    """
    threads, team = for_threads(kernel), team_size(kernel)
    memory = {id(b): a.reshape(-1).view(np.uint8) for b, a in zip(kernel.buffers, arrays, strict=True)}
    each = team or warps
    workers = blocks if team else blocks * warps
    with np.errstate(all="ignore"):
        for block in range(blocks):
            shared: dict[int, Array] = {}
            together = [
                _Warp(memory, shared if team else {}, w, block if team else block * warps + w, workers)
                for w in range(each)
            ]
            _run_together(kernel.name, threads.body, together)


def _run_together(name: str, body: Block, warps: Sequence[_Warp]) -> None:
    """Run the warps of a block in an order of chance, each up to where it comes to a barrier or waits there."""
    running = {n: w.run(body) for n, w in enumerate(warps)}
    waits: dict[int, int | None] = {}
    chance = random.Random(0)
    while running:
        free = [n for n in running if n not in waits or all(w.came(waits[n]) >= warps[n].came(waits[n]) for w in warps)]
        if not free:
            raise LockstepError(f"kernel {name}: a warp ended while others wait at a barrier, or all wait")
        n = chance.choice(free)
        waits.pop(n, None)
        try:
            step = next(running[n])
        except StopIteration:
            del running[n]
            if warps[n].copies or any(warps[n].groups) or warps[n].products:
                raise LockstepError(f"kernel {name} ends while copies or products are under way") from None
        else:
            if step != _GOES_ON:
                waits[n] = step


@dataclass
class _Product:
    """One of `warpgroup_mma` under way: what it adds to which sums, and the tiles that it read."""

    sums: list[int]
    parts: list[Array]
    fresh: bool
    tiles: Callable[[], tuple[Array, Array]]
    read: tuple[Array, Array]


class _Warp:
    def __init__(self, memory: dict[int, Array], private: dict[int, Array], warp: int, worker: int, workers: int):
        self.memory, self.private = memory, private
        self.values: dict[int, Array] = {}
        self.fixed = {"warp": (warp, "i32"), "worker": (worker, "i64"), "workers": (workers, "i64")}
        self.active = np.ones(WARP, np.bool_)
        self.arrived: dict[int | None, int] = {}
        self.awaited: dict[int, int] = {}
        self.copies: list[tuple[Array, Array, Array]] = []  # bytes on their way: where to, and what
        self.groups: list[list[tuple[Array, Array, Array]]] = []
        self.products: list[_Product] = []
        self.before: dict[int, Array] = {}  # sums of products under way, without them

    def came(self, barrier: int | None) -> int:
        """How often this warp came to a barrier: that of the block is None."""
        return self.arrived.get(barrier, 0)

    def run(self, block: Block) -> Iterator[int | None]:
        """Execute, stopping where other warps must have come to a barrier."""
        for i in block:
            if i.op not in _CONTROL:
                self.values[id(i)] = self._evaluate(i)
            elif i.op == "together":
                if i.attrs.get("block"):
                    self.arrived[None] = self.came(None) + 1
                    yield None
            elif i.op == "arrive":
                if self.came(id(i.args[0])) != self.awaited.get(id(i.args[0]), 0):
                    raise LockstepError("a warp comes to a barrier again before it waited there")
                self.arrived[id(i.args[0])] = self.came(id(i.args[0])) + 1
                yield _GOES_ON
            elif i.op == "await":
                self.awaited[id(i.args[0])] = self.awaited.get(id(i.args[0]), 0) + 1
                yield id(i.args[0])
            elif i.op == "commit_copies":
                self.groups.append(self.copies)
                self.copies = []
            elif i.op == "wait_copies":
                while len(self.groups) > i.attrs["left"]:
                    for data, where, bytes_ in self.groups.pop(0):
                        data[where] = bytes_
            elif i.op == "wait_mma":
                while len(self.products) > i.attrs["left"]:
                    self._finish_product()
            elif i.op in ("loop", "parallel"):
                yield from self._counted(i)
            elif i.op == "if":
                yield from self._if(i)

    def _counted(self, i: Instruction) -> Iterator[int | None]:
        bounds = [self._uniform(a) for a in i.args]
        if i.op == "parallel":
            (count,), (w, _), (n, _) = bounds, self.fixed["worker"], self.fixed["workers"]
            numbers = range(count * w // n, count * (w + 1) // n)
        else:
            numbers = range(bounds[0], bounds[1], i.attrs["step"])
        index, *body = i.blocks[0]
        for number in numbers:
            self.values[id(index)] = np.full((WARP, 1), number, np.int64)
            yield from self.run(body)

    def _if(self, i: Instruction) -> Iterator[int | None]:
        flags = self.get(i.args[0])[:, 0]
        if flags.all() or not flags.any():
            yield from self.run(i.blocks[0] if flags[0] else i.blocks[1])
            return
        if i.blocks[1] or any(x.op not in ("store", "scatter") for x in i.blocks[0]):
            raise LockstepError("threads of a warp part at an `if` that does more than store")
        self.active = flags
        yield from self.run(i.blocks[0])
        self.active = np.ones(WARP, np.bool_)

    def get(self, i: Instruction) -> Array:
        found = self.values.get(id(i))
        if found is None:
            assert i.op == "const"
            found = self.values[id(i)] = np.full((WARP, i.lanes), i.value, DTYPES[i.elem])
            found.flags.writeable = False
        return found

    def _uniform(self, i: Instruction) -> int:
        value = self.get(i)
        if (value != value[0, 0]).any():
            raise LockstepError("a loop's bound differs between the threads of a warp")
        return int(value[0, 0])

    def _evaluate(self, i: Instruction) -> Array:
        handler = _HANDLERS.get(i.op)
        if handler is not None:
            return handler(self, i)
        return self._plain(i, *map(self.get, i.args))

    # --- threads ----------------------------------------------------------------------------------------------------
    def op_thread(self, i: Instruction) -> Array:
        return np.arange(WARP, dtype=np.int32)[:, None]

    def _fixed(self, i: Instruction) -> Array:
        value, elem = self.fixed[i.op]
        return np.full((WARP, 1), value, DTYPES[elem])

    op_warp = op_worker = op_workers = _fixed

    def op_from_thread(self, i: Instruction) -> Array:
        return self.get(i.args[0])[self.get(i.args[1])[:, 0] & (WARP - 1)]

    def op_from_other(self, i: Instruction) -> Array:
        return self.get(i.args[0])[np.arange(WARP) ^ i.attrs["mask"]]

    def op_across(self, i: Instruction) -> Array:
        combine = {"add": np.add, "max": np.maximum, "min": np.minimum}[i.attrs["kind"]]
        whole = combine.reduce(self.get(i.args[0]), axis=0, keepdims=True, dtype=np.int32)
        return np.broadcast_to(whole, (WARP, 1))

    def op_pack(self, i: Instruction) -> Array:
        return np.concatenate([self.get(a) for a in i.args], axis=1)

    # --- memory -----------------------------------------------------------------------------------------------------
    def op_alloc(self, i: Instruction) -> Array:
        if id(i) not in self.private:
            self.private[id(i)] = np.full(i.attrs["nbytes"], POISON, np.uint8)
        return np.zeros((WARP, 1), np.int64)

    def _places(
        self, buffer: Instruction, offset: Array, nbytes: int, used: Array | None, align: int
    ) -> tuple[Array, Array]:
        """The bytes of a buffer, and for every thread the numbers of those that it takes, all of which are `used` where
        that is None."""
        data = self.private[id(buffer)] if buffer.op == "alloc" else self.memory[id(buffer)]
        where = offset[:, :1] + np.arange(nbytes)
        taken = where if used is None else where[used]
        if taken.size and (taken.min() < 0 or taken.max() >= data.size):
            raise LockstepError(f"an access of bytes {taken.min()} .. {taken.max()} of a buffer of {data.size}")
        if align > 1 and ((offset if used is None else offset[used.any(axis=1)]) % align).any():
            raise LockstepError(f"an access that claims to be aligned to {align} bytes is not")
        return data, where

    def op_load(self, i: Instruction) -> Array:
        size = DTYPES[i.elem].itemsize
        if len(i.args) == 2:
            data, where = self._places(i.args[0], self.get(i.args[1]), i.lanes * size, None, i.attrs["align"])
            return np.asarray(data[where].view(DTYPES[i.elem]))
        used = np.repeat(self.get(i.args[2]), size, axis=1)
        data, where = self._places(i.args[0], self.get(i.args[1]), i.lanes * size, used, i.attrs["align"])
        raw = np.where(used, data[np.where(used, where, 0)], 0) if data.size else np.zeros(where.shape)
        return np.ascontiguousarray(raw, np.uint8).view(DTYPES[i.elem])

    def op_gather(self, i: Instruction) -> Array:
        offsets = self.get(i.args[1]) + self.get(i.args[2])
        size = DTYPES[i.elem].itemsize * (i.lanes // offsets.shape[1])
        parts = []
        for n in range(offsets.shape[1]):
            used = np.ones((WARP, size), np.bool_)
            data, where = self._places(i.args[0], offsets[:, n : n + 1], size, used, i.attrs["align"])
            parts.append(np.ascontiguousarray(data[where]).view(DTYPES[i.elem]))
        return np.concatenate(parts, axis=1)

    def op_scatter(self, i: Instruction) -> Array:
        value = np.ascontiguousarray(self.get(i.args[3]))
        offsets = self.get(i.args[1]) + self.get(i.args[2])
        runs = value.view(np.uint8).reshape(WARP, offsets.shape[1], -1)
        used = np.broadcast_to(self.active[:, None], (WARP, runs.shape[2]))
        for n in range(offsets.shape[1]):
            data, where = self._places(i.args[0], offsets[:, n : n + 1], runs.shape[2], used, i.attrs["align"])
            data[where[used]] = runs[:, n][used]
        return value

    def op_copy_async(self, i: Instruction) -> Array:
        private, to, lanes, buffer, source, source_lanes, *count = i.args
        whole = np.ones((WARP, 16), np.bool_)
        used = np.broadcast_to(np.arange(16) < (self.get(count[0]) if count else 16), whole.shape)
        data, where = self._places(buffer, self.get(source) + self.get(source_lanes), 16, used, 16)
        target, place = self._places(private, self.get(to) + self.get(lanes), 16, whole, 16)
        target[place] = POISON
        self.copies.append((target, place, np.where(used, data[np.where(used, where, 0)], 0).astype(np.uint8)))
        return place

    def op_warpgroup_mma(self, i: Instruction) -> Array:
        """Each warp takes its 16 rows of A. The tiles are read here, so that a missing barrier shows, and once more
        when the product is done; until then its sums are NaN.
        """
        private, b, *rest = i.args
        steps, *strides = i.attrs["shape"]
        data, kind = self.private[id(private)], i.attrs["kind"]
        sums = [v for v in rest if v.op == "var"]
        values, b_at = [self.get(a) for a in rest[: len(rest) - len(sums)]], self._uniform(b)
        turned_a, turned_b = i.attrs["turned"]
        a_at = 0 if len(strides) == 2 else int(values[0][0, 0])
        first = 16 * int(self.fixed["warp"][0] % 4)

        def tiles() -> tuple[Array, Array]:
            y = _core_matrices(data, b_at, range(8 * len(sums)), 16 * steps, strides[-2:], kind, turned_b)
            if len(strides) == 2:
                return np.concatenate([_rows_of_a(v, kind) for v in values], axis=1), y
            return _core_matrices(data, a_at, range(first, first + 16), 16 * steps, strides[:2], kind, turned_a), y

        x, y = tiles()
        product = x @ y.T
        t = np.arange(WARP)[:, None]
        rows, columns = t // 4 + np.array([0, 0, 8, 8]), 2 * (t % 4) + np.array([0, 1, 0, 1])
        parts = [product[rows, 8 * j + columns] for j in range(len(sums))]
        self.products.append(_Product([id(v) for v in sums], parts, i.attrs["fresh"], tiles, (x, y)))
        for v in sums:
            if id(v) not in self.before:
                self.before[id(v)] = self.values[id(v)]
            self.values[id(v)] = np.full((WARP, 4), np.nan, np.float32)
        return x

    def _finish_product(self) -> None:
        """The oldest product is done: its sums are there, unless a later one adds to them."""
        done = self.products.pop(0)
        for found, read in zip(done.tiles(), done.read, strict=True):
            if not np.array_equal(found, read, equal_nan=True):
                raise LockstepError("a tile changed while a product read it")
        later = {v for p in self.products for v in p.sums}
        for v, part in zip(done.sums, done.parts, strict=True):
            self.before[v] = (part if done.fresh else self.before[v] + part).astype(np.float32)
            if v not in later:
                self.values[v] = self.before.pop(v)

    def op_permute_bytes(self, i: Instruction) -> Array:
        words = np.broadcast_arrays(*map(self.get, i.args))
        both = np.concatenate([np.ascontiguousarray(w)[..., None].view(np.uint8) for w in words], axis=-1)
        chosen = both[..., [i.attrs["selector"] >> 4 * n & 7 for n in range(4)]]
        return np.ascontiguousarray(chosen).view(np.int32)[..., 0]

    def op_exp2(self, i: Instruction) -> Array:
        return _flushed(np.exp2(self.get(i.args[0])))

    def op_rcp(self, i: Instruction) -> Array:
        return _flushed(np.float32(1.0) / _flushed(self.get(i.args[0])))

    def op_maxnum(self, i: Instruction) -> Array:
        return np.fmax(*map(self.get, i.args))

    def op_pack_pair(self, i: Instruction) -> Array:
        bits = _bf16_bits if i.attrs["kind"] == "bf16" else _f16_bits
        low, high = (bits(self.get(a)) for a in i.args)
        return (low | high << np.uint32(16)).view(np.int32)

    def op_fma_pair(self, i: Instruction) -> Array:
        a, b, c = (np.ascontiguousarray(self.get(x)).view(np.uint16).astype(np.uint32) << 16 for x in i.args)
        x, y, z = (v.view(np.float32).astype(np.float64) for v in (a, b, c))
        pairs = _odd_f32(x * y + z)
        return _bf16_bits(pairs).astype(np.uint16).view(np.int32)

    def op_mma(self, i: Instruction) -> Array:
        acc, a, b = (np.ascontiguousarray(self.get(x)).reshape(-1) for x in i.args)
        return arithmetic.mma(acc, a, b, i.attrs["kind"]).reshape(WARP, -1)

    def op_store(self, i: Instruction) -> Array:
        value = self.get(i.args[2])
        size = value.dtype.itemsize
        used = np.repeat(self.get(i.args[3]), size, axis=1) if len(i.args) == 4 else np.ones((WARP, 1), np.bool_)
        used = np.broadcast_to(used & self.active[:, None], (WARP, value.shape[1] * size))
        data, where = self._places(i.args[0], self.get(i.args[1]), used.shape[1], used, i.attrs["align"])
        data[where[used]] = np.ascontiguousarray(value).view(np.uint8)[used]
        return value

    def op_var(self, i: Instruction) -> Array:
        return self.get(i.args[0])

    def op_get(self, i: Instruction) -> Array:
        return self.values[id(i.args[0])]

    def op_set(self, i: Instruction) -> Array:
        self.values[id(i.args[0])] = self.get(i.args[1])
        return self.get(i.args[1])

    # --- arithmetic -------------------------------------------------------------------------------------------------
    def op_iota(self, i: Instruction) -> Array:
        return np.tile(np.arange(i.lanes, dtype=DTYPES[i.elem]), (WARP, 1))

    def op_splat(self, i: Instruction) -> Array:
        return np.repeat(self.get(i.args[0]), i.lanes, axis=1)

    def op_extract(self, i: Instruction) -> Array:
        return self.get(i.args[0])[:, i.attrs["lane"] : i.attrs["lane"] + 1]

    def op_shuffle(self, i: Instruction) -> Array:
        both = np.concatenate([self.get(a) for a in i.args], axis=1)
        return both[:, list(i.attrs["lanes"])]

    def op_reduce(self, i: Instruction) -> Array:
        rows = [arithmetic.reduce_lanes(row, i.attrs["kind"]) for row in self.get(i.args[0])]
        return np.array(rows, DTYPES[i.elem])[:, None]

    def op_table(self, i: Instruction) -> Array:
        return np.array(i.attrs["values"], np.int8)[self.get(i.args[0]).view(np.uint8) & 15]

    def op_dot4(self, i: Instruction) -> Array:
        acc, a, b = map(self.get, i.args)
        return arithmetic.dot4(acc.reshape(-1), a.reshape(-1), b.reshape(-1)).reshape(acc.shape)

    def op_dot2(self, i: Instruction) -> Array:
        acc, a, b = map(self.get, i.args)
        return arithmetic.dot2(acc.reshape(-1), a.reshape(-1), b.reshape(-1)).reshape(acc.shape)

    def op_bitcast(self, i: Instruction) -> Array:
        return np.ascontiguousarray(self.get(i.args[0])).view(DTYPES[i.elem])

    def op_fma(self, i: Instruction) -> Array:
        a, b, c = (np.ascontiguousarray(self.get(x)).reshape(-1) for x in i.args)
        result: Array = getattr(arithmetic, f"fma{i.elem[1:]}_lanes")(a, b, c)
        return (np.where(np.isnan(result), _NAN, result) if i.elem == "f32" else result).reshape(WARP, -1)

    def _plain(self, i: Instruction, a: Array, *rest: Array) -> Array:
        op, t, source = i.op, i.type, i.args[0].type
        assert t is not None
        assert source is not None
        b = rest[-1] if rest else a
        if op in ("div", "rem") and not t.is_float:
            quotient = np.where(b == 0, 0, (a - np.fmod(a, np.where(b == 0, 1, b))) // np.where(b == 0, 1, b))
            return (quotient if op == "div" else a - b * quotient).astype(a.dtype)  # of idle lanes: anything
        if op in ("min", "max") and t.is_float:
            return np.where(a < b if op == "min" else a > b, a, b)
        if op in _BINARY:
            return np.asarray(_BINARY[op](a, b))
        if op == "ult":
            return np.asarray(a.view(UNSIGNED[source.elem]) < b.view(UNSIGNED[source.elem]))
        if op in ("shl", "ashr"):
            return np.asarray(a << b if op == "shl" else a >> b)
        if op == "lshr":
            u = UNSIGNED[source.elem]
            return (a.view(u) >> b.view(u)).view(a.dtype)
        if op == "select":
            return np.where(a, rest[0], rest[1])
        if op in ("sqrt", "floor", "ceil", "rint", "fabs"):
            return np.asarray(getattr(np, op)(a))
        if op == "neg":
            return -a
        if op == "trunc" and t.elem == "i1":
            return np.asarray((a & 1) != 0)
        if op == "fptosi":
            return arithmetic.float_to_int_lanes(a, t.elem)
        if source.elem == "i1" and op in ("sext", "sitofp"):
            return (-a.astype(np.int8)).astype(DTYPES[t.elem])
        if op in ("zext", "uitofp") and source.elem != "i1":
            a = np.ascontiguousarray(a).view(UNSIGNED[source.elem])
        assert op in ("sext", "zext", "sitofp", "uitofp", "trunc", "fpcast"), op
        assert bits_of(source.elem) if not source.is_float else True
        return a.astype(DTYPES[t.elem])


def _core_matrices(
    data: Array, at: int, rows: range, columns: int, strides: Sequence[int], kind: str, turned: bool
) -> Array:
    """Elements (rows, columns) that lie in core matrices, `strides` apart, or in lines of 64 rows, as float64."""
    r, c = np.array(rows)[:, None], np.arange(columns)
    if turned:
        where = at + r // 64 * strides[0] + c // 8 * strides[1] + c % 8 * 128 + r % 64 * 2
        where ^= where >> 3 & 112
    elif tuple(strides) == (16, 1024):
        where = at + r * 128 + c * 2
        where ^= (where >> 7 & 7) << 4
    else:
        where = at + c // 8 * strides[0] + r // 8 * strides[1] + r % 8 * 16 + c % 8 * 2
    if at < 0 or where.max() + 2 > data.size:
        raise LockstepError(f"a tile at {at} reaches past private memory of {data.size} bytes")
    return _halves((data[where] | data[where + 1].astype(np.uint16) << 8).astype(np.uint16), kind)


def _halves(bits: Array, kind: str) -> Array:
    """16 bits each of bf16 or f16 as float64."""
    if kind == "f16":
        return bits.view(np.float16).astype(np.float64)
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _rows_of_a(value: Array, kind: str) -> Array:
    """Operand a of `mma`, 8 elements of each thread, as rows (16, 16)."""
    rows = np.empty((16, 16), np.float64)
    t = np.arange(WARP)[:, None]
    row = t // 4 + np.array([0, 0, 8, 8, 0, 0, 8, 8])
    column = 2 * (t % 4) + np.array([0, 1, 0, 1, 8, 9, 8, 9])
    rows[row, column] = _halves(np.ascontiguousarray(value).view(np.uint16).reshape(WARP, 8), kind)
    return rows


_NAN = np.uint32(0x7FFFFFFF).view(np.float32)  # the one that a GPU gives: arithmetic on its bits tells it from others


def _flushed(a: Array) -> Array:
    """f32 values with denormals as 0."""
    kept = np.where(np.abs(a) < np.float32(2.0**-126), np.copysign(np.float32(0), a), a)
    return np.where(np.isnan(a), _NAN, kept)


def _bf16_bits(a: Array) -> Array:
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))
    return np.where(np.isnan(a), np.uint32(0x7FFF), rounded >> 16).astype(np.uint32)


def _odd_f32(exact: Array) -> Array:
    """f64 as f32 towards zero, the last bit set where something is lost: rounding that again rounds once."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = exact.astype(np.float32)
        near = np.where(np.abs(near.astype(np.float64)) > np.abs(exact), np.nextafter(near, np.float32(0)), near)
        lost = near.astype(np.float64) != exact
    return (near.view(np.uint32) | (lost & ~np.isnan(exact)).astype(np.uint32)).view(np.float32)


def _f16_bits(a: Array) -> Array:
    return a.astype(np.float16).view(np.uint16).astype(np.uint32)


_HANDLERS: dict[str, Callable[[_Warp, Instruction], Array]] = {
    name.removeprefix("op_"): made for name, made in vars(_Warp).items() if name.startswith("op_")
}

_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum,
    "minimum": np.minimum, "maximum": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
}  # fmt: skip
