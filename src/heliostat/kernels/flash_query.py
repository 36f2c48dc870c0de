"""Schedule of `attention_query_gradient`: see `flash_gradient`."""

from __future__ import annotations

from ..kernel.ir import Kernel
from ..targets.target import Target
from .flash_gradient import QUERY, QueryTiles
from .flash_operands import group_refusal
from .group import Accept, Group, Refuse


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `flash_operands.refusal` allows, alone."""
    reason = group_refusal(group, target, (QUERY,))
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str) -> Kernel:
    """As `QueryTiles` says."""
    return QueryTiles(group, name).build()
