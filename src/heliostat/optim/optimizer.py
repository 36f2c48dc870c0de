"""`Optimizer`: groups of parameters, their state, hooks, saving and loading, with PyTorch's names and layout.

`RuleOptimizer` runs an update rule that is written once, as a function of tensors. What a rule is multiplied with, the
learning rate and the count of steps too, are tensors without axes: another number is not another program.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from ..diagnostics import UnsupportedError
from ..ir.types import bf16, f16, f32, f64
from ..tensor import FUNCTIONS, lazy, recorded
from ..tensor.autograd import enable_grad, usable
from ..tensor.conversion import convert, number_tensor
from ..tensor.core import RemovableHandle, Tensor, new
from ..tensor.gradient_mode import grad_mode
from ..tensor.pairs import ComplexTensor
from .walked import Group, Numbers, Row, State, Walked

WALKED = 32
"""Types of parameters that the rule of an optimizer is kept for."""
_pre_hooks: list[Any] = []
_post_hooks: list[Any] = []


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call hook(optimizer, args, kwargs) before every step of every optimizer."""
    _pre_hooks.append(hook)
    return RemovableHandle(_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call hook(optimizer, args, kwargs) after every step of every optimizer."""
    _post_hooks.append(hook)
    return RemovableHandle(_post_hooks, hook)


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with the hooks before and after it."""

    @functools.wraps(step)
    def run(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._inside:  # a step that calls the step of its base class
            return step(self, *args, **kwargs)
        self._inside = True
        try:
            for hook in [*_pre_hooks, *self._step_pre]:
                found = hook(self, args, kwargs)
                if found is not None:
                    if not (isinstance(found, tuple) and len(found) == 2):
                        raise RuntimeError(f"{hook} must return None or a tuple of (new_args, new_kwargs)")
                    args, kwargs = found
            made = step(self, *args, **kwargs)
            self._opt_called = True
            for hook in [*self._step_post, *_post_hooks]:
                hook(self, args, kwargs)
        finally:
            self._inside = False
        return made

    return run


class Optimizer:
    """Parameters in groups with options, and the state of each. Subclasses say what `step` does."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("an optimizer takes an iterable of tensors or dicts, found a single tensor")
        self.defaults = defaults
        self._hook_lists()
        self.state: defaultdict[Any, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _hook_lists(self) -> None:
        self._inside = self._opt_called = False
        self._walked: dict[tuple[Any, ...], Walked] = {}
        self._step_pre: list[Any] = []
        self._step_post: list[Any] = []
        self._state_pre: list[Any] = []
        self._state_post: list[Any] = []
        self._load_pre: list[Any] = []
        self._load_post: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._hook_lists()
        self.__dict__.update(state)

    def __repr__(self) -> str:
        rows = [f"{type(self).__name__} ("]
        for n, group in enumerate(self.param_groups):
            rows += [*([""] if n else []), f"Parameter Group {n}"]
            rows += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*rows, ")"])

    # --- groups ---------------------------------------------------------------------------------------------------
    def add_param_group(self, param_group: Group) -> None:
        """Optimize more parameters, with options of their own. Raises ValueError for what cannot be optimized."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("parameters need an order, but a set has none; use a list")
        listed = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in listed if isinstance(p, tuple)]
        if names and len(names) != len(listed):
            raise ValueError("all parameters of a group have names, or none has")
        listed = [p[1] if isinstance(p, tuple) else p for p in listed]
        param_group["params"] = listed
        if names:
            param_group["param_names"] = names
        for p in listed:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer takes tensors, found a parameter of {type(p).__name__}")
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"the group has no value for the option {name}, which has no default")
            param_group.setdefault(name, default)
        _supported(type(self).__name__, param_group)
        if len(set(map(id, listed))) != len(listed):
            warnings.warn("a group of parameters contains one twice", stacklevel=3)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(("param_names" in param_group) != ("param_names" in group) for group in self.param_groups):
            raise ValueError("either all groups of parameters have names, or none has")
        if any(id(p) in known for p in listed):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; without `set_to_none` they become 0."""
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is None:
                    continue
                p.grad = None if set_to_none else g.new_zeros(*g.shape)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters by their gradients."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    # --- state ----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """{"state": by number of the parameter, "param_groups": options, with the numbers of their parameters}."""
        for hook in self._state_pre:
            hook(self)
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            start = len(number)
            for p in group["params"]:
                if id(p) not in number:
                    number[id(p)] = start
                    start += 1
            packed = {k: v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [number[id(p)] for p in group["params"]]})
        state = {number[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        made: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._state_post:
            found = hook(self, made)
            made = made if found is None else found
        return made

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, in the dtypes of the parameters. Raises ValueError if the groups differ.

        The groups stay the same objects, so that a compiled step and schedulers see what was loaded."""
        state_dict = dict(state_dict)
        for hook in self._load_pre:
            found = hook(self, state_dict)
            state_dict = state_dict if found is None else found
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(self.param_groups, saved, strict=True)):
            raise ValueError("loaded state dict contains a parameter group of another size than the optimizer's")
        numbers = chain.from_iterable(group["params"] for group in saved)
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        by_number = dict(zip(numbers, params, strict=True))
        state: defaultdict[Any, State] = defaultdict(dict)
        for k, v in state_dict["state"].items():
            state[by_number.get(k, k)] = _taken(by_number[k], v) if k in by_number else v
        options = [{k: deepcopy(v) for k, v in group.items() if k != "params"} for group in saved]
        for group, found in zip(self.param_groups, options, strict=True):
            _supported(type(self).__name__, {**group, **found})
        for group, found in zip(self.param_groups, options, strict=True):
            kept = {k: group[k] for k in ("params", "param_names") if k in group}
            missing = {k: v for k, v in self.defaults.items() if k not in found}
            group.clear()
            group.update({**missing, **found, "params": kept["params"]})
            if "param_names" in kept and "param_names" not in group:
                group["param_names"] = kept["param_names"]
        self.state = state
        self._loaded()
        for hook in self._load_post:
            hook(self)

    def _loaded(self) -> None:
        """Called after state was loaded."""

    # --- hooks ----------------------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) before each step; it may return other args and kwargs."""
        self._step_pre.append(hook)
        return RemovableHandle(self._step_pre, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) after each step."""
        self._step_post.append(hook)
        return RemovableHandle(self._step_post, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(optimizer) before `state_dict`."""
        return _added(self._state_pre, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(optimizer, state_dict) after `state_dict`; what it returns takes its place."""
        return _added(self._state_post, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(optimizer, state_dict) before loading; what it returns takes its place."""
        return _added(self._load_pre, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(optimizer) after loading."""
        return _added(self._load_post, hook, prepend)


def _added(hooks: list[Any], hook: Any, prepend: bool) -> RemovableHandle:
    hooks.insert(0 if prepend else len(hooks), hook)
    return RemovableHandle(hooks, hook)


def _supported(name: str, group: Group) -> None:
    if group.get("differentiable"):
        raise UnsupportedError(f"{name}: differentiable=True is not supported", help="steps have no gradient here")
    if group.get("fused") and group.get("foreach"):
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def _taken(p: Tensor, value: Any, key: str = "") -> Any:
    """A loaded value as state of p: a tensor of its own, of p's dtype and on its device but for counts of steps."""
    if isinstance(value, Tensor):
        own: Tensor = new(Tensor, value.detach().value)
        if key == "step":
            return own
        own = own.to(p.device)
        return convert(own, p.dtype) if p.dtype.is_float else own
    if isinstance(value, dict):
        return {k: _taken(p, v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_taken(p, v) for v in value)
    return value


# --- rules ------------------------------------------------------------------------------------------------------------
class RuleOptimizer(Optimizer):
    """An optimizer with a rule for single parameters: `begin` makes their state, `shared` computes what all parameters
    of one count of steps use, `rule` gives the new parameter and state. A rule sees f16 and bf16 as f32."""

    counted = True  # whether parameters have a count of steps, as in PyTorch's state
    found_inf: Tensor | None = None  # where it is true when it is computed, a step changes nothing; of a GradScaler

    @property
    def takes_found_inf(self) -> bool:
        """Whether a step can leave everything as it is by `found_inf`: not where a rule makes state in its first."""
        return True

    def begin(self, p: Tensor, group: Group) -> State:
        """The state before the first step, but for the count."""
        return {}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> Any:
        """Numbers of a step. `step`: its count from 1, in float64."""
        return n

    def rule(self, p: Tensor, g: Tensor, s: State, n: Any, group: Group) -> tuple[Tensor, State]:
        """The new parameter and the new values of its state, of p, its gradient and its state."""
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    def make_state(self, frozen: bool = True) -> None:
        """Make the state of all parameters now instead of at their first step. `frozen`: of those that require no
        gradient, too."""
        with grad_mode(False):
            for group in self.param_groups:
                self._begin([p for p in group["params"] if frozen or p.requires_grad], group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters by their gradients, when they are read. Returns what closure, run before, returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with grad_mode(False):
            self._finish_last()
            for group in self.param_groups:
                self._update(group)
        return loss

    def _finish_last(self) -> None:
        """Compute the step before this if nobody did: open steps do not pile up, and all are of one structure."""
        if lazy.capturing() or not self._opt_called:
            return
        for group in self.param_groups:
            for p in group["params"]:
                p = parts(p)
                if p._grad is not None and lazy.buffer_of(p.value) is None:
                    lazy.flush()
                    return

    def _update(self, group: Group) -> None:
        found = [(p, usable(g)) for p in group["params"] if (g := p.grad) is not None]
        if not found:
            return
        self._begin([p for p, _ in found], group)
        self._count([p for p, _ in found])
        rows: list[Row] = [(held(parts(p)), held(parts(g)), self.state.get(p, {})) for p, g in found]
        made = self._once(group, rows) if recorded.allowed() else None
        for (p, _), (_, _, s), (value, state) in zip(
            found, rows, self._ruled(group, Numbers(group), rows) if made is None else made, strict=True
        ):
            self._write(parts(p), value)
            for k, v in state.items():
                if k in s:
                    self._write(s[k], v)
                else:
                    s[k] = v
            if s:
                self.state[p] = s

    def _ruled(self, group: Group, n: Numbers, rows: Sequence[Row]) -> list[tuple[Tensor, State]]:
        """New parameters and states, of parameters, gradients and states."""
        shared: dict[int, Any] = {}
        found: list[tuple[Tensor, State]] = []
        for p, g, s in rows:
            step = s.get("step")
            if id(step) not in shared:
                shared[id(step)] = self.shared(n, n.lr if step is None else convert(step, f64), group)
            wide = f32 if p.dtype in (f16, bf16) else p.dtype
            given = {k: convert(v, wide) if isinstance(v, Tensor) and v.dtype == p.dtype else v for k, v in s.items()}
            slope = convert(g, wide)
            slope = -slope if group.get("maximize") else slope
            value, state = self.rule(convert(p, wide), slope, given, shared[id(step)], group)
            kept = {k: convert(v, s[k].dtype if k in s else p.dtype) for k, v in state.items()}
            found.append((convert(value, p.dtype), kept))
        return found

    def _once(self, group: Group, rows: Sequence[Row]) -> list[tuple[Tensor, State]] | None:
        """`_ruled` as one node of the graph, None where it is none. Other types or options are walked anew."""
        if len(self._walked) > WALKED:
            self._walked.clear()
        numbers: dict[int, int] = {}  # tensors that several parameters share, as counts of steps, are one argument
        arguments: list[Tensor] = []
        key: list[Any] = []
        for p, g, s in rows:
            for k, t in (("p", p), ("g", g), *s.items()):
                if not isinstance(t, Tensor):
                    return None
                at = numbers.setdefault(id(t), len(arguments))
                if at == len(arguments):
                    arguments.append(t)
                key += (k, t._v.type, at)
        found = self._walked.get(tuple(key))
        if found is None or not found.fits(group):
            found = self._walked[tuple(key)] = Walked(self._ruled, group, rows, arguments)
        return found(group, arguments)

    def _write(self, t: Tensor, value: Tensor) -> None:
        t._assign(value if self.found_inf is None else FUNCTIONS["where"](self.found_inf, held(t), value))

    def _begin(self, params: Sequence[Tensor], group: Group) -> None:
        fresh = [p for p in params if not self.state.get(p)]
        counts: dict[str, Tensor] = {}  # on each device one: a compiled step writes it
        for p in fresh:
            made = self.begin(parts(p), group)
            if self.counted:
                device = p.device.name
                if device not in counts:
                    counts[device] = _count_on(device, 0.0)
                made = {"step": counts[device], **made}
            if made:
                self.state[p] = made

    def _count(self, params: Sequence[Tensor]) -> None:
        """Count a step. Parameters that were always changed together share a count; here they may part."""
        if not self.counted:
            return
        users = Counter(id(s["step"]) for s in self.state.values() if "step" in s)
        here: dict[int, list[State]] = {}
        for p in params:
            s = self.state[p]
            here.setdefault(id(s["step"]), []).append(s)
        for key, states in here.items():
            step = states[0]["step"]
            if len(states) < users[key]:
                step = new(Tensor, step.value)
                for s in states:
                    s["step"] = step
            self._write(step, step + 1)

    def _loaded(self) -> None:
        """Counts that are equal become one."""
        if not self.counted:
            return
        by_count: dict[tuple[float, str], Tensor] = {}
        for p, s in self.state.items():
            if "step" in s:
                key = (float(s["step"]), p.device.name)
                if key not in by_count:
                    by_count[key] = _count_on(key[1], key[0])
                s["step"] = by_count[key]


def _count_on(device: str, count: float) -> Tensor:
    return number_tensor(count, f32)._place(device)


# --- what rules are made of -------------------------------------------------------------------------------------------
def parts(x: Tensor) -> Tensor:
    """Real and imaginary parts of a complex tensor, which rules see in its place as PyTorch's do; other tensors as they
    are."""
    return x._pair if isinstance(x, ComplexTensor) else x


def held(x: Tensor) -> Tensor:
    """The values of x as they are now, through which no gradient flows."""
    return x._copied()


def like(p: Tensor, value: float = 0.0) -> Tensor:
    """One number everywhere, as p."""
    made: Tensor = p.new_zeros(*p.shape) if value == 0 else p.new_full(p.shape, value)
    return made


def mixed(a: Tensor, b: Tensor, weight: Any) -> Tensor:
    """a + weight * (b - a)."""
    return a + (b - a) * weight


def decayed(g: Tensor, p: Tensor, n: Numbers, group: Group) -> Tensor:
    """The gradient with that of the penalty weight_decay / 2 * p^2."""
    return g + p * n.weight_decay if _nonzero(group["weight_decay"]) else g


def shrunk(p: Tensor, n: Numbers, group: Group) -> Tensor:
    """p after decoupled weight decay."""
    return p * (1 - n.lr * n.weight_decay) if _nonzero(group["weight_decay"]) else p


def penalized(p: Tensor, g: Tensor, n: Numbers, group: Group) -> tuple[Tensor, Tensor]:
    """Parameter and gradient after weight decay, which is decoupled or a penalty as the group says."""
    if group["decoupled_weight_decay"]:
        return shrunk(p, n, group), g
    return p, decayed(g, p, n, group)


def _nonzero(option: Any) -> bool:
    return isinstance(option, Tensor) or option != 0


def check(name: str, ok: bool, value: Any) -> None:
    """Raise ValueError for an option that is out of its range."""
    if not ok:
        raise ValueError(f"Invalid {name}: {value}")


def check_lr(lr: Any) -> None:
    """Raise ValueError for a learning rate that is not one number of at least 0."""
    if isinstance(lr, Tensor):
        check("learning rate, a tensor of one element is needed", lr.numel() == 1, lr.shape)
    else:
        check("learning rate", lr >= 0, lr)


def check_betas(betas: Sequence[float]) -> None:
    """Raise ValueError for averages that do not forget or do not remember."""
    for n, beta in enumerate(betas):
        check(f"beta parameter at index {n}", 0 <= beta < 1, beta)
