"""Elements by number: embedding, gather, take, put. A number outside the table reads row 0, on every target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, DType, Symbol, TensorType, bf16, bool_, dim, f16, f32, f64, i32, i64, tensor
from ..quant.formats import Q4_K, Q8_0
from . import reduce
from .compare import eq, ge, logical_and, lt, where
from .composite import Composite
from .elementwise import cast
from .error import EXACT, LargestUlp
from .matmul import matmul
from .op import Amp, Array, Batching, Forward, Op, public
from .rules import normalize_axis, plain, shown
from .samples import Uniform, sample
from .shape import all_batched, broadcast_to, iota, repeated, reshape, transpose, unsqueeze

N = Symbol("n", 8)


def _numbers(type: TensorType, op: str) -> None:
    """Raise DTypeError unless the type is of integers."""
    if plain(type, op).kind not in "iu":
        raise DTypeError(f"{op} takes integers as numbers of elements, found {type}")


def _row_numbers(size: int, ids: Value, count: Dim, outside: int) -> Value:
    """Numbers of rows (B, N) of B tables of `count` rows, as numbers in all tables together (B * N,), i64.

    outside: 0 for row 0 of its table in place of a number outside of it, -1 for none."""
    numbers, rows = cast(ids, i64), _count(count)
    first = reshape(cast(iota(size), i64) * rows, (size, 1))
    inside = logical_and(ge(numbers, 0), lt(numbers, rows))
    return reshape(where(inside, numbers + first, first if outside == 0 else outside), (-1,))


def _of_tables(op: Op, size: int, batched: Sequence[bool], table: Value, ids: Value) -> Value:
    """Rows by number, for each element of a batch."""
    if not batched[0]:
        y = op.build(table, reshape(ids, (-1,)))
        return reshape(y, (size, ids.type.shape[1], y.type.shape[1]))
    ids = ids if batched[1] else repeated(ids, size)
    count, depth = table.type.shape[1:]
    y = op.build(reshape(table, (-1, depth)), _row_numbers(size, ids, count, 0))
    return reshape(y, (size, ids.type.shape[1], depth))


class Embedding(Op, name="embedding", version=1, amp=Amp.KEEP_INPUT):
    """Rows of a table by number. table: (V, K) of any element type and layout, ids: (N,) integers; (N, K) f32.

    An f64 table keeps its dtype. A number outside 0 .. V reads row 0: a step checks its tokens before it starts."""

    samples = (
        sample(tensor(f32, 5, 4), (tensor(i32, 3), Uniform(0, 4))),
        sample(tensor(f64, 5, 4), (tensor(i64, dim(N)), Uniform(0, 4)), symbols={"n": 6}),
        sample(tensor(f16, 5, 4), (tensor(i32, 3), Uniform(-3, 8))),
        sample(tensor(bf16, 5, 4), (tensor(i32, 0), Uniform(0, 4))),
        sample(tensor(Q8_0, 5, 64), (tensor(i32, 3), Uniform(0, 4))),
        sample(tensor(Q4_K, 3, 256), (tensor(i32, 3), Uniform(0, 2))),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, table: TensorType, ids: TensorType) -> TensorType:
        if table.rank != 2 or ids.rank != 1:
            raise ShapeError(f"embedding needs a table (V, K) and ids (N,), found {table} and {ids}")
        if table.shape[0] == 0:
            raise ShapeError(f"embedding needs a table of at least one row, found {table}")
        _numbers(ids, "embedding")
        return TensorType(f64 if table.element == f64 else f32, (ids.shape[0], table.shape[1]))

    def call(self, table: Value, ids: Value) -> Value:
        return self.build(table, ids)

    def reference(self, table: Array, ids: Array) -> Array:
        return np.asarray(table, np.float64)[np.where((ids >= 0) & (ids < table.shape[0]), ids, 0)]

    def gradient(self, g: Value, table: Value, ids: Value, y: Value) -> Sequence[Value | None]:
        """A product with the matrix that has a 1 where a row was read: rows that were read twice add up."""
        if not isinstance(table.type.element, DType):
            return None, None
        rows, count = table.type.shape[0], ids.type.shape[0]
        read = where(logical_and(ge(ids, 0), lt(cast(ids, i64), _count(rows))), ids, 0)
        hot = eq(reshape(iota(rows), (rows, 1)), reshape(read, (1, count)))
        return matmul(cast(hot, g.type.dtype), g), None

    def batch(self, size: int, batched: Sequence[bool], table: Value, ids: Value) -> Value:
        return _of_tables(self, size, batched, table, ids)


def _count(rows: Dim) -> Value | int:
    """A size, counted when the program runs where it is known only then."""
    if isinstance(rows, int):
        return rows
    return reduce.sum(broadcast_to(constant(1, TensorType(i64, ())), (rows,)), (0,))


class Gather(Composite, name="gather", version=1, amp=Amp.KEEP_INPUT):
    """Elements along one axis by number, as `torch.gather`: y[i, j] = x[index[i, j], j] for axis 0.

    x: plain, any rank >= 1; index: integers, of x's shape but along `axis`. Result: shape of index, dtype of x. A
    number outside the axis reads element 0. The decomposition compares each number with every position of the axis."""

    samples = (
        sample(tensor(f32, 4, 3), (tensor(i32, 2, 3), Uniform(0, 3)), axis=0),
        sample(tensor(f64, 4, 3), (tensor(i64, 4, 5), Uniform(0, 2)), axis=1),
        sample(tensor(i32, 4), (tensor(i32, dim(N)), Uniform(-2, 6)), axis=0, symbols={"n": 5}),
        sample(tensor(f64, 2, 3, 4), (tensor(i32, 2, 1, 4), Uniform(0, 2)), axis=1),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, index: TensorType, *, axis: int) -> TensorType:
        plain(x, "gather")
        _numbers(index, "gather")
        if not 0 <= axis < x.rank:
            raise ShapeError(f"gather: axis {axis} is outside {x}")
        others = [i for i in range(x.rank) if i != axis]
        if index.rank != x.rank or any(index.shape[i] != x.shape[i] for i in others):
            raise ShapeError(f"gather: {shown(index.shape)} and {shown(x.shape)} differ outside axis {axis}")
        if not isinstance(x.shape[axis], int) or x.shape[axis] == 0:
            raise ShapeError(f"gather reads an axis of known size, not empty, found axis {axis} of {x}")
        return TensorType(x.element, index.shape)

    def call(self, x: Value, index: Value, axis: int) -> Value:
        return self.build(x, index, axis=normalize_axis(axis, x.type.rank, "gather"))

    def reference(self, x: Array, index: Array, *, axis: int) -> Array:
        inside = np.where((index >= 0) & (index < x.shape[axis]), index, 0).astype(np.int64)
        return np.take_along_axis(x, inside, axis)

    def decompose(self, x: Value, index: Value, *, axis: int) -> Value:
        size = _count(x.type.shape[axis])
        last = x.type.rank
        numbers = cast(index, i64)
        inside = where(logical_and(ge(numbers, 0), lt(numbers, size)), numbers, 0)
        order = [*(i for i in range(last) if i != axis), axis]
        rows = transpose(x, order) if order != list(range(last)) else x  # (..., size)
        wanted = transpose(inside, order) if order != list(range(last)) else inside  # (..., count)
        hot = eq(unsqueeze(wanted, last), iota(x.type.shape[axis]))
        zero_or_x = where(hot, unsqueeze(rows, last - 1), 0)
        found = cast(reduce.sum(zero_or_x, last), x.type.dtype)
        return transpose(found, [order.index(i) for i in range(last)]) if order != list(range(last)) else found

    def batch(self, size: int, batched: Sequence[bool], x: Value, index: Value, *, axis: int) -> Value:
        return self.build(*all_batched(size, batched, x, index), axis=axis + 1)


class Take(Op, name="take", version=1, amp=Amp.KEEP_INPUT):
    """Rows of x by number, in x's dtype. x: (V, K) plain, ids: (N,) integers; (N, K). A number outside reads row 0."""

    samples = (
        sample(tensor(f32, 5, 4), (tensor(i32, 3), Uniform(0, 4))),
        sample(tensor(f64, 5, 1), (tensor(i64, dim(N)), Uniform(0, 4)), symbols={"n": 6}),
        sample(tensor(bf16, 5, 17), (tensor(i32, 3), Uniform(-3, 8))),
        sample((tensor(i64, 5, 3), Uniform(-9, 9)), (tensor(i32, 4), Uniform(0, 4))),
        sample((tensor(bool_, 5, 3), Uniform(0, 1)), (tensor(i64, 4), Uniform(0, 4))),
        sample(tensor(bf16, 5, 1), (tensor(i64, 140), Uniform(-3, 8))),
        sample((tensor(bool_, 5, 1), Uniform(0, 1)), (tensor(i32, 40), Uniform(0, 4))),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, ids: TensorType) -> TensorType:
        plain(x, "take")
        if x.rank != 2 or ids.rank != 1:
            raise ShapeError(f"take needs rows (V, K) and ids (N,), found {x} and {ids}")
        if x.shape[0] == 0:
            raise ShapeError(f"take needs at least one row, found {x}")
        _numbers(ids, "take")
        return TensorType(x.element, (ids.shape[0], x.shape[1]))

    def call(self, x: Value, ids: Value) -> Value:
        return self.build(x, ids)

    def reference(self, x: Array, ids: Array) -> Array:
        return x[np.where((ids >= 0) & (ids < x.shape[0]), ids, 0)]

    def gradient(self, g: Value, x: Value, ids: Value, y: Value) -> Sequence[Value | None]:
        zero = broadcast_to(constant(0, TensorType(g.type.dtype, ())), x.type.shape)
        inside = where(logical_and(ge(ids, 0), lt(cast(ids, i64), _count(x.type.shape[0]))), ids, 0)
        return put(zero, inside, g, accumulate=True), None

    def batch(self, size: int, batched: Sequence[bool], x: Value, ids: Value) -> Value:
        return _of_tables(self, size, batched, x, ids)


