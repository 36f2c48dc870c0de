"""Fourier transforms as graph: products with small matrices, for GPUs and for what is compiled.

A transform of a b elements is b transforms of a, factors, and a transforms of b (J. Cooley and J. Tukey, An algorithm
for the machine calculation of complex Fourier series, 1965), down to sizes that one product of matrices serves. Sizes
with large prime factors become convolutions of a power of two (L. Bluestein, A linear filtering approach to the
computation of the discrete Fourier transform, 1970). Factors are computed in float64 from whole numbers below n.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..ir.types import DType
from . import gpu_matrices, lazy
from .conversion import from_array
from .core import Tensor
from .levels import open_levels
from .register import FUNCTIONS

LEAF = 32  # elements of a transform by one product, where more can be split
PRIME = 128  # the largest prime that is one product


def transform(pair: Tensor, axis: int, forth: bool) -> Tensor:
    """sum over j of x[j] exp(-2 pi i j k / n), with + unless `forth`, over an axis of pairs (..., 2), counted from the
    front. float32 or float64."""
    axis %= pair.ndim
    last = pair.ndim - 2
    x = pair if axis == last else pair.transpose(axis, last)
    n = x.shape[-2]
    lead = tuple(x.shape[:-2])
    rows = int(np.prod(lead, dtype=np.int64))
    if not rows or not n:
        return pair
    flat = x.reshape(rows, n, 2)
    y = gpu_matrices.fourier_rows(flat, forth) if on_gpu_now(x) else None
    y = (_rows(flat, forth) if y is None else y).reshape(*lead, n, 2)
    return y if axis == last else y.transpose(axis, last)


def on_gpu_now(x: Tensor) -> bool:
    """Whether a tensor lies on a GPU and may be computed now: no step is captured, and it stands for itself."""
    return x.device.type == "cuda" and not lazy.capturing() and not open_levels()


def _rows(x: Tensor, forth: bool) -> Tensor:
    """The transform of each row of (rows, n, 2)."""
    rows, n = x.shape[0], x.shape[1]
    a = _split(n)
    if a == 0:
        return _bluestein(x, forth)
    if a == n:
        return _product(x.reshape(rows, 2 * n), forth).reshape(rows, n, 2)
    b = n // a
    # j = j1 b + j2 and k = k1 + a k2
    inner = x.reshape(rows, a, b, 2).transpose(1, 2).reshape(rows * b, 2 * a)
    inner = _product(inner, forth).reshape(rows, b, a, 2)
    turned = _times(inner, _table("twiddle", n, a, forth, x)).transpose(1, 2).reshape(rows * a, b, 2)
    made: Tensor = _rows(turned, forth).reshape(rows, a, b, 2).transpose(1, 2).reshape(rows, n, 2)
    return made


def _product(x: Tensor, forth: bool) -> Tensor:
    """Rows (..., 2 n) of pairs times the matrix of the transform, whose elements are 2 by 2."""
    made: Tensor = FUNCTIONS["matmul"](x, _table("matrix", x.shape[-1] // 2, 0, forth, x))
    return made


def _times(x: Tensor, y: Tensor) -> Tensor:
    """Products of complex numbers in pairs (..., 2)."""
    (p, q), (r, s) = x.unbind(-1), y.unbind(-1)
    made: Tensor = FUNCTIONS["stack"]([p * r - q * s, p * s + q * r], -1)
    return made


def _bluestein(x: Tensor, forth: bool) -> Tensor:
    """By the convolution with exp(i pi j^2 / n) of the signal times its conjugate, as 2 j k = j^2 + k^2 - (k - j)^2."""
    n = x.shape[1]
    size = _convolution(n)
    chirp = _table("chirp", n, 0, forth, x)
    signal = FUNCTIONS["pad"](_times(x, chirp), (0, 0, 0, size - n))
    there = _times(_rows(signal, True), _table("filter", n, size, forth, x))
    return _times(_rows(there, False).narrow(1, 0, n), chirp)


def _convolution(n: int) -> int:
    return 1 << (2 * n - 2).bit_length()


@functools.lru_cache(maxsize=1024)
def _split(n: int) -> int:
    """The first factor of n: n itself where one product serves it, 0 where a large prime leaves none."""
    primes, rest, p = [], n, 2
    while p * p <= rest:
        while rest % p == 0:
            primes.append(p)
            rest //= p
        p += 1
    primes += [rest] if rest > 1 else []
    if n <= LEAF:
        return n
    if primes[-1] > PRIME:
        return 0
    if len(primes) == 1:
        return n
    fitting = [d for d in range(2, LEAF + 1) if n % d == 0]
    return max(fitting) if fitting else primes[0]


def _table(kind: str, n: int, other: int, forth: bool, like: Tensor) -> Tensor:
    """Factors beside a tensor. While a step is captured they are data of the host, which its program takes in."""
    device = None if lazy.capturing() else like._home
    return _kept(kind, n, other, forth, like.dtype, device)


@functools.lru_cache(maxsize=256)
def _kept(kind: str, n: int, other: int, forth: bool, dtype: DType, device: str | None) -> Tensor:
    return from_array(_factors(kind, n, other, forth), dtype, device)


def _factors(kind: str, n: int, other: int, forth: bool) -> Any:
    """In float64. matrix: (2 n, 2 n). twiddle: (n / other, other, 2). chirp: (n, 2). filter: the transform of the
    conjugated chirp over `other` elements, divided by their number, (other, 2)."""
    if kind == "matrix":
        return _real(_roots(np.outer(np.arange(n), np.arange(n)) % n, n, forth))
    if kind == "twiddle":
        return _pairs(_roots(np.outer(np.arange(n // other), np.arange(other)) % n, n, forth))
    chirp = _roots(np.arange(n, dtype=np.int64) ** 2 % (2 * n), 2 * n, forth)
    if kind == "chirp":
        return _pairs(chirp)
    ring = np.zeros(other, np.complex128)
    ring[:n] = chirp.conj()
    ring[other - n + 1 :] = chirp[1:][::-1].conj()
    return _pairs(np.fft.fft(ring) / other)


def _roots(number: Any, n: int, forth: bool) -> Any:
    return np.exp((-2j if forth else 2j) * np.pi * number / n)


def _pairs(z: Any) -> Any:
    return np.stack([z.real, z.imag], -1)


def _real(w: Any) -> Any:
    """(n, n) complex as (2 n, 2 n) real: of elements j, c and k, d, for rows of pairs from the left."""
    n = len(w)
    made = np.empty((n, 2, n, 2))
    made[:, 0, :, 0] = made[:, 1, :, 1] = w.real
    made[:, 0, :, 1], made[:, 1, :, 0] = w.imag, -w.imag
    return made.reshape(2 * n, 2 * n)
