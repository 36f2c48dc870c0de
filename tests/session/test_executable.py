"""Bound programs: of one launch run in parts, as packing does; for their states alone."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f16, f32, i32, tensor
from heliostat.kernel.program import Compiled
from heliostat.quant.formats import Q8_0
from heliostat.runtime.buffer import Buffer
from heliostat.runtime.object_cache import ObjectCache
from heliostat.runtime.walker import Share
from heliostat.runtime.worker_pool import WorkerPool, native
from heliostat.session import host_target, stages
from heliostat.session.cuda import CudaCode, CudaDevice, CudaExecutable
from heliostat.session.executable import CodeStore, Executable
from targets.gpus import stand_in


@pytest.fixture
def code() -> CodeStore:
    """Holds the machine code for as long as a test runs."""
    return CodeStore(host_target(), ObjectCache(None))


def bound(x: np.ndarray, p: Value, result: Value, pool: WorkerPool, code: CodeStore) -> Executable:
    made = stages.compile_graph(Graph("parts", [p], [result]), host_target(), Options(), KernelLibrary())
    code.load_kernels(made.kernels())
    return Executable(made.program, code.addresses, pool, {"x": Buffer.of(x)})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("parts", [1, 3, 7, 100])
@pytest.mark.parametrize("rows", [1, 5, 333])
def test_parts_make_what_one_run_makes(rows: int, parts: int, threads: int, code: CodeStore) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 40), np.float32)
    p = parameter("x", tensor(f32, rows, 40))
    with WorkerPool(threads) as pool:
        program = bound(x, p, ops.exp(p), pool, code)
        program.run()
        whole = program.output(0, {}).copy()
        program.output(0, {})[:] = np.nan
        missing = []
        program.run_in_parts(parts, lambda: missing.append(int(np.isnan(program.output(0, {})).sum())))
        np.testing.assert_array_equal(program.output(0, {}), whole)
    assert len(missing) == parts
    assert missing == sorted(missing, reverse=True)
    if (rows, parts) == (333, 3):  # no part does the work of another
        assert 0 < missing[0] < x.size


def test_a_program_of_several_launches_is_refused(code: CodeStore) -> None:
    x = np.ones((64, 64), np.float32)
    p = parameter("x", tensor(f32, 64, 64))
    with WorkerPool(1) as pool:
        program = bound(x, p, ops.matmul(ops.matmul(p, p), p), pool, code)
        assert len(program.program.launches) > 1
        with pytest.raises(ValueError, match="launches, not one"):
            program.run_in_parts(2, lambda: None)


def test_code_stays_while_a_program_that_runs_it_is_kept() -> None:
    x = np.arange(6, dtype=np.float32)
    p = parameter("x", tensor(f32, 6))
    with WorkerPool(1) as pool:
        code = CodeStore(host_target(), ObjectCache(None))
        released = weakref.ref(code)
        program = bound(x, p, ops.neg(p), pool, code)
        loaded = weakref.ref(program.addresses.code[0])
        del code
        gc.collect()
        assert released() is None
        assert loaded() is not None, "the machine code is gone"
        program.run()
        np.testing.assert_array_equal(program.output(0, {}), -x)
        del program
        gc.collect()
        assert loaded() is None, "the machine code is never given back"


def quantized_product(rows: int, code: CodeStore) -> tuple[Compiled, Callable[[WorkerPool], Executable]]:
    """A product whose launches are shared in chunks, and what binds it."""
    out, depth = 200, 64
    x = np.random.default_rng(3).standard_normal((rows, depth)).astype(np.float32)
    p, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(Q8_0, out, depth), "weight")
    graph = Graph("product", [p, w], [ops.matmul(p, ops.transpose(w))])
    weights = np.random.default_rng(4).integers(40, 60, (out, depth // 32 * Q8_0.nbytes), np.uint8)
    made = stages.compile_graph(graph, host_target(), Options(), KernelLibrary())
    code.load_kernels(made.kernels())

    def bind(pool: WorkerPool) -> Executable:
        given = {"x": Buffer.of(x), "w": Buffer.of(weights)}
        for name, load in made.loads.items():
            packed = Executable(load, code.addresses, pool, given)
            packed.run()
            given[name] = packed.buffers[load.outputs[0]]
        return Executable(made.program, code.addresses, pool, given)

    return made, bind


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_chunks_that_threads_take_over_make_what_one_thread_makes(threads: int, code: CodeStore) -> None:
    """Quantized products of many rows, whose panels and blocks of rows are shared in chunks: the same bits."""
    made, bind = quantized_product(400, code)
    found = []
    for count in (1, threads):
        with WorkerPool(count) as pool:
            program = bind(pool)
            shared = [n for n, launch in enumerate(made.program.launches) if launch.chunks > 1]
            assert shared
            assert all((program.table[n, 0] == native().share) == (count > 1) for n in shared)
            for _ in range(3):
                program.output(0, {})[:] = np.nan
                program.run()
                found.append(program.output(0, {}).copy())
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_all_chunks_of_a_run_that_a_fork_cut_off(code: CodeStore) -> None:
    made, bind = quantized_product(400, code)
    with WorkerPool(2) as pool:
        program = bind(pool)
        program.run()
        whole = program.output(0, {}).copy()
        program.output(0, {})[:] = np.nan
        for n, launch in enumerate(made.program.launches):
            if launch.chunks > 1:  # as if other threads were in the middle of it
                words = (ctypes.c_int64 * (Share.nbytes(2) // 8)).from_address(int(program.table[n, 1]))
                words[Share.DONE // 8], words[Share.NEXT // 8] = 1, launch.chunks
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            program.run()
            os._exit(0 if np.array_equal(program.output(0, {}), whole) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_run_for_states_leaves_outputs_as_they_are(code: CodeStore) -> None:
    x = np.random.default_rng(2).standard_normal((4, 2, 1, 32)).astype(np.float32)
    p, w, start = (
        parameter("x", tensor(f32, 2, 1, 32)),
        parameter("w", tensor(f32, 32, 32)),
        parameter("at", tensor(i32)),
    )
    caches = [parameter(name, tensor(f32, 1, 64, 32), "state") for name in ("keys", "values")]
    renewed = [ops.cache_update(c, p, start) for c in caches]
    mixed = ops.reshape(ops.attention(p, *renewed, start, 0.2), (2, 32))
    graph = Graph(
        "step",
        [p, w, start, *caches],
        [ops.matmul(ops.exp(ops.matmul(mixed, w)), w)],
        list(zip(caches, renewed, strict=True)),
    )
    made = stages.compile_graph(graph, host_target(), Options(), KernelLibrary())
    assert 0 < made.program.states_end < len(made.program.launches)
    code.load_kernels(made.kernels())
    with WorkerPool(2) as pool:
        given = {
            "x": Buffer.of(x[0].copy()),
            "w": Buffer.of(np.eye(32, dtype=np.float32)),
            "at": Buffer.of(np.zeros(1, np.int32)),
        }
        both = [Executable(made.program, code.addresses, pool, given) for _ in range(2)]
        for n, values in enumerate(x):
            given["x"].array(np.float32)[:64] = values.reshape(-1)
            given["at"].array(np.int32)[0] = 2 * n
            both[0].run()
            both[1].output(0, {})[:] = 7
            (both[1].run_for_states if n < len(x) - 1 else both[1].run)()
            for name in ("keys", "values"):
                np.testing.assert_array_equal(*(e.buffer(name).array(np.float32) for e in both))
            assert n == len(x) - 1 or np.all(both[1].output(0, {}) == 7)
        np.testing.assert_array_equal(both[0].output(0, {}), both[1].output(0, {}))


def test_a_run_for_states_on_a_gpu_has_them_all() -> None:
    """Where a product of several warps, of the same phase, has changed places with what renews a state."""
    old, x, w = parameter("old", tensor(f32, 4), "state"), *(parameter(n, tensor(f16, 64, 64)) for n in "xw")
    graph = Graph("step", [old, x, w], [old + 1, ops.matmul(x, w)], [(old, old + 1)])
    with stand_in():
        place = CudaDevice(0)
        program = stages.compile_graph(graph, place.target, Options(), KernelLibrary()).program
        given = {n: place.upload(np.zeros(2 * 64 * 64, np.uint8)) for n in "xw"}
        executable = CudaExecutable(program, CudaCode(place), given)
        assert program.states_end == 1
        assert executable.members == [[1], [0]]
        for n in range(1, 3):
            executable.run_for_states()
            np.testing.assert_array_equal(executable.buffer("old").array(np.float32, stream=place.stream)[:4], n)
