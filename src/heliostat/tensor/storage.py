"""The bytes of tensors as PyTorch tells of them: where they lie, how many there are, and those of a file.

Tensors share memory here wherever values are equal by their making (a clone costs nothing until one is written). Who
asks for addresses takes equal ones for one tensor, so that a tensor that is asked gets memory of its own.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .. import ops
from ..diagnostics import FileFormatError, IndexOutOfRangeError, UnsupportedError
from ..ir.types import u8
from ..runtime.buffer import Buffer
from . import lazy
from .conversion import owning
from .core import Tensor, _leaf_value, laid, new
from .devices import CPU, Device
from .register import method

_asked: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
"""The tensors that were asked where they lie, by address."""


def _root(t: Tensor) -> Tensor:
    return t if t._base is None else t._base


def _bytes(t: Tensor) -> np.ndarray[Any, Any]:
    """The bytes of a tensor that is no view, on the cpu: computed, and its own."""
    v = t.value
    if v.device is not None and v.device not in ("cpu", lazy.META):
        raise UnsupportedError(f"the bytes of a tensor on {v.device} cannot be asked for", help="use cpu() first")
    if lazy.buffer_of(v) is None:
        lazy.realize([v])
    found = lazy.array_of(v)
    address = found.ctypes.data
    other = _asked.get(address)
    if other is not None and other is not t and t._leaf and lazy.buffer_of(other._v) is lazy.buffer_of(v):
        found = found.copy()
        held = lazy.leaf(Buffer.owning(found), v.type, v.device)
        t._v = _leaf_value(t, held) if t._rg else held
        address = found.ctypes.data
    _asked[address] = t
    return found.reshape(-1).view(np.uint8)


@method("data_ptr")
def data_ptr(self: Tensor) -> int:
    """The address of the first element, of a view that within its base; 0 of a tensor without data. Raises
    UnsupportedError for a tensor on a GPU."""
    root = _root(self)
    if root.is_meta or not root.numel():
        return 0
    return int(_bytes(root).ctypes.data) + storage_offset(self) * self.element_size()


@method("storage_offset")
def storage_offset(self: Tensor) -> int:
    """Which element of its base, in order, is the first one of a view; 0 of other tensors and of views of nothing."""
    view, root = self._view, _root(self)
    if view is None or not view.strided or not self.numel():
        return 0
    places = ops.reshape(ops.arange(root.numel()), tuple(root.shape))
    first: Tensor = new(Tensor, view.forward(laid(root, places))).reshape(-1)[0]
    return int(first.item())


class UntypedStorage:
    """The bytes that a tensor lies in, a view's base; or those of a file, which are read when they are asked for."""

    def __init__(self, of: Tensor | Path, nbytes: int) -> None:
        self._of = of
        self._nbytes = nbytes

    @classmethod
    def from_file(cls, filename: str | PathLike[str], shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first `nbytes` bytes of a file, for reading. Raises FileFormatError where it has fewer, and
        UnsupportedError with `shared`: nothing is written to it."""
        if shared:
            raise UnsupportedError("from_file: shared=True is not supported", help="use torch.save")
        path = Path(fspath(filename))
        try:
            there = path.stat().st_size
        except OSError as error:
            raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not 0 <= nbytes <= there:
            raise FileFormatError(f"{path}: has {there} bytes, not {nbytes}")
        return cls(path, nbytes)

    @property
    def device(self) -> Device:
        """Where the bytes lie."""
        return self._of.device if isinstance(self._of, Tensor) else CPU

    def data_ptr(self) -> int:
        """The address of the first byte; 0 where they lie in a file, and of tensors without data."""
        return data_ptr(self._of) if isinstance(self._of, Tensor) else 0

    def nbytes(self) -> int:
        """How many bytes there are."""
        return self._nbytes

    size = __len__ = nbytes

    def untyped(self) -> UntypedStorage:
        """Itself."""
        return self

    def __getitem__(self, part: slice) -> Tensor:
        """A part of the bytes, as a tensor uint8 of its own. Raises IndexOutOfRangeError for a step, and
        FileFormatError for a file that has become shorter."""
        start, stop, step = part.indices(self._nbytes)
        if step != 1:
            raise IndexOutOfRangeError(f"bytes of a storage are taken in steps of 1, found {step}")
        count = max(stop - start, 0)
        if isinstance(self._of, Tensor):
            return owning(_bytes(self._of)[start : start + count].copy(), u8)
        try:
            found = np.fromfile(self._of, np.uint8, count, offset=start)
        except OSError as error:
            raise FileFormatError(f"{self._of}: cannot be read: {error.strerror or error}") from None
        if len(found) < count:
            raise FileFormatError(f"{self._of}: has only {start + len(found)} bytes now", help="it was cut off")
        return owning(found, u8)


@method("untyped_storage")
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes that this tensor lies in, of a view those of its base."""
    root = _root(self)
    return UntypedStorage(root, root.numel() * root.element_size())
