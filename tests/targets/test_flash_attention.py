"""Attention of training on tensor cores, and its gradients: tails, masks, shared heads, in lock-step and on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import ops
from heliostat.compiler.flops import flops, flops_of
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f16, f32, tensor
from heliostat.nn import functional as F
from heliostat.ops.evaluate import evaluate
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import CUDA, cuda_target

from .device import RUNNERS, Runner, assemble_for_linking, emit_ptx, lockstep
from .gpus import KINDS, gpu

FORWARD = ("scaled_dot_product_attention", "attention_logsumexp")


def drawn(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray[Any, Any]:
    """Values that the dtype holds; bf16 in f32."""
    values = rng.standard_normal(shape).astype(np.float32)
    if dtype is f16:
        return values.astype(np.float16)
    return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)


def floats(found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (found.astype(np.uint32) << 16).view(np.float32) if found.dtype == np.uint16 else found


CASES = [
    # batch, queries, keys, heads, of them with keys, size, causal
    (1, 128, 128, 1, 1, 64, True),
    (2, 140, 140, 1, 1, 64, True),
    (1, 70, 200, 2, 1, 64, False),
    (1, 200, 70, 1, 1, 64, True),
    (1, 61, 250, 3, 1, 32, True),
    (1, 100, 100, 2, 1, 128, True),
    (1, 33, 130, 1, 1, 96, False),
    (1, 20, 20, 1, 1, 24, False),
]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("case", "dtype"), [(c, (bf16, f16)[n % 2]) for n, c in enumerate(CASES)], ids=str)
def test_forward(case: tuple[Any, ...], dtype: DType, run: Runner) -> None:
    batch, rows, keys, heads, groups, size, causal = case
    rng = np.random.default_rng(rows + keys)
    of_q, of_k = (batch, rows, heads, size), (batch, keys, groups, size)
    q, k, v = (parameter(n, tensor(dtype, *s)) for n, s in (("q", of_q), ("k", of_k), ("v", of_k)))
    attrs = {"scale": 1.5 * size**-0.5, "causal": causal}
    made = [ops.scaled_dot_product_attention(q, k, v, **attrs), ops.attention_logsumexp(q, k, **attrs)]
    graph = Graph("attend", [q, k, v], made)
    arrays = {"q": drawn(rng, dtype, *of_q), "k": drawn(rng, dtype, *of_k), "v": drawn(rng, dtype, *of_k)}
    (kernel,) = compile_graph(graph, CUDA, Options()).program.kernels
    assert kernel.name.startswith("flash_attention")
    y, lse = run(graph, arrays, {})
    exact, exact_lse = evaluate(graph, arrays, {})
    bound = 2e-3 if dtype is f16 else 1.2e-2
    np.testing.assert_allclose(floats(y), exact, rtol=0, atol=bound * float(np.abs(exact).max()))
    np.testing.assert_allclose(lse, exact_lse, rtol=2e-6, atol=1e-5)


def test_products_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Nothing in what makes values and logsumexp is a call."""
    q, k, v = (parameter(n, tensor(bf16, 1, 256, 2, 64)) for n in "qkv")
    attrs = {"scale": 0.125, "causal": True}
    made = [ops.scaled_dot_product_attention(q, k, v, **attrs), ops.attention_logsumexp(q, k, **attrs)]
    (kernel,) = compile_graph(Graph("attend", [q, k, v], made), CUDA, Options()).program.kernels
    assemble_for_linking(emit_ptx([Phase(f"{kernel.name}_launch", (kernel,), (8,))], CUDA), CUDA, tmp_path)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("case", "dtype"), [(c, (bf16, f16)[n % 2]) for n, c in enumerate(CASES)], ids=str)
