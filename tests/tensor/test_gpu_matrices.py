"""Linear algebra and transforms of tensors on a GPU against the cpu: NVIDIA's libraries by stand-ins here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import (
    DeviceMismatchError,
    DeviceUnavailableError,
    DTypeError,
    IndexOutOfRangeError,
    ShapeError,
    UnsupportedError,
)
from heliostat.runtime.cuda import libraries
from heliostat.tensor.fourier import transform
from targets.gpus import KINDS, gpu, stand_in

L = hs.linalg


def stand_ins(fake: Any) -> Any:
    """What loads stand-ins of the libraries, which compute by SciPy's LAPACK."""
    pytest.importorskip("scipy")
    from runtime.cuda.fake_cusolver import FakeLibraries

    return FakeLibraries(fake.run_all).load


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with gpu(request.param) as fake:
        if fake is None:
            yield "cuda"
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(libraries, "load", stand_ins(fake))
            yield "cuda"


def drawn(*shape: int, seed: int = 0, dtype: Any = np.float64) -> hs.Tensor:
    return hs.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def positive(x: hs.Tensor) -> hs.Tensor:
    return x @ x.mT + hs.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def halves(x: hs.Tensor) -> Any:
    return (x.tril() + x.tril(-1).mT, x.triu() + x.triu(1).mT)


def up(x: hs.Tensor) -> hs.Tensor:
    return x.triu() + 3 * hs.eye(x.shape[-1], dtype=x.dtype, device=x.device)


CASES: dict[str, tuple[tuple[int, ...], Callable[[hs.Tensor], Any]]] = {
    "inverse": ((2, 5, 5), lambda x: [hs.inverse(x), L.inv_ex(x)]),
    "det": ((3, 4, 4), lambda x: [hs.det(x), *hs.slogdet(x), hs.logdet(positive(x))]),
    "cholesky": ((2, 5, 5), lambda x: [hs.cholesky(positive(x)), hs.cholesky(positive(x), upper=True)]),
    "cholesky_solve": ((4, 4), lambda x: hs.cholesky_solve(x[:, :2], positive(x).cholesky())),
    "qr": ((2, 5, 3), lambda x: [*L.qr(x), *hs.qr(x.mT.detach())]),
    "qr complete": ((5, 3), lambda x: L.qr(x.detach(), "complete")),
    "solve": ((2, 4, 4), lambda x: [L.solve(x, x[0, :, :3]), L.solve(x, x[:, 0]), L.solve(x, x, left=False)]),
    "triangles": ((2, 4, 4), lambda x: [L.solve_triangular(up(x), x, upper=True), L.solve_triangular(
        up(x).mT, x[..., :2], upper=False), L.solve_triangular(up(x), x[:, :3], upper=True, left=False)]),
    "svd": ((2, 5, 3), lambda x: [L.svdvals(x), (lambda u, s, v: (u * s[..., None, :]) @ v.mT)(*hs.svd(x)),
        *map(abs, L.svd(x.detach().mT, full_matrices=True))]),
    "pinv": ((2, 5, 3), lambda x: [hs.pinverse(x), L.pinv(x.mT, rtol=1e-3), L.matrix_rank(x)]),
    "eigh": ((2, 4, 4), lambda x: [L.eigvalsh(x), L.eigvalsh(x, "U"), *((v * w[..., None, :]) @ v.mT
        for w, v in map(L.eigh, halves(x)))]),
    "eig": ((4, 4), lambda x: (lambda w, v: hs.view_as_real(v @ hs.diag_embed(w) @ L.inv(v)))(*L.eig(x.detach()))),
    "lu": ((2, 4, 4), lambda x: [*L.lu(x), *L.lu_factor(x), L.lu_solve(*L.lu_factor(x), x)]),
    "lu wide": ((3, 5), lambda x: [*L.lu(x), *L.lu(x.mT)]),
    "reflections": ((5, 3), lambda x: [*hs.geqrf(x.detach()), hs.linalg.householder_product(*hs.geqrf(x.detach()))]),
    "lstsq": ((5, 3), lambda x: [L.lstsq(x, x[:, :2] + 1)[0], L.lstsq(x.detach(), x.detach() + 1, driver="gelsd")[1]]),
    "powers": ((3, 3), lambda x: [L.matrix_exp(x), L.matrix_power(x, -2), L.cond(x), L.multi_dot([x, x, x])]),
    "inverse of complex": ((3, 4, 4), lambda x: hs.view_as_real(hs.inverse(hs.complex(x, x.mT + 1)))),
}  # fmt: skip


def flat(y: Any) -> list[hs.Tensor]:
    return [t for e in y for t in flat(e)] if isinstance(y, list | tuple) else [y]


def results(f: Callable[[hs.Tensor], Any], x: hs.Tensor, grad: bool) -> list[hs.Tensor]:
    x = x.detach().requires_grad_(grad)
    made = flat(f(x))
    through = [t for t in made if t.requires_grad]
    if not through:
        return made
    total = sum((t * (t.detach() + 0.5)).sum() for t in through)
    return [*made, *hs.autograd.grad(total, [x])]


