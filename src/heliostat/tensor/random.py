"""Random numbers: Philox, a function of the seed, the number of the draw and the element's number. Equal on every
device and for every number of threads; a draw is part of the graph, so a captured step draws anew at each run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import CaptureError, DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import DType, f32, f64, i32, i64
from ..ops import REGISTRY
from ..ops.integer import philox
from ..ops.rules import shown
from ..runtime import fork
from . import lazy
from .conversion import as_tensor, convert, from_array, live_scalar
from .core import Tensor, new, wrap
from .create import filled, finished, on_meta
from .devices import Device, beside
from .dims import Size
from .dtypes import REAL_OF, dtype_of, finfo, get_default_dtype, iinfo
from .levels import checked_random
from .pairs import over
from .reading import Array
from .register import FUNCTIONS, METHODS, function, method
from .shape import sizes_of

_drawing = fork.made_new()


def _outside_of_steps(what: str) -> None:
    """A program takes the number of each draw when it runs: what is set while it is made would hold for no run."""
    if lazy.capturing():
        raise CaptureError(
            f"{what} is set while a step is captured, but draws are numbered when the step runs",
            help="set it outside of the compiled function",
        )


class Generator:
    """A stream of draws: a seed and how many draws were taken."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self._seed = self._count = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of a seed. Raises CaptureError while a step is captured."""
        _outside_of_steps("a stream's seed")
        self._seed = int(seed) & ((1 << 63) - 1)
        self._count = 0
        return self

    def seed(self) -> int:
        """Start the stream of a seed that the system gives, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def get_state(self) -> Tensor:
        """The seed and the number of draws, as bytes."""
        return from_array(np.array([self._seed, self._count], np.int64).view(np.uint8))

    def set_state(self, state: Tensor) -> Generator:
        """Go on where `get_state` was called. Raises CaptureError while a step is captured."""
        _outside_of_steps("a stream's state")
        found = np.asarray(state.host_array()).copy().view(np.int64)
        if found.shape != (2,):
            raise ShapeError("a generator's state has 16 bytes")
        self._seed, self._count = int(found[0]), int(found[1])
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from here by itself."""
        other = Generator()
        other._seed, other._count = self._seed, self._count
        return other

    def next_draw(self) -> int:
        """The number of the next draw."""
        with _drawing:  # threads that draw at once get other numbers
            self._count += 1
            return self._count


default_generator = Generator()


def bits(shape: Sequence[int], generator: Generator | None, words: int = 1) -> list[Value]:
    """32 random bits for each element, as i64, of one draw; `words` of them, independent."""
    place = _place(shape, generator)
    return [ops.random_bits(*place, word) for word in range(words)]


def _place(shape: Sequence[int], generator: Generator | None) -> tuple[Value, Value, Value]:
    """What the numbers of one draw follow from: the elements' numbers, the seed, and the number of the draw."""
    g = generator or default_generator
    count = Size(shape).numel()
    if (scope := lazy._capture.get()) is not None:
        scope.drawn.setdefault(g, [g._count, 0])[1] += 1
    key = live_scalar(lambda: g._seed, i64)
    draw = live_scalar(g.next_draw, i64)
    number = ops.reshape(ops.arange(count), tuple(shape))
    if lazy._levels.get() and (more := checked_random(shape)) is not None:
        number = ops.add(number, more)
    return number, key.value, draw.value


def rejected(op: Callable[..., Value], generator: Generator | None, *parameters: Tensor) -> Tensor:
    """What an op of `ops.rejection` draws for each element of its parameters, which have one shape: a sample in f64, on
    their device."""
    wide = [convert(p.detach(), f64).value for p in parameters]
    made: Tensor = new(Tensor, op(*_place(parameters[0].shape, generator), *wide))
    return made


def uniform_value(shape: Sequence[int], dtype: DType, generator: Generator | None) -> Value:
    """0 <= x < 1."""
    wide = f64 if dtype == f64 else f32
    (word,) = bits(shape, generator)
    kept = 24 if wide == f32 else 32
    v = ops.mul(ops.cast(ops.shift_right(word, 32 - kept), wide), 2.0**-kept)
    if dtype in (f32, f64):
        return v
    mantissa = 11 if dtype.name == "f16" else 8
    return ops.cast(ops.mul(ops.cast(ops.shift_right(word, 32 - mantissa), f32), 2.0**-mantissa), dtype)


