"""Reads GGUF files, version 2 and 3, little-endian, whole or split: metadata into Python, tensors as views.

Files come from strangers. Each length is compared with what is left of the file before anything is made of it, and a
header may take 256 MiB and 16 Mi array elements at most (ten times what real files have): a corrupt length
costs an error, not memory. Every fault of a file's content is a FileFormatError whose message starts with the path.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from heliostat.diagnostics import FileFormatError
from heliostat.llm.gguf.types import (
    DEFAULT_ALIGNMENT,
    FLOAT_TYPES,
    INTEGER_TYPES,
    MAGIC,
    MAX_DIMS,
    REMOVED_TENSOR_TYPES,
    STRUCT_CODES,
    TENSOR_TYPES_BY_ID,
    ArrayType,
    TensorType,
    Value,
    ValueType,
    printable,
    unify,
)
from heliostat.llm.mapped_file import MappedFile

HEADER_LIMIT = 256 << 20  # bytes before the tensor data
ELEMENT_LIMIT = 16 << 20  # array elements in one header, keys and tensors
DEPTH_LIMIT = 8  # arrays in arrays

_READ_VERSIONS = (2, 3)
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in STRUCT_CODES.items()}
_MIN_KEY_BYTES = 8 + 4 + 1  # name length, type, one-byte value
_MIN_TENSOR_BYTES = 8 + 4 + 4 + 8  # name length, dimension count, type, offset
_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's place and type. `shape` is row-major, as NumPy has it: GGUF's dimensions reversed, (rows, columns).

    `part` counts the files of a split model from 0. `offset` and `nbytes` are bytes, `offset` from the part's start.
    """

    name: str
    type_name: str
    type_id: int
    shape: tuple[int, ...]
    nbytes: int
    part: int
    offset: int


@dataclass(frozen=True)
class _Part:
    """One file of a model, parsed."""

    file: MappedFile
    version: int
    alignment: int
    metadata: dict[str, Value]
    value_types: dict[str, ValueType | ArrayType]
    tensors: dict[str, TensorInfo]


