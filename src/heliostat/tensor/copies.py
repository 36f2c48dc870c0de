"""Copies, conversions, writing whole tensors, and questions about a tensor that need no computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..diagnostics import DTypeError
from .conversion import convert, exact_tensor, of_sizes_or_data
from .core import Tensor, wrap
from .devices import name_of, placed
from .dtypes import dtype_of, type_name
from .memory_formats import check_memory_format, layout
from .register import METHODS, a_tensor, attribute, function, method
from .shape import expand


@function()
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A tensor of its own with the same values. It costs nothing: values are never written in place."""
    check_memory_format("clone", memory_format, input.shape)
    return wrap(input.value, input)


@method("contiguous")
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor; of a view in another order a copy."""
    check_memory_format("contiguous", memory_format, self.shape)
    return clone(self) if self._view is not None and self._view.strided else self


@method("is_contiguous")
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether elements lie in the order of the axes, as seen from outside."""
    check_memory_format("is_contiguous", memory_format)
    return self._view is None or not self._view.strided


def to_what(args: Sequence[Any], dtype: Any, device: Any) -> tuple[Any, str | None]:
    """The dtype and the name of the device among the arguments of a `to`, each None where there is none."""
    from ..ir.types import DType

    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, DType) or (isinstance(a, type) and a in (float, int, bool)):
            dtype = a
        elif a is not None and not isinstance(a, bool):
            device = a
    return dtype, None if device is None else name_of(device)


@method("to")
def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **rest: Any) -> Tensor:
    """This tensor in another dtype, on another device, or as another tensor is. It is copied when it is computed; the
    gradient goes back to where this one lies. Raises UnsupportedError for a device that is not known."""
    dtype, device = to_what(args, dtype, device)
    unknown = set(rest) - {"non_blocking", "memory_format"}
    if unknown:
        raise TypeError(f"to() takes no {', '.join(sorted(unknown))}")
    check_memory_format("to", rest.get("memory_format"), self.shape)
    made = self if dtype is None else convert(self, dtype_of(dtype))
    if device is not None and made.device.name != device:
        made = wrap(placed(made.value, device), made)
    return clone(made) if copy and made is self else made


@method("type")
def type_method(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of PyTorch's type, `torch.FloatTensor`, or this tensor in another dtype."""
    return type_name(self.dtype, self.device.type) if dtype is None else convert(self, dtype_of(dtype))


METHODS["type"] = type_method
del METHODS["type_method"]


@method("type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype of another."""
    return convert(self, other.dtype)


@method()
def new(self: Tensor, *data: Any, device: Any = None) -> Tensor:
    """As `Tensor(...)`, of sizes or a sequence, in the dtype and on the device of this one."""
    return to(of_sizes_or_data(data, self.dtype), device=self.device if device is None else device)


@method("cpu")
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor on the cpu; itself if it is there."""
    return self if self._v.device == "cpu" else to(self, device="cpu", memory_format=memory_format)


@method("cuda")
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """This tensor on a GPU, the current one where none is named; itself if it is there."""
    name = name_of("cuda" if device is None else device)
    if not name.startswith("cuda"):
        raise DTypeError(f"cuda() takes a GPU, found {device}", help="use cpu()")
    return to(self, device=name, memory_format=memory_format)


@method("copy_")
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the values of another tensor, broadcast to this shape and in this dtype."""
    source = convert(exact_tensor(src, self.dtype), self.dtype)
    if source._v.device is not None and source.device != self.device:
        source = to(source, device=self.device)
    return self._assign(expand(source, tuple(self.shape)))


@method("fill_")
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number everywhere."""
    return self._assign(expand(convert(exact_tensor(value, self.dtype), self.dtype), tuple(self.shape)))


@method("zero_")
def zero_(self: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return fill_(self, 0)


@method("stride")
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements between neighbours of each axis, as for a tensor in order."""
    steps: list[int] = []
    total = 1
    for s in reversed(self.shape):
        steps.insert(0, total)
        total *= max(s, 1)
    return tuple(steps) if dim is None else steps[dim]


@function(method=True)
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.shape.numel()


@function()
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a float dtype."""
    return input.dtype.is_float


@function()
def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    a_tensor("is_complex", input)
    return False


@function()
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input.dtype.kind in "if"


@function()
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not 0."""
    return bool(input.item())


@function(method=False)
def is_tensor(obj: Any) -> bool:
    """Whether something is a tensor."""
    return isinstance(obj, Tensor)


@function()
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two shapes are equal."""
    return input.shape == other.shape


@function()
def detach(input: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    return input.detach()


METHODS.pop("detach", None)


@method()
def get_device(self: Tensor) -> int:
    """The number of the GPU that it lies on, -1 on the cpu."""
    return -1 if self.device.index is None else self.device.index


@method()
def is_pinned(self: Tensor) -> bool:
    """False: copies need no memory of a kind of its own."""
    return False


@method("share_memory_")
def pin_memory(self: Tensor, *device: Any) -> Tensor:
    """This tensor, as it is."""
    return self


attribute("is_cuda", lambda self: self.device.type == "cuda", "bool")
attribute("is_cpu", lambda self: self.device.type == "cpu", "bool")
attribute("layout", lambda self: layout.strided, "layout")
for _kind in ("mkldnn", "mps", "mtia", "nested", "sparse", "sparse_csr", "vulkan", "xla", "xpu"):
    attribute(f"is_{_kind}", lambda self: False, "bool")
attribute("real", lambda self: self, "Tensor")
