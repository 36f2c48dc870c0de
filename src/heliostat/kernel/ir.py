"""The kernel IR: typed SSA instructions in nested blocks. Data only; `builder.py` makes it, printers and `interp.py`
read it.

An instruction has an op name, a type (None for statements), operands, attributes and, for regions, blocks. The
vocabulary and its meaning stand in `OPS`; `verify.py` checks every instruction against it. Integers are signless as in
LLVM: the op says whether it reads them as signed. A kernel is a function of buffers; memory is addressed by bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .library import LibraryProduct

ELEMENT_BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "f16": 2, "f32": 4, "f64": 8, "ptr": 8}
FLOATS = frozenset({"f16", "f32", "f64"})


@dataclass(frozen=True, slots=True)
class Type:
    """A scalar (`lanes` 1) or a vector of `lanes` elements of type `elem` (a key of ELEMENT_BYTES)."""

    elem: str
    lanes: int = 1

    @property
    def nbytes(self) -> int:
        return ELEMENT_BYTES[self.elem] * self.lanes

    @property
    def is_float(self) -> bool:
        return self.elem in FLOATS

    def of(self, elem: str) -> Type:
        """The same number of lanes of another element."""
        return Type(elem, self.lanes)

    def __str__(self) -> str:
        return self.elem if self.lanes == 1 else f"{self.elem}x{self.lanes}"


# op -> (arity, meaning). Arity -1: as the builder and the verifier say.
OPS: dict[str, tuple[int, str]] = {
    "const": (0, "attrs.value in every lane"),
    "iota": (0, "0, 1, 2 ... lanes-1"),
    "add": (2, "a + b; integers wrap"),
    "sub": (2, "a - b; integers wrap"),
    "mul": (2, "a * b; integers wrap"),
    "div": (2, "floats a / b; integers signed, toward zero"),
    "rem": (2, "integers: a - b * div(a, b)"),
    "fma": (3, "a * b + c, rounded once"),
    "neg": (1, "-a of a float"),
    "min": (2, "a < b ? a : b, signed"),
    "max": (2, "a > b ? a : b, signed"),
    "and": (2, "bits"),
    "or": (2, "bits"),
    "xor": (2, "bits"),
    "shl": (2, "a << b"),
    "lshr": (2, "unsigned a >> b"),
    "ashr": (2, "signed a >> b"),
    "eq": (2, "i1; floats ordered"),
    "ne": (2, "i1; floats unordered (true for NaN)"),
    "lt": (2, "i1; signed, floats ordered"),
    "le": (2, "i1; signed, floats ordered"),
    "ult": (2, "i1; unsigned"),
    "select": (3, "a ? b : c by lane"),
    "sext": (1, "widen a signed integer"),
    "zext": (1, "widen an unsigned integer"),
    "trunc": (1, "narrow an integer"),
    "sitofp": (1, "signed integer to float"),
    "uitofp": (1, "unsigned integer to float"),
    "fptosi": (1, "float to signed integer, toward zero, saturating, NaN to 0"),
    "fpcast": (1, "float to another float, to nearest even"),
    "bitcast": (1, "same bytes, another type"),
    "sqrt": (1, "correctly rounded"),
    "floor": (1, ""),
    "ceil": (1, ""),
    "rint": (1, "to nearest, ties to even"),
    "fabs": (1, ""),
    "splat": (1, "a scalar in every lane"),
    "extract": (1, "lane attrs.lane"),
    "shuffle": (2, "lanes attrs.lanes of the concatenation a, b"),
    "reduce": (
        1,
        "one scalar: attrs.kind (add, min, max, maximum, minimum, or) of all lanes by halves, i with i + lanes / 2",
    ),
    "dot4": (3, "i32 lanes: acc + the sum of 4 products of unsigned bytes a (<= attrs.max) and signed bytes b"),
    "dot2": (
        3,
        "acc + a[2i+1] * b[2i+1] + a[2i] * b[2i]: i32 lanes of signed i16, modulo 2 ** 32; "
        "f32 lanes of bf16 in i16 lanes, where denormals may count as 0",
    ),
    "table": (1, "i8 lanes: attrs.values[index], 16 entries, index 0..15"),
    "load": (-1, "attrs elem, lanes at byte offset; optional i1 mask (zero where false)"),
    "store": (-1, "value at byte offset; optional i1 mask"),
    "gather": (3, "run of elements at byte offset + each of an i32 vector of offsets, aligned to the run; GPUs only"),
    "scatter": (4, "a run of the value at byte offset + each of an i32 vector of offsets, all apart; GPUs only"),
    "mma": (
        3,
        "acc + a b of tiles in a warp's fragment order, attrs.kind bf16, f16, tf32 or i8; see arithmetic.mma; for GPUs",
    ),
    "load_matrices": (
        3,
        "4 words of each thread of four 8 x 8 matrices of 16 bits, whose rows lie at alloc[offset + i32 lanes]; "
        "attrs.turned: of their transposes; see builder; GPUs only",
    ),
    "pack_pair": (
        2,
        "i32 lanes: a as attrs.kind (bf16, f16) in the low half, b in the high one, to nearest even; GPUs only",
    ),
    "fma_pair": (3, "i32 lanes of two bf16 each: a * b + c of either half, rounded once; GPUs only"),
    "permute_bytes": (2, "i32 lanes: byte n is that of digit n of hex attrs.selector, 0-3 of a, 4-7 of b; GPUs only"),
    "exp2": (1, "2 ** a of f32, to two units in the last place, denormals as 0; GPUs only"),
    "round_tf32": (1, "the nearest tf32 of f32, ties away from zero, still f32; GPUs only"),
    "maxnum": (2, "the larger of f32 lanes; where one is NaN, the other; GPUs only"),
    "rcp": (1, "1 / a of f32, to one unit in the last place, denormals as 0; GPUs only"),
    "maximum": (2, "the larger of f32, NaN if either is; GPUs only"),
    "minimum": (2, "the smaller of f32, NaN if either is; GPUs only"),
    "copy_async": (
        -1,
        "16 bytes a lane: to alloc[offset + i32 lanes] from buffer[offset + i32 lanes], done at a wait; optional i32 "
        "count 0 .. 16 of bytes that are read, zeros behind them",
    ),
    "commit_copies": (0, "the copies since the last commit are a group"),
    "wait_copies": (0, "until at most attrs.left of this warp's newest groups are not done; its threads meet here"),
    "barrier": (0, "in a team loop: all warps of the team come here before one goes on, and see each other's writes"),
    "arrive": (1, "this warp comes to the team's barrier that the alloc stands for, and goes on; in turn with await"),
    "await": (1, "until all warps of the team arrived as often as this one, and it sees what they wrote before"),
    "warpgroup_mma": (
        -1,
        "vars += this warp's rows of a product of tiles, attrs.kind bf16, f16 or tf32; see builder; GPUs only",
    ),
    "wait_mma": (
        -1,
        "until all but the attrs.left newest warpgroup_mma are done; vars are theirs, values what they read",
    ),
    "prefetch": (2, "a hint that the line, or attrs.nbytes, at a byte offset is read soon; may lie outside the buffer"),
    "ready": (0, "before it only weights are read: what kernels before write may not be there yet; at the top level"),
    "buffer": (0, "a parameter of the kernel: attrs.name, attrs.mode r, w or rw"),
    "alloc": (0, "attrs.nbytes of private memory of one worker, 64-byte aligned, not initialised"),
    "var": (1, "a mutable local with its first value"),
    "get": (1, "the value of a var"),
    "set": (2, "assign to a var"),
    "index": (0, "the induction variable of the enclosing loop or parallel region, i64"),
    "loop": (2, "for index in range(lo, hi, attrs.step): blocks[0]; attrs.unroll is a hint; attrs.team: in any order"),
    "parallel": (1, "blocks[0] for each index in range(count), shared among workers; iterations are independent"),
    "if": (1, "blocks[0] if the scalar condition holds, else blocks[1]"),
    "worker": (0, "i64: the number of this worker"),
    "workers": (0, "i64: how many workers run the kernel"),
}

_TEAMWORK = frozenset(
    {"copy_async", "commit_copies", "wait_copies", "barrier", "arrive", "await", "warpgroup_mma", "wait_mma"}
)
BARRIER = 8  # bytes of private memory that `arrive` and `await` take
LOCKSTEP_ONLY = _TEAMWORK | {
    *("pack_pair", "fma_pair", "permute_bytes", "exp2", "rcp", "maxnum", "maximum", "minimum", "load_matrices"),
    "round_tf32",
}
"""What warps of a team do together: for the interpreter of vectors, one after the other, it has no meaning."""
GPU_ONLY = frozenset({"gather", "scatter", "mma", "ready"}) | LOCKSTEP_ONLY

STATEMENTS = _TEAMWORK | {"store", "scatter", "prefetch", "ready", "set", "loop", "parallel", "if"}


class Instruction:
    """One instruction; as an operand it stands for its result. Identity is the object; `builder` sets the operators."""

    __slots__ = ("args", "attrs", "blocks", "builder", "op", "type")

    def __init__(
        self,
        op: str,
        type: Type | None,
        args: tuple[Instruction, ...] = (),
        attrs: dict[str, Any] | None = None,
        blocks: tuple[Block, ...] = (),
        builder: Any = None,
    ) -> None:
        self.op, self.type, self.args = op, type, args
        self.attrs = attrs or {}
        self.blocks = blocks
        self.builder = builder

    @property
    def value(self) -> Any:
        """The Python value of a constant."""
        return self.attrs["value"]

    @property
    def elem(self) -> str:
        assert self.type is not None
        return self.type.elem

    @property
    def lanes(self) -> int:
        assert self.type is not None
        return self.type.lanes

    # Operators serve schedules and the scalar lowering of ops; integers are signed in comparisons and division.
    def __add__(self, o: Operand) -> Instruction:
        return self.builder.binary("add", self, o)

    def __radd__(self, o: Operand) -> Instruction:
        return self.builder.binary("add", o, self)

    def __sub__(self, o: Operand) -> Instruction:
        return self.builder.binary("sub", self, o)

    def __rsub__(self, o: Operand) -> Instruction:
        return self.builder.binary("sub", o, self)

    def __mul__(self, o: Operand) -> Instruction:
        return self.builder.binary("mul", self, o)

    def __rmul__(self, o: Operand) -> Instruction:
        return self.builder.binary("mul", o, self)

    def __truediv__(self, o: Operand) -> Instruction:
        return self.builder.binary("div", self, o)

    def __rtruediv__(self, o: Operand) -> Instruction:
        return self.builder.binary("div", o, self)

    def __floordiv__(self, o: Operand) -> Instruction:
        return self.builder.binary("div", self, o)

    def __mod__(self, o: Operand) -> Instruction:
        return self.builder.binary("rem", self, o)

    def __and__(self, o: Operand) -> Instruction:
        return self.builder.binary("and", self, o)

    def __or__(self, o: Operand) -> Instruction:
        return self.builder.binary("or", self, o)

    def __xor__(self, o: Operand) -> Instruction:
        return self.builder.binary("xor", self, o)

    def __lshift__(self, o: Operand) -> Instruction:
        return self.builder.binary("shl", self, o)

    def __rshift__(self, o: Operand) -> Instruction:
        return self.builder.binary("lshr", self, o)

    def __neg__(self) -> Instruction:
        return self.builder.negate(self)

    def __invert__(self) -> Instruction:
        return self.builder.logical_not(self)

    def __lt__(self, o: Operand) -> Instruction:
        return self.builder.binary("lt", self, o)

    def __le__(self, o: Operand) -> Instruction:
        return self.builder.binary("le", self, o)

    def __gt__(self, o: Operand) -> Instruction:
        return self.builder.binary("lt", o, self)

    def __ge__(self, o: Operand) -> Instruction:
        return self.builder.binary("le", o, self)

    def __eq__(self, o: object) -> Any:
        """Kernel equality when one side is a number or both are built; identity tests use `is`."""
        return self.builder.binary("eq", self, o)

    def __ne__(self, o: object) -> Any:
        return self.builder.binary("ne", self, o)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("a kernel value has no truth value while the kernel is built: use k.select or k.when")

    def __repr__(self) -> str:
        return f"<{self.op} {self.type}>"


Operand = Instruction | int | float | bool
Block = list[Instruction]


@dataclass(frozen=True)
class KernelParameter:
    """A buffer argument. `mode`: r read, w written, rw both.

    `is_dim`: the buffer holds one i64, a dimension's value.
    """

    name: str
    mode: str
    is_dim: bool = False


@dataclass(eq=False)
class Kernel:
    """A finished kernel: `void name(args, worker, workers)` with `args[i]` the address of parameter i.

    `operations` and `nbytes` are the schedule's counts for one run (None where a symbolic dimension decides).
    `library`: the product that a vendor's library may compute in its place, on GPUs where it is installed.
    """

    name: str
    parameters: tuple[KernelParameter, ...]
    buffers: tuple[Instruction, ...]
    body: Block = field(default_factory=list)
    note: str = ""
    library: LibraryProduct | None = None
    blocks: int = 0  # workers that a GPU's multiprocessor should have registers for at once; 0: as it comes
    chunks: int = 1  # that a worker's share may be cut into, for those that are through with theirs to take over

    def drop_body(self) -> None:
        """Forget the instructions, of which a large program has some 100,000: once machine code is loaded the name is
        enough, as for programs from disk."""
        self.body.clear()  # the builder's list too, which instructions hold
        self.buffers = ()

    def walk(self) -> Iterator[Instruction]:
        """Every instruction, outer before inner, in order."""
        stack: list[Iterator[Instruction]] = [iter(self.body)]
        while stack:
            for instruction in stack[-1]:
                yield instruction
                if instruction.blocks:
                    stack.append(iter([i for block in instruction.blocks for i in block]))
                    break
            else:
                stack.pop()
