"""Names that `torch.nn.modules` has beside its modules: their base classes, and tuples of sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from ..nn import functional as F
from ..nn import init, module
from ..nn.convolution import _Conv as _ConvNd
from ..nn.dropout import _Dropout as _DropoutNd
from ..nn.loss import _Loss, _WeightedLoss
from ..nn.module import _EXTRA_STATE_KEY_SUFFIX as _EXTRA_STATE_KEY_SUFFIX
from ..nn.normalization import _BatchNorm, _InstanceNorm
from ..nn.normalization import _Norm as _NormBase

__all__ = [
    "_BatchNorm", "_ConvNd", "_DropoutNd", "_InstanceNorm", "_Loss", "_NormBase", "_WeightedLoss",
    "_calculate_correct_fan", "_calculate_fan_in_and_fan_out", "_get_activation_fn",
    "_ntuple", "_pair", "_quadruple", "_single", "_triple", "module",
]  # fmt: skip


_calculate_fan_in_and_fan_out, _calculate_correct_fan = init._fans, init._fan


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    def parse(x: Any) -> tuple[Any, ...]:
        return tuple(x) if isinstance(x, Iterable) else tuple(repeat(x, n))

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = (_ntuple(n) for n in (1, 2, 3, 4))


def _get_activation_fn(activation: str) -> Callable[..., Any]:
    if activation in ("relu", "gelu"):
        return getattr(F, activation)
    raise RuntimeError(f"activation should be relu/gelu, not {activation}")
