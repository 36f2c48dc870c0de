"""PyTorch's zip files: a pickle of data, and a record of bytes for each storage. Source: torch/serialization.py."""

from __future__ import annotations

import io
import math
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ..diagnostics import FileFormatError, UnsupportedError
from ..ir.types import DType
from ..tensor import lazy
from ..tensor.conversion import from_array
from ..tensor.core import Tensor, new
from ..tensor.devices import Device
from ..tensor.dims import Size
from ..tensor.dtypes import NAMES, REAL_OF
from ..tensor.pairs import ComplexTensor, over
from . import pickle_data

STORAGES: dict[str, DType] = {
    f"torch {name}Storage": NAMES[dtype]
    for name, dtype in (
        ("Double", "float64"), ("Float", "float32"), ("Half", "float16"), ("BFloat16", "bfloat16"), ("Long", "int64"),
        ("Int", "int32"), ("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool"),
        ("ComplexFloat", "complex64"), ("ComplexDouble", "complex128"),
    )
}  # fmt: skip
_NUMPY: dict[str, Any] = {**lazy.NUMPY, "c64": np.complex64, "c128": np.complex128}
allowed: dict[str, Callable[..., Any]] = {}
"""What `add_safe_globals` names besides, by module and name."""

SPREAD = 1 << 28  # bytes that a tensor may have beyond those of its storage, by axes of stride 0


class _Archive:
    """The records of a file, by their names below its one folder."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.whole = path, data
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(data))
            infos = self.zip.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
            raise FileFormatError(f"{path}: is no zip file: {error}") from None
        if any(i.compress_type != zipfile.ZIP_STORED or i.flag_bits & 1 for i in infos):
            raise FileFormatError(f"{path}: has compressed or encrypted records, which PyTorch does not write")
        self.infos = {i.filename.partition("/")[2]: i for i in infos}
        if len(self.infos) != len(infos) or "data.pkl" not in self.infos:
            raise FileFormatError(f"{path}: is a zip file, but not one of PyTorch: it has no data.pkl")
        if "constants.pkl" in self.infos:
            raise UnsupportedError(f"{path}: is a TorchScript program", help="save the state_dict of the module")
        if "byteorder" in self.infos and self.record("byteorder") != b"little":
            raise UnsupportedError(f"{path}: is of a big-endian machine")

    def record(self, name: str) -> bytes:
        """The bytes of a record, after their checksum was compared."""
        info = self.infos.get(name)
        if info is None:
            raise FileFormatError(f"{self.path}: the record {name[:40]!r} is missing")
        try:
            return self.zip.read(info)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
            raise FileFormatError(f"{self.path}: the record {name[:40]!r} is damaged: {error}") from None


def unknown_names(path: str, data: bytes) -> list[str]:
    """Names in a file that `unpack` refuses."""
    known = _functions()
    found = pickle_data.names(path, _Archive(path, data).record("data.pkl"))
    return [name.replace(" ", ".") for name in found if name not in known]


def unpack(path: str, data: bytes) -> Any:
    """The value of a file. Raises FileFormatError, and UnsupportedError for what is no data."""
    archive = _Archive(path, data)
    storages: dict[str, Any] = {}

    def storage(named: tuple[Any, ...]) -> Any:
        if len(named) != 5 or named[0] != "storage" or not isinstance(named[2], str):
            raise FileFormatError(f"{path}: a storage is named by {str(named)[:60]}")
        _, kind, key, _, count = named
        if not isinstance(kind, _Kind):
            raise FileFormatError(f"{path}: a storage is named by {str(named)[:60]}")
        dtype = kind.dtype
        if key not in storages:
            raw = archive.record(f"data/{key}")
            if type(count) is not int or len(raw) != count * dtype.nbytes:
                raise FileFormatError(f"{path}: storage {key} has {len(raw)} bytes, not {count} of {dtype}")
            storages[key] = _Storage(dtype, np.frombuffer(raw, _NUMPY[dtype.name]))
        return storages[key]

    found = pickle_data.read(path, archive.record("data.pkl"), _functions(), storage)
    for name in archive.infos:
        if name.startswith("data/") and name[5:] not in storages:
            archive.record(name)  # damage anywhere is damage
    return found


class _Kind:
    """The dtype of a storage, as a class of PyTorch's names it."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype


class _Storage:
    """Bytes that tensors lie in."""

    __slots__ = ("array", "dtype")

    def __init__(self, dtype: DType, array: Any) -> None:
        self.dtype, self.array = dtype, array


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = None, meta: Any = None
) -> Tensor:
    if not isinstance(storage, _Storage) or not _counts((offset,)) or not _counts(size) or not _counts(stride):
        raise ValueError("a tensor is made of a storage, an offset, sizes and strides")
    if len(size) != len(stride):
        raise ValueError("a tensor has as many sizes as strides")
    count, dtype = math.prod(size), storage.dtype
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if count else offset - 1
    if last >= len(storage.array) or count * dtype.nbytes > len(storage.array) * dtype.nbytes + SPREAD:
        raise ValueError(f"a tensor of sizes {tuple(size)} reaches out of its storage of {len(storage.array)}")
    width = storage.array.itemsize
    if count:
        strides = tuple(s * width for s in stride)
        view = np.lib.stride_tricks.as_strided(storage.array[offset:], tuple(size), strides)
    else:
        view = np.zeros(tuple(size), storage.array.dtype)
    array = np.array(view, order="C").reshape(tuple(size))
    made: Tensor = from_array(array) if dtype in REAL_OF else new(Tensor, lazy.leaf_of(array, dtype, "cpu"))
    return made.requires_grad_(True) if requires_grad is True else made


def _counts(numbers: Any) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)


def _parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is made of a tensor")
    pair = data._pair if isinstance(data, ComplexTensor) else None
    made: Tensor = new(Tensor, (data if pair is None else pair).detach().value)
    made.requires_grad_(requires_grad is True)
    return made if pair is None else over(made)


def _size(numbers: Any) -> Size:
    if not _counts(tuple(numbers)):
        raise ValueError("a size is made of whole numbers")
    return Size(numbers)


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(pairs)


def _counter(counts: Any = ()) -> Counter[Any]:
    return Counter(dict(counts))


def _set(items: Any = ()) -> set[Any]:
    return set(items)


def _latin(text: Any, encoding: Any) -> bytes:
    """Bytes, as the pickles of protocol 2 have them."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("only bytes in latin1 are read")
    return text.encode("latin1")


def _device(name: Any, index: Any = None) -> Device:
    return Device("cpu")  # whatever device it was: there is one here


def _functions() -> dict[str, Any]:
    found: dict[str, Callable[..., Any]] = {
        "collections OrderedDict": _ordered, "collections Counter": _counter, "builtins set": _set,
        "__builtin__ set": _set, "_codecs encode": _latin, "torch Size": _size, "torch device": _device,
        "torch._utils _rebuild_tensor": _tensor, "torch._utils _rebuild_tensor_v2": _tensor,
        "torch._utils _rebuild_parameter": _parameter, "torch._utils _rebuild_parameter_with_state": _parameter,
    }  # fmt: skip
    dtypes = {f"torch {name}": dtype for name, dtype in NAMES.items() if name != "bool_"}
    return {**allowed, **found, **dtypes, **{name: _Kind(dtype) for name, dtype in STORAGES.items()}}
