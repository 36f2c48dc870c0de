"""Products of matrices and vectors, einsum, and powers of matrices. Factorizations stand in `factor.py`."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.types import bool_, f32, f64
from ..ops.rules import shown
from . import lazy
from .autocast import unruled
from .conversion import as_tensor
from .core import Tensor, wrap
from .dims import normal_dim
from .factor import cholesky as cholesky
from .factor import det as det
from .factor import inverse as inverse
from .factor import logdet as logdet
from .factor import pinverse as pinverse
from .factor import qr as qr
from .factor import slogdet as slogdet
from .factor import svd as svd
from .levels import whole
from .pointwise import floats
from .register import FUNCTIONS, METHODS, function


@function()
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product over the last two axes, leading axes broadcast; vectors count as rows and columns."""
    if not isinstance(other, Tensor):
        raise DTypeError(f"matmul takes tensors, found {type(other).__name__}")
    if input.dtype != other.dtype:
        raise DTypeError(f"matmul needs one dtype, found {input.dtype} and {other.dtype}", help="use x.to(dtype)")
    a, b = input.value, other.value
    if input.ndim == 0 or other.ndim == 0 or input.shape[-1] != other.shape[-2 if other.ndim > 1 else -1]:
        what = f"matmul: {shown(input.shape)} and {shown(other.shape)} do not fit"
        raise ShapeError(what, help="the last axis of the first must be as long as the second to last of the other")
    if input.dtype == bool_:
        raise DTypeError("matmul takes numbers, found tensors of bool")
    if 0 in a.type.shape or 0 in b.type.shape:
        return _empty_product(input, other)
    return wrap(ops.matmul(a, b), input, other)


def _empty_product(a: Tensor, b: Tensor) -> Tensor:
    """Of no rows, no columns, or with sums of nothing, for which there is no schedule."""
    rows = a.unsqueeze(0) if a.ndim == 1 else a
    columns = b.unsqueeze(1) if b.ndim == 1 else b
    y: Tensor = (rows.unsqueeze(-1) * columns.unsqueeze(-3)).sum(-2).to(a.dtype)
    y = y.squeeze(-2) if a.ndim == 1 else y
    return y.squeeze(-1) if b.ndim == 1 else y


METHODS["__matmul__"] = matmul
METHODS["__rmatmul__"] = lambda self, o: matmul(as_tensor(o), self)


def _ranks(name: str, a: Tensor, b: Tensor, ranks: tuple[int, int]) -> Tensor:
    if (a.ndim, b.ndim) != ranks:
        raise ShapeError(f"{name} takes tensors of {ranks[0]} and {ranks[1]} axes, found {a.ndim} and {b.ndim}")
    return unruled(matmul)(a, b)


@function()
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices."""
    return _ranks("mm", input, mat2, (2, 2))


@function()
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two stacks of matrices of one length."""
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: stacks of {input.shape[0]} and {mat2.shape[0]} matrices")
    return _ranks("bmm", input, mat2, (3, 3))


@function()
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix and a vector."""
    return _ranks("mv", input, vec, (2, 1))


@function()
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Product of two vectors."""
    return _ranks("dot", input, tensor, (1, 1))


@function()
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """Product of two vectors, the first conjugated."""
    return _ranks("vdot", input, other, (1, 1))


@function("ger")
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors' elements."""
    return input.unsqueeze(1) * vec2.unsqueeze(0)


@function()
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last axes of both."""
    if not input.ndim or not other.ndim:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


def _plus(product: Tensor, input: Tensor, beta: float, alpha: float) -> Tensor:
    y = _scaled(product, alpha)
    return y if beta == 0 else y + _scaled(input, beta)


@function(in_place=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * mm(mat1, mat2)."""
    return _plus(mm(mat1, mat2), input, beta, alpha)


