"""Worker threads that walk launch tables: Python threads that live inside native code and block when idle.

A run is published by raising the epoch; spinning workers see it and walk the same table as the caller. A worker that
has spun long enough without work parks: it sets its `parked` word, makes sure that no run is being started, returns
to Python and waits for its lock. A caller first sets `hold`, which forbids parking, then releases the lock of every
parked worker and clears its word, and publishes only when nobody is parked. So a run starts, is walked and joined
within one native call, and an exception between Python steps (KeyboardInterrupt) finds it either complete or not begun.
The lock comes first and the word second: an exception between the two wakes a worker once too often, which costs one
turn of spinning; the other order would lose it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from ..diagnostics import DeviceError
from ..settings import settings
from . import fork, platform
from .jit import host_machine, load_objects
from .object_cache import ObjectCache
from .walker import LINE, Control, walker_text

BARRIER = 1
"""Launch flag: all threads finish this launch before any begins the next."""

# Turns of a spin loop before it offers the core. A turn is one `pause` (20 to 60 ns), so this is some 20 us: longer
# than an ordinary wait between threads, far shorter than a time slice. With more threads than cores nothing is gained
# by spinning, as the awaited thread may need this very core.
_PATIENCE = 500
_PATIENCE_CROWDED = 8

# A shared CPU is corrected at most this often: if the system keeps moving a worker back, it has a reason.
_PLACE_INTERVAL_US = 5000


# Private memory of kernels (up to 5 MiB) lies on the stack, which is 512 KiB for threads of some systems.
_STACK_BYTES = 8 << 20


def _compiled(text: str) -> bytes:
    from .llvm_jit import compile_text  # not imported where the walker comes from the cache

    return compile_text(text)


class Native:
    """Entry points of the walker, compiled (or read from the object cache) and loaded once per process."""

    def __init__(self) -> None:
        text = walker_text(host_machine())
        data = ObjectCache.default().get_or_make(("walker", text), lambda: _compiled(text))
        code = load_objects([data])
        code.keep()  # workers are inside of it until the process ends
        word, pointer = ctypes.c_int64, ctypes.c_void_p
        make = ctypes.CFUNCTYPE
        self.run = make(word, pointer, pointer, word, pointer)(code["hs_run"])
        self.run_here = ctypes.PYFUNCTYPE(word, pointer, pointer, word, pointer)(code["hs_run"])
        self.worker = make(word, pointer, word)(code["hs_worker"])
        self.unpark = make(None, pointer, word)(code["hs_unpark"])
        self.release = make(None, pointer)(code["hs_release"])
        self.stop = make(None, pointer)(code["hs_stop"])
        self.ticks = make(word)(code["hs_ticks"])
        self.part: int = code["hs_part"]
        self.share: int = code["hs_share"]
        self._begin = time.perf_counter_ns(), self.ticks()

    def ticks_per_ns(self) -> float:
        """Rate of the counter that `ticks` reads, measured since this object was made; waits up to 1 ms at first."""
        while True:
            now, ticks = time.perf_counter_ns(), self.ticks()
            if now - self._begin[0] >= 1_000_000:
                return max(float(ticks - self._begin[1]), 1.0) / (now - self._begin[0])


@cache
def native() -> Native:
    """The walker's entry points."""
    return Native()


