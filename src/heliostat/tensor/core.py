"""`Tensor`: a lazy value with a gradient's bookkeeping, views that write through, and PyTorch's attributes.

Functions and most methods stand in the other modules of this package and are attached by `register.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .. import ops
from ..diagnostics import DeviceMismatchError, DTypeError, GradientError, ShapeError
from ..ir.graph import Value
from ..ir.types import DType, TensorType
from ..ops.rules import shown
from ..session import engine
from . import lazy
from .devices import Device, default_name, device_of, placed
from .dims import Size
from .dtypes import can_cast, get_default_dtype
from .gradient_mode import grad_enabled
from .reading import Array, Readable

_capture = lazy._capture
_writing: ContextVar[Any] = ContextVar("heliostat_writing", default=None)
within_function: ContextVar[bool] = ContextVar("heliostat_within", default=False)


class View:
    """How a view is made of its base, and how the base is made anew when the view is written.

    A tensor that is no view has one too once its shape was changed in place: views are made of it as it lay before."""

    __slots__ = ("detached", "forward", "put", "strided")

    def __init__(
        self,
        forward: Callable[[Value], Value],
        put: Callable[[Value, Value], Value],
        strided: bool = True,
        detached: bool = False,
    ) -> None:
        self.forward, self.put, self.strided, self.detached = forward, put, strided, detached


class Tensor(Readable):
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
        from .conversion import of_sizes_or_data

        source = of_sizes_or_data(data, None if len(data) == 1 and isinstance(data[0], Tensor) else get_default_dtype())
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
                self._v = view.forward(laid(base, now))
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
            made = view.put(laid(base, base.value), v)
            made = made if base._view is None else base._view.forward(made)
            if not requires_grad and base._rg and not grad_enabled.get():
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
        source = other if isinstance(other, Tensor) else Tensor._converted(other)
        mine = self._v.type
        same = source._v.type is mine
        if not same and source._v.type.element != mine.element:
            if not can_cast(source.dtype, self.dtype):
                what = f"a result of {source.dtype} cannot be written into a tensor of {self.dtype}"
                raise DTypeError(what, help="give the result a tensor of its own, or convert it by to()")
            source = Tensor._converted(source, self.dtype)
        if not same and source._v.type.shape != mine.shape:
            what = f"a result of shape {shown(source.shape)} cannot be written in place into {shown(self.shape)}"
            raise ShapeError(what, help="a tensor keeps its shape in place: give the result one of its own")
        self._check_in_place()
        loose = self._view is not None and self._view.detached
        tracked = (source._rg or self.requires_grad) and grad_enabled.get() and not loose
        v = source.value
        mine_ = self._v.device
        if v.device != mine_ and mine_ is not None:
            if v.device is not None and v.type.shape:
                what = f"a result on {v.device} cannot be written in place into a tensor on {mine_}"
                raise DeviceMismatchError(what, help=f"copy it by copy_() or .to({mine_!r})")
            v = placed(v, mine_)
        self._write(ops.detach(v) if source._rg and not tracked else v, tracked)
        return self

    @staticmethod
    def _converted(x: Any, dtype: DType | None = None) -> Tensor:
        from .conversion import as_tensor

        return as_tensor(x, dtype)

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
        if root._rg and root._leaf and grad_enabled.get():
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
        if (
            not self._rg and self._base is None and self._view is None and _capture.get() is None
        ):  # what is below, of most tensors
            made: Tensor = new(Tensor, self.value)
            made._view = View(lambda v: ops.detach(v) if self._rg else v, lambda b, v: v, False, True)
            made._base, made._seen = self, self._version
            return made
        base = self if self._base is None else self._base
        token = grad_enabled.set(False)
        try:
            made = view_of(self, lambda v: ops.detach(v) if base._rg else v, lambda b, v: v, False)
        finally:
            grad_enabled.reset(token)
        assert made._view is not None
        made._view.detached = True
        return made

    def detach_(self) -> Tensor:
        """Cut this tensor off from what made it."""
        if not self._leaf:
            self._v, self._leaf = ops.detach(self.value), True
        self._rg = False
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

    __hash__ = object.__hash__

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
        if grad_enabled.get():
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
    if within_function.get() or any(s._v is v for s in sources):
        return
    writing = _writing.get()
    found = [(v, weakref.ref(owner), owner._version)]
    for s in sources:
        root = s if s._base is None else s._base
        if root is not writing:
            found.append((s._v, weakref.ref(root), root._version))
    m = lazy.meta(v)
    m.uses = (*m.uses, *found)


def laid(base: Tensor, v: Value) -> Value:
    """A value of a base as it lay before the shape of the base was changed in place: what its views are made of."""
    return v if base._view is None else base._view.put(v, v)


def change_shape(x: Tensor, found: Tensor) -> Tensor:
    """x, under the shape of a view of it from here on. Other views, of it and of its base, stay what they are."""
    x._check_in_place()
    if found is not x:
        if x._base is not None:
            x._base, x._seen = found._base, found._seen
        x._view, x._v = found._view, found._v
    return x


def view_of(
    base: Tensor, forward: Callable[[Value], Value], put: Callable[[Value, Value], Value], strided: bool
) -> Tensor:
    """A view: it reads what its base holds, and writing to it writes to its base."""
    v = forward(base.value)
    tracked = base._rg and grad_enabled.get() and v.type.dtype.is_float
    made: Tensor = new(Tensor, ops.detach(v) if base._rg and not tracked else v, tracked)
    inner = base._view
    if inner is not None:
        first = inner
        made._view = View(
            lambda x: forward(first.forward(x)),
            lambda x, y: first.put(x, put(first.forward(x), y)),
            strided or first.strided,
            first.detached,
        )
        made._base = base if base._base is None else base._base
    else:
        made._view, made._base = View(forward, put, strided), base
    made._seen = made._base._version
    if tracked:
        note_uses(v, made._base, (base,))
    return made


def _rebuild(cls: Any, array: Array, dtype: str, requires_grad: bool, device: str = "cpu") -> Any:
    from .conversion import from_array
    from .dtypes import NAMES

    by_name = {d.name: d for d in NAMES.values()}
    made = new(cls, from_array(array, by_name[dtype], device).value)
    return made.requires_grad_(True) if requires_grad else made
