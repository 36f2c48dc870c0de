"""Sums of a profile's events by name, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..bench.cuda_limits import CudaLimits
from ..bench.limits import Limits
from ..diagnostics import UnsupportedError


@dataclass
class ProfileSummary:
    """All events of one name. share: of the limits of a cpu's arithmetic and of reading its memory, the larger one; of
    a GPU's limit of copying; 1 is the limit, which kernels whose operands lie in a cache may exceed."""

    name: str
    ops: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    count: int = 0
    total_time_us: float = 0.0
    total_bytes: int = 0
    total_flops: int = 0
    share: float = 0.0
    device: str = "cpu"

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def cpu_time_total(self) -> float:
        """Microseconds on the cpu."""
        return self.total_time_us if self.device == "cpu" else 0.0

    @property
    def device_time_total(self) -> float:
        """Microseconds on a GPU."""
        return 0.0 if self.device == "cpu" else self.total_time_us

    self_cpu_time_total, self_device_time_total, cuda_time_total = cpu_time_total, device_time_total, device_time_total

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
    **dict.fromkeys(
        ("cuda_time_total", "self_cuda_time_total", "device_time_total", "self_device_time_total"),
        lambda s: (-s.device_time_total, -s.total_time_us),
    ),
}  # fmt: skip


class Summaries(Sequence[ProfileSummary]):
    """Sums by name and device, and their table."""

    def __init__(self, rows: Sequence[ProfileSummary], limits: Mapping[str, Limits | CudaLimits]) -> None:
        """`limits`: of each device in `rows`."""
        self.rows, self.limits = list(rows), dict(limits)
        for s in self.rows:
            s.share = _share(s, self.limits[s.device])

    def __getitem__(self, n: Any) -> Any:
        return self.rows[n]

    def __len__(self) -> int:
        return len(self.rows)

    def total_average(self) -> ProfileSummary:
        """All rows as one. The share of several devices is the mean of theirs, weighted by time."""
        parts = {name: ProfileSummary("Total", (), (), device=name) for name in self.limits}
        made = ProfileSummary("Total", (), (), device=" ".join(parts))
        for s in self.rows:
            for sums in (made, parts[s.device]):
                sums.count += s.count
                sums.total_time_us += s.total_time_us
                sums.total_bytes += s.total_bytes
                sums.total_flops += s.total_flops
        shares = [(_share(part, self.limits[name]), part.total_time_us) for name, part in parts.items()]
        made.share = sum(share * us for share, us in shares) / made.total_time_us if made.total_time_us else 0.0
        return made

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55) -> str:
        """The sums as text; `share` is of the limit that a kernel is nearer to. Raises UnsupportedError for another
        `sort_by` than those of `SORTS`."""
        if sort_by is not None and sort_by not in SORTS:
            raise UnsupportedError(f"a table cannot be sorted by {sort_by!r}", help=f"one of {', '.join(SORTS)}")
        rows = sorted(self.rows, key=SORTS[sort_by or "total_time"])[: row_limit if row_limit >= 0 else None]
        total = self.total_average()
        head = ("Name", "Device", "Calls", "Total us", "Time %", "Avg us", "MB", "GB/s", "GFLOP/s", "Share %", "Ops")
        body = [_cells(s, total, max_name_column_width) for s in [*rows, total]]
        widths = [max(len(r[i]) for r in [head, *body]) for i in range(len(head))]

        def line(cells: Sequence[str]) -> str:
            first, *middle, last = cells
            numbers = (c.rjust(w) for c, w in zip(middle, widths[1:-1], strict=True))
            return "  ".join((first.ljust(widths[0]), *numbers, last)).rstrip()

        rule = "-" * min(sum(widths) + 2 * len(widths), 160)
        foot = [_foot(limits) for limits in self.limits.values()]
        return "\n".join([line(head), rule, *map(line, body[:-1]), rule, line(body[-1]), *foot])


def _share(s: ProfileSummary, limits: Limits | CudaLimits) -> float:
    if isinstance(limits, CudaLimits):
        return s.gb_s / limits.copy_gb_s
    return max(s.gb_s / limits.read_gb_s, s.gflops / limits.fma_gflops)


def _foot(limits: Limits | CudaLimits) -> str:
    if isinstance(limits, CudaLimits):
        return str(limits)
    return f"limits, {limits.threads} threads: {limits.read_gb_s:.1f} GB/s read, {limits.fma_gflops:.0f} GFLOP/s"


def _cells(s: ProfileSummary, total: ProfileSummary, width: int) -> tuple[str, ...]:
    name = s.name if len(s.name) <= width else s.name[: width - 3] + "..."
    percent = 100 * s.total_time_us / total.total_time_us if total.total_time_us else 0.0
    return (
        name, s.device, str(s.count), f"{s.total_time_us:.1f}", f"{percent:.1f}", f"{s.avg_time_us:.2f}",
        f"{s.total_bytes / 1e6:.3f}", f"{s.gb_s:.1f}", f"{s.gflops:.1f}", f"{100 * s.share:.0f}", " ".join(s.ops),
    )  # fmt: skip
