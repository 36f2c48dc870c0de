"""How a tensor prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.types import f32, i64
from .dtypes import NAMES, default_complex

_OPTIONS: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80}


def set_printoptions(**options: Any) -> None:
    """precision, threshold, edgeitems, linewidth: as torch.set_printoptions. Raises TypeError for others."""
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise TypeError(f"set_printoptions takes no {', '.join(sorted(unknown))}")
    _OPTIONS.update(options)


def long_name(dtype: Any) -> str:
    """float32 for f32."""
    return next(name for name, d in NAMES.items() if d == dtype)


def _complex_text(array: Any) -> Any:
    """How each number of an array prints: real parts all with digits behind the point or all without, imaginary too."""

    def rule(part: Any) -> str:
        known = part[np.isfinite(part)]
        return "" if bool(np.all(known == np.rint(known))) else f".{_OPTIONS['precision']}f"

    rules = rule(array.real), rule(array.imag)

    def number(x: float, rule: str, sign: str) -> str:
        return format(x, f"{sign}{rule}") if rule or not np.isfinite(x) else format(x, f"{sign}.0f") + "."

    return lambda z: number(z.real, rules[0], "") + number(z.imag, rules[1], "+") + "j"


def text(t: Any) -> str:
    """tensor([1., 2.]), with what differs from the usual."""
    if t.is_meta:
        return _joined(["..."], t, f"size={tuple(t.shape)}")
    array = np.asarray(t.detach().host_array())
    whole = array.dtype.kind not in "fc" or bool(np.all(np.isnan(array) | (array == np.rint(array))))
    width = 4 if array.dtype.kind == "b" and array.all() else 5
    shown = {"bool": lambda b: f"{b!s:>{width}}"} if array.dtype.kind == "b" else {}
    if array.dtype.kind == "c":
        shown = {"complex_kind": _complex_text(array)}
    body = np.array2string(
        array, precision=_OPTIONS["precision"], threshold=_OPTIONS["threshold"], edgeitems=_OPTIONS["edgeitems"],
        max_line_width=_OPTIONS["linewidth"], separator=", ", prefix="tensor(",
        floatmode="maxprec_equal" if whole else "fixed",
        formatter=shown or None,  # type: ignore[arg-type]
    )  # fmt: skip
    return _joined([body], t, f"size={tuple(array.shape)}" if array.size == 0 and array.ndim > 1 else "")


def _joined(parts: list[str], t: Any, size: str) -> str:
    """The text of the elements with what differs from the usual. `size`: empty where the elements show it."""
    if t.device.type != "cpu":
        parts.append(f"device='{t.device}'")
    if t.dtype not in (f32, i64, default_complex()) and t.dtype.kind != "b":
        parts.append(f"dtype={long_name(t.dtype)}")
    if size:
        parts.append(size)
    if not t.is_leaf:
        parts.append(f"grad_fn={t.grad_fn}")
    elif t.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"
