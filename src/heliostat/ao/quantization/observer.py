"""Observers: modules that see tensors pass, keep their ranges, and say which scale and zero point fit.

An observer reads nothing: its minima and maxima are tensors of the graph, so that observing is part of a step that is
compiled. Arithmetic as PyTorch's. Histograms stand in `histogram.py`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ...diagnostics import UnsupportedError
from ...ir.types import f16, f32
from ...nn import Module
from ...tensor import FUNCTIONS, Tensor, no_grad
from ...tensor.quantized import QScheme, qint8, quint8
from ...tensor.quantized_range import QParams
from ..affine import calculate_qparams, code_range, is_per_channel, is_symmetric

maximum, minimum, where = FUNCTIONS["maximum"], FUNCTIONS["minimum"], FUNCTIONS["where"]
tensor = FUNCTIONS["as_tensor"]
EPS = 2.0**-23


class Maker:
    """A class with arguments that it is to be called with; equal to others of the same class and arguments."""

    def __init__(self, cls: Any, given: dict[str, Any], called: dict[str, Callable[[], Any]] | None = None) -> None:
        self.p = functools.partial(cls, **given)
        self.callable_args = dict(called or {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the class makes of these arguments and its own."""
        made = {name: f() for name, f in self.callable_args.items() if name not in kwargs}
        return self.p(*args, **kwargs, **made)

    def with_args(self, **given: Any) -> Maker:
        """With more arguments, or others."""
        return Maker(self.p.func, {**self.p.keywords, **given}, self.callable_args)

    def with_callable_args(self, **called: Callable[[], Any]) -> Maker:
        """With arguments that functions make at each call."""
        return Maker(self.p.func, self.p.keywords, {**self.callable_args, **called})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Maker):
            return False
        mine, yours = self.p, other.p
        return mine.func is yours.func and mine.keywords == yours.keywords and self.callable_args == other.callable_args

    def __hash__(self) -> int:
        return hash(self.p.func)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.p.keywords.items())
        return f"{self.p.func.__name__}({shown})"


class Configurable(Module):
    """A module whose class can be given arguments before it is made, by `with_args` and `with_callable_args`."""

    @classmethod
    def with_args(cls, **given: Any) -> Maker:
        """A function that makes modules of this class with these arguments."""
        return Maker(cls, given)

    @classmethod
    def with_callable_args(cls, **called: Callable[[], Any]) -> Maker:
        """A function that makes modules of this class, with arguments that functions make at each call."""
        return Maker(cls, {}, called)


