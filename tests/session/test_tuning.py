"""Tile choices: kept, found again, ignored where they are damaged; results do not depend on them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import SCHEDULES, KernelLibrary, Options, compile_graph
from heliostat.compiler.tuning import TuningTable, make_tile, tunable
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, dim, f32, i32, tensor
from heliostat.kernels import attention, block_attention, linear, matmul, row_attention, warpgroup_linear
from heliostat.kernels.linear_tile import LinearTile
from heliostat.kernels.matmul_packed import PackedTile
from heliostat.quant.formats import Q4_0, Q4_K
from heliostat.quant.quantize import encode
from heliostat.runtime.worker_pool import WorkerPool
from heliostat.session import compile_graph as session_for
from heliostat.session import host_target, tuning, tuning_file
from heliostat.session.tuning import Tuned, load_tuning, tune
from heliostat.session.tuning_file import FILE, save_tuning, shipped_text, tuning_entries
from heliostat.settings import override
from heliostat.targets.target import X86_AVX512

N = dim(Symbol("n", 64, 1))


def product(format: object = Q4_0, depth: int = 256, rows: object = N) -> Graph:
    x, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(format, 96, depth), "weight")
    return Graph("g", [x, w], [ops.relu(ops.matmul(x, ops.transpose(w)))])


def groups(graph: Graph) -> KernelLibrary:
    library = KernelLibrary()
    compile_graph(graph, host_target(), Options(), library)
    return library


def test_choices_are_kept_and_found(tmp_path: Path) -> None:
    with override(cache_dir=tmp_path, cache=True):
        library = groups(product())
        found = tune(library.groups.values(), host_target(), WorkerPool(2), rows=32)
        (row,) = [t for t in found if t.key.startswith("linear ")]
        assert row.tried > 3
        assert row.gain >= 1
        path = save_tuning(host_target(), {row.key: row.tile})
        assert path is not None
        assert path.name == FILE
        fused = next(f for f in library.groups.values() if f.schedule is linear)
        assert load_tuning(host_target()).tile(linear, fused.group, host_target()) == make_tile(LinearTile, row.tile)
        save_tuning(host_target(), {"another": {"panels": 1}})
        assert row.key in load_tuning(host_target()).entries


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "machines": 3}', "[" * 5000])
def test_damaged_files_are_passed_over(tmp_path: Path, text: str) -> None:
    with override(cache_dir=tmp_path, cache=True):
        path = save_tuning(host_target(), {})
        assert path is not None
        path.write_text(text)
        assert dict(load_tuning(host_target()).entries) == dict(load_tuning(host_target()).entries)
        save_tuning(host_target(), {"k": {"panels": 1}})
        assert json.loads(path.read_text())["version"] == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"tokens": [0, 1]},
        {"tokens": []},
        {"tokens": "x"},
        {"panels": -1},
        {"panels": 2.5},
        {"speed": 3},
        {"panels": 99},
    ],
)
def test_impossible_tiles_are_passed_over(entry: dict[str, object]) -> None:
    assert make_tile(LinearTile, entry) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"bands": 70, "band": 258},
        {"rows": 8, "band": 512, "stripe": 64, "depth": 1024, "bands": 2},
        {"rows": 8, "band": 512, "stripe": 4, "depth": 1024, "bands": 8},
        {"alone": 2},
        {"band": 25},
    ],
)
def test_blocks_that_no_stack_holds_are_passed_over(entry: dict[str, object]) -> None:
    """Sums and copies of a block are private memory of a thread."""
    assert make_tile(PackedTile, entry) is None


def test_sizes_fall_back_to_any_size() -> None:
    graph = product()
    library = groups(graph)
    fused = next(f for f in library.groups.values() if f.schedule is linear)
    before, size, after = linear.tuning_key(fused.group)
    assert (size, after) == ("96x256", "n")
    any_size = TuningTable({f"{before} * n": {"tokens": [3, 1], "block": 9}})
    assert any_size.tile(linear, fused.group, host_target()) == LinearTile((3, 1), block=9)
    exact = TuningTable({**any_size.entries, f"{before} 96x256 n": {"tokens": [2, 1]}})
    assert exact.tile(linear, fused.group, host_target()) == LinearTile((2, 1))


def test_a_choice_for_any_size_is_made_to_fit() -> None:
    """The exact size's stays as it was measured."""
    a, b = parameter("a", tensor(f32, 64, 256)), parameter("b", tensor(f32, 64, 784))
    library = groups(Graph("g", [a, b], [ops.matmul(ops.transpose(a, (1, 0)), b)]))
    group = next(f.group for f in library.groups.values() if f.schedule is matmul)
    before, size, after = matmul.tuning_key(group)
    chosen = {"band": 96, "bands": 10, "depth": 96, "ahead": 1}
    tables = [TuningTable({f"{before} {shown} {after}": chosen}) for shown in ("*", size)]
    any_size, exact = (t.tile(matmul, group, X86_AVX512) for t in tables)
    assert exact == PackedTile(**chosen)
    assert any_size == PackedTile(8, 3, 96, 30, 96, 10)


