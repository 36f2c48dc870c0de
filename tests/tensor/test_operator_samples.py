"""PyTorch's own samples of its operators (`op_db`, what it tests itself with), with gradients: one of each tenth
operator; HELIOSTAT_OPERATOR_SAMPLES=30 takes up to thirty of all."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
import heliostat.fft
import heliostat.linalg
import heliostat.nn.functional
import heliostat.signal
import heliostat.special
from heliostat.diagnostics import HeliostatError

from .compare import same, torch

COUNT = int(os.environ.get("HELIOSTAT_OPERATOR_SAMPLES", "0"))
FN = hs.nn.functional

ELSEWHERE = ("sparse", "jiterator", "_", "torch.", "masked.", "to_sparse", "native_", "unsafe_")
"""Beginnings of names of what is not public, or of a library of its own."""

APART = {
    "random": "cauchy exponential geometric log_normal normal uniform randn randn_like rand_like randint",
    "random too": "randint_like multinomial bernoulli svd_lowrank pca_lowrank nn.functional.rrelu",
    "random windows": "nn.functional.fractional_max_pool2d",
    "and these": "nn.functional.fractional_max_pool3d nn.functional.multi_head_attention_forward nn.functional.dropout",
    "dropout": "nn.functional.scaled_dot_product_attention nn.functional.alpha_dropout nn.functional.dropout2d",
    "of others": "nn.functional.dropout3d nn.functional.feature_alpha_dropout",
    "nobody wrote it": "empty empty_like new_empty new_empty_strided empty_strided empty_permuted resize_ resize_as_",
    "signs and orders are open": "linalg.eig linalg.eigvals linalg.eigh svd linalg.svd qr linalg.qr geqrf",
    "not there": "slice constant_pad_nd hash_tensor grid_sampler_2d grid_sampler_3d chalf split_with_sizes",
    "nor these": "max_pool2d_with_indices_backward nn.functional.linear_cross_entropy",
    "methods of PyTorch's class, or its tests' own": "bfloat16 cfloat cdouble linalg.pinv linalg.lstsq",
    "documented differences": "as_strided as_strided_scatter histogramdd nn.functional.ctc_loss cdist",
    "gradients of both triangles, or of counts": "cholesky_inverse cholesky_solve nn.functional.pdist",
}
"""Operators that are not compared, by the reason."""

CALLS: dict[str, Callable[..., Any]] = {
    "where": lambda x, condition, other: hs.where(condition, x, other), "einsum": lambda xs, text: hs.einsum(text, *xs),
    "polygamma": lambda x, n: hs.polygamma(n, x), "special.polygamma": lambda x, n: hs.special.polygamma(n, x),
    "nn.functional.embedding": lambda w, at, **k: FN.embedding(at, w, **k),
    "nn.functional.embedding_bag": lambda w, at, **k: FN.embedding_bag(at, w, **k),
    "item": lambda x: x.item(), "fill": lambda x, value: x.clone().fill_(value), "zero_": lambda x: x.clone().zero_(),
    "nn.functional.triplet_margin_with_distance_loss": lambda *xs, distance_function=None, **k: (
        FN.triplet_margin_with_distance_loss(*xs, **k)
    ),
}  # fmt: skip
"""Operators whose samples have other arguments than the function."""


def ours(x: Any) -> Any:
    """PyTorch's values as Heliostat's."""
    if isinstance(x, torch.Tensor):
        y = hs.tensor(x.detach().resolve_conj().resolve_neg().numpy())
        return y.requires_grad_() if x.requires_grad else y
    if isinstance(x, torch.dtype | torch.memory_format):
        return getattr(hs, str(x).partition(".")[2])
    if isinstance(x, torch.device):
        return str(x)
    if isinstance(x, torch.layout):
        return None
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, list | tuple):
        return type(x)(map(ours, x))
    return {k: ours(v) for k, v in x.items()} if isinstance(x, dict) else x


def flat(x: Any) -> list[Any]:
    if isinstance(x, list | tuple):
        return [z for y in x for z in flat(y)]
    return [z for y in x.values() for z in flat(y)] if isinstance(x, dict) else [x]


def functions(op: Any) -> list[Callable[..., Any]]:
    """The function of the same name, and where it is a method the text of PyTorch's sample, which calls it."""
    if op.name in CALLS:
        return [CALLS[op.name]]
    found: Any = hs
    for part in op.name.split("."):
        found = getattr(found, part, None)
    inline = op.op.__name__ == "<lambda>" if hasattr(op.op, "__name__") else False
    return [*([op.op] if inline or not callable(found) else []), *([found] if callable(found) else [])]


