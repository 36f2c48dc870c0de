"""Functions that no module stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import ShapeError, UnsupportedError
from heliostat.nn import functional as F

from .sweep import compare_functions, torch, values


def test_sines_of_positions() -> None:
    found = F.sinusoidal_embedding(5, 6).numpy()
    np.testing.assert_allclose(found[3, 2:4], [np.sin(3 * 1e4 ** (-2 / 6)), np.cos(3 * 1e4 ** (-2 / 6))], rtol=1e-6)
    grid = F.sinusoidal_embedding_2d(2, 3, 8).numpy()
    np.testing.assert_allclose(
        grid[4], np.concatenate([F.sinusoidal_embedding(3, 4)[1], F.sinusoidal_embedding(2, 4)[1]])
    )
    with pytest.raises(ValueError, match="divisible by 4"):
        F.sinusoidal_embedding_2d(2, 2, 6)


def test_rotations_keep_lengths_and_depend_on_distances() -> None:
    angles = np.arange(9)[:, None] * 100.0 ** (-np.arange(2) / 2)
    cos, sin = (hs.tensor(np.tile(f(angles), 2).astype(np.float32)) for f in (np.cos, np.sin))
    q, k = hs.randn(1, 2, 1, 4), hs.randn(1, 2, 1, 4)

    def score(a: int, b: int) -> Any:
        x, _ = F.apply_rotary_emb(q, q, cos, sin, hs.tensor([a]))
        _, y = F.apply_rotary_emb(k, k, cos, sin, hs.tensor([b]))
        return (x * y).sum(-1).numpy()

    np.testing.assert_allclose(score(5, 3), score(7, 5), atol=1e-5)
    x, _ = F.apply_rotary_emb(q, k, cos, sin)
    np.testing.assert_allclose(x.numpy(), q.numpy(), atol=1e-6)


def test_modules_of_positions() -> None:
    assert nn.SinusoidalEmbedding(5, 6)().shape == (5, 6)
    assert nn.SinusoidalEmbedding2D(2, 3, 8)().shape == (6, 8)
    rotary = nn.RotaryEmbedding(4, 9, 100.0)
    assert list(rotary.state_dict()) == []
    cos, sin = rotary()
    x, _ = F.apply_rotary_emb(hs.ones(5, 4), hs.ones(5, 4), cos, sin)
    np.testing.assert_allclose(x.numpy()[2, 0], np.cos(2) - np.sin(2), rtol=1e-5)
    times = nn.TimestepEmbedding(6, 4)
    times(hs.tensor([3, 500])).sum().backward()
    assert times(hs.tensor([[3], [5]])).shape == (2, 1, 4)
    assert times.linear_1.weight.grad is not None
    with pytest.raises(ValueError, match="even head_dim"):
        nn.RotaryEmbedding(3, 9)


def test_attention_with_scores_of_ones_own() -> None:
    arrays = [values((2, 2, 4, 3), n) for n in range(3)]

    def causal(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return hs.where(i >= j, score, float("-inf"))

    compare_functions(
        lambda *a: F.flex_attention(*a, score_mod=causal),
        lambda *a: torch.nn.functional.scaled_dot_product_attention(*a, is_causal=True), *arrays,
    )  # fmt: skip
    with pytest.raises(NotImplementedError, match="block_mask"):
        F.flex_attention(*map(hs.tensor, arrays), block_mask=1)


def test_products_of_groups() -> None:
    a, b = values((6, 3)), values((3, 3, 2), 1)
    found = F.grouped_mm(hs.tensor(a), hs.tensor(b), offs=hs.tensor(np.array([2, 2, 6]))).numpy()
    np.testing.assert_allclose(found, np.concatenate([a[:2] @ b[0], a[2:] @ b[2]]), rtol=1e-5)
    with pytest.raises(ValueError, match="do not divide"):
        F.grouped_mm(hs.tensor(a), hs.tensor(b), offs=hs.tensor(np.array([2, 1, 6])))
    with pytest.raises(NotImplementedError, match="bias"):
        F.grouped_mm(hs.tensor(b), hs.tensor(b), bias=hs.zeros(2))


def test_small_functions() -> None:
    x = hs.tensor(values((3, 4)))
    np.testing.assert_allclose(F.symexp(F.symlog(x)).numpy(), x.numpy(), rtol=1e-5)
    w, b = hs.tensor(values((2, 4), 1)), hs.tensor(values((2,), 2))
    np.testing.assert_allclose(F.fused_linear_relu(x, w, b).numpy(), F.relu(F.linear(x, w, b)).numpy())
    np.testing.assert_allclose(F.fused_linear_gelu(x, w, b).numpy(), F.gelu(F.linear(x, w, b)).numpy(), rtol=1e-6)
    scores, target = hs.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]]), hs.tensor([1, 1, 1])
    assert F.correct_count(scores, target).item() == 2
    assert F.accuracy(scores, target).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)], ids=str)
def test_batch_norm_of_an_empty_batch(shape: tuple[int, ...]) -> None:
    found = []
    for m in (hs, torch):
        x, weight = m.zeros(*shape, requires_grad=True), m.ones(3, requires_grad=True)
        layer = m.nn.BatchNorm1d(3)
        y = m.nn.functional.batch_norm(x, layer.running_mean, layer.running_var, weight, training=True)
        (y.sum() + layer(x).sum()).backward()
        found.append([y.tolist(), layer.running_var.tolist(), layer.num_batches_tracked.item(), x.grad.tolist()])
        found[-1] += [weight.grad.tolist(), layer.weight.grad.tolist()]
    assert found[0] == found[1]


@pytest.mark.parametrize("recipe", ["TensorWise", "RowWise"])
def test_products_with_scales(recipe: str) -> None:
    a, b = values((32, 64)), values((48, 64), 1)

    def call(m: Any, F: Any) -> list[Any]:
        x, y = (m.tensor(v).to(m.float8_e4m3fn) for v in (a, b))
        wise = F.ScalingType[recipe] if m is hs else getattr(F.ScalingType, recipe)
        scales = [(1, 1), (1, 1)] if recipe == "TensorWise" else [(32, 1), (1, 48)]
        p, q = (m.tensor(np.abs(values(s, n)) / 4) for n, s in enumerate(scales))
        return [F.scaled_mm(x, y.t(), p, wise, [q], [wise]).float()]

    (found,), (expected,) = call(hs, hs.nn.functional), call(torch, torch.nn.functional)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-2, atol=1e-2)  # bf16, rounded once


def test_groups_of_products_with_scales() -> None:
    a, b, offs = hs.tensor(values((6, 4))), hs.tensor(values((2, 4, 3))), hs.tensor([2, 6])
    p, q = hs.tensor(values((6,), 1)), hs.tensor(values((2, 3), 2))
    wise = F.ScalingType.RowWise
    found = F.scaled_grouped_mm(a, b, p, wise, q, wise, offs=offs, output_dtype=hs.float32)
    expected = F.grouped_mm(a * p[:, None], b * q[:, None, :], offs=offs)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    with pytest.raises(UnsupportedError, match="BlockWise1x32"):
        F.scaled_mm(a, b[0], p, F.ScalingType.BlockWise1x32, q[0], wise)
    with pytest.raises(UnsupportedError, match="SWIZZLE_32_4_4"):
        F.scaled_mm(a, b[0], p, wise, q[0], wise, F.SwizzleType.SWIZZLE_32_4_4)
    with pytest.raises(ShapeError, match="RowWise"):
        F.scaled_mm(a, b[0], p[:5], wise, q[0], wise)
