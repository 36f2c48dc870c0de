"""Autocast: the dtype of every function's result is PyTorch's, scopes are strict, gradients and captures go through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
import heliostat.nn.functional as hf
from heliostat.diagnostics import DTypeError, ScopeError, UnsupportedError
from heliostat.ops.amp import NAMED, POLICIES, Autocast
from heliostat.tensor.autocast import ruled
from heliostat.tensor.printing import long_name

from .compare import ours, same, theirs, torch

Call = Callable[..., Any]
classes = np.array([1, 0, 2])
signs = np.array([1.0, -1.0, 1.0], np.float32)
CASES: dict[str, tuple[Call, tuple[Any, ...]]] = {
    "addbmm": (lambda m, f, a, b, c: m.addbmm(a, b, c), ((3, 4), (2, 3, 5), (2, 5, 4))),
    "addmm": (lambda m, f, a, b, c: m.addmm(a, b, c), ((3, 4), (3, 5), (5, 4))),
    "addmv": (lambda m, f, a, b, c: m.addmv(a, b, c), ((3,), (3, 5), (5,))),
    "baddbmm": (lambda m, f, a, b, c: m.baddbmm(a, b, c), ((2, 3, 4), (2, 3, 5), (2, 5, 4))),
    "bmm": (lambda m, f, a, b: m.bmm(a, b), ((2, 3, 5), (2, 5, 4))),
    "mm": (lambda m, f, a, b: m.mm(a, b), ((3, 5), (5, 4))),
    "mv": (lambda m, f, a, b: m.mv(a, b), ((3, 5), (5,))),
    "dot": (lambda m, f, a, b: m.dot(a, b), ((5,), (5,))),
    "outer": (lambda m, f, a, b: m.outer(a, b), ((3,), (5,))),
    "einsum": (lambda m, f, a, b: m.einsum("ij,jk->ik", a, b), ((3, 5), (5, 4))),
    "tensordot": (lambda m, f, a, b: m.tensordot(a, b, 1), ((3, 5), (5, 4))),
    "chain_matmul": (lambda m, f, a, b: m.chain_matmul(a, b), ((3, 5), (5, 4))),
    "matmul": (lambda m, f, a, b: a @ b, ((3, 5), (5, 4))),
    "linear": (lambda m, f, a, b, c: f.linear(a, b, c), ((3, 5), (4, 5), (4,))),
    "bilinear": (lambda m, f, a, b, c: f.bilinear(a, b, c), ((3, 4), (3, 5), (2, 4, 5))),
    "conv1d": (lambda m, f, a, b, c: f.conv1d(a, b, c), ((2, 3, 8), (4, 3, 3), (4,))),
    "conv2d": (lambda m, f, a, b, c: f.conv2d(a, b, c), ((2, 3, 6, 6), (4, 3, 3, 3), (4,))),
    "conv3d": (lambda m, f, a, b: f.conv3d(a, b), ((1, 2, 4, 4, 4), (3, 2, 2, 2, 2))),
    "conv_transpose1d": (lambda m, f, a, b: f.conv_transpose1d(a, b), ((2, 3, 5), (3, 4, 3))),
    "conv_transpose2d": (lambda m, f, a, b: f.conv_transpose2d(a, b), ((1, 3, 4, 4), (3, 2, 3, 3))),
    "prelu": (lambda m, f, a, b: f.prelu(a, b), ((3, 5), (1,))),
    "sdpa": (lambda m, f, a, b, c: f.scaled_dot_product_attention(a, b, c), ((1, 2, 3, 4),) * 3),
    "add": (lambda m, f, a, b: a + b, ((3, 5), (3, 5))),
    "mul": (lambda m, f, a, b: a * b, ((3, 5), (5,))),
    "exp": (lambda m, f, a: a.exp(), ((3, 5),)),
    "pow": (lambda m, f, a: a**2, ((3, 5),)),
    "sum": (lambda m, f, a: a.sum(-1), ((3, 5),)),
    "mean": (lambda m, f, a: a.mean(-1), ((3, 5),)),
    "prod": (lambda m, f, a: a.prod(-1), ((3, 5),)),
    "cumsum": (lambda m, f, a: a.cumsum(-1), ((3, 5),)),
    "trace": (lambda m, f, a: a.trace(), ((4, 4),)),
    "norm": (lambda m, f, a: a.norm(), ((3, 5),)),
    "quantile": (lambda m, f, a: a.quantile(0.5), ((3, 5),)),
    "cdist": (lambda m, f, a, b: m.cdist(a, b), ((3, 4), (5, 4))),
    "cat": (lambda m, f, a, b: m.cat([a, b]), ((3, 5), (2, 5))),
    "stack": (lambda m, f, a, b: m.stack([a, b]), ((3, 5), (3, 5))),
    "softmax": (lambda m, f, a: a.softmax(-1), ((3, 5),)),
    "log_softmax": (lambda m, f, a: f.log_softmax(a, -1), ((3, 5),)),
    "logsumexp": (lambda m, f, a: a.logsumexp(-1), ((3, 5),)),
    "gelu": (lambda m, f, a: f.gelu(a), ((3, 5),)),
    "softplus": (lambda m, f, a: f.softplus(a), ((3, 5),)),
    "layer_norm": (lambda m, f, a, b, c: f.layer_norm(a, (5,), b, c), ((3, 5), (5,), (5,))),
    "group_norm": (lambda m, f, a, b, c: f.group_norm(a, 2, b, c), ((3, 4, 5), (4,), (4,))),
    "batch_norm": (lambda m, f, a: f.batch_norm(a, None, None, training=True), ((6, 4, 5),)),
    "max_pool2d": (lambda m, f, a: f.max_pool2d(a, 2), ((1, 2, 4, 4),)),
    "max_pool3d": (lambda m, f, a: f.max_pool3d(a, 2), ((1, 2, 4, 4, 4),)),
    "avg_pool2d": (lambda m, f, a: f.avg_pool2d(a, 2), ((1, 2, 4, 4),)),
    "avg_pool3d": (lambda m, f, a: f.avg_pool3d(a, 2), ((1, 2, 4, 4, 4),)),
    "adaptive_avg_pool2d": (lambda m, f, a: f.adaptive_avg_pool2d(a, 2), ((1, 2, 4, 4),)),
    "adaptive_avg_pool3d": (lambda m, f, a: f.adaptive_avg_pool3d(a, 2), ((1, 2, 4, 4, 4),)),
    "grid_sample": (
        lambda m, f, a, g: f.grid_sample(a, g, align_corners=False), ((1, 2, 4, 4), (1, 3, 3, 2))
    ),
    "interpolate": (lambda m, f, a: f.interpolate(a, scale_factor=2), ((1, 2, 4),)),
    "mse_loss": (lambda m, f, a, b: f.mse_loss(a, b), ((3, 5), (3, 5))),
    "l1_loss": (lambda m, f, a, b: f.l1_loss(a, b), ((3, 5), (3, 5))),
    "smooth_l1_loss": (lambda m, f, a, b: f.smooth_l1_loss(a, b), ((3, 5), (3, 5))),
    "huber_loss": (lambda m, f, a, b: f.huber_loss(a, b), ((3, 5), (3, 5))),
    "kl_div": (lambda m, f, a, b: f.kl_div(a, b.sigmoid(), reduction="sum"), ((3, 5), (3, 5))),
    "nll_loss": (lambda m, f, a, t: f.nll_loss(a, t), ((3, 5), classes)),
    "cross_entropy": (lambda m, f, a, t: f.cross_entropy(a, t), ((3, 5), classes)),
    "binary_cross_entropy": (lambda m, f, a, b: f.binary_cross_entropy(a.sigmoid(), b.sigmoid()), ((3, 5), (3, 5))),
    "binary_cross_entropy_with_logits": (
        lambda m, f, a, b: f.binary_cross_entropy_with_logits(a, b), ((3, 5), (3, 5))
    ),
    "cosine_embedding_loss": (lambda m, f, a, b, t: f.cosine_embedding_loss(a, b, t), ((3, 5), (3, 5), signs)),
    "margin_ranking_loss": (lambda m, f, a, b, t: f.margin_ranking_loss(a, b, t), ((3,), (3,), signs)),
    "hinge_embedding_loss": (lambda m, f, a, t: f.hinge_embedding_loss(a, t), ((3,), signs)),
    "soft_margin_loss": (lambda m, f, a, t: f.soft_margin_loss(a, t), ((3,), signs)),
    "triplet_margin_loss": (lambda m, f, a, b, c: f.triplet_margin_loss(a, b, c), ((3, 5),) * 3),
    "multi_margin_loss": (lambda m, f, a, t: f.multi_margin_loss(a, t), ((3, 5), classes)),
    "poisson_nll_loss": (lambda m, f, a, b: f.poisson_nll_loss(a, b), ((3, 5), (3, 5))),
    "gaussian_nll_loss": (lambda m, f, a, b, c: f.gaussian_nll_loss(a, b, c.sigmoid()), ((3, 5),) * 3),
    "cosine_similarity": (lambda m, f, a, b: f.cosine_similarity(a, b), ((3, 5), (3, 5))),
    "inverse": (lambda m, f, a: (a + 8 * m.eye(3)).inverse(), ((3, 3),)),
    "embedding": (lambda m, f, t, w: f.embedding(t, w), (classes, (5, 4))),
}  # fmt: skip


def _inputs(name: str, specs: tuple[Any, ...], dtype: str) -> list[Any]:
    """Random arrays; of "bfloat16" all floats have it, of "mixed" the first one, of "float64" all have that."""
    rng = np.random.default_rng([len(name), *map(ord, name)])
    made: list[Any] = []
    for n, spec in enumerate(specs):
        if isinstance(spec, np.ndarray):
            made.append(spec.astype(np.float64) if dtype == "float64" and spec.dtype == np.float32 else spec)
            continue
        x = rng.uniform(-1, 1, spec)
        if dtype == "bfloat16" or (dtype == "mixed" and n == 0):
            made.append(torch.tensor(x).to(torch.bfloat16))
        else:
            made.append(x.astype(np.float64 if dtype == "float64" else np.float32))
    return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_dtypes_of_results_are_pytorchs(name: str, dtype: str) -> None:
    call, specs = CASES[name]
    arrays = _inputs(name, specs, dtype)
    xs, ys = [ours(a) for a in arrays], [theirs(a) for a in arrays]
    with torch.autocast("cpu", torch.bfloat16):
        try:
            expected = call(torch, torch.nn.functional, *ys)
        except RuntimeError as error:
            pytest.skip(f"PyTorch refuses: {error}".splitlines()[0])
    with hs.autocast("cpu", hs.bfloat16):
        found = call(hs, hf, *xs)
    assert long_name(found.dtype) == str(expected.dtype).removeprefix("torch.")
    if dtype == "float32":
        same(found, expected, rtol=3e-2, what=name)


def test_rules_name_functions() -> None:
    """What the table names for the CPU and what we have is wrapped; nothing is wrapped that it does not name."""
    rooms = {**hs.tensor.FUNCTIONS, **{n: getattr(hf, n) for n in dir(hf) if callable(getattr(hf, n))}}
    for name in NAMED & set(rooms) - {"softmax", "log_softmax"}:  # those of nn.functional call the others
        assert hasattr(rooms[name], "unruled"), name
    for name, f in rooms.items():
        if hasattr(f, "unruled"):
            assert NAMED & {name, f.__name__}, name
    with pytest.raises(KeyError, match="no rule"):
        ruled(lambda x: x)


def test_rules_are_pytorchs() -> None:
    """Our names are in PyTorch's lists of the same device, but for those that are made of several functions there."""
    parts = {"cross_entropy": "cross_entropy_loss", "grid_sample": "grid_sampler", "lstm": "mkldnn_rnn_layer"}
    gpu = {"gru_step": "gru_cell", "lstm_step": "lstm_cell", "rnn_step": "rnn_tanh_cell", "lstm": "lstm_cell",
           "grid_sample": "grid_sampler", "norm": "norm.Scalar", "upsample": "upsample_nearest1d"}  # fmt: skip
    every = torch._C._dispatch_get_all_op_names()
    for device, key, other in (("cpu", "AutocastCPU", parts), ("cuda", "AutocastCUDA", gpu)):
        listed = {n.split("::")[1] for n in every if torch._C._dispatch_has_kernel_for_dispatch_key(n, key)}
        listed |= {n.partition(".")[0] for n in listed}
        listed |= {n.removeprefix("linalg_").removeprefix("fft_") for n in listed} | {"fft"}
        missing = {n for n in POLICIES[device] if other.get(n, n) not in listed}
        assert missing == set()


