"""Kernels for NVIDIA GPUs: every op and format through the schedules, by lock-step threads here and on a GPU where
there is one; PTX for all of them, assembled where ptxas is installed.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import llvmlite.binding as binding
import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, TensorType, bf16, dim, f16, f32, i32, tensor
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernels import dot
from heliostat.kernels.cache_layout import KeyPanels, ValuePanels
from heliostat.ops import Op
from heliostat.ops.evaluate import evaluate
from heliostat.ops.samples import Sample
from heliostat.quant import formats
from heliostat.quant.activation import activation_format
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.quantize import encode
from heliostat.targets.nvptx import QUOTIENT
from heliostat.targets.nvptx_module import single
from heliostat.targets.target import CUDA, GPUS, Target, cuda_target
from ops.sweep import cases, evaluated, given, graph_of

from .device import AMPERE, RUNNERS, Runner, emit_ptx, lockstep_of_8, meaning

TOLERANCE = {"f16": 4e-3, "bf16": 3e-2, "f64": 1e-12}
NEED_STATES = {"attention", "cache_update"}  # their operands are states of a program: below
N = dim(Symbol("n", 64, 1))


def plain(graph: Graph) -> bool:
    values = (*graph.parameters, *graph.outputs)
    return all(isinstance(v.type.element, DType) and v.type.layout is None for v in values)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("op", "case"), cases())
def test_every_op(op: Op, case: Sample, run: Runner) -> None:
    graph = graph_of(op, case)
    if not plain(graph) or op.name in NEED_STATES:
        pytest.skip("blocks and states have tests of their own")
    arrays = case.draw(7)
    try:
        found = run(graph, given(arrays), case.symbols)
    except CompileError as error:
        if "a scalar has no axis to reduce" in error.message:
            return
        raise
    for value, a, b in zip(graph.outputs, found, evaluated(graph, arrays, case.symbols), strict=True):
        if value.type.element == bf16:
            a = (a.astype(np.uint32) << 16).view(np.float32)
        if op.name == "cast" and value.type.dtype.kind in "iu":
            continue  # what lies outside of the dtype has no defined result
        bound = TOLERANCE.get(value.type.element.name, 2e-5)
        finite = np.abs(np.asarray(b, np.float64))[np.isfinite(b)]
        size = max(1.0, float(finite.max())) if finite.size else 1.0
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=bound, atol=bound * size, equal_nan=True
        )


FORMATS: list[Any] = [f for f in formats.all() if dot.refusal(f) is None and f.block % 32 == 0 and f.block <= 256]
FORMATS = [f for f in FORMATS if f.name not in ("Q8_1", "Q8_K")]


def product(element: Any, rows: int, depth: int, n: int) -> tuple[Graph, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(rows + n)
    w = rng.standard_normal((rows, depth)).astype(np.float32)
    if isinstance(element, BlockFormat):
        raw = np.asarray(encode(w, element)).reshape(rows, -1)
        exact_w = np.asarray(dequantize(raw, element)).reshape(rows, depth)
    else:
        raw = w if element != bf16 else (w.view(np.uint32) >> 16).astype(np.uint16)
        raw = raw.astype(np.float16) if element == f16 else raw
        exact_w = (raw.astype(np.uint32) << 16).view(np.float32) if element == bf16 else raw.astype(np.float32)
    x = parameter("x", tensor(f32, 1 if n == 1 else N, depth))
    weight = parameter("w", tensor(element, rows, depth), "weight")
    bias = parameter("b", tensor(f32, rows))
    ids = parameter("ids", tensor(i32, 2))
    y = ops.matmul(x, ops.transpose(weight)) + bias
    graph = Graph("product", [x, weight, bias, ids], [y, ops.embedding(weight, ids)])
    arrays = {"x": rng.standard_normal((n, depth)).astype(np.float32), "w": raw}
    arrays |= {"b": rng.standard_normal(rows).astype(np.float32), "ids": np.array([rows - 1, 0], np.int32)}
    return graph, arrays, exact_w.astype(np.float64)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("element", [f32, f16, bf16, *FORMATS], ids=str)
def test_products_and_rows_of_every_format(element: Any, run: Runner) -> None:
    check_products_and_rows(element, run)


@pytest.mark.parametrize("element", [f32, f16, bf16, *FORMATS[::2]], ids=str)
def test_products_and_rows_of_every_second_format_on_8(element: Any) -> None:
    check_products_and_rows(element, lockstep_of_8)


def check_products_and_rows(element: Any, run: Runner) -> None:
    depth = 2 * max(element.block, 32)
    for rows, n in ((70, 1), (37, 17)):
        graph, arrays, w = product(element, rows, depth, n)
        y, taken = run(graph, arrays, {"n": n})
        exact = arrays["x"].astype(np.float64) @ w.T + arrays["b"]
        size = float(np.abs(exact).max())
        # Activations of many rows are in f16, in bf16, in 8 bits.
        bound = (
            0.02
            if isinstance(element, BlockFormat)
            else {f32: 2e-5, f16: 2e-5 if n == 1 else 4e-4, bf16: 0.005}[element]
        )
        np.testing.assert_allclose(y, exact, rtol=0, atol=bound * size)
        np.testing.assert_allclose(taken, w[[rows - 1, 0]], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("run", RUNNERS)
def test_panels_of_odd_sizes(run: Runner) -> None:
    """Rows that fill no panel, and more runs of them than are copied at once, but no multiple."""
    graph, arrays, w = product(bf16, 37, 72, 5)
    y, _ = run(graph, arrays, {"n": 5})
    exact = arrays["x"].astype(np.float64) @ w.T + arrays["b"]
    np.testing.assert_allclose(y, exact, rtol=0, atol=0.005 * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("name", "rows", "n", "both"), [
    ("bf16", 136, 150, False), ("bf16", 256, 5, False), ("bf16", 136, 129, True), ("bf16", 40, 20, True),
    ("Q4_K", 136, 150, False), ("Q4_K", 256, 5, False), ("Q4_K", 40, 20, True), ("Q6_K", 136, 129, True),
])  # fmt: skip
def test_tiles_of_four_warps(name: str, rows: int, n: int, both: bool, run: Runner) -> None:
    """Several tiles, more stages than the ring has, rows and panels that fill none, and two products side by side."""
    element = bf16 if name == "bf16" else formats.get(name)
    depth, most = 512, dim(Symbol("n", 160, 1))
    rng = np.random.default_rng(rows + n)
    x = parameter("x", tensor(f32, most, depth))
    weights = [parameter(f"w{i}", tensor(element, rows, depth), "weight") for i in range(2 if both else 1)]
    bias = parameter("b", tensor(f32, rows))
    products = [ops.matmul(x, ops.transpose(w)) for w in weights]
    y = ops.mul(ops.silu(products[0]), products[1]) if both else products[0] + bias
    graph = Graph("product", [x, *weights, bias], [y])
    arrays = {"x": rng.standard_normal((n, depth)).astype(np.float32), "b": rng.standard_normal(rows, np.float32)}
    exact = []
    for i in range(len(weights)):
        w = rng.standard_normal((rows, depth)).astype(np.float32)
        if isinstance(element, BlockFormat):
            raw = np.asarray(encode(w, element)).reshape(rows, -1)
            w = np.asarray(dequantize(raw, element)).reshape(rows, depth)
        else:
            raw = (w.view(np.uint32) >> 16).astype(np.uint16)
            w = (raw.astype(np.uint32) << 16).view(np.float32)
        arrays[f"w{i}"] = raw
        exact.append(arrays["x"].astype(np.float64) @ w.T.astype(np.float64))
    wanted = exact[0] / (1 + np.exp(-exact[0])) * exact[1] if both else exact[0] + arrays["b"]
    (found,) = run(graph, arrays, {"n": n})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.01 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("element", [f32, f16, bf16], ids=str)
@pytest.mark.parametrize("depth", [100, 72, 33, 7])
def test_depths_that_fill_no_step(element: Any, depth: int, run: Runner) -> None:
    graph, arrays, w = product(element, 40, depth, 1)
    exact = arrays["x"].astype(np.float64) @ w.T + arrays["b"]
    y, taken = run(graph, arrays, {})
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-5 * float(np.abs(exact).max()))
    np.testing.assert_allclose(taken, w[[39, 0]], rtol=2e-6)


@pytest.mark.parametrize("name", ["Q4_0", "Q6_K", "MXFP4"])
@pytest.mark.parametrize("n", [2, 9])
def test_threads_do_what_vectors_mean(name: str, n: int) -> None:
    """Bit for bit: the rewriting for threads changes no operation and no order."""
    element = formats.get(name)
    graph, arrays, _ = product(element, 64, 2 * element.block, n)
    for a, b in zip(lockstep_of_8(graph, arrays, {"n": n}), meaning(graph, arrays, {"n": n}), strict=True):
        np.testing.assert_array_equal(a, b)


ATTENTION_RUNNERS = [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")]


def attended(
    tokens: Any, heads: int, kv: int, size: int, window: int, dtype: Any, n: int
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Attention over a cache of 128 tokens that already holds everything."""
    rng = np.random.default_rng(heads + n)
    q = parameter("q", tensor(f32, tokens, heads, size))
    keys = parameter("keys", TensorType(dtype, (kv, 128, size)), "state")
    values = parameter("values", TensorType(dtype, (kv, 128, size)), "state")
    at = parameter("at", tensor(i32))
    y = ops.attention(q, keys, values, at, scale=size**-0.5, causal=True, window=window)
    arrays = {"q": rng.standard_normal((n, heads, size)).astype(np.float32)}
    for name in ("keys", "values"):
        drawn = rng.standard_normal((kv, 128, size)).astype(np.float32)
        if dtype == bf16:
            drawn = (drawn.view(np.uint32) & 0xFFFF0000).view(np.float32)
        arrays[name] = drawn.astype(np.float16) if dtype == f16 else drawn
    return Graph("attend", [q, keys, values, at], [y]), arrays


