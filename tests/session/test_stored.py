"""Compiled programs on disk: they come back as they were, and what is damaged or from another source is not used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options
from heliostat.ir.graph import Graph, constant, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.kernel.program import Compiled
from heliostat.runtime.buffer import Buffer
from heliostat.runtime.object_cache import ObjectCache
from heliostat.runtime.worker_pool import WorkerPool
from heliostat.session import host_target, stages, stored
from heliostat.session.executable import CodeStore, Executable
from heliostat.session.stored import load_programs, program_key, save_programs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectCache:
    tmp_path.chmod(0o700)
    made = ObjectCache(tmp_path)
    monkeypatch.setattr(ObjectCache, "default", classmethod(lambda cls: made))
    return made


def compiled_sum() -> tuple[Compiled, dict[str, bytes]]:
    """sum(x * w + c) of n rows, with a symbolic dimension, a constant, and two launches."""
    rows = dim(Symbol("n", 64, 1))
    x = parameter("x", tensor(f32, rows, 32))
    w = parameter("w", tensor(f32, 32, 16), "weight")
    shifted = ops.add(ops.matmul(x, w), constant(np.arange(16, dtype=np.float32), tensor(f32, 16)))
    graph = Graph("sum", [x, w], [ops.sum(shifted, axes=(1,))])
    made = stages.compile_graph(graph, host_target(), Options(), KernelLibrary())
    return made, CodeStore(host_target(), ObjectCache(None)).load_kernels(made.kernels())


def run(compiled: Compiled, objects: dict[str, bytes], n: int) -> np.ndarray:
    code = CodeStore(host_target(), ObjectCache(None))
    code.load_objects(objects)
    pool = WorkerPool(2)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((64, 32), np.float32), rng.standard_normal((32, 16), np.float32)
    given = {"x": Buffer.of(x), "w": Buffer.of(w)}
    for name, program in compiled.loads.items():
        load = Executable(program, code.addresses, pool, given)
        load.run()
        given[name] = load.buffers[program.outputs[0]]
    step = Executable(compiled.program, code.addresses, pool, given)
    step.set_symbols({"n": n})
    step.run()
    result = step.output(0, {"n": n}).reshape(-1)[:n].copy()
    pool.close()
    np.testing.assert_allclose(result, (x[:n] @ w + np.arange(16)).sum(1), rtol=1e-4, atol=1e-4)
    return result


def test_programs_come_back_as_they_were(cache: ObjectCache) -> None:
    compiled, objects = compiled_sum()
    key = program_key(["sum"], host_target())
    assert load_programs(key) is None
    save_programs(key, [compiled], objects)
    found = load_programs(key)
    assert found is not None
    (back,), code = found
    assert code == objects
    for old, new in ((compiled.program, back.program), *zip(compiled.loads.values(), back.loads.values(), strict=True)):
        assert [k.name for k in old.kernels] == [k.name for k in new.kernels]
        assert old.launches == new.launches
        assert old.symbols == new.symbols
        assert old.constraints == new.constraints
        assert (old.inputs, old.outputs, old.arena_nbytes, old.operations) == (
            new.inputs,
            new.outputs,
            new.arena_nbytes,
            new.operations,
        )
        assert [(b.name, b.kind, b.nbytes, b.offset, b.data) for b in old.buffers] == [
            (b.name, b.kind, b.nbytes, b.offset, b.data) for b in new.buffers
        ]
    assert list(back.loads) == list(compiled.loads)
    np.testing.assert_array_equal(run(compiled, objects, 37), run(back, code, 37))


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_damaged_entry_is_not_used(cache: ObjectCache, cut: int) -> None:
    compiled, objects = compiled_sum()
    key = program_key(["sum"], host_target())
    assert key is not None
    save_programs(key, [compiled], objects)
    whole = cache.get(key)
    assert whole is not None
    cache.put(key, whole[:cut])  # its checksum is right, its content is not
    assert load_programs(key) is None


def test_what_the_key_depends_on(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    key = program_key(["a"], host_target())
    assert key == program_key(["a"], host_target())
    assert key != program_key(["b"], host_target())
    monkeypatch.setattr(stored, "package_state", lambda: "other")
    assert key != program_key(["a"], host_target())
    monkeypatch.setattr(stored, "package_state", lambda: "")
    assert program_key(["a"], host_target()) is None


def test_programs_without_all_their_code_are_not_kept(cache: ObjectCache) -> None:
    compiled, objects = compiled_sum()
    key = program_key(["sum"], host_target())
    save_programs(key, [compiled], dict(list(objects.items())[1:]))
    assert load_programs(key) is None
