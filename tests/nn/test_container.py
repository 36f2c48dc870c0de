"""Containers and lazy modules against PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn

from .sweep import torch


def same(f: Any) -> None:
    assert f(nn, hs) == f(torch.nn, torch)


def test_sequential() -> None:
    def run(m: Any, _: Any) -> Any:
        s = m.Sequential(OrderedDict([("a", m.Linear(2, 3)), ("b", m.ReLU()), ("c", m.Linear(3, 1))]))
        t = m.Sequential(m.ReLU(), m.Tanh(), m.GELU())
        texts = [repr(s), repr(s[1:]), repr(s[-1]), repr(t + m.Sequential(m.Identity())), repr(t * 2)]
        t.append(m.Softplus()).insert(1, m.Sigmoid())
        texts += [repr(t), repr(t.pop(0)), repr(t), len(t)]
        t[0] = m.Mish()
        del t[1]
        return [*texts, repr(t), list(s.state_dict())]

    same(run)
    with pytest.raises(IndexError, match="out of range"):
        nn.Sequential(nn.ReLU())[1]


def test_module_list_and_dict() -> None:
    def run(m: Any, _: Any) -> Any:
        a = m.ModuleList([m.Linear(2, 2), m.Linear(2, 2), m.ReLU()])
        a.extend([m.ReLU()]).append(m.Linear(2, 3))
        a.insert(0, m.Tanh())
        texts = [repr(a), repr(a[1:3]), len(a), list(a.state_dict())]
        a.pop(0)
        del a[0]
        texts += [repr(a), list(a.state_dict()), repr(m.ModuleList())]
        d = m.ModuleDict({"x": m.Linear(1, 2), "y": m.ReLU()})
        d["z"] = m.Tanh()
        d.pop("x")
        d.update([["w", m.GELU()]])
        return [*texts, repr(d), list(d), list(d.keys()), "y" in d, len(d)]

    same(run)


def test_parameter_list_and_dict() -> None:
    def run(m: Any, t: Any) -> Any:
        a = m.ParameterList([t.zeros(2, 3), m.Parameter(t.ones(1))])
        a.append(t.zeros(4))
        d = m.ParameterDict({"b": t.zeros(2), "a": m.Parameter(t.ones(1))})
        d["c"] = t.zeros(3)
        names = [list(a.state_dict()), len(a), list(d.state_dict()), list(d), d.pop("a") is not None, len(d)]
        text = (repr(a) + repr(d)).replace("torch.FloatTensor", "heliostat.float32").replace("torch.", "heliostat.")
        return [*names, text]

    same(run)


LAZY: list[tuple[str, Any, str, tuple[int, ...]]] = [
    ("LazyLinear", (4,), "Linear", (2, 3)),
    *[(f"LazyConv{k}d", (4, 2), f"Conv{k}d", (1, 3, *[4] * k)) for k in (1, 2, 3)],
    *[(f"LazyConvTranspose{k}d", (4, 2), f"ConvTranspose{k}d", (1, 3, *[4] * k)) for k in (1, 2, 3)],
    *[(f"LazyBatchNorm{k}d", (), f"BatchNorm{k}d", (2, 3, *[4] * k)) for k in (1, 2, 3)],
    *[(f"LazyInstanceNorm{k}d", (), f"InstanceNorm{k}d", (2, 3, *[4] * k)) for k in (1, 2, 3)],
]


@pytest.mark.parametrize(("name", "args", "becomes", "shape"), LAZY, ids=str)
def test_lazy_modules(name: str, args: Any, becomes: str, shape: Any) -> None:
    module, other = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert list(module.state_dict()) == list(other.state_dict())
    held = list(module.parameters())
    y = module(hs.ones(*shape))
    other(torch.ones(*shape))
    assert type(module) is getattr(nn, becomes)
    assert repr(module) == repr(other)
    assert [p is q for p, q in zip(held, module.parameters(), strict=True)] == [True] * len(held)
    if held:
        y.sum().backward()
        assert all(p.grad is not None for p in held)


def test_parameters_without_a_shape() -> None:
    module = nn.LazyLinear(3)
    with pytest.raises(NotImplementedError, match="lazy module"):
        _ = module.weight.shape
    module.load_state_dict({"weight": hs.ones(3, 5), "bias": hs.zeros(3)})
    np.testing.assert_allclose(module(hs.ones(1, 5)).detach().numpy(), [[5, 5, 5]])
