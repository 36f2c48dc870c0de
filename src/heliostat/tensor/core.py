"""`Tensor`: a lazy value with a gradient's bookkeeping, views that write through, and PyTorch's attributes.

Functions and most methods stand in the other modules of this package and are attached by `register.py`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..diagnostics import DeviceMismatchError, DTypeError, GradientError, ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ir.types import DType, SymbolicDim, TensorType, bf16, f32, f64, tensor
from ..ops.rules import shown
from ..runtime.buffer import Buffer
from ..runtime.number import NumberBuffer
from ..session import engine
from . import lazy
from .devices import Device, default_name, device_of, placed
from .dtypes import can_cast, dtype_of, get_default_dtype, number_dtype, of_numpy, result_dtype

Array = np.ndarray[Any, np.dtype[Any]]
_grad_enabled: ContextVar[bool] = ContextVar("heliostat_grad", default=True)
_capture = lazy._capture
_writing: ContextVar[Any] = ContextVar("heliostat_writing", default=None)
_within: ContextVar[bool] = ContextVar("heliostat_within", default=False)


class Size(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        total = 1
        for d in self:
            total *= d
        return total

    def __repr__(self) -> str:
        return f"Size({list(self)})"


class View:
    """How a view is made of its base, and how the base is made anew when the view is written."""

    __slots__ = ("detached", "forward", "put", "strided")

    def __init__(
        self,
        forward: Callable[[Value], Value],
        put: Callable[[Value, Value], Value],
        strided: bool = True,
        detached: bool = False,
    ) -> None:
        self.forward, self.put, self.strided, self.detached = forward, put, strided, detached


class Tensor:
    """An array of one dtype, computed when it is read. What differs from PyTorch: docs/coming-from-pytorch.md."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, o: Any) -> Tensor: ...
        def __radd__(self, o: Any) -> Tensor: ...
        def __sub__(self, o: Any) -> Tensor: ...
        def __rsub__(self, o: Any) -> Tensor: ...
        def __mul__(self, o: Any) -> Tensor: ...
        def __rmul__(self, o: Any) -> Tensor: ...
        def __truediv__(self, o: Any) -> Tensor: ...
        def __rtruediv__(self, o: Any) -> Tensor: ...
        def __floordiv__(self, o: Any) -> Tensor: ...
        def __rfloordiv__(self, o: Any) -> Tensor: ...
        def __mod__(self, o: Any) -> Tensor: ...
        def __rmod__(self, o: Any) -> Tensor: ...
        def __pow__(self, o: Any) -> Tensor: ...
        def __rpow__(self, o: Any) -> Tensor: ...
        def __matmul__(self, o: Any) -> Tensor: ...
        def __rmatmul__(self, o: Any) -> Tensor: ...
        def __and__(self, o: Any) -> Tensor: ...
        def __rand__(self, o: Any) -> Tensor: ...
        def __or__(self, o: Any) -> Tensor: ...
        def __ror__(self, o: Any) -> Tensor: ...
        def __xor__(self, o: Any) -> Tensor: ...
        def __rxor__(self, o: Any) -> Tensor: ...
        def __lshift__(self, o: Any) -> Tensor: ...
        def __rlshift__(self, o: Any) -> Tensor: ...
        def __rshift__(self, o: Any) -> Tensor: ...
        def __rrshift__(self, o: Any) -> Tensor: ...
        def __lt__(self, o: Any) -> Tensor: ...
        def __le__(self, o: Any) -> Tensor: ...
        def __gt__(self, o: Any) -> Tensor: ...
        def __ge__(self, o: Any) -> Tensor: ...
        def __eq__(self, o: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, o: Any) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

    _v: Value
    _rg: bool
    _leaf: bool
    _grad: Tensor | None
    _base: Tensor | None
    _view: View | None
    _seen: int
    _version: int
    _retain: bool
    _post: list[Any] | None
    __slots__ = (
        "__dict__", "__weakref__", "_base", "_grad", "_leaf", "_post", "_retain", "_rg", "_seen", "_v",
        "_version", "_view",
    )  # fmt: skip
    __array_priority__ = 1000

    def __new__(cls, *data: Any, **kwargs: Any) -> Tensor:
        """Of numbers, zeros of these sizes; of a sequence or an array, a copy in the default dtype; of a tensor, its
        values."""
        if len(data) == 1 and not isinstance(data[0], int | Size):
            source = from_data(data[0] if data[0] is not None else [], None)
            source = source if isinstance(data[0], Tensor) else convert(source, get_default_dtype())
        else:
            sizes = data[0] if data and isinstance(data[0], Size) else data or (0,)
            source = convert(from_array(np.zeros(sizes, np.float32)), get_default_dtype())
        made: Tensor = new(cls, source.value)._place(default_name())
        if kwargs.pop("requires_grad", False):
            made.requires_grad_(True)
        if kwargs:
            raise TypeError(f"Tensor() takes no {', '.join(kwargs)}")
        return made

    # --- the value ------------------------------------------------------------------------------------------------
    @property
    def value(self) -> Value:
        """The graph value, of a view that of its base as it is now."""
        base = self._base
        if base is not None:
            if (scope := _capture.get()) is not None:
                scope.seen(self)
            now = base.value
            if self._seen != base._version:
                view = self._view
                assert view is not None
                self._v = view.forward(now)
                self._seen = base._version
                self._rg = base._rg and not view.detached
                self._leaf = not self._rg
                if lazy.buffer_of(self._v) is None:
                    lazy.note_open(self)
        elif (scope := _capture.get()) is not None:
            scope.seen(self)
        elif self._v.node is lazy.STAND_IN:  # another thread captures with this tensor, and puts its value back
            with engine().lock:
                return self._v
        return self._v

    def _write(self, v: Value, requires_grad: bool) -> None:
        """Give the tensor another value of its type; a view gives it to its base."""
        base = self._base
        if base is not None:
            view = self._view
            assert view is not None
            rg = requires_grad or base._rg
            made = view.put(base.value, v)
            if not requires_grad and base._rg and not _grad_enabled.get():
                made = ops.detach(made)
            base._write(made, rg and (requires_grad or not base._leaf))
            _ = self.value
            return
        scope = _capture.get()
        if scope is not None:
            scope.written(self)
        if levels := lazy._levels.get():
            levels[-1].written.append((weakref.ref(self), self._v))
        if self._rg and self._leaf:
            self._v = _leaf_value(self, v)
        else:
            self._v = v
            self._rg, self._leaf = requires_grad, not requires_grad
        self._version += 1
        if lazy.buffer_of(self._v) is None:
            lazy.note_open(self)

    def _assign(self, other: Any) -> Tensor:
        """Write a result into this tensor: the end of every in-place method."""
        source = other if isinstance(other, Tensor) else as_tensor(other)
        mine = self._v.type
        same = source._v.type is mine
        if not same and source._v.type.element != mine.element:
            if not can_cast(source.dtype, self.dtype):
                what = f"a result of {source.dtype} cannot be written into a tensor of {self.dtype}"
                raise DTypeError(what, help="give the result a tensor of its own, or convert it by to()")
            source = convert(source, self.dtype)
        if not same and source._v.type.shape != mine.shape:
            what = f"a result of shape {shown(source.shape)} cannot be written in place into {shown(self.shape)}"
            raise ShapeError(what, help="a tensor keeps its shape in place: give the result one of its own")
        self._check_in_place()
        loose = self._view is not None and self._view.detached
        tracked = (source._rg or self.requires_grad) and _grad_enabled.get() and not loose
        v = source.value
        mine_ = self._v.device
        if v.device != mine_ and mine_ is not None:
            if v.device is not None and v.type.shape:
                what = f"a result on {v.device} cannot be written in place into a tensor on {mine_}"
                raise DeviceMismatchError(what, help=f"copy it by copy_() or .to({mine_!r})")
            v = placed(v, mine_)
        self._write(ops.detach(v) if source._rg and not tracked else v, tracked)
        return self

    def _in_place(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Write f of this tensor into it. What f itself needs of the old value for its gradient stays."""
        root = self if self._base is None else self._base
        token = _writing.set(root)
        try:
            made = f(self, *args, **kwargs)
        finally:
            _writing.reset(token)
        self._assign(made)
        if isinstance(made, Tensor) and made._rg and self._v is made._v:
            note_uses(self._v, root, ())
        return self

    def _check_in_place(self) -> None:
        root = self if self._base is None else self._base
        if self._view is not None and self._view.detached:
            return
        if root._rg and root._leaf and _grad_enabled.get():
            raise GradientError(
                "a leaf that requires grad is changed in place", help="do it under no_grad(), or change a copy"
            )

    # --- attributes -----------------------------------------------------------------------------------------------
    @property
    def type_(self) -> TensorType:
        """The graph type."""
        return self._v.type

    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return Size(self._v.type.shape)  # type: ignore[arg-type]

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._v.type.element  # type: ignore[return-value]

    @property
    def device(self) -> Device:
        """Where it lies."""
        return device_of(self._v)

    @property
    def _home(self) -> str | None:
        """The name of the device that this tensor lies on; None for one that goes where it is used."""
        return self._v.device

    def _place(self, device: str) -> Tensor:
        """Lie on a device from here on, before others have seen this tensor: it is returned, and no gradient flows
        from one place to the other. Raises DeviceUnavailableError for a GPU that is not there."""
        self._v = placed(self._v, device)
        return self

    def _copied(self) -> Tensor:
        """Another tensor of the same values, through which no gradient flows."""
        made: Tensor = new(Tensor, ops.detach(self.value) if self.requires_grad else self.value)
        return made

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._v.type.shape)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""
        if self._base is not None:
            _ = self.value
        return self._rg

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    @property
    def is_leaf(self) -> bool:
        """Whether no function made it that gradients flow through."""
        return self._leaf

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, None before the first."""
        scope = _capture.get()
        if scope is not None:
            scope.read_grad(self)
        return self._grad

    @grad.setter
    def grad(self, g: Tensor | None) -> None:
        if g is not None and (g.shape != self.shape):
            raise ShapeError(f"a gradient of shape {shown(g.shape)} does not fit a tensor of {shown(self.shape)}")
        if g is not None and g.device != self.device:
            raise DeviceMismatchError(f"a gradient on {g.device} does not fit a tensor on {self.device}")
        scope = _capture.get()
        if scope is not None:
            scope.set_grad(self)
        self._grad = g

    @property
    def grad_fn(self) -> Any:
        """What made the tensor, by name; None for leaves."""
        return None if self._leaf else f"<{self._v.node.op.name}>"

    @property
    def data(self) -> Tensor:
        """The same values, without gradients. Assigning to it replaces the values."""
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        scope = _capture.get()
        if scope is not None:
            scope.written(self)
        v = ops.detach(other.value) if other._rg else other.value
        self._base, self._view = None, None
        self._v = _leaf_value(self, v) if self._rg and self._leaf else v
        self._version += 1
        if lazy.buffer_of(self._v) is None:
            lazy.note_open(self)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Say whether this leaf gathers a gradient. Raises DTypeError for integers and bools."""
        if on == self._rg:
            return self
        if not self._leaf:
            raise GradientError("requires_grad can only be changed for leaves", help="use detach() first")
        if (scope := _capture.get()) is not None:
            scope.written(self)
        if on and not self.dtype.is_float:
            raise DTypeError(f"only floats have gradients, found a tensor of {self.dtype}", help="convert it by to()")
        if on and self._base is not None:
            self._base, self._view = None, None
        self._rg = on
        m = self._v.meta
        if on:
            self._v = _leaf_value(self, self._v)
            self._v.meta.hooks = self.__dict__.pop("_hooks", None)
        else:
            self._v = ops.detach(self._v)
            if m is not None and m.hooks:
                self.__dict__["_hooks"] = m.hooks  # until it gathers gradients again
        if lazy.buffer_of(self._v) is None:
            lazy.note_open(self)
        return self

    def detach(self) -> Tensor:
        """The same values, through which no gradient flows: of a leaf a view, of what functions made a copy."""
        if not self._leaf:
            return new(Tensor, ops.detach(self.value))
        if not self._rg and self._base is None and _capture.get() is None:  # what is below, of most tensors
            made: Tensor = new(Tensor, self.value)
            made._view = View(lambda v: ops.detach(v) if self._rg else v, lambda b, v: v, False, True)
            made._base, made._seen = self, self._version
            return made
        base = self if self._base is None else self._base
        token = _grad_enabled.set(False)
        try:
            made = view_of(self, lambda v: ops.detach(v) if base._rg else v, lambda b, v: v, False)
        finally:
            _grad_enabled.reset(token)
        assert made._view is not None
        made._view.detached = True
        return made

    def detach_(self) -> Tensor:
        """Cut this tensor off from what made it."""
        if not self._leaf:
            self._v, self._rg, self._leaf = ops.detach(self.value), False, True
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is no leaf."""
        if not self._rg:
            raise GradientError("retain_grad of a tensor that does not require grad")
        if not self._leaf:
            m = lazy.meta(self.value)
            m.leaf, m.passing = weakref.ref(self), True
            self._retain = True

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called."""
        return self._retain

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook` with the gradient of this tensor; what it returns takes the gradient's place."""
        if not self._rg:
            raise GradientError("a hook needs a tensor that requires grad")
        m = lazy.meta(self.value)
        m.hooks = m.hooks or []
        m.hooks.append(hook)
        return RemovableHandle(m.hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook` with this leaf after its gradient was added to."""
        self._post = self._post or []
        self._post.append(hook)
        return RemovableHandle(self._post, hook)

    # --- reading --------------------------------------------------------------------------------------------------
    def array(self) -> Array:
        """The data as a read-only array over the tensor's memory; bf16 as float32. Computes what is open.

        Raises UnsupportedError for a tensor on a GPU: nothing goes to the host unless it is asked for."""
        if self._v.device is not None and self._v.device != "cpu":
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
        from importlib import import_module

        room = import_module("heliostat.array_api")
        if api_version not in (None, "2021.12", "2022.12", "2023.12", room.__array_api_version__):
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

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        from .printing import text

        return text(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec or self.ndim == 0 else repr(self)

    def __reduce__(self) -> Any:
        kept = (type(self), self.host_array(), self.dtype.name, self._rg and self._leaf)
        return (_rebuild, kept if self.device.index is None else (*kept, str(self.device)))

    def __deepcopy__(self, memo: Any) -> Tensor:
        made = new(type(self), self.detach().value)
        if self._rg and self._leaf:
            made.requires_grad_(True)
        if self._grad is not None:
            made._grad = self._grad.clone()
        made.__dict__.update(self.__dict__)
        return made


class RemovableHandle:
    """Takes a hook away again."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self.hooks, self.hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        if self.hook in self.hooks:
            self.hooks.remove(self.hook)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *rest: object) -> None:
        self.remove()


# --- making tensors ---------------------------------------------------------------------------------------------------
def new(cls: Any, v: Value, requires_grad: bool = False) -> Any:
    """A tensor over a value."""
    t = object.__new__(cls)
    t._v, t._rg, t._leaf = v, requires_grad, not requires_grad
    t._grad = t._base = t._view = t._post = None
    t._seen = t._version = 0
    t._retain = False
    if lazy.anomaly.active is not None:
        lazy.anomaly.active.made(v)
    if (scope := _capture.get()) is not None:
        scope.made(t)
    elif (m := v.meta) is None or m.buffer is None:
        lazy.add_open(t)
    return t


def _leaf_value(t: Tensor, v: Value) -> Value:
    """A value of its own for a leaf that gathers a gradient."""
    buffer = lazy.buffer_of(v)
    if buffer is not None:
        made = lazy.leaf(buffer, v.type, v.device)
    elif v.node.op is lazy.DETACH and v.meta is None:
        made = v
    else:
        made = ops.detach(v)
    m = lazy.meta(made)
    m.leaf = weakref.ref(t)
    before = t._v.meta
    if before is not None and before.leaf is not None and before.leaf() is t:  # hooks outlast values
        m.hooks = before.hooks
    return made


def wrap(v: Value, *sources: Tensor) -> Tensor:
    """A result of a function of `sources`: gradients flow through it if they do through one of them."""
    for s in sources:
        if s._rg:
            break
    else:
        plain: Tensor = new(Tensor, v)
        return plain
    if v.type.element.is_float:  # type: ignore[attr-defined]
        if _grad_enabled.get():
            made: Tensor = new(Tensor, v, True)
            note_uses(v, made, sources)
            return made
        v = ops.detach(v)
    found: Tensor = new(Tensor, v)
    return found


def being_written() -> Any:
    """The tensor into which the result of the function that runs is written, None where there is none."""
    return _writing.get()


def note_uses(v: Value, owner: Tensor, sources: Sequence[Tensor]) -> None:
    """Remember which tensors held what the gradient of v may need, so that a later change of them is found."""
    if _within.get() or any(s._v is v for s in sources):
        return
    writing = _writing.get()
    found = [(v, weakref.ref(owner), owner._version)]
    for s in sources:
        root = s if s._base is None else s._base
        if root is not writing:
            found.append((s._v, weakref.ref(root), root._version))
    m = lazy.meta(v)
    m.uses = (*m.uses, *found)


def view_of(
    base: Tensor, forward: Callable[[Value], Value], put: Callable[[Value, Value], Value], strided: bool
) -> Tensor:
    """A view: it reads what its base holds, and writing to it writes to its base."""
    v = forward(base.value)
    tracked = base._rg and _grad_enabled.get() and v.type.dtype.is_float
    made: Tensor = new(Tensor, ops.detach(v) if base._rg and not tracked else v, tracked)
    inner = base._view
    if base._base is not None and inner is not None:
        first = inner
        made._view = View(
            lambda x: forward(first.forward(x)),
            lambda x, y: first.put(x, put(first.forward(x), y)),
            strided or first.strided,
            first.detached,
        )
        made._base = base._base
    else:
        made._view, made._base = View(forward, put, strided), base
    made._seen = made._base._version
    if tracked:
        note_uses(v, made._base, (base,))
    return made


_SCALARS: dict[DType, TensorType] = {f32: tensor(f32), f64: tensor(f64)}


def scalar(number: Any, dtype: DType) -> Value:
    """A Python number as an input of its own, so that another number is not another program."""
    kind = type(number)
    small = (kind is float and -1e38 < number < 1e38) or (kind is int and -(1 << 53) < number < 1 << 53)
    if small and (dtype is f32 or dtype is f64):
        return lazy.leaf(NumberBuffer(number, dtype.name), _SCALARS[dtype])
    array = np.array(number)
    if dtype == bf16:
        bits = np.float32(number).reshape(1).view(np.uint32)
        array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).reshape(())
    else:
        with np.errstate(over="ignore"):
            try:
                array = array.astype(lazy.NUMPY[dtype.name])
            except (OverflowError, ValueError, TypeError) as error:
                raise DTypeError(f"{number!r} is no {dtype}: {error}") from None
    return lazy.leaf(Buffer.of(array), tensor(dtype))


def number_tensor(number: Any, dtype: DType | None = None) -> Tensor:
    """A Python number, or a symbolic size, as a tensor without axes."""
    if isinstance(number, SymbolicDim):
        sized: Tensor = new(Tensor, ops.counted(number, dtype or number_dtype(number)))
        return sized
    if isinstance(number, complex) or (dtype is not None and dtype.kind == "c"):
        return from_array(np.asarray(number), dtype or number_dtype(number))
    made: Tensor = new(Tensor, scalar(number, dtype or number_dtype(number)))
    return made


def live_scalar(fill: Callable[[], float], dtype: DType) -> Tensor:
    """A number that a captured step asks for anew at each run: a learning rate, a count of steps."""
    made: Tensor = new(Tensor, scalar(fill(), dtype))
    lazy.meta(made._v).fill = fill
    if (scope := _capture.get()) is not None:
        scope.fills.append(made._v)
    return made


def as_tensor(x: Any, dtype: Any = None) -> Tensor:
    """x itself if it is a tensor, else a tensor of it."""
    if isinstance(x, Tensor):
        return x if dtype is None else convert(x, dtype_of(dtype))
    if isinstance(x, bool | int | float | complex | np.generic | SymbolicDim) and not isinstance(x, np.ndarray):
        return number_tensor(x.item() if isinstance(x, np.generic) else x, None if dtype is None else dtype_of(dtype))
    return from_data(x, None if dtype is None else dtype_of(dtype))


def from_data(data: Any, dtype: DType | None) -> Tensor:
    """A tensor that copies an array, nested lists of numbers and tensors, or another tensor. Without gradients."""
    if isinstance(data, Tensor):
        made = data._copied()
        return made if dtype is None else convert(made, dtype)
    array = _to_array(data, dtype is not None)
    if dtype is not None and dtype.kind in "iu" and isinstance(data, int | list | tuple) and array.dtype.kind in "iu":
        limits = np.iinfo(lazy.NUMPY[dtype.name])
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise DTypeError(f"numbers from {array.min()} to {array.max()} do not fit {dtype}")
    return from_array(array, dtype)


def _to_array(data: Any, exact: bool) -> Array:
    """`exact`: Python floats stay what they are, as for a dtype that is named; else they get the default dtype."""
    if isinstance(data, list | tuple):
        data = _plain(data)
    if hasattr(data, "__dlpack__") and not isinstance(data, np.ndarray):
        array = np.from_dlpack(data)
    else:
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ShapeError(f"a tensor cannot be made of nested lists of different lengths: {error}") from None
    if array.dtype.kind not in "biufc":
        raise DTypeError(f"a tensor cannot be made of {type(data).__name__}")
    python = not isinstance(data, np.ndarray | np.generic) and not hasattr(data, "__dlpack__")
    if python and not exact and array.dtype == np.complex128 and number_dtype(1j).bits == 64:
        array = array.astype(np.complex64)
    if python and not exact and array.dtype == np.float64:
        default = get_default_dtype()
        array = array.astype(np.float32 if default == bf16 else lazy.NUMPY[default.name])
    return array


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist() if not data.ndim else data.array().tolist()
    return [_plain(d) for d in data] if isinstance(data, list | tuple) else data


def from_array(array: Array, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """A tensor that copies an array, in its dtype or another. Without a device it has no place of its own: it goes
    where it is used."""
    made = _from_array(array, dtype)
    return made if device is None else made._place(device)


def _from_array(array: Array, dtype: DType | None = None) -> Tensor:
    found = of_numpy(array.dtype) if dtype is None else dtype
    if found.kind == "c":
        from .pairs import of_array

        held: Tensor = of_array(array, found)
        return held
    if array.dtype.kind == "c":
        raise DTypeError(f"complex numbers are no {found}", help="take their real parts")
    if found == bf16:
        wide = np.array(array, np.float32, order="C").reshape(array.shape)
        from ..ir.graph import round_bf16

        bits = (np.ascontiguousarray(round_bf16(wide)).view(np.uint32) >> 16).astype(np.uint16).reshape(array.shape)
        return owning(bits, bf16)
    with np.errstate(all="ignore"):
        copied = np.array(array, lazy.NUMPY[found.name], order="C").reshape(array.shape)
    return owning(copied, found)


def owning(array: Array, dtype: DType) -> Tensor:
    """A tensor of a contiguous array that was made for it, of the type that holds elements of `dtype`."""
    made: Tensor = new(Tensor, lazy.leaf(Buffer.owning(array), tensor(dtype, *array.shape)))
    return made


def convert(x: Tensor, dtype: DType) -> Tensor:
    """x in another dtype; itself where it has it."""
    if dtype.kind == "c":
        from .pairs import widened

        held: Tensor = widened(x, dtype)
        return held
    v = x.value
    if v.type.element is dtype or v.type.element == dtype:
        return x
    if v.type.shape or x._rg:
        return wrap(ops.cast(v, dtype), x)
    # Numbers that many functions use are converted once, by each thread: another may compute and forget what it made
    # before this one has read it.
    m, thread = lazy.meta(v), get_ident()
    maker, known = (None, None) if m.casts is None else m.casts.get(dtype.name, (None, None))
    if known is None or maker != thread or lazy.is_cut(known):
        known = ops.cast(v, dtype)
        m.casts = {**(m.casts or {}), dtype.name: (thread, known)}
    return wrap(known)


_NUMERIC = (Tensor, bool, int, float, np.generic, SymbolicDim)


def with_number(x: Tensor, number: Any) -> Value | None:
    """A Python number in the dtype that it takes beside x, where that is the dtype of x; None where it is not."""
    kind, dtype = type(number), x._v.type.element
    if (kind is float or kind is int) and (dtype is f32 or dtype is f64):
        return scalar(number, dtype)
    return None


def common(*operands: Any) -> tuple[list[Tensor], DType]:
    """Tensors and numbers in their common dtype. Raises TypeError where none is a tensor or number."""
    for o in operands:
        if not isinstance(o, _NUMERIC):
            raise DTypeError(f"a tensor or a number is needed, found {type(o).__name__}")
    dtype = result_dtype(operands)
    return [convert(o, dtype) if isinstance(o, Tensor) else number_tensor(o, dtype) for o in operands], dtype


def normal_dim(dim: int, rank: int, op: str = "") -> int:
    """An axis counted from the front; a tensor without axes has one for this purpose. Raises IndexOutOfRangeError."""
    from ..diagnostics import IndexOutOfRangeError

    size = max(rank, 1)
    if not -size <= dim < size:
        name = f"{op}: " if op else ""
        what = f"{name}axis {dim} is outside a tensor of {rank} axes"
        raise IndexOutOfRangeError(what, help=f"{-size} to {size - 1} are there")
    return int(dim) % size


def normal_dims(dim: int | Sequence[int] | None, rank: int, op: str = "") -> tuple[int, ...]:
    """Axes counted from the front, sorted; all where none is named."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return tuple(range(rank))
    named = (dim,) if isinstance(dim, int) else tuple(dim)
    found = tuple(sorted({normal_dim(d, rank, op) for d in named}))
    if len(found) != len(named):
        raise ShapeError(f"{op}: an axis is named twice in {list(named)}")
    return found if rank else ()


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


def _rebuild(cls: Any, array: Array, dtype: str, requires_grad: bool, device: str = "cpu") -> Any:
    from .dtypes import NAMES

    by_name = {d.name: d for d in NAMES.values()}
    made = new(cls, from_array(array, by_name[dtype], device).value)
    return made.requires_grad_(True) if requires_grad else made


class grad_mode:
    """Whether functions record what gradients need: a context manager and a decorator. `no_grad` makes one."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self.before: list[Any] = []

    def __enter__(self) -> None:
        self.before.append(_grad_enabled.set(self.on))

    def __exit__(self, *rest: object) -> None:
        _grad_enabled.reset(self.before.pop())

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with grad_mode(self.on):
                return function(*args, **kwargs)

        return run


def is_grad_enabled() -> bool:
    """Whether functions record what gradients need."""
    return _grad_enabled.get()
