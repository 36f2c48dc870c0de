"""Comparison, logic and choice: elementwise ops that give or take bools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import OPERATORS, Value
from ..ir.types import TensorType, bool_, tensor
from .elementwise import Binary, Elementwise, Unary
from .error import EXACT
from .gradient import sum_to
from .op import Amp, Array, NotDifferentiable, public
from .rules import broadcast, lift, plain, promote
from .samples import Sample, SpecialFloats, Uniform, sample

_FLAG = NotDifferentiable("its result is a bool")


class Comparison(Binary):
    """Operands promote as in arithmetic; the result is bool."""

    boolean = True
    samples = Uniform(-2, 2) | SpecialFloats()
    error = EXACT
    gradient = _FLAG


class Eq(Comparison, name="eq", version=1, amp=Amp.KEEP_INPUT):
    """a == b, as bool; false where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.equal(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a == b


class Ne(Comparison, name="ne", version=1, amp=Amp.KEEP_INPUT):
    """a != b, as bool; true where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.not_equal(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a != b


class Lt(Comparison, name="lt", version=1, amp=Amp.KEEP_INPUT):
    """a < b, as bool; false where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.less(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a < b


class Le(Comparison, name="le", version=1, amp=Amp.KEEP_INPUT):
    """a <= b, as bool; false where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.less_equal(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a <= b


class Gt(Comparison, name="gt", version=1, amp=Amp.KEEP_INPUT):
    """a > b, as bool; false where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.greater(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a > b


class Ge(Comparison, name="ge", version=1, amp=Amp.KEEP_INPUT):
    """a >= b, as bool; false where either is NaN."""

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.greater_equal(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a >= b


class Signbit(Unary, name="signbit", version=1, amp=Amp.KEEP_INPUT):
    """Whether the sign of x is set, of zeros and NaN too. Not of bools."""

    boolean = True
    samples = Uniform(-2, 2) | SpecialFloats()
    error = EXACT
    gradient = _FLAG

    def reference(self, x: Array) -> Array:
        return np.asarray(np.signbit(x) if np.issubdtype(np.asarray(x).dtype, np.floating) else np.less(x, 0))

    def scalar(self, k: Any, x: Any) -> Any:
        return k.signbit(x)


class Logic(Elementwise):
    """Of bools only."""

    error = EXACT
    gradient = _FLAG

    def infer(self, *types: TensorType) -> TensorType:
        for t in types:
            if t.element != bool_:
                raise DTypeError(f"{self.name} takes bools, found {t}", help="compare first: x != 0")
        if len(types) != len(self.operands):
            raise DTypeError(f"{self.name} takes {len(self.operands)} operands, found {len(types)}")
        return TensorType(bool_, broadcast(*(t.shape for t in types), what=f"operands of {self.name}"))


_TWO_FLAGS: tuple[Sample, ...] = (
    sample(tensor(bool_, 3, 4), tensor(bool_, 4)),
    sample(tensor(bool_, 0, 3), tensor(bool_)),
)


class And(Logic, Binary, name="logical_and", version=1, amp=Amp.KEEP_INPUT):
    """Both. a, b: bool; shapes broadcast."""

    samples = _TWO_FLAGS

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.logical_and(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a & b


class Or(Logic, Binary, name="logical_or", version=1, amp=Amp.KEEP_INPUT):
    """Either or both. a, b: bool; shapes broadcast."""

    samples = _TWO_FLAGS

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.logical_or(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a | b


class Not(Logic, Unary, name="logical_not", version=1, amp=Amp.KEEP_INPUT):
    """The other. x: bool."""

    samples = (sample(tensor(bool_, 3, 4)), sample(tensor(bool_)))

    def reference(self, x: Array) -> Array:
        return np.asarray(np.logical_not(x))

    def scalar(self, k: Any, x: Any) -> Any:
        return ~x


class Where(Elementwise, name="where", version=1, amp=Amp.KEEP_INPUT):
    """a where the condition holds, else b. condition: bool; all three shapes broadcast, a and b promote."""

    operands = ("condition", "a", "b")
    samples = Uniform(-2, 2) | SpecialFloats()
    error = EXACT

    def infer(self, condition: TensorType, a: TensorType, b: TensorType) -> TensorType:  # type: ignore[override]
        if condition.element != bool_:
            raise DTypeError(f"where needs a bool condition, found {condition}", help="compare first: x != 0")
        shape = broadcast(condition.shape, a.shape, b.shape, what="operands of where")
        return TensorType(promote(plain(a, "where"), plain(b, "where")), shape)

    def call(self, condition: Value, a: Value | float, b: Value | float) -> Value:
        if not isinstance(a, Value) and not isinstance(b, Value):
            raise DTypeError("where needs at least one tensor to choose from")
        x = a if isinstance(a, Value) else lift(a, b, "where")  # type: ignore[arg-type]
        return self.build(condition, x, lift(b, x, "where"))

    def reference(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)

    def scalar(self, k: Any, condition: Any, a: Any, b: Any) -> Any:
        return k.select(condition, a, b)

    def gradient(self, g: Value, condition: Value, a: Value, b: Value, y: Value) -> Sequence[Value | None]:
        return None, sum_to(where(condition, g, 0.0), a.type), sum_to(where(condition, 0.0, g), b.type)


eq = public(Eq, Binary.call)
ne = public(Ne, Binary.call)
lt = public(Lt, Binary.call)
le = public(Le, Binary.call)
gt = public(Gt, Binary.call)
ge = public(Ge, Binary.call)
signbit = public(Signbit, Unary.call)
logical_and = public(And, Binary.call)
logical_or = public(Or, Binary.call)
logical_not = public(Not, Unary.call)
where = public(Where, Where.call)

OPERATORS.update(lt=lt, le=le, gt=gt, ge=ge)
