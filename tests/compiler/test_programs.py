"""Programs as the compiler makes them: what is fused in a decoder layer, and that no two launches race."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.kernel.program import Program
from heliostat.lang.check import check
from heliostat.lang.source import Source
from heliostat.llm import LanguageModel, demo_path, load
from heliostat.quant.formats import Q4_0
from heliostat.targets.target import NAMED

from .races import arena_fits, problems

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


@pytest.mark.parametrize("step", ["decode", "prefill"])
def test_a_models_steps_do_not_race(step: str) -> None:
    program = getattr(demo(), step).program
    assert problems(program) == []
    assert arena_fits(program)
    assert program.arena_nbytes < sum(b.nbytes for b in program.buffers if b.kind == "scratch")  # bytes are shared


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_do_not_race(path: Path) -> None:
    for graph in check(Source(path.read_text(), str(path))).functions.values():
        compiled = compile_graph(graph, TARGET)
        for program in (compiled.program, *compiled.loads.values()):
            assert problems(program) == []


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_do_not_race(seed: int) -> None:
    program = compile_graph(random_graph(Random(seed)), TARGET, Options()).program
    assert problems(program) == []
    assert arena_fits(program)


def random_graph(rng: Random) -> Graph:
    """Products, norms and elementwise ops over one size, each of operands picked from all that was made before."""
    n = dim(Symbol("n", 64, 1))
    x, w = parameter("x", tensor(f32, n, 64)), parameter("w", tensor(Q4_0, 64, 64), "weight")
    square = parameter("square", tensor(f32, 64, 64))
    values: list[Value] = [x]
    for _ in range(rng.randint(3, 14)):
        a, b = rng.choice(values), rng.choice(values)
        made = rng.choice(
            (
                lambda a, b: a + b,
                lambda a, b: ops.relu(a) * b,
                lambda a, b: ops.matmul(a, ops.transpose(w)),
                lambda a, b: ops.matmul(b, square),
                lambda a, b: ops.softmax(a, -1) - b,
                lambda a, b: a - ops.mean(b, -1, keepdim=True),
            )
        )(a, b)
        values.append(made)
    return Graph(
        f"random_{rng.randint(0, 9)}",
        [x, w, square],
        list({id(v): v for v in (values[-1], rng.choice(values[1:]))}.values()),
    )


def test_the_checker_finds_what_it_looks_for() -> None:
    """Take a barrier away, or let two scratch values that live at once share bytes: both must be seen."""
    program = demo().decode.program
    broken = 0
    for n, launch in enumerate(program.launches):
        if launch.barrier and n < 40:
            without = [*program.launches[:n], replace(launch, barrier=False), *program.launches[n + 1 :]]
            broken += bool(problems(replace(program, launches=without)))
    assert broken >= 25
    scratch = [b for b in program.buffers if b.kind == "scratch"]
    moved = [replace(b, offset=0) if b.kind == "scratch" else b for b in program.buffers]
    assert len(scratch) > 3
    assert any("holds nothing or something else" in p for p in problems(replace(program, buffers=moved)))
