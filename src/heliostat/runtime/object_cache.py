"""Compiled objects on disk, shared by all processes of a user.

An entry is one file, `<key>.o`: a header (magic, version, key, length, checksum) and the object. It is written under
another name and renamed, so readers see whole entries or none; whatever fails its checks is ignored and written anew.
The bytes are executed: a directory or file that another user could have written is never read. A cache that cannot be
used costs time, not correctness: `stats().note` says why, and everything is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..settings import settings
from . import fork
from .jit import compiler_version, host_machine
from .platform import cache_directory, others_can_write

_MAGIC = b"HelioObj"
_VERSION = 1
_HEADER = struct.Struct("<8sII32sQ32s")  # magic, version, zero, key, payload bytes, SHA-256 of the payload
_SUFFIX = ".o"
_TEMPORARY = ".tmp"
_STALE_SECONDS = 3600.0  # a temporary file this old belongs to a process that died
_SIZES = "sizes"  # a file: when the entries were last added up and their bytes; then a line of bytes for each new one
_SIZES_SECONDS = 86400.0  # for which it is believed: adding up takes seconds where there are many entries
_SIZES_BYTES = 1 << 20  # of the file, at most


def cache_key(parts: Sequence[str]) -> str:
    """SHA-256, in hex, of a sequence of texts. ("ab", "c") and ("a", "bc") differ.

    The compiler's version, this system and its machine are always part of it.
    """
    digest = hashlib.sha256()
    for part in (compiler_version(), sys.platform, host_machine(), *parts):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True)
class CacheStats:
    """What a cache did in this process. `note` is empty, or says why the directory is not used."""

    directory: Path | None = None
    hits: int = 0
    misses: int = 0
    rejected: int = 0  # entries that were truncated, corrupt or foreign
    writes: int = 0
    evicted: int = 0
    note: str = ""


class ObjectCache:
    """Compiled objects by key. Safe to use from several threads and several processes at once.

    `directory` None keeps nothing. `limit_bytes` bounds the directory; the least recently used entries go first.
    """

    _shared: tuple[object, ObjectCache] | None = None
    _shared_lock = fork.made_new()

    def __init__(self, directory: Path | None, limit_bytes: int = 2 << 30, note: str = "") -> None:
        self._lock = fork.made_new()
        self._limit = limit_bytes
        self._size: int | None = None  # bytes in the directory as far as known; None before the first look
        self._stats = CacheStats(directory, note=note)
        self._directory = directory
        self._prepared = False
        self._used: dict[str, None] = {}  # what this process read or wrote, in order

    @classmethod
    def default(cls) -> ObjectCache:
        """The cache that the settings ask for; the same object until they change."""
        now = settings()
        wanted = (now.cache, now.cache_dir, now.cache_bytes)
        with cls._shared_lock:
            if cls._shared is None or cls._shared[0] != wanted:
                cls._shared = (wanted, cls._from_settings(now.cache, now.cache_dir, now.cache_bytes))
            return cls._shared[1]

    @classmethod
    def _from_settings(cls, enabled: bool, directory: Path | None, limit: int) -> ObjectCache:
        if not enabled:
            return cls(None, note="off by HELIOSTAT_CACHE=0")
        place = directory or cache_directory()
        if place is None:
            return cls(None, note="no home directory; set HELIOSTAT_CACHE_DIR")
        return cls(place if directory else place / "objects", limit)

    def stats(self) -> CacheStats:
        """Counts since this object was made."""
        with self._lock:
            return self._stats

    def get(self, key: str) -> bytes | None:
        """The object stored under `key`, or None. An entry that fails its checks counts as absent."""
        data = self._read(key) if self._usable() else None
        with self._lock:
            if data is None:
                self._stats = replace(self._stats, misses=self._stats.misses + 1)
            else:
                self._stats = replace(self._stats, hits=self._stats.hits + 1)
                self._used[key] = None
        return data

    def put(self, key: str, payload: bytes) -> bool:
        """Store an object. Returns whether it is on disk now; a full or read-only disk is no error."""
        if not self._usable():
            return False
        assert self._directory is not None
        header = _HEADER.pack(_MAGIC, _VERSION, 0, bytes.fromhex(key), len(payload), hashlib.sha256(payload).digest())
        if len(header) + len(payload) > self._limit:
            return False
        name = ""
        try:
            handle, name = tempfile.mkstemp(_TEMPORARY, "", self._directory)  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(header)
                file.write(payload)
            Path(name).replace(self._path(key))
        except OSError as error:
            if name:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
            self._give_up(f"cannot write {self._directory}: {error.strerror or error}", for_good=False)
            return False
        written = len(header) + len(payload)
        with self._lock:
            known = self._size
        if known is None:
            known = self._recorded()
        if known is not None:
            self._record(written)
        with self._lock:
            self._stats = replace(self._stats, writes=self._stats.writes + 1)
            self._used[key] = None
            self._size = known if self._size is None else self._size
            if self._size is not None:
                self._size += written
            full = self._size is None or self._size > self._limit
        if full:
            self._evict()
        return True

    def get_or_make(self, parts: Sequence[str], make: Callable[[], bytes]) -> bytes:
        """The object of these key parts; made and stored if it is not there."""
        key = cache_key(parts)
        data = self.get(key)
        if data is None:
            data = make()
            self.put(key, data)
        return data

    def used(self) -> dict[str, bytes]:
        """The entries that this process has read or written and that are still there, by key."""
        with self._lock:
            keys = list(self._used)
        found = {key: self._read(key) for key in keys} if self._usable() else {}
        return {key: data for key, data in found.items() if data is not None}

    def clear(self) -> None:
        """Delete every entry."""
        if self._usable():
            self._evict(0)

    def _path(self, key: str) -> Path:
        assert self._directory is not None
        return self._directory / (key + _SUFFIX)

    def _give_up(self, why: str, *, for_good: bool = True) -> None:
        with self._lock:
            self._stats = replace(self._stats, note=self._stats.note or why)
            if for_good:
                self._directory = None

    def _usable(self) -> bool:
        """Whether there is a directory to use; makes and checks it at the first call."""
        with self._lock:
            if self._directory is None or self._prepared:
                return self._directory is not None
            directory = self._directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if others_can_write(directory.stat()):
                self._give_up(f"{directory} is not private: another user owns it or may write it (chmod 700)")
        except OSError as error:
            self._give_up(f"cannot use {directory}: {error.strerror or error}")
        with self._lock:
            self._prepared = True
            return self._directory is not None

    def _read(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                data = b"" if others_can_write(status) else file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(f"cannot read {path}: {error.strerror or error}", for_good=False)
            return None
        payload = data[_HEADER.size :]
        if len(data) < _HEADER.size or data[: _HEADER.size] != _HEADER.pack(
            _MAGIC, _VERSION, 0, bytes.fromhex(key), len(payload), hashlib.sha256(payload).digest()
        ):
            with self._lock:
                self._stats = replace(self._stats, rejected=self._stats.rejected + 1)
            return None
        with contextlib.suppress(OSError):  # the time of last use orders eviction; a read-only cache has none
            os.utime(path)
        return payload

    def _recorded(self) -> int | None:
        """The bytes of all entries by the file of sizes; None where it is not there, old or no such file."""
        assert self._directory is not None
        try:
            with (self._directory / _SIZES).open("rb") as file:
                text = file.read(_SIZES_BYTES)
            first, *rest = text.split()
            if len(text) == _SIZES_BYTES or not 0 <= time.time() - int(first[:20]) <= _SIZES_SECONDS:
                return None
            return sum(int(nbytes[:20]) for nbytes in rest)
        except (OSError, ValueError):
            return None

    def _record(self, nbytes: int) -> None:
        """Add the bytes of a new entry to the file of sizes, for processes that come later."""
        assert self._directory is not None
        with contextlib.suppress(OSError):
            handle = os.open(self._directory / _SIZES, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, b"%d\n" % nbytes)
            finally:
                os.close(handle)

    def _record_all(self, nbytes: int) -> None:
        """Begin the file of sizes anew."""
        assert self._directory is not None
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(_TEMPORARY, "", self._directory)
            with os.fdopen(handle, "wb") as file:
                file.write(b"%d %d\n" % (time.time(), nbytes))
            Path(name).replace(self._directory / _SIZES)

    def _evict(self, limit: int | None = None) -> None:
        """Delete the least recently used entries until the rest fits, and what dead processes left behind."""
        assert self._directory is not None
        entries: list[tuple[float, int, str]] = []
        now = time.time()
        try:
            with os.scandir(self._directory) as scan:
                for item in scan:
                    with contextlib.suppress(OSError):  # another process may delete it at the same time
                        status = item.stat()
                        if item.name.endswith(_SUFFIX):
                            entries.append((status.st_mtime, status.st_size, item.path))
                        elif item.name.endswith(_TEMPORARY) and now - status.st_mtime > _STALE_SECONDS:
                            Path(item.path).unlink()
        except OSError:
            return
        size = sum(nbytes for _, nbytes, _ in entries)
        removed = 0
        bound = self._limit if limit is None else limit
        if size > bound:
            entries.sort()
            for _, nbytes, name in entries:
                if size <= bound * 9 // 10:  # some room, or every following entry would scan the directory again
                    break
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                    removed += 1
                size -= nbytes
        self._record_all(size)
        with self._lock:
            self._size = size
            self._stats = replace(self._stats, evicted=self._stats.evicted + removed)