class Put(Op, name="put", version=1, amp=Amp.KEEP_INPUT):
    """x with rows replaced, or added to if `accumulate`. x: (V, K), ids: (N,) integers, rows: (N, K) of x's dtype.

    Of a row that is named twice the last one stays; sums are taken in the order of ids. Numbers outside are dropped."""

    samples = (
        sample(tensor(f32, 5, 4), (tensor(i32, 3), Uniform(0, 4)), tensor(f32, 3, 4)),
        sample(
            tensor(f64, 5, 1),
            (tensor(i64, dim(N)), Uniform(0, 4)),
            tensor(f64, dim(N), 1),
            symbols={"n": 7},
            accumulate=True,
        ),
        sample(tensor(bf16, 5, 17), (tensor(i32, 3), Uniform(-3, 8)), tensor(bf16, 3, 17), accumulate=True),
        sample(
            (tensor(i64, 5, 3), Uniform(-9, 9)), (tensor(i32, 4), Uniform(0, 4)), (tensor(i64, 4, 3), Uniform(-9, 9))
        ),
        sample(tensor(f64, 70, 40), (tensor(i32, 9), Uniform(0, 69)), tensor(f64, 9, 40), accumulate=True),
    )
    error = LargestUlp(f64=4, f32=4, f16=2, bf16=2)
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, ids: TensorType, rows: TensorType, *, accumulate: bool = False) -> TensorType:
        plain(x, "put")
        if x.rank != 2 or ids.rank != 1 or rows.shape != (*ids.shape, *x.shape[1:]):
            raise ShapeError(f"put needs x (V, K), ids (N,) and rows (N, K), found {x}, {ids} and {rows}")
        if rows.element != x.element:
            raise DTypeError(f"put needs rows of x's dtype, found {x} and {rows}")
        _numbers(ids, "put")
        return x

    def call(self, x: Value, ids: Value, rows: Value, accumulate: bool = False) -> Value:
        return self.build(x, ids, rows, accumulate=accumulate)

    def reference(self, x: Array, ids: Array, rows: Array, *, accumulate: bool = False) -> Array:
        y = np.array(x)
        kept = (ids >= 0) & (ids < x.shape[0])
        if accumulate:
            np.add.at(y, ids[kept], rows[kept])
        else:
            y[ids[kept]] = rows[kept]
        return y

    def gradient(
        self, g: Value, x: Value, ids: Value, rows: Value, y: Value, *, accumulate: bool
    ) -> Sequence[Value | None]:
        """Of rows that were replaced x has no gradient; of equal ids the last one has all of it."""
        inside = logical_and(ge(ids, 0), lt(cast(ids, i64), _count(x.type.shape[0])))
        n = ids.type.shape[0]
        read = where(reshape(inside, (n, 1)), take(g, ids), 0.0)
        if accumulate:
            return g, None, read
        size = x.type.shape[0]
        order = cast(iota(n), i32)
        none = broadcast_to(constant(-1, TensorType(i32, ())), (size, 1))
        last = put(none, ids, reshape(order, (n, 1)))  # (V, 1): which of ids stands in a row
        mine = eq(reshape(take(last, ids), (n,)), order)
        return where(eq(last, -1), g, 0.0), None, where(reshape(mine, (n, 1)), read, 0.0)

    def batch(
        self, size: int, batched: Sequence[bool], x: Value, ids: Value, rows: Value, *, accumulate: bool = False
    ) -> Value:
        x, ids, rows = all_batched(size, batched, x, ids, rows)
        count, depth = x.type.shape[1:]
        y = self.build(
            reshape(x, (-1, depth)),
            _row_numbers(size, ids, count, -1),
            reshape(rows, (-1, depth)),
            accumulate=accumulate,
        )
        return reshape(y, (size, count, depth))


embedding = public(Embedding, Embedding.call)
gather = public(Gather, Gather.call)
take = public(Take, Take.call)
put = public(Put, Put.call)
