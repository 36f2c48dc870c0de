"""`torch.utils._pytree`: values inside of nested lists, tuples, dicts, and containers of types that are registered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple


class TreeSpec(NamedTuple):
    """A structure without its values. `type`: of a container, None for a value; `context`: what else it is made of."""

    type: Any
    context: Any
    children: tuple[TreeSpec, ...]

    @property
    def num_leaves(self) -> int:
        """The number of values."""
        return 1 if self.type is None else sum(child.num_leaves for child in self.children)


class MappingKey(NamedTuple):
    """The way to a value of a dict."""

    key: Any


Context = Any
Flatten = Callable[[Any], tuple[Any, Any]]
Unflatten = Callable[[Any, Any], Any]
LEAF = TreeSpec(None, None, ())


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(d.values()), list(d)


def _dict_flatten_with_keys(d: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    return [(MappingKey(key), value) for key, value in d.items()], list(d)


def _dict_unflatten(values: Any, context: Any) -> dict[Any, Any]:
    return dict(zip(context, values, strict=True))


SUPPORTED_NODES: dict[Any, tuple[Flatten, Unflatten]] = {
    dict: (_dict_flatten, _dict_unflatten),
    OrderedDict: (_dict_flatten, lambda values, keys: OrderedDict(zip(keys, values, strict=True))),
    list: (lambda x: (x, None), lambda values, context: list(values)),
    tuple: (lambda x: (x, None), lambda values, context: tuple(values)),
}


def register_pytree_node(cls: Any, flatten_fn: Flatten, unflatten_fn: Unflatten, **names: Any) -> None:
    """Take instances of a class apart too: `flatten_fn` gives values and a context, of which `unflatten_fn` makes one.
    Names, of which files of PyTorch would be made, are not needed."""
    SUPPORTED_NODES[cls] = (flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _ways(x: Any) -> tuple[Flatten, Unflatten] | None:
    kind = type(x)
    if kind not in SUPPORTED_NODES and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return lambda row: (list(row), None), lambda values, context: kind(*values)
    return SUPPORTED_NODES.get(kind)


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The values in order, and the structure around them. `is_leaf`: of what is taken as a value, whatever it is."""
    ways = None if is_leaf is not None and is_leaf(tree) else _ways(tree)
    if ways is None:
        return [tree], LEAF
    inner, context = ways[0](tree)
    parts = [tree_flatten(child, is_leaf) for child in inner]
    return [v for values, _ in parts for v in values], TreeSpec(type(tree), context, tuple(s for _, s in parts))


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The structure with other values. Raises ValueError for another number of them."""
    values = list(leaves)
    if len(values) != treespec.num_leaves:
        raise ValueError(f"tree_unflatten: {len(values)} values for a structure of {treespec.num_leaves}")
    if treespec.type is None:
        return values[0]
    made, start = [], 0
    for child in treespec.children:
        made.append(tree_unflatten(values[start : start + child.num_leaves], child))
        start += child.num_leaves
    if treespec.type in SUPPORTED_NODES:
        return SUPPORTED_NODES[treespec.type][1](made, treespec.context)
    return treespec.type(*made)


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The structure with `func` of each value, and of those in the same places of `rests`."""
    values, spec = tree_flatten(tree, is_leaf)
    others = [tree_flatten(other, is_leaf)[0] for other in rests]
    return tree_unflatten([func(*each) for each in zip(values, *others, strict=True)], spec)


def tree_map_only(kind: Any, func: Callable[[Any], Any], tree: Any) -> Any:
    """As `tree_map`, where values are of a type."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree)


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The values in order."""
    return tree_flatten(tree, is_leaf)[0]