def test_gradients(case: tuple[Any, ...], dtype: DType, run: Runner) -> None:
    batch, rows, keys, heads, groups, size, causal = case
    rng = np.random.default_rng(rows + keys)
    shapes = {"g": (batch, rows, heads, size), "k": (batch, keys, groups, size)}
    shapes |= {"q": shapes["g"], "v": shapes["k"]}
    g, q, k, v = (parameter(n, tensor(dtype, *shapes[n])) for n in "gqkv")
    attrs = {"scale": 1.5 * size**-0.5, "causal": causal}
    arrays = {n: drawn(rng, dtype, *s) for n, s in shapes.items()}
    y = ops.scaled_dot_product_attention(q, k, v, **attrs)
    made = ops.gradients([y], [g], [q, k, v])
    exact_y, exact_lse = evaluate(Graph("y", [q, k, v], [y, ops.attention_logsumexp(q, k, **attrs)]), arrays, {})
    lse, delta = (parameter(n, tensor(f32, batch, rows, heads)) for n in ("lse", "delta"))
    arrays["lse"] = np.asarray(exact_lse, np.float32)
    arrays["delta"] = np.asarray((exact_y * np.asarray(arrays["g"], np.float64)).sum(-1), np.float32)
    outputs = [
        ops.attention_query_gradient(g, q, k, v, lse, delta, **attrs),
        ops.attention_key_gradient(g, q, k, v, lse, delta, **attrs),
        ops.attention_value_gradient(g, q, k, lse, **attrs),
    ]
    graph = Graph("gradients", [g, q, k, v, lse, delta], outputs)
    kernels = [n.name.split("_attention")[0] for n in compile_graph(graph, CUDA, Options()).program.kernels]
    assert kernels == ["flash_gradient"]
    exact = evaluate(Graph("wanted", [g, q, k, v], made), {n: arrays[n] for n in "gqkv"}, {})
    bound = 4e-3 if dtype is f16 else 2.5e-2
    for found, wanted in zip(run(graph, arrays, {}), exact, strict=True):
        np.testing.assert_allclose(floats(found), wanted, rtol=0, atol=bound * float(np.abs(wanted).max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("heads", "causal", "rank", "read"), [((2, 1), True, 4, False), ((2, 2), False, 3, True)])
def test_tensors_on_a_gpu(heads: tuple[int, int], causal: bool, rank: int, read: bool, kind: str) -> None:
    """PyTorch's layout and gradients; also of attention that was read before its gradient is asked for."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(heads[0])
    lead = () if rank == 3 else (1,)
    shapes = [(*lead, h, n, 16) for h, n in ((heads[0], 21), (heads[1], 34), (heads[1], 34))]
    arrays = [drawn(rng, bf16, *s) for s in (*shapes, shapes[0])]
    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays[:3]]
    options: dict[str, Any] = {"is_causal": causal, "enable_gqa": heads[0] != heads[1]}
    wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, **options)
    wanted.backward(torch.tensor(arrays[3], dtype=torch.float64))
    with gpu(kind):
        ours = [hs.tensor(a).to("cuda").bfloat16().requires_grad_() for a in arrays[:3]]
        y = F.scaled_dot_product_attention(*ours, **options)
        assert y.shape == wanted.shape
        if read:
            y.detach().cpu().numpy()
        y.backward(hs.tensor(arrays[3]).to("cuda").bfloat16())
        found = [x.detach().float().cpu().numpy() for x in (y, *(t.grad for t in ours))]
    for a, t in zip(found, (wanted, *(t.grad for t in theirs)), strict=True):
        b = t.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=2.5e-2 * float(np.abs(b).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients(kind: str) -> None:
    """Of the sum of squares of the queries' gradient, which goes through what defines the ops."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    arrays = [drawn(rng, f16, 1, 1, 6, 16) for _ in range(3)]

    def twice(attend: Any, q: Any, k: Any, v: Any, grad: Any) -> Any:
        (g,) = grad(attend(q, k, v, is_causal=True).square().sum(), [q], create_graph=True)
        return grad(g.square().sum(), [q, k, v])

    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        wanted = twice(torch.nn.functional.scaled_dot_product_attention, *theirs, torch.autograd.grad)
    with gpu(kind):
        ours = [hs.tensor(a).to("cuda").requires_grad_() for a in arrays]
        made = twice(F.scaled_dot_product_attention, *ours, hs.autograd.grad)
        found = [x.detach().float().cpu().numpy() for x in made]
    for a, t in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, t.numpy(), rtol=0, atol=2e-2 * float(t.abs().max()))


