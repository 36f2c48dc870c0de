"""Formats that a model file declares itself: their `.lum` text becomes a registered block format."""

from __future__ import annotations

from ..diagnostics import FileFormatError
from ..lang.check import check
from ..lang.source import Source
from .gguf import TensorKind


def resolve_format(text: str) -> TensorKind:
    """Name and sizes of a format declared as `.lum` text.

    Raises FileFormatError for a text that does not declare one.
    """
    module = check(Source(text, "a format declared in the file"))
    if module.findings or len(module.formats) != 1:
        why = module.findings[0].message if module.findings else "it must declare exactly one format"
        raise FileFormatError(f"a format that the file declares is not valid: {why}")
    module.register()
    made = next(iter(module.formats.values()))
    return TensorKind(made.name, made.block, made.nbytes)
