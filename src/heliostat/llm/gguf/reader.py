"""Reads GGUF files: metadata as Python values, tensors as views of the mapped file. Every length is checked before use.

All that is wrong with a file is a FileFormatError of one line that starts with its path. Files may be split in parts.
"""

from __future__ import annotations

import itertools
import mmap
import re
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...diagnostics import FileFormatError
from ...runtime.platform import release_pages
from .metadata import Metadata
from .strings import HEAD, Strings
from .types import CODES, DECLARED_FORMAT_BASE, MAGIC, REMOVED, TENSOR_KINDS, TensorKind, ValueType

MAX_DEPTH = 4  # arrays within arrays
MAX_KEYS = 1 << 16
MANY_STRINGS = 4096  # from here on an array of strings is decoded when it is read
MANY_NUMBERS = 4096  # from here on an array of numbers is an `array`: a list of 150 000 floats takes 5 MB
MAX_ITEMS = 1 << 24  # of one array: a hundred times the largest vocabulary; as Python values they take memory
Resolve = Callable[[str], TensorKind]
_PART = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor. `shape` is row-major (rows, columns); `offset` counts from the start of part number `part`."""

    name: str
    type_name: str
    shape: tuple[int, ...]
    nbytes: int
    part: int
    offset: int


class _Cursor:
    """Reads the header of one part, never past its end."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path, self.data, self.at, self.size = path, data, 0, len(data)

    def fail(self, message: str, help: str | None = None) -> FileFormatError:
        return FileFormatError(f"{self.path}: {' '.join(message.split())}", help=help)

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            left = self.size - self.at
            raise self.fail(f"the file ends inside {what}: {count} bytes are needed at {self.at}, {left} are left")

    def number(self, code: str, what: str) -> Any:
        size = struct.calcsize("<" + code)
        self.need(size, what)
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += size
        return value

    def string(self, what: str, errors: str = "strict") -> str:
        size = self.number("Q", what)
        self.need(size, what)
        raw = bytes(self.data[self.at : self.at + size])
        self.at += size
        try:
            return raw.decode("utf-8", errors)
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not valid UTF-8") from None

    def strings(self, count: int, what: str) -> Sequence[str]:
        """Many strings, with as little work for each as can be: a vocabulary has 150 000, and its merges as many."""
        self.need(HEAD * count, what)
        short = self._short_strings(count) if count >= MANY_STRINGS else None
        if short is not None:
            return short
        data, at, size = self.data, self.at, self.size
        unpack = struct.Struct("<Q").unpack_from
        out: list[str] = []
        append = out.append
        for _ in range(count):
            if at + 8 > size:
                raise self.fail(f"the file ends inside {what}")
            length = unpack(data, at)[0]
            at += 8
            if length > size - at:
                raise self.fail(f"the file ends inside {what}: a string of {length} bytes, {size - at} are left")
            append(str(data[at : at + length], "utf-8", "surrogateescape"))
            at += length
        self.at = at
        return out

    def _short_strings(self, count: int) -> Strings | None:
        """The same, not yet decoded, where every string is shorter than 65536 bytes and most are short; None where that
        is not so.

        Lengths are taken from their two lowest bytes, and the other six of all are looked at together."""
        data = bytes(self.data[self.at : self.at + 48 * count])
        at = 0
        found = array("q")  # a list's integers would be the peak of a small model's memory
        append = found.append
        try:
            for _ in range(count):
                at += HEAD + data[at] + 256 * data[at + 1]
                append(at)
        except IndexError:
            return None
        if at > len(data):
            return None
        ends = np.frombuffer(found, np.int64)
        heads = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        raw = np.frombuffer(data, np.uint8)
        if any(raw[heads + byte].any() for byte in range(2, HEAD)):
            return None
        self.at += at
        return Strings(data[:at], ends)

    def value(self, type_id: int, what: str, depth: int = 0) -> tuple[Any, Any]:
        """A value and its stored type: see `GGUFFile.value_types`."""
        if type_id == ValueType.STRING:
            return self.string(what), ValueType.STRING
        if type_id == ValueType.ARRAY:
            return self.array(what, depth)
        code = CODES.get(type_id) if type_id in ValueType._value2member_map_ else None  # type: ignore[call-overload]
        if code is None:
            raise self.fail(f"{what} has unknown type {type_id}")
        if type_id == ValueType.BOOL:
            return self.flags(1, what)[0], ValueType.BOOL
        return self.number(code, what), ValueType(type_id)

    def array(self, what: str, depth: int) -> tuple[Sequence[Any], Any]:
        if depth >= MAX_DEPTH:
            raise self.fail(f"{what} nests arrays deeper than {MAX_DEPTH}")
        inner, count = self.number("I", what), self.number("Q", what)
        self.need(count, what)  # every item takes a byte or more
        if count > MAX_ITEMS:
            raise self.fail(f"{what} claims {count} items; at most {MAX_ITEMS} are allowed")
        if inner == ValueType.STRING:
            return self.strings(count, what), (ValueType.ARRAY, ValueType.STRING)
        if inner == ValueType.ARRAY:
            self.need(12 * count, what)
            items = [self.array(what, depth + 1) for _ in range(count)]
            return [value for value, _ in items], (ValueType.ARRAY, [kind for _, kind in items])
        code = CODES.get(inner) if inner in ValueType._value2member_map_ else None
        if code is None:
            raise self.fail(f"{what} holds values of unknown type {inner}")
        if inner == ValueType.BOOL:
            return self.flags(count, what), (ValueType.ARRAY, ValueType.BOOL)
        size = struct.calcsize("<" + code)
        self.need(size * count, what)
        part = self.data[self.at : self.at + size * count]
        self.at += size * count
        found: Sequence[Any]
        if count < MANY_NUMBERS:
            found = np.frombuffer(part, np.dtype("<" + code)).tolist()
        else:
            found = array(code, bytes(part))
            if sys.byteorder == "big":
                found.byteswap()
        return found, (ValueType.ARRAY, ValueType(inner))

    def flags(self, count: int, what: str) -> list[bool]:
        """Booleans of a byte each, which must be 0 or 1."""
        self.need(count, what)
        raw = bytes(self.data[self.at : self.at + count])
        if count and max(raw) > 1:
            raise self.fail(f"{what} holds the byte {max(raw)} for a boolean, which is 0 or 1")
        self.at += count
        return [byte == 1 for byte in raw]


