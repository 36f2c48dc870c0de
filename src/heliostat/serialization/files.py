"""Whole files: read at once, and replaced at once so that a crash leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..diagnostics import FileFormatError
from ..runtime.platform import name_file


def name_of(f: Any) -> str:
    """What messages call a file."""
    return str(getattr(f, "name", "<stream>")) if hasattr(f, "read") or hasattr(f, "write") else str(f)


def read_all(f: Any) -> tuple[str, bytes]:
    """A file's name and bytes, of a path or an open file. Raises FileFormatError where it cannot be read."""
    if hasattr(f, "read"):
        data = f.read()
        if not isinstance(data, bytes):
            raise TypeError("a file opened for bytes is needed")
        return name_of(f), data
    try:
        return str(f), Path(f).read_bytes()
    except FileNotFoundError:
        raise FileFormatError(f"{f}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{f}: cannot be read: {error.strerror or error}") from None


def write_all(f: Any, pieces: Iterable[Any]) -> None:
    """Write pieces of bytes to an open file, or to a path: to a file beside it first, which then takes its name."""
    if hasattr(f, "write"):
        for piece in pieces:
            f.write(piece)
        return
    path = Path(f)
    if path.is_symlink():
        path = path.resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    try:
        with beside.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            beside.chmod(mode)
        beside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        name_file(error, path)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name too is to survive a loss of power
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
