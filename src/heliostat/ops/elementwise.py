"""Ops that act on each element by itself, with broadcasting: arithmetic, functions, cast. The families stand here too.

Comparison, logic and choice are in `compare.py`, activations in `activation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import OPERATORS, Value, constant
from ..ir.types import DType, Shape, Symbol, TensorType, bf16, bool_, dim, f16, f32, f64, i8, i32, i64, tensor, u8
from .error import EXACT, Ulp
from .gradient import sum_to
from .op import Amp, Array, Batching, Forward, Numeric, Op, get, public
from .rounding import to_dtype
from .rules import broadcast, floating, lift, plain, promote
from .samples import Operand, Sample, SpecialFloats, Uniform, Values, sample

N = Symbol("n", 8)
_SHAPES: dict[int, tuple[tuple[Shape, ...], ...]] = {  # by number of operands
    1: (((3, 5),), ((dim(N), 4),), ((),), ((0, 3),)),
    2: (((3, 4), (3, 4)), ((2, 3, 4), (3, 1)), ((dim(N), 4), (4,)), ((), (3,)), ((0, 3), (1, 3))),
    3: (((3, 4), (3, 4), (3, 4)), ((4,), (2, 1, 4), (3, 1)), ((dim(N), 1), (4,), ()), ((3,), (3,), (0, 3))),
}
_DTYPES: dict[int, tuple[tuple[DType, ...], ...]] = {
    1: ((f32,), (f64,), (f16,), (bf16,), (i32,), (u8,)),
    2: ((f32, f32), (f64, f32), (f16, bf16), (bf16, i64), (i32, i64), (i8, u8), (bool_, i32)),
    3: ((bool_, f32, f32), (bool_, f64, f16), (bool_, i32, i64)),
}


class Elementwise(Op):
    """Broadcast shapes, promoted dtype. `floats`: integers become f32 first. `boolean`: the result is a flag.

    `bools`: operands may all be bools; a sum of bools is true where one is, and false < true, as in PyTorch. `mixed`:
    the kernel expression gets each operand in its own dtype, not in the promoted one."""

    kind = "elementwise"
    batching = Batching.BROADCAST
    forward = Forward.DIAGONAL
    operands: ClassVar[tuple[str, ...]] = ("x",)
    floats: ClassVar[bool] = False
    boolean: ClassVar[bool] = False
    bools: ClassVar[bool] = True
    mixed: ClassVar[bool] = False
    scalar: Callable[..., Any]

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != len(self.operands):
            raise DTypeError(f"{self.name} takes {len(self.operands)} operands, found {len(types)}")
        dtype = plain(types[0], self.name)
        for t in types[1:]:
            dtype = promote(dtype, plain(t, self.name))
        shape = broadcast(*(t.shape for t in types), what=f"operands of {self.name}")
        if dtype == bool_ and not (self.floats or self.boolean or self.bools):
            raise DTypeError(
                f"{self.name} takes numbers, found {' and '.join(map(str, types))}", help="use cast(x, i32) first"
            )
        if self.boolean:
            return TensorType(bool_, shape)
        return TensorType(floating(dtype) if self.floats else dtype, shape)

    def cases(self) -> tuple[Sample, ...]:
        """Each kind of shapes with f32, and each combination of dtypes with one shape."""
        if isinstance(self.samples, tuple) and isinstance(self.samples[0], Sample):
            return super().cases()
        count = len(self.operands)
        values = self.samples if isinstance(self.samples, tuple) else (self.samples,) * count
        first, rest = _DTYPES[count][0], _DTYPES[count][1:]
        made = [*((first, shapes) for shapes in _SHAPES[count]), *((dtypes, _SHAPES[count][1]) for dtypes in rest)]
        found: list[Sample] = []
        for dtypes, shapes in made:
            types = [TensorType(d, s) for d, s in zip(dtypes, shapes, strict=True)]
            operands = tuple(Operand(t, v) for t, v in zip(types, values, strict=True) if isinstance(v, Values))
            found.append(Sample(operands, {}, {N.name: 3}))
        return tuple(found)


class Unary(Elementwise):
    """One operand."""

    def call(self, x: Value) -> Value:
        return self.plain(x)


class Binary(Elementwise):
    """Two operands, of which one may be a number: it takes the dtype of the other (see `rules.lift`)."""

    operands = ("a", "b")

    def call(self, a: Numeric, b: Numeric) -> Value:
        if isinstance(a, Value) and isinstance(b, Value):
            return self.plain(a, b)
        if not isinstance(a, Value) and not isinstance(b, Value):
            raise DTypeError(f"{self.name} needs at least one tensor")
        x = a if isinstance(a, Value) else lift(a, b, self.name)  # type: ignore[arg-type]
        return self.build(x, lift(b, x, self.name))


def quiet(function: Callable[..., Any], *x: Array | float) -> Array:
    """The function of arrays, without NumPy's warnings: infinities and NaN are results like others here."""
    with np.errstate(all="ignore"):
        return np.asarray(function(*x))


