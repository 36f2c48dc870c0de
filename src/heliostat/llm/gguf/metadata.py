"""Metadata of a model file with typed access: every wrong or missing value is an error that names file and key."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ...diagnostics import FileFormatError
from .strings import Strings


class Metadata(Mapping[str, Any]):
    """Keys and values of the file `path`. A getter without a default demands the key; all raise FileFormatError."""

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        self.path, self._values = path, values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _missing(self, key: str) -> NoReturn:
        raise FileFormatError(f"{self.path}: metadata key {key} is missing")

    def _wrong(self, key: str, wanted: str) -> NoReturn:
        found = repr(self._values[key])
        shown = found if len(found) <= 60 else f"{found[:60]}..."
        raise FileFormatError(f"{self.path}: metadata key {key} must be {wanted}, found {' '.join(shown.split())}")

    def integer(self, key: str, default: int | None = None, low: int = -(1 << 63), high: int = (1 << 64) - 1) -> int:
        """An integer from `low` to `high`; booleans are none. The default need not lie between them."""
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(key, "an integer")
        if not low <= value <= high:
            raise FileFormatError(f"{self.path}: metadata key {key} is {value}, outside {low} .. {high}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number, integers included."""
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self._wrong(key, "a finite number")
        return float(value)

    def string(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        return value if isinstance(value, str) else self._wrong(key, "a string")

    def boolean(self, key: str, default: bool | None = None) -> bool:
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        return value if isinstance(value, bool) else self._wrong(key, "a boolean")

    def integers(self, key: str, default: Sequence[int] | None = None) -> Sequence[int]:
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, array) and value.typecode not in "fd":
            return value
        if not isinstance(value, (list, tuple)) or not set(map(type, value)) <= {int}:
            self._wrong(key, "an array of integers")
        return value

    def strings(self, key: str, default: Sequence[str] | None = None) -> Sequence[str]:
        value = self._values.get(key)
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, Strings):
            return value
        if not isinstance(value, (list, tuple)) or not set(map(type, value)) <= {str}:
            self._wrong(key, "an array of strings")
        return value
