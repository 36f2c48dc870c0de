"""Schedule of `attention_key_gradient` and `attention_value_gradient`, both or one of them: see `flash_gradient`."""

from __future__ import annotations

from ..kernel.ir import Kernel
from ..targets.target import Target
from .flash_gradient import KEY, VALUE, KeyTiles
from .flash_operands import group_refusal
from .group import Accept, Group, Refuse


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `flash_operands.refusal` allows, of the same operands."""
    reason = group_refusal(group, target, (KEY, VALUE))
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str) -> Kernel:
    """As `KeyTiles` says."""
    return KeyTiles(group, name).build()
