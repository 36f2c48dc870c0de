"""Rewrites a kernel over vectors as one over the threads of a warp: 32 threads are one worker.

A vector whose lanes are a multiple of 32 is spread: thread t holds lanes t * m .. t * m + m - 1, so that neighbouring
threads read neighbouring memory. Scalars and shorter vectors are held by every thread alike, and each thread computes
them; memory is written once. What a schedule means does not change: the interpreter runs the kernel as it was before.

The result uses six more ops than `ir.OPS`: `thread` (i32, 0 .. 31), `from_thread(x, t)` (x as thread t holds it),
`from_other(x)` (x as thread t ^ attrs.mask holds it), `across(x)` (the i32s of all threads, combined by attrs.kind),
`pack` (a vector of scalars) and `together` (threads wait for each other and see each other's writes; all of the block
with attrs.block). Loads and stores say in attrs.align what bytes their address is a multiple of.

A kernel with team loops takes a block of warps for a worker: each iteration is a warp's, and what stands outside of
such loops is computed by all warps alike and written by the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..diagnostics import CompileError
from .ir import BARRIER, ELEMENT_BYTES, Block, Instruction, Kernel, Type

WARP = 32
ACROSS = ("add", "max", "min")  # of i32s of all threads by one instruction, from compute capability 8.0 on
MOST_ALIGNED = 16  # bytes of the widest access of one thread


def spread(lanes: int) -> bool:
    """Whether a vector of so many lanes lies across the threads."""
    return lanes >= WARP


class _Rewriter:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.made: dict[int, Instruction] = {id(b): b for b in kernel.buffers}
        self.blocks: list[Block] = [[]]
        self.divisors: dict[int, int] = {}
        self.keep: list[Instruction] = []
        # Memory that is both written and read here: threads must wait for each other around a write.
        self.team = team_size(kernel)
        self.in_team = False
        self.met = [False]  # of every open block, whether all warps were together right before it
        self.unread: set[int] = set()  # private memory that the open team loop writes and does not read
        self.shared = {id(b) for p, b in zip(kernel.parameters, kernel.buffers, strict=True) if p.mode == "rw"}

    def run(self) -> Kernel:
        self.thread = self.emit("thread", Type("i32"))
        self.thread64 = self.emit("zext", Type("i64"), self.thread)
        self.first = self.emit("eq", Type("i1"), self.thread, self.const(0, "i32"))
        if self.team:
            self.warp = self.emit("warp", Type("i32"))
            self.leads = self.emit("eq", Type("i1"), self.warp, self.const(0, "i32"))
            self.first_of_block = self.emit("and", Type("i1"), self.leads, self.first)
        for i in self.kernel.body:
            self.visit(i)
        return replace(self.kernel, body=self.blocks[0])

    # --- making instructions ----------------------------------------------------------------------------------------
    def emit(
        self, op: str, type: Type | None, *args: Instruction, blocks: tuple[Block, ...] = (), **attrs: Any
    ) -> Instruction:
        made = Instruction(op, type, args, attrs, blocks)
        self.blocks[-1].append(made)
        return made

    def const(self, value: float, elem: str, lanes: int = 1) -> Instruction:
        made = Instruction("const", Type(elem, lanes), (), {"value": value})
        self.keep.append(made)
        return made

    def local(self, t: Type) -> Type:
        """The type that one thread holds."""
        if not spread(t.lanes):
            return t
        if t.lanes % WARP:
            self.fail(f"a vector of {t.lanes} lanes is not a multiple of a warp's {WARP}")
        return Type(t.elem, t.lanes // WARP)

    def get(self, i: Instruction) -> Instruction:
        if i.op == "const":
            if id(i) not in self.made:
                assert i.type is not None
                self.made[id(i)] = self.const(i.value, i.elem, self.local(i.type).lanes)
            return self.made[id(i)]
        return self.made[id(i)]

    def fail(self, message: str) -> None:
        raise CompileError(f"kernel {self.kernel.name}: {message}", help="this is a bug in the schedule for GPUs")

    # --- instructions -----------------------------------------------------------------------------------------------
    def visit(self, i: Instruction) -> None:
        handler: Callable[[Instruction], Instruction | None] = getattr(self, f"op_{i.op}", self.plain)
        result = handler(i)
        if result is not None:
            self.made[id(i)] = result

    def plain(self, i: Instruction) -> Instruction:
        """The same op on what each thread holds."""
        if i.type is not None and i.type.lanes > 1:
            classes = {spread(x.lanes) for x in i.args if x.lanes > 1} | {spread(i.lanes)}
            if len(classes) > 1:
                self.fail(f"{i.op} between {', '.join(str(x.type) for x in i.args)} and {i.type}: not both spread")
        type = None if i.type is None else self.local(i.type)
        return self.emit(i.op, type, *map(self.get, i.args), **i.attrs)

    def op_prefetch(self, i: Instruction) -> None:
        """That of one line is dropped: many warps hide what it is for."""
        if "nbytes" in i.attrs:
            self.emit("prefetch", None, *(self.get(a) for a in i.args), **i.attrs, alone=self.in_team or not self.team)

    def op_ready(self, i: Instruction) -> None:
        self.emit("ready", None)

    def op_wait_copies(self, i: Instruction) -> None:
        """What each thread waits for is there for the others of its warp, and all have done with what lay there."""
        self.emit("wait_copies", None, **i.attrs)
        self.emit("together", None)

    def op_barrier(self, i: Instruction) -> None:
        self.emit("together", None, block=True)

    def op_gather(self, i: Instruction) -> Instruction:
        assert i.type is not None
        args = [self.get(a) for a in i.args]
        align = ELEMENT_BYTES[i.elem] * (i.lanes // i.args[2].lanes)
        return self.emit("gather", self.local(i.type), *args, align=align)

    def op_scatter(self, i: Instruction) -> None:
        value = i.args[3].type
        assert value is not None
        if not spread(i.args[2].lanes):
            self.fail("scatter takes an offset for each thread at least")
        args = [self.get(a) for a in i.args]
        self.emit("scatter", None, *args, align=value.nbytes // i.args[2].lanes)

    def op_iota(self, i: Instruction) -> Instruction:
        assert i.type is not None
        if not spread(i.lanes):
            return self.emit("iota", i.type)
        local = self.local(i.type)
        number = self.thread
        if i.elem != "i32":
            number = self.emit("zext" if i.elem == "i64" else "trunc", Type(i.elem), self.thread)
        first = self.emit("mul", Type(i.elem), number, self.const(local.lanes, i.elem))
        if local.lanes == 1:
            return first
        return self.emit("add", local, self.emit("splat", local, first), self.emit("iota", local))

    def op_splat(self, i: Instruction) -> Instruction:
        assert i.type is not None
        value, local = self.get(i.args[0]), self.local(i.type)
        return value if local.lanes == 1 else self.emit("splat", local, value)

    def lane(self, value: Instruction, n: int) -> Instruction:
        """Element n of what a thread holds."""
        return value if value.lanes == 1 else self.emit("extract", Type(value.elem), value, lane=n)

    def pack(self, parts: Sequence[Instruction]) -> Instruction:
        return parts[0] if len(parts) == 1 else self.emit("pack", Type(parts[0].elem, len(parts)), *parts)

    def op_extract(self, i: Instruction) -> Instruction:
        return self.element(i.args[0], i.attrs["lane"])

    def element(self, source: Instruction, n: int) -> Instruction:
        """Lane n of a vector, in every thread."""
        value = self.get(source)
        if not spread(source.lanes):
            return self.lane(value, n)
        held = self.lane(value, n % value.lanes)
        return self.emit("from_thread", held.type, held, self.const(n // value.lanes, "i32"))

    def op_reduce(self, i: Instruction) -> Instruction:
        value, kind = self.get(i.args[0]), i.attrs["kind"]
        if spread(i.args[0].lanes):
            if kind in ACROSS and value.elem == "i32":
                whole = value if value.lanes == 1 else self.emit("reduce", Type("i32"), value, kind=kind)
                return self.emit("across", Type("i32"), whole, kind=kind)
            if not Type(i.elem).is_float and value.lanes > 1:  # in any order: each thread's own first
                value = self.emit("reduce", Type(value.elem), value, kind=kind)
            mask = WARP // 2
            while mask:
                parts = [self.lane(value, n) for n in range(value.lanes)]
                others = self.pack([self.emit("from_other", p.type, p, mask=mask) for p in parts])
                value = self.emit(kind, value.type, value, others)
                mask //= 2
        return value if value.lanes == 1 else self.emit("reduce", Type(value.elem), value, kind=kind)

    def op_shuffle(self, i: Instruction) -> Instruction:
        a, b, lanes = *i.args, tuple(i.attrs["lanes"])
        if not spread(a.lanes) and not spread(len(lanes)):
            return self.plain(i)
        if not spread(len(lanes)):
            return self.pack([self.element(a, e) if e < a.lanes else self.element(b, e - a.lanes) for e in lanes])
        m = len(lanes) // WARP
        return self.pack([self.gathered(a, b, lanes[k::m]) for k in range(m)])

    def gathered(self, a: Instruction, b: Instruction, lanes: Sequence[int]) -> Instruction:
        """Lane lanes[t] of the concatenation of a and b, in thread t."""
        where = self.pattern(lanes)
        n = a.lanes
        if max(lanes) < n:
            return self.fetched(a, lanes, where)
        beyond = self.emit("sub", Type("i32"), where, self.const(n, "i32"))
        rest = [e - n for e in lanes]
        if min(lanes) >= n:
            return self.fetched(b, rest, beyond)
        inside = self.emit("lt", Type("i1"), where, self.const(n, "i32"))
        low, high = self.fetched(a, lanes, where), self.fetched(b, rest, beyond)
        return self.emit("select", low.type, inside, low, high)

    def pattern(self, lanes: Sequence[int]) -> Instruction:
        """lanes[t] in thread t: a number that grows evenly with t % m and with t / m for some power of two m, or else
        by an amount of its own with each bit of t.
        """
        i32 = Type("i32")
        for bits in range(5, -1, -1):
            m = 1 << bits
            inner = lanes[1] - lanes[0] if m > 1 else 0
            outer = lanes[m] - lanes[0] if m < WARP else 0
            if all(e == lanes[0] + inner * (t % m) + outer * (t // m) for t, e in enumerate(lanes)):
                low = self.emit("and", i32, self.thread, self.const(m - 1, "i32"))
                high = self.emit("lshr", i32, self.thread, self.const(bits, "i32"))
                low = self.emit("mul", i32, low, self.const(inner, "i32"))
                high = self.emit("mul", i32, high, self.const(outer, "i32")) if m < WARP else self.const(0, "i32")
                where = self.emit("add", i32, low, high)
                return self.emit("add", i32, where, self.const(lanes[0], "i32"))
        steps = [lanes[1 << b] - lanes[0] for b in range(5)]
        if any(e != lanes[0] + sum(s for b, s in enumerate(steps) if t >> b & 1) for t, e in enumerate(lanes)):
            self.fail("a shuffle whose lanes do not grow evenly over the threads")
        where, first = self.const(lanes[0], "i32"), 0
        while first < 5:
            end = first + 1
            while end < 5 and steps[end] == 2 * steps[end - 1]:
                end += 1
            field = self.emit("lshr", i32, self.thread, self.const(first, "i32"))
            field = self.emit("and", i32, field, self.const((1 << end - first) - 1, "i32"))
            where = self.emit("add", i32, where, self.emit("mul", i32, field, self.const(steps[first], "i32")))
            first = end
        return where

    def fetched(self, source: Instruction, lanes: Sequence[int], where: Instruction) -> Instruction:
        """Lane `where` of the source, which is lanes[t] in thread t; what lies outside of it may be anything."""
        value = self.get(source)
        inside = [(t, e) for t, e in enumerate(lanes) if 0 <= e < source.lanes]
        if not spread(source.lanes):
            choices = sorted({e for _, e in inside})
            result = self.lane(value, choices[0])
            for e in choices[1:]:
                same = self.emit("eq", Type("i1"), where, self.const(e, "i32"))
                result = self.emit("select", result.type, same, self.lane(value, e), result)
            return result
        m = value.lanes
        numbers = sorted({e % m for _, e in inside})
        own = all(e // m == t for t, e in inside)
        holder = self.emit("ashr", Type("i32"), where, self.const(m.bit_length() - 1, "i32"))
        if m & (m - 1):
            self.fail(f"a shuffle of vectors with {m} lanes in a thread")

        def fetch(n: int) -> Instruction:
            held = self.lane(value, n)
            return held if own else self.emit("from_thread", held.type, held, holder)

        result = fetch(numbers[0])
        if len(numbers) > 1:
            number = self.emit("and", Type("i32"), where, self.const(m - 1, "i32"))
            for n in numbers[1:]:
                same = self.emit("eq", Type("i1"), number, self.const(n, "i32"))
                result = self.emit("select", result.type, same, fetch(n), result)
        return result

    # --- memory -----------------------------------------------------------------------------------------------------
    def place(self, offset: Instruction, t: Type) -> tuple[Instruction, int]:
        """The byte offset of what this thread takes of a vector at `offset`, and what it is a multiple of."""
        at = self.get(offset)
        if not spread(t.lanes):
            return at, max(1, self.divisor(offset))  # more than it needs tells that neighbours can be loaded at once
        nbytes = ELEMENT_BYTES[t.elem] * (t.lanes // WARP)
        mine = self.emit("mul", Type("i64"), self.thread64, self.const(nbytes, "i64"))
        return self.emit("add", Type("i64"), at, mine), min(self.divisor(offset), _power_of_two(nbytes))

    def op_load(self, i: Instruction) -> Instruction:
        assert i.type is not None
        offset, align = self.place(i.args[1], i.type)
        rest = [self.get(a) for a in i.args[2:]]
        return self.emit("load", self.local(i.type), self.get(i.args[0]), offset, *rest, **i.attrs, align=align)

    def op_store(self, i: Instruction) -> None:
        buffer, value = i.args[0], i.args[2]
        assert value.type is not None
        both = id(buffer) in self.shared and id(buffer) not in self.unread
        whole_block = bool(self.team) and not self.in_team
        if both:
            self.emit("together", None, block=whole_block)
        offset, align = self.place(i.args[1], value.type)
        args = (self.get(buffer), offset, self.get(value), *(self.get(a) for a in i.args[3:]))
        if spread(value.lanes) and not whole_block:
            self.emit("store", None, *args, **i.attrs, align=align)
        else:
            who = self.first if not whole_block else self.leads if spread(value.lanes) else self.first_of_block
            inner: Block = [Instruction("store", None, args, {**i.attrs, "align": align})]
            self.emit("if", None, who, blocks=(inner, []))
        if both:
            self.emit("together", None, block=whole_block)

    def op_alloc(self, i: Instruction) -> Instruction:
        self.shared.add(id(i))
        return self.emit("alloc", i.type, **i.attrs)

    def op_var(self, i: Instruction) -> Instruction:
        assert i.type is not None
        return self.emit("var", self.local(i.type), self.get(i.args[0]))

    # --- regions ----------------------------------------------------------------------------------------------------
    def region(self, i: Instruction) -> Instruction:
        blocks: list[Block] = []
        met = bool(self.team) and not self.in_team and self.have_met()
        for block in i.blocks:
            self.blocks.append([])
            # An iteration comes behind the one before it, too; no team loop stands in an `if`.
            self.met.append(met and bool(block) and bool(block[-1].attrs.get("team")))
            for inner in block:
                if inner.op == "index":
                    step = self.divisor(i.args[0]) if i.op == "loop" else 1
                    self.divisors[id(inner)] = min(step, _power_of_two(i.attrs.get("step", 1)))
                self.visit(inner)
            blocks.append(self.blocks.pop())
            self.met.pop()
        return self.emit(i.op, None, *map(self.get, i.args), blocks=tuple(blocks), **i.attrs)

    op_parallel = op_if = region

    def op_loop(self, i: Instruction) -> Instruction | None:
        if not i.attrs.get("team"):
            return self.region(i)
        index, *body = i.blocks[0]
        self.made[id(index)] = self.emit("zext", Type("i64"), self.warp)
        self.divisors[id(index)] = 1
        if not self.have_met():
            self.emit("together", None, block=True)
        self.in_team, self.unread = True, only_written(body)
        for inner in body:
            self.visit(inner)
        self.in_team, self.unread = False, set()
        self.emit("together", None, block=True)
        return None

    def have_met(self) -> bool:
        """Whether all warps of the block came here together, as behind another team loop, and none has touched memory
        since."""
        for i in reversed(self.blocks[-1]):
            if i.op == "together" and i.attrs.get("block"):
                return True
            if i.op in ("ready", "prefetch", "set"):
                continue
            touched = [a for a in i.args if a.type is not None and a.elem == "ptr"]
            read_only = i.op in ("load", "gather") and touched[0].op != "alloc" and id(touched[0]) not in self.shared
            begins = i.op == "alloc" and i.attrs["nbytes"] == BARRIER  # a barrier of its own
            if i.type is None or begins or (touched and not read_only):
                return False
        return self.met[-1]

    def divisor(self, i: Instruction) -> int:
        """A power of two that divides an integer, as far as its making tells; at most MOST_ALIGNED."""
        if id(i) in self.divisors:
            return self.divisors[id(i)]
        if i.op == "const":
            found = _power_of_two(i.value) if i.value else MOST_ALIGNED
        elif i.op in ("add", "sub", "min", "max"):
            found = min(self.divisor(i.args[0]), self.divisor(i.args[1]))
        elif i.op == "mul":
            found = self.divisor(i.args[0]) * self.divisor(i.args[1])
        elif i.op == "shl" and i.args[1].op == "const":
            found = self.divisor(i.args[0]) << min(i.args[1].value, 8)
        elif i.op == "select":
            found = min(self.divisor(i.args[1]), self.divisor(i.args[2]))
        elif i.op in ("sext", "zext"):
            found = self.divisor(i.args[0])
        else:
            found = 1
        self.divisors[id(i)] = found = min(found, MOST_ALIGNED)
        return found


def only_written(body: Block) -> set[int]:
    """Ids of private memory that a block writes and touches in no other way: its readers stand behind a barrier."""
    stored: set[int] = set()
    read: set[int] = set()
    stack = list(body)
    while stack:
        i = stack.pop()
        for inner in i.blocks:
            stack += inner
        touched = {id(a) for a in i.args if a.op == "alloc"}
        if i.op in ("store", "scatter"):
            stored |= touched
        else:
            read |= touched
    return stored - read


def _power_of_two(n: int) -> int:
    """The largest power of two that divides n, at most MOST_ALIGNED."""
    return min(n & -n, MOST_ALIGNED)


def team_size(kernel: Kernel) -> int:
    """Warps of a worker: the iterations of the kernel's team loops, which must agree; 0 where it has none."""
    sizes = {int(i.args[1].value) for i in kernel.walk() if i.op == "loop" and i.attrs.get("team")}
    if len(sizes) > 1:
        raise CompileError(f"kernel {kernel.name} has team loops of {sorted(sizes)} iterations; they must be equal")
    return sizes.pop() if sizes else 0


def for_threads(kernel: Kernel) -> Kernel:
    """The kernel as each thread of a warp runs it. Raises CompileError for vectors that cannot be spread."""
    return _Rewriter(kernel).run()
