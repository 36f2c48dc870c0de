"""`torch.utils._pytree`: values inside of nested lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class TreeSpec(NamedTuple):
    """A structure without its values. `kind`: of a container, None for a value; `keys`: of a dict, else None."""

    kind: Any
    keys: Any
    children: tuple[Any, ...]

    @property
    def num_leaves(self) -> int:
        """The number of values."""
        return 1 if self.kind is None else sum(child.num_leaves for child in self.children)


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The values in order, and the structure around them. `is_leaf`: of what is taken as a value, whatever it is."""
    if is_leaf is None or not is_leaf(tree):
        if isinstance(tree, dict):
            keys, inner = list(tree), list(tree.values())
        elif isinstance(tree, tuple | list):
            keys, inner = None, list(tree)
        else:
            return [tree], TreeSpec(None, None, ())
        parts = [tree_flatten(child, is_leaf) for child in inner]
        return [v for values, _ in parts for v in values], TreeSpec(type(tree), keys, tuple(s for _, s in parts))
    return [tree], TreeSpec(None, None, ())


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The structure with other values. Raises ValueError for another number of them."""
    values = list(leaves)
    if len(values) != treespec.num_leaves:
        raise ValueError(f"tree_unflatten: {len(values)} values for a structure of {treespec.num_leaves}")
    if treespec.kind is None:
        return values[0]
    made, start = [], 0
    for child in treespec.children:
        made.append(tree_unflatten(values[start : start + child.num_leaves], child))
        start += child.num_leaves
    if treespec.keys is not None:
        return treespec.kind(zip(treespec.keys, made, strict=True))
    return treespec.kind(*made) if hasattr(treespec.kind, "_fields") else treespec.kind(made)


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
