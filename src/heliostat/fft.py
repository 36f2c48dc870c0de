"""Discrete Fourier transforms, with torch.fft's names: NumPy on the cpu, cuFFT or graph on GPUs, graph in what is
compiled. Gradients are transforms too."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tensor import FUNCTIONS, Tensor
from .tensor.conversion import as_tensor
from .tensor.dims import normal_dim
from .tensor.dtypes import dtype_of, get_default_dtype
from .tensor.outputs import takes_out
from .tensor.register import of_tensors
from .tensor.spectrum import Axes, check_size, complex_transform, real_result, real_transform

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip


def _made(base: str, what: str, run: Any, forth: bool) -> tuple[Any, Any, Any]:
    """Over one axis, over two, and over any number."""

    def one(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        if n is not None:  # -1 stands for a size as it is among those of several axes alone
            check_size(base, input, n)
        return run(base, input, None if n is None else (n,), dim, norm, forth)

    def two(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None) -> Tensor:
        return run(base + "2", input, s, dim, norm, forth)

    def many(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None) -> Tensor:
        return run(base + "n", input, s, dim, norm, forth)

    for f, end, over in ((one, "", "an axis"), (two, "2", "two axes"), (many, "n", "axes, all where none is named")):
        f.__name__ = f.__qualname__ = base + end
        f.__doc__ = (
            f"The {what}, over {over}, which are cut off or filled up with zeros to the sizes given. float32 and "
            "float64, complex64 and complex128; `norm` is 'backward', 'forward' or 'ortho'."
        )
    return one, two, many


fft, fft2, fftn = _made("fft", "transform", complex_transform, True)
ifft, ifft2, ifftn = _made("ifft", "inverse transform", complex_transform, False)
rfft, rfft2, rfftn = _made("rfft", "first half of the transform of real numbers", real_transform, True)
irfft, irfft2, irfftn = _made("irfft", "inverse of `rfft`, real numbers", real_result, False)
hfft, hfft2, hfftn = _made(
    "hfft", "transform of half a signal whose other half is conjugated, real numbers", real_result, True
)
ihfft, ihfft2, ihfftn = _made("ihfft", "inverse of `hfft`, of real numbers", real_transform, False)


def _numbers(values: Any, dtype: Any, rest: dict[str, Any]) -> Tensor:
    made = as_tensor(values, dtype_of(dtype) if dtype is not None else get_default_dtype())
    on, device = rest.pop("requires_grad", False), rest.pop("device", None)
    if device is not None:
        made = made.to(device)
    if rest:
        raise TypeError(f"unknown argument: {', '.join(rest)}")
    return made.requires_grad_(True) if on else made


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """The frequencies of `fft` of n elements that are d apart: (n,) floats."""
    return _numbers(np.fft.fftfreq(n, d), dtype, rest)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """The frequencies of `rfft` of n elements that are d apart: (n // 2 + 1,) floats."""
    return _numbers(np.fft.rfftfreq(n, d), dtype, rest)


def _shifted(input: Tensor, dim: Axes, back: bool) -> Tensor:
    axes = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    fixed = [normal_dim(d, input.ndim) for d in axes]
    steps = [-(input.shape[a] // 2) if back else input.shape[a] // 2 for a in fixed]
    made: Tensor = FUNCTIONS["roll"](input, steps, fixed) if fixed else input
    return made


def fftshift(input: Tensor, dim: Axes = None) -> Tensor:
    """Frequency 0 moved to the middle of axes, all where none is named."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: Axes = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, True)


for _public in __all__:
    _f = of_tensors(_public, globals()[_public])
    globals()[_public] = _f if _public in ("fftshift", "ifftshift") else takes_out(_public, _f)
