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
from .conversion import as_tensor, convert
from .core import Tensor
from .dtypes import COMPLEX_OF, c64, c128, result_dtype
from .pairs import ComplexTensor, joined, over, widened
from .register import COMPLEX, FUNCTIONS, METHODS, function, method

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
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """real + i imag, which are broadcast. Raises DTypeError unless both are float32, or both float64."""
    if real.dtype != imag.dtype or real.dtype not in COMPLEX_OF:
        raise DTypeError(f"complex takes float32 or float64, one of both, found {real.dtype} and {imag.dtype}")
    return joined(*F["broadcast_tensors"](real, imag))


@function(method=False)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs * (cos(angle) + i sin(angle))."""
    return complex_(abs * angle.cos(), abs * angle.sin())


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


@method()
def __complex__(self: Tensor) -> builtins.complex:
    """The element of a tensor of one."""
    return builtins.complex(self.item())


@method()
def cfloat(self: Tensor) -> Tensor:
    """This tensor in complex64."""
    return convert(self, c64)


@method()
def cdouble(self: Tensor) -> Tensor:
    """This tensor in complex128."""
    return convert(self, c128)


@method()
def conj_physical_(self: Tensor) -> Tensor:
    """`conj_physical`, written into this tensor, which is returned."""
    return self._in_place(F["conj_physical"])


for _name in ("cfloat", "cdouble"):
    COMPLEX[_name] = METHODS[_name]


def of_four(f: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """f(a, b), which is linear in both, of complex tensors: four of those of real and imaginary parts."""
    (p, q), (r, s) = parts(a), parts(b)
    real = f(p, r, *args, **kwargs) - f(q, s, *args, **kwargs)
    return joined(real, f(p, s, *args, **kwargs) + f(q, r, *args, **kwargs))


# --- arithmetic -------------------------------------------------------------------------------------------------------
def multiplied(a: Any, b: Any) -> Any:
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
    def f(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        a, b = common(input, other if alpha == 1 else F["mul"](as_tensor(other), alpha))
        return build(*_broadcast(a, b))

    of_complex(name, *others)(f)


def _broadcast(*zs: Any) -> list[Any]:
    if all(z.shape == zs[0].shape for z in zs):
        return list(zs)
    shape = tuple(F["broadcast_shapes"](*(z.shape for z in zs)))
    return [over(p.expand(*shape, 2)) for p in _aligned(*zs)]


_two("add", lambda a, b: over(a._pair + b._pair))
_two("sub", lambda a, b: over(a._pair - b._pair))
_two("mul", multiplied)
_two("true_divide", _quotient)
COMPLEX["rsub"] = lambda input, other, alpha=1: COMPLEX["sub"](other, input, alpha=alpha)


@of_complex("div")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other."""
    if rounding_mode is not None:
        raise UnsupportedError("complex numbers are not rounded", help="leave rounding_mode out")
    return COMPLEX["true_divide"](input, other)


@of_complex("pow")
def pow(input: Any, exponent: Any) -> Tensor:
    """exp(exponent * log(input)), by products for small whole numbers; 0 to the power of 0 is 1."""
    if isinstance(exponent, int | float) and exponent in (0.5, -1, 2, 3):
        z = widened(input)
        if exponent in (0.5, -1):
            return COMPLEX["sqrt" if exponent == 0.5 else "reciprocal"](z)
        square = multiplied(z, z)
        return square if exponent == 2 else multiplied(square, z)
    a, b = _broadcast(*common(input, exponent))
    (p, q), (r, s) = parts(a), parts(b)
    zero, still = (p == 0) & (q == 0), (r == 0) & (s == 0)
    base = joined(F["where"](zero, 1.0, p), q)
    x, y = parts(COMPLEX["exp"](multiplied(b, COMPLEX["log"](base))))
    nothing = zero & ~still
    return joined(F["where"](nothing, 0.0, F["where"](still, 1.0, x)), F["where"](nothing | still, 0.0, y))


COMPLEX["float_power"] = lambda input, exponent: pow(*(widened(o, c128) for o in (input, exponent)))
COMPLEX["lerp"] = lambda input, end, weight: COMPLEX["add"](input, COMPLEX["mul"](COMPLEX["sub"](end, input), weight))


# --- functions of one number ------------------------------------------------------------------------------------------
def _one(name: str, build: Callable[[Tensor, Tensor], Parts], *others: str) -> None:
    def f(input: Any) -> Tensor:
        return joined(*build(*parts(input)))

    f.__name__ = name
    of_complex(name, *others)(f)


def _at(y: Tensor, *choices: tuple[Tensor, Any]) -> Tensor:
    """y, but where a condition holds the value beside it, the first of several; no gradient flows to those."""
    for condition, value in reversed(choices):
        y = F["where"](condition, value.detach() if isinstance(value, Tensor) else value, y)
    return y


def _open(x: Tensor) -> Tensor:
    """Whether x is infinite or NaN."""
    return F["logical_not"](F["isfinite"](x))


