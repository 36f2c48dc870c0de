"""The interpreter: it defines what kernel IR means, with NumPy and on any machine.

A kernel becomes the source of one Python function, a line or two per instruction, which is compiled and run. Every
access is checked against its buffer; private memory that nobody wrote cannot be read. What the IR leaves undefined
(division by zero, a shift by the width or more, a table index past 15) raises VerifyError here.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, Literal, NoReturn

import numpy as np

from ..diagnostics import VerifyError
from . import arithmetic
from .arithmetic import DTYPES, UNSIGNED, bits_of
from .expressions import ROUNDING, SIGN, SourceWriter, choice_expression, integer_expression, lanes_expression
from .ir import ELEMENT_BYTES, LOCKSTEP_ONLY, Block, Instruction, Kernel, Type
from .text import COMPARISONS, print_instruction
from .verify import verify

Order = Literal["forward", "reverse", "random"]
Uninitialised = Literal["error", "noise"]
_STRUCT = {"i8": "<b", "i16": "<h", "i32": "<i", "i64": "<q"}


def interpret(
    kernel: Kernel,
    arrays: Sequence[np.ndarray[Any, Any] | int],
    workers: int = 1,
    order: Order = "forward",
    uninitialised: Uninitialised = "error",
) -> None:
    """Run a kernel once on `arrays`, one for each parameter, as `Interpreter(kernel).run` does."""
    Interpreter(kernel, uninitialised).run(arrays, workers, order)


class Interpreter:
    """A kernel made ready to run any number of times. Raises VerifyError if the kernel breaks a rule.

    `uninitialised`: what private memory holds that the kernel did not write: "error" refuses to read it, and forgets at
    the end of each parallel iteration what it wrote; "noise" fills it with bytes that no result may depend on.
    `source` is the Python text, for debugging the interpreter.
    """

    def __init__(self, kernel: Kernel, uninitialised: Uninitialised = "error") -> None:
        verify(kernel)
        self.kernel = kernel
        writer = _Writer(kernel, uninitialised)
        self.source = writer.source()
        self._instructions, self._divisions = writer.instructions, writer.divisions
        namespace: dict[str, Any] = {**_NAMES, **writer.constants, "fail": self._fail}
        exec(compile(self.source, f"<kernel {kernel.name}>", "exec"), namespace)
        self._function: FunctionType = namespace["run"]

    def run(self, arrays: Sequence[np.ndarray[Any, Any] | int], workers: int = 1, order: Order = "forward") -> None:
        """Run on C-contiguous arrays of any dtype, which are read and written as bytes; a dimension may be an int.

        Worker t of `workers` takes the iterations [count * t // workers, count * (t + 1) // workers) of each parallel
        region. Workers run one after the other; `order` is that of the workers and of each one's iterations.
        Raises VerifyError at the first access outside a buffer and at everything that the IR leaves undefined.
        """
        memory = self._memory(arrays)
        split = _SPLITS[order]
        with np.errstate(all="ignore"):
            for worker in split(workers, 0, 1):
                try:
                    self._function(memory, worker, workers, split)
                except ZeroDivisionError as error:
                    self._divided(error)

    def _memory(self, arrays: Sequence[np.ndarray[Any, Any] | int]) -> list[memoryview]:
        name, parameters = self.kernel.name, self.kernel.parameters
        if len(arrays) != len(parameters):
            raise VerifyError(f"kernel {name} has {len(parameters)} parameters, got {len(arrays)} arrays")
        memory: list[memoryview] = []
        for p, a in zip(parameters, arrays, strict=True):
            if isinstance(a, int):
                if not p.is_dim:
                    raise VerifyError(f"kernel {name}: {p.name} is a buffer, got the number {a}")
                a = np.array([a], np.int64)
            if not a.flags.c_contiguous:
                raise VerifyError(f"kernel {name}: the array for {p.name} is not C-contiguous")
            if "w" in p.mode and not a.flags.writeable:
                raise VerifyError(f"kernel {name}: the array for {p.name} is read-only, and the kernel writes it")
            memory.append(a.reshape(-1).view(np.uint8).data)
        return memory

    def _divided(self, error: ZeroDivisionError) -> NoReturn:
        """Find the division by the line of the generated source that raised."""
        at = error.__traceback__
        while at is not None and at.tb_frame.f_code is not self._function.__code__:
            at = at.tb_next
        assert at is not None
        self._refuse(self._divisions[at.tb_lineno], "division by zero, or of the smallest number by -1")

    def _refuse(self, instruction: Instruction, why: str) -> NoReturn:
        line = print_instruction(self.kernel, instruction)
        raise VerifyError(f"kernel {self.kernel.name}: {line}: {why}") from None

    def _fail(self, number: int, why: str, at: int = 0, size: int = 0, nbytes: int = 0) -> NoReturn:
        """Raise the error of the instruction with that number; `why` is a rule, or the name of the buffer it missed."""
        instruction = self._instructions[number]
        if size:
            verb = "reads" if instruction.op == "load" else "writes"
            why = f"{verb} {nbytes} bytes at offset {at} of {why}, which has {size - 1}"
        self._refuse(instruction, why)


# --- the order of iterations ----------------------------------------------------------------------------------------
Split = Callable[[int, int, int], Iterable[int]]


def _forward(count: int, worker: int, workers: int) -> Iterable[int]:
    return range(count * worker // workers, count * (worker + 1) // workers)


def _reverse(count: int, worker: int, workers: int) -> Iterable[int]:
    return reversed(range(count * worker // workers, count * (worker + 1) // workers))


def _random(count: int, worker: int, workers: int) -> Iterable[int]:
    items = list(_forward(count, worker, workers))
    random.Random(count + worker).shuffle(items)
    return items


_SPLITS: dict[str, Split] = {"forward": _forward, "reverse": _reverse, "random": _random}


# --- memory ---------------------------------------------------------------------------------------------------------
def _masked_load(
    memory: memoryview, at: int, type: Type, mask: Any, fail: Any, number: int, name: str, shadow: Any
) -> Any:
    out = np.zeros(type.lanes, DTYPES[type.elem])
    size = ELEMENT_BYTES[type.elem]
    first, last = arithmetic.masked_run(mask)
    if last < 0:
        return out
    if at + first * size < 0 or at + (last + 1) * size > len(memory):
        fail(number, name, at + first * size, len(memory) + 1, (last + 1 - first) * size)
    part = np.frombuffer(memory, out.dtype, last + 1 - first, at + first * size)
    held = mask[first : last + 1]
    if shadow is not None:
        written = np.frombuffer(shadow, f"V{size}", part.size, at + first * size)
        for lane in np.flatnonzero(held):
            if 0 in written[lane].tobytes():
                fail(number, f"{name} was never written there")
    out[first : last + 1] = np.where(held, part, out[first : last + 1])
    return out


def _masked_store(
    memory: memoryview, at: int, value: Any, mask: Any, fail: Any, number: int, name: str, shadow: Any, mark: bytes
) -> None:
    size = value.dtype.itemsize
    first, last = arithmetic.masked_run(mask)
    if last < 0:
        return
    if at + first * size < 0 or at + (last + 1) * size > len(memory):
        fail(number, name, at + first * size, len(memory) + 1, (last + 1 - first) * size)
    for lane in np.flatnonzero(mask):
        memory[at + lane * size : at + (lane + 1) * size] = value[lane].tobytes()
        if shadow is not None:
            shadow[at + lane * size : at + (lane + 1) * size] = mark * size


_NAMES: dict[str, Any] = {
    **DTYPES,
    **{f"u{e[1:]}": d for e, d in UNSIGNED.items()},
    **{f"t_{e}": d.type for e, d in DTYPES.items()},
    **{f"unpack_{e}": struct.Struct(s).unpack_from for e, s in _STRUCT.items()},
    **{f"pack_{e}": struct.Struct(s).pack_into for e, s in _STRUCT.items()},
    **{name: getattr(np, name) for name in ("frombuffer", "empty", "where", "concatenate", "minimum", "maximum")},
    **{name: getattr(np, name) for name in ("sqrt", "floor", "ceil", "rint", "fabs")},
    **{f.__name__: f for f in vars(arithmetic).values() if callable(f) and f.__module__ == arithmetic.__name__},
    "masked_load": _masked_load,
    "masked_store": _masked_store,
    "forget": bytes([0, 1]) + bytes(254),
}


# --- Python source --------------------------------------------------------------------------------------------------
class _Writer(SourceWriter):
    """Writes `def run(memory, worker, workers, split)`. A value is a local `v3`, a buffer `m0` with `z0` bytes.

    Private memory has a shadow `s0`: for each byte 0 if nobody wrote it, 2 if this parallel iteration did, 1 if code
    outside of iterations did."""

    def __init__(self, kernel: Kernel, uninitialised: Uninitialised) -> None:
        super().__init__()
        self.kernel = kernel
        self.strict = uninitialised == "error"
        self.instructions: list[Instruction] = []
        self.memories: dict[int, tuple[str, str]] = {}  # id of buffer or alloc -> number, shown name
        self.shadows: list[str] = []
        self.mark = _MARK
        self.divisions: dict[int, Instruction] = {}  # line -> the division that may raise ZeroDivisionError there

    def source(self) -> str:
        out = self.lines
        out.append("def run(memory, worker, workers, split):")
        for n, b in enumerate(self.kernel.buffers):
            self.memories[id(b)] = (str(n), f"buffer {b.attrs['name']}")
            self.line(f"m{n} = memory[{n}]")
            self.line(f"z{n} = len(m{n})")
        self.block(self.kernel.body)
        self.line("return")
        return "\n".join(out) + "\n"

    def number(self, i: Instruction) -> int:
        """How generated code names an instruction in an error."""
        self.instructions.append(i)
        return len(self.instructions) - 1

    def value(self, x: Instruction) -> str:
        name = self.names.get(id(x))
        if name is None:
            assert x.op == "const"
            assert x.type is not None
            if x.type.is_float or x.type.lanes > 1:
                name = self.hoist(arithmetic.constant(x.value, x.type))
            else:
                name = repr(arithmetic.constant(x.value, x.type))
                name = f"({name})" if name.startswith("-") else name
            self.names[id(x)] = name
        return name

    def block(self, block: Block) -> None:
        for i in block:
            handler = _HANDLERS.get(i.op)
            if handler is not None:
                handler(self, i)
            else:
                self.define(i, self.lanes(i) if i.args and i.args[0].lanes > 1 else self.scalar(i))

    # --- arithmetic -------------------------------------------------------------------------------------------------
    def lanes(self, i: Instruction) -> str:
        """A vector op as one expression."""
        op, t, source = i.op, i.type, i.args[0].type
        assert t is not None
        assert source is not None
        v = [self.value(a) for a in i.args]
        a, b = v[0], v[-1]
        if op in ("shl", "lshr", "ashr"):
            return self.shift_lanes(i, a, b)
        plain = lanes_expression(i, v)
        if plain is not None:
            return plain
        if op in ("div", "rem"):
            self.divisions[len(self.lines) + 1] = i
            return f"{'divide' if op == 'div' else 'remainder'}_lanes({a}, {b})"
        if op == "bitcast":
            if t.lanes > 1:
                return f"{a}.view({t.elem})"
            return f"{a}.view({t.elem})[0]" if t.is_float else f"{a}.view({t.elem}).item(0)"
        if op == "extract":
            lane = i.attrs["lane"]
            return f"{a}[{lane}]" if t.is_float else f"{a}.item({lane})"
        if op == "shuffle":
            return self.shuffle(i, a, b)
        assert op == "table", op
        return f"{self.table(i)}.take({a}.view(u8))"

    def shift_lanes(self, i: Instruction, a: str, b: str) -> str:
        assert i.type is not None
        amount, elem = i.args[1], i.elem
        u = f"u{elem[1:]}"
        if amount.op != "const":
            self.line(f"if wrong_amount({b}, {elem!r}): fail({self.number(i)}, {_SHIFT!r})")
        if i.op == "lshr":
            b = self.hoist(np.full(i.lanes, amount.value, UNSIGNED[elem])) if amount.op == "const" else f"{b}.view({u})"
            return f"({a}.view({u}) >> {b}).view({elem})"
        return f"{a} {'<<' if i.op == 'shl' else '>>'} {b}"

    def shuffle(self, i: Instruction, a: str, b: str) -> str:
        lanes, n = list(i.attrs["lanes"]), i.args[0].lanes
        if i.args[0] is i.args[1]:
            lanes = [x % n for x in lanes]
        if min(lanes) >= n:
            a, lanes = b, [x - n for x in lanes]
        elif max(lanes) >= n:
            both = f"concatenate(({a}, {b}))"
            return both if lanes == list(range(2 * n)) else f"{both}[{self.hoist(np.array(lanes))}]"
        if lanes == list(range(lanes[0], lanes[0] + len(lanes))):
            return f"{a}[{lanes[0]}:{lanes[-1] + 1}]"
        return f"{a}[{self.hoist(np.array(lanes))}]"

    def table(self, i: Instruction) -> str:
        return self.hoist(np.array([v & 255 for v in i.attrs["values"]], np.uint8).view(np.int8))

    def scalar(self, i: Instruction) -> str:
        """A scalar op as one expression; what must be checked goes before it."""
        op, t = i.op, i.type
        assert t is not None
        if not i.args:
            return op  # worker, workers
        source = i.args[0].type
        assert source is not None
        v = [self.value(a) for a in i.args]
        a, b = v[0], v[-1]
        if op == "bitcast":
            return f"bitcast({a}, {self.hoist(source)}, {self.hoist(t)})"
        if op in ("sitofp", "uitofp"):
            if source.elem == "i1":
                a = f"-int({a})" if op == "sitofp" else f"int({a})"
            elif op == "uitofp":
                a = f"{a} & {(1 << bits_of(source.elem)) - 1}"
            return f"int_to_float({a}, {t.elem!r})"
        if op == "table":
            self.line(f"if not 0 <= {a} < 16: fail({self.number(i)}, {_INDEX!r})")
            return f"{self.table(i)}.item({a})"
        if not t.is_float and not source.is_float:
            return self.scalar_integer(i, v)
        if (chosen := choice_expression(op, v)) is not None:
            return chosen
        if op == "fma":
            return f"fma{t.elem[1:]}({', '.join(v)})"
        if op in ROUNDING:
            return f"{op}({a})"
        if op == "neg":
            return f"-{a}"
        if op == "fpcast":
            return f"t_{t.elem}({a})"
        if op == "fptosi":
            return f"float_to_int({a}, {bits_of(t.elem)})"
        return f"{a} {SIGN[op]} {b}"

    def scalar_integer(self, i: Instruction, v: list[str]) -> str:
        op, a, b = i.op, v[0], v[-1]
        if op in ("div", "rem"):
            bits, constant = bits_of(i.elem), i.args[1].value if i.args[1].op == "const" else 0
            if constant <= 0:
                self.divisions[len(self.lines) + 1] = i
                return f"{'divide' if op == 'div' else 'remainder'}({a}, {b}, {bits})"
            sign = "//" if op == "div" else "%"
            return f"{a} {sign} {b} if {a} >= 0 else -(-{a} {sign} {b})"
        if op in ("shl", "lshr", "ashr") and i.args[1].op != "const":
            self.line(f"if not 0 <= {b} < {bits_of(i.elem)}: fail({self.number(i)}, {_SHIFT!r})")
        plain = integer_expression(i, v)
        assert plain is not None, op
        return plain

    # --- ops that are statements or need lines of their own ---------------------------------------------------------
    def iota(self, i: Instruction) -> None:
        self.names[id(i)] = self.hoist(np.arange(i.lanes, dtype=DTYPES[i.elem]))

    def splat(self, i: Instruction) -> None:
        assert i.type is not None
        if i.type.lanes == 1:
            self.names[id(i)] = self.value(i.args[0])
            return
        name = self.define(i, f"empty({i.lanes}, {i.elem})")
        self.line(f"{name}.fill({self.value(i.args[0])})")

    def dot4(self, i: Instruction) -> None:
        acc, a, b = (self.value(x) for x in i.args)
        maximum = i.attrs["max"]
        if maximum < 255:
            why = f"an unsigned byte is above {maximum}"
            self.line(f"if {a}.view(u8).max() > {maximum}: fail({self.number(i)}, {why!r})")
        self.define(i, f"dot4({acc}, {a}, {b})")

    def gather(self, i: Instruction) -> None:
        (n, name), at, lanes = self.memories[id(i.args[0])], self.value(i.args[1]), self.value(i.args[2])
        run = i.lanes // i.args[2].lanes
        self.runs_inside(i, n, name, at, lanes, run * ELEMENT_BYTES[i.elem])
        self.define(i, f"gathered(m{n}, x, {i.elem!r}, {run})")

    def runs_inside(self, i: Instruction, n: str, name: str, at: str, lanes: str, size: int) -> None:
        self.line(f"x = {at} + {lanes}.astype(i64)")
        outside = f"x.min() < 0 or x.max() > z{n} - {size}"
        self.line(f"if {outside}: fail({self.number(i)}, {name!r}, int(x.max()), z{n} + 1, {size})")

    def scatter(self, i: Instruction) -> None:
        buffer, offset, offsets, value = i.args
        (n, name), at, lanes = self.memories[id(buffer)], self.value(offset), self.value(offsets)
        assert value.type is not None
        self.runs_inside(i, n, name, at, lanes, value.type.nbytes // offsets.lanes)
        self.line(f"scattered(m{n}, x, {self.value(value)})")

    def mma(self, i: Instruction) -> None:
        acc, a, b = (self.value(x) for x in i.args)
        self.define(i, f"mma({acc}, {a}, {b}, {i.attrs['kind']!r})")

    def lockstep_only(self, i: Instruction) -> None:
        raise VerifyError(f"{i.op} has a meaning for warps that run together only: see lockstep")

    def reduce(self, i: Instruction) -> None:
        self.define(i, f"reduce_lanes({self.value(i.args[0])}, {i.attrs['kind']!r})")

    def dot2(self, i: Instruction) -> None:
        acc, a, b = (self.value(x) for x in i.args)
        self.define(i, f"dot2({acc}, {a}, {b})")

    def table_lanes(self, i: Instruction) -> None:
        if i.lanes > 1:
            self.line(f"if {self.value(i.args[0])}.view(u8).max() > 15: fail({self.number(i)}, {_INDEX!r})")
            self.define(i, self.lanes(i))
        else:
            self.define(i, self.scalar(i))

    def alloc(self, i: Instruction) -> None:
        n = str(len(self.memories))
        nbytes = i.attrs["nbytes"]
        self.memories[id(i)] = (n, "private memory")
        self.names[id(i)] = f"m{n}"
        if self.strict:
            self.line(f"s{n} = bytearray({nbytes})")
            self.line(f"m{n} = memoryview(bytearray({nbytes}))")
            self.shadows.append(f"s{n}")
        else:
            self.line(f"m{n} = memoryview(bytearray({self.hoist(random.Random(nbytes).randbytes(nbytes))}))")
        self.line(f"z{n} = {nbytes}")

    def load(self, i: Instruction) -> None:
        assert i.type is not None
        (n, name), at, nbytes = self.memories[id(i.args[0])], self.value(i.args[1]), i.type.nbytes
        number, shadow = self.number(i), f"s{n}" if f"s{n}" in self.shadows else None
        if len(i.args) > 2:
            mask, t = self.value(i.args[2]), self.hoist(i.type)
            self.define(i, f"masked_load(m{n}, {at}, {t}, {mask}, fail, {number}, {name!r}, {shadow})")
            return
        self.line(f"if not 0 <= {at} <= z{n} - {nbytes}: fail({number}, {name!r}, {at}, z{n} + 1, {nbytes})")
        if shadow:
            why = f"{name} was never written there"
            self.line(f"if {shadow}.find(0, {at}, {at} + {nbytes}) >= 0: fail({number}, {why!r})")
        if i.type.lanes > 1:
            self.define(i, f"frombuffer(m{n}, {i.elem}, {i.lanes}, {at}).copy()")
        elif i.type.is_float:
            self.define(i, f"frombuffer(m{n}, {i.elem}, 1, {at})[0]")
        else:
            self.define(i, f"unpack_{i.elem}(m{n}, {at})[0]")

    def prefetch(self, i: Instruction) -> None:
        """A hint: it means nothing."""

    def store(self, i: Instruction) -> None:
        target, offset, x = i.args[:3]
        assert x.type is not None
        (n, name), at, nbytes = self.memories[id(target)], self.value(offset), x.type.nbytes
        number, value = self.number(i), self.value(x)
        shadow = f"s{n}" if f"s{n}" in self.shadows else None
        if len(i.args) > 3:
            mask = self.value(i.args[3])
            self.line(f"masked_store(m{n}, {at}, {value}, {mask}, fail, {number}, {name!r}, {shadow}, {self.mark})")
            return
        self.line(f"if not 0 <= {at} <= z{n} - {nbytes}: fail({number}, {name!r}, {at}, z{n} + 1, {nbytes})")
        if x.type.lanes > 1 or x.type.is_float:
            self.line(f"m{n}[{at}:{at} + {nbytes}] = {value}.tobytes()")
        else:
            self.line(f"pack_{x.elem}(m{n}, {at}, {value})")
        if shadow:
            self.line(f"{shadow}[{at}:{at} + {nbytes}] = {self.mark} * {nbytes}")

    def var(self, i: Instruction) -> None:
        self.define(i, self.value(i.args[0]))

    def set(self, i: Instruction) -> None:
        self.line(f"{self.value(i.args[0])} = {self.value(i.args[1])}")

    def region(self, i: Instruction) -> None:
        body = i.blocks[0]
        if i.op == "if":
            self.line(f"if {self.value(i.args[0])}:")
            self.inner(body)
            if i.blocks[1]:
                self.line("else:")
                self.inner(i.blocks[1])
            return
        index = self.names[id(body[0])] = f"v{len(self.names)}"
        if i.op == "loop":
            lo, hi = (self.value(a) for a in i.args)
            team = i.attrs.get("team")
            self.line(
                f"for {index} in " + (f"split({hi}, 0, 1):" if team else f"range({lo}, {hi}, {i.attrs['step']}):")
            )
            self.inner(body[1:])
            return
        count = self.value(i.args[0])
        self.line(f"if {count} < 0: fail({self.number(i)}, {_COUNT!r})")
        self.line(f"for {index} in split({count}, worker, workers):")
        self.mark = _MARK_ITERATION
        self.inner(body[1:])
        self.mark = _MARK
        # What an iteration wrote to private memory, no other iteration and nothing after the region may read: another
        # worker may have written it.
        for s in self.shadows:
            self.line(f" {s}[:] = {s}.translate(forget)")


_MARK, _MARK_ITERATION = repr(b"\1"), repr(b"\2")
_SHIFT = "the shift's amount is outside 0 .. bits - 1"
_INDEX = "an index is outside 0 .. 15"
_COUNT = "the count is negative"

_HANDLERS: dict[str, Callable[[_Writer, Instruction], None]] = {
    "iota": _Writer.iota, "splat": _Writer.splat, "dot4": _Writer.dot4, "reduce": _Writer.reduce,
    "gather": _Writer.gather, "scatter": _Writer.scatter, "mma": _Writer.mma, "dot2": _Writer.dot2,
    "table": _Writer.table_lanes, **dict.fromkeys(LOCKSTEP_ONLY, _Writer.lockstep_only),
    "alloc": _Writer.alloc, "load": _Writer.load, "store": _Writer.store,
    "prefetch": _Writer.prefetch, "ready": _Writer.prefetch, "var": _Writer.var, "get": _Writer.var,
    "set": _Writer.set, "loop": _Writer.region, "parallel": _Writer.region, "if": _Writer.region,
}  # fmt: skip
assert not _HANDLERS.keys() & COMPARISONS
