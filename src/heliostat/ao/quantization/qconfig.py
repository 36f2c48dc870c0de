"""`QConfig`: how a module's activations and weight are observed, and the defaults of PyTorch's backends.

The backends' names only choose a default: kernels are this compiler's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...diagnostics import UnsupportedError
from ...ir.types import f16, f32
from ...nn import Identity, Module
from ...tensor.quantized import QScheme, qint8, quint4x2, quint8
from .fake_quantize import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    default_dynamic_fake_quant,
    default_embedding_fake_quant,
    default_fake_quant,
    default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant,
    default_fused_wt_fake_quant,
    default_per_channel_weight_fake_quant,
    default_weight_fake_quant,
)
from .histogram import HistogramObserver
from .observer import (
    Maker,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    NoopObserver,
    PerChannelMinMaxObserver,
    PlaceholderObserver,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_float_qparams_observer,
    default_observer,
    default_per_channel_weight_observer,
    default_placeholder_observer,
    default_reuse_input_observer,
    default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127,
    weight_observer_range_neg_127_to_127,
)

BACKENDS = ("x86", "fbgemm", "qnnpack", "onednn")


class _Pair(NamedTuple):
    activation: Any
    weight: Any


class QConfig(_Pair):
    """Functions without arguments that make the observers, or fake quantizers, of a module's output and of its weight.
    Raises ValueError for modules in their place: each module needs its own."""

    __slots__ = ()

    def __new__(cls, activation: Any, weight: Any) -> QConfig:
        if isinstance(activation, Module) or isinstance(weight, Module):
            raise ValueError("QConfig takes functions that make observers, not observers: give classes, or with_args()")
        return super().__new__(cls, activation, weight)


class QConfigDynamic(QConfig):
    """`QConfig` whose activations have their range at each call. Deprecated in PyTorch, too: a `QConfig` with an
    observer that is_dynamic does the same."""

    __slots__ = ()

    def __new__(cls, activation: Any = Identity, weight: Any = Identity) -> QConfigDynamic:
        return super().__new__(cls, activation, weight)  # type: ignore[return-value]


def qconfig_equals(q1: QConfig | None, q2: QConfig | None) -> bool:
    """Whether two make equal observers."""
    if q1 is None or q2 is None:
        return q1 is q2
    return bool(q1.activation == q2.activation and q1.weight == q2.weight)


def activation_is_memoryless(qconfig: QConfig) -> bool:
    """Whether the range of activations is that of each call alone: such modules observe what they are given."""
    made = qconfig.activation()
    watching = getattr(made, "activation_post_process", made)
    return hasattr(watching, "averaging_constant") and watching.averaging_constant == 1


def check_qconfig(qconfig: QConfig | None, module: Module) -> None:
    """Raises UnsupportedError for weights of transposed convolutions with a scale for each channel."""
    if qconfig is None or not getattr(module, "transposed", False):
        return
    if isinstance(qconfig.weight(), PerChannelMinMaxObserver):
        raise UnsupportedError(
            f"{type(module).__name__}: weights have one scale, not one for each channel",
            help="give it a qconfig of its own with default_weight_observer",
        )


def _check_backend(backend: str, version: int, versions: tuple[int, ...]) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(BACKENDS)}, not {backend!r}")
    if version not in versions:
        raise ValueError(f"version is one of {versions}, not {version!r}")


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """The default for calibration: histograms of activations (7 bits for x86 and fbgemm), weights with a scale for each
    channel (qnnpack: one). Raises ValueError for others."""
    _check_backend(backend, version, (0,))
    reduce_range = backend in ("x86", "fbgemm")
    weight = default_weight_observer if backend == "qnnpack" else default_per_channel_weight_observer
    return QConfig(HistogramObserver.with_args(reduce_range=reduce_range), weight)


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """The default for quantization-aware training: moving averages; version 1 has fused observers. Raises ValueError
    for others."""
    _check_backend(backend, version, (0, 1))
    cls = FusedMovingAvgObsFakeQuantize if version else FakeQuantize
    given: dict[str, Any] = {} if backend == "onednn" else {"reduce_range": backend != "qnnpack"}
    activation = cls.with_args(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, **given)
    if version:
        weight = default_fused_wt_fake_quant if backend == "qnnpack" else default_fused_per_channel_wt_fake_quant
    else:
        weight = default_weight_fake_quant if backend == "qnnpack" else default_per_channel_weight_fake_quant
    return QConfig(activation, weight)


default_float_qparams_observer_4bit = PerChannelMinMaxObserver.with_args(
    dtype=quint4x2, qscheme=QScheme.per_channel_affine_float_qparams, ch_axis=0
)
default_qconfig = QConfig(default_observer, default_weight_observer)
default_debug_qconfig = QConfig(default_debug_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
float16_dynamic_qconfig = QConfig(
    PlaceholderObserver.with_args(dtype=f16, is_dynamic=True), PlaceholderObserver.with_args(dtype=f16)
)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
float_qparams_weight_only_qconfig = QConfig(default_placeholder_observer, default_float_qparams_observer)
float_qparams_weight_only_qconfig_4bit = QConfig(default_placeholder_observer, default_float_qparams_observer_4bit)
default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)
default_dynamic_qat_qconfig = QConfig(default_dynamic_fake_quant, default_weight_fake_quant)
default_weight_only_qconfig = QConfig(Identity, default_weight_fake_quant)
default_activation_only_qconfig = QConfig(default_fake_quant, Identity)
default_qat_qconfig_v2 = QConfig(default_fused_act_fake_quant, default_fused_wt_fake_quant)
default_reuse_input_qconfig = QConfig(default_reuse_input_observer, NoopObserver)
_signed: Maker = HistogramObserver.with_args(dtype=qint8, reduce_range=False, eps=2**-12)
default_symmetric_qnnpack_qconfig = QConfig(_signed, weight_observer_range_neg_127_to_127)
default_per_channel_symmetric_qnnpack_qconfig = QConfig(_signed, per_channel_weight_observer_range_neg_127_to_127)
default_embedding_qat_qconfig = QConfig(NoopObserver.with_args(dtype=f32), default_embedding_fake_quant)
default_quint8_weight_qconfig = QConfig(HistogramObserver, MinMaxObserver.with_args(dtype=quint8))
