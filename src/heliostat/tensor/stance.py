"""What `compile` is asked besides compiling: `disable`, `is_compiling`, `mark_dynamic`, `set_stance` and others. They
are attributes of it, with torch.compiler's names.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..diagnostics import CaptureError, UnsupportedError
from . import cuda, lazy
from .conversion import from_array
from .core import Tensor
from .structure import mapped
from .watch import is_module

STANCES = ("default", "eager_on_recompile", "fail_on_recompile", "force_eager")
"""Compile what is new; run what is new as Python; refuse what is new; run all as Python."""

_stance: ContextVar[str] = ContextVar("heliostat_stance", default="default")
known: weakref.WeakSet[Any] = weakref.WeakSet()
"""The compiled functions that are alive."""


_exporting: ContextVar[bool] = ContextVar("heliostat_exporting", default=False)


def is_exporting() -> bool:
    """Whether the code that asks runs inside of `heliostat.export.export`."""
    return _exporting.get()


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """A scope in which `is_exporting` holds."""
    token = _exporting.set(True)
    try:
        yield
    finally:
        _exporting.reset(token)


def list_backends() -> list[str]:
    """The devices that steps are compiled for on this machine: "cpu", and "cuda" where there is a GPU."""
    return ["cpu", "cuda"] if cuda.is_available() else ["cpu"]


def allow_in_graph(function: Any) -> Any:
    """The function, which is in the graph already: a capture runs all Python and takes whatever it does with tensors.
    A decorator too."""
    return function


def assume_constant_result(function: Any) -> Any:
    """The function, whose Python results are constants of a capture already: it runs once for each signature. One that
    looks at a tensor's value raises CaptureError there, as everywhere. A decorator too."""
    return function


def wrap_numpy(function: Any) -> Any:
    """A function of tensors from one of NumPy arrays: it reads its arguments, runs on the host and has no gradients;
    inside of a capture it raises CaptureError. A decorator too."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if lazy.capturing():
            name = getattr(function, "__name__", type(function).__name__)
            raise CaptureError(f"{name} computes with NumPy inside of a compiled function", help="call it outside")
        made = function(*_arrays(args), **_arrays(kwargs))
        return _tensors(made)

    return run


def _arrays(x: Any) -> Any:
    return mapped(x, lambda t: np.asarray(t.detach().numpy()))


def _tensors(x: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return from_array(np.asarray(x))
    if isinstance(x, tuple | list):
        made = [_tensors(i) for i in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    return {k: _tensors(v) for k, v in x.items()} if isinstance(x, dict) else x


def stance() -> str:
    """What compiled functions do now, one of STANCES."""
    return _stance.get()


def is_compiling() -> bool:
    """Whether the code that asks runs inside of a capture, where values are not there yet."""
    return lazy.capturing()


def uncompiled(function: Any) -> Any:
    """What a compiled function was made of; any other function itself."""
    return function.function if function in known else function


def disable(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function as Python: `compile` leaves it as it is, and a capture that comes to it raises CaptureError with the
    reason, since a program has no way back to Python in its middle. A decorator too.

    Raises UnsupportedError for modules and for recursive=False."""
    if function is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if not recursive:
        raise UnsupportedError("disable(recursive=False): a capture takes all that a function calls, or nothing of it")
    inner = uncompiled(function)
    if is_module(inner):
        raise UnsupportedError("disable takes functions, found a module", help="disable a function that calls it")

    @functools.wraps(inner)
    def run(*args: Any, **kwargs: Any) -> Any:
        if lazy.capturing():
            name = getattr(inner, "__name__", type(inner).__name__)
            what = f"{name} is disabled for compile and called inside of a compiled function"
            raise CaptureError(what + (f": {reason}" if reason else ""), help="call it before or after")
        return inner(*args, **kwargs)

    run._disabled = True  # type: ignore[attr-defined]
    return run


def is_disabled(function: Any) -> bool:
    """Whether a function is one of `disable`."""
    return bool(getattr(function, "_disabled", False))


def reset() -> None:
    """Forget the programs of all compiled functions, as `clear_cache` of each."""
    for compiled in list(known):
        compiled.clear_cache()


def mark_dynamic(tensor: Tensor, index: Any) -> None:
    """Make an axis of an argument a symbol from the first capture on, so that other sizes need no compilation. Leading
    axes of other arguments that have the same size go along; those of other sizes, as weights have, stay.

    Raises UnsupportedError for other axes than the leading one, and for an axis of size 0 or 1."""
    for axis in index if isinstance(index, list | tuple) else (index,):
        if not tensor.ndim or axis not in (0, -tensor.ndim):
            raise UnsupportedError(f"mark_dynamic: axis {axis} is not the leading one, which can be a symbol")
        if tensor.shape[0] < 2:
            raise UnsupportedError(f"mark_dynamic: an axis of size {tensor.shape[0]} broadcasts or is empty: no symbol")
    tensor.__dict__["_dynamic"] = True


def is_marked(tensor: Tensor) -> bool:
    """Whether `mark_dynamic` named the tensor."""
    return "_dynamic" in tensor.__dict__


class set_stance:
    """Say what compiled functions do from here on, inside a `with`, or in a function that
    it decorates: one of STANCES. Raises ValueError for others."""

    def __init__(self, name: str = "default") -> None:
        if name not in STANCES:
            raise ValueError(f"set_stance: there is no {name!r}; there are {', '.join(STANCES)}")
        self._name, self._before = name, _stance.get()
        _stance.set(name)

    def __enter__(self) -> set_stance:
        return self

    def __exit__(self, *rest: object) -> None:
        _stance.set(self._before)

    def __call__(self, function: Any) -> Any:
        """The function, run with the stance, which holds for it alone."""
        _stance.set(self._before)
        name = self._name

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with set_stance(name):
                return function(*args, **kwargs)

        return run
