"""Parametrizations of weights: a norm apart from a direction, a largest singular value of 1, orthogonal columns."""

from __future__ import annotations

from ...diagnostics import ShapeError, UnsupportedError
from ...tensor import FUNCTIONS, Tensor, no_grad
from ..functional.linear import normalize
from ..module import Module
from .parametrize import register_parametrization


def norm_except(v: Tensor, dim: int) -> Tensor:
    """2-norms over all axes but one, which are kept; over all for -1."""
    if dim == -1:
        return v.norm(2)
    at = dim % v.ndim
    return v.norm(2, [i for i in range(v.ndim) if i != at], True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """weight = original0 * original1 / |original1|, norms over all axes but `dim`. Source: arXiv 1602.07868."""
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


def as_rows(weight: Tensor, dim: int) -> Tensor:
    """The axis `dim` as rows, all others as columns."""
    x = weight if dim == 0 else weight.movedim(dim, 0)
    return x.flatten(1)


def power_steps(w: Tensor, u: Tensor, v: Tensor, count: int, eps: float) -> tuple[Tensor, Tensor]:
    """Steps towards the singular vectors of the largest singular value."""
    for _ in range(count):
        v = normalize(w.transpose(0, 1) @ u, dim=0, eps=eps)
        u = normalize(w @ v, dim=0, eps=eps)
    return u, v


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps, self.n_power_iterations = dim % ndim, eps, n_power_iterations
        if ndim > 1:
            with no_grad():
                w = as_rows(weight.detach(), self.dim)
                u = normalize(FUNCTIONS["randn"](w.shape[0], dtype=w.dtype), dim=0, eps=eps)
                v = normalize(FUNCTIONS["randn"](w.shape[1], dtype=w.dtype), dim=0, eps=eps)
                u, v = power_steps(w, u, v, 15, eps)
            self.register_buffer("_u", u.detach())
            self.register_buffer("_v", v.detach())

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        w = as_rows(weight, self.dim)
        if self.training:
            with no_grad():
                u, v = power_steps(w.detach(), self._u, self._v, self.n_power_iterations, self.eps)
                self._u.copy_(u)
                self._v.copy_(v)
        u, v = self._u.clone(), self._v.clone()
        return weight / (u * (w @ v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """weight over its largest singular value, found by power iteration while training. Source: arXiv 1802.05957."""
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


class _Orthogonal(Module):
    """Cayley's map or the exponential of a skew matrix, times the first weight's nearest orthogonal matrix."""

    def __init__(self, weight: Tensor, exponential: bool) -> None:
        super().__init__()
        self.exponential = exponential
        self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        n, k = x.shape[-2:]
        wide = n < k
        a = x.transpose(-2, -1) if wide else x
        n, k = max(n, k), min(n, k)
        a = a.tril()
        if n != k:
            a = FUNCTIONS["pad"](a, (0, n - k))
        a = a - a.transpose(-2, -1)
        eye = FUNCTIONS["eye"](n, dtype=x.dtype)
        q = _exponential(a, eye) if self.exponential else FUNCTIONS["inverse"](eye - a * 0.5) @ (eye + a * 0.5)
        if self.base is not None:
            q = self.base @ q
        q = q[..., :k]
        return q.transpose(-2, -1) if wide else q

    def right_inverse(self, q: Tensor) -> Tensor:
        import numpy as np

        from ...tensor.conversion import from_array

        wide = q.shape[-2] < q.shape[-1]
        given = np.asarray((q.transpose(-2, -1) if wide else q).detach().array(), np.float64)
        full, r = np.linalg.qr(given, "complete")
        full[..., : given.shape[-1]] *= np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1, 1)[..., None, :]
        self.base = from_array(full, q.dtype)
        return q * 0


def _exponential(a: Tensor, eye: Tensor) -> Tensor:
    """exp of a matrix by its series at a 1/256 of it, and squaring, in f64; differentiable."""
    eye = eye.double()
    x = a.double() * (1 / 256)
    total, term = eye + x, x
    for n in range(2, 9):
        term = term @ x * (1 / n)
        total = total + term
    for _ in range(8):
        total = total @ total
    return total.to(a.dtype)


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """weight with columns (rows where it is wide) of length 1 at right angles; orthogonal_map: "matrix_exp" (also for
    None) or "cayley". Starts at the orthogonal part of the weight's QR decomposition."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ShapeError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map == "householder":
        raise UnsupportedError("orthogonal: orthogonal_map='householder' does not exist here", help="use 'cayley'")
    if orthogonal_map not in (None, "matrix_exp", "cayley"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    if not use_trivialization:
        raise UnsupportedError("orthogonal: use_trivialization=False does not exist here")
    return register_parametrization(module, name, _Orthogonal(weight, orthogonal_map != "cayley"), unsafe=True)
