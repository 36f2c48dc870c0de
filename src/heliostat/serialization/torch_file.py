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
from ..ir.types import DType, u8
from ..tensor import lazy
from ..tensor.conversion import from_array
from ..tensor.core import Tensor, new
from ..tensor.devices import Device
from ..tensor.dims import Size
from ..tensor.dtypes import FLOAT8, NAMES, REAL_OF
from ..tensor.float8 import Float8Tensor, of_bits
from ..tensor.pairs import ComplexTensor, over
from . import pickle_data

STORAGES: dict[str, DType] = {
    f"torch {name}Storage": NAMES[dtype]
    for name, dtype in (
        ("Double", "float64"), ("Float", "float32"), ("Half", "float16"), ("BFloat16", "bfloat16"), ("Long", "int64"),
        ("Int", "int32"), ("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool"),
        ("ComplexFloat", "complex64"), ("ComplexDouble", "complex128"),
    )
} | {"torch.storage UntypedStorage": u8}  # fmt: skip
_NUMPY: dict[str, Any] = {
    **lazy.NUMPY, "c64": np.complex64, "c128": np.complex128, **{dtype.name: np.uint8 for dtype in FLOAT8},
}  # fmt: skip
allowed: dict[str, Callable[..., Any]] = {}
"""What `add_safe_globals` names besides, by module and name."""

SHARES = 8  # times that the bytes of a storage may be in tensors that are not equal
SPREAD = 1 << 28  # bytes that all tensors may have beyond that, by axes of stride 0


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
        if sum(i.file_size for i in infos) > len(data):
            raise FileFormatError(f"{path}: has records that lie in one another, which PyTorch does not write")
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
    known = _functions(_Maker(0))
    found = pickle_data.names(path, _Archive(path, data).record("data.pkl"))
    return [name.replace(" ", ".") for name in found if name not in known]


def unpack(path: str, data: bytes) -> Any:
    """The value of a file. Raises FileFormatError, and UnsupportedError for what is no data."""
    archive = _Archive(path, data)
    pickled = archive.record("data.pkl")
    maker = _Maker(len(pickled))
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
            storages[key] = _Storage(key, dtype, np.frombuffer(raw, _NUMPY[dtype.name]))
            maker.spread += SHARES * len(raw)
        return storages[key]

    found = pickle_data.read(path, pickled, _functions(maker), storage)
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

    __slots__ = ("array", "dtype", "key")

    def __init__(self, key: str, dtype: DType, array: Any) -> None:
        self.key, self.dtype, self.array = key, dtype, array

    def seen_as(self, dtype: DType) -> _Storage:
        """The same bytes as elements of a dtype."""
        kind = np.dtype(_NUMPY[dtype.name])
        whole = len(self.array) // kind.itemsize * kind.itemsize
        return _Storage(self.key, dtype, self.array[:whole].view(kind))


