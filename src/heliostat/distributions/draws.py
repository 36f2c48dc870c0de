"""Random numbers that distributions are made of. Uniform and normal ones are part of the graph; those of rejection,
gamma, Poisson, binomial and von Mises, are drawn on the host, by the seed and the number of the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..diagnostics import CaptureError, UnsupportedError
from ..ir.types import f64
from ..tensor import FUNCTIONS, Function, Generator, Tensor
from ..tensor.core import convert
from ..tensor.dtypes import finfo
from ..tensor.function import once_differentiable
from ..tensor.lazy import capturing
from ..tensor.levels import on_host, open_levels
from ..tensor.random import host_stream
from .implicit import beta_slope, gamma_slope
from .parameters import off_the_ends

_rand, _randn = FUNCTIONS["rand"], FUNCTIONS["randn"]


def uniform(shape: Sequence[int], like: Tensor, generator: Generator | None) -> Tensor:
    """0 <= u < 1, with dtype and device of `like`."""
    made: Tensor = _rand(*shape, dtype=like.dtype, device=like.device, generator=generator)
    return made


def inner_uniform(shape: Sequence[int], like: Tensor, generator: Generator | None) -> Tensor:
    """0 < u < 1, with dtype and device of `like`."""
    return off_the_ends(uniform(shape, like, generator))


def standard_normal(shape: Sequence[int], like: Tensor, generator: Generator | None) -> Tensor:
    """Mean 0, standard deviation 1, with dtype and device of `like`."""
    made: Tensor = _randn(*shape, dtype=like.dtype, device=like.device, generator=generator)
    return made


def _drawn(name: str, draw: Callable[..., Any], generator: Generator | None, *parameters: Tensor) -> Tensor:
    """What a function of NumPy's generator and arrays draws, with the dtype of the first parameter."""
    if capturing():
        raise CaptureError(
            f"{name} is drawn on the host, which cannot be done while a step is captured",
            help="draw outside of the compiled function, and hand in the sample",
        )
    if open_levels():
        raise UnsupportedError(
            f"{name} is drawn on the host, which cannot be done inside of vmap",
            help="draw outside, for the whole batch",
        )
    rng = host_stream(generator)
    found = on_host(lambda *arrays: draw(rng, *(a.astype(np.float64) for a in arrays)), *parameters)
    return convert(found, parameters[0].dtype)


_MANY = 1e15  # beyond it counts are normal numbers to more digits than f64 has


def _binomial(rng: np.random.Generator, count: Any, prob: Any) -> Any:
    known = ~np.isnan(prob)
    return np.where(known, rng.binomial(count.astype(np.int64), np.where(known, prob, 0.0)), np.nan)


def _poisson(rng: np.random.Generator, rate: Any) -> Any:
    # NumPy takes means below 2^63, and no NaN.
    few = rate <= _MANY
    found = rng.poisson(np.where(few, rate, 0.0)).astype(np.float64)
    if not few.all():
        with np.errstate(invalid="ignore"):
            large = rate + np.sqrt(rate) * rng.standard_normal(rate.shape)
        found = np.where(few, found, np.where(np.isinf(rate), rate, np.rint(large)))
    return found


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials succeed; shapes are equal."""
    return _drawn(
        "Binomial", _binomial, generator,
        count.detach(), prob.detach(),
    )  # fmt: skip


def poisson(rate: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of the mean `rate`."""
    return _drawn("Poisson", _poisson, generator, rate.detach())


def von_mises(loc: Tensor, concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Angles from -pi to below pi; shapes are equal."""
    return _drawn(
        "VonMises", lambda rng, m, k: np.remainder(rng.vonmises(m, k) + np.pi, 2 * np.pi) - np.pi, generator,
        loc.detach(), concentration.detach(),
    )  # fmt: skip


def _digamma(x: Tensor) -> Tensor:
    made: Tensor = convert(x, f64).digamma()
    return made


class _StandardGamma(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, generator: Any) -> Tensor:
        tiny = finfo(concentration.dtype).tiny
        x = _drawn("Gamma", lambda rng, a: np.maximum(rng.standard_gamma(a), tiny), generator, concentration.detach())
        ctx.save_for_backward(concentration, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = (t.detach() for t in ctx.saved_tensors)
        return g * convert(on_host(gamma_slope, a, x, _digamma(a)), g.dtype), None


class _StandardDirichlet(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, generator: Any) -> Tensor:
        x = _drawn("Dirichlet", _dirichlet, generator, concentration.detach())
        ctx.save_for_backward(concentration, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = (t.detach() for t in ctx.saved_tensors)
        total = a.sum(-1, True)
        # Each share is a beta of its own number and the sum of the others; those shrink alike when it grows.
        slope = convert(on_host(beta_slope, a, total - a, x, _digamma(a) - _digamma(total)), g.dtype)
        return slope * (g - (x * g).sum(-1, True)), None


def _dirichlet(rng: np.random.Generator, concentration: Any) -> Any:
    # Logarithms: where all numbers are small, all gammas would be 0. Gamma(a) is Gamma(a + 1) times U^(1/a).
    logs = np.log(rng.standard_gamma(concentration + 1)) + np.log1p(-rng.random(concentration.shape)) / concentration
    share = np.exp(logs - logs.max(-1, keepdims=True))
    return share / share.sum(-1, keepdims=True)


def standard_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma of rate 1, above 0. Gradients by implicit reparameterization, once."""
    made: Tensor = _StandardGamma.apply(concentration, generator)
    return made


def standard_dirichlet(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Shares (..., K) that add up to 1. Gradients by implicit reparameterization, once."""
    made: Tensor = _StandardDirichlet.apply(concentration, generator)
    return made
