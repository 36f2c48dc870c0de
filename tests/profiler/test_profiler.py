"""The profiler: times are those of execution, sums are right, compiled steps count, traces can be read."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import ScopeError, UnsupportedError
from heliostat.profiler import ProfilerAction, record_function, schedule, tensorboard_trace_handler
from heliostat.session import engine


def product(n: int = 128) -> Any:
    return hs.ones(n, n) @ hs.ones(n, n)


def test_events_are_what_ran() -> None:
    product().tolist()
    before = time.perf_counter_ns()
    with hs.profiler() as p:
        product().tolist()
    after = time.perf_counter_ns()
    (event,) = [e for e in p.events() if {"matmul", "linear"} & set(e.ops)]
    assert event.flops == 2 * 128**3
    assert event.shape == (128, 128)
    assert event.dtype == "f32"
    assert event.nbytes >= 3 * 4 * 128**2
    assert before - 1e5 <= event.start_ns <= after
    assert 0 < event.time_ns <= after - before
    assert event.time_us == pytest.approx(event.time_ns / 1e3)
    assert event.time_ms == pytest.approx(event.time_ns / 1e6)
    assert engine().recorder is None
    product(64).tolist()
    assert len([e for e in p.events() if {"matmul", "linear"} & set(e.ops)]) == 1  # nothing is seen after the end


def test_times_are_of_execution_not_of_asking() -> None:
    """Work that is asked for inside and read at the end has its time; what is only asked for before has it too."""
    x = hs.ones(384, 384)
    (x @ x @ x @ x).tolist()
    with hs.profiler() as p:
        y = x @ x @ x @ x
        begin = time.perf_counter_ns()
        y.tolist()
        waited = time.perf_counter_ns() - begin
    busy = sum(e.time_ns for e in p.events())
    assert sum(e.flops for e in p.events()) >= 3 * 2 * 384**3
    fastest = 3 * 2 * 384**3 / 4000  # ns at 4 TFLOP/s
    assert fastest < busy < 1.5 * waited


def test_compiled_steps_and_sums(tmp_path: Path) -> None:
    model = nn.Linear(32, 8)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @hs.compile
    def step(x: Any) -> Any:
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    x = hs.ones(16, 32)
    step(x)
    launches = len(next(iter(step.entries.values()))[0].step.native.program.launches)
    plain = step(x).item()
    with hs.profiler.profile(record_shapes=True) as p:
        for _ in range(3):
            with record_function("train"):
                found = step(x)
    assert found.item() < plain
    assert len(p.events()) == 3 * launches
    rows = p.key_averages()
    assert sum(s.count for s in rows) == 3 * launches
    total = rows.total_average()
    assert total.total_flops == sum(e.flops for e in p.events())
    assert total.total_bytes == sum(e.nbytes for e in p.events())
    assert total.total_time_us == pytest.approx(sum(e.time_us for e in p.events()))
    assert all(s.share >= 0 and s.avg_time_us * s.count == pytest.approx(s.total_time_us) for s in rows)
    assert len(p.key_averages(group_by_input_shape=True)) >= len(rows)
    text = p.table(sort_by="count", row_limit=2)
    assert "Share %" in text
    assert "GFLOP/s" in text
    assert len(text.splitlines()) == 7
    longest = max(rows, key=lambda s: s.total_time_us)
    assert rows.table(sort_by="cpu_time_total").splitlines()[2].startswith(longest.name[:52])
    with pytest.raises(UnsupportedError, match="one of total_time"):
        p.table(sort_by="luck")

    file = tmp_path / "trace.json"
    p.export_chrome_trace(str(file))
    trace = json.loads(file.read_text())["traceEvents"]
    p.export_chrome_trace(str(file) + ".gz")
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"] == trace
    kernels = [r for r in trace if r.get("cat") == "kernel"]
    ranges = [r for r in trace if r.get("cat") == "user_annotation"]
    assert {r["name"] for r in kernels} == {e.name for e in p.events()}
    assert [r["name"] for r in ranges] == ["train"] * 3
    for r in kernels:
        assert any(s["ts"] - 50 <= r["ts"] and r["ts"] + r["dur"] <= s["ts"] + s["dur"] + 50 for s in ranges)
    assert "Input Dims" in kernels[0]["args"]
    p.export_stacks(str(tmp_path / "stacks"))
    assert all(line.startswith("train;") for line in (tmp_path / "stacks").read_text().splitlines())
    with pytest.raises(UnsupportedError, match="metric"):
        p.export_stacks(str(tmp_path / "stacks"), "luck")


def test_sizes_of_symbolic_axes() -> None:
    @hs.compile(dynamic=True)
    def f(x: Any) -> Any:
        return x @ hs.ones(8, 4)

    f(hs.ones(6, 8))
    with hs.profiler() as p:
        f(hs.ones(10, 8)).tolist()
    assert sum(e.flops for e in p.events() if {"matmul", "linear"} & set(e.ops)) == 2 * 10 * 8 * 4
    assert (10, 4) in [e.shape for e in p.events()]


def test_schedules(tmp_path: Path) -> None:
    plan = schedule(skip_first=1, wait=1, warmup=1, active=2, repeat=2)
    none, warm, record, save = ProfilerAction
    assert [plan(n) for n in range(11)] == [none, none, warm, record, save, none, warm, record, save, none, none]
    for bad in ({"wait": -1, "warmup": 0, "active": 1}, {"wait": 0, "warmup": 0, "active": 0}):
        with pytest.raises(ValueError, match="not possible"):
            schedule(**bad)
    counts: list[int] = []
    handler = tensorboard_trace_handler(str(tmp_path / "logs"))

    def ready(p: Any) -> None:
        counts.append(len(p.events()))
        handler(p)

    x = hs.ones(4)
    (x + 1).tolist()
    with hs.profiler(schedule=schedule(wait=1, warmup=1, active=2), on_trace_ready=ready) as p:
        for _ in range(8):
            (x + 1).tolist()
            p.step()
    assert counts == [2, 2]
    assert len(list((tmp_path / "logs").glob("*.pt.trace.json"))) == 2


def test_order_of_calls() -> None:
    p = hs.profiler()
    with pytest.raises(ScopeError, match="does not run"):
        p.stop()
    with pytest.raises(ScopeError, match="does not run"):
        p.step()
    with p, pytest.raises(ScopeError, match="open already"):
        hs.profiler().start()
    with pytest.raises(ZeroDivisionError), hs.profiler():
        raise ZeroDivisionError
    assert engine().recorder is None
    for option in ("with_stack", "profile_memory"):
        with pytest.raises(UnsupportedError, match=option):
            hs.profiler(**{option: True})
    with pytest.raises(UnsupportedError, match="activities"):
        hs.profiler(activities=["abacus"])  # type: ignore[list-item]

    @hs.compile
    def step() -> None:
        with record_function("nothing"):
            hs.profiler().start()

    with pytest.raises(ScopeError, match="around the step"):
        step()


def test_memory_beside_a_profile() -> None:
    with hs.profiler.profile() as p:
        kept = hs.ones(1000) + 1
        assert kept.sum().item() == 2000
    assert p.memory_stats().current_bytes >= 4000
