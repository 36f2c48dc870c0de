"""Products: `matmul` as users write it, and `linear`, the form x @ transpose(w) that weights take in the compiler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import OPERATORS, Value
from ..ir.types import DType, Symbol, TensorType, bf16, bool_, dim, f16, f32, f64, i32, tensor
from ..quant.activation import ActivationFormat
from ..quant.formats import Q4_0, Q8_0
from .error import LargestUlp
from .gradient import sum_to
from .op import Amp, Array, Batching, Forward, Op, get, public
from .rules import broadcast, floating, promote
from .samples import sample
from .shape import lengthened, reshape, transpose

N = Symbol("n", 8)
_n = dim(N)


def _product_dtype(x: TensorType, w: TensorType, op: str) -> DType:
    """The dtype of a product: as in arithmetic for plain operands; blocks count as floats of the other's width."""
    if not isinstance(x.element, DType):
        raise DTypeError(f"the left side of {op} must have plain elements, found {x}", help="use dequantize(x) first")
    if not isinstance(w.element, DType):
        return floating(x.element)
    dtype = promote(x.element, w.element)
    if dtype == bool_:
        raise DTypeError(f"{op} takes numbers, found {x} and {w}", help="use cast(x, i32) first")
    return dtype


class Matmul(Op, name="matmul", version=1, amp=Amp.LOWER):
    """a @ b over the last two axes, leading axes broadcast. b may be a transposed matrix of quantized blocks.

    a: (..., M, K), b: (..., K, N) -> (..., M, N); a vector (K,) on either side has no axis of its own in the result.
    transpose_a: a is (..., K, M) and is read as it lies: what the compiler makes of a transpose of a.
    Dtypes promote; with blocks the result is a's float dtype, or f32. Integers wrap around. `dtype`: as for `linear`,
    of floats. Raises ShapeError if the inner sizes differ."""

    samples = (
        sample(tensor(f32, 3, 4), tensor(f32, 4, 5)),
        sample(tensor(f64, 2, 1, 3, 4), tensor(f64, 5, 4, 2)),
        sample(tensor(f32, _n, 4), tensor(f32, 4, 5), symbols={"n": 3}),
        sample(tensor(f64, 4), tensor(f64, 4)),
        sample(tensor(f64, 4), tensor(f64, 2, 4, 5)),
        sample(tensor(f64, 2, 3, 4), tensor(f64, 4)),
        sample(tensor(f16, 3, 8), tensor(bf16, 8, 2)),
        sample(tensor(i32, 2, 3), tensor(i32, 3, 2)),
        sample(tensor(bf16, 3, 8), tensor(bf16, 8, 2), dtype=f32),
        sample(tensor(f32, 2, 0), tensor(f32, 0, 3)),
        sample(tensor(f32, 2, 4, 3), tensor(f32, 4, 5), transpose_a=True),
        sample(tensor(f64, 4, _n), tensor(f64, 4, 5), transpose_a=True, symbols={"n": 3}),
    )
    error = LargestUlp(f64=32, f32=32, f16=4, bf16=4)
    batching = Batching.RULE
    forward = Forward.MULTILINEAR

    def infer(
        self, a: TensorType, b: TensorType, *, transpose_a: bool = False, dtype: DType | None = None
    ) -> TensorType:
        if a.rank < 1 or b.rank < 1:
            raise ShapeError(f"`@` needs tensors of at least one axis, got {a} and {b}")
        if transpose_a and (a.rank < 2 or b.rank < 2):
            raise ShapeError(f"a transposed product is of matrices, got {a} and {b}")
        inner_a, inner_b = a.shape[-2 if transpose_a else -1], b.shape[-2] if b.rank > 1 else b.shape[-1]
        if inner_a != inner_b:
            raise ShapeError(f"`@` needs equal inner dimensions, got {inner_a} and {inner_b}")
        natural = _product_dtype(a, b, "`@`")
        for t in (a, b):
            if t.layout is not None:
                raise DTypeError(f"`@` takes elements in rows, found {t}", help="linear(x, w) reads packed weights")
        batch = broadcast(a.shape[:-2], b.shape[:-2], what="leading axes of `@`")
        rows, columns = a.shape[-1:] if transpose_a else a.shape[-2:-1], b.shape[-1:] if b.rank > 1 else ()
        return TensorType(dtype or natural, (*batch, *rows, *columns))

    def call(self, a: Value, b: Value) -> Value:
        return self.build(a, b)

    def reference(self, a: Array, b: Array, *, transpose_a: bool = False, dtype: DType | None = None) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(a.swapaxes(-1, -2) if transpose_a else a, b))

    def gradient(
        self, g: Value, a: Value, b: Value, y: Value, *, transpose_a: bool = False, dtype: DType | None = None
    ) -> Sequence[Value | None]:
        if transpose_a:
            ga, gb = self.gradient(g, transpose(a), b, y)
            return None if ga is None else transpose(ga), gb
        wide_a = a if a.type.rank > 1 else reshape(a, (1, *a.type.shape))
        wide_b = b if b.type.rank > 1 else reshape(b, (*b.type.shape, 1))
        rows, columns = wide_a.type.shape[-2], wide_b.type.shape[-1]
        g = reshape(g, (*broadcast(a.type.shape[:-2], b.type.shape[:-2]), rows, columns))
        ga = reshape(sum_to(matmul(g, transpose(_floats(wide_b))), wide_a.type), a.type.shape)
        if not isinstance(b.type.element, DType):  # blocks are not trained: what is, is a float copy or an adapter
            return ga, None
        if b.type.rank == 2:  # one product over all rows, not one for each leading index and their sum
            depth = a.type.shape[-1]
            return ga, matmul(transpose(reshape(a, (-1, depth))), reshape(g, (-1, columns)))
        return ga, reshape(sum_to(matmul(transpose(wide_a), g), wide_b.type), b.type.shape)

    def batch(
        self,
        size: int,
        batched: Sequence[bool],
        a: Value,
        b: Value,
        *,
        transpose_a: bool = False,
        dtype: DType | None = None,
    ) -> Value:
        """Vectors become rows and columns, whose axis goes away again."""
        ra, rb = a.type.rank - batched[0], b.type.rank - batched[1]
        if ra == 1:
            a = reshape(a, (*a.type.shape[:-1], 1, a.type.shape[-1]))
        if rb == 1:
            b = reshape(b, (*b.type.shape, 1))
        rank = max(ra, rb, 2)
        given = (lengthened(x, rank) if on else x for x, on in zip((a, b), batched, strict=True))
        y = self.build(*given, transpose_a=transpose_a, dtype=dtype)
        shape = y.type.shape
        if ra == 1 and rb == 1:
            return reshape(y, shape[:-2])
        return reshape(y, shape[:-1]) if rb == 1 else reshape(y, (*shape[:-2], shape[-1])) if ra == 1 else y


