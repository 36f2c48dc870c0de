"""Fourier transforms over pairs of floats: NumPy's on the cpu, graph (`fourier.py`) on GPUs and in what is compiled.
Gradients are transforms themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import f32, f64
from ..ops.rules import shown
from . import lazy
from .conversion import convert
from .core import Tensor
from .dims import normal_dim
from .dtypes import get_default_dtype
from .fourier import transform
from .function import Function
from .levels import on_host
from .pairs import ComplexTensor, joined, over, widened
from .register import COMPLEX, FUNCTIONS, function

Axes = int | Sequence[int] | None
NORMS = ("backward", "forward", "ortho")


class _Transform(Function):
    """scale * sum of x exp(-2 pi i j k / n) over axes of pairs, counted from the back; with + unless `forth`.

    Its gradient is the same with the other sign."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor, axes: tuple[int, ...], forth: bool, scale: float) -> Tensor:
        ctx.how = axes, forth, scale
        if lazy.capturing() or pair.device.type != "cpu":
            z = pair.detach()
            for a in axes:
                z = transform(z, a + z.ndim - 1, forth)
            return z * scale
        kind = np.complex64 if pair.dtype == f32 else np.complex128

        def run(a: Any) -> Any:
            z = np.ascontiguousarray(a).view(kind)[..., 0]
            y = np.fft.fftn(z, axes=axes) if forth else np.fft.ifftn(z, axes=axes, norm="forward")
            y = np.ascontiguousarray(y * scale, kind)
            return y.view(a.dtype).reshape(*y.shape, 2)

        made: Tensor = on_host(run, pair.detach())
        return made

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        axes, forth, scale = ctx.how
        return _Transform.apply(g, axes, not forth, scale), None, None, None


def _scale(norm: str | None, count: int, forth: bool) -> float:
    norm = norm or "backward"
    if norm not in NORMS:
        raise ValueError(f"norm is one of {', '.join(NORMS)}, not {norm!r}")
    if norm == "ortho":
        return 1 / math.sqrt(count)
    return 1 / count if (norm == "forward") == forth else 1.0


def _checked(name: str, x: Any, real: bool = False) -> Any:
    """x, integers in the default dtype. Raises DTypeError for short floats, and for complex numbers where `real`."""
    if isinstance(x, ComplexTensor):
        if real:
            raise DTypeError(f"{name} takes real numbers, found {x.dtype}", help="take its real part")
        return x
    x = x if x.dtype.is_float else convert(x, get_default_dtype())
    if x.dtype not in (f32, f64):
        raise DTypeError(
            f"{name} takes float32, float64 and complex tensors, found {x.dtype}", help="convert it by to()"
        )
    return x


def check_size(name: str, x: Any, n: int) -> None:
    """Raises ShapeError for a transform of no elements, or of fewer."""
    if n < 1:
        raise ShapeError(f"{name}: a transform of {n} elements of {shown(x.shape)} is not possible")


def _sized(name: str, x: Any, axis: int, n: int) -> Any:
    """x cut off, or filled up with zeros, to n elements of an axis counted from the front."""
    check_size(name, x, n)
    now = x.shape[axis]
    if now > n:
        return x.narrow(axis, 0, n)
    if now == n:
        return x
    shape = [n - now if i == axis else s for i, s in enumerate(x.shape)]
    return FUNCTIONS["cat"]([x, FUNCTIONS["zeros"](shape, dtype=x.dtype)], axis)


def _run(z: Any, axes: Sequence[int], forth: bool, norm: str | None, count: int | None = None) -> Any:
    """`_Transform` of a complex tensor over axes counted from the front."""
    size = math.prod(z.shape[a] for a in axes) if count is None else count
    back = tuple(a - z.ndim for a in axes)
    return over(_Transform.apply(z._pair, back, forth, _scale(norm, size, forth)))


