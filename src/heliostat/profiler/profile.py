"""`Profiler`: records the runs of programs between its begin and end, and shows or writes what it saw."""

from __future__ import annotations

import enum
import functools
import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..bench.cuda_limits import CudaLimits, measure_cuda_limits
from ..bench.limits import Limits, measure_limits
from ..diagnostics import ScopeError, UnsupportedError
from ..session import engine
from ..session.devices import gpu_engine
from ..session.recorder import Recorder
from ..tensor import cuda, lazy, memory
from ..tensor.memory import MemoryStats
from .events import OpEvent, op_events
from .schedule import ProfilerAction
from .summaries import ProfileSummary, Summaries


class ProfilerActivity(enum.Enum):
    """What can be recorded."""

    CPU = "cpu"
    CUDA = "cuda"


def supported_activities() -> set[ProfilerActivity]:
    """What can be recorded on this machine: GPUs where there are some."""
    return {ProfilerActivity.CPU, ProfilerActivity.CUDA} if cuda.is_available() else {ProfilerActivity.CPU}


Range = tuple[str, int, int, int]  # name, begin and end in ns, thread
_open: list[Profiler] = []


class record_function:
    """A named range of a profile: a context manager and a decorator. What is open is computed at its begin and at its
    end, so that the range has the execution of what stands in it; inside of a compiled step it does nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._begin: list[int] = []

    def __enter__(self) -> record_function:
        if _open and not lazy.capturing():
            lazy.flush()
        self._begin.append(time.perf_counter_ns())
        return self

    def __exit__(self, *rest: object) -> None:
        begin = self._begin.pop()
        if _open and not lazy.capturing():
            lazy.flush()
            _open[-1]._ranges.append((self.name, begin, time.perf_counter_ns(), threading.get_ident()))

    def __call__(self, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)

        return run


class Profiler:
    """Every kernel that runs between begin and end: time of execution, bytes, arithmetic, share of the limit.

    activities: of `supported_activities()`, all where none are named. While it is open the host waits for each program
    of a GPU, so that times of a loop around are not those without. schedule: which of the steps between calls of `step`
    are recorded.
    on_trace_ready: called with the profiler at the end of each recording. record_shapes: `key_averages` and the trace
    tell shapes apart. What is open is computed before the first and after the last moment. One at a time: another one
    is a ScopeError. Raises UnsupportedError for `with_stack` and `profile_memory`: see `memory_stats`."""

    def __init__(
        self,
        activities: Iterable[ProfilerActivity] | None = None,
        *,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Profiler], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = True,
    ) -> None:
        for a in activities or ():
            if a not in supported_activities():
                known = " and ".join(sorted(map(str, supported_activities())))
                raise UnsupportedError(f"{a} cannot be recorded", help=f"activities: {known}")
        for name, on in (("with_stack", with_stack), ("profile_memory", profile_memory)):
            if on:
                raise UnsupportedError(f"a profile {name}=True does not exist", help="hs.memory_stats() has memory")
        self.activities = set(activities or ProfilerActivity)
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.record_shapes, self.with_flops = record_shapes, with_flops
        self.step_num = 0
        self._recorder = Recorder()
        self._ranges: list[Range] = []
        self._marks: list[tuple[int, int]] = []  # of steps: number and begin
        self._events: list[OpEvent] | None = None
        self._running = self._recording = False

    # --- begin and end --------------------------------------------------------------------------------------------
    def __enter__(self) -> Profiler:
        self.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self.stop()

    def _action(self) -> ProfilerAction:
        return ProfilerAction.RECORD if self.schedule is None else self.schedule(self.step_num)

    def start(self) -> None:
        """Begin. Raises ScopeError where a profiler is open already, and inside of a compiled step."""
        if _open:
            raise ScopeError("a profiler is open already", help="stop() it first")
        if lazy.capturing():
            raise ScopeError("a profiler cannot begin inside of a compiled step", help="begin it around the step")
        lazy.flush()
        _open.append(self)
        self._running = True
        self._turn(self._action())

    def stop(self) -> None:
        """End. Raises ScopeError where it was not begun."""
        if not self._running:
            raise ScopeError("a profiler is stopped that does not run", help="start() it first")
        try:
            lazy.flush()
        finally:
            recorded = self._recording
            self._record(False)
            self._running = False
            _open.remove(self)
        if recorded and self.schedule is None and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def step(self) -> None:
        """End one step and begin the next, as `schedule` says."""
        if not self._running:
            raise ScopeError("step() of a profiler that does not run", help="start() it first")
        lazy.flush()
        if self._action() is ProfilerAction.RECORD_AND_SAVE:
            self._record(False)
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
        self.step_num += 1
        self._turn(self._action())

    def _turn(self, action: ProfilerAction) -> None:
        records = action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        owner = engine()
        with owner.lock:
            if records and not self._recording and self.schedule is not None:
                self.clear()  # a recording begins
            self._record(records)
        if records:
            self._events = None
            self._marks.append((self.step_num, time.perf_counter_ns()))

    def _record(self, on: bool) -> None:
        """Let programs see the recorder, or no longer."""
        owner, self._recording = engine(), on
        owner.recorder = self._recorder if on and ProfilerActivity.CPU in self.activities else None
        owner.gpu_recorder = self._recorder if on and ProfilerActivity.CUDA in self.activities else None

    def clear(self) -> None:
        """Forget what was recorded."""
        self._recorder.runs.clear()
        self._ranges.clear()
        self._marks.clear()
        self._events = None

    # --- what was seen --------------------------------------------------------------------------------------------
    def events(self) -> list[OpEvent]:
        """Every kernel that ran, in order."""
        if self._events is None or self._running:
            runs = list(self._recorder.runs)
            self._events = [e for run in runs for e in op_events(self._recorder, run)]
        return self._events

    def key_averages(self, group_by_input_shape: bool = False) -> Summaries:
        """Sums by kernel and device; with `group_by_input_shape` those of other shapes apart. Measures the limits of
        each device at first, which takes about a second."""
        found: dict[Any, ProfileSummary] = {}
        for e in self.events():
            shapes = e.input_shapes if group_by_input_shape else ()
            s = found.setdefault((e.device, e.name, shapes), ProfileSummary(e.name, e.ops, shapes, device=e.device))
            s.count += 1
            s.total_time_us += e.time_us
            s.total_bytes += e.nbytes
            s.total_flops += e.flops
        devices = sorted({s.device for s in found.values()}) or ["cpu"]
        return Summaries(list(found.values()), {name: _limits(name) for name in devices})

    def memory_stats(self) -> MemoryStats:
        """`heliostat.memory_stats()`, of this process: a profile has no memory of its own."""
        return memory.memory_stats()

    def table(self, sort_by: str | None = None, row_limit: int = 100) -> str:
        """`key_averages().table()`."""
        return self.key_averages().table(sort_by, row_limit)

    def _paths(self) -> list[tuple[OpEvent, list[str]]]:
        """Each event with the ranges around it, the outermost first."""
        ranges = sorted(self._ranges, key=lambda r: (r[1], -r[2]))
        return [(e, [r[0] for r in ranges if r[1] <= e.start_ns <= r[2]]) for e in self.events()]

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write "range;range;kernel microseconds" lines, which flame graphs are made of. The ranges are those of
        `record_function`."""
        if metric != "self_cpu_time_total":
            raise UnsupportedError(f"export_stacks has no metric {metric!r}", help="self_cpu_time_total")
        sums: dict[str, float] = {}
        for e, names in self._paths():
            key = ";".join([*names, e.name])
            sums[key] = sums.get(key, 0.0) + e.time_us
        Path(path).write_text("".join(f"{key} {max(round(us), 1)}\n" for key, us in sums.items()), "utf-8")

    def export_chrome_trace(self, path: str) -> None:
        """Write a trace for chrome://tracing and Perfetto: a row for each worker thread, for each GPU, for ranges and
        for steps. Packed by gzip, which both read, where the name ends in .gz."""
        pid = os.getpid()
        rows: list[dict[str, Any]] = []
        for e in self.events():
            args: dict[str, Any] = {"ops": " ".join(e.ops), "bytes": e.nbytes, "flops": e.flops, "program": e.program}
            args["device"] = e.device
            if self.record_shapes:
                args |= {"Input Dims": e.input_shapes, "shape": e.shape, "dtype": e.dtype}
            for worker, (begin, ns) in enumerate(e.shares):
                row: int | str = worker if e.device == "cpu" else e.device
                rows.append(_complete(e.name, "kernel", begin, ns, pid, row, args))
        ranges = "ranges"
        rows += [_complete(name, "user_annotation", b, e - b, pid, ranges, {}) for name, b, e, _ in self._ranges]
        rows += [
            {"ph": "i", "s": "p", "name": f"ProfilerStep#{n}", "ts": begin / 1e3, "pid": pid, "tid": ranges}
            for n, begin in self._marks
        ]
        workers = {r["tid"] for r in rows if isinstance(r["tid"], int)}
        rows += [
            {"ph": "M", "name": "thread_name", "pid": pid, "tid": w, "args": {"name": f"worker {w}"}}
            for w in sorted(workers)
        ]
        data = json.dumps({"traceEvents": rows, "displayTimeUnit": "ms"}).encode()
        Path(path).write_bytes(gzip.compress(data) if str(path).endswith(".gz") else data)


@functools.lru_cache(maxsize=16)
def _limits(device: str) -> Limits | CudaLimits:
    return measure_limits(engine().pool.threads) if device == "cpu" else measure_cuda_limits(gpu_engine(device).place)


def _complete(
    name: str, kind: str, begin: float, ns: float, pid: int, tid: int | str, args: dict[str, Any]
) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": kind, "ts": begin / 1e3, "dur": ns / 1e3, "pid": pid, "tid": tid,
            "args": args}  # fmt: skip


profile = Profiler
