"""Parametrizations, weight and spectral norm, pruning against PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import utils
from heliostat.nn.utils import parametrizations, parametrize, prune

from .sweep import copy_state, torch, values

torch_prune = pytest.importorskip("torch.nn.utils.prune")


class Doubled(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2

    def right_inverse(self, x: Any) -> Any:
        return x / 2


def test_a_parametrization_of_ones_own() -> None:
    module = nn.Linear(2, 3)
    before = module.weight.detach().numpy().copy()
    parametrize.register_parametrization(module, "weight", Doubled())
    assert parametrize.is_parametrized(module, "weight")
    assert not parametrize.is_parametrized(module, "bias")
    assert type(module).__name__ == "ParametrizedLinear"
    assert parametrize.type_before_parametrizations(module) is nn.Linear
    np.testing.assert_allclose(module.weight.detach().numpy(), before, rtol=1e-6)
    assert list(module.state_dict()) == ["bias", "parametrizations.weight.original"]
    parametrize.register_parametrization(module, "weight", Doubled())
    np.testing.assert_allclose(module.weight.detach().numpy(), before, rtol=1e-6)
    module(hs.ones(1, 2)).sum().backward()
    original = module.parametrizations.weight.original
    np.testing.assert_allclose(original.grad.numpy(), np.full((3, 2), 4.0))
    module.weight = hs.ones(3, 2)
    np.testing.assert_allclose(original.detach().numpy(), np.full((3, 2), 0.25))
    with parametrize.cached():
        assert module.weight is module.weight
    assert module.weight is not module.weight
    other = copy.deepcopy(module)
    np.testing.assert_array_equal(other.weight.detach().numpy(), module.weight.detach().numpy())
    target = parametrize.transfer_parametrizations_and_params(module, nn.Linear(2, 3))
    np.testing.assert_array_equal(target.weight.detach().numpy(), module.weight.detach().numpy())
    parametrize.remove_parametrizations(module, "weight")
    assert type(module) is nn.Linear
    assert list(dict(module.named_parameters())) == ["bias", "weight"]
    np.testing.assert_allclose(module.weight.detach().numpy(), np.ones((3, 2)))
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(module, "wight", Doubled())


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim: Any) -> None:
    for a, b in ((utils, torch.nn.utils), (parametrizations, torch.nn.utils.parametrizations)):
        module, other = a.weight_norm(nn.Linear(3, 4), dim=dim), b.weight_norm(torch.nn.Linear(3, 4), dim=dim)
        copy_state(module, other)
        x = values((2, 3))
        y, z = module(hs.tensor(x)), other(torch.tensor(x))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-4, atol=1e-5)
        (y**2).sum().backward()
        (z**2).sum().backward()
        for p, q in zip(module.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=1e-4)
    plain = utils.remove_weight_norm(utils.weight_norm(nn.Linear(3, 4)))
    assert sorted(plain.state_dict()) == ["bias", "weight"]


def test_spectral_norm() -> None:
    for a in (utils, parametrizations):
        module = a.spectral_norm(nn.Linear(5, 4), n_power_iterations=3)
        for _ in range(10):
            y = module(hs.ones(1, 5))
        y.sum().backward()
        assert abs(np.linalg.norm(module.weight.detach().numpy(), 2) - 1) < 1e-3
        other = (torch.nn.utils if a is utils else torch.nn.utils.parametrizations).spectral_norm(torch.nn.Linear(5, 4))
        assert list(module.state_dict()) == list(other.state_dict())
        assert [n for n, _ in module.named_parameters()] == [n for n, _ in other.named_parameters()]
    plain = utils.remove_spectral_norm(utils.spectral_norm(nn.Linear(5, 4)))
    assert sorted(plain.state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("how", ["matrix_exp", "cayley"])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
def test_orthogonal(how: str, shape: Any) -> None:
    module = parametrizations.orthogonal(nn.Linear(*shape), orthogonal_map=how)
    for _ in range(3):
        loss = ((module(hs.ones(2, shape[0])) - 1) ** 2).sum()
        loss.backward()
        with hs.no_grad():
            p = module.parametrizations.weight.original
            p.sub_(p.grad * 0.1)
            p.grad = None
    w = module.weight.detach().numpy()
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)
    with pytest.raises(NotImplementedError, match="householder"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="householder")


def test_pruning() -> None:
    module, other = nn.Linear(5, 4), torch.nn.Linear(5, 4)
    copy_state(module, other)
    for m, p in ((module, prune), (other, torch_prune)):
        p.l1_unstructured(m, "weight", amount=0.3)
        p.ln_structured(m, "weight", amount=1, n=2, dim=0)
        p.l1_unstructured(m, "bias", amount=2)
    assert list(module.state_dict()) == list(other.state_dict())
    for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    x = values((2, 5))
    np.testing.assert_allclose(
        module(hs.tensor(x)).detach().numpy(), other(torch.tensor(x)).detach().numpy(), atol=1e-5
    )
    assert prune.is_pruned(module)
    module(hs.tensor(x)).sum().backward()
    assert (module.weight_orig.grad.numpy()[module.weight_mask.numpy() == 0] == 0).all()
    prune.remove(module, "weight")
    prune.remove(module, "bias")
    assert not prune.is_pruned(module)
    np.testing.assert_array_equal(module.weight.detach().numpy(), other.weight.detach().numpy())
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(module, "weight")


def test_pruning_together_and_by_chance() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    pairs = [(net[0], "weight"), (net[1], "weight")]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.25)
    zeros = sum(int((m.weight_mask.numpy() == 0).sum()) for m, _ in pairs)
    assert zeros == 8
    module = prune.random_unstructured(nn.Linear(5, 4), "weight", 3)
    assert int((module.weight_mask.numpy() == 0).sum()) == 3
    module = prune.random_structured(nn.Linear(5, 4), "weight", 2, dim=1)
    assert int((module.weight_mask.numpy().sum(0) == 0).sum()) == 2
    module = prune.custom_from_mask(nn.Linear(2, 1), "weight", hs.tensor([[1.0, 0.0]]))
    assert module.weight.detach().numpy()[0, 1] == 0
    assert prune.is_pruned(prune.identity(nn.Linear(2, 1), "bias"))
    with pytest.raises(ValueError, match="amount"):
        prune.l1_unstructured(nn.Linear(2, 1), "weight", 1.5)
