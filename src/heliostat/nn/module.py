"""`Module`: a tree of modules with parameters and buffers, its state dict, its hooks and its calls."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from ..diagnostics import HeliostatError, UnsupportedError
from ..tensor import FUNCTIONS, Tensor, no_grad
from ..tensor.compile import compile
from ..tensor.copies import to_what
from ..tensor.devices import default_name
from ..tensor.dtypes import dtype_of
from ..tensor.memory_formats import check_memory_format
from ..tensor.whole import Whole
from .hooks import BackwardHooks, Global, Handle, add_hook
from .parameter import Buffer, Parameter, Uninitialized, is_lazy

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"  # as PyTorch has it; programs compare names of parameters with it
_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_pre_hooks", "_load_post_hooks",
)  # fmt: skip


class StateDictError(HeliostatError, RuntimeError):
    """A state dict does not fit the module it is loaded into."""


class IncompatibleKeys(NamedTuple):
    """What a state dict lacked, and what it had beside what was asked for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _Findings(list[str]):
    """What is wrong with a state dict. before: module, name, tensor and its values, None where it was not written, of
    all that was loaded. Values are never written in place: to keep the old ones takes no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[tuple[Module, str, Any, Any]] = []

    def put_back(self) -> None:
        """Let everything be as it was."""
        with no_grad():
            for module, name, held, values in reversed(self.before):
                table = module._parameters if name in module._parameters else module._buffers
                table[name] = held
                if values is not None:
                    held.copy_(values)


class Module(Whole):
    """Base of all modules, with PyTorch's surface. Assigning a Parameter, Buffer or Module to an attribute registers
    it under that name. Subclasses write `forward`."""

    training: bool
    dump_patches = False
    _compiled_call: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = self.__dict__
        own["training"] = True
        for table in _TABLES:
            own[table] = {}
        own["_non_persistent_buffers_set"] = set()
        for hooks in _HOOKS:
            own[hooks] = OrderedDict()
        own["_hook_kwargs"] = set()
        own["_hook_always"] = set()

    # --- attributes -----------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._drop(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._registering("module")
            self._drop(name, "_modules")
            own["_modules"][name] = value
        elif isinstance(value, Buffer):
            self._registering("buffer")
            self._drop(name, "_buffers")
            self.register_buffer(name, value, value.persistent)
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise _refused(value, f"as parameter '{name}'", "heliostat.nn.Parameter or None expected")
            self.register_parameter(name, None)
        elif name in own.get("_modules", ()):
            if value is not None:
                raise _refused(value, f"as child module '{name}'", "heliostat.nn.Module or None expected")
            own["_modules"][name] = None
        elif name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise _refused(value, f"as buffer '{name}'", "heliostat.Tensor or None expected")
            own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _registering(self, what: str) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _drop(self, name: str, kept: str) -> None:
        own = self.__dict__
        own.pop(name, None)
        for table in _TABLES:
            if table != kept and table in own:
                own[table].pop(name, None)
        own.get("_non_persistent_buffers_set", set()).discard(name)

    def _check_name(self, name: str, table: str, what: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_kind(name)}")
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None for one that could be there. Raises KeyError for a name that is taken."""
        self._registering("parameter")
        self._check_name(name, "_parameters", "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_kind(param)}' object to parameter '{name}' (heliostat.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is no parameter; in the state dict if `persistent`."""
        self._registering("buffer")
        self._check_name(name, "_buffers", "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_kind(tensor)}' object to buffer '{name}' (heliostat.Tensor or None required)"
            )
        if tensor is not None and tensor._home is None:
            tensor._place(default_name())
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name, which may be no identifier."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_kind(module)} is not a Module subclass")
        self._check_name(name, "_modules", "module")
        self._modules[name] = module

    register_module = add_module

    # --- the tree -------------------------------------------------------------------------------------------------
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once, or with remove_duplicate=False wherever it stands."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (m for _, m in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        found = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in found:
            for name, value in module.__dict__[table].items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name, each once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its dotted name, each once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name. Raises AttributeError for none."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module) -> None:
        """Put a module at a dotted name, whose parent must exist."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        setattr(self.get_submodule(path), name, module)

    def _get(self, target: str, table: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in module.__dict__[table]:
            raise AttributeError(f"`{name}` is not {what}")
        return module.__dict__[table][name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        found: Parameter = self._get(target, "_parameters", "an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        found: Tensor = self._get(target, "_buffers", "a buffer")
        return found

    def get_extra_state(self) -> Any:
        """What else belongs in the state dict. A subclass that has something writes this and `set_extra_state`."""
        raise NotImplementedError(f"{type(self).__name__} has no extra state")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise NotImplementedError(f"{type(self).__name__} has no extra state")

    # --- the whole tree -------------------------------------------------------------------------------------------
    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call a function with every module below, then with this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, or evaluation: what dropout and batch norms do."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether parameters gather gradients."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients, or set them to 0."""
        for p in self.parameters():
            if p.grad is not None:
                p.grad = None if set_to_none else p.grad.new_zeros(*p.grad.shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Put fn(tensor) in the place of every parameter's and buffer's data."""
        for module in self.modules() if recurse else (self,):
            for p in module._parameters.values():
                if p is None or is_lazy(p):
                    continue
                with no_grad():
                    p.data = fn(p.detach())
                    if p.grad is not None:
                        p.grad = fn(p.grad)
            for name, b in module._buffers.items():
                if b is not None and not is_lazy(b):
                    module._buffers[name] = fn(b)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None, **rest: Any) -> Self:
        """Parameters and buffers on another device, and those of floats in another dtype. Gradients go with them."""
        unknown = set(rest) - {"non_blocking", "memory_format"}
        if unknown:
            raise TypeError(f"to() takes no {', '.join(sorted(unknown))}")
        check_memory_format("to", rest.get("memory_format"))
        dtype, name = to_what(args, dtype, device)
        wanted = None if dtype is None else dtype_of(dtype)
        if wanted is not None and not wanted.is_float:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={wanted}")
        if wanted is None and name is None:
            return self
        return self._apply(lambda t: t.to(dtype=wanted if t.dtype.is_float else None, device=name))

    def type(self, dst_type: Any) -> Self:
        """Parameters and buffers in another dtype."""
        return self._apply(lambda t: t.to(dtype_of(dst_type)))

    def float(self) -> Self:
        """Floats as float32."""
        return self.to(dtype_of("float32"))

    def double(self) -> Self:
        """Floats as float64."""
        return self.to(dtype_of("float64"))

    def half(self) -> Self:
        """Floats as float16."""
        return self.to(dtype_of("float16"))

    def bfloat16(self) -> Self:
        """Floats as bfloat16."""
        return self.to(dtype_of("bfloat16"))

    def cpu(self) -> Self:
        """Parameters and buffers on the cpu."""
        return self.to(device="cpu")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Parameters and buffers on another device, of the same shapes and dtypes; their values are to be given."""
        return self._apply(lambda t: FUNCTIONS["empty_like"](t, device=device), recurse)

    def cuda(self, device: Any = None) -> Self:
        """Parameters and buffers on a GPU, the current one where none is named. Raises DeviceUnavailableError."""
        return self.to(device="cuda" if device is None else device)

    def has_uninitialized_parameters(self) -> bool:
        """Whether a parameter or buffer, below it too, has no shape yet."""
        return any(is_lazy(t) for t in (*self.parameters(), *self.buffers()))

    def share_memory(self) -> Self:
        """This module; memory is not shared between processes."""
        return self

    # --- calls and hooks ------------------------------------------------------------------------------------------
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes. Subclasses say what it takes and returns."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def compile(self, **options: Any) -> None:
        """Run calls of this module as compiled programs from here on; options are those of `heliostat.compile`. Copies
        are not compiled."""
        self._compiled_call = compile(self._call_impl, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call_impl(*args, **kwargs) if self._compiled_call is None else self._compiled_call(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        own = self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
        if not own and not Global.any():
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._call_with_hooks(args, kwargs, called)
        except Exception:
            for key, hook in list(self._forward_hooks.items()):
                if key in self._hook_always and key not in called:
                    hook(self, args, kwargs, None) if key in self._hook_kwargs else hook(self, args, None)
            raise

    def _call_with_hooks(self, args: Any, kwargs: Any, called: set[int]) -> Any:
        for key, hook in [*Global.forward_pre.items(), *self._forward_pre_hooks.items()]:
            if key in self._hook_kwargs:
                found = hook(self, args, kwargs)
                if found is not None:
                    if not (isinstance(found, tuple) and len(found) == 2):
                        raise RuntimeError(
                            f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {found}."
                        )
                    args, kwargs = found
                continue
            found = hook(self, args)
            if found is not None:
                args = found if isinstance(found, tuple) else (found,)
        watched = None
        before = OrderedDict([*Global.backward_pre.items(), *self._backward_pre_hooks.items()])
        after = OrderedDict([*Global.backward.items(), *self._backward_hooks.items()])
        if before or after:
            watched = BackwardHooks(self, before, after)
            args = watched.watch_inputs(args)
        result = self.forward(*args, **kwargs)
        for key, hook in [*Global.forward.items(), *self._forward_hooks.items()]:
            called.add(key)
            found = hook(self, args, kwargs, result) if key in self._hook_kwargs else hook(self, args, result)
            if found is not None:
                result = found
        return result if watched is None else watched.watch_outputs(result)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call hook(module, args[, kwargs]) before forward; what it returns takes the arguments' place."""
        handle = add_hook(self._forward_pre_hooks, hook, prepend)
        if with_kwargs:
            self._hook_kwargs.add(handle.id)
        return handle

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Handle:
        """Call hook(module, args[, kwargs], output) after forward; what it returns takes the output's place."""
        handle = add_hook(self._forward_hooks, hook, prepend)
        if with_kwargs:
            self._hook_kwargs.add(handle.id)
        if always_call:
            self._hook_always.add(handle.id)
        return handle

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call hook(module, grad_output) before the module's gradients; what it returns takes grad_output's place."""
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call hook(module, grad_input, grad_output) once they are known; what it returns takes grad_input's place."""
        return add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """`register_full_backward_hook`: gradients are always those of the whole module."""
        return self.register_full_backward_hook(hook)

    # --- state ----------------------------------------------------------------------------------------------------
    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, state_dict, prefix, local_metadata) after this module's part was added."""
        return add_hook(self._state_dict_hooks, hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, prefix, keep_vars) before this module's part is added."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        before this module takes its part."""
        return add_hook(self._load_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(module, incompatible_keys) after loading; it may change the lists."""
        return add_hook(self._load_post_hooks, hook)

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, detached, but over the module's own values; the tensors
        themselves if `keep_vars`."""
        if args:
            raise TypeError("state_dict() takes destination, prefix and keep_vars by name")
        found: dict[str, Any] = OrderedDict() if destination is None else destination
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(found, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=found, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(self._state_dict_hooks.values()):
            made = hook(self, found, prefix, {})
            found = found if made is None else made
        return found

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, value in self._own_state():
            destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        kept = ((n, b) for n, b in self._buffers.items() if n not in self._non_persistent_buffers_set)
        return ((n, v) for n, v in itertools.chain(self._parameters.items(), kept) if v is not None)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
        assign: bool = False,
    ) -> None:
        for hook in list(self._load_pre_hooks.values()):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = list(self._own_state())
        for name, held in own:
            key = prefix + name
            if key in state_dict:
                self._load_one(name, key, held, state_dict[key], error_msgs, assign)
            elif strict:
                missing_keys.append(key)
        extra = prefix + _EXTRA_STATE_KEY_SUFFIX
        if type(self).set_extra_state is not Module.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if not strict:
            return
        names = {n for n, _ in own}
        for key in state_dict:
            if key.startswith(prefix) and key != extra:
                first, _, rest = key[len(prefix) :].partition(".")
                known = first in names if not rest else self._modules.get(first) is not None
                if not known:
                    unexpected_keys.append(key)

    def _load_one(self, name: str, key: str, held: Any, given: Any, error_msgs: list[str], assign: bool) -> None:
        if not isinstance(given, Tensor):
            error_msgs.append(
                f'While copying the parameter named "{key}", expected heliostat.Tensor or Tensor-like object from '
                f"checkpoint but received {type(given)}"
            )
            return
        if isinstance(held, Uninitialized):
            held.materialize(given.shape, dtype=given.dtype)
        lazy_one: Any = held
        if tuple(given.shape) != tuple(lazy_one.shape):
            if tuple(lazy_one.shape) == () and tuple(given.shape) == (1,):
                given = given.reshape(())
            else:
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
                    f"the shape in current model is {lazy_one.shape}."
                )
                return
        with no_grad():
            if isinstance(error_msgs, _Findings):
                values = None if assign or lazy_one.is_meta else lazy_one.clone()
                error_msgs.before.append((self, name, lazy_one, values))
            if not assign:
                if lazy_one.is_meta and not given.is_meta:
                    warnings.warn(
                        f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the "
                        "current model, which is a no-op. (Did you mean to pass `assign=True` to assign items in the "
                        "state dictionary to their corresponding key in the module instead of copying them in place?)",
                        stacklevel=2,
                    )
                lazy_one.copy_(given)
            elif name in self._parameters:
                same = isinstance(given, Parameter)
                self._parameters[name] = given if same else Parameter(given, lazy_one.requires_grad)
            else:
                self._buffers[name] = given

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Take values by dotted name. `strict`: every name must be there, and no other. `assign`: take the tensors
        themselves, with their dtypes. Raises StateDictError, with every finding; nothing is changed then."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors = _Findings()

        def load(module: Module, local: dict[str, Any], prefix: str) -> None:
            module._load_from_state_dict(local, prefix, {}, True, missing, unexpected, errors, assign)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {k: v for k, v in local.items() if k.startswith(below)}, below)
            found = IncompatibleKeys(missing, unexpected)
            for hook in list(module._load_post_hooks.values()):
                if hook(module, found) is not None:
                    raise TypeError("a hook after load_state_dict must return None and change the lists in place")

        try:
            load(self, dict(state_dict), "")
            if strict:
                for what, keys in (("Unexpected", unexpected), ("Missing", missing)):
                    if keys:
                        names = ", ".join(f'"{k}"' for k in keys)
                        errors.insert(0, f"{what} key(s) in state_dict: {names}. ")
            if errors:
                listed = "\n\t".join(errors)
                raise StateDictError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        except BaseException:
            errors.put_back()
            raise
        return IncompatibleKeys(missing, unexpected)

    # --- text -----------------------------------------------------------------------------------------------------
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the brackets of the module's text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indented(repr(child))}" for name, child in self._modules.items()]
        name = self._get_name()
        if not children and len(lines) == 1:
            return f"{name}({extra})"
        if not children and not lines:
            return f"{name}()"
        return f"{name}(\n  " + "\n  ".join(lines + children) + "\n)"

    # --- files ----------------------------------------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_compiled_call"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _kept(self) -> dict[str, Any]:
        """`__getstate__` without tables of hooks. Raises UnsupportedError where one has hooks, or it gives no dict."""
        if any(self.__dict__[table] for table in _HOOKS):
            what = f"save: a {type(self).__name__} has hooks, which are not stored"
            raise UnsupportedError(what, help="remove them, or save its state_dict")
        state: Any = self.__getstate__()
        if not isinstance(state, dict):
            what = f"save: __getstate__ of a {type(self).__name__} gives a {type(state).__name__}"
            raise UnsupportedError(what, help="return a dict of attributes, or save its state_dict")
        return {k: v for k, v in state.items() if k not in _HOOKS}

    @classmethod
    def _restored(cls, kept: Mapping[str, Any]) -> Self:
        made = cls.__new__(cls)
        Module.__init__(made)
        made.__setstate__(dict(kept))
        return made


def _indented(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line for line in rest)])


def _refused(value: Any, where: str, wanted: str) -> TypeError:
    return TypeError(f"cannot assign '{_kind(value)}' {where} ({wanted})")


def _kind(value: Any) -> str:
    cls = type(value)
    return f"{cls.__module__}.{cls.__qualname__}" if cls.__module__ != "builtins" else cls.__qualname__
