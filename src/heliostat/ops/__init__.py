"""The vocabulary: every op of the graph IR, once. Functions here build graph values; `REGISTRY` holds the records."""

from .activation import gelu, gelu_slope, gelu_tanh, relu, sigmoid, silu, swiglu
from .attention import attention, cache_update, rope, rope_table
from .bessel import (
    airy_ai,
    bessel_i0e,
    bessel_i1e,
    bessel_j0,
    bessel_j1,
    bessel_k0e,
    bessel_k1e,
    bessel_y0,
    bessel_y1,
)
from .compare import eq, ge, gt, le, logical_and, logical_not, logical_or, lt, ne, signbit, where
from .convolution import conv2d, conv2d_input_gradient, conv2d_weight_gradient
from .dot_product_attention import dot_product_attention, dot_product_attention_gradient
from .elementwise import (
    abs,
    add,
    atan,
    cast,
    ceil,
    cos,
    div,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
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
    tan,
    tanh,
    trunc,
)
from .exponent import bitcast, exp2, log2, log10, round_tf32
from .gradient import gradients
from .incomplete import beta_slope, gamma_slope, incomplete_gamma, upper_incomplete_gamma
from .index import embedding, gather, put, take
from .integer import (
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    floor_divide,
    gcd,
    random_bits,
    remainder,
    shift_left,
    shift_right,
)
from .matmul import linear, matmul
from .normalize import batch_norm, layer_norm, log_softmax, logsumexp, rms_norm, softmax
from .op import REGISTRY, Amp, Batching, Forward, NotDifferentiable, Op, get
from .pixels import pixel_rows, pixel_sums, window_gradient, window_matmul
from .pool import max_pool2d, max_pool2d_gradient, pixel_argmax, pixel_max, pixel_max_gradient
from .quantize import dequantize, quantize, repack
from .reduce import argmax, max, mean, min, prod, sum
from .rejection import random_binomial, random_log_gamma, random_poisson, random_von_mises
from .rules import promote
from .scaled_dot_product_attention import (
    attention_key_gradient,
    attention_logsumexp,
    attention_query_gradient,
    attention_value_gradient,
    scaled_dot_product_attention,
)
from .scan import scan
from .shape import (
    arange,
    broadcast_to,
    concat,
    counted,
    detach,
    flatten,
    last_row,
    reshape,
    slice,
    squeeze,
    take_rows,
    to_device,
    transpose,
    unsqueeze,
)
from .sort import (
    argsort,
    count_digits,
    count_flags,
    merge_runs,
    move_by_digit,
    order_key,
    partition,
    search,
    sort_blocks,
)
from .special import (
    chebyshev_recurrence,
    erfc,
    erfcx,
    hermite_recurrence,
    laguerre_recurrence,
    legendre_recurrence,
    ndtri,
    zeta,
)
from .window import fold, unfold

__all__ = [
    "REGISTRY", "Amp", "Batching", "Forward", "NotDifferentiable", "Op", "abs", "add", "airy_ai", "arange", "argmax",
    "argsort", "atan", "attention", "attention_key_gradient", "attention_logsumexp", "attention_query_gradient",
    "attention_value_gradient", "batch_norm", "bessel_i0e", "bessel_i1e", "bessel_j0", "bessel_j1", "bessel_k0e",
    "bessel_k1e", "bessel_y0", "bessel_y1", "beta_slope", "bitcast", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "broadcast_to", "cache_update", "cast", "ceil", "chebyshev_recurrence", "concat", "conv2d",
    "conv2d_input_gradient", "conv2d_weight_gradient", "cos", "count_digits", "count_flags", "counted", "dequantize",
    "detach", "div", "dot_product_attention", "dot_product_attention_gradient", "embedding", "eq", "erf", "erfc",
    "erfcx", "exp", "exp2", "expm1", "flatten", "floor", "floor_divide", "fold", "gamma_slope", "gather", "gcd", "ge",
    "gelu", "gelu_slope", "gelu_tanh", "get", "gradients", "gt", "hermite_recurrence", "incomplete_gamma",
    "laguerre_recurrence", "last_row", "layer_norm", "le", "legendre_recurrence", "linear", "log", "log1p", "log2",
    "log10", "log_softmax", "logical_and", "logical_not", "logical_or", "logsumexp", "lt", "matmul", "max",
    "max_pool2d", "max_pool2d_gradient", "maximum", "mean", "merge_runs", "min", "minimum", "move_by_digit", "mul",
    "ndtri", "ne", "neg", "order_key", "partition", "pixel_argmax", "pixel_max", "pixel_max_gradient", "pixel_rows",
    "pixel_sums", "pow", "prod", "promote", "put", "quantize", "random_binomial", "random_bits", "random_log_gamma",
    "random_poisson", "random_von_mises", "reciprocal", "relu", "remainder", "repack", "reshape", "rms_norm", "rope",
    "rope_table", "round", "round_tf32", "rsqrt", "scaled_dot_product_attention", "scan", "search", "shift_left",
    "shift_right", "sigmoid", "sign", "signbit", "silu", "sin", "slice", "softmax", "sort_blocks", "sqrt", "squeeze",
    "sub", "sum", "swiglu", "take", "take_rows", "tan", "tanh", "to_device", "transpose", "trunc", "unfold",
    "unsqueeze", "upper_incomplete_gamma", "where", "window_gradient", "window_matmul", "zeta",
]  # fmt: skip
