"""Which launches of a program become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import bf16, f32, tensor
from heliostat.kernel.library import LibraryProduct
from heliostat.kernel.program import Program
from heliostat.kernel.warp import WARP, team_size
from heliostat.session.phases import MOST_KERNELS, launch_blocks, phases_of
from heliostat.targets.nvptx_blocks import SHARED_BYTES, dynamic_bytes, private_bytes, shared_bytes, warps
from heliostat.targets.nvptx_module import Phase, print_nvptx
from heliostat.targets.target import CUDA, WARPS_AT_WORK, cuda_target

MULTIPROCESSORS = 132


def _phases(*results: Value) -> list[list[str]]:
    parameters = list(dict.fromkeys(v for r in results for v in r.node.inputs))
    program = compile_graph(Graph("beside", parameters, list(results)), CUDA, Options()).program
    assert not any(launch.barrier for launch in program.launches[:-1])
    phases, members = phases_of(program, CUDA, MULTIPROCESSORS)
    assert sorted(n for numbers in members for n in numbers) == list(range(len(program.launches)))
    for phase, numbers in zip(phases, members, strict=True):
        assert [program.kernels[program.launches[n].kernel].name for n in numbers] == [k.name for k in phase.kernels]
        assert phase.blocks == tuple(launch_blocks(k, CUDA, MULTIPROCESSORS) for k in phase.kernels)
        assert sum(private_bytes(k) for k in dict.fromkeys(phase.kernels) if team_size(k)) <= SHARED_BYTES
    return [[k.name.split("_")[1] for k in phase.kernels] for phase in phases]


def _input(name: str, *shape: int) -> Value:
    return parameter(name, tensor(f32, *shape))


def test_much_to_do_has_blocks_of_its_own_width() -> None:
    """Beside columns that 32 warps share, a block of four warps would leave the room of 28 idle."""
    columns, large = _input("x", 1024, 768), _input("y", 4096, 4096)
    assert _phases(ops.sum(columns, 0), ops.exp(large)) == [["sum"], ["exp"]]


def test_little_to_do_joins_wider_blocks() -> None:
    assert _phases(ops.sum(_input("x", 1024, 768), 0), ops.exp(_input("y", 768))) == [["sum", "exp"]]


def test_equal_widths_are_one_launch() -> None:
    assert _phases(ops.exp(_input("x", 4096, 4096)), ops.log(_input("y", 4096, 4096))) == [["exp", "log"]]


def test_many_are_several_launches_of_equal_ones() -> None:
    inputs = [_input(f"x{n}", 4096) for n in range(2 * MOST_KERNELS + 2)]
    values = [ops.exp(v) if n % 2 else ops.log(v) for n, v in enumerate(inputs)]
    exps, both, logs = ["exp"] * (MOST_KERNELS + 1), MOST_KERNELS, ["log"] * (MOST_KERNELS + 1)
    found = _phases(*values)
    assert [len(names) for names in found] == [both, both, 2]
    assert [name for names in found for name in names] in (exps + logs, logs + exps)


@pytest.mark.parametrize("count", [2, 5])
def test_fixed_shared_memory_stays_within_a_block(count: int) -> None:
    """Each kernel's fixed shared memory adds to that of a launch."""
    sums = [ops.sum(parameter(f"x{n}", tensor(bf16, 32, 1 << 14 | n << 8)), 0) for n in range(count)]
    assert sum(map(len, _phases(*sums))) == count


def test_tiles_of_long_sums_begin_first() -> None:
    a, b = parameter("a", tensor(bf16, 2048, 64)), parameter("b", tensor(bf16, 64, 2048))
    c, d = parameter("c", tensor(bf16, 128, 1024)), parameter("d", tensor(bf16, 1024, 128))
    graph = Graph("two", [a, b, c, d], [ops.matmul(a, b), ops.matmul(c, d)])
    program = compile_graph(graph, CUDA, Options()).program
    phases, members = phases_of(program, CUDA, MULTIPROCESSORS)
    assert len(phases) == 1
    assert list(phases[0].blocks or ()) == sorted(phases[0].blocks or ())
    assert sorted(members[0]) == [0, 1]


