"""Convolutions of one to three axes, their transposes, and the windows they slide over.

Two axes go through the `conv2d` op, one axis too; three are a product with the windows that `unfold` takes out. A
transposed convolution adds windows up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ... import ops
from ...diagnostics import ShapeError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.complex import common, of_four
from ...tensor.core import wrap
from ...tensor.register import COMPLEX
from .sizes import batched, many, unbatched

Sizes = tuple[int, ...]
pad = FUNCTIONS["pad"]


def _padded(x: Tensor, padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Tensor, Sizes]:
    """x, and the padding that is left to do on both sides."""
    axes = len(kernel)
    if not isinstance(padding, str):
        return x, many(padding, axes, "padding")
    if padding == "valid":
        return x, (0,) * axes
    if padding != "same":
        raise ValueError(f"Invalid padding string: '{padding}', should be one of 'valid', 'same'")
    if any(s != 1 for s in stride):
        raise ValueError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    extra = [t % 2 for t in total]
    if any(extra):
        x = pad(x, [n for e in reversed(extra) for n in (0, e)])
    return x, tuple(t // 2 for t in total)


def _check(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, axes: int) -> None:
    if weight.ndim != axes + 2:
        raise ShapeError(f"{name}: weight should have {axes + 2} dimensions, but got size {list(weight.shape)}")
    out, inner = weight.shape[:2]
    if x.shape[1] != inner * groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{inner * groups} channels, but got {x.shape[1]} channels instead",
            help="channels are axis 1 of the input",
        )
    if groups < 1 or out % groups:
        raise ShapeError(f"{name}: {out} channels out do not split into {groups} groups")
    if bias is not None and tuple(bias.shape) != (out,):
        raise ShapeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {out} elements, "
            f"but got bias of size {list(bias.shape)} instead"
        )


def _fits(x: Tensor, kernel: Sizes, padding: Sizes, dilation: Sizes) -> None:
    wide = [s + 2 * p for s, p in zip(x.shape[2:], padding, strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(w < r for w, r in zip(wide, reach, strict=True)):
        a, b = (" x ".join(str(n) for n in sizes) for sizes in (wide, reach))
        raise ShapeError(
            f"Calculated padded input size per channel: ({a}). Kernel size: ({b}). Kernel size can't be greater than "
            f"actual input size"
        )


def _convolution(
    name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Tensor:  # fmt: skip
    x, single = batched(input, axes, name)
    _check(name, x, weight, bias, groups, axes)
    kernel = tuple(weight.shape[2:])
    steps, gaps = many(stride, axes, "stride"), many(dilation, axes, "dilation")
    x, around = _padded(x, padding, kernel, steps, gaps)
    _fits(x, kernel, around, gaps)
    if axes == 3 or not x.dtype.is_float:
        y = _by_windows(x, weight, steps, around, gaps, groups)
    else:
        a, w = (x, weight) if axes == 2 else (x.unsqueeze(2), weight.unsqueeze(2))
        wide: list[Any] = [steps, around, gaps] if axes == 2 else [(1, *steps), (0, *around), (1, *gaps)]
        y = wrap(ops.conv2d(a.value, w.value, wide[0], wide[1], wide[2], groups), a, w)
        y = y if axes == 2 else y.squeeze(2)
    if bias is not None:
        y = y + bias.reshape([-1, *[1] * axes])
    return unbatched(y, single)


def _by_windows(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Tensor:
    kernel = tuple(weight.shape[2:])
    windows = wrap(ops.unfold(x.value, kernel, stride, padding, dilation), x)
    counts = windows.shape[2 + len(kernel) :]
    out = weight.shape[0]
    taps = weight.shape[1] * math.prod(kernel)
    columns = windows.reshape(x.shape[0], groups, taps, math.prod(counts))
    y = weight.reshape(groups, out // groups, taps) @ columns
    return y.reshape(x.shape[0], out, *counts)


@ruled
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlation. input: (N, C, L) or (C, L); weight: (O, C / groups, K); bias: (O,). Result: (N, O, L')."""
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@ruled
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlation. input: (N, C, H, W) or (C, H, W); weight: (O, C / groups, KH, KW). Result: (N, O, H', W')."""
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@ruled
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlation. input: (N, C, D, H, W) or without N; weight: (O, C / groups, KD, KH, KW)."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@ruled
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Correlation over time first. input: (T, B, C), weight: (K, C, O), bias: (O,); (T', B, O)."""
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


