"""Attention: weighted sums of values, weighed by how queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

from ... import ops
from ...diagnostics import ShapeError, UnsupportedError
from ...ir.types import bf16, bool_, f16, f32, f64
from ...kernels.flash_operands import refusal
from ...session.devices import gpu_engine
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.core import wrap
from .dropout import dropout
from .linear import linear

where = FUNCTIONS["where"]


def causal(rows: int, columns: int) -> Tensor:
    """True where a query (row) may see a key (column)."""
    made: Tensor = FUNCTIONS["arange"](rows).unsqueeze(1) >= FUNCTIONS["arange"](columns)
    return made


def repeat_kv(x: Tensor, n_rep: int, dim: int = -3) -> Tensor:
    """Each head of keys or values so many times, next to each other. x: (..., heads, S, D)."""
    return x if n_rep == 1 else x.repeat_interleave(n_rep, dim)


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return scores
    return where(mask, scores, float("-inf")) if mask.dtype == bool_ else scores + mask


def _may_be_one(query: Tensor, key: Tensor, value: Tensor, factor: float, enable_gqa: bool) -> bool:
    """Whether operands are such as one op takes: halves on a GPU, which makes weights by block. Elsewhere
    weights that were made are kept for the gradient."""
    if query.device.type != "cuda" or query.dtype not in (bf16, f16) or query.ndim < 3 or not factor > 0:
        return False
    alike = [(x.dtype, x.ndim, x.shape[:-3]) == (query.dtype, query.ndim, query.shape[:-3]) for x in (key, value)]
    if not all(alike) or 0 in (*query.shape, *key.shape, *value.shape) or key.shape[-3] != value.shape[-3]:
        return False
    return enable_gqa or key.shape[-3] in (1, query.shape[-3])


def _as_one(query: Tensor, key: Tensor, value: Tensor, is_causal: bool, factor: float) -> Tensor | None:
    """The op, which takes (B, L, H, E); None where the query's GPU has no schedule for these shapes."""
    given = [x if x.ndim == 4 else x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)]
    rows = [x.transpose(1, 2) for x in given]
    found = ops.scaled_dot_product_attention(*(x.value for x in rows), scale=factor, causal=is_causal)
    if refusal(found.node, gpu_engine(str(query.device)).target) is not None:
        return None
    made, shape = wrap(found, *rows).transpose(1, 2), (*query.shape[:-1], value.shape[-1])
    return made if made.shape == shape else made.reshape(*shape)


