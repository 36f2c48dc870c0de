"""Formats that a model file declares itself: their `.lum` text becomes a registered block format."""

from __future__ import annotations

from ..diagnostics import FileFormatError
from ..lang.check import check
from ..quant.format import BlockFormat
from .gguf import TensorKind


def resolve_format(text: str) -> TensorKind:
    """Name and sizes of a format declared as `.lum` text. Raises FileFormatError for a text that does not declare one."""
    result = check(text, "the file's own format")
    found = [f for f in result.formats if isinstance(f, BlockFormat)]
    if result.diagnostics or len(found) != 1:
        why = result.diagnostics[0].message if result.diagnostics else "it must declare exactly one format"
        raise FileFormatError(f"a format that the file declares is not valid: {why}")
    return TensorKind(found[0].name, found[0].block, found[0].nbytes)
