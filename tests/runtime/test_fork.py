"""A forked child has one thread, and waits for none of those that are not there."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import heliostat as hs
from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import TensorType, f32
from heliostat.runtime import fork
from heliostat.session import compile_graph
from heliostat.settings import override

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def in_child(check: Callable[[], bool]) -> int:
    """Exit status of a forked child: 0 if check held, -14 if it took 20 seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_is_waited_for_is_whole() -> None:
    lock, parts = fork.waited_for(), [0, 0]
    inside = threading.Event()

    def change() -> None:
        with lock:
            parts[0] = 1
            inside.set()
            time.sleep(0.1)
            parts[1] = 1

    other = threading.Thread(target=change)
    other.start()
    inside.wait()
    assert in_child(lambda: parts == [1, 1] and lock.acquire(timeout=1)) == 0
    other.join()
    assert lock.acquire(timeout=1)
    assert in_child(lambda: lock.acquire(timeout=1)) == 0  # the forking thread holds it
    lock.release()


def test_two_threads_that_fork_release_what_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lock:
        """Whose release ends when another thread has taken it."""

        def __init__(self) -> None:
            self.inner, self.next = threading.RLock(), threading.Event()

        def acquire(self) -> None:
            self.inner.acquire()

        def release(self) -> None:
            self.inner.release()
            self.next.wait(5)

    def forks() -> None:
        fork._before()
        lock.next.set()
        first.wait(5)
        fork._after()

    lock, first = Lock(), threading.Event()
    monkeypatch.setattr(fork, "_waited_for", [lock])
    monkeypatch.setattr(fork, "_waited_for_within", [])
    fork._before()
    other = threading.Thread(target=forks)
    other.start()
    fork._after()
    first.set()
    other.join()
    assert lock.inner.acquire(blocking=False)


def test_other_locks_are_new() -> None:
    lock = fork.made_new()
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            inside.set()
            done.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    assert in_child(lambda: lock.acquire(timeout=1)) == 0
    assert not lock.acquire(blocking=False)
    done.set()
    other.join()


@pytest.mark.parametrize("apart", [False, True], ids=["tensors", "sessions"])
def test_children_compile_while_other_threads_do(apart: bool) -> None:
    stop = threading.Event()

    def compile_programs(seed: int) -> bool:
        a = np.random.default_rng(seed).standard_normal((seed % 7 + 2, seed // 7 + 3)).astype(np.float32)
        y = ((hs.tensor(a) * 2 + 1).exp() + seed).sum(1).numpy()
        return np.allclose(y, (np.exp(a * 2 + 1) + seed).sum(1), rtol=1e-4)

    def compile_more(seed: int) -> None:
        while not stop.is_set():
            seed += 1
            if apart:  # code of their own, not by the engine of tensors
                x = parameter("x", TensorType(f32, (seed % 50 + 1, seed // 50 + 3)))
                compile_graph(Graph("g", [x], [ops.exp(x)]), threads=1)
            else:
                assert compile_programs(seed)

    with override(cache=False):
        assert compile_programs(1)
        others = [threading.Thread(target=compile_more, args=(100 * i,)) for i in (1, 2)]
        for t in others:
            t.start()
        try:
            for i in range(4):
                time.sleep(0.02)
                assert in_child(lambda i=i: compile_programs(900 + i)) == 0
        finally:
            stop.set()
            for t in others:
                t.join()
