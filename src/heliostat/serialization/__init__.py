"""Saving and loading of nested dicts and lists of tensors and plain values: `save`, `load`.

Files are safetensors files whose metadata hold the structure and a checksum. `load` reads PyTorch's zip files and plain
safetensors files too. Nothing of a file is ever run, and nothing is returned of one that is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from ..diagnostics import FileFormatError, UnsupportedError
from ..tensor.core import Tensor
from ..tensor.devices import Device
from ..tensor.structure import mapped
from . import container, torch_file
from .bytes import as_bytes, from_bytes
from .files import read_all, write_all
from .safe_globals import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .safetensors import has_header, pack, unpack
from .shards import load_sharded, save_sharded

Place = str | os.PathLike[str] | BinaryIO


def save(obj: Any, f: Place) -> None:
    """Write dicts, lists, tuples, sets, tensors, arrays, generators and plain values, and modules, with dataclasses,
    enums, functions and classes in their attributes by name. A file that is there is replaced in one step, after all is
    on the disk. Raises UnsupportedError for other types, and names where they are."""
    write_all(f, container.pack_structure(obj))


def load(
    f: Place,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
) -> Any:
    """What `save` or `torch.save` wrote, or the tensors of a safetensors file as a dict. Tensors lie on the cpu, or on
    the device that `map_location` names, or that a function of a storage and its place, as PyTorch's, chooses.

    Whole modules are made with `weights_only=False` alone: their classes, and functions that they hold, are imported by
    the names in the file, so that it must be one that you trust. Nothing else is made by name, nor called. `mmap`
    changes nothing. Raises FileFormatError for a damaged file, and UnsupportedError for what is no data."""
    if pickle_module is not None:
        raise UnsupportedError("load: pickle_module is not supported", help="leave it out")
    if callable(map_location):
        chosen = map_location(_Storage(Device("cpu")), "cpu")
        map_location = chosen.device if isinstance(chosen, _Storage) else None
    if isinstance(map_location, Mapping) and {Device(d).type for d in map_location.values()} <= {"cpu"}:
        map_location = None
    if map_location is not None and not isinstance(map_location, str | int | Device):
        raise UnsupportedError(
            f"load: map_location={map_location!r} is not supported", help="name one device for all tensors"
        )
    device = Device("cpu" if map_location is None else map_location).name
    found = _loaded(f, device if weights_only is False else None)
    if device == "cpu":
        return found
    return mapped(found, lambda t: t._place(device))


class _Storage(NamedTuple):
    """What a `map_location` function is given in the place of PyTorch's storage: it can say where it wants to be."""

    device: Device

    def cpu(self) -> _Storage:
        """On the cpu."""
        return _Storage(Device("cpu"))

    def cuda(self, device: Any = None) -> _Storage:
        """On a GPU, the current one where none is named."""
        return _Storage(Device("cuda" if device is None else device))


def _loaded(f: Place, modules: str | None) -> Any:
    name, data = read_all(f)
    if not has_header(data) and data[:2] == b"PK":
        return torch_file.unpack(name, data)
    if not has_header(data) and data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise UnsupportedError(f"{name}: is a plain pickle", help="save it with PyTorch 1.6 or newer")
    return container.unpack_structure(name, data, modules)


def save_safetensors(tensors: Mapping[str, Tensor], f: Place, metadata: Mapping[str, str] | None = None) -> None:
    """Write a dict of tensors as a safetensors file."""
    for key, t in tensors.items():
        if not isinstance(key, str) or not isinstance(t, Tensor):
            raise UnsupportedError(f"save_safetensors: {key!r} is a {type(t).__name__}", help="use save")
    write_all(f, pack({k: as_bytes(t) for k, t in tensors.items()}, dict(metadata or {})))


def load_safetensors(f: Place) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises FileFormatError."""
    name, data = read_all(f)
    records, _ = unpack(name, data)
    return {k: from_bytes(*record) for k, record in records.items()}


def get_unsafe_globals_in_checkpoint(f: Place) -> list[str]:
    """What a PyTorch file names that `load` refuses."""
    name, data = read_all(f)
    if data[:2] != b"PK":
        raise FileFormatError(f"{name}: is not a PyTorch file")
    return torch_file.unknown_names(name, data)


PUBLIC: dict[str, Any] = {
    "load": load, "load_safetensors": load_safetensors, "load_sharded": load_sharded, "save": save,
    "save_safetensors": save_safetensors, "save_sharded": save_sharded,
}  # fmt: skip

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "load_safetensors",
    "load_sharded",
    "safe_globals",
    "save",
    "save_safetensors",
    "save_sharded",
]  # fmt: skip
