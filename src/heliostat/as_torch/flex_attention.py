"""`torch.nn.attention.flex_attention`: scores may be changed; blocks of a mask are not left out."""

from __future__ import annotations

from ..nn.functional import flex_attention
from . import refusal

_HELP = "give scaled_dot_product_attention a mask, or flex_attention a score_mod"
BlockMask = refusal.a_class("torch.nn.attention.flex_attention.BlockMask", _HELP)
create_block_mask = refusal.function("torch.nn.attention.flex_attention.create_block_mask", _HELP)
AuxRequest = refusal.a_class("torch.nn.attention.flex_attention.AuxRequest", "use return_lse=True")
_DEFAULT_SPARSE_BLOCK_SIZE = 128
create_mask = refusal.function("torch.nn.attention.flex_attention.create_mask", _HELP)

__all__ = ["BlockMask", "create_block_mask", "create_mask", "flex_attention"]