def _boxed(a: Tensor, b: Tensor) -> Parts:
    """The direction of a number with an infinite part: infinities are 1, what is finite 0, with their signs."""
    return tuple(F["copysign"](F["isinf"](x).to(x.dtype), x) for x in (a, b))


def _log(a: Tensor, b: Tensor) -> Parts:
    return F["hypot"](a, b).log(), F["atan2"](b, a)


def _log_base(base: float) -> Callable[[Tensor, Tensor], Parts]:
    def log(a: Tensor, b: Tensor) -> Parts:
        x, y = _log(a, b)
        return x / math.log(base), y / math.log(base)

    return log


def _sqrt(a: Tensor, b: Tensor) -> Parts:
    t = ((F["hypot"](a, b) + a.abs()) * 0.5).sqrt()
    rest, left = b / (2 * F["where"](t == 0, 1.0, t)), a < 0
    x, y = F["where"](left, rest.abs(), t), F["where"](left, F["copysign"](t, b), rest)
    up, across, unknown = F["isinf"](b), F["isinf"](a), F["isnan"](b)
    x = _at(x, (up, math.inf), (across & left, F["where"](unknown, math.nan, 0.0).to(x.dtype)), (across, math.inf))
    beside = F["where"](unknown, math.nan, F["copysign"](F["where"](left, math.inf, 0.0).to(x.dtype), b))
    return x, _at(y, (up, b), (across & left & unknown, math.inf), (across, beside.to(x.dtype)))


def _reciprocal(a: Tensor, b: Tensor) -> Parts:
    return parts(_quotient(joined(F["ones_like"](a), F["zeros_like"](a)), joined(a, b)))


def _turned(size: Tensor, a: Tensor, b: Tensor) -> Parts:
    """`size`, which is a power with the exponent a, times cos(b) + i sin(b)."""
    round_, none = _open(b), (b == 0) & _open(size)
    small, large = round_ & (a == -math.inf), round_ & (a == math.inf)
    x, y = size * b.cos(), size * b.sin()
    return _at(x, (small, 0.0), (large, math.inf)), _at(y, (small, 0.0), (none, b))


def _sinh(a: Tensor, b: Tensor) -> Parts:
    size, round_ = a.cosh(), _open(b)
    x, y = a.sinh() * b.cos(), size * b.sin()
    return _at(x, (round_ & ((a == 0) | F["isinf"](a)), a)), _at(y, ((b == 0) & _open(size), b))


def _cosh(a: Tensor, b: Tensor) -> Parts:
    size = a.sinh()
    x, y = a.cosh() * b.cos(), size * b.sin()
    y = _at(y, ((b == 0) & _open(size), a.sign() * b), ((a == 0) & _open(b), 0.0))
    return _at(x, (_open(b) & F["isinf"](a), math.inf)), y


def _tanh(a: Tensor, b: Tensor) -> Parts:
    h, t, e = a.tanh(), b.tan(), (-2 * a.abs()).exp()
    size = 1 + h * h * t * t
    x, y = h * (1 + t * t) / size, t * (4 * e / ((1 + e) * (1 + e))) / size  # 1 - h * h would lose its digits
    round_ = _open(b)
    x = _at(x, (F["isinf"](a) | (round_ & (a == 0)), h))
    return x, _at(y, (F["isinf"](a), F["where"](round_, 0.0, b * 0.0)), (F["isnan"](a) & (b == 0), b))


def _tan(a: Tensor, b: Tensor) -> Parts:
    y, x = _tanh(-b, a)
    return x, -y


def _log1p(a: Tensor, b: Tensor) -> Parts:
    near = (a.abs() < 0.5) & (b.abs() < 1)
    p, q = F["where"](near, a, 0.0), F["where"](near, b, 0.0)
    x = F["where"](near, 0.5 * (p * (2 + p) + q * q).log1p(), F["hypot"](1 + a, b).log())
    return x, F["atan2"](b, 1 + a)


def _expm1(a: Tensor, b: Tensor) -> Parts:
    half, round_ = (b * 0.5).sin(), _open(b)
    x = a.expm1() * b.cos() - 2 * half * half + 0.0  # 0 at -0, as the standard has it
    x = _at(x, (round_ & (a == -math.inf), -1.0), (round_ & (a == math.inf), math.inf))
    return x, _turned(a.exp(), a, b)[1]


def _sgn(a: Tensor, b: Tensor) -> Parts:
    size = F["hypot"](a, b)
    none = size == 0
    size = F["where"](none, 1.0, size)
    return F["where"](none, 0.0, a / size), F["where"](none, 0.0, b / size)


def _sigmoid(a: Tensor, b: Tensor) -> Parts:
    x, y = _tanh(a * 0.5, b * 0.5)
    return 0.5 + 0.5 * x, 0.5 * y


def _sin(a: Tensor, b: Tensor) -> Parts:
    y, x = _sinh(-b, a)
    return x, -y


def _roots(a: Tensor, b: Tensor, sign: float) -> tuple[Parts, Parts]:
    """Square roots of 1 - z and 1 + z; of z - 1 and z + 1 for a `sign` of -1."""
    return _sqrt(sign * (1 - a), -sign * b), _sqrt(1 + a, b)


