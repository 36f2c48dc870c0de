"""heliostat.func against torch.func in float64: derivatives both ways, vmap, and each inside of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import func, nn
from heliostat.diagnostics import DTypeError, GradientError, ShapeError, UnsupportedError
from heliostat.nn import functional as F

from .compare import floats, integers, same, torch

HS, TORCH = (hs, func, F), (torch, torch.func, torch.nn.functional)


def both(make: Any, *arrays: Any) -> None:
    """make(module, func, functional) of both libraries gives a function of tensors with equal results."""
    found = make(*HS)(*(hs.tensor(a) for a in arrays))
    same(found, make(*TORCH)(*(torch.tensor(a) for a in arrays)))


X, Y, W = floats(3, 4), floats(3, 4, seed=1), floats(4, 2)
SCALAR = [
    lambda m, F: lambda x, w: m.tanh(x @ w).softmax(-1).log().sum(),
    lambda m, F: lambda x, w: ((x @ w).exp() / (1 + x.sum() ** 2)).prod(),
    lambda m, F: lambda x, w: (x.reshape(-1).cumsum(0)[:8].reshape(4, 2) * w).amax(),
    lambda m, F: lambda x, w: F.cross_entropy(x @ w, m.tensor([0, 1, 1])),
    lambda m, F: lambda x, w: F.layer_norm(x, (4,), w[:, 0], w[:, 1]).pow(3).mean(),
    lambda m, F: lambda x, w: m.cat([x.sort(-1).values, w.T.norm(dim=0, keepdim=True)]).var(),
]


@pytest.mark.parametrize("f", SCALAR)
def test_derivatives_of_numbers(f: Any) -> None:
    both(lambda m, t, n: t.grad_and_value(f(m, n), argnums=(0, 1)), X, W)
    both(lambda m, t, n: t.hessian(f(m, n), argnums=1), X, W)
    both(lambda m, t, n: t.jacrev(t.jacrev(f(m, n), argnums=0), argnums=1), X, W)
    both(lambda m, t, n: lambda x, w: t.jvp(t.grad(f(m, n)), (x, w), (x * 2, w + 1)), X, W)


@pytest.mark.parametrize("f", SCALAR)
def test_gradients_of_single_elements(f: Any) -> None:
    batch = floats(5, 3, 4, seed=2)
    both(lambda m, t, n: t.vmap(t.grad(f(m, n)), in_dims=(0, None)), batch, W)
    both(
        lambda m, t, n: t.vmap(t.grad(f(m, n), argnums=(0, 1)), in_dims=(2, None), chunk_size=2),
        np.moveaxis(batch, 0, 2),
        W,
    )
    both(lambda m, t, n: t.vmap(t.vmap(f(m, n), in_dims=(None, 0)), in_dims=(0, None)), batch, floats(2, 4, 2, seed=3))
    both(
        lambda m, t, n: t.grad(lambda x, w: t.vmap(t.grad(f(m, n)), in_dims=(0, None))(x, w).pow(2).sum(), argnums=1),
        batch,
        W,
    )


MANY = [
    lambda m, F: lambda x, y: m.tanh(x) * y.sum(0),
    lambda m, F: lambda x, y: (x @ y.T).softmax(-1),
    lambda m, F: lambda x, y: (x.sum(), y.exp()),
    lambda m, F: lambda x, y: {"a": x * y, "b": x[0]},
]


@pytest.mark.parametrize("f", MANY)
def test_jacobians(f: Any) -> None:
    def tuples(x: Any) -> Any:
        return tuple(map(tuples, x.values() if isinstance(x, dict) else x)) if isinstance(x, dict | tuple) else x

    for name in ("jacrev", "jacfwd"):
        for argnums in (0, (1, 0)):
            a = getattr(func, name)(f(hs, F), argnums)(hs.tensor(X), hs.tensor(Y))
            b = getattr(torch.func, name)(f(torch, torch.nn.functional), argnums)(torch.tensor(X), torch.tensor(Y))
            same(tuples(a), tuples(b))


def test_vjp_jvp_and_linearize() -> None:
    f = MANY[2](hs, F)
    x, y = hs.tensor(X), hs.tensor(Y)
    out, pull = func.vjp(f, x, y)
    expected, pull_ = torch.func.vjp(MANY[2](torch, None), torch.tensor(X), torch.tensor(Y))
    same(out, expected)
    same(pull((hs.tensor(2.0, dtype=hs.float64), y)), pull_((torch.tensor(2.0, dtype=torch.float64), torch.tensor(Y))))
    out, derivative = func.linearize(f, x, y)
    same(
        derivative(y, x),
        torch.func.jvp(MANY[2](torch, None), (torch.tensor(X), torch.tensor(Y)), (torch.tensor(Y), torch.tensor(X)))[1],
    )
    one = func.vjp(lambda a: a * 2, x)[1](x)
    assert isinstance(one, tuple)  # of one primal too
    same(one, torch.func.vjp(lambda a: a * 2, torch.tensor(X))[1](torch.tensor(X)))
    assert func.vjp(lambda a: (a.sum(), a * 2), x, has_aux=True)[2].tolist() == (x * 2).tolist()


def test_forward_of_forward() -> None:
    f = lambda m, t, n: lambda u: t.jvp(lambda v: t.jvp(lambda x: (x**3).sin(), (v,), (v,))[1], (u,), (u + 1,))  # noqa: E731
    both(f, X)
    both(lambda m, t, n: t.jacfwd(t.jacfwd(lambda x: (x.exp() * x.flip(0)).sum(0))), X)


def test_a_derivative_does_not_see_the_one_around_it() -> None:
    """d/dx (x * d/dy (x + y)) is 1, not 2."""
    inner = lambda x: x * func.jvp(lambda y: x + y, (x,), (hs.ones_like(x),))[1]  # noqa: E731
    assert func.jvp(inner, (hs.tensor(3.0),), (hs.tensor(1.0),))[1].item() == 1
    assert func.grad(lambda x: x * func.grad(lambda y: x * y)(x))(hs.tensor(3.0)).item() == 6


def test_gradients_outside_flow_through() -> None:
    x = hs.tensor(X, requires_grad=True)
    w = hs.tensor(W, requires_grad=True)
    y = func.vmap(lambda r: (func.grad(lambda r: (r @ w).tanh().sum())(r) * w[:, 0]).sum())(x)
    assert y.requires_grad
    y.sum().backward()
    a, b = torch.tensor(X, requires_grad=True), torch.tensor(W, requires_grad=True)
    torch.func.vmap(lambda r: (torch.func.grad(lambda r: (r @ b).tanh().sum())(r) * b[:, 0]).sum())(a).sum().backward()
    same(x.grad, a.grad)
    same(w.grad, b.grad)
    assert not func.grad(lambda x: (x * x).sum())(hs.tensor(X)).requires_grad
    with hs.no_grad():
        assert not func.grad(lambda x: (x * w[0, 0]).sum())(hs.tensor(X)).requires_grad


# --- vmap -------------------------------------------------------------------------------------------------------------
B, IDS = floats(5, 3, 4, seed=4), integers(5, 3, low=0, high=2)
SINGLE = [
    lambda m, F: lambda x: x[1] + x[:, 2].sum() + x[..., ::2].mean(),
    lambda m, F: lambda x: x[m.tensor([0, 2, 0])],
    lambda m, F: lambda x: x.sum(),
    lambda m, F: lambda x: x.mean(0),
    lambda m, F: lambda x: x.std(-1),
    lambda m, F: lambda x: x.argmax(1),
    lambda m, F: lambda x: x.argmin(),
    lambda m, F: lambda x: x.amin((0, 1)),
    lambda m, F: lambda x: x.prod(0),
    lambda m, F: lambda x: x @ x[0],
    lambda m, F: lambda x: x[:, 0] @ x,
    lambda m, F: lambda x: x[0] @ x[1],
    lambda m, F: lambda x: x.mT @ x,
    lambda m, F: lambda x: m.ones(2, 5, 3, dtype=x.dtype) @ x,
    lambda m, F: lambda x: x.softmax(0),
    lambda m, F: lambda x: x.log_softmax(-1),
    lambda m, F: lambda x: x.logsumexp(1),
    lambda m, F: lambda x: F.layer_norm(x, (4,)),
    lambda m, F: lambda x: F.rms_norm(x, (4,), x[0]),
    lambda m, F: lambda x: F.group_norm(x[None], 3),
    lambda m, F: lambda x: m.where(x > 0, x, 2.0),
    lambda m, F: lambda x: x.sort(0),
    lambda m, F: lambda x: x.topk(2, 1),
    lambda m, F: lambda x: x.cumsum(0),
    lambda m, F: lambda x: x.cumprod(1),
    lambda m, F: lambda x: x.median(),
    lambda m, F: lambda x: x.kthvalue(2, 0),
    lambda m, F: lambda x: x[:, :3].inverse(),
    lambda m, F: lambda x: x[:, :3].det(),
    lambda m, F: lambda x: tuple(m.slogdet(x[:, :3])),
    lambda m, F: lambda x: m.cholesky(x @ x.mT + 9 * m.eye(3, dtype=x.dtype)),
    lambda m, F: lambda x: m.einsum("ij,kj->ik", x, x),
    lambda m, F: lambda x: F.conv2d(x[None, None], x[None, None, :2, :2]),
    lambda m, F: lambda x: F.conv1d(x[None], m.ones(2, 3, 2, dtype=x.dtype), padding=1),
    lambda m, F: lambda x: F.max_pool1d(x, 2),
    lambda m, F: lambda x: F.avg_pool2d(x[None], 2),
    lambda m, F: lambda x: F.pad(x, (1, 2)),
    lambda m, F: lambda x: x.roll(1, 0),
    lambda m, F: lambda x: m.stack([x, x * 2]),
    lambda m, F: lambda x: x.flatten().unflatten(0, (6, 2)),
    lambda m, F: lambda x: x.masked_fill(x > 0.5, 0.0),
    lambda m, F: lambda x: x.tril(),
    lambda m, F: lambda x: x.diagonal(),
    lambda m, F: lambda x: x.expand(2, 3, 4),
    lambda m, F: lambda x: m.searchsorted(x[0].sort().values, x[1]),
    lambda m, F: lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    lambda m, F: lambda x: F.one_hot((x > 0).long(), 2),
]


@pytest.mark.parametrize("f", SINGLE)
def test_vmap_stacks_what_single_calls_give(f: Any) -> None:
    x = hs.tensor(B)
    found = func.vmap(f(hs, F))(x)
    singles = [f(torch, torch.nn.functional)(torch.tensor(b)) for b in B]
    many = isinstance(singles[0], tuple)
    expected = tuple(map(torch.stack, zip(*singles, strict=True))) if many else torch.stack(singles)
    same(tuple(found) if many else found, expected)


INDEXED = [
    lambda m, F: lambda x, i: x[i],
    lambda m, F: lambda x, i: F.embedding(i, x),
    lambda m, F: lambda x, i: x.index_select(1, i),
    lambda m, F: lambda x, i: x.gather(1, i[:, None]),
    lambda m, F: lambda x, i: x.scatter_add(1, i[:, None], x),
    lambda m, F: lambda x, i: x.index_add(0, i, x),
    lambda m, F: lambda x, i: x.index_fill(1, i, 7.0),
    lambda m, F: lambda x, i: F.cross_entropy(x, i),
    lambda m, F: lambda x, i: x.take(i),
    lambda m, F: lambda x, i: x[i, i],
    lambda m, F: lambda x, i: m.index_put(x, (i,), x[0, 0]),
]


@pytest.mark.parametrize("f", INDEXED)
@pytest.mark.parametrize("dims", [(0, 0), (None, 0), (0, None)])
def test_vmap_of_indices(f: Any, dims: Any) -> None:
    x, i = (B if dims[0] == 0 else B[0]), (IDS if dims[1] == 0 else IDS[0])
    found = func.vmap(f(hs, F), in_dims=dims)(hs.tensor(x), hs.tensor(i))
    g = f(torch, torch.nn.functional)
    rows = [g(torch.tensor(x[n] if dims[0] == 0 else x), torch.tensor(i[n] if dims[1] == 0 else i)) for n in range(5)]
    same(found, torch.stack(rows))


def test_in_dims_and_out_dims() -> None:
    x, y = hs.tensor(floats(3, 5)), hs.tensor(floats(5, 3))
    f = lambda a, b: {"sum": a + b["b"], "first": a[0]}  # noqa: E731
    found = func.vmap(f, in_dims=(1, {"b": 0}), out_dims={"sum": 1, "first": 0})(x, {"b": y})
    same(found["sum"], torch.tensor((x + y.T).numpy()))
    assert found["first"].tolist() == x[0].tolist()
    assert hs.vmap(lambda a: hs.ones(2), 1)(x).shape == (5, 2)
    for wrong, message in [
        (lambda: hs.vmap(f, in_dims=(0,))(x, y), "in_dims"),
        (lambda: hs.vmap(lambda a, b: a, in_dims=(0, 0))(x, y), "one size, found 3 and 5"),
        (lambda: hs.vmap(lambda a: a, in_dims=None)(x), "at least one tensor"),
        (lambda: hs.vmap(lambda a: a, in_dims=2)(x), "axis 2"),
        (lambda: hs.vmap(lambda a: a, out_dims=5)(x), "axis 5"),
        (lambda: hs.vmap(lambda a: a, out_dims=None)(x), "out_dims"),
        (lambda: hs.vmap(lambda a: a)(hs.ones(0, 2)), "at least one element"),
    ]:
        with pytest.raises(ShapeError, match=message):
            wrong()
    with pytest.raises(TypeError, match="returns tensors"):
        hs.vmap(lambda a: 3)(x)


def test_randomness() -> None:
    x = hs.zeros(50, 4)
    draw = lambda a: a + hs.rand(4)  # noqa: E731
    with pytest.raises(UnsupportedError, match="randomness"):
        hs.vmap(draw)(x)
    with pytest.raises(ValueError, match="randomness"):
        hs.vmap(draw, randomness="some")
    shared = hs.vmap(draw, randomness="same")(x).numpy()
    assert (shared == shared[0]).all()
    apart = hs.vmap(draw, randomness="different")(x).numpy()
    assert len(np.unique(apart)) == apart.size
    nested = hs.vmap(lambda a: hs.vmap(lambda b: b + hs.rand(()), randomness="different")(a), randomness="different")(x)
    assert len(np.unique(nested.numpy())) == x.numel()
    dropped = hs.vmap(lambda a: F.dropout(a + 1, 0.5), randomness="different")(hs.zeros(40, 8)).numpy()
    assert not (dropped == dropped[0]).all()


def test_what_vmap_refuses() -> None:
    x = hs.tensor(B)
    for f in (
        lambda a: a * a.sum().item(),
        lambda a: a if a.sum() > 0 else -a,
        lambda a: a[a > 0],
        lambda a: a.nonzero(),
    ):
        with pytest.raises(UnsupportedError, match="inside of vmap"):
            hs.vmap(f)(x)
    outside = hs.zeros(3, 4)
    with pytest.raises(UnsupportedError, match="from outside is written"):
        hs.vmap(lambda a: outside.add_(a).sum())(x)
    assert outside.tolist() == hs.zeros(3, 4).tolist()
    kept: list[Any] = []
    hs.vmap(lambda a: (kept.append(a * 2), a)[1])(x)
    assert (hs.ones(2) + 1).tolist() == [2, 2]
    with pytest.raises(UnsupportedError, match="or after it"):
        kept[0].tolist()


def test_writes_and_reads_inside() -> None:
    def f(a: Any) -> Any:
        y = hs.zeros_like(a)
        y[0] = a[1]
        y[:, 1] += a.sum()
        c = w * 2
        assert (w + 1).sum().item() == w.numel() * 2
        assert c.sum().item() == w.numel() * 2
        return (y * c).mul_(2)

    w = hs.ones(3, 4, dtype=hs.float64)
    expected = np.zeros_like(B)
    expected[:, 0] = B[:, 1]
    expected[:, :, 1] += B.sum((1, 2))[:, None]
    np.testing.assert_allclose(hs.vmap(f)(hs.tensor(B)).numpy(), expected * 4)


def test_functions_of_ones_own() -> None:
    class Cube(hs.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x**3 * w

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            return 3 * g * x**2 * w, (g * x**3).sum() if g.ndim else g * x**3

    class Once(Cube):
        backward = staticmethod(hs.autograd.once_differentiable(Cube.backward))

    x, w = hs.tensor(X, requires_grad=True), hs.tensor(2.0, dtype=hs.float64, requires_grad=True)
    found = func.vmap(lambda a: Cube.apply(a, w))(x)
    gx, gw = hs.autograd.grad(found.sum(), [x, w])
    np.testing.assert_allclose(gx.numpy(), 6 * X**2)
    np.testing.assert_allclose(gw.numpy(), (X**3).sum())
    _, t = func.jvp(
        lambda a, b: Cube.apply(a, b),
        (hs.tensor(X), hs.tensor(2.0, dtype=hs.float64)),
        (hs.tensor(Y), hs.tensor(1.0, dtype=hs.float64)),
    )
    np.testing.assert_allclose(t.numpy(), 6 * X**2 * Y + X**3)
    with pytest.raises(UnsupportedError, match="Once has no forward derivative"):
        func.jvp(lambda a: Once.apply(a, w), (hs.tensor(X),), (hs.tensor(Y),))


def test_results_that_a_function_saved_have_second_derivatives() -> None:
    a = floats(3, 3) + 4 * np.eye(3)
    both(lambda m, t, n: t.hessian(lambda x: x.inverse().sum() + x.det()), a)
    x = hs.tensor(a, requires_grad=True)
    (g,) = hs.autograd.grad(x.inverse().sum(), x, create_graph=True)
    y = torch.tensor(a, requires_grad=True)
    (h,) = torch.autograd.grad(y.inverse().sum(), y, create_graph=True)
    same(hs.autograd.grad(g.pow(2).sum(), x)[0], torch.autograd.grad(h.pow(2).sum(), y)[0])


# --- modules ----------------------------------------------------------------------------------------------------------
def _nets() -> tuple[Any, Any]:
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).to(hs.float64)
    t = torch.nn
    other = t.Sequential(t.Conv2d(1, 2, 3), t.ReLU(), t.Flatten(), t.Linear(8, 3)).double()
    other.load_state_dict({k: torch.tensor(v.numpy()) for k, v in made.state_dict().items()})
    return made, other


def test_gradients_of_samples_and_jacobians_of_modules() -> None:
    a, b = _nets()
    x, labels = floats(6, 1, 4, 4), integers(6, low=0, high=2)

    def loss(net: Any, t: Any, n: Any) -> Any:
        return lambda p, x, y: n.cross_entropy(t.functional_call(net, p, (x[None],)), y[None])

    p, q = dict(a.named_parameters()), dict(b.named_parameters())
    found = func.vmap(func.grad(loss(a, func, F)), (None, 0, 0))(p, hs.tensor(x), hs.tensor(labels))
    expected = torch.func.vmap(torch.func.grad(loss(b, torch.func, torch.nn.functional)), (None, 0, 0))(
        q, torch.tensor(x), torch.tensor(labels)
    )
    same(tuple(found.values()), tuple(expected.values()))
    j = func.jacrev(lambda p: func.functional_call(a, p, (hs.tensor(x),)))(p)
    k = torch.func.jacfwd(lambda p: torch.func.functional_call(b, p, (torch.tensor(x),)))(q)
    same(tuple(j.values()), tuple(k.values()))


def test_ensembles() -> None:
    nets = [_nets()[0] for _ in range(3)]
    p, buffers = func.stack_module_state(nets)
    assert all(t.requires_grad and t.is_leaf for t in p.values())
    x = hs.tensor(floats(2, 1, 4, 4))
    y = (
        func.vmap(lambda p, b: func.functional_call(nets[0], (p, b), (x,)))(p, buffers)
        if buffers
        else func.vmap(lambda p: func.functional_call(nets[0], p, (x,)))(p)
    )
    same(y, torch.tensor(np.stack([n(x).detach().numpy() for n in nets])))
    y.sum().backward()
    nets[1](x).sum().backward()
    same(p["3.weight"].grad[1], torch.tensor(nets[1][3].weight.grad.numpy()))
    norm = func.replace_all_batch_norm_modules_(nn.Sequential(nn.BatchNorm1d(2)))
    assert func.vmap(norm)(hs.tensor(floats(3, 4, 2), dtype=hs.float32)).shape == (3, 4, 2)


def test_inside_of_a_compiled_function() -> None:
    f = lambda x, w: func.vmap(func.grad(lambda r, w: (r @ w).tanh().sum()), (0, None))(x, w)  # noqa: E731
    x, w = hs.tensor(X), hs.tensor(W)
    compiled = hs.compile(f)
    for _ in range(3):
        same(compiled(x, w), torch.tensor(f(x, w).numpy()))


# --- bad input --------------------------------------------------------------------------------------------------------
def test_what_is_refused() -> None:
    x = hs.tensor(X)
    for error, message, call in [
        (GradientError, "one number", lambda: func.grad(lambda x: x)(x)),
        (DTypeError, "floats", lambda: func.grad(lambda x: x.sum())(hs.ones(2, dtype=hs.int64))),
        (DTypeError, "a float", lambda: func.grad(lambda x: x.argmax())(x)),
        (DTypeError, "float dtypes", lambda: func.jacrev(lambda x: x.argmax())(x)),
        (ShapeError, "argnums", lambda: func.grad(lambda x: x.sum(), 1)(x)),
        (ShapeError, "names an argument twice", lambda: func.jacrev(lambda x: x, (0, 0))(x)),
        (ShapeError, "tangent of a primal", lambda: func.jvp(lambda x: x, (x,), (x[0],))),
        (ShapeError, "cotangent", lambda: func.vjp(lambda x: x, x)[1](x[0])),
        (ShapeError, "2 tangents for 1", lambda: func.jvp(lambda x: x, (x,), (x, x))),
        (GradientError, "does not depend", lambda: func.jvp(lambda x: hs.ones(1), (x,), (x,), strict=True)),
        (TypeError, "tuples", lambda: func.jvp(lambda x: x, x, x)),
        (TypeError, "aux", lambda: func.grad(lambda x: x.sum(), has_aux=True)(x)),
        (TypeError, "returns tensors", lambda: func.jacrev(lambda x: 3)(x)),
    ]:
        with pytest.raises(error, match=message):
            call()


# --- autograd.functional and forward_ad -------------------------------------------------------------------------------
def test_autograd_functional() -> None:
    a, b = hs.autograd.functional, torch.autograd.functional
    one = lambda x: (x**3).sum()  # noqa: E731
    two = lambda x, w: ((x @ w) ** 3).sum()  # noqa: E731
    out = lambda x, w: (x @ w).exp()  # noqa: E731
    x, w, u, v = hs.tensor(X), hs.tensor(W), torch.tensor(X), torch.tensor(W)
    same(a.jacobian(out, (x, w)), b.jacobian(out, (u, v)))
    same(a.jacobian(out, (x, w), vectorize=True, strategy="forward-mode"), b.jacobian(out, (u, v)))
    same(a.jacobian(lambda x: (x.sin(), x.sum()), x), b.jacobian(lambda x: (x.sin(), x.sum()), u))
    same(a.hessian(one, x), b.hessian(one, u))
    same(a.hessian(two, (x, w)), b.hessian(two, (u, v)))
    for name in ("vhp", "hvp"):
        same(getattr(a, name)(one, x, x), getattr(b, name)(one, u, u))
        same(getattr(a, name)(two, (x, w), (x, w)), getattr(b, name)(two, (u, v), (u, v)))
    same(a.jvp(out, (x, w), (x, w)), b.jvp(out, (u, v), (u, v)))
    same(a.vjp(out, (x, w), out(x, w)), b.vjp(out, (u, v), out(u, v)))
    same(a.vjp(one, x), b.vjp(one, u))
    x.requires_grad_(True)
    assert a.jacobian(one, x, create_graph=True).requires_grad
    assert not a.jacobian(one, x).requires_grad
    with pytest.raises(ValueError, match="strategy"):
        a.jacobian(one, x, strategy="sideways")
    with pytest.raises(GradientError, match="depend"):
        a.jacobian(lambda x: hs.ones(2), x, strict=True)
    with pytest.raises(GradientError, match="one element"):
        a.vjp(lambda x: x, x)
    with pytest.raises(ShapeError, match="one element"):
        a.hessian(lambda x: x, x)


def test_dual_numbers() -> None:
    fa = hs.autograd.forward_ad
    x, t = hs.tensor(X), hs.tensor(Y)
    with fa.dual_level():
        d = fa.make_dual(x, t)
        y = (d * d).sum(0)
        assert y.tolist() == pytest.approx((X * X).sum(0).tolist())  # reading does not lose the tangent
        found = fa.unpack_dual(y.exp())
        np.testing.assert_allclose(found.tangent.numpy(), np.exp((X * X).sum(0)) * (2 * X * Y).sum(0))
        np.testing.assert_allclose(found.primal.numpy(), np.exp((X * X).sum(0)))
        assert fa.unpack_dual(x + 1).tangent is None
        with pytest.raises(GradientError, match="open already"):
            fa.enter_dual_level()
        with pytest.raises(ShapeError, match="tangent"):
            fa.make_dual(x, t[0])
        with pytest.raises(DTypeError, match="float"):
            fa.make_dual(hs.ones(2, dtype=hs.int64), hs.ones(2))
    for call in (lambda: fa.make_dual(x, t), fa.exit_dual_level):
        with pytest.raises(GradientError, match="no dual level"):
            call()
