"""Every function, module, optimizer and sample on a GPU against the cpu, with gradients. What computes on the host has
to refuse by name. Without a GPU `test_cuda.py` looks at where results lie, and runs some of it by the interpreter."""

from __future__ import annotations

import copy
import functools
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat import nn, optim
from heliostat.diagnostics import HeliostatError, UnsupportedError
from heliostat.nn import functional as F
from heliostat.tensor import FUNCTIONS, METHODS
from targets.gpus import gpu

from .patterns import PATTERNS, X, Y, Z

TOGETHER = 40  # cases of one program
PARTS = 14  # of the functions, for as many processes
BOUND = 2e-4  # of the largest number of a result, and of each
ROOMS: dict[str, Any] = {"hs": FUNCTIONS, "functional": F, "special": hs.special, "linalg": hs.linalg, "fft": hs.fft}
OTHER = {
    "tensor",
    "as_tensor",
    "asarray",
    "scalar_tensor",
    "save",
    "load",
    "seed",
    "manual_seed",
    "initial_seed",
    "get_rng_state",
    "set_rng_state",
    "compile",
    "from_numpy",
    "frombuffer",
    "from_dlpack",
    "empty",
    "empty_like",
    "empty_strided",
    "empty_permuted",  # any numbers
    "cpu",
    "lobpcg",
    "pca_lowrank",
    "svd_lowrank",
    "svd",
    "eig",
    "eigh",
    "eigvals",  # open in signs or order: test_gpu_matrices.py
}
HOST = "copy it by .cpu() first"  # what refusals say of functions that compute there
Case = tuple[str, Callable[[], list[hs.Tensor]]]


@pytest.fixture
def device() -> Iterator[str]:
    with gpu("real"):
        yield "cuda"


def tensors(y: Any) -> list[hs.Tensor]:
    if isinstance(y, hs.Tensor):
        return [y]
    if isinstance(y, dict):
        y = list(y.values())
    return [t for e in y for t in tensors(e)] if isinstance(y, list | tuple) else []


def with_gradients(made: Sequence[hs.Tensor], inputs: Sequence[hs.Tensor]) -> list[hs.Tensor]:
    """Results, and the gradients of a sum of theirs by what they were made of, where there are any."""
    parts = [t for t in made if t.requires_grad and not t.is_complex()]
    if not parts:
        return list(made)
    total = sum((t * (t.detach() + 0.5)).sum() for t in parts)
    try:
        grads = hs.autograd.grad(total, [t for t in inputs if t.requires_grad], allow_unused=True)
    except HeliostatError as error:  # there is none, or it is computed on the host
        if HOST in str(error):
            raise
        return list(made)
    return [*made, *(g for g in grads if g is not None)]


def calls(part: int) -> Iterator[Case]:
    """Every public function and method of one of PARTS that can be called in one of the usual ways."""
    found: dict[str, Any] = {}
    for room, names in ROOMS.items():
        listed = (
            names if isinstance(names, dict) else {n: getattr(names, n) for n in getattr(names, "__all__", dir(names))}
        )
        found |= {f"{room}.{n}": f for n, f in listed.items() if callable(f) and n not in OTHER and n[0] != "_"}
    for name in METHODS:
        if name not in FUNCTIONS and not name.startswith("_") and name not in OTHER:
            found[f"Tensor.{name}"] = lambda x, *rest, name=name: getattr(x * 1, name)(*rest)
    for name, f in sorted(found.items())[part::PARTS]:
        if isinstance(f, type | types.ModuleType):
            continue
        for pattern in PATTERNS.values():

            def case(f: Any = f, pattern: Any = pattern) -> list[hs.Tensor]:
                hs.manual_seed(0)
                x, y, z = (hs.tensor(a[0], dtype=hs.float32).requires_grad_() for a in (X, Y, Z))
                return with_gradients(tensors(pattern(f, hs, x, y, z)), (x, y, z))

            try:
                if not case():
                    continue
            except Exception:  # it is not called so
                continue
            yield name, case
            break


