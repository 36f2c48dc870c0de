"""The order of an axis: argsort, what it is made of, and the search in rows that are in order.

Elements become whole numbers of the same order (`order_key`). 32 bits of such a number stand before 32 bits of the
place of the element in one i64, so that no two are equal: any way to sort is stable then. Blocks of a row are sorted
where they fit a core's cache or a multiprocessor's shared memory (`sort_blocks`), and runs merged two by two
(`merge_runs`). Numbers of 64 bits are sorted by their low half first, and in that order by their high half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ir.types import Symbol, TensorType, bf16, bool_, dim, f16, f32, f64, i8, i32, i64, numel, tensor, u8, u32
from .compare import logical_not
from .elementwise import Elementwise, cast
from .error import EXACT
from .index import take
from .integer import bitwise_and, bitwise_not, bitwise_or, bitwise_xor, shift_left, shift_right
from .op import REGISTRY, Amp, Array, Batching, NotDifferentiable, Op, public
from .rules import plain
from .samples import Exactly, SpecialFloats, Uniform, sample
from .shape import all_batched, arange, reshape, slice

N = Symbol("n", 8)
BLOCK = 4096
"""Elements that are sorted at once: 32 KB."""
SELECTED = 512
"""The least of a block of which the first few are kept."""
MOST = 1 << 28
"""Elements of an axis: a GPU's vectors of offsets are of i32, in bytes."""
PIECE = 256
"""Elements that what is merged is a multiple of: a worker's share."""
_LOW = 0xFFFFFFFF
_RUNS = tuple(
    n * n % 9973 for at in range(0, 1280, 256) for n in sorted(range(at, at + 256), key=lambda n: n * n % 9973)
)
CHUNK, MOST_CHUNKS = 1024, 2048
"""Flags that a worker counts, and how many such counts of a row there are at most, as each adds up those before it."""
PARTS = 4
"""Of a row, which workers count and move apart."""
_BITS = {"bool": 2, "i8": 9, "u8": 9, "i16": 17, "u16": 17, "bf16": 16, "f16": 19}
"""Of a key in 32 bits, those that matter: of floats the highest, of whole numbers the lowest."""
MOST_DIGIT = 8
_LARGEST = np.iinfo(np.int64).max
_PLACES = NotDifferentiable("the order of elements is whole numbers")


class OrderKey(Elementwise, name="order_key", version=1, amp=Amp.KEEP_INPUT):
    """Whole numbers of `bits` bits that are in order where elements are: 64 of f64, i64 and u32, 32 of all others.

    Zeros of both signs are equal, and so are all NaN, which are the largest. Bits of a float without its sign are in
    order as they are; of negative ones all but the sign are turned round."""

    mixed = True
    gradient = _PLACES
    error = EXACT
    samples = (
        sample((tensor(f32, 3, 9), Uniform(-40, 40) | SpecialFloats())),
        sample((tensor(f64, dim(N), 9), Uniform(-40, 40) | SpecialFloats()), bits=64, symbols={"n": 3}),
        sample((tensor(f16, 21), SpecialFloats())),
        sample((tensor(bf16, 21), SpecialFloats())),
        sample((tensor(i64, 9), SpecialFloats()), bits=64),
        sample((tensor(i32, 9), SpecialFloats())),
        sample((tensor(u32, 9), SpecialFloats()), bits=64),
        sample((tensor(i8, 9), SpecialFloats())),
        sample((tensor(bool_, 9), Uniform(0, 1))),
    )

    def infer(self, x: TensorType, *, bits: int = 32) -> TensorType:  # type: ignore[override]
        if bits != _key_bits(x):
            raise DTypeError(f"order_key: elements of {x} have keys of {_key_bits(x)} bits, not {bits}")
        return TensorType(i64 if bits == 64 else i32, x.shape)

    def call(self, x: Value) -> Value:
        return self.build(x, bits=_key_bits(x.type))

    def reference(self, x: Array, *, bits: int = 32) -> Array:
        whole = np.int64 if bits == 64 else np.int32
        if x.dtype.kind != "f":
            return x.astype(whole)
        most = np.iinfo(whole).max
        with np.errstate(over="ignore"):
            held: Any = np.where(x == 0, 0, x).astype(np.float64 if bits == 64 else np.float32).view(whole)
        return np.where(np.isnan(x), most, held ^ ((held >> (bits - 1)) & most))

    def scalar(self, k: Any, x: Any, *, bits: int = 32) -> Any:
        return k.order_key(x, bits)