def _dims(name: str, x: Any, s: Sequence[int] | None, dim: Axes) -> tuple[list[int], list[int]]:
    """Axes counted from the front, and the sizes asked for, -1 for those that x has."""
    if dim is None:
        count = x.ndim if s is None else len(s)
        if count > x.ndim:
            raise ShapeError(f"{name}: {count} sizes for a tensor of {x.ndim} axes")
        axes = list(range(x.ndim - count, x.ndim))
    else:
        axes = [normal_dim(d, x.ndim, name) for d in ([dim] if isinstance(dim, int) else dim)]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: an axis is named twice in {list(dim)}")  # type: ignore[arg-type]
    if axes and not x.ndim:
        raise ShapeError(f"{name}: a tensor without axes has none to transform")
    sizes = [-1] * len(axes) if s is None else list(s)
    if any(isinstance(n, float) for n in sizes):
        raise TypeError(f"{name}: sizes are whole numbers, found {sizes}")
    if len(sizes) != len(axes):
        raise ShapeError(f"{name}: {len(sizes)} sizes for {len(axes)} axes")
    return axes, [x.shape[a] if n == -1 else n for a, n in zip(axes, sizes, strict=True)]


def complex_transform(name: str, x: Any, s: Any, dim: Axes, norm: str | None, forth: bool) -> Any:
    """fftn and ifftn."""
    z = widened(_checked(name, x))
    axes, sizes = _dims(name, z, s, dim)
    for a, n in zip(axes, sizes, strict=True):
        z = _sized(name, z, a, n)
    return _run(z, axes, forth, norm) if axes else z