IDS = np.array([[0, 4, 2], [1, 1, 3]])
MODULES: dict[str, tuple[Any, Any]] = {
    "AdaptiveAvgPool2d": ((3,), (2, 2, 7, 5)),
    "AdaptiveMaxPool2d": ((3,), (2, 2, 7, 5)),
    "AvgPool3d": ((2,), (1, 2, 4, 4, 4)),
    "AlphaDropout": ((0.4,), (4, 5)),
    "BatchNorm1d": ((3,), (4, 3, 5)),
    "BatchNorm3d": ((2,), (2, 2, 3, 3, 3)),
    "Bilinear": ((3, 4, 2), [(5, 3), (5, 4)]),
    "ChannelShuffle": ((2,), (1, 4, 2, 2)),
    "CircularPad2d": ((1,), (1, 2, 3, 3)),
    "Conv1d": ((3, 4, 3), (2, 3, 7)),
    "Conv2d": ((4, 6, 3, 2, 1, 1, 2), (2, 4, 7, 7)),
    "Conv3d": ((2, 3, 2), (1, 2, 4, 4, 4)),
    "ConvTranspose1d": ((3, 4, 3, 2), (2, 3, 5)),
    "ConvTranspose3d": ((2, 3, 2), (1, 2, 3, 3, 3)),
    "CosineSimilarity": ((1,), [(4, 5), (4, 5)]),
    "CrossMapLRN2d": ((3,), (2, 4, 3, 3)),
    "Dropout2d": ((0.5,), (2, 6, 3, 3)),
    "ELU": ((), (3, 4)),
    "Embedding": ((5, 4), IDS),
    "EmbeddingBag": ((5, 4), IDS),
    "FeatureAlphaDropout": ((0.5,), (2, 6, 3, 3)),
    "Fold": (((4, 4), 2), (1, 8, 9)),
    "Unfold": ((2,), (1, 2, 4, 4)),
    "GLU": ((), (3, 4)),
    "GRU": ((3, 4, 2), (5, 2, 3)),
    "GRUCell": ((3, 4), (2, 3)),
    "GroupNorm": ((2, 4), (2, 4, 3)),
    "Hardswish": ((), (3, 4)),
    "InstanceNorm2d": ((2,), (2, 2, 4, 4)),
    "LPPool2d": ((2, 2), (1, 2, 4, 4)),
    "LSTM": ((3, 4), (5, 2, 3)),
    "LSTMCell": ((3, 4), (2, 3)),
    "LayerNorm": ((6,), (4, 6)),
    "Linear": ((5, 3), (4, 5)),
    "LocalResponseNorm": ((2,), (2, 4, 3, 3)),
    "LogSoftmax": ((1,), (3, 5)),
    "MaxPool2d": ((3, 2, 1), (2, 2, 7, 7)),
    "Mish": ((), (3, 4)),
    "MultiheadAttention": ((8, 2), [(3, 2, 8)] * 3),
    "NoisyLinear": ((5, 3), (4, 5)),
    "PReLU": ((), (3, 4)),
    "PixelShuffle": ((2,), (1, 4, 2, 2)),
    "PixelUnshuffle": ((2,), (1, 1, 4, 4)),
    "RMSNorm": ((6,), (4, 6)),
    "RNN": ((3, 4), (5, 2, 3)),
    "RReLU": ((), (3, 4)),
    "ReflectionPad2d": ((1,), (1, 2, 3, 3)),
    "ReplicationPad3d": ((1,), (1, 1, 2, 2, 2)),
    "Softmax2d": ((), (2, 3, 2, 2)),
    "Softplus": ((), (3, 4)),
    "Threshold": ((0.1, 2.0), (3, 4)),
    "TransformerDecoderLayer": ((8, 2, 12, 0.0), [(3, 2, 8), (4, 2, 8)]),
    "TransformerEncoderLayer": ((8, 2, 12, 0.0), (3, 2, 8)),
    "Upsample": ((None, 2, "bilinear"), (1, 2, 3, 3)),
    "UpsamplingNearest2d": ((None, 2), (1, 2, 3, 3)),
    "ZeroPad2d": ((1,), (1, 2, 3, 3)),
    "FractionalMaxPool2d": ((2, 3), (1, 2, 7, 7)),
    "VectorQuantizer": ((6, 4), (5, 4)),
    "BCEWithLogitsLoss": ((), [(4, 3), (4, 3)]),
    "GaussianNLLLoss": ((), [(4, 3), (4, 3), "positive"]),
    "HuberLoss": ((), [(4, 3), (4, 3)]),
    "KLDivLoss": ((), [(4, 3), "positive"]),
    "MultiMarginLoss": ((), [(4, 3), np.array([0, 2, 1, 1])]),
    "NLLLoss": ((), [(4, 3), np.array([0, 2, 1, 1])]),
    "MultiLabelSoftMarginLoss": ((), [(4, 3), (4, 3)]),
    "PoissonNLLLoss": ((), [(4, 3), "positive"]),
    "SoftMarginLoss": ((), [(4, 3), (4, 3)]),
    "TripletMarginLoss": ((), [(4, 3)] * 3),
    "CosineEmbeddingLoss": ((), [(4, 3), (4, 3), np.array([1, -1, 1, -1])]),
    "MarginRankingLoss": ((), [(4,), (4,), np.array([1, -1, 1, -1])]),
    "AdaptiveLogSoftmaxWithLoss": ((6, 9, [3]), [(4, 6), np.array([0, 8, 4, 2])]),
}


