"""In-place functions against PyTorch, and what may not be written in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, GradientError, ShapeError

from .compare import check, floats, integers, torch

CHANGES: dict[str, Any] = {
    "add_": lambda x, y: x.add_(y), "sub_": lambda x, y: x.sub_(y, alpha=2), "mul_": lambda x, y: x.mul_(y),
    "div_": lambda x, y: x.div_(y), "number": lambda x, y: x.add_(3).mul_(2), "exp_": lambda x, y: x.exp_(),
    "sqrt_": lambda x, y: x.abs_().sqrt_(), "tanh_": lambda x, y: x.tanh_(), "relu_": lambda x, y: x.relu_(),
    "sigmoid_": lambda x, y: x.sigmoid_(), "neg_": lambda x, y: x.neg_(), "clamp_": lambda x, y: x.clamp_(-0.5, 0.5),
    "pow_": lambda x, y: x.pow_(2), "fill_": lambda x, y: x.fill_(2.5), "zero_": lambda x, y: x.zero_(),
    "copy_": lambda x, y: x.copy_(y), "copy_ row": lambda x, y: x.copy_(y[0]), "lerp_": lambda x, y: x.lerp_(y, 0.3),
    "addcmul_": lambda x, y: x.addcmul_(y, y, value=2), "addcdiv_": lambda x, y: x.addcdiv_(y, y * y + 1),
    "masked_fill_": lambda x, y: x.masked_fill_(y > 0, 1.0), "round_": lambda x, y: x.round_(),
    "floor_": lambda x, y: x.floor_(), "cumsum_": lambda x, y: x.cumsum_(0), "tril_": lambda x, y: x.tril_(),
    "iadd": lambda x, y: x.__iadd__(y), "imul": lambda x, y: x.__imul__(y), "itruediv": lambda x, y: x.__itruediv__(y),
    "own": lambda x, y: x.mul_(x), "own row": lambda x, y: x.add_(x[0].clone()),
    "twice": lambda x, y: x.mul_(y).add_(y).mul_(x),
    "addmm_": lambda x, y: x.addmm_(y, y), "transposed": lambda x, y: x.t().add_(y),
    "diagonal": lambda x, y: x.fill_diagonal_(0.0),
    "index_add_": lambda x, y: x.index_add_(0, index(x, 1, 0), y[:2]), "unsqueeze_": lambda x, y: x.unsqueeze_(0),
    "scatter_": lambda x, y: x.scatter_(1, index(x, [0], [2], [1]), 9.0), "t_": lambda x, y: x.t_(),
    "index_fill_": lambda x, y: x.index_fill_(1, index(x, 0, 2), 5.0),
    "squeeze_": lambda x, y: x.unsqueeze_(1).squeeze_(1),
}  # fmt: skip


def index(x: Any, *numbers: Any) -> Any:
    return x.new_tensor(list(numbers)).long()


@pytest.mark.parametrize("name", CHANGES)
def test_changes(name: str) -> None:
    def run(m: Any, x: Any, y: Any) -> Any:
        z = x * 1
        made = CHANGES[name](z, y)
        assert made is z or name == "transposed"
        return [z, z * z]

    check(run, floats(3, 3), floats(3, 3, seed=1), grad=name not in ("own", "twice"))  # PyTorch refuses these
    check(run, floats(3, 3, dtype=np.float32), floats(3, 3, seed=1, dtype=np.float32))


def test_changes_of_integers() -> None:
    def run(m: Any, x: Any) -> Any:
        x = x.clone()
        x += 2
        x *= 3
        x //= 2
        x &= 0xFF
        x |= 1
        x ^= 4
        x <<= 1
        x >>= 2
        x %= 7
        return x

    check(run, integers(20, low=0, high=50))


def test_versions_count_changes_of_a_tensor_and_its_views() -> None:
    x = hs.zeros(3, 2)
    assert x._version == 0
    x.add_(1)
    v = x[0]
    v.mul_(2)
    x[1] = 5.0
    assert x._version == 3
    assert x.tolist() == [[2, 2], [5, 5], [1, 1]]
    assert v.tolist() == [2, 2]


def test_what_cannot_be_written() -> None:
    x = hs.zeros(2, 3, dtype=hs.int64)
    with pytest.raises(DTypeError, match="cannot be written"):
        x.add_(0.5)
    with pytest.raises(DTypeError, match="cannot be written"):
        x.bool().add_(x)
    with pytest.raises(ShapeError, match="in place"):
        hs.zeros(3).add_(hs.zeros(2, 3))
    with pytest.raises(GradientError, match="leaf"):
        hs.zeros(3, requires_grad=True).add_(1)
    assert x.sum().item() == 0


def test_a_short_dtype_stays() -> None:
    x = hs.zeros(2, dtype=hs.float16)
    x += hs.ones(2, dtype=hs.float64)
    assert x.dtype == hs.float16
    assert x.tolist() == [1, 1]


def test_writing_to_data_and_to_detached_tensors_writes_to_the_tensor() -> None:
    def run(m: Any, x: Any) -> Any:
        w = (x * 1).detach().requires_grad_()
        y = (w * 2).sum()
        w.data.mul_(3)
        w.data[0] = 7.0
        w.detach().sub_(1)
        w.data -= 0.5
        y.backward()
        return [w.detach(), w.grad]

    check(run, floats(3, 2))


def test_replaced_data() -> None:
    w = hs.zeros(2, requires_grad=True)
    w.data = hs.ones(2)
    assert w.tolist() == [1, 1]
    assert w.requires_grad
    (w * 2).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2, 2]


def test_shapes_that_change_in_place_leave_other_views_what_they_are() -> None:
    def call(m: Any, x: Any) -> Any:
        a = x * 1
        rows, column, flat = a.t(), a[:, 1], a.reshape(-1)
        a.t_()
        a[0].add_(10)
        late = a[1:]
        a.unsqueeze_(0).squeeze_(0).transpose_(0, 1)
        rows.mul_(2)
        column.sub_(1)
        late.fill_(3)
        flat[-1] = 8
        b = x[None] * 1
        inner, part = b.squeeze(0), b[0, 0]
        inner.unsqueeze_(-1)
        b.squeeze_()
        inner.neg_()
        part += 1
        return [a, rows, column, flat, late, b, inner, part]

    check(call, floats(3, 3), grad=True)
    check(call, floats(3, 3) + 1j)


def test_axes_of_one_element_move_without_a_copy() -> None:
    def call(m: Any, x: Any) -> Any:
        y = x * 1
        z = y.movedim(2, 0)
        z.reshape(-1)[0] = 9
        y.transpose(0, 2).flatten(1)[0, 2] = 7
        assert z.is_contiguous()
        return [y, z]

    check(call, floats(3, 4, 1))


VIEWS: dict[str, Callable[[Any, Any], Any]] = {
    "diagonal": lambda m, x: x.diagonal(1, 1, 2), "main diagonal": lambda m, x: x[0].diagonal(),
    "conj": lambda m, x: x.conj(), "adjoint": lambda m, x: x.adjoint(), "H": lambda m, x: x[0].H,
    "mH": lambda m, x: x.mH, "imag": lambda m, x: x.imag, "pieces": lambda m, x: m.hsplit(x, 3)[1],
    "rows": lambda m, x: x.vsplit(2)[1], "depth": lambda m, x: x.dsplit([1])[0],
    "atleast": lambda m, x: m.atleast_3d(x[0])[:, :1], "conj of a part": lambda m, x: x[:, 1:].conj()[0].imag,
    "part of a conj": lambda m, x: x.conj().transpose(0, 1)[1:].real,
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_complex_views_write_through(name: str) -> None:
    def call(m: Any, x: Any) -> Any:
        y = x * 1
        v = VIEWS[name](m, y)
        v.mul_(2)
        w = VIEWS[name](m, y).clone()
        y.add_(1)
        return [y, v.resolve_conj() * 1, w]

    check(call, floats(2, 3, 4) + 1j * floats(2, 3, 4, seed=1), grad=True)


def test_detached_leaves() -> None:
    for m in (hs, torch):
        x = m.ones(2, requires_grad=True)
        assert x.detach_() is x
        assert not (x * 2).requires_grad
