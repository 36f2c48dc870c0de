"""The vocabulary: every op of the graph IR, once. Functions here build graph values; `REGISTRY` holds the records."""

from .attention import attention, cache_update, rope, rope_table
from .elementwise import (
    abs,
    add,
    cast,
    ceil,
    cos,
    div,
    eq,
    erf,
    exp,
    floor,
    ge,
    gelu,
    gelu_tanh,
    gt,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    relu,
    round,
    rsqrt,
    sigmoid,
    sign,
    silu,
    sin,
    sqrt,
    sub,
    tanh,
    where,
)
from .index import embedding
from .matmul import linear, matmul
from .op import REGISTRY, Amp, Op, get, promote
from .quantize import dequantize, quantize, repack
from .reduce import (
    argmax,
    layer_norm,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    prod,
    rms_norm,
    softmax,
    sum,
    swiglu,
)
from .shape import broadcast_to, concat, flatten, reshape, slice, squeeze, transpose, unsqueeze

__all__ = [
    "REGISTRY", "Amp", "Op", "abs", "add", "argmax", "attention", "broadcast_to", "cache_update", "cast", "ceil",
    "concat", "cos", "dequantize", "div", "embedding", "eq", "erf", "exp", "flatten", "floor", "ge", "gelu", "gelu_tanh",
    "get", "gt", "layer_norm", "le", "linear", "log", "log_softmax", "logical_and", "logical_not", "logical_or",
    "logsumexp", "lt", "matmul", "max", "maximum", "mean", "min", "minimum", "mul", "ne", "neg", "pow", "prod", "promote",
    "quantize", "reciprocal", "relu", "repack", "reshape", "rms_norm", "rope", "rope_table", "round", "rsqrt",
    "sigmoid", "sign", "silu", "sin", "slice", "softmax", "sqrt", "squeeze", "sub", "sum", "swiglu", "tanh", "transpose",
    "unsqueeze", "where",
]  # fmt: skip
