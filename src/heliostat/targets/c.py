"""Prints kernel IR as C for GCC 12 or Clang: to be read, and to check the other printers against the system's compiler.

A kernel becomes `void NAME(void **args, int64_t worker, int64_t workers)`. Integers are unsigned, so that they wrap,
and are read as signed by a cast; an i1 is a byte, 0 or 1; an f16 is its 16 bits. Vectors use the compilers' vector
extension. What C has no operator for is a small function ahead of the kernel, emitted where it is used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from ..diagnostics import CompileError
from ..kernel.ir import ELEMENT_BYTES, FLOATS, LOCKSTEP_ONLY, STATEMENTS, Block, Instruction, Kernel, Type

_PRELUDE = """\
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#pragma GCC diagnostic ignored "-Wtype-limits" /* a comparison with a constant may be decided already */
#pragma GCC diagnostic ignored "-Wtautological-compare"

typedef uint8_t i1, i8;
typedef uint16_t i16, f16;
typedef uint32_t i32;
typedef uint64_t i64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;
typedef unsigned char byte;
"""

_FROM_F16 = """\
static inline f32 from_f16(f16 a) {
#ifdef __FLT16_MANT_DIG__
  _Float16 h;
  memcpy(&h, &a, sizeof h);
  return (f32)h;
#else
  i32 sign = (i32)(a & 0x8000) << 16, rest = a & 0x7fff, bits;
  f32 r;
  if (rest < 0x400) {
    r = (f32)rest * 0x1p-24f;
    return sign ? -r : r;
  }
  bits = sign | (rest >= 0x7c00 ? 0x7f800000 | (rest & 0x3ff) << 13 : (rest << 13) + (112u << 23));
  memcpy(&r, &bits, sizeof r);
  return r;
#endif
}
"""

_TO_F16 = """\
static inline f16 to_f16(f64 a) {
#ifdef __FLT16_MANT_DIG__
  _Float16 h = (_Float16)a;
  f16 r;
  memcpy(&r, &h, sizeof r);
  return r;
#else
  i64 bits;
  f16 sign;
  memcpy(&bits, &a, sizeof bits);
  sign = (f16)(bits >> 48 & 0x8000);
  bits &= INT64_MAX;
  a = a < 0 ? -a : a;
  if (a != a) return sign | 0x7e00;
  if (a >= 65520.0) return sign | 0x7c00;
  if (a < 0x1p-14) return sign | (f16)(a * 0x1p24 + 0x1p52 - 0x1p52); /* to an integer, ties to even */
  bits += ((i64)1 << 41) - 1 + (bits >> 42 & 1);
  return sign | (f16)((bits >> 42) - (1008 << 10));
#endif
}
"""

_NATIVE = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^", "shl": "<<", "lshr": ">>"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "ult": "<"}
_ROUNDING = frozenset({"sqrt", "floor", "ceil", "rint", "fabs"})
_SIGNED_OPS = frozenset({"div", "rem", "min", "max", "lt", "le", "ashr"})


def print_c(kernels: Sequence[Kernel]) -> str:
    """A translation unit of its own: the kernels, and ahead of them the functions that they share. It needs libm.

    It has no warnings under `-Wall -Wextra -Wno-psabi`; the last silences GCC's remark on wide vectors.
    """
    helpers: dict[str, str] = {}
    bodies = [_Printer(kernel, helpers).function() for kernel in kernels]
    return "\n".join([_PRELUDE, *helpers.values(), *bodies])


def c_name(name: str) -> str:
    """A kernel's name as a C identifier."""
    return name.replace(".", "_")


def _signed(elem: str) -> str:
    return f"s{elem[1:]}"


def _literal(value: float | int, elem: str) -> str:
    """A constant; float constants of f16 and f32 are rounded to their type first."""
    if elem in FLOATS:
        return _float_literal(float(value), elem)
    if value < 0:
        # The smallest i64 has no decimal literal: its digits alone are out of range.
        return f"({elem}){value}" if value > -(1 << 63) else "(i64)0x8000000000000000u"
    return str(value)