def in_float64(function: Callable[..., Any], *x: Array | float) -> Array:
    """The same in float64: NumPy would compute a function of 8-bit integers in half precision."""
    return quiet(function, *(np.asarray(v, np.float64) for v in x))


_ANY = Uniform(-40, 40) | SpecialFloats()


# --- arithmetic -------------------------------------------------------------------------------------------------------
class Add(Binary, name="add", version=1, amp=Amp.KEEP_INPUT):
    """a + b. Shapes broadcast, dtypes promote; integers wrap around."""

    samples = _ANY
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.add, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a + b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g, a.type), sum_to(g, b.type)


class Sub(Binary, name="sub", version=1, amp=Amp.KEEP_INPUT):
    """a - b. Shapes broadcast, dtypes promote; integers wrap around. Not of two bools."""

    bools = False
    samples = _ANY
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.subtract, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a - b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g, a.type), sum_to(-g, b.type)


class Mul(Binary, name="mul", version=1, amp=Amp.KEEP_INPUT):
    """a * b. Shapes broadcast, dtypes promote; integers wrap around."""

    samples = _ANY
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.multiply, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a * b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g * b, a.type), sum_to(g * a, b.type)


class Div(Binary, name="div", version=1, amp=Amp.KEEP_INPUT):
    """a / b as floats; integers are divided in f32."""

    floats = True
    samples = (Uniform(-40, 40) | SpecialFloats(), Uniform(0.5, 9) | SpecialFloats())
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        return in_float64(np.true_divide, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a / b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g / b, a.type), sum_to(-(g * (a / b / b)), b.type)


