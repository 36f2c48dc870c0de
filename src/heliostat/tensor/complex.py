"""What functions of each element make of complex numbers, written in functions of their real and imaginary parts."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import bool_
from ..ops.rules import shown
from .core import Tensor, as_tensor, convert
from .dtypes import COMPLEX_OF, c64, c128, result_dtype
from .pairs import ComplexTensor, joined, over, widened
from .pointwise import given
from .register import COMPLEX, FUNCTIONS, METHODS, function

F = FUNCTIONS
Parts = tuple[Tensor, Tensor]


def of_complex(*names: str) -> Callable[[Any], Any]:
    """Publish what functions of these names do where an argument is complex."""

    def add(f: Any) -> Any:
        for name in names:
            COMPLEX[name] = f
        return f

    return add


def common(*operands: Any) -> list[Any]:
    """Tensors and numbers as complex tensors of their common dtype."""
    for o in operands:
        if not isinstance(o, Tensor | bool | int | float | complex | np.generic):
            raise DTypeError(f"a tensor or a number is needed, found {type(o).__name__}")
    dtype = result_dtype(operands)
    return [widened(o, dtype) for o in operands]


def parts(z: Any) -> Parts:
    """Real and imaginary parts."""
    return z.real, z.imag


# --- making and taking apart ------------------------------------------------------------------------------------------
@function(method=False)
def complex_(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + i imag, which are broadcast. Raises DTypeError unless both are float32, or both float64."""
    if real.dtype != imag.dtype or real.dtype not in COMPLEX_OF:
        raise DTypeError(f"complex takes float32 or float64, one of both, found {real.dtype} and {imag.dtype}")
    return given(joined(*F["broadcast_tensors"](real, imag)), out)


@function(method=False)
def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """abs * (cos(angle) + i sin(angle))."""
    return complex_(abs * angle.cos(), abs * angle.sin(), out=out)


@function(method=False)
def view_as_complex(input: Tensor) -> Tensor:
    """A last axis of 2 as real and imaginary parts: a view. float32 and float64 (..., 2)."""
    made: Tensor = over(input.view(tuple(input.shape)))
    return made


@function(method=False)
def view_as_real(input: Tensor) -> Tensor:
    """Real and imaginary parts along a new last axis: a view. Raises DTypeError for what is not complex."""
    raise DTypeError(f"view_as_real takes complex tensors, found {input.dtype}")


@function()
def imag(input: Tensor) -> Tensor:
    """Imaginary parts, a view of a complex tensor. Raises DTypeError for others."""
    raise DTypeError(f"imag takes complex tensors, found {input.dtype}", help="the imaginary part of others is 0")


COMPLEX["view_as_real"] = lambda input: input._pair.view(tuple(input._pair.shape))
COMPLEX["imag"], COMPLEX["real"] = (lambda input: input.imag), (lambda input: input.real)
COMPLEX["is_complex"] = COMPLEX["is_signed"] = lambda input: True
COMPLEX["is_floating_point"] = COMPLEX["is_conj"] = COMPLEX["is_neg"] = lambda input: False
COMPLEX["resolve_conj"] = COMPLEX["resolve_neg"] = COMPLEX["positive"] = lambda input: input
METHODS["imag"] = property(imag)
METHODS["__complex__"] = lambda self: builtins.complex(self.item())
METHODS["cfloat"] = lambda self: convert(self, c64)
METHODS["cdouble"] = lambda self: convert(self, c128)
METHODS["conj_physical_"] = lambda self: self._in_place(F["conj_physical"])
for _name in ("cfloat", "cdouble"):
    COMPLEX[_name] = METHODS[_name]


# --- arithmetic -------------------------------------------------------------------------------------------------------
def _product(a: Any, b: Any) -> Any:
    (p, q), (r, s) = parts(a), parts(b)
    return joined(p * r - q * s, p * s + q * r)


