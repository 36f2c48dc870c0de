"""Grids of another size: interpolation, sampling at places, and channels moved into space and back.

Interpolation along an axis is a product with a matrix (out, in), so axes go one after the other; nearest neighbours
are read by number.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...diagnostics import ShapeError
from ...ir.types import f32, u8
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.conversion import from_array
from .pooling import adaptive_average, along

Array = np.ndarray[Any, np.dtype[Any]]
where = FUNCTIONS["where"]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: complex | None = None) -> Tensor:
    """Elements added before and after axes, from the last on. mode: "constant", "reflect", "replicate", "circular"."""
    found: Tensor = FUNCTIONS["pad"](input, pad, mode, value)
    return found


# --- channels and space -----------------------------------------------------------------------------------------------
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) to (..., C, H r, W r)."""
    r = upscale_factor
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    y = input.reshape(math.prod(lead), c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r^2, H, W)."""
    r = downscale_factor
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise ShapeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, found {h}, {w} and {r}"
        )
    y = input.reshape(math.prod(lead), c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return y.reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of groups in turn. input: (N, C, ...)."""
    n, c, *rest = input.shape
    if c % groups:
        raise ShapeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


# --- interpolation ----------------------------------------------------------------------------------------------------
def _linear(n: int, m: int, scale: float, align: bool) -> Array:
    matrix = np.zeros((m, n))
    for i in range(m):
        at = i * scale if align else max((i + 0.5) * scale - 0.5, 0.0)
        low = min(int(at), n - 1)
        part = min(max(at - low, 0.0), 1.0)
        matrix[i, low] += 1 - part
        matrix[i, min(low + 1, n - 1)] += part
    return matrix