class GGUFFile:
    """An open model: metadata and tensors of one GGUF file, or of all the parts of a split one. A context manager.

    path         as given to `open`; `parts` are the files, in order
    metadata     keys to plain Python values, of the first part. Token strings that are not UTF-8 hold their stray
                 bytes as surrogates (`errors="surrogateescape"`)
    value_types  the type each value had in the file, for writing it back
    tensors      TensorInfo by name, in the order of the file
    version      of the container: 2 or 3
    alignment    of the tensor data of the first part, in bytes
    size         bytes of all parts
    """

    def __init__(self, path: Path, parts: Sequence[_Part]) -> None:
        self.path = path
        self.parts = tuple(part.file.path for part in parts)
        self.version = parts[0].version
        self.alignment = parts[0].alignment
        self.size = sum(part.file.size for part in parts)
        self.metadata: Mapping[str, Value] = MappingProxyType(parts[0].metadata)
        self.value_types: Mapping[str, ValueType | ArrayType] = MappingProxyType(parts[0].value_types)
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {name: info for part in parts for name, info in part.tensors.items()}
        )
        self._files = [part.file for part in parts]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> GGUFFile:
        """Open a GGUF file; of a split model, any part opens all, which must lie in one folder.

        Raises FileFormatError for a file that is missing, unreadable, of another kind or version, truncated or corrupt.
        """
        parts = _open_parts(Path(path))
        return cls(Path(path), parts)

    @property
    def architecture(self) -> str:
        """`general.architecture`. Raises FileFormatError where the file has none."""
        return self.get_str("general.architecture")

    def data(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor as a read-only uint8 array (nbytes,): a view of the map, which it keeps alive.

        Raises KeyError for an unknown name, ValueError when the file is closed."""
        info = self.tensors[name]
        return self._files[info.part].view(info.offset, info.nbytes)

    def close(self) -> None:
        """Give the maps back; views that are still held stay valid. Metadata stays readable."""
        for file in self._files:
            file.close()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GGUFFile({str(self.path)!r}, {len(self.metadata)} keys, {len(self.tensors)} tensors)"

    @overload
    def get_int(self, key: str) -> int: ...
    @overload
    def get_int(self, key: str, default: T) -> int | T: ...
    def get_int(self, key: str, default: object = ...) -> object:
        """The integer at `key`, of any width. Raises FileFormatError for another type, or without key and default."""
        return self._get(key, default, INTEGER_TYPES, "an integer")

    @overload
    def get_float(self, key: str) -> float: ...
    @overload
    def get_float(self, key: str, default: T) -> float | T: ...
    def get_float(self, key: str, default: object = ...) -> object:
        """The float32 or float64 at `key`. Raises as `get_int`."""
        return self._get(key, default, FLOAT_TYPES, "a float")

    @overload
    def get_bool(self, key: str) -> bool: ...
    @overload
    def get_bool(self, key: str, default: T) -> bool | T: ...
    def get_bool(self, key: str, default: object = ...) -> object:
        """The bool at `key`. Raises as `get_int`."""
        return self._get(key, default, frozenset({ValueType.BOOL}), "a bool")

    @overload
    def get_str(self, key: str) -> str: ...
    @overload
    def get_str(self, key: str, default: T) -> str | T: ...
    def get_str(self, key: str, default: object = ...) -> object:
        """The string at `key`. Raises as `get_int`."""
        return self._get(key, default, frozenset({ValueType.STRING}), "a string")

    @overload
    def get_array(self, key: str, element: type[int]) -> list[int]: ...
    @overload
    def get_array(self, key: str, element: type[float]) -> list[float]: ...
    @overload
    def get_array(self, key: str, element: type[str]) -> list[str]: ...
    @overload
    def get_array(self, key: str, element: type[int], default: T) -> list[int] | T: ...
    @overload
    def get_array(self, key: str, element: type[float], default: T) -> list[float] | T: ...
    @overload
    def get_array(self, key: str, element: type[str], default: T) -> list[str] | T: ...
    def get_array(self, key: str, element: type[int | float | str], default: object = ...) -> object:
        """The array at `key`, whose elements must be of the kind of `element`: int, float, str or bool. Raises as
        `get_int`."""
        names = {
            int: (INTEGER_TYPES, "integers"),
            float: (FLOAT_TYPES, "floats"),
            bool: (frozenset({ValueType.BOOL}), "bools"),
            str: (frozenset({ValueType.STRING}), "strings"),
        }
        kinds, text = names[element]
        return self._get(key, default, frozenset(map(ArrayType, kinds)), f"an array of {text}")

    def _get(
        self, key: str, default: object, kinds: frozenset[ValueType] | frozenset[ArrayType], expected: str
    ) -> object:
        found = self.value_types.get(key)
        if found is None:
            if default is ...:
                raise FileFormatError(f"{self.path}: metadata key {printable(key)} is missing, expected {expected}")
            return default
        if found not in kinds:
            raise FileFormatError(f"{self.path}: metadata key {printable(key)}: expected {expected}, found {found}")
        return self.metadata[key]


def _open_parts(path: Path) -> list[_Part]:
    """All the parts of the model that `path` is, or belongs to."""
    opened = [_open_part(path, 0)]
    try:
        count = _split_key(opened[0], "split.count", 1)
        if count <= 1:
            return opened
        paths, number = _part_paths(opened[0], count)
        first = opened.pop()  # read again under its own number: tensors carry the number of their part
        if number == 0:
            opened.append(first)
        else:
            first.file.close()
        for i in range(len(opened), count):
            opened.append(_open_part(paths[i], i))
        for i, part in enumerate(opened):
            for key, expected in (("split.no", i), ("split.count", count)):
                found = _split_key(part, key, 0)
                if found != expected:
                    raise FileFormatError(f"{part.file.path}: {key} is {found}, expected {expected}")
        _check_tensors_of_parts(opened)
        return opened
    except BaseException:
        for part in opened:
            part.file.close()
        raise


def _open_part(path: Path, number: int) -> _Part:
    file = MappedFile.open(path)
    try:
        return _parse(file, number)
    except BaseException:
        file.close()
        raise


def _split_key(part: _Part, key: str, default: int) -> int:
    value = part.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 99999:
        raise FileFormatError(f"{part.file.path}: metadata key {key} must be an integer from 0 to 99999")
    return value


def _part_paths(part: _Part, count: int) -> tuple[list[Path], int]:
    """The paths of all `count` parts, and which of them `part` is."""
    path = part.file.path
    number = _split_key(part, "split.no", 0)
    if number >= count:
        raise FileFormatError(f"{path}: split.no is {number}, but split.count is {count}")
    match = _PART_NAME.fullmatch(path.name)
    if match is None or (int(match["number"]), int(match["count"])) != (number + 1, count):
        raise FileFormatError(
            f"{path}: is part {number + 1} of {count} of a split model, and is not named so",
            help=f"its name must end in -{number + 1:05d}-of-{count:05d}.gguf, as the other parts' names do",
        )
    paths = [path.with_name(f"{match['stem']}-{i + 1:05d}-of-{count:05d}.gguf") for i in range(count)]
    missing = [other.name for other in paths if not other.exists()]
    if missing:
        names = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise FileFormatError(
            f"{path}: {len(missing)} of the {count} parts of this split model are missing: {names}",
            help="all parts must lie in one folder",
        )
    return paths, number


def _check_tensors_of_parts(parts: Sequence[_Part]) -> None:
    owner: dict[str, Path] = {}
    for part in parts:
        for name in part.tensors:
            other = owner.setdefault(name, part.file.path)
            if other is not part.file.path:
                raise FileFormatError(f"{part.file.path}: tensor {printable(name)}: is in {other.name} too")
    for part in parts:
        expected = _split_key(part, "split.tensors.count", len(owner))
        if expected != len(owner):
            raise FileFormatError(
                f"{part.file.path}: split.tensors.count is {expected}, but the {len(parts)} parts have {len(owner)} tensors"
            )


def _parse(file: MappedFile, number: int) -> _Part:
    cursor = _Cursor(file)
    version, tensor_count, key_count = _preamble(file, cursor)
    metadata: dict[str, Value] = {}
    value_types: dict[str, ValueType | ArrayType] = {}
    for i in range(key_count):
        cursor.what = f"metadata key {i + 1} of {key_count}"
        key = cursor.string()
        cursor.what = f"metadata key {printable(key)}"
        if key in metadata:
            cursor.fail("appears twice")
        kind = cursor.value_type()
        if kind is ValueType.ARRAY:
            metadata[key], value_types[key] = cursor.array(key.startswith("tokenizer."))
        else:
            metadata[key], value_types[key] = cursor.scalar(kind), kind
    alignment = _alignment(file, metadata, value_types)
    cursor.what = "tensor list"
    records = [_tensor_record(cursor, i, tensor_count) for i in range(tensor_count)]
    start = -(-cursor.pos // alignment) * alignment
    tensors = _place_tensors(file, number, records, start, alignment)
    return _Part(file, version, alignment, metadata, value_types, tensors)


def _preamble(file: MappedFile, cursor: _Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys."""
    magic = file.buffer[:4]
    if magic != MAGIC:
        kind = "GGUF (magic GGUF)"
        if magic in (b"lmgg", b"tjgg", b"fmgg", b"algg"):
            raise FileFormatError(f"{file.path}: is a GGML file of before GGUF", help="convert it to GGUF with llama.cpp")
        raise FileFormatError(f"{file.path}: is not a {kind} file: it starts with {ascii(magic)[1:]}")
    cursor.take(4)
    cursor.what = "header"
    version = cursor.u32()
    if version and not version & 0xFFFF:
        raise FileFormatError(
            f"{file.path}: is a big-endian GGUF file, which is not supported",
            help="convert it with gguf-py's gguf-convert-endian",
        )
    if version not in _READ_VERSIONS:
        raise FileFormatError(f"{file.path}: has GGUF version {version}, supported are 2 and 3")
    tensor_count, key_count = cursor.u64(), cursor.u64()
    for count, size, name in ((tensor_count, _MIN_TENSOR_BYTES, "tensors"), (key_count, _MIN_KEY_BYTES, "metadata keys")):
        cursor.count(count, size, name)
    return version, tensor_count, key_count


def _alignment(
    file: MappedFile, metadata: Mapping[str, Value], value_types: Mapping[str, ValueType | ArrayType]
) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    kind = value_types.get("general.alignment", ValueType.UINT32)
    if kind not in INTEGER_TYPES or not isinstance(value, int):
        raise FileFormatError(f"{file.path}: metadata key general.alignment: expected an integer, found {kind}")
    if value <= 0 or value & (value - 1):
        raise FileFormatError(f"{file.path}: metadata key general.alignment: {value} is not a power of two")
    return value


def _tensor_record(cursor: _Cursor, i: int, count: int) -> tuple[str, tuple[int, ...], TensorType, int, int]:
    """Name, shape, type, bytes, and offset from the start of the data, of one entry of the tensor list."""
    cursor.what = f"tensor {i + 1} of {count}"
    name = cursor.string()
    cursor.what = f"tensor {printable(name)}"
    rank = cursor.u32()
    if rank > MAX_DIMS:
        cursor.fail(f"has {rank} dimensions, at most {MAX_DIMS} are possible")
    shape = tuple(cursor.u64() for _ in range(rank))[::-1]
    type_id = cursor.u32()
    kind = TENSOR_TYPES_BY_ID.get(type_id)
    if kind is None:
        if type_id in REMOVED_TENSOR_TYPES:
            name, successor = REMOVED_TENSOR_TYPES[type_id]
            cursor.fail(f"has type {name} (id {type_id}), which was removed from GGUF", f"convert it to {successor}")
        cursor.fail(f"has the unknown type id {type_id}")
    elements = 1
    for dim in shape:
        if dim == 0:
            cursor.fail(f"shape {shape} has a dimension of zero")
        elements *= dim
    if elements >= 1 << 63:
        cursor.fail(f"shape {shape} has more than 2**63 elements")
    columns = shape[-1] if shape else 1
    if columns % kind.block:
        cursor.fail(f"rows of {columns} elements are no multiple of {kind.name}'s block of {kind.block}")
    return name, shape, kind, elements // kind.block * kind.block_bytes, cursor.u64()


def _place_tensors(
    file: MappedFile,
    part: int,
    records: Sequence[tuple[str, tuple[int, ...], TensorType, int, int]],
    start: int,
    alignment: int,
) -> dict[str, TensorInfo]:
    """The tensors by name, each inside the file, aligned, and none over another."""
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, nbytes, offset in records:
        what = f"{file.path}: tensor {printable(name)}"
        if name in tensors:
            raise FileFormatError(f"{what}: appears twice")
        if offset % alignment:
            raise FileFormatError(f"{what}: offset {offset} is not a multiple of the alignment {alignment}")
        if start + offset >= file.size:
            raise FileFormatError(f"{what}: offset {start + offset} is past the end of the file ({file.size} bytes)")
        if start + offset + nbytes > file.size:
            raise FileFormatError(
                f"{what}: {nbytes} bytes at offset {start + offset} run past the end of the file ({file.size} bytes)"
            )
        tensors[name] = TensorInfo(name, kind.name, kind.id, shape, nbytes, part, start + offset)
    end, before = 0, ""
    for info in sorted(tensors.values(), key=lambda info: info.offset):
        if info.offset < end:
            raise FileFormatError(f"{file.path}: tensor {printable(info.name)}: overlaps tensor {printable(before)}")
        end, before = info.offset + info.nbytes, info.name
    return tensors


class _Cursor:
    """A position in the header. `what` names the thing being read, for errors."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.buffer = file.buffer
        self.pos = 0
        self.end = min(file.size, HEADER_LIMIT)
        self.elements = 0
        self.what = "header"

    def fail(self, message: str, help: str | None = None) -> NoReturn:
        raise FileFormatError(f"{self.file.path}: {self.what}: {message}", help=help)

    def fail_past_end(self, pos: int, nbytes: int) -> NoReturn:
        if self.end < self.file.size:
            self.fail(f"{nbytes} bytes at offset {pos} run past the {self.end} bytes that a header may have")
        self.fail(f"{nbytes} bytes at offset {pos} run past the end of the file ({self.end} bytes)")

    def take(self, nbytes: int) -> int:
        """The position of the next `nbytes`, which are in the file; moves past them."""
        pos = self.pos
        if nbytes > self.end - pos:
            self.fail_past_end(pos, nbytes)
        self.pos = pos + nbytes
        return pos

    def count(self, count: int, size: int, name: str) -> None:
        """Refuse `count` things of at least `size` bytes that cannot be in the file, or are too many to be sane."""
        if count * size > self.end - self.pos:
            self.fail_past_end(self.pos, count * size) if count < 1 << 40 else self.fail(
                f"{count} {name} do not fit in the file ({self.file.size} bytes)"
            )
        self.elements += count
        if self.elements > ELEMENT_LIMIT:
            self.fail(f"more than {ELEMENT_LIMIT} {name} in all")

    def u32(self) -> int:
        value: int = _U32.unpack_from(self.buffer, self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack_from(self.buffer, self.take(8))[0]
        return value

    def string(self) -> str:
        nbytes = self.u64()
        pos = self.take(nbytes)
        try:
            return self.buffer[pos : pos + nbytes].decode()
        except UnicodeDecodeError as error:
            self.fail(f"the string at offset {pos} is not UTF-8 (byte {error.start})")

    def value_type(self) -> ValueType:
        number = self.u32()
        try:
            return ValueType(number)
        except ValueError:
            self.fail(f"has the unknown value type {number}")

    def scalar(self, kind: ValueType) -> Value:
        if kind is ValueType.STRING:
            return self.string()
        layout = _SCALARS[kind]
        pos = self.take(layout.size)
        if kind is ValueType.BOOL and self.buffer[pos] > 1:
            self.fail(f"a bool must be 0 or 1, is {self.buffer[pos]}")
        value: bool | int | float = layout.unpack_from(self.buffer, pos)[0]
        return value

    def array(self, stray_bytes: bool, depth: int = 1) -> tuple[list[Value], ArrayType]:
        """An array's values and type. `stray_bytes`: strings that are not UTF-8 are kept, not refused."""
        if depth > DEPTH_LIMIT:
            self.fail(f"arrays are nested more than {DEPTH_LIMIT} deep")
        kind = self.value_type()
        count = self.u64()
        if kind is ValueType.ARRAY:
            return self._nested(count, stray_bytes, depth)
        if kind is ValueType.STRING:
            self.count(count, 8, "array elements")
            return self._strings(count, stray_bytes), ArrayType(kind)
        size = _SCALARS[kind].size
        self.count(count, size, "array elements")
        pos = self.take(count * size)
        dtype = "<u1" if kind is ValueType.BOOL else "<" + _SCALARS[kind].format[-1]
        values = np.frombuffer(self.buffer[pos : self.pos], dtype)
        if kind is ValueType.BOOL:
            if (values > 1).any():
                self.fail(f"a bool must be 0 or 1, is {values.max()}")
            values = values.view(np.bool_)
        return values.tolist(), ArrayType(kind)

    def _nested(self, count: int, stray_bytes: bool, depth: int) -> tuple[list[Value], ArrayType]:
        self.count(count, 4 + 8, "array elements")
        element: ValueType | ArrayType | None = ValueType.ARRAY
        rows: list[Value] = []
        for _ in range(count):
            row, kind = self.array(stray_bytes, depth + 1)
            rows.append(row)
            element = unify(element, kind)
            if element is None:
                self.fail("holds arrays of different types")
        return rows, ArrayType(element)

    def _strings(self, count: int, stray_bytes: bool) -> list[Value]:
        """`count` strings. The hot loop of every vocabulary: 0.2 us each, straight from the map."""
        buffer, end, length = self.buffer, self.end, _U64.unpack_from
        values: list[Value] = []
        append = values.append
        errors: Literal["strict", "surrogateescape"] = "surrogateescape" if stray_bytes else "strict"
        stop = self.pos
        try:
            for _ in range(count):
                start = stop + 8
                if start > end:
                    self.fail_past_end(stop, 8)
                stop = start + length(buffer, start - 8)[0]
                if stop > end:
                    self.fail_past_end(start, stop - start)
                append(buffer[start:stop].decode("utf-8", errors))
        except UnicodeDecodeError as error:
            self.fail(f"the string at offset {start} is not UTF-8 (byte {error.start})")
        self.pos = stop
        return values
