"""Functions of complex tensors that are made of others: statistics, running sums and products, writing by index, and
those whose text for real tensors is right for complex ones as it stands."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ops.rules import shown
from . import arrange, create, linalg  # noqa: F401  their functions are named below
from .complex import F, common, flags, of_complex, parts
from .complex_arrays import adjoint
from .core import Tensor
from .dims import normal_dim
from .pairs import ComplexTensor, joined, over, widened
from .register import COMPLEX

for _name in (
    "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "baddbmm", "cumulative_trapezoid", "gradient", "logdet",
    "masked_scatter", "renorm", "std_mean", "trapezoid", "vander", "var_mean",
):  # fmt: skip
    COMPLEX[_name] = inspect.unwrap(F[_name])
COMPLEX["nonzero_static"] = lambda input, **kwargs: F["nonzero_static"](flags(input), **kwargs)


# --- of one number ----------------------------------------------------------------------------------------------------
COMPLEX["silu"] = lambda input: input * COMPLEX["sigmoid"](input)
COMPLEX["ldexp"] = lambda input, other: input * F["exp2"](other)


@of_complex("sinc")
def sinc(input: Any) -> Any:
    """sin(pi z) / (pi z), 1 at 0."""
    none = F["logical_not"](flags(input))
    angle = F["where"](none, 1.0, input) * math.pi
    return F["where"](none, 1.0, COMPLEX["sin"](angle) / angle)


# --- sums and products ------------------------------------------------------------------------------------------------
def _peak(z: Any, dim: Any) -> Tensor:
    """The largest real part, 0 where that is not finite or there is none: what is taken out of exponents."""
    size = z.real.detach()
    top = size.amax(dim, True) if size.numel() else size.sum(dim, True)
    made: Tensor = F["where"](F["isfinite"](top), top, 0.0)
    return made


@of_complex("logsumexp")
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log of the sum of exp over axes, without overflow."""
    top = _peak(input, dim)
    made = COMPLEX["log"](COMPLEX["exp"](input - top).sum(dim, keepdim))
    return made + (top if keepdim else top.sum(dim))


@of_complex("logaddexp")
def logaddexp(input: Any, other: Any) -> Any:
    """log(exp(input) + exp(other)), with the imaginary part near that of the larger one, as in PyTorch."""
    a, b = COMPLEX["broadcast_tensors"](*common(input, other))
    first = a.real >= b.real
    large, small = F["where"](first, a, b), F["where"](first, b, a)
    same = large.real == small.real  # of infinities the difference is NaN
    return large + COMPLEX["log1p"](
        COMPLEX["exp"](joined(F["where"](same, 0.0, small.real - large.real), small.imag - large.imag))
    )


@of_complex("logcumsumexp")
def logcumsumexp(input: Any, dim: int) -> Any:
    """log of the running sums of exp along an axis, imaginary parts between -pi and pi."""
    if not input.numel():
        return COMPLEX["clone"](input)
    top = _peak(input, dim)
    return COMPLEX["log"](COMPLEX["exp"](input - top).cumsum(dim)) + top