def _key_bits(x: TensorType) -> int:
    return 64 if plain(x, "order_key") in (f64, i64, u32) else 32


def _rows(x: TensorType, op: str) -> int:
    """The size of the last axis of i64. Raises ShapeError, DTypeError or UnsupportedError for what is not sorted."""
    if plain(x, op) != i64:
        raise DTypeError(f"{op} takes i64, found {x}")
    return _axis(x, op)


def _axis(x: TensorType, op: str) -> int:
    if not x.shape:
        raise ShapeError(f"{op} needs at least one axis, found {x}")
    size = x.shape[-1]
    if not isinstance(size, int):
        raise ShapeError(f"{op} takes a last axis of known size, found {x}")
    if size > MOST:
        raise UnsupportedError(f"{op}: an axis of {size} elements is longer than {MOST}", help="sort parts of it")
    return size


class SortBlocks(Op, name="sort_blocks", version=1, amp=Amp.KEEP_INPUT):
    """Each run of `block` neighbours of a row in ascending order, of each the first `keep`. x: (..., N) i64.

    block is a power of two. A row of several blocks is as if it were filled up with the largest number:
    (..., N / block rounded up, times keep); one of a single block gives (..., min(N, keep))."""

    samples = (
        sample((tensor(i64, 3, 21), Uniform(-99, 99)), block=32, keep=32),
        sample((tensor(i64, dim(N), 5), Uniform(-99, 99)), block=8, keep=3, symbols={"n": 3}),
        sample((tensor(i64, 2, 300), Uniform(-(2**62), 2**62)), block=512, keep=512),
        sample((tensor(i64, 2, 300), Uniform(-(2**62), 2**62)), block=128, keep=16),
        sample((tensor(i64, 2, 300), Uniform(-(2**62), 2**62)), block=64, keep=64),
        sample((tensor(i64, 7), Uniform(-9, 9)), block=2, keep=2),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, *, block: int, keep: int) -> TensorType:
        size = _rows(x, "sort_blocks")
        if block < 1 or block & (block - 1) or not 1 <= keep <= block or block > BLOCK:
            raise ShapeError(f"sort_blocks: {keep} of blocks of {block}: a power of two up to {BLOCK}, and 1 .. block")
        return x.with_shape((*x.shape[:-1], min(size, keep) if size <= block else -(-size // block) * keep))

    def call(self, x: Value, block: int, keep: int) -> Value:
        return self.build(x, block=block, keep=keep)

    def reference(self, x: Array, *, block: int, keep: int) -> Array:
        size = x.shape[-1]
        if size <= block:
            return np.asarray(np.sort(x, -1)[..., :keep])
        filled = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -size % block)], constant_values=_LARGEST)
        y = np.sort(filled.reshape(*x.shape[:-1], -1, block), -1)[..., :keep]
        return np.asarray(y.reshape(*x.shape[:-1], y.shape[-2] * keep))

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, block: int, keep: int) -> Value:
        return self.build(x, block=block, keep=keep)


class MergeRuns(Op, name="merge_runs", version=1, amp=Amp.KEEP_INPUT):
    """Every two neighbouring runs of `run` elements as one in order. x: (..., N) i64, its runs in ascending order.

    run and N are multiples of PIECE. What comes of runs that are in no order has no meaning."""

    samples = (
        sample((tensor(i64, 2, 512), Exactly(_RUNS[:512])), run=256),
        sample((tensor(i64, 1280), Exactly(_RUNS)), run=256),
        sample((tensor(i64, 256), Exactly(_RUNS[:256])), run=512),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, *, run: int) -> TensorType:
        if run < PIECE or run % PIECE or _rows(x, "merge_runs") % PIECE:
            raise ShapeError(f"merge_runs: runs of {run} elements in {x}: multiples of {PIECE} are needed")
        return x

    def call(self, x: Value, run: int) -> Value:
        return self.build(x, run=run)

    def reference(self, x: Array, *, run: int) -> Array:
        ends = range(0, x.shape[-1], 2 * run)
        return np.concatenate([np.sort(x[..., at : at + 2 * run], -1) for at in ends], -1) if len(ends) else x

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, run: int) -> Value:
        return self.build(x, run=run)


