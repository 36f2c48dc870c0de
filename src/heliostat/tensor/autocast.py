"""Autocast: scopes in which functions choose the dtype that they compute in, by the table of `ops.amp`.

A function with a rule has its float inputs converted and runs with autocast off inside, as PyTorch's do; functions
without one keep what they are given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from .. import ops
from ..diagnostics import DTypeError, ScopeError, UnsupportedError
from ..ir.graph import Value
from ..ir.types import DType, bf16, f16, f32, f64
from ..ops.amp import NAMED, POLICIES, Autocast
from .conversion import convert
from .core import Tensor, wrap
from .dtypes import dtype_of

F = TypeVar("F", bound=Callable[..., Any])

DEFAULTS: Mapping[str, DType] = {"cpu": bf16, "cuda": f16}
"""The kinds of devices, and the dtype of each where a scope names none."""


class Frame:
    """An open scope. modes: the dtype by device, None where a scope around or this one switched it off. casts:
    parameters in lower precision, shared by all scopes within the outermost."""

    __slots__ = ("caching", "casts", "modes", "parent")

    def __init__(self, parent: Frame | None, device: str, dtype: DType | None, caching: bool) -> None:
        self.parent, self.caching = parent, caching
        self.modes: dict[str, DType | None] = {**(parent.modes if parent else {}), device: dtype}
        self.casts: dict[tuple[int, str], tuple[Value, Value]] = parent.casts if parent else {}

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What functions do in this scope: part of a compiled function's signature."""
        return tuple(sorted((device, dtype.name) for device, dtype in self.modes.items() if dtype is not None))


current_frame: ContextVar[Frame | None] = ContextVar("heliostat_autocast", default=None)


def signature() -> tuple[tuple[str, str], ...]:
    """Devices with the dtypes that autocast gives them now; nothing where it is off."""
    frame = current_frame.get()
    return () if frame is None else frame.key


def _known(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise DTypeError(f"autocast takes the kind of a device by name, found {device_type!r}", help='say "cpu"')
    if device_type not in DEFAULTS:
        raise UnsupportedError(f"there is no autocast for {device_type!r}", help=f"devices: {', '.join(DEFAULTS)}")
    return device_type


class autocast:
    """A scope, and a decorator, in which products run in `dtype` and functions that need it in float32.

    device_type: "cpu" or "cuda". dtype: bfloat16 or float16; None is bfloat16 on CPUs, float16 on GPUs. enabled: False
    switches it off inside of another scope. cache_enabled: whether a parameter is converted once for the scope; None is
    what the scope around says. Scopes close in the order opposite to their opening: anything else is a ScopeError.
    Raises DTypeError for other dtypes, UnsupportedError for other devices."""

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = _known(device_type)
        self.dtype = DEFAULTS[self.device] if dtype is None else dtype_of(dtype)
        if self.dtype not in (bf16, f16):
            raise DTypeError(f"autocast to {self.dtype} is not possible", help="dtype is bfloat16 or float16")
        self.enabled, self.cache_enabled = bool(enabled), cache_enabled
        self._frames: list[Frame] = []

    def __enter__(self) -> autocast:
        parent = current_frame.get()
        caching = self.cache_enabled
        if caching is None:
            caching = parent.caching if parent else True
        frame = Frame(parent, self.device, self.dtype if self.enabled else None, caching)
        current_frame.set(frame)
        self._frames.append(frame)
        return self

    def __exit__(self, *rest: object) -> None:
        if not self._frames or current_frame.get() is not self._frames[-1]:
            raise ScopeError(
                f"an autocast scope of {self.device!r} is closed that is not the innermost one",
                help="use `with`, or close scopes in the order opposite to their opening",
            )
        frame = self._frames.pop()
        current_frame.set(frame.parent)
        if frame.parent is None:
            frame.casts.clear()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device, self.dtype, self.enabled, self.cache_enabled):
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]


