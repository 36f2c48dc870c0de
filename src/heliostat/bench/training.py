"""The train suite's workloads: models and steps written once, over PyTorch's names, and run by heliostat and by torch.

A workload is a function of a `Library`; `sizes` are its numbers, which tests make small. What times them is
`bench.train`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import HeliostatError

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = Mapping[str, int]


class PeerError(HeliostatError):
    """The peer that was asked for is not installed."""


class Library(NamedTuple):
    """PyTorch's names, ours or its own. `given` makes a tensor of an array, `taken` an array of a tensor."""

    name: str
    root: Any
    nn: Any
    functional: Any
    optim: Any
    given: Callable[[Array], Any]
    taken: Callable[[Any], Array]


def heliostat() -> Library:
    """Ours."""
    import heliostat as root

    from .. import nn, optim
    from ..nn import functional

    return Library("heliostat", root, nn, functional, optim, root.from_numpy, lambda t: np.asarray(t.detach().numpy()))


def torch(threads: int) -> Library:
    """PyTorch on so many threads. Raises PeerError where it is not installed."""
    try:
        import torch as root
    except ImportError:
        raise PeerError("PyTorch is not installed", help="pip install torch") from None
    root.set_num_threads(threads)
    return Library(
        "torch", root, root.nn, root.nn.functional, root.optim, root.from_numpy, lambda t: t.detach().numpy()
    )


class Built(NamedTuple):
    """A model with its step: `step(*inputs)` takes one update and gives the loss. `model` is None where nothing is
    trained."""

    model: Any
    step: Callable[..., Any]
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Workload:
    """`build(library, sizes)`. `compiled`: whether our side and torch.compile compile the step. `flops` of one step, 0
    if they are not its limit. `amp`: whether it runs under autocast."""

    name: str
    build: Callable[[Library, Sizes], Built]
    sizes: Sizes
    compiled: bool = True
    flops: Callable[[Sizes], int] = lambda sizes: 0
    amp: bool = False


def _rng(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _labels(count: int, *shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, count, shape)


def classifier(lib: Library, model: Any, optimizer: Any, *arrays: Array) -> Built:
    """A step of cross entropy between model(x) and labels."""

    def step(x: Any, y: Any) -> Any:
        logits = model(x)
        loss = lib.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Built(model, step, tuple(lib.given(a) for a in arrays))


def mlp(lib: Library, s: Sizes) -> Built:
    nn = lib.nn
    model = nn.Sequential(nn.Linear(s["inputs"], s["hidden"]), nn.ReLU(), nn.Linear(s["hidden"], 10))
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    return classifier(lib, model, optimizer, _rng(s["batch"], s["inputs"]), _labels(10, s["batch"]))


def cnn(lib: Library, s: Sizes) -> Built:
    nn, c, side = lib.nn, s["channels"], s["side"]
    model = nn.Sequential(
        nn.Conv2d(3, c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c, 2 * c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * c * (side // 4) ** 2, 10),
    )  # fmt: skip
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    return classifier(lib, model, optimizer, _rng(s["batch"], 3, side, side), _labels(10, s["batch"]))


def lstm(lib: Library, s: Sizes) -> Built:
    nn = lib.nn

    class Network(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(s["width"], s["width"], batch_first=True)
            self.head = nn.Linear(s["width"], 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0])

    model = Network()
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    x = _rng(s["batch"], s["length"], s["width"])
    return classifier(lib, model, optimizer, x, _labels(10, s["batch"], s["length"]))


def gpt(lib: Library, s: Sizes) -> Built:
    """GPT-2's block: norms before, GELU, learned positions, a head of its own."""
    nn, f, d, heads = lib.nn, lib.functional, s["width"], s["heads"]

    class Block(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = (y.reshape(b, t, heads, d // heads).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(d, -1))
            mixed = f.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
            return x + self.down(f.gelu(self.up(self.norm2(x))))

    class Gpt(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(s["vocabulary"], d), nn.Embedding(s["length"], d)
            self.blocks = nn.ModuleList([Block() for _ in range(s["layers"])])
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, s["vocabulary"], bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    model = Gpt()
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
    ids = _labels(s["vocabulary"], s["batch"], s["length"] + 1)
    return classifier(lib, model, optimizer, ids[:, :-1].copy(), ids[:, 1:].copy())


def gpt_amp(lib: Library, s: Sizes) -> Built:
    """`gpt` with its forward under bf16 autocast."""
    made = gpt(lib, s)
    plain = made.model.forward

    def forward(ids: Any) -> Any:
        with lib.root.amp.autocast("cpu", dtype=lib.root.bfloat16):
            return plain(ids)

    made.model.forward = forward
    return made


def chain(lib: Library, s: Sizes) -> Built:
    """Ten element-wise functions, read at the end."""

    def step(x: Any) -> Any:
        y = ((x * 0.5 + 1.0).relu() - 0.25) * x
        z = ((y.tanh() + x).abs() * 0.75 - y).sigmoid()
        return lib.taken(z)

    return Built(None, step, (lib.given(_rng(s["count"])),))


def gpt_flops(s: Sizes) -> int:
    """Of the products of a step: each takes two operations for a multiply-add, and three products in all. Of attention
    all scores, those behind the diagonal too."""
    tokens, d = s["batch"] * s["length"], s["width"]
    matrices = s["layers"] * 12 * d * d + d * s["vocabulary"]
    return 6 * tokens * (matrices + s["layers"] * 2 * s["length"] * d)


GPT = {"layers": 4, "width": 256, "heads": 4, "length": 256, "batch": 8, "vocabulary": 1024}
MLP = {"inputs": 784, "hidden": 256, "batch": 64}
CNN = {"channels": 32, "side": 32, "batch": 64}
LSTM = {"width": 256, "length": 64, "batch": 32}

WORKLOADS = (
    Workload("mlp 784-256-10 B=64 Adam", mlp, MLP, flops=lambda s: 6 * s["batch"] * s["hidden"] * (s["inputs"] + 10)),
    Workload("cnn 32x32x3 B=64 Adam", cnn, CNN),
    Workload("gpt 4x256 T=256 B=8 AdamW", gpt, GPT, flops=gpt_flops),
    Workload("gpt 4x256 T=256 B=8 AdamW bf16", gpt_amp, GPT, flops=gpt_flops, amp=True),
    Workload("lstm 256 T=64 B=32 Adam", lstm, LSTM,
             flops=lambda s: 6 * s["batch"] * s["length"] * s["width"] * (8 * s["width"] + 10)),
    Workload("mlp loop without compile", mlp, MLP, compiled=False),
    Workload("cnn loop without compile", cnn, CNN, compiled=False),
    Workload("gpt loop without compile", gpt, GPT, compiled=False, flops=gpt_flops),
    Workload("lstm loop without compile", lstm, LSTM, compiled=False),
    Workload("chain of 10 ops on 4096 floats", chain, {"count": 4096}, compiled=False),
)  # fmt: skip


def copy_parameters(source: Library, model: Any, target: Library, other: Any) -> None:
    """Give a model of another library the same first weights."""
    if model is None:
        return
    arrays = {name: source.taken(p).copy() for name, p in model.state_dict().items()}
    other.load_state_dict({name: target.given(a) for name, a in arrays.items()})
