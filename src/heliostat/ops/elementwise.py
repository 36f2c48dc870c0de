"""Ops that act on each element by itself, with broadcasting: arithmetic, functions, comparison, logic, choice, cast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import OPERATORS, Value
from ..ir.types import DType, TensorType, bool_
from .op import Amp, Array, Numeric, Op, broadcast, described, floating, lift, plain, promote

Unary = Callable[[Value], Value]
Binary = Callable[[Numeric, Numeric], Value]


class Elementwise(Op, register=False):
    """Broadcast shapes, promoted dtype. `floats`: integers become f32 first. `boolean`: the result is a flag."""

    kind = "elementwise"
    floats = False
    boolean = False
    operands: tuple[str, ...] = ("x",)

    def infer(self, *types: TensorType, **attrs: Any) -> TensorType:
        dtype = plain(types[0], self.name)
        for t in types[1:]:
            dtype = promote(dtype, plain(t, self.name))
        shape = broadcast(*(t.shape for t in types), what=f"operands of {self.name}")
        if self.boolean:
            return TensorType(bool_, shape)
        return TensorType(floating(dtype) if self.floats else dtype, shape)

    def scalar(self, k: Any, *x: Any) -> Any:
        """Kernel expression of one element; `k` is kernels.math.Math."""
        raise TypeError(f"{self.name} has no scalar lowering")


def _unary(record: type[Elementwise]) -> Callable[[Value], Value]:
    op = record.name

    def function(x: Value) -> Value:
        from .op import REGISTRY

        return REGISTRY[op].build(x)

    return described(record, ("x",), function)


def _binary(record: type[Elementwise]) -> Callable[[Numeric, Numeric], Value]:
    op = record.name

    def function(a: Numeric, b: Numeric) -> Value:
        from .op import REGISTRY

        if not isinstance(a, Value) and not isinstance(b, Value):
            raise DTypeError(f"{op} needs at least one tensor")
        x = a if isinstance(a, Value) else lift(a, b)  # type: ignore[arg-type]
        y = b if isinstance(b, Value) else lift(b, x)
        return REGISTRY[op].build(x, y)

    return described(record, ("a", "b"), function)


def sum_to(g: Value, like: TensorType) -> Value:
    """Sum a gradient over the axes along which an operand of type `like` was broadcast."""
    from . import reduce, shape

    extra = g.type.rank - like.rank
    axes = [*range(extra), *(i + extra for i, d in enumerate(like.shape) if d == 1 and g.type.shape[i + extra] != 1)]
    if axes:
        g = reduce.sum(g, axes=tuple(axes), keepdim=True)
    return shape.reshape(g, shape=like.shape) if extra else g


class Add(Elementwise):
    """a + b."""

    name, operands = "add", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.add(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a + b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g, a.type), sum_to(g, b.type)


class Sub(Elementwise):
    """a - b."""

    name, operands = "sub", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.subtract(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a - b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(g, a.type), sum_to(neg(g), b.type)


class Mul(Elementwise):
    """a * b."""

    name, operands = "mul", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.multiply(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a * b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(mul(g, b), a.type), sum_to(mul(g, a), b.type)


class Div(Elementwise):
    """a / b as floats."""

    name, operands, floats = "div", ("a", "b"), True

    def reference(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.true_divide(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a / b

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(div(g, b), a.type), sum_to(neg(div(mul(g, y), b)), b.type)


class Pow(Elementwise):
    """a ** b as floats."""

    name, operands, floats = "pow", ("a", "b"), True

    def reference(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.power(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.pow(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value]:
        return sum_to(mul(g, mul(b, pow(a, sub(b, 1.0)))), a.type), sum_to(mul(g, mul(y, log(a))), b.type)


class Maximum(Elementwise):
    """The larger of a and b; NaN if either is."""

    name, operands = "maximum", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.maximum(a, b)


class Minimum(Elementwise):
    """The smaller of a and b; NaN if either is."""

    name, operands = "minimum", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.minimum(a, b)


def _declare_unary(
    name: str,
    doc: str,
    reference: Callable[[Array], Array],
    scalar: Callable[[Any, Any], Any],
    gradient: Callable[[Value, Value, Value], Value] | None = None,
    floats: bool = True,
    amp: Amp = Amp.KEEP_INPUT,
) -> type[Elementwise]:
    """A record of one operand from its parts; `gradient(g, x, y)` is the operand's gradient."""
    body: dict[str, Any] = {
        "__doc__": doc,
        "name": name,
        "floats": floats,
        "amp": amp,
        "reference": lambda self, x: _quiet(reference, x),
        "scalar": lambda self, k, x: scalar(k, x),
    }
    if gradient is not None:
        body["gradient"] = lambda self, g, x, y: (gradient(g, x, y),)
    return type(name, (Elementwise,), body)