@pytest.mark.parametrize("format", [Q4_0, Q4_K], ids=str)
def test_every_candidate_computes_the_same(format: object) -> None:
    rng = np.random.default_rng(0)
    graph = product(format)
    library = groups(graph)
    fused = next(f for f in library.groups.values() if f.schedule is linear)
    key = " ".join(linear.tuning_key(fused.group))
    given = {
        "x": rng.standard_normal((37, 256)).astype(np.float32),
        "w": np.asarray(encode(rng.standard_normal((96, 256)).astype(np.float32), format)),
    }
    results = []
    for tile in linear.candidates(fused.group, host_target())[:12]:
        table = TuningTable({key: {"tokens": tile.tokens, "panels": tile.panels, "block": tile.block}})
        assert table.tile(linear, fused.group, host_target()).tokens == tile.tokens
        results.append(session_for(graph, threads=2, options=Options(tuning=table)).run(given)[0])
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "machines": 3}', "[" * 5000])
def test_a_damaged_table_of_the_package_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(tuning_file, "shipped_text", lambda: text)
    with override(cache_dir=tmp_path, cache=True):
        assert tuning_entries(host_target()) == {}
        save_tuning(host_target(), {"mine": {"panels": 1}})
        assert tuning_entries(host_target()) == {"mine": {"panels": 1}}


def test_what_was_measured_here_goes_over_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tuning_file.machine_key(host_target())
    shipped = {"a": {"panels": 1}, "b": {"panels": 2}}
    table = {"version": 1, "machines": {key: shipped, "another CPU 64": {"c": {"panels": 3}}}}
    monkeypatch.setattr(tuning_file, "shipped_text", lambda: json.dumps(table))
    with override(cache_dir=tmp_path, cache=True):
        assert tuning_entries(host_target()) == shipped
        save_tuning(host_target(), {"b": {"panels": 4}})
        assert tuning_entries(host_target()) == {"a": {"panels": 1}, "b": {"panels": 4}}


def test_the_table_of_the_package_is_whole() -> None:
    """Every tile of it is one that its schedule knows."""
    table = json.loads(shipped_text())
    assert table["version"] == tuning_file.VERSION
    kinds = {"linear": linear.Tile, "attention": attention.Tile, "matmul": matmul.Tile, "row": row_attention.Tile}
    for machine, entries in table["machines"].items():
        assert machine.split()[-1].isdigit(), machine  # a CPU and the width of its vectors
        for key, tile in entries.items():
            assert make_tile(kinds[key.removeprefix("transposed ").split()[0]], tile) is not None, key


def test_schedules_that_can_be_tuned() -> None:
    assert all(tunable(s) for s in (linear, matmul, attention, block_attention, row_attention, warpgroup_linear))
    assert sum(tunable(s) is not None for s in SCHEDULES) == 6


