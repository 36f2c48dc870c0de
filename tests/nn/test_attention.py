"""Attention and transformers against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, ours, theirs, torch, values

T = torch.nn.functional
PADDING = np.array([[False, False, True], [False, False, False]])
LATER = np.triu(np.ones((4, 4), bool), 1)


@pytest.mark.parametrize(
    "kwargs", [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": ~LATER}, {"attn_mask": values((2, 1, 4, 4))}],
    ids=["plain", "causal", "scale", "bools", "numbers"],
)  # fmt: skip
def test_scaled_dot_product_attention(kwargs: Any) -> None:
    arrays = [values((2, 3, 4, 5), n) for n in range(3)]
    compare_functions(
        lambda *a: F.scaled_dot_product_attention(*a, **{k: ours(v, False) for k, v in kwargs.items()}),
        lambda *a: T.scaled_dot_product_attention(*a, **{k: theirs(v, False) for k, v in kwargs.items()}), *arrays,
    )  # fmt: skip


@pytest.mark.parametrize("shapes", [[(2, 2, 40, 16)] * 3, [(2, 40, 8), (2, 60, 8), (2, 60, 5)]], ids=["alike", "other"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_one_kernel(shapes: Any, causal: bool) -> None:
    """Large enough for kernels of its own, forward and, where all shapes are one, backward."""
    arrays = [values(s, n) for n, s in enumerate(shapes)]
    compare_functions(
        lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal),
        lambda *a: T.scaled_dot_product_attention(*a, is_causal=causal), *arrays,
    )  # fmt: skip


def test_shared_heads_of_keys() -> None:
    arrays = [values((2, 4, 3, 5), 0), values((2, 2, 6, 5), 1), values((2, 2, 6, 5), 2)]
    compare_functions(
        lambda *a: F.scaled_dot_product_attention(*a, enable_gqa=True),
        lambda *a: T.scaled_dot_product_attention(*a, enable_gqa=True), *arrays,
    )  # fmt: skip


def test_a_query_that_sees_nothing_gives_zero() -> None:
    q, mask = hs.randn(1, 1, 2, 3).requires_grad_(True), hs.tensor(np.array([[False, False], [True, False]]))
    y = F.scaled_dot_product_attention(q, hs.randn(1, 1, 2, 3), hs.randn(1, 1, 2, 3), mask)
    assert (y.detach().numpy()[0, 0, 0] == 0).all()
    y.sum().backward()
    assert np.isfinite(q.grad.numpy()).all()


@pytest.mark.parametrize(
    ("kwargs", "call"),
    [
        ({}, {}), ({"batch_first": True}, {}), ({"bias": False}, {"need_weights": False}),
        ({"add_bias_kv": True, "add_zero_attn": True}, {"average_attn_weights": False}),
        ({"add_bias_kv": True}, {"key_padding_mask": PADDING}),
        ({}, {"key_padding_mask": PADDING, "need_weights": False}),
        ({}, {"attn_mask": values((4, 3), 5)}), ({}, {"attn_mask": values((4, 4, 3), 5)}),
        ({"add_zero_attn": True}, {"attn_mask": LATER[:, 1:]}),
    ], ids=str,
)  # fmt: skip
def test_multihead_attention(kwargs: Any, call: Any) -> None:
    shapes = [(4, 2, 6), (3, 2, 6), (3, 2, 6)]
    if kwargs.get("batch_first"):
        shapes = [(b, n, e) for n, b, e in shapes]
    compare_modules("MultiheadAttention", (6, 2), shapes, kwargs=kwargs, call=call)


def test_multihead_attention_of_other_widths_and_single_sequences() -> None:
    compare_modules("MultiheadAttention", (6, 2), [(4, 2, 6), (3, 2, 5), (3, 2, 4)], kwargs={"kdim": 5, "vdim": 4})
    compare_modules("MultiheadAttention", (6, 2), [(4, 6), (3, 6), (3, 6)])


SMALL = {"dim_feedforward": 7, "dropout": 0.0}


@pytest.mark.parametrize(
    "kwargs", [{}, {"norm_first": True, "activation": "gelu"}, {"batch_first": True, "bias": False}], ids=str
)
def test_layers(kwargs: Any) -> None:
    compare_modules("TransformerEncoderLayer", (6, 2), [(4, 2, 6)], kwargs={**SMALL, **kwargs})
    shapes = [(4, 2, 6), (3, 2, 6)] if "batch_first" not in kwargs else [(2, 4, 6), (2, 3, 6)]
    compare_modules("TransformerDecoderLayer", (6, 2), shapes, kwargs={**SMALL, **kwargs})


def test_masks_of_layers() -> None:
    padding = np.zeros((2, 4), bool)
    padding[0, 3] = True
    mask = np.where(LATER, -np.inf, 0).astype(np.float32)
    compare_modules("TransformerEncoderLayer", (6, 2), [(4, 2, 6)], kwargs=SMALL, call={"src_mask": mask})
    compare_modules(
        "TransformerDecoderLayer", (6, 2), [(4, 2, 6), (3, 2, 6)], kwargs=SMALL,
        call={"tgt_mask": LATER, "memory_key_padding_mask": PADDING, "tgt_key_padding_mask": padding},
    )  # fmt: skip


def test_stacks() -> None:
    def encoder(m: Any, _: Any) -> Any:
        layer = m.TransformerEncoderLayer(6, 2, **SMALL)
        return {"encoder_layer": layer, "num_layers": 2, "norm": m.LayerNorm(6)}

    def decoder(m: Any, _: Any) -> Any:
        return {"decoder_layer": m.TransformerDecoderLayer(6, 2, **SMALL), "num_layers": 2}

    compare_modules("TransformerEncoder", (), [(4, 2, 6)], kwargs=encoder)
    compare_modules("TransformerDecoder", (), [(4, 2, 6), (3, 2, 6)], kwargs=decoder)


def test_transformer() -> None:
    kwargs = {"num_encoder_layers": 1, "num_decoder_layers": 1, **SMALL}
    compare_modules("Transformer", (6, 2), [(3, 2, 6), (4, 2, 6)], kwargs=kwargs)
    np.testing.assert_array_equal(
        nn.Transformer.generate_square_subsequent_mask(3).numpy(),
        torch.nn.Transformer.generate_square_subsequent_mask(3).numpy(),
    )


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="divisible by num_heads"):
        nn.MultiheadAttention(6, 4)
    x = hs.zeros(4, 2, 6)
    with pytest.raises(ValueError, match=r"2D attn_mask is \[4, 3\], but should be \(4, 4\)"):
        nn.MultiheadAttention(6, 2)(x, x, x, attn_mask=hs.zeros(4, 3))
    with pytest.raises(ValueError, match=r"expecting key_padding_mask shape of \(2, 4\)"):
        nn.MultiheadAttention(6, 2)(x, x, x, key_padding_mask=hs.zeros(4, 4))
    with pytest.raises(RuntimeError, match="batch number of src and tgt"):
        nn.Transformer(6, 2, 1, 1, 8)(x, hs.zeros(4, 3, 6))
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(6, 2, activation="tanh")