class _Whole:
    """What `philox` asks of kernels, for Python's integers."""

    @staticmethod
    def high_half(x: int) -> int:
        return x >> 32 & 0xFFFFFFFF


def uniform_array(count: int, generator: Generator | None) -> Array:
    """What `uniform_value` gives of float64 for one axis of `count` elements, bit for bit, at once and without a
    program. Not inside of vmap, and not while a step is captured: there draws are anew for each element and run."""
    g = generator or default_generator
    key, draw = g._seed, g.next_draw()
    if count <= 16:  # Python's integers are faster than arrays then
        words: Any = [philox(_Whole, n, key, draw)[0] for n in range(count)]
    else:
        words = REGISTRY["random_bits"].reference(np.arange(count), np.int64(key), np.int64(draw))
    return np.asarray(words, np.float64) * 2.0**-32


def normal_value(shape: Sequence[int], dtype: DType, generator: Generator | None) -> Value:
    """Mean 0, standard deviation 1, by Box and Muller."""
    wide = f64 if dtype == f64 else f32
    a, b = bits(shape, generator, 2)
    u = ops.mul(ops.add(ops.cast(ops.shift_right(a, 8), wide), 1.0), 2.0**-24)  # 0 < u <= 1
    angle = ops.mul(ops.cast(ops.shift_right(b, 8), wide), 2.0**-24 * 2 * math.pi)
    return ops.cast(ops.mul(ops.sqrt(ops.mul(ops.log(u), -2.0)), ops.cos(angle)), dtype)


def _drawn(
    draw: Callable[..., Value], sizes: Sequence[int], dtype: Any, generator: Generator | None, without_data: bool
) -> Tensor:
    """Draws as a tensor, of a complex dtype for both parts of each number; `without_data`, on `meta`, none."""
    if without_data:
        return filled(sizes, 0, get_default_dtype() if dtype is None else dtype_of(dtype), True)
    real = REAL_OF.get(dtype_of(dtype)) if dtype is not None else None
    if real is not None:
        pair: Tensor = over(new(Tensor, draw((*sizes, 2), real, generator)))
        return pair
    made: Tensor = new(Tensor, draw(sizes, _float_dtype(dtype), generator))
    return made


def _float_dtype(dtype: Any) -> DType:
    d = get_default_dtype() if dtype is None else dtype_of(dtype)
    if not d.is_float:
        raise DTypeError(f"random floats need a float dtype, found {d}", help="use randint")
    return d


@function(method=False)
def manual_seed(seed: int) -> Generator:
    """Start the default stream of a seed."""
    return default_generator.manual_seed(seed)


@function(method=False)
def seed() -> int:
    """Start the default stream of a seed that the system gives."""
    return default_generator.seed()


@function(method=False)
def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


@function(method=False)
def get_rng_state() -> Tensor:
    """The state of the default stream."""
    return default_generator.get_state()


@function(method=False)
def set_rng_state(state: Tensor) -> None:
    """Set the default stream."""
    default_generator.set_state(state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, *, device_type: str = "cuda") -> Iterator[None]:
    """A `with` after which the default stream is where it was before: draws inside change nothing outside. One stream
    serves all devices, so that `devices` and `device_type` choose nothing. Nothing happens unless `enabled`. Raises
    CaptureError while a step is captured."""
    if not enabled:
        yield
        return
    _outside_of_steps("a stream's state")
    before = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(before)


@function(method=False)
def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Evenly from 0 to below 1; of complex numbers both parts."""
    made = _drawn(uniform_value, sizes_of(size), dtype, generator, on_meta(rest))
    return finished(made, requires_grad, rest)


@function(method=False)
def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Normal, of mean 0 and standard deviation 1; of complex numbers each part has half of the variance."""
    made = _drawn(normal_value, sizes_of(size), dtype, generator, on_meta(rest))
    return finished(made * math.sqrt(0.5) if made.dtype.kind == "c" else made, requires_grad, rest)


