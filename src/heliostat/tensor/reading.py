"""What a tensor tells the host: its data as arrays, capsules and Python numbers, and its sizes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..diagnostics import DTypeError, GradientError, ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ir.types import DType, bf16
from ..ops.rules import shown
from . import lazy
from .devices import Device
from .dims import Size, normal_dim

if TYPE_CHECKING:
    from .core import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Readable:
    """The part of `Tensor` that reads: what has not been computed is computed here."""

    __slots__ = ()
    if TYPE_CHECKING:
        _v: Value

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        @property
        def value(self) -> Value: ...
        @property
        def device(self) -> Device: ...
        @property
        def dtype(self) -> DType: ...
        @property
        def shape(self) -> Size: ...
        @property
        def ndim(self) -> int: ...
        @property
        def requires_grad(self) -> bool: ...

    def array(self) -> Array:
        """The data as a read-only array over the tensor's memory; bf16 as float32. Computes what is open.

        Raises UnsupportedError for a tensor on a GPU: nothing goes to the host unless it is asked for."""
        if self._v.device is not None and self._v.device not in ("cpu", lazy.META):
            raise UnsupportedError(f"{_asking()} a tensor on {self._v.device}", help="copy it by .cpu() first")
        return self.host_array()

    def host_array(self) -> Array:
        """The data as a read-only array, of a GPU's memory a copy; bf16 as float32. Computes what is open."""
        v = self.value
        if lazy.buffer_of(v) is None:
            lazy.realize([v])
        found = lazy.array_of(v)
        if v.type.element == bf16:
            found = (found.astype(np.uint32) << 16).view(np.float32)
        found.setflags(write=False)
        return found

    def numpy(self, *, force: bool = False) -> Array:
        """The data as a read-only array, without a copy; with `force` of a GPU's memory too, by one. Raises
        GradientError for a tensor that requires grad, UnsupportedError for one on a GPU."""
        if not force and self.requires_grad:
            raise GradientError("numpy() of a tensor that requires grad", help="use detach().numpy()")
        return self.host_array() if force else self.array()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = self.array()
        if dtype is not None and np.dtype(dtype) != found.dtype:
            return found.astype(dtype)
        return found.copy() if copy else found

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule over a copy of the data; with copy=False over the data itself, marked as read-only, for who takes
        version 1 of DLPack. Raises BufferError for what that cannot be, and for bfloat16, which NumPy does not have."""
        if stream is not None:
            raise ValueError(f"__dlpack__: there are no streams on the cpu, found {stream!r}")
        if self.device.type != "cpu":
            raise BufferError(f"__dlpack__: the tensor is on {self.device}, and only memory of the cpu is exported")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"__dlpack__: data is on the cpu, not on device {tuple(dl_device)}")
        if self.dtype == bf16:
            raise BufferError("__dlpack__: bfloat16 cannot be exported; convert it to float32 first")
        if copy is False and (max_version is None or max_version[0] < 1):
            raise BufferError("__dlpack__: only DLPack 1.0 can say that data is read-only, and copy=False asks for it")
        data = self.array() if copy is False else self.array().copy()
        return data.__dlpack__() if max_version is None else data.__dlpack__(max_version=max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        """(1, 0) for the cpu, (2, N) for GPU N."""
        return (1, 0) if self.device.index is None else (2, self.device.index)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """`heliostat.array_api`. Raises ValueError for a version of the standard that it does not have."""
        room = import_module("heliostat.array_api")
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12", room.__array_api_version__):
            raise ValueError(f"there is no version {api_version!r} of the array API standard here")
        return room

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This tensor on another device. Raises UnsupportedError for a device that is not known, or with a stream."""
        if stream is not None:
            raise UnsupportedError(f"to_device() takes no stream, found {stream!r}")
        made: Tensor = self.to(device)
        return made

    def item(self) -> Any:
        """The one element as a Python number. Raises ShapeError for another number of elements."""
        if self._v.type.shape and self.numel() != 1:
            raise ShapeError(f"item() needs one element, found a tensor of shape {shown(self.shape)}")
        v = self.value
        if lazy.buffer_of(v) is None:
            lazy.realize([v])
        return (self.host_array() if v.type.element == bf16 else lazy.array_of(v)).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.host_array().tolist()

    def numel(self) -> int:
        """The number of elements."""
        return self.shape.numel()

    nelement = numel

    def dim(self) -> int:
        """The number of axes."""
        return self.ndim

    ndimension = dim

    @overload
    def size(self) -> Size: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self.shape[normal_dim(dim, self.ndim)]

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.nbytes

    @property
    def itemsize(self) -> int:
        return self.dtype.nbytes

    @property
    def nbytes(self) -> int:
        return self.numel() * self.dtype.nbytes

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise DTypeError(f"only integers are indices, found a tensor of {self.dtype}")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("a tensor without axes cannot be iterated")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, item: Any) -> bool:
        return bool((self == item).any())

    def __repr__(self) -> str:
        from .printing import text

        return text(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec or self.ndim == 0 else repr(self)


def _asking() -> str:
    """Which public function wants data on the host, for a message."""
    name, frame = "array", sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("heliostat."):
        if frame.f_code.co_name not in ("run", "__call__", "<lambda>", "<genexpr>"):
            name = frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    if name in ("array", "numpy", "__array__", "__dlpack__"):
        return f"{name} reads on the host, and cannot read"
    return f"{name} runs on the host and has no CUDA schedule, and cannot take"
