"""Products of float32 on tensor cores, where less than all bits are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import ops
from heliostat.compiler import float_parts
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f32, tensor
from heliostat.session.devices import Float32Products
from heliostat.targets.target import cuda_target
from targets.device import RUNNERS, Runner
from targets.gpus import KINDS, gpu

BITS = {
    "bf16x3": 15,
    "tf32": 10,
    "medium": 7,
}  # of a sum of products of the operands' sizes: one fewer than an operand keeps

Product = Callable[[Value, Value], Value]
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], Product]] = {
    "rows": ((48, 64), (64, 72), ops.matmul),
    "a transposed": ((64, 40), (64, 24), lambda a, b: ops.matmul(ops.transpose(a), b)),
    "b transposed": ((40, 64), (32, 64), lambda a, b: ops.matmul(a, ops.transpose(b))),
    "a batch": ((3, 16, 32), (3, 32, 16), ops.matmul),
    "rows of a batch": ((2, 24, 64), (64, 16), ops.matmul),
}


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products too."""
    monkeypatch.setattr(float_parts, "LEAST", 0)


def kernels(a: tuple[int, ...], b: tuple[int, ...], product: Product, capability: tuple[int, int], how: str) -> str:
    x, y = parameter("a", tensor(f32, *a)), parameter("b", tensor(f32, *b))
    graph = Graph("f", [x, y], [product(x, y)])
    made = compile_graph(graph, cuda_target(capability), Options(float32_products=how), KernelLibrary())
    return " ".join(k.name for k in made.program.kernels)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("how", BITS)
@pytest.mark.parametrize("case", CASES)
def test_products_keep_their_bits(case: str, how: str, run: Runner) -> None:
    a, b, product = CASES[case]
    assert "warp" in kernels(a, b, product, (9, 0), how)
    assert "warp" in kernels(a, b, product, (8, 0), how)
    rng = np.random.default_rng(len(case))
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in (a, b))
    graph = Graph("f", [u := parameter("a", tensor(f32, *a)), v := parameter("b", tensor(f32, *b))], [product(u, v)])
    (found,) = partial(run, options=Options(float32_products=how))(graph, {"a": x, "b": y}, {})
    wide = [np.abs(x.astype(np.float64)), np.abs(y.astype(np.float64))]
    turned = {"a transposed": ("km,kn->mn"), "b transposed": ("mk,nk->mn")}.get(case, "...mk,...kn->...mn")
    size = np.einsum(turned, *wide)
    wanted = np.einsum(turned, x.astype(np.float64), y.astype(np.float64))
    far = np.abs(found - wanted) / size
    assert far.max() < 2.0 ** -BITS[how]
    if how == "bf16x3":  # and more than one part keeps
        assert far.max() < 2.0**-12


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(("how", "bits"), [("bf16x3", 13), ("tf32", 10)])
def test_what_is_not_finite_stays_what_it_is(how: str, bits: int) -> None:
    """One infinity in a row or a column makes infinities, as in exact products, and not NaN: beside elements that have
    no low part, or one of either sign."""
    x, y = np.ones((16, 16), np.float32), np.ones((16, 16), np.float32) / 3
    y[:, ::2] = 2
    y[:, 1::4] = np.float32(1) + np.float32(2**-12)
    x[3, 5], x[7, 2] = np.inf, np.nan
    y[1, 4] = -np.inf
    graph = Graph(
        "f", [u := parameter("a", tensor(f32, 16, 16)), v := parameter("b", tensor(f32, 16, 16))], [ops.matmul(u, v)]
    )
    run: Any = RUNNERS[0].values[0]
    (found,) = run(graph, {"a": x, "b": y}, {}, options=Options(float32_products=how))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, x @ y, rtol=2.0**-bits)


def test_what_stays_exact() -> None:
    a, b, product = (512, 512), (512, 512), ops.matmul
    assert "warpgroup" in kernels(a, b, product, (9, 0), "high")
    assert "warp" in kernels(a, b, product, (8, 0), "high")
    assert "warp" not in kernels(a, b, product, (9, 0), "highest")
    assert "warp" not in kernels(a, b, product, (7, 5), "high")
    assert "warp" not in kernels((64, 512), (512, 256), product, (9, 0), "medium")  # too small
    assert "warp" not in kernels((512, 511), (511, 512), product, (9, 0), "medium")  # no whole chunks


@pytest.fixture
def highest() -> Iterator[None]:
    yield
    hs.set_float32_matmul_precision("highest")
    Float32Products.convolutions = None


@pytest.mark.usefixtures("highest")
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_follow_what_is_allowed(kind: str) -> None:
    """They do as products do until they are set themselves, with their gradients."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1, 16, 4, 4), np.float32), rng.standard_normal((16, 16, 3, 3), np.float32)
    with gpu(kind):

        def run() -> list[np.ndarray[Any, Any]]:
            x, w = (hs.tensor(v, device="cuda", requires_grad=True) for v in (a, b))
            y = hs.nn.functional.conv2d(x, w, padding=1)
            y.square().sum().backward()
            return [v.detach().cpu().numpy() for v in (y, x.grad, w.grad)]

        exact = run()
        for precision, own, rounds in (("high", None, True), ("high", False, False), ("highest", True, True)):
            hs.set_float32_matmul_precision(precision)
            Float32Products.convolutions = own
            for found, wanted in zip(run(), exact, strict=True):
                far = np.abs(found - wanted).max() / np.abs(wanted).max()
                assert far < 2.0**-9
                assert (far > 2.0**-16) == rounds


@pytest.mark.usefixtures("any_size", "highest")
@pytest.mark.parametrize("kind", KINDS)
def test_programs_follow_what_is_allowed(kind: str) -> None:
    """Eager and compiled products and gradients are made anew where the precision changes, and as before behind it."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((16, 16)).astype(np.float32) for _ in "ab")
    with gpu(kind):
        compiled = hs.compile(lambda x, y: x @ y)

        def run() -> list[np.ndarray[Any, Any]]:
            x = hs.tensor(a, device="cuda", requires_grad=True)
            y = hs.tensor(b, device="cuda")
            z = x @ y
            z.square().sum().backward()
            return [v.detach().cpu().numpy() for v in (z, compiled(x.detach(), y), x.grad)]

        exact = run()
        for how, bits in BITS.items():
            hs.set_float32_matmul_precision(how)
            assert hs.get_float32_matmul_precision() == how
            for found, wanted in zip(run(), exact, strict=True):
                far = np.abs(found - wanted).max() / np.abs(wanted).max()
                assert 0 < far < 2.0 ** (1 - bits)
        hs.set_float32_matmul_precision("highest")
        for found, wanted in zip(run(), exact, strict=True):
            assert np.array_equal(found, wanted)
