"""A read-only file in memory, without copying it: what the GGUF and safetensors readers stand on."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heliostat.diagnostics import FileFormatError


class MappedFile:
    """A whole regular file, memory-mapped. Pages are read when touched and stay shared with other processes.

    `buffer` slices to `bytes`; `view` is free of copies. The length is fixed when the file is opened: a file that
    another process cuts short while it is mapped ends this one (SIGBUS), which no reader of maps can prevent.
    """

    def __init__(self, path: Path, buffer: mmap.mmap) -> None:
        self.path = path
        self.buffer = buffer
        self.size = len(buffer)
        self.closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> MappedFile:
        """Map `path`. Raises FileFormatError for a file that is missing, empty, unreadable or not a regular file."""
        path = Path(path)
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a named pipe would block without it
            try:
                status = os.fstat(fd)
                if stat.S_ISDIR(status.st_mode):
                    raise FileFormatError(f"{path}: is a directory, not a file")
                if not stat.S_ISREG(status.st_mode):
                    raise FileFormatError(f"{path}: is not a regular file")
                if status.st_size == 0:
                    raise FileFormatError(f"{path}: the file is empty")
                return cls(path, mmap.mmap(fd, status.st_size, access=mmap.ACCESS_READ))
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise FileFormatError(f"{path}: no such file") from None
        except OSError as error:
            reason = "is a directory, not a file" if path.is_dir() else f"cannot be read: {error.strerror or error}"
            raise FileFormatError(f"{path}: {reason}") from None
        except FileFormatError:
            raise
        except ValueError as error:  # a NUL in the path; a file that shrank between the two calls
            raise FileFormatError(f"{str(path)!r}: cannot be read: {error}") from None

    def view(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """Bytes [offset, offset + nbytes) as a read-only uint8 array without copying; it keeps the map alive.

        Raises ValueError after `close`, or for a range outside the file."""
        if self.closed:
            raise ValueError(f"{self.path}: the file is closed")
        if not 0 <= offset <= offset + nbytes <= self.size:
            raise ValueError(f"{self.path}: bytes {offset} to {offset + nbytes} lie outside the file ({self.size} bytes)")
        if nbytes == 0:
            empty = np.empty(0, np.uint8)
            empty.flags.writeable = False
            return empty
        return np.frombuffer(self.buffer, np.uint8, count=nbytes, offset=offset)

    def close(self) -> None:
        """Give the map back. Views that are still held stay valid: the last of them gives it back then."""
        self.closed = True
        try:
            self.buffer.close()
        except BufferError:
            pass  # exported views exist; they own the map from here on
