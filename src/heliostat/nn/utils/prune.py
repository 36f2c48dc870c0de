"""Pruning: masks that set elements of parameters to 0. NAME_orig is the parameter, NAME_mask a buffer, and NAME their
product, made anew before each call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...tensor import FUNCTIONS, Tensor
from ...tensor.conversion import from_array
from ..module import Module
from .gradients import parameters_to_vector

Array = np.ndarray[Any, np.dtype[Any]]


class BasePruningMethod:
    """A way of choosing elements; also the hook that multiplies by the mask. Subclasses write `compute_mask` and set
    PRUNING_TYPE: "unstructured", "structured" or "global"."""

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of t, given the mask it has."""
        raise NotImplementedError(f"{type(self).__name__} has no compute_mask")

    def apply_mask(self, module: Module) -> Tensor:
        """The masked tensor."""
        name = self._tensor_name
        mask, original = getattr(module, name + "_mask"), getattr(module, name + "_orig")
        masked: Tensor = mask.to(original.dtype) * original
        return masked

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """t with the chosen elements 0."""
        scores = t if importance_scores is None else importance_scores
        mask = FUNCTIONS["ones_like"](t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, mask)

    def remove(self, module: Module) -> None:
        """Make the masked tensor the parameter."""
        name = self._tensor_name
        value = self.apply_mask(module)
        delattr(module, name)
        held = module._parameters[name + "_orig"]
        assert held is not None
        held.data = value.detach()
        del module._parameters[name + "_orig"], module._buffers[name + "_mask"]
        module.register_parameter(name, held)

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune a parameter of a module; what was pruned before stays so."""
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        found = [(k, h) for k, h in module._forward_pre_hooks.items() if _is_of(h, name)]
        if found:
            key, before = found[0]
            del module._forward_pre_hooks[key]
            container = PruningContainer()
            container._tensor_name = name
            for m in before if isinstance(before, PruningContainer) else [before]:
                container.add_pruning_method(m)
            container.add_pruning_method(method)
            method = container
        held = getattr(module, name)
        scores = held if importance_scores is None else importance_scores
        if tuple(scores.shape) != tuple(held.shape):
            raise AssertionError("importance_scores should have the same shape as parameter")
        if not found:
            module.register_parameter(name + "_orig", held)
            del module._parameters[name]
            default = FUNCTIONS["ones_like"](held.detach())
        else:
            default = getattr(module, name + "_mask").detach().clone()
        mask = method.compute_mask(scores.detach(), default)
        if name + "_mask" in module._buffers:
            module._buffers[name + "_mask"] = mask
        else:
            module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method


def _is_of(hook: Any, name: str) -> bool:
    return isinstance(hook, BasePruningMethod) and hook._tensor_name == name


class PruningContainer(BasePruningMethod):
    """Several ways of one tensor, one after the other."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._methods: list[BasePruningMethod] = []
        for method in args:
            self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add a way, for the same tensor."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._methods and method._tensor_name != self._tensor_name:
            raise ValueError("Can only add pruning methods acting on the parameter named '" + self._tensor_name + "'")
        self._methods.append(method)

    def __len__(self) -> int:
        return len(self._methods)

    def __iter__(self) -> Any:
        return iter(self._methods)

    def __getitem__(self, at: int) -> BasePruningMethod:
        return self._methods[at]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        method = self._methods[-1]
        mask = np.array(default_mask.array())
        if method.PRUNING_TYPE == "unstructured":
            kept = mask == 1
            part = from_array(np.asarray(t.array())[kept])
            mask[kept] = np.asarray(method.compute_mask(part, FUNCTIONS["ones_like"](part)).array())
            return from_array(mask, default_mask.dtype)
        if method.PRUNING_TYPE == "structured":
            axis = method.dim % t.ndim  # type: ignore[attr-defined]
            others = tuple(i for i in range(t.ndim) if i != axis)
            kept = mask.sum(others) != 0
            index: list[Any] = [slice(None)] * t.ndim
            index[axis] = kept
            part = from_array(np.asarray(t.array())[tuple(index)])
            mask[tuple(index)] *= np.asarray(method.compute_mask(part, FUNCTIONS["ones_like"](part)).array())
            return from_array(mask, default_mask.dtype)
        return method.compute_mask(t, default_mask)


