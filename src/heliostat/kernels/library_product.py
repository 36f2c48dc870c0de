"""Which products a vendor's library may take in place of our own kernels, and under which keys a tuner's choice lies.

Large dense ones of f16 or bf16 with plain operands of fixed sizes, and behind them a linear layer's bias at most: what
else stands there has a kernel of its own then, whose bytes the tuner counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir.graph import Graph, Node
from ..ir.types import TensorType, bf16, f16, f32, numel
from ..kernel.library import LibraryProduct
from .group import Group
from .matmul_packed import sizes

LEAST = 2.0 * 1024**3  # operations: below them a launch's own time decides


def product_of(group: Group) -> LibraryProduct | str:
    """The product that a group is, or why a library cannot take it."""
    found = first_of(group)
    behind = len(group.nodes) - 1
    if isinstance(found, str):
        return found
    if behind > found.bias or (found.bias and group.inputs[2] not in group.nodes[1].inputs):
        return f"{behind} nodes are fused behind it"
    return found


def first_of(group: Group, operands: tuple[TensorType, TensorType] | None = None) -> LibraryProduct | str:
    """The product that a group begins with, and the bias if that is added to it; or why a library cannot take it.
    `operands`: as `product_of_node` has them."""
    root = group.root
    (y,) = root.results[:1]
    if list(map(id, group.inputs[:2])) != list(map(id, root.inputs)):
        return "both operands are one"
    if any(n.op is root.op for n in group.nodes if n is not root):
        return "products stand side by side"
    found = product_of_node(root, operands)
    readers = [n for n in group.nodes if y in n.inputs]
    return found if isinstance(found, str) else replace(found, bias=y not in group.outputs and _adds_row(root, readers))


def product_of_node(root: Node, operands: tuple[TensorType, TensorType] | None = None) -> LibraryProduct | str:
    """The product that a `matmul` is, or a `linear`; or why a library cannot take it. `operands`: their types, if they
    are to be others than they are."""
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
    if a.rank < 2 or b.rank < 2:
        return "an operand is a vector"
    kinds = a.element.name, result.element.name
    if root.op.name == "linear":
        found = LibraryProduct(*kinds, _rows(a.shape[:-1]), int(a.shape[-1]), int(b.shape[0]), b_turned=True)  # type: ignore[arg-type]
    else:
        turned, (m, k, n) = bool(root.attrs["transpose_a"]), map(int, sizes(root))  # type: ignore[arg-type]
        if b.rank == 2 and not turned:  # rows of all matrices on the left are rows of one
            found = LibraryProduct(*kinds, _rows(a.shape[:-1]), k, n)
        elif a.shape[:-2] != b.shape[:-2]:
            return "matrices of a batch are read several times"
        else:
            found = LibraryProduct(*kinds, m, k, n, _rows(a.shape[:-2]), turned)
    if found.operations < LEAST:
        return "it is small"
    if any(d % 8 for d in (found.rows, found.depth, found.columns)):
        return "rows are not of whole 16 bytes"
    return found


def _rows(shape: Sequence[object]) -> int:
    rows = numel(shape)  # type: ignore[arg-type]
    assert isinstance(rows, int)
    return rows


def whole_of(group: Group) -> LibraryProduct | None:
    """The product of two matrices whose sum was cut into parts, a batch of products (`compiler/split_depth.py`); None
    where a group is something else."""
    found = product_of(group)
    if isinstance(found, str) or found.batch == 1 or not found.turned or found.result != "f32":
        return None
    if not all(v.node.op.name == "reshape" and v.node.inputs[0].type.rank == 2 for v in group.root.inputs):
        return None
    return replace(found, result=found.kind, depth=found.depth * found.batch, batch=1)


def _adds_row(root: Node, readers: Sequence[Node]) -> bool:
    """Whether all that reads a product adds one row of its dtype, a bias."""
    (y,) = root.results[:1]
    if len(readers) != 1 or readers[0].op.name != "add":
        return False
    row = [v.type for v in readers[0].inputs if v is not y]
    return row == [TensorType(y.type.element, y.type.shape[-1:])]


def choices(graph: Graph, entries: Mapping[str, Mapping[str, object]]) -> dict[int, LibraryProduct]:
    """The products of a graph that a tuner gave to a library, by their nodes' id()."""
    if not any("algorithm" in entry for entry in entries.values()):
        return {}
    users, kept = graph.users(), {id(v) for v in graph.results()}
    found: dict[int, LibraryProduct] = {}
    for node in graph.nodes():
        product = product_of_node(node) if len(node.results) == 1 else ""
        if isinstance(product, str):
            continue
        y = node.results[0]
        bias = id(y) not in kept and _adds_row(node, users.get(id(y), ()))
        for one in [replace(product, bias=True)] * bias + [product]:  # or what reads it adds the bias as before
            if id(node) not in found and (given := chosen(one, entries)) is not None:
                found[id(node)] = given
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
