"""Schedule of `linear`: activations times packed weights, y[n, o] = sum_k x[n, k] * w[o, k], with a fused epilogue.

One nest serves a single row (generation: the weights are one forward stream) and many rows (prompts: a panel stays in
cache while tiles of rows pass over it). What stands inside a tile is derived from the formats in `dot.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..diagnostics import CompileError
from ..ir.graph import Node, Value
from ..ir.types import Dim, DType, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.activation import ActivationFormat
from ..quant.format import BlockFormat
from ..quant.panel import Panel, PanelPlan
from ..targets.target import Target
from . import dot, expanded
from .elementwise import PointEvaluator
from .group import CHUNKS, Accept, Dims, Group, Refuse, TensorOperand, epilogue_refusal
from .linear_tile import LinearTile, default_tile, heights_for, row_class, team_of
from .linear_tile import candidates as candidates
from .linear_tile import tuning_key as tuning_key
from .quantize_block import quantize_block
from .unpacked_rows import UnpackedRows

ROOTS = ("linear",)
LIGHT = frozenset({"linear", "add", "mul", "sub", "cast"})  # what an epilogue may do in registers, at one product
QUANTIZED_PANELS = 2  # side by side, whose columns of a row are a block that is quantized
EARLY_BYTES = 80 << 10  # a panel up to this size is asked for by a GPU's block before its activations are there
GPU_WARPS = 4096  # that are wanted in flight to reach a GPU's bandwidth

SHARED_TILES = 4  # tiles of rows for each worker, from which on rows may be shared instead of panels

PanelBody = Callable[[Instruction, int, Instruction], None]
Tile = LinearTile


def accepts(group: Group, target: Target, together: bool = False) -> Accept | Refuse:
    """`linear` of float or int8 activations with weights in panels; anything elementwise may follow, and where panels
    are unpacked, the quantization of a result whose blocks are two panels wide.

    `together`: whether products side by side may be of a single row."""
    root = group.root
    if root.op.name != "linear":
        return Refuse(f"root is {root.op.name}, not linear")
    x, w = root.inputs
    for other in products(group)[1:]:
        if other.inputs[0] is not x or other.inputs[1].type != w.type:
            return Refuse("products side by side share their activations and the type of their weights")
        if row_class(group) == "1" and not together:
            return Refuse("products of a single row read one forward stream of weights each")
    last = quantization(group)
    if last is not None and (reason := _quantization_refusal(group, last, target)) is not None:
        return Refuse(reason)
    if (reason := epilogue_refusal(group, [*products(group), *([last] if last else [])])) is not None:
        return Refuse(reason)
    if not isinstance(w.type.layout, Panel):
        return Refuse(f"the weights lie in {w.type.layout or 'rows'}, not in panels")
    if isinstance(x.type.element, ActivationFormat):
        if not isinstance(w.type.element, BlockFormat):
            return Refuse(f"int8 activations need quantized weights, not {w.type.element}")
        if (reason := dot.refusal(w.type.element)) is not None:
            return Refuse(reason)
        rows = upper_bound(numel(x.type.shape[:-1]))
        partner = expanded.partner(w.type.element, x.type.element.planes, target, rows)
        if x.type.element != partner:
            return Refuse(f"{w.type.element} is multiplied with {partner}, not {x.type.element}")
        if not together and x.type.element.block < w.type.element.block:
            return Refuse(f"{x.type.element} has scales within a block of weights")
    return Accept()


def products(group: Group) -> list[Node]:
    """The products of a group: its root, and one beside it where an epilogue needs both (gate and up)."""
    return [n for n in group.nodes if n.op.name == "linear"]


def quantization(group: Group) -> Node | None:
    """What makes int8 activations of a group's result, those of the next product."""
    last = group.nodes[-1]
    return last if last.op.name == "quantize" else None


