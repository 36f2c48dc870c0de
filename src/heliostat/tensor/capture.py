"""Capture: a function runs once on stand-ins for values, and what it reads, writes and returns becomes a record.

While a scope is open in a thread, `core` tells it of every tensor that is made, read or written. A tensor from outside
gets a stand-in for its value at first sight; at the end, and after an exception too, all tensors are as they were.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..diagnostics import CaptureError
from ..ir.graph import Value
from ..ir.types import TensorType
from ..session import engine
from . import lazy
from .bounds import Asked, asked_at_calls
from .core import Tensor, new
from .gradient_mode import grad_mode, is_grad_enabled
from .structure import mapped, tensors_in

_FIELDS = ("_v", "_rg", "_leaf", "_base", "_view", "_seen", "_version", "_grad")


def stand_in(type: TensorType, device: str | None) -> Value:
    """A value that gets its data when a program runs."""
    v = Value(lazy.STAND_IN, 0, type)
    v.device = device
    v.meta = lazy.Meta()
    return v


def is_stand_in(v: Value) -> bool:
    return v.node is lazy.STAND_IN


class Outside:
    """A tensor from outside: how it was, its stand-in, and after the capture its new value, None if it kept its own."""

    __slots__ = ("before", "final", "tensor", "value")

    def __init__(self, t: Tensor) -> None:
        self.tensor = t
        self.before = tuple(getattr(t, f) for f in _FIELDS)
        self.value: Value | None = None
        self.final: Value | None = None

    @property
    def grad(self) -> Tensor | None:
        """Its gradient before the capture."""
        found: Tensor | None = self.before[-1]
        return found

    def restore(self) -> None:
        for f, x in zip(_FIELDS, self.before, strict=True):
            setattr(self.tensor, f, x)


class Scope:
    """What a thread's capture has seen so far."""

    def __init__(self) -> None:
        self.inner: dict[int, weakref.ref[Tensor]] = {}
        self.outside: dict[int, Outside] = {}
        self.grads: dict[int, Outside] = {}
        self.fills: list[Value] = []
        self.refused: CaptureError | None = None  # the first of `lazy.refused`
        self.ranges: list[Any] = []  # what `bounds.require` could not check
        self.drawn: dict[Any, list[int]] = {}  # generators: where each was, and how often it was asked

    def made(self, t: Tensor) -> None:
        """A tensor was made."""
        self.inner[id(t)] = weakref.ref(t)

    def _of(self, t: Tensor) -> Outside | None:
        if id(t) in self.inner:
            return None
        found = self.outside.get(id(t))
        if found is None:
            found = self.outside[id(t)] = Outside(t)
        return found

    def seen(self, t: Tensor) -> None:
        """A tensor is read or written."""
        found = self._of(t)
        if found is None or found.value is not None:
            return
        if t._base is not None:
            t._seen = -1  # to be made anew, of what stands for its base
            found.value = t._v
            return
        before = t._v
        made = found.value = stand_in(before.type, before.device)
        if t._rg:
            made.meta.leaf = weakref.ref(t)
            made.meta.hooks = [_history] if not t._leaf else None if before.meta is None else before.meta.hooks
        t._v = made

    written = seen

    def read_grad(self, t: Tensor) -> None:
        """A tensor's gradient is read."""
        found = self._of(t)
        if found is not None:
            self.grads.setdefault(id(t), found)

    set_grad = read_grad


class Captured:
    """A function's run on stand-ins.

    arguments: the stand-ins of its tensors. result: what it returned, with tensors of the scope. outside: the tensors
    that it read or wrote. grads: those whose gradient it looked at, each with the gradient it left. kept: tensors that
    were made inside and are still held by something. fills: numbers to ask for at each run, in order. asked: what the
    numbers in arguments must be. drawn: generators that it drew from.
    """

    def __init__(self) -> None:
        self.arguments: list[Tensor] = []
        self.values: list[Value] = []
        self.result: Any = None
        self.outside: list[Outside] = []
        self.grads: list[tuple[Outside, Tensor | None]] = []
        self.kept: list[Tensor] = []
        self.fills: list[Value] = []
        self.asked: list[Asked] = []
        self.drawn: dict[Any, list[int]] = {}
        self.finals: dict[int, Value] = {}


