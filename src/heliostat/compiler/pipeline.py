"""The pipeline: named passes in order, from a graph and a target to programs. Pure: text, data and no machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

from ..diagnostics import CompileError
from ..ir.graph import Graph, Value, structural_key
from ..ir.types import SymbolicDim
from ..kernel.ir import Kernel
from ..kernel.program import Compiled, Program
from ..kernel.text import print_kernel
from ..kernels import (
    attention,
    block_attention,
    block_decode_attention,
    cache,
    convolution,
    convolution_weights,
    decode_attention,
    dequantize,
    dequantize_cache,
    digits,
    few_linear,
    flash_attention,
    flash_gradient,
    gather,
    group_attention,
    linear,
    map,
    matmul,
    merge_runs,
    partition,
    pixel_pool,
    pixel_rows,
    pixel_sums,
    put,
    quantize_rows,
    reduce,
    repack,
    rope,
    row_attention,
    row_attention_gradient,
    scan,
    search,
    simt_matmul,
    sort_blocks,
    stream_linear,
    tensor_linear,
    tile_attention,
    transpose,
    warp_matmul,
    warpgroup_attention,
    warpgroup_linear,
    warpgroup_matmul,
    window,
    window_matmul,
    window_maximum,
)
from ..kernels.group import Group
from ..kernels.matmul_packed import MOST_PRIVATE
from ..quant.format import BlockFormat
from ..targets.nvptx_blocks import private_bytes
from ..targets.target import Target
from .accumulate import accumulate
from .attend import attend
from .attention import expand_attention, heads_of_attention
from .channels_last import channels_last
from .float_parts import float_parts, tf32_rows
from .flops import flops
from .fuse import FusedGroup, Fuser, lone_group, source_of
from .heads import heads_by_views
from .lower import assign_layouts, canonicalize, decompose, load_time, operands_of_products, share
from .masks import masks_for_each
from .parts import Parts, find_parts
from .pixel_groups import pixel_groups
from .plan import Built, Planner
from .radix import sort_by_digits
from .split import split_reductions
from .split_depth import split_depth
from .tuning import TuningTable, library_choice, library_notes
from .updates import in_order, versions_of, with_copies

SCHEDULES: tuple[ModuleType, ...] = (
    stream_linear,
    few_linear,
    warpgroup_linear,
    tensor_linear,
    linear,
    warpgroup_matmul,
    warp_matmul,
    simt_matmul,
    window_matmul,
    matmul,
    convolution,
    convolution_weights,
    group_attention,
    decode_attention,
    warpgroup_attention,
    tile_attention,
    attention,
    block_decode_attention,
    block_attention,
    flash_attention,
    flash_gradient,
    row_attention,
    row_attention_gradient,
    gather,
    put,
    scan,
    sort_blocks,
    merge_runs,
    digits,
    partition,
    search,
    window,
    window_maximum,
    rope,
    cache,
    repack,
    quantize_rows,
    dequantize,
    dequantize_cache,
    transpose,
    pixel_pool,
    pixel_rows,
    pixel_sums,
    map,
    reduce,
)

__all__ = ["Compiled", "KernelLibrary", "Options", "compile_graph", "lower", "passes"]

Observer = Callable[[str, Graph], None]


@dataclass(frozen=True)
class Options:
    """What the caller may choose. `activations`: "int8" or "float", for products with quantized weights. `tuning`: tile
    choices of this machine. `float32_products`: how precise products of f32 must be, one of `float_parts.PRECISIONS`.
    `tf32_convolutions`: whether convolutions of f32 may round what they multiply to tf32.
    """

    activations: str = "int8"
    tuning: TuningTable = field(default_factory=TuningTable)
    float32_products: str = "highest"
    tf32_convolutions: bool = False


class KernelLibrary:
    """Kernels made so far, by what they do: equal groups share one, and so do groups of which equal code was made, of
    2 x 6 and 3 x 4 elements say. Lives as long as its owner wants to share."""

    def __init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}
        self.code: dict[str, Kernel] = {}  # by a hash of their ops and text, without the name
        self.loads: dict[str, tuple[Program, list[str]]] = {}  # by structure, with the names of their parameters
        self.groups: dict[str, FusedGroup] = {}  # by the kernel's name
        self.refused: dict[str, str] = {}  # by the kernel's name, why the tile that was chosen is passed over
        self.names: set[str] = set()

    def get(
        self, fused: FusedGroup, target: Target, options: Options, over: tuple[int, ...] = ()
    ) -> tuple[Kernel, tuple[str, ...]]:
        """The kernel of a group, built once, and the names of its symbols in argument order.

        over: numbers of inputs whose memory is that of a result, so that they change while the kernel runs. Groups that
        differ by the name of their one symbol share a kernel."""
        group = fused.group
        schedule = fused.schedule.__name__.rpartition(".")[2]
        symbols = group.symbols
        alike = {s.name: replace(s, name="n") for s in symbols} if len(symbols) == 1 else None
        structure = structural_key(group.nodes, group.inputs, group.outputs, symbols=alike)
        key = f"{schedule} {target} {structure} {over} {group.beside}"
        if key not in self.kernels:
            made = self._built(fused, target, options, self._name(schedule, fused))
            made.library = None if over or not target.gpu else library_choice(group, options.tuning)
            self.kernels[key] = self._shared(overwriting(made, over) if over else made, group)
            self.groups.setdefault(self.kernels[key].name, fused)
        return self.kernels[key], tuple(s.name for s in symbols)

    def _built(self, fused: FusedGroup, target: Target, options: Options, name: str) -> Kernel:
        """The kernel by the tile that was chosen, or by the schedule's own where it refuses that one."""
        tile = options.tuning.tile(fused.schedule, fused.group, target)
        if tile is not None:
            try:
                made: Kernel = fused.schedule.build(fused.group, target, name, tile)
                if target.gpu or (private := private_bytes(made)) <= MOST_PRIVATE:
                    return made
                self.refused[name] = f"{tile} takes {private} bytes of a thread's stack, of {MOST_PRIVATE} at most"
            except CompileError as error:
                self.refused[name] = error.message
        own: Kernel = fused.schedule.build(fused.group, target, name)
        return own

    def _shared(self, made: Kernel, group: Group) -> Kernel:
        """The kernel of the same ops and code that was made first: others are compiled, loaded and named no more."""
        parts = [*(n.op.name for n in group.nodes), repr(made.library), print_kernel(made).partition("(")[2]]
        first = self.code.setdefault(hashlib.sha256("\n".join(parts).encode()).hexdigest(), made)
        if first is not made:
            self.names.discard(made.name)
        return first

    def _name(self, schedule: str, fused: FusedGroup) -> str:
        """schedule_format_shape, with a number where that is taken: linear_q8_0_4864x896."""
        root = fused.group.root
        parts = [schedule if schedule.endswith(root.op.name) else f"{schedule}_{root.op.name}"]
        source = next((v.type for v in root.inputs if isinstance(v.type.element, BlockFormat)), None)
        if source is None and root.op.name == "linear":
            source = root.inputs[1].type
        shown = source or root.results[0].type
        parts.append(shown.element.name.lower())
        parts.append("x".join(str(d) if isinstance(d, int) else "n" for d in shown.shape) or "scalar")
        name = base = "".join(c if c.isalnum() or c == "_" else "_" for c in "_".join(parts))
        count = 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name


