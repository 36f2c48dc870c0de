"""Shapes, indices, sums and products of complex tensors, their methods and how they print.

Views are views of the pairs, with write-through. What is linear runs over real and imaginary parts by itself; products
are four of those of real tensors.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import TensorType
from . import arrange, copies, create, questions, reduce, strided  # noqa: F401  their methods are named below
from . import index as _index
from .complex import F, common, flags, multiplied, of_complex, of_four, parts
from .conversion import as_tensor, convert
from .copies import to_what
from .core import Tensor, change_shape, view_of
from .dims import normal_dim, normal_dims
from .dtypes import REAL_OF, dtype_of, result_dtype, type_name
from .linalg import by_numbers
from .pairs import ComplexTensor, joined, over, refuse, widened
from .register import ALIASES, COMPLEX, METHODS, by_name, has_complex
from .shape import dsplit, hsplit, sizes_of, vsplit
from .storage import data_ptr, storage_offset, untyped_storage


# --- views ------------------------------------------------------------------------------------------------------------
def _shape(z: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    found = list(sizes)
    if found.count(-1) == 1:
        known = math.prod(s for s in found if s != -1)
        if known == 0 or z.numel() % known:
            raise ShapeError(f"cannot reshape {list(z.shape)} to {list(sizes)}")
        found[found.index(-1)] = z.numel() // known
    return (*found, 2)


COMPLEX["reshape"] = lambda input, *shape: over(input._pair.reshape(*_shape(input, sizes_of(shape))))
COMPLEX["view_as"] = COMPLEX["reshape_as"] = lambda input, other: COMPLEX["reshape"](input, tuple(other.shape))
COMPLEX["ravel"] = lambda input: COMPLEX["reshape"](input, -1)


@of_complex("view")
def view(self: Any, *shape: Any) -> Tensor:
    """The same elements under another shape, or its parts as floats along the last axis, twice as long."""
    if len(shape) == 1 and not isinstance(shape[0], int | Sequence):
        dtype = dtype_of(shape[0])
        if dtype == self.dtype:
            return self
        if dtype != REAL_OF[self.dtype] or not self.ndim:
            raise DTypeError(f"view of {self.dtype} as {dtype} is not possible", help="use view_as_real()")
        made: Tensor = self._pair.view(*self.shape[:-1], 2 * self.shape[-1])
        return made
    return over(self._pair.view(*_shape(self, sizes_of(shape))))


@of_complex("flatten")
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes from start_dim to end_dim as one."""
    if not input.ndim:
        return over(input._pair.reshape(1, 2))
    return over(input._pair.flatten(normal_dim(start_dim, input.ndim), normal_dim(end_dim, input.ndim)))


def _axes_of(ndim: int, name: str, d: Any) -> Any:
    return normal_dim(d, ndim, name) if isinstance(d, int) else tuple(_axes_of(ndim, name, i) for i in d)


def _axes_first(name: str, count: int, *others: str) -> None:
    """Functions whose first arguments are axes, one or a sequence each."""

    def f(input: Any, *args: Any, **kwargs: Any) -> Any:
        one = functools.partial(_axes_of, input.ndim, name)
        fixed = [one(a) if i < count else a for i, a in enumerate(args)]
        kwargs = {k: one(v) if k.startswith("dim") or k in ("source", "destination") else v for k, v in kwargs.items()}
        return _over_all(METHODS[name](input._pair, *fixed, **kwargs))

    of_complex(name, *others)(f)


def _over_all(x: Any) -> Any:
    return tuple(over(t) for t in x) if isinstance(x, tuple) else over(x)


for _name, _count, _others in (
    ("transpose", 2, ("swapaxes", "swapdims")), ("movedim", 2, ("moveaxis",)), ("narrow", 1, ()), ("select", 1, ()),
    ("unflatten", 1, ()), ("unbind", 1, ()),
):  # fmt: skip
    _axes_first(_name, _count, *_others)
COMPLEX["unbind"] = lambda input, dim=0: _over_all(input._pair.unbind(normal_dim(dim, input.ndim)))