def modules() -> Iterator[Case]:
    for name, (args, shapes) in MODULES.items():
        hs.manual_seed(3)
        with hs.device("cpu"):
            first = getattr(nn, name)(*args)

        def case(first: nn.Module = first, shapes: Any = shapes) -> list[hs.Tensor]:
            hs.manual_seed(4)
            net = copy.deepcopy(first).to(hs.get_default_device())
            inputs = []
            for n, spec in enumerate(shapes if isinstance(shapes, list) else [shapes]):
                if isinstance(spec, np.ndarray):
                    inputs.append(hs.tensor(spec))
                    continue
                drawn = np.random.default_rng(n).standard_normal((4, 3) if spec == "positive" else spec)
                inputs.append(hs.tensor((np.abs(drawn) + 0.1 if spec == "positive" else drawn).astype(np.float32)))
            for x in inputs:
                x.requires_grad_(x.dtype.is_float)
            made = with_gradients(tensors(net(*inputs)), [*inputs, *net.parameters()])
            return [*made, *(b for b in net.buffers() if b is not None)]

        yield name, case


def optimizers() -> Iterator[Case]:
    for name in sorted(optim.__all__):
        make = getattr(optim, name)
        if not isinstance(make, type) or not issubclass(make, optim.Optimizer) or name in ("Optimizer", "LBFGS"):
            continue

        def case(make: Any = make) -> list[hs.Tensor]:
            start = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
            w = hs.tensor(start).requires_grad_()
            optimizer = make([w], lr=0.05)
            for _ in range(3):
                optimizer.zero_grad()
                ((w * w).sum() * 0.5 + w.sin().sum()).backward()
                optimizer.step()
            return [w.detach(), *tensors(dict(optimizer.state[w]))]

        yield name, case


