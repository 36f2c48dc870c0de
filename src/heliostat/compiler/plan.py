"""Plans a program: the order of launches, where barriers stand, and which bytes of the arena each scratch value
takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir.graph import Graph, Value
from ..ir.types import DType, TensorType, numel, upper_bound
from ..kernel.ir import Kernel
from ..kernel.program import ALIGNMENT, BufferPlan, Launch, Program
from ..quant.activation import ActivationFormat
from ..quant.format import BlockFormat
from ..quant.panel import Panel
from .fuse import source_of
from .parts import Parts
from .updates import Versions


@dataclass
class Built:
    """One launch before planning: a kernel's number, what it reads and writes, and its symbols."""

    kernel: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    symbols: tuple[str, ...]
    note: str = ""


def type_nbytes(type: TensorType) -> int:
    """The most bytes that a tensor takes: symbolic sizes at their upper bounds."""
    element = type.element
    if isinstance(element, ActivationFormat):
        rows = upper_bound(numel(type.shape[:-1]))
        return rows * element.row_bytes(upper_bound(type.shape[-1]))
    if isinstance(type.layout, Panel):
        assert isinstance(element, (BlockFormat, DType))
        return type.layout.plan(element).nbytes(upper_bound(type.shape[0]), upper_bound(type.shape[1]))
    size = 1
    for d in type.shape:
        size *= upper_bound(d)
    return size // element.block * element.nbytes


@dataclass
class _Scratch:
    """A value of the arena: its size, and the first and last phase in which it is live."""

    value: Value
    nbytes: int
    first: int
    last: int
    offset: int = field(default=0)


class Planner:
    """Plans one graph. A phase is a set of launches between two barriers that do not need each other."""

    def __init__(
        self,
        graph: Graph,
        kernels: list[Kernel],
        built: Sequence[Built],
        versions: Sequence[Versions],
        parts: Parts,
    ) -> None:
        """`built` in an order that `updates.in_order` allows with `versions`, without the groups that `parts` drops."""
        self.graph, self.kernels, self.built, self.parts = graph, kernels, list(built), parts
        self.home = {id(v): version.values[0] for version in versions for v in version.values[1:]}

    def storage(self, value: Value) -> Value:
        """The value whose buffer this one lives in: through reshapes, and a state for its new value."""
        value = source_of(value)
        return self.home.get(id(value), value)

    def run(self) -> Program:
        phases = self._phases()
        scratch = self._live(phases)
        arena = _place(list(scratch.values()))
        buffers: list[BufferPlan] = []
        number: dict[int, int] = {}

        def add(value: Value, kind: str, name: str, offset: int = 0, data: bytes = b"") -> int:
            number[id(value)] = len(buffers)
            buffers.append(BufferPlan(name, kind, value.type, type_nbytes(value.type), offset, data))
            return number[id(value)]

        for p in self.graph.parameters:
            add(p, p.kind, p.node.attrs["name"])
        for i, v in enumerate(self.graph.outputs):
            home = self.storage(v)
            if id(home) not in number:
                add(home, "output", v.name or f"output{i}")
        for s in scratch.values():
            add(s.value, "scratch", s.value.name or s.value.node.op.name, s.offset)
        launches: list[Launch] = []
        for phase in phases:
            for n in phase:
                b = self.built[n]
                ids: list[int] = []
                for v in (*b.inputs, *b.outputs):
                    home = self.storage(v)
                    if id(home) not in number and home.is_constant:
                        add(home, "constant", "constant", data=_bytes(home))
                    elif id(home) not in number:
                        around, offset = self.parts.place(home)
                        add(home, "scratch", home.name or home.node.op.name, scratch[id(around)].offset + offset)
                    ids.append(number[id(home)])
                chunks = self.kernels[b.kernel].chunks
                launches.append(Launch(b.kernel, tuple(ids), b.symbols, n == phase[-1], b.note, chunks))
        inputs = tuple(number[id(p)] for p in self.graph.parameters if p.kind == "input")
        outputs = tuple(number[id(self.storage(v))] for v in self.graph.outputs)
        return Program(self.graph.name, self.kernels, buffers, launches, self.graph.symbols, inputs, outputs, arena)

    def _span(self, value: Value) -> tuple[int, tuple[int, int]]:
        """A value's bytes: the id of what has the buffer, and where in it they begin and end."""
        home = self.storage(value)
        around, offset = self.parts.place(home)
        return id(around), (offset, offset + type_nbytes(home.type))

    def _phases(self) -> list[list[int]]:
        """Each launch as early as what it reads, and what it overwrites, allows."""
        written: dict[int, dict[tuple[int, int], int]] = {}  # by buffer and bytes: the phase of the latest write
        read: dict[int, dict[tuple[int, int], int]] = {}
        phases: dict[int, list[int]] = {}

        def after(known: dict[int, dict[tuple[int, int], int]], span: tuple[int, tuple[int, int]]) -> Iterator[int]:
            buffer, (begin, end) = span
            for (low, high), phase in known.get(buffer, {}).items():
                if low < end and begin < high:
                    yield phase + 1

        def note(known: dict[int, dict[tuple[int, int], int]], span: tuple[int, tuple[int, int]], at: int) -> None:
            spans = known.setdefault(span[0], {})
            spans[span[1]] = max(spans.get(span[1], at), at)

        for n, b in enumerate(self.built):
            inputs, outputs = [self._span(v) for v in b.inputs], [self._span(v) for v in b.outputs]
            before = [p for span in (*inputs, *outputs) for p in after(written, span)]
            at = max([0, *before, *(p for span in outputs for p in after(read, span))])
            for span in inputs:
                note(read, span, at)
            for span in outputs:
                note(written, span, at)
            phases.setdefault(at, []).append(n)
        return [phases[p] for p in sorted(phases)]

    def _live(self, phases: list[list[int]]) -> dict[int, _Scratch]:
        kept = {id(self.storage(v)) for v in self.graph.outputs}
        found: dict[int, _Scratch] = {}
        for p, phase in enumerate(phases):
            for n in phase:
                for v in (*self.built[n].inputs, *self.built[n].outputs):
                    home, _ = self.parts.place(self.storage(v))
                    if home.is_parameter or home.is_constant or id(home) in kept:
                        continue
                    if id(home) not in found:
                        found[id(home)] = _Scratch(home, type_nbytes(home.type), p, p)
                    found[id(home)].first = min(found[id(home)].first, p)
                    found[id(home)].last = max(found[id(home)].last, p)
        return found


def _place(values: list[_Scratch]) -> int:
    """Offsets such that values live in one phase never overlap; larger ones first. Returns the arena's size."""
    order = sorted(values, key=lambda s: -s.nbytes)
    first, last = np.array([s.first for s in order]), np.array([s.last for s in order])
    begin, end = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
    size = 0
    for n, s in enumerate(order):
        need = -(-max(s.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        beside = np.flatnonzero((first[:n] <= s.last) & (last[:n] >= s.first))
        at = 0
        for lo, hi in sorted(zip(begin[beside].tolist(), end[beside].tolist(), strict=True)):
            if at + need <= lo:
                break
            at = max(at, hi)
        s.offset = at
        begin[n], end[n] = at, at + need
        size = max(size, at + need)
    return size


def _bytes(value: Value) -> bytes:
    array = value.node.attrs["value"]
    if value.type.dtype.name == "bf16":
        array = (np.asarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bytes(np.ascontiguousarray(array).tobytes())
