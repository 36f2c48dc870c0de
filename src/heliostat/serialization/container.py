"""Nested values in a safetensors file: tensors as tensors, all else as JSON in the metadata, with a checksum of both.

Metadata: "format" is "heliostat", "version" is 1, "structure" the JSON, "sha256" of structure, header and data. A dict
of tensors has its keys as names, so that other programs read it too.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..diagnostics import FileFormatError, UnsupportedError
from ..ir.types import DType
from ..tensor.conversion import from_array
from ..tensor.core import Tensor
from ..tensor.devices import Device
from ..tensor.dims import Size
from ..tensor.pairs import ComplexTensor, over
from ..tensor.quantized import QDTYPES, QuantizedTensor, of_codes
from ..tensor.random import Generator
from ..tensor.structure import mapped
from ..tensor.whole import Whole
from . import named
from .bytes import BY_NAME, Record, as_bytes, from_bytes
from .safetensors import header, order, pack, unpack

FORMAT, VERSION = "heliostat", 1
DEPTH = 200  # of containers in containers
PARTS = ("codes", "scale", "zero_point")  # of a quantized tensor
TABLES = ("_parameters", "_buffers", "_modules", "data")  # of `Whole`: names of tensors are as in a state dict
KIND = "$"  # the key that says what a JSON object stands for


class _Writer:
    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.names: dict[int, str] = {}
        self.kept: list[Any] = []  # so that no id comes twice
        self.open: set[int] = set()
        self.objects: dict[int, int] = {}  # numbers of objects that are held whole, by id
        self.inside = 0  # of how many such objects

    def value(self, x: Any, path: tuple[str, ...]) -> Any:
        """JSON for a value."""
        if x is None or (isinstance(x, bool | str) and type(x) in (bool, str)):
            return x
        if type(x) is int:
            return x
        if type(x) is float:
            return x if math.isfinite(x) else {KIND: "float", "is": repr(x)}
        if isinstance(x, Whole) and (self.inside or not isinstance(x, Tensor)):
            return self.whole(x, path)
        if isinstance(x, QuantizedTensor):
            parts = (x._codes, x._scale, x._zero_point)
            rows = [self.value(p, (*path, name)) for name, p in zip(PARTS, parts, strict=True)]
            return {KIND: "quantized", "is": [x._kind.name, x._axis, *rows]}
        if isinstance(x, ComplexTensor):
            return {KIND: "parts", "is": self.value(x._pair, path)}
        if isinstance(x, Tensor):
            return {KIND: "tensor", "is": self.tensor(x, path), "grad": x.requires_grad and x.is_leaf}
        if type(x) is np.ndarray:
            return {KIND: "array", "is": self.array(x, path)}
        if isinstance(x, np.generic):
            return {KIND: "number", "is": self.array(np.asarray(x), path)}
        made = _plain(x) or (self.named(x, path) if self.inside else None)
        return made if made is not None else self.container(x, path)

    def whole(self, x: Whole, path: tuple[str, ...]) -> Any:
        """JSON for a module, or for a parameter of one."""
        if id(x) in self.objects:
            return {KIND: "again", "is": self.objects[id(x)]}
        self.enter(x, path)
        self.inside += 1
        self.kept.append(x)
        name = named.name_of(type(x), _shown(path))
        rows = [[k, self.value(v, path if k in TABLES else (*path, k))] for k, v in x._kept().items()]
        self.objects[id(x)] = len(self.objects)  # as the reader counts: those that are finished
        self.inside -= 1
        self.open.discard(id(x))
        return {KIND: "whole", "class": name, "is": rows}

    def named(self, x: Any, path: tuple[str, ...]) -> Any:
        """JSON for attributes of modules that are named: functions, classes, enums, instances of dataclasses."""
        if isinstance(x, enum.Enum):
            return {KIND: "enum", "class": named.name_of(type(x), _shown(path)), "is": x.name}
        if isinstance(x, named.FUNCTIONS):
            return {KIND: "name", "is": named.name_of(x, _shown(path))}
        if not dataclasses.is_dataclass(x):
            return None
        self.enter(x, path)
        # what it was given beside its fields stays too, as in pickles; a field may have no value yet
        given = {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if hasattr(x, f.name)}
        given |= {k: v for k, v in getattr(x, "__dict__", {}).items() if k not in given}
        rows = [[k, self.value(v, (*path, k))] for k, v in given.items()]
        self.open.discard(id(x))
        return {KIND: "dataclass", "class": named.name_of(type(x), _shown(path)), "is": rows}

    def enter(self, x: Any, path: tuple[str, ...]) -> None:
        """Begin with what holds other values. Raises UnsupportedError where it is begun already, and where it is too
        deep."""
        if id(x) in self.open or len(path) > DEPTH:
            raise UnsupportedError(f"save: {_shown(path)} is nested in itself, or more than {DEPTH} deep")
        self.open.add(id(x))

    def container(self, x: Any, path: tuple[str, ...]) -> Any:
        self.enter(x, path)
        kind = type(x)
        if kind in (dict, OrderedDict, Counter):
            items = [[self.key(k, path), self.value(v, (*path, str(k)))] for k, v in x.items()]
            made: Any = {KIND: kind.__name__, "is": items}
        elif kind in (list, tuple, set, frozenset):
            listed = sorted(x, key=repr) if kind in (set, frozenset) else x
            rows = [self.value(v, (*path, str(n))) for n, v in enumerate(listed)]
            made = rows if kind is list else {KIND: kind.__name__, "is": rows}
        else:
            what = f"save: {_shown(path)} is a {kind.__module__}.{kind.__qualname__}, which cannot be stored"
            raise UnsupportedError(what, help="save its state_dict, or plain values")
        self.open.discard(id(x))
        return made

    def key(self, k: Any, path: tuple[str, ...]) -> Any:
        if isinstance(k, Tensor | np.ndarray):
            raise UnsupportedError(f"save: a key of {_shown(path)} is a {type(k).__name__}", help="use plain values")
        return self.value(k, path)

    def tensor(self, t: Tensor, path: tuple[str, ...]) -> str:
        name = self.names.get(id(t))
        if name is None:
            name = self.names[id(t)] = self.free(path)
            self.kept.append(t)
            self.records[name] = as_bytes(t)
        return name

    def array(self, x: Any, path: tuple[str, ...]) -> str:
        name = self.free(path)
        self.records[name] = as_bytes(from_array(x))
        return name

    def free(self, path: tuple[str, ...]) -> str:
        base = ".".join(path) or "value"
        name, n = base, 1
        while name in self.records or name == "__metadata__":
            n += 1
            name = f"{base}#{n}"
        return name


def _plain(x: Any) -> Any:
    if type(x) is bytes:
        return {KIND: "bytes", "is": base64.b64encode(x).decode()}
    if type(x) is complex:
        return {KIND: "complex", "is": [repr(x.real), repr(x.imag)]}
    if type(x) is Size:
        return {KIND: "Size", "is": list(x)}
    if isinstance(x, DType):
        return {KIND: "dtype", "is": x.name}
    if type(x) is Device:
        return {KIND: "device", "is": str(x)}
    if type(x) is Generator:
        return {KIND: "generator", "is": x.get_state().tolist()}
    return None


def _shown(path: tuple[str, ...]) -> str:
    return f"{'.'.join(path[:8])!r}" if path else "the object"


def pack_structure(x: Any) -> Iterator[Any]:
    """The pieces of a file. Raises UnsupportedError before the first."""
    writer = _Writer()
    structure = json.dumps(writer.value(x, ()), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    about = {"format": FORMAT, "version": str(VERSION), "structure": structure}
    return pack(writer.records, about | {"sha256": checksum(structure, writer.records)})


def checksum(text: str, records: dict[str, Record]) -> str:
    """The SHA-256 of a text and of tensors with their names, dtypes and shapes, as a file's metadata hold it."""
    return _digest(text, header(records), [records[name][2] for name in order(records)])