def is_autocast_available(device_type: str) -> bool:
    """Whether there are rules for a kind of device."""
    return device_type in DEFAULTS


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether functions choose their dtype now, on a kind of device or on any."""
    frame = current_frame.get()
    if device_type is None:
        return frame is not None and any(d is not None for d in frame.modes.values())
    name = _known(device_type)
    return frame is not None and frame.modes.get(name) is not None


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype of products in the scope that is open, or that one would have without naming one."""
    name = _known(device_type)
    frame = current_frame.get()
    found = None if frame is None else frame.modes.get(name)
    return DEFAULTS[name] if found is None else found


class switched:
    """Autocast as it was elsewhere, `frame`; None is off. A context manager and a decorator."""

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        self._tokens.append(current_frame.set(self.frame))

    def __exit__(self, *rest: object) -> None:
        current_frame.reset(self._tokens.pop())

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with switched(self.frame):
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]


def current() -> Frame | None:
    """The innermost scope."""
    return current_frame.get()


# --- functions with rules ---------------------------------------------------------------------------------------------
def ruled(f: F, *names: str) -> F:
    """f with the rules of `ops.amp` for its name, or for the first of `names` that has some. A decorator.

    Raises KeyError where no rule names it."""
    name = next((n for n in (*names, f.__name__) if n in NAMED), None)
    if name is None:
        raise KeyError(f"no rule of ops.amp names {f.__name__}")
    rules = {device: table[name] for device, table in POLICIES.items() if name in table}

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        frame = current_frame.get()
        if frame is None:
            return f(*args, **kwargs)
        tensors = list(_tensors((*args, *kwargs.values())))
        device = tensors[0].device.type if tensors else "cpu"
        dtype, rule = frame.modes.get(device), rules.get(device)
        if dtype is None or rule is None:
            return f(*args, **kwargs)
        target = _target(f.__name__, rule, dtype, tensors, kwargs)
        with switched(None):
            if target is None:
                return f(*args, **kwargs)
            kept = frame.casts if frame.caching else None
            given = [_cast(a, target, kept) for a in args]
            return f(*given, **{k: _cast(a, target, kept) for k, a in kwargs.items()})

    run.unruled = f  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def unruled(f: F) -> F:
    """f without its rules: for functions that autocast leaves alone and that are made of one that it does not."""
    found: F = getattr(f, "unruled", f)
    return found


def _tensors(args: Any) -> Iterator[Tensor]:
    for a in args:
        if isinstance(a, Tensor):
            yield a
        elif isinstance(a, list | tuple):
            yield from _tensors(a)


def _target(name: str, rule: Autocast, lower: DType, tensors: list[Tensor], kwargs: Mapping[str, Any]) -> DType | None:
    """The dtype that float inputs get; None where they stay as they are."""
    if rule is Autocast.LOWER:
        return lower
    if rule is Autocast.REFUSE:
        raise UnsupportedError(
            f"{name} is not safe under autocast", help="binary_cross_entropy_with_logits is; or leave the scope"
        )
    if rule is Autocast.WIDEST:
        found = {t.dtype for t in tensors if t.dtype.is_float}
        return f32 if len(found) > 1 and f64 not in found else None
    if rule is Autocast.FLOAT32_UNLESS_DTYPE and kwargs.get("dtype") is not None:
        return None
    return f32


def _cast(a: Any, dtype: DType, kept: dict[tuple[int, str], tuple[Value, Value]] | None) -> Any:
    """An argument with its float tensors in dtype; float64 stays."""
    if isinstance(a, Tensor):
        now = a.dtype
        if not now.is_float or now in (f64, dtype):
            return a
        if kept is None or now != f32 or not (a._rg and a._leaf):
            return convert(a, dtype)
        v = a.value
        found = kept.get((id(v), dtype.name))
        # What was computed since may have been cut off from the parameter.
        if found is None or v not in found[1].node.inputs:
            found = kept[id(v), dtype.name] = (v, ops.cast(v, dtype))
        return wrap(found[1], a)
    if isinstance(a, list | tuple) and any(isinstance(x, Tensor) for x in a):
        made = [_cast(x, dtype, kept) for x in a]
        return made if isinstance(a, list) else tuple(made)
    return a
