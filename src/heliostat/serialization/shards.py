"""Dicts of tensors as several safetensors files and an index, as Hugging Face lays models out.

The files of a saving have names of their own and the index comes last, so a crash leaves the old set or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..diagnostics import FileFormatError, UnsupportedError
from ..tensor.core import Tensor
from .bytes import Record, as_bytes, from_bytes
from .files import read_all, write_all
from .safetensors import pack, unpack

INDEX = "model.safetensors.index.json"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B", re.IGNORECASE)


def save_sharded(
    tensors: Mapping[str, Tensor], folder: str | os.PathLike[str], max_shard_size: int | str = "5GB"
) -> list[str]:
    """Write tensors to files of at most that many bytes ("500MB"), but for larger tensors, and return their names.

    A set that the folder's index names is replaced."""
    for name, t in tensors.items():
        if not isinstance(name, str) or not isinstance(t, Tensor):
            raise UnsupportedError(f"save_sharded: {name!r} is a {type(t).__name__}", help="use save")
    limit = _bytes(max_shard_size)
    shards: list[list[str]] = []
    room = 0
    for name, t in tensors.items():
        if not shards or t.nbytes > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= t.nbytes
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    before = _files(place / INDEX)
    token = secrets.token_hex(4)
    weights: dict[str, str] = {}
    digests: dict[str, str] = {}
    for n, names in enumerate(shards):
        file = f"model-{token}-{n + 1:05d}-of-{len(shards):05d}.safetensors"
        records: dict[str, Record] = {name: as_bytes(tensors[name]) for name in names}
        pieces = list(pack(records, {"format": "pt"}))
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        write_all(place / file, pieces)
        digests[file] = digest.hexdigest()
        weights |= dict.fromkeys(names, file)
    total = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": total, "sha256": digests}, "weight_map": weights}
    write_all(place / INDEX, [json.dumps(index, indent=2).encode()])
    for file in before - set(digests):
        with contextlib.suppress(OSError):
            (place / file).unlink()
    return list(digests)


def load_sharded(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of all files that a folder's index names, in its order. Raises FileFormatError."""
    place = Path(folder)
    index = _index(place / INDEX)
    weights, digests = index["weight_map"], index.get("metadata", {}).get("sha256", {})
    records: dict[str, Record] = {}
    for file in dict.fromkeys(weights.values()):
        path, data = read_all(place / file)
        if file in digests and hashlib.sha256(data).hexdigest() != digests[file]:
            raise FileFormatError(f"{path}: is damaged: its checksum differs", help="nothing was loaded; save it again")
        found, _ = unpack(path, data)
        expected = {name for name, where in weights.items() if where == file}
        if found.keys() != expected:
            wrong = sorted(found.keys() ^ expected)[:4]
            raise FileFormatError(f"{path}: has not the tensors that the index names: {', '.join(wrong)}")
        records |= found
    return {name: from_bytes(*records[name]) for name in weights}


def _bytes(size: int | str) -> int:
    if isinstance(size, int) and size > 0:
        return size
    found = _SIZE.fullmatch(str(size).strip())
    if found is None:
        raise ValueError(f"max_shard_size is a number of bytes or a text like '500MB', found {size!r}")
    return int(float(found[1]) * 1000 ** (" KMGT".index(found[2].upper() or " ")))


def _index(path: Path) -> dict[str, Any]:
    name, data = read_all(path)
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name}: is no JSON: {str(error)[:80]}") from None
    weights = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not isinstance(found.get("metadata", {}), dict):
        raise FileFormatError(f"{name}: needs a weight_map")
    if not isinstance(found.get("metadata", {}).get("sha256", {}), dict):
        raise FileFormatError(f"{name}: sha256 must map files to checksums")
    for file in weights.values():
        if not isinstance(file, str) or file in ("", ".", "..") or any(c in file for c in "/\\:\0"):
            raise FileFormatError(f"{name}: weight_map names {str(file)[:60]!r}, which is not a file beside it")
    return found


def _files(index: Path) -> set[str]:
    """The files of a set that is there, as far as its index can be read."""
    if not index.is_file():
        return set()
    try:
        return set(_index(index)["weight_map"].values())
    except FileFormatError:
        return set()
