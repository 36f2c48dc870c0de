"""Attention of training: queries over keys and values of the same step, and its gradients, which make the weights anew.

Tensors are (B, tokens, heads, E), as products of a layer leave them. Query head h reads key/value head h // (H / Hkv).
With P = exp(Q K^T * scale - lse) and O = P V: dV = P^T dO, dS = P (dO V^T - delta), dQ = dS K * scale and
dK = dS^T Q * scale, where delta is a row's sum of dO O. Source: arXiv 2205.14135, 2307.08691.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, DType, TensorType, bf16, f32, f64, tensor
from .compare import ge, where
from .composite import Claimed
from .elementwise import cast, exp, mul, sub
from .error import LargestUlp
from .gradient import through_decomposition
from .matmul import matmul
from .normalize import logsumexp, softmax
from .op import Amp, Array, get, public
from .reduce import sum
from .rules import float_only
from .samples import Sample, sample
from .shape import iota, reshape, slice, transpose, unsqueeze

_HEADS_FIRST = (0, 2, 1, 3)


def _samples(operands: str) -> tuple[Sample, ...]:
    """Of operands named by letters: two heads of queries for each of keys and a causal mask; one, without a mask."""
    found = []
    for dtype, b, h, kv, rows, keys, causal in (
        (f64, 2, 4, 2, 3, 5, True), (f64, 1, 2, 2, 3, 2, False), (bf16, 1, 2, 1, 4, 3, True),
    ):  # fmt: skip
        shapes = {"q": (b, rows, h, 4), "g": (b, rows, h, 4), "k": (b, keys, kv, 4), "v": (b, keys, kv, 4)}
        types = [
            tensor(dtype, *shapes[x]) if x in shapes else tensor(f64 if dtype is f64 else f32, b, rows, h)
            for x in operands
        ]
        found.append(sample(*types, scale=0.5, causal=causal))
    shared = {"q": tensor(bf16, 1, 3, 6, 4), "g": tensor(bf16, 1, 3, 2, 4)}
    types = [shared.get(x, shared["q"]) if x in "gqkv" else tensor(f32, 1, 3, 2) for x in operands]
    found.append(sample(*types, scale=0.5, heads=(0, 2, 2, 2, 4, 2)))
    return tuple(found)


class _Attention(Claimed):
    """What these ops share: the type rule of queries and keys, scores and weights. `operands`: a letter for each."""

    operands = ""
    amp = Amp.LOWER
    error = LargestUlp(f64=64, f32=64, f16=4, bf16=4)

    def checked(self, *given: TensorType, scale: float, heads: Sequence[int]) -> dict[str, TensorType]:
        """Operands by letter, as far as they take part. Raises ShapeError and DTypeError where they do not fit."""
        types = dict(zip(self.operands, given, strict=True))
        for letter, (first, count) in _parts(heads).items():
            t = types.get(letter)
            if t is not None:
                if t.rank != 4 or not isinstance(t.shape[2], int) or not 0 <= first < first + count <= t.shape[2]:
                    raise ShapeError(f"{self.name}: {t} has no heads {first} .. {first + count}")
                types[letter] = TensorType(t.dtype, (*t.shape[:2], count, t.shape[3]))
        q, k = types["q"], types["k"]
        if q.rank != 4 or k.rank != 4 or q.shape[3] != k.shape[3] or q.shape[0] != k.shape[0]:
            raise ShapeError(f"{self.name} needs q (B, L, H, E) and k (B, S, Hkv, E), found {q} and {k}")
        many, groups = q.shape[2], k.shape[2]
        if not isinstance(many, int) or not isinstance(groups, int) or groups == 0 or many % groups:
            raise ShapeError(f"{self.name}: {many} query heads do not divide into {groups} key/value heads")
        if k.shape[1] == 0:
            raise ShapeError(f"{self.name} needs a key at least, found {k}")
        v = types.get("v", k)
        if v.rank != 4 or v.shape[:3] != k.shape[:3]:
            raise ShapeError(f"{self.name}: v must be (B, S, Hkv, Ev), found {v} with {k}")
        g = types.get("g", q)
        if g.rank != 4 or g.shape[:3] != q.shape[:3] or ("v" in types and "g" in types and g.shape[3] != v.shape[3]):
            raise ShapeError(f"{self.name}: g must be (B, L, H, Ev), found {g}")
        for letter, t in types.items():
            float_only(t, self.name)
            if letter in "ld":
                if t.shape != q.shape[:3]:
                    raise ShapeError(f"{self.name}: sums of rows must be (B, L, H), found {t}")
            elif t.dtype is not q.dtype:
                raise DTypeError(f"{self.name} needs operands of one dtype, found {q} and {t}")
        if not scale > 0:
            raise ShapeError(f"{self.name}: scale must be above 0, found {scale}")
        return types

    def call(self, *operands: Value, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Value:
        return self.build(*operands, scale=float(scale), causal=bool(causal), heads=tuple(heads))

    def taken(self, operands: Sequence[Value], heads: Sequence[int]) -> list[Value]:
        """Operands without heads that take no part."""
        parts = _parts(heads)
        return [
            slice(v, 2, parts[n][0], parts[n][0] + parts[n][1]) if n in parts else v
            for n, v in zip(self.operands, operands, strict=True)
        ]


def _parts(heads: Sequence[int]) -> dict[str, tuple[int, int]]:
    """For q, k and v the first head that takes part, and how many do."""
    if len(heads) not in (0, 6):
        raise ShapeError(f"heads are a first one and a count for each of q, k and v, found {tuple(heads)}")
    return dict(zip("qkv", zip(heads[::2], heads[1::2], strict=True), strict=False)) if heads else {}


def _sums(dtype: DType) -> DType:
    return f64 if dtype is f64 else f32


def _grouped(x: Value, groups: int) -> Value:
    """(B, N, H, E) as rows of the head that a group shares: (B, groups, H / groups * N, E)."""
    b, n, heads, size = x.type.shape
    assert isinstance(heads, int)
    return reshape(transpose(x, _HEADS_FIRST), (b, groups, n * (heads // groups), size))


def _ungrouped(x: Value, like: Value) -> Value:
    """Rows of groups, (B, groups, H / groups * N, E), as (B, N, H, E), where `like` is (B, N, H, ...)."""
    b, n, heads, _ = like.type.shape
    return transpose(reshape(x, (b, heads, n, x.type.shape[3])), _HEADS_FIRST)


def _rows(q: Value, k: Value) -> Dim:
    """Rows of a group: queries of its heads."""
    heads, groups = q.type.shape[2], k.type.shape[2]
    assert isinstance(heads, int)
    assert isinstance(groups, int)
    return q.type.shape[1] * (heads // groups)


def _turned(x: Value) -> Value:
    return transpose(x, (0, 1, 3, 2))


def _summed(a: Value, b: Value) -> Value:
    """a b, in f32 at least."""
    return get("matmul").build(a, b, dtype=_sums(a.type.dtype))


def _scores(q: Value, k: Value, scale: float, causal: bool) -> Value:
    """(B, H, L, S) in f32 at least, -inf where a query must not see a key."""
    b, rows, heads, _ = q.type.shape
    keys, groups = k.type.shape[1:3]
    assert isinstance(groups, int)
    products = _summed(_grouped(q, groups), transpose(k, (0, 2, 3, 1)))
    scores = mul(reshape(products, (b, heads, rows, keys)), scale)
    if not causal:
        return scores
    seen = ge(reshape(iota(rows), (rows, 1)), reshape(iota(keys), (1, keys)))
    return where(seen, scores, constant(-np.inf, TensorType(scores.type.dtype, ())))


def _of_rows(sums: Value) -> Value:
    """Sums of rows, (B, L, H), beside scores: (B, H, L, 1)."""
    return unsqueeze(transpose(sums, (0, 2, 1)), 3)


def _weights(q: Value, k: Value, lse: Value, scale: float, causal: bool) -> Value:
    return exp(sub(_scores(q, k, scale, causal), _of_rows(lse)))


def _score_gradient(operands: Sequence[Value], scale: float, causal: bool) -> Value:
    """The gradient of Q K^T of g, q, k, v, lse, delta: (B, Hkv, H / Hkv * L, S) of q's dtype."""
    g, q, k, v, lse, delta = operands
    b, rows, heads, _ = q.type.shape
    keys, groups = k.type.shape[1:3]
    assert isinstance(groups, int)
    weighed = _summed(_grouped(g, groups), transpose(v, (0, 2, 3, 1)))
    weighed = reshape(weighed, (b, heads, rows, keys))
    weights = _weights(q, k, lse, scale, causal)
    made = mul(mul(weights, sub(weighed, _of_rows(delta))), scale)
    return reshape(cast(made, q.type.dtype), (b, groups, _rows(q, k), keys))


