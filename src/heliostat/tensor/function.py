"""`Function`: a user's own forward and backward, as in torch.autograd."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..diagnostics import GradientError
from ..ir.graph import Value, constant
from ..ir.types import TensorType
from ..ops.rules import shown
from . import lazy
from .core import Tensor, being_written, new
from .devices import placed
from .gradient_mode import grad_mode, is_grad_enabled


def _itself(root: Tensor) -> Tensor:
    return root


def _gone() -> None:
    """The tensor that held what was saved, where a later change of it is not asked for."""


class FunctionCtx:
    """What forward keeps for backward."""

    def __init__(self) -> None:
        self._saved: list[tuple[Tensor, Value, Callable[[], Tensor | None], int, bool] | None] = []
        self.needs_input_grad: tuple[bool, ...] = ()
        self._materialize = True
        self._not_differentiable: set[int] = set()
        self._dirty: set[int] = set()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward."""
        self._saved = []
        for t in tensors:
            if t is None:
                self._saved.append(None)
                continue
            v = t.value
            root = t if t._base is None else t._base
            if root is being_written():
                self._saved.append((t, v, _gone, 0, False))
            else:
                self._saved.append((t, v, functools.partial(_itself, root), root._version, True))

    save_for_forward = save_for_backward

    def _replace(self, y: Tensor, v: Value, made: Tensor) -> None:
        """What forward made and saved is the function's result, through which gradients of gradients flow."""
        held = weakref.ref(made)  # which holds this by what it is a result of
        self._saved = [
            (new(Tensor, v, True), v, held, made._version, False) if kept is not None and kept[0] is y else kept
            for kept in self._saved
        ]

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was kept. Raises GradientError where one of them was changed in place since."""
        found: list[Tensor | None] = []
        for kept in self._saved:
            if kept is None:
                found.append(None)
                continue
            t, v, held, version, given = kept
            root = held()
            if root is not None and root._version != version:
                what = f"a tensor of shape {shown(t.shape)} that was saved for backward was changed in place since"
                raise GradientError(what, help="save a clone()")
            found.append(t if given else new(Tensor, v, t._rg))
        return tuple(found)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say that outputs have no gradient."""
        self._not_differentiable |= {id(t) for t in tensors}

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say that inputs were written in place. Where forward returns them, they are the function's results."""
        self._dirty |= {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether outputs that were not used have a gradient of zeros rather than None."""
        self._materialize = value


def _zeros(type: TensorType, device: str | None) -> Tensor:
    v = ops.broadcast_to(constant(0, TensorType(type.element, ())), type.shape)
    made: Tensor = new(Tensor, v if device is None else placed(v, device))
    return made


class _Record:
    """One call: where its gradients come from and go to."""

    def __init__(self, function: Any, ctx: FunctionCtx, takes: Sequence[bool], inputs: Sequence[Value]) -> None:
        self.function, self.ctx = function, ctx
        # not the tensors themselves: results hold this, which holds results, until they are computed
        self.takes, self.inputs = list(takes), list(inputs)
        self.outputs: list[Value] = []
        self.others: dict[int, tuple[TensorType, str | None] | None] = {}
        """The results without a gradient, by their place among all: the type and device of tensors."""
        self.name = str(function.__name__)
        self.once = getattr(function.backward, "once_differentiable", False)

    def needs(self) -> list[Value]:
        """The values that a backward may read."""
        return [*self.inputs, *(kept[1] for kept in self.ctx._saved if kept is not None)]

    def mapped(self, new_: dict[int, Value]) -> _Record:
        """The same over other inputs, for a copy of the graph. What forward kept stays."""
        made = _Record(self.function, self.ctx, self.takes, [new_.get(id(v), v) for v in self.inputs])
        made.others = self.others
        return made

    def gradients(self, total: dict[int, Value]) -> list[tuple[Value, Value | None]]:
        """(input, its gradient) for each tensor input."""
        given: list[Tensor | None] = []
        for v in self.outputs:
            g = total.get(id(v))
            if g is None and self.ctx._materialize:
                g = ops.mul(ops.detach(v), 0) if v.type.dtype.is_float else ops.detach(v)
            given.append(None if g is None else new(Tensor, g, is_grad_enabled()))
        for at, other in self.others.items():
            given.insert(at, _zeros(*other) if other is not None and self.ctx._materialize else None)
        found = self.function.backward(self.ctx, *given)
        results = list(found) if isinstance(found, tuple | list) else [found]
        if len(results) < len(self.takes):
            name = self.function.__name__
            raise GradientError(f"{name}.backward gives {len(results)} gradients for {len(self.takes)} inputs")
        kept = [g for taken, g in zip(self.takes, results, strict=False) if taken]
        return [(v, None if g is None else g.value) for v, g in zip(self.inputs, kept, strict=True)]


class Function:
    """Base of functions with a gradient of their own: static `forward(ctx, ...)` and `backward(ctx, *gradients)`, or
    `forward(...)` with `setup_context(ctx, inputs, output)`."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The function's results."""
        raise NotImplementedError("a Function needs forward")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient of each argument of forward, None where it has none."""
        raise NotImplementedError("a Function needs backward")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Not called: forward mode runs what backward says, in the other direction."""
        raise NotImplementedError("jvp is not called: forward mode runs backward in the other direction")

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Not called: inside of vmap, forward and backward run on stand-ins for one element of the batch."""
        raise NotImplementedError("vmap is not called: forward runs on stand-ins for one element of the batch")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Call forward, and remember how to call backward."""
        ctx = FunctionCtx()
        tensors = [a for a in args if isinstance(a, Tensor)]
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        tracked = is_grad_enabled() and any(t.requires_grad for t in tensors)
        record = _Record(cls, ctx, [isinstance(a, Tensor) for a in args], [t.value for t in tensors])
        setup = getattr(cls, "setup_context", None)
        with grad_mode(False):
            if setup is not None:
                result = cls.forward(*args, **kwargs)
                setup(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        outputs = list(result) if isinstance(result, tuple) else [result]
        made: list[Any] = []
        for at, y in enumerate(outputs):
            if not isinstance(y, Tensor) or not tracked or id(y) in ctx._not_differentiable or not y.dtype.is_float:
                made.append(y)
                record.others[at] = (y.type_, y._home) if isinstance(y, Tensor) else None
                continue
            written = id(y) in ctx._dirty and any(y is t for t in tensors)
            if written:
                y._check_in_place()
            v = ops.detach(y.value)
            lazy.meta(v).function = record
            record.outputs.append(v)
            if written:
                y._write(v, True)
            made.append(y if written else new(Tensor, v, True))
            ctx._replace(y, v, made[-1])
        return tuple(made) if isinstance(result, tuple) else made[0]


def once_differentiable(function: Any) -> Any:
    """Say that a backward cannot be differentiated; what it gives has no gradient."""

    def run(ctx: Any, *gradients: Any) -> Any:
        with grad_mode(False):
            return function(ctx, *gradients)

    run.once_differentiable = True  # type: ignore[attr-defined]
    return run
