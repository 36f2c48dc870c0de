"""Tensors that modules own: `Parameter` gathers a gradient, `Buffer` does not; both may come without a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ..diagnostics import UnsupportedError
from ..tensor import Tensor
from ..tensor.conversion import as_tensor
from ..tensor.core import new
from ..tensor.devices import default_name
from ..tensor.pairs import ComplexTensor, over
from ..tensor.whole import Whole


class Parameter(Tensor, Whole):
    """A tensor that registers itself as a parameter of the module it is assigned to. data: any shape, floats where a
    gradient is asked for."""

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        source = as_tensor(data if data is not None else [])
        made: Parameter
        if isinstance(source, ComplexTensor):
            made = object.__new__(ComplexParameter)
            made._pair = new(Tensor, source.detach()._pair.value)
        else:
            made = new(cls, source.detach().value)
        if made._home is None:
            made._place(default_name())
        if requires_grad:
            made.requires_grad_(True)
        return made

    def _kept(self) -> dict[str, Any]:
        return {"data": self.detach(), "requires_grad": self.requires_grad, "attributes": dict(self.__dict__)}

    @classmethod
    def _restored(cls, kept: Mapping[str, Any]) -> Self:
        made: Any = Parameter.__new__(cls, kept["data"], kept["requires_grad"] is True)
        made.__dict__.update(kept["attributes"])
        found: Self = made
        return found

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class ComplexParameter(ComplexTensor, Parameter):
    """A parameter of complex numbers: what `Parameter` makes of a complex tensor."""

    def __deepcopy__(self, memo: Any) -> Parameter:
        return Parameter(super().__deepcopy__(memo), self.requires_grad)

    def __reduce__(self) -> Any:
        return (Parameter, (over(self._pair.detach()), self.requires_grad))


class Buffer(Tensor, Whole):
    """A tensor that registers itself as a buffer of the module it is assigned to; in its state dict if `persistent`."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        source = as_tensor(data if data is not None else [])
        made: Buffer = new(cls, source.detach().value)
        if made._home is None:
            made._place(default_name())
        made.persistent = persistent
        return made

    def _kept(self) -> dict[str, Any]:
        return {"data": self.detach(), "persistent": self.persistent}

    @classmethod
    def _restored(cls, kept: Mapping[str, Any]) -> Self:
        made: Any = Buffer.__new__(cls, kept["data"], persistent=kept["persistent"] is True)
        found: Self = made
        return found


class Uninitialized:
    """What a tensor without a shape can do: get one. Everything that needs values is refused."""

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a tensor of zeros of that shape, of the class without "Uninitialized"."""
        from ..tensor import create

        tensor: Any = self
        kept = tensor.requires_grad
        self.__class__ = Parameter if isinstance(self, Parameter) else Buffer  # type: ignore[assignment]
        if kept:
            tensor.requires_grad_(False)
        tensor.data = create.zeros(*shape, dtype=dtype or tensor.dtype, device=device or tensor.device)
        tensor.requires_grad_(kept)

    @property
    def shape(self) -> Any:
        raise UnsupportedError(
            "a parameter without a shape has none yet", help="run the lazy module once, so that it sees its input"
        )

    @property
    def value(self) -> Any:
        raise UnsupportedError(
            "a parameter without a shape has no values yet", help="run the lazy module once, so that it sees its input"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter whose shape a lazy module finds from its first input."""

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        from ..tensor import create

        made: UninitializedParameter = new(cls, create.zeros(0, dtype=dtype, device=default_name(device)).value)
        made._rg = requires_grad
        return made


class UninitializedBuffer(Uninitialized, Buffer):
    """A buffer whose shape a lazy module finds from its first input."""

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        from ..tensor import create

        made: UninitializedBuffer = new(cls, create.zeros(0, dtype=dtype, device=default_name(device)).value)
        made.persistent = persistent
        made.requires_grad_(requires_grad)
        return made


def is_lazy(t: Any) -> bool:
    """Whether a tensor has no shape yet."""
    return isinstance(t, Uninitialized)
