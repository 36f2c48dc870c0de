"""Reverse-mode gradients: `backward` walks the graph behind a tensor and builds each op's own gradient as graph.

What is built is as lazy as any other value and can be differentiated again. Gradients stop at leaves, which gather
them, and at `detach`.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..diagnostics import GradientError, ShapeError, UnsupportedError
from ..ir.graph import Node, Value, constant
from ..ir.types import DType, TensorType, f32
from ..ops import NotDifferentiable, Op
from ..ops.rules import shown
from . import lazy, recorded
from .core import Tensor, new
from .devices import beside, placed
from .gradient_mode import grad_mode, is_grad_enabled
from .pairs import ComplexTensor, over, widened
from .rewound import Behind
from .vectorize import vmap

__all__ = [
    "backward", "enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip

Pair = tuple[Value, Value]
Use = tuple[Value, "weakref.ref[Any]", int]

_AXES_ALONE = frozenset({"transpose", "reshape", "unsqueeze", "squeeze", "broadcast_to"})


def _parents(v: Value) -> Sequence[Value]:
    """The values that a gradient goes on to."""
    m = v.meta
    if m is not None:
        if m.function is not None:
            found: Sequence[Value] = m.function.inputs
            return found
        if m.is_end:
            return ()
    node = v.node
    if not node.inputs or node.op is lazy.DETACH:
        return ()
    return [p for p in node.inputs if _differentiable(p)]


def _order(roots: Sequence[Value], parents: dict[int, Sequence[Value]]) -> list[Value]:
    """Everything that gradients of the roots go through, operands before users; `parents` gets those of each."""
    order: list[Value] = []
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Value, bool]] = [(root, False)]
        while stack:
            v, placed = stack.pop()
            if placed:
                order.append(v)
                continue
            if id(v) in seen:
                continue
            seen.add(id(v))
            parents[id(v)] = above = _parents(v)
            if not above:
                order.append(v)
                continue
            stack.append((v, True))
            stack += [(i, False) for i in above if id(i) not in seen]
    return order


def differentiate(
    pairs: Sequence[Pair], wanted: Sequence[Value] | None, keep: bool
) -> tuple[list[Value], dict[int, Value]]:
    """Gradients of sum(seed * output) by value id, and all values behind the outputs in order.

    `wanted`: values whose gradients are asked for, None for all leaves. `keep`: whether the graph is kept for another
    time. Raises GradientError where it was not, and where a value that is needed was changed in place since."""
    total: dict[int, Value] = {}
    lazy.backwards[id(total)] = ([y for y, _ in pairs], total)
    try:
        return _differentiated(pairs, wanted, keep, total), total
    finally:
        del lazy.backwards[id(total)]


def _differentiated(
    pairs: Sequence[Pair], wanted: Sequence[Value] | None, keep: bool, total: dict[int, Value]
) -> list[Value]:
    parents: dict[int, Sequence[Value]] = {}
    order = _order([y for y, _ in pairs], parents)
    reaches = _reaching(order, wanted, parents)
    inner = {id(v) for v in order if any(id(p) in reaches for p in parents[id(v)])}
    for y, seed in pairs:
        _add(total, y, seed)
    uses: dict[int, tuple[Use, ...]] = {}  # of values inside of a function, those of its result
    waiting = Counter(id(v.meta.function) for v in order if v.meta is not None and v.meta.function is not None)
    needing: set[int] = set()
    made_of = _MadeOf()
    for v in reversed(order):
        g, m = total.get(id(v)), v.meta
        if g is not None and m is not None and m.hooks and id(v) in reaches:
            g = total[id(v)] = _hooked(m.hooks, g)
        if m is not None and m.function is not None:
            waiting[id(m.function)] -= 1  # its backward wants the gradients of all its results
            if not waiting[id(m.function)] and any(id(y) in total and id(y) in reaches for y in m.function.outputs):
                needing.update(id(y) for y in m.function.outputs)
                given = m.function.gradients(total)
                if lazy.anomaly.active is not None:
                    lazy.anomaly.active.check_gradients(v, [pg for _, pg in given if pg is not None])
                for p, pg in given:
                    if pg is not None and id(p) in reaches:
                        _add(total, p, pg)
            continue
        if g is None or id(v) not in inner:
            continue
        before = next(Node.count)
        inputs = v.node.inputs
        found = _of_node(v, g)
        used = [pg for p, pg in zip(inputs, found, strict=True) if id(p) in reaches]
        if lazy.anomaly.active is not None:
            lazy.anomaly.active.check_gradients(v, [pg for pg in used if pg is not None])
        needed, seen = _needed(v, g, used)
        if len(used) < len(inputs):
            _drop([pg for p, pg in zip(inputs, found, strict=True) if id(p) not in reaches], seen, before)
        known = m.uses if m is not None and m.uses else uses.get(id(v), ())
        for p in inputs:
            if p.meta is None or not p.meta.uses:
                other = uses.get(id(p), ())
                if other is not known:  # the same ones come by many ways
                    uses[id(p)] = _joined(other, known)
        if needed:
            needing.add(id(v))
            _check_versions(v, made_of.uses(needed, known), known)
        for p, pg in zip(inputs, found, strict=True):
            if id(p) in reaches and _differentiable(p):
                _add(total, p, _zeros(p) if pg is None else pg)
    if keep:
        lazy.keep_graph(order)
    else:
        _spend(order, needing, parents)
    return order


def _reaching(order: Sequence[Value], wanted: Sequence[Value] | None, parents: dict[int, Sequence[Value]]) -> set[int]:
    """The values that depend on wanted ones, on any leaf where none are named."""
    named = None if wanted is None else {id(v) for v in wanted}
    reaches: set[int] = set()
    for v in order:
        m = v.meta
        if (m is not None and m.spent) or lazy.is_cut(v):
            what = "backward goes a second time through a graph that was not kept"
            raise GradientError(what, help="give the first backward retain_graph=True")
        hit = (m is not None and m.leaf is not None) if named is None else id(v) in named
        if hit or any(id(p) in reaches for p in parents[id(v)]):
            reaches.add(id(v))
    return reaches


def _check_versions(v: Value, needed: set[int], uses: Sequence[Use]) -> None:
    """Raises GradientError where a tensor that held a needed value was changed since."""
    for used, owner, version in uses:
        t = owner()
        if id(used) in needed and t is not None and t._version != version:
            what = f"the gradient of {v.node.op.name} needs a tensor of shape {shown(used.type.shape)}"
            since = f"it is at version {t._version}, was used at version {version}"
            raise GradientError(f"{what} that was changed in place: {since}", help="change a clone() of it")


def _drop(unused: Sequence[Value | None], seen: set[int], before: int) -> None:
    """Cut gradients that nobody wants: they would hold what they were made of until the garbage collector comes."""
    stack = [v for v in unused if v is not None]
    while stack:
        v = stack.pop()
        if id(v) not in seen and v.node.serial > before and v.node.inputs:
            stack.extend(v.node.inputs)
            lazy.cut(v)


def _joined(some: tuple[Use, ...], more: tuple[Use, ...]) -> tuple[Use, ...]:
    """All uses of both, as the one that has them where that is so: what was found for it holds on."""
    if not some:
        return more
    found = {id(u): u for u in (*some, *more)}
    return some if len(found) == len(some) else more if len(found) == len(more) else tuple(found.values())


class _MadeOf:
    """Which values that tensors held are behind those that a gradient needs: functions of several ops need what they
    made on the way of what they were given, of which no tensor knows."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Sequence[Use], dict[int, frozenset[int]]]] = {}

    def uses(self, needed: Sequence[Value], known: Sequence[Use]) -> set[int]:
        """The values of `known`, by id, that the needed ones are or are made of."""
        if id(known) not in self._known:
            self._known[id(known)] = (known, {id(used): frozenset((id(used),)) for used, _, _ in known})
        found = self._known[id(known)][1]
        total: set[int] = set()
        for v in needed:
            if id(v) not in found:
                self._look(v, found)
            total |= found[id(v)]
        return total

    @staticmethod
    def _look(v: Value, found: dict[int, frozenset[int]]) -> None:
        stack = [v]
        while stack:
            p = stack[-1]
            inner = () if p.meta is not None and (p.meta.uses or p.meta.buffer is not None) else p.node.inputs
            ahead = [i for i in inner if id(i) not in found]
            if ahead:
                stack += ahead
                continue
            found[id(p)] = frozenset[int]().union(*(found[id(i)] for i in inner))
            stack.pop()


