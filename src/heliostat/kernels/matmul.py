"""Schedule of `matmul` of two row-major operands, with batches and a fused epilogue: register tiles over rows and
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..ir.graph import Value
from ..ir.types import Dim, DType, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..targets.target import Target
from .elementwise import PointEvaluator, reads_in_place
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem, epilogue_refusal
from .matmul_packed import PackedNest, PackedTile, sizes
from .matmul_packed import default_tile as packed_tile
from .matmul_packed import fitted as fitted_to

ROOTS = ("matmul",)


@dataclass(frozen=True)
class MatmulTile:
    """`rows` by `vectors` accumulators; columns that fill no tile are done by one masked vector of all its rows, rows
    that fill none one at a time."""

    rows: int = 6
    vectors: int = 2


Tile = PackedTile


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`matmul DTYPE` or `transposed matmul DTYPE`, `MxKxN` with upper bounds for symbols, and `large` where there is
    something to choose."""
    turned = "transposed " if group.root.attrs["transpose_a"] else ""
    shape = "x".join(str(upper_bound(d)) for d in sizes(group.root))
    return f"{turned}matmul {group.root.results[0].type.dtype}", shape, "large" if _large(group) else ""


def fitted(tile: PackedTile, group: Group, target: Target) -> PackedTile:
    """A tile that was chosen for products of any size, made to fit this one."""
    return fitted_to(tile, group.root, target)


def candidates(group: Group, target: Target) -> list[PackedTile]:
    """Packed tiles for large products; small ones have nothing to choose."""
    if not _packed(group, target):
        return []
    usual = packed_tile(target)
    others = [replace(usual, band=usual.rows * n) for n in (8, 16, 24, 57)]
    others += [replace(usual, depth=d) for d in (128, 192, 256)]
    others.append(replace(usual, band=usual.rows * 16, bands=10, depth=96, ahead=1))
    others += [replace(usual, bands=n, stripe=16) for n in (1, 2, 4)]
    if target.vector_registers >= 32:
        shapes = ((8, 3, 256, 18, 160), (12, 2, 144, 16, 256), (14, 2, 140, 16, 256))
        others += [PackedTile(*shape) for shape in shapes]
        deep = replace(usual, band=144, depth=256)
        others += [deep, replace(deep, ahead=1), replace(deep, band=96, bands=6, ahead=1)]
    return list(dict.fromkeys([fitted(usual, group, target), usual, *others]))


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "matmul":
        return Refuse(f"root is {root.op.name}, not matmul")
    a, b = root.inputs
    for v in (a, b):
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse(f"operands must be plain and row-major, found {v.type}")
    if a.type.rank < 2 or b.type.rank < 2:
        return Refuse("operands of one axis are reshaped first")
    if compute_elem(root.results[0].type.dtype) not in ("f32", "f64", "i32", "i64"):
        return Refuse(f"no product in {root.results[0].type.dtype}")
    reason = epilogue_refusal(group)
    if reason is not None:
        return Refuse(reason)
    return Accept()


def may_overwrite(group: Group, old: Value, new: Value) -> bool:
    """Whether the result `new` may take the memory of `old`: where only the epilogue reads it, element by element."""
    return all(v is not old for v in group.root.inputs) and reads_in_place(group, old, new)


def build(group: Group, target: Target, name: str, tile: MatmulTile | PackedTile | None = None) -> Kernel:
    """a: (..., M, K), or (..., K, M) if `transpose_a`; b: (..., K, N), out: (..., M, N).

    2 M N K operations; b is read M / tile.rows times from cache.
    """
    if isinstance(tile, PackedTile) or (tile is None and _packed(group, target)):
        packed = tile or fitted(packed_tile(target), group, target)
        return PackedNest(group, target, name, packed).build().finish()
    registers = target.vector_registers
    chosen = tile or _even(MatmulTile(12, 2) if registers >= 32 else MatmulTile(4, 2), group)
    return _Nest(group, target, name, chosen).build()


def _even(tile: MatmulTile, group: Group) -> MatmulTile:
    """The tile whose height leaves little over: rows that fill no tile are done one at a time, at several times the
    cost. Each tile also costs its loads of b."""
    rows, _, _ = sizes(group.root)
    if not isinstance(rows, int):
        return tile

    def cost(height: int) -> int:
        return rows // height * (height + 3) + rows % height * 6

    return replace(tile, rows=min(range(tile.rows, 0, -1), key=cost))


