"""Declarations: what is checked, how fields are laid out, equality, and the text form."""

from __future__ import annotations

import pickle

import pytest

from heliostat.diagnostics import FormatError, UnsupportedError
from heliostat.ir.types import DType, element, f16, f32, i8
from heliostat.quant import formats
from heliostat.quant.algebra import Table
from heliostat.quant.format import (
    Bits,
    BlockFormat,
    Codes,
    Digits,
    FieldSpec,
    Packing,
    Rule,
    Scalar,
    Stream,
    SumOf,
    uint,
)
from heliostat.quant.text import to_lum

from .samples import USER_FORMATS

D = Scalar("d", f16, at=0)
Q = Codes("q", [Bits(at=2, width=4, run=16)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([D, Codes("q", [Bits(at=1, width=4, run=16)])], "field q overlaps field d at bit 0 of byte 1"),
        ([D, Codes("q", [Bits(at=3, width=4, run=16)])], "q: element 15 lies in byte 18, past the end of 18"),
        ([D, Codes("q", [Bits(at=2, width=4, run=8, count=31)])], "field q: element 31 has no bits"),
        (
            [D, Codes("q", [Bits(at=2, width=4, run=8, count=16), Bits(at=10, width=2, run=4, start=16)])],
            "field q: element 16 has 2 bits, element 0 has 4",
        ),
        ([D, Scalar("d", i8, at=2), Q], "two fields are named d"),
        ([D, Codes("q", [Bits(at=2, width=2, run=8)])], "byte 10 of 18 belongs to no field"),
        ([D, Scalar("s", i8, at=2, count=3), Q], "field s has 3 values, which do not divide 32"),
        ([D, Codes("q", [Bits(at=2, width=4, run=0)])], "field q: run must be at least 1"),
        ([D, Codes("q", [Bits(at=2, width=4, run=16, shift=6)])], "field q: width 4 at shift 6 does not fit a byte"),
        ([D, Codes("q", [Bits(at=2, width=4, run=16, start=30, count=4)])], "field q: elements 30 to 33 are outside"),
        ([D, Codes("q", [Digits(at=2, radix=3, digits=6, run=16)])], "field q: a byte holds 1 to 5 digits of radix 3"),
        ([D, Codes("q", [Digits(at=2, radix=3, digits=2, run=16)] * 2)], "field q: element 0 has two digits"),
        (
            [D, Codes("q", [Digits(at=2, radix=3, digits=2, run=16), Bits(at=2, width=1, run=1)])],
            "field q: all of its parts",
        ),
        ([D, Codes("p", [Bits(at=2, width=4, run=16)])], "no field is named 'q'|value reads q"),
    ],
    ids=[
        "overlap", "past the end", "missing element", "missing bits", "duplicate name", "unused byte", "count", "run",
        "shift", "outside", "digits", "two digits", "mixed", "unknown name",
    ],
)  # fmt: skip
def test_errors_name_the_field(fields: list, message: str) -> None:
    from heliostat.quant.algebra import Ref

    with pytest.raises(FormatError, match=message):
        BlockFormat("bad", 32, 18, fields, Ref("d") * Ref("q"))