@ruled
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T * scale + mask) v. query: (..., H, L, E), key: (..., H, S, E), value: (..., H, S, Ev).

    attn_mask: broadcast to (..., L, S), bool (True takes part) or added. scale: 1 / sqrt(E) if None. `enable_gqa`: H
    of the query is a multiple of the others'. A query that sees no key gives 0."""
    if attn_mask is not None and is_causal:
        raise ValueError("scaled_dot_product_attention: explicit attn_mask should not be set when is_causal=True")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"scaled_dot_product_attention: query {list(query.shape)}, key {list(key.shape)} and value "
            f"{list(value.shape)} do not fit"
        )
    if enable_gqa:
        heads = query.shape[-3]
        if heads % key.shape[-3] or heads % value.shape[-3]:
            raise ShapeError(f"{heads} heads of queries are no multiple of {key.shape[-3]} heads of keys")
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if attn_mask is None and not dropout_p and _may_be_one(query, key, value, factor, enable_gqa):
        whole = _as_one(query, key, value, is_causal, factor)
        if whole is not None:
            return whole
    if enable_gqa:
        key, value = (repeat_kv(x, query.shape[-3] // x.shape[-3]) for x in (key, value))
    if attn_mask is None and not dropout_p and _one_op(query, key, value):
        y = ops.dot_product_attention(query.value, key.value, value.value, factor, is_causal)
        return wrap(y, query, key, value)
    scores = (query * factor) @ key.transpose(-2, -1)
    mask = causal(query.shape[-2], key.shape[-2]) if is_causal else attn_mask
    if mask is None:
        weights = scores.softmax(-1)
    elif is_causal and key.shape[-2]:  # every query sees the first key
        weights = _masked(scores, mask).softmax(-1)
    else:
        scores = _masked(scores, mask)
        blind = (scores.detach() == float("-inf")).all(-1, True)
        weights = where(blind, 0.0, where(blind, 0.0, scores).softmax(-1))
    return dropout(weights, dropout_p, dropout_p > 0) @ value


def _one_op(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether attention without a mask is the op of that name, which a schedule may take whole."""
    alike = query.dtype == key.dtype == value.dtype and query.dtype in (f32, f64)
    return alike and query.ndim > 1 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and key.shape[-2] > 0


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Any = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
) -> Any:
    """Attention whose scores go through score_mod(score, batch, head, query, key), called once with all scores and
    with tensors of numbers that broadcast to them. Shapes as in `scaled_dot_product_attention`, four axes.
    `return_lse`: also the logarithm of the sum of exp of the scores, (B, H, L)."""
    if block_mask is not None:
        raise UnsupportedError("flex_attention: block_mask does not exist here", help="return -inf from score_mod")
    if query.ndim != 4:
        raise ShapeError(f"flex_attention needs (B, H, L, E), found {list(query.shape)}")
    if enable_gqa:
        n = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, n), repeat_kv(value, n)
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if score_mod is not None:
        numbers = [
            FUNCTIONS["arange"](n).reshape([-1 if i == axis else 1 for i in range(4)])
            for axis, n in enumerate(scores.shape)
        ]
        scores = score_mod(scores, *numbers)
    y = scores.softmax(-1) @ value
    return (y, scores.logsumexp(-1)) if return_lse else y


def _added(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask to be added; of bools -inf where True."""
    if mask is None or mask.dtype.is_float:
        return mask
    if mask.dtype != bool_:
        raise TypeError(f"only bool and floating types of masks are supported, found {mask.dtype}")
    return FUNCTIONS["zeros"](*mask.shape, dtype=like.dtype).masked_fill(mask, float("-inf"))


def _projections(
    query: Tensor, key: Tensor, value: Tensor, size: int, in_weight: Tensor | None, in_bias: Tensor | None,
    separate: tuple[Tensor, Tensor, Tensor] | None,
) -> list[Tensor]:  # fmt: skip
    biases: Any = [None] * 3 if in_bias is None else in_bias.chunk(3)
    if separate is not None:
        weights: Any = separate
    else:
        assert in_weight is not None
        if query is key and key is value:
            return list(linear(query, in_weight, in_bias).chunk(3, -1))
        weights = in_weight.chunk(3)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads. query: (L, B, E), key: (S, B, E'), value: (S, B, E'') or all without B;
    key_padding_mask: (B, S), attn_mask: (L, S) or (B * heads, L, S), bools that are True where nothing is seen, or
    numbers to add. Returns (L, B, E), and the weights (B, L, S), or (B, heads, L, S) if not averaged."""
    single = query.ndim == 2
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise ShapeError(
            f"multi_head_attention_forward needs 2D or 3D query, key and value alike, found {query.ndim}D, {key.ndim}D "
            f"and {value.ndim}D"
        )
    if single:
        same = query is key and key is value
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        if same:
            key = value = query
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, size = query.shape
    if size != embed_dim_to_check:
        raise ShapeError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}")
    if is_causal and attn_mask is None:
        raise ValueError("Need attn_mask if specifying the is_causal hint.")
    head = size // num_heads
    if head * num_heads != size:
        raise ShapeError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    separate: Any = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projections(query, key, value, size, in_proj_weight, in_proj_bias, separate)
    padding, mask = _added(key_padding_mask, query), _added(attn_mask, query)
    pad = FUNCTIONS["pad"]
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise UnsupportedError("bias_k and bias_v cannot be added to static keys and values")
        k = FUNCTIONS["cat"]([k, bias_k.expand(1, batch, size)])
        v = FUNCTIONS["cat"]([v, bias_v.expand(1, batch, size)])
        mask = None if mask is None else pad(mask, (0, 1))
        padding = None if padding is None else pad(padding, (0, 1))

    def heads(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], batch * num_heads, head).transpose(0, 1)

    q = heads(q)
    k = heads(k) if static_k is None else static_k
    v = heads(v) if static_v is None else static_v
    if add_zero_attn:
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
        mask = None if mask is None else pad(mask, (0, 1))
        padding = None if padding is None else pad(padding, (0, 1))
    seen = k.shape[1]
    mask = _joined(mask, padding, batch, num_heads, length, seen)
    if need_weights:
        scores = (q * (1 / math.sqrt(head))) @ k.transpose(1, 2)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        out = dropout(weights, dropout_p, training) @ v
    else:
        out = scaled_dot_product_attention(q, k, v, mask, dropout_p if training else 0.0)
    y = linear(out.transpose(0, 1).reshape(length, batch, size), out_proj_weight, out_proj_bias)
    shown: Tensor | None = None
    if need_weights:
        shown = weights.reshape(batch, num_heads, length, seen)
        shown = shown.mean(1) if average_attn_weights else shown
    return (y.squeeze(1), None if shown is None else shown.squeeze(0)) if single else (y, shown)


def _joined(
    mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, length: int, seen: int
) -> Tensor | None:
    """Both masks as one to be added, that broadcasts to (batch * heads, length, seen)."""
    if mask is not None:
        if mask.ndim == 2 and tuple(mask.shape) != (length, seen):
            raise ShapeError(f"The shape of the 2D attn_mask is {list(mask.shape)}, but should be {(length, seen)}.")
        if mask.ndim == 3 and tuple(mask.shape) != (batch * heads, length, seen):
            raise ShapeError(
                f"The shape of the 3D attn_mask is {list(mask.shape)}, but should be {(batch * heads, length, seen)}."
            )
        if mask.ndim not in (2, 3):
            raise ShapeError(f"attn_mask's dimension {mask.ndim} is not supported")
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, seen):
        raise ShapeError(f"expecting key_padding_mask shape of {(batch, seen)}, but got {list(padding.shape)}")
    wide = padding.reshape(batch, 1, 1, seen).expand(batch, heads, 1, seen).reshape(batch * heads, 1, seen)
    return wide if mask is None else mask + wide
