"""Attention over keys and values that lie in rows, heads before tokens: softmax(q k^T * scale) v."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Symbol, TensorType, bf16, dim, f16, f32, f64, tensor
from .compare import ge, where
from .composite import Composite
from .elementwise import cast, mul, sub, widened
from .error import LargestUlp
from .gradient import through_decomposition
from .matmul import matmul
from .normalize import softmax
from .op import Amp, Array, get, public
from .reduce import sum as reduce_sum
from .rules import float_only, shown
from .samples import sample
from .shape import concat, iota, reshape, slice, transpose

N = Symbol("n", 8)


class DotProductAttention(Composite, name="dot_product_attention", version=1, amp=Amp.FLOAT32):
    """softmax(q k^T * scale) v. q: (..., L, E), k: (..., S, E), v: (..., S, D), floats of one dtype, with equal leading
    axes; S > 0.

    If `causal`, query i sees keys 0 .. i alone. Softmax and sums are f32 for narrower floats. Result: (..., L, D) of
    q's dtype. Source: arXiv 1706.03762, 2205.14135."""

    samples = (
        sample(tensor(f64, 3, 4), tensor(f64, 5, 4), tensor(f64, 5, 2), scale=0.5),
        sample(tensor(f64, 2, 3, 4), tensor(f64, 2, 3, 4), tensor(f64, 2, 3, 4), scale=0.5, causal=True),
        sample(tensor(f32, 2, 1, 6, 4), tensor(f32, 2, 1, 3, 4), tensor(f32, 2, 1, 3, 5), scale=0.7, causal=True),
        sample(tensor(f32, dim(N), 4), tensor(f32, 5, 4), tensor(f32, 5, 3), symbols={"n": 3}, scale=1.0),
        sample(tensor(f16, 3, 4), tensor(f16, 3, 4), tensor(f16, 3, 4), scale=0.5),
        sample(tensor(bf16, 3, 4), tensor(bf16, 3, 4), tensor(bf16, 3, 4), scale=0.5, causal=True),
    )
    error = LargestUlp(f64=64, f32=64, f16=4, bf16=4)

    def infer(self, q: TensorType, k: TensorType, v: TensorType, *, scale: float, causal: bool = False) -> TensorType:
        for t in (q, k, v):
            float_only(t, self.name)
        if q.rank < 2 or k.rank != q.rank or v.rank != q.rank:
            raise ShapeError(f"{self.name} needs q (..., L, E), k (..., S, E), v (..., S, D), found {q}, {k} and {v}")
        if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
            raise ShapeError(f"{self.name}: q {shown(q.shape)}, k {shown(k.shape)}, v {shown(v.shape)} do not fit")
        if k.shape[-2] == 0:
            raise ShapeError(f"{self.name}: there are no keys, found {k}")
        if not q.element == k.element == v.element:
            raise DTypeError(f"{self.name} needs q, k and v of one dtype, found {q}, {k} and {v}")
        return TensorType(q.element, (*q.shape[:-1], v.shape[-1]))

    def call(self, q: Value, k: Value, v: Value, scale: float, causal: bool = False) -> Value:
        return self.build(q, k, v, scale=float(scale), causal=bool(causal))

    def reference(self, q: Array, k: Array, v: Array, *, scale: float, causal: bool = False) -> Array:
        scores = q @ np.swapaxes(k, -1, -2) * scale
        if causal:
            rows, columns = scores.shape[-2:]
            scores = np.where(np.arange(rows)[:, None] >= np.arange(columns), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(weights / weights.sum(-1, keepdims=True) @ v)

    def decompose(self, q: Value, k: Value, v: Value, *, scale: float, causal: bool = False) -> Value:
        return cast(matmul(_weights(q, k, scale, causal), widened(v)), q.type.dtype)

    def gradient(  # type: ignore[override]
        self, g: Value, q: Value, k: Value, v: Value, y: Value, *, scale: float, causal: bool = False
    ) -> Sequence[Value | None]:
        """All three together where queries, keys and values have one shape."""
        if not q.type == k.type == v.type == g.type:
            return through_decomposition(self, g, (q, k, v), {"scale": scale, "causal": causal})
        together = get("dot_product_attention_gradient").build(g, q, k, v, scale=scale, causal=causal)
        first, *rest = q.type.shape
        joined = reshape(together, (3 * first, *rest))
        return [slice(joined, 0, n * first, (n + 1) * first) for n in range(3)]


class DotProductAttentionGradient(Composite, name="dot_product_attention_gradient", version=1, amp=Amp.FLOAT32):
    """The gradients of q, k and v of `dot_product_attention`, as one: (3, ..., T, E). g: that of its result; all of one
    shape (..., T, E) and dtype. If `joined`, of heads (..., H, T, E), side by side in the rows of what q, k and v were
    cut from: (..., T, 3 H, E)."""

    samples = (
        sample(*(tensor(f64, 3, 4) for _ in range(4)), scale=0.5),
        sample(*(tensor(f64, 2, 3, 4) for _ in range(4)), scale=0.5, causal=True),
        sample(*(tensor(f32, 2, 1, 3, 4) for _ in range(4)), scale=0.7, causal=True),
        sample(*(tensor(f16, 3, 4) for _ in range(4)), scale=0.5),
        sample(*(tensor(bf16, 3, 4) for _ in range(4)), scale=0.5),
        sample(*(tensor(f32, 2, 3, 5, 4) for _ in range(4)), scale=0.7, causal=True, joined=True),
    )
    error = LargestUlp(f64=256, f32=256, f16=16, bf16=16)

    def infer(
        self, g: TensorType, q: TensorType, k: TensorType, v: TensorType, *, scale: float, causal: bool = False,
        joined: bool = False,
    ) -> TensorType:  # fmt: skip
        for t in (g, q, k, v):
            float_only(t, self.name)
        if not g == q == k == v or q.rank < (3 if joined else 2):
            axes = "(..., H, T, E)" if joined else "(..., T, E)"
            raise ShapeError(f"{self.name} needs four {axes} of one type, found {g}, {q}, {k} and {v}")
        if not joined:
            return TensorType(q.element, (3, *q.shape))
        *lead, heads, tokens, size = q.shape
        return TensorType(q.element, (*lead, tokens, heads * 3, size))

    def call(
        self, g: Value, q: Value, k: Value, v: Value, scale: float, causal: bool = False, joined: bool = False
    ) -> Value:
        return self.build(g, q, k, v, scale=float(scale), causal=bool(causal), joined=bool(joined))

    def reference(
        self, g: Array, q: Array, k: Array, v: Array, *, scale: float, causal: bool = False, joined: bool = False
    ) -> Array:
        def turned(x: Array) -> Array:
            return np.swapaxes(x, -1, -2)

        scores = q @ turned(k) * scale
        if causal:
            scores = np.where(np.tri(q.shape[-2], dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        slopes = g @ turned(v)
        slopes = weights * (slopes - (weights * slopes).sum(-1, keepdims=True))
        parts = [slopes @ k * scale, turned(slopes) @ q * scale, turned(weights) @ g]
        return np.swapaxes(np.concatenate(parts, -3), -3, -2) if joined else np.stack(parts)

    def parts(self, g: Value, q: Value, k: Value, v: Value, *, scale: float, causal: bool = False) -> list[Value]:
        """The three, as graph."""
        weights = _weights(q, k, scale, causal)
        wide, slope = widened(g), None
        product = matmul(wide, _turned(widened(v)))
        slope = mul(weights, sub(product, reduce_sum(mul(product, weights), -1, True)))
        found = (
            mul(matmul(slope, widened(k)), scale), matmul(_turned(slope), mul(widened(q), scale)),
            matmul(_turned(weights), wide),
        )  # fmt: skip
        return [cast(x, q.type.dtype) for x in found]

    def decompose(
        self, g: Value, q: Value, k: Value, v: Value, *, scale: float, causal: bool = False, joined: bool = False
    ) -> Value:
        parts = self.parts(g, q, k, v, scale=scale, causal=causal)
        if not joined:
            return concat(*(reshape(x, (1, *q.type.shape)) for x in parts), axis=0)
        rank = q.type.rank
        together = concat(*parts, axis=rank - 3)
        return transpose(together, (*range(rank - 3), rank - 2, rank - 3, rank - 1))


def _turned(x: Value) -> Value:
    rank = x.type.rank
    return transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def _weights(q: Value, k: Value, scale: float, causal: bool) -> Value:
    scores: Any = matmul(mul(widened(q), scale), _turned(widened(k)))
    if causal:
        rows, columns = q.type.shape[-2], k.type.shape[-2]
        seen = ge(reshape(iota(rows), (rows, 1)), reshape(iota(columns), (1, columns)))
        scores = where(seen, scores, constant(-np.inf, TensorType(scores.type.dtype, ())))
    return softmax(scores)


dot_product_attention = public(DotProductAttention, DotProductAttention.call)
dot_product_attention_gradient = public(DotProductAttentionGradient, DotProductAttentionGradient.call)
