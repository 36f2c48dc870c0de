"""L-BFGS with a strong Wolfe line search. Sources: Nocedal and Wright, chapters 3 and 7; torch.optim.LBFGS.

Its steps look at values, so they compute what they need at once; each part has one structure, however long the history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import lazy
from ..tensor.arrange import cat
from ..tensor.autograd import enable_grad
from ..tensor.core import Tensor, new
from ..tensor.gradient_mode import grad_mode
from .optimizer import Optimizer, check_lr, held

Evaluate = Callable[[Any], tuple[float, Tensor]]


class LBFGS(Optimizer):
    """Steps along the gradient times an estimate of the inverse Hessian. One group of parameters; needs a closure."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        found: list[Tensor] = self.param_groups[0]["params"]
        return found

    def _slope(self) -> Tensor:
        """The gradient of all parameters as one vector, computed."""
        rows = [p.new_zeros(*p.shape) if p.grad is None else held(p.grad) for p in self._params]
        return _computed(cat([r.reshape(-1) for r in rows], 0))

    def _move(self, size: Any, direction: Tensor) -> None:
        at = 0
        for p in self._params:
            part = direction[at : at + p.numel()].reshape(p.shape)
            p._assign(held(p) + part * float(size))
            at += p.numel()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimize for up to max_iter iterations. closure: makes the gradients anew and returns the loss."""
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that makes the gradients anew and returns the loss")
        with grad_mode(False):
            return self._minimize(enable_grad(closure))

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, max_iter, change = float(group["lr"]), group["max_iter"], group["tolerance_change"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = closure()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        g = self._slope()
        if _largest(g) <= group["tolerance_grad"]:
            return first
        d: Tensor | None = state.get("d")
        t = state.get("t")
        before, before_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = _computed(-g)
                state.update({"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1})
            else:
                assert d is not None
                d = self._direction(state, g, before, d, t, group["history_size"])
            before, before_loss = g, loss
            t = min(1.0, 1.0 / _number(g.abs().sum())) * lr if state["n_iter"] == 1 else lr
            along = _number((g * d).sum())
            if along > -change:
                break
            used = 0
            best = False
            if group["line_search_fn"] is not None:
                start = [held(p) for p in self._params]

                def evaluate(size: Any, start: Any = start, d: Tensor = d) -> tuple[float, Tensor]:
                    self._move(size, d)
                    found = float(closure())
                    slope = self._slope()
                    for p, x in zip(self._params, start, strict=True):
                        p._assign(x)
                    return found, slope

                loss, g, t, used = _strong_wolfe(
                    evaluate, t, d, loss, g, along, group["max_eval"] - evaluations, change
                )
                self._move(t, d)
                best = _largest(g) <= group["tolerance_grad"]
            else:
                self._move(t, d)
                if iteration != max_iter:
                    loss, used = float(closure()), 1
                    g = self._slope()
                    best = _largest(g) <= group["tolerance_grad"]
            evaluations += used
            state["func_evals"] += used
            small = _largest(d) * abs(t) <= change or abs(loss - before_loss) < change
            if iteration == max_iter or evaluations >= group["max_eval"] or best or small:
                break
        state.update({"d": d, "t": t, "prev_flat_grad": before, "prev_loss": before_loss})
        return first

    def _direction(self, state: Any, g: Tensor, before: Any, d: Tensor, t: Any, most: int) -> Tensor:
        """The next direction, after the newest pair of steps was added to the history."""
        ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = _computed(g - before), _computed(d * float(t))
        product = _number((y * s).sum())
        if product > 1e-10:
            if len(ys) == most:
                for row in (ys, ss, ro):
                    row.pop(0)
            ys.append(y)
            ss.append(s)
            ro.append(1.0 / product)
            state["H_diag"] = product / _number((y * y).sum())
        weights = state.setdefault("al", [None] * most)
        q = _computed(-g)
        for i in range(len(ys) - 1, -1, -1):
            weights[i] = _number((ss[i] * q).sum()) * ro[i]
            q = _computed(q - ys[i] * float(weights[i]))
        r = _computed(q * float(state["H_diag"]))
        for i in range(len(ys)):
            found = _number((ys[i] * r).sum()) * ro[i]
            r = _computed(r + ss[i] * float(weights[i] - found))
        return r


def _computed(x: Tensor) -> Tensor:
    """x as a tensor of its own that has its data."""
    made: Tensor = new(Tensor, x.value)
    if lazy.buffer_of(made.value) is None:
        lazy.realize([made.value])
    return made


def _number(x: Tensor) -> Any:
    """The value of a tensor of one element, in its own precision, read from wherever it lies."""
    return x.host_array().reshape(-1)[0]


def _largest(x: Tensor) -> float:
    return float(_number(x.abs().max()))


def _minimum(x1: Any, f1: Any, g1: Any, x2: Any, f2: Any, g2: Any, bounds: Any = None) -> Any:
    """Where the cubic through two points with two slopes is least, within bounds."""
    low, high = bounds if bounds is not None else ((x1, x2) if x1 <= x2 else (x2, x1))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    d2 = np.sqrt(square)
    if x1 <= x2:
        at = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        at = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(at, low), high)


def _strong_wolfe(
    evaluate: Evaluate, t: Any, d: Tensor, f: float, g: Tensor, along: Any, most: int, change: float
) -> tuple[float, Tensor, Any, int]:
    """(loss, gradient, size, evaluations) of a step along d that meets the strong Wolfe conditions."""
    c1, c2 = 1e-4, 0.9
    reach = _largest(d)

    def at(size: Any) -> tuple[Any, float, Tensor, Any]:
        found, slope = evaluate(size)
        return size, found, slope, _number((slope * d).sum())

    start = last = (0, f, g, along)
    now = at(t)
    evaluations, tries = 1, 0
    done = False
    ends: list[Any] = []
    while tries < most:
        t, found, _, slope = now
        if found > f + c1 * t * along or (tries > 1 and found >= last[1]):
            ends = [last, now]
            break
        if abs(slope) <= -c2 * along:
            ends, done = [now], True
            break
        if slope >= 0:
            ends = [last, now]
            break
        bounds = (t + 0.01 * (t - last[0]), t * 10)
        t = _minimum(last[0], last[1], last[3], t, found, slope, bounds)
        last, now = now, at(t)
        evaluations += 1
        tries += 1
    if tries == most or not ends:
        ends = [start, now]
    stuck = False
    low, high = (0, 1) if ends[0][1] <= ends[-1][1] else (1, 0)
    while not done and tries < most:
        a, b = ends
        if abs(b[0] - a[0]) * reach < change:
            break
        t = _minimum(a[0], a[1], a[3], b[0], b[1], b[3])
        least, largest = min(a[0], b[0]), max(a[0], b[0])
        margin = 0.1 * (largest - least)
        if min(largest - t, t - least) < margin:  # too near to an end
            if stuck or t >= largest or t <= least:
                t = largest - margin if abs(t - largest) < abs(t - least) else least + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        now = at(t)
        evaluations += 1
        tries += 1
        _, found, _, slope = now
        if found > f + c1 * t * along or found >= ends[low][1]:
            ends[high] = now
            low, high = (0, 1) if ends[0][1] <= ends[1][1] else (1, 0)
        else:
            if abs(slope) <= -c2 * along:
                done = True
            elif slope * (ends[high][0] - ends[low][0]) >= 0:
                ends[high] = ends[low]
            ends[low] = now
    t, f, g, _ = ends[low] if len(ends) > 1 else ends[0]
    return f, g, t, evaluations