@pytest.mark.parametrize("name", CASES)
def test_matrices_equal_those_of_the_cpu(device: str, name: str, request: pytest.FixtureRequest) -> None:
    """With gradients on a GPU: those are graph, for which the interpreter needs long."""
    shape, f = CASES[name]
    real = "stand-in" not in request.node.name
    for dtype, bound in ((np.float64, 1e-10), (np.float32, 1e-3)) if real else ((np.float64, 1e-10),):
        x = drawn(*shape, dtype=dtype)
        for here, there in zip(results(f, x.to(device), real), results(f, x, real), strict=True):
            assert str(here.device) == "cuda:0"
            assert (here.dtype, here.shape) == (there.dtype, there.shape)
            size = max(1.0, float(there.detach().double().abs().max())) if there.numel() else 1.0
            np.testing.assert_allclose(here.detach().cpu(), there.detach(), rtol=bound, atol=bound * size)


def test_matrices_without_a_result_raise_as_on_the_cpu(device: str) -> None:
    singular = hs.ones(3, 3)
    for x in (singular, singular.to(device)):
        for f in (hs.inverse, lambda a: hs.cholesky(a - 2 * hs.eye(3, device=a.device)), lambda a: L.solve(a * 0, a)):
            with pytest.raises(ShapeError):
                f(x)
        assert hs.det(x).item() == pytest.approx(0.0, abs=1e-6)
        assert L.inv_ex(x).info.tolist() == 2
        assert L.cholesky_ex(x - 2 * hs.eye(3, device=x.device)).info.tolist() == 1
        assert L.cond(x, 1).item() == float("inf")
    for x in (singular, singular.to(device)):
        for rows in ([0, 2, 3], [1, 2, 4]):
            with pytest.raises(IndexOutOfRangeError, match="1 to 3"):
                hs.lu_unpack(x, hs.tensor(rows, dtype=hs.int32, device=x.device))
        with pytest.raises(DTypeError, match="pivots"):
            hs.lu_unpack(x, x[0])
    with pytest.raises(DeviceMismatchError, match="cuda:0"):
        L.solve(drawn(3, 3).to(device), drawn(3, 3).to("cpu"))
    for shape in ((0, 3, 3), (0, 0), (2, 0, 0)):
        x = hs.zeros(*shape)
        for f in (hs.inverse, hs.det, L.eigvalsh):
            assert f(x.to(device)).shape == f(x).shape


def test_batches_of_vmap(device: str) -> None:
    x = drawn(3, 4, 4)
    here = hs.func.vmap(lambda a: L.solve(a, a[:, :2] + 1))(x.to(device))
    np.testing.assert_allclose(here.cpu(), L.solve(x, x[..., :2] + 1), rtol=1e-9)


def test_a_library_without_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "load", lambda name, version: object())
    with pytest.raises(UnsupportedError, match=r"cuFFT has no cufftCreate.*cuda-libraries"):
        libraries.Library("cufft", 12000, {}, "cuFFT").call("cufftCreate")


def test_without_the_libraries() -> None:
    with stand_in():
        x = drawn(3, 3).to("cuda")
        with pytest.raises(DeviceUnavailableError, match=r"cuBLAS is not installed.*cuda-libraries.*\.cpu\(\)"):
            hs.inverse(x)
        np.testing.assert_allclose(
            hs.view_as_real(hs.fft.fft(x)).cpu(), hs.view_as_real(hs.fft.fft(x.cpu())), atol=1e-12
        )


def test_transforms_by_the_library_and_as_graph(device: str) -> None:
    x = drawn(2, 6, 4)
    z = hs.complex(x, x.flip(0))
    for f in (
        lambda z: hs.fft.fft(z), lambda z: hs.fft.ifft(z, 5, 1), lambda z: hs.fft.irfftn(z),
        lambda z: hs.stft(
            z.real[0], 4, return_complex=True, window=hs.hann_window(4, device=z.device, dtype=hs.float64)
        ),
    ):  # fmt: skip
        there, here = f(z), f(z.to(device))
        assert str(here.device) == "cuda:0"
        np.testing.assert_allclose(here.cpu().numpy(), there.numpy(), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 12, 32, 37, 60, 131, 256, 360])
def test_transforms_as_graph(n: int) -> None:
    """Products with small matrices, split sizes, a prime in one product, and a convolution: against NumPy."""
    rng = np.random.default_rng(n)
    for dtype, bound in ((np.float64, 4e-15), (np.float32, 2e-6)):
        pair = rng.standard_normal((2, n, 3, 2)).astype(dtype)
        z = pair[..., 0].astype(np.complex128) + 1j * pair[..., 1]
        for forth, expected in ((True, np.fft.fft(z, axis=1)), (False, np.fft.ifft(z, axis=1) * n)):
            y = transform(hs.tensor(pair), 1, forth).numpy()
            np.testing.assert_allclose(
                y[..., 0] + 1j * y[..., 1], expected, rtol=0, atol=bound * np.abs(expected).max()
            )


def test_transforms_in_what_is_compiled() -> None:
    f = hs.compile(lambda x: hs.fft.irfft(hs.fft.rfft(x) * 2) + hs.istft(hs.stft(x, 8, return_complex=True), 8))
    for seed in (0, 1):
        x = drawn(40, seed=seed)
        np.testing.assert_allclose(f(x), 3 * x, atol=1e-12)