@of_complex("permute")
def permute(input: Any, *dims: Any) -> Tensor:
    """Axes in another order: a view."""
    order = [normal_dim(d, input.ndim, "permute") for d in sizes_of(dims)]
    return over(input._pair.permute(*order, input.ndim))


@of_complex("squeeze")
def squeeze(input: Any, dim: Any = None) -> Tensor:
    """Without axes of size 1, or without those of them that are named: a view."""
    dims = tuple(range(input.ndim)) if dim is None else ()
    if isinstance(dim, int) or dim:
        dims = normal_dims(dim, input.ndim, "squeeze")
    return over(input._pair.view(*(s for i, s in enumerate(input.shape) if i not in dims or s != 1), 2))


@of_complex("unsqueeze")
def unsqueeze(input: Any, dim: int) -> Tensor:
    """A new axis of size 1: a view."""
    return over(input._pair.unsqueeze(dim if dim >= 0 else dim - 1))


@of_complex("t")
def t(input: Any) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes itself."""
    if input.ndim > 2:
        raise ShapeError(f"t() takes at most two axes, found {list(input.shape)}")
    return COMPLEX["transpose"](input, 0, 1) if input.ndim == 2 else input


for _name in ("split", "chunk", "tensor_split"):
    COMPLEX[_name] = lambda input, given, dim=0, n=_name: _over_all(
        METHODS[n](input._pair, given, normal_dim(dim, input.ndim))
    )
for _f in (arrange.atleast_1d, arrange.atleast_2d, arrange.atleast_3d, hsplit, vsplit, dsplit):
    COMPLEX[_f.__name__] = inspect.unwrap(_f)  # made of views, of whatever they are given


@of_complex("diagonal")
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Elements (i, i + offset) of two axes, along a new last axis: a view."""
    a, b = (normal_dim(d, input.ndim, "diagonal") for d in (dim1, dim2))
    return over(input._pair.diagonal(offset, a, b).transpose(-2, -1))