class ObserverBase(Configurable):
    """Base of observers: `dtype` is that of the codes. Subclasses write `forward`, which returns what it is given, and
    `calculate_qparams`."""

    def __init__(self, dtype: Any, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    def calculate_qparams(self) -> QParams:
        """Scale and zero point for what was seen. Raises UnsupportedError where nothing is observed."""
        raise UnsupportedError(f"{type(self).__name__} observes no ranges", help="use MinMaxObserver or another one")


class UniformQuantizationObserverBase(ObserverBase):
    """Base of observers of ranges. quant_min, quant_max: the range of codes, that of `dtype` where not given;
    reduce_range: half of it; eps: the smallest scale. Raises DTypeError and ValueError, as `code_range`."""

    eps: Tensor

    def __init__(
        self, dtype: Any = quint8, qscheme: QScheme = QScheme.per_tensor_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPS,
        is_dynamic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        if not isinstance(qscheme, QScheme):
            raise ValueError(f"qscheme is one of {', '.join(s.value for s in QScheme)}, not {qscheme!r}")
        self.qscheme, self.reduce_range = qscheme, reduce_range
        self.register_buffer("eps", tensor([eps]))
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        custom = (quant_min, quant_max) if quant_min is not None and quant_max is not None else None
        self.quant_min, self.quant_max = code_range(dtype, reduce_range, custom)

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> QParams:
        return calculate_qparams(
            min_val, max_val, self.quant_min, self.quant_max, self.dtype, self.qscheme, self.eps,
            self.has_customized_qrange,
        )  # fmt: skip

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError(f"{type(self).__name__} writes reset_min_max_vals")


class RangeObserver(UniformQuantizationObserverBase):
    """Base of observers of one range, min_val to max_val: what MinMaxObserver and those of channels share."""

    min_val: Tensor
    max_val: Tensor

    def _check_middle(self) -> None:
        # Half of the codes of a byte are 0 to 127, and the middle of all, 128, is none of them.
        if self.dtype == quint8 and self.reduce_range and is_symmetric(self.qscheme):
            raise UnsupportedError(f"{type(self).__name__}: a range that is reduced has no middle in quint8",
                                   help="take qint8, an affine qscheme, or quant_min and quant_max")  # fmt: skip

    def _ranges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _joined(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return minimum(low, self.min_val), maximum(high, self.max_val)

    def forward(self, x_orig: Tensor) -> Tensor:
        """x_orig, whose range is taken into account."""
        if not x_orig.numel():
            return x_orig
        with no_grad():
            low, high = self._ranges(x_orig.detach().to(self.min_val.dtype))
            if self.min_val.shape != low.shape:  # channels are counted by the first tensor
                self.min_val, self.max_val = low, high
            else:
                low, high = self._joined(low, high)
                self.min_val.copy_(low)
                self.max_val.copy_(high)
        return x_orig

    def calculate_qparams(self) -> QParams:
        """Scale and zero point for the range that was seen; 1 and 0 before the first tensor."""
        return self._calculate_qparams(self.min_val, self.max_val)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("min_val", "max_val"):
            given = state_dict.get(prefix + name)
            if isinstance(given, Tensor) and given.shape != getattr(self, name).shape:
                setattr(self, name, FUNCTIONS["zeros_like"](given))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val.tolist()}, max_val={self.max_val.tolist()}"


class MinMaxObserver(RangeObserver):
    """The range of all elements of all tensors so far. min_val, max_val: no axes, infinite before the first tensor.
    Raises ValueError for schemes of channels, UnsupportedError for symmetric quint8 of a reduced range."""

    def __init__(
        self, dtype: Any = quint8, qscheme: QScheme = QScheme.per_tensor_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPS,
        is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        if is_per_channel(qscheme):
            raise ValueError(f"{type(self).__name__}'s qscheme is one of a whole tensor, not {qscheme}")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **rest)
        self._check_middle()
        self.reset_min_max_vals()

    def _ranges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.amin(), x.amax()

    def reset_min_max_vals(self) -> None:
        self.register_buffer("min_val", tensor(float("inf")))
        self.register_buffer("max_val", tensor(float("-inf")))


class MovingAverageMinMaxObserver(MinMaxObserver):
    """The moving averages of minima and maxima: each tensor's count `averaging_constant`, what was before the rest."""

    def __init__(
        self, averaging_constant: float = 0.01, dtype: Any = quint8, qscheme: QScheme = QScheme.per_tensor_affine,
        reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None, eps: float = EPS,
        is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        if is_dynamic and averaging_constant != 1:
            raise ValueError("a dynamic range has no past: averaging_constant must be 1")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, None, eps, is_dynamic, **rest)
        self.averaging_constant = averaging_constant

    def _joined(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return averaged(self.min_val, low, self.averaging_constant), averaged(
            self.max_val, high, self.averaging_constant)  # fmt: skip


def averaged(before: Tensor, now: Tensor, share: float) -> Tensor:
    """The moving average of a bound; the bound itself where nothing was seen before, which an infinity says."""
    made: Tensor = where(before.isinf(), now, before + share * (now - before))
    return made


class PerChannelMinMaxObserver(RangeObserver):
    """The range of each index of the axis `ch_axis`. min_val, max_val: (C,), empty before the first tensor. Raises
    ValueError for schemes of whole tensors, UnsupportedError for is_dynamic."""

    def __init__(
        self, ch_axis: int = 0, dtype: Any = quint8, qscheme: QScheme = QScheme.per_channel_affine,
        reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None,
        factory_kwargs: Any = None, eps: float = EPS, is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        if not is_per_channel(qscheme):
            raise ValueError(f"{type(self).__name__}'s qscheme is one of channels, not {qscheme}")
        if is_dynamic:
            raise UnsupportedError(f"{type(self).__name__}: there is no dynamic quantization of channels")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **rest)
        self.ch_axis = ch_axis
        self._check_middle()
        self.reset_min_max_vals()

    def _ranges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rest = [i for i in range(x.ndim) if i != self.ch_axis % x.ndim]
        # Of one axis the values themselves, in tensors of their own: what is kept is written to later.
        return (x.amin(rest), x.amax(rest)) if rest else (x.clone(), x.clone())

    def reset_min_max_vals(self) -> None:
        self.register_buffer("min_val", FUNCTIONS["zeros"](0))
        self.register_buffer("max_val", FUNCTIONS["zeros"](0))


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver):
    """`MovingAverageMinMaxObserver` of each index of the axis `ch_axis`."""

    def __init__(
        self, averaging_constant: float = 0.01, ch_axis: int = 0, dtype: Any = quint8,
        qscheme: QScheme = QScheme.per_channel_affine, reduce_range: bool = False, quant_min: int | None = None,
        quant_max: int | None = None, eps: float = EPS, is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(ch_axis, dtype, qscheme, reduce_range, quant_min, quant_max, None, eps, is_dynamic, **rest)
        self.averaging_constant = averaging_constant

    def _joined(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return averaged(self.min_val, low, self.averaging_constant), averaged(
            self.max_val, high, self.averaging_constant)  # fmt: skip


class FixedQParamsObserver(ObserverBase):
    """A scale and a zero point that are known before: of sigmoid and tanh, say. It observes nothing."""

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self, scale: float, zero_point: int, dtype: Any = quint8, qscheme: QScheme = QScheme.per_tensor_affine,
        quant_min: int = 0, quant_max: int = 255, is_dynamic: bool = False, **rest: Any,
    ) -> None:  # fmt: skip
        if is_dynamic:
            raise UnsupportedError("FixedQParamsObserver: what is fixed is not dynamic")
        super().__init__(dtype, is_dynamic, **rest)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.register_buffer("scale", tensor([float(scale)]))
        self.register_buffer("zero_point", tensor([int(zero_point)]))

    def forward(self, X: Tensor) -> Tensor:
        """X."""
        return X

    def calculate_qparams(self) -> QParams:
        """The scale and the zero point that are fixed."""
        return QParams(self.scale, self.zero_point)


class PlaceholderObserver(ObserverBase):
    """It observes nothing, and tells its dtype and range of codes to what is made by `from_float`."""

    def __init__(
        self, dtype: Any = f32, custom_op_name: str = "", compute_dtype: Any = None, quant_min: int | None = None,
        quant_max: int | None = None, qscheme: QScheme | None = None, eps: float | None = None,
        is_dynamic: bool = False,
    ) -> None:  # fmt: skip
        if compute_dtype is not None:
            is_dynamic = True
            warnings.warn("compute_dtype is deprecated, use is_dynamic", stacklevel=2)
        super().__init__(dtype, is_dynamic)
        self.qscheme = QScheme.per_tensor_affine if qscheme is None else qscheme
        self.quant_min, self.quant_max, self.custom_op = quant_min, quant_max, custom_op_name
        self.eps = EPS if eps is None else eps

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class RecordingObserver(ObserverBase):
    """It keeps each tensor that passes, for a look at them: `get_tensor_value`."""

    def __init__(self, dtype: Any = quint8) -> None:
        super().__init__(dtype)
        self.tensor_val: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """x, which is kept."""
        self.tensor_val.append(x.clone())
        return x

    def get_tensor_value(self) -> list[Tensor]:
        """The tensors that passed."""
        return self.tensor_val


class NoopObserver(ObserverBase):
    """It observes nothing, and tells its dtype to what is made by `from_float`."""

    def __init__(self, dtype: Any = f16, custom_op_name: str = "") -> None:
        super().__init__(dtype)
        self.custom_op = custom_op_name

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class ReuseInputObserver(ObserverBase):
    """It stands for the observer of what a module is given: for modules that only move elements."""

    def __init__(self) -> None:
        super().__init__(quint8)

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


def is_activation_post_process(module: Any) -> bool:
    """Whether a module observes or fake quantizes."""
    from .fake_quantize import FakeQuantizeBase

    return isinstance(module, ObserverBase | FakeQuantizeBase)


def get_observer_state_dict(mod: Module) -> dict[str, Any]:
    """What observers have seen, of the state dict of a module."""
    return {k: v for k, v in mod.state_dict().items() if "activation_post_process" in k}


def load_observer_state_dict(mod: Module, obs_dict: dict[str, Any]) -> None:
    """Give observers what `get_observer_state_dict` gave. Raises KeyError for names that are missing."""
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []
    for name, module in mod.named_modules():
        if is_activation_post_process(module):
            prefix = f"{name}." if name else ""
            module._load_from_state_dict(dict(obs_dict), prefix, {}, True, missing, unexpected, errors)
    missing = [k for k in missing if "activation_post_process" in k]
    if missing or errors:
        raise KeyError(f"observers lack {', '.join(missing)} {' '.join(errors)}")


default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_weight_observer = MinMaxObserver.with_args(dtype=qint8, qscheme=QScheme.per_tensor_symmetric)
weight_observer_range_neg_127_to_127 = default_weight_observer.with_args(quant_min=-127, quant_max=127, eps=2**-12)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(
    dtype=qint8, qscheme=QScheme.per_channel_symmetric
)
per_channel_weight_observer_range_neg_127_to_127 = default_per_channel_weight_observer.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)
default_dynamic_quant_observer = PlaceholderObserver.with_args(
    dtype=quint8, quant_min=0, quant_max=255, is_dynamic=True
)
default_float_qparams_observer = PerChannelMinMaxObserver.with_args(
    dtype=quint8, qscheme=QScheme.per_channel_affine_float_qparams, ch_axis=0
)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(
    scale=2.0 / 256.0, zero_point=128, dtype=quint8, quant_min=0, quant_max=255
)
default_fixed_qparams_range_0to1_observer = FixedQParamsObserver.with_args(
    scale=1.0 / 256.0, zero_point=0, dtype=quint8, quant_min=0, quant_max=255
)
default_reuse_input_observer = ReuseInputObserver