def _packed(group: Group, target: Target) -> bool:
    """Whether operands are copied. Blocks are as large as a core's caches; a warp has no private memory of such a
    size."""
    return not target.gpu and _large(group)


def _large(group: Group) -> bool:
    """Whether copies of the operands pay: each element of b serves many rows, and of a many columns."""
    rows, depth, columns = map(upper_bound, sizes(group.root))
    return rows >= 24 and columns >= 48 and depth >= 32 and rows * depth * columns >= 1 << 19


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, tile: MatmulTile) -> None:
        self.group, self.tile = group, tile
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        outs = [(v, k.buffer(f"o{n}", "w")) for n, v in enumerate(group.outputs)]
        self.dims = Dims(k, group.symbols)
        self.operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.results = [TensorOperand(k, self.dims, b, v.type) for v, b in outs]
        self.outputs = [v for v, _ in outs]
        self.root = group.root.results[0]
        self.a, self.b = (self.operands[v] for v in group.root.inputs)
        self.elem = compute_elem(self.root.type.dtype)
        self.lanes = target.lanes_of(ELEMENT_BYTES[self.elem])
        self.epilogue = PointEvaluator(k, self.dims, self.operands)
        self.batch: tuple[Dim, ...] = self.root.type.shape[:-2]
        self.rows, self.columns = self.dims(self.root.type.shape[-2]), self.dims(self.root.type.shape[-1])
        self.turned = bool(group.root.attrs["transpose_a"])
        self.depth = self.dims(sizes(group.root)[1])

    def build(self) -> Kernel:
        k, tile = self.k, self.tile
        width = tile.vectors * self.lanes
        bands = (self.rows + (tile.rows - 1)) // tile.rows
        stripes = (self.columns + (width - 1)) // width
        batches = self.dims(numel(self.batch))
        for item in k.parallel(batches * stripes * bands):
            band, rest = item % bands, item // bands
            stripe, batch = rest % stripes, rest // stripes
            index = self.dims.index(self.batch, batch)
            first, column = band * tile.rows, stripe * width
            whole = (first + tile.rows <= self.rows) & (column + width <= self.columns)
            for _ in k.when(whole):
                self._tile(index, [first + m for m in range(tile.rows)], column, tile.vectors, None)
            for _ in k.otherwise():
                edge = k.minimum(column + width, self.columns)
                high = first + tile.rows <= self.rows
                for c in k.loop(column, edge, self.lanes):
                    left = k.convert(edge - c, "i32")
                    mask = k.iota("i32", self.lanes) < k.splat(left, self.lanes)
                    for _ in k.when(high):
                        self._tile(index, [first + m for m in range(tile.rows)], c, 1, mask)
                    for _ in k.otherwise():
                        for n in k.loop(first, self.rows):
                            self._tile(index, [n], c, 1, mask)
        return k.finish()

    def _tile(
        self,
        batch: Sequence[Instruction],
        rows: Sequence[Instruction],
        column: Instruction,
        wide: int,
        mask: Instruction | None,
    ) -> None:
        k, lanes = self.k, self.lanes
        acc: list[list[Variable]] = [[k.var(k.zeros(self.elem, lanes)) for _ in range(wide)] for _ in rows]
        floats = self.elem in ("f32", "f64")
        for e in k.loop(self.depth):
            vectors = [self._as(self.b.load([*batch, e, column + s * lanes], lanes, mask)) for s in range(wide)]
            for m, n in enumerate(rows):
                x = k.splat(self._as(self.a.load([*batch, e, n] if self.turned else [*batch, n, e])), lanes)
                for s in range(wide):
                    now = acc[m][s].get()
                    acc[m][s].set(k.fma(x, vectors[s], now) if floats else x * vectors[s] + now)
        for m, n in enumerate(rows):
            for s in range(wide):
                self._store([*batch, n, column + s * lanes], acc[m][s].get(), mask)

    def _as(self, value: Instruction) -> Instruction:
        return self.k.convert(value, self.elem)

    def _store(self, index: Sequence[Instruction], value: Instruction, mask: Instruction | None) -> None:
        preset: dict[Value, Instruction] = {self.root: value}
        done = self.epilogue.all_at(self.outputs, index, self.lanes, mask, preset)
        for operand, out in zip(self.results, done, strict=True):
            operand.store(index, out, mask)
