"""Writes a kernel of threads (`warp.for_threads`) as the source of one Python generator, which runs a warp of 32
threads in lock-step and yields where other warps must come to a barrier. `lockstep` runs it.

A value is an array (rows, elements of a thread): 32 rows, or one where the text of the kernel tells that all threads
hold the same. Of those, single integers are Python integers. Offsets that grow evenly from thread to thread stay a
first one and a step as long as only accesses use them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from . import arithmetic, lockstep_arithmetic, lockstep_memory
from .arithmetic import DTYPES, UNSIGNED
from .expressions import COMPARE, SourceWriter, integer_expression, lanes_expression
from .ir import ELEMENT_BYTES, Block, Instruction, Kernel, Type
from .lockstep_threads import Even, Threads, only_stores, sums_of
from .warp import WARP

_NAMES: dict[str, Any] = {
    **DTYPES,
    **{f"u{e[1:]}": d for e, d in UNSIGNED.items()},
    **{name: getattr(np, name) for name in ("array", "concatenate", "frombuffer", "full", "minimum", "maximum")},
    **{name: getattr(np, name) for name in ("ndarray", "where", "sqrt", "floor", "ceil", "rint", "fabs", "fmax")},
    **{
        f.__name__: f
        for module in (arithmetic, lockstep_arithmetic, lockstep_memory)
        for f in vars(module).values()
        if callable(f) and f.__module__ == module.__name__
    },
    "THREADS": np.arange(WARP)[:, None],
}
_MOVED = {"i1": "b", "i8": "b", "i16": "h", "i32": "i", "i64": "q"}  # integers, as `struct` calls them
_PARTED = "threads of a warp part at an `if` that does more than store"


class Writer(SourceWriter):
    """The source of `def run(warp)` for a kernel, and what it names."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.threads_of = Threads(kernel)
        self.even, self.one = self.threads_of.even, self.threads_of.one
        self.sums = {v: n for n, v in enumerate(self.threads_of.sums)}
        self.active = ""  # the name of which threads store, inside of an `if` at which they part
        self.only: int | None = None  # the one that does

    def function(self) -> Callable[..., Any]:
        """`run(warp)`, a generator function."""
        for n, b in enumerate(self.kernel.buffers):
            self.memory(b, f"warp.memory[{n}]")
        self.block(self.kernel.body)
        self.line("return")
        self.line("yield")
        source = "\n".join(["def run(warp):", *self.lines, ""])
        namespace = {**_NAMES, **self.constants}
        exec(compile(source, f"<threads of {self.kernel.name}>", "exec"), namespace)
        made: Callable[..., Any] = namespace["run"]
        return made

    # --- text -------------------------------------------------------------------------------------------------------
    def block(self, block: Block) -> None:
        for i in block:
            handler = _HANDLERS.get(i.op)
            if handler is not None:
                handler(self, i)
            else:
                self.plain(i)

    # --- values -----------------------------------------------------------------------------------------------------
    def is_integer(self, i: Instruction) -> bool:
        """Whether a value is a Python integer."""
        t = i.type
        assert t is not None
        return t.lanes == 1 and not t.is_float and self.threads_of.rows(i) == 1

    def value(self, i: Instruction) -> str:
        """A value as it is held: a Python integer or an array."""
        name = self.names.get(id(i))
        if name is None:
            assert i.op == "const"
            if self.is_integer(i):
                name = repr(arithmetic.constant(i.value, Type(i.elem)))
                name = f"({name})" if name.startswith("-") else name
            else:
                name = self.hoist(np.full((1, i.lanes), i.value, DTYPES[i.elem]))
            self.names[id(i)] = name
        return name

    def array(self, i: Instruction, rows: int = 1) -> str:
        """A value as an array, of 32 rows where `rows` says so."""
        name = self.value(i)
        if self.is_integer(i):
            constant = np.full((1, 1), i.value, DTYPES[i.elem]) if i.op == "const" else None
            name = f"array([[{name}]], {i.elem})" if constant is None else self.hoist(constant)
        return f"{name}.repeat({WARP}, 0)" if rows > self.threads_of.rows(i) else name

    def wide(self, i: Instruction) -> int:
        return max((self.threads_of.rows(a) for a in i.args), default=1)

    def result(self, i: Instruction, text: str) -> None:
        """Define a value by an expression that is an array: what is held as an integer is taken out."""
        self.define(i, f"({text}).item()" if self.is_integer(i) else text)

    # --- arithmetic -------------------------------------------------------------------------------------------------
    def plain(self, i: Instruction) -> None:
        if self.threads_of.is_skipped(i):
            return
        integers = [self.is_integer(a) for a in i.args]
        if all(integers) and self.is_integer(i):
            self.define(i, self.integers(i))
            return
        direct = i.op in _DIRECT and not all(integers)
        if i.op == "select" and integers[0] and self.threads_of.rows(i.args[1]) == self.threads_of.rows(i.args[2]):
            c, a, b = self.value(i.args[0]), self.array(i.args[1]), self.array(i.args[2])
            self.define(i, f"{a} if {c} else {b}")
            return
        v = [self.value(a) if direct else self.array(a) for a in i.args]
        if i.op in ("div", "rem") and not Type(i.elem).is_float:
            text: str | None = f"{'quotients' if i.op == 'div' else 'remainders'}({v[0]}, {v[1]})"
        elif i.op == "lshr":
            u = f"u{i.elem[1:]}"
            text = f"({v[0]}.view({u}) >> {v[1]}.view({u})).view({i.elem})"
        elif i.op == "fma" and i.elem == "f32":
            text = f"with_nan({lanes_expression(i, v)})"
        else:
            text = lanes_expression(i, v)
        assert text is not None, i.op
        self.result(i, text)

    def integers(self, i: Instruction) -> str:
        v = [self.value(a) for a in i.args]
        if i.op in ("div", "rem"):
            b = i.args[1]
            if b.op == "const" and b.value > 0:
                sign = "//" if i.op == "div" else "%"
                return f"{v[0]} {sign} {v[1]} if {v[0]} >= 0 else -(-{v[0]} {sign} {v[1]})"
            whole = "quotients" if i.op == "div" else "remainders"
            return f"{whole}({self.array(i.args[0])}, {self.array(b)}).item()"
        text = integer_expression(i, v)
        assert text is not None, i.op
        return text

    def helper(self, i: Instruction) -> None:
        """By a function of the op's name."""
        self.result(i, f"{i.op}({', '.join(map(self.array, i.args))})")

    def smaller_or_larger(self, i: Instruction) -> None:
        self.result(i, f"{i.op if i.op != 'maxnum' else 'fmax'}({', '.join(map(self.array, i.args))})")

    def pack_pair(self, i: Instruction) -> None:
        a, b = map(self.array, i.args)
        self.result(i, f"pack_pair({a}, {b}, {i.attrs['kind']!r})")

    def permute_bytes(self, i: Instruction) -> None:
        a, b = (self.array(x, self.wide(i)) for x in i.args)
        chosen = self.hoist(np.array([i.attrs["selector"] >> 4 * n & 7 for n in range(4)]))
        self.result(i, f"permute_bytes({a}, {b}, {chosen})")

    def dot(self, i: Instruction) -> None:
        acc, a, b = (self.array(x, self.wide(i)) for x in i.args)
        self.result(i, f"{i.op}({acc}.ravel(), {a}.ravel(), {b}.ravel()).reshape({acc}.shape)")

    def mma(self, i: Instruction) -> None:
        acc, a, b = (self.array(x, WARP) for x in i.args)
        self.define(i, f"mma({acc}.ravel(), {a}.ravel(), {b}.ravel(), {i.attrs['kind']!r}).reshape({WARP}, -1)")

    def reduce(self, i: Instruction) -> None:
        self.result(i, f"reduce_rows({self.array(i.args[0])}, {i.attrs['kind']!r})")

    def table(self, i: Instruction) -> None:
        values = self.hoist(np.array([v & 255 for v in i.attrs["values"]], np.uint8).view(np.int8))
        self.result(i, f"{values}[{self.array(i.args[0])}.view(u8) & 15]")

    def bitcast(self, i: Instruction) -> None:
        source = i.args[0]
        name = self.array(source)
        if ELEMENT_BYTES[i.elem] != ELEMENT_BYTES[source.elem]:
            name = f"contiguous({name})"
        self.result(i, f"{name}.view({i.elem})")

    # --- lanes ------------------------------------------------------------------------------------------------------
    def iota(self, i: Instruction) -> None:
        self.names[id(i)] = self.hoist(np.arange(i.lanes, dtype=DTYPES[i.elem])[None])

    def splat(self, i: Instruction) -> None:
        source = i.args[0]
        if self.is_integer(source):
            self.define(i, f"full((1, {i.lanes}), {self.value(source)}, {i.elem})")
        else:
            self.define(i, f"{self.array(source)}.repeat({i.lanes}, 1)")

    def extract(self, i: Instruction) -> None:
        lane = i.attrs["lane"]
        if self.is_integer(i):
            self.define(i, f"{self.value(i.args[0])}.item({lane})" if i.args[0].lanes > 1 else self.value(i.args[0]))
        else:
            self.define(i, f"{self.array(i.args[0])}[:, {lane}:{lane + 1}]")

    def joined(self, parts: list[Instruction], rows: int) -> str:
        return f"concatenate(({', '.join(self.array(a, rows) for a in parts)}), axis=1)"

    def pack(self, i: Instruction) -> None:
        self.define(i, self.joined(list(i.args), self.wide(i)))

    def shuffle(self, i: Instruction) -> None:
        lanes, (a, b), n = list(i.attrs["lanes"]), i.args, i.args[0].lanes
        if a is b:
            lanes = [x % n for x in lanes]
        rows = self.threads_of.rows(i)
        if max(lanes) < n:
            text = self.array(a, rows)
        elif min(lanes) >= n:
            text, lanes = self.array(b, rows), [x - n for x in lanes]
        else:
            text = self.joined([a, b], rows)
        if lanes == list(range(lanes[0], lanes[0] + len(lanes))):
            self.result(i, f"{text}[:, {lanes[0]}:{lanes[-1] + 1}]")
        else:
            self.result(i, f"{text}.take({self.hoist(np.array(lanes))}, 1)")

    # --- threads ----------------------------------------------------------------------------------------------------
    def thread(self, i: Instruction) -> None:
        self.names[id(i)] = self.hoist(np.arange(WARP, dtype=np.int32)[:, None])

    def fixed(self, i: Instruction) -> None:
        self.define(i, f"warp.{i.op}")

    def from_thread(self, i: Instruction) -> None:
        source, t = i.args
        if self.threads_of.rows(source) == 1:
            self.define(i, self.value(source))
        elif self.is_integer(t):
            self.result(i, f"from_one({self.value(source)}, {self.value(t)} & {WARP - 1})")
        else:
            self.define(i, f"{self.value(source)}.take({self.array(t)}[:, 0] & {WARP - 1}, 0)")

    def from_other(self, i: Instruction) -> None:
        if self.threads_of.rows(i.args[0]) == 1:
            self.define(i, self.value(i.args[0]))
        else:
            others = self.hoist(np.arange(WARP) ^ i.attrs["mask"])
            self.define(i, f"{self.value(i.args[0])}.take({others}, 0)")

    def across(self, i: Instruction) -> None:
        self.result(i, f"across({self.array(i.args[0], WARP)}, {i.attrs['kind']!r})")

    # --- memory -----------------------------------------------------------------------------------------------------
    def memory(self, i: Instruction, text: str) -> None:
        name = f"m{len(self.names)}"
        self.names[id(i)] = name
        self.line(f"{name} = {text}; d{name} = {name}.data; s{name} = {name}.size")

    def alloc(self, i: Instruction) -> None:
        self.memory(i, f"warp.private_memory({len(self.names)}, {i.attrs['nbytes']})")

    def inside(self, memory: str, first: str, reach: int, align: int, step: int = 0) -> None:
        """Check an access at `first` whose last byte is `reach` - 1 behind it."""
        wrong = f" or {first} & {align - 1}" if align > 1 else ""
        refused = f"{memory}.refuse({first}, {first} + {reach - 1}, {align})"
        if step % align:
            self.line(refused)
        else:
            self.line(f"if not 0 <= {first} <= s{memory} - {reach}{wrong}: {refused}")

    def first(self, even: Even) -> str:
        """What thread 0 holds, as an expression of integers."""
        terms = [f"{self.value(i)} * {factor}" if factor != 1 else self.value(i) for i, factor in even.terms]
        return " + ".join([*terms, *([str(even.constant)] if even.constant or not terms else [])])

    def spread(self, offset: Instruction, nbytes: int) -> Even | None:
        """The offset of an access by all threads that take bytes of their own, where it grows evenly."""
        found = self.even.get(id(offset))
        return found if found is not None and found.step >= nbytes else None

    def named(self, text: str) -> str:
        """A name for an expression of an integer that is used more than once."""
        if text.isidentifier() or text.isdigit():
            return text
        self.line(f"x = {text}")
        return "x"

    def offset(self, i: Instruction) -> str:
        """The offset of an access as an array."""
        even = self.even.get(id(i))
        if even is not None and id(i) not in self.names:
            steps = np.arange(WARP, dtype=DTYPES[i.elem])[:, None] * even.step
            return f"{self.first(even)} + {self.hoist(steps.astype(DTYPES[i.elem]))}"
        return self.array(i)

    def load(self, i: Instruction) -> None:
        memory, offset, align, t = self.value(i.args[0]), i.args[1], i.attrs["align"], i.type
        assert t is not None
        nbytes = t.nbytes
        if len(i.args) > 2:
            mask = self.array(i.args[2])
            self.result(i, f"load_masked({memory}, {self.offset(offset)}, {t.elem!r}, {mask}, {align})")
        elif self.is_integer(offset):
            at = self.value(offset)
            self.inside(memory, at, nbytes, align)
            if self.is_integer(i):
                code = self.hoist(_unpacker(t.elem))
                self.define(i, f"{code}(d{memory}, {at})[0]" + (" != 0" if t.elem == "i1" else ""))
            else:
                self.define(i, f"ndarray((1, {t.lanes}), {t.elem}, d{memory}, {at}).copy()")
        elif (even := self.spread(offset, nbytes)) is not None:
            at = self.named(self.first(even))
            self.inside(memory, at, (WARP - 1) * even.step + nbytes, align, even.step)
            strides = (even.step, ELEMENT_BYTES[t.elem])
            self.define(i, f"ndarray(({WARP}, {t.lanes}), {t.elem}, d{memory}, {at}, {strides}).copy()")
        else:
            self.define(i, f"load_runs({memory}, {self.offset(offset)}, {t.elem!r}, {nbytes}, {align})")

    def runs(self, i: Instruction) -> str:
        """The offsets of a gather or a scatter as an array."""
        at, lanes = i.args[1:3]
        if self.is_integer(at) and self.is_integer(lanes):
            return f"array([[{self.value(at)} + {self.value(lanes)}]])"
        first = self.value(at) if self.is_integer(at) else self.offset(at)
        return f"{first} + {self.array(lanes)}.astype(i64)"

    def gather(self, i: Instruction) -> None:
        t = i.type
        assert t is not None
        run = t.nbytes // i.args[2].lanes
        self.result(i, f"load_runs({self.value(i.args[0])}, {self.runs(i)}, {t.elem!r}, {run}, {i.attrs['align']})")

    def load_matrices(self, i: Instruction) -> None:
        self.define(i, f"load_matrices({self.value(i.args[0])}, {self.runs(i)}, {i.attrs['turned']})")

    def scatter(self, i: Instruction) -> None:
        value = i.args[3]
        assert value.type is not None
        run, rows = value.type.nbytes // i.args[2].lanes, max(map(self.threads_of.rows, i.args[1:]))
        active = self.everyone(rows)
        where = (
            self.runs(i)
            if rows == max(map(self.threads_of.rows, i.args[1:3]))
            else f"({self.runs(i)}).repeat({WARP}, 0)"
        )
        self.line(
            f"store_runs({self.value(i.args[0])}, {where}, {self.array(value)}, {run}, {i.attrs['align']}, {active})"
        )

    def everyone(self, rows: int) -> str:
        """Which threads store, as an array of flags or None. One row needs none: a thread does as well as all."""
        if rows == 1:
            return "None"
        return f"THREADS[:, 0] == {self.only}" if self.only is not None else self.active or "None"

    def store(self, i: Instruction) -> None:
        memory, offset, value, align = self.value(i.args[0]), i.args[1], i.args[2], i.attrs["align"]
        t = value.type
        assert t is not None
        mask = i.args[3] if len(i.args) > 3 else None
        rows = max(map(self.threads_of.rows, i.args[1:]))
        single = (
            self.only if self.only is not None else WARP - 1 if self.is_integer(offset) and not self.active else None
        )
        if mask is None and (rows == 1 or single is not None):
            self.store_once(memory, offset, value, align, single or 0)
            return
        if mask is not None:
            where, shape = self.offset(offset), self.array(mask)
            self.line(f"store_masked({memory}, {where}, {self.array(value)}, {shape}, {align}, {self.everyone(rows)})")
            return
        even = self.spread(offset, t.nbytes)
        if even is not None and not self.active:
            at = self.named(self.first(even))
            self.inside(memory, at, (WARP - 1) * even.step + t.nbytes, align, even.step)
            strides = (even.step, ELEMENT_BYTES[t.elem])
            whole = f"ndarray(({WARP}, {t.lanes}), {t.elem}, d{memory}, {at}, {strides})"
            self.line(f"{whole}[...] = {self.value(value)}")
            return
        where = self.offset(offset) if not self.is_integer(offset) else self.array(offset, WARP)
        self.line(f"store_runs({memory}, {where}, {self.array(value)}, {t.nbytes}, {align}, {self.everyone(rows)})")

    def store_once(self, memory: str, offset: Instruction, value: Instruction, align: int, thread: int) -> None:
        """One thread stores, or all store at one place, where the last one stays."""
        t = value.type
        assert t is not None
        even = self.even.get(id(offset))
        if self.is_integer(offset):
            at = self.value(offset)
        elif even is not None:
            at = self.named(f"{self.first(even)} + {thread * even.step}")
        else:
            at = self.named(f"{self.value(offset)}.item({thread})")
        self.inside(memory, at, t.nbytes, align)
        if self.is_integer(value):
            self.line(f"{self.hoist(_packer(t.elem))}(d{memory}, {at}, {self.value(value)})")
        else:
            row = f"[{thread}:{thread + 1}]" if self.threads_of.rows(value) > 1 else ""
            self.line(f"ndarray((1, {t.lanes}), {t.elem}, d{memory}, {at})[...] = {self.array(value)}{row}")

    def copy_async(self, i: Instruction) -> None:
        private, to, lanes, buffer, source, source_lanes, *count = i.args
        where, taken = (
            f"{self.value(a) if self.is_integer(a) else self.offset(a)} + {self.array(b)}.astype(i64)"
            for a, b in ((to, lanes), (source, source_lanes))
        )
        counted = self.array(count[0]) if count else self.hoist(np.full((1, 1), 16))
        self.line(f"warp.copy({self.value(private)}, {where}, {self.value(buffer)}, {taken}, {counted})")

    # --- variables --------------------------------------------------------------------------------------------------
    def var(self, i: Instruction) -> None:
        if id(i) in self.sums:
            self.line(f"warp.sums[{self.sums[id(i)]}] = {self.array(i.args[0], WARP)}")
            return
        self.define(i, self.held(i, i.args[0]))

    def held(self, variable: Instruction, value: Instruction) -> str:
        return self.value(value) if self.is_integer(variable) else self.array(value, self.threads_of.rows(variable))

    def get_var(self, i: Instruction) -> None:
        number = self.sums.get(id(i.args[0]))
        self.define(i, self.value(i.args[0]) if number is None else f"warp.sums[{number}]")

    def set(self, i: Instruction) -> None:
        variable, value = i.args
        number = self.sums.get(id(variable))
        name = self.names[id(variable)] if number is None else f"warp.sums[{number}]"
        self.line(f"{name} = {self.held(variable, value)}")

    # --- what warps do together -------------------------------------------------------------------------------------
    def nothing(self, i: Instruction) -> None:
        """A hint, or what threads in lock-step do by themselves."""

    def meet(self, i: Instruction) -> None:
        if i.attrs.get("block"):
            self.line("yield warp.arrive(None)")

    def arrive(self, i: Instruction) -> None:
        self.line(f"yield warp.arrive_before_wait({self.value(i.args[0])!r})")

    def wait(self, i: Instruction) -> None:
        self.line(f"yield warp.wait({self.value(i.args[0])!r})")

    def commit_copies(self, i: Instruction) -> None:
        self.line("warp.commit_copies()")

    def wait_copies(self, i: Instruction) -> None:
        self.line(f"warp.wait_copies({i.attrs['left']})")

    def warpgroup_mma(self, i: Instruction) -> None:
        private, b, *rest = i.args
        sums = sums_of(i)
        values = rest[: len(rest) - len(sums)]
        steps, *strides = i.attrs["shape"]
        if len(strides) == 2:
            a = f"({', '.join(self.array(v, WARP) for v in values)},)"
        else:
            a = self.uniform(values[0])
        what = self.hoist((steps, tuple(strides), i.attrs["kind"], tuple(i.attrs["turned"]), i.attrs["fresh"]))
        numbers = [self.sums[id(v)] for v in sums]
        self.line(f"warp.multiply({self.value(private)}, {self.uniform(b)}, {a}, {numbers}, *{what})")

    def wait_mma(self, i: Instruction) -> None:
        self.line(f"warp.wait_products({i.attrs['left']})")

    # --- regions ----------------------------------------------------------------------------------------------------
    def uniform(self, i: Instruction) -> str:
        """An integer that must be the same in all threads."""
        return self.value(i) if self.is_integer(i) else f"uniform({self.array(i)})"

    def loop(self, i: Instruction) -> None:
        index, *body = i.blocks[0]
        name = self.names[id(index)] = f"v{len(self.names)}"
        bounds = ", ".join(map(self.uniform, i.args))
        self.line(
            f"for {name} in " + (f"range({bounds}, {i.attrs['step']}):" if i.op == "loop" else f"warp.part({bounds}):")
        )
        self.inner(body)

    def choice(self, i: Instruction) -> None:
        condition, (then, other) = i.args[0], i.blocks
        one = self.one.get(id(condition))
        stores = only_stores(i)
        if one is not None and stores:
            self.line(f"if {'True' if one.guard is None else self.value(one.guard)}:")
            self.only, self.active = one.thread, "one"
            self.inner(then)
            self.only, self.active = None, ""
            return
        flags = self.value(condition)
        if self.is_integer(condition):
            self.line(f"if {flags}:")
        elif stores:
            name = f"a{len(self.lines)}"
            self.line(f"{name} = {flags}[:, 0]")
            self.line(f"if {name}.any():")
            self.active = name
            self.inner(then)
            self.active = ""
            return
        else:
            self.line(f"if uniform({flags}, {_PARTED!r}):")
        self.inner(then)
        if other:
            self.line("else:")
            self.inner(other)


