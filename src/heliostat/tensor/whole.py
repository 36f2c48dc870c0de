"""Objects that files hold whole, by the name of their class and their attributes: modules and what they own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class Whole:
    """Base of classes whose instances `save` writes and `load(weights_only=False)` makes again without `__init__`."""

    __slots__ = ()

    def _kept(self) -> Mapping[str, Any]:
        """What a file holds of it, by name."""
        raise NotImplementedError

    @classmethod
    def _restored(cls, kept: Mapping[str, Any]) -> Self:
        """An instance of what `_kept` gave. Raises ValueError, TypeError or KeyError for what cannot be that."""
        raise NotImplementedError