class CountDigits(Op, name="count_digits", version=1, amp=Amp.KEEP_INPUT):
    """How often each digit, `bits` bits from bit `low` on, occurs in each of PARTS parts of a row.

    x: (..., N) i64, i8 or u8; the sign counts as turned round, so that digits are in order where numbers are.
    The result is i64 (..., PARTS, 2 ** bits)."""

    samples = (
        sample((tensor(i64, 3, 50), Uniform(-(2**62), 2**62)), low=56, bits=8),
        sample((tensor(i64, dim(N), 5), Uniform(-99, 99)), low=0, bits=3, symbols={"n": 2}),
        sample((tensor(i8, 3, 50), Uniform(-128, 127)), low=0, bits=8),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, *, low: int, bits: int) -> TensorType:
        if plain(x, "count_digits") not in (i64, i8, u8):
            raise DTypeError(f"count_digits takes i64, i8 or u8, found {x}")
        _axis(x, "count_digits")
        width = 8 * x.dtype.nbytes
        if not 1 <= bits <= MOST_DIGIT or not 0 <= low <= width - bits:
            raise ShapeError(f"count_digits: {bits} bits from bit {low} on: 1 to {MOST_DIGIT} of {width} are needed")
        return TensorType(i64, (*x.shape[:-1], PARTS, 1 << bits))

    def call(self, x: Value, low: int, bits: int) -> Value:
        return self.build(x, low=low, bits=bits)

    def reference(self, x: Array, *, low: int, bits: int) -> Array:
        each = -(-x.shape[-1] // PARTS)
        digits = _digits(x, low, bits)
        parts = [digits[..., at * each : (at + 1) * each, None] == np.arange(1 << bits) for at in range(PARTS)]
        return np.stack([p.sum(-2) for p in parts], -2)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, low: int, bits: int) -> Value:
        return self.build(x, low=low, bits=bits)


class MoveByDigit(Op, name="move_by_digit", version=1, amp=Amp.KEEP_INPUT):
    """Rows in the order of one digit; where it is equal the order stays. x: (..., N) i64, i8 or u8, and its
    `count_digits`. With `places` where the elements stood, i64, in their stead."""

    samples = (
        sample((tensor(i64, 8), Exactly((3, 1) * 4)), (tensor(i64, 4, 4), Exactly((0, 1, 0, 1))), low=0, bits=2),
        sample(
            (tensor(i8, 8), Exactly((-2, 1) * 4)),
            (tensor(i64, 4, 4), Exactly((0, 1, 1, 0))),
            low=0,
            bits=2,
            places=True,
        ),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, counts: TensorType, *, low: int, bits: int, places: bool = False) -> TensorType:
        wanted = REGISTRY["count_digits"].infer(x, low=low, bits=bits)
        if counts != wanted:
            raise ShapeError(f"move_by_digit: counts are {wanted}, found {counts}")
        return TensorType(i64, x.shape) if places else x

    def call(self, x: Value, counts: Value, low: int, bits: int, places: bool = False) -> Value:
        return self.build(x, counts, low=low, bits=bits, places=places)

    def reference(self, x: Array, counts: Array, *, low: int, bits: int, places: bool = False) -> Array:
        order = np.argsort(_digits(x, low, bits), -1, kind="stable")
        return order if places else np.take_along_axis(x, order, -1)

    def batch(
        self,
        size: int,
        batched: Sequence[bool],
        x: Value,
        counts: Value,
        *,
        low: int,
        bits: int,
        places: bool = False,
    ) -> Value:
        return self.build(*all_batched(size, batched, x, counts), low=low, bits=bits, places=places)


def _digits(x: Array, low: int, bits: int) -> Any:
    turned = np.asarray(x, np.int64) ^ np.int64(0 if x.dtype == np.uint8 else -(1 << 8 * x.dtype.itemsize - 1))
    return (turned >> low) & ((1 << bits) - 1)


