"""Reading the text of kernels that `text` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from ..diagnostics import LumSyntaxError, Span
from .arithmetic import rounded
from .ir import ELEMENT_BYTES, FLOATS, OPS, Block, Instruction, Kernel, KernelParameter, Type
from .text import COMPARISONS, CONVERSIONS, NULLARY, UNIFORM

_I64 = Type("i64")

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n]*)
    |(?P<value>%[A-Za-z0-9_]+)
    |(?P<number>-?(?:inf|nan)(?![A-Za-z0-9_])|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<sign>\.\.|[-=(){}\[\]:,])""",
    re.VERBOSE,
)
_TYPE = re.compile(r"(i1|i8|i16|i32|i64|f16|f32|f64|ptr)(?:x([0-9]{1,5}))?")


def parse_kernel(text: str, path: str = "<kernel>") -> Kernel:
    """The one kernel that `text` holds. Names of results are free; `#` starts a comment.

    The form is checked here, types and rules by `verify`. Raises LumSyntaxError with the place."""
    kernels = parse_kernels(text, path)
    if len(kernels) != 1:
        raise LumSyntaxError(f"{path} holds {len(kernels)} kernels, one was expected", source=text)
    return kernels[0]


def parse_kernels(text: str, path: str = "<kernel>") -> list[Kernel]:
    """Every kernel of a text, in order. Raises LumSyntaxError with the place."""
    parser = _Parser(text, path)
    out = []
    while parser.kind != "end":
        out.append(parser.kernel())
    return out


