"""The profiler on GPUs: launches, by the device's own time, beside kernels of the cpu."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import heliostat as hs
from heliostat.bench.cuda_limits import CudaLimits
from heliostat.bench.limits import Limits
from heliostat.diagnostics import UnsupportedError
from heliostat.profiler import ProfilerActivity, profile, record_function, supported_activities
from heliostat.session import engine
from targets.gpus import KINDS, gpu


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with gpu(request.param):
        yield "cuda"


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GB/s and 1 GFLOP/s here, 4 GB/s there."""
    found: dict[str, Any] = {"cpu": Limits(2, 1.0, 1.0, 1.0), "cuda:0": CudaLimits("Some GPU", 4.0)}
    monkeypatch.setattr(sys.modules["heliostat.profiler.profile"], "_limits", found.__getitem__)


def test_launches_of_lazy_tensors_and_what_they_are(device: str, limits: None, tmp_path: Path) -> None:
    x = hs.ones(4, 8, device=device)
    (x * 3).tolist()
    before = time.perf_counter_ns()
    with profile(record_shapes=True) as p:
        with record_function("there"):
            y = x * 3
        after = time.perf_counter_ns()
        assert y.tolist() == [[3.0] * 8] * 4
        (hs.ones(4, 8) * 3).tolist()
    (event,) = [e for e in p.events() if e.device == "cuda:0"]
    assert event.ops == ("mul",)
    assert (event.shape, event.dtype, event.input_shapes[0]) == ((4, 8), "f32", (4, 8))
    assert 2 * 4 * 32 <= event.nbytes <= 2 * 4 * 32 + 8
    assert event.flops == 32
    assert event.time_ns > 0
    assert event.start_ns + event.time_ns <= after
    if event.time_ns < 1e6:  # the stand-in's kernels take a millisecond by its own clock
        assert before < event.start_ns
    (here,) = [e for e in p.events() if e.device == "cpu"]
    rows = {s.device: s for s in p.key_averages()}
    assert rows["cuda:0"].share == pytest.approx(event.nbytes / event.time_ns / 4.0)
    assert rows["cpu"].share == pytest.approx(max(here.nbytes, here.flops) / here.time_ns)
    total = p.key_averages().total_average()
    times = event.time_ns + here.time_ns
    shares = rows["cuda:0"].share * event.time_ns + rows["cpu"].share * here.time_ns
    assert total.share == pytest.approx(shares / times)
    lines = p.table().splitlines()
    assert lines[-2:] == ["limits, 2 threads: 1.0 GB/s read, 1 GFLOP/s", "limit of Some GPU: 4 GB/s copied"]
    assert {line.split()[1] for line in lines[2:4]} == {"cpu", "cuda:0"}
    p.export_chrome_trace(str(tmp_path / "trace.json"))
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [r["args"]["device"] for r in trace if r.get("tid") == "cuda:0"] == ["cuda:0"]


def test_compiled_steps_run_as_without_it_and_every_launch_is_seen(device: str) -> None:
    w = hs.ones(8, 8, device=device).requires_grad_()

    @hs.compile
    def step(x: hs.Tensor) -> hs.Tensor:
        loss = ((x @ w) ** 2).mean()
        (slope,) = hs.autograd.grad(loss, [w])
        with hs.no_grad():
            w.sub_(slope * 0.1)
        return loss.detach()

    x = hs.ones(3, 8, device=device)
    losses = [step(x).item()]
    with hs.profiler() as p:
        losses += [step(x).item() for _ in range(2)]
    losses.append(step(x).item())
    native = next(iter(step.entries.values()))[0].step.native
    mine = [e for e in p.events() if e.program == native.program.name]
    assert [e.name for e in mine] == native.launches.names * 2
    assert sum(e.flops for e in mine if "linear" in e.ops or "matmul" in e.ops) >= 2 * 2 * (3 * 8 * 8) * 2
    for first, second in itertools.pairwise(mine[: len(mine) // 2]):
        assert first.start_ns + first.time_ns == pytest.approx(second.start_ns)
    wanted, there = [], hs.ones(8, 8)
    for _ in range(4):
        y = hs.ones(3, 8) @ there
        wanted.append((y**2).mean().item())
        there = there - 0.1 * (hs.ones(8, 3) @ (2 * y)) / 24
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert engine().gpu_recorder is None


def test_activities_choose_devices(device: str) -> None:
    assert supported_activities() == {ProfilerActivity.CPU, ProfilerActivity.CUDA}
    x, there = hs.ones(3), hs.ones(3, device=device)
    for activity, name in ((ProfilerActivity.CPU, "cpu"), (ProfilerActivity.CUDA, "cuda:0")):
        with hs.profiler([activity]) as p:
            (x * 5).tolist()
            (there * 5).tolist()
        assert [e.device for e in p.events()] == [name]


def test_activities_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliostat.tensor.cuda.is_available", lambda: False)
    with pytest.raises(UnsupportedError, match=r"CUDA cannot be recorded \(activities: ProfilerActivity.CPU\)"):
        hs.profiler([ProfilerActivity.CUDA])
