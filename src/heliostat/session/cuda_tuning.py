"""Measuring on a GPU: tiles of kernels, and a vendor's library beside them for large dense products.

Choices are kept by the GPU's name (`tuning_file`). What is measured is one launch with its weights from memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..compiler.fuse import FusedGroup
from ..compiler.pipeline import KernelLibrary, Options, compile_graph
from ..compiler.plan import type_nbytes
from ..compiler.split_depth import BYTES
from ..compiler.tuning import Tunable, key_text, tunable
from ..diagnostics import CompileError, DeviceMemoryError
from ..ir.graph import Graph
from ..kernel.ir import Kernel
from ..kernel.library import LibraryProduct
from ..kernels import warp_matmul, warpgroup_linear, warpgroup_matmul
from ..kernels.group import Group
from ..kernels.library_product import first_of, whole_of
from ..runtime.cuda import DeviceBuffer, Launch, LibraryLaunch
from ..targets.nvptx_module import Phase
from .cuda import CudaCode, CudaDevice
from .phases import launch_blocks
from .tuning import MIN_GAIN, Progress, Tuned

PRODUCTS = (warpgroup_linear, warpgroup_matmul, warp_matmul)  # schedules beside which a library is measured
COLD_BYTES = 256 << 20  # of weights in turn: more than the second-level cache holds
MOST_TURNS = 16
PIECE = 1 << 26  # bytes that are made up; larger buffers repeat them
RUNS, ROUNDS = 12, 4

Measured = Callable[[Sequence[Launch | LibraryLaunch]], float]


def tune_graph(graph: Graph, place: CudaDevice, rows: int = 512) -> list[Tuned]:
    """Measure what a graph's products may be; see `tune_cuda`."""
    library = KernelLibrary()
    compile_graph(graph, place.target, Options(), library)
    return tune_cuda(library.groups.values(), place, rows)


def tune_cuda(
    groups: Iterable[FusedGroup],
    place: CudaDevice,
    rows: int = 512,
    progress: Progress | None = None,
    known: Collection[str] = (),
) -> list[Tuned]:
    """Measure the tiles of products by four warps, each key once, and beside them the library's algorithms where it can
    take the product. `rows`: the value of symbolic dimensions; `known`: keys that are left out.

    Raises KernelFaultError: then the device is lost.
    """
    work: dict[tuple[str, ...], FusedGroup] = {}
    for fused in groups:
        keys = tuple(_keys(fused))
        if not all(key in known for key in keys):
            work.setdefault(keys, fused)
    found: dict[str, Tuned] = {}
    for n, (keys, fused) in enumerate(work.items()):
        if progress:
            progress(n, len(work), keys[-1])
        with contextlib.suppress(DeviceMemoryError):  # what does not fit beside itself some times stays as it is
            for tuned in _tune_one(fused, place, rows):
                found.setdefault(tuned.key, tuned)
    if progress:
        progress(len(work), len(work), "")
    return list(found.values())


def library_notes(groups: Iterable[FusedGroup], place: CudaDevice) -> list[str]:
    """Whether cuBLASLt is a candidate, and for which products it is none, and why: for a report."""
    if place.library is None:
        return ["cuBLASLt is not installed: no candidate"]
    reasons: dict[str, int] = {}
    for fused in groups:
        if fused.schedule in PRODUCTS and isinstance(reason := _product(fused), str):
            reasons[reason] = reasons.get(reason, 0) + 1
    return [f"cuBLASLt {place.library.version} is a candidate for large dense products"] + [
        f"  not for {count} kernel{'s' if count > 1 else ''}: {reason}" for reason, count in reasons.items()
    ]


def _product(fused: FusedGroup) -> LibraryProduct | str:
    """The product that a library could compute of a group: that of packed weights too, which it would read as rows, and
    that of a sum which was cut into parts."""
    group = fused.group
    if group.root.op.name != "linear":
        return whole_of(group) or first_of(group)
    x, w = group.root.inputs
    if x.type.element is not w.type.element or group.symbols:
        return "its weights lie in panels, which single rows and any number of rows read"
    return first_of(group, (x.type, dataclasses.replace(w.type, layout=None)))