def _as(input: Tensor, dtype: Any, rest: dict[str, Any]) -> dict[str, Any]:
    return {**rest, "dtype": dtype or input.dtype, "device": rest.get("device") or input._v.device}


@function(method=False)
def rand_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """`rand` of the shape and dtype of input."""
    return rand(*input.shape, **_as(input, dtype, rest), requires_grad=requires_grad)


@function(method=False)
def randn_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """`randn` of the shape and dtype of input."""
    return randn(*input.shape, **_as(input, dtype, rest), requires_grad=requires_grad)


def integers(low: int, high: int, shape: Sequence[int], dtype: DType, generator: Generator | None) -> Tensor:
    """Whole numbers from low to below high."""
    if high <= low:
        raise ShapeError(f"randint: there is no number from {low} to below {high}")
    a, b = bits(shape, generator, 2)
    wide = ops.bitwise_or(ops.shift_left(ops.bitwise_and(a, 0x3FFFFFFF), 32), b)
    made: Tensor = new(Tensor, ops.cast(ops.add(ops.remainder(wide, high - low), low), dtype))
    return made


@function(method=False)
def randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """Whole numbers from low (0) to below high: `randint(high, size)`, `randint(low, high, size)`."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if high is None or size is None:
        raise TypeError("randint() takes high and size, and may take low before them")
    low = 0 if low is None else low
    element, sizes = dtype_of(dtype) if dtype is not None else i64, sizes_of((size,))
    if on_meta(rest):
        return finished(filled(sizes, 0, element, True), requires_grad, rest)
    made = integers(low, high, sizes, element, generator)
    return finished(made, requires_grad, rest)


@function(method=False)
def randint_like(
    input: Tensor, low: int | None = None, high: int | None = None, *, dtype: Any = None, **rest: Any
) -> Tensor:
    """`randint` of the shape and dtype of input."""
    return randint(low, high, input.shape, **_as(input, dtype, rest))


def _last_whole(dtype: DType) -> int:
    """The largest number up to which a dtype holds every whole one."""
    if dtype.kind in "iu":
        return int(iinfo(dtype).max)
    return int(2 / finfo(dtype).eps) if dtype.is_float else 1


@function(method=False)
def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, **rest: Any) -> Tensor:
    """The numbers 0 .. n - 1 in random order, by sorting random bits. Raises ValueError where the dtype does not hold
    each of them."""
    if dtype is not None and isinstance(n, int) and n - 1 > (last := _last_whole(dtype_of(dtype))):
        raise ValueError(f"randperm: {dtype_of(dtype)} holds whole numbers up to {last}, not the {n} asked for")
    (word,) = bits((n,), generator)
    signed = ops.cast(ops.sub(word, 1 << 31), i32)  # 32 bits in the same order
    order: Tensor = new(Tensor, ops.argsort(signed))
    made = convert(order, dtype_of(dtype)) if dtype is not None else order
    return finished(made, rest.pop("requires_grad", False), rest)


@function(method=False)
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, **rest: Any) -> Tensor:
    """Normal, of given mean and standard deviation, numbers or tensors."""
    if size is not None:
        return randn(*sizes_of((size,)), generator=generator, **rest) * std + mean
    if any(isinstance(x, Tensor) for x in (mean, std)):
        rest.pop("device", None)  # theirs
    shape = FUNCTIONS["broadcast_shapes"](*(tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)))
    return randn(*shape, generator=generator, **rest) * std + mean


@function()
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with a probability, that of each element or p; else 0."""
    u = uniform_value(input.shape, f32, generator)
    chance = as_tensor(p, f32).value if p is not None else convert(input.detach(), f32).value
    return wrap(beside(ops.cast(ops.lt(u, chance), input.dtype), input.value))


