"""Random numbers that distributions are made of. All are part of the graph, equal on every device, and anew at each run
of a compiled step, and so is how gamma numbers move with their concentration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..ir.graph import Value
from ..ir.types import f64
from ..tensor import FUNCTIONS, Function, Generator, Tensor
from ..tensor.conversion import convert
from ..tensor.dtypes import finfo
from ..tensor.function import once_differentiable
from ..tensor.gamma import gamma_slope
from ..tensor.random import rejected
from ..tensor.special import digamma_value, in_f64
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


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials succeed; shapes are equal."""
    return convert(rejected(ops.random_binomial, generator, count, prob), count.dtype)


def poisson(rate: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of the mean `rate`."""
    return convert(rejected(ops.random_poisson, generator, rate), rate.dtype)


def von_mises(loc: Tensor, concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Angles from -pi to below pi; shapes are equal."""
    turned = rejected(ops.random_von_mises, generator, concentration) + convert(loc.detach(), f64)
    made: Tensor = (turned + math.pi).remainder(2 * math.pi) - math.pi
    return convert(made, loc.dtype)


def _beta_slope(a: Value, total: Value, x: Value) -> Value:
    psi = ops.sub(digamma_value(a), digamma_value(total))
    return ops.beta_slope(a, ops.sub(total, a), x, psi)


class _StandardGamma(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, generator: Any) -> Tensor:
        tiny = finfo(concentration.dtype).tiny
        x = convert(rejected(ops.random_log_gamma, generator, concentration).exp(), concentration.dtype).clamp(min=tiny)
        ctx.save_for_backward(concentration, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = (t.detach() for t in ctx.saved_tensors)
        return g * gamma_slope(a, x), None


class _StandardDirichlet(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, generator: Any) -> Tensor:
        # Logarithms: where all numbers are small, all gammas would be 0.
        x = convert(rejected(ops.random_log_gamma, generator, concentration).softmax(-1), concentration.dtype)
        ctx.save_for_backward(concentration, x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = (t.detach() for t in ctx.saved_tensors)
        total = a.sum(-1, True)
        # Each share is a beta of its own number and the sum of the others; those shrink alike when it grows.
        slope = in_f64(_beta_slope, a, total, x)
        return slope * (g - (x * g).sum(-1, True)), None


def standard_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma of rate 1, above 0. Gradients by implicit reparameterization, once."""
    made: Tensor = _StandardGamma.apply(concentration, generator)
    return made


def standard_dirichlet(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Shares (..., K) that add up to 1. Gradients by implicit reparameterization, once."""
    made: Tensor = _StandardDirichlet.apply(concentration, generator)
    return made
