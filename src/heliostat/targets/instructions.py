"""The instruction table: machine instructions that kernel IR ops map to, each a template and the features it needs.

The LLVM printer takes the first row that fits the target and the operands; the last row of an op needs nothing and is
written in plain LLVM IR, so that every op runs on every CPU. The meaning of an op is the interpreter's
(`kernel/interp.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MachineInstruction:
    """One row. `lanes`: result lanes of one instruction (0: any number). `accepts` looks at the op's attributes and the
    result's `elem`.

    In `lines`, {0} {1} {2} are operands, {d} the result, {t0} {t1} ... temporaries and {n} the lanes (times 2, 4: {n2}
    {n4}).
    """

    name: str
    op: str
    architecture: str
    requires: frozenset[str]
    lanes: int
    lines: tuple[str, ...]
    declarations: tuple[str, ...] = ()
    accepts: Callable[[dict[str, Any]], bool] = lambda attrs: True


def _vpdpbusd(name: str, requires: set[str], lanes: int) -> MachineInstruction:
    acc, codes, function = f"<{lanes} x i32>", f"<{4 * lanes} x i8>", f"@llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    return MachineInstruction(
        name, "dot4", "x86-64", frozenset(requires), lanes,
        (f"{{d}} = call {acc} {function}({acc} {{0}}, {codes} {{1}}, {codes} {{2}})",),
        (f"declare {acc} {function}({acc}, {codes}, {codes})",),
    )  # fmt: skip


def _pmaddubsw(requires: set[str], lanes: int, bytes_name: str, words_name: str) -> MachineInstruction:
    """Pairs of products in saturating 16 bits: exact while 2 * max * 128 < 32768. Then pairs of those, widened."""
    b, w, d = f"<{4 * lanes} x i8>", f"<{2 * lanes} x i16>", f"<{lanes} x i32>"
    return MachineInstruction(
        "vpmaddubsw", "dot4", "x86-64", frozenset(requires), lanes,
        (
            f"{{t0}} = call {w} {bytes_name}({b} {{1}}, {b} {{2}})",
            f"{{t1}} = call {d} {words_name}({w} {{t0}}, {w} splat (i16 1))",
            f"{{d}} = add {d} {{0}}, {{t1}}",
        ),
        (f"declare {w} {bytes_name}({b}, {b})", f"declare {d} {words_name}({w}, {w})"),
        lambda attrs: bool(attrs["max"] <= 127),
    )  # fmt: skip


def _pmaddwd(requires: set[str], lanes: int, words_name: str) -> MachineInstruction:
    """Even and odd bytes as 16-bit words: exact for every operand."""
    w, d = f"<{2 * lanes} x i16>", f"<{lanes} x i32>"
    b = f"<{4 * lanes} x i8>"
    return MachineInstruction(
        "vpmaddwd", "dot4", "x86-64", frozenset(requires), lanes,
        (
            f"{{t0}} = bitcast {b} {{1}} to {w}",
            f"{{t1}} = bitcast {b} {{2}} to {w}",
            f"{{t2}} = and {w} {{t0}}, splat (i16 255)",
            f"{{t3}} = lshr {w} {{t0}}, splat (i16 8)",
            f"{{t4}} = shl {w} {{t1}}, splat (i16 8)",
            f"{{t5}} = ashr {w} {{t4}}, splat (i16 8)",
            f"{{t6}} = ashr {w} {{t1}}, splat (i16 8)",
            f"{{t7}} = call {d} {words_name}({w} {{t2}}, {w} {{t5}})",
            f"{{t8}} = call {d} {words_name}({w} {{t3}}, {w} {{t6}})",
            f"{{t9}} = add {d} {{t7}}, {{t8}}",
            f"{{d}} = add {d} {{0}}, {{t9}}",
        ),
        (f"declare {d} {words_name}({w}, {w})",),
    )  # fmt: skip


def _generic_dot4() -> MachineInstruction:
    lines = ["{t0} = bitcast <{n4} x i8> {1} to <{n} x i32>", "{t1} = bitcast <{n4} x i8> {2} to <{n} x i32>"]
    total, t = "{0}", 2
    for j in range(4):
        x, y, z, p, q = (f"{{t{t + i}}}" for i in range(5))
        t += 5
        lines += [
            f"{x} = lshr <{{n}} x i32> {{t0}}, splat (i32 {8 * j})",
            f"{y} = and <{{n}} x i32> {x}, splat (i32 255)",
            f"{z} = shl <{{n}} x i32> {{t1}}, splat (i32 {24 - 8 * j})",
            f"{p} = ashr <{{n}} x i32> {z}, splat (i32 24)",
            f"{q} = mul <{{n}} x i32> {y}, {p}",
        ]
        last = "{d}" if j == 3 else f"{{t{t}}}"
        t += 1
        lines.append(f"{last} = add <{{n}} x i32> {total}, {q}")
        total = last
    return MachineInstruction("multiply and add", "dot4", "", frozenset(), 0, tuple(lines))


def _dpbf16ps(lanes: int, requires: set[str]) -> MachineInstruction:
    acc, words, pairs = f"<{lanes} x float>", f"<{2 * lanes} x i16>", f"<{2 * lanes} x bfloat>"
    function = f"@llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
    return MachineInstruction(
        "vdpbf16ps", "dot2", "x86-64", frozenset(requires), lanes,
        (
            f"{{t0}} = bitcast {words} {{1}} to {pairs}",
            f"{{t1}} = bitcast {words} {{2}} to {pairs}",
            f"{{d}} = call {acc} {function}({acc} {{0}}, {pairs} {{t0}}, {pairs} {{t1}})",
        ),
        (f"declare {acc} {function}({acc}, {pairs}, {pairs})",),
        _floats,
    )  # fmt: skip


def _vpdpwssd(lanes: int, requires: set[str]) -> MachineInstruction:
    acc, words, function = f"<{lanes} x i32>", f"<{2 * lanes} x i16>", f"@llvm.x86.avx512.vpdpwssd.{32 * lanes}"
    return MachineInstruction(
        "vpdpwssd", "dot2", "x86-64", frozenset(requires), lanes,
        (f"{{d}} = call {acc} {function}({acc} {{0}}, {words} {{1}}, {words} {{2}})",),
        (f"declare {acc} {function}({acc}, {words}, {words})",),
        _integers,
    )  # fmt: skip


def _integers(attrs: dict[str, Any]) -> bool:
    return bool(attrs["elem"] == "i32")


def _floats(attrs: dict[str, Any]) -> bool:
    return bool(attrs["elem"] == "f32")


def _generic_integer_dot2() -> MachineInstruction:
    """The upper and the lower halves of words, sign-extended."""
    return MachineInstruction(
        "multiply and add", "dot2", "", frozenset(), 0,
        (
            "{t0} = bitcast <{n2} x i16> {1} to <{n} x i32>",
            "{t1} = bitcast <{n2} x i16> {2} to <{n} x i32>",
            "{t2} = ashr <{n} x i32> {t0}, splat (i32 16)",
            "{t3} = ashr <{n} x i32> {t1}, splat (i32 16)",
            "{t4} = shl <{n} x i32> {t0}, splat (i32 16)",
            "{t5} = shl <{n} x i32> {t1}, splat (i32 16)",
            "{t6} = ashr <{n} x i32> {t4}, splat (i32 16)",
            "{t7} = ashr <{n} x i32> {t5}, splat (i32 16)",
            "{t8} = mul <{n} x i32> {t2}, {t3}",
            "{t9} = add <{n} x i32> {0}, {t8}",
            "{t10} = mul <{n} x i32> {t6}, {t7}",
            "{d} = add <{n} x i32> {t9}, {t10}",
        ),
        (),
        _integers,
    )  # fmt: skip


def _generic_dot2() -> MachineInstruction:
    """The upper products first, as the machine instructions do."""
    return MachineInstruction(
        "multiply and add", "dot2", "", frozenset(), 0,
        (
            "{t0} = bitcast <{n2} x i16> {1} to <{n} x i32>",
            "{t1} = bitcast <{n2} x i16> {2} to <{n} x i32>",
            "{t2} = and <{n} x i32> {t0}, splat (i32 -65536)",
            "{t3} = and <{n} x i32> {t1}, splat (i32 -65536)",
            "{t4} = shl <{n} x i32> {t0}, splat (i32 16)",
            "{t5} = shl <{n} x i32> {t1}, splat (i32 16)",
            "{t6} = bitcast <{n} x i32> {t2} to <{n} x float>",
            "{t7} = bitcast <{n} x i32> {t3} to <{n} x float>",
            "{t8} = bitcast <{n} x i32> {t4} to <{n} x float>",
            "{t9} = bitcast <{n} x i32> {t5} to <{n} x float>",
            "{t10} = fmul <{n} x float> {t6}, {t7}",
            "{t11} = fadd <{n} x float> {0}, {t10}",
            "{t12} = fmul <{n} x float> {t8}, {t9}",
            "{d} = fadd <{n} x float> {t11}, {t12}",
        ),
        (),
        _floats,
    )  # fmt: skip


_SDOT = "@llvm.aarch64.neon.sdot.v4i32.v16i8"
_SDOT_CALL = f"call <4 x i32> {_SDOT}(<4 x i32> {{}}, <16 x i8> {{}}, <16 x i8> {{}})"
_USDOT = "@llvm.aarch64.neon.usdot.v4i32.v16i8"
_PSHUFB512, _PSHUFB256 = "@llvm.x86.avx512.pshuf.b.512", "@llvm.x86.avx2.pshuf.b"
_TBL = "@llvm.aarch64.neon.tbl1.v16i8"

INSTRUCTIONS: tuple[MachineInstruction, ...] = (
    _vpdpbusd("vpdpbusd zmm", {"avx512vnni"}, 16),
    _vpdpbusd("vpdpbusd ymm", {"avx512vnni", "avx512vl"}, 8),
    _vpdpbusd("vpdpbusd ymm (VEX)", {"avxvnni"}, 8),
    _pmaddubsw({"avx512bw"}, 16, "@llvm.x86.avx512.pmaddubs.w.512", "@llvm.x86.avx512.pmaddw.d.512"),
    _pmaddubsw({"avx2"}, 8, "@llvm.x86.avx2.pmadd.ub.sw", "@llvm.x86.avx2.pmadd.wd"),
    _pmaddwd({"avx512bw"}, 16, "@llvm.x86.avx512.pmaddw.d.512"),
    _pmaddwd({"avx2"}, 8, "@llvm.x86.avx2.pmadd.wd"),
    MachineInstruction(
        "usdot", "dot4", "aarch64", frozenset({"i8mm"}), 4,
        (f"{{d}} = call <4 x i32> {_USDOT}(<4 x i32> {{0}}, <16 x i8> {{1}}, <16 x i8> {{2}})",),
        (f"declare <4 x i32> {_USDOT}(<4 x i32>, <16 x i8>, <16 x i8>)",),
    ),
    MachineInstruction(
        "sdot", "dot4", "aarch64", frozenset({"dotprod"}), 4,
        (f"{{d}} = {_SDOT_CALL.format('{0}', '{1}', '{2}')}",),
        (f"declare <4 x i32> {_SDOT}(<4 x i32>, <16 x i8>, <16 x i8>)",),
        lambda attrs: bool(attrs["max"] <= 127),
    ),
    MachineInstruction(  # a = (a - 128) + 64 + 64, and a - 128 is a signed byte
        "sdot x3", "dot4", "aarch64", frozenset({"dotprod"}), 4,
        (
            "{t0} = xor <16 x i8> {1}, splat (i8 -128)",
            f"{{t1}} = {_SDOT_CALL.format('{0}', '{t0}', '{2}')}",
            f"{{t2}} = {_SDOT_CALL.format('{t1}', 'splat (i8 64)', '{2}')}",
            f"{{d}} = {_SDOT_CALL.format('{t2}', 'splat (i8 64)', '{2}')}",
        ),
        (f"declare <4 x i32> {_SDOT}(<4 x i32>, <16 x i8>, <16 x i8>)",),
    ),
    _generic_dot4(),
    _vpdpwssd(16, {"avx512vnni"}),
    _vpdpwssd(8, {"avx512vnni", "avx512vl"}),
    _generic_integer_dot2(),
    _dpbf16ps(16, {"avx512bf16", "avx512f"}),
    _dpbf16ps(8, {"avx512bf16", "avx512vl"}),
    _generic_dot2(),
    MachineInstruction(
        "vpshufb zmm", "table", "x86-64", frozenset({"avx512bw"}), 64,
        (f"{{d}} = call <64 x i8> {_PSHUFB512}(<64 x i8> {{table}}, <64 x i8> {{0}})",),
        (f"declare <64 x i8> {_PSHUFB512}(<64 x i8>, <64 x i8>)",),
    ),
    MachineInstruction(
        "vpshufb ymm", "table", "x86-64", frozenset({"avx2"}), 32,
        (f"{{d}} = call <32 x i8> {_PSHUFB256}(<32 x i8> {{table}}, <32 x i8> {{0}})",),
        (f"declare <32 x i8> {_PSHUFB256}(<32 x i8>, <32 x i8>)",),
    ),
    MachineInstruction(
        "tbl", "table", "aarch64", frozenset({"neon"}), 16,
        (f"{{d}} = call <16 x i8> {_TBL}(<16 x i8> {{table}}, <16 x i8> {{0}})",),
        (f"declare <16 x i8> {_TBL}(<16 x i8>, <16 x i8>)",),
    ),
)  # fmt: skip


def choose(
    op: str, attrs: dict[str, Any], lanes: int, architecture: str, features: frozenset[str]
) -> MachineInstruction | None:
    """The first row for the op that the target has and that divides the lanes; None where only a plain expansion is
    left.
    """
    for row in INSTRUCTIONS:
        if (
            row.op == op
            and (not row.architecture or row.architecture == architecture)
            and row.requires <= features
            and (row.lanes == 0 or (lanes >= row.lanes and lanes % row.lanes == 0))
            and row.accepts(attrs)
        ):
            return row
    return None