def _change_shape(name: str) -> None:
    def f(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        change_shape(self._pair, COMPLEX[name](self, *args, **kwargs)._pair)
        found: Tensor = self
        return found

    COMPLEX[name + "_"] = f


for _name in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims"):
    _change_shape(_name)
COMPLEX["contiguous"] = lambda input, memory_format=None: over(input._pair.contiguous())
COMPLEX["is_contiguous"] = lambda input, memory_format=None: input._pair.is_contiguous()
COMPLEX["expand"] = lambda input, *sizes: over(input._pair.expand(*sizes_of(sizes), 2))
COMPLEX["expand_as"] = lambda input, other: COMPLEX["expand"](input, tuple(other.shape))
COMPLEX["broadcast_to"] = lambda input, size: COMPLEX["expand"](input, tuple(size))
COMPLEX["clone"] = lambda input: over(input._pair.clone())
COMPLEX["detach"] = lambda input: input.detach()
COMPLEX["is_inference"] = lambda input: False
COMPLEX["numel"] = lambda input: input.shape.numel()
COMPLEX["is_same_size"] = lambda input, other: input.shape == other.shape
COMPLEX["is_nonzero"] = lambda input: bool(input.item())


@of_complex("broadcast_tensors")
def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All expanded to their common shape, each in its dtype."""
    shape = tuple(F["broadcast_shapes"](*(x.shape for x in tensors)))
    return tuple(x.expand(shape) for x in tensors)


def _conjugate(v: Value) -> Value:
    return ops.mul(v, constant([1, -1], TensorType(v.type.element, (2,))))


@of_complex("conj")
def conj(input: Any) -> Tensor:
    """Imaginary parts with the other sign: a view."""
    return over(view_of(input._pair, _conjugate, lambda b, v: _conjugate(v), False))


@of_complex("adjoint")
def adjoint(input: Any) -> Tensor:
    """Matrices transposed and conjugated."""
    return COMPLEX["conj"](COMPLEX["transpose"](input, -2, -1))


# --- indices ----------------------------------------------------------------------------------------------------------
def _padded(z: Any, item: Any) -> Any:
    """An index of a complex tensor as one of its pair, which leaves the last axis alone."""
    items = item if isinstance(item, tuple) else (item,)
    return items if any(i is Ellipsis for i in items if not isinstance(i, Tensor)) else (*items, Ellipsis)


def _getitem(self: Any, item: Any) -> Tensor:
    if isinstance(item, bool) or (isinstance(item, Tensor) and not item.ndim and item.dtype.kind == "b"):
        return over(_index.getitem(self._pair, item))
    items = _padded(self, item)
    at = next(i for i, e in enumerate(items) if e is Ellipsis)
    if len(items) > at + 1:
        items = (*items, slice(None))
    return over(_index.getitem(self._pair, items))


def _setitem(self: Any, item: Any, value: Any) -> None:
    source = widened(value, self.dtype)
    if isinstance(item, Tensor) and item.dtype.kind == "b" and source.numel() == 1 and item.ndim == self.ndim:
        self._assign(F["where"](item, source.reshape(()), self))
        return
    items = _padded(self, item)
    at = next(i for i, e in enumerate(items) if e is Ellipsis)
    _index.setitem(self._pair, (*items, slice(None)) if len(items) > at + 1 else items, source._pair)


# --- linear functions -------------------------------------------------------------------------------------------------
def _linear(*names: str, values: str = "first") -> None:
    """Functions that run over parts. `values`: which arguments are numbers, not indices: the first or all."""
    for name in names:

        def f(*args: Any, _name: str = name, **kwargs: Any) -> Any:
            if (wanted := kwargs.pop("dtype", None)) is not None:  # parts have another
                args = (args[0].to(dtype_of(wanted)), *args[1:])
            given_: list[Any] = [*args, *kwargs.values()]
            dtype = _common_dtype(given_ if values == "all" else given_[:1] + [a for a in given_[1:] if has_complex(a)])
            made = []
            for part in (0, 1):
                picked = [_picked(a, dtype, part, values == "all" or i == 0) for i, a in enumerate(args)]
                named = {k: _picked(v, dtype, part, values == "all") for k, v in kwargs.items()}
                made.append(_function(_name)(*picked, **named))
            return _joined(*made)

        f.__name__ = name
        COMPLEX[name] = f


def _function(name: str) -> Any:
    return F[name] if name in F else METHODS[name]


def _common_dtype(args: Sequence[Any]) -> Any:
    found: list[Any] = []
    for a in args:
        found += [i for i in a if isinstance(i, Tensor)] if isinstance(a, list | tuple) else [a]
    return result_dtype([a for a in found if isinstance(a, Tensor) or has_complex(a)])


def _picked(a: Any, dtype: Any, part: int, is_value: bool) -> Any:
    if (
        isinstance(a, ComplexTensor)
        or (is_value and isinstance(a, Tensor))
        or (has_complex(a) and isinstance(a, complex))
    ):
        return parts(widened(a, dtype))[part]
    if isinstance(a, list | tuple) and any(isinstance(i, Tensor) for i in a):
        return [_picked(i, dtype, part, is_value) for i in a]
    return a


def _joined(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(_joined(x, y) for x, y in zip(a, b, strict=True))
    return joined(a, b)


_linear(
    "sum", "mean", "cumsum", "index_select", "gather", "take", "take_along_dim", "masked_select",
    "tril", "triu", "diag",
    "diag_embed", "diagflat", "trace", "roll", "flip", "fliplr", "flipud", "rot90", "repeat", "tile",
    "repeat_interleave", "diff", "unfold", "sum_to_size",
)  # fmt: skip
_linear(
    "cat", "stack", "hstack", "vstack", "dstack", "column_stack", "block_diag", "meshgrid", "cartesian_prod",
    "combinations", values="all",
)  # fmt: skip
_linear(
    "index_add",
    "index_copy",
    "scatter_add",
    "select_scatter",
    "slice_scatter",
    "diagonal_scatter",
)


# --- products ---------------------------------------------------------------------------------------------------------
def _bilinear(*names: str) -> None:
    for name in names:

        def f(input: Any, other: Any, *args: Any, _name: str = name, **kwargs: Any) -> Any:
            if input.dtype != other.dtype:
                raise DTypeError(
                    f"{_name} needs one dtype, found {input.dtype} and {other.dtype}", help="use x.to(dtype)"
                )
            return of_four(_function(_name), input, other, *args, **kwargs)

        f.__name__ = name
        COMPLEX[name] = f


_bilinear("matmul", "mm", "bmm", "mv", "dot", "inner")


def _promoted(*names: str) -> None:
    """Products whose operands may have different dtypes."""
    for name in names:

        def f(input: Any, other: Any, *args: Any, _name: str = name, **kwargs: Any) -> Any:
            a, b = common(input, other)
            return BILINEAR[_name](a, b, *args, **kwargs)

        COMPLEX[name] = f


_bilinear("outer", "kron", "tensordot", "cross")
BILINEAR = {n: COMPLEX[n] for n in ("outer", "kron", "tensordot", "cross")}
_promoted("outer", "kron", "cross")
COMPLEX["ger"] = COMPLEX["outer"]
COMPLEX["vdot"] = lambda input, other: COMPLEX["dot"](COMPLEX["conj"](input), other)


@of_complex("einsum")
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products of tensors; 2^n sums of products of real ones for n tensors."""
    if not isinstance(equation, str):
        equation, operands = by_numbers((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    return joined(*_einsum_parts(equation, [], common(*operands)))


def _einsum_parts(equation: str, real: list[Tensor], rest: Sequence[Any]) -> Any:
    """Real and imaginary parts, of which the latter are None without complex operands left. Not a function inside of
    another, which would hold itself, and tensors with it until the collector comes."""
    if not rest:
        return F["einsum"](equation, *real), None
    (a, b), (c, d) = (_einsum_parts(equation, [*real, part], rest[1:]) for part in parts(rest[0]))
    return (a, c) if b is None else (a - d, b + c)


@of_complex("prod")
def prod(input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Products over an axis, all where none is named, by halves."""
    z = widened(input, None if dtype is None else dtype_of(dtype))
    if dim is None:
        z, at = COMPLEX["ravel"](z), 0
        keepdim = False
    else:
        at = normal_dim(dim, z.ndim, "prod")
    if not z.ndim:
        return z
    n = z.shape[at]
    if n == 0:
        shape = [1 if i == at else s for i, s in enumerate(z.shape)]
        z = as_tensor(np.ones(shape), z.dtype)
    while n > 1:
        half = n // 2
        made = multiplied(z.narrow(at, 0, half), z.narrow(at, half, half))
        z = COMPLEX["cat"]([made, z.narrow(at, n - 1, 1)], at) if n % 2 else made
        n = z.shape[at]
    return z if keepdim else z.squeeze(at)


@of_complex("matrix_power")
def matrix_power(input: Any, n: int) -> Tensor:
    """Square matrices (..., N, N) to a whole power, of the inverse below 0."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise ShapeError(f"matrix_power takes square matrices, found a tensor of shape {list(input.shape)}")
    n = operator.index(n)
    if n < 0:
        return matrix_power(COMPLEX["inverse"](input), -n)
    y = as_tensor(np.broadcast_to(np.eye(input.shape[-1]), tuple(input.shape)), input.dtype)
    for _ in range(n):
        y = COMPLEX["matmul"](y, input)
    return y


@of_complex("inverse")
def inverse(input: Any) -> Tensor:
    """The inverse of square matrices (..., N, N), by that of real ones (..., 2 N, 2 N)."""
    return of_real_matrices("inverse", input)


@of_complex("matrix_exp")
def matrix_exp(input: Any) -> Tensor:
    """e to the power of square matrices (..., N, N), by that of real ones (..., 2 N, 2 N)."""
    return of_real_matrices("matrix_exp", input)


def block(z: Any) -> Tensor:
    """[[Re, -Im], [Im, Re]], (..., 2 M, 2 N): real matrices to which complex ones are isomorphic."""
    a, b = parts(z)
    made: Tensor = F["cat"]([F["cat"]([a, -b], -1), F["cat"]([b, a], -1)], -2)
    return made


def of_real_matrices(name: str, input: Any) -> Tensor:
    """A function that keeps the ring of `block`s."""
    if input.ndim < 2:
        raise ShapeError(f"{name} takes matrices, found a tensor of shape {list(input.shape)}")
    m, n = input.shape[-2:]
    wide = F[name](block(input))
    return joined(wide[..., :m, :n], wide[..., m:, :n])


@of_complex("norm")
def norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of sizes, computed in `dtype`; "nuc" the sum of singular values of matrices."""
    z = input if dtype is None else input.to(dtype_of(dtype))
    made: Tensor
    if p == "nuc":
        made = COMPLEX["linalg.matrix_norm"](z, "nuc", (-2, -1) if dim is None else dim, keepdim)
    else:
        made = F["norm"](COMPLEX["abs"](z), p, dim, keepdim)
    return made


COMPLEX["dist"] = lambda input, other, p=2: COMPLEX["norm"](COMPLEX["sub"](input, other), p)


@of_complex("var")
def var(input: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """Variances: those of real and of imaginary parts together."""
    made: Tensor = F["var"](input.real, dim, *args, **kwargs) + F["var"](input.imag, dim, *args, **kwargs)
    return made


COMPLEX["std"] = lambda *args, **kwargs: var(*args, **kwargs).sqrt()


# --- makers -----------------------------------------------------------------------------------------------------------
for _name in ("zeros_like", "ones_like", "empty_like"):

    def _like(input: Any, *, dtype: Any = None, _name: str = _name, **rest: Any) -> Tensor:
        made: Tensor = F[_name[:-5]](tuple(input.shape), dtype=dtype or input.dtype, **rest)
        return made

    COMPLEX[_name] = _like
for _name in ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"):
    COMPLEX[_name] = METHODS[_name]


@of_complex("randn_like")
def randn_like(input: Any, **rest: Any) -> Tensor:
    """Normal numbers of variance 1, half of it in each part."""
    half = REAL_OF[input.dtype]
    return over(F["randn"](*input.shape, 2, dtype=half) * math.sqrt(0.5))


# --- conversions and writing ------------------------------------------------------------------------------------------
@of_complex("to")
def to(self: Any, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **rest: Any) -> Tensor:
    """This tensor in another complex dtype, on another device, or as another complex tensor is. Raises DTypeError for
    other dtypes: `real` says that imaginary parts go."""
    dtype, device = to_what(args, dtype, device)
    found = self.dtype if dtype is None else dtype_of(dtype)
    if found.kind == "b":
        return METHODS["to"](flags(self), device=device)
    if found.kind != "c":
        raise DTypeError(f"a complex tensor is not converted to {found}", help="take its real, imag, or abs()")
    made = convert(self, found)
    pair = METHODS["to"](made._pair, device=device)
    made = _moved(made, pair)
    return COMPLEX["clone"](made) if copy and made is self else made


COMPLEX["type"] = lambda self, dtype=None: (
    type_name(self.dtype, self.device.type) if dtype is None else to(self, dtype_of(dtype))
)
COMPLEX["type_as"] = lambda self, other: to(self, other.dtype)
COMPLEX["cpu"] = lambda self: to(self, device="cpu")
COMPLEX["cuda"] = lambda self, device=None, non_blocking=False, memory_format=None: _moved(
    self, METHODS["cuda"](self._pair, device)
)
COMPLEX["pin_memory"] = COMPLEX["to_dense"] = lambda self: self


def _moved(z: Any, pair: Tensor) -> Any:
    return z if pair is z._pair else over(pair)


@of_complex("copy_")
def copy_(self: Any, src: Any, non_blocking: bool = False) -> Tensor:
    """As the method of floats."""
    METHODS["copy_"](self._pair, widened(src, self.dtype)._pair.expand(*self.shape, 2))
    return self


@of_complex("resize_")
def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Tensor:
    """As the method of floats."""
    METHODS["resize_"](self._pair, (*sizes_of(sizes), 2))
    return self


@of_complex("uniform_")
def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Any = None) -> Tensor:
    """Both parts as the method of floats."""
    METHODS["uniform_"](self._pair, from_, to, generator=generator)
    return self


@of_complex("normal_")
def normal_(self: Any, mean: complex = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """As the method of floats; each part has half of the variance."""
    METHODS["normal_"](self._pair, 0.0, std * math.sqrt(0.5), generator=generator)
    return COMPLEX["copy_"](self, COMPLEX["add"](self, mean)) if mean else self


COMPLEX["fill_"] = lambda self, value: COMPLEX["copy_"](self, value)
COMPLEX["zero_"] = lambda self: COMPLEX["copy_"](self, 0)
for _name in ("stride", "get_device", "is_pinned", "is_shared", "dim_order"):
    COMPLEX[_name] = METHODS[_name]
COMPLEX["storage_offset"] = lambda self: storage_offset(self._pair) // 2
COMPLEX["data_ptr"] = lambda self: data_ptr(self._pair)
COMPLEX["untyped_storage"] = lambda self: untyped_storage(self._pair)

_VIEWS = {
    "T": lambda self: permute(self, *reversed(range(self.ndim))), "mT": lambda self: self.transpose(-2, -1),
    "H": lambda self: adjoint(self) if self.ndim == 2 else COMPLEX["conj"](self), "mH": adjoint,
    "is_cuda": lambda self: self.device.type == "cuda", "is_cpu": lambda self: self.device.type == "cpu",
    "is_meta": lambda self: self.device.type == "meta",
}  # fmt: skip


def _operator(name: str, swapped: bool) -> Any:
    def run(self: Any, o: Any) -> Any:
        o = as_tensor(o) if isinstance(o, np.ndarray) else o
        if not isinstance(o, Tensor | bool | int | float | complex | np.generic):
            return NotImplemented
        return COMPLEX.get(name, refuse(name))(*((o, self) if swapped else (self, o)))

    return run


def attach_complex() -> None:
    """Put on `ComplexTensor` what each method means there; those that are not in `COMPLEX` refuse by name."""
    cls: Any = ComplexTensor
    for name, first in ALIASES.items():
        if first in COMPLEX:
            COMPLEX.setdefault(name, COMPLEX[first])
    names = {"truediv": "true_divide", "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and",
             "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
             "rshift": "bitwise_right_shift"}  # fmt: skip
    for name in (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "and",
        "or",
        "xor",
        "lshift",
        "rshift",
    ):
        f = names.get(name, name)
        setattr(cls, f"__{name}__", _operator(f, False))
        setattr(cls, f"__r{name}__", _operator(f, True))
        setattr(cls, f"__i{name}__", lambda self, o, f=f: self._assign(COMPLEX.get(f, refuse(f))(self, o)))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(cls, f"__{name}__", _operator(name, False))
    cls.__hash__ = object.__hash__
    cls.__neg__, cls.__pos__, cls.__abs__ = COMPLEX["neg"], COMPLEX["positive"], COMPLEX["abs"]
    cls.__invert__ = refuse("bitwise_not")
    cls.__getitem__, cls.__setitem__ = _getitem, _setitem
    for name, f in METHODS.items():
        if name in cls.__dict__ or name.startswith("__"):
            continue
        if name in _VIEWS:
            setattr(cls, name, property(_VIEWS[name]))
        elif isinstance(f, property):
            setattr(cls, name, property(refuse(name)))
        elif name == "where":
            setattr(cls, name, lambda self, condition, other: F["where"](condition, self, other))
        elif name in COMPLEX:
            setattr(cls, name, by_name(COMPLEX[name], f))
        elif name.endswith("_") and name[:-1] in COMPLEX and name not in ("abs_", "absolute_"):
            setattr(cls, name, lambda self, *a, f=COMPLEX[name[:-1]], **k: self._assign(f(self, *a, **k)))
        else:
            setattr(cls, name, refuse(name))
