"""What the schedules of attention of training share: which ops and shapes they take, rows in registers, and tiles of
tokens in shared memory.

A tile is of blocks of 64 elements of the head: a token's part of one is a line of 128 bytes, swizzled, that products
read with neighbours of a token together or turned, with those of an element. Tokens past the last, and elements past
a head's end, are zeros.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Node, Value
from ..ir.types import bf16, f16, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Operand
from ..targets.target import Target
from .group import Group
from .tensor_linear import FRAGMENT, operand_a

LINE = 64  # elements of a line
CHUNK = 8  # elements that are copied at once
COLUMNS = 8  # of the head, or of scores, that one var of sums has
SWIZZLED = (16, 1024)  # strides of lines as rows; see `KernelBuilder.warpgroup_mma`
LEAST, MOST = 16, 128  # elements of a head

OPERANDS = {
    "scaled_dot_product_attention": "qkv",
    "attention_logsumexp": "qk",
    "attention_query_gradient": "gqkvld",
    "attention_key_gradient": "gqkvld",
    "attention_value_gradient": "gqkl",
}
"""By the names of ops, a letter for each operand: l is the logsumexp, d is delta."""


def refusal(node: Node, target: Target) -> str | None:
    """Why an op of OPERANDS is not for these schedules; None where it is."""
    if target.capability != 90:
        return f"{target.name} has no products by four warps together"
    types = dict(zip(OPERANDS[node.op.name], (v.type for v in node.inputs), strict=True))
    q = types["q"]
    if q.dtype not in (bf16, f16):
        return f"tensor cores here take bf16 or f16, not {q}"
    size = q.shape[3]
    if not isinstance(size, int) or size % CHUNK or not LEAST <= size <= MOST:
        return f"heads of {size} elements: a multiple of {CHUNK} from {LEAST} to {MOST}"
    for letter, t in types.items():
        if letter in "gqkv" and t.shape[3] != size:
            return "heads of values have another size than those of keys"
        if not t.static:
            return f"lengths that are not known: {t}"
        if 0 in t.shape:
            return f"nothing to do: {t}"
        if math.prod(map(upper_bound, t.shape)) * t.dtype.nbytes >= 1 << 31:
            return f"2 GiB and more: {t}"
    return None


def group_refusal(group: Group, target: Target, names: Sequence[str]) -> str | None:
    """Why a group is not of some ops by `names`, each once, over the same operands; None where it is. A concat of all
    results along their heads may follow."""
    if group.root.op.name not in names:
        return f"root is {group.root.op.name}"
    nodes = [n for n in group.nodes if n.op.name in names]
    last = group.nodes[-1]
    if len(nodes) < len(group.nodes):
        joined = sorted(id(v.node) for v in last.inputs) == sorted(map(id, nodes)) and last.op.name == "concat"
        if not joined or last.attrs["axis"] != 2 or group.outputs != last.results:
            return f"{last.op.name} is computed with it"
    if len({n.op.name for n in nodes}) < len(nodes):
        return "twice the same is computed"
    operands: dict[str, tuple[int, int, int]] = {}
    for node in nodes:
        if (reason := refusal(node, target)) is not None:
            return reason
        for letter, value in zip(OPERANDS[node.op.name], node.inputs, strict=True):
            mine = (id(value), *part(node, letter, value))
            if operands.setdefault(letter, mine) != mine:
                return f"{node.op.name} has operands of its own"
        if any(node.attrs[name] != group.root.attrs[name] for name in ("scale", "causal")):
            return f"{node.op.name} has another scale or mask"
    return None


def part(node: Node, letter: str, value: Value) -> tuple[int, int]:
    """The first head of an operand that takes part, and how many do."""
    heads = node.attrs["heads"]
    if heads and letter in "qkv":
        n = "qkv".index(letter)
        return heads[2 * n], heads[2 * n + 1]
    return 0, int(value.type.shape[2])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Heads:
    """Heads `first` and following of a tensor (B, tokens, total, E) of halves, or of sums with E = 1, in f32."""

    buffer: Instruction
    tokens: int
    total: int
    size: int
    first: int = 0
    nbytes: int = 2

    @property
    def stride(self) -> int:
        """Bytes from a token to the next."""
        return self.total * self.size * self.nbytes

    def start(self, batch: Operand, head: Operand) -> Instruction:
        """Byte offset of a head's first token."""
        made = (batch * (self.tokens * self.total) + head + self.first) * (self.size * self.nbytes)
        assert isinstance(made, Instruction)
        return made