class _Team:
    """The threads of a pool and the memory they share. Knows nothing of the pool, so that the pool can be collected."""

    def __init__(self, threads: int, spin_us: int) -> None:
        self.native = native()
        self.busy = False
        self.closed = False
        self.threads: list[threading.Thread] = []
        nbytes = Control.nbytes(threads)
        self._memory = np.zeros(nbytes + LINE, np.uint8)  # keeps the control block alive
        skip = -self._memory.ctypes.data % LINE
        words = self._memory[skip : skip + nbytes].view(np.int64)
        self.cpus = platform.cpus_by_core(platform.available_cpus())
        self._all_cpus = set(self.cpus)
        crowded = threads > len(self.cpus)
        words[Control.THREADS // 8] = threads
        rate = self.native.ticks_per_ns()
        words[Control.SPIN_TICKS // 8] = int(spin_us * 1000 * rate)
        words[Control.REST_TICKS // 8] = int(_PLACE_INTERVAL_US * 1000 * rate)
        words[Control.PATIENCE // 8] = _PATIENCE_CROWDED if crowded else _PATIENCE
        words[Control.YIELD // 8] = platform.yield_address()
        self._owners = np.zeros(max(self.cpus) + 1, np.int64)
        words[Control.CPUS // 8] = len(self._owners)
        words[Control.OWNERS // 8] = self._owners.ctypes.data
        self._getcpu = words[Control.GETCPU // 8 :][:1]
        self._getcpu[0] = 0 if crowded or threads == 1 else platform.getcpu_address() or 0
        slots = words[Control.WORKERS // 8 :].reshape(threads, -1)
        self._parked, self._seen_on = slots[:, 0], slots[:, 2]
        self._seen_on[:] = -1
        self.control = ctypes.c_void_p(self._memory.ctypes.data + skip)
        self.locks = [threading.Lock() for _ in range(threads)]
        try:
            for tid in range(1, threads):
                self.locks[tid].acquire()
                cpu = self._free_cpu(tid) if self._getcpu[0] else -1
                name = f"heliostat-{tid}"
                thread = threading.Thread(target=self._work, args=(tid, cpu), name=name, daemon=True)
                usual = threading.stack_size(_STACK_BYTES)
                try:
                    thread.start()
                finally:
                    threading.stack_size(usual)
                self.threads.append(thread)
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError):
                raise DeviceError(f"cannot start {threads} worker threads: {error}") from None
            raise

    def _work(self, tid: int, cpu: int) -> None:
        """A worker's life: inside native code while there is work, else waiting for its lock."""
        if cpu >= 0:
            platform.set_thread_cpus(0, {cpu})
        while True:
            if self._getcpu[0]:
                platform.set_thread_cpus(0, self._all_cpus)
            if self.native.worker(self.control, tid):
                return
            self.locks[tid].acquire()

    def wake(self) -> None:
        """Send the workers that parked back into native code, each on a CPU of its own."""
        for tid in range(1, len(self.locks)):
            if self._parked[tid]:
                if self._getcpu[0]:
                    self._place(tid)
                self._call(tid)
                self.native.unpark(self.control, tid)

    def _call(self, tid: int) -> None:
        """Release a worker's lock, if that was not done before."""
        with contextlib.suppress(RuntimeError):
            self.locks[tid].release()

    def spread(self) -> None:
        """Move workers that were last seen on the CPU of another thread."""
        for tid in range(1, len(self.locks)):
            if self._seen_on[tid] in self._seen_on[:tid] and self._place(tid):
                platform.set_thread_cpus(self.threads[tid - 1].native_id or 0, self._all_cpus)

    def _free_cpu(self, tid: int) -> int:
        """A worker's own CPU if no other thread was seen there, else the first one that is free; taken from here on."""
        self._seen_on[0] = platform.current_cpu()
        others = {int(cpu) for i, cpu in enumerate(self._seen_on) if i != tid}
        own = int(self._seen_on[tid])
        if own not in self._all_cpus or own in others:
            own = next(cpu for cpu in self.cpus if cpu not in others)
        self._seen_on[tid] = own
        return own

    def _place(self, tid: int) -> bool:
        """Bind a worker to a CPU that no other thread uses. Where that is forbidden, all is left to the system."""
        thread = self.threads[tid - 1].native_id
        if thread and platform.set_thread_cpus(thread, {self._free_cpu(tid)}):
            return True
        self._getcpu[0] = 0
        return False

    def close(self) -> None:
        """Let all workers leave, and wait for them, though not forever: at exit another thread may be in a run."""
        if self.closed:
            return
        self.closed = True
        self.native.stop(self.control)
        for tid in range(1, len(self.locks)):
            self._call(tid)
        deadline = time.monotonic() + 5.0
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


class WorkerPool:
    """`threads` threads, the caller's included, that run launch tables together.

    `threads` None takes the settings' number or else the physical cores that this process may use. Threads start at
    the first run. `spin_us` is how long an idle worker spins before it blocks.
    Runs of several Python threads take turns. After a fork the child has workers of its own at its first run.
    """

    def __init__(self, threads: int | None = None, spin_us: int | None = None) -> None:
        wanted = settings().threads if threads is None else threads
        self.threads = platform.default_threads() if wanted is None else wanted
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads must be from 1 to 1024, got {self.threads}")
        self._spin_us = settings().spin_us if spin_us is None else spin_us
        self._lock = fork.made_new()
        self._team: _Team | None = None
        self._closed = False
        _pools.add(self)

    def run(self, table: int, count: int, stamps: int | None = None) -> None:
        """Walk the launch table of `count` launches at address `table` with all threads; return when all are done.

        The GIL is free meanwhile. `stamps`: address of the time stamps that `trace` reads, 3 words per thread and
        launch; None for no timing.
        Raises DeviceError after `close`, or if called from inside a launch of the same pool.
        """
        with self._lock:
            team = self._team or self._start()
            if team.busy or team.closed:
                raise DeviceError("the worker pool is closed" if team.closed else "a launch may not run its own pool")
            team.busy = True
            try:
                if status := team.native.run(team.control, table, count, stamps):
                    self._prepare_and_run(team, status, table, count, stamps)
            except BaseException:
                team.native.release(team.control)
                raise
            finally:
                team.busy = False

    @staticmethod
    def run_alone(table: int, count: int, stamps: int | None = None) -> None:
        """`run` on the caller's thread, without the workers. `stamps`: of one thread."""
        native().run_here(_alone(), table, count, stamps)

    def bind(self, table: int, count: int, stamps: int | None = None, alone: bool = False) -> Callable[[], None]:
        """`run` with its arguments made ready; the table must stay where it is.

        `alone`: the caller's thread does all of it, without the workers and their lock, and keeps the GIL: for runs of
        a few microseconds.
        """
        if alone:
            return partial(native().run_here, _alone(), ctypes.c_void_p(table), ctypes.c_int64(count), None)
        table_, count_, stamps_ = ctypes.c_void_p(table), ctypes.c_int64(count), ctypes.c_void_p(stamps)
        run: Any = self.run
        return lambda: run(table_, count_, stamps_)

    def close(self) -> None:
        """Stop the workers; waits for a run in another thread. Later runs raise DeviceError. Twice is allowed."""
        with self._lock:
            self._closed = True
            if self._team is not None:
                if self._team.busy:
                    raise DeviceError("a launch may not close its own pool")
                self._team.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Team:
        if self._closed:
            raise DeviceError("the worker pool is closed")
        team = self._team = _Team(self.threads, self._spin_us)
        weakref.finalize(self, team.close)  # when the pool is collected, and before the interpreter shuts down
        return team

    @staticmethod
    def _prepare_and_run(team: _Team, status: int, table: int, count: int, stamps: int | None) -> None:
        """The slow start: the first attempt set `hold`, so workers that are woken here cannot park again."""
        while status:
            if status > 0:
                team.wake()
            else:
                team.spread()
            status = team.native.run(team.control, table, count, stamps)

    def _forget(self) -> None:
        """In a forked child: the threads do not exist here."""
        if self._team is not None:
            self._team.closed = True  # nobody to tell, nobody to wait for
        self._team = None


@cache
def _alone() -> ctypes.c_void_p:
    """A control block for runs on the caller's thread: one thread, and nothing that would be written."""
    memory = np.zeros(Control.nbytes(1) + LINE, np.uint8)
    _alone_memory.append(memory)
    memory.view(np.uint8)[Control.THREADS : Control.THREADS + 8] = np.array([1], np.int64).view(np.uint8)
    return ctypes.c_void_p(memory.ctypes.data)


_alone_memory: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
