"""Transforms: inverses, determinants against the Jacobian by autograd, shapes, caches, registries; constraints."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.diagnostics import ConstraintError
from heliostat.distributions import constraints as C
from heliostat.distributions import transforms as F
from tensor.compare import ours, same, theirs

torch = pytest.importorskip("torch")
T = torch.distributions


def _real(*shape: int) -> Any:
    return np.random.default_rng([2, *shape]).normal(0, 1, shape)


def _share(*shape: int) -> Any:
    return np.random.default_rng([3, *shape]).uniform(0.1, 0.9, shape)


# Each takes a room of transforms and a function that makes tensors.
TRANSFORMS: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "abs": (lambda R, t: R.AbsTransform(), _real(3)),
    "affine": (lambda R, t: R.AffineTransform(t(_real(3)), t(_real(3) - 5)), _real(2, 3)),
    "affine of vectors": (lambda R, t: R.AffineTransform(1.0, -2.0, event_dim=1), _real(2, 3)),
    "cat": (lambda R, t: R.CatTransform([R.ExpTransform(), R.SigmoidTransform()], -1, [1, 2]), _real(2, 3)),
    "compose": (
        lambda R, t: R.ComposeTransform([R.AffineTransform(0.5, 2.0), R.TanhTransform(), R.ExpTransform()]), _real(3)
    ),
    "compose of vectors": (
        lambda R, t: R.ComposeTransform([R.AffineTransform(0.5, 2.0), R.StickBreakingTransform()]), _real(2, 3)
    ),
    "corr cholesky": (lambda R, t: R.CorrCholeskyTransform(), _real(2, 6)),
    "exp": (lambda R, t: R.ExpTransform(), _real(3)),
    "independent": (lambda R, t: R.IndependentTransform(R.ExpTransform(), 1), _real(2, 3)),
    "inverse": (lambda R, t: R.SigmoidTransform().inv, _share(3)),
    "lower cholesky": (lambda R, t: R.LowerCholeskyTransform(), _real(2, 3, 3)),
    "positive definite": (lambda R, t: R.PositiveDefiniteTransform(), _real(2, 3, 3)),
    "power": (lambda R, t: R.PowerTransform(t(np.array([2.0, -1.0, 0.5]))), _share(2, 3)),
    "reshape": (lambda R, t: R.ReshapeTransform((6,), (2, 3)), _real(2, 6)),
    "sigmoid": (lambda R, t: R.SigmoidTransform(), _real(3)),
    "softmax": (lambda R, t: R.SoftmaxTransform(), _real(2, 3)),
    "softplus": (lambda R, t: R.SoftplusTransform(), 3 * _real(3)),
    "stack": (lambda R, t: R.StackTransform([R.ExpTransform(), R.TanhTransform()], -1), _real(3, 2)),
    "stick breaking": (lambda R, t: R.StickBreakingTransform(), _real(2, 3)),
    "tanh": (lambda R, t: R.TanhTransform(), _real(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_against_the_peer(name: str) -> None:
    make, x = TRANSFORMS[name]
    t, peer = make(F, ours), make(T.transforms, theirs)
    y, expected = t(hs.tensor(x)), peer(torch.tensor(x))
    same(y, expected, 1e-9)
    same(t.inv(y), peer.inv(expected), 1e-7)
    assert t.bijective == peer.bijective
    for ask in ("domain", "codomain"):
        assert getattr(t, ask).event_dim == getattr(peer, ask).event_dim
    assert t.codomain.check(y).all()
    assert t.domain.check(hs.tensor(x)).all()
    assert tuple(t.forward_shape(hs.Size(x.shape))) == tuple(y.shape)
    assert tuple(t.inverse_shape(y.shape)) == x.shape
    assert t.inv.inv is t
    assert t == t.with_cache(0)
    if t.bijective:
        np.testing.assert_allclose(t.inv(y).numpy(), x, 1e-7, 1e-9)
        found = t.log_abs_det_jacobian(hs.tensor(x), y)
        same(found, peer.log_abs_det_jacobian(torch.tensor(x), expected), 1e-8)
        same(t.inv.log_abs_det_jacobian(y, hs.tensor(x)), -peer.log_abs_det_jacobian(torch.tensor(x), expected), 1e-8)


@pytest.mark.parametrize("name", ["affine", "compose", "exp", "inverse", "power", "sigmoid", "softplus", "tanh"])
def test_determinants_of_numbers_are_slopes(name: str) -> None:
    make, x = TRANSFORMS[name]
    t = make(F, ours)
    at = ours(x, True)
    y = t(at)
    (slope,) = hs.autograd.grad(y.sum(), at)
    np.testing.assert_allclose(
        t.log_abs_det_jacobian(at, y).detach().numpy(), np.log(np.abs(slope.numpy())), 1e-7, 1e-9
    )
    sign = t.sign if isinstance(t.sign, int) else t.sign.numpy()
    np.testing.assert_array_equal(np.broadcast_to(sign, x.shape), np.sign(slope.numpy()))


@pytest.mark.parametrize(
    ("name", "coordinates"),
    [
        ("stick breaking", lambda y: y[:-1]),
        ("corr cholesky", lambda y: y[np.tril_indices(4, -1)]),
        ("compose of vectors", lambda y: y[:-1]),
    ],
)
def test_determinants_of_vectors_are_those_of_the_jacobian(name: str, coordinates: Any) -> None:
    make, x = TRANSFORMS[name]
    t, row = make(F, ours), x[0]
    jacobian = hs.autograd.functional.jacobian(t, hs.tensor(row)).numpy()
    square = np.stack([coordinates(jacobian[..., n]) for n in range(len(row))], -1)
    found = t.log_abs_det_jacobian(hs.tensor(row), t(hs.tensor(row))).item()
    np.testing.assert_allclose(found, np.linalg.slogdet(square)[1], 1e-8)


def test_caches() -> None:
    x = hs.tensor([0.5, 40.0])
    cached = F.TanhTransform(cache_size=1)
    y = cached(x)
    assert cached.inv(y) is x
    assert cached(x) is y
    assert np.isinf(F.TanhTransform().inv(y).numpy()[1])
    chain = F.ComposeTransform([F.ExpTransform(), F.TanhTransform()]).with_cache()
    assert chain.inv(chain(x)) is x
    assert copy.deepcopy(cached)._cached_x_y == (None, None)
    assert isinstance(pickle.loads(pickle.dumps(cached)), F.TanhTransform)
    with pytest.raises(ValueError, match="0 or 1"):
        F.ExpTransform(cache_size=2)


def test_equality() -> None:
    assert F.AffineTransform(1.0, 2.0) == F.AffineTransform(hs.tensor(1.0), 2.0)
    assert F.AffineTransform(1.0, 2.0) != F.AffineTransform(1.0, 3.0)
    assert F.ExpTransform() == F.ExpTransform()
    assert F.ExpTransform().inv == F.ExpTransform().inv
    assert F.ExpTransform() != F.TanhTransform()
    assert F.PowerTransform(2.0) == F.PowerTransform(hs.tensor(2.0))
    assert F.identity_transform(hs.ones(2)).tolist() == [1, 1]
    assert F.AffineTransform(0, np.float64(-2)).sign == -1
    assert repr(F.ComposeTransform([F.ExpTransform(), F.ExpTransform().inv])) == (
        "ComposeTransform(\n    ExpTransform(),\n    InverseTransform(ExpTransform())\n)"
    )


@pytest.mark.parametrize(
    ("run", "match"),
    [
        (lambda: F.ReshapeTransform((2,), (3,)), "different numbers"),
        (lambda: F.ReshapeTransform((2,), (2, 1)).forward_shape((3,)), "Shape mismatch"),
        (lambda: F.StickBreakingTransform().forward_shape(()), "Too few"),
        (lambda: F.CorrCholeskyTransform().forward_shape((4,)), "lower-diagonal"),
        (lambda: F.CorrCholeskyTransform().inverse_shape((2, 3)), "not square"),
        (lambda: F.CatTransform([F.ExpTransform()], 0, [2])(hs.ones(3)), "size 3, not 2"),
        (lambda: F.StackTransform([F.ExpTransform()], 2)(hs.ones(3)), "out of range"),
        (lambda: F.IndependentTransform(F.ExpTransform(), 2)(hs.ones(3)), "Too few"),
    ],
)
def test_what_does_not_fit(run: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run()


def test_a_copula() -> None:
    t = F.CumulativeDistributionTransform(D.Normal(ours(np.zeros(3)), ours(np.ones(3))))
    peer = T.transforms.CumulativeDistributionTransform(T.Normal(theirs(np.zeros(3)), theirs(np.ones(3))))
    x = _real(3)
    same(t(hs.tensor(x)), peer(torch.tensor(x)), 1e-9)
    same(t.inv(t(hs.tensor(x))), torch.tensor(x), 1e-7)
    same(t.log_abs_det_jacobian(hs.tensor(x), t(hs.tensor(x))), peer.log_abs_det_jacobian(torch.tensor(x), None), 1e-9)


# --- constraints ------------------------------------------------------------------------------------------------------
def _v(*numbers: Any) -> Any:
    return np.array(numbers, np.float64)


_CHOLESKY = np.array([[1.0, 0.0], [0.6, 0.8]])
CONSTRAINTS: dict[str, tuple[Any, list[Any]]] = {
    "boolean": (lambda R: R.boolean, [_v(0, 1, 2, 0.5)]),
    "cat": (lambda R: R.cat([R.positive, R.real_vector], -1, [1, 2]), []),
    "corr_cholesky": (lambda R: R.corr_cholesky, [_CHOLESKY, 2 * _CHOLESKY, _CHOLESKY.T, -_CHOLESKY]),
    "greater_than": (lambda R: R.greater_than(1.0), [_v(0, 1, 2)]),
    "greater_than_eq": (lambda R: R.greater_than_eq(1.0), [_v(0, 1, 2)]),
    "half_open_interval": (lambda R: R.half_open_interval(0.0, 1.0), [_v(-1, 0, 0.5, 1)]),
    "independent": (lambda R: R.independent(R.positive, 1), [_v(1, 2), _v(1, -2)]),
    "integer_interval": (lambda R: R.integer_interval(1, 3), [_v(0, 1, 1.5, 3, 4)]),
    "interval": (lambda R: R.interval(1.0, 2.0), [_v(0, 1, 2, 3)]),
    "less_than": (lambda R: R.less_than(1.0), [_v(0, 1, 2)]),
    "lower_cholesky": (lambda R: R.lower_cholesky, [_CHOLESKY, _CHOLESKY.T, -_CHOLESKY]),
    "lower_triangular": (lambda R: R.lower_triangular, [_CHOLESKY, _CHOLESKY.T, -_CHOLESKY]),
    "mixture": (lambda R: R.MixtureSameFamilyConstraint(R.positive), [_v(1, -2)]),
    "multinomial": (lambda R: R.multinomial(3), [_v(1, 2), _v(2, 2), _v(-1, 2)]),
    "nonnegative": (lambda R: R.nonnegative, [_v(-1, 0, 1)]),
    "nonnegative_integer": (lambda R: R.nonnegative_integer, [_v(-1, 0, 1, 1.5)]),
    "one_hot": (lambda R: R.one_hot, [_v(0, 1), _v(1, 1), _v(0.5, 0.5)]),
    "positive": (lambda R: R.positive, [_v(-1, 0, 1)]),
    "positive_definite": (
        lambda R: R.positive_definite, [np.eye(2), -np.eye(2), _CHOLESKY, np.ones((2, 2)), np.ones((2, 3))]
    ),
    "positive_integer": (lambda R: R.positive_integer, [_v(-1, 0, 1, 1.5)]),
    "positive_semidefinite": (lambda R: R.positive_semidefinite, [np.diag([1.0, 0.0]), -np.eye(2), _CHOLESKY]),
    "real": (lambda R: R.real, [_v(0, np.inf, np.nan)]),
    "real_vector": (lambda R: R.real_vector, [_v(0, np.inf), _v(0, np.nan)]),
    "simplex": (lambda R: R.simplex, [_v(0.25, 0.75), _v(0.5, 0.6), _v(1.5, -0.5)]),
    "square": (lambda R: R.square, [np.ones((2, 2)), np.ones((2, 3))]),
    "stack": (lambda R: R.stack([R.positive, R.real, R.boolean], 0), [_v(1, -1, 0), _v(-1, 0, 2)]),
    "symmetric": (lambda R: R.symmetric, [np.eye(2), _CHOLESKY]),
    "unit_interval": (lambda R: R.unit_interval, [_v(-1, 0, 0.5, 1, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name: str) -> None:
    make, values = CONSTRAINTS[name]
    ours_, peer = make(C), make(T.constraints)
    assert ours_.event_dim == peer.event_dim
    assert ours_.is_discrete == peer.is_discrete
    for v in values:
        same(ours_.check(hs.tensor(v)), peer.check(torch.tensor(v)))
    if name not in ("cat", "stack", "multinomial"):  # without operands in PyTorch's text
        assert repr(ours_) == repr(peer).lstrip("_")


def test_more_of_constraints() -> None:
    assert C.open_unit_interval.check(hs.tensor([0.0, 0.5, 1.0])).tolist() == [False, True, False]
    pieces = C.cat([C.positive, C.boolean], -1, [1, 2])
    assert pieces.check(hs.tensor([[1.0, 0.0, 1.0], [-1.0, 2.0, 0.0]])).tolist() == [
        [True, True, True], [False, False, True],
    ]  # fmt: skip
    assert C.is_dependent(D.Uniform.support)
    assert not C.is_dependent(D.Uniform(0.0, 1.0).support)
    assert D.Categorical.support.event_dim == 0
    assert C.dependent(is_discrete=True, event_dim=1).event_dim == 1
    with pytest.raises(NotImplementedError, match="event_dim"):
        _ = C.dependent.event_dim
    with pytest.raises(ConstraintError, match="dependent"):
        C.dependent.check(hs.ones(1))
    with pytest.raises(ValueError, match=r"value.dim\(\) >= 1"):
        C.real_vector.check(hs.tensor(1.0))
    with pytest.raises(ValueError, match="must match cseq"):
        C.cat([C.real], lengths=[1, 2])
    with pytest.raises(TypeError, match="Constraint instances"):
        C.stack([1])  # type: ignore[list-item]


# --- registries -------------------------------------------------------------------------------------------------------
REGISTERED = [
    C.real, C.positive, C.nonnegative, C.greater_than(2.0), C.greater_than_eq(-1.0), C.less_than(1.5),
    C.interval(-1.0, 3.0), C.half_open_interval(0.0, 2.0), C.unit_interval, C.open_unit_interval,
    C.independent(C.positive, 1), C.simplex, C.corr_cholesky, C.cat([C.positive, C.unit_interval], -1, [2, 4]),
    C.stack([C.positive, C.real, C.real, C.real, C.real, C.real], -1),
]  # fmt: skip


@pytest.mark.parametrize("constraint", REGISTERED, ids=repr)
@pytest.mark.parametrize("registry", [D.biject_to, D.transform_to], ids=["biject_to", "transform_to"])
def test_registries_lead_into_the_constraint(constraint: Any, registry: Any) -> None:
    t = registry(constraint)
    x = hs.tensor(_real(2, 6))
    y = t(x)
    assert constraint.check(y).all()
    again = t(t.inv(y))
    np.testing.assert_allclose(again.numpy(), y.numpy(), 1e-6, 1e-9)
    if registry is D.biject_to:
        assert t.bijective
        np.testing.assert_allclose(t.inv(y).numpy(), x.numpy(), 1e-6, 1e-9)


def test_registering() -> None:
    assert D.transform_to(C.lower_cholesky) == F.LowerCholeskyTransform()
    assert D.transform_to(C.positive_definite) == F.PositiveDefiniteTransform()

    class Even(C.Constraint):
        pass

    with pytest.raises(NotImplementedError, match="Cannot transform Even"):
        D.biject_to(Even())
    D.biject_to.register(Even(), lambda c: F.ExpTransform())
    assert D.biject_to(Even()) == F.ExpTransform()
    with pytest.raises(TypeError, match="subclass or instance"):
        D.biject_to.register(3, lambda c: F.ExpTransform())
    with pytest.raises(NotImplementedError, match="LowerCholesky"):
        D.biject_to(C.lower_cholesky)
