"""Runs a kernel as the threads of a GPU do: warps of 32 threads in lock-step, private memory shared by a block,
barriers and shuffles. For tests: it gives `warp.for_threads` its meaning on a machine without a GPU.

A value is an array of shape (32, elements of a thread). Buffers are byte arrays; every access is checked against the
buffer's end and against the alignment that the kernel claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import arithmetic
from .arithmetic import DTYPES, UNSIGNED, bits_of
from .ir import Block, Instruction, Kernel
from .warp import WARP, for_threads, team_size

Array = npt.NDArray[Any]
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
            running, together = [], []
            for w in range(each):
                worker = block if team else block * warps + w
                warp = _Warp(memory, shared if team else {}, w, worker, workers)
                running.append(warp.run(threads.body))
                together.append(warp)
            while running:  # each warp up to its next barrier; all must meet the same ones
                reached = [next(r, None) for r in running]
                if any(w.copies or any(w.groups) for w in together) and None in reached:
                    raise LockstepError(f"kernel {kernel.name} ends while copies are under way")
                if None in reached and set(reached) != {None}:
                    raise LockstepError(f"kernel {kernel.name}: a warp ended while others wait at a barrier")
                if None in reached:
                    break


class _Warp:
    def __init__(self, memory: dict[int, Array], private: dict[int, Array], warp: int, worker: int, workers: int):
        self.memory, self.private = memory, private
        self.values: dict[int, Array] = {}
        self.fixed = {"warp": (warp, "i32"), "worker": (worker, "i64"), "workers": (workers, "i64")}
        self.active = np.ones(WARP, np.bool_)
        self.copies: list[tuple[Array, Array, Array]] = []  # bytes on their way: where to, and what
        self.groups: list[list[tuple[Array, Array, Array]]] = []

    def run(self, block: Block) -> Iterator[str]:
        """Execute, stopping at every barrier of the block."""
        for i in block:
            if i.op == "together":
                if i.attrs.get("block"):
                    yield "barrier"
            elif i.op == "commit_copies":
                self.groups.append(self.copies)
                self.copies = []
            elif i.op == "wait_copies":
                while len(self.groups) > i.attrs["left"]:
                    for data, where, bytes_ in self.groups.pop(0):
                        data[where] = bytes_
            elif i.op in ("prefetch", "ready", "wait_mma"):
                continue  # hints, and an order that holds here anyway
            elif i.op in ("loop", "parallel"):
                yield from self._counted(i)
            elif i.op == "if":
                yield from self._if(i)
            elif i.op != "index":
                self.values[id(i)] = self._evaluate(i)

    def _counted(self, i: Instruction) -> Iterator[str]:
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

    def _if(self, i: Instruction) -> Iterator[str]:
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
        if i.op == "const":
            return np.full((WARP, i.lanes), i.value, DTYPES[i.elem])
        return self.values[id(i)]

    def _uniform(self, i: Instruction) -> int:
        value = self.get(i)
        if (value != value[0, 0]).any():
            raise LockstepError("a loop's bound differs between the threads of a warp")
        return int(value[0, 0])

    def _evaluate(self, i: Instruction) -> Array:
        handler: Callable[[Instruction], Array] | None = getattr(self, f"op_{i.op}", None)
        if handler is not None:
            return handler(i)
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

    def op_pack(self, i: Instruction) -> Array:
        return np.concatenate([self.get(a) for a in i.args], axis=1)

    # --- memory -----------------------------------------------------------------------------------------------------
    def op_alloc(self, i: Instruction) -> Array:
        if id(i) not in self.private:
            self.private[id(i)] = np.full(i.attrs["nbytes"], POISON, np.uint8)
        return np.zeros((WARP, 1), np.int64)

    def _places(self, buffer: Instruction, offset: Array, nbytes: int, used: Array, align: int) -> tuple[Array, Array]:
        """The bytes of a buffer, and for every thread the numbers of those that it takes."""
        data = self.private[id(buffer)] if buffer.op == "alloc" else self.memory[id(buffer)]
        where = offset[:, :1] + np.arange(nbytes)
        taken = where[used]
        if taken.size and (taken.min() < 0 or taken.max() >= data.size):
            raise LockstepError(f"an access of bytes {taken.min()} .. {taken.max()} of a buffer of {data.size}")
        if (offset[used.any(axis=1)] % align).any():
            raise LockstepError(f"an access that claims to be aligned to {align} bytes is not")
        return data, where

    def op_load(self, i: Instruction) -> Array:
        size = DTYPES[i.elem].itemsize
        used = np.ones((WARP, i.lanes * size), np.bool_)
        if len(i.args) == 3:
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
        private, to, lanes, buffer, source, source_lanes = i.args
        used = np.ones((WARP, 16), np.bool_)
        data, where = self._places(buffer, self.get(source) + self.get(source_lanes), 16, used, 16)
        target, place = self._places(private, self.get(to) + self.get(lanes), 16, used, 16)
        target[place] = POISON
        self.copies.append((target, place, data[where]))
        return place

    def op_warpgroup_mma(self, i: Instruction) -> Array:
        """Each warp takes its 16 rows of A; the tiles are read here, so that a missing barrier shows."""
        private, a, b, *sums = i.args
        steps, *strides = i.attrs["shape"]
        data = self.private[id(private)]
        first = self._uniform(a) + 2 * strides[1] * (self.fixed["warp"][0] % 4)
        x = _core_matrices(data, first, 16, 16 * steps, strides[:2])
        y = _core_matrices(data, self._uniform(b), 8 * len(sums), 16 * steps, strides[2:])
        product = x @ y.T
        t = np.arange(WARP)[:, None]
        rows, columns = t // 4 + np.array([0, 0, 8, 8]), 2 * (t % 4) + np.array([0, 1, 0, 1])
        for j, v in enumerate(sums):
            self.values[id(v)] = (self.values[id(v)] + product[rows, 8 * j + columns]).astype(np.float32)
        return x

    def op_place_byte(self, i: Instruction) -> Array:
        byte = self.get(i.args[0]).view(np.uint32) >> np.uint32(8 * i.attrs["byte"]) & np.uint32(255)
        return (byte << np.uint32(16) | np.uint32(i.attrs["base"] & 0xFF00FFFF)).view(np.int32)

    def op_exp2(self, i: Instruction) -> Array:
        return _flushed(np.exp2(self.get(i.args[0])))

    def op_rcp(self, i: Instruction) -> Array:
        return _flushed(np.float32(1.0) / _flushed(self.get(i.args[0])))

    def op_pack_pair(self, i: Instruction) -> Array:
        bits = _bf16_bits if i.attrs["kind"] == "bf16" else _f16_bits
        low, high = (bits(self.get(a)) for a in i.args)
        return (low | high << np.uint32(16)).view(np.int32)

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


def _core_matrices(data: Array, at: int, rows: int, columns: int, strides: Sequence[int]) -> Array:
    """bf16 elements (rows, columns) that lie in core matrices, `strides` apart, as float64."""
    r, c = np.arange(rows)[:, None], np.arange(columns)
    if tuple(strides) == (16, 1024):
        where = at + r * 128 + c * 2
        where ^= (where >> 7 & 7) << 4
    else:
        where = at + c // 8 * strides[0] + r // 8 * strides[1] + r % 8 * 16 + c % 8 * 2
    if at < 0 or where.max() + 2 > data.size:
        raise LockstepError(f"a tile at {at} reaches past private memory of {data.size} bytes")
    bits = data[where].astype(np.uint32) | data[where + 1].astype(np.uint32) << 8
    return (bits << 16).view(np.float32).astype(np.float64)


_NAN = np.uint32(0x7FFFFFFF).view(np.float32)  # the one that a GPU gives: arithmetic on its bits tells it from others


def _flushed(a: Array) -> Array:
    """f32 values with denormals as 0."""
    kept = np.where(np.abs(a) < np.float32(2.0**-126), np.copysign(np.float32(0), a), a)
    return np.where(np.isnan(a), _NAN, kept)


def _bf16_bits(a: Array) -> Array:
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))
    return np.where(np.isnan(a), np.uint32(0x7FFF), rounded >> 16).astype(np.uint32)


def _f16_bits(a: Array) -> Array:
    return a.astype(np.float16).view(np.uint16).astype(np.uint32)


_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum,
    "minimum": np.minimum, "maximum": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
}  # fmt: skip
