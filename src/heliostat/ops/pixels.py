"""Images with channels last, as matrices: a row for each pixel, counted over images, lines and columns. Products with
the windows of such images, and sums over their pixels. The compiler makes these of convolutions and neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value, constant
from ..ir.types import DType, TensorType, bf16, f16, f32, f64, tensor
from . import reduce
from .composite import Claimed
from .elementwise import cast
from .error import EXACT, LargestUlp
from .matmul import matmul
from .op import Amp, Array, Forward, public
from .rules import float_only, plain
from .samples import sample
from .shape import broadcast_to, concat, reshape, transpose
from .window import fold, unfold, window_count

Pair = tuple[int, int]
_AT: dict[str, Any] = {"size": (7, 9), "grid": (7, 9), "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1),
                       "dilation": (1, 1)}  # fmt: skip
_STEPS: dict[str, Any] = {"size": (8, 7), "grid": (4, 3), "kernel": (3, 2), "stride": (2, 2), "padding": (1, 0),
                          "dilation": (1, 1)}  # fmt: skip


def whole_images(op: str, rows: object, pixels: Pair) -> int:
    """How many images rows are. Raises ShapeError."""
    if not isinstance(rows, int) or rows % (pixels[0] * pixels[1]):
        raise ShapeError(f"{op}: {rows} rows are no images of {pixels[0]} x {pixels[1]} pixels")
    return rows // (pixels[0] * pixels[1])


def _grid(op: str, narrow: Pair, wide: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    counts = tuple(map(window_count, wide, kernel, stride, padding, dilation))
    if counts != narrow:
        raise ShapeError(f"{op}: images of {wide} have {counts} windows, not {narrow}")


def seen(
    kernel: Pair, size: Pair, grid: Pair, stride: Pair, padding: Pair, dilation: Pair, transposed: bool
) -> Iterator[tuple[Array, Array]]:
    """Of each place of a window: which pixels of a grid see a pixel of an image there, and which they see."""
    down, across = np.indices(grid)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            at, inside = [], np.ones(grid, bool)
            for axis, (number, tap) in enumerate(((down, y), (across, x))):
                if transposed:
                    place = number + padding[axis] - tap * dilation[axis]
                    inside &= place % stride[axis] == 0
                    place = place // stride[axis]
                else:
                    place = number * stride[axis] + tap * dilation[axis] - padding[axis]
                inside &= (place >= 0) & (place < size[axis])
                at.append(place)
            yield inside.reshape(-1), np.where(inside, at[0] * size[1] + at[1], 0).reshape(-1)


def windows_of(x: Array, at: dict[str, Any], fill: float = 0.0, transposed: bool = False) -> Array:
    """(count * grid, taps, C): what the pixels of a grid see of images, `fill` outside."""
    whole = x.reshape(-1, at["size"][0] * at["size"][1], x.shape[1])
    taps = [
        np.where(inside[:, None], whole[:, place], fill)
        for inside, place in seen(
            at["kernel"], at["size"], at["grid"], at["stride"], at["padding"], at["dilation"], transposed
        )
    ]
    return np.stack(taps, 2).reshape(-1, len(taps), x.shape[1])


class WindowOp(Claimed):
    """An op over the windows of images as rows of pixels. size: (H, W), grid: (H', W')."""

    def call(
        self,
        /,
        *operands: Value,
        size: Pair,
        grid: Pair,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        **more: Any,
    ) -> Value:
        at = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        return self.build(*operands, size=size, grid=grid, **at, **more)


class WindowMatmul(WindowOp, name="window_matmul", version=1, amp=Amp.LOWER):
    """Windows of images times a matrix: x (N * H * W, C), w (KH * KW * C, O) to (N * H' * W', O), sums in f32.

    size: (H, W), grid: (H', W'). A row of the result sees the window of `conv2d` at its pixel; `transposed`: each pixel
    of x whose window the row's pixel stands in, at the place where it stands there. Raises ShapeError."""

    samples = (
        sample(tensor(f32, 126, 3), tensor(f32, 27, 4), **_AT),
        sample(tensor(f64, 56, 2), tensor(f64, 12, 3), **_STEPS),
        sample(tensor(bf16, 63, 16), tensor(bf16, 144, 16), **_AT),
        sample(tensor(f16, 24, 16), tensor(f16, 96, 24), **{**_STEPS, "size": (4, 3), "grid": (8, 7)}, transposed=True),
    )
    error = LargestUlp(f64=32, f32=32, f16=8, bf16=8)
    forward = Forward.MULTILINEAR

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        *,
        size: Pair,
        grid: Pair,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        transposed: bool = False,
    ) -> TensorType:
        for t in (x, w):
            plain(t, self.name)
            float_only(t, self.name)
        depth = kernel[0] * kernel[1] * int(x.shape[-1]) if x.rank == 2 else 0  # type: ignore[arg-type]
        if x.rank != 2 or w.rank != 2 or x.element != w.element or w.shape[0] != depth:
            raise ShapeError(
                f"window_matmul needs x (pixels, C) and w (KH * KW * C, O) of one dtype, found {x} and {w}"
            )
        _grid(self.name, *((size, grid) if transposed else (grid, size)), kernel, stride, padding, dilation)
        count = whole_images(self.name, x.shape[0], size)
        return TensorType(x.element, (count * grid[0] * grid[1], w.shape[1]))

    def reference(self, x: Array, w: Array, *, transposed: bool = False, **at: Any) -> Array:
        windows = windows_of(x, at, transposed=transposed)
        return windows.reshape(len(windows), -1) @ w

    def decompose(self, x: Value, w: Value, *, transposed: bool = False, **at: Any) -> Value:
        (height, width), (rows, columns), (kh, kw) = at["size"], at["grid"], at["kernel"]
        channels, out = int(x.type.shape[1]), int(w.type.shape[1])  # type: ignore[arg-type]
        count = whole_images(self.name, x.type.shape[0], at["size"])
        how = ((kh, kw), at["stride"], at["padding"], at["dilation"])
        if not transposed:
            return matmul(_wide(x, at), w)
        taps = transpose(reshape(w, (kh * kw, channels, out)), (1, 2, 0))
        made = reshape(matmul(x, reshape(taps, (channels, out * kh * kw))), (count, height, width, out, kh, kw))
        whole = fold(transpose(made, (0, 3, 4, 5, 1, 2)), (rows, columns), *how)
        return reshape(transpose(whole, (0, 2, 3, 1)), (count * rows * columns, out))


