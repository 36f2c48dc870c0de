"""Buffers beside an inaccessible page: a kernel that reads or writes one byte too far ends the process.

For tests, which run such kernels in a subprocess.
"""

from __future__ import annotations

import mmap
from typing import Literal

import numpy as np

from . import platform
from .buffer import Buffer


def guarded_buffer(nbytes: int, side: Literal["start", "end"] = "end", *, fill: int = 0xA5) -> Buffer:
    """`nbytes` bytes, all `fill`, with an inaccessible page right after the last ("end") or before the first one.

    At "start" the address is page-aligned; at "end" it is as aligned as `nbytes` is. The page stays inaccessible for
    as long as the buffer or a slice of it lives. Raises OSError where the system refuses.
    """
    if nbytes < 0:
        raise ValueError(f"nbytes must not be negative, got {nbytes}")
    page = platform.PAGE_BYTES
    pages = max(1, -(-nbytes // page)) * page
    raw = np.frombuffer(mmap.mmap(-1, pages + page), np.uint8)
    if side == "end":
        platform.protect_page(raw.ctypes.data + pages)
        data = raw[pages - nbytes : pages]
    elif side == "start":
        platform.protect_page(raw.ctypes.data)
        data = raw[page : page + nbytes]
    else:
        raise ValueError(f"side must be start or end, got {side!r}")
    data[:] = fill
    return Buffer(data)