def check_checksum(path: str, data: bytes, text: str, expected: str) -> None:
    """Raise FileFormatError where the checksum of a file, whose header was read, differs."""
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length].decode())
    del head["__metadata__"]
    if _digest(text, head, [memoryview(data)[8 + length :]]) != expected:
        raise FileFormatError(f"{path}: is damaged: its checksum differs", help="nothing was loaded; save it again")


def _digest(structure: str, head: Any, pieces: Any) -> str:
    made = hashlib.sha256(structure.encode())
    made.update(json.dumps(head, sort_keys=True).encode())
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()


def unpack_structure(path: str, data: bytes, modules: str | None = None) -> Any:
    """What a file holds; of one without a structure a dict of its tensors. modules: the device that they are made on,
    None where they may not be made. Raises FileFormatError, and UnsupportedError for modules that may not be made, or
    whose classes are not there."""
    records, metadata = unpack(path, data)
    if metadata.get("format") != FORMAT:
        if {"structure", "sha256"} <= metadata.keys():  # or a checkpoint whose first bytes changed would pass unchecked
            raise FileFormatError(f"{path}: is damaged: it has a structure, and its format is no {FORMAT}")
        return {name: from_bytes(*record) for name, record in records.items()}
    if metadata.get("version") != str(VERSION):
        raise FileFormatError(f"{path}: is of version {metadata.get('version')}, known is {VERSION}")
    if metadata.keys() != {"format", "version", "structure", "sha256"}:
        raise FileFormatError(f"{path}: the metadata must be format, version, structure and sha256")
    check_checksum(path, data, metadata["structure"], metadata["sha256"])
    try:
        return _Reader(path, records, modules).value(json.loads(metadata["structure"]))
    except FileFormatError:
        raise
    except (LookupError, ArithmeticError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path}: the structure is not valid: {type(error).__name__} {str(error)[:80]}") from None