def _count(amount: float, size: int) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1):
        raise ValueError(f"amount={amount} should either be a float in the range [0.0, 1.0] or a non-negative integer")
    found = amount if isinstance(amount, int) else round(amount * size)
    if found > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return int(found)


class Identity(BasePruningMethod):
    """Nothing is pruned, but the tensors of pruning are there."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """So many elements, or that part of them, by chance."""

    def __init__(self, amount: float) -> None:
        _count(amount, 1 << 62)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = np.array(default_mask.array()).reshape(-1)
        mask[np.asarray(FUNCTIONS["randperm"](t.numel()).array())[:n]] = 0
        return from_array(mask.reshape(tuple(t.shape)), default_mask.dtype)


class L1Unstructured(BasePruningMethod):
    """So many elements, or that part of them, of the smallest size."""

    def __init__(self, amount: float) -> None:
        _count(amount, 1 << 62)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = np.array(default_mask.array()).reshape(-1)
        mask[np.argsort(np.abs(np.asarray(t.array()).reshape(-1)), kind="stable")[:n]] = 0
        return from_array(mask.reshape(tuple(t.shape)), default_mask.dtype)


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"
    amount: float
    dim: int

    def _mask(self, t: Tensor, default_mask: Tensor, order: Array) -> Tensor:
        n = _count(self.amount, t.shape[self.dim])
        mask = np.array(default_mask.array())
        index: list[Any] = [slice(None)] * t.ndim
        index[self.dim % t.ndim] = order[:n]
        mask[tuple(index)] = 0
        return from_array(mask, default_mask.dtype)


class RandomStructured(_Structured):
    """So many slices along an axis, or that part of them, by chance."""

    def __init__(self, amount: float, dim: int = -1) -> None:
        _count(amount, 1 << 62)
        self.amount, self.dim = amount, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return self._mask(t, default_mask, np.asarray(FUNCTIONS["randperm"](t.shape[self.dim]).array()))


class LnStructured(_Structured):
    """So many slices along an axis, or that part of them, of the smallest n-norm."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        _count(amount, 1 << 62)
        self.amount, self.n, self.dim = amount, n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        others = [i for i in range(t.ndim) if i != self.dim % t.ndim]
        norms = np.asarray(t.norm(self.n, others).array())
        return self._mask(t, default_mask, np.argsort(norms, kind="stable"))


class CustomFromMask(BasePruningMethod):
    """What a given mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Add the tensors of pruning, with a mask of ones."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune so many elements, or that part of them, by chance."""
    RandomUnstructured.apply(module, name, amount=amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune so many elements, or that part of them, of the smallest size."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune so many slices along an axis by chance."""
    RandomStructured.apply(module, name, amount=amount, dim=dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune so many slices along an axis of the smallest n-norm."""
    LnStructured.apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune where a mask is 0."""
    CustomFromMask.apply(module, name, mask=mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune (module, name) pairs as if they were one tensor."""
    pairs = list(parameters)
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found {pruning_method}')
    scores = importance_scores or {}
    values = parameters_to_vector([scores.get((m, n), getattr(m, n)).detach() for m, n in pairs])
    masks = [getattr(m, n + "_mask", FUNCTIONS["ones_like"](getattr(m, n).detach())) for m, n in pairs]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    mask = container.compute_mask(values, parameters_to_vector(masks))
    at = 0
    for module, name in pairs:
        held = getattr(module, name)
        custom_from_mask(module, name, mask[at : at + held.numel()].reshape(held.shape))
        at += held.numel()


def remove(module: Module, name: str) -> Module:
    """Make the pruned tensor the parameter, for good."""
    for key, hook in module._forward_pre_hooks.items():
        if _is_of(hook, name):
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether a module, or one below it, is pruned."""
    return any(isinstance(hook, BasePruningMethod) for m in module.modules() for hook in m._forward_pre_hooks.values())
