"""Events of a profile: what ran, kernel by kernel, or launch by launch on GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..compiler.flops import flops_of
from ..session.devices import engine_of
from ..session.recorder import GpuRun, Recorder, Run

Shares = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class OpEvent:
    """One kernel that ran, or one launch of several side by side on a GPU.

    name: of the kernel: op, format, shape; of several with ` + ` between. device: cpu, cuda:N. ops: the ops that it
    computes. shape, dtype: of its first result.
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


def op_events(recorder: Recorder, run: Run | GpuRun) -> Iterator[OpEvent]:
    """The kernels of a run, the launches of one on a GPU."""
    if isinstance(run, GpuRun):
        for n, members in enumerate(run.members):
            begin, end = float(run.marks[n]), float(run.marks[n + 1])
            yield _event(run, run.device, members, ((begin, max(end - begin, 0.0)),))
        return
    times = recorder.nanoseconds(run.stamps)
    for n in range(len(run.program.launches)):
        yield _event(run, "cpu", (n,), tuple((float(t[0]), float(max(t[1] - t[0], 0.0))) for t in times[:, n]))


def _event(run: Run | GpuRun, device: str, members: Sequence[int], shares: Shares) -> OpEvent:
    """What launches of a program that ran as one were; operands and results are those of the first."""
    program, groups = run.program, engine_of(device).library.groups
    launches = [program.launches[n] for n in members]
    names = [program.kernels[launch.kernel].name for launch in launches]
    found = [groups.get(name) for name in names]
    nodes = [() if g is None else tuple(g.group.nodes) for g in found]
    plans = [program.buffers[b] for b in launches[0].buffers]
    inputs = 0 if found[0] is None else len(found[0].group.inputs)
    result = plans[min(inputs, len(plans) - 1)] if plans else None
    begin, length = max(shares, key=lambda share: share[1])
    return OpEvent(
        " + ".join(names),
        tuple(dict.fromkeys(node.op.name for some in nodes for node in some)),
        device,
        "" if result is None else result.type.element.name,
        () if result is None else result.type.shape_at(run.symbols),
        tuple(p.type.shape_at(run.symbols) for p in plans[:inputs]),
        begin,
        length,
        sum(program.buffers[b].nbytes_at(run.symbols) for launch in launches for b in set(launch.buffers)),
        sum(flops_of(some, run.symbols) for some in nodes),
        run.caller,
        program.name,
        shares,
    )