def _far(size: Tensor, angle: Tensor, a: Tensor, b: Tensor, at_infinity: Tensor) -> Parts:
    """Size and angle of an inverse function, without its sign: at infinities the size is infinite."""
    endless, unknown = F["isinf"](a) | F["isinf"](b), F["isnan"](a) | F["isnan"](b)
    angle = _at(angle, (unknown, math.nan), (endless, at_infinity))
    return _at(size, (endless, math.inf), (unknown, math.nan)), angle


def _asinh(a: Tensor, b: Tensor) -> Parts:
    """Source: W. Kahan, Branch cuts for complex elementary functions (1987), as the three below; at infinities and NaN
    the C standard, annex G."""
    (p, q), (r, s) = _roots(-b, a, 1)
    u, v = _boxed(a, b)
    x, y = _far(F["asinh"](p * s - q * r), F["atan2"](b, p * r - q * s), a, b, F["atan2"](v, u.abs()))
    return _at(x, (F["isinf"](x), F["copysign"](x, a))), _at(y, (F["isnan"](a) & (b == 0), b))


def _asin(a: Tensor, b: Tensor) -> Parts:
    y, x = _asinh(-b, a)
    return x, -y


def _acos(a: Tensor, b: Tensor) -> Parts:
    (p, q), (r, s) = _roots(a, b, 1)
    u, v = _boxed(a, b)
    size, angle = _far(F["asinh"](r * q - s * p), 2 * F["atan2"](p, r), a, b, F["atan2"](v.abs(), u))
    size = _at(size, (F["isinf"](size), F["copysign"](size, -b)))
    return _at(angle, (F["isnan"](b) & (a == 0), math.pi / 2)), size


def _acosh(a: Tensor, b: Tensor) -> Parts:
    (p, q), (r, s) = _roots(a, b, -1)
    u, v = _boxed(a, b)
    x, y = _far(F["asinh"](p * r + q * s), 2 * F["atan2"](q, r), a, b, F["atan2"](v, u))
    return x, _at(y, (F["isnan"](b) & (a == 0), math.pi / 2))


def _atanh(a: Tensor, b: Tensor) -> Parts:
    side = F["where"](F["signbit"](a), -1.0, 1.0).to(a.dtype)  # so that the sign of a zero is kept
    (p, q), (r, s) = _log1p(a * side, b), _log1p(-a * side, -b)
    endless = F["isinf"](a) | F["isinf"](b)
    up = endless & F["logical_not"](F["isnan"](b))
    x = _at(0.5 * (p - r) * side, (endless | ((a == 0) & F["isnan"](b)), side * 0.0))
    quarter = F["copysign"](F["full_like"](b, math.pi / 2), b)
    return x, _at(0.5 * (q - s), (up, quarter), (_open(a) | _open(b), math.nan))


def _atan(a: Tensor, b: Tensor) -> Parts:
    y, x = _atanh(-b, a)
    return x, -y


_one("asin", _asin, "arcsin")
_one("acos", _acos, "arccos")
_one("atan", _atan, "arctan")
_one("asinh", _asinh, "arcsinh")
_one("acosh", _acosh, "arccosh")
_one("atanh", _atanh, "arctanh")
_one("exp", lambda a, b: _turned(a.exp(), a, b))
_one("exp2", lambda a, b: _turned(a.exp2(), a, b * math.log(2)))
_one("expm1", _expm1)
_one("log", _log)
_one("log2", _log_base(2))
_one("log10", _log_base(10))
_one("log1p", _log1p)
_one("sqrt", _sqrt)
_one("rsqrt", lambda a, b: _reciprocal(*_sqrt(a, b)))
_one("reciprocal", _reciprocal)
_one("square", lambda a, b: (a * a - b * b, 2 * a * b))
_one("sin", _sin)
_one("cos", lambda a, b: _cosh(-b, a))
_one("sinh", _sinh)
_one("cosh", _cosh)
_one("tan", _tan)
_one("tanh", _tanh)
_one("sigmoid", _sigmoid)
_one("sgn", _sgn)
_one("neg", lambda a, b: (-a, -b))
_one("conj_physical", lambda a, b: (a, -b))
COMPLEX["abs"] = lambda input: F["hypot"](*parts(input))
COMPLEX["angle"] = lambda input: F["atan2"](input.imag, input.real)

# --- questions --------------------------------------------------------------------------------------------------------
for _name, _join in (("isnan", "logical_or"), ("isinf", "logical_or"), ("isfinite", "logical_and")):
    COMPLEX[_name] = lambda input, n=_name, j=_join: F[j](F[n](input.real), F[n](input.imag))
COMPLEX["isreal"] = lambda input: input.imag == 0


@of_complex("eq")
def eq(input: Any, other: Any) -> Tensor:
    """Whether both parts are equal."""
    a, b = _broadcast(*common(input, other))
    return (a.real == b.real) & (a.imag == b.imag)


COMPLEX["ne"] = lambda input, other: F["logical_not"](eq(input, other))
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
COMPLEX["bool"] = lambda input, memory_format=None: flags(input)


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