def _unpacker(elem: str) -> Callable[..., Any]:
    return struct.Struct(f"<{_MOVED[elem]}").unpack_from


def _packer(elem: str) -> Callable[..., Any]:
    return struct.Struct(f"<{_MOVED[elem]}").pack_into


_DIRECT = frozenset({"add", "sub", "mul", "div", "and", "or", "xor", *COMPARE, "shl", "ashr"})
"""Element-wise ops whose expression takes a Python integer beside an array as it is."""

_HANDLERS: dict[str, Callable[[Writer, Instruction], None]] = {
    "exp2": Writer.helper, "rcp": Writer.helper, "round_tf32": Writer.helper,
    "fma_pair": Writer.helper, "minimum": Writer.smaller_or_larger,
    "maximum": Writer.smaller_or_larger, "maxnum": Writer.smaller_or_larger, "pack_pair": Writer.pack_pair,
    "permute_bytes": Writer.permute_bytes, "dot4": Writer.dot, "dot2": Writer.dot, "mma": Writer.mma,
    "reduce": Writer.reduce, "table": Writer.table, "bitcast": Writer.bitcast, "iota": Writer.iota,
    "splat": Writer.splat, "extract": Writer.extract, "pack": Writer.pack, "shuffle": Writer.shuffle,
    "thread": Writer.thread, "warp": Writer.fixed, "worker": Writer.fixed, "workers": Writer.fixed,
    "from_thread": Writer.from_thread, "from_other": Writer.from_other, "across": Writer.across,
    "alloc": Writer.alloc, "load": Writer.load, "gather": Writer.gather,
    "load_matrices": Writer.load_matrices, "store": Writer.store,
    "scatter": Writer.scatter, "copy_async": Writer.copy_async, "commit_copies": Writer.commit_copies,
    "wait_copies": Writer.wait_copies, "var": Writer.var, "get": Writer.get_var, "set": Writer.set,
    "prefetch": Writer.nothing, "ready": Writer.nothing, "together": Writer.meet, "arrive": Writer.arrive,
    "await": Writer.wait, "warpgroup_mma": Writer.warpgroup_mma, "wait_mma": Writer.wait_mma, "loop": Writer.loop,
    "parallel": Writer.loop, "if": Writer.choice,
}  # fmt: skip