class CountFlags(Op, name="count_flags", version=1, amp=Amp.KEEP_INPUT):
    """How many of each `chunk` neighbours of a row hold. x: (..., N) bool; (..., N / chunk rounded up) i64."""

    samples = (
        sample((tensor(bool_, 3, 50), Uniform(0, 1)), chunk=32),
        sample((tensor(bool_, dim(N), 300), Uniform(0, 1)), chunk=100, symbols={"n": 2}),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, *, chunk: int) -> TensorType:
        if plain(x, "count_flags") != bool_ or chunk < 1:
            raise DTypeError(f"count_flags takes bools and at least one of them, found {x} and {chunk}")
        return TensorType(i64, (*x.shape[:-1], -(-_axis(x, "count_flags") // chunk)))

    def call(self, x: Value, chunk: int) -> Value:
        return self.build(x, chunk=chunk)

    def reference(self, x: Array, *, chunk: int) -> Array:
        filled = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % chunk)])
        return np.asarray(filled.reshape(*x.shape[:-1], filled.shape[-1] // chunk, chunk).sum(-1))

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, chunk: int) -> Value:
        return self.build(x, chunk=chunk)


class Partition(Op, name="partition", version=1, amp=Amp.KEEP_INPUT):
    """Places of a row where it holds, in order, and then those of the others in order, i64.

    x: (..., N) bool, and its `count_flags`, from which each chunk knows where its places go."""

    samples = (
        sample((tensor(bool_, 2, 3), Exactly(1)), (tensor(i64, 2, 1), Exactly(3)), chunk=4),
        sample((tensor(bool_, 70), Exactly((0, 1) * 35)), (tensor(i64, 4), Exactly((10, 10, 10, 5))), chunk=20),
        sample((tensor(bool_, 2, 96), Exactly((1, 0, 0) * 32)), (tensor(i64, 2, 2), Exactly((16, 16))), chunk=48),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, counts: TensorType, *, chunk: int) -> TensorType:
        wanted = REGISTRY["count_flags"].infer(x, chunk=chunk)
        if counts != wanted:
            raise ShapeError(f"partition: counts are {wanted}, found {counts}")
        return TensorType(i64, x.shape)

    def call(self, x: Value, counts: Value, chunk: int) -> Value:
        return self.build(x, counts, chunk=chunk)

    def reference(self, x: Array, counts: Array, *, chunk: int) -> Array:
        return np.asarray(np.argsort(np.logical_not(x), -1, kind="stable"))

    def batch(self, size: int, batched: Sequence[bool], x: Value, counts: Value, *, chunk: int) -> Value:
        return self.build(*all_batched(size, batched, x, counts), chunk=chunk)


class ArgSort(Op, name="argsort", version=1, amp=Amp.KEEP_INPUT):
    """Places of the elements of the last axis in order, i64, the first `count` of them; all where it is -1.

    x: (..., N) of any dtype, N known and up to MOST. Equal elements keep their order, `descending` too, and zeros of
    both signs are equal. NaN are the largest, and all equal."""

    samples = (
        sample((tensor(f32, 3, 5), Uniform(-4, 4) | SpecialFloats())),
        sample((tensor(f32, dim(N), 40), Uniform(-4, 4) | SpecialFloats()), descending=True, symbols={"n": 3}),
        sample((tensor(f64, 2, 40), Uniform(-4, 4) | SpecialFloats())),
        sample((tensor(i64, 40), Uniform(-9, 9)), descending=True),
        sample((tensor(u8, 2, 1, 9), Uniform(0, 3)), count=4),
        sample((tensor(bool_, 70), Uniform(0, 1)), descending=True),
        sample((tensor(bf16, 2, 33), Uniform(-4, 4)), descending=True, count=5),
        sample((tensor(f32, 2, 0), Uniform(-4, 4))),
        sample((tensor(f32, 2, 1), Uniform(-4, 4))),
    )
    kind = "composite"
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, x: TensorType, *, descending: bool = False, count: int = -1) -> TensorType:
        plain(x, "argsort")
        size = _axis(x, "argsort")
        if not -1 <= count <= size:
            raise ShapeError(f"argsort: {count} of an axis of {size} elements")
        return TensorType(i64, (*x.shape[:-1], size if count < 0 else count))

    def call(self, x: Value, descending: bool = False, count: int = -1) -> Value:
        return self.build(x, descending=descending, count=count)

    def reference(self, x: Array, *, descending: bool = False, count: int = -1) -> Array:
        size = x.shape[-1]
        if descending:
            y = size - 1 - np.flip(np.argsort(np.flip(x, -1), axis=-1, kind="stable"), -1)
        else:
            y = np.argsort(x, axis=-1, kind="stable")
        return np.asarray(y[..., : size if count < 0 else count].astype(np.int64))

    def decompose(self, x: Value, *, descending: bool = False, count: int = -1) -> Value:
        size = _axis(x.type, "argsort")
        count = size if count < 0 else count
        if not count or 0 in x.type.shape:
            return _first(cast(x, i64), count)
        return _in_order(x, descending, count, _by_blocks)

    def batch(
        self, size: int, batched: Sequence[bool], x: Value, *, descending: bool = False, count: int = -1
    ) -> Value:
        return self.build(x, descending=descending, count=count)


