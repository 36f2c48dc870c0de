"""Functions that count as one where a gradient needs what was changed in place since, whatever they are made of.

A function of several others would know of the tensors that it made on the way, which nobody changes, and not of what
it was given. PyTorch keeps operands, results or both for such a function; which of them stands here, by name.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from . import lazy
from .core import Tensor, note_uses, within_function
from .gradient_mode import grad_enabled

F = TypeVar("F", bound=Callable[..., Any])

ONE = frozenset((
    "adaptive_max_pool2d", "adaptive_max_pool3d", "addcdiv", "batch_norm", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "cholesky_solve", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cross", "dist", "div", "elu", "fractional_max_pool2d",
    "fractional_max_pool3d", "grid_sample", "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "huber_loss", "i0", "instance_norm", "layer_norm", "leaky_relu", "lerp", "logaddexp2", "logcumsumexp",
    "logsigmoid", "logsumexp", "lu_solve", "matrix_exp", "max_pool2d", "max_pool3d", "mse_loss", "multi_margin_loss",
    "multilabel_margin_loss", "nll_loss", "prelu", "relu6", "rrelu", "selu", "smooth_l1_loss", "soft_margin_loss",
    "softplus", "softshrink", "solve_triangular", "std", "std_mean", "tensordot", "threshold", "triangular_solve",
    "var", "var_mean", "xlog1py",
))  # fmt: skip
"""Functions whose gradients may need what they were given and what they returned."""

RESULT_ALONE = frozenset(("log_softmax", "softmax", "softmin"))
"""Functions whose gradients need what they returned: operands may change."""


def noted(name: str, f: F) -> F:
    """f as the tables say."""
    if name not in ONE and name not in RESULT_ALONE:
        return f

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if within_function.get() or not grad_enabled.get():
            return f(*args, **kwargs)
        token = within_function.set(True)
        try:
            made = f(*args, **kwargs)
        finally:
            within_function.reset(token)
        results = [y for y in (made if isinstance(made, tuple | list) else (made,)) if isinstance(y, Tensor) and y._rg]
        if results:
            _note_call(results, args, kwargs, name in RESULT_ALONE)
        return made

    return run  # type: ignore[return-value]


def _note_call(results: Sequence[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any], result_alone: bool) -> None:
    """`note_uses` of all results of a function of the tensors among its arguments."""
    given: list[Tensor] = []
    for a in (*args, *kwargs.values()):
        if isinstance(a, Tensor):
            given.append(a)
        elif isinstance(a, list | tuple):
            given += [t for t in a if isinstance(t, Tensor)]
    for y in results:
        root = y if y._base is None else y._base
        if any(s is y for s in given):  # in place
            others = [s for s in given if s._v is not y._v]
        else:
            others = given
        if not result_alone:
            note_uses(y._v, root, others)
        elif not any(s._v is y._v for s in others):
            held = (weakref.ref(root), root._version)
            m = lazy.meta(y._v)
            m.uses = (*m.uses, (y._v, *held), *((s._v, *held) for s in others))