def _float_literal(value: float, elem: str) -> str:
    if elem != "f64":
        code = "<e" if elem == "f16" else "<f"
        try:
            raw = struct.pack(code, value)
        except OverflowError:
            raw = struct.pack(code, float("inf") if value > 0 else float("-inf"))
        value = struct.unpack(code, raw)[0]
        if elem == "f16":
            return f"0x{int.from_bytes(raw, 'little'):04x} /* {value!r} */"
    suffix = "f" if elem == "f32" else ""
    if value != value:
        return f'__builtin_nan{suffix}("")'
    if value in (float("inf"), float("-inf")):
        return f"{'-' if value < 0 else ''}__builtin_inf{suffix}()"
    return f"{value!r}{suffix}"


def _scalar(op: str, result: str, source: str, x: Sequence[str]) -> str:
    """One lane of an op as a C expression of type `result`.

    `source`: the element of the first operand, of the second for select. `x`: operands that bind tightly.
    """
    a, b = x[0], x[-1]
    if op == "select":
        return f"{a} ? {x[1]} : {b}"
    if source == "f16" and op not in ("fpcast", "fptosi"):
        return _half(op, x)
    if op in _COMPARE:
        s = f"({_signed(source)})" if op in _SIGNED_OPS and source not in FLOATS else ""
        return f"{s}{a} {_COMPARE[op]} {s}{b}"
    if op in ("min", "max"):
        s = f"({_signed(source)})" if source not in FLOATS else ""
        return f"{s}{a} {'<' if op == 'min' else '>'} {s}{b} ? {a} : {b}"
    suffix = "f" if source == "f32" else ""
    if op == "fma":
        return f"__builtin_fma{suffix}({', '.join(x)})"
    if op in _ROUNDING:
        return f"__builtin_{op}{suffix}({a})"
    if op == "neg":
        return f"-{a}"
    if source in FLOATS and op in _NATIVE:
        return f"{a} {_NATIVE[op]} {b}"
    if op in ("sext", "zext", "trunc", "sitofp", "uitofp", "fptosi", "fpcast"):
        return _convert(op, result, source, a)
    if op in ("div", "rem"):
        return f"({result})(({_signed(source)}){a} {'/' if op == 'div' else '%'} ({_signed(source)}){b})"
    if op == "ashr":
        return f"({result})(({_signed(source)}){a} >> {b})"
    # Operands narrower than int are promoted to it, where a product or a shift could overflow.
    wide = "(i32)" if source in ("i8", "i16") and op in ("mul", "shl") else ""
    text = f"{wide}{a} {_NATIVE[op]} {b}"
    return f"({result})({text})" if source in ("i8", "i16") else text


def _half(op: str, x: Sequence[str]) -> str:
    """An f16 op: in f32, where one operation rounded again to f16 is exact; an fma in f64, for the same reason."""
    if op == "neg":
        return f"(f16)({x[0]} ^ 0x8000)"
    if op == "fabs":
        return f"(f16)({x[0]} & 0x7fff)"
    f = [f"from_f16({a})" for a in x]
    if op in ("min", "max"):
        return f"{f[0]} {'<' if op == 'min' else '>'} {f[1]} ? {x[0]} : {x[1]}"
    if op == "fma":
        return f"to_f16((f64){f[0]} * {f[1]} + {f[2]})"
    if op in _COMPARE:
        return _scalar(op, "i1", "f32", f)
    return f"to_f16({_scalar(op, 'f32', 'f32', f)})"


def _convert(op: str, result: str, source: str, a: str) -> str:
    if op in ("sext", "sitofp"):
        a = f"-(s32){a}" if source == "i1" else f"({_signed(source)}){a}"
    if op == "fptosi":
        return f"{result}_from_{source}({a})"
    if op == "fpcast" and source == "f16":
        a = f"from_f16({a})"
    if op == "trunc" and result == "i1":
        return f"{a} & 1"
    if result == "f16":
        return f"to_f16((f64){a})" if op != "fpcast" else f"to_f16({a})"
    return f"({result}){a}"


