"""Tensors on GPUs against the same on the cpu: by the lock-step interpreter here, on a GPU with `pytest -m cuda`."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import (
    CaptureError,
    DeviceMismatchError,
    DeviceUnavailableError,
    DTypeError,
    UnsupportedError,
)
from heliostat.nn import functional as F
from heliostat.session import devices
from heliostat.tensor import FUNCTIONS as FUNCTIONS_BY_NAME
from heliostat.tensor import lazy
from targets.gpus import KINDS, gpu, real, stand_in

from .patterns import PATTERNS, X, Y, Z


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """cuda, where there is a GPU or what stands for one."""
    with gpu(request.param):
        yield "cuda"


def close(found: hs.Tensor, wanted: hs.Tensor, name: str = "", bound: float = 2e-5) -> None:
    assert str(found.device) == "cuda:0", f"{name} lies on {found.device}"
    assert found.dtype == wanted.dtype, name
    assert found.shape == wanted.shape, name
    a, b = found.detach().cpu().numpy(), wanted.detach().numpy()
    size = max(1.0, float(np.abs(b).max(initial=0))) if b.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(a, b, rtol=bound, atol=bound * size, err_msg=name)


def flat(y: Any) -> list[hs.Tensor]:
    found = list(y) if isinstance(y, tuple | list) else [y]
    return [t for t in found if isinstance(t, hs.Tensor)]


def data(seed: int, *shape: int) -> hs.Tensor:
    return hs.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# --- what makes, copies and shows ------------------------------------------------------------------------------------
def test_making_and_copying(device: str) -> None:
    rows = [[1.5, -2.0], [3.0, 4.0]]
    x = hs.tensor(rows, device=device)
    assert (str(x.device), x.is_cuda, x.is_cpu, x.get_device()) == ("cuda:0", True, False, 0)
    assert repr(x) == "tensor([[ 1.5000, -2.0000],\n        [ 3.0000,  4.0000]], device='cuda:0')"
    assert x.tolist() == rows
    assert x[1, 0].item() == 3.0
    there = hs.tensor(rows)
    for y in (there.to("cuda"), there.cuda(), there.to(x), there.to(hs.device("cuda", 0)), there.to(0)):
        assert y.device == x.device
        assert y.tolist() == rows
    for y in (hs.tensor(x), hs.as_tensor(x), hs.asarray(x), hs.from_dlpack(x)):
        assert (y.device, y.tolist()) == (x.device, rows)
    assert hs.tensor([x[0, 0], 2.0]).tolist() == [1.5, 2.0]
    with pytest.raises(UnsupportedError, match="cuda:0"):
        hs.tensor([x, x])
    assert x.to("cuda") is x
    assert x.cuda() is x
    assert there.cpu() is there
    assert x.cpu().numpy().tolist() == rows
    assert x.to("cpu", hs.float64).dtype == hs.float64
    for made in (
        hs.zeros(2, 3, device=device), hs.full((2,), 7, device=device), hs.arange(5, device=device),
        hs.eye(3, device=device), hs.linspace(0, 1, 4, device=device), hs.ones_like(x), x.new_zeros(2),
        x.new_tensor([1]),
        hs.empty(0, 3, device=device), hs.tensor(5, device=device), hs.tensor([True, False], device=device),
        hs.tensor([1.0], dtype=hs.bfloat16, device=device), hs.as_tensor([1, 2], device=device), hs.rand_like(x),
        hs.randperm(5, device=device), hs.asarray(np.arange(3), device=device),
    ):  # fmt: skip
        assert str(made.device) == "cuda:0"
        assert (made + made).cpu().tolist() == (made.cpu() + made.cpu()).tolist()


def test_default_device(device: str) -> None:
    with hs.device(device):
        assert hs.get_default_device() == hs.device("cuda:0")
        x, layer = hs.ones(2, 3), nn.Linear(3, 2)
        assert str(x.device) == "cuda:0"
        assert {str(p.device) for p in layer.parameters()} == {"cuda:0"}
        assert str(layer(x).device) == "cuda:0"
        assert str(hs.zeros(2, device="cpu").device) == "cpu"
    assert str(hs.ones(2).device) == "cpu"
    hs.set_default_device(device)
    try:
        assert str(hs.tensor([1.0]).device) == "cuda:0"
    finally:
        hs.set_default_device(None)
    assert str(hs.tensor([1.0]).device) == "cpu"


def test_devices_by_name() -> None:
    assert repr(hs.device("cuda:1")) == "device(type='cuda', index=1)"
    assert hs.device("cuda", 1) == hs.device("cuda:1") == hs.device(1)
    assert hs.device("cuda:1") != hs.device("cuda:0") != hs.device("cpu")
    assert repr(hs.device("cpu")) == "device(type='cpu')"
    assert pickle.loads(pickle.dumps(hs.device("cuda:1"))) == hs.device("cuda:1")
    assert hs.device("meta") != hs.device("cpu")
    for name in ("cude", "cuda:x", "mps", "cuda:-1"):
        with pytest.raises(UnsupportedError, match=f"there is no device '{name}'"):
            hs.device(name)


def test_without_a_gpu_errors_say_what_is_missing() -> None:
    if hs.cuda.device_count():
        pytest.skip("there is a GPU")
    assert not hs.cuda.is_available()
    for f in (
        lambda: hs.tensor([1.0], device="cuda"), lambda: hs.rand(3, device="cuda"), lambda: hs.ones(2).cuda(),
        lambda: nn.Linear(2, 2).to("cuda"), lambda: hs.ones(2).to("cuda:0"), hs.cuda.synchronize,
        hs.cuda.get_device_name,
    ):  # fmt: skip
        with pytest.raises(DeviceUnavailableError) as found:
            f()
        assert "\n" not in str(found.value)
    assert hs.cuda.memory_allocated() == 0


# --- functions and their gradients -----------------------------------------------------------------------------------
FUNCTIONS: dict[str, Callable[[hs.Tensor, hs.Tensor, hs.Tensor], hs.Tensor]] = {
    "arithmetic": lambda x, y, z: (x * y + 2.0 - z / (y * y + 1)) ** 2,
    "functions": lambda x, y, z: x.exp() + y.sin() * z.tanh() + (x.abs() + 1).log() + y.sigmoid() - z.sqrt(),
    "comparison": lambda x, y, z: hs.where(x > y, x, z).clamp(-1, 1) + x.maximum(y),
    "reductions": lambda x, y, z: x.sum(0) + y.mean(0) + z.amax(0) + x.var(0) + hs.logsumexp(y, 0) + z.prod(0),
    "softmax": lambda x, y, z: x.softmax(-1) + y.log_softmax(0) + F.layer_norm(z, (6,)),
    "products": lambda x, y, z: (x @ y.T).sum(1) + hs.einsum("ij,kj->i", y, z),
    "moves": lambda x, y, z: hs.cat([x[1:, ::2], y.T[:3, :3]], 0).flip(0).roll(1, 1).pad((1, 0)).reshape(-1),
    "rows": lambda x, y, z: x[hs.tensor([1, 0, 1], device=x.device)].sum(0) * y[1],
    "scan": lambda x, y, z: x.cumsum(1) * z,
    "convolution": lambda x, y, z: F.conv1d(x.reshape(1, 4, 6), y[:, :3].reshape(1, 4, 3), padding=1),
    "pooling": lambda x, y, z: F.avg_pool1d(x.reshape(1, 4, 6), 2) + F.max_pool1d(y.reshape(1, 4, 6), 2),
    "losses": lambda x, y, z: F.mse_loss(x, y) + F.cross_entropy(z, hs.tensor([0, 5, 2, 1], device=x.device)),
    "activations": lambda x, y, z: F.gelu(x) + F.silu(y) + F.leaky_relu(z - 1) + F.softplus(x),
    "attention": lambda x, y, z: F.scaled_dot_product_attention(
        x[None, None], y[None, None], z[None, None], is_causal=True
    ),
}  # fmt: skip


def test_functions_and_gradients_equal_the_cpus(device: str) -> None:
    found: dict[str, list[list[hs.Tensor]]] = {}
    for place in (device, "cpu"):
        for name, f in FUNCTIONS.items():
            x, y = (data(n, 4, 6).to(place).requires_grad_() for n in range(2))
            z = (data(2, 4, 6).abs() + 0.1).to(place).requires_grad_()
            made = f(x, y, z)
            made.backward(data(9, *made.shape).to(place))
            found.setdefault(name, []).append([made, *(t.grad for t in (x, y, z) if t.grad is not None)])
    for name, (here, there) in found.items():
        assert len(here) == len(there), name
        for what, a, b in zip(("result", "first gradient", "second", "third"), here, there, strict=False):
            close(a, b, f"{name}: {what}")


def test_dtypes(device: str) -> None:
    values = np.random.default_rng(0).integers(-9, 9, (3, 5))
    for dtype in (hs.float64, hs.float16, hs.bfloat16, hs.int64, hs.int32, hs.int8, hs.uint8, hs.bool):
        x = hs.tensor(values).to(dtype)
        y = x.to(device)
        close(y.to(hs.float32) + 1, x.to(hs.float32) + 1, str(dtype))
        close((y == y).to(hs.int64).sum(), (x == x).to(hs.int64).sum(), str(dtype))


def test_in_place_views_and_numbers(device: str) -> None:
    here, there = data(0, 4, 5), data(0, 4, 5)
    here = here.to(device)
    for x in (here, there):
        x[1] = 7.0
        x[:, 2] *= 2
        x.add_(hs.tensor(1.5)).clamp_(max=6)
        x[3].copy_(data(1, 5))
        x.T[0].zero_()
        x[0, 1:3] = x[2, 1:3]
        x[x.shape[0] - 1].fill_(2)
    close(here, there)
    total = here.sum() * hs.tensor(2.0)  # numbers of the cpu go along
    assert str(total.device) == "cuda:0"
    assert float(total) == pytest.approx(float(there.sum() * 2), rel=1e-5)
    assert bool((here == here).all())


def test_gradients_go_through_copies(device: str) -> None:
    x, w = data(0, 3, 4).requires_grad_(), data(1, 4).to(device).requires_grad_()
    y = ((x * 2).to(device) * w).sum(1).cpu() * data(2, 3)
    assert str(y.device) == "cpu"
    (y * y).sum().backward()
    a, b = data(0, 3, 4).requires_grad_(), data(1, 4).requires_grad_()
    z = (a * 2 * b).sum(1) * data(2, 3)
    (z * z).sum().backward()
    assert str(x.grad.device) == "cpu"
    np.testing.assert_allclose(x.grad.numpy(), a.grad.numpy(), rtol=1e-5, atol=1e-5)
    close(w.grad, b.grad)


def test_second_derivatives_and_transforms(device: str) -> None:
    def f(x: hs.Tensor) -> hs.Tensor:
        return (x.sin() * x).sum()

    found = []
    for place in (device, "cpu"):
        x = data(0, 4).to(place).requires_grad_()
        (g,) = hs.autograd.grad(f(x), x, create_graph=True)
        (h,) = hs.autograd.grad(g.sum(), x)
        each = hs.vmap(lambda r: r * r.sum())(data(1, 2, 3).to(place))
        _, t = hs.func.jvp(f, (x.detach(),), (hs.ones(4, device=place),))
        found.append([h, each, t])
    for a, b in zip(*found, strict=True):
        close(a, b)


# --- random numbers --------------------------------------------------------------------------------------------------
def test_random_numbers_are_those_of_the_cpu(device: str) -> None:
    found = []
    for place in (device, "cpu"):
        hs.manual_seed(5)
        x = hs.zeros(40, device=place)
        found.append([
            hs.rand(40, device=place), hs.randint(0, 9, (40,), device=place), x.uniform_(-1, 1),
            F.dropout(hs.ones(40, device=place), 0.5), hs.bernoulli(hs.full((40,), 0.3, device=place)),
            hs.randperm(40, device=place),
        ])  # fmt: skip
        hs.cuda.manual_seed(7)
        found[-1].append(hs.randn(40, device=place))
    for a, b in zip(*found, strict=True):
        close(a, b, bound=1e-6)


# --- modules, optimizers and compiled steps --------------------------------------------------------------------------
class Reader(nn.Module):
    """Something of everything: embedding, attention, norm, convolution, linear, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 4, 3, padding=1)
        self.batch = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 3)

    def forward(self, ids: hs.Tensor) -> hs.Tensor:
        x = self.embed(ids)
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return self.out(self.batch(self.conv(x.transpose(1, 2))).mean(2))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_training_equals_the_cpus(device: str, compiled: bool) -> None:
    hs.manual_seed(1)
    first = Reader()
    ids = hs.tensor(np.random.default_rng(0).integers(0, 11, (3, 5)))
    wanted = hs.tensor([0, 2, 1])
    found = []
    for place in (device, "cpu"):
        net = copy.deepcopy(first).to(place)
        # Biases of keys and before a batch norm have no gradient but rounding, of which a small eps would make steps.
        optimizer = optim.AdamW(net.parameters(), lr=0.01, eps=1e-4)
        optimizer.make_state()

        def step(x: hs.Tensor, y: hs.Tensor, net: Any = net, optimizer: Any = optimizer) -> hs.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            return loss

        run = hs.compile(step) if compiled else step
        losses = [float(run(ids.to(place), wanted.to(place))) for _ in range(4)]
        found.append((losses, net.state_dict()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    for name, t in found[0][1].items():
        close(t, found[1][1][name], name, 1e-3)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LSTM": (lambda: nn.LSTM(3, 2, bidirectional=True), (2, 1, 3)),
    "pictures": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.ConvTranspose2d(4, 2, 2, stride=2),
            nn.GroupNorm(1, 2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.PReLU(),
            nn.AdaptiveAvgPool2d(3),
        ),
        (2, 2, 4, 4),
    ),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), (2, 3, 8)),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules_equal_the_cpus(device: str, name: str) -> None:
    make, shape = MODULES[name]
    first = make()
    found = []
    for place in (device, "cpu"):
        net, x = copy.deepcopy(first).to(place), data(3, *shape).to(place).requires_grad_()
        y = flat(net(x))[0]
        y.backward(data(4, *y.shape).to(place))
        found.append({"result": y, "x": x.grad, **{n: p.grad for n, p in net.named_parameters()}, **net.state_dict()})
    assert found[0].keys() == found[1].keys()
    for what, wanted in found[1].items():
        close(found[0][what], wanted, what, 1e-4)


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: optim.RMSprop(p, 0.01, centered=True),
    lambda p: optim.Adagrad(p, 0.1), lambda p: optim.RAdam(p, 0.1),
    lambda p: optim.LBFGS(p, 0.1, max_iter=2),
], ids=["SGD", "RMSprop", "Adagrad", "RAdam", "LBFGS"])  # fmt: skip
def test_optimizers_equal_the_cpus(device: str, make: Callable[[Any], Any]) -> None:
    found = []
    for place in (device, "cpu"):
        w = data(0, 5).to(place).requires_grad_()
        optimizer = make([w])
        for n in range(3):

            def closure(n: int = n, w: Any = w, optimizer: Any = optimizer) -> hs.Tensor:
                optimizer.zero_grad()
                loss = ((w - data(n, 5).to(w.device)) ** 2).sum()
                loss.backward()
                return loss

            optimizer.step(closure)
        again = make([w])
        again.load_state_dict(optimizer.state_dict())
        assert {str(v.device) for s in again.state.values() for v in s.values() if getattr(v, "ndim", 0)} <= {
            str(w.device)
        }
        found.append(w)
    close(*found)


