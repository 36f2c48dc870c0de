"""Random well-typed kernels that never leave their buffers and never do what the IR leaves undefined.

Every op of the IR comes up. Buffers hold one element type each, and floats reach integers only after a NaN was taken
out, so two correct implementations differ in the payload of NaNs in float buffers at most: `assert_same` knows that.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.ir import ELEMENT_BYTES, Instruction, Kernel, Type

Array = np.ndarray[Any, Any]

INTEGERS = ("i8", "i16", "i32", "i64")
FLOATS = ("f16", "f32", "f64")
ELEMENTS = (*INTEGERS, *FLOATS)
DTYPES = {"i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "f16": np.float16, "f32": np.float32,
          "f64": np.float64}  # fmt: skip
SLOT = 256  # bytes of an output buffer that belong to one parallel iteration
INPUT = 320  # bytes of an input buffer
INTEGER_OPS = ("add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "shl", "lshr", "ashr")
BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    0.5,
    2.5,
    65504.0,
    65519.0,
    65520.0,
    1e-7,
    6e-8,
    3.4e38,
    1e308,
    2.0**31,
    -(2.0**63),
)


def random_kernel(seed: int, size: int = 30, name: str = "") -> tuple[Kernel, list[Array]]:
    """A kernel and the arrays to run it on, one for each parameter. `size`: roughly how many values a block makes."""
    return _Maker(seed, size, name or f"random_{seed}").make()


def copies(arrays: Sequence[Array]) -> list[Array]:
    return [a.copy() for a in arrays]


def assert_same(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    """Equal bit for bit, where any two NaNs of a float array are equal."""
    for n, (a, b) in enumerate(zip(found, wanted, strict=True)):
        differ = a.view(f"u{a.itemsize}") != b.view(f"u{a.itemsize}")
        if a.dtype.kind == "f":
            differ &= ~(np.isnan(a) & np.isnan(b))
        where = np.flatnonzero(differ)
        assert not where.size, f"array {n} ({a.dtype}) differs at {where[:8]}: {a[where[:8]]} and {b[where[:8]]}"


class _Maker:
    def __init__(self, seed: int, size: int, name: str) -> None:
        self.rng = random.Random(seed)
        self.data = np.random.default_rng(seed)
        self.size = size
        self.k = KernelBuilder(name)
        self.values: list[dict[Type, list[Instruction]]] = [{}]
        self.variables: list[list[Instruction]] = [[]]
        self.small: list[list[tuple[Instruction, int]]] = [[]]  # i64 scalars in 0 .. most
        self.inputs: dict[str, Instruction] = {}
        self.outputs: dict[str, tuple[Instruction, bool]] = {}
        self.private: list[tuple[Instruction, str, int]] = []
        self.slot: Instruction | None = None
        self.parallel = False
        self.shared = 0  # levels of variables outside the parallel region that is open
        self.depth = 0

    # --- the whole --------------------------------------------------------------------------------------------------
    def make(self) -> tuple[Kernel, list[Array]]:
        k, rng = self.k, self.rng
        arrays: list[Array] = []
        count = rng.randint(0, 6)
        elements = rng.sample(ELEMENTS, rng.randint(3, len(ELEMENTS)))
        for e in elements:
            self.inputs[e] = k.buffer(f"in_{e}", "r")
            arrays.append(self.contents(e, INPUT))
        for e in elements:
            mode = rng.choice(("w", "rw"))
            self.outputs[e] = (k.buffer(f"out.{e}", mode), mode == "rw")
            arrays.append(self.contents(e, SLOT * 7))
        dynamic = rng.random() < 0.5
        number = k.dim("n") if dynamic else k.const(count, "i64")
        if dynamic:
            arrays.append(np.array([count], np.int64))
            self.small[0].append((number, 6))
        self.fill(self.size // 3)
        for _ in range(rng.randint(0, 2)):
            self.allocate()
        for _ in range(rng.randint(1, 2)):
            if rng.random() < 0.3:  # each worker goes through the loop on its own
                for index in k.loop(rng.randint(1, 3)):
                    self.open(index, 2)
                    self.fill(3)
                    self.parallel_region(number)
                    self.close()
            else:
                self.parallel_region(number)
        self.slot = k.const(6, "i64")
        self.fill(3)
        self.stores(2)
        return k.finish(rng.choice(("", 'random "kernel"'))), arrays

    def contents(self, elem: str, nbytes: int) -> Array:
        dtype = DTYPES[elem]
        a = self.data.integers(0, 256, nbytes, np.uint8).view(dtype)
        if elem in FLOATS:
            n = a.size
            plain = self.data.normal(0, 8, n)
            with np.errstate(all="ignore"):
                special = np.array(SPECIAL).astype(dtype)[self.data.integers(0, len(SPECIAL), n)]
                kind = self.data.random(n)
                a = np.where(kind < 0.6, plain.astype(dtype), np.where(kind < 0.85, special, a)).astype(dtype)
        elif self.rng.random() < 0.5:
            a = self.data.integers(-4, 5, a.size).astype(dtype)
        return np.ascontiguousarray(a)

    def allocate(self) -> None:
        """Private memory of one element, written from end to end."""
        elem = self.rng.choice(ELEMENTS)
        lanes = 64 // ELEMENT_BYTES[elem]
        nbytes = 64 * self.rng.randint(1, 3)
        memory = self.k.alloc(nbytes)
        for j in self.k.loop(0, nbytes // 64):
            self.open(j, nbytes // 64 - 1)
            self.k.store(memory, j * 64, self.value(Type(elem, lanes)))
            self.close()
        self.private.append((memory, elem, nbytes))

    def parallel_region(self, number: Instruction) -> None:
        for index in self.k.parallel(number):
            self.shared = len(self.variables)
            self.open(index, 5)
            self.parallel, self.slot = True, index
            self.fill(self.size)
            self.stores(4)
            self.parallel, self.slot = False, None
            self.close()

    # --- scopes and blocks ------------------------------------------------------------------------------------------
    def open(self, index: Instruction | None = None, most: int = 0) -> None:
        self.depth += 1
        self.values.append({})
        self.variables.append([])
        self.small.append([] if index is None else [(index, most)])
        if index is not None:
            self.values[-1][Type("i64")] = [index]

    def close(self) -> None:
        self.depth -= 1
        self.values.pop()
        self.variables.pop()
        self.small.pop()

    def fill(self, steps: int) -> None:
        for _ in range(steps):
            kind = self.rng.random()
            if kind < 0.06 and self.depth < 3:
                self.loop(steps // 2)
            elif kind < 0.12 and self.depth < 3:
                self.branch(steps // 3)
            elif kind < 0.2:
                first = self.value(self.type())
                self.variables[-1].append(self.k.emit("var", first.type, (first,)))
            elif kind < 0.3 and self.settable():
                variable = self.rng.choice(self.settable())
                assert variable.type is not None
                self.k.emit("set", None, (variable, self.value(variable.type)))
            elif kind < 0.36:
                self.stores(1)
            else:
                self.produce(self.type(), 3)

    def settable(self) -> list[Instruction]:
        """The variables that this place may assign: in a parallel region only its own."""
        levels = self.variables[self.shared :] if self.parallel else self.variables
        return [v for level in levels for v in level]

    def loop(self, steps: int) -> None:
        lo, rng = self.rng.randint(-2, 2), self.rng
        step = rng.randint(1, 3)
        if rng.random() < 0.4:
            start: Any = self.bounded(3)
            most = start[1] + 4
            start = start[0]
            hi: Any = start + rng.randint(0, 4)
            known = True
        else:
            start, hi, known = lo, lo + rng.randint(0, 4), lo >= 0
            most = max(hi, 0)
        for index in self.k.loop(start, hi, step, unroll=rng.choice((1, 1, 2, 4))):
            self.open(index if known else None, most)
            if not known:
                self.values[-1][Type("i64")] = [index]
            self.fill(max(steps, 2))
            self.close()

    def branch(self, steps: int) -> None:
        for _ in self.k.when(self.value(Type("i1"))):
            self.open()
            self.fill(max(steps, 1))
            self.close()
        if self.rng.random() < 0.5:
            for _ in self.k.otherwise():
                self.open()
                self.fill(max(steps, 1))
                self.close()

    # --- values -----------------------------------------------------------------------------------------------------
    def type(self, elements: Sequence[str] = (*ELEMENTS, "i1"), most_bytes: int = 64) -> Type:
        elem = self.rng.choice(elements)
        most = most_bytes // ELEMENT_BYTES[elem]
        return Type(elem, self.rng.choice([n for n in (1, 1, 2, 4, 8, 16, 32, 64) if n <= most]))

    def visible(self, type: Type) -> list[Instruction]:
        return [v for scope in self.values for v in scope.get(type, ())]

    def value(self, type: Type, depth: int = 2) -> Instruction:
        found = self.visible(type)
        kind = self.rng.random()
        if kind < 0.15 and (read := self.make_get(type, 0)) is not None:
            return read
        if found and kind < 0.75:
            return self.rng.choice(found)
        return self.produce(type, depth) if depth > 0 and kind < 0.95 else self.constant(type)

    def produce(self, type: Type, depth: int) -> Instruction:
        """A new value of a type, by an op that can make one."""
        while True:
            maker = self.rng.choice(_MAKERS)
            made = maker(self, type, depth - 1)
            if made is not None:
                if made.op != "const":
                    self.values[-1].setdefault(type, []).append(made)
                return made

    def emit(self, op: str, type: Type, *args: Instruction, **attrs: Any) -> Instruction:
        return self.k.emit(op, type, args, **attrs)

    def constant(self, type: Type) -> Instruction:
        rng, bits = self.rng, BITS.get(type.elem, 0)
        if bits == 1:
            return self.k.const(rng.randint(0, 1), "i1", type.lanes)
        if bits:
            edges = (0, 1, -1, 2, (1 << (bits - 1)) - 1, -(1 << (bits - 1)), rng.getrandbits(bits), rng.randint(-9, 9))
            return self.k.const(rng.choice(edges), type.elem, type.lanes)
        values = (*SPECIAL, rng.uniform(-4, 4), float("inf"), float("-inf"), float("nan"))
        return self.k.const(rng.choice(values), type.elem, type.lanes)

    def bounded(self, most: int) -> tuple[Instruction, int]:
        """An i64 scalar in 0 .. m, and m: a loop index or bits of any value."""
        found = [s for level in self.small for s in level]
        if found and self.rng.random() < 0.6:
            return self.rng.choice(found)
        mask = self.rng.choice([m for m in (0, 1, 3, 7) if m <= max(most, 0)])
        return self.k.emit("and", Type("i64"), (self.value(Type("i64"), 1), self.k.const(mask, "i64"))), mask

    # --- makers: each gives a value of the type, or None ------------------------------------------------------------
    def make_constant(self, t: Type, depth: int) -> Instruction | None:
        return self.constant(t) if self.rng.random() < 0.2 else None

    def make_arithmetic(self, t: Type, depth: int) -> Instruction | None:
        rng = self.rng
        if t.elem == "i1":
            return self.emit(rng.choice(("and", "or", "xor")), t, self.value(t, depth), self.value(t, depth))
        a, b = self.value(t, depth), self.value(t, depth)
        if t.is_float:
            op = rng.choice(("add", "sub", "mul", "div", "min", "max", "fma", "fma"))
            return self.emit(op, t, a, b, self.value(t, depth)) if op == "fma" else self.emit(op, t, a, b)
        op = rng.choice(INTEGER_OPS)
        bits = BITS[t.elem]
        if op in ("div", "rem"):
            if rng.random() < 0.5:
                b = self.k.const(rng.choice((1, 2, 3, 7, -2, -3, (1 << (bits - 1)) - 1)), t.elem, t.lanes)
            else:
                b = self.emit("and", t, b, self.k.const((1 << (bits - 1)) - 1, t.elem, t.lanes))
                b = self.emit("or", t, b, self.k.const(1, t.elem, t.lanes))
        elif op in ("shl", "lshr", "ashr"):
            if rng.random() < 0.5:
                b = self.k.const(rng.randrange(bits), t.elem, t.lanes)
            else:
                b = self.emit("and", t, b, self.k.const(bits - 1, t.elem, t.lanes))
        return self.emit(op, t, a, b)

    def make_unary(self, t: Type, depth: int) -> Instruction | None:
        if not t.is_float:
            return None
        return self.emit(self.rng.choice(("neg", "sqrt", "floor", "ceil", "rint", "fabs")), t, self.value(t, depth))

    def make_comparison(self, t: Type, depth: int) -> Instruction | None:
        if t.elem != "i1":
            return None
        elem = self.rng.choice((*ELEMENTS, "i1"))
        op = self.rng.choice(("eq", "ne") if elem == "i1" else ("eq", "ne", "lt", "le", "ult"))
        op = "lt" if op == "ult" and elem in FLOATS else op
        s = t.of(elem)
        return self.emit(op, t, self.value(s, depth), self.value(s, depth))

    def make_select(self, t: Type, depth: int) -> Instruction | None:
        return self.emit("select", t, self.value(t.of("i1"), depth), self.value(t, depth), self.value(t, depth))

    def make_conversion(self, t: Type, depth: int) -> Instruction | None:
        rng = self.rng
        elem = rng.choice((*ELEMENTS, "i1"))
        source, target = BITS.get(elem), BITS.get(t.elem)
        if elem == t.elem or (target == 1 and source is None):
            return None
        if source is None:
            op = "fptosi" if target else "fpcast"
        elif target is None:
            op = rng.choice(("sitofp", "uitofp"))
        else:
            op = "trunc" if source > target else rng.choice(("sext", "zext"))
        return self.emit(op, t, self.value(t.of(elem), depth))

    def make_bitcast(self, t: Type, depth: int) -> Instruction | None:
        elem = self.rng.choice(ELEMENTS)
        if t.elem == "i1" or elem == t.elem or t.nbytes % ELEMENT_BYTES[elem]:
            return None
        source = Type(elem, t.nbytes // ELEMENT_BYTES[elem])
        a = self.value(source, depth)
        if source.is_float:
            a = self.without_nan(a)
        return self.emit("bitcast", t, a)

    def without_nan(self, a: Instruction) -> Instruction:
        assert a.type is not None
        ordered = self.emit("eq", a.type.of("i1"), a, a)
        return self.emit("select", a.type, ordered, a, self.k.const(0.5, a.elem, a.lanes))

    def make_vector(self, t: Type, depth: int) -> Instruction | None:
        rng = self.rng
        if t.lanes == 1:
            source = Type(t.elem, rng.choice((2, 4, 8)))
            if t.elem != "i1" and rng.random() < 0.5:
                kind = rng.choice(("add", "min", "max"))
                return self.emit("reduce", t, self.value(source, depth), kind=kind)
            return self.emit("extract", t, self.value(source, depth), lane=rng.randrange(source.lanes))
        kind = rng.random()
        if kind < 0.3:
            return self.emit("splat", t, self.value(Type(t.elem), depth))
        if kind < 0.4 and t.elem in INTEGERS and t.lanes <= 64:
            return self.emit("iota", t)
        source = Type(t.elem, rng.choice([n for n in (2, 4, 8, 16) if n * ELEMENT_BYTES[t.elem] <= 64]))
        a, b = self.value(source, depth), self.value(source, depth)
        start = rng.randrange(2 * source.lanes)
        run = tuple((start + n) % (2 * source.lanes) for n in range(t.lanes))
        lanes = run if rng.random() < 0.5 else tuple(rng.randrange(2 * source.lanes) for _ in range(t.lanes))
        return self.emit("shuffle", t, a, b, lanes=lanes)

    def make_dot4(self, t: Type, depth: int) -> Instruction | None:
        if t.elem != "i32" or t.lanes == 1:
            return None
        wide = Type("i8", 4 * t.lanes)
        maximum = self.rng.choice((1, 15, 127, 255))
        a = self.emit("and", wide, self.value(wide, depth), self.k.const(maximum, "i8", wide.lanes))
        return self.emit("dot4", t, self.value(t, depth), a, self.value(wide, depth), max=maximum)

    def make_dot2(self, t: Type, depth: int) -> Instruction | None:
        if t.elem not in ("f32", "i32") or t.lanes == 1:
            return None
        wide = Type("i16", 2 * t.lanes)
        return self.emit("dot2", t, self.value(t, depth), self.value(wide, depth), self.value(wide, depth))

    def make_table(self, t: Type, depth: int) -> Instruction | None:
        if t.elem != "i8":
            return None
        index = self.emit("and", t, self.value(t, depth), self.k.const(15, "i8", t.lanes))
        return self.emit("table", t, index, values=tuple(self.rng.randint(-128, 127) for _ in range(16)))

    def make_load(self, t: Type, depth: int) -> Instruction | None:
        buffers = [b for e, b in self.inputs.items() if t.is_float or e in INTEGERS]
        if t.elem == "i1" or not buffers or t.nbytes > INPUT:
            return None
        return self.read(self.rng.choice(buffers), t, 0, INPUT, 1)

    def make_private(self, t: Type, depth: int) -> Instruction | None:
        found = [(b, n) for b, e, n in self.private if e == t.elem and n >= t.nbytes]
        if not found or t.nbytes > 64:
            return None
        memory, nbytes = self.rng.choice(found)
        if self.rng.random() < 0.5:  # a store first, so that parallel iterations read what is theirs
            lanes = 64 // ELEMENT_BYTES[t.elem]
            self.k.store(memory, nbytes - 64, self.value(Type(t.elem, lanes), depth))
            return self.read(memory, t, nbytes - 64, 64, ELEMENT_BYTES[t.elem])
        return self.read(memory, t, 0, nbytes - 64, ELEMENT_BYTES[t.elem]) if nbytes > 64 else None

    def make_output_load(self, t: Type, depth: int) -> Instruction | None:
        buffer, readable = self.outputs.get(t.elem, (None, False))
        if buffer is None or not readable or self.slot is None or not self.parallel or t.nbytes > SLOT:
            return None
        offset = self.place(t, SLOT, ELEMENT_BYTES[t.elem])
        return self.k.load(buffer, self.slot * SLOT + offset, t.elem, t.lanes)

    def make_get(self, t: Type, depth: int) -> Instruction | None:
        found = [v for level in self.variables for v in level if v.type == t]
        return self.emit("get", t, self.rng.choice(found)) if found else None

    def make_worker(self, t: Type, depth: int) -> Instruction | None:
        if self.rng.random() < 0.8:
            return None
        worker, workers = self.k.worker(), self.k.workers()
        if t == Type("i1"):
            return self.emit("lt", t, worker, workers)
        return self.emit("sub", t, worker, worker) if t == Type("i64") else None

    # --- memory -----------------------------------------------------------------------------------------------------
    def place(self, t: Type, size: int, align: int) -> Instruction:
        """An offset in 0 .. size - nbytes, a multiple of `align`."""
        k, room = self.k, size - t.nbytes
        base, most = self.bounded(7)
        scale = self.rng.choice([s for s in (0, 1, 2, 4, 8, 16, 32, 64) if s * most <= room and s % align == 0] or [0])
        rest = self.rng.randint(0, (room - scale * most) // align) * align
        return base * k.const(scale, "i64") + rest

    def mask(self, t: Type) -> Instruction | None:
        return self.value(t.of("i1")) if t.lanes > 1 and self.rng.random() < 0.3 else None

    def read(self, buffer: Instruction, t: Type, start: int, size: int, align: int) -> Instruction:
        return self.k.load(buffer, self.place(t, size, align) + start, t.elem, t.lanes, self.mask(t))

    def stores(self, count: int) -> None:
        """Store values in the slot of this iteration; aligned, so that NaNs stay whole."""
        if self.slot is None or not self.outputs:
            return
        for _ in range(count):
            elem = self.rng.choice(list(self.outputs))
            t = self.type((elem,))
            value, mask = self.value(t), self.mask(t)
            offset = self.slot * SLOT + self.place(t, SLOT, ELEMENT_BYTES[elem])
            if self.rng.random() < 0.3:
                self.k.prefetch(self.outputs[elem][0], offset + self.rng.choice((-4096, 0, 1 << 20)))
            self.k.store(self.outputs[elem][0], offset, value, mask)


_MAKERS = (
    _Maker.make_constant, _Maker.make_arithmetic, _Maker.make_arithmetic, _Maker.make_arithmetic, _Maker.make_unary,
    _Maker.make_unary, _Maker.make_comparison, _Maker.make_select, _Maker.make_conversion, _Maker.make_conversion,
    _Maker.make_bitcast, _Maker.make_vector, _Maker.make_vector, _Maker.make_dot4, _Maker.make_dot2,
    _Maker.make_table, _Maker.make_load,
    _Maker.make_load, _Maker.make_private, _Maker.make_output_load, _Maker.make_get, _Maker.make_worker,
)  # fmt: skip
