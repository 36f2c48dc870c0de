"""The text of a kernel, which `text_parser` reads back exactly. It is the key under which code is cached.

Results are %0, %1 ... in order of definition, induction variables %i0, %i1 ..., buffers go by name. A constant stands
where it is used; its type follows from the instruction, or stands right after it (`3:i8x16`) where nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .arithmetic import DTYPES
from .ir import Block, Instruction, Kernel, Type

COMPARISONS = frozenset({"eq", "ne", "lt", "le", "ult"})
CONVERSIONS = frozenset({"sext", "zext", "trunc", "sitofp", "uitofp", "fptosi", "fpcast", "bitcast"})
# All operands have the result's type, which is written once, at the end.
UNIFORM = frozenset(
    {"add", "sub", "mul", "div", "rem", "fma", "neg", "min", "max", "maximum", "minimum", "and", "or", "xor",
     "shl", "lshr", "ashr", "sqrt",
     "floor", "ceil", "rint", "fabs", "var", "maxnum", "fma_pair"}
)  # fmt: skip
_PRINT_LIKE_UNIFORM = frozenset({"select", "splat"})
NULLARY = frozenset({"worker", "workers", "index"})

_I64 = Type("i64")


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
        if op in UNIFORM or op in _PRINT_LIKE_UNIFORM:
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
        if op == "load_matrices":
            word = "turned " if attrs.get("turned") else ""
            return f"load_matrices {word}{self.operand(args[0])}[{self.operand(args[1])}], {self.typed(args[2])}"
        if op == "mma":
            return f"mma {attrs.get('kind')} {', '.join(map(self.typed, args))}"
        if op == "permute_bytes":
            return f"permute_bytes {attrs.get('selector')} {self.typed(args[0])}, {self.typed(args[1])}"
        if op in ("exp2", "rcp", "round_tf32"):
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
        return op if op in NULLARY else self.plain(i)

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
_PRINT_LIKEUNIFORM = frozenset({"select", "splat"})


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