def _needed(v: Value, g: Value, found: Sequence[Value | None]) -> tuple[list[Value], set[int]]:
    """Which operands of a node, and whether its result, the gradients read; and all values that were looked at."""
    own = {id(v)}
    for p in v.node.inputs:
        own.update(id(source) for source in _views(p))
    seen = {id(g)}
    while len(g.node.inputs) == 1:  # rules look through views of g
        g = g.node.inputs[0]
        seen.add(id(g))
    needed: list[Value] = []
    stack = [p for p in found if p is not None]
    while stack:
        p = stack.pop()
        if id(p) in own:
            needed.append(p)
        elif id(p) not in seen:
            seen.add(id(p))
            stack.extend(p.node.inputs)
    return needed, seen


def _views(v: Value) -> list[Value]:
    """A value, and what it shows with other axes where no tensor holds it: functions turn their operands round."""
    found = [v]
    while v.node.op.name in _AXES_ALONE and (v.meta is None or not v.meta.uses):
        (v,) = v.node.inputs
        found.append(v)
    return found


def _spend(order: Sequence[Value], needing: set[int], parents: dict[int, Sequence[Value]]) -> None:
    """Mark what cannot be gone through again: values whose gradients needed others, and what was made of such."""
    spent: set[int] = set()
    lazy.let_go(order)
    for v in order:
        if id(v) in needing or any(id(p) in spent for p in parents[id(v)]):
            spent.add(id(v))
            lazy.meta(v).spent = True


