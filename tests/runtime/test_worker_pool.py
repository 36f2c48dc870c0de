from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from heliostat.diagnostics import DeviceError
from heliostat.runtime import jit, llvm_jit, platform
from heliostat.runtime.walker import Control, Share
from heliostat.runtime.worker_pool import BARRIER, WorkerPool, native

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=[1, 2, 3, 8], ids=lambda n: f"{n}threads")
def pool(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    with WorkerPool(request.param) as pool:
        yield pool


def ring(kernels: jit.Loaded, make_table: Callable[..., Any], threads: int, launches: int) -> tuple[Any, Any]:
    """A table whose every launch reads what another thread wrote in the launch before, and the array it ends in."""
    a, b = np.zeros(threads, np.int64), np.zeros(threads, np.int64)
    table = make_table([(kernels["shift"], (a, b) if i % 2 == 0 else (b, a), BARRIER) for i in range(launches)])
    return table, a if launches % 2 == 0 else b


def test_every_launch_sees_the_launch_before(pool: WorkerPool, kernels: jit.Loaded, make_table: Any) -> None:
    launches = 200 if pool.threads > 2 else 5000
    table, last = ring(kernels, make_table, pool.threads, launches)
    for _ in range(5):
        pool.run(table.address, table.count)
        # Each run starts from the values that the one before left in `a`.
    assert (last == 5 * launches).all()


def test_every_thread_runs_every_launch_once(pool: WorkerPool, kernels: jit.Loaded, make_table: Any) -> None:
    seen = np.zeros(pool.threads, np.int64)
    table = make_table([(kernels["count"], (seen,), flags) for flags in (0, 0, BARRIER, 0, BARRIER, 0)])
    run = pool.bind(table.address, table.count)
    for _ in range(500):
        run()
    assert (seen == 3000).all()


def test_empty_table(pool: WorkerPool) -> None:
    for _ in range(100):
        pool.run(0, 0)


def test_parking_and_starting_race(kernels: jit.Loaded, make_table: Any) -> None:
    random.seed(1)
    with WorkerPool(2, spin_us=20) as pool:
        table, last = ring(kernels, make_table, 2, 4)
        end = time.monotonic() + 1.5
        runs = 0
        while time.monotonic() < end:
            pool.run(table.address, table.count)
            runs += 1
            pause = time.perf_counter() + random.random() * 60e-6
            while time.perf_counter() < pause:
                pass
            if runs % 50 == 0:
                time.sleep(0.001)
        assert (last == 4 * runs).all()


def test_no_spinning_starts_from_sleep_every_time(kernels: jit.Loaded, make_table: Any) -> None:
    with WorkerPool(3, spin_us=0) as pool:
        table, last = ring(kernels, make_table, 3, 2)
        for _ in range(200):
            pool.run(table.address, table.count)
        assert (last == 400).all()


def test_idle_workers_use_no_cpu() -> None:
    with WorkerPool(3, spin_us=200) as pool:
        pool.run(0, 0)
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.4)
        assert time.process_time() - before < 0.05
        pool.run(0, 0)


def test_runs_of_several_threads_take_turns(kernels: jit.Loaded, make_table: Any) -> None:
    with WorkerPool(2) as pool:
        table, last = ring(kernels, make_table, 2, 10)

        def caller() -> None:
            for _ in range(100):
                pool.run(table.address, table.count)

        callers = [threading.Thread(target=caller) for _ in range(4)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
        assert (last == 4 * 100 * 10).all()


def test_the_gil_is_free_in_a_run(kernels: jit.Loaded, make_table: Any) -> None:
    turns = np.array([300_000_000], np.int64)
    table = make_table([(kernels["work"], (turns,), 0)])
    with WorkerPool(1) as pool:
        thread = threading.Thread(target=pool.run, args=(table.address, table.count))
        thread.start()
        progress = 0
        while thread.is_alive() and progress < 20:
            progress += 1
            time.sleep(0)
        assert progress == 20, "the interpreter stood still while the kernel ran"
        thread.join()


def test_a_launch_may_not_run_or_close_its_pool(make_table: Any) -> None:
    errors: list[str] = []
    with WorkerPool(1) as pool:

        @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        def callback(args: int, tid: int, n: int) -> None:
            for attempt in (lambda: pool.run(0, 0), pool.close):
                with pytest.raises(DeviceError) as caught:
                    attempt()
                errors.append(str(caught.value))

        table = make_table([(ctypes.cast(callback, ctypes.c_void_p).value, (), 0)])
        pool.run(table.address, 1)
        pool.run(0, 0)
    assert errors == ["a launch may not run its own pool", "a launch may not close its own pool"]


def test_closed_pool_refuses_and_its_threads_end() -> None:
    pool = WorkerPool(3)
    pool.run(0, 0)
    mine = list(pool._team.threads)  # type: ignore[union-attr]
    assert len(mine) == 2
    assert all(t.is_alive() for t in mine)
    pool.close()
    pool.close()
    assert not any(t.is_alive() for t in mine)
    with pytest.raises(DeviceError, match="closed"):
        pool.run(0, 0)
    unused = WorkerPool(2)
    unused.close()
    with pytest.raises(DeviceError, match="closed"):
        unused.run(0, 0)


def test_collected_pool_ends_its_threads() -> None:
    pool = WorkerPool(3)
    pool.run(0, 0)
    mine = list(pool._team.threads)  # type: ignore[union-attr]
    time.sleep(0.01)
    del pool
    gc.collect()
    assert not any(t.is_alive() for t in mine)


def test_bad_thread_counts() -> None:
    for threads in (0, -1, 100_000):
        with pytest.raises(ValueError, match="threads must be"):
            WorkerPool(threads)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
@pytest.mark.parametrize("spin_us", [0, 200])
def test_keyboard_interrupt_leaves_the_pool_usable(kernels: jit.Loaded, make_table: Any, spin_us: int) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupts = 0
    try:
        with WorkerPool(3, spin_us=spin_us) as pool:
            table, last = ring(kernels, make_table, 3, 2)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 2e-3))
                    while True:
                        pool.run(table.address, table.count)
                except KeyboardInterrupt:
                    interrupts += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                value = int(last[0])
                assert (last == value).all()
                assert value % 2 == 0, "a run was left half done"
                pool.run(table.address, table.count)
                assert (last == value + 2).all()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 5