def test_scopes() -> None:
    x = hs.ones(2, 2)
    assert not hs.is_autocast_enabled()
    assert hs.get_autocast_dtype("cpu") == hs.bfloat16
    assert hs.get_autocast_dtype("cuda") == hs.float16
    with hs.autocast("cpu", hs.float16):
        assert (x @ x).dtype == hs.float16
        assert [hs.is_autocast_enabled(*d) for d in ((), ("cpu",), ("cuda",))] == [True, True, False]
        assert hs.get_autocast_dtype("cpu") == hs.float16
        with hs.autocast("cpu", enabled=False):
            assert not hs.is_autocast_enabled("cpu")
            assert (x @ x).dtype == hs.float32
            with hs.autocast("cpu"):
                assert (x @ x).dtype == hs.bfloat16
        assert (x @ x).dtype == hs.float16
        with hs.autocast("cuda"):
            assert (x @ x).dtype == hs.float16
        with pytest.raises(ZeroDivisionError), hs.autocast("cpu"):
            raise ZeroDivisionError
        assert (x @ x).dtype == hs.float16
    assert (x @ x).dtype == hs.float32

    @hs.autocast("cpu")
    def f(a: Any) -> Any:
        return f(a) if a.dtype == hs.float32 and a.ndim == 3 else a @ a

    assert f(x).dtype == hs.bfloat16
    assert f.__name__ == "f"