@lru_cache(maxsize=1)
def _mixed() -> Program:
    """Kernels of many kinds: wide and narrow blocks, shared memory of warps and of teams, products by four warps."""
    halves = [parameter(f"h{n}", tensor(bf16, *s)) for n, s in enumerate([(2048, 512), (512, 256), (8, 1 << 16)])]
    large, columns, row = _input("l", 2048, 2048), _input("c", 1024, 768), _input("r", 3, 100_000)
    short = _input("s", 7)
    results = [
        ops.matmul(halves[0], halves[1]), ops.sum(halves[2], 0), ops.exp(large), ops.transpose(large),
        ops.sum(columns, 0), ops.softmax(row), ops.sum(row), ops.exp(short),
    ]  # fmt: skip
    graph = Graph("mixed", [*halves, large, columns, row, short], results)
    return compile_graph(graph, CUDA, Options()).program


@settings(max_examples=100, deadline=None)
@given(
    picks=st.lists(st.tuples(st.integers(0, 63), st.sampled_from([False, False, True])), max_size=24),
    multiprocessors=st.integers(1, 160),
    products=st.sets(st.integers(0, 7)),
    library=st.booleans(),
)
def test_each_launch_has_one_phase_between_its_barriers(
    picks: Sequence[tuple[int, bool]], multiprocessors: int, products: set[int], library: bool
) -> None:
    """`products`: kernels that a library may compute instead, whose launches have nothing beside them then."""
    made = LibraryProduct("bf16", "bf16", 64, 64, 64)
    kernels = [dataclasses.replace(k, library=made if n in products else None) for n, k in enumerate(_mixed().kernels)]
    program = dataclasses.replace(_mixed(), kernels=kernels)
    launches = [
        dataclasses.replace(program.launches[n % len(program.launches)], barrier=barrier) for n, barrier in picks
    ]
    phases, members = phases_of(dataclasses.replace(program, launches=launches), CUDA, multiprocessors, library)
    order = [n for numbers in members for n in numbers]
    assert sorted(order) == list(range(len(launches)))
    part = [sum(launch.barrier for launch in launches[:n]) for n in range(len(launches))]
    assert [part[n] for n in order] == sorted(part)
    for phase, numbers in zip(phases, members, strict=True):
        assert len({part[n] for n in numbers}) == 1
        assert [kernels[launches[n].kernel] for n in numbers] == list(phase.kernels)
        assert phase.blocks is not None
        assert all(blocks >= 1 for blocks in phase.blocks)
        assert phase.threads == WARP * max(map(warps, phase.kernels)) <= 1024
        assert max(map(shared_bytes, phase.kernels)) <= phase.shared <= CUDA.shared_bytes
        assert len(phase.kernels) == 1 or not (library and any(k.library for k in phase.kernels))
        assert len(phase.kernels) <= MOST_KERNELS
        assert phase.least(CUDA) * phase.threads <= WARPS_AT_WORK * WARP
        fixed = [k for k in dict.fromkeys(phase.kernels) if not dynamic_bytes(k)]
        assert sum(map(shared_bytes, fixed)) <= SHARED_BYTES


GPUS = {(7, 5): (64, 32), (8, 0): (163, 64), (8, 6): (99, 48), (8, 9): (99, 48), (9, 0): (227, 64), (10, 0): (227, 64),
        (12, 0): (99, 48)}  # fmt: skip
"""KB of shared memory that a block may have, and warps that a multiprocessor holds."""


