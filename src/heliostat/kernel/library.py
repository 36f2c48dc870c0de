"""A product that a vendor's library may compute in place of a kernel: an item of a program beside the others.

The kernel keeps its body, which says what is computed and runs wherever the library is not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryProduct:
    """y[b] = op(a[b]) op(b[b]) + bias with f32 sums: a (rows, depth), or (depth, rows) if `turned`; b (depth, columns),
    or (columns, depth) if `b_turned`; y (rows, columns), all row-major; `batch` of them, one behind the other. `kind`:
    bf16 or f16, of a and b; `result`: that or f32. `bias`: whether a row (columns,) of the result's dtype is added.
    `algorithm`: which of those that the library offers, its own order.
    """

    kind: str
    result: str
    rows: int
    depth: int
    columns: int
    batch: int = 1
    turned: bool = False
    algorithm: int = 0
    b_turned: bool = False
    bias: bool = False

    @property
    def key(self) -> str:
        """What a choice depends on."""
        many = f"{self.batch}x" if self.batch > 1 else ""
        flags = ("turned", self.turned), ("b_turned", self.b_turned), ("bias", self.bias)
        how = "".join(f" {name}" for name, given in flags if given)
        return f"product {self.kind} {self.result} {many}{self.rows}x{self.depth}x{self.columns}{how}"

    @property
    def operations(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.batch * self.rows * self.depth * self.columns