def test_scopes_are_strict() -> None:
    a, b = hs.autocast("cpu"), hs.autocast("cpu", hs.float16)
    a.__enter__()
    b.__enter__()
    with pytest.raises(ScopeError, match=r"not the innermost.*order opposite"):
        a.__exit__(None, None, None)
    assert hs.get_autocast_dtype("cpu") == hs.float16
    b.__exit__(None, None, None)
    a.__exit__(None, None, None)
    with pytest.raises(ScopeError):
        a.__exit__(None, None, None)
    assert not hs.is_autocast_enabled()


def test_what_is_refused() -> None:
    for bad in (hs.float32, hs.int32):
        with pytest.raises(DTypeError, match="dtype is bfloat16 or float16"):
            hs.autocast("cpu", bad)
    with pytest.raises(UnsupportedError, match="devices: cpu, cuda"):
        hs.autocast("abacus")
    with pytest.raises(DTypeError, match="by name"):
        hs.autocast(hs.bfloat16)  # type: ignore[arg-type]
    assert [hs.is_autocast_available(d) for d in ("cpu", "abacus")] == [True, False]
    assert POLICIES["cuda"]["binary_cross_entropy"] is Autocast.REFUSE


def test_threads_have_scopes_of_their_own() -> None:
    found: list[bool] = []
    with hs.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append(hs.is_autocast_enabled()))
        thread.start()
        thread.join()
    assert found == [False]


