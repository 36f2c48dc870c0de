"""Element-wise ops as Python expressions over NumPy arrays and Python integers, for the interpreters that write source.

Only what needs no check: division of integers, shifts and everything that touches memory or moves lanes is up to the
interpreter. The names in the text are those of `arithmetic` and NumPy, dtypes by element name, unsigned ones as u8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arithmetic import bits_of
from .ir import Block, Instruction

SIGN = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<="}
ROUNDING = frozenset({"sqrt", "floor", "ceil", "rint", "fabs"})


class SourceWriter:
    """Lines of Python source, the names of values in them, and the constants that they name. `block` is the
    interpreter's own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = " "
        self.names: dict[int, str] = {}
        self.constants: dict[str, Any] = {}

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def define(self, i: Instruction, text: str) -> str:
        name = self.names[id(i)] = f"v{len(self.names)}"
        self.line(f"{name} = {text}")
        return name

    def hoist(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def block(self, block: Block) -> None:
        raise NotImplementedError

    def inner(self, block: Block) -> None:
        """A block under the line before it."""
        outer = self.indent
        self.indent += " "
        before = len(self.lines)
        self.block(block)
        if len(self.lines) == before:
            self.line("pass")
        self.indent = outer


def lanes_expression(i: Instruction, v: Sequence[str]) -> str | None:
    """An op on arrays of any shape, its operands named `v`; None for an op that is none of the plain ones."""
    op, t, source = i.op, i.type, i.args[0].type
    assert t is not None
    assert source is not None
    a, b = v[0], v[-1]
    if op in SIGN and (op != "div" or t.is_float):
        return f"{a} {SIGN[op]} {b}"
    if op in COMPARE:
        return f"{a} {COMPARE[op]} {b}"
    if op == "ult":
        u = f"u{source.elem[1:]}"
        return f"{a}.view({u}) < {b}.view({u})"
    if op in ("min", "max"):
        if t.is_float:
            return f"where({a} {'<' if op == 'min' else '>'} {b}, {a}, {b})"
        return f"{op}imum({a}, {b})"
    if op in ("shl", "ashr"):
        return f"{a} {'<<' if op == 'shl' else '>>'} {b}"
    if op == "fma":
        return f"fma{t.elem[1:]}_lanes({', '.join(v)})"
    if op == "select":
        return f"where({', '.join(v)})"
    if op in ROUNDING:
        return f"{op}({a})"
    if op == "neg":
        return f"-{a}"
    if op in ("sext", "sitofp"):
        a = f"(-{a}.astype(i8))" if source.elem == "i1" else a
        return f"{a}.astype({t.elem})"
    if op in ("zext", "uitofp"):
        return f"{a}.astype({t.elem})" if source.elem == "i1" else f"{a}.view(u{source.elem[1:]}).astype({t.elem})"
    if op == "trunc":
        return f"({a} & 1) != 0" if t.elem == "i1" else f"{a}.astype({t.elem})"
    if op == "fpcast":
        return f"{a}.astype({t.elem})"
    if op == "fptosi":
        return f"float_to_int_lanes({a}, {t.elem!r})"
    return None


def choice_expression(op: str, v: Sequence[str]) -> str | None:
    """A comparison or a choice of Python numbers, which are alike for integers and floats; None for another op."""
    a, b = v[0], v[-1]
    if op in COMPARE:
        return f"{a} {COMPARE[op]} {b}"
    if op in ("min", "max"):
        return f"{a} if {a} {'<' if op == 'min' else '>'} {b} else {b}"
    if op == "select":
        return f"{v[1]} if {v[0]} else {v[2]}"
    return None


def integer_expression(i: Instruction, v: Sequence[str]) -> str | None:
    """An op from Python integers to one in its signed range (a bool for i1); None for an op that is none of the plain
    ones. It may assign to `x`."""
    op, t, source = i.op, i.type, i.args[0].type
    assert t is not None
    assert source is not None
    a, b = v[0], v[-1]
    if (chosen := choice_expression(op, v)) is not None:
        return chosen
    if op == "ult":
        m = (1 << bits_of(source.elem)) - 1
        return f"({a} & {m}) < ({b} & {m})"
    if op in ("sext", "zext"):
        if source.elem == "i1":
            return f"-int({a})" if op[0] == "s" else f"int({a})"
        return f"{a} & {(1 << bits_of(source.elem)) - 1}" if op == "zext" else a
    if op == "trunc":
        return f"({a} & 1) != 0" if t.elem == "i1" else f"wrap({a}, {bits_of(t.elem)})"
    if op in ("and", "or", "xor"):
        return f"{a} {SIGN[op]} {b}"
    bits = bits_of(t.elem)
    mask = (1 << bits) - 1
    if op == "ashr":
        return f"{a} >> {b}"
    if op == "lshr":
        text = f"({a} & {mask}) >> {b}"
    elif op == "shl" or (op in SIGN and op != "div"):
        text = f"{a} {'<<' if op == 'shl' else SIGN[op]} {b}"
    else:
        return None
    return f"x if {-(1 << (bits - 1))} <= (x := {text}) <= {mask >> 1} else wrap(x, {bits})"
