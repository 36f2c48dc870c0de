"""Parameters computed from others: `module.weight` becomes a function of `module.parametrizations.weight.original`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...diagnostics import ShapeError
from ...tensor import Tensor, no_grad
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Buffer, Parameter

_cache: dict[tuple[int, str], Tensor] = {}
_cached = 0


@contextmanager
def cached() -> Iterator[None]:
    """Parametrized tensors are computed once inside the block, however often they are read."""
    global _cached
    _cached += 1
    try:
        yield
    finally:
        _cached -= 1
        if not _cached:
            _cache.clear()


def _register(owner: Module, name: str, value: Tensor, original: Tensor) -> None:
    if isinstance(original, Parameter):
        owner.register_parameter(name, Parameter(value, original.requires_grad))
    else:
        owner.register_buffer(name, value.detach())


class ParametrizationList(ModuleList):
    """The functions of one tensor, and what they start from: `original`, or `original0`, `original1` ..."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        self.unsafe = unsafe
        with no_grad():
            new: Any = original.detach()
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is not None:
                    new = inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            _register(self, "original", new, original)
        else:
            for i, value in enumerate(new):
                _register(self, f"original{i}", value, original)
        if not unsafe:
            shape, dtype = original.shape, original.dtype
            found = self()
            if not isinstance(found, Tensor) or found.shape != shape or found.dtype != dtype:
                seen = f"{list(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
                raise ShapeError(
                    f"Registering a parametrization may not change the shape or dtype of the tensor: it was "
                    f"{list(shape)} of {dtype} and becomes {seen}",
                    help="unsafe=True allows it",
                )

    def originals(self) -> list[Tensor]:
        """What the functions start from."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the functions give this value."""
        with no_grad():
            new: Any = value
            for module in reversed(list(self)):
                inverse: Any = getattr(module, "right_inverse", None)
                if inverse is None:
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                new = inverse(new)
            for held, given in zip(self.originals(), [new] if self.is_tensor else new, strict=True):
                held.data = given.detach().to(held.dtype)

    def forward(self) -> Tensor:
        first, *rest = list(self)
        x: Tensor = first(*self.originals())
        for module in rest:
            x = module(x)
        return x


ParametrizationContainer = ModuleDict
"""What `module.parametrizations` is: a ParametrizationList for each tensor."""


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrized tensors, or one of that name."""
    found = module._modules.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def type_before_parametrizations(module: Module) -> type:
    """The class of a module, without what parametrizing added."""
    cls = type(module)
    return cls.__bases__[0] if is_parametrized(module) else cls


def _property(name: str) -> property:
    def get(self: Any) -> Tensor:
        of_name: Any = self.parametrizations[name]
        if not _cached:
            return of_name()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = of_name()
        return _cache[key]

    def set_(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, set_)


def _own_class(module: Module) -> None:
    """Give a module a class of its own, which can have properties."""
    cls = type(module)

    def refuse(self: Any) -> Any:
        raise RuntimeError("Parametrized modules are not pickled; use state_dict()")

    def deep(self: Any, memo: dict[int, Any]) -> Any:
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made

    named = {"__reduce_ex__": lambda self, protocol: refuse(self), "__deepcopy__": deep}
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), named)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make a parameter or buffer of a module a function of what it was. A module with `right_inverse` says from what
    it starts; it may be several tensors. `unsafe`: shape and dtype may change."""
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        held: Any = module.parametrizations[tensor_name]
        before = held()
        with no_grad():
            inverse: Any = getattr(parametrization, "right_inverse", None)
            if inverse is not None:
                held.right_inverse(inverse(before.detach()))
            after = parametrization(before.detach())
        if not unsafe and (after.shape != before.shape or after.dtype != before.dtype):
            raise ShapeError(
                f"Registering a parametrization may not change the shape or dtype of {tensor_name!r}",
                help="unsafe=True allows it",
            )
        held.append(parametrization)
        return module
    table = next((t for t in (module._parameters, module._buffers) if t.get(tensor_name) is not None), None)
    if table is None:
        raise ValueError(
            f"Module '{type(module).__name__}' does not have a parameter, a buffer, or a parametrized element with "
            f"name '{tensor_name}'"
        )
    made = ParametrizationList([parametrization], table[tensor_name], unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _own_class(module)
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _property(tensor_name))
    held = module.parametrizations
    held._modules[tensor_name] = made
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a tensor a plain parameter or buffer again, of the value it has, or of its original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {type(module).__name__} does not have a parametrization on {tensor_name}")
    held: Any = module.parametrizations[tensor_name]
    first = held.originals()[0]
    if leave_parametrized:
        with no_grad():
            value = held()
    elif held.is_tensor:
        value = held.original
    else:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor of several originals.")
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if isinstance(first, Parameter):
        kept = held.is_tensor and first.shape == value.shape
        if kept:  # optimizers know this tensor
            first.data = value.detach()
        module.register_parameter(tensor_name, first if kept else Parameter(value, first.requires_grad))
    else:
        module.register_buffer(tensor_name, Buffer(value.detach()))
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Copy the parametrizations of one module, or of one of its tensors, and their values to another."""
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        source: Any = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(source()))
        for function in source:
            register_parametrization(to_module, name, copy.deepcopy(function), unsafe=source.unsafe)
        target: Any = to_module.parametrizations[name]
        for mine, its in zip(target.originals(), source.originals(), strict=True):
            mine.data = its.detach()
    return to_module
