"""The names of the package, printing, copies, and random numbers."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import heliostat as hs
from heliostat import tensor as room
from heliostat.diagnostics import DTypeError, ShapeError

from .compare import torch


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import heliostat; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [n for n in done.stdout.split() if not n.startswith("_")] == ["heliostat"]


def test_names() -> None:
    for name in ("float32", "int64", "bfloat16", "bool", "Tensor", "no_grad", "enable_grad", "inference_mode", "Size"):
        assert getattr(hs, name) is room.PUBLIC[name]
    for name in room.FUNCTIONS:
        assert callable(getattr(hs, name))
        assert name in dir(hs)
    assert hs.device("cpu") == hs.zeros(1).device
    assert isinstance(hs.zeros(1), hs.Tensor)
    assert callable(hs.tensor)
    assert hs.tensor.Tensor is hs.Tensor
    for name in ("nowhere", "_private"):
        with pytest.raises(AttributeError, match="no attribute"):
            getattr(hs, name)


def test_every_function_says_what_it_does() -> None:
    silent = [name for name, f in room.FUNCTIONS.items() if not (f.__doc__ or "").strip()]
    assert silent == []


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (lambda: hs.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: hs.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
        (lambda: hs.tensor(3.0), "tensor(3.)"),
        (lambda: hs.ones(2, dtype=hs.float64), "tensor([1., 1.], dtype=float64)"),
        (lambda: hs.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
        (lambda: hs.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
        (lambda: hs.tensor([True]), "tensor([True])"),
    ],
)
def test_printing(x: object, text: str) -> None:
    assert repr(x()) == text  # type: ignore[operator]


def test_conversions() -> None:
    x = hs.tensor([[1.5]])
    assert (x.item(), float(x), int(x), bool(x), f"{x.item():.2f}") == (1.5, 1.5, 1, True, "1.50")
    assert [1, 2, 3][hs.tensor(1)] == 2
    with pytest.raises(ShapeError, match="one element"):
        hs.ones(2).item()
    with pytest.raises(DTypeError, match="integers"):
        [1, 2][hs.tensor(1.0)]
    with pytest.raises(TypeError, match="no length"):
        len(hs.tensor(1.0))
    a = np.asarray(hs.arange(3))
    assert a.tolist() == [0, 1, 2]
    assert (np.float32(2) * hs.ones(2)).tolist() == [2, 2]
    assert (np.ones(2) + hs.ones(2, dtype=hs.float64)).tolist() == [2, 2]
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1


def test_copies() -> None:
    w = hs.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    for made in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert made.tolist() == w.tolist()
        assert made.requires_grad
        assert made.is_leaf
        with hs.no_grad():
            made.add_(1)
        assert w.tolist() == [1, 2]
    assert copy.deepcopy(w).grad.tolist() == [2, 4]


# --- random numbers ---------------------------------------------------------------------------------------------------
def test_a_seed_gives_the_same_numbers() -> None:
    def draw() -> list[object]:
        return [hs.rand(3).tolist(), hs.randn(2, 2).tolist(), hs.randint(9, (4,)).tolist(), hs.randperm(5).tolist()]

    hs.manual_seed(4)
    first = draw()
    second = draw()
    hs.manual_seed(4)
    assert draw() == first
    assert second != first
    g = hs.Generator().manual_seed(4)
    assert hs.rand(3, generator=g).tolist() == first[0]
    state = g.get_state()
    a = hs.rand(3, generator=g).tolist()
    assert hs.rand(3, generator=g).tolist() != a
    g.set_state(state)
    assert hs.rand(3, generator=g).tolist() == a


def test_moments() -> None:
    hs.manual_seed(0)
    n = 40_000
    u, z = hs.rand(n).numpy(), hs.randn(n).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(u.var() - 1 / 12) < 0.005
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.02
    assert len(np.unique(u)) > 0.95 * n
    k = hs.randint(-3, 4, (n,)).numpy()
    assert sorted(np.unique(k)) == list(range(-3, 4))
    assert sorted(hs.randperm(50).tolist()) == list(range(50))
    assert sorted(hs.randperm(256, dtype=hs.uint8).tolist()) == list(range(256))
    for many, dtype in ((257, hs.uint8), (129, hs.int8), (2050, hs.float16), (258, hs.bfloat16)):
        with pytest.raises(ValueError, match="holds whole numbers"):
            hs.randperm(many, dtype=dtype)
    b = hs.bernoulli(hs.full((n,), 0.3)).numpy()
    assert abs(b.mean() - 0.3) < 0.01
    m = hs.multinomial(hs.tensor([1.0, 3.0, 0.0]), n, replacement=True).numpy()
    assert abs((m == 1).mean() - 0.75) < 0.01
    assert m.max() == 1
    e = hs.zeros(n).exponential_(2.0).numpy()
    assert abs(e.mean() - 0.5) < 0.02
    v = hs.zeros(n).uniform_(-2, 2).numpy()
    assert abs(v.mean()) < 0.05
    assert hs.zeros(n).normal_(3, 2).mean().item() == pytest.approx(3, abs=0.05)


def test_random_dtypes_and_errors() -> None:
    for dtype in (hs.float64, hs.float32, hs.float16, hs.bfloat16):
        x = hs.rand(500, dtype=dtype)
        assert x.dtype == dtype
        assert x.max().item() < 1
    with pytest.raises(DTypeError, match="float"):
        hs.rand(2, dtype=hs.int64)
    with pytest.raises(ShapeError, match="randint"):
        hs.randint(3, 3, (2,))
    with pytest.raises(ShapeError, match="weights"):
        hs.multinomial(hs.zeros(3), 1)


def test_types_by_their_old_names() -> None:
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        mine, theirs = hs.zeros(1, dtype=getattr(hs, name)), torch.zeros(1, dtype=getattr(torch, name))
        assert mine.type() == theirs.type()
        assert hs.ones(1).type(theirs.type()).dtype == mine.dtype
    assert hs.zeros(1, dtype=hs.complex64).type() == torch.zeros(1, dtype=torch.complex64).type()
    with pytest.raises(DTypeError, match="no dtype"):
        hs.ones(1).type("torch.NoTensor")
    assert (hs.pi, hs.e, hs.inf, hs.newaxis) == (torch.pi, torch.e, torch.inf, torch.newaxis)
    assert not hs.ones(1).is_mps
    assert not hs.ones(1).is_xpu
