"""Convolutions on GPUs with tensor cores for halves, from compute capability 8.0 on: images in between lie with
channels last, as matrices with a row for each pixel.

A product on tensor cores adds over channels, which are neighbours then, and what stands between convolutions
(normalizations, activations, sums) does not care. So each value of the graph that is made of a convolution has a twin
in that layout; whoever needs the value as it was gets a transpose of the twin, and unused ones fall away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.graph import CONSTANT, Graph, Node, Value, constant
from ..ir.rewrite import rewrite
from ..ir.types import TensorType, bf16, f16, f32, numel
from ..kernels import pixel_rows, window_matmul
from ..kernels.matmul_tiles import CHUNK
from ..kernels.stream_linear import MULTIPROCESSORS
from ..ops import REGISTRY, broadcast_to, cast, concat, matmul, reshape, round_tf32, slice, sum, transpose
from ..targets.target import Target
from .lower import claimed, expand
from .split import divisor
from .split_depth import parts

GRADIENTS = frozenset({"conv2d_input_gradient", "conv2d_weight_gradient"})
POOLS = frozenset({"max_pool2d", "max_pool2d_gradient"})
OF_PIXELS = frozenset({"pixel_sums", "pixel_max", "pixel_argmax", "pixel_max_gradient"})
CLAIMED = frozenset({"window_matmul", "window_gradient", "pixel_rows"}) | OF_PIXELS
MOST_PLACES = 127  # of a window, that int8 counts
SUMS = 2 * MULTIPROCESSORS  # parts of a sum over pixels that are wanted
LEAST_SUMMED = 64  # pixels of a part
PARTS = 256  # of the sum of a weight's gradient, at most


def channels_last(graph: Graph, target: Target, tf32: bool = False) -> Graph:
    """Convolutions and what stands between them as work on matrices of pixels, where the target has products for them;
    what it has no kernel for as other ops. `tf32`: whether those of f32 may round what they multiply to tf32."""
    fast = target.capability >= 80

    def parted(node: Node) -> bool:
        return node.op.name in GRADIENTS | POOLS and not claimed(node, target)

    graph = expand(graph, lambda node: node.op.name == "batch_norm" or (not fast and parted(node)))
    if fast and any(n.op.name == "conv2d" or n.op.name in GRADIENTS for n in graph.nodes()):
        graph = _Pass(target, tf32).run(graph)

    def unfit(node: Node) -> bool:
        if node.op.name not in CLAIMED:
            return parted(node)
        if node.op.name in OF_PIXELS:
            return not target.gpu
        if node.op.name == "pixel_rows":
            return pixel_rows.fits(node, target) is not None
        return window_matmul.fits(node, target) is not None

    return expand(graph, unfit)


class _Pass:
    def __init__(self, target: Target, tf32: bool) -> None:
        self.target = target
        self.elements = (bf16, f16, f32) if tf32 else (bf16, f16)
        self.twins: dict[int, Value] = {}  # by values of (N, C, H, W)
        self.spread: dict[int, Value] = {}  # the same of what is spread over pixels: used beside a twin only
        self.kept: list[Value] = []  # whose ids are keys

    def run(self, graph: Graph) -> Graph:
        return rewrite(graph, self._replace)

    def _replace(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        name, type = node.op.name, node.results[0].type
        if name == "conv2d" or name in GRADIENTS:
            made = self._convolution(node, inputs)
        elif name in POOLS:
            made = self._pool(node, inputs)
        elif name in ("sum", "mean"):
            made = self._sum(node, inputs[0])
        elif name == "broadcast_to" and type.rank == 4 and type.static:
            made = node.op.build(inputs[0], **node.attrs)  # type: ignore[attr-defined]
            if (narrow := _of_channels(inputs[0], type)) is not None:
                self.kept.append(made)
                self.spread[id(made)] = broadcast_to(narrow, _pixels(type))
            elif (spread := self._spread_images(inputs[0], type)) is not None:
                made = self._plain(spread, type)
        elif getattr(node.op, "elementwise", False) and type.rank == 4 and type.static:
            made = self._elementwise(node, inputs, type)
        else:
            return None
        return None if made is None else (made,)

    # --- twins ------------------------------------------------------------------------------------------------------
    def _twin(self, v: Value) -> Value:
        """(N * H * W, C) of (N, C, H, W)."""
        found = self.twins.get(id(v))
        if found is None:
            found = self.spread.get(id(v))
        if found is not None:
            return found
        if v.type.shape[2:] == (1, 1):
            return reshape(v, v.type.shape[:2])
        return reshape(transpose(v, (0, 2, 3, 1)), _pixels(v.type))

    def _plain(self, rows: Value, type: TensorType) -> Value:
        """The value of a twin, with channels where they were."""
        count, channels, height, width = type.shape
        lying = reshape(rows, (count, height, width, channels))
        points = height == width == 1
        made = reshape(rows, type.shape) if points else transpose(lying, (0, 3, 1, 2))
        self.kept.append(made)
        self.twins[id(made)] = rows
        return made

    # --- convolutions -----------------------------------------------------------------------------------------------
    def _convolution(self, node: Node, inputs: tuple[Value, ...]) -> Value | None:
        a, b = inputs
        result = node.results[0].type
        element = result.element
        if node.attrs["groups"] != 1 or element not in self.elements or not (a.type.static and b.type.static):
            return None
        if node.op.name == "conv2d":
            rows = self._forward(a, b, result, node.attrs)
        elif node.op.name == "conv2d_input_gradient":
            rows = self._of_input(a, b, result, node.attrs)
        else:
            return self._of_weight(a, b, result, node.attrs)
        return None if rows is None else self._plain(rows, result)

    def _forward(self, x: Value, w: Value, result: TensorType, attrs: Any) -> Value | None:
        taps = _padded(self._taps(w), 1)
        matrix = reshape(taps, (math.prod(taps.type.shape[:2]), taps.type.shape[2]))
        at = _at(attrs, _space(x.type), _space(result), _space(w.type))
        return self._product(self._padded_twin(x), matrix, at, False)

    @staticmethod
    def _taps(w: Value) -> Value:
        """(KH * KW, C, O) of (O, C, KH, KW), in steps that move the last axis of a matrix, or none."""
        out, channels, *kernel = (int(d) for d in w.type.shape)  # type: ignore[arg-type]
        count = math.prod(kernel)
        turned = reshape(transpose(reshape(w, (out, channels * count)), (1, 0)), (channels, count, out))
        return reshape(turned, (1, channels, out)) if count == 1 else transpose(turned, (1, 0, 2))

    def _of_input(self, g: Value, w: Value, result: TensorType, attrs: Any) -> Value | None:
        out, channels, *kernel = (int(d) for d in w.type.shape)  # type: ignore[arg-type]
        taps = reshape(w, (1, out, channels)) if kernel == [1, 1] else transpose(self._taps(w), (0, 2, 1))
        matrix = reshape(taps, (math.prod(kernel) * out, channels))
        at = _at(attrs, _space(g.type), _space(result), _space(w.type))
        return self._product(self._twin(g), matrix, at, True)

    def _product(self, x: Value, w: Value, at: dict[str, Any], transposed: bool) -> Value | None:
        x, w = _operand(x), _operand(w)
        made = REGISTRY["window_matmul"].build(x, w, **at, transposed=transposed)
        if window_matmul.fits(made.node, self.target) is not None:
            return None
        return matmul(x, w) if _points(at) else made

    def _of_weight(self, x: Value, g: Value, result: TensorType, attrs: Any) -> Value | None:
        at = _at(attrs, _space(x.type), _space(g.type), _space(result))
        rows, of = _operand(self._padded_twin(x)), _operand(self._twin(g))
        depth, out = (int(d) for d in of.type.shape)  # type: ignore[arg-type]
        wide = int(rows.type.shape[1])  # type: ignore[arg-type]
        taps = math.prod(at["kernel"]) * wide
        count = parts(taps, depth, out, PARTS)
        made = REGISTRY["window_gradient"].build(rows, of, **at, parts=count)
        if window_matmul.fits(made.node, self.target) is not None:
            return None
        places, channels = math.prod(at["kernel"]), int(result.shape[1])  # type: ignore[arg-type]
        total = reshape(sum(made, 0), (places, wide, out))
        if wide != channels:
            total = slice(total, 1, 0, channels)
        if places > 1:
            total = transpose(total, (1, 0, 2))
        turned = transpose(reshape(total, (channels * places, out)), (1, 0))
        return cast(reshape(turned, result.shape), result.dtype)

    def _padded_twin(self, x: Value) -> Value:
        """The twin with zeros behind its channels, up to whole chunks."""
        channels = int(x.type.shape[1])  # type: ignore[arg-type]
        if channels % CHUNK == 0:
            return self._twin(x)
        if id(x) in self.twins:
            return _padded(self.twins[id(x)], 1)
        return REGISTRY["pixel_rows"].build(x, channels=channels + -channels % CHUNK)

    # --- what stands between ----------------------------------------------------------------------------------------
    def _elementwise(self, node: Node, inputs: tuple[Value, ...], type: TensorType) -> Value | None:
        if not any(id(v) in self.twins for v in inputs):
            return None
        rows = [self._operand(v, type) for v in inputs]
        return self._plain(node.op.build(*rows, **node.attrs), type)  # type: ignore[attr-defined]

    def _operand(self, v: Value, whole: TensorType) -> Value:
        """An operand of an elementwise op over pixels, by broadcasting."""
        if v.type.shape == whole.shape:
            return self._twin(v)
        narrow = _of_channels(v, whole)
        if narrow is not None:
            return narrow
        return self._twin(broadcast_to(v, whole.shape))

    def _pool(self, node: Node, inputs: tuple[Value, ...]) -> Value | None:
        x, kernel = inputs[-1], node.attrs["kernel"]
        rows, type = self.twins.get(id(x)), node.results[0].type
        if rows is None or kernel[0] * kernel[1] > MOST_PLACES:
            return None
        narrow = type if node.op.name == "max_pool2d" else inputs[0].type
        at = _at(node.attrs, _space(x.type), _space(narrow), kernel)
        if node.op.name == "max_pool2d":
            return self._plain(REGISTRY["pixel_max"].build(rows, **at), type)
        places = REGISTRY["pixel_argmax"].build(rows, **at)
        return self._plain(REGISTRY["pixel_max_gradient"].build(self._twin(inputs[0]), places, **at), type)

    def _sum(self, node: Node, x: Value) -> Value | None:
        rows, type, axes = self.twins.get(id(x)), node.results[0].type, node.attrs["axes"]
        if rows is None or rows.type.element not in (f32, bf16, f16):
            return None
        if axes in ((2,), (3,), (2, 3)) and node.attrs["keepdim"]:
            return self._of_images(node, rows, x.type)
        if axes != (0, 2, 3):
            return None
        pixels = int(rows.type.shape[0])  # type: ignore[arg-type]
        count = divisor(pixels, min(SUMS, max(1, pixels // LEAST_SUMMED)))
        total = sum(REGISTRY["pixel_sums"].build(rows, parts=count), 1)
        if node.op.name == "mean":
            total = total * (1 / pixels)
        return reshape(cast(total, type.dtype), type.shape)

    def _of_images(self, node: Node, rows: Value, whole: TensorType) -> Value:
        """A reduction over lines or columns of each image."""
        count, channels, height, width = whole.shape
        result = node.results[0].type
        axes = tuple(a - 1 for a in node.attrs["axes"])
        made: Value = node.op.build(  # type: ignore[attr-defined]
            reshape(rows, (count, height, width, channels)), **{**node.attrs, "axes": axes}
        )
        return self._plain(reshape(made, _pixels(result)), result)

    def _spread_images(self, v: Value, type: TensorType) -> Value | None:
        """The twin of what has one value for lines, columns or images of each channel, spread over pixels."""
        shape, (count, channels, height, width) = v.type.shape, type.shape
        narrow = len(shape) == 4 and shape[:2] == (count, channels) and count != 1 and channels != 1
        if not narrow or shape[2] not in (1, height) or shape[3] not in (1, width):
            return None
        lying = reshape(self._twin(v), (count, shape[2], shape[3], channels))
        return reshape(broadcast_to(lying, (count, height, width, channels)), _pixels(type))


def _of_channels(v: Value, whole: TensorType) -> Value | None:
    """What is one value, or one for each channel of (N, C, H, W), beside (N * H * W, C); None for anything else."""
    if numel(v.type.shape) == 1:
        if v.node.op is CONSTANT and v.type.rank > 2:
            return constant(np.asarray(v.node.attrs["value"]).reshape(()), TensorType(v.type.element, ()))
        return v if v.type.rank <= 2 else reshape(v, ())
    if v.type.rank in (3, 4) and v.type.shape[-3:] == (whole.shape[1], 1, 1) and v.type.shape[:-3] in ((), (1,)):
        return reshape(v, (whole.shape[1],))
    return None


def _operand(x: Value) -> Value:
    """What tensor cores multiply of a value."""
    return round_tf32(x) if x.type.element is f32 else x


def _points(at: dict[str, Any]) -> bool:
    """Whether a window is one pixel, its own."""
    return bool(at["kernel"] == at["stride"] == (1, 1) and at["padding"] == (0, 0))


def _at(attrs: Any, size: tuple[int, int], grid: tuple[int, int], kernel: tuple[int, int]) -> dict[str, Any]:
    at = {name: attrs[name] for name in ("stride", "padding", "dilation")}
    return {**at, "size": size, "grid": grid, "kernel": kernel}


def _space(type: TensorType) -> tuple[int, int]:
    return int(type.shape[2]), int(type.shape[3])  # type: ignore[arg-type]


def _pixels(type: TensorType) -> tuple[int, int]:
    count, channels, height, width = (int(d) for d in type.shape)  # type: ignore[arg-type]
    return count * height * width, channels


def _padded(x: Value, axis: int) -> Value:
    """x with zeros behind an axis, up to whole chunks."""
    missing = -int(x.type.shape[axis]) % CHUNK  # type: ignore[arg-type]
    if not missing:
        return x
    zero = constant(0, TensorType(x.type.dtype, ()))
    shape = tuple(missing if n == axis else d for n, d in enumerate(x.type.shape))
    return concat(x, broadcast_to(zero, shape), axis=axis)