class WindowGradient(WindowOp, name="window_gradient", version=1, amp=Amp.LOWER):
    """Sums over pixels of windows times what was made of them: x (N * H * W, C), g (N * H' * W', O) to
    (parts, KH * KW * C, O) in f32 (f64 of f64), each of a part of the pixels. Raises ShapeError."""

    samples = (
        sample(tensor(f32, 126, 3), tensor(f32, 126, 4), **_AT),
        sample(tensor(f64, 56, 2), tensor(f64, 12, 3), **_STEPS, parts=3),
        sample(tensor(bf16, 63, 16), tensor(bf16, 63, 16), **_AT, parts=7),
    )
    error = LargestUlp(f64=32, f32=32, f16=8, bf16=8)
    forward = Forward.MULTILINEAR

    def infer(
        self,
        x: TensorType,
        g: TensorType,
        *,
        size: Pair,
        grid: Pair,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        parts: int = 1,
    ) -> TensorType:
        for t in (x, g):
            plain(t, self.name)
            float_only(t, self.name)
        if x.rank != 2 or g.rank != 2 or x.element != g.element:
            raise ShapeError(f"window_gradient needs x and g (pixels, channels) of one dtype, found {x} and {g}")
        _grid(self.name, grid, size, kernel, stride, padding, dilation)
        counts = whole_images(self.name, x.shape[0], size), whole_images(self.name, g.shape[0], grid)
        if counts[0] != counts[1] or counts[1] * grid[0] * grid[1] % parts:
            raise ShapeError(f"window_gradient: {x} and {g} are not of as many images, or no {parts} equal parts")
        taps = kernel[0] * kernel[1] * int(x.shape[1])  # type: ignore[arg-type]
        return TensorType(f64 if x.element is f64 else f32, (parts, taps, g.shape[1]))

    def reference(self, x: Array, g: Array, *, parts: int = 1, **at: Any) -> Array:
        windows = windows_of(x, at)
        left, right = windows.reshape(parts, -1, windows.shape[1] * windows.shape[2]), g.reshape(parts, -1, g.shape[1])
        return np.asarray(left.swapaxes(1, 2) @ right)

    def decompose(self, x: Value, g: Value, *, parts: int = 1, **at: Any) -> Value:
        wide = _wide(x, at)
        result = f64 if x.type.element is f64 else f32
        left = reshape(wide, (parts, -1, wide.type.shape[1]))
        right = reshape(g, (parts, -1, g.type.shape[1]))
        return matmul(cast(transpose(left, (0, 2, 1)), result), cast(right, result))


def images(x: Value, size: Pair) -> Value:
    """(N, C, H, W) of rows of pixels."""
    count, channels = whole_images("images", x.type.shape[0], size), x.type.shape[1]
    return transpose(reshape(x, (count, *size, channels)), (0, 3, 1, 2))