def real_transform(name: str, x: Any, s: Any, dim: Axes, norm: str | None, forth: bool = True) -> Any:
    """rfftn, and ihfftn: the first half of the last axis of a transform of real numbers."""
    x = _checked(name, x, real=True)
    axes, sizes = _dims(name, x, s, dim)
    if not axes:
        raise ShapeError(f"{name} needs at least one axis")
    z = complex_transform(name, x, sizes, axes, norm, forth)
    return z.narrow(axes[-1], 0, sizes[-1] // 2 + 1)


def real_result(name: str, x: Any, s: Any, dim: Axes, norm: str | None, forth: bool = False) -> Any:
    """irfftn, and hfftn: of half an axis, whose other half is conjugated, real numbers."""
    z = widened(_checked(name, x))
    axes, sizes = _dims(name, z, s, dim)
    if not axes:
        raise ShapeError(f"{name} needs at least one axis")
    last = axes[-1]
    if s is None or list(s)[-1] == -1:
        sizes[-1] = 2 * (z.shape[last] - 1)
    n = sizes[-1]
    for a, size in zip(axes[:-1], sizes[:-1], strict=True):
        z = _sized(name, z, a, size)
    z = _run(z, axes[:-1], forth, "backward" if forth else "forward") if axes[:-1] else z
    check_size(name, x, n)
    z = _sized(name, z, last, n // 2 + 1)
    twice = np.full(n // 2 + 1, 2.0)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    weight = FUNCTIONS["tensor"](twice.tolist(), dtype=z.real.dtype)
    z = z * weight.reshape([-1 if i == last else 1 for i in range(z.ndim)])
    whole = _sized(name, z, last, n)
    y = over(_Transform.apply(whole._pair, (last - z.ndim,), forth, _scale(norm, math.prod(sizes), forth)))
    return y.real


# --- stft -------------------------------------------------------------------------------------------------------------
def _framed(name: str, window: Tensor | None, n_fft: int, win_length: int | None, like: Tensor) -> Tensor:
    length = n_fft if win_length is None else win_length
    if isinstance(window, ComplexTensor):
        raise UnsupportedError(f"{name} takes no complex window", help="use a real one")
    if not 0 < length <= n_fft:
        raise ShapeError(f"{name}: win_length is 1 to n_fft = {n_fft}, found {length}")
    if window is None:
        window = FUNCTIONS["ones"](length, dtype=like.dtype)
    if tuple(window.shape) != (length,):
        raise ShapeError(f"{name}: a window of shape {shown(window.shape)} is not of win_length {length}")
    left = (n_fft - length) // 2
    made: Tensor = FUNCTIONS["pad"](window, (left, n_fft - length - left))
    return made


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Tensor:
    """Transforms of windows of a signal (..., T) every hop_length: complex (..., frequencies, frames).

    Real signals give half of the frequencies unless onesided=False. Without return_complex
    results are real, (..., frequencies, frames, 2). Raises UnsupportedError for real signals where it is not given, as
    PyTorch does, and for complex windows."""
    x = _checked("stft", input)
    whole = isinstance(x, ComplexTensor)
    if return_complex is None and not whole:
        raise UnsupportedError("stft needs return_complex for real signals", help="use return_complex=True")
    if not 1 <= x.ndim <= 2:
        raise ShapeError(f"stft takes (time,) or (batch, time), found {shown(x.shape)}")
    hop = n_fft // 4 if hop_length is None else hop_length
    if hop < 1 or n_fft < 1:
        raise ShapeError(f"stft: n_fft and hop_length are at least 1, found {n_fft} and {hop}")
    if center:
        sides = (n_fft // 2, n_fft // 2)
        x = joined(*(_padded(p, sides, pad_mode) for p in (x.real, x.imag))) if whole else _padded(x, sides, pad_mode)
    if x.shape[-1] < n_fft:
        raise ShapeError(f"stft: n_fft = {n_fft} is more than the {x.shape[-1]} elements that are there")
    frames = x.unfold(-1, n_fft, hop) * _framed("stft", window, n_fft, win_length, x.real if whole else x)
    norm = "ortho" if normalized else "backward"
    half = not whole if onesided is None else onesided
    if half and whole:
        raise UnsupportedError("stft of complex signals has no half", help="use onesided=False")
    if half:
        y = real_transform("stft", frames, None, -1, norm)
    else:
        y = complex_transform("stft", frames, None, -1, norm, True)
    made: Any = y.transpose(-2, -1)
    return made if return_complex is not False else FUNCTIONS["view_as_real"](made)


def _padded(x: Tensor, sides: tuple[int, int], mode: str) -> Tensor:
    flat = x.reshape(1, -1, x.shape[-1])
    return FUNCTIONS["pad"](flat, sides, mode).reshape(*x.shape[:-1], -1)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal (..., T) of `stft`: overlapping frames added, divided by the sum of squared windows.

    Raises ShapeError where that sum is 0 somewhere."""
    if not isinstance(input, ComplexTensor):
        raise DTypeError(f"istft takes complex tensors, found {input.dtype}", help="use view_as_complex()")
    if not 2 <= input.ndim <= 3:
        raise ShapeError(f"istft takes (frequencies, frames), with or without a batch, found {shown(input.shape)}")
    hop = n_fft // 4 if hop_length is None else hop_length
    half = input.shape[-2] != n_fft if onesided is None else onesided
    if input.shape[-2] != (n_fft // 2 + 1 if half else n_fft):
        raise ShapeError(f"istft: {input.shape[-2]} frequencies are not those of n_fft = {n_fft}")
    if half and return_complex:
        raise UnsupportedError("istft of half of the frequencies is real", help="use onesided=False")
    z = input.transpose(-2, -1)
    if not return_complex:  # of a real signal half of the frequencies say all
        z, half = z[..., : n_fft // 2 + 1], True
    norm = "ortho" if normalized else "backward"
    w = _framed("istft", window, n_fft, win_length, input.real)
    if half:
        y: Any = real_result("istft", z, (n_fft,), -1, norm)
    else:
        y = complex_transform("istft", z, None, -1, norm, False)
    frames = input.shape[-1]
    total = n_fft + hop * (frames - 1)
    places = FUNCTIONS["as_tensor"](
        (np.arange(frames)[:, None] * hop + np.arange(n_fft)[None]).reshape(-1).astype(np.int64)
    )
    lead = tuple(input.shape[:-2])

    def added(part: Tensor) -> Tensor:
        flat = (part * w).reshape(*lead, frames * n_fft)
        return FUNCTIONS["zeros"]((*lead, total), dtype=part.dtype).index_add(-1, places, flat)

    sums = FUNCTIONS["zeros"](total, dtype=w.dtype).index_add(0, places, (w * w).expand(frames, n_fft).reshape(-1))
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - (n_fft // 2 if center else 0)
    stop = min(end, total)
    if not lazy.capturing() and (stop <= start or float(sums.detach()[start:stop].abs().min()) < 1e-11):
        raise ShapeError("istft: windows leave a place out", help="use a smaller hop_length, or center=True")

    def finished(part: Tensor) -> Tensor:
        made: Tensor = added(part)[..., start:stop] / sums[start:stop]
        return made if end <= total else FUNCTIONS["pad"](made, (0, end - total))

    return joined(finished(y.real), finished(y.imag)) if return_complex else finished(y)


for _f in (stft, istft):
    function()(_f)
    COMPLEX[_f.__name__] = _f
