"""What distributions share: broadcasting of parameters, probabilities and log-odds, triangles and vectors.

The names are those of `torch.distributions.utils`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Number
from typing import Any

from ..diagnostics import DTypeError, ShapeError
from ..tensor import FUNCTIONS, Tensor, enable_grad
from ..tensor.devices import get_default_device
from ..tensor.dtypes import finfo, get_default_dtype

where = FUNCTIONS["where"]
euler_constant = 0.57721566490153286060


class _LazyProperty:
    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        instance.__dict__[self.wrapped.__name__] = value
        return value


def lazy_property(wrapped: Callable[[Any], Any]) -> Any:
    """A property that is computed when it is first read, with gradients, and kept in the instance."""
    return _LazyProperty(wrapped)


def is_lazy(owner: type, name: str) -> bool:
    """Whether an attribute of a class is a `lazy_property`."""
    return isinstance(getattr(owner, name, None), _LazyProperty)


def is_number(x: Any) -> bool:
    """Whether x is a number of Python or NumPy, not a tensor."""
    return isinstance(x, Number) and not isinstance(x, Tensor)


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors of one shape. Numbers take dtype and device of the first tensor, or the default dtype.

    Raises DTypeError for what is neither number nor tensor, ShapeError for shapes that do not broadcast."""
    for v in values:
        if not isinstance(v, Tensor) and not is_number(v):
            raise DTypeError(f"parameters must be numbers or tensors, found {type(v).__name__}", help="use hs.tensor")
    first = next((v for v in values if isinstance(v, Tensor)), None)
    dtype, device = (get_default_dtype(), get_default_device()) if first is None else (first.dtype, first.device)
    make = FUNCTIONS["tensor"]
    tensors = [v if isinstance(v, Tensor) else make(v, dtype=dtype, device=device) for v in values]
    shapes = {tuple(t.shape) for t in tensors}
    made: tuple[Tensor, ...] = tuple(tensors) if len(shapes) == 1 else FUNCTIONS["broadcast_tensors"](*tensors)
    return made


def one_of(probs: Any, logits: Any) -> None:
    """Raises ShapeError unless exactly one of both is given."""
    if (probs is None) == (logits is None):
        raise ShapeError("Either `probs` or `logits` must be specified, but not both.")


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """The sum over the last `dim` axes."""
    return value if dim == 0 else value.reshape((*value.shape[: value.ndim - dim], -1)).sum(-1)


def mv(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of batches of matrices (..., n, m) and vectors (..., m), whose leading shapes broadcast."""
    made: Tensor = (matrix @ vector.unsqueeze(-1)).squeeze(-1)
    return made


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities from the epsilon of their dtype to one less it."""
    eps = finfo(probs.dtype).eps
    made: Tensor = probs.clamp(min=eps, max=1 - eps)
    return made


def off_the_ends(probs: Tensor) -> Tensor:
    """Probabilities from the smallest normal number of their dtype to one less its epsilon."""
    limits = finfo(probs.dtype)
    made: Tensor = probs.clamp(min=limits.tiny, max=1 - limits.eps)
    return made


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """The probabilities of log-odds, or of log probabilities along the last axis, which need no norm."""
    made: Tensor = logits.sigmoid() if is_binary else logits.softmax(-1)
    return made


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Log-odds of probabilities, or log probabilities; finite at 0 and 1."""
    clamped = clamp_probs(probs)
    made: Tensor = clamped.log() - (-clamped).log1p() if is_binary else clamped.log()
    return made


def one_hot_like(index: Tensor, x: Tensor) -> Tensor:
    """1 at `index` (...) along the last axis of x's size, else 0; dtype and device of x."""
    made: Tensor = index.unsqueeze(-1).eq(FUNCTIONS["arange"](x.shape[-1], device=x.device)).to(x.dtype)
    return made


def constant_like(x: Tensor, shape: Any, number: float) -> Tensor:
    """A tensor of a number, with dtype and device of x."""
    made: Tensor = FUNCTIONS["full"](tuple(shape), number, dtype=x.dtype, device=x.device)
    return made


def eye_like(n: int, x: Tensor) -> Tensor:
    """The identity (n, n), with dtype and device of x."""
    made: Tensor = FUNCTIONS["eye"](n, dtype=x.dtype, device=x.device)
    return made


def arange_like(n: int, x: Tensor) -> Tensor:
    """0 .. n - 1, with dtype and device of x."""
    made: Tensor = FUNCTIONS["arange"](n, dtype=x.dtype, device=x.device)
    return made


def _triangle(n: int, diag: int) -> list[int]:
    return [i * n + j for i in range(n) for j in range(n) if j <= i + diag]


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements on and below a diagonal of (..., D, D), row by row. Raises ShapeError for a diagonal outside."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ShapeError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    chosen = FUNCTIONS["tensor"](_triangle(n, diag), device=mat.device, dtype=FUNCTIONS["arange"](0).dtype)
    made: Tensor = mat.reshape((*mat.shape[:-2], n * n)).index_select(-1, chosen)
    return made


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The inverse of `tril_matrix_to_vec`, with zeros elsewhere. Raises ShapeError for a size that is no triangle's."""
    size = vec.shape[-1]
    root = ((1 + 2 * diag) ** 2 + 8 * size + 4 * abs(diag) * (diag + 1)) ** 0.5
    n = round((root - (1 + 2 * diag)) / 2)
    chosen = _triangle(n, diag)
    if len(chosen) != size:
        raise ShapeError(
            f"The size of last dimension is {size} which cannot be expressed as the lower triangular part of a square "
            f"D x D matrix."
        )
    place = {at: k for k, at in enumerate(chosen)}
    source = FUNCTIONS["tensor"]([place.get(at, size) for at in range(n * n)], device=vec.device)
    padded = FUNCTIONS["pad"](vec, [0, 1])
    made: Tensor = padded.index_select(-1, source).reshape((*vec.shape[:-1], n, n))
    return made


HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
