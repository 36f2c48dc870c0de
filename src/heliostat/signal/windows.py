"""Windows of signals, with torch.signal.windows' names. Each has M points; with sym=False they are one period of a
longer one, for use with Fourier transforms."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..tensor import Tensor
from ..tensor.conversion import from_array
from ..tensor.create import finished
from ..tensor.devices import default_name
from ..tensor.dtypes import dtype_of, get_default_dtype

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_gaussian",
    "general_hamming", "hamming", "hann", "kaiser", "nuttall", "triangular",
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]
Maker = Callable[..., Array]


def _window(build: Maker) -> Callable[..., Tensor]:
    """A function of M, of what `build` takes by name, and of what all makers take. `build` gets the numbers 0 .. M - 1
    and how many steps there are between the ends of the whole window."""

    @functools.wraps(build)
    def made(
        M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, **rest: Any
    ) -> Tensor:
        name = build.__name__.lstrip("_")
        if not isinstance(M, int) or M < 0:
            raise ShapeError(f"{name}: a window has 0 points or more, found {M}")
        kind = get_default_dtype() if dtype is None else dtype_of(dtype)
        if not kind.is_float:
            raise DTypeError(f"{name}: a window has floats, found {kind}")
        more: dict[str, Any] = {k: rest.pop(k) for k in ("layout", "pin_memory") if k in rest}
        points = np.arange(M, dtype=np.float64)
        y = build(points, M - 1 if sym or M == 1 else M, **rest)
        return finished(from_array(y, kind), requires_grad, {"device": default_name(device), **more})

    return made


def _cosines(n: Array, steps: float, a: Iterable[float]) -> Array:
    if steps < 1:
        return np.ones_like(n)
    turn = 2 * math.pi * n / steps
    total = np.zeros_like(n)
    for k, weight in enumerate(a):
        total = total + (-1) ** k * weight * np.cos(k * turn)
    return total


@_window
def general_cosine(n: Array, steps: float, /, *, a: Iterable[float]) -> Array:
    """Sum of (-1)^k a[k] cos(2 pi k n / steps). M points; sym, dtype, device, requires_grad as for all windows."""
    weights = list(a)
    if not weights:
        raise ShapeError("general_cosine: coefficients a must not be empty")
    return _cosines(n, steps, weights)


@_window
def general_hamming(n: Array, steps: float, /, *, alpha: float = 0.54) -> Array:
    """alpha - (1 - alpha) cos(2 pi n / steps)."""
    return _cosines(n, steps, (alpha, 1 - alpha))


@_window
def hamming(n: Array, steps: float, /) -> Array:
    """0.54 - 0.46 cos(2 pi n / steps)."""
    return _cosines(n, steps, (0.54, 0.46))


@_window
def hann(n: Array, steps: float, /) -> Array:
    """(1 - cos(2 pi n / steps)) / 2."""
    return _cosines(n, steps, (0.5, 0.5))


@_window
def blackman(n: Array, steps: float, /) -> Array:
    """0.42 - 0.5 cos(2 pi n / steps) + 0.08 cos(4 pi n / steps)."""
    return _cosines(n, steps, (0.42, 0.5, 0.08))


@_window
def nuttall(n: Array, steps: float, /) -> Array:
    """The minimum four-term Blackman-Harris window of Nuttall."""
    return _cosines(n, steps, (0.3635819, 0.4891775, 0.1365995, 0.0106411))


@_window
def bartlett(n: Array, steps: float, /) -> Array:
    """A triangle from 0 to 1 and back."""
    return 1 - np.abs(2 * n / steps - 1) if steps >= 1 else np.ones_like(n)


@_window
def cosine(n: Array, steps: float, /) -> Array:
    """Half a wave: sin(pi (n + 1/2) / (steps + 1))."""
    y: Array = np.sin(math.pi * (n + 0.5) / (steps + 1))
    return y


@_window
def gaussian(n: Array, steps: float, /, *, std: float = 1.0) -> Array:
    """exp(-((n - steps / 2) / std)^2 / 2). std > 0."""
    if std <= 0:
        raise ShapeError(f"gaussian: std is above 0, found {std}")
    y: Array = np.exp(-0.5 * ((n - steps / 2) / std) ** 2)
    return y


@_window
def general_gaussian(n: Array, steps: float, /, *, p: float = 1.0, sig: float = 1.0) -> Array:
    """exp(-|(n - steps / 2) / sig|^(2 p) / 2): a Gaussian at p = 1, Laplace's curve at 1 / 2. sig > 0; scipy.signal's
    name."""
    if sig <= 0:
        raise ShapeError(f"general_gaussian: sig is above 0, found {sig}")
    y: Array = np.exp(-0.5 * np.abs((n - steps / 2) / sig) ** (2 * p))
    return y


@_window
def triangular(n: Array, steps: float, /) -> Array:
    """1 - |n - steps / 2| / (half the width), which ends above 0, unlike `bartlett`; scipy.signal's triang."""
    half = (steps + 1) // 2 if (steps + 1) % 2 == 0 else (steps + 2) / 2
    y: Array = 1 - np.abs(n - steps / 2) / half
    return y


@_window
def kaiser(n: Array, steps: float, /, *, beta: float = 12.0) -> Array:
    """I0(beta sqrt(1 - (2 n / steps - 1)^2)) / I0(beta). beta >= 0."""
    if beta < 0:
        raise ShapeError(f"kaiser: beta is not negative, found {beta}")
    if steps < 1:
        return np.ones_like(n)
    y: Array = np.i0(beta * np.sqrt(np.maximum(1 - (2 * n / steps - 1) ** 2, 0))) / np.i0(beta)
    return y


@_window
def _exponential(n: Array, steps: float, /, *, center: float | None, tau: float) -> Array:
    y: Array = np.exp(-np.abs(n - (steps / 2 if center is None else center)) / tau)
    return y


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **rest: Any) -> Tensor:
    """exp(-|n - center| / tau), the center in the middle; another one with sym=False. tau > 0."""
    if tau <= 0:
        raise ShapeError(f"exponential: tau is above 0, found {tau}")
    if sym and center is not None:
        raise ShapeError("exponential: a symmetric window has its center in the middle", help="leave center out")
    return _exponential(M, center=center, tau=tau, sym=sym, **rest)
