"""Products of a few rows on GPUs' tensor cores: every number of rows, ragged outputs, epilogues, parts of the depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Symbol, bf16, dim, f32, tensor
from heliostat.targets.target import CUDA, Target, cuda_target

from .device import RUNNERS, Runner, lockstep_of_8

EVERYWHERE = [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")]


def exact(raw: np.ndarray) -> np.ndarray:
    return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def graph(rows: Any, out: int, depth: int) -> Graph:
    """x w^T + bias + residual, with x in f32 as it is between a model's layers."""
    x, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(bf16, out, depth), "weight")
    bias, residual = parameter("bias", tensor(f32, out), "weight"), parameter("residual", tensor(f32, rows, out))
    y = ops.add(residual, ops.add(ops.matmul(x, ops.transpose(w)), bias))
    return Graph("few", [x, w, bias, residual], [y])


@pytest.mark.parametrize("run", EVERYWHERE)
@pytest.mark.parametrize(
    ("rows", "out", "depth"),
    [(2, 32, 64), (3, 90, 192), (8, 64, 320), (16, 40, 128), (17, 64, 64), (32, 33, 192)],
)
def test_every_number_of_rows(rows: int, out: int, depth: int, run: Runner) -> None:
    rng = np.random.default_rng(rows)
    x, w = exact(bits(rng, rows, depth)), bits(rng, out, depth)
    arrays: dict[str, Any] = {"x": x.astype(np.float32), "w": w, "bias": rng.standard_normal(out).astype(np.float32)}
    arrays["residual"] = rng.standard_normal((rows, out)).astype(np.float32)
    (found,) = run(graph(rows, out, depth), arrays, {})
    wanted = x @ exact(w).T + arrays["bias"] + arrays["residual"]  # x is bf16 already: nothing is rounded but sums
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("run", EVERYWHERE)
def test_products_side_by_side(run: Runner) -> None:
    """silu(x gate^T) * (x up^T) of 5 rows, in one launch."""
    rng = np.random.default_rng(1)
    x = parameter("x", tensor(f32, 5, 128))
    gate, up = (parameter(n, tensor(bf16, 96, 128), "weight") for n in ("gate", "up"))
    a, b = (ops.matmul(x, ops.transpose(w)) for w in (gate, up))
    g = Graph("side", [x, gate, up], [ops.mul(ops.silu(a), b)])
    assert kernels(g, CUDA).count("few") == 1
    held = {"x": exact(bits(rng, 5, 128)).astype(np.float32), "gate": bits(rng, 96, 128), "up": bits(rng, 96, 128)}
    (found,) = run(g, held, {})
    sums = [held["x"].astype(np.float64) @ exact(held[n]).T for n in ("gate", "up")]
    wanted = sums[0] / (1 + np.exp(-sums[0])) * sums[1]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * float(np.abs(wanted).max()))


def kernels(g: Graph, target: Target) -> list[str]:
    return [k.name.split("_")[0] for k in compile_graph(g, target, Options()).program.kernels]


def test_two_panels_and_wide_teams() -> None:
    """A large matrix: a team has two panels of it, and two teams fit a multiprocessor."""
    compiled = compile_graph(graph(8, 28672, 4096), CUDA, Options()).program
    (kernel,) = (k for k in compiled.kernels if k.name.startswith("few"))
    sizes = [int(i.attrs["nbytes"]) for i in kernel.walk() if i.op == "alloc"]
    assert sum(sizes) <= 112 << 10
    loops = [i for i in kernel.walk() if i.op == "parallel"]
    assert [int(i.args[0].value) for i in loops] == [28672 // 64]


def test_what_it_is_for() -> None:
    assert "few" not in kernels(graph(1, 64, 64), CUDA)
    assert "few" not in kernels(graph(33, 64, 64), CUDA)
    assert "few" not in kernels(graph(8, 64, 96), CUDA)  # no whole steps
    assert "few" not in kernels(graph(8, 64, 64), cuda_target((7, 5)))
    assert "few" in kernels(graph(dim(Symbol("n", 32, 1)), 64, 64), CUDA)


def test_the_number_of_rows_may_be_a_symbol() -> None:
    rng = np.random.default_rng(2)
    g = graph(dim(Symbol("n", 20, 1)), 64, 128)
    for rows in (1, 9, 20):
        x, w = exact(bits(rng, rows, 128)), bits(rng, 64, 128)
        arrays: dict[str, Any] = {"x": x.astype(np.float32), "w": w, "bias": np.zeros(64, np.float32)}
        arrays["residual"] = np.zeros((rows, 64), np.float32)
        (found,) = lockstep_of_8(g, arrays, {"n": rows})
        wanted: Any = x @ exact(w).T
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * float(np.abs(wanted).max()))


def test_a_batch_reads_every_weight_by_it() -> None:
    """What a decoder's products of several sequences become."""
    x: Value = parameter("x", tensor(f32, 8, 256))
    w = [parameter(f"w{i}", tensor(bf16, 256, 256), "weight") for i in range(3)]
    q, k, v = (ops.matmul(x, ops.transpose(p)) for p in w)
    assert kernels(Graph("qkv", [x, *w], [q, k, v]), CUDA).count("few") >= 1
