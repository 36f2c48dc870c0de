"""What HELIOSTAT_PROFILE=1 prints of a step of generation."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest

from heliostat import ops
from heliostat.cli.model_options import print_profile
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, dim, f16, f32, i32, tensor
from heliostat.llm import demo_path, load
from heliostat.quant.formats import Q8_0
from heliostat.session import host_target


def test_time_bytes_and_share_of_every_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(load(demo_path(), threads=1, context=128)) as model:
        list(model.generate("To install", max_tokens=20, temperature=0.0))
        print_profile(model)
        rows = model.profile_decode()
        least = model.report.weight_bytes
    assert least <= sum(row.nbytes for row in rows) < 1.15 * least  # what lies between kernels, and some of the cache
    first, *lines = capsys.readouterr().err.splitlines()
    head = re.fullmatch(
        r"decode: 1 program, (\d+) launches, [\d.]+ ms, ([\d.]+) MB, [\d.]+ GB/s \(\d+ % of [\d.]+ read\)", first
    )
    assert head, first
    row = re.compile(r"  \S+ +x(\d+) +[\d.]+ ms +([\d.]+) % +([\d.]+) MB +[\d.]+ GB/s +\d+ %")
    shown = [found for line in lines if (found := row.fullmatch(line))]
    assert len(shown) == len(lines)
    assert sum(int(r[1]) for r in shown) == int(head[1]) == len(rows)
    assert abs(sum(float(r[2]) for r in shown) - 100) < 1
    assert abs(sum(float(r[3]) for r in shown) - float(head[2])) < 0.05 + 0.005 * len(shown)


def test_tables_and_caches_count_as_far_as_they_are_touched() -> None:
    n = dim(Symbol("n", 16, 1))
    ids, start = parameter("ids", tensor(i32, n)), parameter("start", tensor(i32))
    table, w = parameter("table", tensor(f32, 1000, 64), "weight"), parameter("w", tensor(Q8_0, 64, 64), "weight")
    keys, values = (parameter(name, tensor(f16, 1, 64, 64), "state") for name in ("keys", "values"))
    rows = ops.matmul(ops.embedding(table, ids), ops.transpose(w))
    heads = ops.reshape(rows, (n, 1, 64))
    new_keys, new_values = (ops.cache_update(cache, heads, start) for cache in (keys, values))
    y = ops.attention(heads, new_keys, new_values, start, scale=1.0)
    graph = Graph("g", [ids, start, table, w, keys, values], [y], [(keys, new_keys), (values, new_values)])
    program = compile_graph(graph, host_target(), Options("float")).program
    ops_of = {row["kernel"]: row["ops"] for row in program.report}
    kinds = [ops_of[program.kernels[launch.kernel].name] for launch in program.launches]
    found = dict(zip(map(" ".join, kinds), program.launch_nbytes({"n": 4}, filled=0.25), strict=True))
    assert found["embedding"] == 4 * 4 + 4 * 64 * 4
    (product,) = (size for name, size in found.items() if "linear" in name)
    assert np.isclose(product, 4 * 64 * 4 * 2 + 64 * 64 * 34 / 32)
    assert found["attention"] == 2 * 4 * 64 * 4 + 4 + 2 * 64 * 64 * 2 // 4
    assert found["cache_update"] == 4 * 64 * 4 + 4