@function(in_place=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * mv(mat, vec)."""
    return _plus(mv(mat, vec), input, beta, alpha)


@function(in_place=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    return _plus(outer(vec1, vec2), input, beta, alpha)


@function(in_place=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    return _plus(bmm(batch1, batch2), input, beta, alpha)


@function(in_place=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2).sum(0)."""
    return _plus(bmm(batch1, batch2).sum(0), input, beta, alpha)


@function(method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices in order. Raises ShapeError for tensors of other than two axes."""
    if any(m.ndim != 2 for m in matrices):
        raise ShapeError(f"chain_matmul takes matrices, found {', '.join(shown(m.shape) for m in matrices)}")
    y = matrices[0]
    for m in matrices[1:]:
        y = y @ m
    return y


def _square(name: str, x: Tensor) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name} takes square matrices (..., N, N), found a tensor of shape {shown(x.shape)}")


@function()
def matrix_power(input: Tensor, n: int) -> Tensor:
    """Square matrices (..., N, N) to a whole power, of the inverse below 0."""
    _square("matrix_power", input)
    n = operator.index(n)
    if n < 0:
        return matrix_power(inverse(input), -n)
    if not n:
        eye: Tensor = FUNCTIONS["eye"](input.shape[-1], dtype=input.dtype).expand(input.shape).clone()
        return eye
    y, base = None, input
    while True:  # no product with a unit matrix, which would spread what is infinite
        if n & 1:
            y = base.clone() if y is None else matmul(y, base)
        if not (n := n >> 1):
            assert y is not None
            return y
        base = matmul(base, base)


@function(method=False)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over some axes of both: the last of a and the first of b, or those that are named."""
    if isinstance(dims, int):
        ax, bx = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        ax, bx = ([normal_dim(d, t.ndim) for d in ds] for t, ds in zip((a, b), dims, strict=True))
    if len(ax) != len(bx):
        raise ShapeError(f"tensordot: {len(ax)} and {len(bx)} axes are named")
    for i, j in zip(ax, bx, strict=True):
        if a.shape[i] != b.shape[j]:
            if 1 not in (a.shape[i], b.shape[j]):
                raise ShapeError(f"tensordot: axes {i} of {shown(a.shape)} and {j} of {shown(b.shape)} are not as long")
            a, b = (  # 1 is for all
                t.sum(k, keepdim=True, dtype=t.dtype) if t.shape[k] != 1 else t for t, k in ((a, i), (b, j))
            )
    ra, rb = [i for i in range(a.ndim) if i not in ax], [i for i in range(b.ndim) if i not in bx]
    size = math.prod(a.shape[i] for i in ax)
    rows, columns = [a.shape[i] for i in ra], [b.shape[i] for i in rb]
    left = a.permute(*ra, *ax).reshape(math.prod(rows), size) if a.ndim else a.reshape(1, 1)
    right = b.permute(*bx, *rb).reshape(size, math.prod(columns)) if b.ndim else b.reshape(1, 1)
    return (left @ right).reshape(rows + columns)


@function(method=False)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The product of each element of input with all of other."""
    rank = max(input.ndim, other.ndim)
    a = input.reshape((1,) * (rank - input.ndim) + tuple(input.shape))
    b = other.reshape((1,) * (rank - other.ndim) + tuple(other.shape))
    wide = a.reshape([d for s in a.shape for d in (s, 1)]) * b.reshape([d for s in b.shape for d in (1, s)])
    return wide.reshape([s * t for s, t in zip(a.shape, b.shape, strict=True)])


METHODS["kron"] = kron


@function()
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Cross product of vectors of 3 elements along an axis, the first of that size where none is named."""
    made: Tensor = crossed(input, other, dim)
    return made


def crossed(input: Any, other: Any, dim: int | None) -> Any:
    """`cross` of tensors of any kind that roll and multiply."""
    threes = [i for i, d in enumerate(input.shape) if d == 3]
    at = normal_dim((threes or [-1])[0] if dim is None else dim, input.ndim, "cross")
    if not input.ndim or input.shape[at] != 3 or other.shape[at] != 3:
        raise ShapeError(f"cross takes an axis of 3, found {shown(input.shape)} and {shown(other.shape)}")
    return input.roll(-1, at) * other.roll(-2, at) - input.roll(-2, at) * other.roll(-1, at)


# --- einsum -----------------------------------------------------------------------------------------------------------
@function(method=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by letters: "bij,bjk->bik". Operands are put together from the left, each pair by a product of
    matrices; "..." stands for axes that broadcast. Operands each with a list of the numbers of its axes may be given
    instead, and a list for the result at last."""
    if not isinstance(equation, str):
        equation, operands = by_numbers((equation, *operands))
    xs: list[Tensor] = (
        list(operands[0]) if len(operands) == 1 and not isinstance(operands[0], Tensor) else list(operands)
    )
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise ShapeError(f"einsum: {len(terms)} terms for {len(xs)} operands")
    dots = max((x.ndim - len(t.replace("...", "")) for t, x in zip(terms, xs, strict=True) if "..." in t), default=0)
    names = [chr(0x3B1 + i) for i in range(dots)]
    spelled: list[str] = []
    for t, x in zip(terms, xs, strict=True):
        here = x.ndim - len(t.replace("...", ""))
        spelled.append(t.replace("...", "".join(names[dots - here :])) if "..." in t else t)
        if len(spelled[-1]) != x.ndim:
            raise ShapeError(f"einsum: term {t!r} does not name the {x.ndim} axes of {shown(x.shape)}")
    everything = "".join(spelled)
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(everything) if everything.count(c) == 1 and c not in names))
    result = right.replace("...", "".join(names))
    current, y = _diagonals(spelled[0], xs[0])
    for n in range(1, len(xs)):
        term, x = _diagonals(spelled[n], xs[n])
        needed = set(result) | set("".join(spelled[n + 1 :]))
        current, y = _pair(current, y, term, x, needed)
    drop = [i for i, c in enumerate(current) if c not in result]
    if drop:
        y = y.sum(drop)
        current = "".join(c for c in current if c in result)
    for c in result:
        if c not in current:
            raise ShapeError(f"einsum: {c!r} of the result is in no operand")
    return y.permute([current.index(c) for c in result]) if current != result else y


def by_numbers(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Letters for numbers of axes, 0 .. 51."""

    def spelled(axes: Any) -> str:
        if any(a is not Ellipsis and not 0 <= a < len(ascii_letters) for a in axes):
            raise ShapeError(f"einsum: axes are numbered from 0 to {len(ascii_letters) - 1}, found {list(axes)}")
        return "".join("..." if a is Ellipsis else ascii_letters[a] for a in axes)

    pairs, rest = arguments[: len(arguments) // 2 * 2], arguments[len(arguments) // 2 * 2 :]
    terms = ",".join(spelled(axes) for axes in pairs[1::2])
    return terms + "".join("->" + spelled(axes) for axes in rest), pairs[::2]


def _diagonals(term: str, x: Tensor) -> tuple[str, Tensor]:
    """Letters that a term has twice stand for diagonals."""
    while len(set(term)) != len(term):
        c = next(c for c in term if term.count(c) > 1)
        a, b = term.index(c), term.rindex(c)
        x = x.diagonal(0, a, b)
        term = term[:a] + term[a + 1 : b] + term[b + 1 :] + c
    return term, x


def _pair(a: str, x: Tensor, b: str, y: Tensor, needed: set[str]) -> tuple[str, Tensor]:
    """Two operands as one: letters of both are batches where they are needed later, else summed over."""
    for c in a:
        if c not in b and c not in needed:
            x, a = x.sum(a.index(c)), a.replace(c, "")
    for c in b:
        if c not in a and c not in needed:
            y, b = y.sum(b.index(c)), b.replace(c, "")
    batch = [c for c in a if c in b and c in needed]
    inner = [c for c in a if c in b and c not in needed]
    la, lb = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {c: x.shape[a.index(c)] for c in a}
    for c in b:
        n = y.shape[b.index(c)]
        if c in size and size[c] != n and 1 not in (size[c], n):
            raise ShapeError(f"einsum: {c!r} has sizes {size[c]} and {n}")
        size[c] = n if size.get(c, 1) == 1 else size[c]
    x = x.permute([a.index(c) for c in (*batch, *la, *inner)]).expand([size[c] for c in (*batch, *la, *inner)])
    y = y.permute([b.index(c) for c in (*batch, *inner, *lb)]).expand([size[c] for c in (*batch, *inner, *lb)])

    def total(letters: Sequence[str]) -> int:
        n = 1
        for c in letters:
            n *= size[c]
        return n

    bs = [size[c] for c in batch]
    made = x.reshape(*bs, total(la), total(inner)) @ y.reshape(*bs, total(inner), total(lb))
    letters = [*batch, *la, *lb]
    return "".join(letters), made.reshape([size[c] for c in letters])


_DISTANCE_MODES = (
    "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist",
)  # fmt: skip


@function(method=False)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """p-norm distances between all pairs of rows. `compute_mode` names PyTorch's ways to them; here there is one, by
    differences. Raises ValueError for a name that is none of them."""
    if compute_mode not in _DISTANCE_MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode, which is {', '.join(_DISTANCE_MODES)}")
    d = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return FUNCTIONS["norm"](d, p, -1)


@function()
def matrix_exp(input: Tensor) -> Tensor:
    """e to the power of square matrices (..., N, N), by scaling and squaring: a Taylor polynomial of x / 2^s, squared
    s times (Higham, Functions of Matrices, 2008, chapter 10). Columns of x / 2^s sum up to 1.4 in f32 (degree 12) and
    0.75 in f64 (degree 16): what is left out is below rounding. s is each matrix's own; the most of them is read where
    that is possible, and is 24 in a captured step, so that sums of columns of up to 2^23 are right there.
    Raises ShapeError for what is no square matrix.
    """
    _square("matrix_exp", input)
    x = floats(input)
    if x.dtype not in (f32, f64):
        return matrix_exp(x.to(f32)).to(x.dtype)
    if not x.numel():
        return x.clone()
    longest = x.detach().abs().sum(-2).amax(-1)[..., None, None]
    steps = (longest * (1 / 0.75 if x.dtype == f64 else 1 / 1.4)).clamp_min(1.0).log2().ceil()
    finite = longest < math.inf  # false for NaN, which then goes through the polynomial
    steps = FUNCTIONS["where"](finite, steps, 0.0)
    count = 24 if lazy.capturing() else int(whole(steps).amax().item())
    # Two factors, of which each is a float, where 2^-s is none.
    half = (steps * 0.5).floor()
    y = _exp_polynomial(x * FUNCTIONS["exp2"](-half) * FUNCTIONS["exp2"](half - steps))
    for i in range(count):
        y = FUNCTIONS["where"](steps > i, matmul(y, y), y)
    return y


def _exp_polynomial(x: Tensor) -> Tensor:
    """The first terms of the series of e^x, four of them a product (Paterson and Stockmeyer)."""
    eye = FUNCTIONS["eye"](x.shape[-1], dtype=x.dtype)
    second = matmul(x, x)
    powers = [eye, x, second, matmul(second, x)]
    fourth = matmul(second, second)
    degree = 16 if x.dtype == f64 else 12
    y = fourth * (1.0 / math.factorial(degree))
    for first in range(degree - 4, -1, -4):
        terms = (p * (1.0 / math.factorial(first + i)) for i, p in enumerate(powers))
        y = functools.reduce(operator.add, terms, y)
        y = matmul(y, fourth) if first else y
    return y
