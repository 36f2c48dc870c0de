"""`ComplexTensor`: a tensor of complex numbers over one of floats whose last axis holds real and imaginary parts.

That axis is invisible outside. Functions see a complex tensor only where `complex.py` and its neighbours give them a
meaning; everything else asks for its graph value and is refused by that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics import DTypeError, GradientError, ShapeError, UnsupportedError
from ..ir.types import DType
from ..ops.rules import shown
from .conversion import as_tensor, convert, exact_tensor, from_array
from .core import Tensor
from .devices import Device
from .dims import Size, normal_dim
from .dtypes import COMPLEX_OF, REAL_OF, default_complex, of_numpy
from .reading import Array

HELP = {
    "complex": "take real and imag apart, or use view_as_real()", "quantized": "take dequantize() or int_repr()",
    "float8": "convert it by to()",
}  # fmt: skip
"""What may be done where a function takes no tensors of a kind."""


def refuse(name: str, kind: str = "complex") -> Any:
    """A function that says that `name` takes no tensors of a kind in HELP."""

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(f"{name} takes no {kind} tensors", help=HELP[kind])

    refused.__name__ = name
    refused.__doc__ = f"Refused: {name} takes no {kind} tensors. Raises UnsupportedError."
    return refused


def withheld(name: str, kind: str = "complex") -> Any:
    """A property that tensors of a kind have only in the parts that they are made of."""

    def get(self: Any) -> Any:
        raise UnsupportedError(f"this function takes no {kind} tensors", help=HELP[kind])

    return property(get, doc=f"Refused: a {kind} tensor has no {name} of its own. Raises UnsupportedError.")


class ComplexTensor(Tensor):
    """A tensor of complex64 or complex128. Gradients are PyTorch's: d / d real + i d / d imag of a real loss."""

    __slots__ = ("_pair",)
    _pair: Tensor
    _v, value, _base, _view, _rg, _leaf = (withheld(n) for n in ("value", "value", "base", "view", "flag", "flag"))

    def __new__(cls, data: Any = None, **kwargs: Any) -> Any:
        """Refused. Raises UnsupportedError: `heliostat.complex` and `heliostat.tensor` make complex tensors."""
        raise UnsupportedError("ComplexTensor is not called", help="use heliostat.tensor or heliostat.complex")

    # --- attributes -----------------------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return Size(self._pair.shape[:-1])

    @property
    def dtype(self) -> DType:
        """complex64 or complex128."""
        return COMPLEX_OF[self._pair.dtype]

    @property
    def device(self) -> Device:
        """Where the parts lie."""
        return self._pair.device

    @property
    def _home(self) -> str | None:
        return self._pair._home

    def _place(self, device: str) -> Tensor:
        """As the method of floats."""
        self._pair._place(device)
        return self

    def _copied(self) -> Tensor:
        return over(self._pair._copied())

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._pair.ndim - 1

    def host_array(self) -> Array:
        """The data as a read-only complex array, of a GPU's memory a copy. Computes what is open."""
        return _complex_array(self._pair.host_array())

    def item(self) -> complex:
        """The one element as a Python number. Raises ShapeError for another number of elements."""
        if self.numel() != 1:
            raise ShapeError(f"item() needs one element, found a tensor of shape {shown(self.shape)}")
        return complex(self.host_array().reshape(()).item())

    @property
    def real(self) -> Tensor:
        """The real parts: a view."""
        made: Tensor = self._pair.select(-1, 0)
        return made

    @real.setter
    def real(self, values: Any) -> None:
        self.real.copy_(values)

    @property
    def imag(self) -> Tensor:
        """The imaginary parts: a view."""
        made: Tensor = self._pair.select(-1, 1)
        return made

    @imag.setter
    def imag(self, values: Any) -> None:
        self.imag.copy_(values)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""
        return self._pair.requires_grad

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self._pair.requires_grad_(on)

    @property
    def is_leaf(self) -> bool:
        """Whether no function made it that gradients flow through."""
        return self._pair.is_leaf

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, None before the first."""
        g = self._pair.grad
        return None if g is None else over(g)

    @grad.setter
    def grad(self, g: Tensor | None) -> None:
        if g is not None and not isinstance(g, ComplexTensor):
            raise DTypeError(f"the gradient of a complex tensor is complex, found {g.dtype}")
        self._pair.grad = None if g is None else g._pair

    @property
    def grad_fn(self) -> Any:
        """What made the tensor, by name; None for leaves."""
        return self._pair.grad_fn

    @property
    def data(self) -> Tensor:
        """The same values, without gradients. Assigning to it replaces the values."""
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        self._pair.data = widened(other, self.dtype)._pair

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called."""
        return self._pair.retains_grad

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Say whether this leaf gathers a gradient."""
        self._pair.requires_grad_(on)
        return self

    def detach(self) -> Tensor:
        """The same values, through which no gradient flows."""
        return over(self._pair.detach())

    def detach_(self) -> Tensor:
        """Cut this tensor off from what made it."""
        self._pair.detach_()
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is no leaf."""
        self._pair.retain_grad()

    def register_hook(self, hook: Any) -> Any:
        """Call `hook` with the gradient of this tensor; what it returns takes the gradient's place."""

        def run(g: Tensor) -> Tensor | None:
            found = hook(over(g))
            return None if found is None else widened(found, self.dtype)._pair

        return self._pair.register_hook(run)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        """Call `hook` with this leaf after its gradient was added to."""
        return self._pair.register_post_accumulate_grad_hook(lambda pair: hook(self))

    # --- reading --------------------------------------------------------------------------------------------------
    def array(self) -> Array:
        """The data as a read-only complex array. Computes what is open.

        Raises UnsupportedError for a tensor on a GPU, as that of floats does."""
        return _complex_array(self._pair.array())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def _number(self, kind: Any) -> Any:
        z = self.item()
        if z.imag:
            raise DTypeError(f"{z} is no {kind.__name__}", help="take its real part")
        return kind(z.real)

    def __int__(self) -> int:
        return int(self._number(int))

    def __float__(self) -> float:
        return float(self._number(float))

    def __index__(self) -> int:
        raise DTypeError(f"only integers are indices, found a tensor of {self.dtype}")

    def __reduce__(self) -> Any:
        return (over, (self._pair,))

    def __deepcopy__(self, memo: Any) -> Tensor:
        return over(self._pair.__deepcopy__(memo))

    # --- writing --------------------------------------------------------------------------------------------------
    def _assign(self, other: Any) -> Tensor:
        source = widened(other, self.dtype)
        if source.shape != self.shape:
            what = f"a result of shape {shown(source.shape)} cannot be written in place into {shown(self.shape)}"
            raise ShapeError(what, help="a tensor keeps its shape in place: give the result one of its own")
        self._pair._assign(source._pair)
        return self

    def _in_place(self, f: Any, *args: Any, **kwargs: Any) -> Tensor:
        return self._assign(f(self, *args, **kwargs))

    def _check_in_place(self) -> None:
        self._pair._check_in_place()

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add gradients to the leaves behind this tensor, of which `gradient` is given: complex losses have none."""
        if gradient is None:
            raise GradientError(
                "a gradient starts at a real number, found a complex one", help="give gradient, or take abs() or real"
            )
        from .autograd import backward

        backward([self], [gradient], retain_graph, create_graph, inputs)


def _complex_array(pair: Array) -> Array:
    """Parts (..., 2) as complex numbers (...), read-only."""
    found = np.ascontiguousarray(pair)
    made = found.view(np.complex64 if found.dtype == np.float32 else np.complex128).reshape(pair.shape[:-1])
    made.setflags(write=False)
    return made


def over(pair: Tensor) -> Any:
    """A complex tensor over parts (..., 2) of float32 or float64. Raises DTypeError, and ShapeError for other axes."""
    if pair.dtype not in COMPLEX_OF:
        raise DTypeError(f"complex numbers are of float32 or float64, found {pair.dtype}", help="convert it by to()")
    if not pair.ndim or pair.shape[-1] != 2:
        raise ShapeError(f"complex numbers need a last axis of 2, found {shown(pair.shape)}")
    made = object.__new__(ComplexTensor)
    made._pair = pair
    return made


def joined(real: Tensor, imag: Tensor) -> Any:
    """A complex tensor of its parts, of one shape and dtype."""
    from .arrange import stack

    return over(stack([real, imag], -1))


def widened(x: Any, dtype: DType | None = None) -> Any:
    """A tensor or number as a complex tensor, of `dtype` or of the width that it has."""
    t = as_tensor(x) if dtype is None else exact_tensor(x, dtype)
    if isinstance(t, ComplexTensor):
        return t if dtype is None or t.dtype == dtype else over(convert(t._pair, REAL_OF[dtype]))
    wanted = dtype or COMPLEX_OF.get(t.dtype) or default_complex()
    real = convert(t, REAL_OF[wanted])
    return joined(real, _zeros(real))


def _zeros(x: Tensor) -> Tensor:
    from .create import filled

    return filled(tuple(x.shape), 0, x.dtype)


def of_array(array: Any, dtype: DType | None = None) -> Any:
    """A complex tensor that copies an array."""
    wanted = dtype or of_numpy(np.asarray(array).dtype)
    wide = np.asarray(array, np.complex128 if wanted.bits == 128 else np.complex64)
    parts = np.ascontiguousarray(wide).reshape(-1).view(REAL_NUMPY[wanted.bits]).reshape(*wide.shape, 2)
    return over(from_array(parts))


REAL_NUMPY: dict[int, Any] = {64: np.float32, 128: np.float64}


def axis(z: Tensor, dim: int, name: str = "") -> int:
    """An axis of a complex tensor counted from the front, so that it means the same of its parts."""
    return normal_dim(dim, z.ndim, name)