def argument(t: Tensor, type: TensorType) -> Tensor:
    """A stand-in for an argument."""
    made: Tensor = new(Tensor, stand_in(type, t._v.device), t._rg)
    if t._rg:
        made._leaf = t._leaf
        made._v.meta.leaf = weakref.ref(made)
        made._v.meta.hooks = [_history] if not t._leaf else [_own_hooks] if hooked(t) else None
    return made


def hooked(t: Tensor) -> bool:
    """Whether hooks of its own wait for the gradient of a leaf."""
    m = t._v.meta
    return m is not None and bool(m.hooks) and t._leaf


def _own_hooks(g: Tensor) -> None:
    """A hook of arguments that have hooks, which would not be those of the next call's."""
    raise CaptureError(
        "backward inside of a compiled step reaches an argument that has hooks",
        help="do inside what they do, remove them, or call backward outside",
    )


def _history(g: Tensor) -> None:
    """A hook of tensors from outside that functions made: their history is not part of the step."""
    raise CaptureError(
        "backward inside of a compiled step reaches a tensor that was computed outside of it",
        help="compute it inside, detach() it, or call backward outside",
    )


def capture(
    call: Callable[..., Any], args: Any, kwargs: Any, by_identity: Callable[[Tensor], bool], types: Sequence[TensorType]
) -> Captured:
    """Run `call` on stand-ins for the tensors in args and kwargs. Nothing is changed if it raises. Other threads that
    read a tensor which has a stand-in meanwhile wait for the engine's lock, which is held here.

    by_identity: which of them are handed over themselves, as tensors from outside. types: those of the other ones."""
    with engine().lock:
        return _captured(call, args, kwargs, by_identity, types)


def _captured(
    call: Callable[..., Any], args: Any, kwargs: Any, by_identity: Callable[[Tensor], bool], types: Sequence[TensorType]
) -> Captured:
    lazy.flush()
    scope, made = Scope(), Captured()
    token = lazy._capture.set(scope)
    rest = iter(types)

    def place(t: Tensor) -> Tensor:
        if by_identity(t):
            return t
        stands = argument(t, next(rest))
        made.arguments.append(stands)
        made.values.append(stands._v)
        return stands

    mode = is_grad_enabled()
    try:
        given, named = mapped((list(args), dict(kwargs)), place)
        made.result = call(*given, **named)
        if scope.refused is not None:
            raise scope.refused
        del given, named
        _cut_views(scope, made.result)
        made.outside = [o for o in scope.outside.values() if o.value is not None and o.tensor._base is None]
        for o in made.outside:
            if o.tensor._v is not o.value:
                o.final = o.tensor._v
        made.grads = [(o, o.tensor._grad) for o in scope.grads.values()]
        made.fills, made.drawn = scope.fills, scope.drawn
        made.asked = asked_at_calls(scope.ranges, {id(v): n for n, v in enumerate(made.values)})
        made.kept = _kept(scope, made)
        for t in (*tensors_in(made.result), *made.arguments, *made.kept, *(g for _, g in made.grads if g is not None)):
            made.finals[id(t)] = t.value
        return made
    except BaseException:
        take_back(scope.drawn)
        raise
    finally:
        for o in scope.outside.values():
            o.restore()
        lazy._capture.reset(token)
        if is_grad_enabled() is not mode:
            grad_mode(mode).__enter__()


def take_back(drawn: Mapping[Any, Sequence[int]]) -> None:
    """Let generators go on where they were before a capture, but for those that another thread drew from since."""
    for g, (count, times) in drawn.items():
        if g._count == count + times:
            g._count = count


def _cut_views(scope: Scope, result: Any) -> None:
    """Let views that are results hold their values alone: what they are views of would count as kept by them."""
    for t in tensors_in(result):
        if t._base is not None and id(t) in scope.inner and id(t._base) in scope.inner:
            _ = t.value  # of the base as it is now
            t._base, t._view = None, None


def _kept(scope: Scope, made: Captured) -> list[Tensor]:
    """Tensors of the scope that somebody other than the result, the arguments and gradients holds."""
    known = {id(t) for t in (*tensors_in(made.result), *made.arguments)}
    known |= {id(g) for _, g in made.grads if g is not None}

    def alive() -> list[Tensor]:
        return [t for r in scope.inner.values() if (t := r()) is not None and id(t) not in known]

    if alive():
        gc.collect()  # graph values and what they belong to refer to each other
    return alive()
