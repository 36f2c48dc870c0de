"""Products of f32 on the tensor cores of GPUs, where less precise ones are allowed.

"tf32" rounds operands to 11 of their 24 bits. "bf16x3" makes them sums of two bf16: x = high + low, each the rounded
rest of what stands before it, and a product is high * high + high * low + low * high in f32 sums, one product of bf16
of three times the depth; 16 bits count. "medium" is one part, 8 bits. PyTorch's "high" stands for either of the first
two, whichever is fast: it is "tf32" here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import bf16, f32, numel, upper_bound
from ..kernels.matmul_tiles import fits, kind_of
from ..kernels.warpgroup_linear import refusal
from ..ops import REGISTRY, abs, cast, concat, lt, round_tf32, sub, transpose, where
from ..targets.target import Target

PRECISIONS = ("highest", "high", "tf32", "bf16x3", "medium")
HIGH = "tf32"
LEAST = 1 << 24  # multiplications: making the parts of smaller operands takes as long as their product
LEAST_SIDE = 512  # rows of the result for each row of an operand that is turned: then four warps together gain more


def float_parts(graph: Graph, target: Target, precision: str) -> Graph:
    """Products of f32 matrices as products of bf16 or of tf32 with f32 results, of those that tensor cores take.

    `precision`: one of PRECISIONS. An element that is no finite number is multiplied once, with the other's high part:
    infinities and NaN stay what they are."""
    precision = HIGH if precision == "high" else precision
    if precision == "highest" or target.capability < 80:
        return graph
    parts: dict[tuple[int, int], tuple[Value, Value, Value]] = {}

    def parted(v: Value) -> tuple[Value, Value, Value]:
        """High, the same where it is finite, and low."""
        key = id(v.node), v.index
        if key not in parts:
            high = cast(v, bf16)
            wide = cast(high, f32)
            finite = lt(abs(wide), math.inf)
            known, rest = (cast(where(finite, part, 0.0), bf16) for part in (wide, sub(v, wide)))
            parts[key] = high, known, rest
        return parts[key]

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        name = node.op.name
        if name not in ("matmul", "linear") or any(v.type.element != f32 or v.type.layout is not None for v in inputs):
            return None
        a, b = inputs
        if not (a.type.static and b.type.static) or min(a.type.rank, b.type.rank) < 2 or kind_of(node) == "tf32":
            return None
        turned, panels = bool(node.attrs.get("transpose_a")), name == "linear"  # whose weights become panels
        depth = a.type.rank - (2 if turned else 1), b.type.rank - (1 if panels else 2)
        if upper_bound(numel(a.type.shape)) * upper_bound(node.results[0].type.shape[-1]) < LEAST:
            return None
        if precision == "tf32":
            left = _rounded_below(a) if name == "matmul" else round_tf32(a)
            made = REGISTRY[name].build(left, round_tf32(b), **node.attrs)
            return (made,) if fits(made.node, target) is None else None
        (high_a, known_a, low_a), (high_b, known_b, low_b) = parted(a), parted(b)
        if precision == "medium":
            left, right = high_a, high_b
        else:
            left = concat(high_a, known_a, low_a, axis=depth[0])
            right = concat(high_b, low_b, known_b, axis=depth[1])
        made = REGISTRY[name].build(left, right, **{**node.attrs, "dtype": f32})
        refused = fits(made.node, target)
        if panels and target.capability == 90:
            refused = refused or refusal(bf16, bf16, left.type.shape[-1], target)
        return (made,) if refused is None else None

    return rewrite(graph, replace)


def tf32_rows(graph: Graph, target: Target) -> Graph:
    """Large products of tf32 with neighbours of K together in both operands, where tensor cores serve four warps: they
    take no other order. Operands are rounded on the way to it."""
    if target.capability != 90:
        return graph

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "matmul" or kind_of(node) != "tf32" or fits(node, target) is not None:
            return None
        a, b = inputs
        turned, columns = bool(node.attrs["transpose_a"]), node.results[0].type.shape[-1]
        if b.type.rank > 2 or (turned and a.type.rank > 2) or not (a.type.static and b.type.static):
            return None
        if upper_bound(numel(node.results[0].type.shape[:-1])) < LEAST_SIDE or (turned and columns < LEAST_SIDE):
            return None
        return (REGISTRY["linear"].build(_turned(a) if turned else a, _turned(b), dtype=node.attrs["dtype"]),)

    return rewrite(graph, replace)


def _rounded_below(x: Value) -> Value:
    """x rounded to tf32: of a transpose its operand, which products may read as it lies."""
    rank = x.type.rank
    if x.node.op.name != "transpose" or x.node.attrs["axes"] != (*range(rank - 2), rank - 1, rank - 2):
        return round_tf32(x)
    return transpose(round_tf32(x.node.inputs[0]), x.node.attrs["axes"])


def _turned(x: Value) -> Value:
    """The transpose of a matrix that was rounded to tf32, rounded last."""
    source, name = x.node.inputs[0], x.node.op.name
    if name == "transpose":
        return source
    return round_tf32(transpose(source)) if name == "round_tf32" else transpose(x)
