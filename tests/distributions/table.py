"""Every distribution with random parameters, as arrays that both libraries take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Parameters = dict[str, Any]
Rng = np.random.Generator


def _real(rng: Rng, *shape: int) -> Any:
    return rng.normal(0, 1, shape or (4,))


def _positive(rng: Rng, *shape: int, low: float = 0.3, high: float = 4.0) -> Any:
    return rng.uniform(low, high, shape or (4,))


def _share(rng: Rng, *shape: int) -> Any:
    return rng.uniform(0.05, 0.95, shape or (4,))


def _simplex(rng: Rng, *shape: int) -> Any:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def _definite(rng: Rng, *shape: int) -> Any:
    a = rng.normal(size=shape)
    return a @ np.swapaxes(a, -1, -2) + 0.5 * np.eye(shape[-1])


def _loc_scale(rng: Rng) -> Parameters:
    return {"loc": _real(rng), "scale": _positive(rng)}


def _scale(rng: Rng) -> Parameters:
    return {"scale": _positive(rng)}


def _shape_rate(rng: Rng) -> Parameters:
    return {"concentration": _positive(rng), "rate": _positive(rng)}


def _two(rng: Rng) -> Parameters:
    return {"concentration1": _positive(rng), "concentration0": _positive(rng)}


def _probs(rng: Rng) -> Parameters:
    return {"probs": _share(rng)}


def _classes(rng: Rng) -> Parameters:
    return {"probs": _simplex(rng, 2, 3)}


TABLE: dict[str, tuple[str, Callable[[Rng], Parameters]]] = {
    "Bernoulli": ("Bernoulli", _probs),
    "Bernoulli logits": ("Bernoulli", lambda rng: {"logits": _real(rng)}),
    "Beta": ("Beta", _two),
    "Binomial": ("Binomial", lambda rng: {"total_count": np.full(4, 5.0), "probs": _share(rng)}),
    "Categorical": ("Categorical", _classes),
    "Categorical logits": ("Categorical", lambda rng: {"logits": _real(rng, 2, 3)}),
    "Cauchy": ("Cauchy", _loc_scale),
    "Chi2": ("Chi2", lambda rng: {"df": _positive(rng)}),
    "ContinuousBernoulli": ("ContinuousBernoulli", lambda rng: {"probs": np.array([0.1, 0.4995, 0.5, 0.8])}),
    "ContinuousBernoulli logits": ("ContinuousBernoulli", lambda rng: {"logits": _real(rng)}),
    "Dirichlet": ("Dirichlet", lambda rng: {"concentration": _positive(rng, 2, 3)}),
    "Dirichlet flat": ("Dirichlet", lambda rng: {"concentration": _positive(rng, 2, 3, low=0.3, high=0.9)}),
    "ExpRelaxedCategorical": (
        "ExpRelaxedCategorical", lambda rng: {"temperature": np.array(0.7), "probs": _simplex(rng, 2, 3)}
    ),
    "Exponential": ("Exponential", lambda rng: {"rate": _positive(rng)}),
    "FisherSnedecor": (
        "FisherSnedecor", lambda rng: {"df1": np.array([1.0, 3, 5, 9]), "df2": np.array([1.5, 3, 6, 8])}
    ),
    "Gamma": ("Gamma", _shape_rate),
    "GeneralizedPareto": (
        "GeneralizedPareto",
        lambda rng: {**_loc_scale(rng), "concentration": np.array([-0.6, 0.0, 0.3, 1.2])},
    ),
    "Geometric": ("Geometric", _probs),
    "Gumbel": ("Gumbel", _loc_scale),
    "HalfCauchy": ("HalfCauchy", _scale),
    "HalfNormal": ("HalfNormal", _scale),
    "InverseGamma": ("InverseGamma", _shape_rate),
    "Kumaraswamy": ("Kumaraswamy", _two),
    "LKJCholesky": ("LKJCholesky", lambda rng: {"dim": 3, "concentration": _positive(rng)}),
    "Laplace": ("Laplace", _loc_scale),
    "LogNormal": ("LogNormal", _loc_scale),
    "LogisticNormal": ("LogisticNormal", lambda rng: {"loc": _real(rng, 2, 3), "scale": _positive(rng, 2, 3)}),
    "LogitRelaxedBernoulli": (
        "LogitRelaxedBernoulli", lambda rng: {"temperature": np.array(0.6), "probs": _share(rng)}
    ),
    "LowRankMultivariateNormal": (
        "LowRankMultivariateNormal",
        lambda rng: {"loc": _real(rng, 2, 3), "cov_factor": _real(rng, 2, 3, 2), "cov_diag": _positive(rng, 2, 3)},
    ),
    "Multinomial": ("Multinomial", lambda rng: {"total_count": 4, "probs": _simplex(rng, 2, 3)}),
    "MultivariateNormal": (
        "MultivariateNormal", lambda rng: {"loc": _real(rng, 2, 3), "covariance_matrix": _definite(rng, 3, 3)}
    ),
    "MultivariateNormal precision": (
        "MultivariateNormal", lambda rng: {"loc": _real(rng, 3), "precision_matrix": _definite(rng, 2, 3, 3)}
    ),
    "MultivariateNormal scale_tril": (
        "MultivariateNormal",
        lambda rng: {"loc": _real(rng, 2, 3), "scale_tril": np.linalg.cholesky(_definite(rng, 2, 3, 3))},
    ),
    "NegativeBinomial": ("NegativeBinomial", lambda rng: {"total_count": np.array([0.0, 2, 3, 7]), **_probs(rng)}),
    "Normal": ("Normal", _loc_scale),
    "OneHotCategorical": ("OneHotCategorical", _classes),
    "OneHotCategoricalStraightThrough": ("OneHotCategoricalStraightThrough", _classes),
    "Pareto": ("Pareto", lambda rng: {"scale": _positive(rng), "alpha": np.array([0.5, 1.5, 2.5, 4.0])}),
    "Poisson": ("Poisson", lambda rng: {"rate": _positive(rng)}),
    "RelaxedBernoulli": ("RelaxedBernoulli", lambda rng: {"temperature": np.array(0.6), "probs": _share(rng)}),
    "RelaxedOneHotCategorical": (
        "RelaxedOneHotCategorical", lambda rng: {"temperature": np.array(0.7), "probs": _simplex(rng, 2, 3)}
    ),
    "StudentT": ("StudentT", lambda rng: {"df": np.array([0.7, 1.5, 2.5, 6.0]), **_loc_scale(rng)}),
    "Uniform": ("Uniform", lambda rng: {"low": _real(rng), "high": 5 + _real(rng)}),
    "VonMises": ("VonMises", lambda rng: {"loc": _real(rng), "concentration": _positive(rng, high=9)}),
    "Weibull": ("Weibull", lambda rng: {"scale": _positive(rng), "concentration": _positive(rng, low=1.0)}),
    "Wishart": ("Wishart", lambda rng: {"df": np.array([3.5, 5.0]), "covariance_matrix": _definite(rng, 2, 3, 3)}),
}  # fmt: skip


def parameters(case: str, seed: int = 0) -> tuple[str, Parameters]:
    """The class's name and random parameters of a case."""
    name, make = TABLE[case]
    return name, make(np.random.default_rng([seed, sorted(TABLE).index(case)]))


def made(room: Any, tensor: Callable[[Any], Any], case: str, seed: int = 0, **options: Any) -> tuple[Any, list[Any]]:
    """A distribution of the library whose `distributions` are given, and the float tensors it was made of."""
    name, found = parameters(case, seed)
    tensors = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in found.items()}
    floats = [t for k, t in tensors.items() if isinstance(found[k], np.ndarray) and k != "total_count"]
    return getattr(room, name)(**tensors, **options), floats