class _Parser:
    """Recursive descent over the token list. Values are looked up while reading, so a use before its definition is an
    error of the text."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            m = _TOKEN.match(text, at)
            if m is None:
                self.fail_at(at, at + 1, f"a character that no kernel text has: {text[at]!r}")
            if m.lastgroup != "space":
                assert m.lastgroup is not None
                self.tokens.append((m.lastgroup, m.group(), at))
            at = m.end()
        self.tokens.append(("end", "", len(text)))
        self.i = 0
        self.kind, self.token, self.at = self.tokens[0]

    # --- tokens -----------------------------------------------------------------------------------------------------
    def fail_at(self, start: int, end: int, message: str, help: str | None = None) -> NoReturn:
        line = self.text.count("\n", 0, start) + 1
        column = start - (self.text.rfind("\n", 0, start) + 1) + 1
        at = Span(self.path, line, column, line, column + max(end - start, 1))
        raise LumSyntaxError(message, at=at, source=self.text, help=help)

    def fail(self, message: str, help: str | None = None) -> NoReturn:
        self.fail_at(self.at, self.at + len(self.token), message, help)

    def unexpected(self, wanted: str) -> NoReturn:
        self.fail(f"expected {wanted}, found {self.token!r}" if self.token else f"expected {wanted}, the text ends")

    def next(self) -> str:
        token = self.token
        self.i += 1
        self.kind, self.token, self.at = self.tokens[self.i]
        return token

    def expect(self, token: str) -> None:
        if self.token != token:
            self.unexpected(f"`{token}`")
        self.next()

    def accept(self, token: str) -> bool:
        if self.token == token and self.kind != "end":
            self.next()
            return True
        return False

    def take(self, kind: str, wanted: str) -> str:
        if self.kind != kind:
            self.unexpected(wanted)
        return self.next()

    def integer(self, wanted: str = "an integer") -> int:
        if self.kind != "number" or not self.token.lstrip("-").isdigit():
            self.unexpected(wanted)
        if len(self.token) > 24:
            self.fail(f"{self.token[:12]}... has too many digits")
        return int(self.next())

    def type(self) -> Type:
        m = _TYPE.fullmatch(self.token)
        if m is None or m[2] in ("0", "1"):
            self.unexpected("a type such as f32 or i8x16")
        self.next()
        return Type(m[1], int(m[2] or 1))

    def integers(self) -> tuple[int, ...]:
        """`[0..15, 32, 33]`"""
        self.expect("[")
        out: list[int] = []
        while self.token != "]":
            start, first = self.at, self.integer()
            last = self.integer() if self.accept("..") else first
            if last - first > 4096:
                self.fail_at(start, self.at, f"{first}..{last} is too long")
            out.extend(range(first, last + 1))
            if not self.accept(","):
                break
        self.expect("]")
        return tuple(out)

    # --- operands ---------------------------------------------------------------------------------------------------
    def operand(self) -> Instruction | tuple[str, int]:
        """A value, a buffer, a constant with its type, or the (text, place) of a constant whose type comes later."""
        kind, token, at = self.kind, self.token, self.at
        if kind == "value" or (kind == "word" and token not in ("true", "false")):
            found = self.scope.get(token)
            if found is None:
                self.fail(
                    f"{token} is not defined here",
                    help="a value is visible after its definition, in its block and the blocks inside",
                )
            self.next()
            return found
        if kind in ("number", "word"):
            self.next()
            if self.token == ":" and self.at == at + len(token):  # `3:i8`; with a space the type is the instruction's
                self.next()
                return self.constant((token, at), self.type())
            return token, at
        return self.unexpected("a value or a constant")

    def constant(self, literal: tuple[str, int], type: Type) -> Instruction:
        token, at = literal
        value: Any = None
        if type.elem in FLOATS:
            value = None if token in ("true", "false") else rounded(float(token), type.elem)
        elif type.elem == "i1":
            value = {"true": 1, "false": 0, "1": 1, "0": 0}.get(token)
        elif type.elem != "ptr" and token.lstrip("-").isdigit() and len(token) <= 24:
            bits = 8 * ELEMENT_BYTES[type.elem]
            value = int(token)
            if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
                value = None
        if value is None:
            self.fail_at(at, at + len(token), f"{token} is not a constant of type {type}")
        key = (type, repr(value))
        found = self.constants.get(key)
        if found is None:
            found = self.constants[key] = Instruction("const", type, (), {"value": value})
        return found

    def of(self, x: Instruction | tuple[str, int], type: Type) -> Instruction:
        """The operand, as `type` if it is a constant without one."""
        return self.constant(x, type) if isinstance(x, tuple) else x

    def typed(self) -> Instruction:
        at = self.at
        x = self.operand()
        if isinstance(x, tuple):
            self.fail_at(at, at + len(x[0]), f"the constant {x[0]} needs a type here", help=f"write {x[0]}:i32, say")
        return x

    def offset(self) -> Instruction:
        return self.of(self.operand(), _I64)

    def place(self) -> tuple[Instruction, Instruction]:
        """`buffer[offset]`"""
        buffer = self.typed()
        self.expect("[")
        offset = self.offset()
        self.expect("]")
        return buffer, offset

    def mask(self, lanes: int) -> tuple[Instruction, ...]:
        if not self.accept(","):
            return ()
        self.expect("mask")
        return (self.of(self.operand(), Type("i1", lanes)),)

    # --- kernel and blocks ------------------------------------------------------------------------------------------
    def kernel(self) -> Kernel:
        self.expect("kernel")
        name = self.take("word", "the kernel's name")
        self.scope: dict[str, Instruction] = {}
        self.constants: dict[Any, Instruction] = {}
        parameters: list[KernelParameter] = []
        buffers: list[Instruction] = []
        self.expect("(")
        while self.token != ")":
            at = self.at
            parameter = self.take("word", "a parameter's name")
            if parameter in self.scope:
                self.fail_at(at, at + len(parameter), f"two parameters are named {parameter}")
            self.expect(":")
            if self.token not in ("r", "w", "rw", "dim"):
                self.unexpected("r, w, rw or dim")
            mode = self.next()
            is_dim = mode == "dim"
            mode = "r" if is_dim else mode
            parameters.append(KernelParameter(parameter, mode, is_dim))
            buffers.append(Instruction("buffer", Type("ptr"), (), {"name": parameter, "mode": mode}))
            self.scope[parameter] = buffers[-1]
            if not self.accept(","):
                break
        self.expect(")")
        note = ""
        if self.accept("note"):
            at = self.at
            token = self.take("string", "a string")
            try:
                note = json.loads(token)
            except ValueError:
                self.fail_at(at, at + len(token), "not a string of JSON")
        blocks = self.integer("a number of blocks") if self.accept("blocks") else 0
        return Kernel(name, tuple(parameters), tuple(buffers), self.block([]), note, blocks=blocks)

    def block(self, block: Block) -> Block:
        """`{ ... }`, appended to `block`. What it defines is forgotten at its end."""
        self.expect("{")
        outer = self.scope
        self.scope = dict(outer)
        while self.token != "}":
            if self.kind == "value":
                block.append(self.definition())
            else:
                block.append(self.statement())
        self.scope = outer
        self.next()
        return block

    def define(self, name: str, at: int, made: Instruction) -> None:
        if name in self.scope:
            self.fail_at(at, at + len(name), f"{name} is defined twice")
        self.scope[name] = made

    def statement(self) -> Instruction:
        op = self.token
        if op == "store":
            self.next()
            buffer, offset = self.place()
            self.expect(",")
            value = self.typed()
            return Instruction("store", None, (buffer, offset, value, *self.mask(value.lanes)))
        if op == "prefetch":
            self.next()
            place = self.place()
            return Instruction("prefetch", None, place, {"nbytes": self.integer()} if self.accept("bytes") else {})
        if op in ("ready", "commit_copies", "barrier"):
            return Instruction(self.next(), None)
        if op == "scatter":
            self.next()
            buffer, offset = self.place()
            self.expect(",")
            lanes = self.typed()
            self.expect(",")
            return Instruction("scatter", None, (buffer, offset, lanes, self.typed()))
        if op == "wait_copies":
            self.next()
            return Instruction("wait_copies", None, (), {"left": self.integer()})
        if op in ("arrive", "await"):
            return Instruction(self.next(), None, (self.typed(),))
        if op == "copy_async":
            self.next()
            private, to = self.place()
            self.expect(",")
            lanes = self.typed()
            self.expect(",")
            buffer, source = self.place()
            self.expect(",")
            source_lanes = self.typed()
            count = (self.typed(),) if self.accept("bytes") else ()
            return Instruction("copy_async", None, (private, to, lanes, buffer, source, source_lanes, *count))
        if op == "warpgroup_mma":
            self.next()
            kind = self.take("word", "bf16, f16 or tf32")
            fresh, *turned = (bool(self.accept(word)) for word in ("fresh", "turned_a", "turned_b"))
            shape = self.integers()
            place = self.place()
            self.expect(",")
            a: list[Instruction] = []
            if len(shape) == 5:
                a.append(self.offset())
                self.expect(",")
            attrs = {"shape": shape, "kind": kind, "fresh": fresh, "turned": tuple(turned)}
            return Instruction("warpgroup_mma", None, (*place, *a, *self.listed()), attrs)
        if op == "wait_mma":
            self.next()
            left = self.integer()
            self.expect(",")
            return Instruction("wait_mma", None, tuple(self.listed()), {"left": left})
        if op == "set":
            self.next()
            variable = self.typed()
            self.expect(",")
            assert variable.type is not None
            return Instruction("set", None, (variable, self.of(self.operand(), variable.type)))
        if op == "if":
            self.next()
            condition = self.of(self.operand(), Type("i1"))
            then = self.block([])
            return Instruction("if", None, (condition,), {}, (then, self.block([]) if self.accept("else") else []))
        if op in ("loop", "parallel"):
            return self.counted(self.next())
        return self.unexpected("an instruction or `}`")

    def counted(self, op: str) -> Instruction:
        at = self.at
        name = self.take("value", "an induction variable such as %i0")
        self.expect("in")
        args: tuple[Instruction, ...] = (self.offset(),)
        attrs: dict[str, Any] = {}
        if op == "loop":
            self.expect("..")
            args += (self.offset(),)
            attrs["step"] = self.integer() if self.accept("step") else 1
            attrs["unroll"] = self.integer() if self.accept("unroll") else 1
            if self.accept("team"):
                attrs["team"] = True
        elif self.accept("ahead"):
            attrs["ahead"] = True
        index = Instruction("index", _I64)
        outer = self.scope
        self.scope = dict(outer)
        self.define(name, at, index)
        made = Instruction(op, None, args, attrs, (self.block([index]),))
        self.scope = outer
        return made

    def definition(self) -> Instruction:
        at, name = self.at, self.next()
        self.expect("=")
        op = self.token
        if self.kind != "word" or op not in OPS:
            self.unexpected("an op")
        made = self.instruction(self.next())
        self.define(name, at, made)
        return made

    def instruction(self, op: str) -> Instruction:
        if op in UNIFORM:
            args = self.arguments(OPS[op][0])
            type = self.suffix()
            return Instruction(op, type, tuple([self.of(a, type) for a in args]))
        if op in COMPARISONS:
            args = self.arguments(2)
            type = self.suffix()
            return Instruction(op, type.of("i1"), (self.of(args[0], type), self.of(args[1], type)))
        if op == "load":
            type = self.type()
            self.expect(",")
            return Instruction("load", type, (*self.place(), *self.mask(type.lanes)))
        special = _SPECIAL.get(op)
        if special is not None:
            return special(self)
        if op in CONVERSIONS:
            source = self.typed()
            return Instruction(op, self.suffix(), (source,))
        if op in NULLARY:
            return Instruction(op, _I64)
        return self.fail(f"`{op}` does not make a value")

    def arguments(self, count: int) -> list[Instruction | tuple[str, int]]:
        out = [self.operand()]
        for _ in range(count - 1):
            self.expect(",")
            out.append(self.operand())
        return out

    def listed(self) -> list[Instruction]:
        out = [self.typed()]
        while self.accept(","):
            out.append(self.typed())
        return out

    def suffix(self) -> Type:
        self.expect(":")
        return self.type()

    # --- ops with a form of their own -------------------------------------------------------------------------------
    def get(self) -> Instruction:
        variable = self.typed()
        return Instruction("get", variable.type, (variable,))

    def select(self) -> Instruction:
        args = self.arguments(3)
        type = self.suffix()
        return Instruction(
            "select", type, (self.of(args[0], type.of("i1")), self.of(args[1], type), self.of(args[2], type))
        )

    def splat(self) -> Instruction:
        (value,) = self.arguments(1)
        type = self.suffix()
        return Instruction("splat", type, (self.of(value, Type(type.elem)),))

    def iota(self) -> Instruction:
        return Instruction("iota", self.suffix())

    def extract(self) -> Instruction:
        value = self.typed()
        self.expect("[")
        lane = self.integer("a lane")
        self.expect("]")
        return Instruction("extract", Type(value.elem), (value,), {"lane": lane})

    def gather(self) -> Instruction:
        type = self.type()
        self.expect(",")
        place = self.place()
        self.expect(",")
        return Instruction("gather", type, (*place, self.typed()))

    def load_matrices(self) -> Instruction:
        turned = bool(self.accept("turned"))
        place = self.place()
        self.expect(",")
        return Instruction("load_matrices", Type("i32", 128), (*place, self.typed()), {"turned": turned})

    def mma(self) -> Instruction:
        kind = self.next()
        acc = self.typed()
        self.expect(",")
        a = self.typed()
        self.expect(",")
        return Instruction("mma", acc.type, (acc, a, self.typed()), {"kind": kind})

    def permute_bytes(self) -> Instruction:
        selector = self.integer("a selector")
        a = self.typed()
        self.expect(",")
        return Instruction("permute_bytes", a.type, (a, self.typed()), {"selector": selector})

    def approximate(self, op: str) -> Instruction:
        value = self.typed()
        return Instruction(op, value.type, (value,))

    def exp2(self) -> Instruction:
        return self.approximate("exp2")

    def round_tf32(self) -> Instruction:
        return self.approximate("round_tf32")

    def rcp(self) -> Instruction:
        return self.approximate("rcp")

    def pack_pair(self) -> Instruction:
        kind = self.next()
        low = self.typed()
        self.expect(",")
        return Instruction("pack_pair", Type("i32", low.lanes), (low, self.typed()), {"kind": kind})

    def reduce(self) -> Instruction:
        kind = self.next()
        value = self.typed()
        return Instruction("reduce", Type(value.elem), (value,), {"kind": kind})

    def shuffle(self) -> Instruction:
        a = self.typed()
        self.expect(",")
        b = self.typed()
        lanes = self.integers()
        return Instruction("shuffle", Type(a.elem, len(lanes)), (a, b), {"lanes": lanes})

    def dot4(self) -> Instruction:
        acc, a, b = self.arguments(3)
        self.expect("max")
        maximum = self.integer()
        type = self.suffix()
        wide = Type("i8", 4 * type.lanes)
        return Instruction("dot4", type, (self.of(acc, type), self.of(a, wide), self.of(b, wide)), {"max": maximum})

    def dot2(self) -> Instruction:
        acc, a, b = self.arguments(3)
        type = self.suffix()
        wide = Type("i16", 2 * type.lanes)
        return Instruction("dot2", type, (self.of(acc, type), self.of(a, wide), self.of(b, wide)))

    def table(self) -> Instruction:
        (index,) = self.arguments(1)
        values = self.integers()
        type = self.suffix()
        return Instruction("table", type, (self.of(index, type),), {"values": values})

    def alloc(self) -> Instruction:
        return Instruction("alloc", Type("ptr"), (), {"nbytes": self.integer("a number of bytes")})


_SPECIAL: dict[str, Callable[[_Parser], Instruction]] = {
    "get": _Parser.get,
    "select": _Parser.select,
    "splat": _Parser.splat,
    "iota": _Parser.iota,
    "reduce": _Parser.reduce,
    "mma": _Parser.mma,
    "load_matrices": _Parser.load_matrices,
    "pack_pair": _Parser.pack_pair,
    "permute_bytes": _Parser.permute_bytes,
    "exp2": _Parser.exp2,
    "rcp": _Parser.rcp,
    "round_tf32": _Parser.round_tf32,
    "gather": _Parser.gather,
    "extract": _Parser.extract,
    "shuffle": _Parser.shuffle,
    "dot4": _Parser.dot4,
    "dot2": _Parser.dot2,
    "table": _Parser.table,
    "alloc": _Parser.alloc,
}
