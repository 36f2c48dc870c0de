"""Schedule of `matmul` on GPUs whose tensor cores serve four warps together: y[m, n] = sum_k a[m, k] * b[k, n] of bf16
or f16 with f32 sums, batches of them, from operands as they lie: row-major, or a transposed; and of `linear` whose
weights are rows, which are b transposed. Of f32 that was rounded to tf32 only where neighbours of K lie together.

Tiles, ring and epilogue are those of `matmul_tiles`; products read lines with neighbours of a row together or with
those of a column.
"""

from __future__ import annotations

from ..ir.graph import Node
from ..kernel.builder import Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import matmul_tiles
from .fragment_rows import PADDED
from .group import Accept, Group, Refuse, epilogue_refusal
from .matmul import may_overwrite as may_overwrite
from .matmul_tiles import LINE, ROWS, Tiles, kind_of
from .tensor_linear import FRAGMENT, OUTPUTS

ROOTS = matmul_tiles.ROOTS
BLOCK = 64 * LINE  # bytes of 64 lines
STEPS = LINE // 32  # instructions of a stage's depth: each takes 32 bytes of K


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Products of bf16, of f16 or of tf32 whose rows are whole chunks of 16 bytes, with elementwise nodes behind."""
    reason = fits(group.root, target) or epilogue_refusal(group)
    return Accept() if reason is None else Refuse(reason)


def fits(root: Node, target: Target) -> str | None:
    """Why a product is for other schedules; None where it is for this one."""
    if (reason := matmul_tiles.fits(root, target)) is not None:
        return reason
    if target.capability != 90:
        return f"{target.name} has no products by four warps together"
    if kind_of(root) == "tf32" and (root.op.name == "matmul" or root.attrs.get("transpose_a")):
        return "tf32 is multiplied by four warps together where neighbours of K lie together"
    return None


def build(group: Group, target: Target, name: str) -> Kernel:
    """a: (..., M, K), or (..., K, M) if `transpose_a`; b: (..., K, N), or (N, K) of `linear`; out: (..., M, N). Reads a
    N / 256 times and b M / 128 times.
    """
    return WarpgroupTiles(group, target, name).build()


class WarpgroupTiles(Tiles):
    """Four warps multiply 64 rows together, each has 16 of them."""

    def _warp(
        self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction, steps: Instruction
    ) -> None:
        """One warp's part of a tile: it copies some lines of each stage, and has 16 rows of the sums."""
        k = self.k
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.wide // OUTPUTS)]
        ahead = self.stages - 2  # one stage is multiplied, and one may still be
        self._fill(warp, batch, row, column, steps, ahead)
        for step in k.loop(steps):
            k.wait_copies(ahead - 1)
            k.barrier()  # this stage is there, and all have done with the one before the last
            self._refill(warp, row, column, steps, step + ahead)
            self._multiply(sums, step % self.stages * self.stage, warp)
            k.wait_mma(sums, 1)
        k.wait_mma(sums)
        k.wait_copies(0)  # those past the last stage: the memory is needed for sums
        k.barrier()
        mine = warp * (len(sums) * PADDED)
        for i, v in enumerate(sums):
            k.store(self.memory, mine + i * PADDED, v.get())
        self._finish(warp, batch, row, column)

    def _multiply(self, sums: list[Variable], at: Instruction, warp: Instruction) -> None:
        """The products of a stage. Strides: as `KernelBuilder.warpgroup_mma` says."""
        mine = at + (warp >> 2) * BLOCK  # of 64 lines of a: rows of K, or the block of columns that these warps have
        b, turned = at + ROWS * LINE, (self.a.turned, self.b.turned)
        of_a, of_b = ((BLOCK if t else 16, 1024) for t in turned)
        self.k.warpgroup_mma(self.memory, mine, b, sums, STEPS, of_a, of_b, self.kind, turned=turned)
