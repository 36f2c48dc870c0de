"""Every differentiable function of the namespace, against torch.func in float64: its derivative forward, vmap of it,
and vmap of its gradient. A new function is taken up by being there."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import heliostat as hs
from heliostat import func
from heliostat import tensor as room

from .compare import same, torch
from .patterns import ONLY, PATTERNS, X, Y, Z

# What has no derivative, no value of its own (views of shapes, copies of state), or other results than PyTorch's.
OTHER = {
    "bernoulli", "poisson", "normal", "multinomial", "rand_like", "randn_like", "randint_like",  # random
    "empty", "empty_like", "full_like", "ones_like", "zeros_like", "tensor", "as_tensor", "asarray", "scalar_tensor",
    "from_numpy", "frombuffer", "from_dlpack", "masked_select", "detach", "histc", "unique", "unique_consecutive",
    "cholesky_inverse", "cholesky_solve",  # PyTorch sends gradients to the other triangle too
    "dequantize",  # rounds to float32, which differences of float64 numbers do not bear
    "floor_divide", "heaviside", "nextafter",  # PyTorch says that the result requires grad, and then refuses
    "geqrf", "histogram", "histogramdd", "igamma", "igammac",  # without gradients, or of the second operand
    "lobpcg", "pca_lowrank", "svd_lowrank",  # random, or in PyTorch
    "triangular_solve",  # PyTorch's forward mode reads the other triangle too
    "combinations", "corrcoef", "nanquantile", "save", "numel", "cartesian_prod", "block_diag", "matrix_rank",
}  # fmt: skip


def _float(y: Any) -> list[Any]:
    found = y if isinstance(y, tuple | list) else [y]
    return [t for t in found if isinstance(t, hs.Tensor | torch.Tensor) and (t.is_floating_point())]


def _number(pattern: Any, f: Any, m: Any, *given: Any) -> Any:
    parts = _float(pattern(f, m, *given))
    return sum((t * (t.detach() + 1)).sum() if t.ndim else t * (t.detach() + 1) for t in parts)


def _cases() -> list[Any]:
    found = []
    for name in sorted(room.FUNCTIONS):
        theirs = getattr(torch, name, None)
        if name in OTHER or theirs is None or name.endswith("_window"):
            continue
        for title, pattern in PATTERNS.items():
            if (title in ONLY and name not in ONLY[title]) or (title not in ONLY and name in ("einsum", "cholesky")):
                continue
            x, y, z = (torch.tensor(a[0], requires_grad=True) for a in (X, Y, Z))
            try:
                parts = _float(pattern(theirs, torch, x, y, z))
            except Exception:  # another way of calling it
                continue
            if parts and any(p.requires_grad for p in parts):
                found.append(pytest.param(name, title, id=name))
                break
    return found


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = _cases()


def test_the_sweep_finds_them() -> None:
    assert len(CASES) > 200


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "title"), CASES)
def test_transforms(name: str, title: str) -> None:
    pattern, ours, theirs = PATTERNS[title], room.FUNCTIONS[name], getattr(torch, name)
    a, b = [hs.tensor(t) for t in (X, Y, Z)], [torch.tensor(t) for t in (X, Y, Z)]
    first, second = [t[0] for t in a], [t[0] for t in b]

    def values(f: Any, m: Any) -> Any:
        return lambda *given: tuple(_float(pattern(f, m, *given)))

    # All three are asked for before any is read: they are one program, and its compilation is what a case costs.
    found = func.jvp(values(ours, hs), tuple(first), tuple(t[1] for t in a))
    batched = func.vmap(values(ours, hs))(*a)
    gradients = func.vmap(func.grad(lambda *g: _number(pattern, ours, hs, *g), argnums=(0, 1, 2)))(*a)
    try:
        expected = torch.func.jvp(values(theirs, torch), tuple(second), tuple(t[1] for t in b))
    except (NotImplementedError, RuntimeError):  # no forward mode there: differences of the function itself
        step = 1e-6
        sides = [values(theirs, torch)(*(p + s * t[1] for p, t in zip(second, b, strict=True))) for s in (step, -step)]
        slopes = tuple((p - q) / (2 * step) for p, q in zip(*sides, strict=True))
        same(found[1], slopes, 1e-5)
    else:
        same(found[1], expected[1])
    single = [values(theirs, torch)(*(t[n] for t in b)) for n in range(2)]
    same(batched, tuple(map(torch.stack, zip(*single, strict=True))))
    rows = [
        torch.func.grad(lambda *g: _number(pattern, theirs, torch, *g), argnums=(0, 1, 2))(*(t[n] for t in b))
        for n in range(2)
    ]
    same(gradients, tuple(map(torch.stack, zip(*rows, strict=True))))