def _apart(group: Group, product: LibraryProduct) -> float:
    """Seconds about that a library's product costs beside its own, and a kernel of ours does not: those of the pass
    that computes what our kernel has behind the product, less what the addition of parts reads."""
    result = group.root.results[0].type
    if whole_of(group) is not None:
        return (2 * product.rows * product.columns - type_nbytes(result)) / BYTES
    behind = [n for n in group.nodes if n is not group.root and n.results[0].type.shape == result.shape]
    if len(behind) <= product.bias:
        return 0.0
    read = [v for v in group.inputs if v.type.shape == result.shape and v not in group.root.inputs]
    return (type_nbytes(result) + sum(type_nbytes(v.type) for v in (*read, *group.outputs))) / BYTES


def _keys(fused: FusedGroup) -> Iterator[str]:
    """What is chosen for a group: the tile, and who computes the product."""
    schedule = tunable(fused.schedule)
    if fused.schedule is warpgroup_linear and schedule is not None:
        yield key_text(*schedule.tuning_key(fused.group))
    if fused.schedule in PRODUCTS and not isinstance(product := _product(fused), str):
        yield product.key


def _tune_one(fused: FusedGroup, place: CudaDevice, rows: int) -> list[Tuned]:
    bench = _Bench(fused, place, rows)
    schedule, group = tunable(fused.schedule), fused.group
    tiles = schedule.candidates(group, place.target) if schedule else [None]
    kernels = [_built(schedule, fused, place, f"candidate_{n}", tile) for n, tile in enumerate(tiles)]
    with contextlib.suppress(CompileError):  # all at once by several processes
        bench.load(kernels)
    own: list[tuple[Any, Sequence[Launch]]] = []
    for tile, kernel in zip(tiles, kernels, strict=True):
        with contextlib.suppress(CompileError):
            own.append((tile, bench.launches(kernel)))
    times = bench.in_turn([launches for _, launches in own])
    found: list[Tuned] = []
    winner = min(range(len(own)), key=lambda n: times[n])
    if times[0] < times[winner] * MIN_GAIN:
        winner = 0
    if schedule is not None:
        key = key_text(*schedule.tuning_key(group))
        found.append(Tuned(key, times[0], times[winner], dataclasses.asdict(own[winner][0]), len(own)))
    product = _product(fused)
    if not isinstance(product, str) and place.library is not None:
        found.append(_beside(product, bench, own[winner][1], place))
    return found


def _built(schedule: Tunable | None, fused: FusedGroup, place: CudaDevice, name: str, tile: Any) -> Kernel:
    if schedule is None:
        made: Kernel = fused.schedule.build(fused.group, place.target, name)
        return made
    return schedule.build(fused.group, place.target, name, tile)


def _beside(product: LibraryProduct, bench: _Bench, own: Sequence[Launch], place: CudaDevice) -> Tuned:
    """Our kernel and the library's algorithms in turn. The library is chosen where it is faster by MIN_GAIN, with what
    is then done apart."""
    assert place.library is not None
    count = place.library.algorithms(product)
    offered = [bench.library(dataclasses.replace(product, algorithm=n)) for n in range(count)]
    times = bench.in_turn([own, *offered])
    apart = _apart(bench.group, product)
    entry: dict[str, Any] = {"own_ns": round(times[0] * 1e9), "apart_ns": round(apart * 1e9)}
    best = times[0]
    if count:
        n = min(range(count), key=lambda n: times[n + 1])
        entry["library_ns"] = round(times[n + 1] * 1e9)
        if (times[n + 1] + apart) * MIN_GAIN <= times[0]:
            entry["algorithm"], best = n, times[n + 1]
    return Tuned(product.key, times[0], best, entry, 1 + count)


