"""Products of f32 on the tensor cores of GPUs, where less precise ones are allowed: operands become sums of two bf16.

x = high + low, each the rounded rest of what stands before it, and a product is high * high + high * low + low * high
in f32 sums: one product of bf16 of three times the depth, for the schedules that take bf16. 16 of the 24 bits of an
operand count, 11 would by TF32, and 8 where one part is enough. Both are what PyTorch's "high" and "medium" stand for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import bf16, f32, numel, upper_bound
from ..kernels.warpgroup_linear import refusal
from ..kernels.warpgroup_matmul import fits
from ..ops import REGISTRY, abs, cast, concat, lt, sub, where
from ..targets.target import Target

PRECISIONS = ("highest", "high", "medium")
LEAST = 1 << 24  # multiplications: making the parts of smaller operands takes as long as their product


def float_parts(graph: Graph, target: Target, precision: str) -> Graph:
    """Products of f32 matrices as products of bf16 with f32 results, of those that the tensor cores take by four warps.

    An element that is no finite number is multiplied once, with the other's high part: infinities and NaN stay what
    they are."""
    if precision == "highest" or target.capability != 90:
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
        if not (a.type.static and b.type.static) or min(a.type.rank, b.type.rank) < 2:
            return None
        turned, panels = bool(node.attrs.get("transpose_a")), name == "linear"  # whose weights become panels
        depth = a.type.rank - (2 if turned else 1), b.type.rank - (1 if panels else 2)
        if upper_bound(numel(a.type.shape)) * upper_bound(node.results[0].type.shape[-1]) < LEAST:
            return None
        (high_a, known_a, low_a), (high_b, known_b, low_b) = parted(a), parted(b)
        if precision == "medium":
            left, right = high_a, high_b
        else:
            left = concat(high_a, known_a, low_a, axis=depth[0])
            right = concat(high_b, low_b, known_b, axis=depth[1])
        made = REGISTRY[name].build(left, right, **{**node.attrs, "dtype": f32})
        refused = fits(made.node, target) or (refusal(bf16, bf16, left.type.shape[-1], target) if panels else None)
        return (made,) if refused is None else None

    return rewrite(graph, replace)