def called(op: Any, sample: Any) -> Any:
    for f in (candidates := functions(op)):
        try:
            return f(sample[0], *sample[1], **sample[2])
        except TypeError as error:
            if f is candidates[-1] or "Tensor" not in str(error):
                raise
    raise AssertionError("no function")


@pytest.mark.filterwarnings("ignore")
def test_equal_pytorch() -> None:
    pytest.importorskip("expecttest", reason="PyTorch's samples of operators need the package expecttest")
    from torch.testing._internal.common_methods_invocations import op_db  # takes 5 seconds, not from all who collect

    apart, wrong = {name for names in APART.values() for name in names.split()}, []
    for op in op_db:
        name = ".".join(filter(None, (op.name, op.variant_test_name)))
        number = zlib.crc32(name.encode())
        if op.name in apart or op.name.startswith(ELSEWHERE) or op.name.endswith("_copy"):
            continue
        if torch.float32 not in op.dtypes or (not COUNT and number % 10):
            continue
        samples = list(
            itertools.islice(op.sample_inputs("cpu", torch.float32, requires_grad=op.supports_autograd), 300)
        )
        many = min(COUNT or 1, len(samples))
        for i in range(many):
            try:
                check(op, samples[(number + i * len(samples) // many) % len(samples)])
            except (AssertionError, HeliostatError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                wrong.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    assert not wrong, "\n".join(wrong)


def check(op: Any, sample: Any) -> None:
    given = (sample.input, list(sample.args), sample.kwargs)
    expected = op.op(given[0], *given[1], **given[2])
    inputs = ours(given)
    found = called(op, inputs)
    results, wanted = flat(found), flat(expected)
    assert len(results) == len(wanted)
    for x, y in zip(results, wanted, strict=True):
        same_size(x, y)
    pairs = [(x, y) for x, y in zip(results, wanted, strict=True) if isinstance(y, torch.Tensor) and y.requires_grad]
    leaves = [
        (x, y)
        for x, y in zip(flat(inputs), flat(given), strict=True)
        if isinstance(y, torch.Tensor) and y.requires_grad
    ]
    if not pairs or not leaves:
        return
    draw = np.random.default_rng(0)
    seeds = [torch.from_numpy(draw.standard_normal(tuple(y.shape))).to(y.dtype) for _, y in pairs]
    try:
        slopes = torch.autograd.grad([y for _, y in pairs], [y for _, y in leaves], seeds, allow_unused=True)
    except RuntimeError:
        return  # PyTorch has none
    made = [(x, g) for (x, _), g in zip(pairs, seeds, strict=True) if x.requires_grad]
    mine = hs.autograd.grad(
        [x for x, _ in made], [x for x, _ in leaves], [ours(g) for _, g in made], allow_unused=True
    ) if made else [None] * len(leaves)  # fmt: skip
    for x, y in zip(mine, slopes, strict=True):
        if x is None or y is None:  # no influence, or a gradient of zeros
            assert not any(bool(g.abs().any()) for g in (x, y) if g is not None)
        else:
            same_size(x, y)


def same_size(found: Any, expected: Any) -> None:
    """`same`, near for the size of the largest element."""
    if isinstance(expected, torch.Tensor) and (expected.is_floating_point() or expected.is_complex()):
        expected = expected.detach().resolve_conj().resolve_neg()
        sizes = expected.abs()[expected.isfinite()]
        size = max(1.0, float(sizes.max())) if sizes.numel() else 1.0
        same(found / size, expected / size, 1e-4)
    else:
        same(found, expected)