def test_modules_move(device: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    net(hs.ones(2, 3)).sum().backward()
    p = net[0].weight
    assert net.to(device) is net
    assert net[0].weight is p
    assert isinstance(p, nn.Parameter)
    assert p.requires_grad
    assert {str(t.device) for t in (*net.parameters(), *net.buffers(), p.grad)} == {"cuda:0"}
    optimizer = optim.SGD(net.parameters(), 0.1)
    optimizer.step()
    net.cpu()
    assert {str(t.device) for t in (*net.parameters(), *net.buffers(), p.grad)} == {"cpu"}
    net.cuda()
    kept = net.state_dict()
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other.load_state_dict(kept)
    assert str(other[0].weight.device) == "cpu"
    assert other[0].weight.tolist() == p.tolist()


def test_compiled_functions(device: str) -> None:
    total = hs.zeros(4, device=device)

    @hs.compile
    def f(x: hs.Tensor, y: hs.Tensor) -> hs.Tensor:
        total.add_(x)
        return F.dropout(x * y + hs.rand(4, device=x.device), 0.5)

    hs.manual_seed(3)
    x, y = data(0, 4), hs.tensor(2.0)
    found = [f(x.to(device), y).tolist() for _ in range(5)]
    hs.manual_seed(3)
    wanted = [F.dropout(x * y + hs.rand(4), 0.5).tolist() for _ in range(5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    close(total, x * 5)
    assert f.cache_info().misses == 1
    total.data = total.cpu()
    with pytest.raises(DeviceMismatchError, match="cpu"):
        f(x.to(device), y)
    assert f(x, y).device == hs.device("cpu")
    assert any("device of x was cuda:0, is cpu" in r for r in f.cache_info().reasons)


def test_what_others_hold_stays_as_it_was(device: str) -> None:
    """States are written where they lie, but for those that somebody else holds; results that are held stay too."""
    w = data(0, 6, 6).to(device)

    @hs.compile
    def step(x: hs.Tensor) -> tuple[hs.Tensor, hs.Tensor]:
        w.copy_((w @ x).tanh())
        return (w @ x).softmax(-1), x.sum(0)

    expected = data(0, 6, 6)
    held, wanted = [], []
    for n in range(7):
        x = data(n % 3 + 1, 6, 6)
        there = x.to(device)
        if n != 3:
            held.append(w.clone())
            wanted.append(expected.clone())
        expected = (expected @ x).tanh()
        held += [there, *step(there)]
        wanted += [x, (expected @ x).softmax(-1), x.sum(0)]
    for a, b in zip([*held, w], [*wanted, expected], strict=True):
        close(a, b, bound=1e-4)
    xs = [data(n, 6, 6).to(device) for n in range(3)]
    places = set()
    for n in (0, 1, 0, 1, 2, 0, 2, 1, 1, 0):  # addresses that come again, and others between
        close(step(xs[n])[1], data(n, 6, 6).sum(0))
        places.add(lazy.buffer_of(w.value).address)
    assert len(places) == 1
    assert step.cache_info().misses == 1


def test_a_compiled_step_has_one_device(device: str) -> None:
    w, c, count = hs.ones(3, device=device), hs.ones(3), hs.tensor(0.0)

    def copies(x: hs.Tensor) -> hs.Tensor:
        return (c * 2).to(device) * x

    def two(x: hs.Tensor) -> tuple[hs.Tensor, hs.Tensor]:
        return x * w, c * 2

    def counts(x: hs.Tensor) -> hs.Tensor:
        count.add_(1)
        return x * w

    with pytest.raises(CaptureError, match="copies a tensor from cpu to cuda:0"):
        hs.compile(copies)(w)
    with pytest.raises(CaptureError, match="two devices, cuda:0 and cpu"):
        hs.compile(two)(w)
    with pytest.raises(CaptureError, match=r"on cuda:0 writes a tensor .* on cpu"):
        hs.compile(counts)(w)
    assert count.item() == 0.0


def test_mixed_precision(device: str) -> None:
    w, x = data(0, 4, 8).to(device).requires_grad_(), data(1, 3, 8).to(device)
    with hs.autocast("cuda", hs.bfloat16):
        y = F.linear(x, w)
        total = y.sum()
    assert (y.dtype, total.dtype) == (hs.bfloat16, hs.float32)
    assert str(y.device) == "cuda:0"
    found = []
    for place in (device, "cpu"):
        p = data(0, 5).to(place).requires_grad_()
        optimizer, scaler = optim.SGD([p], 0.1), hs.amp.GradScaler(place, init_scale=4.0, growth_interval=2)

        @hs.compile
        def step(x: hs.Tensor, p: Any = p, optimizer: Any = optimizer, scaler: Any = scaler) -> hs.Tensor:
            optimizer.zero_grad()
            loss = (p * x).square().sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

        for scale in (1.0, 2.0, float("inf"), 1.0):
            step((data(2, 5) * scale).to(place))
        found.append((p, scaler.get_scale()))
    close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_dynamic_batches(device: str) -> None:
    layer = nn.Linear(3, 2).to(device).requires_grad_(False)
    f = hs.compile(lambda x: layer(x).relu(), dynamic=True)
    for n in (2, 5, 3):
        x = data(n, n, 3)
        close(f(x.to(device)), copy.deepcopy(layer).cpu()(x).relu())
    assert f.cache_info().misses == 1


def test_what_a_host_counts_stays_on_the_gpu(device: str) -> None:
    """Parts of floats from their bits, and functions whose sizes or lengths the host reads."""
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((9, 3)).astype(np.float32) * 2 for _ in range(2))
    index = rng.integers(0, 9, (30, 3))
    long = rng.standard_normal((30, 3)).astype(np.float32)

    def run(place: str) -> list[hs.Tensor]:
        a, b, i, s = (hs.tensor(v, device=place) for v in (x, y, index, long))
        a.requires_grad_()
        found = [*hs.frexp(a), hs.nextafter(a, b), a.detach().view(hs.int32)]
        found += [
            a.scatter_reduce(0, i, s, how, include_self=own) for how in ("prod", "amax", "amin") for own in (0, 1)
        ]
        found += [hs.segment_reduce(a, how, lengths=i[:0, 0].new_tensor([2, 4, 3])) for how in ("mean", "prod", "max")]
        counts = hs.histogramdd(a, [3, 2, 4], weight=b[:, 0].abs(), density=True)
        found += [counts.hist, *counts.bin_edges]
        total = sum((t * (t.detach() + 0.5)).sum() for t in found if t.requires_grad)
        return [*found, *hs.autograd.grad(total, [a])]

    for n, (found, wanted) in enumerate(zip(run(device), run("cpu"), strict=True)):
        close(found, wanted.detach(), str(n))


def test_sequences_of_different_lengths(device: str) -> None:
    rng = np.random.default_rng(4)
    x, scores = (rng.standard_normal(s).astype(np.float32) for s in ((5, 3, 4), (6, 3, 5)))
    layer = nn.GRU(4, 2)

    def run(place: str) -> list[hs.Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(hs.tensor(x, device=place), [2, 5, 3], enforce_sorted=False)
        assert packed.is_cuda == (place == "cuda")
        assert str(packed.batch_sizes.device) == "cpu"
        y, h = copy.deepcopy(layer).to(place)(packed)
        padded, lengths = nn.utils.rnn.pad_packed_sequence(y)
        assert lengths.tolist() == [2, 5, 3]
        assert str(packed.cpu().sorted_indices.device) == "cpu"  # type: ignore[union-attr]
        found = [padded, h, y.sorted_indices]
        for targets, sizes in (
            (np.arange(9).reshape(3, 3) % 4 + 1, [3, 0, 2]),
            (np.array([1, 2, 2, 3, 4, 1]), [3, 1, 2]),
        ):
            s = hs.tensor(scores, device=place, requires_grad=True)
            labels = hs.tensor(targets, device=place)
            loss = F.ctc_loss(s.log_softmax(-1), labels, hs.tensor([6, 5, 6], device=place), sizes)
            found += [loss, *hs.autograd.grad(loss, [s])]
        return found  # type: ignore[return-value]

    for n, (found, wanted) in enumerate(zip(run(device), run("cpu"), strict=True)):
        close(found, wanted.detach(), str(n))


# --- what is refused -------------------------------------------------------------------------------------------------
def test_two_devices_are_refused_by_name(device: str) -> None:
    x, c = hs.ones(2, 3, device=device), hs.ones(2, 3)
    for f in (
        lambda: x + c, lambda: c @ x.T, lambda: hs.cat([x, c]), lambda: hs.where(c > 0, x, x), lambda: x.add_(c),
        lambda: F.linear(x, c), lambda: x[hs.tensor([0])], lambda: nn.Linear(3, 2)(x),
    ):  # fmt: skip
        with pytest.raises(DeviceMismatchError) as found:
            f()
        assert "cuda:0" in str(found.value)
        assert "cpu" in str(found.value)
    w = hs.ones(3, device=device).requires_grad_()
    with pytest.raises(DeviceMismatchError, match="gradient on cpu"):
        w.grad = hs.ones(3)


@pytest.mark.parametrize("read", [lambda x: x.numpy(), lambda x: x.view(hs.uint8)], ids=["numpy", "view"])
def test_what_reads_on_the_host_says_so(device: str, read: Any) -> None:
    x = hs.ones(3, device=device)
    with pytest.raises(UnsupportedError, match=r"(numpy|view) .*cuda:0.*\.cpu\(\)"):
        read(x)
    assert x.numpy(force=True).tolist() == [1, 1, 1]


def test_exports_are_refused(device: str) -> None:
    x = hs.ones(3, device=device)
    assert x.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError, match="cuda:0"):
        np.from_dlpack(x)
    with pytest.raises(UnsupportedError, match="cuda:0"):
        np.asarray(x)
    with pytest.raises(DTypeError, match="takes a GPU"):
        x.cuda("cpu")


# --- files, memory, several GPUs -------------------------------------------------------------------------------------
def test_files_and_copies(device: str) -> None:
    x = data(0, 3).to(device).requires_grad_()
    file = io.BytesIO()
    hs.save({"x": x}, file)
    file.seek(0)
    assert str(hs.load(file)["x"].device) == "cpu"
    file.seek(0)
    found = hs.load(file, map_location=device)["x"]
    assert (str(found.device), found.tolist()) == ("cuda:0", x.tolist())
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert (str(y.device), y.tolist(), y.requires_grad) == ("cuda:0", x.tolist(), True)


def test_memory_goes_back(device: str) -> None:
    x = hs.ones(1 << 12, device=device)
    x = x * 2
    hs.cuda.synchronize()
    before = hs.cuda.memory_allocated()
    for _ in range(5):
        y = x * 2 + 1
        y.sum().item()
    del y
    gc.collect()
    assert hs.cuda.memory_allocated() <= before + (1 << 11)
    assert hs.cuda.max_memory_allocated() > before
    assert hs.cuda.memory_reserved() >= hs.cuda.memory_allocated()
    assert hs.cuda.memory_stats()["allocated_bytes.all.current"] == hs.cuda.memory_allocated()
    first, last = hs.cuda.Event(enable_timing=True), hs.cuda.Event(enable_timing=True)
    first.record()
    y = x + 1
    last.record()
    last.synchronize()
    assert last.query()
    assert first.elapsed_time(last) >= 0
    del y
    hs.cuda.empty_cache()
    hs.cuda.reset_peak_memory_stats()
    free, total = hs.cuda.mem_get_info()
    assert 0 < free <= total
    assert x.sum().item() == 2 << 12


def test_out_of_memory() -> None:
    with stand_in():
        x = hs.ones(1 << 20, device="cuda")
        with pytest.raises(hs.cuda.OutOfMemoryError, match=r"0\.27 GB"):
            (x.reshape(-1, 1) * hs.ones(1, 64, device="cuda")).tolist()
        hs.cuda.empty_cache()
        assert (x[:3] * 2).tolist() == [2, 2, 2]


def test_a_share_of_the_memory() -> None:
    with stand_in():
        x = hs.ones(1 << 18, device="cuda") * 2
        x.sum().item()
        assert hs.cuda.get_per_process_memory_fraction() == 1.0
        total = hs.cuda.mem_get_info()[1]
        hs.cuda.set_per_process_memory_fraction(0.25)
        assert hs.cuda.get_per_process_memory_fraction() == pytest.approx(0.25)
        with pytest.raises(hs.cuda.OutOfMemoryError, match="the limit of this process"):
            hs.ones(total // 8, device="cuda").mul(2).sum().item()  # half of it
        assert hs.cuda.memory_reserved() <= total // 4
        hs.cuda.set_per_process_memory_fraction(1.0)
        assert (x[:3] * 2).tolist() == [4, 4, 4]
        for wrong, error in ((1, TypeError), (1.5, ValueError), (-0.1, ValueError)):
            with pytest.raises(error):
                hs.cuda.set_per_process_memory_fraction(wrong)
        segments = hs.cuda.memory_snapshot()
        assert sum(s["total_size"] for s in segments) == hs.cuda.memory_reserved()
        assert sum(s["allocated_size"] for s in segments) == hs.cuda.memory_allocated()
        for s in segments:
            assert [b["address"] for b in s["blocks"]] == sorted(b["address"] for b in s["blocks"])
            assert s["blocks"][0]["address"] == s["address"]
            assert sum(b["size"] for b in s["blocks"]) == s["total_size"]
            assert any(b["state"] == "active_allocated" for b in s["blocks"]) == (s["allocated_size"] > 0)


@contextlib.contextmanager
def two_gpus(kind: str) -> Iterator[int]:
    """A process with two GPUs or more; how many. Skips the test on a machine with fewer."""
    with stand_in(2) if kind == "stand-in" else real():
        if (count := hs.cuda.device_count()) < 2:
            pytest.skip("one GPU")
        yield count


@pytest.mark.parametrize("kind", KINDS)
def test_two_gpus(kind: str) -> None:
    with two_gpus(kind) as count:
        if kind == "stand-in":
            assert count == 2
            assert hs.cuda.get_device_name(1) == "Fake GPU"
            assert hs.cuda.get_device_capability() == (9, 0)
        a, b = hs.arange(4, device="cuda:0") * 2, hs.ones(4, device="cuda:1")
        with pytest.raises(DeviceMismatchError, match=r"cuda:0 and .* cuda:1"):
            a + b
        moved = a.to("cuda:1")
        assert str((moved + b).device) == "cuda:1"
        assert (moved + b).tolist() == [1, 3, 5, 7]
        assert ((moved * 2).to("cuda:0") + a).tolist() == [0, 6, 12, 18]
        with hs.cuda.device(1):
            assert str(hs.ones(1, device="cuda").device) == "cuda:1"
        assert hs.cuda.current_device() == 0
        with pytest.raises(DeviceUnavailableError, match=f"cuda:{count}"):
            hs.cuda.set_device(count)
        with pytest.raises(DeviceUnavailableError, match=f"cuda:{count}"):
            hs.ones(1, device=f"cuda:{count}")
        x = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
        there = hs.tensor(x, device="cuda:0")
        for n in range(20):  # copies behind work that is not done, of memory that is given back at once
            there = (there * 2).to(f"cuda:{(n + 1) % 2}") / 2
        assert np.array_equal(there.cpu().numpy(), x)
    assert not devices.gpus_in_use() or hs.cuda.is_available()


# --- every function ---------------------------------------------------------------------------------------------------
def called(pattern: Any, f: Any) -> list[hs.Tensor]:
    hs.manual_seed(0)
    return flat(pattern(f, hs, *(hs.tensor(a[0]) for a in (X, Y, Z))))


@pytest.mark.filterwarnings("ignore")
def test_every_function_stays_on_its_device_or_says_why() -> None:
    """None goes through the host in silence; without NVIDIA's libraries linear algebra says what to install. Nothing is
    computed here but what looks at values."""
    kept, host, libraries = 0, {}, {}
    with stand_in():
        for name in sorted(FUNCTIONS_BY_NAME):
            f = getattr(hs, name) if name != "tensor" else hs.tensor
            for title, pattern in PATTERNS.items():
                try:
                    if not called(pattern, f):
                        continue
                except Exception:  # it is not called so
                    continue
                try:
                    with hs.device("cuda"):
                        found = {str(t.device) for t in called(pattern, f)}
                except UnsupportedError as error:
                    host[name] = str(error)
                except DeviceUnavailableError as error:
                    libraries[name] = str(error)
                else:
                    assert found == {"cuda:0"}, f"{name}, as {title}, gives tensors on {found}"
                    kept += 1
                break
        lazy._take_open()
    assert kept > 250
    assert host == {}
    assert {"inverse", "svd", "qr"} <= set(libraries)
    assert [name for name, error in libraries.items() if "cuda-libraries" not in error] == []
