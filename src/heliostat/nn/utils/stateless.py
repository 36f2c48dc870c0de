"""Calls of a module with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...tensor import Tensor


@contextmanager
def swapped(module: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The module with other tensors at dotted names, for as long as the block runs."""
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for key, value in tensors.items():
            path, _, name = key.rpartition(".")
            owner = module.get_submodule(path)
            table = owner._parameters if name in owner._parameters else owner._buffers
            if name not in table:
                raise KeyError(f"the module has no parameter or buffer {key!r}")
            before.append((table, name, table[name]))
            table[name] = value
        yield module
    finally:
        for table, name, value in reversed(before):
            table[name] = value


def _tied(module: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With the same tensor at all names of one parameter, where one of them is given."""
    names: dict[int, list[str]] = {}
    for found in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, value in found:
            names.setdefault(id(value), []).append(name)
    made = dict(tensors)
    for same in names.values():
        given = [n for n in same if n in tensors]
        if given and len({id(tensors[n]) for n in given}) > 1:
            raise ValueError(f"functional_call got multiple values for tied keys {same}")
        for name in same if given else ():
            made[name] = tensors[given[0]]
    return made


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with other tensors at dotted names. `strict`: all names must be given, and no others."""
    given: dict[str, Tensor] = {}
    if isinstance(parameter_and_buffer_dicts, Mapping):
        given = dict(parameter_and_buffer_dicts)
    else:
        for part in parameter_and_buffer_dicts:
            given.update(part)
    if strict:
        wanted = {n for n, _ in (*module.named_parameters(), *module.named_buffers())}
        if wanted != set(given):
            raise RuntimeError(
                f"functional_call: missing keys {sorted(wanted - set(given))}, unexpected keys "
                f"{sorted(set(given) - wanted)}"
            )
    with swapped(module, _tied(module, given) if tie_weights else given):
        positional = args if isinstance(args, tuple) else () if args is None else (args,)
        return module(*positional, **(kwargs or {}))