def test_errors_of_scalars_values_and_rules() -> None:
    with pytest.raises(FormatError, match="field s: its parts have 4 bits, u6 has 6"):
        Scalar("s", uint(6), bits=[Bits(at=0, width=4, run=1)])
    with pytest.raises(FormatError, match="field s: give either"):
        Scalar("s", f16)
    with pytest.raises(FormatError, match="q goes from 0 to 15, table t has 3 entries"):
        BlockFormat("bad", 32, 18, [D, Q], lambda b: b.d * Table("t", (1, 2, 3))[b.q])
    with pytest.raises(FormatError, match="table t needs an integer index, not d"):
        BlockFormat("bad", 32, 18, [D, Q], lambda b: b.q * Table("t", (1, 2, 3))[b.d])
    with pytest.raises(FormatError, match="no quantize rule is"):
        BlockFormat("bad", 32, 18, [D, Q], lambda b: b.d * b.q, rule=Rule("biggest", 1, "even"))
    with pytest.raises(FormatError, match="needs value = d \\* code"):
        BlockFormat("bad", 32, 18, [D, Q], lambda b: b.d * b.q, rule=Rule("range", 15, "even"))
    with pytest.raises(FormatError, match="field s sums x, which is no field of codes"):
        BlockFormat("bad", 32, 19, [D, Q, Scalar("s", i8, at=18, sum_of=SumOf("x"))], lambda b: b.d * b.q)
    with pytest.raises(AttributeError, match="no field is named 'x'; there are d, q"):
        BlockFormat("bad", 32, 18, [D, Q], lambda b: b.x * b.q)


def test_equality_hash_and_pickle() -> None:
    def make(name: str, zero: int) -> BlockFormat:
        return BlockFormat(name, 32, 18, [D, Q], lambda b: b.d * (b.q - zero))

    assert make("a", 8) == make("a", 8)
    assert hash(make("a", 8)) == hash(make("a", 8))
    assert make("a", 8) != make("a", 7)
    assert make("a", 8) != make("b", 8)
    for fmt in (*formats.all(), *USER_FORMATS):
        again = pickle.loads(pickle.dumps(fmt))
        assert again == fmt
        assert again.rule == fmt.rule
        assert again.normal == fmt.normal


def test_registering() -> None:
    assert element("q4_0") is formats.Q4_0
    mine = formats.register(BlockFormat("registered_in_a_test", 32, 18, [D, Q], lambda b: b.d * b.q))
    assert formats.get("REGISTERED_in_a_test") is mine
    formats.register(BlockFormat("registered_in_a_test", 32, 18, [D, Q], lambda b: b.d * b.q))
    with pytest.raises(FormatError, match="a different format named registered_in_a_test"):
        formats.register(BlockFormat("registered_in_a_test", 32, 18, [D, Q], lambda b: b.d * (b.q - 1)))


def test_scalar_places_of_q4_k() -> None:
    scale = formats.Q4_K.scalar("sc")
    assert [tuple(s)[:4] for s in scale.slices(2)] == [(6, 0, 6, 0)]
    assert [tuple(s)[:4] for s in scale.slices(5)] == [(13, 0, 4, 0), (5, 6, 2, 4)]


# Fields as a .lum declaration gives them


def spec(*words: Packing, type: str = "u4", count: int | None = 32) -> BlockFormat:
    return BlockFormat.from_fields(
        "x", 32, [FieldSpec("d", "f16"), FieldSpec("q", type, count, words)], lambda b: b.d * (b.q - 8)
    )


def test_fields_in_order() -> None:
    q3z = USER_FORMATS[0]
    assert q3z.nbytes == 27
    assert q3z.codes.parts == (Stream(at=3, width=3),)
    assert [tuple(s)[:4] for s in q3z.codes.slices(2)] == [(3, 6, 2, 0), (4, 0, 1, 2)]
    assert spec(Packing("split")).fields == formats.Q4_0.fields
    assert spec().codes.parts == (Bits(at=2, width=4, run=1),)
    assert spec(Packing("split"), type="u7").codes.parts == (Bits(2, 4, 16), Bits(18, 2, 8), Bits(26, 1, 4))
    assert spec(Packing("split", (8,))).codes.parts == (Bits(2, 4, 8),)
    assert spec(type="i8").codes == Codes("q", [Bits(2, 8, run=1)], signed=True, count=32)
    placed = spec(Packing("bits", (), (("at", 2), ("width", 4), ("run", 16))))
    assert placed.fields == formats.Q4_0.fields


