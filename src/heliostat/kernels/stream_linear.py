"""Schedule of `linear` for a single row on GPUs that copy to shared memory by themselves (compute capability 8.0 on):
y[o] = sum_k x[k] * w[o, k].

A panel is a stream of bytes, whatever its format. The warps of a team take a part of its depth each. A part passes
through a ring of stages in private memory, copied while earlier stages are multiplied: bytes on their way take no
registers and wait for no instruction. The first of them are asked for before the results of earlier kernels are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..diagnostics import CompileError
from ..ir.graph import Node, Value
from ..ir.types import DType, f32, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.activation import ActivationFormat
from ..quant.panel import CHUNK, QUAD, PanelPlan
from ..targets.target import WARPS_AT_WORK, Target
from . import dot, linear, reduce, row_factor
from .group import Accept, Group, Refuse, TensorOperand
from .linear_tile import LinearTile
from .quantize_block import quantize_block
from .stream_integers import IntegerSums

ROOTS = ("linear",)
PIECE = 512  # bytes that a warp copies at once
STAGE_BYTES = 2176  # of a stage, at most, where blocks can be cut
LONG_STAGE_BYTES = 2700  # the same of two matrices, and of those with more panels than fit at once
MOST_BYTES = 140 << 10  # of a team's ring
BLOCK = 1 << 10  # bytes that go with each block of a launch
NEAR_BYTES = 16 << 10  # of a vector that private memory has room for beside a ring
MULTIPROCESSORS = 132
LONG_ROWS = 64  # pieces of half a panel, from where on halves of panels take a multiprocessor each
MOST_WARPS = 32  # of a team
TURNS = 4  # panels that a team takes in turn; of more, each has a team of its own
WARPS = 32 * MULTIPROCESSORS  # that are wanted in flight
SMALL_BYTES = 64 << 10  # of weights that are vectors
REPEATED = 8192  # elements of a row that a multiprocessor computes for all of its teams in the time of a launch
PARTED = 2 * REPEATED  # the same of a row whose factor is left to the sums


@dataclass(frozen=True)
class StreamTile:
    """`team`: warps that share the depth of a panel. `split`: pieces of a block of a format that are steps of their
    own, with all parameters of the block each. `steps`: in a stage. `stages`: of the ring.
    """

    team: int = 8
    split: int = 1
    steps: int = 1
    stages: int = 2
    groups: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.team <= 32 or self.team & (self.team - 1):
            raise ValueError(f"a team has 1, 2, 4 ... 32 warps, got {self}")
        if not (0 < self.steps <= 64 and 1 < self.stages <= 16):
            raise ValueError(f"1 to 64 steps in 2 to 16 stages are needed, got {self}")
        if self.split < 1 or (self.split > 1 and self.steps > 1):
            raise ValueError(f"a piece of a block is a stage, got {self}")
        if self.groups not in (1, 2) or (self.groups > 1 and self.steps > 1):
            raise ValueError(f"a panel is one group of rows or two with a step a stage, got {self}")


Tile = StreamTile


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of a single row whose panels are whole steps of whole 16 bytes; before it, what makes that
    row, as far as it is cheaper than a launch of its own.
    """
    if target.capability < 80 and group.root.op.name != "linear":  # every group of a CPU is offered here
        return Refuse(f"root is {group.root.op.name}, not linear")
    before, product = parts(group)
    if (node := quantized(product)) is not None:
        plain = Group(product.nodes[:-1], product.inputs, (node.inputs[0],), product.root)
        if (reason := _not_quantized_here(product, node, target)) is not None:
            return Refuse(reason)
        product = plain
    verdict = linear.accepts(product, target, together=True)
    if isinstance(verdict, Refuse):
        return verdict
    if target.capability < 80:
        return Refuse(f"{target.name} does not copy to shared memory by itself")
    x, w = group.root.inputs
    if numel(x.type.shape[:-1]) != 1:
        return Refuse("many rows are not read in one stream")
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    depth = upper_bound(w.type.shape[1])
    unit, nbytes = step_of(plan, depth)
    if depth % unit or nbytes % 16:
        return Refuse(f"rows of {depth} elements are no whole steps of {unit}, or these no whole 16 bytes")
    tile, beside = tile_of(group, target), _beside(group, plan)
    if (wanted := ring_bytes(tile, plan, depth) + beside) > target.shared_bytes:
        return Refuse(f"{wanted} bytes of private memory, {beside} of them beside the ring: {target.shared_bytes} fit")
    if before is None:
        return Accept()
    if (reason := reduce.refusal_as_prologue(before, target)) is not None:
        return Refuse(reason)
    blocks = _beginnings(group, plan, target)
    most = REPEATED if row_factor.apart(before) is None else PARTED
    if blocks * depth > (most if blocks == 1 else most // 2):
        return Refuse(f"{depth} elements would be computed {blocks} times on each multiprocessor")
    return Accept()


def parts(group: Group) -> tuple[Group | None, Group]:
    """What makes the row that is multiplied, if that is in the group, and the product with its epilogue."""
    at = next((n for n, node in enumerate(group.nodes) if node is group.root), 0)
    if not at:
        return None, group
    first, rest = group.nodes[:at], group.nodes[at:]
    read = {id(v) for n in first for v in n.inputs}
    x = group.root.inputs[0]
    before = Group(first, tuple(v for v in group.inputs if id(v) in read), (x,), x.node)
    read = {id(v) for n in rest for v in n.inputs}
    inputs = [v for v in group.inputs if id(v) in read]
    inputs += [r for n in first for r in n.results if id(r) in read]
    return before, Group(rest, tuple(inputs), group.outputs, group.root)


def quantized(group: Group) -> Node | None:
    """The quantization of the results, where that is the end of a group."""
    last = group.nodes[-1]
    return last if last.op.name == "quantize" and len(group.nodes) > 1 else None


def _not_quantized_here(group: Group, node: Node, target: Target) -> str | None:
    """Why a team cannot quantize its own rows; None where a panel's rows are a block."""
    format, result = node.attrs["format"], node.inputs[0].type
    if not isinstance(format, ActivationFormat) or format.block != target.lanes:
        return f"blocks of {format} are not the rows of a panel"
    if group.outputs != (node.results[0],):
        return "what is quantized is needed in f32 too"
    if result.dtype is not f32 or not isinstance(result.shape[-1], int) or result.shape[-1] % target.lanes:
        return f"rows of {result} are no whole panels of f32"
    return None


def step_of(plan: PanelPlan, depth: int) -> tuple[int, int]:
    """Elements of K, and bytes of a panel, that are multiplied in one step where blocks are not split."""
    if isinstance(plan.format, DType):
        unit = dot.dense_unroll(plan, depth)
        return unit, unit * plan.rows * plan.format.nbytes
    return plan.format.block, plan.block_bytes


def _panels(group: Group, plan: PanelPlan) -> int:
    """Panels of all products that run at once."""
    return plan.panels(max(group.beside, upper_bound(group.root.inputs[1].type.shape[0])))


def tile_of(group: Group, target: Target) -> StreamTile:
    """The tile of a group, from its sizes and the target's private memory."""
    x, w = (v.type for v in group.root.inputs)
    plan = w.layout.plan(w.element)  # type: ignore[union-attr]
    products = len(linear.products(group))
    whole = products > 1 or quantized(parts(group)[1]) is not None
    integers = isinstance(x.element, ActivationFormat)
    beside, most = _beside(group, plan), target.shared_bytes
    return default_tile(plan, _panels(group, plan), upper_bound(w.shape[1]), integers, products, whole, beside, most)


def _beside(group: Group, plan: PanelPlan) -> int:
    """Bytes of private memory beside a ring, or some more: sums of warps, the row, what makes it."""
    x, depth = group.root.inputs[0].type, upper_bound(group.root.inputs[1].type.shape[1])
    before, _ = parts(group)
    nbytes = 32 * 4 * plan.rows + BLOCK // 2
    if before is not None:
        nbytes += sum(_vector_bytes(v) for v in _near_weights(before))
    if isinstance(x.element, ActivationFormat):
        return nbytes + x.element.row_bytes(depth)
    return nbytes + (0 if before is None else depth * x.dtype.nbytes)


def ring_bytes(tile: StreamTile, plan: PanelPlan, depth: int) -> int:
    """Private memory of all rings of a team."""
    return tile.team * tile.stages * tile.steps * piece_bytes(plan, step_of(plan, depth)[1], tile.split)


def _beginnings(group: Group, plan: PanelPlan, target: Target) -> int:
    """How often a multiprocessor begins a product: once for each team, which takes a few panels in turn."""
    tile, depth = tile_of(group, target), upper_bound(group.root.inputs[1].type.shape[1])
    rounds = -(-_panels(group, plan) // (MULTIPROCESSORS * len(linear.products(group))))
    at_once = target.blocks_held(tile.team, ring_bytes(tile, plan, depth), WARPS_AT_WORK)
    return min(rounds, at_once) if rounds <= TURNS * at_once else rounds


def default_tile(
    plan: PanelPlan,
    panels: int,
    depth: int,
    integers: bool,
    products: int = 1,
    whole: bool = False,
    beside: int = 0,
    private: int = 227 << 10,
) -> StreamTile:
    """Warps for a panel, so that as many are in flight as fit at once: those of a second round would start late. Blocks
    are split where they are too few for that, or large; the ring has two to four stages.

    `panels`: that run at once. `products`: that a team forms of a row. `whole`: whether
    panels must not be cut. `beside`: bytes of private memory that a team wants beside the ring, of `private` that all
    teams on a multiprocessor have.
    """
    unit, nbytes = step_of(plan, depth)
    most_bytes = min(MOST_BYTES, private - beside)  # of a team's ring
    pairs = depth // unit // 2
    # Of fewer, half of the multiprocessors are better left to the launch behind, which asks for its weights there.
    enough = pairs * (most_pieces(plan) if integers else 1) >= LONG_ROWS
    fits = 2 * panels <= MULTIPROCESSORS and depth // unit % 2 == 0 and enough
    groups = 2 if integers and not whole and fits else 1
    count, panels = depth // unit // groups, panels * groups
    team = 8
    while team < 32 and 2 * panels * team <= WARPS:
        team *= 2
    stage = STAGE_BYTES if products == 1 else LONG_STAGE_BYTES
    if panels * team > WARPS:  # several rounds: larger stages repeat less, and more warps to a panel make rounds even
        team, stage = (16, stage) if nbytes <= stage else (8, LONG_STAGE_BYTES)
    split = 1
    while integers and split < most_pieces(plan) and (split * count < team or piece_bytes(plan, nbytes, split) > stage):
        split *= 2
    size = piece_bytes(plan, nbytes, split)
    while team > 1 and (team > split * count or team * products > 32 or 2 * team * products * size > most_bytes):
        team //= 2
    each = -(-count * split // team)
    most = 2 if split > 1 else 3 if panels > MULTIPROCESSORS // 2 else 4
    stages = max(2, min(most, each + 1, most_bytes // (team * products * size)))
    if integers and split == 1:  # small steps: as many as there is room for
        held = max(1, min(-(-panels // (products * MULTIPROCESSORS)), 32 // (team * products)))
        room = private // held - beside - BLOCK
        stages = max(stages, min(16, each + 1, room // (team * products * size)))
    return StreamTile(team * products, split, 1, stages, groups)


def most_pieces(plan: PanelPlan) -> int:
    """Pieces that a block can be cut into: whole sub-blocks, and an even number of these where nibbles hold scales."""
    if isinstance(plan.format, DType):
        return 1
    normal = plan.format.normal
    assert normal is not None
    least, pieces = max(normal.sub // CHUNK, _chunks_together(plan)), 1
    while plan.chunks % (2 * pieces) == 0 and plan.chunks // (2 * pieces) % least == 0:
        pieces *= 2
    return pieces


def _chunks_together(plan: PanelPlan) -> int:
    """Chunks that no cut may part: those of two sub-blocks whose scales are nibbles of a byte."""
    normal = None if isinstance(plan.format, DType) else plan.format.normal
    nibbles = normal is not None and any(p.storage == "u4" for p in plan.params)
    return max(1, 2 * normal.sub // CHUNK) if normal is not None and nibbles else 1


def piece_bytes(plan: PanelPlan, nbytes: int, split: int) -> int:
    """Bytes of a step: a block, or a piece of one behind the block's parameters."""
    return nbytes if split == 1 else plan.chunk_offset + plan.chunks // split * plan.chunk_bytes


def build(group: Group, target: Target, name: str, tile: StreamTile | None = None) -> Kernel:
    """x: (..., K) of one row, float or int8 activations, w: (O, K) in panels, outputs (..., O). Reads w once."""
    w = group.root.inputs[1].type
    plan = w.layout.plan(w.element)  # type: ignore[union-attr]
    tile = tile or tile_of(group, target)
    if (reason := tile_refusal(tile, group, plan, target)) is not None:
        raise CompileError(f"{tile} does not serve {w}: {reason}")
    return _Stream(group, target, name, plan, tile).build()


def tile_refusal(tile: StreamTile, group: Group, plan: PanelPlan, target: Target) -> str | None:
    """Why a tile does not serve a group; None where it does."""
    x, w = (v.type for v in group.root.inputs)
    integers, products, depth = isinstance(x.element, ActivationFormat), len(linear.products(group)), int(w.shape[1])  # type: ignore[arg-type]
    if tile.split > 1 and (not integers or plan.chunks % (tile.split * _chunks_together(plan))):
        return f"{tile.split} pieces of a block are no whole chunks of int8 products, in twos where nibbles hold scales"
    if tile.team % products:
        return f"{products} products share a team evenly"
    if tile.groups > 1:
        if not integers or products > 1 or quantized(parts(group)[1]) is not None:
            return "halves of panels are for one product of int8 activations, whose rows nobody needs together"
        if depth // step_of(plan, depth)[0] % 2:
            return "halves of panels take blocks in twos"
    if (wanted := ring_bytes(tile, plan, depth) + _beside(group, plan)) > target.shared_bytes:
        return f"{wanted} bytes of private memory are more than {target.shared_bytes}"
    return None


class _Ring:
    """The stages of every warp of a team in private memory."""

    def __init__(
        self,
        k: KernelBuilder,
        sources: Sequence[Instruction],
        plan: PanelPlan,
        tile: StreamTile,
        depth: int,
        late: bool,
    ) -> None:
        """`late`: whether `rest` may ask for the last stage of a part, if all have places of their own."""
        self.k, self.sources, self.plan, self.tile = k, sources, plan, tile
        self.team = tile.team // len(sources)  # warps of each product
        unit, self.nbytes = step_of(plan, depth)
        self.blocks = depth // unit
        self.count = self.blocks // tile.groups * tile.split
        self.stage_bytes = tile.steps * piece_bytes(plan, self.nbytes, tile.split)
        steps = -(-self.count // self.team)  # of a warp's part, at most
        self.longest = -(-steps // tile.steps)  # its stages
        self.first = min(self.longest, tile.stages - 1)  # stages that `begin` asks for
        self.late = 1 if late and self.longest == tile.stages else 0  # that `rest` does
        self.asked = self.first + self.late
        self.memory = k.alloc(tile.team * tile.stages * self.stage_bytes)

    def part(self, warp: Instruction) -> tuple[Instruction, Instruction]:
        """The steps of a warp: the first, and the one behind the last."""
        if len(self.sources) > 1:
            warp = warp % self.team
        return warp * self.count // self.team, (warp * self.count + self.count) // self.team

    def begin(self, warp: Instruction, panel: Instruction) -> None:
        """Ask for the first stages of a panel's part."""
        first, last = self.part(warp)
        for n in range(self.first):
            self.ask(warp, panel, first + n * self.tile.steps, last, self.k.const(n, "i64"))

    def rest(self, warp: Instruction, panel: Instruction, there: Instruction) -> None:
        """Ask for what `begin` left, where that is to be asked for before the first stage is multiplied and the panel
        is `there`."""
        first, last = self.part(warp)
        last = self.k.select(there, last, first)
        for n in range(self.first, self.asked):
            self.ask(warp, panel, first + n * self.tile.steps, last, self.k.const(n, "i64"))

    def ask(
        self, warp: Instruction, panel: Instruction, step: Instruction, last: Instruction, stage: Instruction
    ) -> None:
        """Copy the stage that begins with `step`, if there is one, to its place in the ring; a group in any case."""
        k = self.k
        to = (warp * self.tile.stages + stage % self.tile.stages) * self.stage_bytes
        for _ in k.when(step < last):
            if len(self.sources) == 1:
                self._stage(self.sources[0], to, panel, step, last)
            else:
                for _ in k.when(warp < self.team):
                    self._stage(self.sources[0], to, panel, step, last)
                for _ in k.otherwise():
                    self._stage(self.sources[1], to, panel, step, last)
        k.commit_copies()

    def _stage(
        self, source: Instruction, to: Instruction, panel: Instruction, step: Instruction, last: Instruction
    ) -> None:
        k, plan, split = self.k, self.plan, self.tile.split
        if self.tile.groups > 1:
            self._two_blocks(source, to, panel, step)
            return
        if split == 1:
            left: Instruction | int = self.stage_bytes
            if self.tile.steps > 1 and self.count % (self.team * self.tile.steps):
                left = k.convert(k.minimum(last - step, self.tile.steps) * self.nbytes, "i32")
            self._copy(source, to, (panel * self.count + step) * self.nbytes, self.stage_bytes, left)
            return
        block = (panel * (self.count // split) + step // split) * self.nbytes
        size = self.stage_bytes - plan.chunk_offset
        self._copy(source, to, block, plan.chunk_offset)
        piece = block + (step % split * size + plan.chunk_offset)
        self._copy(source, to + plan.chunk_offset, piece, size)

    def _two_blocks(self, source: Instruction, to: Instruction, item: Instruction, step: Instruction) -> None:
        """Half of the rows of a block, and of the block behind it, to where one block would have all rows."""
        plan, split = self.plan, self.tile.split
        group = item % 2
        block = (item // 2 * self.blocks + step // split * 2) * self.nbytes
        for p in plan.params:
            row = p.nbytes // (p.count // 2 if p.storage == "u4" else p.count)
            self._copy(source, to + p.offset, block + p.offset + group * (row // 2), p.nbytes, row=row)
        row, size = plan.rows * QUAD, plan.chunks // split * plan.chunk_bytes
        at = block + (step % split * size + plan.chunk_offset) + group * (row // 2)
        self._copy(source, to + plan.chunk_offset, at, size, row=row)

    def _copy(
        self,
        source: Instruction,
        to: Instruction,
        at: Instruction,
        most: int,
        left: Instruction | int | None = None,
        row: int = 0,
    ) -> None:
        """`left` of at most `most` bytes, or all; threads past the end copy what the last one does. `row`: bytes of
        vectors with a value for each of a panel's rows, whose second half comes from the block behind.
        """
        k = self.k
        left = most if left is None else left
        lanes = k.iota("i32", 32) * 16
        for piece in range(0, most, PIECE):
            place = lanes + piece
            if isinstance(left, Instruction):
                place = k.minimum(place, k.splat(left - 16, 32))
            elif piece + PIECE > left:
                place = k.minimum(place, left - 16)
            there = place
            if row:
                there = place + ((place >> (row.bit_length() - 2)) & 1) * (self.nbytes - row // 2)
            k.copy_async(self.memory, to, place, source, at, there)

    def walk(self, warp: Instruction, panel: Instruction) -> Iterator[tuple[Instruction, list[Instruction]]]:
        """The steps of a warp's part, each where it lies in the ring once it is there."""
        k, tile = self.k, self.tile
        first, last = self.part(warp)
        whole = (last - first + (tile.steps - 1)) // tile.steps
        for n in k.loop(whole):
            k.wait_copies(self.asked - 1)
            if self.asked < self.longest:
                coming = n + self.first
                self.ask(warp, panel, first + coming * tile.steps, last, coming)
            else:  # all stages are on their way
                k.commit_copies()  # one more of nothing, so that as many groups as ever are behind the next one
            begin = first + n * tile.steps
            place = (warp * tile.stages + n % tile.stages) * self.stage_bytes
            if tile.steps == 1:
                yield begin, [place]
                continue
            for b in k.loop(begin, k.minimum(begin + tile.steps, last)):
                yield b, [place + (b - begin) * self.nbytes]


def _vector_bytes(value: Value) -> int:
    """Bytes of a plain value; 0 where they are not known, or of blocks."""
    count, element = numel(value.type.shape), value.type.element
    return count * element.nbytes if isinstance(count, int) and isinstance(element, DType) else 0


def _near_weights(before: Group) -> list[Value]:
    """Weights of what makes a row that private memory has room for beside a ring."""
    found = [v for v in before.inputs if v.is_parameter and v.kind == "weight" and v.type.layout is None]
    return [v for v in found if _vector_bytes(v) % 16 == 0 and 0 < _vector_bytes(v) <= NEAR_BYTES]


class _Stream(linear._Nest):
    """A team for every panel, or for one of each of two products."""

    def __init__(self, group: Group, target: Target, name: str, plan: PanelPlan, tile: StreamTile) -> None:
        self.stream = tile
        self.before, self.product = parts(group)
        self.quantized = quantized(self.product)
        super().__init__(group, target, name, plan, LinearTile((1,), prefetch=0, team=tile.team), 1)
        far = self.before is None and isinstance(self.x.type.element, ActivationFormat)
        self.near = self.k.alloc(self.row_bytes) if far else None
        self.vectors = {v: self.k.alloc(_vector_bytes(v)) for v in self._vectors()}
        self.factor: Callable[[], Instruction] | None = None  # of all sums, once the row is made
        sources = [self.buffers[n.inputs[1]] for n in self.products]
        self.ring = _Ring(self.k, sources, plan, tile, self.depth, late=far)

    def private(self) -> Instruction:
        return self.k.alloc(4 * self.plan.rows * self.stream.team)

    def build(self) -> Kernel:
        k, panels = self.k, self.plan.panels(self.out_features) * self.stream.groups
        last = (k.worker() + 1) * panels // k.workers()
        for warp in k.team(self.stream.team):
            panel = k.worker() * panels // k.workers()
            for _ in k.when(panel < last):  # a team without a panel waits for nothing
                if self.vectors:
                    for v, near in self.vectors.items():
                        self._bring(near, self.buffers[v], _vector_bytes(v), warp)
                    k.commit_copies()
                self.ring.begin(warp, panel)
        self._ask_for_small_weights()
        k.ready()
        if self.before is not None:
            operands = {v: o for v, o in self.operands.items() if v is not self.x}
            operands |= {v: TensorOperand(k, self.dims, near, v.type) for v, near in self.vectors.items()}
            if self.vectors:
                for _ in k.team(self.stream.team):
                    k.wait_copies(self.ring.first)
            self._begin(self.before, operands)
        elif self.near is not None:
            self._bring_x(self.near)
        for panel in k.parallel(panels, ahead=True):
            self._panel(panel, last)
        # Without a loop a warp needs few registers; with as many as there are, the next launch's blocks have no room.
        single = self.stream.team == MOST_WARPS and self.ring.count <= self.ring.team
        return k.finish(blocks=2 if single else 0)

    def _begin(self, before: Group, operands: dict[Value, TensorOperand]) -> None:
        """Make the row. The factor that its elements share, if they do, is left to the sums."""
        k, team, place = self.k, self.stream.team, self.buffers[self.x]
        if (found := row_factor.apart(before)) is None:
            reduce.prologue(before, self.target, k, self.dims, operands, {self.x: place}, team)
            return
        row, factor = found
        outs = {row.outputs[0]: place}
        self.factor = reduce.prologue_with_factor(row, self.target, k, self.dims, operands, outs, team, factor)

    def _bring_x(self, near: Instruction) -> None:
        """Copy int8 activations, which all warps read in parts, to private memory."""
        k, panels = self.k, self.plan.panels(self.out_features) * self.stream.groups
        panel, end = k.worker() * panels // k.workers(), (k.worker() + 1) * panels // k.workers()
        for warp in k.team(self.stream.team):
            self._bring(near, self.buffers[self.x], self.row_bytes, warp)
            k.commit_copies()
            if self.ring.late:  # behind what is waited for first, and not before `ready`: that would be in its way
                self.ring.rest(warp, panel, panel < end)
            k.wait_copies(self.ring.late)
        self.buffers[self.x] = near

    def _bring(self, near: Instruction, far: Instruction, nbytes: int, warp: Instruction) -> None:
        """Ask for a warp's share of bytes that all of a team read."""
        k = self.k
        lanes = k.iota("i32", 32) * 16
        for at in k.loop(warp * PIECE, nbytes, self.stream.team * PIECE):
            place = k.minimum(lanes + k.splat(k.convert(at, "i32"), 32), nbytes - 16)
            k.copy_async(near, 0, place, far, 0, place)

    def _vectors(self) -> list[Value]:
        """Weights of what makes the row, a norm's: brought before that row is there, they are near in time."""
        if self.before is None:
            return []
        found = _near_weights(self.before)
        tile, most = self.stream, self.target.shared_bytes
        panels = -(-_panels(self.group, self.plan) * tile.groups // (len(self.products) * MULTIPROCESSORS))
        each = ring_bytes(tile, self.plan, self.depth) + _beside(self.group, self.plan) + BLOCK
        return found if min(panels, 32 // tile.team) * each <= most else []

    def _ask_for_small_weights(self) -> None:
        """Norms' weights and biases into the second-level cache: a step comes by each once, so that it is not there."""
        k = self.k
        for value, buffer in self.buffers.items():
            if (
                any(value is n.inputs[1] for n in self.products)
                or not value.is_parameter
                or value.kind != "weight"
                or value.type.layout is not None
                or value in self.vectors
            ):
                continue
            nbytes = _vector_bytes(value)
            if not 0 < nbytes <= SMALL_BYTES:
                continue
            if value.type.shape[-1:] == (self.out_features,) and value.type.shape[-1] == numel(value.type.shape):
                size = self.plan.rows * value.type.element.nbytes
                panel = k.worker() * self.plan.panels(self.out_features) // k.workers()  # about where it begins
                k.prefetch_all(buffer, panel * size, size)
            else:
                k.prefetch_all(buffer, 0, nbytes)

    def _early(self, panel: Instruction) -> dict[Value, Instruction]:
        """What the epilogue reads of a panel, a residual say: read before the sums are formed, it is there in time."""
        result, rows, mask = self.group.root.results[0], self.plan.rows, None
        if self.out_features % rows:
            return {}
        if self.stream.groups > 1:
            mask = self._rows_of_group(panel)
        index = self._index(result, self.k.const(0, "i64"), panel * (rows // self.stream.groups))
        found = {}
        for value in self.product.inputs:
            if value.type.shape == result.type.shape and value is not self.x and value in self.operands:
                found[value] = self.operands[value].load(index, rows, mask)
        return found

    def _panel(self, panel: Instruction, last: Instruction) -> None:
        """The sums of a panel's rows: each warp's part, then all parts in order."""
        k, nbytes = self.k, 4 * self.plan.rows
        assert self.aside is not None
        self.held = self._early(panel)
        for warp in k.team(self.stream.team):
            k.store(self.aside, warp * nbytes, self._sums(warp, panel))
            k.wait_copies(0)
            for _ in k.when(panel + 1 < last):
                self.ring.begin(warp, panel + 1)
                if self.ring.late:
                    self.ring.rest(warp, panel + 1, panel + 1 < last)
        for warp in k.team(self.stream.team):
            for _ in k.when(k.binary("eq", warp, 0)):  # the others have nothing left to do
                self._results(panel)

    def _results(self, panel: Instruction) -> None:
        """What the sums of a panel's rows become, by one warp."""
        k, rows, each = self.k, self.plan.rows, self.ring.team
        assert self.aside is not None
        loaded = [k.load(self.aside, n * 4 * rows, "f32", rows) for n in range(self.stream.team)]
        sums = [dot.sum_of(loaded[n : n + each]) for n in range(0, self.stream.team, each)]
        if self.factor is not None:
            factor = k.splat(self.factor(), rows)
            sums = [s * factor for s in sums]
        row = k.const(0, "i64")
        if self.quantized is not None:
            self._quantize(panel * rows, sums)
        elif self.stream.groups == 1:
            self._store(panel, [(row, sums)])
        else:
            self._columns(panel * (rows // 2), [(row, sums)], self._rows_of_group(panel))

    def _quantize(self, column: Instruction, sums: list[Instruction]) -> None:
        """The results of a panel as a block of int8 activations."""
        k, node = self.k, self.quantized
        assert node is not None
        results = [n.results[0] for n in self.products]
        preset = {**self.held, **dict(zip(results, sums, strict=True))}
        index = self._index(results[0], k.const(0, "i64"), column)
        value = self.epilogue.at(node.inputs[0], index, self.plan.rows, preset=preset)
        ((_, buffer),) = self.results
        quantize_block(k, node.attrs["format"], self.out_features, buffer, k.const(0, "i64"), column, [value])

    def _rows_of_group(self, item: Instruction) -> Instruction:
        """Which lanes hold rows of a group, in the first half."""
        k, half = self.k, self.plan.rows // 2
        left = k.minimum(k.const(self.out_features, "i64") - item * half, half)
        return k.first_lanes(left, self.plan.rows)

    def known(self) -> dict[Value, Instruction]:
        return self.held

    def _sums(self, warp: Instruction, panel: Instruction) -> Instruction:
        """A warp's part of the sums of a panel's rows."""
        if isinstance(self.x.type.element, ActivationFormat):
            sums = IntegerSums(self.k, self.plan, self.depth, self.x.type.element, self.buffers[self.x])
            return sums.of(self.ring.memory, self.ring.walk(warp, panel), self.stream.split, self.stream.groups)

        def walk(count: int, nbytes: int) -> Iterator[tuple[Instruction, list[Instruction]]]:
            assert (count, nbytes) == (self.ring.count, self.ring.nbytes)
            return self.ring.walk(warp, panel)

        zero = [self.k.const(0, "i64")]
        ((total,),) = self._product(self.ring.memory, zero, zero, walk)
        return total
