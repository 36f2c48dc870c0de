"""`HistogramObserver`: the range with the least error of quantization, by a histogram of all values so far.

It runs on the host, in NumPy: how the histogram of a new tensor joins the others depends on the values.
"""

from __future__ import annotations

import bisect
import warnings
from typing import Any

import numpy as np

from ...diagnostics import UnsupportedError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.conversion import from_array
from ...tensor.quantized import QDtype, QScheme, quint8
from ...tensor.quantized_range import QParams
from .observer import EPS, RangeObserver

Array = np.ndarray[Any, np.dtype[Any]]
F = np.float32
STEP = 1e-5  # by which quantiles of the histogram move
UPSAMPLED = 16  # parts of a bin when a histogram gets another range


class HistogramObserver(RangeObserver):
    """A histogram of `bins` of all values, from min_val to max_val; infinite values are left out.

    `calculate_qparams` looks for the bins between which codes make the least mean square error, giving up the outer
    quantiles step by step while it falls. Source: the norm minimization of PyTorch's observer of this name, whose
    arithmetic in float32 this follows. Raises UnsupportedError for schemes of channels and is_dynamic."""

    histogram: Tensor

    def __init__(
        self, bins: int = 2048, dtype: Any = quint8, qscheme: QScheme = QScheme.per_tensor_affine,
        reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None,
        factory_kwargs: Any = None, eps: float = EPS, is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        if qscheme not in (QScheme.per_tensor_affine, QScheme.per_tensor_symmetric) or is_dynamic:
            raise UnsupportedError("HistogramObserver takes schemes of whole tensors, which are not dynamic")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **rest)
        self.bins = bins
        bits = (dtype.storage if isinstance(dtype, QDtype) else dtype).bits
        self.dst_nbins = 2**bits
        self.reset_min_max_vals()

    def reset_min_max_vals(self) -> None:
        self.register_buffer("histogram", FUNCTIONS["zeros"](self.bins))
        self.register_buffer("min_val", FUNCTIONS["as_tensor"](float("inf")))
        self.register_buffer("max_val", FUNCTIONS["as_tensor"](float("-inf")))

    # --- observing ------------------------------------------------------------------------------------------------
    def forward(self, x_orig: Tensor) -> Tensor:
        """x_orig, whose values are counted."""
        x = np.asarray(x_orig.detach().to(self.min_val.dtype).host_array()).reshape(-1)
        if x.size and not np.isfinite(x).all():
            warnings.warn("HistogramObserver leaves out values that are not finite", stacklevel=2)
            x = x[np.isfinite(x)]
        if not x.size:
            return x_orig
        before_low, before_high = F(self.min_val.item()), F(self.max_val.item())
        low, high = x.min(), x.max()
        if np.isinf(before_low):
            counts = self._counts(x, low, high)
        else:
            low, high = min(low, before_low), max(high, before_high)
            counts = self._counts(x, low, high)
            counts = counts + self._moved(self.histogram.numpy(), before_low, before_high, low, high)
        self.histogram.copy_(from_array(counts.astype(F)))
        self.min_val.copy_(from_array(np.asarray(low, F)))
        self.max_val.copy_(from_array(np.asarray(high, F)))
        return x_orig

    def _counts(self, x: Array, low: Any, high: Any) -> Array:
        if low == high:  # as torch.histc, which widens a range of one value
            low, high = low - F(1), high + F(1)
        at = ((x - low) * F(self.bins) / (high - low)).astype(np.int64)
        return np.bincount(np.clip(at, 0, self.bins - 1), minlength=self.bins).astype(F)

    def _moved(self, counts: Array, low: Any, high: Any, new_low: Any, new_high: Any) -> Array:
        """A histogram from low to high as one of a range that is no smaller."""
        if low == new_low and high == new_high:
            return counts
        if low == high:
            return self._counts(np.asarray([low], F), new_low, new_high) * counts.sum()
        fine = np.repeat(counts, UPSAMPLED) / F(UPSAMPLED)
        size = (high - low) / F(self.bins * UPSAMPLED)
        middles = np.linspace(low, high, self.bins * UPSAMPLED + 1, dtype=F)[:-1] + F(0.5) * size
        bounds = np.linspace(new_low, new_high, self.bins + 1, dtype=F)
        at = np.clip(np.searchsorted(bounds, middles, side="right") - 1, 0, self.bins - 1)
        return np.bincount(at, weights=fine, minlength=self.bins).astype(F)

    # --- the best range -------------------------------------------------------------------------------------------
    def _error(self, counts: Array, low: float, high: float, first: int, last: int) -> float:
        """The mean square error, but for a factor, where codes reach from bin `first` to bin `last`."""
        width = (high - low) / self.bins
        step = width * (last - first + 1) / self.dst_nbins
        if step == 0:
            return 0.0
        begin = (np.arange(self.bins) - first).astype(F) * F(width)
        end = begin + F(width)
        from_, to = (np.clip(np.floor_divide(x, F(step)), 0, self.dst_nbins - 1) for x in (begin, end))
        density = counts / F(width)
        half = F(step / 2)

        def moment(a: Any, b: Any) -> Any:
            return density * ((b * b * b - a * a * a) / F(3))

        norm = moment(begin - (from_ + F(0.5)) * F(step), half)
        norm = norm + (to - from_ - 1) * moment(-half, half)
        return float((norm + moment(-half, end - (to * F(step) + half))).sum())

    def _best_range(self) -> tuple[float, float]:
        counts = np.asarray(self.histogram.numpy())
        low, high = float(self.min_val.item()), float(self.max_val.item())
        total = float(counts.sum())
        sums = np.cumsum(counts, dtype=F).tolist()
        alpha, beta, least = 0.0, 1.0, float("inf")
        first, last = 0, self.bins - 1
        while alpha < beta:
            next_alpha, next_beta = alpha + STEP, beta - STEP
            left = min(bisect.bisect_left(sums, float(F(next_alpha * total)), first), last)
            right = max(min(bisect.bisect_right(sums, float(F(next_beta * total))) - 1, last), first)
            next_first, next_last = first, last
            if left - first > last - right:
                next_first, alpha = left, next_alpha
            else:
                next_last, beta = right, next_beta
            if (next_first, next_last) == (first, last):
                continue
            error = self._error(counts, low, high, next_first, next_last)
            if error > least:
                break
            least, first, last = error, next_first, next_last
        width = F(F(high) - F(low)) / F(self.bins)
        return float(F(low) + width * F(first)), float(F(low) + width * F(last + 1))

    def calculate_qparams(self) -> QParams:
        """Scale and zero point of the best range; 1 and 0 before the first tensor. Reads the histogram."""
        if np.isinf(self.min_val.item()):
            warnings.warn("HistogramObserver has seen nothing: scale 1 and zero point 0", stacklevel=2)
            return self._calculate_qparams(self.min_val, self.max_val)
        low, high = self._best_range()
        return self._calculate_qparams(from_array(np.asarray(low, F)), from_array(np.asarray(high, F)))


default_histogram_observer = HistogramObserver.with_args(quant_min=0, quant_max=127)
