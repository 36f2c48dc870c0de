"""How commands say what is wrong: findings in a source, errors in one line, and when to use colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TextIO

from heliostat.diagnostics import Diagnostic, HeliostatError, printable
from heliostat.lang.source import MAX_BYTES, Source, decode_source, read_source


class UsageError(HeliostatError, ValueError):
    """The words on the command line do not make sense together. Exit code 2."""


class FindingsError(HeliostatError):
    """The user's program has errors, already printed. Exit code 1."""


def open_source(path: str) -> Source:
    """The source in that file; `-` is standard input. Raises OSError and FileFormatError as `read_source` does."""
    return decode_source(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>") if path == "-" else read_source(path)


def color(stream: object) -> bool:
    """Whether to colour what is written to `stream`: only on a terminal, and never where NO_COLOR is set."""
    isatty = getattr(stream, "isatty", None)
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and isatty is not None and bool(isatty())


def has_bars() -> bool:
    """Whether to draw progress bars: on a terminal, where the package for them, which is optional, is installed."""
    return sys.stderr.isatty() and find_spec("rich") is not None


def print_findings(findings: Sequence[Diagnostic], source: Source, stream: TextIO) -> None:
    """Every finding with its source lines, an empty line between two."""
    print("\n\n".join(f.render(source.lines, color=color(stream)) for f in findings), file=stream)


def print_error(error: HeliostatError | OSError) -> None:
    """What went wrong, on standard error; a `HeliostatError` with its place and help."""
    if isinstance(error, HeliostatError):
        text = error.diagnostic.render(error.source, color=color(sys.stderr))
    elif error.filename is not None:
        text = f"error: {error.filename}: {error.strerror or error}"
    else:
        text = f"error: {error}"
    print(text if isinstance(error, HeliostatError) else printable(text), file=sys.stderr)