@pytest.mark.parametrize(
    ("words", "type", "message"),
    [
        ([], "u40", "field q: no field type is named u40"),
        ([], "float", "field q: no field type is named float"),
        ([Packing("spilt")], "u4", "field q: no packing is named spilt.*split"),
        ([Packing("split", (5,))], "u4", "field q: 32 values of 4 bits cannot be split into runs of 5 bytes"),
        ([Packing("bits", (2, 4))], "u4", "field q: bits takes at, width, run"),
        ([Packing("bits", (2, 4, 16), (("ran", 3),))], "u4", r"field q: bits\(ran=3\)"),
        ([Packing("bits", (2, 2, 8))], "u4", "field q: its parts have 2 bits, u4 has 4"),
        ([Packing("split"), Packing("bits", (2, 4, 16))], "u4", "exclude each other"),
        ([Packing("quantize", ("absmax",))], "u4", "quantize takes scale, over, rounding"),
        ([Packing("at", (10**12,))], "u4", "is too large"),
        ([Packing("at", (-1,))], "u4", "element 0 lies in byte -1"),
        ([Packing("at", (1,))], "u4", "field q overlaps field d at bit 0 of byte 1"),
    ],
)
def test_errors_of_packings(words: list[Packing], type: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        spec(*words, type=type)


def test_sizes_from_untrusted_text_are_bounded() -> None:
    with pytest.raises(FormatError, match="field q: 1000000000 values are more than"):
        spec(count=10**9)
    with pytest.raises(FormatError, match="too large"):
        BlockFormat("big", 10**9, 18, [D], lambda b: b.d)


def test_text_of_declarations() -> None:
    assert to_lum(USER_FORMATS[0]) == (
        "format q3z {\n  block 64;\n  d: f16;\n  z: i8;\n  q: u3[64];\n  value = d * (q - z);\n}\n"
    )
    assert "q: u4[32] split quantize(signed_max, -8, shifted);" in to_lum(formats.Q4_0)
    assert "q: u4[256] split(32);" in to_lum(formats.Q4_K)
    assert "fp4: table [0, 1, 2, 3, 4, 6, 8, 12, 0, -1," in to_lum(formats.MXFP4)
    moved = BlockFormat("m", 32, 20, [Scalar("d", f32, at=16), Codes("q", [Bits(0, 4, 16)])], lambda b: b.d * b.q)
    assert "d: f32 at(16);" in to_lum(moved)


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
def test_text_says_all_of_the_declaration(fmt: BlockFormat) -> None:
    """Read the text back by the simplest means: fields and rule must come out equal."""
    rows = [line.strip().rstrip(";") for line in to_lum(fmt).splitlines()[1:-1]]
    specs = [_read(r) for r in rows if ":" in r and ": table" not in r]
    assert rows[0] == f"block {fmt.block}"
    assert rows[-1] == f"value = {fmt.value}"
    again = BlockFormat.from_fields(fmt.name, fmt.block, specs, fmt.value)
    assert again == fmt
    assert again.rule == fmt.rule


def _read(row: str) -> FieldSpec:
    import re

    name, rest = row.split(": ", 1)
    head, *_ = rest.split(" ", 1)
    kind, count = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", head).groups()
    packing = []
    for word, arguments in re.findall(r"(\w+)(?:\(([^)]*)\))?", rest[len(head) :]):
        positional, named = [], []
        for argument in filter(None, (a.strip() for a in arguments.split(","))):
            key, _, value = argument.rpartition("=")
            parsed = int(value) if re.fullmatch(r"-?\d+", value) else value
            if key:
                named.append((key, parsed))
            else:
                positional.append(parsed)
        packing.append(Packing(word, tuple(positional), tuple(named)))
    return FieldSpec(name, kind, int(count) if count else None, tuple(packing))


def test_grids_have_no_text_yet() -> None:
    from .test_grid import SIGN_PARITY

    with pytest.raises(UnsupportedError, match="field g is a grid"):
        to_lum(SIGN_PARITY)


def test_types_of_fields() -> None:
    assert uint(6) == DType("u6", "u", 6)
    assert formats.Q6_K.scalar("sc").dtype == i8