class Search(Op, name="search", version=1, amp=Amp.KEEP_INPUT):
    """Where elements belong in rows that are in ascending order: how many of a row are less, or also equal if `right`.

    rows: (..., N), N known and at least 1; x: (..., M) of the same leading sizes; both f32, f64, i32 or i64. The result
    is i64, of x's shape. It is found by halves; a NaN in a row counts as less than everything, a NaN that is looked for
    as more, as in PyTorch."""

    samples = (
        sample((tensor(f32, 3, 5), Exactly((-2.0, 0.0, 0.0, 1.0, 3.0))), (tensor(f32, 3, 40), Uniform(-3, 4))),
        sample((tensor(i64, 5), Exactly((-2, 0, 0, 1, 3))), (tensor(i64, dim(N)), Uniform(-3, 4)), symbols={"n": 7}),
        sample((tensor(i32, 2, 1), Exactly(1)), (tensor(i32, 2, 9), Uniform(-3, 4)), right=True),
        sample((tensor(f64, 4), Exactly((-2.0, 0.0, 0.0, 1.0))), (tensor(f64, 70), SpecialFloats()), right=True),
        sample((tensor(f64, 2, 3), SpecialFloats()), (tensor(f64, 2, 0), SpecialFloats())),
    )
    error = EXACT
    gradient = _PLACES
    batching = Batching.RULE

    def infer(self, rows: TensorType, x: TensorType, *, right: bool = False) -> TensorType:
        if plain(rows, "search") not in (f32, f64, i32, i64) or rows.element != x.element:
            raise DTypeError(f"search takes two of f32, f64, i32 or i64, found {rows} and {x}")
        if not _axis(rows, "search"):
            raise ShapeError(f"search: there is nothing in {rows}")
        if not x.shape or rows.shape[:-1] != x.shape[:-1]:
            raise ShapeError(f"search: rows {rows} do not fit {x}")
        return TensorType(i64, x.shape)

    def call(self, rows: Value, x: Value, right: bool = False) -> Value:
        return self.build(rows, x, right=right)

    def reference(self, rows: Array, x: Array, *, right: bool = False) -> Array:
        low, high = np.zeros(x.shape, np.int64), np.full(x.shape, rows.shape[-1], np.int64)
        while (low < high).any():
            half = (low + high) // 2
            here = np.take_along_axis(rows, np.minimum(half, rows.shape[-1] - 1), -1)
            after = ~(here > x if right else here >= x)
            low, high = np.where((low < high) & after, half + 1, low), np.where((low < high) & ~after, half, high)
        return low

    def batch(self, size: int, batched: Sequence[bool], rows: Value, x: Value, *, right: bool = False) -> Value:
        return self.build(*all_batched(size, batched, rows, x), right=right)


def _first(x: Value, count: int) -> Value:
    return x if count == x.type.shape[-1] else slice(x, -1, 0, count)


