"""Writes GGUF v3 files, whole and at once: a file appears under its name only when it is complete."""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...diagnostics import FileFormatError, ShapeError
from ...runtime.platform import name_file, sync_directory, user_mode
from .strings import Strings
from .types import CODES, DECLARED_FORMAT_BASE, MAGIC, TENSOR_IDS, TENSOR_KINDS, TensorKind, ValueType

Data = bytes | npt.NDArray[Any]


class GGUFWriter:
    """Collects metadata and tensors, then `write` makes the file, or several of at most `split_bytes` of tensors
    each.
    """

    def __init__(
        self, path: str | Path, architecture: str, alignment: int = 32, split_bytes: int | None = None
    ) -> None:
        if alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"alignment must be a power of two, got {alignment}")
        self.path, self.alignment, self.split_bytes = Path(path), alignment, split_bytes
        self._values: dict[str, tuple[Any, Any]] = {}
        self._tensors: dict[str, tuple[int, tuple[int, ...], Data]] = {}
        self._declared: list[tuple[TensorKind, str]] = []
        self.add("general.architecture", architecture)
        if alignment != 32:
            self.add("general.alignment", alignment, ValueType.UINT32)

    def add(self, key: str, value: Any, type: Any = None) -> None:
        """A metadata value. `type`: as in `GGUFFile.value_types`; without it the value decides."""
        if key in self._values:
            raise ValueError(f"metadata key {key} is given already")
        self._values[key] = (value, type if type is not None else _infer(value))

    def declare_format(self, kind: TensorKind, text: str) -> None:
        """A format of the user's own, as its `.lum` text; tensors may then be of `kind.name`."""
        self._declared.append((kind, text))

    def add_tensor(self, name: str, data: Data, type_name: str, shape: Sequence[int]) -> None:
        """A tensor of row-major `shape`. `data`: its bytes, or an array whose bytes they are. Raises ShapeError."""
        if name in self._tensors:
            raise ValueError(f"tensor {name} is given already")
        declared = [k.name for k, _ in self._declared]
        if type_name in TENSOR_IDS:
            number, kind = TENSOR_IDS[type_name], TENSOR_KINDS[TENSOR_IDS[type_name]]
        elif type_name in declared:
            at = declared.index(type_name)
            number, kind = DECLARED_FORMAT_BASE + at, self._declared[at][0]
        else:
            raise FileFormatError(f"{self.path}: GGUF has no tensor type {type_name}", help="declare_format() adds one")
        count = int(np.prod(shape, dtype=np.int64)) if shape else 1
        want = count // kind.block * kind.nbytes
        size = data.nbytes if isinstance(data, np.ndarray) else len(data)
        if (shape and shape[-1] % kind.block) or size != want:
            raise ShapeError(f"tensor {name}: shape {tuple(shape)} of {type_name} takes {want} bytes, {size} are given")
        self._tensors[name] = (number, tuple(shape), data)

    def write(self) -> list[Path]:
        """Write all parts and return their paths. Nothing new is left behind if it fails.

        Raises OSError, ValueError naming the key for a value that does not fit its type.
        """
        own = dict(self._values)
        if self._declared:
            own["heliostat.formats"] = ([text for _, text in self._declared], (ValueType.ARRAY, ValueType.STRING))
        groups = self._groups()
        temporaries: list[Path] = []
        paths: list[Path] = []
        try:
            for n, names in enumerate(groups):
                temporaries.append(self._write_part(self._part_path(n, len(groups)), self._keys(own, n, groups), names))
            for n, temporary in enumerate(temporaries):
                path = self._part_path(n, len(groups))
                temporary.replace(path)
                paths.append(path)
        except BaseException:
            for path in (*temporaries, *(paths if len(groups) > 1 else ())):
                path.unlink(missing_ok=True)
            raise
        sync_directory(self.path.parent)
        return paths

    def _part_path(self, n: int, count: int) -> Path:
        return self.path if count == 1 else self.path.with_name(f"{self.path.stem}-{n + 1:05d}-of-{count:05d}.gguf")

    def _keys(self, own: dict[str, tuple[Any, Any]], n: int, groups: list[list[str]]) -> dict[str, tuple[Any, Any]]:
        """The metadata of part `n`: all of the model's in the first, and in each what says which part it is."""
        values = dict(own) if n == 0 else {}
        if len(groups) > 1:
            values["split.no"] = (n, ValueType.UINT16)
            values["split.count"] = (len(groups), ValueType.UINT16)
            values["split.tensors.count"] = (len(self._tensors), ValueType.INT32)
        if n and self.alignment != 32:
            values["general.alignment"] = (self.alignment, ValueType.UINT32)
        return values

    def _groups(self) -> list[list[str]]:
        groups: list[list[str]] = [[]]
        total = 0
        for name, (_, _, data) in self._tensors.items():
            size = data.nbytes if isinstance(data, np.ndarray) else len(data)
            if self.split_bytes is not None and groups[-1] and total + size > self.split_bytes:
                groups.append([])
                total = 0
            groups[-1].append(name)
            total += size
        return groups

    def _write_part(self, path: Path, values: dict[str, tuple[Any, Any]], names: list[str]) -> Path:
        """A part under a name of its own beside `path`, complete and on disk."""
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            name_file(error, path)
            raise
        try:
            with os.fdopen(handle, "wb") as file:
                self._stream(file, values, names)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(user_mode())
        except BaseException as error:
            Path(temporary).unlink(missing_ok=True)
            name_file(error, path)
            raise
        return Path(temporary)

    def _stream(self, file: BinaryIO, values: dict[str, tuple[Any, Any]], names: list[str]) -> None:
        head = bytearray(MAGIC + struct.pack("<IQQ", 3, len(names), len(values)))
        for key, (value, kind) in values.items():
            head += _string(key) + _value(key, value, kind)
        offset = 0
        for name in names:
            number, shape, data = self._tensors[name]
            head += _string(name) + struct.pack("<I", len(shape))
            head += b"".join(struct.pack("<Q", d) for d in reversed(shape)) + struct.pack("<IQ", number, offset)
            size = data.nbytes if isinstance(data, np.ndarray) else len(data)
            offset += -(-size // self.alignment) * self.alignment
        file.write(head + bytes(-len(head) % self.alignment))
        for name in names:
            data = self._tensors[name][2]
            raw = _little(data).reshape(-1).view(np.uint8).data if isinstance(data, np.ndarray) else data
            file.write(raw)
            file.write(bytes(-len(raw) % self.alignment))


def _little(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in row-major order and little-endian, as the file wants its bytes."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _infer(value: Any) -> Any:
    """The stored type of a Python value: i32 or i64 or u64 by size, f32 for floats, and the same for lists."""
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            return ValueType.INT32 if value < 0 else ValueType.UINT32
        return ValueType.INT64 if -(1 << 63) <= value < 1 << 63 else ValueType.UINT64
    if isinstance(value, float):
        return ValueType.FLOAT32
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, Strings):
        return ValueType.ARRAY, ValueType.STRING
    if isinstance(value, array):
        found = next((kind for kind, code in CODES.items() if code == value.typecode), None)
        if found is None:
            raise TypeError(f"metadata cannot hold an array of type code {value.typecode!r}")
        return ValueType.ARRAY, found
    if isinstance(value, (list, tuple)):
        if not value:
            return ValueType.ARRAY, ValueType.INT32
        kinds = {_infer(v) for v in value}
        if kinds <= {ValueType.UINT32, ValueType.INT32}:
            return ValueType.ARRAY, ValueType.INT32
        if len(kinds) > 1 and all(isinstance(v, int) for v in value):
            return ValueType.ARRAY, ValueType.INT64
        if len(kinds) > 1 and not all(isinstance(v, (list, tuple)) for v in value):
            raise TypeError("an array of metadata holds values of one type")
        first = _infer(value[0])
        return ValueType.ARRAY, ValueType.ARRAY if isinstance(first, tuple) else first
    raise TypeError(f"metadata cannot hold {type(value).__name__}")


def _value(key: str, value: Any, kind: Any) -> bytes:
    try:
        if isinstance(kind, tuple):
            return struct.pack("<I", ValueType.ARRAY) + _array(value, kind[1])
        return struct.pack("<I", kind) + _plain(value, kind)
    except (struct.error, OverflowError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"metadata key {key}: {error}") from None


def _array(values: Sequence[Any], inner: Any) -> bytes:
    """`inner`: the type of the items; for arrays the type of all, a list with that of each, or ARRAY to infer them."""
    nested = inner == ValueType.ARRAY or isinstance(inner, (tuple, list))
    head = struct.pack("<IQ", ValueType.ARRAY if nested else inner, len(values))
    if nested:
        if isinstance(inner, list):
            kinds = inner
        else:
            kinds = [inner if isinstance(inner, tuple) else _infer(v) for v in values]
        return head + b"".join(_array(v, kind[1]) for v, kind in zip(values, kinds, strict=True))
    if inner == ValueType.STRING:
        return head + b"".join(map(_string, values))
    return head + struct.pack(f"<{len(values)}{CODES[ValueType(inner)]}", *values)


def _plain(value: Any, kind: int) -> bytes:
    return _string(value) if kind == ValueType.STRING else struct.pack("<" + CODES[ValueType(kind)], value)
