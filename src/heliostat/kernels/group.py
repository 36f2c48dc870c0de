"""What a schedule gets and gives: the fused group of graph nodes, its answer whether it can take it, and buffer
operands.

Kernel parameters always stand in this order: the group's inputs, its outputs, then one i64 slot per symbol by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..ir.graph import Node, Value, node_symbols
from ..ir.types import Dim, DType, Symbol, SymbolicDim, TensorType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Operand
from ..kernel.warp import WARP

ALIASES = frozenset({"reshape", "squeeze", "unsqueeze", "flatten"})  # ops whose result is a name for a buffer
CHUNKS = 32
"""Of a worker's share where it takes long: a core that is slower than others, or is used by others too, gives them some
of its own."""


@dataclass(frozen=True)
class Accept:
    """The schedule can take the group; `seconds` is its estimate where one is made, for choosing between schedules."""

    seconds: float = 0.0


@dataclass(frozen=True)
class Refuse:
    """The schedule cannot take the group; the reason goes to the explain report."""

    reason: str


@dataclass(frozen=True)
class Group:
    """Nodes that become one kernel, in topological order.

    `inputs` are read from memory, `outputs` written to memory; values in between never leave registers or private
    memory.
    `root` is the node that decides the schedule (a matmul, an attention, the last elementwise node ...).
    `beside`: outputs of all products that read the same activations as a product that is the root: they run at once.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    root: Node
    beside: int = 0

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols of all types and attributes in the group, by name."""
        found = {s for v in (*self.inputs, *self.outputs) for s in v.type.symbols}
        found |= {s for n in self.nodes for s in node_symbols(n)}
        return tuple(sorted(found, key=lambda s: s.name))


def epilogue_refusal(group: Group, products: Sequence[Node] = ()) -> str | None:
    """Why the nodes after a product cannot be its epilogue; None where they can: elementwise, over the same shape.

    `products`: nodes that stand beside the root and are no epilogue.
    """
    root = group.root
    if group.nodes[0] is not root or any(v.node is n for v in root.inputs for n in group.nodes[1:]):
        return "something is computed before the product"
    for node in group.nodes[1:]:
        if not getattr(node.op, "elementwise", False) and not any(node is p for p in products):
            return f"{node.op.name} is not elementwise"
        if node.results[0].type.shape != root.results[0].type.shape and not _is_cast_row(node, group):
            return f"{node.op.name} has another shape than the product"
    return None


def _is_cast_row(node: Node, group: Group) -> bool:
    """Whether a node is a cast of one row, a bias say, that only others of the group read."""
    row, inside = group.root.results[0].type.shape[-1:], not any(v in group.outputs for v in node.results)
    return node.op.name == "cast" and inside and tuple(node.results[0].type.shape) == tuple(row)


class Dims:
    """Dimensions as kernel values: ints stay constants, symbols are read once at the kernel's start."""

    def __init__(self, k: KernelBuilder, symbols: Iterable[Symbol]) -> None:
        self.k = k
        self.symbols = {s: k.dim(s.name) for s in symbols}

    def __call__(self, d: Dim) -> Instruction:
        k = self.k
        if not isinstance(d, SymbolicDim):
            return k.const(d, "i64")
        total = k.const(0, "i64")
        for key, coefficient in d.terms:
            term = k.const(coefficient, "i64")
            for symbol in key:
                term = term * self.symbols[symbol]
            total = total + term
        return total

    def index(self, shape: Sequence[Dim], number: Instruction) -> list[Instruction]:
        """The index of element `number` of a row-major shape."""
        index: list[Instruction] = []
        for d in reversed(shape[1:]):
            size = self(d)
            index.insert(0, number % size)
            number = number // size
        return [number, *index] if shape else []

    def product(self, shape: Sequence[Dim]) -> Instruction:
        total: Dim = 1
        for d in shape:
            total = total * d
        return self(total)


def vectors(
    k: KernelBuilder, lo: Instruction, hi: Instruction, lanes: int
) -> Iterator[tuple[Instruction, Instruction | None]]:
    """Start and mask of each vector in lo .. hi; only the last one is masked, and none if they come out even."""
    whole = (hi - lo) // lanes * lanes + lo
    for c in k.loop(lo, whole, lanes):
        yield c, None
    if lanes > 1 and not (whole.op == "const" and hi.op == "const" and whole.value == hi.value):
        for _ in k.when(whole < hi):
            left = k.convert(hi - whole, "i32")
            yield whole, k.iota("i32", lanes) < k.splat(left, lanes)