def _quiet(function: Callable[[Array], Array], x: Array) -> Array:
    with np.errstate(all="ignore"):
        return function(x)


def _erf(x: Array) -> Array:
    from math import erf as scalar_erf

    return np.vectorize(scalar_erf, otypes=[np.float64])(x).astype(np.asarray(x).dtype)


F32_AMP = Amp.FLOAT32
Neg = _declare_unary("neg", "-x.", np.negative, lambda k, x: -x, lambda g, x, y: neg(g), floats=False)
Abs = _declare_unary("abs", "|x|.", np.abs, lambda k, x: k.abs(x), lambda g, x, y: mul(g, sign(x)), floats=False)
Exp = _declare_unary("exp", "e ** x.", np.exp, lambda k, x: k.exp(x), lambda g, x, y: mul(g, y), amp=F32_AMP)
Log = _declare_unary("log", "Natural logarithm.", np.log, lambda k, x: k.log(x), lambda g, x, y: div(g, x), amp=F32_AMP)
Sqrt = _declare_unary("sqrt", "Square root.", np.sqrt, lambda k, x: k.sqrt(x), lambda g, x, y: div(g, mul(y, 2.0)))
Rsqrt = _declare_unary(
    "rsqrt",
    "1 / sqrt(x).",
    lambda x: 1 / np.sqrt(x),
    lambda k, x: k.rsqrt(x),
    lambda g, x, y: mul(g, mul(div(y, x), -0.5)),
)
Reciprocal = _declare_unary(
    "reciprocal", "1 / x.", lambda x: 1 / x, lambda k, x: 1.0 / x, lambda g, x, y: neg(mul(g, mul(y, y)))
)
Sin = _declare_unary("sin", "Sine of radians.", np.sin, lambda k, x: k.sin(x), lambda g, x, y: mul(g, cos(x)))
Cos = _declare_unary("cos", "Cosine of radians.", np.cos, lambda k, x: k.cos(x), lambda g, x, y: neg(mul(g, sin(x))))
Tanh = _declare_unary(
    "tanh", "Hyperbolic tangent.", np.tanh, lambda k, x: k.tanh(x), lambda g, x, y: mul(g, sub(1.0, mul(y, y)))
)
Erf = _declare_unary(
    "erf",
    "Error function.",
    _erf,
    lambda k, x: k.erf(x),
    lambda g, x, y: mul(g, mul(exp(neg(mul(x, x))), 1.1283791670955126)),
)
Floor = _declare_unary("floor", "Largest integer not above x.", np.floor, lambda k, x: k.floor(x))
Ceil = _declare_unary("ceil", "Smallest integer not below x.", np.ceil, lambda k, x: k.ceil(x))
Round = _declare_unary("round", "Nearest integer, ties to even.", np.rint, lambda k, x: k.round(x))
Sign = _declare_unary("sign", "-1, 0 or 1; NaN stays.", np.sign, lambda k, x: k.sign(x), floats=False)
Relu = _declare_unary(
    "relu",
    "max(x, 0).",
    lambda x: np.maximum(x, 0),
    lambda k, x: k.maximum(x, 0.0),
    lambda g, x, y: where(gt(x, 0.0), g, 0.0),
    floats=False,
)
Sigmoid = _declare_unary(
    "sigmoid",
    "1 / (1 + exp(-x)).",
    lambda x: 1 / (1 + np.exp(-x)),
    lambda k, x: k.sigmoid(x),
    lambda g, x, y: mul(g, mul(y, sub(1.0, y))),
)
Silu = _declare_unary(
    "silu",
    "x * sigmoid(x). Source: arXiv 1702.03118.",
    lambda x: x / (1 + np.exp(-x)),
    lambda k, x: x * k.sigmoid(x),
    lambda g, x, y: mul(g, add(sigmoid(x), mul(y, sub(1.0, sigmoid(x))))),
)
Gelu = _declare_unary(
    "gelu",
    "x * (1 + erf(x / sqrt 2)) / 2. Source: arXiv 1606.08415.",
    lambda x: 0.5 * x * (1 + _erf(x * 0.7071067811865476)),
    lambda k, x: x * 0.5 * (k.erf(x * 0.7071067811865476) + 1.0),
    lambda g, x, y: mul(
        g,
        add(
            mul(add(erf(mul(x, 0.7071067811865476)), 1.0), 0.5),
            mul(x, mul(exp(mul(mul(x, x), -0.5)), 0.3989422804014327)),
        ),
    ),
)
GeluTanh = _declare_unary(
    "gelu_tanh",
    "GELU by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2.",
    lambda x: 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3))),
    lambda k, x: x * 0.5 * (k.tanh((x + x * x * x * 0.044715) * 0.7978845608028654) + 1.0),
)