class _Maker:
    """What the functions that a file names make. What they copy is bounded: `characters` is what containers and texts
    may have together, since each of theirs is a byte of the pickle at least, `spread` what tensors may take in bytes.
    Tensors that are equal in all, as those of layers that are used more than once, share memory: values are never
    written in place."""

    def __init__(self, characters: int) -> None:
        self.characters, self.spread = characters, SPREAD
        self.made: dict[Any, Tensor] = {}

    def take(self, x: Any) -> Any:
        """x, which is copied."""
        self.characters -= len(x)
        if self.characters < 0:
            raise ValueError("more is made of one value than the file holds")
        return x

    def ordered(self, pairs: Any = ()) -> OrderedDict[Any, Any]:
        pairs = list(self.take(pairs))
        pickle_data.check_keys(k for k, _ in pairs)
        return OrderedDict(pairs)

    def counter(self, counts: Any = ()) -> Counter[Any]:
        counts = dict(self.take(counts))
        return Counter(counts)

    def set(self, items: Any = ()) -> set[Any]:
        pickle_data.check_keys(self.take(items))
        return set(items)

    def latin(self, text: Any, encoding: Any) -> bytes:
        """Bytes, as the pickles of protocol 2 have them."""
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError("only bytes in latin1 are read")
        return str(self.take(text)).encode("latin1")

    def size(self, numbers: Any) -> Size:
        if not _counts(tuple(self.take(numbers))):
            raise ValueError("a size is made of whole numbers")
        return Size(numbers)

    def tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any = False, hooks: Any = None, meta: Any = None
    ) -> Tensor:
        """Of elements of the storage's dtype."""
        if not isinstance(storage, _Storage) or not _counts((offset,)) or not _counts(size) or not _counts(stride):
            raise ValueError("a tensor is made of a storage, an offset, sizes and strides")
        if len(size) != len(stride):
            raise ValueError("a tensor has as many sizes as strides")
        count, dtype = math.prod(size), storage.dtype
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if count else offset - 1
        if last >= len(storage.array):
            raise ValueError(f"a tensor of sizes {tuple(size)} reaches out of its storage of {len(storage.array)}")
        key = (storage.key, dtype.name, offset, size, stride)
        if key not in self.made:
            self.spread -= count * dtype.nbytes
            if self.spread < 0:
                raise ValueError(f"a tensor of sizes {tuple(size)} is too large for what the file holds")
            self.made[key] = _elements(storage, offset, size, stride)
        made = _again(self.made[key])
        return made.requires_grad_(True) if grad is True else made

    def typed(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, meta: Any = None
    ) -> Tensor:
        """Of elements of a dtype, in a storage of bytes."""
        if not isinstance(storage, _Storage) or not isinstance(dtype, DType):
            raise ValueError("a tensor is made of a storage and a dtype")
        return self.tensor(storage.seen_as(dtype), offset, size, stride, grad)


def _elements(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """A tensor of a part of a storage, which was checked."""
    dtype, width = storage.dtype, storage.array.itemsize
    if math.prod(size):
        strides = tuple(s * width for s in stride)
        view = np.lib.stride_tricks.as_strided(storage.array[offset:], size, strides)
    else:
        view = np.zeros(size, storage.array.dtype)
    array = np.array(view, order="C").reshape(size)
    if dtype in REAL_OF:
        return from_array(array)
    if dtype.name == "bool":  # any byte but 0 is true
        array = array.view(np.uint8) != 0
    made: Tensor = new(Tensor, lazy.leaf_of(array, u8 if dtype in FLOAT8 else dtype, "cpu"))
    return of_bits(made, dtype) if dtype in FLOAT8 else made


def _again(x: Tensor) -> Tensor:
    """Another tensor of the same value."""
    if isinstance(x, Float8Tensor):
        return of_bits(_again(x._codes), x.dtype)
    if isinstance(x, ComplexTensor):
        return over(_again(x._pair))
    made: Tensor = new(Tensor, x.value)
    return made


def _counts(numbers: Any) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)


def _parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is made of a tensor")
    pair = data._pair if isinstance(data, ComplexTensor) else None
    made: Tensor = new(Tensor, (data if pair is None else pair).detach().value)
    made.requires_grad_(requires_grad is True)
    return made if pair is None else over(made)


def _device(name: Any, index: Any = None) -> Device:
    return Device("cpu")  # whatever device it was: there is one here


def _functions(maker: _Maker) -> dict[str, Any]:
    found: dict[str, Callable[..., Any]] = {
        "collections OrderedDict": maker.ordered, "collections Counter": maker.counter, "builtins set": maker.set,
        "__builtin__ set": maker.set, "_codecs encode": maker.latin, "torch Size": maker.size, "torch device": _device,
        "torch._utils _rebuild_tensor": maker.tensor, "torch._utils _rebuild_tensor_v2": maker.tensor,
        "torch._utils _rebuild_tensor_v3": maker.typed,
        "torch._utils _rebuild_parameter": _parameter, "torch._utils _rebuild_parameter_with_state": _parameter,
    }  # fmt: skip
    dtypes = {f"torch {name}": dtype for name, dtype in NAMES.items() if name != "bool_"}
    return {**allowed, **found, **dtypes, **{name: _Kind(dtype) for name, dtype in STORAGES.items()}}