def test_parameters_are_converted_once() -> None:
    w = hs.ones(4, 4, requires_grad=True)
    x = hs.ones(2, 4)
    for caching, count in ((True, 1), (False, 0)):
        with hs.autocast("cpu", cache_enabled=caching) as scope:
            (x @ w).sum().item()
            y = (x @ w + x @ w).float().sum()
            assert len(scope._frames[-1].casts) == count
            with hs.no_grad(), hs.autocast("cpu"):
                assert not (x @ w).requires_grad
            y.backward()
            with hs.no_grad():
                w.mul_(2)
            assert (x @ w)[0, 0].item() == 4 * w[0, 0].item()
        assert w.grad.dtype == hs.float32
        assert w.grad.tolist() == [[4.0] * 4] * 4
        w.grad = None


def test_gradients_are_pytorchs() -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-1, 1, s).astype(np.float32) for s in ((6, 5), (4, 5), (4,), (4,), (3, 4))]
    target = np.array([0, 2, 1, 1, 0, 2])

    def loss(m: Any, f: Any, x: Any, w: Any, b: Any, scale: Any, v: Any, t: Any) -> Any:
        h = f.layer_norm(f.linear(x, w, b), (4,), scale, b).relu()
        return f.cross_entropy(f.linear(h, v), t)

    xs, ys = [ours(a, True) for a in arrays], [theirs(a, True) for a in arrays]
    with torch.autocast("cpu", torch.bfloat16):
        expected = loss(torch, torch.nn.functional, *ys, torch.tensor(target))
    with hs.autocast("cpu"):
        found = loss(hs, hf, *xs, hs.tensor(target))
    same(found, expected, rtol=2e-2)
    expected.backward()
    found.backward()
    for n, (x, y) in enumerate(zip(xs, ys, strict=True)):
        same(x.grad, y.grad, rtol=3e-2, what=f"gradient {n}")


def test_compiled_functions_know_the_scope() -> None:
    w = hs.ones(3, 3, requires_grad=True)

    @hs.compile
    def f(x: Any) -> Any:
        return x @ w

    @hs.compile
    def inside(x: Any) -> Any:
        with hs.autocast("cpu"):
            return (x @ w).exp()

    x = hs.ones(2, 3)
    assert f(x).dtype == hs.float32
    with hs.autocast("cpu"):
        assert f(x).dtype == hs.bfloat16
        assert f(x).tolist() == [[3.0] * 3] * 2
    assert f(x).dtype == hs.float32
    assert f.cache_info().misses == 2
    assert "autocast was off, is cpu bf16" in f.cache_info().reasons[1]
    for _ in range(2):
        assert inside(x).dtype == hs.bfloat16
    assert inside.cache_info().misses == 1


def test_in_place_methods_keep_their_dtype() -> None:
    x = hs.ones(2, 2)
    with hs.autocast("cpu"):
        x.addmm_(hs.full((2, 2), 1.001), hs.ones(2, 2))
    assert x.dtype == hs.float32
    assert x[0, 0].item() == pytest.approx(3.002)  # not rounded to bf16 on the way


def test_names_of_dtypes() -> None:
    with hs.autocast("cpu"):
        assert long_name(hs.get_autocast_dtype("cpu")) == "bfloat16"
