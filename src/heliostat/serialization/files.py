"""Whole files: read at once, and replaced at once so that a crash leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..diagnostics import FileFormatError
from ..runtime.platform import lock_file, name_file, sync_directory

PART = ".part"
FRESH = 10.0  # seconds


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
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    _clear(path)
    try:
        with beside.open("xb") as file:
            lock_file(file)
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
    sync_directory(path.parent)  # the new name too is to survive a loss of power


def _clear(path: Path) -> None:
    """Remove what writers of this file left that were killed: parts that nobody holds a lock on. A part that was made
    just now may have no lock yet, and stays."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        with contextlib.suppress(OSError), part.open("rb+") as file:
            if time.time() - part.stat().st_mtime > FRESH and lock_file(file):
                part.unlink()
