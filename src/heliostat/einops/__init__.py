"""Operations on axes by name, with the names, patterns and messages of the package einops.

>>> import heliostat as hs
>>> from heliostat.einops import rearrange, reduce
>>> image = hs.arange(24).reshape(2, 3, 4)
>>> rearrange(image, "c h w -> h (w c)").shape
Size([3, 8])
>>> reduce(image, "c h (w 2) -> h w", "sum").tolist()
[[26, 34], [42, 50], [58, 66]]
"""

from __future__ import annotations

from ..diagnostics import EinopsError
from .packing import pack, unpack
from .product import einsum
from .rearrange import asnumpy, parse_shape, rearrange, reduce, repeat

__all__ = [
    "EinopsError", "asnumpy", "einsum", "pack", "parse_shape", "rearrange", "reduce", "repeat", "unpack",
]  # fmt: skip
