"""Runs one function on our tensors and on PyTorch's, and compares shapes, dtypes, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.tensor.printing import long_name

torch = pytest.importorskip("torch")

TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "complex128": 1e-9, "complex64": 2e-5, "float16": 4e-3, "bfloat16": 2e-2}


def ours(array: Any, grad: bool = False) -> Any:
    """A tensor of an array; of bf16 where the array is a PyTorch tensor of it."""
    if isinstance(array, torch.Tensor):
        made = hs.tensor(array.float().numpy(), dtype=hs.bfloat16) if array.dtype == torch.bfloat16 else None
        made = hs.tensor(array.numpy()) if made is None else made
    else:
        made = hs.tensor(array)
    return made.requires_grad_(True) if grad and made.dtype.kind in "fc" else made


def theirs(array: Any, grad: bool = False) -> Any:
    made = array.clone() if isinstance(array, torch.Tensor) else torch.tensor(array)
    return made.requires_grad_(True) if grad and (made.is_floating_point() or made.is_complex()) else made


def same(found: Any, expected: Any, rtol: float | None = None, what: str = "result") -> None:
    """Both are tensors, numbers, or sequences of them, of equal shapes, dtypes and nearly equal values."""
    if isinstance(expected, tuple | list) and not isinstance(expected, torch.Size):
        assert len(found) == len(expected), what
        for n, (a, b) in enumerate(zip(found, expected, strict=True)):
            same(a, b, rtol, f"{what}[{n}]")
        return
    if not isinstance(expected, torch.Tensor):
        assert found == expected, what
        return
    dtype = str(expected.dtype).removeprefix("torch.")
    assert tuple(found.shape) == tuple(expected.shape), f"{what}: shape"
    assert long_name(found.dtype) == dtype, f"{what}: {found.dtype} is not {dtype}"
    b = expected.detach()
    b = b.float() if b.dtype == torch.bfloat16 else b
    a, c = found.detach().numpy(), b.numpy(force=True)
    bound = TOLERANCE.get(dtype) if rtol is None else rtol
    if bound is None:
        np.testing.assert_array_equal(a, c, err_msg=what)
    else:
        np.testing.assert_allclose(a, c, rtol=bound, atol=bound, equal_nan=True, err_msg=what)


def check(f: Callable[..., Any], *arrays: Any, grad: bool = False, rtol: float | None = None) -> None:
    """f(module, *tensors) of both libraries; with `grad` the gradients of all float arrays, under a random seed too."""
    xs, ys = [ours(a, grad) for a in arrays], [theirs(a, grad) for a in arrays]
    found, expected = f(hs, *xs), f(torch, *ys)
    same(found, expected, rtol)
    if not grad:
        return
    some = expected if isinstance(expected, tuple | list) else [expected]
    made = found if isinstance(expected, tuple | list) else [found]
    rng = np.random.default_rng(3)
    total, wanted = 0, 0
    for a, b in zip(made, some, strict=True):
        assert a.requires_grad == b.requires_grad
        if b.requires_grad:
            seed = rng.standard_normal(tuple(b.shape)).astype(np.float64)
            a, b = a * hs.tensor(seed, dtype=a.dtype), b * torch.tensor(seed, dtype=b.dtype)
            if b.is_complex():  # a loss is real; 0.5 makes the parts count differently
                a, b = a.real + 0.5 * a.imag, b.real + 0.5 * b.imag
            total, wanted = total + a.sum(), wanted + b.sum()
    total.backward()
    wanted.backward()
    for n, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if x.grad is None:  # what has no influence
            assert y.grad is None or not y.grad.any(), f"gradient {n}"
        else:
            same(x.grad, y.grad, rtol, f"gradient {n}")


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0, dtype: Any = np.float64) -> Any:
    """Random numbers, none near a half or whole number, where functions may have a corner."""
    x = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    near = np.abs(x * 2 - np.rint(x * 2)) < 0.02
    return np.where(near, x + 0.04 * (x < (low + high) / 2) + -0.04 * (x >= (low + high) / 2), x).astype(dtype)


def integers(*shape: int, seed: int = 0, low: int = -9, high: int = 9, dtype: Any = np.int64) -> Any:
    return np.random.default_rng([seed, *shape]).integers(low, high + 1, shape).astype(dtype)


def bools(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).random(shape) < 0.5
