"""The array API namespace against NumPy's, which follows the same standard: names, results, dtypes, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import array_api as xp
from heliostat.array_api.elementwise import TABLE

NAMES = [
    "__array_api_version__", "__array_namespace_info__", "abs", "acos", "acosh", "add", "all", "any", "arange",
    "argmax", "argmin", "argsort", "asarray", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "broadcast_arrays",
    "broadcast_shapes", "broadcast_to", "can_cast", "ceil", "clip", "concat", "conj", "copysign", "cos", "cosh",
    "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "divide", "e", "empty", "empty_like", "equal",
    "exp", "expand_dims", "expm1", "eye", "fft", "finfo", "flip", "floor", "floor_divide", "from_dlpack", "full",
    "full_like", "greater", "greater_equal", "hypot", "iinfo", "imag", "inf", "isdtype", "isfinite", "isin", "isinf",
    "isnan", "less", "less_equal", "linalg", "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "matmul", "matrix_transpose", "max", "maximum", "mean", "meshgrid",
    "min", "minimum", "moveaxis", "multiply", "nan", "negative", "newaxis", "nextafter", "nonzero", "not_equal",
    "ones", "ones_like", "permute_dims", "pi", "positive", "pow", "prod", "real", "reciprocal", "remainder",
    "repeat", "reshape", "result_type", "roll", "round", "searchsorted", "sign", "signbit", "sin", "sinh", "sort",
    "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "take", "take_along_axis", "tan", "tanh",
    "tensordot", "tile", "tril", "triu", "trunc", "unique_all", "unique_counts", "unique_inverse", "unique_values",
    "unstack", "var", "vecdot", "where", "zeros", "zeros_like",
]  # fmt: skip


def test_names() -> None:
    assert [n for n in NAMES if not hasattr(xp, n)] == []
    assert sorted(set(NAMES)) == sorted(set(xp.__all__) - set(xp.__array_namespace_info__().dtypes()))
    assert hs.ones(1).__array_namespace__() is xp
    for version in ("2021.12", "2024.12", "2025.12"):
        assert hs.ones(1).__array_namespace__(api_version=version) is xp
    with pytest.raises(ValueError, match="2020"):
        hs.ones(1).__array_namespace__(api_version="2020.01")


def test_what_it_says_of_itself() -> None:
    info = xp.__array_namespace_info__()
    first, *others = info.devices()
    assert first == hs.zeros(1).device == info.default_device()
    assert all(device.type == "cuda" for device in others)
    assert info.default_dtypes() == {
        "real floating": hs.float32, "complex floating": hs.complex64, "integral": hs.int64, "indexing": hs.int64
    }  # fmt: skip
    assert sorted(info.dtypes(kind="signed integer")) == ["int16", "int32", "int64", "int8"]
    assert info.dtypes(kind=("bool", "complex floating")) == {
        "bool": xp.bool, "complex64": xp.complex64, "complex128": xp.complex128
    }  # fmt: skip
    assert info.capabilities()["boolean indexing"]


def _same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            _same(a, b)
        return
    want = np.asarray(expected)
    want = want.astype(np.int64) if want.dtype == np.uint64 else want
    got = np.asarray(found)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


A = np.round(np.random.default_rng(3).uniform(-2, 2, (3, 4)), 2)
CALLS = [
    lambda m, x: m.sum(x, axis=(0, 1)),
    lambda m, x: m.sum(x, axis=()),
    lambda m, x: m.prod(x, axis=(0, 1), keepdims=True),
    lambda m, x: m.mean(x, axis=1, keepdims=True),
    lambda m, x: m.var(x, axis=0, correction=1),
    lambda m, x: m.std(x),
    lambda m, x: m.max(x, axis=(0, 1)),
    lambda m, x: m.min(x, axis=-1),
    lambda m, x: m.any(x > 1, axis=(0, 1)),
    lambda m, x: m.all(x, axis=0),
    lambda m, x: m.count_nonzero(x > 0, axis=1),
    lambda m, x: m.cumulative_sum(x, axis=1, include_initial=True),
    lambda m, x: m.cumulative_prod(x, axis=0),
    lambda m, x: m.diff(x, axis=0, prepend=x[:1, :]),
    lambda m, x: m.argmax(x, axis=0, keepdims=True),
    lambda m, x: m.argmin(x),
    lambda m, x: m.sort(x, axis=0),
    lambda m, x: m.argsort(x),
    lambda m, x: m.nonzero(x > 0),
    lambda m, x: m.isin(x, x[0, :2]),
    lambda m, x: m.searchsorted(m.sort(x[0, :]), x[1, :], side="right"),
    lambda m, x: tuple(m.unique_all(m.round(x))),
    lambda m, x: tuple(m.unique_counts(m.round(x))),
    lambda m, x: m.unique_values(m.round(x)),
    lambda m, x: m.concat([x, m.astype(x, m.float64)], axis=None),
    lambda m, x: m.stack([x, x], axis=1),
    lambda m, x: m.unstack(x, axis=1),
    lambda m, x: m.expand_dims(x, axis=-1),
    lambda m, x: m.flip(x),
    lambda m, x: m.flip(x, axis=-1),
    lambda m, x: m.moveaxis(x, 0, 1),
    lambda m, x: m.permute_dims(x, (1, 0)),
    lambda m, x: m.matrix_transpose(x),
    lambda m, x: m.repeat(x, 2),
    lambda m, x: m.repeat(x, 2, axis=1),
    lambda m, x: m.reshape(x, (-1, 2), copy=True),
    lambda m, x: m.roll(x, 1),
    lambda m, x: m.roll(x, (1, -1), axis=(0, 1)),
    lambda m, x: m.squeeze(x[:1, :], axis=0),
    lambda m, x: m.tile(x, (2, 1)),
    lambda m, x: m.take(x, m.asarray([2, 0]), axis=1),
    lambda m, x: m.vecdot(x, x),
    lambda m, x: m.take_along_axis(x, m.asarray([[0], [1], [3]]), axis=1),
    lambda m, x: m.clip(x, -1, 1),
    lambda m, x: m.matmul(x, m.matrix_transpose(x)),
    lambda m, x: m.tensordot(x, x, axes=((0, 1), (0, 1))),
    lambda m, x: m.where(x > 0, x, m.asarray(0.0, dtype=m.float32)),
    lambda m, x: m.meshgrid(x[0, :], x[:, 0]),
    lambda m, x: m.searchsorted(m.sort(x[0, :]), 0.5),
    lambda m, x: m.searchsorted(m.asarray([3, 1, 2]), 2, side="right", sorter=m.asarray([1, 2, 0])),
    lambda m, x: m.isin(m.asarray([1, 2]), 2),
    lambda m, x: m.asarray(m.broadcast_shapes() + m.broadcast_shapes((2, 1), (3,))),
    lambda m, x: m.expand_dims(x, (0, -1)),
    lambda m, x: m.permute_dims(x, (-1, 0)),
    lambda m, x: m.linspace(0, 1, 5, endpoint=False, dtype=m.float32),
    lambda m, x: m.arange(5, 0, -2),
    lambda m, x: m.eye(3, 4, k=1, dtype=m.float32),
    lambda m, x: m.arange(3),
    lambda m, x: m.tril(x, k=1),
    lambda m, x: m.full((2,), 3),
    lambda m, x: m.full_like(x, 2),
    lambda m, x: m.triu(x),
    lambda m, x: m.add(x, m.asarray(1.0, dtype=m.float64)),
    lambda m, x: x[::-1, 1::2],
    lambda m, x: x[:, ::-2],
    lambda m, x: x[None, ..., 0],
    lambda m, x: x[x > 0],
    lambda m, x: m.broadcast_arrays(x, x[0, :]),
    lambda m, x: m.broadcast_to(x, (2, 3, 4)),
    lambda m, x: m.floor_divide(m.asarray([7, -7]), m.asarray([2, 2])),
    lambda m, x: m.remainder(m.asarray([7, -7]), m.asarray([2, 2])),
    lambda m, x: m.bitwise_invert(m.asarray([1, -3])),
    lambda m, x: m.pow(m.asarray([2, 3]), m.asarray([3, 2])),
    lambda m, x: m.isfinite(x / 0),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS)
def test_results(call: Any) -> None:
    a = A.astype(np.float32)
    _same(call(xp, hs.tensor(a)), call(np, a))


def test_elementwise_functions() -> None:
    """All at once: one program."""
    x, y = np.abs(A.astype(np.float32)) + 0.1, A[::-1].astype(np.float64)
    found, expected = [], []
    for name in TABLE:
        f, g = getattr(xp, name), getattr(np, name, None)
        for arguments in ((x,), (x, y)):
            try:
                with np.errstate(all="ignore"):
                    want = g(*arguments)  # type: ignore[misc]
                    assert isinstance(want, np.ndarray)
                    assert want.shape == x.shape
                    got = f(*map(hs.tensor, arguments))
            except (TypeError, ValueError, AssertionError):
                continue
            found.append(got)
            expected.append(want)
    assert len(found) > 50
    _same(found, expected)


def test_dtypes() -> None:
    one = xp.asarray(1.0, dtype=xp.float64)
    assert xp.add(xp.ones((2,)), one).dtype == xp.float64  # whatever the ranks; PyTorch gives float32
    assert (xp.ones((2,)) + one).dtype == xp.float32
    assert xp.result_type(xp.int8, xp.uint8) == xp.int16
    assert xp.result_type(xp.ones(2, dtype=xp.int8), 3) == xp.int8
    assert xp.result_type(xp.float32, 1.5) == xp.float32
    assert xp.can_cast(xp.int8, xp.int16)
    assert not xp.can_cast(xp.float64, xp.float32)
    assert not xp.can_cast(xp.int32, xp.float64)
    assert xp.isdtype(xp.int8, "integral")
    assert xp.isdtype(xp.int8, ("bool", xp.int8))
    assert not xp.isdtype(xp.float32, "complex floating")
    x = xp.ones((2,))
    assert xp.astype(x, xp.float32, copy=False) is x
    assert xp.astype(x, xp.float32) is not x


def test_dlpack() -> None:
    x = hs.tensor([[1.0, 2.0]])
    assert np.from_dlpack(x).tolist() == [[1, 2]]
    shared = np.from_dlpack(x, copy=False)
    assert np.shares_memory(shared, x.numpy())
    assert not shared.flags.writeable
    assert not np.shares_memory(np.from_dlpack(x, copy=True), x.numpy())
    assert xp.from_dlpack(np.ones(3), copy=True).tolist() == [1, 1, 1]
    xp.from_dlpack(x, copy=True)[0, 0] = 7.0
    assert x.tolist() == [[1, 2]]
    for copy in (False, None):
        xp.from_dlpack(x, copy=copy)[0, 0] += 2.0
    assert x.tolist() == [[5, 2]]  # a tensor's own elements
    for error, call in [
        (BufferError, lambda: x.__dlpack__(dl_device=(2, 0))),
        (BufferError, lambda: x.__dlpack__(copy=False)),
        (BufferError, lambda: x.bfloat16().__dlpack__()),
        (BufferError, lambda: hs.from_dlpack(np.ones(2), copy=False)),
        (BufferError, lambda: xp.from_dlpack(x, device="meta", copy=False)),
        (ValueError, lambda: x.__dlpack__(stream=3)),
        (NotImplementedError, lambda: x.to_device("tpu")),
    ]:
        with pytest.raises(error):
            call()


def test_what_is_refused() -> None:
    x = xp.ones((2, 3))
    for error, call in [
        (ValueError, lambda: xp.isdtype(xp.int8, "whole")),
        (TypeError, lambda: xp.result_type(1, 2)),
        (TypeError, lambda: xp.add(1, 2)),
        (ValueError, lambda: xp.squeeze(x, axis=0)),
        (ValueError, lambda: xp.take(x, xp.ones(1))),
        (ValueError, lambda: xp.asarray([1], copy=False)),
        (ValueError, lambda: xp.asarray(x, dtype=xp.int8, copy=False)),
        (NotImplementedError, lambda: xp.ones((2,), device="metal")),
        (IndexError, lambda: xp.expand_dims(x, axis=5)),
        (ValueError, lambda: xp.matrix_transpose(x[0, :])),
        (ValueError, lambda: xp.vecdot(x, x[:, :1])),
        (IndexError, lambda: xp.vecdot(x, x, axis=1)),
        (ValueError, lambda: xp.cumulative_sum(x)),
        (ValueError, lambda: xp.nonzero(x[0, 0])),
        (ValueError, lambda: xp.broadcast_shapes((2,), (3,))),
    ]:
        with pytest.raises(error):
            call()


def test_floor_division_at_zeros_and_infinities() -> None:
    """What the standard says, where PyTorch has NaN or another sign of 0."""
    inf = np.inf
    cases = [
        (inf, 2.0, inf), (inf, -2.0, -inf), (-inf, 2.0, -inf), (2.0, inf, 0.0), (2.0, -inf, -0.0), (-2.0, -inf, 0.0),
        (0.0, -2.0, -0.0), (-0.0, 2.0, -0.0), (1.0, 0.0, inf), (1.0, -0.0, -inf), (inf, inf, np.nan), (5.0, -2.0, -3.0),
    ]  # fmt: skip
    a, b, wanted = (xp.asarray(list(c), dtype=xp.float64) for c in zip(*cases, strict=True))
    for found in (xp.floor_divide(a, b), a // b):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
        np.testing.assert_array_equal(np.signbit(found)[:-2], np.signbit(wanted)[:-2])
    rests = [
        (0.0, -2.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-4.0, 2.0, 0.0),
        (3.0, inf, 3.0),
        (-3.0, inf, inf),
        (inf, 1.0, np.nan),
    ]
    a, b, wanted = (xp.asarray(list(c), dtype=xp.float64) for c in zip(*rests, strict=True))
    for found in (xp.remainder(a, b), a % b):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
        np.testing.assert_array_equal(np.signbit(found)[:-1], np.signbit(wanted)[:-1])
    x = xp.asarray([-0.0, 0.5, -3.0], dtype=xp.float64)
    assert np.signbit(xp.asinh(x))[0]
    assert np.isnan(xp.acosh(x)).all()
    assert not np.signbit(xp.sign(x))[0]


def test_extensions() -> None:
    x = xp.asarray([[2.0, 1.0], [1.0, 3.0]], dtype=xp.float64)
    values, vectors = xp.linalg.eigh(x)
    np.testing.assert_allclose(np.asarray(xp.matmul(x, vectors)), np.asarray(vectors * values), atol=1e-12)
    np.testing.assert_allclose(np.asarray(xp.matmul(x, xp.linalg.solve(x, x))), np.asarray(x), atol=1e-12)
    turn = xp.asarray([[0.0, 1.0], [-1.0, 0.0]])
    values, vectors = xp.linalg.eig(turn)
    assert values.dtype == vectors.dtype == xp.complex64
    np.testing.assert_allclose(np.asarray(turn) @ np.asarray(vectors), np.asarray(vectors * values), atol=1e-6)
    np.testing.assert_allclose(sorted(np.asarray(xp.linalg.eigvals(turn)).imag), [-1, 1], atol=1e-6)
    for found in (xp.meshgrid(x[0, :], x[0, :]), xp.broadcast_arrays(x, x[0, :])):
        assert isinstance(found, tuple)
    assert xp.linalg.trace(x) == 5
    z = xp.fft.rfft(x, axis=-1)
    assert z.dtype == xp.complex128
    assert xp.isdtype(z.dtype, "complex floating")
    np.testing.assert_allclose(np.asarray(xp.fft.irfft(z, n=2)), np.asarray(x), atol=1e-12)
    np.testing.assert_allclose(np.asarray(xp.imag(z)), 0, atol=1e-12)
    assert xp.vecdot(xp.asarray([1j]), xp.asarray([2j])) == 2
    numbers = xp.asarray([1.5 - 2.5j, 0, 0.5j])
    assert xp.round(numbers).tolist() == np.round(numbers.numpy()).tolist()
    assert xp.count_nonzero(numbers) == 2
    assert xp.any(numbers)
    assert not xp.all(numbers)
    assert xp.astype(numbers, xp.bool).tolist() == [True, False, True]
    bytes_ = xp.asarray([200, 100], dtype=xp.uint8)
    assert xp.vecdot(bytes_, bytes_).dtype == xp.sum(bytes_, dtype=xp.uint8).dtype == xp.uint8
    assert xp.sum(bytes_, dtype=xp.uint8) == 44
    assert xp.cumulative_sum(bytes_, dtype=xp.uint8).dtype == xp.prod(bytes_, dtype=xp.uint8).dtype == xp.uint8
    empty = xp.zeros((0, 0))
    assert xp.tensordot(empty, empty, axes=1).shape == (0, 0)
    for name in (*xp.linalg.__all__, *xp.fft.__all__):
        assert (getattr(getattr(xp.linalg, name, getattr(xp.fft, name, None)), "__doc__", None) or "").strip()