def _quantization_refusal(group: Group, node: Node, target: Target) -> str | None:
    """Why a quantization cannot be the end of an epilogue, whose blocks have to be in the registers of one row."""
    w, format = group.root.inputs[1].type, node.attrs["format"]
    if not isinstance(format, ActivationFormat) or format.block != QUANTIZED_PANELS * target.lanes or format.planes > 1:
        return f"a block of {format} is not {QUANTIZED_PANELS} panels of one plane"
    rows = upper_bound(numel(group.root.inputs[0].type.shape[:-1]))
    x = group.root.inputs[0].type.element
    weight = w.element if isinstance(w.element, BlockFormat) else None
    if weight is None or expanded.expanded_plan(weight, x, target.lanes, target, rows) is None:
        return "panels are not unpacked, and tiles are of any width"
    if group.outputs != node.results:
        return "what is quantized is wanted by others too"
    if node.inputs[0].type.dtype.name != "f32" or upper_bound(w.shape[0]) % format.block:
        return f"whole blocks of {format.block} f32 are needed"
    return None


def build(group: Group, target: Target, name: str, tile: LinearTile | None = None) -> Kernel:
    """x: (..., K) float or int8 activations, w: (O, K) in panels, outputs (..., O).

    Reads w once per `tile.block` rows of x, and x once per panel from cache; 2 * rows * O * K operations. Products side
    by side take the same panel of each weight in turn, and the epilogue has both results in registers.
    """
    x, w = group.root.inputs
    assert isinstance(w.type.layout, Panel)
    plan = w.type.layout.plan(w.type.element)
    rows = numel(x.type.shape[:-1])
    planes = x.type.element.planes if isinstance(x.type.element, ActivationFormat) else 1
    depth = upper_bound(w.type.shape[1])
    usual = default_tile(plan, target, rows, depth, planes)
    tile = tile or usual
    if (reason := _tile_refusal(tile, plan, target, rows, depth)) is not None:
        raise CompileError(f"{tile} does not serve {w.type}: {reason}")
    if quantization(group) is not None and tile.panels != QUANTIZED_PANELS:
        tile = replace(usual, panels=QUANTIZED_PANELS)
    if target.gpu and upper_bound(rows) == 1 and tile.team == 1:
        # what is read in large pieces waits for memory alone
        step, wanted = _step_of(plan, depth), 2 * GPU_WARPS if isinstance(plan.format, DType) else GPU_WARPS
        if depth % step == 0:
            tile = replace(tile, team=team_of(plan.panels(upper_bound(w.type.shape[0])), depth // step, wanted))
    return _Nest(group, target, name, plan, tile, rows).build()


def _step_of(plan: PanelPlan, depth: int) -> int:
    """Elements of K of which a warp of a team takes whole numbers."""
    return dot.dense_unroll(plan, depth) if isinstance(plan.format, DType) else plan.format.block


def _tile_refusal(tile: LinearTile, plan: PanelPlan, target: Target, rows: Dim, depth: int) -> str | None:
    """Why a tile does not serve a product; None where it does."""
    if tile.team > 1 and not (target.gpu and upper_bound(rows) == 1):
        return "a team of warps is for a single row on a GPU"
    if tile.team > 1 and depth % _step_of(plan, depth):
        return f"{depth} elements are no whole steps of {_step_of(plan, depth)}, which a team shares"
    return None


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, plan: PanelPlan, tile: LinearTile, rows: Dim) -> None:
        self.group, self.target, self.plan, self.tile, self.rows = group, target, plan, tile, rows
        k = self.k = KernelBuilder(name, target.capability)
        self.buffers: dict[Value, Instruction] = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.results = [(v, k.buffer(f"o{n}", "w")) for n, v in enumerate(group.outputs)]
        self.dims = Dims(k, group.symbols)
        x, w = group.root.inputs
        self.x, self.w = x, w
        if x not in self.buffers:
            self.buffers[x] = self.place_of_x()
        self.products = products(group)
        self.quantized = quantization(group)
        self.out_features = int(w.type.shape[0])  # type: ignore[arg-type]
        self.depth = int(w.type.shape[1])  # type: ignore[arg-type]
        self.heights = tile.tokens if target.gpu else heights_for(tile.tokens, rows)
        weights = [n.inputs[1] for n in self.products]
        self.unpacked: UnpackedRows | None = None
        pieces = expanded.expanded_plan(plan.format, x.type.element, plan.rows, target, upper_bound(rows))
        if pieces is not None:
            assert isinstance(x.type.element, ActivationFormat)
            read = [self.buffers[v] for v in weights]
            x_read = self.buffers[x]
            self.unpacked = UnpackedRows(
                k, plan, pieces, tile, self.heights, self.depth, x.type.element, x_read, read,
                partial(self._ask_for_operands, results=() if self.quantized else self.results), self._store_row,
                None if self.quantized is None else self._quantize_row,
            )  # fmt: skip
        self.aside = None if self.unpacked is not None else self.private()
        operands = {
            v: TensorOperand(k, self.dims, b, v.type)
            for v, b in self.buffers.items()
            if v is not x and not any(v is weight for weight in weights)
        }
        if isinstance(x.type.element, DType):
            operands[x] = TensorOperand(k, self.dims, self.buffers[x], x.type)
        self.operands = operands
        self.epilogue = PointEvaluator(k, self.dims, operands)
        plain = isinstance(x.type.element, DType) and isinstance(plan.format, DType) and plan.format.name == "f32"
        self.asks_by_row = plain and not target.gpu and row_class(group) != "1"
        if isinstance(x.type.element, ActivationFormat):
            self.row_bytes = x.type.element.row_bytes(self.depth)
        else:
            self.row_bytes = self.depth * x.type.element.nbytes

    def place_of_x(self) -> Instruction:
        """Private memory for activations that are computed in the kernel."""
        element, depth = self.x.type.element, upper_bound(self.x.type.shape[-1])
        return self.k.alloc(
            element.row_bytes(depth) if isinstance(element, ActivationFormat) else depth * element.nbytes
        )

    def private(self) -> Instruction | None:
        """Private memory for sums. A long epilogue runs row by row over sums that lie there: code for all rows at once
        takes the registers that the sums need, and more of the instruction cache than there is.
        """
        tile, nbytes = self.tile, 4 * self.plan.rows
        long = len(self.products) > 1 or any(n.op.name not in LIGHT for n in self.group.nodes)
        if tile.team > 1:
            return self.k.alloc(nbytes * tile.team * tile.single_panels)
        if long and row_class(self.group) != "1":
            return self.k.alloc(nbytes * tile.tokens[0] * tile.panels * len(self.products))
        return None

    def build(self) -> Kernel:
        k, tile = self.k, self.tile
        panels = self.plan.panels(self.out_features)
        if isinstance(self.rows, int) and self.rows == 1:
            if self.target.gpu:
                self._come_early(panels)
            self._panels(panels, self._single)
        elif self.target.gpu:
            self._grid(panels)
        elif panels <= tile.panels and self.unpacked is None:
            self._shared_rows(panels)
        elif self.asks_by_row:
            self._shares(panels)
        else:
            count = self.dims(self.rows)
            height = tile.tokens[0]
            blocks = (count + (tile.block - 1)) // tile.block
            size = (count + (blocks * height - 1)) // k.maximum(blocks * height, 1) * height  # equal ones, whole tiles

            def tiles(panel: Instruction, wide: int, block: Instruction) -> None:
                first = block * size
                self._tiles(panel, wide, first, k.minimum(first + size, count))

            self._panels(panels, tiles, blocks)
            return k.finish(chunks=CHUNKS if upper_bound(self.rows) >= expanded.FEWEST else 1)
        return k.finish()

    def _come_early(self, panels: int) -> None:
        """On a GPU a launch may begin while the one before still runs: weights are asked for, then results awaited."""
        k = self.k
        panel_bytes = self.plan.nbytes(self.plan.rows, self.depth)
        panel = k.worker() * panels // k.workers()
        early = panel_bytes if self.tile.team > 1 and panel_bytes <= EARLY_BYTES else dot.LINE
        k.prefetch_all(self.buffers[self.w], panel * panel_bytes, early)
        k.ready()

    def _shared_rows(self, panels: int) -> None:
        """Panels that one tile takes, a classifier's say: what there is to share is rows."""
        k, height = self.k, self.tile.tokens[0]
        self.tile = replace(self.tile, prefetch=0)  # there is no next panel
        count = self.dims(self.rows)
        for item in k.parallel((count + (height - 1)) // height):
            first = item * height
            self._tiles(k.const(0, "i64"), panels, first, k.minimum(first + height, count))

    def _shares(self, panels: int) -> None:
        """A share for each worker: panels where they are whole groups for all, otherwise rows if there are many."""
        k, tile = self.k, self.tile
        height, wide = tile.tokens[0], min(tile.panels, panels)
        zero, count, workers = k.const(0, "i64"), self.dims(self.rows), k.workers()
        uneven = k.binary("ne", k.const(panels, "i64") % (workers * wide), 0)
        by_rows = uneven & (count >= workers * (SHARED_TILES * height))
        share = k.select(by_rows, (count + (workers * height - 1)) // (workers * height) * height, count)
        parts = k.select(by_rows, k.const(1, "i64"), workers)
        for item in k.parallel(workers):
            start, part = k.select(by_rows, k.minimum(item * share, count), zero), k.select(by_rows, zero, item)
            end = k.minimum(start + share, count)
            begin, stop = part * panels // parts, (part + 1) * panels // parts
            whole = (stop - begin) // wide * wide + begin
            blocks = k.maximum((end - start + (tile.block - 1)) // tile.block, 1)
            size = (end - start + (blocks * height - 1)) // (blocks * height) * height  # equal ones, whole tiles
            for block in k.loop(blocks):
                first = k.minimum(start + block * size, end)
                last = k.minimum(first + size, end)
                for panel in k.loop(begin, whole, wide):
                    self._tiles(panel, wide, first, last)
                for panel in k.loop(whole, stop) if wide > 1 else ():
                    self._tiles(panel, 1, first, last)

    def _grid(self, panels: int) -> None:
        """Every tile of rows and panels is a worker's: a GPU has thousands. Neighbours read the same panels."""
        k, height = self.k, self.tile.tokens[0]
        wide = min(self.tile.panels, panels)
        count = self.dims(self.rows)
        tiles = (count + (height - 1)) // height
        for item in k.parallel(tiles * -(-panels // wide)):
            panel, first = item // tiles * wide, item % tiles * height
            last = k.minimum(first + height, count)
            if panels % wide == 0:
                self._tiles(panel, wide, first, last)
                continue
            inside = panel + wide <= panels
            for _ in k.when(inside):
                self._tiles(panel, wide, first, last)
            for _ in k.otherwise():
                for p in k.loop(panel, panels):
                    self._tiles(p, 1, first, last)

    def _panels(self, panels: int, body: PanelBody, blocks: Instruction | None = None) -> None:
        """Panels in parallel, `tile.panels` at a time, for each block of rows in turn; what is left over at the end one
        by one. A worker has neighbouring panels of one block or two, whose rows stay in its second-level cache.
        """
        k = self.k
        single = isinstance(self.rows, int) and self.rows == 1
        wide = min(self.tile.single_panels if single else self.tile.panels, panels)
        whole, rest = panels // wide, panels % wide
        for count, first, step in ((whole, 0, wide), (rest, whole * wide, 1)) if rest else ((whole, 0, wide),):
            for item in k.parallel(count if blocks is None else blocks * count):
                at, block = (item, k.const(0, "i64")) if blocks is None else (item % count, item // count)
                body(at * step + first, step, block)

    def _single(self, panel: Instruction, wide: int, row: Instruction) -> None:
        self._tile(panel, wide, row, 1)

    def _tiles(self, panel: Instruction, wide: int, first: Instruction, last: Instruction) -> None:
        """Tiles of falling heights over rows first .. last. The tallest ask for the next panels bit by bit, so that
        these have come when their turn does.
        """
        k = self.k
        if self.unpacked is not None:
            self.unpacked.rows(panel, wide, first, last)
            return
        panel_bytes = self.plan.nbytes(self.plan.rows, self.depth)
        for_row = -(-wide * panel_bytes * 4 // (3 * self.tile.block))  # blocks may be smaller
        start = first
        for height in self.heights:
            whole = (last - first) // height * height + first
            for n in k.loop(first, whole, height):
                if height == self.tile.tokens[0] and self.tile.prefetch:
                    ahead = (panel + wide) * panel_bytes + (n - start) * for_row
                    for product in self.products:
                        for line in range(0, for_row * height, dot.LINE):
                            k.prefetch(self.buffers[product.inputs[1]], ahead + line)
                if not self.asks_by_row:
                    self._ask_for_operands(panel, wide, [n + m for m in range(height)])
                self._tile(panel, wide, n, height)
            first = whole

    def _asking(self, panel: Instruction, bases: Sequence[Instruction], first: Instruction, height: int) -> dot.Walk:
        """Through the depth of a tile in a part for each of its rows, whose lines of results and of what the epilogue
        reads are asked for then: those of all rows at once would hold up the loads of the operands."""
        k = self.k

        def walk(count: int, nbytes: int) -> Iterator[tuple[Instruction, list[Instruction]]]:
            for m in k.loop(height):
                self._ask_for_operands(panel, len(bases), [first + m], self.results)
                for step in k.loop(m * count // height, (m + 1) * count // height):
                    yield step, [base + step * nbytes for base in bases]

        return walk

    def _ask_for_operands(
        self,
        panel: Instruction,
        wide: int,
        tokens: Sequence[Instruction],
        results: Sequence[tuple[Value, Instruction]] = (),
    ) -> None:
        """What the epilogue will read of this tile, a residual say, and of `results`, which it writes: their lines come
        while the sums are formed."""
        k, result = self.k, self.group.root.results[0]
        for value, buffer in results:
            operand = self.operand_of(value, buffer)
            for n in tokens:
                for p in range(wide):
                    k.prefetch(buffer, operand.offset(self._index(result, n, (panel + p) * self.plan.rows)))
        for value, operand in self.operands.items():
            if value.type.shape == result.type.shape and value is not self.x:
                for n in tokens:
                    for p in range(wide):
                        index = self._index(result, n, (panel + p) * self.plan.rows)
                        k.prefetch(operand.buffer, operand.offset(index))

    def _tile(self, panel: Instruction, wide: int, first: Instruction, height: int) -> None:
        """Rows first .. first + height of `wide` panels from `panel`: sums, epilogue, stores."""
        k, nbytes = self.k, 4 * self.plan.rows
        panel_bytes = self.plan.nbytes(self.plan.rows, self.depth)
        bases = [(panel + p) * panel_bytes for p in range(wide)]
        offsets = [(first + m) * self.row_bytes for m in range(height)]
        walk = self._asking(panel, bases, first, height) if self.asks_by_row else None
        if self.tile.team > 1:
            self._shared(panel, wide, bases, offsets)
            return
        if self.aside is None:
            (sums,) = [self._product(self.buffers[n.inputs[1]], bases, offsets, walk) for n in self.products]
            for p in range(wide):
                self._store(panel + p, [(first + m, [row[p]]) for m, row in enumerate(sums)])
            return
        size = height * wide * nbytes
        for n, product in enumerate(self.products):
            for m, row in enumerate(self._product(self.buffers[product.inputs[1]], bases, offsets, walk)):
                for p, value in enumerate(row):
                    k.store(self.aside, n * size + (m * wide + p) * nbytes, value)
        for row_in_tile in k.loop(height):
            for p in range(wide):
                at = (row_in_tile * wide + p) * nbytes
                held = [k.load(self.aside, at + n * size, "f32", self.plan.rows) for n in range(len(self.products))]
                self._store(panel + p, [(first + row_in_tile, held)])

    def _shared(
        self, panel: Instruction, wide: int, bases: Sequence[Instruction], offsets: Sequence[Instruction]
    ) -> None:
        """A single row by a team: each sums a part of the depth, and the parts are added in order."""
        k, nbytes, team = self.k, 4 * self.plan.rows, self.tile.team
        assert self.aside is not None
        (product,) = self.products
        for s in k.team(team):
            walk = dot.along(k, bases, (s, team))
            (sums,) = self._product(self.buffers[product.inputs[1]], bases, offsets, walk)
            for p, value in enumerate(sums):
                k.store(self.aside, (s * wide + p) * nbytes, value)
        for p in range(wide):
            parts = [k.load(self.aside, (s * wide + p) * nbytes, "f32", self.plan.rows) for s in range(team)]
            self._store(panel + p, [(k.const(0, "i64"), [dot.sum_of(parts)])])

    def _product(
        self,
        w: Instruction,
        bases: Sequence[Instruction],
        offsets: Sequence[Instruction],
        walk: dot.Walk | None = None,
    ) -> dot.Tile:
        """The sums of one tile of one product."""
        k, plan, x = self.k, self.plan, self.buffers[self.x]
        single = isinstance(self.rows, int) and self.rows == 1
        prefetch = self.tile.prefetch if single else 0
        if isinstance(self.x.type.element, ActivationFormat):
            reader = dot.PanelReader(k, plan, w)
            format = self.x.type.element
            step = format.plane_bytes(self.depth)
            planes = [o + p * step for o in offsets for p in range(format.planes)]
            parts = dot.integer_tile(k, reader, format, bases, x, planes, self.depth, prefetch, walk)
            return [_sum_planes(parts[m * format.planes : (m + 1) * format.planes]) for m in range(len(offsets))]
        both = {self.x.type.element.name, plan.format.name}
        if both == {"bf16"} and not single and self.depth % 2 == 0 and plan.run == 1:
            return dot.pair_tile(k, plan, w, bases, x, offsets, self.depth)
        weight = dot.PanelFloats(k, plan, w, dot.dense_unroll(plan, self.depth) if single else 8, prefetch)
        chains = 4 if single else 1
        return dot.float_tile(k, weight, bases, x, offsets, self.depth, self.x.type.dtype, chains, walk)

    def _store_row(self, panel: Instruction, row: Instruction, sums: Sequence[list[Instruction]]) -> list[Instruction]:
        """Epilogue and stores of a row of panels side by side: `sums` of each, by product. What is to be quantized is
        not stored but given back."""
        values: list[Instruction] = []
        if self.quantized is None:
            for p, held in enumerate(sums):
                self._store(panel + p, [(row, held)])
            return values
        lanes, results = self.plan.rows, [n.results[0] for n in self.products]
        for p, held in enumerate(sums):
            index = self._index(results[0], row, (panel + p) * lanes)
            preset = {**self.known(), **dict(zip(results, held, strict=True))}
            values.append(self.epilogue.at(self.quantized.inputs[0], index, lanes, preset=preset))
        return values

    def _quantize_row(self, panel: Instruction, row: Instruction, values: Sequence[Instruction]) -> None:
        """Store the block of a row that panels side by side make."""
        assert self.quantized is not None
        format, ((_, buffer),), size = self.quantized.attrs["format"], self.results, self.out_features
        quantize_block(self.k, format, size, buffer, row * format.row_bytes(size), panel * self.plan.rows, values)

    def _store(self, panel: Instruction, values: Sequence[tuple[Instruction, list[Instruction]]]) -> None:
        """Epilogue and stores of one panel's columns.

        The last panel may be partly outside: a masked copy of the code.
        """
        k, lanes = self.k, self.plan.rows
        column = panel * lanes
        tail = self.out_features % lanes
        if not tail:
            self._columns(column, values, None)
            return
        inside = panel < (self.out_features // lanes)
        for _ in k.when(inside):
            self._columns(column, values, None)
        for _ in k.otherwise():
            mask = k.ult(k.iota("i32", lanes), k.const(tail, "i32", lanes))
            self._columns(column, values, mask)

    def _columns(
        self, column: Instruction, values: Sequence[tuple[Instruction, list[Instruction]]], mask: Instruction | None
    ) -> None:
        results = [n.results[0] for n in self.products]
        for n, sums in values:
            index = self._index(results[0], n, column)
            done: list[tuple[TensorOperand, Instruction]] = []
            for value, buffer in self.results:
                preset = {**self.known(), **dict(zip(results, sums, strict=True))}
                out = self.epilogue.at(value, index, self.plan.rows, mask=mask, preset=preset)
                done.append((self.operand_of(value, buffer), out))
            for operand, out in done:
                operand.store(index, out, mask)

    def known(self) -> dict[Value, Instruction]:
        """What the epilogue reads of a tile, as far as it is in registers."""
        return {}

    def operand_of(self, value: Value, buffer: Instruction) -> TensorOperand:
        return TensorOperand(self.k, self.dims, buffer, value.type)

    def _index(self, value: Value, n: Instruction, column: Instruction) -> list[Instruction]:
        """The index of flattened row n: leading axes by division where there is more than one."""
        return [*self.dims.index(value.type.shape[:-1], n), column]


def _sum_planes(rows: Sequence[Sequence[Instruction]]) -> list[Instruction]:
    """The products of a row's planes added up; there is one, or the coarse and the fine one."""
    return list(rows[0]) if len(rows) == 1 else [a + b for a, b in zip(rows[0], rows[1], strict=True)]
