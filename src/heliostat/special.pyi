"""Special functions, with torch.special's names, by ops in float64 (`ops/bessel.py`, `ops/special.py`)."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from collections.abc import Sequence
from heliostat.tensor.core import Tensor
from heliostat.tensor.pointwise import Numeric
from typing import Any
from typing import overload


def airy_ai(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The Airy function Ai."""
def bessel_j0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The Bessel function of the first kind, J0."""
def bessel_j1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The Bessel function of the first kind, J1."""
def bessel_y0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The Bessel function of the second kind, Y0."""
def bessel_y1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The Bessel function of the second kind, Y1."""
def chebyshev_polynomial_t(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Chebyshev polynomial T of degree n at input."""
def chebyshev_polynomial_u(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Chebyshev polynomial U of degree n at input."""
def chebyshev_polynomial_v(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Chebyshev polynomial V of degree n at input."""
def chebyshev_polynomial_w(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Chebyshev polynomial W of degree n at input."""
def digamma(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Derivative of the logarithm of the gamma function."""
def entr(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """-x log(x): 0 at 0, -infinity below."""
def erf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`erf` of every element, as torch.erf."""
def erfc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """1 - erf(x); small values keep their digits."""
def erfcx(input: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(x^2) erfc(x)."""
def erfinv(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The x whose erf is given."""
def exp2(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`exp2` of every element, as torch.exp2."""
def expit(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sigmoid` of every element, as torch.sigmoid."""
def expm1(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`expm1` of every element, as torch.expm1."""
def gammainc(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The lower incomplete gamma function P(a, x) of a = input and x = other; NaN for negative ones."""
def gammaincc(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The upper incomplete gamma function Q(a, x) = 1 - P(a, x) of a = input and x = other; NaN for negative ones."""
def gammaln(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Logarithm of the size of the gamma function."""
def hermite_polynomial_h(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The physicists' Hermite polynomial of degree n at input."""
def hermite_polynomial_he(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The probabilists' Hermite polynomial of degree n at input."""
def i0(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Modified Bessel function of the first kind and order 0."""
def i0e(input: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(-|x|) I0(x)."""
def i1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The modified Bessel function I1."""
def i1e(input: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(-|x|) I1(x)."""
def laguerre_polynomial_l(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Laguerre polynomial of degree n at input."""
def legendre_polynomial_p(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The Legendre polynomial of degree n at input."""
def log1p(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log1p` of every element, as torch.log1p."""
def log_ndtr(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The logarithm of `ndtr`, of far values too."""
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None, *, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """Logarithm of the softmax along an axis."""
def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """log(x / (1 - x)), of x brought between eps and 1 - eps where eps is given."""
@overload
def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """log of the sum of exp over axes, without overflow."""
@overload
def logsumexp(input: Tensor, axis: int | Sequence[int], keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
def modified_bessel_i0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The modified Bessel function I0."""
def modified_bessel_i1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The modified Bessel function I1."""
def modified_bessel_k0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The modified Bessel function K0."""
def modified_bessel_k1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The modified Bessel function K1."""
def multigammaln(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """Logarithm of the multivariate gamma function."""
def ndtr(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The share of the normal distribution below x."""
def ndtri(input: Any, *, out: Tensor | None = None) -> Tensor:
    """The point below which a share x of the normal distribution lies."""
def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of digamma, n >= 0."""
def psi(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Derivative of the logarithm of the gamma function."""
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """Nearest whole number, ties to even; to `decimals` digits after the point."""
def scaled_modified_bessel_k0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(x) K0(x)."""
def scaled_modified_bessel_k1(input: Any, *, out: Tensor | None = None) -> Tensor:
    """exp(x) K1(x)."""
def shifted_chebyshev_polynomial_t(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The shifted Chebyshev polynomial T of degree n at input."""
def shifted_chebyshev_polynomial_u(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The shifted Chebyshev polynomial U of degree n at input."""
def shifted_chebyshev_polynomial_v(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The shifted Chebyshev polynomial V of degree n at input."""
def shifted_chebyshev_polynomial_w(input: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
    """The shifted Chebyshev polynomial W of degree n at input."""
def sinc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sinc` of every element, as torch.sinc."""
def softmax(input: Tensor, dim: int = -1, dtype: Any = None, *, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """exp(x) over its sum along an axis."""
def spherical_bessel_j0(input: Any, *, out: Tensor | None = None) -> Tensor:
    """sin(x) / x, 1 at 0."""
def xlog1py(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """input * log1p(other), 0 where input is 0."""
def xlogy(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input * log(other), and 0 where input is 0."""
def zeta(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """Hurwitz' sum of (other + k)^-input over k >= 0, for input > 1: infinite at 1 and where a term is, NaN below 1."""

__all__ = ['airy_ai', 'bessel_j0', 'bessel_j1', 'bessel_y0', 'bessel_y1', 'chebyshev_polynomial_t', 'chebyshev_polynomial_u', 'chebyshev_polynomial_v', 'chebyshev_polynomial_w', 'digamma', 'entr', 'erf', 'erfc', 'erfcx', 'erfinv', 'exp2', 'expit', 'expm1', 'gammainc', 'gammaincc', 'gammaln', 'hermite_polynomial_h', 'hermite_polynomial_he', 'i0', 'i0e', 'i1', 'i1e', 'laguerre_polynomial_l', 'legendre_polynomial_p', 'log1p', 'log_ndtr', 'log_softmax', 'logit', 'logsumexp', 'modified_bessel_i0', 'modified_bessel_i1', 'modified_bessel_k0', 'modified_bessel_k1', 'multigammaln', 'ndtr', 'ndtri', 'polygamma', 'psi', 'round', 'scaled_modified_bessel_k0', 'scaled_modified_bessel_k1', 'shifted_chebyshev_polynomial_t', 'shifted_chebyshev_polynomial_u', 'shifted_chebyshev_polynomial_v', 'shifted_chebyshev_polynomial_w', 'sinc', 'softmax', 'spherical_bessel_j0', 'xlog1py', 'xlogy', 'zeta']