def test_parts_of_one_product() -> None:
    """Queries, keys and values are read as parts of what made them, and their gradients written as parts of one."""
    rng, (batch, rows, heads, size) = np.random.default_rng(3), (2, 40, 3, 16)
    width = heads * size
    x, g = parameter("x", tensor(f16, batch, rows, 3 * width)), parameter("g", tensor(f16, batch, rows, width))
    parts = [ops.slice(x, 2, n * width, (n + 1) * width) for n in range(3)]
    q, k, v = (ops.reshape(p, (batch, rows, heads, size)) for p in parts)
    y = ops.scaled_dot_product_attention(q, k, v, scale=0.5, causal=True)
    wanted = ops.gradients([ops.reshape(y, (batch, rows, width))], [g], [q, k, v])
    joined = ops.concat(*(ops.reshape(w, (batch, rows, width)) for w in wanted), axis=2)
    graph = Graph("parts", [x, g], [y, joined])
    names = [k.name for k in compile_graph(graph, CUDA, Options()).program.kernels]
    assert sum("flash" in n for n in names) == 2
    assert not any(word in n for n in names for word in ("slice", "concat", "transpose"))
    arrays = {"x": drawn(rng, f16, *x.type.shape), "g": drawn(rng, f16, *g.type.shape)}
    for found, exact in zip(lockstep(graph, arrays, {}), evaluate(graph, arrays, {}), strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=4e-3 * float(np.abs(exact).max()))


@pytest.mark.parametrize(
    ("dtype", "size", "capability"), [(f32, 64, (9, 0)), (bf16, 160, (9, 0)), (bf16, 60, (9, 0)), (f16, 64, (8, 0))]
)
def test_what_is_left_to_others(dtype: DType, size: int, capability: tuple[int, int]) -> None:
    q = parameter("q", tensor(dtype, 1, 32, 1, size))
    graph = Graph("attend", [q], [ops.scaled_dot_product_attention(q, q, q, scale=0.1)])
    names = [k.name for k in compile_graph(graph, cuda_target(capability), Options()).program.kernels]
    assert not any("flash" in n for n in names)
    assert any("matmul" in n for n in names)


def test_operations_are_counted() -> None:
    """Four for each pair that a mask leaves and each element; back twice as many."""
    q, g = (parameter(n, tensor(bf16, 2, 96, 3, 32)) for n in "qg")
    k, v = (parameter(n, tensor(bf16, 2, 64, 3, 32)) for n in "kv")
    y = ops.scaled_dot_product_attention(q, k, v, scale=0.1, causal=True)
    pairs = 2 * 3 * (64 * 65 // 2 + 32 * 64)
    assert flops(Graph("y", [q, k, v], [y]), {}) == 4 * 32 * pairs
    made = [n for w in ops.gradients([y], [g], [q, k, v]) for n in [w.node]]
    assert flops_of(made, {}) == 8 * 32 * pairs


def test_transforms() -> None:
    """A derivative forward, and a batch, beside the same in float64 on the CPU."""
    rng = np.random.default_rng(6)
    arrays = [drawn(rng, f16, 2, 1, 6, 16) for _ in range(6)]

    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    with gpu("stand-in"):
        x = [hs.tensor(a).to("cuda") for a in arrays]
        made = [
            *hs.func.jvp(attend, tuple(x[:3]), tuple(x[3:])),
            hs.func.vmap(attend)(*(t.unsqueeze(1) for t in x[:3])),
        ]
        y, slope, batch = (t.float().cpu().numpy() for t in made)
    x = [hs.tensor(a.astype(np.float64)) for a in arrays]
    wanted, exact = (t.numpy() for t in hs.func.jvp(attend, tuple(x[:3]), tuple(x[3:])))
    for a, b in ((y, wanted), (slope, exact), (batch[:, 0], wanted)):
        np.testing.assert_allclose(a, b, rtol=0, atol=4e-3 * float(np.abs(b).max()))
