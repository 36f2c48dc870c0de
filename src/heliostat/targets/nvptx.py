"""Prints the body of a kernel for NVIDIA GPUs: LLVM IR for the NVPTX back end. A warp is a worker.

A kernel becomes `void NAME(buffers...)` for blocks of `warps(kernel)` warps. The driver turns PTX into machine code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..diagnostics import CompileError
from ..kernel.ir import Instruction, Kernel, Type
from ..kernel.warp import WARP, for_threads, team_size
from .llvm import FunctionPrinter, float_text, suffix_text, type_text
from .nvptx_blocks import overlaps, warps
from .target import Target

SWIZZLED = (16, 1024)  # strides of a tile for warpgroup_mma whose rows of 128 bytes are swizzled
LINE = 128  # bytes of a line of the second-level cache

GLOBAL, _SHARED = "ptr addrspace(1)", "ptr addrspace(3)"
_ALL = "i32 -1"


QUOTIENT = """define internal i64 @quotient(i64 %a, i64 %b) alwaysinline nounwind {
e:
  %below = icmp slt i64 %a, 0
  %under = icmp slt i64 %b, 0
  %na = sub i64 0, %a
  %nb = sub i64 0, %b
  %n = select i1 %below, i64 %na, i64 %a
  %d = select i1 %under, i64 %nb, i64 %b
  %either = or i64 %n, %d
  %long = icmp ugt i64 %either, 4294967295
  br i1 %long, label %loop, label %short
short:
  %n32 = trunc i64 %n to i32
  %d32 = trunc i64 %d to i32
  %q32 = udiv i32 %n32, %d32
  %qs = zext i32 %q32 to i64
  br label %x
loop:
  %bit = phi i64 [63, %e], [%lower, %loop]
  %rest = phi i64 [0, %e], [%left, %loop]
  %q = phi i64 [0, %e], [%more, %loop]
  %high = lshr i64 %n, %bit
  %one = and i64 %high, 1
  %twice = shl i64 %rest, 1
  %r = or i64 %twice, %one
  %fits = icmp uge i64 %r, %d
  %less = sub i64 %r, %d
  %left = select i1 %fits, i64 %less, i64 %r
  %digit = zext i1 %fits to i64
  %double = shl i64 %q, 1
  %more = or i64 %double, %digit
  %lower = sub i64 %bit, 1
  %last = icmp eq i64 %bit, 0
  br i1 %last, label %x, label %loop, !llvm.loop !1
x:
  %size = phi i64 [%qs, %short], [%more, %loop]
  %minus = sub i64 0, %size
  %apart = xor i1 %below, %under
  %found = select i1 %apart, i64 %minus, i64 %size
  ret i64 %found
}
"""
"""a / b toward zero without a call: bit by bit where 32 bits do not hold both."""


METADATA = ("!0 = !{}", "!1 = distinct !{!1, !2}", '!2 = !{!"llvm.loop.unroll.disable"}')
"""Of invariant loads, and of the loop in QUOTIENT, which unrolled would be as long as a kernel."""


class ThreadPrinter(FunctionPrinter):
    """Prints one kernel as its threads run it."""

    def __init__(self, kernel: Kernel, target: Target, declarations: dict[str, None]) -> None:
        self.team = bool(team_size(kernel))
        super().__init__(for_threads(kernel), target, declarations)
        self.spaces: dict[int, str] = {}
        self.half_arithmetic = True
        self.warps = warps(kernel)
        self.given = 0  # bytes of shared memory given out so far
        self.phases: dict[int, str] = {}  # of barriers: which of two phases a warp is to wait for
        self.tiles = any(i.op == "warpgroup_mma" for i in kernel.walk())

    def run(self) -> str:
        """A function of the kernel's buffers, the number of this block and how many there are."""
        kernel = self.kernel
        parameters = []
        # A load that is called invariant may be moved before the wait for the launch ahead: true for weights alone.
        asked = {id(i.args[0]) for i in kernel.body if i.op == "prefetch"}
        for n, (parameter, buffer) in enumerate(zip(kernel.parameters, kernel.buffers, strict=True)):
            self.names[id(buffer)] = f"%b{n}"
            self.spaces[id(buffer)] = GLOBAL
            parameters.append(f"{GLOBAL} align 16 %b{n}")
            if id(buffer) in asked or (parameter.mode == "r" and not overlaps(self.target)):
                self.invariant.add(id(buffer))
        shift = 0 if self.team else self.warps.bit_length() - 1  # workers are blocks, or the warps of them
        self.declarations["declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()"] = None
        own = "0" if self.team else "%warp"
        self.entry += [
            "%tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()",
            f"%thread = and i32 %tid, {WARP - 1}", "%warp = lshr i32 %tid, 5",
            f"%w0 = shl i32 %ctaid, {shift}", f"%w1 = add i32 %w0, {own}", "%w = zext i32 %w1 to i64",
            f"%W0 = shl i32 %nctaid, {shift}", "%W = zext i32 %W0 to i64",
        ]  # fmt: skip
        if not any(i.op == "ready" for i in kernel.body):
            self.op_ready(None)
        self.block(kernel.body)
        parameters += ["i32 %ctaid", "i32 %nctaid"]
        head = f"define internal void @{kernel.name}_body({', '.join(parameters)}) alwaysinline nounwind {{\ne:"
        return "\n".join([head, *self.entry, *self.lines, "ret void\n}\n"])

    def op_ready(self, i: Instruction | None) -> None:
        """Wait for the launch before, where this one may begin earlier than its end."""
        if overlaps(self.target):
            self.lines.append('call void asm sideeffect "griddepcontrol.wait;", "~{memory}"()')

    def op_prefetch(self, i: Instruction) -> None:
        """Lines of a worker's share into the second-level cache, a line for a thread in turn."""
        nbytes = i.attrs["nbytes"]
        base = self.address(i.args[0], i.args[1])
        own, threads = ("%thread", WARP) if i.attrs["alone"] else ("%tid", WARP * self.warps)
        for first in range(0, -(-nbytes // LINE), threads):
            line = self.emit(f"add i32 {own}, {first}")
            at = self.emit(f"mul i32 {line}, {LINE}")
            where = self.emit(f"getelementptr i8, {self.space(i.args[0])} {base}, i32 {at}")
            n = self.fresh()[1:]
            inside = self.emit(f"icmp ult i32 {at}, {nbytes}")
            self.lines += [f"br i1 {inside}, label %t{n}, label %x{n}", f"t{n}:"]
            self.lines.append(f'call void asm sideeffect "prefetch.global.L2 [$0];", "l"({GLOBAL} {where})')
            self.lines += [f"br label %x{n}", f"x{n}:"]
            self.label = f"x{n}"

    # --- threads ------------------------------------------------------------------------------------------------------
    def op_thread(self, i: Instruction) -> None:
        self.names[id(i)] = "%thread"

    def op_warp(self, i: Instruction) -> None:
        self.names[id(i)] = "%warp"

    def op_together(self, i: Instruction) -> None:
        if i.attrs.get("block"):
            if self.tiles:  # what threads wrote is read by wgmma, which goes another way to memory
                self.lines.append('call void asm sideeffect "fence.proxy.async.shared::cta;", "~{memory}"()')
            barrier = "@llvm.nvvm.barrier.cta.sync.aligned.count"  # other kernels of the launch may have more threads
            self.declarations[f"declare void {barrier}(i32, i32)"] = None
            self.lines.append(f"call void {barrier}(i32 0, i32 {WARP * self.warps})")
            return
        self.declarations["declare void @llvm.nvvm.bar.warp.sync(i32)"] = None
        self.lines.append(f"call void @llvm.nvvm.bar.warp.sync({_ALL})")

    def barrier_address(self, barrier: Instruction) -> str:
        return self.emit(f"ptrtoint {_SHARED} {self.name(barrier)} to i32")

    def op_arrive(self, i: Instruction) -> None:
        """One arrival for a warp, when all its threads are here."""
        if self.tiles:
            self.lines.append('call void asm sideeffect "fence.proxy.async.shared::cta;", "~{memory}"()')
        self.declarations["declare void @llvm.nvvm.bar.warp.sync(i32)"] = None
        self.lines.append(f"call void @llvm.nvvm.bar.warp.sync({_ALL})")
        text = "{ .reg .pred p; .reg .b64 s; setp.eq.s32 p, $1, 0; @p mbarrier.arrive.shared::cta.b64 s, [$0]; }"
        at = self.barrier_address(i.args[0])
        self.lines.append(f'call void asm sideeffect "{text}", "r,r,~{{memory}}"(i32 {at}, i32 %thread)')

    def op_await(self, i: Instruction) -> None:
        place = self.phases[id(i.args[0])]
        phase = self.emit(f"load i32, ptr {place}")
        text = "{ .reg .pred p; W: mbarrier.try_wait.parity.shared::cta.b64 p, [$0], $1; @p bra D; bra W; D: }"
        at = self.barrier_address(i.args[0])
        self.lines.append(f'call void asm sideeffect "{text}", "r,r,~{{memory}}"(i32 {at}, i32 {phase})')
        self.lines.append(f"store i32 {self.emit(f'xor i32 {phase}, 1')}, ptr {place}")

    def op_from_thread(self, i: Instruction) -> None:
        self.exchange(i, "idx", self.typed(i.args[1]))

    def op_from_other(self, i: Instruction) -> None:
        self.exchange(i, "bfly", f"i32 {i.attrs['mask']}")

    def op_across(self, i: Instruction) -> None:
        """Of i32s of all threads: one instruction, or an exchange of halves."""
        kind, value = i.attrs["kind"], self.name(i.args[0])
        if self.target.capability >= 80:
            function = f"@llvm.nvvm.redux.sync.{kind}"
            self.declarations[f"declare i32 {function}(i32, i32)"] = None
            self.define(i, f"call i32 {function}(i32 {value}, {_ALL})")
            return
        function = "@llvm.nvvm.shfl.sync.bfly.i32"
        self.declarations[f"declare i32 {function}(i32, i32, i32, i32)"] = None
        for mask in (16, 8, 4, 2, 1):
            other = self.emit(f"call i32 {function}({_ALL}, i32 {value}, i32 {mask}, i32 31)")
            if kind == "add":
                value = self.emit(f"add i32 {value}, {other}")
            else:
                value = self.emit(f"call i32 @llvm.s{kind}.i32(i32 {value}, i32 {other})")
                self.declarations[f"declare i32 @llvm.s{kind}.i32(i32, i32)"] = None
        self.names[id(i)] = value

    def exchange(self, i: Instruction, kind: str, where: str) -> None:
        """A shuffle of 32-bit words between threads; other widths are cut or filled up."""
        function = f"@llvm.nvvm.shfl.sync.{kind}.i32"
        self.declarations[f"declare i32 {function}(i32, i32, i32, i32)"] = None
        t = i.args[0].type
        assert t is not None
        bits = 1 if t.elem == "i1" else 8 * t.nbytes
        value = self.name(i.args[0])
        if t.is_float:
            value = self.emit(f"bitcast {self.typed(i.args[0])} to i{bits}")

        def moved(word: str) -> str:
            return self.emit(f"call i32 {function}({_ALL}, i32 {word}, {where}, i32 31)")

        if bits < 32:
            result = self.emit(f"trunc i32 {moved(self.emit(f'zext i{bits} {value} to i32'))} to i{bits}")
        elif bits == 32:
            result = moved(value)
        else:
            low = self.emit(f"trunc i64 {value} to i32")
            high = self.emit(f"trunc i64 {self.emit(f'lshr i64 {value}, 32')} to i32")
            low, high = (self.emit(f"zext i32 {moved(x)} to i64") for x in (low, high))
            result = self.emit(f"or i64 {low}, {self.emit(f'shl i64 {high}, 32')}")
        if t.is_float:
            result = self.emit(f"bitcast i{bits} {result} to {type_text(t)}")
        self.names[id(i)] = result

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.lines.append(f"{name} = {text}")
        return name

    def op_pack(self, i: Instruction) -> None:
        assert i.type is not None
        value = "poison"
        for n, part in enumerate(i.args):
            value = self.emit(f"insertelement {type_text(i.type)} {value}, {self.typed(part)}, i32 {n}")
        self.names[id(i)] = value

    def op_div(self, i: Instruction) -> None:
        """Of 64 bits, ptxas makes a call. The driver's linker has it assume calls of anything then, and it waits for
        each product by four warps together before it begins the next.
        """
        if not self.divides_by_call(i):
            self.plain(i)
            return
        self.names[id(i)] = self.quotient(i)

    def op_rem(self, i: Instruction) -> None:
        if not self.divides_by_call(i):
            self.plain(i)
            return
        whole = self.emit(f"mul i64 {self.quotient(i)}, {self.name(i.args[1])}")
        self.define(i, f"sub i64 {self.name(i.args[0])}, {whole}")

    def divides_by_call(self, i: Instruction) -> bool:
        return self.tiles and i.type == Type("i64") and i.args[1].op != "const"

    def quotient(self, i: Instruction) -> str:
        self.declarations[QUOTIENT] = None
        return self.emit(f"call i64 @quotient(i64 {self.name(i.args[0])}, i64 {self.name(i.args[1])})")

    def op_bitcast(self, i: Instruction) -> None:
        assert i.type is not None
        self.define(i, f"bitcast {self.typed(i.args[0])} to {type_text(i.type)}")

    def op_trunc(self, i: Instruction) -> None:
        """Through an integer instruction: ptxas takes the store of a float's low byte for a conversion of the float."""
        source = i.args[0]
        assert i.type is not None
        assert source.type is not None
        if source.elem != "i32" or source.lanes > 1 or i.elem not in ("i8", "i16") or not _from_float(source):
            self.plain(i)
            return
        bits = self.emit(f'call i32 asm "prmt.b32 $0, $1, 0, 0x3210;", "=r,r"(i32 {self.name(source)})')
        self.define(i, f"trunc i32 {bits} to {type_text(i.type)}")

    def op_dot4(self, i: Instruction) -> None:
        if i.lanes > 1:
            super().op_dot4(i)
            return
        function = "@llvm.nvvm.idp4a.u.s"
        self.declarations[f"declare i32 {function}(i32, i32, i32)"] = None
        a, b = (self.emit(f"bitcast {self.typed(x)} to i32") for x in i.args[1:])
        self.define(i, f"call i32 {function}(i32 {a}, i32 {b}, i32 {self.name(i.args[0])})")

    def op_gather(self, i: Instruction) -> None:
        assert i.type is not None
        buffer, offset, lanes = i.args
        base = self.address(buffer, offset)
        run = i.type.lanes // lanes.lanes
        elem, space = Type(i.type.elem, run), self.space(buffer)
        tail = ", !invariant.load !0" if id(buffer) in self.invariant else ""
        values = []
        for n in range(lanes.lanes):
            one = self.name(lanes)
            if lanes.lanes > 1:
                one = self.emit(f"extractelement {self.typed(lanes)}, i32 {n}")
            where = self.emit(f"getelementptr i8, {space} {base}, i32 {one}")
            values.append(self.emit(f"load {type_text(elem)}, {space} {where}, align {i.attrs['align']}{tail}"))
        if run > 1 and len(values) > 1:
            raise CompileError(f"kernel {self.kernel.name}: a thread gathers one run", help="a bug in a schedule")
        self.names[id(i)] = values[0] if len(values) == 1 else self.packed(type_text(i.type), elem, values)

    def op_scatter(self, i: Instruction) -> None:
        buffer, offset, lanes, value = i.args
        assert value.type is not None
        base, space = self.address(buffer, offset), self.space(buffer)
        run = value.lanes // lanes.lanes
        for n in range(lanes.lanes):
            where = self.emit(f"getelementptr i8, {space} {base}, i32 {self.scalar(lanes, n)}")
            one = self.typed(value)
            if lanes.lanes > 1:
                if run > 1:
                    raise CompileError(f"kernel {self.kernel.name}: a thread scatters one run", help="a schedule's bug")
                one = f"{type_text(Type(value.elem))} {self.scalar(value, n)}"
            self.lines.append(f"store {one}, {space} {where}, align {i.attrs['align']}")

    def op_mma(self, i: Instruction) -> None:
        """One tensor core instruction of the whole warp."""
        assert i.type is not None
        acc, a, b = i.args
        kind = i.attrs["kind"]
        whole, number, shape = "float", "f", f"m16n8k{8 if kind == 'tf32' else 16}.row.col.f32.{kind}.{kind}.f32"
        if kind == "i8":
            whole, number, shape = ("i32", "r", "m16n8k32.row.col.s32.s8.u8.s32")
        words: list[str] = []
        for value, count in ((a, 4), (b, 2)):
            words += [f"i32 {word}" for word in self.words(value, count)]
        sums = [f"{whole} " + self.emit(f"extractelement {self.typed(acc)}, i32 {n}") for n in range(4)]
        names = [f"${n}" for n in range(14)]
        text = ", ".join("{" + ", ".join(names[lo:hi]) + "}" for lo, hi in ((0, 4), (4, 8), (8, 10), (10, 14)))
        constraints = ",".join([f"={number}"] * 4 + ["r"] * 6 + [number] * 4)
        made = self.emit(
            f'call {{ {", ".join([whole] * 4)} }} asm "mma.sync.aligned.{shape} {text};", "{constraints}"'
            f"({', '.join([*words, *sums])})"
        )
        struct = f"{{ {', '.join([whole] * 4)} }}"
        parts = [self.emit(f"extractvalue {struct} {made}, {n}") for n in range(4)]
        self.names[id(i)] = self.packed(type_text(i.type), Type(i.type.elem), parts)

    def op_load_matrices(self, i: Instruction) -> None:
        private, offset, lanes = i.args
        assert i.type is not None
        place = self.emit(f"add i32 {self.shared_address(private, offset)}, {self.name(lanes)}")
        text = f"ldmatrix.sync.aligned.m8n8.x4{'.trans' if i.attrs['turned'] else ''}.shared.b16 {{$0,$1,$2,$3}}, [$4];"
        struct = "{ i32, i32, i32, i32 }"
        made = self.emit(f'call {struct} asm sideeffect "{text}", "=r,=r,=r,=r,r,~{{memory}}"(i32 {place})')
        parts = [self.emit(f"extractvalue {struct} {made}, {n}") for n in range(4)]
        self.names[id(i)] = self.packed(type_text(i.type), Type("i32"), parts)

    def op_pack_pair(self, i: Instruction) -> None:
        assert i.type is not None
        parts = []
        for n in range(i.type.lanes):
            low, high = (self.scalar(a, n) for a in i.args)
            text = f"float {high}, float {low}"
            parts.append(self.emit(f'call i32 asm "cvt.rn.{i.attrs["kind"]}x2.f32 $0, $1, $2;", "=r,f,f"({text})'))
        self.names[id(i)] = parts[0] if len(parts) == 1 else self.packed(type_text(i.type), Type("i32"), parts)

    def op_fma_pair(self, i: Instruction) -> None:
        assert i.type is not None
        parts = []
        for n in range(i.type.lanes):
            given = ", ".join(f"i32 {self.scalar(a, n)}" for a in i.args)
            parts.append(self.emit(f'call i32 asm "fma.rn.bf16x2 $0, $1, $2, $3;", "=r,r,r,r"({given})'))
        self.names[id(i)] = parts[0] if len(parts) == 1 else self.packed(type_text(i.type), Type("i32"), parts)

    def op_permute_bytes(self, i: Instruction) -> None:
        assert i.type is not None
        function = "@llvm.nvvm.prmt"
        self.declarations[f"declare i32 {function}(i32, i32, i32)"] = None
        parts = []
        for n in range(i.type.lanes):
            a, b = (self.scalar(word, n) for word in i.args)
            parts.append(self.emit(f"call i32 {function}(i32 {a}, i32 {b}, i32 {i.attrs['selector']})"))
        self.names[id(i)] = parts[0] if len(parts) == 1 else self.packed(type_text(i.type), Type("i32"), parts)

    def op_exp2(self, i: Instruction) -> None:
        self.approximate(i, "ex2")

    def op_rcp(self, i: Instruction) -> None:
        self.approximate(i, "rcp")

    def op_round_tf32(self, i: Instruction) -> None:
        assert i.type is not None
        parts = []
        for n in range(i.type.lanes):
            bits = self.emit(f'call i32 asm "cvt.rna.tf32.f32 $0, $1;", "=r,f"(float {self.scalar(i.args[0], n)})')
            parts.append(self.emit(f"bitcast i32 {bits} to float"))
        self.names[id(i)] = parts[0] if len(parts) == 1 else self.packed(type_text(i.type), Type("f32"), parts)

    def approximate(self, i: Instruction, name: str) -> None:
        assert i.type is not None
        parts = [
            self.emit(f'call float asm "{name}.approx.ftz.f32 $0, $1;", "=f,f"(float {self.scalar(i.args[0], n)})')
            for n in range(i.type.lanes)
        ]
        self.names[id(i)] = parts[0] if len(parts) == 1 else self.packed(type_text(i.type), Type("f32"), parts)

    def op_maximum(self, i: Instruction) -> None:
        assert i.type is not None
        call = self.intrinsic(f"{i.op}.{suffix_text(i.type)}", i.type, (i.type,) * 2)
        self.define(i, f"call {type_text(i.type)} {call}({self.typed(i.args[0])}, {self.typed(i.args[1])})")

    op_minimum = op_maxnum = op_maximum

    def scalar(self, value: Instruction, n: int) -> str:
        """Element n of what a thread holds."""
        if value.lanes == 1:
            return self.name(value)
        return self.emit(f"extractelement {self.typed(value)}, i32 {n}")

    def shared_address(self, private: Instruction, offset: Instruction) -> str:
        address = self.address(private, offset)
        return self.emit(f"ptrtoint {_SHARED} {address} to i32")

    def op_copy_async(self, i: Instruction) -> None:
        private, to, lanes, buffer, source, source_lanes, *count = i.args
        place = self.emit(f"add i32 {self.shared_address(private, to)}, {self.name(lanes)}")
        base = self.address(buffer, source)
        where = self.emit(f"getelementptr i8, {self.space(buffer)} {base}, i32 {self.name(source_lanes)}")
        text, kinds, given = "cp.async.cg.shared.global [$0], [$1], 16", "r,l", f"i32 {place}, {GLOBAL} {where}"
        if count:
            text, kinds, given = f"{text}, $2", f"{kinds},r", f"{given}, i32 {self.name(count[0])}"
        self.lines.append(f'call void asm sideeffect "{text};", "{kinds},~{{memory}}"({given})')

    def op_commit_copies(self, i: Instruction) -> None:
        self.lines.append('call void asm sideeffect "cp.async.commit_group;", "~{memory}"()')

    def op_wait_copies(self, i: Instruction) -> None:
        self.lines.append(f'call void asm sideeffect "cp.async.wait_group {i.attrs["left"]};", "~{{memory}}"()')

    def op_warpgroup_mma(self, i: Instruction) -> None:
        """wgmma.mma_async for every 16 of K, one group. The sums are operands that the instructions read and write."""
        private, b, *rest = i.args
        steps, *strides = i.attrs["shape"]
        sums = [v for v in rest if v.op == "var"]
        values, kind, fresh = rest[: len(rest) - len(sums)], i.attrs["kind"], i.attrs["fresh"]
        count = 4 * len(sums)
        first = count if fresh else 2 * count  # the number of the first operand behind the sums
        names = ", ".join(f"${n}" for n in range(count))
        shape = f"wgmma.mma_async.sync.aligned.m64n{8 * len(sums)}k{8 if kind == 'tf32' else 16}.f32.{kind}.{kind}"
        turned_a, turned_b = i.attrs["turned"]
        orders = "" if kind == "tf32" else f", {turned_a:d}, {turned_b:d}"  # tf32 has one
        more = [f"i64 {self.descriptor(private, b, strides[-2:], turned_b)}"]
        lines = ["{", ".reg .b64 da, db;", "wgmma.fence.sync.aligned;"]
        if len(strides) == 4:
            more.append(f"i64 {self.descriptor(private, values[0], strides[:2], turned_a)}")
        else:
            more += [f"i32 {word}" for v in values for word in self.words(v, 4)]
        for step in range(steps):
            lines.append(f"add.s64 db, ${first}, {2 * strides[-1 if turned_b else -2] * step >> 4};")
            add = 0 if fresh and step == 0 else 1
            if len(strides) == 4:
                lines.append(f"add.s64 da, ${first + 1}, {2 * strides[1 if turned_a else 0] * step >> 4};")
                lines.append(f"{shape} {{{names}}}, da, db, {add}, 1, 1{orders};")
            else:
                a = ", ".join(f"${first + 1 + 4 * step + n}" for n in range(4))
                lines.append(f"{shape} {{{names}}}, {{{a}}}, db, {add}, 1, 1, {turned_b:d};")
        lines += ["wgmma.commit_group.sync.aligned;", "}"]
        self.on_sums(sums, "\\0A".join(lines), more, fresh)

    def descriptor(self, private: Instruction, offset: Instruction, strides: Sequence[int], turned: bool) -> str:
        """How wgmma finds a tile in shared memory."""
        along, down = strides
        address = self.emit(f"and i32 {self.shared_address(private, offset)}, {(1 << 18) - 1}")
        low = self.emit(f"zext i32 {self.emit(f'lshr i32 {address}, 4')} to i64")
        fixed = (along >> 4) << 16 | (down >> 4) << 32 | (1 << 62 if turned or (along, down) == SWIZZLED else 0)
        return self.emit(f"or i64 {low}, {fixed}")

    def words(self, value: Instruction, count: int) -> list[str]:
        """What a thread holds of a value as 32-bit words."""
        cast = self.emit(f"bitcast {self.typed(value)} to <{count} x i32>")
        return [self.emit(f"extractelement <{count} x i32> {cast}, i32 {n}") for n in range(count)]

    def op_wait_mma(self, i: Instruction) -> None:
        """What products read is an operand too, so that its registers are not taken for something else before."""
        sums = [v for v in i.args if v.op == "var"]
        read = [f"i32 {word}" for v in i.args[len(sums) :] for word in self.words(v, 4)]
        self.on_sums(sums, f"wgmma.wait_group.sync.aligned {i.attrs['left']};", read)

    def on_sums(self, sums: Sequence[Instruction], text: str, more: Sequence[str], fresh: bool = False) -> None:
        """Assembly that writes all elements of some vars, reads them if they are not `fresh`, and reads integers."""
        held = [] if fresh else [self.emit(f"load <4 x float>, ptr {self.name(v)}") for v in sums]
        values = [f"float {self.emit(f'extractelement <4 x float> {h}, i32 {n}')}" for h in held for n in range(4)]
        count = 4 * len(sums)
        struct = f"{{ {', '.join(['float'] * count)} }}"
        kinds = ["=&f" if fresh else "=f"] * count + [str(n) for n in range(len(values))]
        constraints = ",".join([*kinds, *("l" if m.startswith("i64") else "r" for m in more), "~{memory}"])
        made = self.emit(f'call {struct} asm sideeffect "{text}", "{constraints}"({", ".join([*values, *more])})')
        for n, v in enumerate(sums):
            parts = [self.emit(f"extractvalue {struct} {made}, {4 * n + e}") for e in range(4)]
            self.lines.append(f"store <4 x float> {self.packed('<4 x float>', Type('f32'), parts)}, ptr {self.name(v)}")

    def op_dot2(self, i: Instruction) -> None:
        if i.lanes > 1:
            super().op_dot2(i)
            return
        a, b = (self.emit(f"bitcast {self.typed(x)} to i32") for x in i.args[1:])
        total = self.name(i.args[0])
        if i.elem == "i32":
            for up in (0, 16):
                x, y = (self.emit(f"ashr i32 {self.emit(f'shl i32 {v}, {up}')}, 16") for v in (a, b))
                total = self.emit(f"add i32 {total}, {self.emit(f'mul i32 {x}, {y}')}")
            self.names[id(i)] = total
            return
        fma = self.intrinsic("fma.f32", Type("f32"), (Type("f32"),) * 3)
        for cut in ("and i32 {}, -65536", "shl i32 {}, 16"):
            x, y = (self.emit(f"bitcast i32 {self.emit(cut.format(v))} to float") for v in (a, b))
            total = self.emit(f"call float {fma}(float {x}, float {y}, float {total})")
        self.names[id(i)] = total

    def op_table(self, i: Instruction) -> None:
        if i.lanes != 4:
            self.table_by_selects(i)
            return
        function = "@llvm.nvvm.prmt"
        self.declarations[f"declare i32 {function}(i32, i32, i32)"] = None
        words = []
        for n in range(0, 16, 4):
            word = sum((v & 255) << (8 * j) for j, v in enumerate(i.attrs["values"][n : n + 4]))
            words.append(f"i32 {word - (1 << 32) if word >> 31 else word}")
        index = self.emit(f"bitcast {self.typed(i.args[0])} to i32")
        # one nibble for each byte: 0 1 2 3 from the bytes 0, 1 and 2, 3
        pairs = self.emit(f"or i32 {index}, {self.emit(f'lshr i32 {index}, 4')}")
        low = self.emit(f"and i32 {pairs}, 255")
        high = self.emit(f"and i32 {self.emit(f'lshr i32 {pairs}, 8')}, 65280")
        nibbles = self.emit(f"and i32 {self.emit(f'or i32 {low}, {high}')}, 30583")
        first, second = (self.emit(f"call i32 {function}({words[n]}, {words[n + 1]}, i32 {nibbles})") for n in (0, 2))
        eighth = self.emit(f"shl i32 {self.emit(f'and i32 {index}, 134744072')}, 4")
        mask = self.emit(f"call i32 {function}(i32 {eighth}, i32 0, i32 47768)")  # 0xba98: each byte's sign, spread
        kept = self.emit(f"and i32 {second}, {mask}")
        other = self.emit(f"and i32 {first}, {self.emit(f'xor i32 {mask}, -1')}")
        self.define(i, f"bitcast i32 {self.emit(f'or i32 {kept}, {other}')} to <4 x i8>")

    # --- memory -------------------------------------------------------------------------------------------------------
    def space(self, buffer: Instruction) -> str:
        return self.spaces[id(buffer)]

    def address(self, buffer: Instruction, offset: Instruction) -> str:
        return self.emit(f"getelementptr i8, {self.space(buffer)} {self.name(buffer)}, {self.typed(offset)}")

    def op_alloc(self, i: Instruction) -> None:
        nbytes = -(-i.attrs["nbytes"] // 128) * 128
        place = self.fresh()
        self.entry.append(f"{place} = getelementptr i8, {_SHARED} @dynamic_shared, i32 {self.given}")
        self.given += nbytes * (1 if self.team else self.warps)
        if not self.team:
            base, place = place, self.fresh()
            self.entry += [
                f"{place}o = mul i32 %warp, {nbytes}",
                f"{place} = getelementptr i8, {_SHARED} {base}, i32 {place}o",
            ]
        self.names[id(i)] = place
        self.spaces[id(i)] = _SHARED
        if any(x.op == "arrive" and x.args[0] is i for x in self.kernel.walk()):
            self.new_barrier(i)

    def new_barrier(self, i: Instruction) -> None:
        """A barrier to which each warp of the team comes once a phase."""
        text = f"{{ .reg .pred p; setp.eq.s32 p, $1, 0; @p mbarrier.init.shared::cta.b64 [$0], {self.warps}; }}"
        self.lines.append(
            f'call void asm sideeffect "{text}", "r,r,~{{memory}}"(i32 {self.barrier_address(i)}, i32 %tid)'
        )
        self.phases[id(i)] = self.fresh()
        self.entry += [f"{self.phases[id(i)]} = alloca i32", f"store i32 0, ptr {self.phases[id(i)]}"]
        self.op_together(Instruction("together", None, (), {"block": True}))

    def op_load(self, i: Instruction) -> None:
        assert i.type is not None
        self.check_memory(i.type)
        space, t, align = self.space(i.args[0]), type_text(i.type), i.attrs["align"]
        tail = ", !invariant.load !0" if id(i.args[0]) in self.invariant else ""
        address = self.address(i.args[0], i.args[1])
        if len(i.args) == 2:
            self.define(i, f"load {t}, {space} {address}, align {align}{tail}")
            return
        elem = Type(i.type.elem)
        zero = float_text(0.0, elem.elem) if elem.is_float else "0"
        values = []
        for flag, where, near in self.elements(i.args[2], address, space, elem, align):
            n = self.fresh()[1:]
            before = self.label
            self.lines += [f"br i1 {flag}, label %t{n}, label %x{n}", f"t{n}:"]
            value = self.emit(f"load {type_text(elem)}, {space} {where}, align {near}{tail}")
            self.lines += [f"br label %x{n}", f"x{n}:"]
            self.label = f"x{n}"
            values.append(self.emit(f"phi {type_text(elem)} [{value}, %t{n}], [{zero}, %{before}]"))
        self.names[id(i)] = values[0] if i.type.lanes == 1 else self.packed(t, elem, values)

    def op_store(self, i: Instruction) -> None:
        buffer, offset, value = i.args[:3]
        assert value.type is not None
        self.check_memory(value.type)
        space, align = self.space(buffer), i.attrs["align"]
        address = self.address(buffer, offset)
        if len(i.args) == 3:
            self.lines.append(f"store {self.typed(value)}, {space} {address}, align {align}")
            return
        elem = Type(value.elem)
        for lane, (flag, where, near) in enumerate(self.elements(i.args[3], address, space, elem, align)):
            n = self.fresh()[1:]
            one = self.name(value)
            if value.lanes > 1:
                one = self.emit(f"extractelement {self.typed(value)}, i32 {lane}")
            self.lines += [f"br i1 {flag}, label %t{n}, label %x{n}", f"t{n}:"]
            self.lines += [f"store {type_text(elem)} {one}, {space} {where}, align {near}", f"br label %x{n}", f"x{n}:"]
            self.label = f"x{n}"

    def elements(
        self, mask: Instruction, address: str, space: str, elem: Type, align: int
    ) -> Iterator[tuple[str, str, int]]:
        """Flag, address and alignment of each element of a masked access: each is a branch of its own."""
        if mask.lanes == 1:
            yield self.name(mask), address, align
            return
        for lane in range(mask.lanes):
            flag = self.emit(f"extractelement {self.typed(mask)}, i32 {lane}")
            where = self.emit(f"getelementptr i8, {space} {address}, i64 {lane * elem.nbytes}")
            yield flag, where, min(align, elem.nbytes)

    def packed(self, vector: str, elem: Type, values: Sequence[str]) -> str:
        result = "poison"
        for n, value in enumerate(values):
            result = self.emit(f"insertelement {vector} {result}, {type_text(elem)} {value}, i32 {n}")
        return result


def _from_float(i: Instruction) -> bool:
    """Whether an integer is a float's bits, but for an addition of a constant."""
    if i.op in ("add", "sub"):
        return any(_from_float(a) for a in i.args if a.op != "const")
    return i.op == "bitcast" and i.args[0].type is not None and i.args[0].type.is_float
