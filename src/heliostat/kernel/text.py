"""The text of a kernel: `print_kernel` and `parse_kernel` round-trip exactly. It is the key under which code is cached.

Results are %0, %1 ... in order of definition, induction variables %i0, %i1 ..., buffers go by name. A constant stands
where it is used; its type follows from the instruction, or stands right after it (`3:i8x16`) where nothing else does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..diagnostics import LumSyntaxError, Span
from .arithmetic import DTYPES, rounded
from .ir import ELEMENT_BYTES, FLOATS, OPS, Block, Instruction, Kernel, KernelParameter, Type

COMPARISONS = frozenset({"eq", "ne", "lt", "le", "ult"})
CONVERSIONS = frozenset({"sext", "zext", "trunc", "sitofp", "uitofp", "fptosi", "fpcast", "bitcast"})
# All operands have the result's type, which is written once, at the end.
_UNIFORM = frozenset(
    {"add", "sub", "mul", "div", "rem", "fma", "neg", "min", "max", "maximum", "minimum", "and", "or", "xor",
     "shl", "lshr", "ashr", "sqrt",
     "floor", "ceil", "rint", "fabs", "var", "maxnum", "fma_pair"}
)  # fmt: skip
_NULLARY = frozenset({"worker", "workers", "index"})

_I64 = Type("i64")


# --- printing -------------------------------------------------------------------------------------------------------
def print_kernel(kernel: Kernel) -> str:
    """The kernel's text, with a newline at its end. Equal kernels have equal text, whatever built them."""
    return "\n".join(_Printer(kernel).kernel()) + "\n"


def print_instruction(kernel: Kernel, instruction: Instruction) -> str:
    """The one line that `print_kernel` shows for an instruction, without indentation: for messages."""
    printer = _Printer(kernel, wanted=instruction)
    printer.kernel()
    return printer.found or f"{instruction.op} : {instruction.type}"


def format_constant(value: float | int, elem: str) -> str:
    """A constant as it stands in the text: `-3`, `0.5`, `inf`, `nan`, `true`."""
    if elem == "i1":
        return "true" if value else "false"
    # The shortest decimal that reads back as this f32 or f16; `0.1`, not the f64 next to it.
    return str(DTYPES[elem].type(value)) if elem in ("f16", "f32") else repr(value)


