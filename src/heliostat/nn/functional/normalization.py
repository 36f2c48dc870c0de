"""Normalizations: values over the size or the spread of their neighbours."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ... import ops
from ...diagnostics import ShapeError
from ...ir.types import f32
from ...tensor import FUNCTIONS, Tensor, no_grad
from ...tensor.autocast import ruled
from ...tensor.conversion import convert
from ...tensor.core import wrap
from ...tensor.dtypes import finfo

F = TypeVar("F", bound=Callable[..., Tensor])


def _in_float32(f: F) -> F:
    """f for an input in half precision whose weights or running statistics are float32, as autocast leaves them: it is
    computed in float32 and rounded at the end."""

    @functools.wraps(f)
    def run(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        dtype = input.dtype
        if dtype.bits == 16 and any(isinstance(a, Tensor) and a.dtype == f32 for a in (*args, *kwargs.values())):
            return convert(f(convert(input, f32), *args, **kwargs), dtype)
        return f(input, *args, **kwargs)

    return run  # type: ignore[return-value]


def _scaled(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return (x - mean) * (var + eps).rsqrt()


def _moments(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance (over the count) along axes, which are kept."""
    mean = x.mean(axes, True)
    d = x - mean
    return mean, (d * d).mean(axes, True)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    if weight is not None:
        y = y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _update(running: Tensor | None, found: Tensor, momentum: float) -> None:
    if running is not None:
        with no_grad():
            running.copy_(running * (1 - momentum) + found.detach().to(running.dtype) * momentum)


@_in_float32
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel less its mean over its standard deviation, of the batch while training (running ones are brought
    nearer to them), else of the running ones. input: (N, C, ...); the others: (C,). Raises ValueError for one element
    in a channel while training; an empty batch leaves the running ones as they are."""
    if input.ndim < 2:
        raise ShapeError(f"batch_norm needs (N, C, ...), found {list(input.shape)}")
    channels = input.shape[1]
    for what, t in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)
    ):  # fmt: skip
        if t is not None and t.numel() != channels:
            raise ShapeError(f"{what} should contain {channels} elements not {t.numel()}")
    shape = [1, channels, *[1] * (input.ndim - 2)]
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("Expected running_mean and running_var to be defined when training=False")
        y = _scaled(input, running_mean.reshape(shape), running_var.reshape(shape), eps)
        return _affine(y, weight, bias, shape)
    count = input.numel() // max(channels, 1)
    if not count:  # nothing to learn of: running ones stay
        return _affine(input.clone(), weight, bias, shape)
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    mean, var = _moments(input, [i for i in range(input.ndim) if i != 1])
    _update(running_mean, mean.reshape(-1), momentum)
    _update(running_var, var.reshape(-1) * count / (count - 1), momentum)
    if not input.dtype.is_float:
        return _affine(_scaled(input, mean, var, eps), weight, bias, shape)
    given = [FUNCTIONS["full"]((channels,), fill) if t is None else t for t, fill in ((weight, 1.0), (bias, 0.0))]
    like = [convert(t.reshape(-1), input.dtype) for t in given]
    scale, shift = like
    return wrap(ops.batch_norm(input.value, scale.value, shift.value, eps), input, scale, shift)


@_in_float32
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample less its mean over its standard deviation. input: (N, C, ...)."""
    shape = [1, input.shape[1], *[1] * (input.ndim - 2)]
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("Expected running_mean and running_var to be defined when use_input_stats=False")
        y = _scaled(input, running_mean.reshape(shape), running_var.reshape(shape), eps)
        return _affine(y, weight, bias, shape)
    count = math.prod(input.shape[2:])
    if count <= 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
    mean, var = _moments(input, list(range(2, input.ndim)))
    _update(running_mean, mean.reshape(input.shape[:2]).mean(0), momentum)
    _update(running_var, var.reshape(input.shape[:2]).mean(0) * count / (count - 1), momentum)
    return _affine(_scaled(input, mean, var, eps), weight, bias, shape)


def _last_axes(
    name: str, input: Tensor, normalized_shape: Sequence[int], weights: Sequence[Tensor | None]
) -> list[int]:
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
            f"but got input of size{list(input.shape)}"
        )
    for w in weights:
        if w is not None and tuple(w.shape) != shape:
            raise ShapeError(
                f"Expected weight and bias of {name} to be of same shape as normalized_shape, but got "
                f"{list(w.shape)} and normalized_shape = {list(shape)}"
            )
    return list(range(input.ndim - len(shape), input.ndim))


@ruled
@_in_float32
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Values less their mean over their standard deviation, along the last axes, which have `normalized_shape`."""
    axes = _last_axes("layer_norm", input, normalized_shape, (weight, bias))
    if len(axes) == 1 and weight is not None and bias is not None:
        return wrap(ops.layer_norm(input.value, weight.value, bias.value, eps=eps), input, weight, bias)
    mean, var = _moments(input, axes)
    y = _scaled(input, mean, var, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@ruled
@_in_float32
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Values over the root of the mean of their squares, along the last axes."""
    axes = _last_axes("rms_norm", input, normalized_shape, (weight,))
    small = float(finfo(input.dtype).eps) if eps is None else eps
    if len(axes) == 1 and weight is not None:
        return wrap(ops.rms_norm(input.value, weight.value, eps=small), input, weight)
    y = input * ((input * input).mean(axes, True) + small).rsqrt()
    return y if weight is None else y * weight


@ruled
@_in_float32
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Values less their mean over their standard deviation, of groups of channels. input: (N, C, ...)."""
    if input.ndim < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    n, channels = input.shape[:2]
    if channels % num_groups:
        raise ShapeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    groups = input.reshape(n, num_groups, math.prod(input.shape[1:]) // num_groups)
    mean, var = _moments(groups, [2])
    y = _scaled(groups, mean, var, eps).reshape(input.shape)
    return _affine(y, weight, bias, [1, channels, *[1] * (input.ndim - 2)])


def _neighbours(input: Tensor, before: int, after: int) -> Tensor:
    """Sums of squares over neighbouring channels."""
    square = (input * input).movedim(1, -1)
    wide = FUNCTIONS["pad"](square, (before, after))
    return wide.unfold(-1, before + after + 1, 1).sum(-1).movedim(-1, 1)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of squares of `size` neighbouring channels)^beta. input: (N, C, ...)."""
    if input.ndim < 3:
        raise ShapeError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    total = _neighbours(input, size // 2, (size - 1) // 2)
    return input / (total * (alpha / size) + k) ** beta


def cross_map_lrn2d(input: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """x / (k + alpha / size * sum of squares of neighbouring channels)^beta. input: (N, C, H, W)."""
    if input.ndim != 4:
        raise ShapeError(f"CrossMapLRN2d: Expected input to be 4D, got {input.ndim}D instead.")
    half = (size - 1) // 2
    return input / (_neighbours(input, half, half) * (alpha / size) + k) ** beta