@function(method=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of given means; NaN, as a float, of a mean below 0."""
    return convert(rejected(ops.random_poisson, generator, input), input.dtype)


@function()
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Numbers of columns, drawn with the weights of each row; without replacement by the largest of log w + Gumbel.

    input: (k,) or (n, k); the result has num_samples in place of k. Raises ShapeError for others, and, outside of
    compiled functions, for weights below 0, not finite or all 0, and for fewer above 0 than are drawn."""
    if input.ndim not in (1, 2) or num_samples < 1:
        what = f"multinomial: {num_samples} samples of weights of {shown(input.shape)}"
        raise ShapeError(what, help="it takes weights of one axis or two, and at least one sample")
    w = input.detach()
    rows = w if w.ndim == 2 else w.unsqueeze(0)
    if not lazy.capturing():
        sums = rows.sum(-1)
        if not bool(((rows >= 0).all() & (sums > 0).all() & rows.isfinite().all()).item()):
            raise ShapeError("multinomial needs weights of at least 0, finite, and not all 0")
    n, k = rows.shape
    if replacement:
        u = rand(n, num_samples, generator=generator, dtype=f64)
        edges = (convert(rows, f64) / convert(rows, f64).sum(-1, True)).cumsum(-1)
        found = FUNCTIONS["searchsorted"](edges, u, right=True).clamp(max=k - 1)
    else:
        if not lazy.capturing() and n and num_samples > int((rows > 0).sum(-1).amin().item()):
            raise ShapeError(f"multinomial: {num_samples} draws without replacement need as many weights above 0")
        gumbel = -(-(rand(n, k, generator=generator, dtype=f64) + 1e-12).log()).log()
        found = (convert(rows, f64).log() + gumbel).topk(num_samples, -1).indices
    return found if w.ndim == 2 else found.squeeze(0)


def _filler(name: str, build: Any) -> None:
    def f(self: Tensor, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        if self.is_meta:  # there is nothing to fill, and the stream stays where it is
            return self
        return self._assign(convert(build(self, generator, *args, **kwargs), self.dtype))

    f.__name__ = name
    f.__doc__ = f"Fill with random numbers: {name.rstrip('_')}."
    METHODS[name] = f


def _rand_as(x: Tensor, g: Generator | None) -> Tensor:
    made: Tensor = new(Tensor, uniform_value(x.shape, f64 if x.dtype == f64 else f32, g))
    return made


def _randn_as(x: Tensor, g: Generator | None) -> Tensor:
    made: Tensor = new(Tensor, normal_value(x.shape, f64 if x.dtype == f64 else f32, g))
    return made


_filler(
    "uniform_", lambda x, g, low=0.0, high=1.0, **k: _rand_as(x, g) * (k.get("to", high) - k.get("from", low)) + low
)
_filler("normal_", lambda x, g, mean=0.0, std=1.0: _randn_as(x, g) * std + mean)
_filler(
    "bernoulli_", lambda x, g, p=0.5: bernoulli(FUNCTIONS["zeros_like"](x) if x.dtype.is_float else x, p, generator=g)
)
_filler("exponential_", lambda x, g, lambd=1.0: -(1 - _rand_as(x, g)).log() / lambd)
_filler("cauchy_", lambda x, g, median=0.0, sigma=1.0: ((_rand_as(x, g) - 0.5) * math.pi).tan() * sigma + median)
_filler("log_normal_", lambda x, g, mean=1.0, std=2.0: (_randn_as(x, g) * std + mean).exp())
_filler("geometric_", lambda x, g, p: ((1 - _rand_as(x, g)).log() / math.log(1 - p)).ceil().clamp(min=1))


@method("random_")
def random_(
    self: Tensor, low: int = 0, to: int | None = None, *, generator: Generator | None = None, **rest: int
) -> Tensor:
    """Fill with whole numbers from low (0; its name is `from`) to below `to` (what the dtype holds)."""
    low, high = rest.pop("from", low), to
    if rest:
        raise TypeError(f"unknown argument: {', '.join(rest)}")
    if self.is_meta:
        return self
    if high is None and low == 0:
        high = {"f64": 2**53, "f32": 2**24, "f16": 2**11, "bf16": 2**8, "bool": 2}.get(self.dtype.name) or (
            2 ** min(self.dtype.bits - (self.dtype.kind == "i"), 62)
        )
    elif high is None:
        low, high = 0, low
    return self._assign(convert(integers(low, high, self.shape, i64, generator), self.dtype))