def overwriting(kernel: Kernel, numbers: Sequence[int]) -> Kernel:
    """The kernel with parameters that it reads only said to change: loads of them stay where they are."""
    for n in numbers:
        kernel.buffers[n].attrs["mode"] = "rw"
    parameters = [replace(p, mode="rw") if n in numbers else p for n, p in enumerate(kernel.parameters)]
    kernel.parameters = tuple(parameters)
    return kernel


def passes(target: Target, options: Options) -> list[tuple[str, Callable[[Graph], Graph]]]:
    """The graph passes in order, by name."""
    large = options.tuning.usual(matmul, "matmul f32", "large")
    return [
        ("channels_last", partial(channels_last, target=target, tf32=options.tf32_convolutions)),
        ("share", share),
        ("attention", partial(expand_attention, target=target)),
        ("attend", partial(attend, target=target)),
        ("canonicalize", canonicalize),
        ("accumulate", accumulate),
        ("float_parts", partial(float_parts, target=target, precision=options.float32_products)),
        ("operands", partial(operands_of_products, target=target, alone=bool(large and large.alone))),
        ("heads", partial(heads_of_attention, target=target)),
        ("heads_by_views", partial(heads_by_views, target=target)),
        ("split_depth", partial(split_depth, target=target, library=options.tuning.library)),
        ("tf32_rows", partial(tf32_rows, target=target)),
        (
            "layout",
            partial(assign_layouts, target=target, activations=options.activations, library=options.tuning.library),
        ),
        ("share_again", share),
        ("digits", partial(sort_by_digits, target=target)),
        ("decompose", partial(decompose, target=target)),
        ("split", partial(split_reductions, target=target)),
        ("share_last", share),
        ("masks", masks_for_each),
        ("pixel_groups", pixel_groups),
    ]