class Linear(Op, name="linear", version=1, amp=Amp.LOWER):
    """y[..., o] = sum_k x[..., k] * w[o, k]. x: (..., K) plain, or int8 activations; w: (O, K), any element and layout.

    Dtypes promote; with blocks the result is x's float dtype, or f32; with int8 activations it is f32. `dtype` asks for
    another result than those: sums are formed in f32 at least, so f32 of f16 and bf16 operands loses nothing."""

    samples = (
        sample(tensor(f32, 3, 4), tensor(f32, 5, 4)),
        sample(tensor(bf16, _n, 6), tensor(bf16, 5, 6), dtype=f32, symbols={"n": 3}),
        sample(tensor(f64, 2, _n, 4), tensor(f64, 5, 4), symbols={"n": 3}),
        sample(tensor(f32, _n, 32), tensor(Q8_0, 3, 32), symbols={"n": 2}),
        sample(tensor(f16, 64), tensor(Q4_0, 5, 64)),
        sample(tensor(f32, 2, 4), tensor(bf16, 3, 4)),
    )
    error = LargestUlp(f64=32, f32=32, f16=4, bf16=4)
    batching = Batching.RULE
    forward = Forward.MULTILINEAR

    def infer(self, x: TensorType, w: TensorType, *, dtype: DType | None = None) -> TensorType:
        if w.rank != 2 or x.rank < 1 or x.shape[-1] != w.shape[1]:
            raise ShapeError(f"linear needs x (..., K) and w (O, K), found {x} and {w}")
        natural = f32 if isinstance(x.element, ActivationFormat) else _product_dtype(x, w, "linear")
        return TensorType(dtype or natural, (*x.shape[:-1], w.shape[0]))

    def call(self, x: Value, w: Value, dtype: DType | None = None) -> Value:
        return self.build(x, w) if dtype is None else self.build(x, w, dtype=dtype)

    def reference(self, x: Array, w: Array, *, dtype: DType | None = None) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(x, w.T))

    def gradient(self, g: Value, x: Value, w: Value, y: Value, *, dtype: DType | None = None) -> Sequence[Value | None]:
        gx = matmul(g, _floats(w))
        if not isinstance(w.type.element, DType):
            return gx, None
        return gx, matmul(transpose(reshape(g, (-1, w.type.shape[0]))), reshape(x, (-1, w.type.shape[1])))

    def batch(self, size: int, batched: Sequence[bool], x: Value, w: Value, *, dtype: DType | None = None) -> Value:
        if not batched[1]:
            return self.build(x, w, dtype=dtype)
        to = dtype or _product_dtype(x.type, w.type, "linear")
        a, b = (get("cast")(v, to) for v in (x, transpose(w)))  # (B, ..., K), (B, K, O)
        rows = reshape(a, (size, -1, a.type.shape[-1]) if batched[0] else (-1, a.type.shape[-1]))
        lead = a.type.shape[1:-1] if batched[0] else a.type.shape[:-1]
        return reshape(matmul(rows, b), (size, *lead, b.type.shape[-1]))


def _floats(w: Value) -> Value:
    """A matrix of blocks, or the transposed form of one, as plain elements."""
    if isinstance(w.type.element, DType):
        return w
    if w.node.op.name == "transpose":
        return transpose(_floats(w.node.inputs[0]), w.node.attrs["axes"])
    return get("dequantize").build(w)


matmul = public(Matmul, Matmul.call)
linear = public(Linear, Linear.call)

OPERATORS.update(matmul=matmul)
