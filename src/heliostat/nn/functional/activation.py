"""Activations: functions of each element, and the softmax family. All keep the shape of input."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ... import ops
from ...diagnostics import ShapeError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.core import wrap
from ...tensor.pointwise import flat_at_nan

where, hardshrink = FUNCTIONS["where"], FUNCTIONS["hardshrink"]


F = TypeVar("F", bound=Callable[..., Tensor])


def writable(f: F) -> F:
    """A function of input that with inplace=True writes its result into input and returns it."""
    place = list(inspect.signature(f).parameters).index("inplace") - 1

    @functools.wraps(f)
    def run(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = list(args)
        inplace = given.pop(place) if len(given) > place else kwargs.pop("inplace", False)
        return input._in_place(f, *given, **kwargs) if inplace else f(input, *given, **kwargs)

    return cast(F, run)


@writable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return input.relu()


@writable
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, else value."""
    if not input.dtype.is_float:
        threshold, value = int(threshold), int(value)
    return where(input <= threshold, value, input)


def _flat_at_nan(x: Tensor) -> Tensor:
    """x, whose gradient is 0 where it is NaN."""
    return wrap(flat_at_nan(x.value), x) if x.requires_grad else x


@writable
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x, but not below min_val and not above max_val; no gradient at the bounds."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if not input.dtype.is_float:
        min_val, max_val = int(min_val), int(max_val)
    return where(input <= min_val, min_val, where(input >= max_val, max_val, _flat_at_nan(input)))


@writable
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


def _expm1_below(x: Tensor, scale: float = 1.0) -> Tensor:
    """exp(x / scale) - 1 where x is below 0, and 0 elsewhere, so that nothing overflows."""
    low = where(x > 0, 0.0, x)
    return (low if scale == 1.0 else low / scale).expm1()


@writable
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha * (exp(x) - 1)."""
    return where(input > 0, input, _expm1_below(input) * alpha)


@writable
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha * (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise ValueError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return where(input > 0, input, _expm1_below(input, alpha) * alpha)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@writable
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the constants of arXiv 1706.02515."""
    return where(input > 0, input, _expm1_below(input) * SELU_ALPHA) * SELU_SCALE


@writable
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, else negative_slope * x."""
    return where(input > 0, input, input * negative_slope)


@ruled
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, else weight * x. weight: one number, or one for each channel (axis 1)."""
    if weight.numel() != 1:
        if input.ndim == 0:
            raise ShapeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.numel():
            raise ShapeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape([-1 if i == 1 else 1 for i in range(max(input.ndim, 2))])
    elif weight.ndim and weight.ndim != input.ndim:
        weight = weight.reshape([1] * input.ndim)
    return where(input > 0, input, input * weight)


@writable
def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x above 0, else x times a random slope from lower to upper; their mean unless training."""
    if lower > upper:
        raise ValueError(f"Lower bound should be less than or equal to the upper bound, found {lower} and {upper}")
    slope: Any = (lower + upper) / 2
    if training:
        slope = FUNCTIONS["rand_like"](input.detach()) * (upper - lower) + lower
    return where(input > 0, input, input * slope)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi of the normal distribution; with approximate="tanh" the formula of arXiv 1606.08415."""
    if approximate not in ("none", "tanh"):
        raise ValueError("approximate argument must be either none or tanh.")
    return wrap((ops.gelu if approximate == "none" else ops.gelu_tanh)(input.value), input)


@writable
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return input.silu()


@writable
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return input * softplus(input).tanh()


@ruled
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    z = input * beta
    far = z > threshold
    return where(far, input, where(far, 0.0, z).exp().log1p() / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    negative = input < 0
    low = where(negative, input, -input)
    return where(negative, input, 0.0) - low.exp().log1p()


@writable
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return where(input <= -3, 0.0, where(input >= 3, 1.0, _flat_at_nan(input) / 6 + 0.5))


@writable
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    between = where((input > -3) & (input < 3) | (input != input), input, 0.0)  # elsewhere the product may be infinite
    return where(input <= -3, input.detach() * 0.0, where(input >= 3, input, between * (between + 3) / 6))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x brought nearer to 0 by lambd; 0 within lambd."""
    if lambd < 0:
        raise ValueError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanh(input: Tensor) -> Tensor:
    """tanh(x)."""
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|). Source: arXiv 2301.04104."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) of the halves a and b of an axis, which becomes half as long."""
    if input.ndim == 0:
        raise ShapeError("glu does not support 0-dimensional tensors")
    size = input.shape[dim]
    if size % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    a, b = (input.narrow(dim, at, size // 2) for at in (0, size // 2))
    return a * b.sigmoid()


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Give dim.", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along an axis."""
    return input.softmax(_implicit_dim("softmax", input.ndim) if dim is None else dim, dtype=dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(-x) over its sum along an axis."""
    return (-input).softmax(_implicit_dim("softmin", input.ndim) if dim is None else dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Logarithm of the softmax along an axis."""
    return input.log_softmax(_implicit_dim("log_softmax", input.ndim) if dim is None else dim, dtype=dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random draw of a category as a soft vector; with `hard` one-hot, with the soft vector's gradient."""
    u = FUNCTIONS["rand_like"](logits.detach())
    noise = -(-(u.clamp(min=1e-20)).log()).clamp(min=1e-20).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    at = soft.detach().argmax(dim, True)
    one_hot = FUNCTIONS["zeros_like"](soft).scatter(dim, at, 1.0)
    return one_hot - soft.detach() + soft


def _in_place(f: Any) -> Any:
    def run(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input._in_place(f, *args, **kwargs)

    run.__name__ = f.__name__ + "_"
    run.__doc__ = f"`{f.__name__}`, written into input, which is returned."
    return run


relu_, threshold_, hardtanh_, elu_, celu_ = map(_in_place, (relu, threshold, hardtanh, elu, celu))
selu_, leaky_relu_, rrelu_ = map(_in_place, (selu, leaky_relu, rrelu))