def _in_order(x: Value, descending: bool, count: int, places: Callable[[Value, int, int], Value]) -> Value:
    """Places in the order of an axis that is not empty. places(x, bits, count): of the first `count` of rows of i64 by
    their highest bits, where equal ones keep their order."""
    key, bits = order_key(x), _BITS.get(x.type.dtype.name, 32)
    key = bitwise_not(key) if descending else key
    if key.type.dtype == i32:
        return places(shift_left(cast(key, i64), 32 if x.type.dtype.is_float else 64 - bits), bits, count)
    size = int(x.type.shape[-1])  # type: ignore[arg-type]
    first = places(bitwise_xor(shift_left(key, 32), -1 << 63), 32, size)
    high = along(shift_right(key, 32), first)
    return along(first, places(shift_left(high, 32), 32, count))


def _by_blocks(keys: Value, bits: int, count: int) -> Value:
    """Keys and places in one number are sorted in blocks, and these merged."""
    size = int(keys.type.shape[-1])  # type: ignore[arg-type]
    x = bitwise_or(keys, arange(size))
    block = min(BLOCK, max(SELECTED, 1 << (4 * count - 1).bit_length()))
    while size > block and 4 * count <= block:  # the first of each block are enough
        x = sort_blocks(x, block, count)
        size = int(x.type.shape[-1])  # type: ignore[arg-type]
    run = min(BLOCK, 1 << (size - 1).bit_length())
    x = sort_blocks(x, run, min(run, count) if size <= run else run)
    while run < size:
        x, run = merge_runs(x, run), 2 * run
    return bitwise_and(_first(x, count), _LOW)


def argsort_of_flags(x: Value, descending: bool, count: int) -> Value:
    """`argsort` of bools by counting those of chunks."""
    return _first(flags_in_front(x if descending else logical_not(x))[0], count)


def flags_in_front(x: Value) -> tuple[Value, Value]:
    """Places of bools (..., N) that hold and then of the others, each in order, and how many hold of each chunk."""
    chunk = CHUNK
    while chunk * MOST_CHUNKS < _axis(x.type, "partition"):
        chunk *= 2
    counts = count_flags(x, chunk)
    return partition(x, counts, chunk), counts


def argsort_by_digits(x: Value, descending: bool, count: int) -> Value:
    """`argsort` of an axis that is not empty by digits, the lowest first: for machines with large caches. A byte is one
    digit, whatever its place."""
    if x.type.dtype in (i8, u8):
        turned = bitwise_not(x) if descending else x
        return _first(move_by_digit(turned, count_digits(turned, 0, 8), 0, 8, True), count)

    def places(keys: Value, bits: int, count: int) -> Value:
        made = bitwise_or(keys, arange(keys.type.shape[-1]))
        passes = digit_passes(bits)
        low = 64 - bits
        for n in range(passes):
            high = 64 - bits + bits * (n + 1) // passes
            made = move_by_digit(made, count_digits(made, low, high - low), low, high - low)
            low = high
        return bitwise_and(_first(made, count), _LOW)

    return _in_order(x, descending, count, places)


def digit_passes(bits: int) -> int:
    """Passes over numbers of so many bits."""
    return -(-bits // MOST_DIGIT)


def key_bits(x: TensorType) -> int:
    """The highest bits of a key in which elements of a dtype differ, of 64-bit ones those of both halves."""
    return 64 if _key_bits(x) == 64 else _BITS.get(x.dtype.name, 32)


def along(x: Value, places: Value) -> Value:
    """x[..., places[..., i]]. x: (..., N), places: (..., M)."""
    size, count = x.type.shape[-1], places.type.shape[-1]
    if len(x.type.shape) > 1:
        rows = numel(x.type.shape[:-1])
        ids = reshape(reshape(places, (rows, count)) + reshape(arange(rows) * size, (rows, 1)), (-1,))
    else:
        ids = places
    return reshape(take(reshape(x, (-1, 1)), ids), places.type.shape)


order_key = public(OrderKey, OrderKey.call)
sort_blocks = public(SortBlocks, SortBlocks.call)
merge_runs = public(MergeRuns, MergeRuns.call)
argsort = public(ArgSort, ArgSort.call)
count_digits = public(CountDigits, CountDigits.call)
move_by_digit = public(MoveByDigit, MoveByDigit.call)
count_flags = public(CountFlags, CountFlags.call)
partition = public(Partition, Partition.call)
search = public(Search, Search.call)
