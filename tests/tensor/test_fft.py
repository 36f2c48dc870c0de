"""Fourier transforms, of signals too, against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError, UnsupportedError

from .compare import check, floats, integers, ours, theirs
from .test_complex import numbers

NAMES = [a + b for a in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for b in ("", "2", "n")]


@pytest.mark.parametrize("name", NAMES)
def test_transforms(name: str) -> None:
    base = name.rstrip("2n")
    real = base in ("rfft", "ihfft")

    def f(m: Any, x: Any, *args: Any) -> Any:
        return getattr(m.fft, name)(x, *args)

    x = floats(3, 4, 5) if real else numbers(3, 4, 5)
    sizes: list[Any] = [None, 6, 3] if name == base else [None, (6, 3), (2, 8)]
    dims: list[Any] = [-1, 0] if name == base else [(-2, -1), (2, 0)]
    for n, norm in itertools.product(sizes, ("backward", "forward", "ortho")):
        check(lambda m, x, n=n, norm=norm: f(m, x, n, dims[norm == "ortho"], norm), x, grad=norm != "forward")
    if name.endswith("n"):
        check(f, x, grad=True)
        check(lambda m, x: getattr(m.fft, name)(x, (2, 3, 4)), x)
    if not real:
        check(f, floats(3, 4), grad=base not in ("hfft", "irfft"))
    check(f, integers(3, 4))
    short = x.astype(np.float32 if real else np.complex64)
    check(f, short, rtol=2e-5)
    check(lambda m, x: f(m, x.transpose(0, 2)[1:]), x)


def test_frequencies_and_shifts() -> None:
    check(lambda m, x: [m.fft.fftfreq(5), m.fft.fftfreq(4, 0.5), m.fft.rfftfreq(5), m.fft.rfftfreq(6, 2.0)], floats(1))
    check(
        lambda m, x: [m.fft.fftshift(x), m.fft.ifftshift(x), m.fft.fftshift(x, 1), m.fft.ifftshift(x, (0,))],
        floats(3, 4),
        grad=True,
    )
    check(lambda m, z: [m.fft.fftshift(z), m.fft.ifftshift(z, 1)], numbers(3, 4), grad=True)


def test_second_gradients() -> None:
    x, t = ours(floats(6), True), theirs(floats(6), True)
    for m, v in ((hs, x), (theirs.__globals__["torch"], t)):
        (g,) = m.autograd.grad((m.fft.rfft(v).abs() ** 3).sum(), v, create_graph=True)
        (g * g).sum().backward()
    np.testing.assert_allclose(x.grad, t.grad, rtol=1e-9)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_windows_of_signals(center: bool, normalized: bool) -> None:
    x, w = floats(2, 40), np.hanning(9)[:-1] + 0.1
    k = {"center": center, "normalized": normalized}

    def f(m: Any, x: Any, w: Any) -> Any:
        return m.stft(x, 8, 3, window=w, return_complex=True, **k)

    check(f, x, w, grad=True)
    check(lambda m, x, w: m.istft(f(m, x, w), 8, 3, window=w, **k), x, w, grad=True)
    check(lambda m, x, w: m.istft(f(m, x[0], w), 8, 3, window=w, length=20, **k), x, w)
    check(
        lambda m, x: x.stft(8, win_length=6, window=m.ones(6).to(x.dtype), onesided=False, return_complex=True, **k), x
    )
    check(lambda m, z, w: m.stft(z, 8, 4, window=w, onesided=False, return_complex=True, **k), numbers(2, 40), w)
    check(lambda m, x, w: m.stft(x, 8, 3, window=w, return_complex=False, **k), x, w, grad=True)


def test_errors() -> None:
    x = hs.ones(4)
    for call in (
        lambda: hs.fft.rfft(hs.tensor([1j])),
        lambda: hs.fft.fft(hs.ones(2, dtype=hs.float16)),
        lambda: hs.istft(x, 4),
    ):
        with pytest.raises(DTypeError):
            call()
    for call in (
        lambda: hs.fft.fft(x, 0),
        lambda: hs.fft.irfft(x, n=-1),
        lambda: hs.fft.fftn(x, (2, 2)),
        lambda: hs.fft.fft2(x, dim=(0, 0)),
        lambda: hs.stft(x, 9, center=False, return_complex=True),
    ):
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(ValueError, match="norm"):
        hs.fft.fft(x, norm="none")
    with pytest.raises(TypeError, match="whole numbers"):
        hs.fft.fft(x, n=2.5)
    with pytest.raises(ShapeError, match="without axes"):
        hs.fft.fft(hs.tensor(3.0))
    with pytest.raises(UnsupportedError, match="return_complex"):
        hs.stft(x, 2)
    w, v = hs.linalg.eig(hs.tensor(floats(2, 4, 4)))
    np.testing.assert_allclose(floats(2, 4, 4) @ v.numpy(), v.numpy() * w.numpy()[:, None], atol=1e-12)
    assert hs.linalg.eigvals(hs.eye(2)).dtype == hs.complex64
