"""What functions of modules do with quantized tensors.

A product takes codes less their zero points, whose sums are whole numbers, and multiplies by both scales behind; beside
a quantized weight floats are quantized by their own range first (dynamic quantization). The result is float32: a module
with a scale and a zero point of its own makes codes of it, in the same kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ...diagnostics import UnsupportedError
from ...ir.types import f32
from ...tensor import FUNCTIONS, Tensor
from ...tensor.conversion import convert
from ...tensor.index import check_known
from ...tensor.quantized import QuantizedTensor, rounded
from ...tensor.quantized_functions import on_codes, on_grid, on_steps, on_values
from ...tensor.quantized_range import choose_qparams
from ...tensor.register import meaning
from .activation import writable

F = TypeVar("F", bound=Callable[..., Any])
DYNAMIC_RANGE = (0, 127)  # PyTorch's reduce_range: sums of two products of 7 and 8 bits fit 16


def quantizable(f: F) -> F:
    """f, or its meaning for quantized tensors where one of the first two arguments is one."""
    name = f.__name__

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        for a in args[:2]:
            if a.__class__ is QuantizedTensor:
                return meaning(name, "quantized")(*args, **kwargs)
        if kwargs and any(kwargs.get(n).__class__ is QuantizedTensor for n in ("input", "weight")):
            return meaning(name, "quantized")(*args, **kwargs)
        return f(*args, **kwargs)

    return cast(F, run)


def steps_of(x: Tensor) -> tuple[Tensor, Any]:
    """Codes less zero points in float32, and the scale; of floats by the range that they have."""
    if isinstance(x, QuantizedTensor):
        return x.centred(), x.scales()
    x = x.detach()
    if not x.numel():  # which has no range
        return convert(x, f32), 1.0
    lowest, highest = DYNAMIC_RANGE
    scale, zero_point = choose_qparams(x.amin(), x.amax(), lowest, highest)
    return rounded(x, scale, zero_point, lowest, highest) - zero_point, scale


def product(f: Callable[..., Tensor], transposed: bool = False) -> Callable[..., Tensor]:
    """The meaning of a product `f(input, weight, bias, ...)`, whose channels stand along axis 1, of a linear function
    along the last; weights that are transposed have one scale."""

    def run(input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(weight, QuantizedTensor):
            raise UnsupportedError(f"{f.__name__} takes no quantized input with a weight of floats",
                                   help="dequantize() the input")  # fmt: skip
        if isinstance(input, QuantizedTensor) and input._axis is not None:
            what = f"{f.__name__}: an input has one scale, not one for each index of axis {input._axis}"
            raise UnsupportedError(what, help="quantize_per_tensor() it")
        if weight._axis not in (None, 0) or (transposed and weight._axis is not None):
            raise UnsupportedError(f"{f.__name__}: weights have scales for their first axis, not {weight._axis}")
        x, scale = steps_of(input)
        y = f(x, weight.centred(), None, *args, **kwargs)
        shape = [-1] if f.__name__ == "linear" else [-1, *[1] * (weight.ndim - 2)]
        scales = weight.scales()
        if weight._axis is not None:
            scales = scales.reshape(shape)
        y = y * (scale * scales)
        return y if bias is None else y + bias.reshape(shape)

    return run


def embedding(input: Tensor, weight: QuantizedTensor, *args: Any, **kwargs: Any) -> Tensor:
    """Values of rows by number: only rows that are asked for are dequantized. Options about gradients do nothing."""
    check_known("row", input, weight.shape[0])
    codes = weight._codes[input].to(f32)
    if weight._axis is None:
        return (codes - weight._zero_point) * weight.scales()
    if weight._axis != 0:
        raise UnsupportedError("embedding: tables have scales for rows, not for columns")
    scale, zero = (x.to(f32)[input].unsqueeze(-1) for x in (weight._scale, weight._zero_point))
    return (codes - zero) * scale


def bag_of(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The meaning of `embedding_bag`: that of the rows which are asked for, as a table of their own."""

    def run(
        input: Tensor, weight: QuantizedTensor, *args: Any, padding_idx: int | None = None, **kwargs: Any
    ) -> Tensor:
        if padding_idx is not None or len(args) > 8:
            raise UnsupportedError("embedding_bag: padding_idx does not exist for quantized tables")
        rows = embedding(input.reshape(-1), weight)
        return f(FUNCTIONS["arange"](input.numel()).reshape(input.shape), rows, *args, **kwargs)

    return run


def meanings(given: dict[str, Any]) -> dict[str, Any]:
    """What the functions of `nn.functional` do with quantized tensors, from what they do with others, by name."""
    made = {name: product(given[name]) for name in ("linear", "conv1d", "conv2d", "conv3d")}
    made |= {name: product(given[name], True) for name in
             ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")}  # fmt: skip
    made |= {"embedding": embedding, "embedding_bag": bag_of(given["embedding_bag"])}
    made |= {name: on_codes(given[name]) for name in
             ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "adaptive_max_pool1d")}  # fmt: skip
    made |= {name: on_steps(given[name]) for name in (
        "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        "interpolate",
    )}  # fmt: skip
    made |= {name: writable(functools.wraps(given[name])(on_values(given[name]))) for name in
             ("elu", "hardswish", "hardtanh", "leaky_relu", "relu6", "threshold")}  # fmt: skip
    made |= {name: lambda input, *args, **kwargs: input for name in ("dropout", "dropout2d", "dropout3d")}
    return {**made, "hardsigmoid": on_grid(given["hardsigmoid"], 1 / 256, 0)}