def _of_node(v: Value, g: Value) -> Sequence[Value | None]:
    op = v.node.op
    assert isinstance(op, Op)
    if isinstance(op.gradient, NotDifferentiable):
        if not _differentiable(v):
            return [None] * len(v.node.inputs)
        raise UnsupportedError(f"{op.name} has no gradient: {op.gradient.reason}")
    found: Sequence[Value | None] = op.gradient(g, *v.node.inputs, v, **v.node.attrs)
    return found


def _differentiable(v: Value) -> bool:
    element = v.type.element
    return element is f32 or (isinstance(element, DType) and element.is_float)


def _zeros(v: Value) -> Value:
    """The gradient of a step function, which is 0 wherever it has one."""
    return ops.broadcast_to(constant(0, TensorType(v.type.dtype, ())), v.type.shape)


def _hooked(hooks: list[Callable[..., Any]], g: Value) -> Value:
    t: Tensor = new(Tensor, g)
    for hook in list(hooks):
        found = hook(t)
        if found is not None:
            t = found
    return t.value


def _add(total: dict[int, Value], v: Value, g: Value) -> None:
    if g.type.element != v.type.element:
        g = ops.cast(g, v.type.dtype)
    if g.type.shape != v.type.shape:
        g = ops.broadcast_to(g, v.type.shape)
    if g.device != v.device and v.device is not None and (v.device != "cpu" or g.device is not None):
        g = placed(g, v.device)
    before = total.get(id(v))
    total[id(v)] = g if before is None else ops.add(before, g)


def _seed(y: Tensor, g: Tensor | None) -> Value:
    if g is None:
        if y.numel() != 1:
            what = f"a gradient starts at one element, found a tensor of shape {shown(y.shape)}"
            raise GradientError(what, help="give the gradient of the output, or sum it first")
        if not y.dtype.is_float:
            raise GradientError(f"a gradient starts at a float, found a tensor of {y.dtype}")
        return ops.broadcast_to(constant(1, TensorType(y.dtype, ())), tuple(y.shape))
    if g.shape != y.shape:
        raise ShapeError(f"the gradient of an output of {shown(y.shape)} has shape {shown(g.shape)}")
    return g.value


