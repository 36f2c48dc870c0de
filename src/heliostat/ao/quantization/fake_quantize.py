"""Modules that observe what passes and round it to the values of codes, with gradients as if they had not."""

from __future__ import annotations

from typing import Any

from ...diagnostics import UnsupportedError
from ...ir.types import f32, i32, i64, u8
from ...nn import Module
from ...tensor import FUNCTIONS, Tensor, no_grad
from ...tensor.fake_quantize import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine
from ...tensor.quantized import QScheme, qint8, quint8
from ...tensor.quantized_range import QParams, choose_qparams
from ..affine import code_range, is_per_channel, is_symmetric
from .histogram import HistogramObserver
from .observer import (
    Configurable,
    FixedQParamsObserver,
    Maker,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
)


class FakeQuantizeBase(Configurable):
    """Base of modules that fake quantize. Whether one observes and whether it rounds are buffers, as in PyTorch's state
    dicts; what `forward` looks at are Python bools beside them, which a captured step can read."""

    fake_quant_enabled: Tensor
    observer_enabled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._rounds = self._observes = True
        self.register_buffer("fake_quant_enabled", FUNCTIONS["ones"](1, dtype=u8))
        self.register_buffer("observer_enabled", FUNCTIONS["ones"](1, dtype=u8))

    def calculate_qparams(self) -> QParams:
        """Scale and zero point."""
        raise NotImplementedError(f"{type(self).__name__} writes calculate_qparams")

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Round from here on, or pass through."""
        self._rounds = bool(enabled)
        self.fake_quant_enabled = FUNCTIONS["full_like"](self.fake_quant_enabled, int(self._rounds))

    def disable_fake_quant(self) -> None:
        """Pass through from here on."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Observe from here on, or keep scale and zero point."""
        self._observes = bool(enabled)
        self.observer_enabled = FUNCTIONS["full_like"](self.observer_enabled, int(self._observes))

    def disable_observer(self) -> None:
        """Keep scale and zero point from here on."""
        self.enable_observer(False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rounds, self._observes = bool(self.fake_quant_enabled.any()), bool(self.observer_enabled.any())


class FakeQuantize(FakeQuantizeBase):
    """fake_quantize(x) by the scale and the zero point of an observer, which sees x first.

    observer: a class or a `with_args` of one, made with the other arguments. scale, zero_point: buffers (1,) or (C,).
    Raises ValueError for a range of codes beyond that of the dtype."""

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self, observer: Any = MovingAverageMinMaxObserver, quant_min: int | None = None, quant_max: int | None = None,
        is_dynamic: bool = False, **observer_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if quant_min is not None and quant_max is not None:
            dtype = observer.p.keywords.get("dtype", observer_kwargs.get("dtype", quint8)) if isinstance(
                observer, Maker) else observer_kwargs.get("dtype", quint8)  # fmt: skip
            lowest, highest = code_range(dtype)
            if not lowest <= quant_min <= quant_max <= highest:
                raise ValueError(f"codes of {dtype} are {lowest} to {highest}, not {quant_min} to {quant_max}")
            observer_kwargs.update(quant_min=quant_min, quant_max=quant_max)
        if is_dynamic:
            observer_kwargs["is_dynamic"] = True
        watching = observer(**observer_kwargs)
        self.activation_post_process = watching
        self.quant_min, self.quant_max, self.is_dynamic = watching.quant_min, watching.quant_max, watching.is_dynamic
        self.dtype, self.qscheme = watching.dtype, watching.qscheme
        self.ch_axis = getattr(watching, "ch_axis", -1)
        self.is_per_channel = is_per_channel(self.qscheme)
        whole = self.qscheme != QScheme.per_channel_affine_float_qparams
        self.register_buffer("scale", FUNCTIONS["ones"](1))
        self.register_buffer("zero_point", FUNCTIONS["zeros"](1, dtype=i32 if whole else f32))

    def calculate_qparams(self) -> QParams:
        """What the observer says."""
        found: QParams = self.activation_post_process.calculate_qparams()
        return found

    def _observe(self, X: Tensor) -> QParams:
        self.activation_post_process(X.detach())
        return self.calculate_qparams()

    def forward(self, X: Tensor) -> Tensor:
        """X, rounded to the values of codes while that is on."""
        if self._observes:
            with no_grad():
                scale, zero_point = self._observe(X)
                zero_point = zero_point.to(self.zero_point.dtype)
                if self.scale.shape != scale.shape:
                    self.scale, self.zero_point = scale, zero_point
                else:
                    self.scale.copy_(scale)
                    self.zero_point.copy_(zero_point)
        if not self._rounds:
            return X
        lowest, highest = self.activation_post_process.quant_min, self.activation_post_process.quant_max
        if self.is_per_channel:
            return fake_quantize_per_channel_affine(X, self.scale, self.zero_point, self.ch_axis, lowest, highest)
        return fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, lowest, highest)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("scale", "zero_point"):
            given, held = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(given, Tensor) and given.shape != held.shape:
                setattr(self, name, FUNCTIONS["zeros"](*given.shape, dtype=held.dtype))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        watching = self.activation_post_process
        return (
            f"fake_quant_enabled={self._rounds}, observer_enabled={self._observes}, quant_min={watching.quant_min}, "
            f"quant_max={watching.quant_max}, dtype={self.dtype}, qscheme={self.qscheme}, ch_axis={self.ch_axis}, "
            f"scale={self.scale.tolist()}, zero_point={self.zero_point.tolist()}"
        )


