"""The vocabulary: every op of the graph IR, once. Functions here build graph values; `REGISTRY` holds the records."""

from .activation import gelu, gelu_tanh, relu, sigmoid, silu, swiglu
from .attention import attention, cache_update, rope, rope_table
from .compare import eq, ge, gt, le, logical_and, logical_not, logical_or, lt, ne, where
from .convolution import conv2d
from .elementwise import (
    abs,
    add,
    cast,
    ceil,
    cos,
    div,
    erf,
    exp,
    floor,
    log,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    round,
    rsqrt,
    sign,
    sin,
    sqrt,
    sub,
    tanh,
)
from .gradient import gradients
from .index import embedding, gather
from .matmul import linear, matmul
from .normalize import layer_norm, log_softmax, logsumexp, rms_norm, softmax
from .op import REGISTRY, Amp, Batching, NotDifferentiable, Op, get
from .quantize import dequantize, quantize, repack
from .reduce import argmax, max, mean, min, prod, sum
from .rules import promote
from .shape import (
    broadcast_to,
    concat,
    flatten,
    last_row,
    reshape,
    slice,
    squeeze,
    take_rows,
    transpose,
    unsqueeze,
)

__all__ = [
    "REGISTRY", "Amp", "Batching", "NotDifferentiable", "Op", "abs", "add", "argmax", "attention", "broadcast_to",
    "cache_update", "cast", "ceil", "concat", "conv2d", "cos", "dequantize", "div", "embedding", "eq", "erf", "exp",
    "flatten", "floor", "gather", "ge", "gelu", "gelu_tanh", "get", "gradients", "gt", "last_row", "layer_norm", "le",
    "linear",
    "log", "log_softmax", "logical_and", "logical_not", "logical_or", "logsumexp", "lt", "matmul", "max", "maximum",
    "mean", "min", "minimum", "mul", "ne", "neg", "pow", "prod", "promote", "quantize", "reciprocal", "relu", "repack",
    "reshape", "rms_norm", "rope", "rope_table", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "slice", "softmax",
    "sqrt", "squeeze", "sub", "sum", "swiglu", "take_rows", "tanh", "transpose", "unsqueeze", "where",
]  # fmt: skip
