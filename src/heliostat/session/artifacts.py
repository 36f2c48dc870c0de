"""Compiled objects as one value, to carry to another process or machine: `hs.compile.save_cache_artifacts`.

The form: magic, version, count, then for each entry its key, its length and its bytes, and a SHA-256 of all of that.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from ..diagnostics import FileFormatError
from ..runtime.object_cache import ObjectCache

_HEAD = struct.Struct("<8sII")  # magic, version, entries
_ENTRY = struct.Struct("<32sQ")  # key, bytes
_MAGIC = b"HelioArt"
_VERSION = 1


class CacheArtifacts(NamedTuple):
    """What was packed or taken over. keys: of the entries, SHA-256 in hex. nbytes: of their objects."""

    keys: tuple[str, ...]
    nbytes: int


def save_cache_artifacts() -> tuple[bytes, CacheArtifacts] | None:
    """Everything that this process has compiled, or found compiled, as bytes, and what is in there; None where that is
    nothing, or the cache on disk is off. They serve processes with the same version of everything on the same kind of
    processor; others compile as if they were not there."""
    entries = ObjectCache.default().used()
    if not entries:
        return None
    packed = bytearray(_HEAD.pack(_MAGIC, _VERSION, len(entries)))
    for key, data in entries.items():
        packed += _ENTRY.pack(bytes.fromhex(key), len(data)) + data
    packed += hashlib.sha256(packed).digest()
    return bytes(packed), _counted(entries)


def load_cache_artifacts(artifacts: bytes) -> CacheArtifacts:
    """Put what `save_cache_artifacts` gave into this user's cache on disk, where what is compiled from now on finds it.

    The objects are machine code that will run: load only what you or somebody you trust has saved. Raises
    FileFormatError, and takes nothing over, where the bytes are not whole; what a full or read-only disk does not take
    is left out of the result.
    """
    entries = _unpacked(bytes(artifacts))
    cache = ObjectCache.default()
    return _counted({key: data for key, data in entries.items() if cache.put(key, data)})


def _counted(entries: dict[str, bytes]) -> CacheArtifacts:
    return CacheArtifacts(tuple(entries), sum(len(data) for data in entries.values()))


def _unpacked(data: bytes) -> dict[str, bytes]:
    body, digest = data[:-32], data[-32:]
    if len(body) < _HEAD.size or hashlib.sha256(body).digest() != digest:
        raise FileFormatError("cache artifacts: cut off, changed, or something else", help="save them again")
    magic, version, count = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != _VERSION:
        raise FileFormatError(f"cache artifacts: of an unknown kind or version ({version})", help="save them again")
    entries: dict[str, bytes] = {}
    at = _HEAD.size
    for _ in range(count):
        key, size = _ENTRY.unpack_from(body, at) if len(body) - at >= _ENTRY.size else (b"", len(body))
        at += _ENTRY.size
        if size > len(body) - at:
            raise FileFormatError("cache artifacts: an entry reaches past the end", help="save them again")
        entries[key.hex()] = body[at : at + size]
        at += size
    if at != len(body):
        raise FileFormatError("cache artifacts: there are bytes behind the last entry", help="save them again")
    return entries