class _Reader:
    def __init__(self, path: str, records: dict[str, Record], modules: str | None) -> None:
        self.path, self.records, self.modules = path, records, modules
        self.tensors: dict[str, Tensor] = {}
        self.objects: list[Any] = []

    def value(self, x: Any) -> Any:
        """The value of JSON."""
        if isinstance(x, list):
            return [self.value(v) for v in x]
        if not isinstance(x, dict):
            return x
        kind, inner = x[KIND], x["is"]
        if kind == "tensor":
            return self.tensor(inner, x["grad"])
        if kind in ("array", "number"):
            found = from_bytes(*self.records[inner]).array()
            return found.copy() if kind == "array" else found.reshape(-1)[0]
        if kind in ("whole", "again", "dataclass", "enum", "name"):
            return self.whole(kind, x, inner)
        if kind == "parts":
            return over(self.value(inner))
        if kind == "quantized":
            dtype, axis, *parts = inner
            return _quantized(dtype, axis, *(self.value(p) for p in parts))
        containers: dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
        if kind in containers:
            return containers[kind]({_key(self.value(k)): self.value(v) for k, v in inner})
        rows: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "Size": Size}
        return rows[kind](self.value(v) for v in inner) if kind in rows else _PLAIN[kind](inner)

    def whole(self, kind: str, x: dict[str, Any], inner: Any) -> Any:
        """A module, one that was made already, or an attribute of one that is named."""
        if self.modules is None:
            what = f"{self.path}: holds modules, whose classes are imported by their names"
            raise UnsupportedError(what, help="load(..., weights_only=False) of a file that you trust")
        if kind == "name":
            return named.named(self.path, *inner)
        if kind == "again":
            if type(inner) is not int or not 0 <= inner < len(self.objects):
                raise ValueError("an object is named by no number")
            return self.objects[inner]
        module, name = x["class"]
        found = named.class_of(self.path, module, name, kind)
        if kind == "enum":
            return found[inner]
        kept = {_key(self.value(k)): self.value(v) for k, v in inner}
        if kind == "dataclass":
            made = object.__new__(found)
            fields = {f.name for f in dataclasses.fields(found)}
            for name in fields & kept.keys():
                object.__setattr__(made, name, kept.pop(name))  # of frozen ones too
            if kept:
                made.__dict__.update(kept)  # there no name reaches more than the instance: `__class__` say
        else:
            device = self.modules
            placed = mapped(kept, lambda t: t._place(device)) if device != "cpu" else kept
            try:
                made = found._restored(placed)
            except Exception as error:  # its own `__setstate__` runs, and whatever fails in it is to be seen
                what = f"{self.path}: no {module}.{name} can be made of what is stored of one"
                raise FileFormatError(f"{what}: {type(error).__name__}: {error}") from error
            self.objects.append(made)
        return made

    def tensor(self, name: str, grad: bool) -> Tensor:
        if name not in self.tensors:
            made = from_bytes(*self.records[name])
            self.tensors[name] = made.requires_grad_(True) if grad else made
        return self.tensors[name]


def _key(k: Any) -> Any:
    hash(k)
    return k


def _quantized(dtype: str, axis: int | None, codes: Tensor, scale: Any, zero_point: Any) -> QuantizedTensor:
    """Codes of a file. Raises ValueError for scales that do not fit them."""
    kind = QDTYPES[dtype]
    shape = () if axis is None else (codes.shape[axis],)
    for x in (scale, zero_point):
        if not isinstance(x, int | float) and tuple(x.shape) != shape:
            raise ValueError(f"scales of shape {list(x.shape)} do not fit codes {list(codes.shape)}")
    return of_codes(codes, scale, zero_point, kind, axis)


def _generator(state: list[int]) -> Generator:
    return Generator().set_state(from_array(np.array(state, np.uint8)))


_PLAIN: dict[str, Any] = {
    "float": float, "bytes": lambda s: base64.b64decode(s, validate=True),
    "complex": lambda p: complex(float(p[0]), float(p[1])), "dtype": lambda n: BY_NAME[n], "device": Device,
    "generator": _generator,
}  # fmt: skip
