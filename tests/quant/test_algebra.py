"""The normal form says what the value rule says, and refuses what it cannot say."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.quant import codec, formats
from heliostat.quant.algebra import Binary, Factor, Negate, NormalForm, Number, Ref, Symbol, Table, normal_form
from heliostat.quant.format import BlockFormat
from heliostat.quant.tables.codebooks import FP4_DOUBLED

from .samples import USER_FORMATS, finite_blocks

SYMBOLS = {
    s.name: s
    for s in (
        Symbol("d", "float", 1),
        Symbol("m", "float", 2),
        Symbol("z", "int", 4, 8, True),
        Symbol("q", "code", 64, 4),
        Symbol("i", "code", 64, 8, True),
        Symbol("p", "code", 64, 4),
        Symbol("g", "grid", 64),
    )
}
D = Factor(("d",), None, 1.0)
M = Factor(("m",), None, 1.0)
d, m, z, q, i, p, g = (Ref(n) for n in "dmzqipg")
FP4 = Table("fp4", (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6))


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
def test_normal_form_gives_the_decoded_values(fmt: BlockFormat) -> None:
    raw = finite_blocks(fmt, 20, seed=4)
    normal = fmt.normal
    assert normal is not None, fmt.reason
    levels = np.array(normal.levels, np.float64)

    def factor(f: Factor) -> np.ndarray:
        total = np.full((20, fmt.block), f.constant)
        for name in f.floats:
            values = codec.scalar_values(raw, fmt.scalar(name)).astype(np.float64)
            total *= np.repeat(values, fmt.block // values.shape[1], axis=1)
        if f.integer is not None:
            values = codec.scalar_values(raw, fmt.scalar(f.integer[0])) + f.integer[1]
            total *= np.repeat(values, fmt.block // values.shape[1], axis=1)
        return total

    scale = factor(normal.scale)
    value = scale * levels[codec.codes(raw, fmt)]
    size = np.abs(value)
    if normal.offset is not None:
        value = value + factor(normal.offset)
        size = size + np.abs(factor(normal.offset))
    found = codec.dequantize(raw, fmt)
    assert np.all(np.abs(found - value) <= 2**-22 * size)
    for per_sub in (scale.reshape(20, -1, normal.sub),):
        assert np.all(per_sub == per_sub[:, :, :1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (d * (q - 8), NormalForm("q", 4, None, 8, D, None, 64)),
        (q * d - 8 * d, NormalForm("q", 4, None, 8, D, None, 64)),
        (d * i, NormalForm("i", 8, None, 128, D, None, 64)),
        (d * q + m, NormalForm("q", 4, None, 0, D, M, 32)),
        (d * (q - 8) + m, NormalForm("q", 4, None, 8, D, M, 32)),
        (d * (q - z), NormalForm("q", 4, None, 0, D, Factor(("d",), ("z", 0), -1.0), 16)),
        (d * (z - 32) * (q - 4), NormalForm("q", 4, None, 4, Factor(("d",), ("z", -32), 1.0), None, 16)),
        (-(0.25 * d * z * q - m), NormalForm("q", 4, None, 0, Factor(("d",), ("z", 0), -0.25), M, 16)),
        (d * (2 * q - 1), NormalForm("q", 4, tuple(range(-1, 31, 2)), 0, D, None, 64)),
        (
            d * FP4[q],
            NormalForm("q", 4, FP4_DOUBLED.values, 0, Factor(("d",), None, 0.5), None, 64),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_splitting(value: Binary, expected: NormalForm) -> None:
    assert normal_form(value, SYMBOLS, 64) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (d * q * q, "not linear in q"),
        (d * q + m * p, "mixes p and q"),
        (d * m, "does not depend on a code"),
        ((d + m) * q, "one product of the float scalars"),
        (d * z * z * q, "not linear in one integer field"),
        (d * (2 * z + 1) * q, "not a whole multiple"),
        (d * g, "grid of vectors"),
        (d * Table("t", tuple(range(16)))[q + z], "indexed by q + z, not by a code"),
        (d * Table("t", (0.1,) * 16)[q], "needs integers beyond"),
        (d * Table("t", tuple(range(256)))[i], "indexed by the signed field"),
    ],
    ids=str,
)
def test_refusals_say_why(value: Binary, reason: str) -> None:
    found = normal_form(value, SYMBOLS, 64)
    assert isinstance(found, str)
    assert reason in found


def test_text_keeps_the_tree() -> None:
    assert str(d * (q - 8) - m * (z + 1)) == "d * (q - 8) - m * (z + 1)"
    assert str(Binary("-", d, Binary("-", q, Number(1)))) == "d - (q - 1)"
    assert str(Negate(d + q) * FP4[q]) == "-(d + q) * fp4[q]"