def samples() -> Iterator[Case]:
    a, b = np.array([0.3, 2.0, 40.0], np.float32), np.array([1.5, 0.5, 9.0], np.float32)
    made: dict[str, Callable[[hs.Tensor, hs.Tensor], Any]] = {
        "Gamma": D.Gamma,
        "Beta": D.Beta,
        "Chi2": lambda a, b: D.Chi2(a),
        "Poisson": lambda a, b: D.Poisson(a * 10),
        "Binomial": lambda a, b: D.Binomial(hs.tensor([5.0, 400.0, 3.0]), a / 50),
        "Dirichlet": lambda a, b: D.Dirichlet(a),
        "VonMises": lambda a, b: D.VonMises(b, a),
        "StudentT": lambda a, b: D.StudentT(a + 1),
        "Normal": D.Normal,
        "Laplace": D.Laplace,
        "Gumbel": D.Gumbel,
        "Categorical": lambda a, b: D.Categorical(a),
        "Geometric": lambda a, b: D.Geometric(a / 50),
        "NegativeBinomial": lambda a, b: D.NegativeBinomial(b, a / 50),
        "Weibull": D.Weibull,
        "InverseGamma": D.InverseGamma,
        "LogNormal": D.LogNormal,
        "Cauchy": D.Cauchy,
        "Bernoulli": lambda a, b: D.Bernoulli(a / 50),
        "Kumaraswamy": D.Kumaraswamy,
    }
    for name, make in made.items():

        def case(make: Any = make) -> list[hs.Tensor]:
            hs.manual_seed(7)
            first, second = (hs.tensor(v).requires_grad_() for v in (a, b))
            d = make(first, second)
            x = d.rsample((5,)) if d.has_rsample else d.sample((5,))
            return [*with_gradients([d.log_prob(x.detach())], [first, second]), x.detach()]

        yield name, case


def apart(a: hs.Tensor, b: hs.Tensor) -> str:
    """How a result of the GPU differs from the cpu's; "" where it does not."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{a.dtype} {tuple(a.shape)}, on the cpu {b.dtype} {tuple(b.shape)}"
    if a.is_complex():
        a, b = hs.view_as_real(a), hs.view_as_real(b)
    x, y = (t.detach().to(hs.float64).cpu().numpy() for t in (a, b))
    finite = np.isfinite(y)
    size = max(1.0, float(np.abs(y[finite]).max(initial=0.0)))
    same = np.isclose(x, y, rtol=BOUND, atol=BOUND * size, equal_nan=True)
    return "" if same.all() else f"{x.reshape(-1)[:4]}, on the cpu {y.reshape(-1)[:4]}"


def differences(cases: Sequence[Case], device: str) -> tuple[dict[str, str], dict[str, str]]:
    """What is wrong, by name, and what is refused. Cases are computed together, and one by one where that fails."""
    wrong: dict[str, str] = {}
    refused: dict[str, str] = {}
    pairs = []
    for name, case in cases:
        with hs.device("cpu"):
            there = case()
        try:
            with hs.device(device):
                here = case()
        except UnsupportedError as error:
            refused[name] = str(error)
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"
        else:
            pairs.append((name, here, there))
    try:
        hs.cuda.synchronize()
        found = [(name, _compared(here, there)) for name, here, there in pairs]
    except Exception as error:
        if len(cases) == 1:
            return {**wrong, cases[0][0]: f"{type(error).__name__}: {error}"}, refused
        del pairs
        for one in cases:
            a, b = differences([one], device)
            wrong |= a
            refused |= b
        return wrong, refused
    return wrong | {name: text for name, text in found if text}, refused


def _compared(here: list[hs.Tensor], there: list[hs.Tensor]) -> str:
    if len(here) != len(there):
        return f"{len(here)} results, on the cpu {len(there)}"
    places = {str(t.device) for t in here}
    if places - {"cuda:0"}:
        return f"lies on {places}"
    return "; ".join(filter(None, map(apart, here, there)))


KINDS: dict[str, Callable[[], Iterator[Case]]] = {
    **{f"calls-{part}": functools.partial(calls, part) for part in range(PARTS)},
    "modules": modules,
    "optimizers": optimizers,
    "samples": samples,
}


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS], ids=str)
def test_everything_equals_the_cpu(device: str, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = list(KINDS[kind]())
    wrong: dict[str, str] = {}
    refused: dict[str, str] = {}
    for at in range(0, len(cases), TOGETHER):
        a, b = differences(cases[at : at + TOGETHER], device)
        wrong |= a
        refused |= b
    print(f"{kind}: {len(cases)} cases, {len(refused)} run on the host: {' '.join(sorted(refused))}")
    assert not wrong, "\n".join(f"{name}: {text[:300]}" for name, text in wrong.items())
    assert [f"{name}: {text}" for name, text in refused.items() if HOST not in text] == []
    assert kind.startswith("calls") or not refused
