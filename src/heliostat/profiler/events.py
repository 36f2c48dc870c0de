"""Events of a profile: single kernels, their sums by name, and the table of those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..bench.limits import Limits
from ..compiler.flops import flops_of
from ..diagnostics import UnsupportedError
from ..ir.types import DType, SymbolicDim, evaluate, numel
from ..kernel.program import BufferPlan
from ..session import engine
from ..session.recorder import Recorder, Run

Shares = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class OpEvent:
    """One kernel that ran.

    name: of the kernel: op, format, shape. ops: the ops that it computes. shape, dtype: of its first result.
    input_shapes: of its operands. start_ns, time_ns: begin, as `time.perf_counter_ns`, and length of the longest
    worker's share of it; waiting for a worker that comes late is not execution. nbytes: of its operands and results,
    each once. flops: arithmetic. thread: the Python thread that asked. shares: begin and length of each worker's."""

    name: str
    ops: tuple[str, ...]
    device: str
    dtype: str
    shape: tuple[int, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    start_ns: float
    time_ns: float
    nbytes: int
    flops: int
    thread: int
    program: str
    shares: Shares = field(repr=False, default=())

    @property
    def time_us(self) -> float:
        """Microseconds."""
        return self.time_ns / 1e3

    @property
    def time_ms(self) -> float:
        """Milliseconds."""
        return self.time_ns / 1e6


def op_events(recorder: Recorder, run: Run) -> Iterator[OpEvent]:
    """The kernels of a run."""
    program, groups = run.program, engine().library.groups
    times = recorder.nanoseconds(run.stamps)
    for n, launch in enumerate(program.launches):
        name = program.kernels[launch.kernel].name
        plans = [program.buffers[b] for b in launch.buffers]
        group = groups.get(name)
        nodes = () if group is None else tuple(group.group.nodes)
        inputs = 0 if group is None else len(group.group.inputs)
        result = plans[min(inputs, len(plans) - 1)] if plans else None
        shares = tuple((float(t[0]), float(max(t[1] - t[0], 0.0))) for t in times[:, n])
        begin, length = max(shares, key=lambda share: share[1])
        yield OpEvent(
            name,
            tuple(dict.fromkeys(node.op.name for node in nodes)),
            "cpu",
            "" if result is None else str(result.type.element),
            () if result is None else _shape(result, run.symbols),
            tuple(_shape(p, run.symbols) for p in plans[:inputs]),
            begin,
            length,
            sum(_nbytes(program.buffers[b], run.symbols) for b in set(launch.buffers)),
            flops_of(nodes, run.symbols),
            run.caller,
            program.name,
            shares,
        )


def _shape(plan: BufferPlan, symbols: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, symbols) for d in plan.type.shape)


def _nbytes(plan: BufferPlan, symbols: Mapping[str, int]) -> int:
    element = plan.type.element
    if isinstance(element, DType) and any(isinstance(d, SymbolicDim) for d in plan.type.shape):
        return evaluate(numel(plan.type.shape), symbols) * element.nbytes
    return plan.nbytes


@dataclass
class ProfileSummary:
    """All events of one name. share: of the machine's limits of arithmetic and of reading memory, the larger one; 1 is
    the limit, which kernels whose operands lie in a cache may exceed."""

    name: str
    ops: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    count: int = 0
    total_time_us: float = 0.0
    total_bytes: int = 0
    total_flops: int = 0
    share: float = 0.0

    @property
    def avg_time_us(self) -> float:
        """Mean microseconds of one."""
        return self.total_time_us / max(self.count, 1)

    @property
    def gb_s(self) -> float:
        """Bytes a nanosecond."""
        return self.total_bytes / self.total_time_us / 1e3 if self.total_time_us else 0.0

    @property
    def gflops(self) -> float:
        """Operations a nanosecond."""
        return self.total_flops / self.total_time_us / 1e3 if self.total_time_us else 0.0


SORTS: Mapping[str, Any] = {
    "total_time": lambda s: -s.total_time_us, "cpu_time_total": lambda s: -s.total_time_us,
    "self_cpu_time_total": lambda s: -s.total_time_us, "avg_time": lambda s: -s.avg_time_us,
    "cpu_time": lambda s: -s.avg_time_us, "count": lambda s: -s.count, "bytes": lambda s: -s.total_bytes,
    "flops": lambda s: -s.total_flops, "share": lambda s: s.share, "name": lambda s: s.name,
}  # fmt: skip


class Summaries(Sequence[ProfileSummary]):
    """Sums by name, and their table."""

    def __init__(self, rows: Sequence[ProfileSummary], limits: Limits) -> None:
        self.rows, self.limits = list(rows), limits
        for s in self.rows:
            s.share = max(s.gb_s / limits.read_gb_s, s.gflops / limits.fma_gflops)

    def __getitem__(self, n: Any) -> Any:
        return self.rows[n]

    def __len__(self) -> int:
        return len(self.rows)

    def total_average(self) -> ProfileSummary:
        """All rows as one."""
        made = ProfileSummary("Total", (), ())
        for s in self.rows:
            made.count += s.count
            made.total_time_us += s.total_time_us
            made.total_bytes += s.total_bytes
            made.total_flops += s.total_flops
        made.share = max(made.gb_s / self.limits.read_gb_s, made.gflops / self.limits.fma_gflops)
        return made

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55) -> str:
        """The sums as text; `share` is of the limit that a kernel is nearer to. Raises UnsupportedError for another
        `sort_by` than those of `SORTS`."""
        if sort_by is not None and sort_by not in SORTS:
            raise UnsupportedError(f"a table cannot be sorted by {sort_by!r}", help=f"one of {', '.join(SORTS)}")
        rows = sorted(self.rows, key=SORTS[sort_by or "total_time"])[: row_limit if row_limit >= 0 else None]
        total = self.total_average()
        head = ("Name", "Calls", "Total us", "Time %", "Avg us", "MB", "GB/s", "GFLOP/s", "Share %", "Ops")
        body = [_cells(s, total, max_name_column_width) for s in [*rows, total]]
        widths = [max(len(r[i]) for r in [head, *body]) for i in range(len(head))]

        def line(cells: Sequence[str]) -> str:
            first, *middle, last = cells
            numbers = (c.rjust(w) for c, w in zip(middle, widths[1:-1], strict=True))
            return "  ".join((first.ljust(widths[0]), *numbers, last)).rstrip()

        rule = "-" * min(sum(widths) + 2 * len(widths), 160)
        foot = (
            f"limits, {self.limits.threads} threads: {self.limits.read_gb_s:.1f} GB/s read, "
            f"{self.limits.fma_gflops:.0f} GFLOP/s"
        )
        return "\n".join([line(head), rule, *map(line, body[:-1]), rule, line(body[-1]), foot])


def _cells(s: ProfileSummary, total: ProfileSummary, width: int) -> tuple[str, ...]:
    name = s.name if len(s.name) <= width else s.name[: width - 3] + "..."
    percent = 100 * s.total_time_us / total.total_time_us if total.total_time_us else 0.0
    return (
        name, str(s.count), f"{s.total_time_us:.1f}", f"{percent:.1f}", f"{s.avg_time_us:.2f}",
        f"{s.total_bytes / 1e6:.3f}", f"{s.gb_s:.1f}", f"{s.gflops:.1f}", f"{100 * s.share:.0f}", " ".join(s.ops),
    )  # fmt: skip
