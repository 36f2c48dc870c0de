"""Hooks of modules: handles that take them away again, and the gradients of a module's inputs and outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

from ..tensor import Function, Tensor
from ..tensor.watch import ModuleHooks

Hooks = OrderedDict[int, Any]


class Handle:
    """Takes a hook away: by `remove()`, or at the end of a `with`."""

    number = 0

    def __init__(self, hooks: Hooks) -> None:
        Handle.number += 1
        self.hooks, self.id = hooks, Handle.number

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        if self.hooks.pop(self.id, None) is not None:
            ModuleHooks.changes += 1

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *rest: object) -> None:
        self.remove()


def add_hook(hooks: Hooks, hook: Any, first: bool = False) -> Handle:
    """Add a hook behind the others, or before them."""
    handle = Handle(hooks)
    hooks[handle.id] = hook
    if first:
        hooks.move_to_end(handle.id, last=False)
    ModuleHooks.changes += 1
    return handle


class Global:
    """Hooks of all modules."""

    forward_pre: ClassVar[Hooks] = OrderedDict()
    forward: ClassVar[Hooks] = OrderedDict()
    backward_pre: ClassVar[Hooks] = OrderedDict()
    backward: ClassVar[Hooks] = OrderedDict()

    @classmethod
    def any(cls) -> bool:
        """Whether there is one."""
        return bool(cls.forward_pre or cls.forward or cls.backward_pre or cls.backward)


ModuleHooks.of_all = (Global.forward_pre, Global.forward, Global.backward_pre, Global.backward)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(module, args) before forward of every module; what it returns takes the arguments' place."""
    return add_hook(Global.forward_pre, hook)


def register_module_forward_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(module, args, output) after forward of every module; what it returns takes the output's place."""
    return add_hook(Global.forward, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(module, grad_output) before the gradients of every module."""
    return add_hook(Global.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(module, grad_input, grad_output) once they are known, for every module."""
    return add_hook(Global.backward, hook)


class _Pass(Function):
    """Tensors as they are; their gradients go through `seen`, which may replace them."""

    @staticmethod
    def forward(ctx: Any, seen: Callable[[Any], Any], *tensors: Tensor) -> Any:
        ctx.seen = seen
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.seen(gradients))


class BackwardHooks:
    """One call of a module whose gradients are watched."""

    def __init__(self, module: Any, before: Hooks, after: Hooks) -> None:
        self.module, self.before, self.after = module, before, after
        self.given: Any = None
        self.inputs = 0

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whose tensors' gradients go through the hooks."""
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.inputs = len(args)
        if not any(args[i].requires_grad for i in places):
            return args

        def seen(gradients: Any) -> Any:
            wide: list[Any] = [None] * len(args)
            for i, g in zip(places, gradients, strict=True):
                wide[i] = g if args[i].requires_grad else None
            found = self._call(tuple(wide))
            return [found[i] for i in places]

        self.inputs = 0
        passed = _Pass.apply(seen, *(args[i] for i in places))
        made = list(args)
        for i, t in zip(places, passed, strict=True):
            made[i] = t
        return tuple(made)

    def watch_outputs(self, result: Any) -> Any:
        """The result, whose tensors' gradients go through the hooks."""
        results = result if isinstance(result, tuple) else (result,)
        places = [i for i, a in enumerate(results) if isinstance(a, Tensor)]
        if not any(results[i].requires_grad for i in places):
            return result

        def seen(gradients: Any) -> Any:
            wide: list[Any] = [None] * len(results)
            for i, g in zip(places, gradients, strict=True):
                wide[i] = g
            given = tuple(wide)
            for hook in list(self.before.values()):
                found = hook(self.module, given)
                if found is not None:
                    given = found if isinstance(found, tuple) else (found,)
            self.given = given
            if self.inputs:
                self._call((None,) * self.inputs)
            return [given[i] for i in places]

        passed = _Pass.apply(seen, *(results[i] for i in places))
        made = list(results)
        for i, t in zip(places, passed, strict=True):
            made[i] = t
        return tuple(made) if isinstance(result, tuple) else made[0]

    def _call(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in list(self.after.values()):
            found = hook(self.module, gradients, self.given)
            if found is not None:
                gradients = found if isinstance(found, tuple) else (found,)
        return gradients
