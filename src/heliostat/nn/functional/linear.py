"""Products with weights, and similarities and distances of vectors."""

from __future__ import annotations

import math
from typing import Any

from ... import ops
from ...diagnostics import ShapeError, UnsupportedError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.core import wrap
from ...tensor.index import check_known
from .activation import gelu
from .quantized import quantizable


@quantizable
@ruled
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight^T + bias. input: (..., in), weight: (out, in) or (in,), bias: (out,); (..., out)."""
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: an input of shape {list(input.shape)} does not fit a weight of {list(weight.shape)}: "
            f"mat1 and mat2 shapes cannot be multiplied",
            help=f"the last axis of the input must be {weight.shape[-1]}",
        )
    if _plain(input, weight, bias):  # the same values without a tensor for each
        v = ops.matmul(input.value, ops.transpose(weight.value))
        return wrap(v, input, weight) if bias is None else wrap(ops.add(v, bias.value), input, weight, bias)
    y = input @ (weight.transpose(0, 1) if weight.ndim == 2 else weight)
    return y if bias is None else y + bias


def _plain(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a product has rows, columns and one dtype of floats."""
    dtype = weight.dtype
    if not dtype.is_float or input.dtype is not dtype or (bias is not None and bias.dtype is not dtype):
        return False
    return weight.ndim == 2 and 0 not in input.shape and 0 not in weight.shape


@ruled
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[o] = input1^T weight[o] input2 + bias[o]. (..., a), (..., b), (out, a, b), (out,); (..., out)."""
    out, a, b = weight.shape
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    if input1.shape[-1] != a or input2.shape[-1] != b:
        raise ShapeError(
            f"bilinear(): inputs of {input1.shape[-1]} and {input2.shape[-1]} do not fit a weight of "
            f"{list(weight.shape)}"
        )
    count = math.prod(input1.shape[:-1])
    rows = input1.reshape(count, a)
    half = (rows @ weight.permute(1, 0, 2).reshape(a, out * b)).reshape(count, out, b)
    whole = None if half.is_floating_point() or half.is_complex() else half.dtype  # sums of whole numbers are int64
    y = (half * input2.reshape(count, 1, b)).sum(-1, dtype=whole).reshape(*input1.shape[:-1], out)
    return y if bias is None else y + bias


def fused_linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(linear(x, weight, bias)); the compiler makes one kernel of it either way."""
    return linear(x, weight, bias).relu()


def fused_linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(linear(x, weight, bias)); the compiler makes one kernel of it either way."""
    return gelu(linear(x, weight, bias))


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Tensor:
    """Products of groups of rows: (M, K) by (G, K, N) where group g ends before row offs[g], (M, N); or (G, M, K) by
    (G, K, N). offs: (G,) integers, read when this is called."""
    if bias is not None:
        raise UnsupportedError("grouped_mm: bias does not exist here", help="add it to the result")
    if mat_a.ndim == 3 and mat_b.ndim == 3 and offs is None:
        y = mat_a @ mat_b
    elif mat_a.ndim == 2 and mat_b.ndim == 3 and offs is not None:
        ends = [int(n) for n in offs.tolist()]
        if len(ends) != mat_b.shape[0] or ends != sorted(ends) or (ends and ends[-1] > mat_a.shape[0]):
            raise ShapeError(
                f"grouped_mm: offs {ends} do not divide {mat_a.shape[0]} rows into {mat_b.shape[0]} groups"
            )
        starts = [0, *ends[:-1]]
        parts = [mat_a[a:b] @ mat_b[g] for g, (a, b) in enumerate(zip(starts, ends, strict=True)) if b > a]
        rest = mat_a.shape[0] - (ends[-1] if ends else 0)
        if rest:
            parts.append(FUNCTIONS["zeros"](rest, mat_b.shape[2], dtype=mat_a.dtype))
        y = FUNCTIONS["cat"](parts)
    else:
        raise UnsupportedError(
            f"grouped_mm: operands of {mat_a.ndim} and {mat_b.ndim} axes {'with' if offs is not None else 'without'} "
            "offs do not exist here"
        )
    return y if out_dtype is None else y.to(out_dtype)


@ruled
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Products of vectors along an axis over their lengths, each at least eps."""
    x1, x2 = FUNCTIONS["broadcast_tensors"](x1, x2)
    a = (x1 * x1).sum(dim).clamp(min=eps * eps).sqrt()
    b = (x2 * x2).sum(dim).clamp(min=eps * eps).sqrt()
    return (x1 * x2).sum(dim) / (a * b)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """Norm of x1 - x2 + eps over the last axis."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@ruled
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances of all pairs of rows. input: (N, D); (N (N - 1) / 2,)."""
    n = input.shape[0]
    rows, columns = FUNCTIONS["triu_indices"](n, n, 1)
    difference = input.index_select(0, rows) - input.index_select(0, columns)
    return difference.norm(p, -1)


def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """input over its norm along an axis, which is at least eps."""
    return input / input.norm(p, dim, True).clamp(min=eps)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 where a class stands, 0 elsewhere. tensor: integers, any shape; (..., num_classes) of int64."""
    from ...ir.types import i64

    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    check_known("class", tensor, num_classes)
    return (tensor.unsqueeze(-1) == FUNCTIONS["arange"](num_classes)).to(i64)