def _transposed(
    name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    x, single = batched(input, axes, name)
    if weight.ndim != axes + 2 or weight.shape[0] != x.shape[1]:
        raise ShapeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{weight.shape[0]} channels, but got {x.shape[1]} channels instead"
        )
    inner, each, *kernel_list = weight.shape
    if groups < 1 or inner % groups:
        raise ShapeError(f"{name}: {inner} channels in do not split into {groups} groups")
    kernel = tuple(kernel_list)
    steps, around = many(stride, axes, "stride"), many(padding, axes, "padding")
    gaps, more = many(dilation, axes, "dilation"), many(output_padding, axes, "output_padding")
    if any(m >= max(s, d) for m, s, d in zip(more, steps, gaps, strict=True)):
        raise ValueError(f"output padding must be smaller than either stride or dilation, but got {list(more)}")
    counts = tuple(x.shape[2:])
    columns = x.reshape(x.shape[0], groups, inner // groups, math.prod(counts))
    taps = weight.reshape(groups, inner // groups, each * math.prod(kernel)).transpose(1, 2)
    windows = (taps @ columns).reshape(x.shape[0], groups * each, *kernel, *counts)
    full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(counts, steps, gaps, kernel, strict=True)]
    if any(f - 2 * p + m < 1 for f, p, m in zip(full, around, more, strict=True)):
        raise ShapeError(f"{name}: padding {list(around)} leaves nothing of an output of {full}")
    if all(m < s for m, s in zip(more, steps, strict=True)):
        size = tuple(f - 2 * p + m for f, p, m in zip(full, around, more, strict=True))
        y = wrap(ops.fold(windows.value, size, kernel, steps, around, gaps), windows)
    else:  # what is added at the end is longer than a step: windows do not count up to it
        y = wrap(ops.fold(windows.value, tuple(full), kernel, steps, (0,) * axes, gaps), windows)
        y = pad(y, [n for p, m in zip(reversed(around), reversed(more), strict=True) for n in (-p, m - p)])
    if bias is not None:
        y = y + bias.reshape([-1, *[1] * axes])
    return unbatched(y, single)


@ruled
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv1d`. input: (N, C, L) or (C, L); weight: (C, O / groups, K)."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@ruled
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv2d`. input: (N, C, H, W) or (C, H, W); weight: (C, O / groups, KH, KW)."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@ruled
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv3d`. input: (N, C, D, H, W) or without N; weight: (C, O / groups, KD, KH, KW)."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _of_complex(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The meaning of a convolution for complex operands, with a bias of either kind."""

    def run(input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        made: Tensor = of_four(f, *common(input, weight), None, *args, **kwargs)
        return made if bias is None else made + bias.reshape(-1, *[1] * (weight.ndim - 2))

    return run


for _f in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d):
    COMPLEX[_f.__name__] = _of_complex(_f)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """All windows as columns. input: (N, C, H, W) or (C, H, W); (N, C * KH * KW, windows)."""
    x, single = batched(input, 2, "unfold")
    kernel, gaps = many(kernel_size, 2, "kernel_size"), many(dilation, 2, "dilation")
    v = ops.unfold(x.value, kernel, many(stride, 2, "stride"), many(padding, 2, "padding"), gaps)
    windows = wrap(v, x)
    count = math.prod(windows.shape[4:])
    return unbatched(windows.reshape(x.shape[0], x.shape[1] * math.prod(kernel), count), single)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns added up where they overlap. input: (N, C * KH * KW, windows) or without N; (N, C, *output_size)."""
    x, single = batched(input, 1, "fold")
    size, kernel = many(output_size, 2, "output_size"), many(kernel_size, 2, "kernel_size")
    gaps, around = many(dilation, 2, "dilation"), many(padding, 2, "padding")
    steps = many(stride, 2, "stride")
    taps = math.prod(kernel)
    if x.shape[1] % taps:
        raise ShapeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x.shape[1]} and kernel_size={kernel}."
        )
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(size, around, gaps, kernel, steps, strict=True)
    ]
    if x.shape[2] != math.prod(counts):
        raise ShapeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={gaps}, padding={around}, stride={steps}, "
            f"expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{' * '.join(str(c) for c in counts)} = {math.prod(counts)}, but got input.size(2)={x.shape[2]}."
        )
    windows = x.reshape(x.shape[0], x.shape[1] // taps, *kernel, *counts)
    return unbatched(wrap(ops.fold(windows.value, size, kernel, steps, around, gaps), windows), single)


def reversed_pairs(padding: Any) -> list[int]:
    """Paddings of axes as `pad` takes them: the last axis first, before and after."""
    return [p for n in reversed(padding) for p in (n, n)]
