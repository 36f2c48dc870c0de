"""Element-wise functions in float64 whose method is written once, over what `kernels.math.Math` and `Arrays` both have:
the kernel on every target, and its reference in NumPy. Tests hold the methods against other sources.

Loops go on where a condition holds, for a bounded number of rounds; a vector's lanes, or a warp's threads, share them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import Value
from ..ir.types import DType, TensorType, f64
from .elementwise import Elementwise
from .error import LargestUlp
from .op import Array, NotDifferentiable
from .rules import broadcast, plain

Step = Callable[[Any, list[Any]], list[Any]]


class Arrays:
    """What methods call of `kernels.math.Math`, of NumPy arrays."""

    log, log1p, exp, sqrt, floor, abs, pow = np.log, np.log1p, np.exp, np.sqrt, np.floor, np.abs, np.power
    atan, tan, cos, sin, logical_not, minimum = np.arctan, np.tan, np.cos, np.sin, np.logical_not, np.minimum

    def select(self, condition: Array, a: Any, b: Any) -> Array:
        return np.where(condition, a, b)

    def constant(self, value: float, like: Array) -> Array:
        return np.full_like(like, value)

    def high_half(self, x: Array) -> Array:
        return (x.view(np.uint64) >> np.uint64(32)).view(np.int64)

    def cast(self, x: Array, dtype: DType) -> Array:
        return x.astype(dtype.name.replace("f", "float"))

    def repeat(self, state: list[Any], going: Callable[[list[Any]], Any], step: Step, rounds: int) -> list[Any]:
        for n in range(rounds):
            here = going(state)
            if not here.any():
                break
            state = [np.where(here, new, old) for new, old in zip(step(n, state), state, strict=True)]
        return state


class Method(Elementwise):
    """`method(k, ...)` of operands in f64, the result in f64. Shapes broadcast."""

    gradient: Any = NotDifferentiable("no rule is known; a function of tensors that is made of it may have one")
    error = LargestUlp(f64=512)
    method: Callable[..., Any]
    operands: ClassVar[tuple[str, ...]] = ("x",)

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != len(self.operands) or any(plain(t, self.name) != f64 for t in types):
            wanted = ", ".join(f"{name} in f64" for name in self.operands)
            raise DTypeError(f"{self.name} takes {wanted}, found {', '.join(map(str, types))}")
        return TensorType(f64, broadcast(*(t.shape for t in types), what=f"operands of {self.name}"))

    def call(self, *x: Value) -> Value:
        return self.build(*x)

    def reference(self, *x: Array) -> Array:
        given = [np.asarray(a, np.float64) for a in np.broadcast_arrays(*map(np.atleast_1d, x))]
        with np.errstate(all="ignore"):
            made = self.method(Arrays(), *given)
        return np.asarray(made.reshape(np.broadcast_shapes(*(np.shape(a) for a in x))))

    def scalar(self, k: Any, *x: Any) -> Any:
        return self.method(k, *x)


def long_loop(k: Any, state: list[Any], going: Callable[[list[Any]], Any], step: Callable[[list[Any]], Any]) -> Any:
    """`k.repeat` of up to 2^18 rounds, nested so that those behind the last one that is needed cost little."""

    def level(depth: int) -> Step:
        return (lambda n, s: step(s)) if depth == 0 else (lambda n, s: list(k.repeat(s, going, level(depth - 1), 64)))

    return level(3)(0, state)


def chebyshev(k: Any, t: Any, coefficients: Sequence[float]) -> Any:
    """c[0] + c[1] T1(t) + c[2] T2(t) + ..., -1 <= t <= 1, by Clenshaw's recurrence."""
    twice = t * 2.0
    now, before = k.constant(coefficients[-1], t), k.constant(0.0, t)
    for c in reversed(coefficients[1:-1]):
        now, before = twice * now - before + c, now
    return t * now - before + coefficients[0]


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""
    total = x * coefficients[-1] + coefficients[-2]
    for c in reversed(coefficients[:-2]):
        total = total * x + c
    return total


class Dual:
    """A number and its derivative, which go through arithmetic together."""

    def __init__(self, value: Any, slope: Any) -> None:
        self.value, self.slope = value, slope

    def __add__(self, o: Any) -> Dual:
        return (
            Dual(self.value + o.value, self.slope + o.slope)
            if isinstance(o, Dual)
            else Dual(self.value + o, self.slope)
        )

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, o: Any) -> Dual:
        return self + -o

    def __mul__(self, o: Any) -> Dual:
        if isinstance(o, Dual):
            return Dual(self.value * o.value, self.slope * o.value + self.value * o.slope)
        return Dual(self.value * o, self.slope * o)

    def __truediv__(self, o: Any) -> Dual:
        if not isinstance(o, Dual):
            return Dual(self.value / o, self.slope / o)
        y = self.value / o.value
        return Dual(y, (self.slope - y * o.slope) / o.value)

    def __rtruediv__(self, o: float) -> Dual:
        y = 1.0 / self.value
        return Dual(y * o, -(y * y * o) * self.slope)


def flat(numbers: Sequence[Any]) -> list[Any]:
    """Plain numbers, and both parts of dual ones, as the state of a loop."""
    return [part for x in numbers for part in ((x.value, x.slope) if isinstance(x, Dual) else (x,))]


def paired(state: Sequence[Any], like: Any) -> list[Any]:
    """The numbers of a state, all dual or all plain as `like` is."""
    if not isinstance(like, Dual):
        return list(state)
    return [Dual(value, slope) for value, slope in zip(state[::2], state[1::2], strict=True)]


def settled(k: Any, ratio: Any) -> Any:
    """Whether a factor of a continued fraction is 1, and its derivative 0."""
    if not isinstance(ratio, Dual):
        return k.abs(ratio - 1.0) < 5e-16
    return (k.abs(ratio.value - 1.0) < 5e-16) & (k.abs(ratio.slope) < 1e-15)


def stirling(k: Any, z: Any) -> Any:
    """log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2), z >= 1: of a z below 16 by that of z + 8.
    Source: Abramowitz and Stegun, 6.1.41 and 6.1.16."""
    small = z < 16.0
    far = k.select(small, z + 8.0, z)
    square = 1.0 / (far * far)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - square / 1188) * square) * square) * square) / far
    near = k.minimum(z, 16.0)
    product = near
    for n in range(1, 8):
        product = product * (near + float(n))
    moved = (near + 7.5) * k.log(near + 8.0) - 8.0 - (near - 0.5) * k.log(near) - k.log(product)
    return k.select(small, series + moved, series)


HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
