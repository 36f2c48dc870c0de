"""Products of tensors with axes by name."""

from __future__ import annotations

import string
from functools import lru_cache
from typing import Any

from ..diagnostics import EinopsError, UnsupportedError
from ..tensor import FUNCTIONS, Tensor
from .pattern import ANY, Group, parse


def _name(group: Group) -> str:
    if not group:
        raise UnsupportedError("Singleton () axes are not yet supported in einsum.")
    if len(group) > 1:
        raise UnsupportedError("Shape rearrangement is not yet supported in einsum.")
    if group[0].length is not None:
        raise UnsupportedError("Anonymous axes are not yet supported in einsum.")
    return group[0].name


@lru_cache(maxsize=1024)
def _letters(pattern: str) -> str:
    """A pattern with a letter for each name, as `hs.einsum` has it."""
    sides = pattern.split("->")
    if len(sides) != 2:
        raise EinopsError(f"Einsum pattern must contain '->' once: {pattern}")
    letters: dict[str, str] = {}

    def written(text: str, new: bool) -> str:
        made = ""
        for group in parse(text, allow_underscore=True, allow_duplicates=new).groups:
            if group == (ANY,):
                made += "..."
                continue
            name = _name(group)
            if name not in letters:
                if not new:
                    raise EinopsError(f"Unknown axis {name} on right side of einsum {pattern}.")
                if len(letters) == len(string.ascii_letters):
                    raise EinopsError(f"Too many axes in einsum {pattern}.")
                letters[name] = string.ascii_letters[len(letters)]
            made += letters[name]
        return made

    return ",".join([written(text, True) for text in sides[0].split(",")]) + "->" + written(sides[1], False)


def einsum(*tensors_and_pattern: Any) -> Tensor:
    """Sums of products: `einsum(x, y, "batch i, i j -> batch j")`, tensors first. Names that the right side lacks are
    summed over. Raises EinopsError for a pattern that does not parse, UnsupportedError for groups and numbers in it."""
    if len(tensors_and_pattern) <= 1:
        raise EinopsError(
            "`einops.einsum` takes at minimum two arguments: the tensors (at least one), followed by the pattern."
        )
    *tensors, pattern = tensors_and_pattern
    if not isinstance(pattern, str):
        raise EinopsError(
            "The last argument passed to `einops.einsum` must be a string, representing the einsum pattern."
        )
    made: Tensor = FUNCTIONS["einsum"](_letters(pattern), *tensors)
    return made