class Operands:
    """Buffers and sizes of a group: operands `x` by letter, with k for a v and l for a d that nothing reads; results
    `out` by op, of those that are wanted. `warps`: of a team, 16 rows for each."""

    def __init__(self, k: KernelBuilder, group: Group, warps: int) -> None:
        self.k, self.warps = k, warps
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        written = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
        self.x: dict[str, Heads] = {}
        counts: dict[str, int] = {}
        for node in group.nodes:
            for letter, v in zip(OPERANDS.get(node.op.name, ""), node.inputs, strict=False):
                first, counts[letter] = part(node, letter, v)
                self.x[letter] = _heads(buffers[v], v, first)
        self.x.setdefault("v", self.x["k"])
        if "l" in self.x:
            self.x.setdefault("d", self.x["l"])
        self.out: dict[str, Heads] = {}
        for value, buffer in written.items():
            node, first = value.node, 0
            for v in node.inputs if node.op.name == "concat" else (value,):
                self.out[v.node.op.name] = _heads(buffer, value, first)
                first += int(v.type.shape[2])  # type: ignore[arg-type]
        attrs, q = group.root.attrs, self.x["q"]
        of_q = group.root.inputs[OPERANDS[group.root.op.name].index("q")].type
        self.kind, self.batch = of_q.dtype.name, int(of_q.shape[0])  # type: ignore[arg-type]
        self.rows, self.size, self.keys = q.tokens, q.size, self.x["k"].tokens
        self.heads, self.groups = counts["q"], counts["k"]
        self.each = self.heads // self.groups  # heads of queries that share one of keys
        self.scale, self.causal = float(attrs["scale"]), bool(attrs["causal"])
        self.exponent = self.scale * math.log2(math.e)
        self.blocks = -(-self.size // LINE)
        thread = k.iota("i32", 32)
        self.row, self.place = thread >> 2, thread & 3  # a thread's row of 8, and its place in the row's quad

    def copy(
        self, memory: Instruction, at: Operand, source: Heads, start: Instruction, warp: Instruction,
        first: Instruction, count: int, again: bool = False,
    ) -> None:  # fmt: skip
        """A warp's part of a tile of `count` tokens from `first` on, to byte offset `at`: eight threads take a line.
        `start`: of the head. `again`: tokens past the last are that one again."""
        k, lane = self.k, self.k.iota("i32", 32)
        run, line = lane & 7, lane >> 3
        mine = k.splat(k.convert(warp * (count // self.warps), "i32"), 32) + line
        begin = k.splat(k.convert(first, "i32"), 32)
        filled = self.size % LINE == 0  # of each line
        inside = source.tokens % count == 0
        for block in range(self.blocks):
            element = run * CHUNK + block * LINE
            for n in range(0, count // self.warps, 4):
                token = mine + n
                to = token * (2 * LINE) + (run ^ (token & 7)) * 16
                number, known = begin + token, []
                if again and not inside:
                    number = k.minimum(number, source.tokens - 1)
                elif not inside:
                    known.append(number < source.tokens)
                if not filled:
                    known.append(element < self.size)
                there = k.select(functools.reduce(operator.and_, known), k.const(16, "i32", 32), 0) if known else None
                place = number * source.stride + element * 2
                k.copy_async(memory, at + block * (count * 2 * LINE), to, source.buffer, start, place, there)

    def operands_a(self, source: Heads, start: Operand, places: Sequence[Instruction]) -> list[Instruction]:
        """Rows in registers, as operand a for every 16 elements: of a thread's two rows at byte offsets `places`."""
        k = self.k
        made = []
        for d in range(0, self.size, 16):
            words = [
                k.gather(source.buffer, start + (d + 8 * n) * 2, place + self.place * 4, "i32")
                if d + 8 * n < self.size
                else k.zeros("i32", 32)
                for n in range(2)
                for place in places
            ]
            made.append(operand_a(k, words))
        return made

    def score(
        self, memory: Instruction, a: Sequence[Instruction] | Instruction, at: Instruction, sums: Sequence[Variable],
        count: int, rows: int = 0,
    ) -> int:  # fmt: skip
        """sums = A B^T over a head's elements: B is a tile of `count` tokens at `at`; A is a tile of `rows` tokens at
        `a`, or operands. Returns how many products that is."""
        strides = None if isinstance(a, Sequence) else SWIZZLED
        for block in range(self.blocks):
            steps = -(-min(self.size - block * LINE, LINE) // 16)
            left = a[4 * block : 4 * block + steps] if isinstance(a, Sequence) else a + block * (rows * 2 * LINE)
            b = at + block * (count * 2 * LINE)
            self.k.warpgroup_mma(memory, left, b, sums, steps, strides, SWIZZLED, self.kind, fresh=block == 0)
        return self.blocks

    def mix(
        self, memory: Instruction, weights: Sequence[Instruction], at: Instruction, sums: Sequence[Variable], count: int
    ) -> None:
        """sums += weights times a tile of `count` tokens at `at`."""
        strides = (count * 2 * LINE, 1024)
        self.k.warpgroup_mma(memory, weights, at, sums, count // 16, None, strides, self.kind, turned=(False, True))

    def sums(self, count: int) -> list[Variable]:
        """Vars of a warp's 16 rows and `count` columns."""
        return [self.k.var(self.k.zeros("f32", FRAGMENT)) for _ in range(count // COLUMNS)]

    def store(
        self, out: Heads, start: Operand, places: Sequence[Instruction], sums: Sequence[Variable],
        factor: Operand,
    ) -> None:  # fmt: skip
        """Sums times a factor to a thread's two rows at byte offsets `places`, a pair of elements at once."""
        k = self.k
        for n, v in enumerate(sums):
            value = v.get() * factor
            for h in range(2):
                low, high = (k.shuffle(value, value, [4 * t + 2 * h + e for t in range(32)]) for e in range(2))
                pair, to = k.pack_pair(low, high, self.kind), places[h] + self.place * 4
                k.scatter(out.buffer, start + n * (COLUMNS * 2), to, pair)


def _heads(buffer: Instruction, value: Value, first: int) -> Heads:
    _, tokens, total, *size = map(int, value.type.shape)  # type: ignore[arg-type]
    return Heads(buffer, tokens, total, size[0] if size else 1, first, value.type.dtype.nbytes)


def in_sections(
    k: KernelBuilder, item: Instruction, tiles: int, heads: int, nbytes: int, section: int
) -> tuple[Instruction, Instruction]:
    """Head and tile of a piece of work, where pieces are taken in order: the tiles of as many heads together as
    `section` bytes hold, each of `nbytes`."""
    wide = max(n for n in range(1, heads + 1) if heads % n == 0 and (n == 1 or n * nbytes <= section))
    rest = item % (tiles * wide)
    return item // (tiles * wide) * wide + rest % wide, rest // wide
