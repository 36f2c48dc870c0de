"""The device `meta`: tensors that have shapes and dtypes and no data, beside PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import DTypeError, UnsupportedError
from heliostat.tensor import lazy

FUNCTIONS: list[Callable[[Any, Any, Any], Any]] = [
    lambda t, x, y: x + 1,
    lambda t, x, y: x @ y,
    lambda t, x, y: (x * 2).sum(-1),
    lambda t, x, y: x.mean(),
    lambda t, x, y: x > 0,
    lambda t, x, y: x.argmax(1),
    lambda t, x, y: x.to(t.float64).t(),
    lambda t, x, y: x[1:, None, ::2],
    lambda t, x, y: t.cat([x, x], 1).reshape(2, -1),
    lambda t, x, y: x.softmax(-1).topk(2).values,
    lambda t, x, y: t.nn.functional.gelu(x).view(12, 2),
    lambda t, x, y: t.zeros_like(x, dtype=t.int64),
    lambda t, x, y: x.new_empty(3, 5),
    lambda t, x, y: x.new_full((2,), 7),
    lambda t, x, y: t.rand_like(x),
    lambda t, x, y: t.randn(2, 3, device="meta", dtype=t.bfloat16),
    lambda t, x, y: t.randint(0, 5, (4,), device="meta"),
    lambda t, x, y: t.arange(7, device="meta") + t.ones((), device="meta"),
    lambda t, x, y: t.full((2, 2), True, device="meta"),
    lambda t, x, y: t.tensor([[1, 2]], device="meta"),
    lambda t, x, y: t.randn(3, dtype=t.complex64, device="meta") * 2,
    lambda t, x, y: x.clone().uniform_().normal_(),
    lambda t, x, y: x * t.tensor(2.0),
]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_functions_have_shapes_and_dtypes(f: Callable[[Any, Any, Any], Any]) -> None:
    ours = f(hs, hs.empty(4, 6, device="meta"), hs.empty(6, 3, device="meta"))
    theirs = f(torch, torch.empty(4, 6, device="meta"), torch.empty(6, 3, device="meta"))
    assert ours.is_meta
    assert theirs.is_meta
    assert ours.device == hs.device("meta")
    assert str(ours.device) == "meta"
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.dtype == hs.tensor([], dtype=str(theirs.dtype)).dtype


READERS: list[Callable[[Any, Any], Any]] = [
    lambda t, x: x.to("cpu"),
    lambda t, x: x.cpu(),
    lambda t, x: x.sum().item(),
    lambda t, x: bool(x.sum()),
    lambda t, x: x.tolist(),
    lambda t, x: x.numpy(),
    lambda t, x: x.nonzero(),
    lambda t, x: t.ones(4, 6).copy_(x),
    lambda t, x: t.nn.Linear(2, 2, device="meta").to("cpu"),
    lambda t, x: x + t.ones(4, 6),
]


@pytest.mark.parametrize("f", READERS)
def test_reading_is_refused(f: Callable[[Any, Any], Any]) -> None:
    with pytest.raises((RuntimeError, TypeError)):  # PyTorch's numpy(): TypeError
        f(torch, torch.ones(4, 6, device="meta"))
    opened = hs.ones(3) * 5  # what is open beside it is computed all the same
    with pytest.raises(RuntimeError, match="meta"):
        f(hs, hs.ones(4, 6, device="meta"))
    assert opened.tolist() == [5.0] * 3


def test_no_memory_is_taken() -> None:
    x = hs.ones(10**6, 10**6, device="meta")
    assert (x @ x).shape == (10**6, 10**6)
    assert x.nbytes == 4 * 10**12
    with hs.device("meta"):
        layer = nn.Linear(10**6, 10**6)
    assert layer.weight.is_meta
    assert layer(hs.ones(1, 10**6, device="meta")).shape == (1, 10**6)


def test_graphs_do_not_grow() -> None:
    x = hs.ones(2, device="meta")
    for _ in range(30):
        x = x * 2 + 1
        lazy.flush()
    assert not x._v.node.inputs


def test_initial_values_draw_nothing() -> None:
    hs.manual_seed(3)
    expected = hs.rand(3).tolist()
    hs.manual_seed(3)
    w = hs.empty(4, 4, device="meta")
    for f in (nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.orthogonal_, nn.init.kaiming_normal_):
        assert f(w) is w
    nn.init.sparse_(w, 0.5), nn.init.eye_(w), nn.init.ones_(w), w.random_()
    hs.rand(2, 2, device="meta"), hs.randn(3, device="meta"), hs.randint(3, (2,), device="meta")
    nn.Linear(3, 3, device="meta")
    assert hs.rand(3).tolist() == expected


def test_modules_get_values_later() -> None:
    with hs.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 2))
    there = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 2))
    x = hs.randn(5, 3)
    assert all(t.is_meta for t in model.state_dict().values())
    assert all(p.requires_grad for p in model.parameters())
    assert copy.deepcopy(model)[0].weight.is_meta
    with pytest.warns(UserWarning, match="which is a no-op. .Did you mean to pass `assign=True`"):
        model.load_state_dict(there.state_dict())
    assert model[0].weight.is_meta
    model.load_state_dict(there.state_dict(), assign=True)
    assert isinstance(model[0].weight, nn.Parameter)
    assert model[0].weight.requires_grad
    np.testing.assert_array_equal(model(x).detach().numpy(), there(x).detach().numpy())
    model(x).sum().backward()
    assert model[0].weight.grad is not None

    with hs.device("meta"):
        other = nn.Linear(3, 4)
    kept = other.weight
    assert other.to_empty(device="cpu") is other
    assert other.weight is kept
    assert kept.device == hs.device("cpu")
    assert kept.requires_grad
    other.load_state_dict(there[0].state_dict())
    np.testing.assert_array_equal(other(x).detach().numpy(), there[0](x).detach().numpy())
    with hs.device("meta"):
        one = nn.Linear(3, 4)
    for name, value in there[0].state_dict().items():
        setattr(one, name, nn.Parameter(value))
    np.testing.assert_array_equal(one(x).detach().numpy(), there[0](x).detach().numpy())
    assert there.to("meta")[0].weight.is_meta


def test_steps_of_training() -> None:
    model = nn.Linear(3, 2, device="meta")
    optimizer = hs.optim.AdamW(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(hs.ones(4, 3, device="meta")).square().mean().backward()
        assert model.weight.grad is not None
        assert model.weight.grad.is_meta
        optimizer.step()
    assert model.weight.is_meta
    assert model.weight.shape == (2, 3)


def test_text_and_what_is_refused() -> None:
    for ours, theirs in (
        (hs.ones(2, 3, device="meta"), torch.ones(2, 3, device="meta")),
        (hs.ones(2, device="meta", dtype=hs.float64), torch.ones(2, device="meta", dtype=torch.float64)),
        (hs.ones(2, device="meta", requires_grad=True), torch.ones(2, device="meta", requires_grad=True)),
    ):
        assert set(repr(ours)[7:-1].split(", ")) >= {"...", "device='meta'"}
        assert "size=(2" in repr(ours)
        assert "size=(2" in repr(theirs)
    assert repr(hs.device("meta")) == repr(torch.device("meta"))
    assert hs.device("meta") == "meta"
    assert hs.ones(2, device="meta").data_ptr() == torch.ones(2, device="meta").data_ptr() == 0
    with pytest.raises(UnsupportedError, match="no program runs on the device 'meta'"):
        hs.compile(nn.Linear(2, 2, device="meta"))(hs.ones(1, 2, device="meta"))
    with pytest.raises(DTypeError, match="a GPU is needed, found meta"):
        hs.cuda.synchronize("meta")