def _declare_comparison(
    name: str, sign_text: str, function: Any, scalar: Callable[[Any, Any], Any]
) -> type[Elementwise]:
    body = {
        "__doc__": f"a {sign_text} b, as bool; comparisons with NaN are false except ne.",
        "name": name,
        "boolean": True,
        "operands": ("a", "b"),
        "reference": lambda self, a, b: function(a, b),
        "scalar": lambda self, k, a, b: scalar(a, b),
    }
    return type(name, (Elementwise,), body)


Eq = _declare_comparison("eq", "==", np.equal, lambda a, b: a == b)
Ne = _declare_comparison("ne", "!=", np.not_equal, lambda a, b: a != b)
Lt = _declare_comparison("lt", "<", np.less, lambda a, b: a < b)
Le = _declare_comparison("le", "<=", np.less_equal, lambda a, b: a <= b)
Gt = _declare_comparison("gt", ">", np.greater, lambda a, b: a > b)
Ge = _declare_comparison("ge", ">=", np.greater_equal, lambda a, b: a >= b)


class Logic(Elementwise, register=False):
    """Of bools only."""

    def infer(self, *types: TensorType, **attrs: Any) -> TensorType:
        for t in types:
            if t.element != bool_:
                raise DTypeError(f"{self.name} takes bools, found {t}", help="compare first: x != 0")
        return TensorType(bool_, broadcast(*(t.shape for t in types), what=f"operands of {self.name}"))