def cubic_weights(t: Any, a: float = -0.75) -> list[Any]:
    """Weights of four neighbours at distance t from the second, 0 <= t < 1. Source: Keys 1981."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic(n: int, m: int, scale: float, align: bool) -> Array:
    matrix = np.zeros((m, n))
    for i in range(m):
        at = i * scale if align else (i + 0.5) * scale - 0.5
        low = math.floor(at)
        for k, w in enumerate(cubic_weights(at - low)):
            matrix[i, min(max(low - 1 + k, 0), n - 1)] += w
    return matrix


def _filtered(n: int, m: int, scale: float, cubic: bool) -> Array:
    """With a filter that grows with the scale, so that nothing between results is passed over."""

    def weight(x: float) -> float:
        x = abs(x)
        if not cubic:
            return max(1 - x, 0.0)
        a = -0.5
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((x - 5) * x + 8) * x * a - 4 * a if x < 2 else 0.0

    wide = max(scale, 1.0)
    reach = (2.0 if cubic else 1.0) * wide
    matrix = np.zeros((m, n))
    for i in range(m):
        center = scale * (i + 0.5)
        low = max(int(center - reach + 0.5), 0)
        high = min(int(center + reach + 0.5), n)
        weights = np.array([weight((j - center + 0.5) / wide) for j in range(low, high)])
        matrix[i, low:high] = weights / weights.sum()
    return matrix


_MODES = {
    "nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "area": (3, 4, 5), "linear": (3,), "bilinear": (4,),
    "bicubic": (4,), "trilinear": (5,),
}  # fmt: skip


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """input at another size, or so many times as large. input: (N, C, *axes), one to three axes. mode: "nearest",
    "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear". `antialias`: only two-axis modes."""
    if mode not in _MODES:
        raise NotImplementedError(f"interpolate: there is no mode {mode!r}; modes: {', '.join(_MODES)}")
    if input.ndim not in _MODES[mode]:
        wanted = " or ".join(f"{n}D" for n in _MODES[mode])
        raise ShapeError(f"Got {input.ndim}D input, but {mode} mode needs {wanted} input")
    smooth = mode in ("linear", "bilinear", "bicubic", "trilinear")
    if align_corners is not None and not smooth:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor")
    axes = tuple(input.shape[2:])
    wanted_size, factors = _sizes(axes, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return adaptive_average(len(axes), input, wanted_size)
    y = input.to(f32) if smooth and input.dtype == u8 else input
    for i, (n, m, f) in enumerate(zip(axes, wanted_size, factors, strict=True)):
        if mode.startswith("nearest"):
            scale = np.float32(1 / f) if f is not None else np.float32(n) / np.float32(m)
            shift = np.float32(0.5 if mode == "nearest-exact" else 0)
            at = np.minimum(np.floor((np.arange(m, dtype=np.float32) + shift) * scale).astype(np.int64), n - 1)
            y = y if n == m and (at == np.arange(n)).all() else y.index_select(2 + i, from_array(at))
            continue
        if align_corners:
            step = (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            step = 1 / f if f is not None else n / m
        if antialias:
            matrix = _filtered(n, m, step, mode == "bicubic")
        else:
            matrix = (_cubic if mode == "bicubic" else _linear)(n, m, step, bool(align_corners))
        y = y if n == m and np.array_equal(matrix, np.eye(n)) else along(y, 2 + i, matrix)
    return (y + 0.5).floor().clamp(0, 255).to(u8) if y.dtype != input.dtype else y


def _sizes(axes: tuple[int, ...], size: Any, factor: Any, recompute: bool | None) -> tuple[list[int], list[Any]]:
    if size is not None and factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        given = [size] * len(axes) if isinstance(size, int) else list(size)
        if len(given) != len(axes):
            raise ShapeError(f"interpolate: a size of {given} for an input with spatial axes {list(axes)}")
        return given, [None] * len(axes)
    if factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors = [float(factor)] * len(axes) if isinstance(factor, int | float) else [float(f) for f in factor]
    if len(factors) != len(axes):
        raise ShapeError(f"interpolate: factors {factors} for an input with spatial axes {list(axes)}")
    found = [math.floor(n * f) for n, f in zip(axes, factors, strict=True)]
    return found, [None] * len(axes) if recompute else list(factors)


@ruled
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """`interpolate`, by its former name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` of nearest neighbours."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` of straight lines, corners on corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# --- sampling at places -----------------------------------------------------------------------------------------------
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Places of a grid under affine maps. theta: (N, 2, 3) with size (N, C, H, W), or (N, 3, 4) with (N, C, D, H, W);
    (N, H, W, 2) or (N, D, H, W, 3), from -1 to 1."""
    if align_corners is None:
        warnings.warn("affine_grid: align_corners is False where it is not given", stacklevel=2)
    axes = [int(s) for s in size[2:]]
    k = len(axes)
    if k not in (2, 3) or tuple(theta.shape[1:]) != (k, k + 1):
        raise ShapeError(f"affine_grid: theta of {list(theta.shape)} does not fit a size of {list(size)}")
    lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in axes]
    if not align_corners:
        lines = [line * ((n - 1) / n) for line, n in zip(lines, axes, strict=True)]
    places = np.stack([*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(axes)], -1).reshape(-1, k + 1)
    return (from_array(places, theta.dtype) @ theta.transpose(1, 2)).reshape(theta.shape[0], *axes, k)


def _place(x: Tensor, n: int, align: bool) -> Tensor:
    return (x + 1) * ((n - 1) / 2) if align else ((x + 1) * n - 1) / 2


def _padded_place(x: Tensor, n: int, mode: str, align: bool) -> Tensor:
    if mode == "zeros":
        return x
    if mode == "reflection":
        low, span = (0.0, float(n - 1)) if align else (-0.5, float(n))
        if span == 0:
            return x * 0
        t = (x - low).abs()
        turns = (t / span).detach().floor()
        rest = t - turns * span
        x = where(turns.remainder(2.0) == 0, rest + low, span - rest + low)
    return x.clamp(0.0, float(n - 1))


@ruled
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """input at places. input: (N, C, H, W), grid: (N, H', W', 2) of (x, y) from -1 to 1; or (N, C, D, H, W) and
    (N, D', H', W', 3). mode: "bilinear", "nearest", "bicubic" (two axes). padding_mode: "zeros", "border",
    "reflection"."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    k = input.ndim - 2
    if k not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != k or grid.shape[0] != input.shape[0]:
        raise ShapeError(f"grid_sample: a grid of {list(grid.shape)} does not fit an input of {list(input.shape)}")
    if mode == "bicubic" and k == 3:
        raise ShapeError("grid_sample(): bicubic interpolation only supports 4D input")
    if align_corners is None:
        warnings.warn("grid_sample: align_corners is False where it is not given", stacklevel=2)
    align = bool(align_corners)
    sizes = list(input.shape[2:])
    count = math.prod(grid.shape[1:-1])
    places = [_place(grid[..., k - 1 - i].reshape(grid.shape[0], count), n, align) for i, n in enumerate(sizes)]
    if mode != "bicubic":
        places = [_padded_place(p, n, padding_mode, align) for p, n in zip(places, sizes, strict=True)]
    taps = [_taps(p, mode) for p in places]
    if mode == "bicubic":
        taps = [
            [(_padded_place(at, n, padding_mode, align), w) for at, w in axis]
            for axis, n in zip(taps, sizes, strict=True)
        ]
    total: Any = None
    for chosen in itertools.product(*taps):
        part = _read(input, [at for at, _ in chosen], sizes)
        for _, weight in chosen:
            part = part if weight is None else part * weight.unsqueeze(1)
        total = part if total is None else total + part
    return total.reshape(*input.shape[:2], *grid.shape[1:-1])


def _taps(p: Tensor, mode: str) -> list[tuple[Tensor, Any]]:
    """Whole places along one axis, and their weights."""
    if mode == "nearest":
        at = p.round()  # constant between whole numbers: places get a gradient of zeros
        return [(at.detach(), at - at.detach() + 1 if p.requires_grad else None)]
    low = p.detach().floor()
    t = p - low
    if mode == "bilinear":
        return [(low, 1 - t), (low + 1, t)]
    return [(low - 1 + k, w) for k, w in enumerate(cubic_weights(t))]


def _read(x: Tensor, places: list[Tensor], sizes: list[int]) -> Tensor:
    """Elements at whole places, 0 outside. (N, C, count)."""
    from ...ir.types import i64

    inside: Any = None
    flat: Any = None
    for at, n in zip(places, sizes, strict=True):
        here = (at >= 0) & (at <= n - 1)
        number = at.detach().clamp(0.0, float(n - 1)).to(i64)
        inside = here if inside is None else inside & here
        flat = number if flat is None else flat * n + number
    wide = flat.unsqueeze(1).expand(x.shape[0], x.shape[1], flat.shape[1])
    found = x.reshape(*x.shape[:2], math.prod(sizes)).gather(2, wide)
    return where(inside.unsqueeze(1), found, 0.0)
