"""What this machine can do at most: multiply-adds and int8 dot products from registers, reading from memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..kernel.builder import KernelBuilder
from ..kernel.ir import Kernel
from ..runtime.buffer import Buffer
from ..runtime.worker_pool import WorkerPool
from ..session import host_target
from ..session.executable import CodeStore
from ..targets.target import Target
from .compare import Call, time_in_turn

ROUNDS = 200_000  # turns of the arithmetic loops
READ_BYTES = 512 << 20


@dataclass(frozen=True)
class Limits:
    """Of `threads` threads together: GFLOP/s of f32 multiply-adds, GOP/s of int8 dot products, GB/s read."""

    threads: int
    fma_gflops: float
    int8_gops: float
    read_gb_s: float

    def best(self, other: Limits) -> Limits:
        """The larger of each, of the same threads."""
        return Limits(
            self.threads,
            max(self.fma_gflops, other.fma_gflops),
            max(self.int8_gops, other.int8_gops),
            max(self.read_gb_s, other.read_gb_s),
        )

    def __str__(self) -> str:
        return (
            f"limits of {self.threads} threads: {self.fma_gflops:.0f} GFLOP/s, {self.int8_gops:.0f} int8 GOP/s, "
            f"{self.read_gb_s:.1f} GB/s read"
        )


class Probe:
    """The three limit kernels, ready to be called: `fma`, `dot` and `read`. Holds their code and 512 MiB of memory."""

    def __init__(self, threads: int) -> None:
        target = host_target()
        self.pool = WorkerPool(threads)
        self.chains = 24 if target.vector_registers >= 32 else 12
        kernels = [_fma(target, self.chains), _dot(target, self.chains), _read(target)]
        self.code = CodeStore(target)
        self.addresses = self.code.load(kernels)
        self.out = Buffer.allocate(64 * max(64, threads))
        self.data = Buffer.allocate(READ_BYTES, zeroed=False)
        self.data.array(np.uint8)[:] = 1
        self._turns = ROUNDS * self.chains * threads * target.lanes
        self.keep: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
        self.fma = self._call(kernels[0], self.out)
        self.dot = self._call(kernels[1], self.out)
        self.read = self._call(kernels[2], self.data, self.out)

    def fma_gflops(self, seconds: float) -> float:
        """GFLOP/s, where one call of `fma` takes so long."""
        return self._turns * 2 / seconds / 1e9

    def int8_gops(self, seconds: float) -> float:
        """GOP/s, where one call of `dot` takes so long."""
        return self._turns * 8 / seconds / 1e9

    def _call(self, kernel: Kernel, *buffers: Buffer) -> Call:
        arguments = np.array([b.address for b in buffers], np.int64)
        table = np.array([[self.addresses[kernel.name], arguments.ctypes.data, 0]], np.int64)
        self.keep += [arguments, table]
        return self.pool.bind(table.ctypes.data, 1)


@lru_cache(maxsize=4)
def probe(threads: int) -> Probe:
    """The probe of this process for a number of threads."""
    return Probe(threads)


@lru_cache(maxsize=4)
def measure_limits(threads: int) -> Limits:
    """Measured once per process and number of threads; takes about a second."""
    return limits_now(threads)


def limits_now(threads: int, rounds: int = 6) -> Limits:
    """Measured anew: what a shared machine gives changes by the minute."""
    kernels = probe(threads)
    times = time_in_turn([kernels.fma, kernels.dot, kernels.read], rounds, each=0.05, pause=0.0)
    fma, dot, read = (t.best for t in times)
    return Limits(threads, kernels.fma_gflops(fma), kernels.int8_gops(dot), READ_BYTES / read / 1e9)


def _fma(target: Target, chains: int) -> Kernel:
    k = KernelBuilder("limit_fma")
    out = k.buffer("o0", "w")
    factor, sums = k.const(0.999, "f32", target.lanes), [k.var(k.zeros("f32", target.lanes)) for _ in range(chains)]
    for _ in k.loop(ROUNDS):
        for s in sums:
            s.set(k.fma(s.get(), factor, factor))
    total = sums[0].get()
    for s in sums[1:]:
        total = total + s.get()
    k.store(out, k.worker() * 64, k.reduce_add(total))
    return k.finish()


def _dot(target: Target, chains: int) -> Kernel:
    k = KernelBuilder("limit_dot")
    out = k.buffer("o0", "w")
    sums = [k.var(k.zeros("i32", target.lanes)) for _ in range(chains)]
    codes = k.bitcast(k.splat(k.convert(k.worker(), "i32") + 0x01020304, target.lanes), "i8")
    for _ in k.loop(ROUNDS):
        for s in sums:
            s.set(k.dot4(s.get(), codes, codes, 127))
    total = sums[0].get()
    for s in sums[1:]:
        total = total ^ s.get()
    k.store(out, k.worker() * 64, k.reduce_add(total))
    return k.finish()


def _read(target: Target) -> Kernel:
    """One forward stream per worker, as products of a single row read their weights."""
    k = KernelBuilder("limit_read")
    data, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    step, vector = 4 * target.vector_bytes, target.vector_bytes
    share = k.const(READ_BYTES // step, "i64") // k.workers() * step
    first = k.worker() * share
    sums = [k.var(k.zeros("i32", target.lanes)) for _ in range(4)]
    for at in k.loop(first, first + share, step):
        for line in range(0, step, 64):
            k.prefetch(data, at + (line + 4096))
        for n, s in enumerate(sums):
            s.set(s.get() ^ k.load(data, at + n * vector, "i32", target.lanes))
    total = sums[0].get() ^ sums[1].get() ^ sums[2].get() ^ sums[3].get()
    k.store(out, k.worker() * 64, k.reduce_add(total))
    return k.finish()
