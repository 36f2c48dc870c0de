"""The train suite's workloads: models and steps written once, over PyTorch's names, and run by heliostat and by torch.

A workload is a function of a `Library`; `sizes` are its numbers, which tests make small. `WORKLOADS` are for CPUs,
`CUDA_WORKLOADS` for GPUs. What times them is `bench.train`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .peer import PeerError, torch_with_cuda

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = Mapping[str, Any]


class Library(NamedTuple):
    """PyTorch's names, ours or its own. `given` makes a tensor on `device`, `taken` an array of a tensor."""

    name: str
    root: Any
    nn: Any
    functional: Any
    optim: Any
    given: Callable[[Array], Any]
    taken: Callable[[Any], Array]
    device: str = "cpu"

    @property
    def on_gpu(self) -> bool:
        """Whether tensors lie on a GPU, so that a step is given to it and not waited for."""
        return self.device != "cpu"


def heliostat(device: str = "cpu") -> Library:
    """Ours, with tensors on `device`."""
    import heliostat as root

    from .. import nn, optim
    from ..nn import functional

    return _library("heliostat", root, nn, functional, optim, device)


def torch(threads: int, device: str = "cpu") -> Library:
    """PyTorch on so many threads, with tensors on `device`. Raises PeerError where it, or its CUDA, is missing."""
    if device != "cpu":
        root = torch_with_cuda()
        root.cuda.init()  # its memory can be asked about from here on
    else:
        try:
            import torch as installed
        except ImportError:
            raise PeerError("PyTorch is not installed", help="pip install torch") from None
        root = installed
    root.set_num_threads(threads)
    return _library("torch", root, root.nn, root.nn.functional, root.optim, device)


def _library(name: str, root: Any, nn: Any, functional: Any, optim: Any, device: str) -> Library:
    return Library(
        name, root, nn, functional, optim, lambda a: root.from_numpy(a).to(device),
        lambda t: np.asarray(t.detach().cpu().numpy()), device,
    )  # fmt: skip


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


def _placed(lib: Library, model: Any) -> Any:
    """The model on the library's device, before an optimizer looks at its parameters."""
    return model.to(lib.device) if lib.on_gpu else model


def mlp(lib: Library, s: Sizes) -> Built:
    nn = lib.nn
    model = _placed(lib, nn.Sequential(nn.Linear(s["inputs"], s["hidden"]), nn.ReLU(), nn.Linear(s["hidden"], 10)))
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    return classifier(lib, model, optimizer, _rng(s["batch"], s["inputs"]), _labels(10, s["batch"]))


def cnn(lib: Library, s: Sizes) -> Built:
    nn, c, side = lib.nn, s["channels"], s["side"]
    model = _placed(lib, nn.Sequential(
        nn.Conv2d(3, c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c, 2 * c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * c * (side // 4) ** 2, 10),
    ))  # fmt: skip
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

    model = _placed(lib, Network())
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    x = _rng(s["batch"], s["length"], s["width"])
    return classifier(lib, model, optimizer, x, _labels(10, s["batch"], s["length"]))


def gpt(lib: Library, s: Sizes) -> Built:
    """GPT-2's block: norms before, GELU, learned positions. The head is its own, or with "tied" the table of
    tokens; weights then are GPT-2's first ones, normal with a deviation of 0.02."""
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
    if s.get("tied"):
        model.head.weight = model.tokens.weight
        for p in model.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)
    model = _placed(lib, model)
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
    ids = _labels(s["vocabulary"], s["batch"], s["length"] + 1)
    return classifier(lib, model, optimizer, ids[:, :-1].copy(), ids[:, 1:].copy())


def resnet(lib: Library, s: Sizes) -> Built:
    """ResNet-50's network with "blocks" bottlenecks in each of its four stages, channels as they come, SGD with
    momentum. Source: arXiv 1512.03385, with the stride in the middle convolution."""
    nn, width = lib.nn, s["width"]

    class Bottleneck(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self, inputs: int, inner: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * inner

            def normed(*args: int, **kwargs: int) -> list[Any]:
                return [nn.Conv2d(*args, **kwargs, bias=False), nn.BatchNorm2d(args[1])]

            self.body = nn.Sequential(
                *normed(inputs, inner, 1), nn.ReLU(), *normed(inner, inner, 3, stride=stride, padding=1), nn.ReLU(),
                *normed(inner, outputs, 1),
            )  # fmt: skip
            same = inputs == outputs and stride == 1
            self.beside = nn.Identity() if same else nn.Sequential(*normed(inputs, outputs, 1, stride=stride))
            self.last = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.last(self.body(x) + self.beside(x))

    parts: list[Any] = [
        nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]  # fmt: skip
    channels = width
    for stage, count in enumerate(s["blocks"]):
        for block in range(count):
            parts.append(Bottleneck(channels, width << stage, 2 if stage and not block else 1))
            channels = 4 * (width << stage)
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, s["classes"])]
    model = _placed(lib, nn.Sequential(*parts))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = _rng(s["batch"], 3, s["side"], s["side"])
    return classifier(lib, model, optimizer, x, _labels(s["classes"], s["batch"]))