@of_complex("cumprod")
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Running products along an axis, of twice as many elements with each step."""
    z = input if dtype is None else input.to(dtype)
    if not z.ndim:
        return COMPLEX["clone"](z)
    at = normal_dim(dim, z.ndim, "cumprod")
    n, reach = z.shape[at], 1
    while reach < n:
        later = z.narrow(at, reach, n - reach) * z.narrow(at, 0, n - reach)
        z = COMPLEX["cat"]([z.narrow(at, 0, reach), later], at)
        reach *= 2
    return z


@of_complex("cov")
def cov(input: Any, **kwargs: Any) -> Any:
    """Covariance of variables (rows) over observations (columns), with the options of real ones: that of real and
    imaginary parts as variables of their own, put together."""
    if input.ndim > 2:
        raise ShapeError(f"cov takes at most two axes, found {shown(input.shape)}")
    rows = input if input.ndim == 2 else input.reshape(1, -1)
    m = rows.shape[0]
    whole = F["cov"](F["cat"](list(parts(rows))), **kwargs)
    made = joined(whole[:m, :m] + whole[m:, m:], whole[m:, :m] - whole[:m, m:])
    return made.squeeze()


@of_complex("corrcoef")
def corrcoef(input: Any) -> Any:
    """Correlation of variables (rows) over observations (columns)."""
    c = cov(input)
    if not c.ndim:
        return c / c
    d = c.real.diagonal().sqrt()
    x, y = parts(c / d.unsqueeze(1) / d.unsqueeze(0))
    return joined(x.clamp(-1, 1), y.clamp(-1, 1))


# --- matrices ---------------------------------------------------------------------------------------------------------
@of_complex("cholesky_inverse")
def cholesky_inverse(input: Any, upper: bool = False) -> Any:
    """The inverse of x of its triangle L of `cholesky`, or L^H if `upper`: (..., N, N)."""
    back = COMPLEX["inverse"](adjoint(input.triu()) if upper else input.tril())
    return adjoint(back) @ back


@of_complex("cholesky_solve")
def cholesky_solve(input: Any, input2: Any, upper: bool = False) -> Any:
    """The y with x y = input (..., N, K), of x's triangle input2 (..., N, N) of `cholesky`."""
    b, factor = common(input, input2)
    return cholesky_inverse(factor, upper) @ b


# --- padding and writing ----------------------------------------------------------------------------------------------
@of_complex("pad")
def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
    """Elements added before and after axes, from the last on; negative numbers cut off."""
    if len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {list(pad)} does not give pairs for the axes of {shown(input.shape)}")
    if value is None or mode != "constant":
        return over(F["pad"](input._pair, (0, 0, *pad), mode))
    number = complex(value.item() if isinstance(value, Tensor) else value)
    _into("pad", input)
    return joined(*(F["pad"](p, pad, mode, v) for p, v in zip(parts(input), (number.real, number.imag), strict=True)))


def _into(name: str, input: Any) -> None:
    if not isinstance(input, ComplexTensor):
        raise DTypeError(f"{name}: complex numbers do not go into a tensor of {input.dtype}", help="convert it by to()")


def _source(name: str, value: Any, like: Any) -> Any:
    _into(name, like)
    return value if isinstance(value, ComplexTensor) and value.dtype == like.dtype else widened(value, like.dtype)


@of_complex("index_put")
def index_put(input: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """input with values written, or added, at places given by one tensor per axis."""
    given = _source("index_put", values, input)
    return over(F["index_put"](input._pair, indices, given._pair, accumulate))


@of_complex("put")
def put(input: Any, index: Tensor, source: Any, accumulate: bool = False) -> Any:
    """input with elements replaced, or added to, by number among all in order."""
    made = index_put(input.reshape(-1), (index.reshape(-1),), _source("put", source, input).reshape(-1), accumulate)
    return made.reshape(tuple(input.shape))


@of_complex("index_fill")
def index_fill(input: Any, dim: int, index: Tensor, value: Any) -> Any:
    """input with one number in the elements of an axis named by `index`."""
    given = parts(_source("index_fill", value, input))
    return joined(*(F["index_fill"](p, dim, index, v) for p, v in zip(parts(input), given, strict=True)))


@of_complex("scatter")
def scatter(input: Any, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None) -> Any:
    """input with y[index[i][j]][j] = src[i][j] for dim 0; `reduce` "add" adds."""
    given = _source("scatter", src if src is not None else value, input)
    given = given if given.ndim else given.expand(tuple(index.shape))
    if reduce not in (None, "add"):
        raise UnsupportedError(
            f"scatter of complex tensors writes or adds, found reduce={reduce!r}", help="use gather() and scatter()"
        )
    name = "scatter" if reduce is None else "scatter_add"
    return joined(*(F[name](p, dim, index, v) for p, v in zip(parts(input), parts(given), strict=True)))


COMPLEX["index_put_"] = lambda self, *args, **kwargs: self._assign(index_put(self, *args, **kwargs))