@pytest.mark.parametrize("capability", GPUS, ids=str)
def test_launches_are_planned_for_the_shared_memory_there_is(capability: tuple[int, int]) -> None:
    target = cuda_target(capability)
    kilobytes, held = GPUS[capability]
    most = kilobytes << 10
    assert [target.blocks_held(w, s) for w, s in ((4, 0), (32, 0), (4, most), (1, most // 2))] == [
        held // 4, held // 32, 1, 1 if most // 2 > (most - 1024) // 2 else 2
    ]  # fmt: skip
    assert target.blocks_held(8, 0, WARPS_AT_WORK) == 4
    x, norm = _input("x", 1, 4096), parameter("norm", tensor(f32, 4096), "weight")
    w, rows = parameter("w", tensor(bf16, 14336, 4096), "weight"), _input("r", 64, 20_000)
    single = ops.matmul(ops.rms_norm(x, norm, eps=1e-6), ops.transpose(w))
    graph = Graph("several", [x, norm, w, rows], [single, ops.softmax(rows)])
    program = compile_graph(graph, target, Options()).program
    phases, _ = phases_of(program, target, 80)
    assert {k.name for p in phases for k in p.kernels} == {k.name for k in program.kernels}
    for phase in phases:
        assert phase.shared <= most
        least = phase.least(target)
        assert least * (phase.shared + 1024) <= most + 1024
        for kernel, blocks in zip(phase.kernels, phase.blocks or (), strict=True):
            if dynamic_bytes(kernel) and (team := team_size(kernel)):
                fit = (most + 1024) // (private_bytes(kernel) + 1024)
                panels = 14336 // 32 if any(i.attrs.get("ahead") for i in kernel.walk()) else 64
                assert blocks in (panels, 80 * min(WARPS_AT_WORK // team, fit)), kernel.name
        assert print_nvptx([dataclasses.replace(phase, name="p")], target).count("nvvm.maxntid") == 1


def test_more_shared_memory_than_a_block_has_is_refused() -> None:
    phases, _ = phases_of(_mixed(), CUDA, MULTIPROCESSORS)
    with pytest.raises(CompileError, match=r"needs \d+ bytes of shared memory, a block of cuda-sm75 has 65536"):
        print_nvptx(phases, cuda_target((7, 5)))


def test_a_wide_kernel_beside_is_left_its_registers() -> None:
    """A kernel asks for registers for two blocks on a multiprocessor: for one beside blocks of 32 warps."""
    columns, few = (next(k for k in _mixed().kernels if warps(k) == n) for n in (32, 4))
    few = dataclasses.replace(few, blocks=2)
    assert Phase("alone", (few,), (200,)).least(CUDA) == 2
    assert Phase("beside", (few, columns), (200, 8)).least(CUDA) == 1


def test_a_wide_kernel_has_few_registers_where_it_asks_for_that() -> None:
    """Where a multiprocessor holds as many threads."""
    wide = dataclasses.replace(next(k for k in _mixed().kernels if warps(k) == 32), blocks=2)
    assert Phase("alone", (wide,), (200,)).least(CUDA) == 2
    assert Phase("alone", (wide,), (200,)).least(cuda_target((8, 6))) == 1
    assert Phase("few", (wide,), (20,)).least(CUDA) == 1


@pytest.mark.parametrize(("out", "blocks"), [(4096, 128), (14336, 132), (128256, 4008)])
def test_a_few_panels_in_turn_are_one_block(out: int, blocks: int) -> None:
    """A block asks for its next panel before the sums of this one are added up; many panels even out by themselves."""
    x, norm = _input("x", 1, 4096), parameter("norm", tensor(f32, 4096), "weight")
    gate, up = (parameter(n, tensor(bf16, out, 4096), "weight") for n in ("gate", "up"))
    made = ops.mul(*(ops.matmul(ops.rms_norm(x, norm, eps=1e-6), ops.transpose(w)) for w in (gate, up)))
    program = compile_graph(Graph("pair", [x, norm, gate, up], [made]), CUDA, Options()).program
    phases, _ = phases_of(program, CUDA, MULTIPROCESSORS)
    assert phases[-1].kernels[0].name.startswith("stream")
    assert phases[-1].blocks == (blocks,)