def _exact(
    operands: Sequence[Array], letters: str, scale: float, causal: bool, heads: Sequence[int]
) -> dict[str, Array]:
    """Heads first, keys and values of each query head, scores and weights `p`, in float64."""
    x = {n: np.swapaxes(np.asarray(a, np.float64), 1, 2) for n, a in zip(letters, operands, strict=True)}
    for n, (first, count) in _parts(heads).items():
        if n in x:
            x[n] = x[n][:, first : first + count]
    x["groups"] = np.array(x["k"].shape[1])
    each = x["q"].shape[1] // x["k"].shape[1]
    for n in x.keys() & {"k", "v"}:
        x[n] = np.repeat(x[n], each, axis=1)
    x["s"] = x["q"] @ np.swapaxes(x["k"], 2, 3) * scale
    if causal:
        rows, keys = x["s"].shape[2:]
        x["s"] = np.where(np.arange(rows)[:, None] >= np.arange(keys), x["s"], -np.inf)
    if "l" in x:
        x["p"] = np.exp(x["s"] - x["l"][..., None])
    if "d" in x:
        x["ds"] = x["p"] * (x["g"] @ np.swapaxes(x["v"], 2, 3) - x["d"][..., None]) * scale
    return x


def _of_groups(made: Array, of: Array) -> Array:
    """Sums over the query heads of each head of keys: (B, H, S, E) as (B, S, groups, E)."""
    groups, (b, heads, keys, size) = int(of), made.shape
    return np.swapaxes(made.reshape(b, groups, heads // groups, keys, size).sum(2), 1, 2)


class ScaledDotProductAttention(_Attention, name="scaled_dot_product_attention", version=1):
    """softmax(q k^T * scale) v. q: (B, L, H, E), k: (B, S, Hkv, E), v: (B, S, Hkv, Ev), of one float dtype, Hkv a
    divisor of H, S > 0. `causal`: query i sees keys 0 .. i. Result: (B, L, H, Ev) of that dtype.

    `heads`: where operands have more heads than take part, the first that does and how many, of q, k and v."""

    operands = "qkv"
    samples = _samples("qkv")

    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        *,
        scale: float,
        causal: bool = False,
        heads: Sequence[int] = (),
    ) -> TensorType:
        types = self.checked(q, k, v, scale=scale, heads=heads)
        return TensorType(q.dtype, (*types["q"].shape[:3], v.shape[3]))

    def reference(
        self, q: Array, k: Array, v: Array, *, scale: float, causal: bool = False, heads: Sequence[int] = ()
    ) -> Array:
        x = _exact((q, k, v), "qkv", scale, causal, heads)
        weights = np.exp(x["s"] - x["s"].max(-1, keepdims=True))
        return np.swapaxes(weights / weights.sum(-1, keepdims=True) @ x["v"], 1, 2)

    def decompose(
        self, q: Value, k: Value, v: Value, *, scale: float, causal: bool = False, heads: Sequence[int] = ()
    ) -> Value:
        q, k, v = self.taken((q, k, v), heads)
        b, keys, groups, _ = k.type.shape
        assert isinstance(groups, int)
        weights = cast(softmax(_scores(q, k, scale, causal)), q.type.dtype)
        weights = reshape(weights, (b, groups, _rows(q, k), keys))
        return _ungrouped(matmul(weights, transpose(v, _HEADS_FIRST)), q)

    def gradient(self, g: Value, q: Value, k: Value, v: Value, y: Value, **attrs: Any) -> Sequence[Value | None]:  # type: ignore[override]
        if attrs["heads"]:
            return through_decomposition(self, g, (q, k, v), attrs)
        lse = attention_logsumexp(q, k, **attrs)
        delta = sum(mul(cast(y, _sums(q.type.dtype)), g), axes=-1)
        return (
            attention_query_gradient(g, q, k, v, lse, delta, **attrs),
            attention_key_gradient(g, q, k, v, lse, delta, **attrs),
            attention_value_gradient(g, q, k, lse, **attrs),
        )


class AttentionLogsumexp(_Attention, name="attention_logsumexp", version=1):
    """log(sum(exp(q k^T * scale))) over the keys that a query sees: (B, L, H), f32, or f64 of f64. Operands and
    `causal` as in `scaled_dot_product_attention`."""

    operands = "qk"
    samples = _samples("qk")

    def infer(
        self, q: TensorType, k: TensorType, *, scale: float, causal: bool = False, heads: Sequence[int] = ()
    ) -> TensorType:
        return TensorType(_sums(q.dtype), self.checked(q, k, scale=scale, heads=heads)["q"].shape[:3])

    def reference(self, q: Array, k: Array, *, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Array:
        s = _exact((q, k), "qk", scale, causal, heads)["s"]
        top = s.max(-1)
        return np.swapaxes(top + np.log(np.exp(s - top[..., None]).sum(-1)), 1, 2)

    def decompose(self, q: Value, k: Value, *, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Value:
        q, k = self.taken((q, k), heads)
        return transpose(logsumexp(_scores(q, k, scale, causal)), (0, 2, 1))


class AttentionQueryGradient(_Attention, name="attention_query_gradient", version=1):
    """dQ, (B, L, H, E). g: (B, L, H, Ev), q, k, v as in `scaled_dot_product_attention`, of one dtype; lse, delta:
    (B, L, H), logsumexp of the scores and sum of g times the result."""

    operands = "gqkvld"
    samples = _samples("gqkvld")

    def infer(self, *types: TensorType, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> TensorType:
        return self.checked(*types, scale=scale, heads=heads)["q"]

    def reference(self, *arrays: Array, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Array:
        x = _exact(arrays, self.operands, scale, causal, heads)
        return np.swapaxes(x["ds"] @ x["k"], 1, 2)

    def decompose(self, *operands: Value, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Value:
        operands = tuple(self.taken(operands, heads))
        k = operands[2]
        return _ungrouped(matmul(_score_gradient(operands, scale, causal), transpose(k, _HEADS_FIRST)), operands[1])


class AttentionKeyGradient(_Attention, name="attention_key_gradient", version=1):
    """dK, (B, S, Hkv, E). Operands as in `attention_query_gradient`."""

    operands = "gqkvld"
    samples = _samples("gqkvld")

    def infer(self, *types: TensorType, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> TensorType:
        return self.checked(*types, scale=scale, heads=heads)["k"]

    def reference(self, *arrays: Array, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Array:
        x = _exact(arrays, self.operands, scale, causal, heads)
        return _of_groups(np.swapaxes(x["ds"], 2, 3) @ x["q"], x["groups"])

    def decompose(self, *operands: Value, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Value:
        operands = tuple(self.taken(operands, heads))
        _, q, k, *_ = operands
        groups = k.type.shape[2]
        assert isinstance(groups, int)
        rows = _grouped(q, groups)
        return _ungrouped(matmul(_turned(_score_gradient(operands, scale, causal)), rows), k)


class AttentionValueGradient(_Attention, name="attention_value_gradient", version=1):
    """dV, (B, S, Hkv, Ev). g, q, k, lse as in `attention_query_gradient`."""

    operands = "gqkl"
    samples = _samples("gqkl")

    def infer(
        self,
        g: TensorType,
        q: TensorType,
        k: TensorType,
        lse: TensorType,
        *,
        scale: float,
        causal: bool = False,
        heads: Sequence[int] = (),
    ) -> TensorType:
        types = self.checked(g, q, k, lse, scale=scale, heads=heads)
        return TensorType(q.dtype, (*types["k"].shape[:3], g.shape[3]))

    def reference(self, *arrays: Array, scale: float, causal: bool = False, heads: Sequence[int] = ()) -> Array:
        x = _exact(arrays, self.operands, scale, causal, heads)
        return _of_groups(np.swapaxes(x["p"], 2, 3) @ x["g"], x["groups"])

    def decompose(
        self, g: Value, q: Value, k: Value, lse: Value, *, scale: float, causal: bool = False, heads: Sequence[int] = ()
    ) -> Value:
        g, q, k, lse = self.taken((g, q, k, lse), heads)
        b, keys, groups, _ = k.type.shape
        assert isinstance(groups, int)
        weights = cast(_weights(q, k, lse, scale, causal), q.type.dtype)
        weights = reshape(weights, (b, groups, _rows(q, k), keys))
        return _ungrouped(matmul(_turned(weights), _grouped(g, groups)), k)


scaled_dot_product_attention = public(ScaledDotProductAttention, ScaledDotProductAttention.call)
attention_logsumexp = public(AttentionLogsumexp, AttentionLogsumexp.call)
attention_query_gradient = public(AttentionQueryGradient, AttentionQueryGradient.call)
attention_key_gradient = public(AttentionKeyGradient, AttentionKeyGradient.call)
attention_value_gradient = public(AttentionValueGradient, AttentionValueGradient.call)
