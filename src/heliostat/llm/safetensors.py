"""Hugging Face safetensors models: one file, or a folder with shards and an index. Mapped, checked, never copied.

The header is parsed here: the safetensors library copies tensors when it hands them to NumPy, and NumPy has no bf16.
A fault of a file's content is a FileFormatError of one line that starts with its path.
Source: github.com/huggingface/safetensors, README "Format".
"""

from __future__ import annotations

import json
import mmap
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError
from ..runtime.platform import release_pages

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
JSON_LIMIT = 64 << 20  # bytes of an index or a configuration
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.safetensors")

# dtype -> bits per element, and the NumPy dtype of `array`; None where elements are no whole bytes
DTYPES: Mapping[str, tuple[int, str | None]] = {
    "BOOL": (8, "|b1"), "U8": (8, "|u1"), "I8": (8, "|i1"), "U16": (16, "<u2"), "I16": (16, "<i2"), "U32": (32, "<u4"),
    "I32": (32, "<i4"), "U64": (64, "<u8"), "I64": (64, "<i8"), "F16": (16, "<f2"), "BF16": (16, "<u2"),
    "F32": (32, "<f4"), "F64": (64, "<f8"), "C64": (64, "<c8"), "F8_E4M3": (8, "|u1"), "F8_E5M2": (8, "|u1"),
    "F8_E8M0": (8, "|u1"), "F6_E2M3": (6, None), "F6_E3M2": (6, None), "F4": (4, None),
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorInfo:
    """One tensor. `shape` is row-major; `offset` is bytes from the start of file number `part`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    part: int
    offset: int


class SafetensorsModel:
    """An open model. `parts`: its files. `metadata`: `__metadata__` of all files together.
    `config`, `generation_config`: parsed JSON or None; `tokenizer_path`: of `tokenizer.json`, or None."""

    def __init__(self, path: Path, folder: Path, files: list[Path], places: Mapping[str, str] | None) -> None:
        self.path = str(path)
        self.parts = tuple(files)
        self._maps: list[mmap.mmap] = []
        self.metadata: dict[str, str] = {}
        tensors: dict[str, SafetensorInfo] = {}
        for part, file in enumerate(files):
            mapped = _map(file)
            self._maps.append(mapped)
            found, metadata = _header(str(file), mapped, part)
            for name in found:
                if name in tensors:
                    raise FileFormatError(f"{file}: tensor {shown(name)}: is in {files[tensors[name].part].name} too")
            tensors |= found
            self.metadata |= metadata
        if places is not None:
            for name, file_name in places.items():
                if name not in tensors or files[tensors[name].part].name != file_name:
                    raise FileFormatError(
                        f"{path}: tensor {shown(name)}: is not in {shown(file_name)}, as the index says"
                    )
        self.tensors: Mapping[str, SafetensorInfo] = MappingProxyType(tensors)
        self.size = sum(map(len, self._maps))
        self.config = _optional_object(folder / "config.json")
        self.generation_config = _optional_object(folder / "generation_config.json")
        tokenizer = folder / "tokenizer.json"
        self.tokenizer_path = tokenizer if tokenizer.is_file() else None

    @classmethod
    def open(cls, path: str | Path) -> SafetensorsModel:
        """Open a folder, a file, an index, or (by any of them) all the shards that an index names.

        Raises FileFormatError."""
        path = Path(path)
        try:
            if path.is_dir():
                return cls._folder(path)
            if path.name.endswith(".index.json"):
                return cls._index(path, path)
            index = path.with_name(INDEX)
            if _SHARD.fullmatch(path.name) and index.is_file():
                return cls._index(path, index)
        except (OSError, ValueError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"{shown(str(path))}: cannot be read: {error}") from None
        return cls(path, path.parent, [path], None)

    @classmethod
    def _folder(cls, path: Path) -> SafetensorsModel:
        if (path / INDEX).is_file():
            return cls._index(path, path / INDEX)
        found = sorted(path.glob("*.safetensors"))
        plain = path / "model.safetensors"
        if plain in found or len(found) == 1:
            return cls(path, path, [plain if plain in found else found[0]], None)
        what = f"{len(found)} safetensors files and no {INDEX}" if found else "no safetensors file"
        raise FileFormatError(f"{path}: the folder has {what}")

    @classmethod
    def _index(cls, path: Path, index: Path) -> SafetensorsModel:
        places = _object(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
            raise FileFormatError(f"{index}: weight_map must map tensor names to file names")
        names = sorted(set(places.values()))
        for name in names:
            if name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
                raise FileFormatError(f"{index}: weight_map names {shown(name)!r}, which is not a file beside it")
        missing = [name for name in names if not index.with_name(name).is_file()]
        if missing:
            more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
            raise FileFormatError(f"{index}: {', '.join(map(shown, missing[:4]))}{more}: no such file beside the index")
        if not names:
            raise FileFormatError(f"{index}: weight_map is empty")
        return cls(path, index.parent, [index.with_name(name) for name in names], places)

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes (nbytes,) as a read-only view of the map. KeyError; ValueError once closed."""
        info = self.tensors[name]
        if not self._maps:
            raise ValueError(f"{self.path}: the model is closed")
        return np.frombuffer(self._maps[info.part], np.uint8)[info.offset : info.offset + info.nbytes]

    def array(self, name: str) -> npt.NDArray[Any]:
        """A tensor as a read-only array of its shape, without copying; it may be unaligned. BF16 comes as the uint16
        and F8 as the uint8 of its bits. Raises as `data`, and TypeError for dtypes of less than a byte."""
        info = self.tensors[name]
        dtype = DTYPES[info.dtype][1]
        if dtype is None:
            raise TypeError(f"{self.path}: tensor {shown(name)}: {info.dtype} has no NumPy dtype, use data()")
        return self.data(name).view(np.dtype(dtype)).reshape(info.shape)

    def release(self) -> None:
        """Let the system drop the pages of all files; they are read again when touched."""
        for mapped in self._maps:
            release_pages(np.frombuffer(mapped, np.uint8).ctypes.data, len(mapped))

    def close(self) -> None:
        """Forget the files. A map goes when the last view of it does."""
        self._maps = []

    def __enter__(self) -> SafetensorsModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shown(name: str) -> str:
    """A name out of a file, fit for one line."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:80]}..."


def _map(path: Path) -> mmap.mmap:
    try:
        # without O_NONBLOCK a named pipe would block for ever
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileFormatError(f"{path}: is not a regular file")
            if status.st_size < 10:
                raise FileFormatError(f"{path}: {status.st_size} bytes are too few for a safetensors file")
            return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{shown(str(path))}: cannot be read: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made


def _parse(path: str, raw: bytes) -> dict[str, Any]:
    """A JSON object. RecursionError is what `json` raises for deep nesting, ValueError covers the rest."""
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        why = "is nested too deeply" if isinstance(error, RecursionError) else shown(str(error))
        raise FileFormatError(f"{path}: the JSON is not valid: {why}") from None
    if not isinstance(found, dict):
        raise FileFormatError(f"{path}: the JSON must be an object")
    return found


def _object(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise FileFormatError(f"{path}: no such file")
        if path.stat().st_size > JSON_LIMIT:
            raise FileFormatError(f"{path}: is larger than {JSON_LIMIT} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    return _parse(str(path), raw)


def _optional_object(path: Path) -> dict[str, Any] | None:
    return _object(path) if path.exists() else None


def _header(path: str, mapped: mmap.mmap, part: int) -> tuple[dict[str, SafetensorInfo], dict[str, str]]:
    length, size = int.from_bytes(mapped[:8], "little"), len(mapped)
    if length > HEADER_LIMIT or length > size - 8:
        raise FileFormatError(f"{path}: a header of {length} bytes does not fit in the file ({size} bytes)")
    if mapped[8:9] != b"{":
        raise FileFormatError(f"{path}: is not a safetensors file: its header does not start with {{")
    entries = _parse(path, mapped[8 : 8 + length])
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError(f"{path}: __metadata__ must map strings to strings")
    start = 8 + length
    tensors = {name: _entry(path, name, entry, part, start, size) for name, entry in entries.items()}
    end, before = start, "the header"
    for info in sorted(tensors.values(), key=lambda info: (info.offset, info.nbytes)):
        if info.offset != end:
            fault = "overlaps" if info.offset < end else "leaves a gap after"
            raise FileFormatError(f"{path}: tensor {shown(info.name)}: {fault} {shown(before)}")
        end, before = end + info.nbytes, info.name
    if end != size:
        raise FileFormatError(f"{path}: {size - end} bytes after the last tensor belong to none")
    return tensors, metadata


def _entry(path: str, name: str, entry: object, part: int, start: int, size: int) -> SafetensorInfo:
    what = f"{path}: tensor {shown(name)}"
    if not isinstance(entry, dict):
        raise FileFormatError(f"{what}: its entry is not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FileFormatError(f"{what}: unknown dtype {shown(str(dtype))}")
    if not _sizes(shape) or len(shape) > 64:
        raise FileFormatError(f"{what}: shape must be a list of at most 64 sizes")
    if not _sizes(offsets) or len(offsets) != 2:
        raise FileFormatError(f"{what}: data_offsets must be two offsets")
    bits, zero = DTYPES[dtype][0], 0 in shape
    for dim in () if zero else shape:
        bits *= dim
        if bits > 8 * size:
            raise FileFormatError(
                f"{what}: shape {shown(str(shape))} of {dtype} is larger than the file ({size} bytes)"
            )
    if zero:
        bits = 0
    begin, end = offsets
    if begin > end or end > size - start:
        raise FileFormatError(f"{what}: bytes {begin} to {end} lie past the end of the data ({size - start} bytes)")
    if bits != 8 * (end - begin):
        raise FileFormatError(f"{what}: shape {shown(str(shape))} of {dtype} does not take {end - begin} bytes")
    return SafetensorInfo(name, dtype, tuple(shape), end - begin, part, start + begin)


def _sizes(found: object) -> TypeGuard[list[int]]:
    """A list of integers from 0 up to what a signed 64-bit size holds."""
    return isinstance(found, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in found)