def lower(graph: Graph, target: Target, options: Options = Options(), observe: Observer | None = None) -> Graph:
    """The graph after all passes; `observe(name, graph)` sees each stage."""
    if observe:
        observe("input", graph)
    for name, run in passes(target, options):
        graph = run(graph)
        if observe:
            observe(name, graph)
    return graph


def compile_graph(
    graph: Graph,
    target: Target,
    options: Options = Options(),
    library: KernelLibrary | None = None,
    observe: Observer | None = None,
) -> Compiled:
    """Graph + Target -> programs. Raises CompileError naming the op that no schedule takes."""
    library = library or KernelLibrary()
    lowered = lower(graph, target, options, observe)
    main, loads = load_time(lowered)
    made = {name: _load_program(g, target, options, library) for name, g in loads.items()}
    return Compiled(_program(main, target, options, library), made, main)


def _constraints(graph: Graph) -> Iterator[tuple[SymbolicDim, str]]:
    """Bounds of slices that depend on symbols, where the symbols' own bounds do not settle them."""
    for node in graph.nodes():
        if node.op.name == "slice":
            start, stop, axis = (node.attrs[name] for name in ("start", "stop", "axis"))
            size = node.inputs[0].type.shape[axis]
            for d in (start, stop - start, size - stop):
                if isinstance(d, SymbolicDim) and d.lower < 0:
                    yield d, f"slice {start}:{stop} of axis {axis}, which has {size} elements"


def _load_program(graph: Graph, target: Target, options: Options, library: KernelLibrary) -> Program:
    """The program of a load graph. A model has hundreds, of a few shapes: those that differ by names share all else."""
    key = f"{target} {graph.structural_key()}"
    first = library.loads.get(key)
    if first is None:
        made = _program(graph, target, options, library)
        library.loads[key] = (made, [p.node.attrs["name"] for p in graph.parameters])
        return made
    program, names = first
    renamed = dict(zip(names, (p.node.attrs["name"] for p in graph.parameters), strict=True))
    outputs = {program.outputs[0]: graph.outputs[0].name or "output0"}
    buffers = [
        replace(b, name=outputs.get(n, renamed.get(b.name, b.name) if b.kind == "weight" else b.name))
        for n, b in enumerate(program.buffers)
    ]
    return replace(program, buffers=buffers)


def _program(graph: Graph, target: Target, options: Options, library: KernelLibrary) -> Program:
    versions = versions_of(graph)
    library_products = options.tuning.library(graph) if target.gpu else {}
    groups = Fuser(graph, target, SCHEDULES, library_products).run()

    def over(n: int, old: Value, new: Value) -> bool:
        group, schedule = groups[n].group, groups[n].schedule
        named = [v for v in group.inputs if source_of(v) is old]
        may = getattr(schedule, "may_overwrite", None)
        return may is not None and all(may(group, v, new) for v in named)

    reads, writes = [f.group.inputs for f in groups], [f.group.outputs for f in groups]
    _, refused = in_order(reads, writes, versions, over)
    graph, versions, copies = with_copies(graph, [v for v in versions if v not in refused])
    groups += [FusedGroup(lone_group(v), map) for v in copies]
    order, refused = in_order([f.group.inputs for f in groups], [f.group.outputs for f in groups], versions, over)
    assert not refused
    homes = {id(v): version.values[0] for version in versions for v in version.values[1:]}
    kernels: list[Kernel] = []
    numbers: dict[int, int] = {}
    built: list[Built] = []
    report: list[dict[str, Any]] = []
    parts = Parts() if target.gpu else find_parts(graph, groups, versions)
    for fused in (groups[n] for n in order if n not in parts.dropped):
        changed = {id(homes.get(id(v))) for v in fused.group.outputs}
        caches = any(n.op.name == "cache_update" for n in fused.group.nodes)
        same = tuple(n for n, v in enumerate(fused.group.inputs) if not caches and id(source_of(v)) in changed)
        kernel, symbols = library.get(fused, target, options, same)
        if id(kernel) not in numbers:
            numbers[id(kernel)] = len(kernels)
            kernels.append(kernel)
        group = fused.group
        passed_over = [f"the default tile: {library.refused[kernel.name]}"] if kernel.name in library.refused else []
        built.append(Built(numbers[id(kernel)], group.inputs, group.outputs, symbols, group.root.results[0].name))
        report.append(
            {
                "kernel": kernel.name,
                "ops": [n.op.name for n in group.nodes],
                "result": group.root.results[0].name,
                "notes": [*fused.notes, *library_notes(fused.group, kernel, options.tuning), *passed_over],
            }
        )
    program = Planner(graph, kernels, built, versions, parts).run()
    program.report.extend(report)
    program.constraints = tuple(_constraints(graph))
    program.operations = flops(graph, {s.name: s.upper for s in program.symbols})
    return program