class _Printer:
    def __init__(self, kernel: Kernel, wanted: Instruction | None = None) -> None:
        self.source = kernel
        self.names: dict[int, str] = {id(b): str(b.attrs.get("name", "?")) for b in kernel.buffers}
        self.lines: list[str] = []
        self.values = self.indices = 0
        self.wanted, self.found = wanted, ""

    def kernel(self) -> list[str]:
        k = self.source
        parameters = ", ".join(f"{p.name}: {'dim' if p.is_dim else p.mode}" for p in k.parameters)
        note = f" note {json.dumps(k.note)}" if k.note else ""
        note += f" blocks {k.blocks}" if k.blocks else ""
        self.lines.append(f"kernel {k.name}({parameters}){note} {{")
        self.block(k.body, "  ")
        self.lines.append("}")
        return self.lines

    def operand(self, x: Instruction) -> str:
        """A name, or a constant whose type the reader of the line knows."""
        name = self.names.get(id(x))
        if name is None:
            if x.op != "const":
                return "%?"
            try:
                name = format_constant(x.value, x.elem)
            except _MALFORMED:
                name = repr(x.attrs.get("value"))
            self.names[id(x)] = name
        return name

    def typed(self, x: Instruction) -> str:
        """A name, or a constant with its type."""
        return f"{self.operand(x)}:{x.type}" if x.op == "const" else self.operand(x)

    def block(self, block: Block, indent: str) -> None:
        names, lines = self.names, self.lines
        for i in block:
            if i.blocks:
                self.region(i, indent)
                continue
            try:
                line = self.instruction(i)
            except _MALFORMED:
                line = self.plain(i)
            if i.type is not None:
                name = names[id(i)] = f"%{self.values}"
                self.values += 1
                line = f"{name} = {line}"
            lines.append(indent + line)
            if i is self.wanted:
                self.found = line

    def plain(self, i: Instruction) -> str:
        """A form for instructions that break the rules, which have to be shown too."""
        tail = f" : {i.type}" if i.type is not None else ""
        return f"{i.op} {', '.join(map(self.operand, i.args))}{tail}"

    def instruction(self, i: Instruction) -> str:
        """The line of an instruction, or what follows `=` in it."""
        op, args, operand = i.op, i.args, self.operand
        if op in _UNIFORM or op in _PRINT_LIKE_UNIFORM:
            return f"{op} {', '.join([operand(a) for a in args])} : {i.type}"
        if op == "load":
            mask = f", mask {operand(args[2])}" if len(args) > 2 else ""
            return f"load {i.type}, {operand(args[0])}[{operand(args[1])}]{mask}"
        if op == "store":
            mask = f", mask {operand(args[3])}" if len(args) > 3 else ""
            return f"store {operand(args[0])}[{operand(args[1])}], {self.typed(args[2])}{mask}"
        if op == "prefetch":
            tail = f" bytes {i.attrs['nbytes']}" if "nbytes" in i.attrs else ""
            return f"prefetch {operand(args[0])}[{operand(args[1])}]{tail}"
        if op in ("ready", "commit_copies", "barrier"):
            return op
        if op == "scatter":
            return f"scatter {operand(args[0])}[{operand(args[1])}], {self.typed(args[2])}, {self.typed(args[3])}"
        if op == "wait_copies":
            return f"wait_copies {i.attrs.get('left')}"
        if op in ("arrive", "await"):
            return f"{op} {operand(args[0])}"
        if op == "copy_async":
            to, source = (f"{operand(args[n])}[{operand(args[n + 1])}], {self.typed(args[n + 2])}" for n in (0, 3))
            return f"copy_async {to}, {source}" + (f" bytes {self.typed(args[6])}" if len(args) > 6 else "")
        if op == "warpgroup_mma":
            tail = ", ".join(map(operand, args[2:]))
            turned_a, turned_b = i.attrs.get("turned", (False, False))
            told = {"fresh": i.attrs.get("fresh"), "turned_a": turned_a, "turned_b": turned_b}
            kind = " ".join([str(i.attrs.get("kind")), *(word for word, on in told.items() if on)])
            return (
                f"warpgroup_mma {kind} {list(i.attrs.get('shape', ()))} {operand(args[0])}[{operand(args[1])}], {tail}"
            )
        if op == "wait_mma":
            return f"wait_mma {i.attrs.get('left')}, {', '.join(map(operand, args))}"
        if op == "set":
            return f"set {operand(args[0])}, {operand(args[1])}"
        if op in COMPARISONS:
            return f"{op} {operand(args[0])}, {operand(args[1])} : {args[0].type}"
        return self.special(i)

    def special(self, i: Instruction) -> str:
        """The ops that have a form of their own."""
        op, args, attrs = i.op, i.args, i.attrs
        if op in CONVERSIONS:
            return f"{op} {self.typed(args[0])} : {i.type}"
        if op == "get":
            return f"get {self.operand(args[0])}"
        if op == "extract":
            return f"extract {self.typed(args[0])}[{attrs.get('lane')}]"
        if op == "shuffle":
            return f"shuffle {self.typed(args[0])}, {self.typed(args[1])} [{_print_runs(attrs.get('lanes', ()))}]"
        if op == "dot4":
            return f"dot4 {', '.join(map(self.operand, args))} max {attrs.get('max')} : {i.type}"
        if op == "gather":
            return f"gather {i.type}, {self.operand(args[0])}[{self.operand(args[1])}], {self.typed(args[2])}"
        if op == "mma":
            return f"mma {attrs.get('kind')} {', '.join(map(self.typed, args))}"
        if op == "permute_bytes":
            return f"permute_bytes {attrs.get('selector')} {self.typed(args[0])}, {self.typed(args[1])}"
        if op in ("exp2", "rcp"):
            return f"{op} {self.typed(args[0])}"
        if op == "pack_pair":
            return f"pack_pair {attrs.get('kind')} {self.typed(args[0])}, {self.typed(args[1])}"
        if op == "reduce":
            return f"reduce {attrs.get('kind')} {self.typed(args[0])}"
        if op == "dot2":
            return f"dot2 {', '.join(map(self.operand, args))} : {i.type}"
        if op == "table":
            return f"table {self.operand(args[0])} [{', '.join(map(str, attrs.get('values', ())))}] : {i.type}"
        if op == "alloc":
            return f"alloc {attrs.get('nbytes')}"
        if op == "iota":
            return f"iota : {i.type}"
        if op == "const":
            return f"const {format_constant(i.value, i.elem)} : {i.type}"
        return op if op in _NULLARY else self.plain(i)

    def region(self, i: Instruction, indent: str) -> None:
        body = i.blocks[0]
        if i.op == "if":
            line = f"if {', '.join(map(self.operand, i.args))} {{"
        else:
            bounds = [self.operand(a) for a in i.args]
            name = f"%i{self.indices}"
            self.indices += 1
            if body and body[0].op == "index":
                self.names[id(body[0])] = name
                body = body[1:]
            if i.op == "loop":
                step, unroll = i.attrs.get("step", 1), i.attrs.get("unroll", 1)
                line = f"loop {name} in {'..'.join(bounds)}"
                line += f" step {step}" if step != 1 else ""
                line += f" unroll {unroll}" if unroll != 1 else ""
                line += " team" if i.attrs.get("team") else ""
                line += " {"
            else:
                line = f"{i.op} {name} in {', '.join(bounds)}{' ahead' if i.attrs.get('ahead') else ''} {{"
        self.lines.append(indent + line)
        if i is self.wanted:
            self.found = line
        self.block(body, indent + "  ")
        for other in i.blocks[1:]:
            if other:
                self.lines.append(f"{indent}}} else {{")
                self.block(other, indent + "  ")
        self.lines.append(indent + "}")


_MALFORMED = (IndexError, KeyError, TypeError, AttributeError, ValueError, AssertionError)
_PRINT_LIKE_UNIFORM = frozenset({"select", "splat"})


def _print_runs(lanes: Sequence[int]) -> str:
    """`0..15, 32, 33`: runs of three and more are shortened."""
    out: list[str] = []
    i = 0
    while i < len(lanes):
        j = i
        while j + 1 < len(lanes) and lanes[j + 1] == lanes[j] + 1:
            j += 1
        if j - i >= 2:
            out.append(f"{lanes[i]}..{lanes[j]}")
            i = j + 1
        else:
            out.append(str(lanes[i]))
            i += 1
    return ", ".join(out)


# --- parsing --------------------------------------------------------------------------------------------------------
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
            kind = self.take("word", "bf16 or f16")
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
        if op in _UNIFORM:
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
        if op in _NULLARY:
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
    "pack_pair": _Parser.pack_pair,
    "permute_bytes": _Parser.permute_bytes,
    "exp2": _Parser.exp2,
    "rcp": _Parser.rcp,
    "gather": _Parser.gather,
    "extract": _Parser.extract,
    "shuffle": _Parser.shuffle,
    "dot4": _Parser.dot4,
    "dot2": _Parser.dot2,
    "table": _Parser.table,
    "alloc": _Parser.alloc,
}
