from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from heliostat.runtime import jit
from heliostat.runtime.trace import LaunchTime, Trace, group_by_name
from heliostat.runtime.worker_pool import BARRIER, WorkerPool, native


def best_shares(runs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(thread, launch) ticks of (run, thread, launch, 3) stamps: other programs only make a run longer."""
    best: np.ndarray[Any, Any] = (runs[..., 1] - runs[..., 0]).min(axis=0)
    return best


def follows(best: np.ndarray[Any, Any]) -> bool:
    """Whether twenty times the work takes longer, counting next to nothing, and a second thread, which has twice the
    work, longer than the first."""
    found = (best[:, 1] > 5 * best[:, 0]).all() and (best[:, 2] < best[:, 0]).all()
    return bool(found and (len(best) == 1 or best[1, 1] > 1.3 * best[0, 1]))


@pytest.mark.parametrize("threads", [1, 2])
def test_times_follow_the_work(kernels: jit.Loaded, make_table: Any, threads: int) -> None:
    seen = np.zeros(threads, np.int64)
    short, long = np.array([100_000], np.int64), np.array([2_000_000], np.int64)
    table = make_table(
        [
            (kernels["work"], (short,), BARRIER),
            (kernels["work"], (long,), BARRIER),
            (kernels["count"], (seen,), 0),
            (kernels["work"], (short,), 0),
        ]
    )
    with WorkerPool(threads) as pool:
        trace = Trace(pool, table.count)
        pool.run(0, 0)  # the threads start outside of the timing
        begin = time.perf_counter_ns()
        stamps = []
        for count in range(1, 401):  # the machine may be taken away from all of the first ones
            trace.run(table.address)
            stamps.append(trace.stamps.copy())
            if count >= 10 and follows(best_shares(np.array(stamps))):
                break
        elapsed = time.perf_counter_ns() - begin
    assert (seen == count).all(), "a timed run does the same work"
    runs = np.array(stamps)  # (run, thread, launch, [begin, end of share, end of barrier])
    assert (np.diff(runs, axis=3) >= 0).all()
    assert (runs[:, :, 1:, 0] >= runs[:, :, :-1, 2]).all()
    for launch in (0, 1, 3):  # a barrier, and the join: the caller goes on after everybody's share
        assert (runs[:, 0, launch, 2] >= runs[:, :, launch, 1].max(axis=1)).all()
    shares = runs[..., 1] - runs[..., 0]
    assert follows(best_shares(runs)), best_shares(runs)

    rows = trace.report(["a", "b", "c", "d"])
    rate = native().ticks_per_ns()
    assert [(row.name, row.runs) for row in rows] == [(name, count) for name in "abcd"]
    for i, row in enumerate(rows):
        assert row.wall_ns == pytest.approx((runs[:, 0, i, 2] - runs[:, 0, i, 0]).sum() / rate, rel=0.01)
        assert row.mean_ns == pytest.approx(shares[:, :, i].sum() / threads / rate, rel=0.01)
        assert row.longest_ns == pytest.approx(shares[:, :, i].max(axis=1).sum() / rate, rel=0.01)
        assert 1 <= row.imbalance <= threads
    assert sum(row.wall_ns for row in rows) <= 1.01 * trace.total_ns() <= 1.05 * elapsed
    assert trace.total_ns() > best_shares(runs)[0].sum() / rate * (count - 1)


def test_empty_table_and_wrong_names() -> None:
    with WorkerPool(2) as pool:
        trace = Trace(pool, 0)
        trace.run(0)
        assert trace.report([]) == []
        assert trace.total_ns() == 0
        with pytest.raises(ValueError, match="1 names for 0 launches"):
            trace.report(["x"])


def test_launches_of_one_name_are_added() -> None:
    rows = [LaunchTime("a", 2, 10, 4, 6), LaunchTime("b", 2, 30, 9, 9), LaunchTime("a", 2, 5, 1, 2)]
    assert group_by_name(rows) == [(LaunchTime("b", 2, 30, 9, 9), 1), (LaunchTime("a", 2, 15, 5, 8), 2)]
    assert rows[0].imbalance == 1.5
    assert LaunchTime("c", 0, 0, 0, 0).imbalance == 1