def _wide(x: Value, at: dict[str, Any]) -> Value:
    """(N * H' * W', KH * KW * C): all windows, written out."""
    channels = int(x.type.shape[1])  # type: ignore[arg-type]
    count = whole_images("windows", x.type.shape[0], at["size"])
    windows = unfold(images(x, at["size"]), at["kernel"], at["stride"], at["padding"], at["dilation"])
    taps = at["kernel"][0] * at["kernel"][1] * channels
    return reshape(transpose(windows, (0, 4, 5, 2, 3, 1)), (count * at["grid"][0] * at["grid"][1], taps))


class PixelSums(Claimed, name="pixel_sums", version=1, amp=Amp.FLOAT32):
    """Sums over equal parts of the rows of some matrices, float and (P, C) each, P static: (matrices, parts, C), in f32
    for narrower floats. Raises ShapeError for other operands, or where P has not so many equal parts."""

    samples = (
        sample(tensor(f32, 12, 5), parts=3),
        sample(tensor(f64, 7, 3), tensor(f64, 7, 3), parts=7),
        sample(tensor(bf16, 96, 80), tensor(f32, 96, 80), parts=2),
        sample(tensor(f16, 40, 264), parts=1),
    )
    error = LargestUlp(f64=32, f32=32)
    forward = Forward.LINEAR

    def infer(self, *xs: TensorType, parts: int) -> TensorType:
        for x in xs:
            plain(x, self.name)
            float_only(x, self.name)
            if x.rank != 2 or x.shape != xs[0].shape or not isinstance(x.shape[0], int):
                raise ShapeError(f"pixel_sums needs matrices of one known size, found {x} beside {xs[0]}")
        if not xs or parts < 1 or int(xs[0].shape[0]) % parts:  # type: ignore[arg-type]
            raise ShapeError(f"pixel_sums: {parts} equal parts of {[str(x) for x in xs]} cannot be")
        element: DType = f64 if any(x.element is f64 for x in xs) else f32
        return TensorType(element, (len(xs), parts, xs[0].shape[1]))

    def call(self, *xs: Value, parts: int) -> Value:
        return self.build(*xs, parts=parts)

    def reference(self, *xs: Array, parts: int) -> Array:
        return np.stack([np.asarray(x).reshape(parts, -1, x.shape[1]).sum(1) for x in xs])

    def decompose(self, *xs: Value, parts: int) -> Value:
        element = f64 if any(x.type.element is f64 for x in xs) else f32
        shape = (1, parts, -1, xs[0].type.shape[1])
        made = [reduce.sum(reshape(cast(x, element), shape), (2,)) for x in xs]
        return made[0] if len(made) == 1 else concat(*made, axis=0)


class PixelRows(Claimed, name="pixel_rows", version=1, amp=Amp.KEEP_INPUT):
    """Images (N, C, H, W) as rows of pixels (N * H * W, channels), zeros in channels from C on. Raises ShapeError."""

    samples = (
        sample(tensor(f32, 2, 3, 5, 7), channels=4),
        sample(tensor(bf16, 2, 3, 9, 8), channels=8),
        sample(tensor(f16, 1, 8, 3, 11), channels=8),
    )
    error = EXACT
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, channels: int) -> TensorType:
        plain(x, self.name)
        if x.rank != 4 or not x.static or channels < int(x.shape[1]):  # type: ignore[arg-type]
            raise ShapeError(f"pixel_rows needs (N, C, H, W) of known size with at most {channels} channels, found {x}")
        return TensorType(x.element, (x.shape[0] * x.shape[2] * x.shape[3], channels))

    def call(self, x: Value, channels: int) -> Value:
        return self.build(x, channels=channels)

    def reference(self, x: Array, *, channels: int) -> Array:
        rows = np.moveaxis(x, 1, 3).reshape(-1, x.shape[1])
        return np.pad(rows, ((0, 0), (0, channels - x.shape[1])))

    def decompose(self, x: Value, *, channels: int) -> Value:
        count, held, height, width = (int(d) for d in x.type.shape)  # type: ignore[arg-type]
        rows = reshape(transpose(x, (0, 2, 3, 1)), (count * height * width, held))
        if channels == held:
            return rows
        zero = constant(0, TensorType(x.type.dtype, ()))
        return concat(rows, broadcast_to(zero, (count * height * width, channels - held)), axis=1)


window_matmul = public(WindowMatmul, WindowMatmul.call)
window_gradient = public(WindowGradient, WindowGradient.call)
pixel_sums = public(PixelSums, PixelSums.call)
pixel_rows = public(PixelRows, PixelRows.call)