@pytest.mark.parametrize("step", ["_call", "_place", "wake", "native"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_error_in_a_slow_start_loses_no_worker(kernels: jit.Loaded, make_table: Any, step: str, when: str) -> None:
    with WorkerPool(2, spin_us=0) as pool:
        table, last = ring(kernels, make_table, 2, 2)
        pool.run(table.address, table.count)
        team = pool._team
        assert team is not None
        parked = team._parked
        while not parked[1]:
            time.sleep(0.001)

        class Failing:
            """`team.native`, whose `unpark` fails once."""

            def __getattr__(self, name: str) -> Any:
                return failing if name == "unpark" else getattr(original_native, name)

        original_native = team.native
        original = original_native.unpark if step == "native" else getattr(team, step)
        failures = 1

        def failing(*args: Any) -> Any:
            nonlocal failures
            fail, failures = failures > 0, 0
            if fail and when == "before":
                raise KeyboardInterrupt
            result = original(*args)
            if fail:
                raise KeyboardInterrupt
            return result

        if step == "native":
            team.native = Failing()  # type: ignore[assignment]
        else:
            setattr(team, step, failing)
        if step == "_place" and not team._getcpu[0]:
            pytest.skip("threads cannot be placed here")
        with pytest.raises(KeyboardInterrupt):
            pool.run(table.address, table.count)
        assert (last == 2).all(), "a run that failed to start may not have run"
        for _ in range(20):
            pool.run(table.address, table.count)
            time.sleep(0.001)
        assert (last == 42).all()
        while not parked[1]:  # it can still sleep
            time.sleep(0.001)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("parked", [False, True])
def test_forked_child_has_workers_of_its_own(kernels: jit.Loaded, make_table: Any, parked: bool) -> None:
    with WorkerPool(2) as pool:
        table, last = ring(kernels, make_table, 2, 10)
        pool.run(table.address, table.count)
        if parked:
            time.sleep(0.02)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            pool.run(table.address, table.count)
            good = bool((last == 20).all())
            pool.close()
            os._exit(0 if good else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        pool.run(table.address, table.count)
        assert (last == 20).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_runs(kernels: jit.Loaded, make_table: Any) -> None:
    turns = np.array([100_000_000], np.int64)
    table = make_table([(kernels["work"], (turns,), 0)])
    with WorkerPool(2) as pool:
        pool.run(0, 0)
        runner = threading.Thread(target=pool.run, args=(table.address, table.count))
        runner.start()
        time.sleep(0.01)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            pool.run(0, 0)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        runner.join()
        assert os.waitstatus_to_exitcode(status) == 0


EXITS = {
    "spinning": "pool = WorkerPool(3); pool.run(0, 0)",
    "parked": "pool = WorkerPool(3); pool.run(0, 0); time.sleep(0.05)",
    "never used": "pool = WorkerPool(3)",
    "exit call": "pool = WorkerPool(3); pool.run(0, 0); sys.exit(0)",
    "running in a daemon thread": """
pool = WorkerPool(2)
def forever():
    with contextlib.suppress(DeviceError):  # closed before this thread is stopped
        while True: pool.run(0, 0)
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)""",
    "used at exit": """
import atexit
pool = WorkerPool(2)
atexit.register(lambda: pool.run(0, 0))
pool.run(0, 0)""",
}


@pytest.mark.parametrize("how", EXITS)
def test_interpreter_exit(how: str) -> None:
    code = f"""
import contextlib, sys, time, threading
from heliostat.diagnostics import DeviceError
from heliostat.runtime.worker_pool import WorkerPool
{EXITS[how]}
print(time.time())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # Longer than this only if the workers were waited for in vain.
    assert how == "exit call" or time.time() - float(done.stdout) < 4.5
    if how == "used at exit":
        assert "DeviceError: the worker pool is closed" in done.stderr
    else:
        assert done.stderr == ""


@pytest.mark.skipif(jit.host_machine() != "x86-64", reason="sets the mode of an x86 thread")
@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_the_callers_float_mode(kernels: jit.Loaded, make_table: Any, threads: int) -> None:
    text = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @get(ptr %p) { call void @llvm.x86.sse.stmxcsr(ptr %p)
  ret void }
define void @set(ptr %p) { call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void }
"""
    tiny = np.full(threads, 1e-310)
    table = make_table([(kernels["half"], (tiny,), 0)])
    flushing = ctypes.c_uint32(0x1F80 | 0x8040)
    old, after = ctypes.c_uint32(), ctypes.c_uint32()
    with jit.load_objects([llvm_jit.compile_text(text)]) as code, WorkerPool(threads) as pool:
        get, put = (ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code[name]) for name in ("get", "set"))
        get(ctypes.byref(old))
        try:
            put(ctypes.byref(flushing))
            pool.run(table.address, 1)  # its threads inherit the mode
            get(ctypes.byref(after))
        finally:
            put(ctypes.byref(old))
    assert after.value & 0x8040 == 0x8040, "the caller's own mode must come back"
    assert (tiny == 0.5e-310).all()


@pytest.mark.skipif(platform.getcpu_address() is None, reason="threads cannot be placed here")
@pytest.mark.skipif(len(platform.available_cpus()) < 2, reason="one CPU")
def test_threads_on_one_cpu_are_parted(kernels: jit.Loaded, make_table: Any) -> None:
    cpus = platform.available_cpus()
    with WorkerPool(2, spin_us=1_000_000) as pool:
        pool.run(0, 0)
        team = pool._team
        assert team is not None
        worker = team.threads[0].native_id
        assert worker is not None
        moved = 0
        spread = team.spread

        def count() -> None:
            nonlocal moved
            moved += 1
            spread()

        team.spread = count  # type: ignore[method-assign]
        try:
            time.sleep(0.01)
            os.sched_setaffinity(0, {cpus[0]})
            os.sched_setaffinity(worker, {cpus[0]})
            for _ in range(3):
                pool.run(0, 0)
                time.sleep(0.01)
        finally:
            os.sched_setaffinity(0, set(cpus))
        assert moved >= 1
        assert os.sched_getaffinity(worker) == set(cpus), "a worker is bound only while it is moved"


def test_ticks_are_steady() -> None:
    rate = native().ticks_per_ns()
    begin, ticks = time.perf_counter_ns(), native().ticks()
    time.sleep(0.05)
    elapsed, ticks = time.perf_counter_ns() - begin, native().ticks() - ticks
    assert ticks / rate == pytest.approx(elapsed, rel=0.02)


def test_fields_that_different_threads_write_share_no_line() -> None:
    hot = [Control.ARRIVED, Control.GENERATION, Control.DONE, Control.EPOCH, Control.HOLD, Control.STOP, Control.SPREAD]
    assert len({at // 128 for at in [*hot, Control.WORKERS]}) == len(hot) + 1


def test_every_chunk_of_a_share_runs_once(pool: WorkerPool, kernels: jit.Loaded, make_table: Any) -> None:
    """Launches without barriers between them, each with chunks of its own; the next run begins anew."""
    chunks, launches, runs = 5, 3, 300
    seen = np.zeros((launches, pool.threads * chunks), np.int64)
    places = np.array([row.ctypes.data for row in seen], np.int64)
    words = np.zeros((launches, Share.nbytes(pool.threads) // 8), np.int64)
    words[:, 0], words[:, 1] = kernels["count"], places.ctypes.data + 8 * np.arange(launches)
    words[:, 2] = chunks
    table = np.array([(native().share, row.ctypes.data, 0) for row in words], np.int64)
    for _ in range(runs):
        pool.run(table.ctypes.data, launches)
    assert (seen == runs).all()
    assert not words[:, 3:].any()


def test_threads_that_are_through_take_chunks_over(kernels: jit.Loaded) -> None:
    """The first chunk ends when all others are done: those behind it in its thread's share are done by the other."""
    came = np.zeros(1, np.int64)
    pointer = np.array([came.ctypes.data], np.int64)
    words = np.zeros(Share.nbytes(2) // 8, np.int64)
    words[:3] = kernels["await"], pointer.ctypes.data, 4
    table = np.array([(native().share, words.ctypes.data, 0)], np.int64)
    with WorkerPool(2) as pool:
        for _ in range(50):
            came[0] = 0
            pool.run(table.ctypes.data, 1)
            assert came[0] == 7
