"""The packed order of matrices: the byte plan, and that packing loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import ShapeError, UnsupportedError
from heliostat.ir.types import DType, f16, f32
from heliostat.quant import Panel, codec, formats
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import PanelParam, Plane, pack, panel_plan, planes, refusal, unpack, unpack_codes

from .samples import QUADRATIC, USER_FORMATS, random_blocks

PACKED = (*formats.all(), *USER_FORMATS)


@pytest.mark.parametrize("fmt", PACKED, ids=str)
@given(n=st.integers(1, 40), blocks=st.integers(1, 3), rows=st.sampled_from([1, 4, 6, 16]), seed=st.integers(0, 999))
@settings(max_examples=8, deadline=None)
def test_unpacking_gives_back_codes_and_scalars(fmt: BlockFormat, n: int, blocks: int, rows: int, seed: int) -> None:
    flat = random_blocks(fmt, n * blocks, seed)
    packed = pack(flat.reshape(n, -1), fmt, rows)
    assert packed.size == panel_plan(fmt, rows).nbytes(n, blocks * fmt.block)
    found = unpack(packed, fmt, rows, n, blocks * fmt.block)
    assert np.array_equal(found.codes.reshape(-1, fmt.block), codec.codes(flat, fmt))
    for param in panel_plan(fmt, rows).params:
        expected = codec.scalar_bits(flat, fmt.scalar(param.name))
        assert np.array_equal(found.params[param.name].reshape(expected.shape), expected)


@pytest.mark.parametrize("fmt", PACKED, ids=str)
def test_every_code_lies_where_the_plan_says(fmt: BlockFormat) -> None:
    """The rule in the docstring of PanelPlan, followed one element at a time."""
    n, blocks, rows = 9, 2, 4
    packed = pack(random_blocks(fmt, n * blocks, 5).reshape(n, -1), fmt, rows)
    plan = panel_plan(fmt, rows)
    codes = unpack_codes(packed, fmt, rows, n, blocks * fmt.block)
    rng = np.random.default_rng(6)
    for _ in range(200):
        row, k = int(rng.integers(n)), int(rng.integers(blocks * fmt.block))
        (panel, r), (block, e) = divmod(row, rows), divmod(k, fmt.block)
        chunk, (quad, b) = e // 32, divmod(e % 32, 4)
        start = (panel * blocks + block) * plan.block_bytes + plan.chunk_offset + chunk * plan.chunk_bytes
        code = 0
        for plane in plan.planes:
            s, v = divmod(quad, plane.bits)
            byte = int(packed[start + plane.offset + v * 4 * rows + 4 * r + b])
            code |= (byte >> plane.bits * s & ((1 << plane.bits) - 1)) << plane.into_bit
        assert code == codes[row, k]


def test_plan_of_q2_k() -> None:
    plan = panel_plan(formats.Q2_K, 16)
    assert plan.params == (
        PanelParam("sc", "u4", 16, 0, "u4", 128),
        PanelParam("m", "u4", 16, 128, "u4", 128),
        PanelParam("d", "f16", 1, 256, "f16", 32),
        PanelParam("dmin", "f16", 1, 288, "f16", 32),
    )
    assert (plan.chunk_offset, plan.chunk_bytes, plan.chunks) == (320, 128, 8)
    assert plan.block_bytes == 16 * 84  # not a byte more than the file
    assert plan.planes == (Plane(2, 0, 0),)


def test_params_lie_by_row() -> None:
    fmt, rows = formats.Q2_K, 4
    raw = random_blocks(fmt, 4, 7)
    packed, plan = pack(raw, fmt, rows), panel_plan(fmt, rows)
    sc, d = codec.scalar_bits(raw, fmt.scalar("sc")), codec.scalar_bits(raw, fmt.scalar("d"))
    nibbles = packed[plan.param("sc").offset :][: plan.param("sc").nbytes].reshape(8, rows)
    assert np.array_equal(nibbles, (sc[:, 0::2] | sc[:, 1::2] << 4).T)
    halves = packed[plan.param("d").offset :][: plan.param("d").nbytes].view(np.uint16)
    assert np.array_equal(halves, d[:, 0])


def test_planes_are_powers_of_two_low_bits_first() -> None:
    assert [planes(w) for w in range(1, 9)] == [(1,), (2,), (2, 1), (4,), (4, 1), (4, 2), (4, 2, 1), (8,)]


@pytest.mark.parametrize("dtype", [f16, f32, formats.get("BF16")], ids=str)
def test_plain_types_are_interleaved_by_row(dtype: DType) -> None:
    words = np.random.default_rng(8).integers(0, 2**16, (7, 10)).astype(f"<u{dtype.nbytes}")
    packed = pack(words.view(np.uint8), dtype, 4)
    cells = packed.view(words.dtype).reshape(2, 10, 4)
    assert np.array_equal(cells.transpose(0, 2, 1).reshape(8, 10)[:7], words)
    assert not cells[1, :, 3].any()
    assert packed.size == panel_plan(dtype, 4).nbytes(7, 10)
    assert np.array_equal(unpack_codes(packed, dtype, 4, 7, 10), words)


def test_padding_rows_are_zero() -> None:
    packed = pack(np.full((1, 34), 255, np.uint8), formats.Q8_0, 4)
    assert not packed[8:].reshape(-1, 4, 4)[:, 1:].any()
    assert not packed[2:8].any()


def test_refusals_and_shapes() -> None:
    assert str(Panel(16)) == "panel(16)"
    with pytest.raises(UnsupportedError, match="not linear in q"):
        panel_plan(QUADRATIC, 16)
    odd = BlockFormat("odd", 48, 26, formats.Q4_0.fields[:1] + _nibbles(48), lambda b: b.d * b.q)
    assert "blocks of 48 elements" in str(refusal(odd, 16))
    assert "at least one row" in str(refusal(formats.Q4_0, 0))
    with pytest.raises(ShapeError, match="whole blocks of 18 bytes"):
        pack(np.zeros((2, 19), np.uint8), "Q4_0", 16)
    with pytest.raises(ShapeError, match="not a packed 16 x 32 matrix"):
        unpack(np.zeros(10, np.uint8), "Q4_0", 16, 16, 32)


def _nibbles(block: int) -> tuple:
    from heliostat.quant.format import Bits, Codes

    return (Codes("q", [Bits(at=2, width=4, run=block // 2)]),)
