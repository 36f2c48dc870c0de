"""Measuring on a GPU: tiles of kernels, and a vendor's library beside them for large dense products.

Choices are kept by the GPU's name (`tuning_file`). What is measured is one launch with its weights from memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..compiler.fuse import FusedGroup
from ..compiler.pipeline import KernelLibrary, Options, compile_graph
from ..compiler.plan import type_nbytes
from ..compiler.tuning import Tunable, key_text, tunable
from ..diagnostics import CompileError, DeviceMemoryError
from ..ir.graph import Graph
from ..kernel.ir import Kernel
from ..kernel.library import LibraryProduct
from ..kernels import warpgroup_linear, warpgroup_matmul
from ..kernels.library_product import product_of, product_of_node
from ..runtime.cuda import DeviceBuffer, Launch, LibraryLaunch
from ..targets.nvptx import Phase
from .cuda import CudaCode, CudaDevice
from .phases import launch_blocks
from .tuning import MIN_GAIN, Progress, Tuned

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
    work: dict[str, FusedGroup] = {}
    for fused in groups:
        key = _key(fused)
        if key is not None and key not in known:
            work.setdefault(key, fused)
    found: list[Tuned] = []
    for n, (key, fused) in enumerate(work.items()):
        if progress:
            progress(n, len(work), key)
        try:
            found += _tune_one(key, fused, place, rows)
        except DeviceMemoryError:
            continue  # what does not fit beside itself some times stays as it is
    if progress:
        progress(len(work), len(work), "")
    return found


def library_notes(groups: Iterable[FusedGroup], place: CudaDevice) -> list[str]:
    """Whether cuBLASLt is a candidate, and for which products it is none, and why: for a report."""
    if place.library is None:
        return ["cuBLASLt is not installed: no candidate"]
    reasons: dict[str, int] = {}
    for fused in groups:
        if fused.schedule in (warpgroup_linear, warpgroup_matmul) and isinstance(reason := _product(fused), str):
            reasons[reason] = reasons.get(reason, 0) + 1
    return [f"cuBLASLt {place.library.version} is a candidate for large dense products"] + [
        f"  not for {count} kernel{'s' if count > 1 else ''}: {reason}" for reason, count in reasons.items()
    ]


def _product(fused: FusedGroup) -> LibraryProduct | str:
    """The product that a library could compute for a group: that of packed weights too, which it would read as rows."""
    group = fused.group
    if group.root.op.name != "linear":
        return product_of(group)
    if len(group.nodes) != 1:
        return f"{len(group.nodes) - 1} nodes are fused behind it"
    x, w = group.root.inputs
    if x.type.rank != 2 or x.type.element is not w.type.element or group.symbols:
        return "its weights lie in panels, which single rows and any number of rows read"
    node = group.root
    rows = dataclasses.replace(w.type, layout=None)
    return product_of_node(node, (x.type, rows))


def _key(fused: FusedGroup) -> str | None:
    schedule = tunable(fused.schedule)
    if fused.schedule is warpgroup_linear and schedule is not None:
        return key_text(*schedule.tuning_key(fused.group))
    product = _product(fused) if fused.schedule is warpgroup_matmul else ""
    return None if isinstance(product, str) else product.key


def _tune_one(key: str, fused: FusedGroup, place: CudaDevice, rows: int) -> list[Tuned]:
    bench = _Bench(fused, place, rows)
    schedule, group = tunable(fused.schedule), fused.group
    own: list[tuple[Any, Sequence[Launch]]] = []
    for n, tile in enumerate(schedule.candidates(group, place.target) if schedule else [None]):
        try:
            kernel = _built(schedule, fused, place, f"candidate_{n}", tile)
            own.append((tile, bench.launches(kernel)))
        except CompileError:
            continue
    times = bench.in_turn([launches for _, launches in own])
    found: list[Tuned] = []
    winner = min(range(len(own)), key=lambda n: times[n])
    if times[0] < times[winner] * MIN_GAIN:
        winner = 0
    if schedule is not None:
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
    """Our kernel and the library's algorithms in turn. The library is chosen where it is faster by MIN_GAIN."""
    assert place.library is not None
    count = place.library.algorithms(product)
    offered = [bench.library(dataclasses.replace(product, algorithm=n)) for n in range(count)]
    times = bench.in_turn([own, *offered])
    entry: dict[str, Any] = {"own_ns": round(times[0] * 1e9)}
    best = times[0]
    if count:
        n = min(range(count), key=lambda n: times[n + 1])
        entry["library_ns"] = round(times[n + 1] * 1e9)
        if times[n + 1] * MIN_GAIN <= times[0]:
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

    def launches(self, kernel: Kernel) -> list[Launch]:
        """A launch for each turn. Raises CompileError."""
        phase = Phase("", (kernel,), (launch_blocks(kernel, self.place.target, self.place.gpu.sm_count),))
        self.code.load([phase], "tuning")
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
            values = (*self.group.root.inputs, self.group.outputs[0])
            launch.arguments.words()[:] = [self._buffer(v, turn).address for v in values]
            made.append(launch)
        return made

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
