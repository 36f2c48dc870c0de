"""Quantized tensors: codes against PyTorch's, and what may be done with them."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heliostat as hs
from heliostat.diagnostics import DTypeError, FileFormatError, ShapeError, UnsupportedError

from .peer import assert_codes, codes, torch, values


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 10), st.integers(-128, 127), st.sampled_from(["quint8", "qint8"]))
def test_codes_equal_pytorch(seed: int, scale: float, zero_point: int, dtype: str) -> None:
    zero_point += 128 * (dtype == "quint8")
    x = values((64,), seed, 20.0)
    x[:32] = (np.arange(32) - 15.5) * np.float32(scale)  # halves, which round to even
    a, b = codes(x, scale, zero_point, dtype)
    assert_codes(a, b)
    assert a.dequantize().tolist() == b.dequantize().tolist()
    assert hs.dequantize([a, a])[1].tolist() == b.dequantize().tolist()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_codes_of_channels_equal_pytorch(axis: int, whole: bool) -> None:
    x = values((4, 5, 6), 1, 3.0)
    count = x.shape[axis]
    scales = np.linspace(0.01, 0.2, count, dtype=np.float32)
    zeros = np.arange(count) if whole else np.linspace(0, 9, count, dtype=np.float32)
    a = hs.quantize_per_channel(hs.tensor(x), hs.tensor(scales), hs.tensor(zeros), axis, hs.quint8)
    b = torch.quantize_per_channel(torch.tensor(x), torch.tensor(scales), torch.tensor(zeros), axis, torch.quint8)
    assert a.int_repr().tolist() == b.int_repr().tolist()
    np.testing.assert_allclose(a.dequantize().numpy(), b.dequantize().numpy(), 1e-6, 1e-6)
    assert a.q_per_channel_axis() == axis % 3
    assert str(a.qscheme()) == str(b.qscheme()).removeprefix("torch.")


def test_tensors_of_codes() -> None:
    q, _ = codes(values((3, 4)))
    assert (q.dtype, q.ndim, tuple(q.shape), q.numel(), q.nbytes) == (hs.quint8, 2, (3, 4), 12, 12)
    assert q.is_quantized
    assert not q.requires_grad
    assert "quantization_scheme=per_tensor_affine" in repr(q)
    for made in (copy.deepcopy(q), pickle.loads(pickle.dumps(q)), q.clone(), q.detach(), q.to("cpu")):
        assert hs.equal(made, q)
    assert not hs.equal(q, hs.relu(q))
    assert (q == q.dequantize()).all()
    assert q.view(2, 6)[1].int_repr().tolist() == q.int_repr().reshape(2, 6)[1].tolist()
    assert [tuple(p.shape) for p in q.split(2)] == [(2, 4), (1, 4)]
    assert hs.compile(hs.relu)(q).int_repr().tolist() == hs.relu(q).int_repr().tolist()
    eight = hs.quantize_per_tensor(hs.arange(5.0) - 2, 0.5, 0, hs.qint4)
    assert eight.int_repr().tolist() == [-4, -2, 0, 2, 4]
    assert hs.quantize_per_tensor(hs.tensor([1e9]), 0.25, 0, hs.qint32).int_repr().item() == 2**31 - 1


def test_codes_and_scales_are_tensors_of_their_own() -> None:
    scale, each = hs.tensor(0.5), hs.tensor([0.5, 0.5])
    q = hs.quantize_per_tensor(hs.tensor([1.0, 2.0]), scale, hs.tensor(3), hs.quint8)
    rows = hs.quantize_per_channel(hs.tensor([1.0, 2.0]), each, hs.tensor([3, 3]), 0, hs.quint8)
    copied = q.clone()
    scale.fill_(5.0), each.fill_(5.0)
    q.int_repr().fill_(9), rows.q_per_channel_scales().fill_(9)
    assert q.dequantize().tolist() == rows.dequantize().tolist() == [1, 2]
    q.copy_(hs.quantize_per_tensor(hs.tensor([4.0, 5.0]), 0.5, 3, hs.quint8))
    assert copied.dequantize().tolist() == [1, 2]


def test_rectifiers_in_place() -> None:
    for f in (
        lambda m, x: m.nn.ReLU(inplace=True)(x), lambda m, x: x.relu_(), lambda m, x: x.view(-1).relu_().view(3, 4),
        lambda m, x: m.nn.functional.relu6(x, inplace=True), lambda m, x: m.nn.functional.hardtanh(x, -2, 2, True),
    ):  # fmt: skip
        for mine, yours in ((a, f(m, a)) for m, a in zip((hs, torch), codes(values((3, 4))), strict=True)):
            assert mine.int_repr().tolist() == yours.int_repr().tolist()
        ours, theirs = codes(values((3, 4)))
        assert f(hs, ours).int_repr().tolist() == f(torch, theirs).int_repr().tolist()


def test_order_and_grids_by_every_road() -> None:
    def parts(x: Any) -> Any:
        return x.int_repr().tolist() if x.is_quantized else x.tolist()

    for f in (
        lambda m, x: m.max(x, 1), lambda m, x: x.sort(1, descending=True), lambda m, x: m.topk(x, 2),
        lambda m, x: x.min(0), lambda m, x: [m.gt(x, 0.5), x.le(x), x == 0.5],
        lambda m, x: [x.sigmoid(), m.tanh(x), x.tanh()],
        lambda m, x: [m.tensor([x.is_floating_point(), x.is_contiguous(), *x.stride()])],
    ):  # fmt: skip
        ours, theirs = codes(np.float32([[1, -2, 3, 0.5], [0.25, 6, -7, 8]]))
        assert [parts(x) for x in f(hs, ours)] == [parts(x) for x in f(torch, theirs)]


@pytest.mark.parametrize("f", [
    lambda q, x: hs.mean(x, q), lambda q, x: hs.gather(x, 0, q), lambda q, x: hs.clamp(q, q), lambda q, x: hs.max(q, q),
    lambda q, x: hs.nn.functional.layer_norm(q, (4,)), lambda q, x: q.__setitem__(0, 1.0), lambda q, x: x.clamp_min_(q),
    lambda q, x: hs.nn.functional.linear(hs.quantize_per_channel(x, hs.ones(4), hs.zeros(4), 1, hs.quint8), q),
])  # fmt: skip
def test_quantized_arguments_are_refused_by_name(f: Any) -> None:
    with pytest.raises(UnsupportedError):
        f(codes(values((4, 4)))[0], hs.ones(4, 4))


def test_files_hold_codes() -> None:
    whole, _ = codes(values((3, 4)))
    rows = hs.quantize_per_channel(hs.tensor(values((3, 4))), hs.ones(3) * 0.1, hs.zeros(3), 0, hs.quint8)
    file = io.BytesIO()
    hs.save({"a": whole, "b": [rows]}, file)
    found = hs.load(io.BytesIO(file.getvalue()))
    assert hs.equal(found["a"], whole)
    assert hs.equal(found["b"][0], rows)
    assert found["b"][0].qscheme() == rows.qscheme()
    damaged = file.getvalue().replace(b"quint8", b"quint9")
    with pytest.raises(FileFormatError):
        hs.load(io.BytesIO(damaged))


def refused() -> list[tuple[Any, type[Exception], str]]:
    q, _ = codes(values((3, 4)))
    rows = hs.quantize_per_channel(hs.ones(3, 4), hs.ones(3), hs.zeros(3), 0, hs.quint8)
    return [
        (lambda: q + q, UnsupportedError, "add takes no quantized"), (lambda: hs.sin(q), UnsupportedError, "sin takes"),
        (lambda: q.sum(), UnsupportedError, "sum takes"), (lambda: hs.add(q, 1), UnsupportedError, "add takes"),
        (lambda: hs.nn.functional.gelu(q), UnsupportedError, "quantized"), (q.numpy, UnsupportedError, "numpy takes"),
        (lambda: hs.quantize_per_tensor(hs.ones(2), 0.1, 0, hs.int8), DTypeError, "not i8"),
        (lambda: hs.quantize_per_tensor(hs.arange(2), 0.1, 0, hs.qint8), DTypeError, "floats"),
        (lambda: hs.quantize_per_tensor(hs.ones(2), 0.1, 300, hs.quint8), ValueError, "between 0 and 255"),
        (lambda: hs.quantize_per_tensor(hs.ones(2), 0.0, 0, hs.quint8), ValueError, "above 0"),
        (lambda: hs.quantize_per_channel(hs.ones(2, 3), hs.ones(2), hs.zeros(2), 1, hs.qint8), ShapeError, "3 indices"),
        (rows.q_scale, UnsupportedError, "q_per_channel_scales"),
        (lambda: rows.view(4, 3), UnsupportedError, "channel"),
        (lambda: hs.quantize_per_tensor(hs.ones(2), hs.ones(2), 0, hs.qint8), ShapeError, "one number"),
        (lambda: q.copy_(hs.ones(3, 4)), DTypeError, "takes a quantized one"),
        (lambda: hs.cat([q, hs.ones(3, 4)]), UnsupportedError, "together with others"),
        (lambda: hs.fake_quantize_per_tensor_affine(hs.arange(3), 0.1, 0, 0, 255), DTypeError, "floats"),
    ]  # fmt: skip


@pytest.mark.parametrize("n", range(17))
def test_what_is_refused(n: int) -> None:
    call, error, text = refused()[n]
    with pytest.raises(error, match=text):
        call()
