"""Complex tensors against PyTorch: values, dtypes, views, gradients, and that the rest is refused by name."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import tensor as room
from heliostat.diagnostics import DTypeError, GradientError, ShapeError, UnsupportedError
from heliostat.tensor.pairs import ComplexTensor

from .compare import check, floats, integers, ours, same, theirs, torch


def numbers(*shape: int, seed: int = 0, dtype: Any = np.complex128) -> Any:
    return (floats(*shape, seed=seed) + 1j * floats(*shape, seed=seed + 100)).astype(dtype)


UNARY = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh",
    "abs", "angle", "conj", "conj_physical", "cos", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2",
    "neg",
    "reciprocal",
    "rsqrt", "sgn", "sigmoid", "sin", "sinh", "sqrt", "square", "tan", "tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name: str) -> None:
    def f(m: Any, z: Any) -> Any:
        return getattr(m, name)(z)

    check(lambda m, z: f(m, z.t()[1:]), numbers(3, 4), grad=True)
    if name in ("exp", "abs", "acos"):  # what has no axes, or no elements, is the same for all
        check(lambda m, z: [f(m, z[0, 0]), f(m, z[:0])], numbers(3, 4), grad=True)
    check(lambda m, z: getattr(z, name)(), numbers(7, dtype=np.complex64), rtol=1e-4)


@pytest.mark.parametrize("name", ["log", "sqrt", "angle", "abs", "sgn", "neg", "isnan", "isinf", "isfinite"])
def test_ends(name: str) -> None:
    ends = [0.0, -0.0, 1.0, -2.0, np.inf, -np.inf]
    z = np.array([complex(a, b) for a, b in itertools.product(ends, ends) if name != "sqrt" or not np.isinf(a)])
    if name == "sqrt":
        z = z[np.isfinite(z.imag)]
    if name == "sgn":
        z = z[np.isfinite(z)]
    if name == "log":  # parts by themselves: beside an infinite one the other has a tolerance too
        check(lambda m, z: [m.log(z).real, m.log(z).imag], z)
    else:
        check(lambda m, z: getattr(m, name)(z), z)
    large = np.array([1e200 + 1e200j, 1e-200 - 3e-200j, -1e300 + 1j])
    if not name.startswith("is"):
        check(lambda m, z: getattr(m, name)(z), large)


ENDS = [0.0, -0.0, 0.7, -2.0, np.inf, -np.inf, np.nan]
NUMPY = {f"a{n}": f"arc{n}" for n in ("cos", "cosh", "sin", "sinh", "tan", "tanh")}
UNSPECIFIED = {  # signs that the C standard leaves open, and what NumPy's expm1 does not have
    "exp": lambda z: z.real == -np.inf, "exp2": lambda z: z.real == -np.inf,
    "expm1": lambda z: ~np.isfinite(z) | (z == 0),
    "sinh": lambda z: np.isinf(z.real) & np.isinf(z.imag), "sin": lambda z: np.isinf(z.real) & np.isinf(z.imag),
    "tanh": lambda z: np.isinf(z.real), "tan": lambda z: np.isinf(z.imag),
}  # fmt: skip


ANNEX_G = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p",
    "log2", "sin", "sinh", "sqrt", "tan", "tanh",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, np.complex128) for n in ANNEX_G] + [(n, np.complex64) for n in ANNEX_G[::2]], ids=str
)
def test_infinities_and_nan_as_in_annex_g(name: str, dtype: Any) -> None:
    z = np.array([complex(a, b) for a, b in itertools.product(ENDS, ENDS)], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, NUMPY.get(name, name))(z)
    found = getattr(hs, name)(hs.tensor(z)).numpy()
    loose = np.isnan(z) | UNSPECIFIED.get(name, lambda z: z != z)(z)
    if name == "expm1":
        keep = np.isfinite(z)
        one = hs.exp(hs.tensor(z)).numpy()
        np.testing.assert_allclose(found.real[~keep], (one.real - 1)[~keep], 1e-6)
        np.testing.assert_array_equal(found.imag[~keep], one.imag[~keep])
        z, expected, found, loose = z[keep], expected[keep], found[keep], loose[keep]
    for part in ("real", "imag"):
        a, b = getattr(found, part), getattr(expected, part)
        np.testing.assert_allclose(np.where(loose, abs(a), a), np.where(loose, abs(b), b), 1e-5, 1e-6, err_msg=part)
        still = ~loose & (b == 0)
        np.testing.assert_array_equal(np.signbit(a[still]), np.signbit(b[still]), part)


@pytest.mark.parametrize("name", ["atan", "atanh", "asin", "asinh", "sinh", "tanh", "expm1", "log1p", "sgn"])
def test_gradients_on_the_axes(name: str) -> None:
    """What is put right at infinities and at zeros leaves derivatives alone."""
    z = np.array([complex(a, b) for a, b in itertools.product([0.0, -0.0, 0.3, -0.4], [0.0, -0.0, 0.2, -0.6])])
    check(lambda m, z: getattr(m, name)(z), z[abs(z) > 0] if name == "sgn" else z, grad=True)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_arithmetic(name: str) -> None:
    def f(m: Any, a: Any, b: Any) -> Any:
        return getattr(m, name)(a, b)

    check(f, numbers(3, 1), numbers(2, 1, 4, seed=1), grad=True)
    check(f, numbers(3), floats(2, 3), grad=True)
    check(f, floats(2, 3), numbers(3), grad=True)
    check(f, numbers(3), integers(3, low=1))
    check(lambda m, a: [f(m, a, 2), f(m, a, 1.5 - 2j), getattr(a, name)(1j)], numbers(4), grad=True)
    check(lambda m, a: [f(m, a, 1j)], floats(4), grad=True)
    check(lambda m, a, b: [getattr(a, name + "_")(b), a], numbers(2, 3), numbers(3, seed=1))
    big = np.array([1e200 + 1e200j, 3e-200 - 1e-200j])
    if name == "div":
        check(f, big, big[::-1].copy() * 0 + big)


def test_further_names() -> None:
    names = {"absolute": 1, "negative": 1, "subtract": 2, "multiply": 2, "divide": 2, "not_equal": 2}
    z, w = numbers(3), numbers(3, seed=1)
    for name, count in names.items():
        check(lambda m, *zs, n=name: [getattr(m, n)(*zs), getattr(zs[0], n)(*zs[1:])], *(z, w)[:count])
    check(lambda m, z, w: [m.concat([z, w]), m.concatenate([z, w]), z.clone().multiply_(w)], z, w)
    with pytest.raises(UnsupportedError, match="sign"):
        hs.sign(ours(z))


def test_operators() -> None:
    def f(m: Any, z: Any, w: Any, x: Any) -> Any:
        return [
            z + w, x + z, z - x, x - z, z * x, x * z, z / x, x / z, 2 - z, 1j + x, x * 1j, (1 + 2j) / x, -z, +z, abs(z),
            z**2, z**3, z**0.5, z**-1, z**w, x**z, 2**z, z**x, z == w, z != z, z == x, x == 1j, z @ w.T, 1j - x,
        ]  # fmt: skip

    check(f, numbers(3, 3), numbers(3, 3, seed=1), np.abs(floats(3, 3)) + 0.1, rtol=1e-8)
    zeros = np.array([0, 0, 1j])
    check(lambda m, z, w: [z**w, z**0, z**1], zeros, np.array([2.0, 1, 1]))
    check(lambda m, z, w: m.pow(z, w), numbers(4), numbers(4, seed=1), grad=True, rtol=1e-8)
    for f in (
        lambda: hs.ones(2) < 1j,
        lambda: hs.tensor([1j]) % 2,
        lambda: ~hs.tensor([1j]),
        lambda: hs.tensor([1j]) // 2,
    ):
        with pytest.raises((UnsupportedError, TypeError)):
            f()


DTYPES = ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


def test_promotion() -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        if {a, b} == {"float16", "complex64"} or "complex" not in a + b:
            continue
        for p, q in itertools.product(((2,), ()), repeat=2):
            if p == q or "float16" not in (a, b):
                found = (hs.ones(p, dtype=getattr(hs, a)) + hs.ones(q, dtype=getattr(hs, b))).dtype
                expected = torch.result_type(
                    torch.ones(p, dtype=getattr(torch, a)), torch.ones(q, dtype=getattr(torch, b))
                )
                assert found == getattr(hs, str(expected)[6:]), (a, b, p, q)
        assert hs.promote_types(a, b) == hs.promote_types(b, a)
    for a in DTYPES:
        if a != "float16":
            assert (hs.ones(2, dtype=getattr(hs, a)) * 1j).dtype.name == {
                "float64": "c128", "complex128": "c128"
            }.get(a, "c64")  # fmt: skip
    with pytest.raises(UnsupportedError, match="float16"):
        hs.ones(2, dtype=hs.float16) * 1j
    before = hs.get_default_dtype()
    hs.set_default_dtype(hs.float64)
    try:
        assert hs.tensor([1j]).dtype == hs.complex128
        assert (hs.ones(2, dtype=hs.int64) + 1j).dtype == hs.complex128
    finally:
        hs.set_default_dtype(before)
    assert hs.can_cast(hs.float32, hs.complex64)
    assert not hs.can_cast(hs.complex64, hs.float32)
    assert hs.finfo(hs.complex64).bits == 32


SHAPES: list[Callable[[Any, Any], Any]] = [
    lambda m, z: [z.reshape(4, -1), z.view(2, 6), z.flatten(), z.ravel(), z.T, z.mT, z.H, z.mH, z.t(), m.adjoint(z)],
    lambda m, z: [z.transpose(0, 1), z.permute(1, 0), z.movedim(0, -1), z.unsqueeze(-1), z.unsqueeze(0).squeeze(0)],
    lambda m, z: [
        z[1], z[:, 2], z[..., None], z[1:, ::2], z[m.tensor([0, 2])],
        z[:, m.tensor([1, 1])], z[-1, -1], z[None],
    ],
    lambda m, z: [
        z[m.tensor([True, False, True])], z[z.real > 0],
        z[..., 1], z[1, ...], m.masked_select(z, z.imag > 0),
    ],
    lambda m, z: [
        z.narrow(1, 1, 2), z.select(-1, 0), *z.unbind(),
        *z.split(2, -1), *z.chunk(2), *m.tensor_split(z, 2, 1),
    ],
    lambda m, z: [m.cat([z, z.real]), m.stack([z, z], -1), m.hstack([z, z]), m.vstack([z, z[0]])],
    lambda m, z: [
        z.expand(2, 3, 4), m.broadcast_to(z, (1, 3, 4)),
        z.repeat(1, 2), m.tile(z, (2, 1)), z.flip(0, 1), z.roll(1, 0),
    ],
    lambda m, z: [
        z.tril(), z.triu(1), z.diagonal(), m.diag(z[0]),
        m.diag_embed(z), z.index_select(1, m.tensor([2, 0])),
    ],
    lambda m, z: [z.sum(), z.sum(0), z.sum(-1, keepdim=True), z.mean(), z.mean(1), z.cumsum(0), z.diff(), m.trace(z)],
    lambda m, z: [z.prod(), z.prod(0), z.prod(1, keepdim=True), z.var(), z.std(0), m.norm(z), z.norm(1, 0)],
    lambda m, z: [z.gather(1, m.tensor([[0, 1], [2, 3], [1, 1]])), m.where(z.real > 0, z, 0)],
    lambda m, z: [
        z.masked_fill(z.real > 0, 1j), z.index_add(0, m.tensor([1]), z[:1]),
        z.scatter_add(0, m.tensor([[0]]), z[:1, :1]),
    ],
    lambda m, z: [z @ z.T, m.mm(z, z.H), m.mv(z, z[0]), m.dot(z[0], z[1]), m.vdot(z[0], z[1]), m.outer(z[0], z[1])],
    lambda m, z: [
        m.einsum("ij,kj->ik", z, z.conj()), m.einsum("ij->j", z),
        m.kron(z, z), m.tensordot(z, z, ([1], [1])),
    ],
    lambda m, z: [m.inner(z, z), m.addmm(z[:, :3], z, z.T), m.bmm(z[None], z.T[None]), m.matrix_power(z[:, :3], 2)],
    lambda m, z: [
        m.lerp(z, z.T.reshape(3, 4), 0.5), m.addcmul(z, z, z, value=2),
        m.addcdiv(z, z, z + 9), m.rsub(z, 1j),
    ],
    lambda m, z: [
        m.inverse(z[:, :3] + 3), z.real, z.imag, m.real(z),
        m.imag(z), m.view_as_real(z), z.clone(), z.contiguous(),
    ],
    lambda m, z: [
        m.complex(z.real, z.imag), m.polar(z.abs(), z.angle()),
        m.view_as_complex(m.view_as_real(z)), z.to(m.complex64),
    ],
]  # fmt: skip


@pytest.mark.parametrize("f", SHAPES, ids=range(len(SHAPES)))
def test_shapes_and_sums(f: Any) -> None:
    check(f, numbers(3, 4), grad=True, rtol=2e-6)


def test_questions() -> None:
    z = numbers(3, 4)
    z[0, 0] = 0
    check(
        lambda m, z: [m.is_complex(z), m.is_floating_point(z), z.is_complex(), m.isreal(z), z.isnan(), m.isfinite(z)], z
    )
    check(lambda m, z: [z.dim(), z.numel(), z.size(-1), z.element_size(), z.is_contiguous(), m.numel(z), len(z)], z)
    check(lambda m, z: [m.isclose(z, z + 1e-9), m.equal(z, z), m.allclose(z, z + 1), m.count_nonzero(z), z.bool()], z)
    check(lambda m, z: [m.nonzero(z), m.logical_not(z), m.logical_and(z, z.T.reshape(3, 4)), z.any(), z.all(0)], z)
    check(lambda m, z: [z.tolist(), z[1, 1].item(), complex(z[1, 2]), bool(z[1, 1])], z)
    check(lambda m, z: [m.zeros_like(z), m.ones_like(z), z.new_zeros(2), m.full_like(z, 1j), z.new_full((2,), 2)], z)
    check(lambda m, z: [m.zeros(2, dtype=m.complex64), m.full((2,), 1j), m.eye(2, dtype=m.complex128)], z)
    check(
        lambda m, z: [
            m.tensor([[1, 2j]]),
            m.as_tensor(3j),
            m.tensor(1.0, dtype=m.complex64),
            m.zeros(0, dtype=m.complex64),
        ],
        z,
    )
    check(lambda m, z: [z.real.cfloat(), z.imag.cdouble(), z.real.to(m.complex64), z.real.type(m.complex64)], z)
    assert hs.randn_like(hs.tensor(z)).dtype == hs.complex128


def test_views_are_written_through() -> None:
    def f(m: Any, z: Any) -> Any:
        z = z.clone()
        z[1] = 2j
        z[:, 0] = 5
        z[z.real > 4] = 7 - 1j
        z.real[2] = 3
        z.imag.mul_(2)
        m.view_as_real(z)[0, 1, 0] = 9
        z.T[2].fill_(1j)
        z[0].copy_(m.arange(4))
        w = z[2]
        w += 1
        z.mul_(1j).conj_physical_().sub_(z)
        z[..., -1] = 4
        return [z, w]

    check(f, numbers(3, 4))
    x = hs.zeros(3, 2)
    z = hs.view_as_complex(x)
    z.add_(1 + 2j)
    assert x.tolist() == [[1, 2]] * 3
    out = hs.zeros(3, dtype=hs.complex64)
    hs.add(z, 1j, out=out)
    assert out.tolist() == [1 + 3j] * 3
    with pytest.raises(UnsupportedError):
        hs.ones(3).add_(z)
    with pytest.raises(ShapeError):
        z.add_(hs.ones(2, 3))


def test_gradients() -> None:
    z, t = ours(numbers(3), True), theirs(numbers(3), True)
    for x in (z, t):
        y = x * x * 2
        y.retain_grad()
        y.register_hook(lambda g: g * (1 + 1j))
        y.backward(x.detach() * 1j)
    same(z.grad, t.grad)
    (g,) = hs.autograd.grad((z.abs() ** 2).sum(), z, create_graph=True)
    (h,) = torch.autograd.grad((t.abs() ** 2).sum(), t, create_graph=True)
    same(g, h)
    same(hs.autograd.grad((g * g).real.sum(), z)[0], torch.autograd.grad((h * h).real.sum(), t)[0])
    with pytest.raises(GradientError, match="real"):
        (z * z).sum().backward()
    with hs.no_grad():
        z.sub_(z.grad * 0.1)
    assert z.is_leaf
    assert not (z.detach() * 1).requires_grad
    z.grad = None
    assert z.grad is None


def test_compiled_steps() -> None:
    @hs.compile
    def step(z: Any, x: Any) -> Any:
        return (z * z.conj() + x).exp()

    z, x = numbers(3, 2), floats(3, 2)
    for _ in range(2):
        same(step(ours(z), ours(x)), (theirs(z) * theirs(z).conj() + theirs(x)).exp())


def test_interop() -> None:
    z = numbers(2, 3, dtype=np.complex64)
    made = hs.tensor(z)
    np.testing.assert_array_equal(np.asarray(made), z)
    assert made.numpy().dtype == np.complex64
    assert not made.numpy().flags.writeable
    np.testing.assert_array_equal(torch.from_dlpack(made).numpy(), z)
    np.testing.assert_array_equal(hs.from_dlpack(torch.tensor(z)).numpy(), z)
    np.testing.assert_array_equal(hs.from_numpy(z.T).numpy(), z.T)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(other.numpy(), z)
    assert (np.complex64(2j) * made).dtype == hs.complex64
    assert isinstance(made, hs.Tensor)


@pytest.mark.parametrize(
    ("z", "text"),
    [
        ([1 + 2j, 3 - 1j], "tensor([1.+2.j, 3.-1.j])"), ([0.5 + 1j], "tensor([0.5000+1.j])"),
        ([1.25 - 0.5j], "tensor([1.2500-0.5000j])"),
        (2j, "tensor(0.+2.j)"),
    ],
)  # fmt: skip
def test_printing(z: Any, text: str) -> None:
    assert repr(hs.tensor(z)) == text == repr(torch.tensor(z))
    assert repr(hs.tensor(z, dtype=hs.complex128)) == text[:-1] + ", dtype=complex128)"


def test_the_rest_is_refused_by_name() -> None:
    """Every function of one tensor gives what PyTorch gives, or says its own name."""
    z = numbers(3, 3)
    wrong = []
    for name, f in {**room.FUNCTIONS, **{n: getattr(ComplexTensor, n) for n in room.METHODS}}.items():
        if (
            name.startswith("__")
            or isinstance(f, property)
            or name
            in ("empty_like", "randn_like", "uniform_", "normal_", "data_ptr", "is_conj", "cuda", "cholesky_inverse")
        ):
            continue
        try:
            found = f(hs.tensor(z))
        except UnsupportedError as error:
            if not any(word in str(error) for word in ("complex", "there are no", "storages", "device")):
                wrong.append((name, str(error)))
            continue
        except (TypeError, ValueError, IndexError, GradientError):  # another number of arguments
            continue
        g = getattr(torch, name, None) or getattr(torch.Tensor, name, None)
        if g is None or not isinstance(found, hs.Tensor):
            continue
        try:
            expected = g(torch.tensor(z))
        except (RuntimeError, TypeError):  # by other arguments, or not at all
            continue
        try:
            same(found, expected.resolve_conj() if isinstance(expected, torch.Tensor) else expected, 1e-6, name)
        except AssertionError as error:
            wrong.append((name, str(error)[:80]))
    assert wrong == []
    for call in (
        lambda: hs.sort(hs.tensor(z)), lambda: hs.ones(2).maximum(hs.tensor([1j])), lambda: hs.tensor([1j]).floor(),
        lambda: hs.nn.functional.relu(hs.tensor(z)),

    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match="complex"):
            call()
    with pytest.raises(DTypeError, match="c128"):
        hs.linalg.ldl_factor(hs.tensor(z))
    with pytest.raises(DTypeError, match="real"):
        hs.tensor(z).to(hs.float32)
    with pytest.raises(DTypeError, match="complex"):
        hs.tensor([1j], dtype=hs.float32)
    for call in (
        lambda: hs.imag(hs.ones(2)),
        lambda: hs.view_as_real(hs.ones(2)),
        lambda: hs.complex(hs.ones(2), hs.arange(2)),
    ):
        with pytest.raises(DTypeError):
            call()
