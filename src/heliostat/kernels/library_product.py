"""Which products a vendor's library may take in place of our own kernels, and under which keys a tuner's choice lies.

Large dense ones of f16 or bf16 with plain operands of fixed sizes and nothing fused behind: an epilogue of ours is
cheaper in the kernel that has the sums than in a pass of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir.graph import Node
from ..ir.types import TensorType, bf16, f16, f32, numel
from ..kernel.library import LibraryProduct
from .group import Group
from .matmul_packed import sizes

LEAST = 2.0 * 1024**3  # operations: below them a launch's own time decides


def product_of(group: Group) -> LibraryProduct | str:
    """The product that a group is, or why a library cannot take it."""
    if len(group.nodes) != 1:
        return f"{len(group.nodes) - 1} nodes are fused behind it"
    if len(group.inputs) != 2 or list(map(id, group.inputs)) != list(map(id, group.root.inputs)):
        return "both operands are one"
    return product_of_node(group.root)


def product_of_node(root: Node, operands: tuple[TensorType, TensorType] | None = None) -> LibraryProduct | str:
    """The product that a `matmul` is, or a `linear`, taken as a @ transpose(w); or why a library cannot take it.
    `operands`: their types, if they are to be others than they are."""
    if root.op.name not in ("matmul", "linear"):
        return f"{root.op.name} is no product"
    a, b = operands or (v.type for v in root.inputs)
    result = root.results[0].type
    if a.element is not b.element or a.element not in (bf16, f16):
        return f"a library takes f16 or bf16 here, not {a.element} with {b.element}"
    if result.element not in (a.element, f32):
        return f"results of {result.element}"
    if a.layout is not None or b.layout is not None:
        return "an operand lies in panels"
    if not all(isinstance(d, int) for d in (*a.shape, *b.shape)):
        return "sizes are symbols"
    if root.op.name == "linear":
        if result.element is not a.element:
            return f"results of {result.element}"
        rows = numel(a.shape[:-1])
        assert isinstance(rows, int)
        found = LibraryProduct(a.element.name, result.element.name, rows, int(a.shape[-1]), int(b.shape[0]))  # type: ignore[arg-type]
    else:
        if a.shape[:-2] != b.shape[:-2]:
            return "matrices of a batch are read several times"
        turned, (m, k, n) = bool(root.attrs["transpose_a"]), map(int, sizes(root))  # type: ignore[arg-type]
        batch = numel(a.shape[:-2])
        assert isinstance(batch, int)
        found = LibraryProduct(a.element.name, result.element.name, m, k, n, batch, turned)
    if found.operations < LEAST:
        return "it is small"
    if any(d % 8 for d in (found.rows, found.depth, found.columns)):
        return "rows are not of whole 16 bytes"
    return found


def chosen(product: LibraryProduct, entries: Mapping[str, Mapping[str, object]]) -> LibraryProduct | None:
    """The product with the algorithm that a tuner chose for it; None where it chose our own kernel, or nothing."""
    algorithm = entries.get(product.key, {}).get("algorithm")
    if isinstance(algorithm, int) and not isinstance(algorithm, bool) and 0 <= algorithm < 64:
        return replace(product, algorithm=algorithm)
    return None


def reason(product: LibraryProduct, entries: Mapping[str, Mapping[str, object]]) -> str:
    """Why a library has a product, for a report."""
    entry = entries.get(product.key, {})
    times = [entry.get(name) for name in ("library_ns", "own_ns")]
    measured = ""
    if all(isinstance(t, int) for t in times):
        measured = f": {times[0] / 1e3:.1f} us, {times[1] / 1e3:.1f} us by the kernel"  # type: ignore[operator]
    return f"cuBLASLt computes it where it is installed (algorithm {product.algorithm}), chosen by the tuner{measured}"
