"""Which launches of a program become one."""

from __future__ import annotations

import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import bf16, f32, tensor
from heliostat.kernel.warp import team_size
from heliostat.session.phases import launch_blocks, phases_of
from heliostat.targets.nvptx import SHARED_BYTES, private_bytes
from heliostat.targets.target import CUDA

MULTIPROCESSORS = 132


def _phases(*results: Value) -> list[list[str]]:
    parameters = list(dict.fromkeys(v for r in results for v in r.node.inputs))
    program = compile_graph(Graph("beside", parameters, list(results)), CUDA, Options()).program
    assert not any(launch.barrier for launch in program.launches[:-1])
    phases, members = phases_of(program, MULTIPROCESSORS)
    assert sorted(n for numbers in members for n in numbers) == list(range(len(program.launches)))
    for phase, numbers in zip(phases, members, strict=True):
        assert [program.kernels[program.launches[n].kernel].name for n in numbers] == [k.name for k in phase.kernels]
        assert phase.blocks == tuple(launch_blocks(k, MULTIPROCESSORS) for k in phase.kernels)
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
    phases, members = phases_of(program, MULTIPROCESSORS)
    assert len(phases) == 1
    assert list(phases[0].blocks or ()) == sorted(phases[0].blocks or ())
    assert sorted(members[0]) == [0, 1]
