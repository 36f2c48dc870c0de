"""Attention over keys and values that lie in rows, heads before tokens: softmax(q k^T * scale) v."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Symbol, TensorType, bf16, dim, f16, f32, f64, tensor
from .compare import ge, where
from .composite import Composite
from .elementwise import cast, mul, widened
from .error import LargestUlp
from .matmul import matmul
from .normalize import softmax
from .op import Amp, Array, public
from .rules import float_only, shown
from .samples import sample
from .shape import iota, reshape, transpose

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
        rank = q.type.rank
        turned = transpose(widened(k), (*range(rank - 2), rank - 1, rank - 2))
        scores: Any = matmul(mul(widened(q), scale), turned)
        if causal:
            rows, columns = q.type.shape[-2], k.type.shape[-2]
            seen = ge(reshape(iota(rows), (rows, 1)), reshape(iota(columns), (1, columns)))
            scores = where(seen, scores, constant(-np.inf, TensorType(scores.type.dtype, ())))
        return cast(matmul(softmax(scores), widened(v)), q.type.dtype)


dot_product_attention = public(DotProductAttention, DotProductAttention.call)
