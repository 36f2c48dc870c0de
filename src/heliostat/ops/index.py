"""Reading rows by number: embedding."""

from __future__ import annotations

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import DType, TensorType, f32
from .op import REGISTRY, Array, Op, plain


class Embedding(Op):
    """Rows of a table. table: (V, K) of any element type, ids: (N,) integers; (N, K) f32, or the table's own f64."""

    name = "embedding"

    def infer(self, table: TensorType, ids: TensorType) -> TensorType:
        if table.rank != 2 or ids.rank != 1:
            raise ShapeError(f"embedding needs a table (V, K) and ids (N,), found {table} and {ids}")
        if plain(ids, "embedding").is_float:
            raise DTypeError(f"embedding ids must be integers, found {ids}")
        return TensorType(table.element if isinstance(table.element, DType) and table.element.bits == 64 else f32,
                          (ids.shape[0], table.shape[1]))  # fmt: skip

    def reference(self, table: Array, ids: Array) -> Array:
        return table[ids]


def embedding(table: Value, ids: Value) -> Value:
    """Rows of a table by number. table: (V, K) of any element type, ids: (N,) integers; (N, K) f32."""
    return REGISTRY["embedding"].build(table, ids)
