"""`out=`: results that functions write into tensors which the caller gives, for all functions in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..diagnostics import GradientError, ShapeError
from ..ops.rules import shown
from .core import Tensor
from .gradient_mode import is_grad_enabled

F = TypeVar("F", bound=Callable[..., Any])

TAKE_OUT = frozenset((
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "all",
    "amax", "amin", "aminmax", "angle", "any", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm",
    "bernoulli", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "bmm", "bucketize", "cat", "ceil", "chain_matmul", "cholesky", "cholesky_inverse",
    "cholesky_solve", "clamp", "clamp_max", "clamp_min", "clip", "column_stack", "complex", "concat", "concatenate",
    "conj_physical", "copysign", "cos", "cosh", "cross", "cummax", "cummin", "cumprod", "cumsum", "deg2rad", "diag",
    "diff", "digamma", "div", "divide", "dot", "dstack", "empty", "empty_permuted", "empty_strided", "eq", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "eye", "fix", "float_power", "floor", "floor_divide", "fmax", "fmin",
    "fmod", "frac", "frexp", "full", "gather", "gcd", "ge", "geqrf", "ger", "greater", "greater_equal", "gt",
    "hardshrink", "heaviside", "histc", "histogram", "hstack", "hypot", "i0", "igamma", "igammac", "index_add",
    "index_copy", "index_reduce", "index_select", "inner", "inverse", "isin", "isneginf", "isposinf", "kron",
    "kthvalue", "lcm", "ldexp", "le", "lerp", "less", "less_equal", "lgamma", "linspace", "log", "log10", "log1p",
    "log2", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logit", "logspace", "logsumexp", "lt", "lu", "lu_solve", "lu_unpack", "masked_select", "matmul",
    "matrix_power", "max", "maximum", "mean", "median", "min", "minimum", "mm", "mode", "msort", "mul",
    "multinomial", "multiply", "mv", "mvlgamma", "nan_to_num", "nanmean", "nanmedian", "nanquantile", "nansum",
    "ne", "neg", "negative", "nextafter", "nonzero", "nonzero_static", "norm", "normal", "not_equal", "ones",
    "orgqr", "ormqr", "outer", "polar", "polygamma", "pow", "prod", "qr", "quantile", "rad2deg", "rand", "randint",
    "randn", "randperm", "reciprocal", "remainder", "renorm", "round", "row_stack", "rsqrt", "scatter",
    "scatter_add", "scatter_reduce", "searchsorted", "sgn", "sigmoid", "sign", "signbit", "sin", "sinc", "sinh",
    "slice_scatter", "slogdet", "softmax", "sort", "sqrt", "square", "stack", "std", "sub", "subtract", "sum",
    "svd", "take", "take_along_dim", "tan", "tanh", "tensordot", "topk", "triangular_solve", "tril", "triu",
    "true_divide", "trunc", "var", "vdot", "vstack", "where", "xlogy", "zeros",
))  # fmt: skip
"""Functions of the package itself that have `out=`. Those of the rooms `linalg`, `fft`, `special` and `nn.functional`
are published through `takes_out`."""

NUMBERS = frozenset((
    "arange", "bernoulli", "empty", "eye", "full", "linspace", "logspace", "normal", "ones", "rand", "randint", "randn",
    "randperm", "zeros",
))  # fmt: skip
"""Functions that make numbers of any dtype: what they write into decides on it."""


def takes_out(name: str, f: F) -> F:
    """f with `out=`. name: what errors call it."""

    @functools.wraps(f)
    def run(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        made = f(*args, **kwargs)
        return made if out is None else write(name, made, out, args, kwargs)

    run.__dict__["has_out"] = True  # for stubs
    return run  # type: ignore[return-value]


def write(name: str, made: Any, out: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    """`out`, after what a function made of its arguments was written into it: a tensor, or as many as it made.

    A tensor without elements takes the shape of what is written. Raises GradientError where gradients would be lost,
    TypeError where out is something else, ShapeError for another shape, DTypeError for a dtype that cannot hold it."""
    several = isinstance(made, tuple | list)
    targets = tuple(out) if several and isinstance(out, tuple | list) else (out,)
    results = tuple(made) if several else (made,)
    if len(targets) != len(results) or not all(isinstance(t, Tensor) for t in targets):
        wanted = f"a tuple of {len(results)} tensors" if several else "a tensor"
        raise TypeError(f"{name}: out is {wanted}, found {type(out).__name__}")
    if is_grad_enabled():
        operands = [t for a in (*args, *(kwargs or {}).values()) for t in (a if isinstance(a, tuple | list) else (a,))]
        if any(isinstance(t, Tensor) and t.requires_grad for t in (*operands, *targets)):
            raise GradientError(
                f"{name}: results that are written into out have no gradient, and an argument requires one",
                help="leave out away, or write under no_grad()",
            )
    for target, result in zip(targets, results, strict=True):
        if tuple(target.shape) != tuple(result.shape):
            if target.numel():
                raise ShapeError(
                    f"{name}: a result of {shown(result.shape)} does not fit out of {shown(target.shape)}",
                    help="give a tensor of that shape, or an empty one",
                )
            target.resize_(tuple(result.shape))
        if name in NUMBERS:
            target.copy_(result)
        else:
            target._assign(result)
    return out