def _quotient(a: Any, b: Any) -> Any:
    """Divided by the larger part of b first, so that squares of large and small numbers do not leave their range."""
    (p, q), (r, s) = parts(a), parts(b)
    top = F["maximum"](r.detach().abs(), s.detach().abs())
    top = F["where"](F["isfinite"](top) & (top > 0), top, 1.0)
    r, s = r / top, s / top
    size = r * r + s * s
    return joined((p * r + q * s) / size / top, (q * r - p * s) / size / top)


def _two(name: str, build: Callable[[Any, Any], Any], *others: str) -> None:
    def f(input: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
        a, b = common(input, other if alpha == 1 else F["mul"](as_tensor(other), alpha))
        return given(build(*_broadcast(a, b)), out)

    of_complex(name, *others)(f)


def _broadcast(*zs: Any) -> list[Any]:
    if all(z.shape == zs[0].shape for z in zs):
        return list(zs)
    shape = tuple(F["broadcast_shapes"](*(z.shape for z in zs)))
    return [over(p.expand(*shape, 2)) for p in _aligned(*zs)]


_two("add", lambda a, b: over(a._pair + b._pair))
_two("sub", lambda a, b: over(a._pair - b._pair))
_two("mul", _product)
_two("true_divide", _quotient)
COMPLEX["rsub"] = lambda input, other, alpha=1: COMPLEX["sub"](other, input, alpha=alpha)


@of_complex("div")
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other."""
    if rounding_mode is not None:
        raise UnsupportedError("complex numbers are not rounded", help="leave rounding_mode out")
    return given(COMPLEX["true_divide"](input, other), out)


@of_complex("pow")
def pow(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(exponent * log(input)), by products for small whole numbers; 0 to the power of 0 is 1."""
    if isinstance(exponent, int | float) and exponent in (0.5, -1, 2, 3):
        z = widened(input)
        if exponent in (0.5, -1):
            return given(COMPLEX["sqrt" if exponent == 0.5 else "reciprocal"](z), out)
        square = _product(z, z)
        return given(square if exponent == 2 else _product(square, z), out)
    a, b = _broadcast(*common(input, exponent))
    (p, q), (r, s) = parts(a), parts(b)
    zero, still = (p == 0) & (q == 0), (r == 0) & (s == 0)
    base = joined(F["where"](zero, 1.0, p), q)
    x, y = parts(COMPLEX["exp"](_product(b, COMPLEX["log"](base))))
    nothing = zero & ~still
    return given(joined(F["where"](nothing, 0.0, F["where"](still, 1.0, x)), F["where"](nothing | still, 0.0, y)), out)


COMPLEX["float_power"] = lambda input, exponent: pow(*(widened(o, c128) for o in (input, exponent)))
COMPLEX["lerp"] = lambda input, end, weight: COMPLEX["add"](input, COMPLEX["mul"](COMPLEX["sub"](end, input), weight))
COMPLEX["addcmul"] = lambda input, a, b, *, value=1: COMPLEX["add"](input, COMPLEX["mul"](COMPLEX["mul"](a, b), value))
COMPLEX["addcdiv"] = lambda input, a, b, *, value=1: COMPLEX["add"](
    input, COMPLEX["mul"](COMPLEX["true_divide"](a, b), value)
)


# --- functions of one number ------------------------------------------------------------------------------------------
def _one(name: str, build: Callable[[Tensor, Tensor], Parts], *others: str) -> None:
    def f(input: Any, *, out: Tensor | None = None) -> Tensor:
        return given(joined(*build(*parts(input))), out)

    f.__name__ = name
    of_complex(name, *others)(f)


def _log(a: Tensor, b: Tensor) -> Parts:
    return F["hypot"](a, b).log(), F["atan2"](b, a)


def _log_base(base: float) -> Callable[[Tensor, Tensor], Parts]:
    def log(a: Tensor, b: Tensor) -> Parts:
        x, y = _log(a, b)
        return x / math.log(base), y / math.log(base)

    return log


def _sqrt(a: Tensor, b: Tensor) -> Parts:
    t = ((F["hypot"](a, b) + a.abs()) * 0.5).sqrt()
    zero = t == 0
    rest = F["where"](zero, 0.0, b.abs() / (2 * F["where"](zero, 1.0, t)))
    left = a < 0
    return F["where"](left, rest, t), F["copysign"](F["where"](left, t, rest), b)


def _reciprocal(a: Tensor, b: Tensor) -> Parts:
    return parts(_quotient(joined(F["ones_like"](a), F["zeros_like"](a)), joined(a, b)))


def _tanh(a: Tensor, b: Tensor) -> Parts:
    h, t = a.tanh(), b.tan()
    size = 1 + h * h * t * t
    return h * (1 + t * t) / size, t * (1 - h * h) / size


def _tan(a: Tensor, b: Tensor) -> Parts:
    y, x = _tanh(-b, a)
    return x, -y


def _log1p(a: Tensor, b: Tensor) -> Parts:
    near = a.abs() < 0.5
    small = F["where"](near, a, 0.0)
    return F["where"](near, 0.5 * (small * (2 + small) + b * b).log1p(), F["hypot"](1 + a, b).log()), F["atan2"](
        b, 1 + a
    )


def _expm1(a: Tensor, b: Tensor) -> Parts:
    half = (b * 0.5).sin()
    return a.expm1() * b.cos() - 2 * half * half, a.exp() * b.sin()


def _sgn(a: Tensor, b: Tensor) -> Parts:
    size = F["hypot"](a, b)
    size = F["where"](size == 0, 1.0, size)
    return a / size, b / size


def _sigmoid(a: Tensor, b: Tensor) -> Parts:
    x, y = _tanh(a * 0.5, b * 0.5)
    return 0.5 + 0.5 * x, 0.5 * y


def _roots(a: Tensor, b: Tensor, sign: float) -> tuple[Parts, Parts]:
    """Square roots of 1 - z and 1 + z; of z - 1 and z + 1 for a `sign` of -1."""
    return _sqrt(sign * (1 - a), -sign * b), _sqrt(1 + a, b)


def _asin(a: Tensor, b: Tensor) -> Parts:
    """Source: W. Kahan, Branch cuts for complex elementary functions (1987), as the three below."""
    (p, q), (r, s) = _roots(a, b, 1)
    return F["atan2"](a, p * r - q * s), F["asinh"](p * s - q * r)


def _acos(a: Tensor, b: Tensor) -> Parts:
    (p, q), (r, s) = _roots(a, b, 1)
    return 2 * F["atan2"](p, r), F["asinh"](r * q - s * p)


def _acosh(a: Tensor, b: Tensor) -> Parts:
    (p, q), (r, s) = _roots(a, b, -1)
    return F["asinh"](p * r + q * s), 2 * F["atan2"](q, r)


def _asinh(a: Tensor, b: Tensor) -> Parts:
    y, x = _asin(-b, a)
    return x, -y


def _atanh(a: Tensor, b: Tensor) -> Parts:
    (p, q), (r, s) = _log1p(a, b), _log1p(-a, -b)
    return 0.5 * (p - r), 0.5 * (q - s)


def _atan(a: Tensor, b: Tensor) -> Parts:
    y, x = _atanh(-b, a)
    return x, -y


_one("asin", _asin, "arcsin")
_one("acos", _acos, "arccos")
_one("atan", _atan, "arctan")
_one("asinh", _asinh, "arcsinh")
_one("acosh", _acosh, "arccosh")
_one("atanh", _atanh, "arctanh")
_one("exp", lambda a, b: (a.exp() * b.cos(), a.exp() * b.sin()))
_one("exp2", lambda a, b: ((a.exp2()) * (b * math.log(2)).cos(), a.exp2() * (b * math.log(2)).sin()))
_one("expm1", _expm1)
_one("log", _log)
_one("log2", _log_base(2))
_one("log10", _log_base(10))
_one("log1p", _log1p)
_one("sqrt", _sqrt)
_one("rsqrt", lambda a, b: _reciprocal(*_sqrt(a, b)))
_one("reciprocal", _reciprocal)
_one("square", lambda a, b: (a * a - b * b, 2 * a * b))
_one("sin", lambda a, b: (a.sin() * b.cosh(), a.cos() * b.sinh()))
_one("cos", lambda a, b: (a.cos() * b.cosh(), -a.sin() * b.sinh()))
_one("sinh", lambda a, b: (a.sinh() * b.cos(), a.cosh() * b.sin()))
_one("cosh", lambda a, b: (a.cosh() * b.cos(), a.sinh() * b.sin()))
_one("tan", _tan)
_one("tanh", _tanh)
_one("sigmoid", _sigmoid)
_one("sgn", _sgn)
_one("neg", lambda a, b: (-a, -b))
_one("conj", lambda a, b: (a, -b), "conj_physical")
COMPLEX["abs"] = lambda input, *, out=None: given(F["hypot"](*parts(input)), out)
COMPLEX["angle"] = lambda input: F["atan2"](input.imag, input.real)

# --- questions --------------------------------------------------------------------------------------------------------
for _name, _join in (("isnan", "logical_or"), ("isinf", "logical_or"), ("isfinite", "logical_and")):
    COMPLEX[_name] = lambda input, n=_name, j=_join: F[j](F[n](input.real), F[n](input.imag))
COMPLEX["isreal"] = lambda input: input.imag == 0


@of_complex("eq")
def eq(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """Whether both parts are equal."""
    a, b = _broadcast(*common(input, other))
    return given((a.real == b.real) & (a.imag == b.imag), out)


COMPLEX["ne"] = lambda input, other, *, out=None: given(F["logical_not"](eq(input, other)), out)
COMPLEX["equal"] = lambda input, other: input.shape == other.shape and bool(eq(input, other).all())


@of_complex("isclose")
def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
    a, b = _broadcast(*common(input, other))
    size = COMPLEX["abs"](b)
    close = (COMPLEX["abs"](COMPLEX["sub"](a, b)) <= atol + rtol * size) & COMPLEX["isfinite"](b)
    same = eq(a, b) | close
    return same | (COMPLEX["isnan"](a) & COMPLEX["isnan"](b)) if equal_nan else same


COMPLEX["allclose"] = lambda *args, **kwargs: bool(isclose(*args, **kwargs).all())


def flags(x: Any) -> Tensor:
    """Whether each element is not 0."""
    if isinstance(x, ComplexTensor):
        return (x.real != 0) | (x.imag != 0)
    return convert(as_tensor(x), bool_)


for _name in ("logical_and", "logical_or", "logical_xor"):
    COMPLEX[_name] = lambda input, other, n=_name: F[n](flags(input), flags(other))
for _name in ("logical_not", "nonzero", "argwhere", "count_nonzero", "all", "any"):
    COMPLEX[_name] = lambda input, *args, n=_name, **kwargs: F[n](flags(input), *args, **kwargs)
COMPLEX["bool"] = flags


@of_complex("where")
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other."""
    if input is None and other is None:
        return F["nonzero"](condition, as_tuple=True)
    a, b = common(input, other)
    return over(F["where"](flags(condition).unsqueeze(-1), *_aligned(a, b)))


def _aligned(*zs: Any) -> list[Tensor]:
    """Parts with as many axes as the deepest."""
    rank = max(z.ndim for z in zs)
    return [z._pair.reshape(*[1] * (rank - z.ndim), *z.shape, 2) for z in zs]


@of_complex("masked_fill")
def masked_fill(input: Any, mask: Tensor, value: Any) -> Tensor:
    """input with `value` where the mask holds. The dtype of input."""
    if not isinstance(input, ComplexTensor):
        raise DTypeError(f"a complex number is no {input.dtype}", help="convert input by to()")
    fill = widened(value, input.dtype)
    if fill.ndim:
        raise ShapeError(f"masked_fill takes a number or a tensor without axes, found {shown(fill.shape)}")
    return where(mask, fill, input)
