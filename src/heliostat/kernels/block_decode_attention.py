"""Schedule of `attention` of single tokens over caches of a block format, on a GPU: what `decode_attention` does, with
keys and values in rows of blocks as files have them. A warp makes a key's block floats and sums its products.
"""

from __future__ import annotations

from ..ir.types import TensorType, upper_bound
from ..kernel.ir import Instruction, Kernel
from ..quant.format import BlockFormat
from ..targets.target import Target
from . import block_attention, decode_attention
from .block_attention import vectors_of
from .cache import row_nbytes, sequences
from .dequantize import BlockReader
from .group import Accept, Group, Refuse, TensorOperand

ROOTS = ("attention",)
TOGETHER = 4  # keys that are read at once


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `block_attention` accepts, of one token and on a GPU."""
    verdict = block_attention.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if not target.gpu:
        return Refuse("a core has no team of warps")
    if upper_bound(group.root.inputs[0].type.shape[0]) != sequences(group.root.inputs[3].type):
        return Refuse("more than one token of a sequence")
    return verdict


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (S, Hq, D), keys and values: (S Hkv, C, D) blocks or pages, start: () or (S,) i32, out: (S, Hq, D). Reads each
    key and value once for each query head.
    """
    return _Nest(group, target, name).build()


class _Nest(decode_attention._Nest):
    def _hold(self, keys: TensorType, values: TensorType) -> None:
        assert isinstance(keys.element, BlockFormat)
        self.format, self.row_nbytes = keys.element, row_nbytes(keys)
        self.key_reader, self.value_reader = (BlockReader(self.k, keys.element, b) for b in (self.keys, self.values))

    def _come_early(self, starts: TensorOperand) -> None:
        """Blocks of this step are written by the launch before: there is little to ask for earlier."""

    def _scores(self, head: Instruction, at: Instruction) -> Instruction:
        k, lanes = self.k, self.lanes
        vectors = range(0, self.size, lanes)
        query = [self.q.load(head, d, lanes) for d in vectors]
        number, found = k.iota("i32", lanes), k.var(k.zeros("f32", lanes))
        first = at // self.size * self.row_nbytes
        for base in k.loop(0, lanes, TOGETHER):
            sums = []
            for key in (base + n for n in range(TOGETHER)):
                total = k.zeros("f32", lanes)
                for b in range(self.size // self.format.block):
                    place = first + key * self.row_nbytes + b * self.format.nbytes
                    each = self.format.block // lanes
                    for value, q in zip(vectors_of(self.key_reader, lanes, place), query[b * each :], strict=False):
                        total = k.fma(value, q, total)
                sums.append(total)
            for n, total in enumerate(sums):
                mine = k.binary("eq", number, k.splat(k.convert(base + n, "i32"), lanes))
                found.set(k.select(mine, k.splat(k.reduce_add(total), lanes), found.get()))
        return found.get()

    def _value(self, at: Instruction, t: int, d: int) -> Instruction:
        place = at // self.size * self.row_nbytes + (t * self.row_nbytes + d // self.format.block * self.format.nbytes)
        return vectors_of(self.value_reader, self.lanes, place)[d % self.format.block // self.lanes]
