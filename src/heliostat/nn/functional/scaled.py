"""Products of matrices of few bits, with scales beside them: `scaled_mm` and `scaled_grouped_mm`."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ...diagnostics import ShapeError, UnsupportedError
from ...ir.types import bf16, f32
from ...ops.rules import shown
from ...tensor import Tensor
from .linear import grouped_mm


class ScalingType(IntEnum):
    """Which elements share a scale."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(IntEnum):
    """The order in which scales lie."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


def _one(name: str, x: Any) -> Any:
    """What may be given as a list of one."""
    if isinstance(x, list | tuple):
        if len(x) != 1:
            raise UnsupportedError(f"{name} of two levels", help="multiply both scales")
        return x[0]
    return x


def _unscaled(name: str, x: Tensor, scale: Any, recipe: Any, swizzle: Any, rows: int) -> Tensor:
    """x as float32 times its scales. rows: the axis, from behind, that has a scale for each of its elements."""
    scale, recipe, swizzle = _one(name, scale), ScalingType(_one(name, recipe)), _one(name, swizzle)
    if swizzle not in (None, SwizzleType.NO_SWIZZLE):
        raise UnsupportedError(f"{name}: scales in the order {SwizzleType(swizzle).name}", help="give them in order")
    wide: Tensor = x.to(f32)
    if recipe == ScalingType.TensorWise and scale.numel() == 1:
        return wide * scale.to(f32).reshape(())
    if recipe == ScalingType.RowWise and scale.numel() == wide.numel() // wide.shape[-1 if rows == -2 else -2]:
        line = (-1, 1) if rows == -2 else (1, -1)
        return wide * scale.to(f32).reshape(*wide.shape[:-2], *line)
    if recipe not in (ScalingType.TensorWise, ScalingType.RowWise):
        raise UnsupportedError(f"{name}: scales {recipe.name}", help="multiply them in, or use TensorWise or RowWise")
    raise ShapeError(f"{name}: scales {recipe.name} of {shown(scale.shape)} for a matrix of {shown(x.shape)}")


def scaled_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    scale_a: Any,
    scale_recipe_a: Any,
    scale_b: Any,
    scale_recipe_b: Any,
    swizzle_a: Any = None,
    swizzle_b: Any = None,
    bias: Tensor | None = None,
    output_dtype: Any = bf16,
    contraction_dim: Any = (),
    use_fast_accum: bool = False,
) -> Tensor:
    """The product of matrices (M, K) and (K, N) of any floats, those of eight bits too, times their scales, plus bias
    (N,), computed in float32. Scales are float32, one for each matrix (`TensorWise`) or, of A (M, 1), of B (1, N)
    (`RowWise`). `use_fast_accum` changes nothing. Raises ShapeError where scales do not fit, UnsupportedError for other
    recipes, for scales in another order, and for contraction_dim."""
    if tuple(contraction_dim) not in ((), (-1, -2), (1, 0)):
        raise UnsupportedError(f"scaled_mm: contraction_dim={tuple(contraction_dim)}", help="transpose the operands")
    a = _unscaled("scaled_mm", mat_a, scale_a, scale_recipe_a, swizzle_a, -2)
    b = _unscaled("scaled_mm", mat_b, scale_b, scale_recipe_b, swizzle_b, -1)
    y = a.mm(b)
    y = y if bias is None else y + bias.to(f32)
    return y if output_dtype is None else y.to(output_dtype)


def scaled_grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    scale_a: Any,
    scale_recipe_a: Any,
    scale_b: Any,
    scale_recipe_b: Any,
    swizzle_a: Any = None,
    swizzle_b: Any = None,
    bias: Tensor | None = None,
    offs: Tensor | None = None,
    output_dtype: Any = bf16,
    contraction_dim: Any = (),
    use_fast_accum: bool = False,
) -> Tensor:
    """`grouped_mm` of matrices times their scales: of A (M, K) scales (M,), of B (G, K, N) scales (G, N), or one for
    all. Otherwise as `scaled_mm`."""
    if tuple(contraction_dim) not in ((), (-1, -2)):
        what = f"scaled_grouped_mm: contraction_dim={tuple(contraction_dim)}"
        raise UnsupportedError(what, help="transpose the operands")
    a = _unscaled("scaled_grouped_mm", mat_a, scale_a, scale_recipe_a, swizzle_a, -2)
    b = _unscaled("scaled_grouped_mm", mat_b, scale_b, scale_recipe_b, swizzle_b, -1)
    return grouped_mm(a, b, offs=offs, bias=bias, out_dtype=output_dtype)