class _Part:
    """One mapped file of a model."""

    def __init__(self, path: Path, resolve: Resolve | None, number: int) -> None:
        self.path = path
        shown = str(path)
        try:
            if "\0" in str(path):
                raise FileFormatError("the path of a GGUF file holds a NUL character")
            if path.exists() and not path.is_file() and not path.is_dir():
                raise FileFormatError(f"{shown}: is not a regular file")
            if path.is_dir():
                raise FileFormatError(f"{shown}: is a directory, not a GGUF file")
            with path.open("rb") as file:
                size = path.stat().st_size
                if size < 24:
                    raise FileFormatError(f"{shown}: {size} bytes are too few for a GGUF file")
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise FileFormatError(f"{shown}: no such file") from None
        except OSError as error:
            raise FileFormatError(f"{shown}: cannot be read: {error.strerror or error}") from None
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.metadata: dict[str, Any] = {}
        self.value_types: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            self._header(_Cursor(shown, memoryview(self.map)), resolve, number)
        except (struct.error, OverflowError, ValueError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"{shown}: the header is damaged: {error}") from None

    def _header(self, c: _Cursor, resolve: Resolve | None, number: int) -> None:
        if bytes(c.data[:4]) != MAGIC:
            raise c.fail(f"not a GGUF file: it starts with {bytes(c.data[:4])!r}", "expected the four letters GGUF")
        c.at = 4
        self.version = c.number("I", "the version")
        if self.version not in (2, 3):
            swapped = int.from_bytes(self.version.to_bytes(4, "little"), "big")
            if swapped in (2, 3):
                raise c.fail("is a big-endian GGUF file, which is not supported")
            raise c.fail(f"GGUF version {self.version} is not supported", "versions 2 and 3 are")
        tensors, keys = c.number("Q", "the tensor count"), c.number("Q", "the key count")
        if keys > MAX_KEYS or tensors > c.size // 24:
            raise c.fail(f"the header claims {tensors} tensors and {keys} keys, more than the file can hold")
        for _ in range(keys):
            name = c.string("a metadata key")
            if name in self.metadata:
                raise c.fail(f"metadata key {name} stands twice")
            kind = c.number("I", f"metadata key {name}")
            if kind not in ValueType._value2member_map_:
                raise c.fail(f"metadata key {name} has unknown type {kind}")
            self.metadata[name], self.value_types[name] = c.value(kind, f"metadata key {name}")
        self.alignment = self.metadata.get("general.alignment", 32)
        if type(self.alignment) is not int or self.alignment not in [1 << n for n in range(21)]:
            raise c.fail(f"general.alignment is {self.alignment}, not a power of two up to 2**20")
        found = [self._tensor(c, resolve, number) for _ in range(tensors)]
        start = -(-c.at // self.alignment) * self.alignment
        self.data_start = start
        taken: list[tuple[int, int, str]] = []
        for info in found:
            if info.name in self.tensors:
                raise c.fail(f"tensor {info.name} stands twice")
            if info.offset % self.alignment:
                raise c.fail(f"tensor {info.name}: offset {info.offset} is not aligned to {self.alignment}")
            at = start + info.offset
            if at + info.nbytes > c.size:
                raise c.fail(
                    f"tensor {info.name}: bytes {at} .. {at + info.nbytes} lie past the end of the file, {c.size}",
                    "the file is truncated: fetch it again",
                )
            taken.append((at, at + info.nbytes, info.name))
            self.tensors[info.name] = TensorInfo(info.name, info.type_name, info.shape, info.nbytes, number, at)
        taken.sort()
        for (_, end, a), (begin, stop, b) in itertools.pairwise(taken):
            if begin < end and stop > begin:
                raise c.fail(f"tensors {a} and {b} overlap")

    def _tensor(self, c: _Cursor, resolve: Resolve | None, number: int) -> TensorInfo:
        name = c.string("a tensor's name")
        rank = c.number("I", f"tensor {name}")
        if rank > 4:
            raise c.fail(f"tensor {name} has {rank} axes; at most 4 are allowed")
        dims = [c.number("Q", f"tensor {name}") for _ in range(rank)]
        kind = self._kind(c, name, c.number("I", f"tensor {name}"), resolve)
        offset = c.number("Q", f"tensor {name}")
        count = 1
        for d in sorted(dims):  # a size of 0 is sound, as in llama.cpp: a tensor without bytes
            count *= d
            if count > 1 << 62 or d > 1 << 62:
                raise c.fail(f"tensor {name}: {dims} are too many elements")
        if rank == 0 and kind.block > 1:
            raise c.fail(f"tensor {name} has no axes but blocks of {kind.block}")
        if kind.block > 1 and dims[0] % kind.block:
            raise c.fail(f"tensor {name}: rows of {dims[0]} are not a multiple of {kind.block}, {kind.name}'s block")
        return TensorInfo(name, kind.name, tuple(reversed(dims)), count // kind.block * kind.nbytes, number, offset)

    def _kind(self, c: _Cursor, tensor: str, number: int, resolve: Resolve | None) -> TensorKind:
        if number in TENSOR_KINDS:
            return TENSOR_KINDS[number]
        if number in REMOVED:
            raise c.fail(f"tensor {tensor}: type {REMOVED[number]} is no longer in use", "convert the model anew")
        declared = self.metadata.get("heliostat.formats")
        if number >= DECLARED_FORMAT_BASE and isinstance(declared, list):
            at = number - DECLARED_FORMAT_BASE
            if at < len(declared) and isinstance(declared[at], str) and resolve is not None:
                return resolve(declared[at])
        raise c.fail(f"tensor {tensor} has unknown type {number}")


class GGUFFile:
    """An open model file, all parts of it. Views of tensors stay valid as long as something holds them."""

    def __init__(self, path: str | Path, resolve: Resolve | None = None) -> None:
        self.path = str(path)
        first = _Part(Path(path), resolve, 0)
        self._parts = [first]
        match = _PART.match(Path(path).name)
        count = Metadata(self.path, first.metadata).integer("split.count", 1)
        if count > 1:
            if match is None or int(match[3]) != count or count > 9999:
                raise FileFormatError(
                    f"{path}: is part of a model of {count} files, but its name does not say which",
                    help="names end in -00001-of-0000N.gguf",
                )
            names = [Path(path).with_name(f"{match[1]}-{i + 1:05d}-of-{count:05d}.gguf") for i in range(count)]
            missing = [n.name for n in names if not n.is_file()]
            if missing:
                raise FileFormatError(f"{path}: part {missing[0]} is missing", help="all parts must lie in one folder")
            self._parts = [_Part(n, resolve, i) for i, n in enumerate(names)]
            for i, (part, file) in enumerate(zip(self._parts, names, strict=True)):
                place = Metadata(str(file), part.metadata)
                if place.integer("split.no") != i or place.integer("split.count") != count:
                    number, of = part.metadata["split.no"], part.metadata["split.count"]
                    raise FileFormatError(f"{file}: says that it is part {number} (from 0) of {of}, unlike its name")
        head = self._parts[0]
        self.version, self.alignment = head.version, head.alignment
        self.metadata = Metadata(self.path, head.metadata)
        # a ValueType; (ARRAY, that of its items); (ARRAY, [types]) where the items are arrays
        self.value_types: Mapping[str, Any] = head.value_types
        self.tensors: dict[str, TensorInfo] = {}
        for part in self._parts:
            for name, info in part.tensors.items():
                if name in self.tensors:
                    raise FileFormatError(f"{path}: tensor {name} stands in two parts")
                self.tensors[name] = info
        wanted = self.metadata.integer("split.tensors.count", len(self.tensors))
        if len(self._parts) > 1 and wanted != len(self.tensors):
            raise FileFormatError(f"{path}: the parts hold {len(self.tensors)} tensors, not {wanted}")

    @classmethod
    def open(cls, path: str | Path, resolve: Resolve | None = None) -> GGUFFile:
        """Open a file, or all parts of a split model by any of them. Raises FileFormatError.

        `resolve` turns the text of a format that the file declares into its name and sizes.
        """
        return cls(path, resolve)

    @property
    def architecture(self) -> str:
        """general.architecture, or "" where the file has none. Raises FileFormatError if it is no string."""
        return self.metadata.string("general.architecture", "")

    @property
    def declared_formats(self) -> list[str]:
        """`.lum` texts of the formats that the file declares itself."""
        return list(self.metadata.strings("heliostat.formats", ()))

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(len(p.bytes) for p in self._parts)

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes as a read-only view of the mapped file. Raises KeyError; ValueError once closed."""
        info = self.tensors[name]
        if not self._parts:
            raise ValueError(f"{self.path}: the file is closed, tensor {name} can no longer be read")
        return self._parts[info.part].bytes[info.offset : info.offset + info.nbytes]

    def release(self, name: str) -> None:
        """Let the system drop a tensor's pages; they are read again when touched."""
        view = self.data(name)
        page = mmap.PAGESIZE
        start = -(-view.ctypes.data // page) * page
        end = (view.ctypes.data + view.nbytes) // page * page
        if end > start:
            release_pages(start, end - start)

    def release_all(self) -> None:
        """The same for all that is mapped: the header, and pages that the system brought in around what was read."""
        for part in self._parts:
            release_pages(part.bytes.ctypes.data, len(part.bytes))

    def close(self) -> None:
        """Forget the parts. The mapping goes when the last view of it does."""
        self._parts = []

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