class And(Logic):
    """Both."""

    name, operands = "logical_and", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.logical_and(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a & b


class Or(Logic):
    """Either or both."""

    name, operands = "logical_or", ("a", "b")

    def reference(self, a: Array, b: Array) -> Array:
        return np.logical_or(a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a | b


class Not(Logic):
    """The other."""

    name = "logical_not"

    def reference(self, x: Array) -> Array:
        return np.logical_not(x)

    def scalar(self, k: Any, x: Any) -> Any:
        return ~x


class Where(Elementwise):
    """a where the condition holds, else b. condition: bool; all three broadcast."""

    name, operands = "where", ("condition", "a", "b")

    def infer(self, *types: TensorType, **attrs: Any) -> TensorType:
        condition, a, b = types
        if condition.element != bool_:
            raise DTypeError(f"where needs a bool condition, found {condition}")
        shape = broadcast(condition.shape, a.shape, b.shape, what="operands of where")
        return TensorType(promote(plain(a, "where"), plain(b, "where")), shape)

    def reference(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)

    def scalar(self, k: Any, condition: Any, a: Any, b: Any) -> Any:
        return k.select(condition, a, b)

    def gradient(self, g: Value, condition: Value, a: Value, b: Value, y: Value) -> Sequence[Value | None]:
        return None, sum_to(where(condition, g, 0.0), a.type), sum_to(where(condition, 0.0, g), b.type)


class Cast(Elementwise):
    """The same values as another plain dtype; floats to integers toward zero, saturating."""

    name = "cast"

    def infer(self, *types: TensorType, dtype: DType, **attrs: Any) -> TensorType:  # type: ignore[override]
        plain(types[0], "cast")
        if not isinstance(dtype, DType):
            raise DTypeError(
                f"cast goes to a plain dtype, not {dtype}", help="use quantize(x, format) for a block format"
            )
        return TensorType(dtype, types[0].shape)

    def reference(self, x: Array, *, dtype: DType) -> Array:
        from .evaluate import to_dtype

        return to_dtype(x, dtype)

    def scalar(self, k: Any, x: Any, *, dtype: DType) -> Any:  # type: ignore[override]
        return k.cast(x, dtype)

    def gradient(self, g: Value, x: Value, y: Value, *, dtype: DType) -> Sequence[Value]:
        return (cast(g, x.type.dtype),)


add: Binary = _binary(Add)
sub: Binary = _binary(Sub)
mul: Binary = _binary(Mul)
div: Binary = _binary(Div)
pow: Binary = _binary(Pow)
maximum: Binary = _binary(Maximum)
minimum: Binary = _binary(Minimum)
eq: Binary = _binary(Eq)
ne: Binary = _binary(Ne)
lt: Binary = _binary(Lt)
le: Binary = _binary(Le)
gt: Binary = _binary(Gt)
ge: Binary = _binary(Ge)
logical_and: Binary = _binary(And)
logical_or: Binary = _binary(Or)
neg: Unary = _unary(Neg)
abs: Unary = _unary(Abs)
exp: Unary = _unary(Exp)
log: Unary = _unary(Log)
sqrt: Unary = _unary(Sqrt)
rsqrt: Unary = _unary(Rsqrt)
reciprocal: Unary = _unary(Reciprocal)
sin: Unary = _unary(Sin)
cos: Unary = _unary(Cos)
tanh: Unary = _unary(Tanh)
erf: Unary = _unary(Erf)
floor: Unary = _unary(Floor)
ceil: Unary = _unary(Ceil)
round: Unary = _unary(Round)
sign: Unary = _unary(Sign)
relu: Unary = _unary(Relu)
sigmoid: Unary = _unary(Sigmoid)
silu: Unary = _unary(Silu)
gelu: Unary = _unary(Gelu)
gelu_tanh: Unary = _unary(GeluTanh)
logical_not: Unary = _unary(Not)


def where(condition: Value, a: Value | float, b: Value | float) -> Value:
    """a where the condition holds, else b. condition: bool; all three broadcast."""
    from .op import REGISTRY

    if not isinstance(a, Value) and not isinstance(b, Value):
        raise DTypeError("where needs at least one tensor to choose from")
    x = a if isinstance(a, Value) else lift(a, b)  # type: ignore[arg-type]
    y = b if isinstance(b, Value) else lift(b, x)
    return REGISTRY["where"].build(condition, x, y)


def cast(x: Value, dtype: DType) -> Value:
    """The same values as another plain dtype; floats to integers toward zero, saturating."""
    from .op import REGISTRY

    return x if x.type.element == dtype else REGISTRY["cast"].build(x, dtype=dtype)


OPERATORS.update(
    add=add,
    sub=sub,
    mul=mul,
    div=div,
    neg=neg,
    radd=lambda a, b: add(b, a),
    rsub=lambda a, b: sub(b, a),
    rmul=lambda a, b: mul(b, a),
    rdiv=lambda a, b: div(b, a),
)
