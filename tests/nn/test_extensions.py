"""Modules and functions that PyTorch does not have: against their formulas, written with PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import ShapeError
from heliostat.nn import functional as F

from .sweep import compare_functions, torch, values


def test_straight_through_and_two_hot() -> None:
    x = hs.tensor([0.3, -0.7], requires_grad=True)
    y = F.straight_through(x.round(), x * 2)
    y.sum().backward()
    assert y.tolist() == [0, -1]
    assert x.grad.tolist() == [2, 2]
    bins = hs.tensor([-1.0, 0.0, 2.0, 3.0])
    weights = F.two_hot(hs.tensor([[-5.0, -0.25, 0.0], [0.5, 3.0, 9.0]]), bins)
    assert weights.shape == (2, 3, 4)
    assert (weights @ bins).tolist() == [[-1, -0.25, 0], [0.5, 3, 3]]
    assert (weights.sum(-1) == 1).all()
    assert ((weights > 0).sum(-1) <= 2).all()
    with pytest.raises(ShapeError, match="at least 2"):
        F.two_hot(x, hs.ones(1))
    with pytest.raises(ShapeError, match="one shape"):
        F.straight_through(hs.ones(2), hs.ones(3))


def test_vector_quantization() -> None:
    def ours(x: Any, c: Any) -> Any:
        found = F.vector_quantize(x, c, 0.3)
        return [found.quantized, found.loss, found.perplexity]

    def theirs(x: Any, c: Any) -> Any:
        nearest = torch.cdist(x.reshape(-1, 3), c).argmin(-1).reshape(x.shape[:-1])
        rows = c[nearest]
        loss = ((rows - x.detach()) ** 2).mean() + 0.3 * ((rows.detach() - x) ** 2).mean()
        share = torch.bincount(nearest.reshape(-1), minlength=len(c)) / nearest.numel()
        return [x + (rows - x).detach(), loss, torch.special.entr(share).sum().exp()]

    x, c = values((2, 5, 3)), values((4, 3), 1)
    compare_functions(ours, theirs, x, c)
    nearest = ((x[..., None, :] - c) ** 2).sum(-1).argmin(-1)
    assert F.nearest_codebook(hs.tensor(x), hs.tensor(c)).tolist() == nearest.tolist()
    layer = nn.VectorQuantizer(4, 3)
    found = layer(hs.randn(6, 3))
    assert isinstance(found, nn.VectorQuantizerOutput)
    found.loss.backward()
    assert layer.weight.grad.abs().sum() > 0
    assert 1 <= found.perplexity.item() <= 4
    x32 = hs.tensor(x, dtype=hs.float32)
    for inside, outside in zip(hs.compile(layer)(x32), layer(x32), strict=True):
        np.testing.assert_allclose(inside.tolist(), outside.tolist(), 1e-6)
    assert repr(layer) == "VectorQuantizer(4, 3, commitment_cost=0.25)"
    with pytest.raises(ShapeError, match="do not fit"):
        layer(hs.ones(2, 2))


def test_noisy_linear() -> None:
    hs.manual_seed(1)
    layer = nn.NoisyLinear(5, 3)
    x = hs.randn(4, 5)
    noisy = layer(x)
    w = layer.weight_mu + layer.weight_sigma * layer.weight_epsilon
    b = layer.bias_mu + layer.bias_sigma * layer.bias_epsilon
    np.testing.assert_allclose(noisy.detach().numpy(), (x @ w.t() + b).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.linalg.matrix_rank(layer.weight_epsilon.numpy()) == 1
    layer.reset_noise()
    assert not hs.equal(layer(x), noisy)
    layer.eval()
    assert hs.equal(layer(x), F.linear(x, layer.weight_mu, layer.bias_mu))
    assert set(layer.state_dict()) == {
        "weight_mu", "weight_sigma", "bias_mu", "bias_sigma", "weight_epsilon", "bias_epsilon",
    }  # fmt: skip
    e = F.scaled_noise(20000).numpy()
    assert abs((e**4).mean() - 1) < 0.05  # squares are sizes of normal numbers
    assert nn.NoisyLinear(2, 2, bias=False)(hs.ones(1, 2)).shape == (1, 2)
    with pytest.raises(ValueError, match="or none"):
        F.noisy_linear(x, w, w, w, b)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_with_shared_keys(heads: int) -> None:
    layer = nn.GroupedQueryAttention(8, 4, heads) if heads > 1 else nn.MultiQueryAttention(8, 4)
    x, memory = hs.randn(2, 5, 8), hs.randn(2, 3, 8)
    state = {k: torch.tensor(v.detach().numpy()) for k, v in layer.state_dict().items()}

    def reference(q: Any, kv: Any, causal: bool) -> Any:
        def split(name: str, t: Any) -> Any:
            y = torch.nn.functional.linear(t, state[f"{name}.weight"], state[f"{name}.bias"])
            return y.unflatten(-1, (-1, 2)).transpose(1, 2)

        q, k, v = split("q_proj", q), split("k_proj", kv), split("v_proj", kv)
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
        joined = y.transpose(1, 2).flatten(-2)
        return torch.nn.functional.linear(joined, state["out_proj.weight"], state["out_proj.bias"])

    a, b = torch.tensor(x.numpy()), torch.tensor(memory.numpy())
    np.testing.assert_allclose(layer(x, is_causal=True).detach().numpy(), reference(a, a, True).numpy(), atol=1e-5)
    np.testing.assert_allclose(layer(x, memory).detach().numpy(), reference(a, b, False).numpy(), atol=1e-5)
    assert layer.k_proj.weight.shape == (2 * heads, 8)
    with pytest.raises(ValueError, match="divisible"):
        nn.GroupedQueryAttention(8, 4, 3)


@pytest.mark.parametrize("activation", ["relu", "gelu", None])
def test_fused_linear(activation: str | None) -> None:
    layer = nn.FusedLinear(3, 2, activation=activation)
    x = hs.randn(4, 3)
    y = F.linear(x, layer.weight, layer.bias)
    assert hs.allclose(layer(x), y if activation is None else getattr(F, activation)(y))
    assert f"activation={activation}" in repr(layer)
    with pytest.raises(ValueError, match="not 'tanh'"):
        nn.FusedLinear(3, 2, activation="tanh")