# Plain dtypes as stored -> (element that is loaded, element that is computed with)
COMPUTE = {
    "f64": ("f64", "f64"), "f32": ("f32", "f32"), "f16": ("f16", "f32"), "bf16": ("i16", "f32"),
    "i64": ("i64", "i64"), "i32": ("i32", "i32"), "i16": ("i16", "i32"), "i8": ("i8", "i32"),
    "u32": ("i32", "i64"), "u16": ("i16", "i32"), "u8": ("i8", "i32"), "bool": ("i8", "i1"),
}  # fmt: skip


def compute_elem(dtype: DType) -> str:
    """The kernel element that values of a dtype are computed in: f16 and bf16 in f32, small integers in i32, bool as
    i1.
    """
    return COMPUTE[dtype.name][1]


def load_as_compute(
    k: KernelBuilder,
    buffer: Instruction,
    offset: Operand,
    dtype: DType,
    lanes: int = 1,
    mask: Instruction | None = None,
) -> Instruction:
    """Load elements of a plain dtype at a byte offset, widened to `compute_elem`."""
    stored, compute = COMPUTE[dtype.name]
    if dtype.name == "bf16" and k.capability and lanes % (2 * WARP) == 0 and mask is None:
        pairs = k.load(buffer, offset, "i32", lanes // 2)  # an instruction for each element instead of two
        low, high = (k.bitcast(half, "f32") for half in (pairs << 16, pairs & -65536))
        return k.shuffle(low, high, [n // 2 + n % 2 * (lanes // 2) for n in range(lanes)])
    raw = k.load(buffer, offset, stored, lanes, mask)
    if dtype.name == "bf16":
        return k.bitcast(k.convert(raw, "i32", signed=False) << 16, "f32")
    if dtype.name == "bool":
        return k.binary("ne", raw, 0)
    return k.convert(raw, compute, signed=dtype.kind != "u")


def store_from_compute(
    k: KernelBuilder,
    buffer: Instruction,
    offset: Operand,
    value: Instruction,
    dtype: DType,
    mask: Instruction | None = None,
) -> None:
    """Store a value held in `compute_elem` as a plain dtype at a byte offset, rounding floats to nearest even."""
    k.store(buffer, offset, stored_form(k, value, dtype), mask)


def stored_form(k: KernelBuilder, value: Instruction, dtype: DType) -> Instruction:
    """A value held in `compute_elem` as memory holds a plain dtype, floats rounded to nearest even."""
    stored, _ = COMPUTE[dtype.name]
    if dtype.name in ("bf16", "f16") and k.capability >= 80 and value.lanes % (2 * WARP) == 0:
        low, high = (k.shuffle(value, value, range(n, value.lanes, 2)) for n in (0, 1))
        return k.bitcast(k.pack_pair(low, high, dtype.name), stored)
    if dtype.name == "bf16":
        bits = k.bitcast(value, "i32")
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        quiet = k.select(k.binary("ne", value, value), (bits | 0x400000), rounded)
        return k.convert(quiet >> 16, "i16")
    if dtype.name == "bool":
        return k.convert(value, "i8", signed=False)
    return k.convert(value, stored, signed=dtype.kind != "u")


class TensorOperand:
    """A row-major tensor of a plain dtype in a kernel's buffer, read and written by index with broadcasting."""

    def __init__(self, k: KernelBuilder, dims: Dims, buffer: Instruction, type: TensorType) -> None:
        self.k, self.dims, self.buffer, self.type = k, dims, buffer, type

    def offset(self, index: Sequence[Operand]) -> Instruction:
        """Byte offset of an element. `index` is right-aligned with the shape; axes of size 1 read index 0."""
        k, shape = self.k, self.type.shape
        index = list(index)[len(index) - len(shape) :]
        total = k.const(0, "i64")
        for d, i in zip(shape, index, strict=True):
            total = total * self.dims(d) + (0 if d == 1 else i)
        return total * self.type.dtype.nbytes

    def load(self, index: Sequence[Operand], lanes: int = 1, mask: Instruction | None = None) -> Instruction:
        """`lanes` neighbours along the last axis from `index`, or one value spread over them where that axis has size
        1.
        """
        if not self.type.shape or self.type.shape[-1] == 1:
            return self.k.splat(load_as_compute(self.k, self.buffer, self.offset(index), self.type.dtype), lanes)
        return load_as_compute(self.k, self.buffer, self.offset(index), self.type.dtype, lanes, mask)

    def store(self, index: Sequence[Operand], value: Instruction, mask: Instruction | None = None) -> None:
        store_from_compute(self.k, self.buffer, self.offset(index), value, self.type.dtype, mask)