class FixedQParamsFakeQuantize(FakeQuantize):
    """`FakeQuantize` by a scale and a zero point that are known before. observer: makes a FixedQParamsObserver; raises
    UnsupportedError for another."""

    def __init__(self, observer: Any) -> None:
        super().__init__(observer)
        watching = self.activation_post_process
        if type(watching) is not FixedQParamsObserver:
            raise UnsupportedError(f"FixedQParamsFakeQuantize takes a FixedQParamsObserver, not {type(watching)}")
        self.scale, self.zero_point = watching.scale, watching.zero_point

    def calculate_qparams(self) -> QParams:
        """The scale and the zero point that are fixed."""
        return QParams(self.scale, self.zero_point)


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """`FakeQuantize` by moving averages, whose scales are chosen as PyTorch's fused kernel does (`choose_qparams`); the
    compiler fuses either. `calculate_qparams` asks the observer, whose formula differs in the last digits, as there.
    Raises UnsupportedError for other observers."""

    def __init__(
        self, observer: Any = MovingAverageMinMaxObserver, quant_min: int = 0, quant_max: int = 255,
        **observer_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(observer, quant_min, quant_max, **observer_kwargs)
        moving = MovingAverageMinMaxObserver | MovingAveragePerChannelMinMaxObserver
        if not isinstance(self.activation_post_process, moving):
            raise UnsupportedError("FusedMovingAvgObsFakeQuantize takes observers with moving averages")
        for name in ("fake_quant_enabled", "observer_enabled"):
            self.register_buffer(name, FUNCTIONS["ones"](1, dtype=i64))
        self.is_symmetric_quant = is_symmetric(self.qscheme)

    def _observe(self, X: Tensor) -> QParams:
        watching = self.activation_post_process
        watching(X.detach())
        scale, zero = choose_qparams(
            watching.min_val, watching.max_val, watching.quant_min, watching.quant_max, self.is_symmetric_quant
        )
        return QParams(scale.reshape(-1), zero.reshape(-1))


def enable_fake_quant(mod: Module) -> None:
    """Let a module round, if it fake quantizes: for `model.apply`."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_fake_quant()


def disable_fake_quant(mod: Module) -> None:
    """Let a module pass tensors through, if it fake quantizes: for `model.apply`."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_fake_quant()


def enable_observer(mod: Module) -> None:
    """Let a module observe, if it fake quantizes: for `model.apply`."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_observer()


def disable_observer(mod: Module) -> None:
    """Let a module keep scale and zero point, if it fake quantizes: for `model.apply`."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_observer()


default_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=quint8,
    qscheme=QScheme.per_tensor_affine, reduce_range=True,
)  # fmt: skip
default_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8,
    qscheme=QScheme.per_tensor_symmetric, reduce_range=False,
)  # fmt: skip
default_dynamic_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, is_dynamic=True, dtype=quint8,
    averaging_constant=1,
)  # fmt: skip
default_per_channel_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8,
    qscheme=QScheme.per_channel_symmetric, reduce_range=False, ch_axis=0,
)  # fmt: skip
default_embedding_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, qscheme=QScheme.per_channel_affine_float_qparams, dtype=quint8,
    quant_min=0, quant_max=255, ch_axis=0, averaging_constant=1,
)  # fmt: skip
default_histogram_fake_quant = FakeQuantize.with_args(
    observer=HistogramObserver, quant_min=0, quant_max=255, dtype=quint8, qscheme=QScheme.per_tensor_affine,
    reduce_range=True,
)  # fmt: skip
default_fixed_qparams_range_neg1to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_neg1to1_observer
)
default_fixed_qparams_range_0to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_0to1_observer
)
default_fused_act_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=quint8
)
default_fused_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8,
    qscheme=QScheme.per_tensor_symmetric,
)  # fmt: skip
default_fused_per_channel_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8,
    qscheme=QScheme.per_channel_symmetric,
)  # fmt: skip
