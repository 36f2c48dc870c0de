"""Runs one module or function of ours and of PyTorch's with the same weights, and compares all that can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn

torch = pytest.importorskip("torch")

ATOL, RTOL = 1e-5, 1e-4


def values(shape: tuple[int, ...], seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    """Random f32 numbers, none near a multiple of a half, where functions may have a corner."""
    x = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    near = np.abs(x * 2 - np.rint(x * 2)) < 0.04
    return np.where(near, x + 0.05, x).astype(np.float32)


def array_of(spec: Any, seed: int) -> Any:
    """An argument of a table: a shape is random floats, with a gradient as what a function gives; arrays have none."""
    if isinstance(spec, tuple) and all(isinstance(s, int) for s in spec):
        return values(spec, seed)
    return spec() if callable(spec) else spec


def ours(a: Any, grad: bool = True) -> Any:
    if isinstance(a, list | tuple):
        return type(a)(ours(x, grad) for x in a)
    if not isinstance(a, np.ndarray):
        return a
    made = hs.tensor(a)
    return made.requires_grad_(True) if grad and made.dtype.is_float else made


def theirs(a: Any, grad: bool = True) -> Any:
    if isinstance(a, list | tuple):
        return type(a)(theirs(x, grad) for x in a)
    if not isinstance(a, np.ndarray):
        return a
    made = torch.tensor(a)
    return made.requires_grad_(True) if grad and made.is_floating_point() else made


def flat(x: Any) -> list[Any]:
    if isinstance(x, list | tuple):
        return [t for e in x for t in flat(e)]
    return [x]


def close(found: Any, expected: Any, what: str, atol: float = ATOL, rtol: float = RTOL) -> None:
    a, b = flat(found), flat(expected)
    assert len(a) == len(b), what
    for n, (x, y) in enumerate(zip(a, b, strict=True)):
        if y is None:
            assert x is None, f"{what} {n}"
            continue
        if not isinstance(y, torch.Tensor):
            assert x == y, f"{what} {n}"
            continue
        assert tuple(x.shape) == tuple(y.shape), f"{what} {n}: shape {tuple(x.shape)} is not {tuple(y.shape)}"
        assert str(y.dtype).removeprefix("torch.") == hs.tensor(np.zeros(1)).to(x.dtype).numpy().dtype.name, what
        np.testing.assert_allclose(
            x.detach().numpy(), y.detach().numpy(), atol=atol, rtol=rtol, equal_nan=True, err_msg=f"{what} {n}"
        )


def backward(found: Any, expected: Any) -> bool:
    """Gradients of both under the same random weights; whether there are any."""
    total, wanted = None, None
    for n, (x, y) in enumerate(zip(flat(found), flat(expected), strict=True)):
        if not isinstance(y, torch.Tensor):
            continue
        assert x.requires_grad == y.requires_grad, f"result {n} requires grad: {x.requires_grad}"
        if y.requires_grad:
            seed = values(tuple(y.shape), 99)
            a, b = (x * hs.tensor(seed)).sum(), (y * torch.tensor(seed)).sum()
            total, wanted = (a, b) if total is None else (total + a, wanted + b)
    if total is None:
        return False
    total.backward()
    wanted.backward()
    return True


def compare_functions(f: Any, g: Any, *arrays: Any, atol: float = ATOL, rtol: float = RTOL) -> None:
    """f of our tensors and g of PyTorch's: results, and gradients of all float arrays."""
    a, b = [ours(x) for x in arrays], [theirs(x) for x in arrays]
    found, expected = f(*a), g(*b)
    close(found, expected, "result", atol, rtol)
    if backward(found, expected):
        for n, (x, y) in enumerate(zip(flat(a), flat(b), strict=True)):
            if isinstance(y, torch.Tensor) and y.is_floating_point():
                close(x.grad, y.grad, f"gradient {n}", atol, rtol)


def copy_state(module: Any, other: Any) -> None:
    """Random numbers for all parameters of PyTorch's module, copied into ours; names and order must be equal."""
    with torch.no_grad():
        for n, p in enumerate(other.parameters()):
            p.copy_(torch.tensor(values(tuple(p.shape), 50 + n, -0.7, 0.7)))
    state = other.state_dict()
    mine = module.state_dict()
    assert list(mine) == list(state)
    assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in state.values()]
    module.load_state_dict({k: hs.tensor(v.numpy()) for k, v in state.items()})
    assert [n for n, _ in module.named_parameters()] == [n for n, _ in other.named_parameters()]


def compare_modules(
    name: str, args: Any, inputs: Any, *, kwargs: Any = None, train: bool = True, steps: int = 1, call: Any = None,
    atol: float = ATOL, rtol: float = RTOL,
) -> None:  # fmt: skip
    """A module by name, made with the same arguments: text, state, results, gradients, and buffers afterwards."""
    kwargs = kwargs or {}
    if callable(kwargs):
        module = getattr(nn, name)(*ours(args, False), **kwargs(nn, hs))
        other = getattr(torch.nn, name)(*theirs(args, False), **kwargs(torch.nn, torch))
    else:
        module = getattr(nn, name)(*ours(args, False), **{k: ours(v, False) for k, v in kwargs.items()})
        other = getattr(torch.nn, name)(*theirs(args, False), **{k: theirs(v, False) for k, v in kwargs.items()})
    copy_state(module, other)
    assert repr(module) == repr(other)
    module.train(train)
    other.train(train)
    call = call or {}
    for step in range(steps):
        arrays = [array_of(s, 10 * step + n) for n, s in enumerate(inputs)]
        grads = [not isinstance(s, np.ndarray) for s in inputs]
        a = [ours(x, g) for x, g in zip(arrays, grads, strict=True)]
        b = [theirs(x, g) for x, g in zip(arrays, grads, strict=True)]
        found = module(*a, **{k: ours(v, False) for k, v in call.items()})
        expected = other(*b, **{k: theirs(v, False) for k, v in call.items()})
        close(found, expected, "result", atol, rtol)
        if backward(found, expected):
            for n, (x, y) in enumerate(zip(flat(a), flat(b), strict=True)):
                if isinstance(y, torch.Tensor) and y.requires_grad:
                    close(x.grad, y.grad, f"gradient of input {n}", atol, rtol)
            for (key, p), q in zip(module.named_parameters(), other.parameters(), strict=True):
                close(p.grad, q.grad, f"gradient of {key}", atol, rtol)
    for (key, p), q in zip(module.state_dict().items(), other.state_dict().values(), strict=True):
        close(p, q, f"{key} afterwards", atol, rtol)
