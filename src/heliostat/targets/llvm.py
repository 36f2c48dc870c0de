"""Prints kernel IR as LLVM IR text, which `llvm_compile` makes machine code of.

Text, not an in-memory builder: printing is many times faster, and what is printed is what a person reads. The printer
knows no schedule; machine instructions come from `instructions.py`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

from ..diagnostics import CompileError
from ..kernel.ir import Block, Instruction, Kernel, Type
from .instructions import choose
from .target import Target

_ELEMENT = {"f16": "half", "f32": "float", "f64": "double"}
_SUFFIX = {"f16": "f16", "f32": "f32", "f64": "f64"}
_INTEGER_OP = {"add": "add", "sub": "sub", "mul": "mul", "div": "sdiv", "rem": "srem", "and": "and", "or": "or",
               "xor": "xor", "shl": "shl", "lshr": "lshr", "ashr": "ashr"}  # fmt: skip
_FLOAT_OP = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER_COMPARE = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "ult": "ult"}
_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole"}
_CAST = {"sext": "sext", "zext": "zext", "trunc": "trunc", "sitofp": "sitofp", "uitofp": "uitofp", "bitcast": "bitcast"}
_OFFSET = Type("i64")
_UNARY = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "rint": "rint", "fabs": "fabs"}


@lru_cache(maxsize=512)
def type_text(t: Type) -> str:
    elem = _ELEMENT.get(t.elem, t.elem)
    return elem if t.lanes == 1 else f"<{t.lanes} x {elem}>"


@lru_cache(maxsize=512)
def suffix_text(t: Type) -> str:
    return t.elem if t.lanes == 1 else f"v{t.lanes}{t.elem}"


def float_text(value: float, elem: str) -> str:
    if elem == "f16":
        return f"0xH{struct.unpack('<H', struct.pack('<e', _as_half(value)))[0]:04X}"
    if elem == "f32":
        value = _as_single(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _as_single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _as_half(value: float) -> float:
    try:
        return float(struct.unpack("<e", struct.pack("<e", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class FunctionPrinter:
    """Prints one kernel. `names` maps instructions to LLVM values; `declarations` is shared by a module's kernels.

    For CPUs a var is not read again where its value is known, and written once, where a basic block ends; a constant in
    an address is an offset from a pointer, as LLVM would write it. That is half of an unrolled body's text.
    """

    def __init__(self, kernel: Kernel, target: Target, declarations: dict[str, None]) -> None:
        self.kernel, self.target, self.declarations = kernel, target, declarations
        self.names: dict[int, str] = {}
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.count = 0
        self.kept: list[Instruction] = []  # made here; `names` knows them by identity
        self.label = "e"
        self.invariant: set[int] = set()
        self.values: dict[int, str] = {}  # of vars, where they are known in this basic block
        self.unwritten: dict[int, Instruction] = {}  # the newest value of vars whose memory holds an older one
        self.pointers: dict[tuple[int, int], str] = {}  # in this basic block, of a buffer and an offset
        self.in_addresses: set[int] = set() if target.gpu else _only_in_addresses(kernel)
        self.half_arithmetic = bool({"fullfp16", "avx512fp16"} & target.features)

    def fresh(self) -> str:
        self.count += 1
        return f"%v{self.count:x}"

    def name(self, i: Instruction) -> str:
        """The operand text of a value, without its type."""
        if i.op == "const":
            return self.constant(i)
        return self.names[id(i)]

    def constant(self, i: Instruction) -> str:
        assert i.type is not None
        t = i.type
        if t.is_float:
            text = float_text(i.value, t.elem)
        elif t.elem == "i1":
            text = "true" if i.value else "false"
        else:
            text = str(i.value)
        if t.lanes == 1:
            return text
        if i.value == 0 and not (t.is_float and math.copysign(1.0, i.value) < 0):
            return "zeroinitializer"
        return f"splat ({type_text(Type(t.elem))} {text})"

    def typed(self, i: Instruction) -> str:
        assert i.type is not None
        return f"{type_text(i.type)} {self.name(i)}"

    def intrinsic(self, name: str, result: Type, args: Sequence[Type], tail: str = "") -> str:
        full = f"@llvm.{name}"
        self.declarations[f"declare {type_text(result)} {full}({', '.join(map(type_text, args))}{tail})"] = None
        return full

    # --- whole kernel -----------------------------------------------------------------------------------------
    def run(self) -> str:
        for n, (parameter, buffer) in enumerate(zip(self.kernel.parameters, self.kernel.buffers, strict=True)):
            self.names[id(buffer)] = f"%b{n}"
            self.entry.append(f"%p{n} = getelementptr ptr, ptr %a, i64 {n}")
            self.entry.append(f"%b{n} = load ptr, ptr %p{n}, !invariant.load !0")
            if parameter.mode == "r":
                self.invariant.add(id(buffer))
        self.block(self.kernel.body)
        body = "\n".join(self.lines)
        entry = "\n".join(self.entry)
        return f"define void @{self.kernel.name}(ptr %a, i64 %w, i64 %W) #0 {{\ne:\n{entry}\n{body}\nret void\n}}\n"

    def block(self, block: Block) -> None:
        for i in block:
            getattr(self, f"op_{i.op}", self.plain)(i)

    def end_of_basic_block(self) -> None:
        """Write vars, and forget what the next basic block may not know."""
        self.lines += [f"store {self.typed(value)}, ptr {self.names[var]}" for var, value in self.unwritten.items()]
        self.unwritten.clear()
        self.values.clear()
        self.pointers.clear()

    def define(self, i: Instruction, text: str) -> None:
        name = self.fresh()
        self.names[id(i)] = name
        self.lines.append(f"{name} = {text}")

    # --- arithmetic -------------------------------------------------------------------------------------------
    def plain(self, i: Instruction) -> None:
        """Arithmetic, comparisons, casts and unary intrinsics, by table."""
        op, args = i.op, i.args
        if id(i) in self.in_addresses:
            return
        assert i.type is not None
        source = args[0].type
        assert source is not None
        if op in _UNARY:
            call = self.intrinsic(f"{_UNARY[op]}.{suffix_text(i.type)}", i.type, (i.type,))
            self.define(i, f"call {type_text(i.type)} {call}({self.typed(args[0])})")
        elif op in _CAST:
            self.define(i, f"{_CAST[op]} {self.typed(args[0])} to {type_text(i.type)}")
        elif source.is_float and op in _FLOAT_COMPARE:
            self.define(i, f"fcmp {_FLOAT_COMPARE[op]} {self.typed(args[0])}, {self.name(args[1])}")
        elif op in _INTEGER_COMPARE:
            self.define(i, f"icmp {_INTEGER_COMPARE[op]} {self.typed(args[0])}, {self.name(args[1])}")
        else:
            table = _FLOAT_OP if source.is_float else _INTEGER_OP
            self.define(i, f"{table[op]} {self.typed(args[0])}, {self.name(args[1])}")

    def op_neg(self, i: Instruction) -> None:
        self.define(i, f"fneg {self.typed(i.args[0])}")

    def op_fma(self, i: Instruction) -> None:
        assert i.type is not None
        if i.type.elem == "f16" and not self.half_arithmetic:
            # The product is exact in f64, and a sum rounded to 53 bits is never moved onto a tie of 11 bits.
            wide = type_text(i.type.of("f64"))
            names = [self.fresh() for _ in range(5)]
            self.lines += [f"{n} = fpext {self.typed(a)} to {wide}" for n, a in zip(names[:3], i.args, strict=True)]
            self.lines.append(f"{names[3]} = fmul {wide} {names[0]}, {names[1]}")
            self.lines.append(f"{names[4]} = fadd {wide} {names[3]}, {names[2]}")
            self.half_from_double(i, names[4])
            return
        call = self.intrinsic(f"fma.{suffix_text(i.type)}", i.type, (i.type,) * 3)
        self.define(i, f"call {type_text(i.type)} {call}({', '.join(map(self.typed, i.args))})")

    def _extreme(self, i: Instruction, float_compare: str, integer: str) -> None:
        a, b = i.args
        assert i.type is not None
        if i.type.is_float:
            flag = self.fresh()
            self.lines.append(f"{flag} = fcmp {float_compare} {self.typed(a)}, {self.name(b)}")
            self.define(i, f"select {type_text(i.type.of('i1'))} {flag}, {self.typed(a)}, {self.typed(b)}")
        else:
            call = self.intrinsic(f"{integer}.{suffix_text(i.type)}", i.type, (i.type,) * 2)
            self.define(i, f"call {type_text(i.type)} {call}({self.typed(a)}, {self.typed(b)})")

    def op_min(self, i: Instruction) -> None:
        self._extreme(i, "olt", "smin")

    def op_max(self, i: Instruction) -> None:
        self._extreme(i, "ogt", "smax")

    def op_select(self, i: Instruction) -> None:
        self.define(i, f"select {', '.join(map(self.typed, i.args))}")

    def op_fpcast(self, i: Instruction) -> None:
        assert i.type is not None
        source = i.args[0].type
        assert source is not None
        if source.elem == "f64" and i.type.elem == "f16" and not self.half_arithmetic:
            self.half_from_double(i, self.name(i.args[0]))
            return
        self.define(
            i,
            f"{'fpext' if i.type.nbytes > source.nbytes else 'fptrunc'} {self.typed(i.args[0])} to {type_text(i.type)}",
        )

    def half_from_double(self, i: Instruction, value: str) -> None:
        """Define `i` as f64 `value` rounded once to f16, where the machine cannot convert so: to f32 first, rounded
        to odd, which keeps every tie apart from what lies beside it. Source: Boldo and Melquiond, 2008, theorem 3.
        """
        assert i.type is not None
        single, double, half = (type_text(i.type.of(e)) for e in ("f32", "f64", "f16"))
        bits, flag = type_text(i.type.of("i32")), type_text(i.type.of("i1"))
        near, back, b, inexact, one, more, there, here, past, less, down, odd, result = (
            self.fresh() for _ in range(13)
        )
        fabs = self.intrinsic(f"fabs.{suffix_text(i.type.of('f64'))}", i.type.of("f64"), (i.type.of("f64"),))
        self.lines += [
            f"{near} = fptrunc {double} {value} to {single}",
            f"{back} = fpext {single} {near} to {double}",
            f"{b} = bitcast {single} {near} to {bits}",
            f"{inexact} = fcmp one {double} {back}, {value}",
            f"{one} = zext {flag} {inexact} to {bits}",
            f"{there} = call {double} {fabs}({double} {back})",
            f"{here} = call {double} {fabs}({double} {value})",
            f"{past} = fcmp ogt {double} {there}, {here}",
            f"{less} = zext {flag} {past} to {bits}",
            f"{down} = sub {bits} {b}, {less}",
            f"{more} = or {bits} {down}, {one}",
            f"{odd} = bitcast {bits} {more} to {single}",
            f"{result} = fptrunc {single} {odd} to {half}",
        ]
        self.names[id(i)] = result

    def op_fptosi(self, i: Instruction) -> None:
        source = i.args[0].type
        assert i.type is not None
        assert source is not None
        call = self.intrinsic(f"fptosi.sat.{suffix_text(i.type)}.{suffix_text(source)}", i.type, (source,))
        self.define(i, f"call {type_text(i.type)} {call}({self.typed(i.args[0])})")

    # --- vectors ----------------------------------------------------------------------------------------------
    def op_iota(self, i: Instruction) -> None:
        assert i.type is not None
        elem = type_text(Type(i.type.elem))
        self.names[id(i)] = "<" + ", ".join(f"{elem} {n}" for n in range(i.type.lanes)) + ">"

    def op_splat(self, i: Instruction) -> None:
        assert i.type is not None
        one = self.fresh()
        vector = type_text(i.type)
        self.lines.append(f"{one} = insertelement {vector} poison, {self.typed(i.args[0])}, i32 0")
        self.define(i, f"shufflevector {vector} {one}, {vector} poison, <{i.type.lanes} x i32> zeroinitializer")

    def op_extract(self, i: Instruction) -> None:
        self.define(i, f"extractelement {self.typed(i.args[0])}, i32 {i.attrs['lane']}")

    def op_shuffle(self, i: Instruction) -> None:
        a, b = i.args
        self.define(i, self.shuffle_text(self.typed(a), self.typed(b), i.attrs["lanes"]))

    def op_gather(self, i: Instruction) -> None:
        raise CompileError(f"kernel {self.kernel.name}: {i.op} is for GPUs", help="this is a bug in a schedule")

    op_mma = op_scatter = op_fma_pair = op_permute_bytes = op_exp2 = op_pack_pair = op_maxnum = op_gather
    op_rcp = op_maximum = op_minimum = op_load_matrices = op_round_tf32 = op_gather
    op_copy_async = op_commit_copies = op_wait_copies = op_barrier = op_warpgroup_mma = op_wait_mma = op_gather

    def op_reduce(self, i: Instruction) -> None:
        """By halves, as the interpreter does it; flags by comparing their bits with none, one instruction on CPUs."""
        a = i.args[0]
        if a.elem == "i1":
            bits = self.fresh()
            self.lines.append(f"{bits} = bitcast {self.typed(a)} to i{a.lanes}")
            self.define(i, f"icmp ne i{a.lanes} {bits}, 0")
            return
        while a.lanes > 1:
            half = a.lanes // 2
            t = Type(a.elem, half)
            parts: list[Instruction] = []
            for start in (0, half):
                if half == 1:
                    parts.append(Instruction("extract", t, (a,), {"lane": start}))
                else:
                    parts.append(Instruction("shuffle", t, (a, a), {"lanes": range(start, start + half)}))
            a = Instruction(i.attrs["kind"], t, tuple(parts))
            self.block([*parts, a])
            self.kept.append(a)
        self.names[id(i)] = self.names[id(a)]

    @staticmethod
    def shuffle_text(a: str, b: str, lanes: Sequence[int]) -> str:
        mask = ", ".join(f"i32 {n}" for n in lanes)
        return f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{mask}>"

    def op_dot4(self, i: Instruction) -> None:
        self.machine(i, (1, 4, 4))

    def op_dot2(self, i: Instruction) -> None:
        self.machine(i, (1, 2, 2))

    def op_table(self, i: Instruction) -> None:
        self.machine(i, (1,))

    def machine(self, i: Instruction, widths: Sequence[int]) -> None:
        """Expand through the instruction table, cutting wide vectors into the instruction's lanes.

        `widths[n]` is how many lanes operand n has for each lane of the result.
        """
        assert i.type is not None
        attrs = {**i.attrs, "elem": i.type.elem}
        row = choose(i.op, attrs, i.type.lanes, self.target.architecture, self.target.features)
        if row is None:
            self.table_by_selects(i)
            return
        self.declarations.update(dict.fromkeys(row.declarations))
        lanes = row.lanes or i.type.lanes
        parts: list[str] = []
        for start in range(0, i.type.lanes, lanes):
            names = {"n": str(lanes), "n2": str(2 * lanes), "n4": str(4 * lanes)}
            for n, (arg, width) in enumerate(zip(i.args, widths, strict=True)):
                names[str(n)] = self.part(arg, start * width, lanes * width)
            if i.op == "table":
                names["table"] = self.table_constant(i, lanes)
            result = self.fresh()
            names["d"] = result
            temporaries: dict[str, str] = {}
            positional = [names[str(n)] for n in range(len(i.args))]
            lookup = _Names(names, temporaries, self.fresh)
            self.lines += [line.format(*positional, **lookup.for_line(line)) for line in row.lines]
            parts.append(result)
        elem = _ELEMENT.get(i.type.elem, i.type.elem)
        while len(parts) > 1:
            joined = []
            for a, b in zip(parts[::2], parts[1::2], strict=True):
                vector = f"<{lanes} x {elem}>"
                name = self.fresh()
                self.lines.append(f"{name} = {self.shuffle_text(f'{vector} {a}', f'{vector} {b}', range(2 * lanes))}")
                joined.append(name)
            parts, lanes = joined, 2 * lanes
        self.names[id(i)] = parts[0]

    def part(self, i: Instruction, start: int, count: int) -> str:
        assert i.type is not None
        if count == i.type.lanes:
            return self.name(i)
        name = self.fresh()
        self.lines.append(
            f"{name} = {self.shuffle_text(self.typed(i), type_text(i.type) + ' poison', range(start, start + count))}"
        )
        return name

    @staticmethod
    def table_constant(i: Instruction, lanes: int) -> str:
        values = i.attrs["values"]
        return "<" + ", ".join(f"i8 {values[n % 16]}" for n in range(lanes)) + ">"

    def table_by_selects(self, i: Instruction) -> None:
        """A lookup without a permute instruction: one select per entry."""
        assert i.type is not None
        vector, index = type_text(i.type), self.name(i.args[0])
        current = "zeroinitializer" if i.type.lanes > 1 else "0"
        spread = (lambda v: f"splat (i8 {v})") if i.type.lanes > 1 else str
        for n, value in enumerate(i.attrs["values"]):
            flag, name = self.fresh(), self.fresh()
            self.lines.append(f"{flag} = icmp eq {vector} {index}, {spread(n)}")
            self.lines.append(
                f"{name} = select {type_text(i.type.of('i1'))} {flag}, {vector} {spread(value)}, {vector} {current}"
            )
            current = name
        self.names[id(i)] = current

    # --- memory -----------------------------------------------------------------------------------------------
    def address(self, buffer: Instruction, offset: Instruction) -> str:
        base, more = offset, ""
        if id(offset) in self.in_addresses:
            base, constant = offset.args
            more = f", i64 {constant.value}"
        pointer = self.pointers.get((id(buffer), id(base)))
        if pointer is None:
            pointer = self.pointers[id(buffer), id(base)] = self.fresh()
            self.lines.append(f"{pointer} = getelementptr i8, ptr {self.name(buffer)}, {self.typed(base)}")
        if not more:
            return pointer
        name = self.fresh()
        self.lines.append(f"{name} = getelementptr i8, ptr {pointer}{more}")
        return name

    def op_load(self, i: Instruction) -> None:
        assert i.type is not None
        self.check_memory(i.type)
        address = self.address(i.args[0], i.args[1])
        t = type_text(i.type)
        if len(i.args) == 3:
            mask = i.args[2]
            call = self.masked("load", i.type)
            self.define(i, f"call {t} {call}(ptr align 1 {address}, {self.typed(mask)}, {t} zeroinitializer)")
            return
        tail = ", !invariant.load !0" if id(i.args[0]) in self.invariant else ""
        self.define(i, f"load {t}, ptr {address}, align 1{tail}")

    def op_store(self, i: Instruction) -> None:
        buffer, offset, value = i.args[:3]
        assert value.type is not None
        self.check_memory(value.type)
        address = self.address(buffer, offset)
        if len(i.args) == 4:
            call = self.masked("store", value.type)
            mask = self._hidden(i.args[3]) if value.type.elem in ("i8", "i16", "i32") else self.typed(i.args[3])
            self.lines.append(f"call void {call}({self.typed(value)}, ptr align 1 {address}, {mask})")
            return
        self.lines.append(f"store {self.typed(value)}, ptr {address}, align 1")

    def _hidden(self, mask: Instruction) -> str:
        """A store's mask in a form that LLVM folds no constant into, where that matters: for AVX-512 LLVM 22 makes of a
        narrowed vector and a constant mask of one lane a store of that lane before narrowing, which writes behind it.
        """
        assert mask.type is not None
        if not {"avx512bw", "avx512vl"} <= self.target.features or mask.type.lanes > 64:
            return self.typed(mask)
        t, lanes, given = type_text(mask.type), mask.type.lanes, self.typed(mask)
        name, held = self.fresh(), type_text(Type("i1", max(8, lanes)))  # a mask register has no fewer lanes
        if lanes < 8:
            wide = self.fresh()
            order = ", ".join(f"i32 {min(n, lanes)}" for n in range(8))
            self.lines.append(f"{wide} = shufflevector {given}, {t} zeroinitializer, <8 x i32> <{order}>")
            given = f"{held} {wide}"
        self.lines.append(f'{name} = call {held} asm "", "=k,0"({given})')
        if lanes >= 8:
            return f"{held} {name}"
        short = self.fresh()
        order = ", ".join(f"i32 {n}" for n in range(lanes))
        self.lines.append(f"{short} = shufflevector {held} {name}, {held} poison, <{lanes} x i32> <{order}>")
        return f"{t} {short}"

    def op_prefetch(self, i: Instruction) -> None:
        self.declarations["declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"] = None
        address = self.address(i.args[0], i.args[1])
        self.lines.append(f"call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 3, i32 1)")

    def op_ready(self, i: Instruction) -> None:
        """A core begins a kernel when all before it are done."""

    def check_memory(self, t: Type) -> None:
        if t.elem == "i1":
            raise CompileError(f"kernel {self.kernel.name}: i1 is not a memory type; store flags as i8")

    def masked(self, kind: str, t: Type) -> str:
        name = f"@llvm.masked.{kind}.{suffix_text(t)}.p0"
        vector, mask = type_text(t), type_text(t.of("i1"))
        if kind == "load":
            self.declarations[f"declare {vector} {name}(ptr, {mask}, {vector})"] = None
        else:
            self.declarations[f"declare void {name}({vector}, ptr, {mask})"] = None
        return name

    def op_alloc(self, i: Instruction) -> None:
        name = self.fresh()
        self.entry.append(f"{name} = alloca [{i.attrs['nbytes']} x i8], align 64")
        self.names[id(i)] = name

    def op_var(self, i: Instruction) -> None:
        assert i.type is not None
        name = self.fresh()
        self.entry.append(f"{name} = alloca {type_text(i.type)}")
        self.names[id(i)] = name
        self.assign(i, i.args[0])

    def op_get(self, i: Instruction) -> None:
        assert i.type is not None
        var = i.args[0]
        if id(var) in self.values:
            self.names[id(i)] = self.values[id(var)]
            return
        self.define(i, f"load {type_text(i.type)}, ptr {self.name(var)}")
        if not self.target.gpu:
            self.values[id(var)] = self.names[id(i)]

    def op_set(self, i: Instruction) -> None:
        self.assign(*i.args)

    def assign(self, var: Instruction, value: Instruction) -> None:
        if self.target.gpu:
            self.lines.append(f"store {self.typed(value)}, ptr {self.name(var)}")
        else:
            self.values[id(var)], self.unwritten[id(var)] = self.name(value), value

    # --- regions ----------------------------------------------------------------------------------------------
    def op_index(self, i: Instruction) -> None:
        """Named by the region that opens its block."""

    def op_worker(self, i: Instruction) -> None:
        self.names[id(i)] = "%w"

    def op_workers(self, i: Instruction) -> None:
        self.names[id(i)] = "%W"

    def op_loop(self, i: Instruction) -> None:
        self.counted(i.blocks[0], self.name(i.args[0]), self.name(i.args[1]), i.attrs["step"])

    def op_parallel(self, i: Instruction) -> None:
        """Worker w of W takes [count * w / W, count * (w + 1) / W): of a single one, the last worker."""
        count = self.name(i.args[0])
        if count == "1" and not self.target.gpu:
            next_worker, last = self.fresh(), self.fresh()
            self.lines += [f"{next_worker} = add i64 %w, 1", f"{last} = icmp eq i64 {next_worker}, %W"]
            self.names[id(i.blocks[0][0])] = "0"
            self.branch(last, i.blocks[0], [])
            return
        a, b, c, lo, hi = (self.fresh() for _ in range(5))
        self.lines += [
            f"{a} = mul i64 {count}, %w", f"{lo} = udiv i64 {a}, %W", f"{b} = add i64 %w, 1",
            f"{c} = mul i64 {count}, {b}", f"{hi} = udiv i64 {c}, %W",
        ]  # fmt: skip
        self.counted(i.blocks[0], lo, hi, 1)

    def counted(self, block: Block, lo: str, hi: str, step: int) -> None:
        n = self.fresh()[1:]
        index = f"%i{n}"
        self.names[id(block[0])] = index
        self.end_of_basic_block()
        self.lines += [f"br label %h{n}", f"h{n}:"]
        header = len(self.lines)
        before = self.label
        self.lines += [f"%c{n} = icmp slt i64 {index}, {hi}", f"br i1 %c{n}, label %l{n}, label %x{n}", f"l{n}:"]
        self.label = f"l{n}"
        self.block(block)
        self.end_of_basic_block()
        self.lines.insert(header, f"{index} = phi i64 [{lo}, %{before}], [%n{n}, %{self.label}]")
        self.lines += [f"%n{n} = add nsw i64 {index}, {step}", f"br label %h{n}", f"x{n}:"]
        self.label = f"x{n}"

    def op_if(self, i: Instruction) -> None:
        self.branch(self.name(i.args[0]), *i.blocks)

    def branch(self, condition: str, then: Block, otherwise: Block) -> None:
        n = self.fresh()[1:]
        self.end_of_basic_block()
        self.lines += [f"br i1 {condition}, label %t{n}, label %f{n}", f"t{n}:"]
        self.label = f"t{n}"
        self.block(then)
        self.end_of_basic_block()
        self.lines += [f"br label %x{n}", f"f{n}:"]
        self.label = f"f{n}"
        self.block(otherwise)
        self.end_of_basic_block()
        self.lines += [f"br label %x{n}", f"x{n}:"]
        self.label = f"x{n}"


def _only_in_addresses(kernel: Kernel) -> set[int]:
    """Identities of the sums with a constant that are nothing but addresses."""
    sums: set[int] = set()
    elsewhere: set[int] = set()
    for i in kernel.walk():
        if i.op == "add" and i.args[1].op == "const" and i.type == _OFFSET:
            sums.add(id(i))
        address = 1 if i.op in ("load", "store", "prefetch") else None  # its place: a store may write its own address
        elsewhere.update(id(a) for n, a in enumerate(i.args) if n != address)
    return sums - elsewhere


class _Names:
    """Names for the placeholders of a template; temporaries are made when first met and kept for the instruction."""

    def __init__(self, names: dict[str, str], temporaries: dict[str, str], fresh: Callable[[], str]) -> None:
        self.names, self.temporaries, self.fresh = names, temporaries, fresh

    def for_line(self, line: str) -> dict[str, str]:
        result = {k: v for k, v in self.names.items() if not k.isdigit()}
        for piece in line.split("{")[1:]:
            key = piece.partition("}")[0]
            if key.startswith("t") and key[1:].isdigit():
                if key not in self.temporaries:
                    self.temporaries[key] = self.fresh()
                result[key] = self.temporaries[key]
        return result


def print_llvm(kernels: Sequence[Kernel], target: Target) -> str:
    """One LLVM module with a function per kernel: `void NAME(ptr args, i64 worker, i64 workers)`."""
    declarations: dict[str, None] = {}
    functions = [FunctionPrinter(kernel, target, declarations).run() for kernel in kernels]
    head = f'target triple = "{target.triple}"\n'
    width = 8 * target.vector_bytes
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" }}'
    return "\n".join([head, *declarations, *functions, attributes, "!0 = !{}", ""])