def _check_tracked(outputs: Sequence[Tensor]) -> None:
    for y in outputs:
        if not y.requires_grad:
            what = f"an output of shape {shown(y.shape)} does not require grad and has no gradient"
            raise GradientError(what, help="set requires_grad of a leaf that it is made of, and leave no_grad()")


def _pairs(outputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> list[Pair]:
    _check_tracked(outputs)
    return [(y.value, _seed(y, g)) for y, g in zip(outputs, seeds, strict=True)]


def _many(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of tensors to the `grad` of the leaves behind them, or of `inputs`.

    tensors: of one element each, or with `grad_tensors` of their shapes. The graph is kept for another backward with
    `retain_graph`, by default where `create_graph` makes gradients that can be differentiated. Raises GradientError for
    other shapes, for tensors that do not require grad, for a graph that was not kept, and for one whose values were
    changed in place."""
    outputs = _many(tensors)
    outputs, grad_tensors = _of_parts(outputs, grad_tensors)
    inputs = None if inputs is None else [_part(t) for t in _many(inputs)]
    seeds = [None] * len(outputs) if grad_tensors is None else _many(grad_tensors)
    chosen = None if inputs is None else [t.value for t in _many(inputs)]
    with grad_mode(create_graph):
        keep = create_graph if retain_graph is None else retain_graph
        if chosen is None and not keep and recorded.allowed():
            order, total = _rewound(outputs, seeds)
        else:
            order, total = differentiate(_pairs(outputs, seeds), chosen, keep)
        named = None if chosen is None else {id(v) for v in chosen}
        for v in order:
            m = v.meta
            t = None if m is None or m.leaf is None else m.leaf()
            g = total.get(id(v))
            if t is None or g is None or (named is not None and id(v) not in named):
                continue
            _gather(t, g, create_graph)


def _rewound(outputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> tuple[Sequence[Value], dict[int, Value]]:
    """`differentiate` for all leaves, as one node where such a graph is known."""
    _check_tracked(outputs)
    parents: dict[int, Sequence[Value]] = {}
    values = [y.value for y in outputs]
    first = [None if g is None else g.value for g in seeds]
    if len(first) != len(values):
        return differentiate(_pairs(outputs, seeds), None, False)
    behind = Behind(values, first, parents, _order(values, parents))
    if behind.key is None:
        return differentiate(_pairs(outputs, seeds), None, False)
    total = behind.again()
    if total is None:
        _, total = differentiate(_pairs(outputs, seeds), None, False)
        total = behind.remember(total)
    return behind.order, total


def _gather(t: Tensor, g: Value, create_graph: bool) -> None:
    made: Tensor = new(Tensor, _beside(g, t) if create_graph else ops.detach(_beside(g, t)), create_graph)
    before = t.grad
    if before is not None:
        usable(before)
    t.grad = made if before is None else (before + made if create_graph else before.detach() + made)
    for hook in list(t._post or ()):
        hook(t)


def _beside(g: Value, t: Tensor) -> Value:
    """A gradient where the tensor lies that it belongs to."""
    v = t._v
    if g.device == v.device:
        return g
    return beside(g, v) if g.device is None else placed(g, v.device or "cpu")


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of outputs with respect to inputs, leaves or not, without touching any `grad`.

    `is_grads_batched`: grad_outputs have one more leading axis, and so have the gradients, one for each element of it.
    `only_inputs` has no other meaning than True. Raises GradientError for an input without influence, unless
    `allow_unused` gives None for it or `materialize_grads` zeros."""
    if not only_inputs:
        raise UnsupportedError("grad(only_inputs=False)", help="use backward() to gather the gradients of all leaves")
    if is_grads_batched:
        return _batched(outputs, inputs, grad_outputs, create_graph, allow_unused, materialize_grads)
    found, given = _many(outputs), _many(inputs)
    found, grad_outputs = _of_parts(found, grad_outputs)
    wanted = [_part(t) for t in given]
    seeds = [None] * len(found) if grad_outputs is None else _many(grad_outputs)
    for t in wanted:
        if not t.requires_grad:
            raise GradientError("one of the inputs does not require grad")
    values = [t.value for t in wanted]
    with grad_mode(create_graph):
        keep = create_graph if retain_graph is None else retain_graph
        _, total = differentiate(_pairs(found, seeds), values, keep)
        result: list[Tensor | None] = []
        for t, v in zip(wanted, values, strict=True):
            g = total.get(id(v))
            if g is None:
                if not (allow_unused or materialize_grads):
                    raise GradientError("an input is not used for the outputs", help="allow_unused=True gives None")
                result.append(t.new_zeros(*t.shape) if materialize_grads else None)
            else:
                g = _beside(g, t)
                result.append(new(Tensor, g if create_graph else ops.detach(g), create_graph))
    return tuple(
        over(g) if g is not None and isinstance(t, ComplexTensor) else g for t, g in zip(given, result, strict=True)
    )


def _batched(
    outputs: Any, inputs: Any, seeds: Any, create_graph: bool, allow_unused: bool | None, materialize_grads: bool
) -> tuple[Tensor | None, ...]:
    """`grad` for each element of the leading axis of where gradients start, in one batch."""
    given, unused = _many(inputs), set[int]()

    def one(*seeds: Any) -> tuple[Tensor, ...]:
        found = grad(outputs, given, list(seeds), True, create_graph, True, allow_unused, False, materialize_grads)
        unused.update(n for n, g in enumerate(found) if g is None)
        return tuple(g for g in found if g is not None)

    if seeds is None:
        raise GradientError("grad(is_grads_batched=True) takes grad_outputs with one more leading axis")
    rest = iter(vmap(one)(*_many(seeds)))
    return tuple(None if n in unused else next(rest) for n in range(len(given)))


def _part(t: Any) -> Any:
    """The floats of a complex tensor, which the graph knows."""
    return t._pair if isinstance(t, ComplexTensor) else t


def _of_parts(outputs: list[Any], seeds: Any) -> tuple[list[Any], Any]:
    """Outputs and where gradients start, as floats. Raises GradientError for a complex output without a start."""
    if not any(isinstance(y, ComplexTensor) for y in outputs):
        return outputs, None if seeds is None else [_part(g) for g in _many(seeds)]
    given = [None] * len(outputs) if seeds is None else _many(seeds)
    for y, g in zip(outputs, given, strict=True):
        if isinstance(y, ComplexTensor) and g is None:
            what = "a gradient starts at a real number, found a complex output"
            raise GradientError(what, help="give the gradient of the output, or take abs() or real")
    pairs = [
        widened(g, y.dtype)._pair if isinstance(y, ComplexTensor) else g for y, g in zip(outputs, given, strict=True)
    ]
    return [_part(y) for y in outputs], pairs


def backward_method(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of this tensor to the `grad` of the leaves behind it."""
    backward([self], [gradient], retain_graph, create_graph, inputs)


def usable(g: Tensor) -> Tensor:
    """A gradient that something is about to be made of. Raises GradientError where a compiled step did not keep it."""
    lazy.check_kept(getattr(g, "_pair", g)._v)
    return g


def no_grad(function: Any = None) -> Any:
    """Without recording what gradients need: a context manager and a decorator."""
    return grad_mode(False) if function is None else grad_mode(False)(function)


def enable_grad(function: Any = None) -> Any:
    """Recording what gradients need: a context manager and a decorator."""
    return grad_mode(True) if function is None else grad_mode(True)(function)


def inference_mode(mode: Any = True) -> Any:
    """`no_grad`, or `enable_grad` with mode=False: a context manager and a decorator. Tensors that are made inside are
    as all others."""
    return grad_mode(False)(mode) if callable(mode) else grad_mode(not mode)


class set_grad_enabled(grad_mode):
    """Record or not, from here on, or inside a `with`."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        super().__enter__()

    def __enter__(self) -> None:
        return None


class set_multithreading_enabled(grad_mode):
    """Nothing, now or inside a `with`: a backward is one program, whose threads compute one result together."""

    def __init__(self, mode: bool) -> None:
        super().__init__(is_grad_enabled())
