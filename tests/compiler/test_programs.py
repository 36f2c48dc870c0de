"""Programs as the compiler makes them: what is fused in a decoder layer, and that no launches of the examples race."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, constant, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.kernel.program import Program
from heliostat.lang.check import check
from heliostat.lang.source import Source
from heliostat.llm import LanguageModel, demo_path, load
from heliostat.targets.target import NAMED, Target

from .races import find_lost, find_races

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.lum"))
TARGET = NAMED["x86-64"]

# One layer of the demo model (Llama with biases) when it generates: launches, and after which of them workers wait.
LAYER = """
mul + mean + add + rsqrt + mul + mul + quantize |
linear + add
linear + add
linear + add |
rope
rope + cache_update
cache_update |
attention |
quantize |
linear + add |
mul + mean + add + rsqrt + mul + mul + quantize |
linear + silu
linear |
mul + quantize |
linear + add |
"""


@cache
def demo() -> LanguageModel:
    return load(demo_path(), threads=1)


def launches(program: Program) -> list[str]:
    rows = {row["kernel"]: " + ".join(row["ops"]) for row in program.report}
    return [rows[program.kernels[x.kernel].name] + (" |" if x.barrier else "") for x in program.launches]


def test_what_is_fused_in_a_layer() -> None:
    found = launches(demo().decode.program)
    layer = LAYER.strip().splitlines()
    starts = [i for i, line in enumerate(found) if line == layer[0]][::2]
    assert sorted(found[starts[1] : starts[2]]) == sorted(layer)
    assert sum(line.endswith("|") for line in found[starts[1] : starts[2]]) == 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_do_not_race(path: Path) -> None:
    for graph in check(Source(path.read_text(), str(path))).functions.values():
        compiled = compile_graph(graph, TARGET)
        for program in (compiled.program, *compiled.loads.values()):
            assert find_races(program) == []
            assert find_lost(program) == []


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_results_that_are_names_of_constants_are_written(target: Target) -> None:
    x, one = parameter("x", tensor(f32, 3)), constant(1.0, tensor(f32))
    outputs = [ops.reshape(one, (1, 1)), ops.exp(x), one]
    program = compile_graph(Graph("g", [x], outputs), target, Options()).program
    written: set[int] = set()
    for launch in program.launches:
        buffers = zip(launch.buffers, program.kernels[launch.kernel].parameters, strict=True)
        written.update(number for number, p in buffers if p.mode != "r")
    assert written >= set(program.outputs)


def test_groups_that_differ_by_the_name_of_a_size_share_a_kernel() -> None:
    def kernels(*symbols: Symbol) -> int:
        xs = [parameter(f"x{n}", tensor(f32, dim(s), 8)) for n, s in enumerate(symbols)]
        program = compile_graph(Graph("sizes", xs, [ops.exp(x) for x in xs]), TARGET, Options()).program
        assert [launch.symbols for launch in program.launches] == [(s.name,) for s in symbols]
        return len(program.kernels)

    assert kernels(Symbol("n", 64, 1), Symbol("rows", 64, 1)) == 1
    assert kernels(Symbol("n", 64, 1), Symbol("rows", 32, 1)) == 2
