"""Builds kernel IR. Schedules talk to this class; it folds constants and shares equal pure instructions as it goes.

Loops read as loops: `for i in k.loop(n): ...` runs the Python body once, between opening and closing the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .arithmetic import float_to_int, rounded
from .ir import STATEMENTS, Block, Instruction, Kernel, KernelParameter, Operand, Type

_IMPURE = frozenset(
    {
        "load",
        "gather",
        "store",
        "prefetch",
        "ready",
        "get",
        "set",
        "var",
        "alloc",
        "loop",
        "parallel",
        "if",
        "index",
        "buffer",
    }
)
_COMPARE = frozenset({"eq", "ne", "lt", "le", "ult"})
_UNSHARED = _IMPURE | STATEMENTS  # instructions that stay apart where they are equal
# Not min and max: with a NaN, or zeros of both signs, the order of their operands matters.
_COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor", "eq", "ne"})
_OFFSET = Type("i64")
_INTEGER_BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}


class KernelBuilder:
    """One kernel under construction.

    `k.load` and `k.store` address bytes from the start of a buffer; `k.var` makes a mutable local, for accumulators.
    `capability`: of the GPU that a kernel is for, whose instructions it may use (`Target.capability`); 0: none of them.
    """

    def __init__(self, name: str, capability: int = 0) -> None:
        self.name, self.capability = name, capability
        self.parameters: list[KernelParameter] = []
        self.buffers: list[Instruction] = []
        self.body: Block = []
        self._blocks: list[Block] = [self.body]
        self._scopes: list[dict[Any, Instruction]] = [{}]
        self._constants: dict[Any, Instruction] = {}
        self.folds = not capability  # GPUs' kernels stay as they were measured
        self._known: bool | None = None  # how the condition of the `when` closed last came out, if that is known here

    # --- parameters -------------------------------------------------------------------------------------------
    def buffer(self, name: str, mode: str = "r") -> Instruction:
        """A buffer parameter; `mode` is r, w or rw."""
        self.parameters.append(KernelParameter(name, mode))
        made = Instruction("buffer", Type("ptr"), (), {"name": name, "mode": mode}, builder=self)
        self.buffers.append(made)
        return made

    def dim(self, name: str) -> Instruction:
        """A dimension known when the kernel runs, as i64. Call before any region is opened."""
        self.parameters.append(KernelParameter(name, "r", is_dim=True))
        made = Instruction("buffer", Type("ptr"), (), {"name": name, "mode": "r"}, builder=self)
        self.buffers.append(made)
        return self.load(made, 0, "i64")

    def finish(self, note: str = "", blocks: int = 0, chunks: int = 1) -> Kernel:
        assert len(self._blocks) == 1, "a region is still open"
        self._scopes, self._constants = [{}], {}  # instructions hold their builder, and would keep these as long
        return Kernel(
            self.name, tuple(self.parameters), tuple(self.buffers), self.body, note, blocks=blocks, chunks=chunks
        )

    # --- emission ---------------------------------------------------------------------------------------------
    def emit(self, op: str, type: Type | None, args: tuple[Instruction, ...] = (), **attrs: Any) -> Instruction:
        """Append an instruction, or return an equal pure one that is already visible."""
        if op in _UNSHARED:
            made = Instruction(op, type, args, attrs, builder=self)
            self._blocks[-1].append(made)
            return made
        ids = tuple(map(id, args))
        if op in _COMMUTATIVE and ids[0] > ids[1]:
            ids = ids[::-1]
        assert type is not None
        key = (op, type.elem, type.lanes, ids, tuple(attrs.items()))
        for scope in reversed(self._scopes):
            if (found := scope.get(key)) is not None:
                return found
        made = Instruction(op, type, args, attrs, builder=self)
        self._scopes[-1][key] = made
        self._blocks[-1].append(made)
        return made

    def const(self, value: float | int | bool, elem: str, lanes: int = 1) -> Instruction:
        """A constant, the same in every lane: an integer wraps to its type, a float is rounded to it."""
        if elem in _INTEGER_BITS:
            bits = _INTEGER_BITS[elem]
            value = int(value) & ((1 << bits) - 1)
            if bits > 1 and value >> (bits - 1):
                value -= 1 << bits
        else:
            value = rounded(value, elem)
        key = (elem, lanes, repr(value))
        found = self._constants.get(key)
        if found is None:
            type = Type(elem, lanes)
            found = self._constants[key] = Instruction("const", type, (), {"value": value}, builder=self)
        return found

    def zeros(self, elem: str, lanes: int = 1) -> Instruction:
        return self.const(0, elem, lanes)

    def _match(self, a: Operand, b: Operand) -> tuple[Instruction, Instruction]:
        """Two operands of one type: numbers take the other's type, scalars are spread over the other's lanes."""
        if not isinstance(a, Instruction):
            assert isinstance(b, Instruction)
            return self.const(a, b.elem, b.lanes), b
        if not isinstance(b, Instruction):
            return a, self.const(b, a.elem, a.lanes)
        if a.type is b.type:
            return a, b
        if a.lanes != b.lanes:
            if a.lanes == 1:
                a = self.splat(a, b.lanes)
            elif b.lanes == 1:
                b = self.splat(b, a.lanes)
        if a.type != b.type:
            raise TypeError(f"operands of different types: {a.type} and {b.type}")
        return a, b

    def binary(self, op: str, a: Operand, b: Operand) -> Instruction:
        x, y = self._match(a, b)
        assert x.type is not None
        if (folded := self._fold(op, x, y)) is not None:
            return folded
        return self.emit(op, x.type.of("i1") if op in _COMPARE else x.type, (x, y))

    def _fold(self, op: str, x: Instruction, y: Instruction) -> Instruction | None:
        """Integer arithmetic on constants, and the identities that index arithmetic meets all the time."""
        if x.elem not in _INTEGER_BITS or x.elem == "i1":
            return None
        a = x.value if x.op == "const" else None
        b = y.value if y.op == "const" else None
        if a is not None and b is not None:
            value = _INTEGER_FOLD[op](a, b) if op in _INTEGER_FOLD else None
            if value is not None:
                return self.const(value, "i1" if op in _COMPARE else x.elem, x.lanes)
        if op == "add":
            if b == 0:
                return x
            if a == 0:
                return y
            # (v + c1) + c2 -> v + (c1 + c2): keeps the addresses of an unrolled body short
            if b is not None and _adds_constant(x):
                return self.binary("add", x.args[0], self.const(x.args[1].value + b, x.elem, x.lanes))
            # (u + c1) + v -> (u + v) + c1, and so in products: addresses that differ by a constant share all else
            if _adds_constant(x) and self._is_offset(x):
                return self._constant_last(self.binary("add", x.args[0], y), x.args[1])
            if _adds_constant(y) and self._is_offset(y):
                return self._constant_last(self.binary("add", x, y.args[0]), y.args[1])
        elif op == "sub" and b == 0:
            return x
        elif op == "sub" and b is not None:
            return self.binary("add", x, self.const(-b, x.elem, x.lanes))
        elif op == "mul":
            if b == 1:
                return x
            if a == 1:
                return y
            if a == 0 or b == 0:
                return self.const(0, x.elem, x.lanes)
            if b is not None and _adds_constant(x) and self._is_offset(x):
                return self._constant_last(self.binary("mul", x.args[0], y), self.const(x.args[1].value * b, "i64"))
        elif (op == "div" and b == 1) or (op in ("shl", "lshr", "ashr") and b == 0):
            return x
        elif op == "rem" and b == 1:
            return self.const(0, x.elem, x.lanes)
        return None

    def _is_offset(self, x: Instruction) -> bool:
        """Whether a sum may be put in another order: a CPU's address, or what becomes one."""
        return self.folds and x.type == _OFFSET

    def _constant_last(self, x: Instruction, constant: Instruction) -> Instruction:
        """A sum with a constant, without asking again what most sums have no part of."""
        if x.op == "const" or _adds_constant(x) or not constant.value:
            return self.binary("add", x, constant)
        return self.emit("add", x.type, (x, constant))

    # --- arithmetic -------------------------------------------------------------------------------------------
    def fma(self, a: Operand, b: Operand, c: Operand) -> Instruction:
        """a * b + c, rounded once."""
        lanes = self._lanes(a, b, c)
        x = next(o for o in (a, b, c) if isinstance(o, Instruction) and o.lanes == lanes)
        args = tuple(self._like(o, x) for o in (a, b, c))
        return self.emit("fma", x.type, args)

    @staticmethod
    def _lanes(*operands: Operand) -> int:
        return max(o.lanes for o in operands if isinstance(o, Instruction))

    def _like(self, o: Operand, x: Instruction) -> Instruction:
        if not isinstance(o, Instruction):
            return self.const(o, x.elem, x.lanes)
        return self.splat(o, x.lanes) if o.lanes == 1 and x.lanes > 1 else o

    def negate(self, a: Instruction) -> Instruction:
        if a.elem in _INTEGER_BITS:
            return self.binary("sub", self.const(0, a.elem, a.lanes), a)
        return self.emit("neg", a.type, (a,))

    def logical_not(self, a: Instruction) -> Instruction:
        return self.binary("xor", a, self.const(-1 if a.elem != "i1" else 1, a.elem, a.lanes))

    def minimum(self, a: Operand, b: Operand) -> Instruction:
        """a < b ? a : b: a NaN in `a` gives `b`. Ops with another rule for NaN select themselves."""
        return self.binary("min", a, b)

    def maximum(self, a: Operand, b: Operand) -> Instruction:
        """a > b ? a : b: a NaN in `a` gives `b`. Ops with another rule for NaN select themselves."""
        return self.binary("max", a, b)

    def select(self, condition: Instruction, a: Operand, b: Operand) -> Instruction:
        x, y = self._match(a, b) if isinstance(a, Instruction) or isinstance(b, Instruction) else (a, b)
        assert isinstance(x, Instruction)
        assert isinstance(y, Instruction)
        if condition.lanes == 1 and x.lanes > 1:
            condition = self.splat(condition, x.lanes)
        elif condition.lanes > x.lanes:
            x, y = self.splat(x, condition.lanes), self.splat(y, condition.lanes)
        return self.emit("select", x.type, (condition, x, y))

    def sqrt(self, a: Instruction) -> Instruction:
        return self.emit("sqrt", a.type, (a,))

    def floor(self, a: Instruction) -> Instruction:
        return self.emit("floor", a.type, (a,))

    def ceil(self, a: Instruction) -> Instruction:
        return self.emit("ceil", a.type, (a,))

    def rint(self, a: Instruction) -> Instruction:
        """To the nearest integer, ties to even."""
        return self.emit("rint", a.type, (a,))

    def fabs(self, a: Instruction) -> Instruction:
        return self.emit("fabs", a.type, (a,))

    def rcp(self, value: Instruction) -> Instruction:
        """1 / value of f32 lanes, as fast as a GPU does it. On GPUs only."""
        return self.emit("rcp", value.type, (value,))

    # --- bits and conversion ----------------------------------------------------------------------------------
    def ashr(self, a: Instruction, b: Operand) -> Instruction:
        return self.binary("ashr", a, b)

    def ult(self, a: Operand, b: Operand) -> Instruction:
        return self.binary("ult", a, b)

    def bitcast(self, a: Instruction, elem: str) -> Instruction:
        """The same bytes as another element type; lanes follow from the size."""
        assert a.type is not None
        size = Type(elem).nbytes
        target = Type(elem, a.type.nbytes // size)
        return a if target == a.type else self.emit("bitcast", target, (a,))

    def convert(self, a: Instruction, elem: str, signed: bool = True) -> Instruction:
        """The same values as another element type; `signed` says how an integer source is read."""
        assert a.type is not None
        if a.elem == elem:
            return a
        if a.op == "const":
            value = a.value
            if a.type.is_float and elem in _INTEGER_BITS:
                value = float_to_int(value, _INTEGER_BITS[elem])
            elif not signed and value < 0 and not a.type.is_float:
                value += 1 << _INTEGER_BITS[a.elem]
            return self.const(value, elem, a.lanes)
        source_float, target_float = a.type.is_float, elem in ("f16", "f32", "f64")
        if source_float and target_float:
            op = "fpcast"
        elif source_float:
            op = "fptosi"
        elif target_float:
            op = "sitofp" if signed and a.elem != "i1" else "uitofp"
        elif _INTEGER_BITS[elem] > _INTEGER_BITS[a.elem]:
            op = "sext" if signed and a.elem != "i1" else "zext"
        else:
            op = "trunc"
        return self.emit(op, a.type.of(elem), (a,))

    # --- vectors ----------------------------------------------------------------------------------------------
    def splat(self, a: Instruction, lanes: int) -> Instruction:
        if lanes == 1 or a.lanes == lanes:
            return a
        if a.op == "const":
            return self.const(a.value, a.elem, lanes)
        return self.emit("splat", Type(a.elem, lanes), (a,))

    def iota(self, elem: str, lanes: int) -> Instruction:
        return self.emit("iota", Type(elem, lanes)) if lanes > 1 else self.const(0, elem)

    def first_lanes(self, count: Instruction, lanes: int) -> Instruction:
        """A mask of the lanes below an i64 count."""
        return self.iota("i32", lanes) < self.splat(self.convert(count, "i32"), lanes)

    def extract(self, a: Instruction, lane: int) -> Instruction:
        return a if a.lanes == 1 else self.emit("extract", Type(a.elem), (a,), lane=lane)

    def shuffle(self, a: Instruction, b: Instruction, lanes: Sequence[int]) -> Instruction:
        """Lanes of the concatenation of a and b."""
        return self.emit("shuffle", Type(a.elem, len(lanes)), (a, b), lanes=tuple(lanes))

    def concat(self, parts: Sequence[Instruction]) -> Instruction:
        """One vector of all parts; their count is a power of two and their widths are equal."""
        parts = list(parts)
        while len(parts) > 1:
            width = parts[0].lanes
            parts = [self.shuffle(parts[i], parts[i + 1], range(2 * width)) for i in range(0, len(parts), 2)]
        return parts[0]

    def lanes_of(self, a: Instruction, start: int, count: int) -> Instruction:
        """Lanes start .. start+count of a vector."""
        if start == 0 and count == a.lanes:
            return a
        return self.extract(a, start) if count == 1 else self.shuffle(a, a, range(start, start + count))

    def _reduce(self, a: Instruction, combine: str) -> Instruction:
        return a if a.lanes == 1 else self.emit("reduce", Type(a.elem), (a,), kind=combine)

    def reduce_add(self, a: Instruction) -> Instruction:
        """The sum of a vector's lanes in a fixed tree, the same on every target. Lanes are a power of two."""
        return self._reduce(a, "add")

    def reduce_max(self, a: Instruction) -> Instruction:
        return self._reduce(a, "max")

    def reduce_min(self, a: Instruction) -> Instruction:
        return self._reduce(a, "min")

    def reduce_by(self, kind: str, a: Instruction) -> Instruction:
        """All lanes combined by `kind`, an op that `reduce` of the kernel IR knows."""
        return self._reduce(a, kind)

    def dot4(self, acc: Instruction, unsigned: Instruction, signed: Instruction, maximum: int = 255) -> Instruction:
        """acc[i] + sum of unsigned[4i+j] * signed[4i+j] for j < 4. `maximum` bounds the unsigned bytes."""
        return self.emit("dot4", acc.type, (acc, unsigned, signed), max=maximum)

    def dot2(self, acc: Instruction, a: Instruction, b: Instruction) -> Instruction:
        """acc[i] + a[2i+1] * b[2i+1] + a[2i] * b[2i] of i16 lanes: integers where acc is i32, bf16 where it is f32."""
        return self.emit("dot2", acc.type, (acc, a, b))

    def gather(self, buffer: Instruction, offset: Operand, lanes: Instruction, elem: str, run: int = 1) -> Instruction:
        """`run` neighbours, of up to 16 bytes, at a byte offset plus each of a vector of i32 offsets, which keep runs
        aligned to their size. On GPUs only.
        """
        return self.emit("gather", Type(elem, lanes.lanes * run), (buffer, self._offset(offset), lanes))

    def scatter(self, buffer: Instruction, offset: Operand, lanes: Instruction, value: Instruction) -> None:
        """The reverse of `gather`: runs do not meet, or hold the same. On GPUs only."""
        self.emit("scatter", None, (buffer, self._offset(offset), lanes, value))

    def mma(self, acc: Instruction, a: Instruction, b: Instruction, kind: str) -> Instruction:
        """acc + a b of a warp's tiles, in the order of `arithmetic.mma`. `kind` bf16, f16, tf32 or i8. On GPUs only."""
        return self.emit("mma", acc.type, (acc, a, b), kind=kind)

    def load_matrices(
        self, private: Instruction, offset: Operand, lanes: Instruction, turned: bool = False
    ) -> Instruction:
        """Four 8 x 8 matrices of 16 bits from private memory, as i32 (128): thread t has two neighbours of row t / 4 of
        each, from column 2 (t % 4) on, or of column t / 4 and row 2 (t % 4) if `turned`. Row r of matrix m is the 16
        bytes at `offset` plus lane 8 m + r of the i32 `lanes`. On GPUs only. Source: PTX ISA, ldmatrix."""
        return self.emit("load_matrices", Type("i32", 128), (private, self._offset(offset), lanes), turned=turned)

    def pack_pair(self, low: Instruction, high: Instruction, kind: str = "bf16") -> Instruction:
        """f32 lanes as pairs of bf16 or f16 in i32 lanes. On GPUs only."""
        return self.emit("pack_pair", Type("i32", low.lanes), (low, high), kind=kind)

    def fma_pair(self, a: Operand, b: Operand, c: Operand) -> Instruction:
        """a * b + c of both bf16 in each of i32 lanes, rounded once. On GPUs only."""
        x = next(o for o in (a, b, c) if isinstance(o, Instruction))
        return self.emit("fma_pair", x.type, tuple(self._like(o, x) for o in (a, b, c)))

    def permute_bytes(self, a: Instruction, b: Operand, selector: int) -> Instruction:
        """Bytes of i32 lanes of a (numbers 0 to 3) and b (4 to 7): byte n is the one that hexadecimal digit n of
        `selector` says, from the right. On GPUs only.
        """
        return self.emit("permute_bytes", a.type, self._match(a, b), selector=selector)

    def exp2(self, value: Instruction) -> Instruction:
        """2 ** value of f32 lanes, as fast as a GPU does it. On GPUs only."""
        return self.emit("exp2", value.type, (value,))

    def round_tf32(self, value: Instruction) -> Instruction:
        """The nearest tf32 of f32 lanes, ties away from zero. On GPUs only. Source: PTX ISA, cvt.rna.tf32."""
        return self.emit("round_tf32", value.type, (value,))

    def maxnum(self, a: Instruction, b: Instruction) -> Instruction:
        """The larger of f32 lanes in one instruction; where one is NaN, the other. On GPUs only."""
        return self.emit("maxnum", a.type, (a, b))

    def copy_async(
        self,
        private: Instruction,
        offset: Operand,
        lanes: Instruction,
        buffer: Instruction,
        source: Operand,
        source_lanes: Instruction,
        nbytes: Instruction | None = None,
    ) -> None:
        """16 bytes for each of 32 lanes of i32 offsets, from a buffer to private memory; done at a wait. GPUs only.

        `nbytes`, i32, for all lanes or for each: so many of the 16 are read, 0 .. 16, and the rest are zeros; with 0
        the offset may lie anywhere.
        """
        args = (private, self._offset(offset), lanes, buffer, self._offset(source), source_lanes)
        self.emit("copy_async", None, args + (() if nbytes is None else (nbytes,)))

    def commit_copies(self) -> None:
        """The copies since the last commit are a group."""
        self.emit("commit_copies", None)

    def wait_copies(self, left: int) -> None:
        """Wait until at most `left` of the newest groups of this warp's copies are not done."""
        self.emit("wait_copies", None, left=left)

    def barrier(self) -> None:
        """In a team loop: all warps come here before one goes on, and see what the others wrote."""
        self.emit("barrier", None)

    def arrive(self, barrier: Instruction) -> None:
        """In a team loop: this warp comes to a barrier, private memory of BARRIER bytes, and goes on. It comes again
        after it waited in `await_all` only.
        """
        self.emit("arrive", None, (barrier,))

    def await_all(self, barrier: Instruction) -> None:
        """Wait until all warps of the team came to a barrier as often as this one, and see what they wrote before."""
        self.emit("await", None, (barrier,))

    def warpgroup_mma(
        self,
        private: Instruction,
        a: Operand | Sequence[Instruction],
        b: Operand,
        sums: Sequence[Variable],
        steps: int,
        a_strides: tuple[int, int] | None,
        b_strides: tuple[int, int],
        kind: str = "bf16",
        fresh: bool = False,
        turned: tuple[bool, bool] = (False, False),
    ) -> None:
        """sums += A B^T of tiles of bf16, f16 or tf32 (`kind`) in private memory, by four warps from a multiple of four
        on, each 16 of A's 64 rows. `sums[j]`: columns 8 j .. 8 j + 7, f32 in `mma`'s order; not to be read before
        `wait_mma`. `fresh`: sums = A B^T, whatever they were.

        `a` may be values instead: this warp's rows, an operand a of `mma` for each step, without strides. They are to
        be named in the wait for the product.

        A tile is of core matrices, 8 rows of 8 elements in 128 bytes. Byte offsets `a` (of the first of the 64 rows)
        and `b`; strides in bytes from 8 elements of K to the next, and from 8 rows to the next. `steps` of 16 of K. Of
        tf32, whose elements are as wide as two, a step is 8; its tiles lie in private memory and are not turned.
        Strides (16, 1024) are rows of 128 bytes, in which bits 4 to 6 of an address are xored with bits 7 to 9.
        `turned`: whether A, and B, lie with neighbours of a column together: lines of 64 rows in 128 bytes, one for
        each element of K, in which bits 4 to 6 of an address are xored with bits 7 to 9; strides from 64 rows to the
        next, and from 8 elements of K to the next.
        Source: PTX ISA, wgmma, matrices without swizzling and with 128-byte swizzling. Compute capability 9.0 only.
        """
        operands = tuple(a) if isinstance(a, Sequence) else (self._offset(a),)
        variables = tuple(v.instruction for v in sums)
        shape = (steps, *(a_strides or ()), *b_strides)
        attrs = {"shape": shape, "kind": kind, "fresh": fresh, "turned": turned}
        self.emit("warpgroup_mma", None, (private, self._offset(b), *operands, *variables), **attrs)

    def wait_mma(self, sums: Sequence[Variable], left: int = 0, read: Sequence[Instruction] = ()) -> None:
        """Wait until at most `left` of the newest `warpgroup_mma` are not done; `sums`: all that they add to, `read`:
        values that they take as A. ptxas may move it up, but not past `await_all`.
        """
        self.emit("wait_mma", None, (*(v.instruction for v in sums), *read), left=left)

    def table(self, values: Sequence[int], index: Instruction) -> Instruction:
        """values[index] by lane: 16 bytes, indices 0..15."""
        return self.emit("table", index.type, (index,), values=tuple(values))

    # --- memory -----------------------------------------------------------------------------------------------
    def load(
        self, buffer: Instruction, offset: Operand, elem: str, lanes: int = 1, mask: Instruction | None = None
    ) -> Instruction:
        """`lanes` elements at byte `offset`, any alignment. Where `mask` is false nothing is read and the lane is 0."""
        args = (buffer, self._offset(offset)) + (() if mask is None else (mask,))
        return self.emit("load", Type(elem, lanes), args)

    def store(self, buffer: Instruction, offset: Operand, value: Instruction, mask: Instruction | None = None) -> None:
        """Write a value at byte `offset`, any alignment; where `mask` is false nothing is written."""
        self.emit("store", None, (buffer, self._offset(offset), value) + (() if mask is None else (mask,)))

    def prefetch(self, buffer: Instruction, offset: Operand) -> None:
        """Ask for the cache line at byte `offset` ahead of its use. Nothing is read; the offset may lie outside."""
        self.emit("prefetch", None, (buffer, self._offset(offset)))

    def prefetch_all(self, buffer: Instruction, offset: Operand, nbytes: int) -> None:
        """A hint that so many bytes at a byte offset are read soon: on a GPU the threads of a worker share the work."""
        self.emit("prefetch", None, (buffer, self._offset(offset)), nbytes=nbytes)

    def ready(self) -> None:
        """From here on the kernel reads what kernels before it wrote; before, weights alone. For GPUs."""
        self.emit("ready", None)

    def _offset(self, offset: Operand) -> Instruction:
        return offset if isinstance(offset, Instruction) else self.const(offset, "i64")

    def any(self, flags: Instruction) -> Instruction:
        """Whether one of the lanes holds."""
        if not self.capability:
            return self._reduce(flags, "or")
        return self.reduce_max(self.convert(flags, "i32", signed=False)) > 0  # threads exchange 32 bits

    def alloc(self, nbytes: int) -> Instruction:
        """Private memory of this worker, 64-byte aligned, alive for the whole kernel. Top level of the kernel only."""
        return self.emit("alloc", Type("ptr"), (), nbytes=nbytes)

    def var(self, first: Instruction) -> Variable:
        """A mutable local."""
        return Variable(self, self.emit("var", first.type, (first,)))

    # --- regions ----------------------------------------------------------------------------------------------
    def _region(self, op: str, args: tuple[Instruction, ...], **attrs: Any) -> Iterator[Instruction]:
        index = Instruction("index", Type("i64"), builder=self)
        block: Block = [index]
        region = Instruction(op, None, args, attrs, (block,), builder=self)
        self._blocks[-1].append(region)
        self._blocks.append(block)
        self._scopes.append({})
        yield index
        self._blocks.pop()
        self._scopes.pop()

    def loop(self, lo: Operand, hi: Operand | None = None, step: int = 1, unroll: int = 1) -> Iterator[Instruction]:
        """`for i in k.loop(n)` or `k.loop(lo, hi, step)`: a counted loop over i64. On a CPU a loop that is known to run
        once is its body alone, and one that never runs is nothing: compilers take long to find that out.
        """
        start, stop = (self._offset(0), self._offset(lo)) if hi is None else (self._offset(lo), self._offset(hi))
        if self.folds and start.op == "const" and stop.op == "const":
            if start.value >= stop.value:
                return iter(())
            if start.value + step >= stop.value:
                return iter((start,))
        return self._region("loop", (start, stop), step=step, unroll=unroll)

    def team(self, parts: int) -> Iterator[Instruction]:
        """A loop over 0 .. parts inside a parallel region whose iterations do not need each other: on a GPU each is a
        warp of one block. They hand over results through private memory (`alloc`), each in a place of its own; what
        follows the loop may read all of them. A var that is set inside is not to be read outside.
        """
        return self._region("loop", (self._offset(0), self._offset(parts)), step=1, unroll=1, team=True)

    def parallel(self, count: Operand, ahead: bool = False) -> Iterator[Instruction]:
        """Independent iterations shared among the workers in contiguous runs. `ahead`: each asks for what its worker's
        next one reads, so that some in turn take no longer than side by side.
        """
        known = self._offset(count)
        regions = self._region("parallel", (known,), **({"ahead": True} if ahead else {}))
        if self.folds and known.op == "const" and known.value == 1:  # addresses are then known where the kernel is made
            return (self.const(0, "i64") for _ in regions)
        return regions

    def when(self, condition: Instruction) -> Iterator[None]:
        """`for _ in k.when(c): ...` runs the block if the scalar condition holds. On a CPU one that is known is its
        block alone, or nothing.
        """
        if self.folds and condition.op == "const":
            if condition.value:
                yield None
            self._known = bool(condition.value)
            return
        block: Block = []
        self._blocks[-1].append(Instruction("if", None, (condition,), {}, (block, []), builder=self))
        self._blocks.append(block)
        self._scopes.append({})
        yield None
        self._blocks.pop()
        self._scopes.pop()
        self._known = None

    def otherwise(self) -> Iterator[None]:
        """The else block of the `when` that was closed last in this block."""
        if self._known is not None:
            if not self._known:
                yield None
            return
        last = self._blocks[-1][-1]
        assert last.op == "if"
        self._blocks.append(last.blocks[1])
        self._scopes.append({})
        yield None
        self._blocks.pop()
        self._scopes.pop()

    def worker(self) -> Instruction:
        return self.emit("worker", Type("i64"))

    def workers(self) -> Instruction:
        return self.emit("workers", Type("i64"))


class Variable:
    """A mutable local: `v.get()` reads it here, `v.set(x)` assigns."""

    __slots__ = ("instruction", "k")

    def __init__(self, k: KernelBuilder, instruction: Instruction) -> None:
        self.k, self.instruction = k, instruction

    def get(self) -> Instruction:
        return self.k.emit("get", self.instruction.type, (self.instruction,))

    def set(self, value: Instruction) -> None:
        if value.type != self.instruction.type:
            raise TypeError(f"a var of type {self.instruction.type} cannot take {value.type}")
        self.k.emit("set", None, (self.instruction, value))


def _adds_constant(x: Instruction) -> bool:
    return x.op == "add" and x.args[1].op == "const"


def _divide(a: int, b: int) -> int | None:
    return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_INTEGER_FOLD: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "rem": lambda a, b: None if b == 0 else a - b * (_divide(a, b) or 0),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b if 0 <= b < 64 else None,
    "min": min,
    "max": max,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