ONE_TOKEN = [(4, 2, 70, 0), (3, 1, 5, 0), (4, 4, 90, 40)]  # heads, heads of keys, start, window
MANY_TOKENS = [  # the same with the elements of a head and the number of tokens
    (4, 2, 64, 70, 20, 0), (3, 1, 32, 0, 37, 0), (2, 2, 128, 90, 38, 40), (8, 1, 64, 3, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [f16, bf16, f32], ids=str)
def test_schedules_that_attend_over_a_cache(dtype: Any) -> None:
    """Those that the two tests behind this one mean to run."""

    def names(graph: Graph, target: Target) -> list[str]:
        return [k.name for k in compile_graph(graph, target, Options()).program.kernels]

    for heads, kv, _, window in ONE_TOKEN:
        graph, _ = attended(1, heads, kv, 64, window, dtype, 1)
        assert any(n.startswith("decode_attention") for n in names(graph, CUDA))
    for heads, kv, size, _, n, window in MANY_TOKENS if dtype != f32 else []:
        graph, _ = attended(N, heads, kv, size, window, dtype, n)
        for target, schedule in ((CUDA, "warpgroup_attention"), (AMPERE, "tile_attention")):
            assert any(name.startswith(schedule) for name in names(graph, target))


@pytest.mark.parametrize("run", ATTENTION_RUNNERS)
@pytest.mark.parametrize(("heads", "kv", "start", "window"), ONE_TOKEN)
@pytest.mark.parametrize("dtype", [f16, bf16, f32], ids=str)
def test_one_token_attends_over_a_cache(heads: int, kv: int, start: int, window: int, dtype: Any, run: Runner) -> None:
    graph, arrays = attended(1, heads, kv, 64, window, dtype, 1)
    arrays["at"] = np.array(start, np.int32)
    (found,) = run(graph, arrays, {})
    (exact,) = evaluate(graph, arrays)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", ATTENTION_RUNNERS)
@pytest.mark.parametrize(
    ("heads", "kv", "size", "start", "n", "window", "dtype"),
    [(*case, dtype) for i, case in enumerate(MANY_TOKENS) for dtype in ([f16, bf16], [bf16, f32], [f32, f16])[i % 3]],
    ids=str,
)
def test_many_tokens_attend_over_a_cache(
    heads: int, kv: int, size: int, start: int, n: int, window: int, dtype: Any, run: Runner
) -> None:
    graph, arrays = attended(N, heads, kv, size, window, dtype, n)
    arrays["at"] = np.array(start, np.int32)
    (found,) = run(graph, arrays, {"n": n})
    (exact,) = evaluate(graph, arrays, {"n": n})
    bound = {"f16": 2e-3, "bf16": 1.5e-2, "f32": 2e-5}[dtype.name]  # of queries and weights
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", ATTENTION_RUNNERS)
@pytest.mark.parametrize("dtype", [f16, bf16, f32], ids=str)
@pytest.mark.parametrize("n", [1, 13])
def test_caches_take_new_rows(dtype: Any, n: int, run: Runner) -> None:
    """What is written in a cache's layout is what attention reads there, and what comes back as rows."""
    rng = np.random.default_rng(n)
    shape, at = TensorType(dtype, (2, 128, 64)), parameter("at", tensor(i32))
    tokens: Any = 1 if n == 1 else N
    q, new = parameter("q", tensor(f32, tokens, 4, 64)), parameter("new", tensor(f32, tokens, 2, 64))
    keys, values = parameter("keys", shape, "state"), parameter("values", shape, "state")
    held = [ops.cache_update(cache, new, at) for cache in (keys, values)]
    y = ops.attention(q, *held, at, scale=0.125, causal=True)
    graph = Graph("a", [q, new, keys, values, at], [y], updates=list(zip((keys, values), held, strict=True)))
    arrays: dict[str, np.ndarray] = {
        "q": rng.standard_normal((n, 4, 64)).astype(np.float32),
        "new": rng.standard_normal((n, 2, 64)).astype(np.float32),
        "at": np.array(30, np.int32),
    }
    for name in ("keys", "values"):
        arrays[name] = rng.standard_normal((2, 128, 64)).astype(np.float16 if dtype == f16 else np.float32)
        if dtype == bf16:
            arrays[name] = (arrays[name].view(np.uint32) & 0xFFFF0000).view(np.float32)
    found = run(graph, arrays, {"n": n})
    exact = evaluate(graph, arrays, {"n": n})
    for a, b in zip(found, exact, strict=True):
        if a.dtype == np.uint16:
            a = (a.astype(np.uint32) << 16).view(np.float32)
        if a.ndim == 1:
            a = a.view(np.float16 if dtype == f16 else np.float32)
        bound = 1.5e-2 if dtype == bf16 else 2e-3 if dtype == f16 else 2e-5
        np.testing.assert_allclose(a.reshape(b.shape), np.asarray(b, np.float64), rtol=0, atol=bound * 4)


def test_key_panels_follow_the_warp() -> None:
    cache = parameter("keys", TensorType(f16, (2, 128, 64)), "state")
    q, at = parameter("q", tensor(f32, 1, 2, 64)), parameter("at", tensor(i32))
    y = ops.attention(q, cache, parameter("values", cache.type, "state"), at, scale=1.0, causal=True)
    program = compile_graph(Graph("a", [q, cache, y.node.inputs[2], at], [y]), CUDA, Options()).program
    assert program.buffers[program.by_name("keys")].type.layout == KeyPanels(32, 8)
    assert program.buffers[program.by_name("values")].type.layout == ValuePanels(8)


@pytest.mark.parametrize("op", sorted({case.values[0].name for case in cases()} - NEED_STATES))
def test_ptx_of_every_op(op: str, tmp_path: Path) -> None:
    """One module of all kernels of an op's samples, of which one has each choice of dtypes, where f16 and bf16
    are one: by others the op's instructions stay the same, and `test_every_op` runs them all."""
    kernels, graphs = [], {}
    for case in cases():
        if case.values[0].name == op:
            graph = graph_of(*case.values)
            elements = (v.type.element for v in (*graph.parameters, *graph.outputs))
            graphs.setdefault(tuple("half" if e in (f16, bf16) else e for e in elements), graph)
    for graph in graphs.values():
        try:
            compiled = compile_graph(graph, CUDA, Options())
        except CompileError as error:
            assert "no schedule takes" in error.message  # noqa: PT017
            continue
        kernels += [k for p in (*compiled.loads.values(), compiled.program) for k in p.kernels]
    for n, kernel in enumerate(kernels):
        kernel.name = f"{kernel.name}_{n}"
    if not kernels:
        pytest.skip("views and refusals only")
    text = emit_ptx([single(k) for k in kernels], CUDA)
    assert text.count(".visible .entry") == len(kernels)
    if (ptxas := shutil.which("ptxas")) is not None:
        (tmp_path / "k.ptx").write_text(text)
        command = [ptxas, f"-arch={CUDA.cpu}", "-O0", str(tmp_path / "k.ptx"), "-o", str(tmp_path / "k.cubin")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_gpu_has_its_version_of_ptx() -> None:
    """LLVM ends the process where a version is too old for a GPU. One that is not known takes what an older does."""
    k = KernelBuilder("one")
    out = k.buffer("o0", "w")
    for i in k.parallel(4):
        k.store(out, i * 4, k.const(1.0, "f32"))
    kernel = single(k.finish())
    for number in (*GPUS, 199):
        target = cuda_target(divmod(number, 10))
        suffix = "a" if number == 90 else ""
        assert f".target sm_{min(number, max(GPUS))}{suffix}\n" in emit_ptx([kernel], target)
        assert 64 << 10 <= target.shared_bytes <= 227 << 10


@pytest.mark.parametrize(("capability", "exchanged"), [((9, 0), False), ((8, 0), False), ((7, 5), True)])
def test_integers_of_a_warp_are_combined_by_one_instruction(capability: tuple[int, int], exchanged: bool) -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(2):
        v = k.load(x, i * 128, "i32", 32)
        k.store(y, i * 8, k.reduce_add(v))
        k.store(y, i * 8 + 4, k.reduce_max(v))
    text = emit_ptx([single(k.finish())], cuda_target(capability))
    assert ("shfl.sync" in text) is exchanged
    assert text.count("redux.sync") == (0 if exchanged else 2)


def test_the_byte_of_a_float_is_not_converted() -> None:
    """ptxas takes the store of the low byte of a float register for a conversion: an integer op stands in between."""
    x = parameter("x", tensor(f32, 2, 64))
    graph = Graph("q", [x], [ops.quantize(x, activation_format(32, 32, "i32", -8))])
    (kernel,) = compile_graph(graph, CUDA, Options()).program.kernels
    text = emit_ptx([single(kernel)], CUDA)
    lines = text.splitlines()
    for n, line in enumerate(lines):
        if "st.global.b8" in line:
            register = line.rsplit(",", 1)[1].strip(" ;")
            made = [t for t in lines[:n] if re.search(rf"\s{register}, ", t)]
            assert "add.rn.f32" not in made[-1], made[-1]


def test_pairs_of_integers() -> None:
    """dot2 into i32: both halves of a word with their signs."""
    k = KernelBuilder("pairs")
    c, a, b, y = k.buffer("c"), k.buffer("a"), k.buffer("b"), k.buffer("y", "w")
    for i in k.parallel(2):
        x, z = k.load(a, i * 128, "i16", 64), k.load(b, i * 128, "i16", 64)
        k.store(y, i * 128, k.dot2(k.load(c, i * 128, "i32", 32), x, z))
    text = emit_ptx([single(k.finish())], CUDA)
    assert len(re.findall(r"cvt\.s32\.s16|shr\.s32|mul\.wide\.s16|mad\.wide\.s16", text)) >= 2, text


def test_quotients_without_a_call() -> None:
    """What kernels with products by four warps divide 64 bits by, run on this machine: signs, zeros and all lengths."""
    wrapper = "define i64 @f(i64 %a, i64 %b) {\n %q = call i64 @quotient(i64 %a, i64 %b)\n ret i64 %q\n}\n"
    text = QUOTIENT.replace(", !llvm.loop !1", "") + wrapper
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    engine = binding.create_mcjit_compiler(
        binding.parse_assembly(text), binding.Target.from_default_triple().create_target_machine()
    )
    divide = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("f"))
    rng = np.random.default_rng(0)
    numbers = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, *(int(rng.integers(2**b)) for b in range(1, 63))]
    numbers += [-n for n in numbers]
    for a, b in itertools.product(numbers, numbers):
        if b:
            assert divide(a, b) == (abs(a) // abs(b) if (a < 0) == (b < 0) else -(abs(a) // abs(b)))
