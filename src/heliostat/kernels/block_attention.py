"""Schedule of `attention` over caches of a block format, in rows as files have them: what `attention` does, with each
block made floats where it is read. A vector holds neighbours of one key, and a key's score is their sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import CompileError
from ..ir.types import TensorType
from ..kernel.ir import Instruction, Kernel
from ..quant.fields import Codes
from ..quant.format import BlockFormat
from ..targets.target import Target
from . import attention, dequantize
from .attention import KEY_STEP, LOWEST, AttentionTile, default_tile, heads_of_a_key
from .cache import row_nbytes, sequences
from .dequantize import BlockReader
from .group import Accept, Group, Refuse

ROOTS = ("attention",)

Tile = AttentionTile
tuning_key = attention.tuning_key
candidates = attention.candidates


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "attention":
        return Refuse(f"root is {root.op.name}, not attention")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into attention")
    q, keys, values = (v.type for v in root.inputs[:3])
    if not isinstance(keys.element, BlockFormat) or keys.layout is not None or values.layout is not None:
        return Refuse(f"keys are {keys}, not rows of blocks")
    if not all(isinstance(d, int) for d in (*q.shape[1:], *keys.shape)):
        return Refuse("head counts, head sizes and the cache's capacity must be known")
    if int(keys.shape[-2]) % KEY_STEP:  # type: ignore[arg-type]
        return Refuse(f"capacity or page of {keys.shape[-2]} keys, not a multiple of {KEY_STEP}")
    reason = dequantize.refusal(keys.element)
    return Accept() if (reason := reason or run_refusal(keys.element, target.lanes)) is None else Refuse(reason)


def run_refusal(format: BlockFormat, lanes: int) -> str | None:
    """Why a block is not read as whole vectors; None where it is."""
    codes = format.codes
    pieces = list(codes.pieces()) if isinstance(codes, Codes) else []
    sub = format.normal.sub if format.normal is not None else 1
    if not pieces or sub % lanes or any(p.start % lanes or p.length % lanes for p in pieces):
        return f"blocks of {format.name} are no vectors of {lanes}"
    return None


def vectors_of(reader: BlockReader, lanes: int, at: Instruction) -> list[Instruction]:
    """The block at byte `at` in order, as vectors of f32."""
    return [run for _, run in sorted(reader.runs(at, lanes), key=lambda pair: pair[0])]


def build(group: Group, target: Target, name: str, tile: AttentionTile | None = None) -> Kernel:
    """q: (S N, Hq, D), keys and values: (S Hkv, C, D) blocks or pages, start: () or (S,) i32, out: (S N, Hq, D).

    Per tile of M rows and key: 4 * M * D operations, the bytes of 2 * D elements read.
    """
    q, start = group.root.inputs[0], group.root.inputs[3]
    rows, count = q.type.shape[0], sequences(start.type)
    tokens = rows if count == 1 else int(rows) // count  # type: ignore[arg-type]
    chosen = tile or default_tile(tokens, heads_of_a_key(group), target)
    if (reason := attention.tile_refusal(chosen, group, target)) is not None:
        raise CompileError(f"{chosen} does not serve {q.type}: {reason}")
    return _Nest(group, target, name, chosen).build()


class _Nest(attention._Nest):
    def _hold(self, keys: TensorType, values: TensorType) -> None:
        assert isinstance(keys.element, BlockFormat)
        self.format, self.row_nbytes = keys.element, row_nbytes(keys)
        self.key_reader, self.value_reader = (BlockReader(self.k, keys.element, b) for b in (self.keys, self.values))

    def _score_group(
        self,
        rows: Sequence[Instruction],
        base: Instruction,
        group: Instruction,
        at: Instruction,
        ends: Sequence[Instruction],
        begins: Sequence[Instruction] | None,
    ) -> None:
        k, lanes, tile, size = self.k, self.lanes, self.tile, self.head_dim
        block = self.format.block
        first = at // size * self.row_nbytes
        for t in k.loop(0, lanes * tile.key_panels):
            acc = [k.var(k.zeros("f32", lanes)) for _ in rows]
            for b in k.loop(0, size // block):
                for n, value in enumerate(
                    vectors_of(self.key_reader, lanes, first + t * self.row_nbytes + b * self.format.nbytes)
                ):
                    for m, sum_ in enumerate(acc):
                        q = k.load(self.q_scaled, (b * block + (m * size + n * lanes)) * 4, "f32", lanes)
                        sum_.set(k.fma(value, q, sum_.get()))
            number = base + group + t
            for m, sum_ in enumerate(acc):
                seen = number < ends[m]
                if begins is not None:
                    seen = seen & (number >= begins[m])
                score = k.select(seen, k.reduce_add(sum_.get()), LOWEST)
                k.store(self.scores, (group + t + m * tile.keys) * 4, score)

    def _weigh(self, head: Instruction, rows: int, base: Instruction, count: Instruction) -> None:
        k, lanes, keys, size = self.k, self.lanes, self.tile.keys, self.head_dim
        block, each = self.format.block, self.format.block // lanes  # elements and vectors of a block
        together = max(1, min(4, (self.target.vector_registers - 4) // rows) // each)  # blocks of a key
        while size // block % together:
            together -= 1
        for d in k.loop(0, size, block * together):
            acc = [[k.var(self._sum(m, d, s)) for s in range(each * together)] for m in range(rows)]
            for piece, end in self._pieces(count):
                at = (self.rows.row(head, base + piece) - piece) * self.row_nbytes + d // block * self.format.nbytes
                for t in k.loop(piece, end):
                    blocks = [at + t * self.row_nbytes + n * self.format.nbytes for n in range(together)]
                    values = [v for b in blocks for v in vectors_of(self.value_reader, lanes, b)]
                    for m in range(rows):
                        weight = k.splat(k.load(self.scores, (t + m * keys) * 4, "f32"), lanes)
                        for s, value in enumerate(values):
                            acc[m][s].set(k.fma(value, weight, acc[m][s].get()))
            for m in range(rows):
                for s, sum_ in enumerate(acc[m]):
                    k.store(self.sums, (d + (m * size + s * lanes)) * 4, sum_.get())