class _Bench:
    """Runs launches of one group on made-up data, weights from memory in turn."""

    def __init__(self, fused: FusedGroup, place: CudaDevice, rows: int) -> None:
        """Raises DeviceMemoryError."""
        self.place, self.group, self.code = place, fused.group, CudaCode(place)
        group = fused.group
        self.weight = max(group.root.inputs, key=lambda v: type_nbytes(v.type))
        self.turns = max(1, min(MOST_TURNS, COLD_BYTES // max(1, type_nbytes(self.weight.type))))
        noise = np.random.default_rng(0).integers(40, 60, PIECE, np.uint8)  # small normal numbers in every format

        def filled(nbytes: int) -> DeviceBuffer:
            buffer = place.allocate(nbytes)
            for at in range(0, nbytes, PIECE):
                size = min(PIECE, nbytes - at)
                buffer.slice(at, size).copy_from_host(noise[:size], place.stream)
            return buffer

        values = (*group.inputs, *group.outputs)
        self.buffers = {v: [filled(type_nbytes(v.type))] for v in values}
        self.buffers[self.weight] = [filled(type_nbytes(self.weight.type)) for _ in range(self.turns)]
        sizes = np.array([max(s.lower, min(s.upper, rows)) for s in group.symbols] or [0], np.int64)
        self.slots = place.allocate(sizes.nbytes)
        self.slots.copy_from_host(sizes, place.stream)
        place.stream.synchronize()

    def load(self, kernels: Iterable[Kernel]) -> list[Phase]:
        """Code for some kernels, each by itself. Raises CompileError."""
        target, count = self.place.target, self.place.gpu.sm_count
        phases = [Phase("", (kernel,), (launch_blocks(kernel, target, count),)) for kernel in kernels]
        self.code.load(phases, "tuning")
        return phases

    def launches(self, kernel: Kernel) -> list[Launch]:
        """A launch for each turn. Raises CompileError."""
        phase = self.load([kernel])[0]
        symbols = [self.slots.slice(8 * n, 8) for n in range(len(self.group.symbols))]
        made = []
        for turn in range(self.turns):
            given = [self._buffer(v, turn) for v in (*self.group.inputs, *self.group.outputs)]
            launch = self.code.launch(phase, "tuning", [*given, *symbols], None)
            assert isinstance(launch, Launch)
            made.append(launch)
        return made

    def library(self, product: LibraryProduct) -> list[LibraryLaunch]:
        """The library's launch for each turn."""
        assert self.place.library is not None
        made = []
        for turn in range(self.turns):
            launch = self.place.library.launch(product, "candidate", "tuning")
            a, b = (self._buffer(v, turn).address for v in self.group.root.inputs)
            bias = [b] if product.bias else []  # any row that is long enough: b has eight of them at least
            launch.arguments.words()[:] = [a, b, *bias, self._result(turn).address]
            made.append(launch)
        return made

    def _result(self, turn: int) -> DeviceBuffer:
        """Where the library's product goes, which may be larger than what our kernel leaves of it."""
        last, whole = self.group.outputs[0], self.group.root.results[0]
        if type_nbytes(last.type) >= type_nbytes(whole.type):
            return self._buffer(last, turn)
        if whole not in self.buffers:
            self.buffers[whole] = [self.place.allocate(type_nbytes(whole.type))]
        return self._buffer(whole, turn)

    def in_turn(self, candidates: Sequence[Sequence[Launch | LibraryLaunch]]) -> list[float]:
        """Best seconds of a launch of each candidate, measured in turn, so that a slow moment hits all."""
        stream = self.place.stream
        best = [float("inf")] * len(candidates)
        for n in range(ROUNDS + 1):
            for c, launches in enumerate(candidates):
                start = stream.record()
                for run in range(RUNS):
                    launches[run % self.turns](stream)
                end = stream.record()
                stream.synchronize()
                if n:  # the first one brings code in
                    best[c] = min(best[c], end.elapsed_ms(start) / RUNS / 1e3)
        return best

    def _buffer(self, value: Any, turn: int) -> DeviceBuffer:
        held = self.buffers[value]
        return held[turn % len(held)]


def entries(found: Iterable[Tuned]) -> Mapping[str, Mapping[str, Any]]:
    """Choices as they are kept."""
    return {t.key: t.tile for t in found}
