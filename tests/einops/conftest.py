"""Patterns are tested on the ops' NumPy references: nothing is compiled."""

from __future__ import annotations

from distributions.conftest import interpreted

__all__ = ["interpreted"]