class Pow(Binary, name="pow", version=1, amp=Amp.FLOAT32):
    """a ** b as floats, also for integers; NaN for a negative a and a b that is not whole."""

    floats = True
    samples = (Uniform(0.1, 4), Uniform(-3, 3))
    error = Ulp(f64=8, f32=8, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        return in_float64(np.power, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.pow(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        none, choose, zero = _like(0, b), get("where").build, _like(0, y)  # 0 ** 0: flat in a, and in b
        ga = choose(get("eq").build(b, none), zero, g * b * a ** (b - 1.0))
        flat = get("logical_and").build(get("eq").build(a, _like(0, a)), b >= 0.0)
        return sum_to(ga, a.type), sum_to(choose(flat, zero, g * y * log(a)), b.type)


class Maximum(Binary, name="maximum", version=1, amp=Amp.KEEP_INPUT):
    """The larger of a and b; NaN if either is. Equal operands share the gradient."""

    samples = _ANY
    error = EXACT

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.maximum, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.maximum(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        share = _share(a, b)
        return sum_to(g * share, a.type), sum_to(g * (1.0 - share), b.type)


class Minimum(Binary, name="minimum", version=1, amp=Amp.KEEP_INPUT):
    """The smaller of a and b; NaN if either is. Equal operands share the gradient."""

    samples = _ANY
    error = EXACT

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.minimum, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.minimum(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        share = _share(b, a)
        return sum_to(g * share, a.type), sum_to(g * (1.0 - share), b.type)


def _share(a: Value, b: Value) -> Value:
    """1 where a > b, 0 where a < b, 1/2 where they are equal."""
    dtype = floating(promote(a.type.dtype, b.type.dtype))
    return (get("cast").build(a > b, dtype=dtype) + get("cast").build(a >= b, dtype=dtype)) * 0.5


def _like(number: float, x: Value) -> Value:
    return constant(number, TensorType(x.type.dtype, ()))


class Neg(Unary, name="neg", version=1, amp=Amp.KEEP_INPUT):
    """-x. Shape and dtype of x, which is not bool."""

    bools = False
    samples = _ANY
    error = EXACT

    def reference(self, x: Array) -> Array:
        return quiet(np.negative, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return -x

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (-g,)


class Abs(Unary, name="abs", version=1, amp=Amp.KEEP_INPUT):
    """|x|. Shape and dtype of x, which is not bool; the gradient at 0 is 0."""

    bools = False
    samples = _ANY
    error = EXACT

    def reference(self, x: Array) -> Array:
        return quiet(np.abs, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.abs(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (get("where").build(x > 0.0, g, get("where").build(x < 0.0, -g, _like(0, g))),)


class Sign(Unary, name="sign", version=1, amp=Amp.KEEP_INPUT):
    """-1, 0 or 1; NaN stays. Shape and dtype of x, which is not bool."""

    bools = False
    samples = _ANY
    error = EXACT

    def reference(self, x: Array) -> Array:
        return quiet(np.sign, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.sign(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value | None]:
        return (None,)


class Reciprocal(Unary, name="reciprocal", version=1, amp=Amp.KEEP_INPUT):
    """1 / x as float."""

    floats = True
    samples = Uniform(0.1, 40) | Uniform(-40, -0.1) | SpecialFloats()
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.true_divide, 1.0, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return 1.0 / x

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (-(g * y * y),)


# --- functions --------------------------------------------------------------------------------------------------------
class Exp(Unary, name="exp", version=1, amp=Amp.FLOAT32):
    """e ** x as float."""

    floats = True
    samples = Uniform(-80, 80) | SpecialFloats()
    error = Ulp(f64=3, f32=3, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.exp, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.exp(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * y,)


class Log(Unary, name="log", version=1, amp=Amp.FLOAT32):
    """Natural logarithm as float; NaN below 0."""

    floats = True
    samples = Uniform(0.01, 100) | SpecialFloats()
    error = Ulp(f64=3, f32=3, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.log, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.log(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g / x,)


class Sqrt(Unary, name="sqrt", version=1, amp=Amp.KEEP_INPUT):
    """Square root as float; NaN below 0."""

    floats = True
    samples = Uniform(0.01, 100) | SpecialFloats()
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.sqrt, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.sqrt(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g / (y * 2.0),)


class Rsqrt(Unary, name="rsqrt", version=1, amp=Amp.FLOAT32):
    """1 / sqrt(x) as float; NaN below 0."""

    floats = True
    samples = Uniform(0.01, 100) | SpecialFloats()
    error = Ulp(f64=2, f32=2, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(lambda v: 1 / np.sqrt(v), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.rsqrt(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * (y * y * y) * -0.5,)


class Sin(Unary, name="sin", version=1, amp=Amp.FLOAT32):
    """Sine of radians as float."""

    floats = True
    samples = Uniform(-100, 100)
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.sin, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.sin(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * cos(x),)


class Cos(Unary, name="cos", version=1, amp=Amp.FLOAT32):
    """Cosine of radians as float."""

    floats = True
    samples = Uniform(-100, 100)
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.cos, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.cos(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (-(g * sin(x)),)


class Tanh(Unary, name="tanh", version=1, amp=Amp.KEEP_INPUT):
    """Hyperbolic tangent as float."""

    floats = True
    samples = Uniform(-12, 12) | SpecialFloats()
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.tanh, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.tanh(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * (1.0 - y * y),)


class Tan(Unary, name="tan", version=1, amp=Amp.FLOAT32):
    """Tangent of radians as float."""

    floats = True
    samples = Uniform(-1.4, 1.4)
    error = Ulp(f64=8, f32=8, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.tan, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.tan(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * (1.0 + y * y),)


class Atan(Unary, name="atan", version=1, amp=Amp.FLOAT32):
    """Inverse tangent in radians, -pi / 2 .. pi / 2, as float."""

    floats = True
    samples = Uniform(-9, 9) | SpecialFloats()
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.arctan, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.atan(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g / (1.0 + x * x),)


class Expm1(Unary, name="expm1", version=1, amp=Amp.FLOAT32):
    """e ** x - 1 as float, also near 0."""

    floats = True
    samples = Uniform(-40, 40) | Uniform(-0.1, 0.1)
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.expm1, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.expm1(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * (y + 1.0),)


class Log1p(Unary, name="log1p", version=1, amp=Amp.FLOAT32):
    """log(1 + x) as float, also near 0; NaN below -1."""

    floats = True
    samples = Uniform(-0.9, 40) | Uniform(-0.1, 0.1)
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.log1p, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.log1p(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g / (1.0 + x),)


def error_function(x: Array) -> Array:
    """erf in float64."""
    wide = np.asarray(x, np.float64)
    return np.array([math.erf(v) for v in wide.reshape(-1).tolist()], np.float64).reshape(wide.shape)


class Erf(Unary, name="erf", version=1, amp=Amp.KEEP_INPUT):
    """Error function as float."""

    floats = True
    samples = Uniform(-5, 5) | SpecialFloats()
    error = Ulp(f64=8, f32=8, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return error_function(x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.erf(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * exp(-(x * x)) * (2 / math.sqrt(math.pi)),)


class Step(Unary):
    """Functions to whole numbers, as floats; flat wherever they have a derivative."""

    floats = True
    samples = _ANY
    error = EXACT

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value | None]:
        return (None,)


class Floor(Step, name="floor", version=1, amp=Amp.KEEP_INPUT):
    """Largest whole number not above x, as float."""

    def reference(self, x: Array) -> Array:
        return in_float64(np.floor, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.floor(x)


class Ceil(Step, name="ceil", version=1, amp=Amp.KEEP_INPUT):
    """Smallest whole number not below x, as float."""

    def reference(self, x: Array) -> Array:
        return in_float64(np.ceil, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.ceil(x)


class Round(Step, name="round", version=1, amp=Amp.KEEP_INPUT):
    """Nearest whole number, ties to even, as float."""

    def reference(self, x: Array) -> Array:
        return in_float64(np.rint, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.round(x)


class Trunc(Step, name="trunc", version=1, amp=Amp.KEEP_INPUT):
    """The whole number toward zero, as float."""

    def reference(self, x: Array) -> Array:
        return in_float64(np.trunc, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.trunc(x)


class Cast(Elementwise, name="cast", version=1, amp=Amp.KEEP_INPUT):
    """The same values as another plain dtype. Floats go to the nearest float, and to integers toward zero, saturating,
    NaN to 0; integers wrap around; anything but 0 is true."""

    mixed = True
    samples = tuple(
        sample((tensor(a, dim(N), 3), _ANY), symbols={"n": 4}, dtype=b)
        for a, b in (
            (f32, f16), (f32, bf16), (f64, f32), (f16, f32), (f32, i32), (f32, i8), (i32, f32), (i64, i8), (i32, bool_),
            (bool_, f32), (bf16, u8), (u8, i64), (f64, f64),
        )
    )  # fmt: skip
    error = EXACT
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, dtype: DType) -> TensorType:  # type: ignore[override]
        plain(x, "cast")
        if not isinstance(dtype, DType):
            raise DTypeError(
                f"cast goes to a plain dtype, not {dtype}", help="use quantize(x, format) for a block format"
            )
        return TensorType(dtype, x.shape)

    def call(self, x: Value, dtype: DType) -> Value:
        return x if x.type.element == dtype else self.build(x, dtype=dtype)

    def reference(self, x: Array, *, dtype: DType) -> Array:
        return to_dtype(x, dtype)

    def scalar(self, k: Any, x: Any, *, dtype: DType) -> Any:
        return k.cast(x, dtype)

    def gradient(self, g: Value, x: Value, y: Value, *, dtype: DType) -> Sequence[Value | None]:
        return (cast(g, x.type.dtype) if dtype.is_float and x.type.dtype.is_float else None,)


add = public(Add, Binary.call)
sub = public(Sub, Binary.call)
mul = public(Mul, Binary.call)
div = public(Div, Binary.call)
pow = public(Pow, Binary.call)
maximum = public(Maximum, Binary.call)
minimum = public(Minimum, Binary.call)
neg = public(Neg, Unary.call)
abs = public(Abs, Unary.call)
sign = public(Sign, Unary.call)
reciprocal = public(Reciprocal, Unary.call)
exp = public(Exp, Unary.call)
log = public(Log, Unary.call)
sqrt = public(Sqrt, Unary.call)
rsqrt = public(Rsqrt, Unary.call)
sin = public(Sin, Unary.call)
cos = public(Cos, Unary.call)
tanh = public(Tanh, Unary.call)
tan = public(Tan, Unary.call)
atan = public(Atan, Unary.call)
expm1 = public(Expm1, Unary.call)
log1p = public(Log1p, Unary.call)
trunc = public(Trunc, Unary.call)
erf = public(Erf, Unary.call)
floor = public(Floor, Unary.call)
ceil = public(Ceil, Unary.call)
round = public(Round, Unary.call)
cast = public(Cast, Cast.call)


def widened(x: Value) -> Value:
    """x in f32 where it is f16 or bf16: composites sum and square in no less."""
    return cast(x, f32) if x.type.dtype in (f16, bf16) else x


OPERATORS.update(
    add=add, sub=sub, mul=mul, div=div, pow=pow, neg=neg,
    radd=lambda a, b: add(b, a), rsub=lambda a, b: sub(b, a), rmul=lambda a, b: mul(b, a),
    rdiv=lambda a, b: div(b, a), rpow=lambda a, b: pow(b, a),
)  # fmt: skip