class _Printer:
    """One kernel. `helpers` maps the names of what goes ahead of the kernels to its text, in order of need."""

    def __init__(self, kernel: Kernel, helpers: dict[str, str]) -> None:
        self.kernel, self.helpers = kernel, helpers
        self.lines: list[str] = []
        self.indent = "  "
        self.names: dict[int, str] = {}
        self.indices = self.values = 0
        used = {id(a) for i in kernel.walk() for a in (i.args[1:] if i.op == "set" else i.args)}
        self.used = used
        self.used_ops = {i.op for i in kernel.walk()}

    # --- function ---------------------------------------------------------------------------------------------------
    def function(self) -> str:
        k = self.kernel
        taken: set[str] = set()
        for n, (p, b) in enumerate(zip(k.parameters, k.buffers, strict=True)):
            name = f"p_{c_name(p.name)}"
            name = f"{name}_{n}" if name in taken else name
            taken.add(name)
            self.names[id(b)] = name
            if id(b) in self.used:
                self.line(f"byte *{name} = args[{n}];")
        if not self.used & {id(b) for b in k.buffers}:
            self.line("(void)args;")
        if not self.used_ops & {"worker", "parallel"}:
            self.line("(void)worker;")
        if not self.used_ops & {"workers", "parallel"}:
            self.line("(void)workers;")
        self.block(k.body)
        modes = ", ".join(f"{p.name} {'dim' if p.is_dim else p.mode}" for p in k.parameters)
        note = re.sub(r"\s+", " ", k.note).replace("*/", "* /")
        comment = f"/* args: {modes}{'; ' + note if note else ''} */"
        head = f"void {c_name(k.name)}(void **args, int64_t worker, int64_t workers)"
        return "\n".join([comment, f"{head};", f"{head} {{", *self.lines, "}", ""])

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def type(self, t: Type) -> str:
        if t.lanes > 1:
            size = t.lanes * ELEMENT_BYTES[t.elem]
            self.helpers.setdefault(str(t), f"typedef {t.elem} {t} __attribute__((vector_size({size})));\n")
        return str(t)

    def helper(self, name: str, text: str) -> str:
        self.helpers.setdefault(name, text)
        return name

    def type_of(self, x: Instruction) -> Type:
        assert x.type is not None
        return x.type

    def operand(self, x: Instruction) -> str:
        name = self.names.get(id(x))
        if name is None:
            t = self.type_of(x)
            if t.lanes == 1:
                name = _literal(x.value, t.elem)
            else:
                name = f"{self.splat(t)}({_literal(x.value, t.elem)})"
            self.names[id(x)] = name
        return name

    def tight(self, x: Instruction) -> str:
        """The operand for use under any operator."""
        text = self.operand(x)
        return f"({text})" if x.op == "const" and text[0] in "(-" else text

    def define(self, i: Instruction, text: str) -> None:
        name = self.names[id(i)] = f"v{self.values}"
        self.values += 1
        unused = "" if id(i) in self.used else f" (void){name};"
        self.line(f"{self.type(self.type_of(i))} {name} = {text};{unused}")

    # --- helpers ----------------------------------------------------------------------------------------------------
    def splat(self, t: Type) -> str:
        name, vector = f"splat_{t}", self.type(t)
        return self.helper(
            name,
            f"static inline {vector} {name}({t.elem} a) {{\n  {vector} r = {{0}};\n"
            f"  for (int i = 0; i < {t.lanes}; i++) r[i] = a;\n  return r;\n}}\n",
        )

    def need(self, op: str, result: str, source: str) -> None:
        """The scalar functions that `_scalar` may name."""
        if "f16" in (result, source):
            self.helper("from_f16", _FROM_F16)
            self.helper("to_f16", _TO_F16)
        if op == "fptosi":
            bits = 8 * ELEMENT_BYTES[result]
            test = "from_f16(a)" if source == "f16" else "a"
            wide = "f64" if source == "f64" else "f32"
            self.helper(
                f"{result}_from_{source}",
                f"static inline {result} {result}_from_{source}({source} a) {{\n  {wide} x = {test};\n"
                f"  if (x != x) return 0;\n"
                f"  if (x >= 0x1p{bits - 1}) return INT{bits}_MAX;\n"
                f"  if (x < -0x1p{bits - 1}) return ({result})INT{bits}_MIN;\n"
                f"  return ({result})({_signed(result)})x;\n}}\n",
            )

    def lanewise(self, i: Instruction) -> str:
        """The name of a function that does a vector op lane by lane, made if it is not there."""
        result = self.type_of(i)
        types = [self.type_of(a) for a in i.args]
        source = types[1 if i.op == "select" else 0]
        name = f"{i.op}_{source}"
        if source.elem != result.elem and result.elem != "i1":
            name = f"{i.op}_{source}_to_{result.elem}"
        letters = "abc"[: len(types)]
        parameters = ", ".join(f"{self.type(t)} {x}" for t, x in zip(types, letters, strict=True))
        lane = _scalar(i.op, result.elem, source.elem, [f"{x}[i]" for x in letters])
        return self.helper(
            name,
            f"static inline {self.type(result)} {name}({parameters}) {{\n  {result} r = {{0}};\n"
            f"  for (int i = 0; i < {result.lanes}; i++) r[i] = {lane};\n  return r;\n}}\n",
        )

    # --- instructions -----------------------------------------------------------------------------------------------
    def block(self, block: Block) -> None:
        for i in block:
            if i.blocks:
                self.region(i)
            elif i.op in ("store", "scatter", "prefetch", "ready", "set") or i.op in LOCKSTEP_ONLY & STATEMENTS:
                self.statement(i)
            elif i.op == "alloc":
                name = self.names[id(i)] = f"v{self.values}"
                self.values += 1
                unused = "" if id(i) in self.used else f" (void){name};"
                self.line(f"_Alignas(64) byte {name}[{i.attrs['nbytes']}] = {{0}};{unused}")
            else:
                self.define(i, self.expression(i))

    def expression(self, i: Instruction) -> str:
        op, t = i.op, self.type_of(i)
        special = getattr(self, f"op_{op}", None)
        if special is not None:
            return str(special(i))
        source = self.type_of(i.args[1 if op == "select" else 0])
        self.need(op, t.elem, source.elem)
        if t.lanes > 1:
            native = op in _NATIVE and source.elem != "f16" and not (op == "div" and source.elem not in FLOATS)
            if native or (op == "neg" and source.elem != "f16"):
                sign = _NATIVE.get(op, "-")
                return f" {sign} ".join(self.operand(a) for a in i.args) if native else f"-{self.operand(i.args[0])}"
            return f"{self.lanewise(i)}({', '.join(self.operand(a) for a in i.args)})"
        x = [self.tight(a) for a in i.args]
        literal = i.args[0].op == "const" and t.elem in ("i32", "i64")
        if literal and (op == "shl" or all(a.op == "const" for a in i.args)):
            # Literals alone would make the expression an int; elsewhere another operand already has the type.
            x[0] = f"({i.args[0].elem}){x[0]}"
        return _scalar(op, t.elem, source.elem, x)

    def op_worker(self, i: Instruction) -> str:
        return f"({i.elem})worker"

    def op_workers(self, i: Instruction) -> str:
        return f"({i.elem})workers"

    def op_var(self, i: Instruction) -> str:
        return self.operand(i.args[0])

    def op_get(self, i: Instruction) -> str:
        return self.operand(i.args[0])

    def op_iota(self, i: Instruction) -> str:
        return f"({self.type(self.type_of(i))}){{{', '.join(map(str, range(i.lanes)))}}}"

    def op_splat(self, i: Instruction) -> str:
        return f"{self.splat(self.type_of(i))}({self.operand(i.args[0])})"

    def op_extract(self, i: Instruction) -> str:
        return f"{self.operand(i.args[0])}[{i.attrs['lane']}]"

    def op_gather(self, i: Instruction) -> str:
        raise CompileError(f"{i.op} is for GPUs and cannot be written in C", help="choose a CPU as the target")

    op_mma = op_fma_pair = op_pack_pair = op_permute_bytes = op_exp2 = op_rcp = op_maxnum = op_maximum = op_minimum = (
        op_gather
    )

    def op_reduce(self, i: Instruction) -> str:
        source, kind = self.type_of(i.args[0]), i.attrs["kind"]
        scalar, vector = self.type(self.type_of(i)), self.type(source)
        combine = _scalar(kind, source.elem, source.elem, ["x", "y"])
        if source.elem == "f16":
            self.helper("from_f16", _FROM_F16)
            self.helper("to_f16", _TO_F16)
        name = self.helper(
            f"reduce_{kind}_{vector}",
            f"static inline {scalar} reduce_{kind}_{vector}({vector} a) {{\n"
            f"  for (int half = {source.lanes // 2}; half; half /= 2)\n    for (int i = 0; i < half; i++) {{\n"
            f"      {scalar} x = a[i], y = a[i + half];\n      a[i] = ({scalar})({combine});\n    }}\n"
            "  return a[0];\n}\n",
        )
        return f"{name}({self.operand(i.args[0])})"

    def op_shuffle(self, i: Instruction) -> str:
        a, b = (self.operand(x) for x in i.args)
        return f"__builtin_shufflevector({a}, {b}, {', '.join(map(str, i.attrs['lanes']))})"

    def op_bitcast(self, i: Instruction) -> str:
        source, result = self.type(self.type_of(i.args[0])), self.type(self.type_of(i))
        name = self.helper(
            f"bitcast_{source}_to_{result}",
            f"static inline {result} bitcast_{source}_to_{result}({source} a) {{\n"
            f"  {result} r;\n  memcpy(&r, &a, sizeof r);\n  return r;\n}}\n",
        )
        return f"{name}({self.operand(i.args[0])})"

    def op_dot4(self, i: Instruction) -> str:
        result, wide = self.type(self.type_of(i)), self.type(self.type_of(i.args[1]))
        lanes = i.lanes
        name = self.helper(
            f"dot4_{result}",
            f"static inline {result} dot4_{result}({result} acc, {wide} a, {wide} b) {{\n"
            f"  for (int i = 0; i < {lanes}; i++)\n"
            f"    for (int j = 4 * i; j < 4 * i + 4; j++) acc[i] += (i32)(a[j] * (s8)b[j]);\n  return acc;\n}}\n",
        )
        return f"{name}({', '.join(self.operand(a) for a in i.args)})"

    def op_dot2(self, i: Instruction) -> str:
        result, wide = self.type(self.type_of(i)), self.type(self.type_of(i.args[1]))
        lanes = i.lanes
        if i.elem == "i32":
            name = self.helper(
                f"dot2_{result}",
                f"static inline {result} dot2_{result}({result} acc, {wide} a, {wide} b) {{\n"
                f"  for (int i = 0; i < {lanes}; i++)\n    for (int j = 2 * i; j < 2 * i + 2; j++)\n"
                f"      acc[i] += (i32)(int16_t)a[j] * (i32)(int16_t)b[j];\n  return acc;\n}}\n",
            )
            return f"{name}({', '.join(self.operand(a) for a in i.args)})"
        name = self.helper(
            f"dot2_{result}",
            f"static inline {result} dot2_{result}({result} acc, {wide} a, {wide} b) {{\n"
            f"  for (int i = 0; i < {lanes}; i++)\n    for (int j = 2 * i + 1; j >= 2 * i; j--) {{\n"
            f"      uint32_t x = (uint32_t)a[j] << 16, y = (uint32_t)b[j] << 16;\n      f32 p, q;\n"
            f"      memcpy(&p, &x, 4);\n      memcpy(&q, &y, 4);\n      acc[i] += p * q;\n    }}\n  return acc;\n}}\n",
        )
        return f"{name}({', '.join(self.operand(a) for a in i.args)})"

    def op_table(self, i: Instruction) -> str:
        t = self.type_of(i)
        index = "a[i]" if t.lanes > 1 else "a"
        entry = "r[i]" if t.lanes > 1 else "r"
        values = ", ".join(str(v & 255) for v in i.attrs["values"])
        constants = [n for n in self.helpers if n.startswith("table_values_")]
        text = f" = {{{values}}};\n"
        array = next((n for n in constants if self.helpers[n].endswith(text)), f"table_values_{len(constants)}")
        self.helper(array, f"static const i8 {array}[16]{text}")
        name = self.helper(
            f"table_{t}",
            f"static inline {self.type(t)} table_{t}(const i8 *values, {t} a) {{\n  {t} r;\n"
            f"  for (int i = 0; i < {t.lanes}; i++) {entry} = values[{index}];\n  return r;\n}}\n",
        )
        return f"{name}({array}, {self.operand(i.args[0])})"

    # --- memory -----------------------------------------------------------------------------------------------------
    def op_load(self, i: Instruction) -> str:
        t = self.type_of(i)
        v, size = self.type(t), ELEMENT_BYTES[t.elem]
        place = f"{self.operand(i.args[0])}, {self.operand(i.args[1])}"
        if len(i.args) == 2:
            name = self.helper(
                f"load_{t}",
                f"static inline {v} load_{t}(const byte *p, s64 at) {{\n"
                f"  {v} r;\n  memcpy(&r, p + at, sizeof r);\n  return r;\n}}\n",
            )
            return f"{name}({place})"
        mask = self.type(t.of("i1"))
        name = self.helper(
            f"load_{t}_if",
            f"static inline {v} load_{t}_if(const byte *p, s64 at, {mask} mask) {{\n  {v} r = {{0}};\n"
            f"  for (int i = 0; i < {t.lanes}; i++) {{\n    {t.elem} e = 0;\n"
            f"    if (mask[i]) memcpy(&e, p + (at + {size} * i), sizeof e);\n    r[i] = e;\n  }}\n  return r;\n}}\n",
        )
        return f"{name}({place}, {self.operand(i.args[2])})"

    def statement(self, i: Instruction) -> None:
        if i.op == "set":
            self.line(f"{self.operand(i.args[0])} = {self.operand(i.args[1])};")
            return
        if i.op in LOCKSTEP_ONLY or i.op == "scatter":
            self.op_gather(i)
        if i.op == "ready":
            return
        if i.op == "prefetch":
            self.line(f"__builtin_prefetch({self.operand(i.args[0])} + {self.tight(i.args[1])});")
            return
        t = self.type_of(i.args[2])
        v, size = self.type(t), ELEMENT_BYTES[t.elem]
        place = ", ".join(self.operand(a) for a in i.args)
        if len(i.args) == 3:
            name = self.helper(
                f"store_{t}",
                f"static inline void store_{t}(byte *p, s64 at, {v} a) {{ memcpy(p + at, &a, sizeof a); }}\n",
            )
        else:
            mask = self.type(t.of("i1"))
            name = self.helper(
                f"store_{t}_if",
                f"static inline void store_{t}_if(byte *p, s64 at, {v} a, {mask} mask) {{\n"
                f"  for (int i = 0; i < {t.lanes}; i++) {{\n    {t.elem} e = a[i];\n"
                f"    if (mask[i]) memcpy(p + (at + {size} * i), &e, sizeof e);\n  }}\n}}\n",
            )
        self.line(f"{name}({place});")

    # --- regions ----------------------------------------------------------------------------------------------------
    def region(self, i: Instruction) -> None:
        if i.op == "if":
            self.line(f"if ({self.operand(i.args[0])}) {{")
            self.inner(i.blocks[0])
            if i.blocks[1]:
                self.line("} else {")
                self.inner(i.blocks[1])
            self.line("}")
            return
        body = i.blocks[0]
        name = self.names[id(body[0])] = f"n{self.indices}"
        self.indices += 1
        if i.op == "loop":
            lo, hi, step = self.tight(i.args[0]), self.tight(i.args[1]), i.attrs["step"]
        else:
            count = self.tight(i.args[0])
            lo = f"(s64){count} * worker / workers"
            hi, step = f"((s64){count} * (worker + 1) / workers)", 1
        advance = f"{name}++" if step == 1 else f"{name} += {step}"
        self.line(f"for (i64 {name} = {lo}; (s64){name} < (s64){hi}; {advance}) {{")
        self.inner(body[1:])
        self.line("}")

    def inner(self, block: Block) -> None:
        outer = self.indent
        self.indent += "  "
        self.block(block)
        self.indent = outer