def under_autocast(build: Callable[[Library, Sizes], Built]) -> Callable[[Library, Sizes], Built]:
    """The workload with its forward under bf16 autocast."""

    def built(lib: Library, s: Sizes) -> Built:
        made = build(lib, s)
        plain = made.model.forward

        def forward(x: Any) -> Any:
            with lib.root.amp.autocast(lib.device.partition(":")[0], dtype=lib.root.bfloat16):
                return plain(x)

        made.model.forward = forward
        return made

    return built


gpt_amp = under_autocast(gpt)
resnet_amp = under_autocast(resnet)


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
    return int(6 * tokens * (matrices + s["layers"] * 2 * s["length"] * d))


def resnet_flops(s: Sizes) -> int:
    """Of the products of a step, as for `gpt_flops`; the first convolution has no gradient by its input."""
    width, side = s["width"], s["side"] // 2
    first = 49 * 3 * width * side * side
    total, channels, side = 3 * first - first, width, side // 2
    for stage, count in enumerate(s["blocks"]):
        inner = width << stage
        for block in range(count):
            before, side = side, side // 2 if stage and not block else side
            total += 3 * inner * (channels * before * before + (9 * inner + 4 * inner) * side * side)
            total += 3 * 4 * inner * channels * side * side * (not block)
            channels = 4 * inner
    return int(2 * s["batch"] * (total + 3 * channels * s["classes"]))


GPT = {"layers": 4, "width": 256, "heads": 4, "length": 256, "batch": 8, "vocabulary": 1024}
MLP = {"inputs": 784, "hidden": 256, "batch": 64}
CNN = {"channels": 32, "side": 32, "batch": 64}
LSTM = {"width": 256, "length": 64, "batch": 32}

GPT2 = {"layers": 12, "width": 768, "heads": 12, "length": 1024, "batch": 16, "vocabulary": 50304, "tied": True}
RESNET = {"width": 64, "blocks": (3, 4, 6, 3), "side": 224, "batch": 64, "classes": 1000}

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

CUDA_WORKLOADS = (
    Workload("gpt-2 124M T=1024 B=16 AdamW bf16", gpt_amp, GPT2, flops=gpt_flops, amp=True),
    Workload("resnet-50 3x224x224 B=64 SGD bf16", resnet_amp, RESNET, flops=resnet_flops, amp=True),
)


def copy_parameters(source: Library, model: Any, target: Library, other: Any) -> None:
    """Give a model of another library the same first weights."""
    if model is None:
        return
    arrays = {name: source.taken(p).copy() for name, p in model.state_dict().items()}
    other.load_state_dict({name: target.given(a) for name, a in arrays.items()})
