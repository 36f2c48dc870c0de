"""What a compiled function depends on besides its arguments: the modules, optimizers and gradients that it reaches.

They are found where Python keeps them: arguments, closures, names of the module that the function uses, and attributes
of the object it belongs to. Other Python values are taken as they are at the capture.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from .capture import Captured
from .core import Tensor

MOST = 1000  # elements of a list that are looked at: longer ones are data


def is_module(x: Any) -> bool:
    return hasattr(x, "training") and hasattr(x, "_parameters") and callable(getattr(x, "modules", None))


def is_optimizer(x: Any) -> bool:
    return isinstance(getattr(x, "param_groups", None), list) and hasattr(x, "state")


def reached(function: Any, args: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """The modules and the optimizers that a function uses."""
    modules: dict[int, Any] = {}
    optimizers: dict[int, Any] = {}
    seen: set[int] = set()

    def look(x: Any, depth: int) -> None:
        if id(x) in seen or isinstance(x, Tensor | str | bytes | int | float | type):
            return
        seen.add(id(x))
        if is_module(x):
            for m in x.modules():
                modules.setdefault(id(m), m)
        elif is_optimizer(x):
            optimizers.setdefault(id(x), x)
        elif depth:
            for inner in _inside(x):
                look(inner, depth - 1)

    look(function, 5)
    for a in args:
        look(a, 3)
    return list(modules.values()), list(optimizers.values())


def _inside(x: Any) -> Iterator[Any]:
    if isinstance(x, list | tuple | set | frozenset):
        yield from itertools.islice(x, MOST)
    elif isinstance(x, dict):
        yield from itertools.islice(x.values(), MOST)
    elif isinstance(x, functools.partial):
        yield from (x.func, *x.args, *x.keywords.values())
    elif hasattr(x, "__func__"):
        yield from (x.__func__, x.__self__)
    elif hasattr(x, "__code__"):
        for cell in x.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                continue
        yield from (x.__globals__[name] for name in x.__code__.co_names if name in x.__globals__)
        yield from x.__defaults__ or ()
    elif type(x).__module__ != "builtins" and not hasattr(x, "__path__") and hasattr(x, "__dict__"):
        if hasattr(x, "__file__"):  # a Python module
            return
        yield from vars(x).values()


class ModuleHooks:
    """Of the hooks of modules, which `nn` keeps: how often one was added or taken away, and those of all modules."""

    changes: ClassVar[int] = 0
    of_all: ClassVar[tuple[Mapping[int, Any], ...]] = ()


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Watch:
    """How those things were at the capture."""

    def __init__(self, modules: Iterable[Any], optimizers: Iterable[Any]) -> None:
        self.modules = [(m, m.training) for m in modules]
        self.holders = [
            (m._parameters, m._buffers, _tensors(m)) for m, _ in self.modules if m._parameters or m._buffers
        ]
        self.optimizers = [(o, o.state, [(g["params"], len(g["params"])) for g in o.param_groups]) for o in optimizers]
        self.groups = [_Group(g) for o, *_ in self.optimizers for g in o.param_groups]
        self.hook_changes = ModuleHooks.changes
        own = (getattr(m, name, None) for m, _ in self.modules for name in _HOOKS)
        self.hooks = [(t, list(t)) for t in (*ModuleHooks.of_all, *own) if t is not None]
        self.grads: list[tuple[Any, bool]] = []

    def note(self, c: Captured) -> None:
        """Remember which gradients were there."""
        self.grads = [(o.tensor, o.grad is None) for o, _ in c.grads]

    def changed(self) -> str | None:
        """What is not as it was, None if nothing changed."""
        for m, training in self.modules:
            if m.training is not training:
                return f"{type(m).__name__}.training was {training}, is {m.training}"
        for t, none in self.grads:
            if (t._grad is None) is not none:
                return f"the gradient of a tensor of shape {list(t.shape)} was {'None' if none else 'there'}"
        for parameters, buffers, before in self.holders:
            n = 0
            for t in parameters.values():
                if n >= len(before) or before[n] is not t:
                    return "a parameter of a module is another tensor"
                n += 1
            for t in buffers.values():
                if n >= len(before) or before[n] is not t:
                    return "a buffer of a module is another tensor"
                n += 1
            if n != len(before):
                return "a module has fewer parameters or buffers"
        for o, state, groups in self.optimizers:
            if o.state is not state:
                return "the state of an optimizer was loaded"
            if len(o.param_groups) != len(groups) or any(len(params) != n for params, n in groups):
                return "an optimizer has other parameters"
        for group in self.groups:
            if not all(map(operator.is_, group.options.values(), group.seen)) and (which := group.switched()):
                return f"the option {which} of an optimizer changed"
        if self.hook_changes != ModuleHooks.changes:
            if any(list(t) != keys for t, keys in self.hooks):
                return "a hook of a module was added or removed"
            self.hook_changes = ModuleHooks.changes
        return None


class _Group:
    """Options of an optimizer. Numbers are asked for at each run, but rules leave a part out for 0: whether they are 0,
    and what is no number, is part of the program. seen: the values that were found alike last, held to be compared by
    identity."""

    __slots__ = ("options", "seen", "switches")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options, self.seen = options, tuple(options.values())
        self.switches = {k: _switch(v) for k, v in options.items() if k not in ("params", "param_names")}

    def switched(self) -> str | None:
        """The name of an option that needs another program, None if there is none."""
        for name, before in self.switches.items():
            if name not in self.options or _switch(self.options[name]) != before:
                return repr(name)
        self.seen = tuple(self.options.values())
        return None


def _switch(option: Any) -> Any:
    if isinstance(option, bool | str):
        return option
    if isinstance(option, int | float):
        return 1.5 if option else 0.5  # which neither a flag nor an id equals
    if isinstance(option, Tensor):
        return id(option)
    return tuple(map(_switch, option)) if isinstance(option, tuple | list) else option is None


def _tensors(m: Any) -> list[Any]:
    return [*m._parameters.values(), *m._buffers.values()]


class Kept:
    """The state of optimizers, to be put back where a capture fails."""

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self.found = [(o, {k: dict(s) if isinstance(s, dict) else s for k, s in o.state.items()}) for o in optimizers]

    def make(self) -> None:
        """Make what the first step of each would make: a capture then finds it, and its program serves later steps."""
        for o, _ in self.found:
            if (make := getattr(o, "make_state", None)) is not None:
                make(frozen=False)

    def forget(self, changed: Collection[int]) -> None:
        """Leave out what was made here of parameters that the captured step does not change, by the ids of tensors.
        Parameters share their counts of steps, which say nothing of one."""
        for o, before in self.found:
            for p in [p for p in o.state if p not in before]:
                own = [t for k, t in o.state[p].items() if k != "step"] or list(o.state[p].values())
                if not any(id(t) in changed for t in own):
                    del o.state[p]

    def restore(self) -> None:
        for o, state in self.found:
            o.state.clear()
            o.state.update(state)