@pytest.mark.parametrize(
    ("rows", "entry", "said"),
    [
        (N, {"tokens": [2, 1], "team": 3}, "a single row on a GPU"),
        (1, {"tokens": [1], "team": 9}, "a single row on a GPU"),
        (N, {"tokens": [2, 1], "panels": 8, "block": 1 << 20}, "of a thread's stack"),
        (N, {"tokens": [5, 7, 1], "panels": 3, "block": 6}, None),
    ],
)
def test_a_tile_that_its_schedule_refuses_is_passed_over(rows: object, entry: dict[str, object], said: str) -> None:
    """The default's result, and the reason in the report."""
    rng = np.random.default_rng(0)
    graph = product(Q4_0, rows=rows)
    fused = next(f for f in groups(graph).groups.values() if f.schedule is linear)
    table = TuningTable({" ".join(linear.tuning_key(fused.group)): entry})
    assert table.tile(linear, fused.group, host_target()) is not None
    given = {
        "x": rng.standard_normal((rows if isinstance(rows, int) else 37, 256)).astype(np.float32),
        "w": np.asarray(encode(rng.standard_normal((96, 256)).astype(np.float32), Q4_0)),
    }
    made = compile_graph(graph, host_target(), Options(tuning=table))
    notes = [n for row in made.program.report for n in row["notes"] if "default tile" in n]
    assert [said in n for n in notes] == ([True] if said else [])
    expected, found = (session_for(graph, threads=2, options=o).run(given)[0] for o in (None, Options(tuning=table)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rows", [5, dim(Symbol("n", 40, 1))], ids=str)
def test_heights_and_panels_of_attention_that_leave_something_out(rows: object) -> None:
    """They would store past a block of scores, or leave results as memory had them."""
    q = parameter("q", tensor(f32, rows, 6, 32))
    keys, values = (parameter(n, tensor(f32, 2, 192, 32), "state") for n in ("k", "v"))
    start = parameter("start", tensor(i32))
    graph = Graph("g", [q, keys, values, start], [ops.attention(q, keys, values, start, scale=0.2)])
    group = next(f.group for f in groups(graph).groups.values() if f.schedule is attention)
    key = " ".join(attention.tuning_key(group))
    count = 5 if isinstance(rows, int) else 37
    rng = np.random.default_rng(1)
    given = {n: rng.standard_normal((2, 192, 32)).astype(np.float32) for n in ("k", "v")}
    given |= {"q": rng.standard_normal((count, 6, 32)).astype(np.float32), "start": np.array(100, np.int32)}
    expected = session_for(graph, threads=2).run(given)[0]
    fits = host_target().lanes * 2
    for entry, refused in (
        ({"rows": [4, 2], "keys": 64}, True), ({"rows": [6, 5, 3], "keys": 64}, not isinstance(rows, int)),
        ({"rows": [4, 1], "keys": 64, "key_panels": 3}, True), ({"rows": [3, 1], "keys": 128, "key_panels": 1}, False),
        ({"rows": [3, 1], "keys": 64, "key_panels": 4}, 64 % (2 * fits) != 0),
    ):  # fmt: skip
        options = Options(tuning=TuningTable({key: entry}))
        made = compile_graph(graph, host_target(), options).program
        notes = [n for row in made.report for n in row["notes"] if "default tile" in n]
        assert bool(notes) == refused, entry
        found = session_for(graph, threads=2, options=options).run(given)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_tune_at_once_keep_all_that_they_found(tmp_path: Path) -> None:
    with override(cache_dir=tmp_path, cache=True):
        save_tuning(host_target(), {})
        children = []
        for n in range(3):
            child = os.fork()
            if child == 0:
                try:
                    for i in range(20):
                        save_tuning(host_target(), {f"{n} {i}": {"panels": 1}})
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
        found = set(tuning_entries(host_target()))
        assert found >= {f"{n} {i}" for n in range(3) for i in range(20)}


def test_what_was_found_before_an_interruption_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(key: str, *_: object) -> Tuned:
        if "128x256" in key:
            raise KeyboardInterrupt
        return Tuned(key, 2.0, 1.0, {"panels": 2}, 3)

    monkeypatch.setattr(tuning, "_tune_one", measured)
    with override(cache_dir=tmp_path, cache=True), WorkerPool(1) as pool:
        library = groups(product())
        x, w = parameter("x", tensor(f32, N, 256)), parameter("w", tensor(Q4_0, 128, 256), "weight")
        more = groups(Graph("g", [x, w], [ops.matmul(x, ops.transpose(w))]))
        work = [*library.groups.values(), *more.groups.values()]
        with pytest.raises(KeyboardInterrupt):
            tune(work, host_target(), pool, keep=lambda t: save_tuning(host_target(), {t.key: t.tile}))
        kept = set(json.loads((tmp_path / FILE).read_text())["machines"][tuning_file.machine_key(host_target())])
        assert len(kept) == 1
        assert kept.pop().endswith("96x256 n")
