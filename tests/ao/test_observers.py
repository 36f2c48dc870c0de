"""Observers and fake quantization against PyTorch's, number for number."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.ao import quantization as Q
from heliostat.diagnostics import DTypeError, ShapeError, UnsupportedError
from heliostat.quant.formats import Q4_0, Q8_0

from .peer import peer, torch, values

OBSERVERS: list[tuple[str, dict[str, Any]]] = [
    ("MinMaxObserver", {}), ("MinMaxObserver", {"qscheme": "per_tensor_symmetric", "dtype": "qint8"}),
    ("MinMaxObserver", {"qscheme": "per_tensor_symmetric", "dtype": "quint8"}),
    ("MinMaxObserver", {"reduce_range": True}), ("MinMaxObserver", {"quant_min": 0, "quant_max": 127}),
    ("MovingAverageMinMaxObserver", {}), ("PerChannelMinMaxObserver", {"ch_axis": 1}),
    ("PerChannelMinMaxObserver", {"qscheme": "per_channel_symmetric", "dtype": "qint8"}),
    ("PerChannelMinMaxObserver", {"qscheme": "per_channel_affine_float_qparams"}),
    ("MovingAveragePerChannelMinMaxObserver", {"averaging_constant": 0.3}),
    ("HistogramObserver", {"bins": 256}), ("HistogramObserver", {"bins": 256, "reduce_range": True}),
    ("FixedQParamsObserver", {"scale": 0.1, "zero_point": 3}),
]  # fmt: skip


def named(module: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {k: getattr(module, v) if isinstance(v, str) else v for k, v in given.items()}


@pytest.mark.parametrize(("name", "given"), OBSERVERS)
def test_observers_equal_pytorch(name: str, given: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = getattr(Q, name)(**named(hs, given)), getattr(peer, name)(**named(torch, given))
    for n in range(3):
        x = values((4, 5, 6), n, n + 1.0) + np.float32(0.3 * n)
        assert ours(hs.tensor(x)).tolist() == x.tolist()
        theirs(torch.tensor(x))
    found, expected = ours.calculate_qparams(), theirs.calculate_qparams()
    for a, b in zip(found, expected, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-6)
    state = ours.state_dict()
    assert state.keys() == theirs.state_dict().keys()
    again = getattr(Q, name)(**named(hs, given))
    again.load_state_dict(state)
    assert again.calculate_qparams().scale.tolist() == found.scale.tolist()


FAKE = [
    "default_fake_quant", "default_weight_fake_quant", "default_per_channel_weight_fake_quant",
    "default_fused_act_fake_quant", "default_fused_wt_fake_quant", "default_fused_per_channel_wt_fake_quant",
    "default_embedding_fake_quant", "default_fixed_qparams_range_0to1_fake_quant",
]  # fmt: skip


@pytest.mark.parametrize("name", FAKE)
def test_fake_quantization_equals_pytorch(name: str) -> None:
    ours, theirs = getattr(Q, name)(), getattr(peer.fake_quantize, name)()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for n in range(2):
        x = values((4, 5), n, 1.0 + 2 * n)  # beyond the range of the first, where gradients end
        a, b = hs.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        if n:
            ours.disable_observer()
            theirs.disable_observer()
        y, z = ours(a), theirs(b)
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(y.tolist(), z.tolist(), 1e-6)
        np.testing.assert_allclose(a.grad.tolist(), b.grad.tolist(), 1e-6)
    again = getattr(Q, name)()
    again.load_state_dict(ours.state_dict())
    assert again(hs.tensor(x)).tolist() == y.tolist()  # which neither observes
    ours.apply(Q.disable_fake_quant)
    assert ours(hs.tensor(x)).tolist() == x.tolist()


def test_fake_quantization_in_a_captured_step() -> None:
    ours, eager = Q.default_fake_quant(), Q.default_fake_quant()
    step = hs.compile(ours)
    for n in range(3):
        x = hs.tensor(values((3, 4), n))
        assert step(x).tolist() == eager(x).tolist()
    assert step.cache_info().misses <= 2
    assert ours.scale.tolist() == eager.scale.tolist()


def test_dynamic_range_equals_pytorch() -> None:
    for low, high in ((-1.0, 2.0), (0.0, 0.0), (0.5, 3.0), (-3.0, -1.0), (-1e-6, 1e-5), (-5.0, 0.1)):
        scale, zero = torch._choose_qparams_per_tensor(torch.tensor([low, high]), True)
        found = Q.choose_qparams(hs.tensor(low), hs.tensor(high), 0, 127)
        np.testing.assert_allclose(found.scale.item(), scale, 1e-6)
        assert found.zero_point.item() == zero


def test_arguments_of_observers() -> None:
    maker = Q.MinMaxObserver.with_args(dtype=hs.qint8).with_args(reduce_range=True)
    made = maker()
    assert (made.quant_min, made.quant_max) == (-64, 63)
    assert maker == Q.MinMaxObserver.with_args(dtype=hs.qint8, reduce_range=True) != Q.MinMaxObserver.with_args()
    counted = Q.RecordingObserver.with_callable_args(dtype=lambda: hs.qint8)()
    counted(hs.ones(2))
    assert counted.dtype is hs.qint8
    assert [t.tolist() for t in counted.get_tensor_value()] == [[1, 1]]
    unseen = Q.MinMaxObserver().calculate_qparams()
    assert (unseen.scale.tolist(), unseen.zero_point.tolist()) == ([1], [0])
    with pytest.raises(ValueError, match="qscheme"):
        Q.MinMaxObserver(qscheme=hs.per_channel_affine)
    with pytest.raises(DTypeError, match="integer or a quantized dtype"):
        Q.MinMaxObserver(dtype=hs.float32)
    with pytest.raises(ValueError, match="0 within"):
        Q.MinMaxObserver(quant_min=3, quant_max=9)
    with pytest.raises(UnsupportedError, match="observes no ranges"):
        Q.PlaceholderObserver().calculate_qparams()
    with pytest.raises(ValueError, match="not -200 to 100"):
        Q.FakeQuantize(quant_min=-200, quant_max=100)
    with pytest.raises(ValueError, match="functions that make observers"):
        Q.QConfig(Q.MinMaxObserver(), Q.MinMaxObserver)
    assert Q.qconfig_equals(Q.get_default_qconfig("fbgemm"), Q.get_default_qconfig("x86"))
    assert not Q.qconfig_equals(Q.get_default_qconfig("fbgemm"), Q.get_default_qconfig("qnnpack"))


def test_observed_vectors_are_not_written_to() -> None:
    for cls in (Q.PerChannelMinMaxObserver, Q.MovingAveragePerChannelMinMaxObserver):
        seen, x = cls(), hs.tensor([1.0, 2.0])
        seen(x), seen(hs.tensor([5.0, -6.0]))
        assert x.tolist() == [1, 2]
        assert seen.max_val is not seen.min_val


def test_zero_points_of_symmetric_ranges_are_codes() -> None:
    for name in ("quint8", "quint4x2", "qint8"):
        for x in ([1.0, -2.0], [float("inf"), 1.0]):
            mine, yours = (
                q.MinMaxObserver(dtype=getattr(m, name), qscheme=m.per_tensor_symmetric)
                for m, q in ((hs, Q), (torch, peer))
            )
            mine(hs.tensor(x)), yours(torch.tensor(x))
            assert mine.calculate_qparams()[1].tolist() == yours.calculate_qparams()[1].tolist()
    with pytest.raises(UnsupportedError, match="middle"):
        Q.MinMaxObserver(qscheme=hs.per_tensor_symmetric, reduce_range=True)
    with pytest.raises(UnsupportedError, match="middle"):
        Q.PerChannelMinMaxObserver(qscheme=hs.per_channel_symmetric, reduce_range=True)


def test_granularity() -> None:
    assert Q.get_block_size((8, 64), Q.PerTensor()) == (8, 64)
    assert Q.get_block_size((8, 64), Q.PerAxis(0)) == (1, 64)
    assert Q.get_block_size((8, 64), Q.PerGroup(32)) == (1, 32)
    assert Q.get_block_size((2, 8, 64), Q.PerToken()) == (1, 1, 64)
    assert Q.block_format(Q.PerGroup(32), 8) is Q8_0
    assert Q.block_format(Q.PerBlock((1, 32)), 4) is Q4_0
    with pytest.raises(ShapeError, match="do not divide"):
        Q.get_block_size((8, 64), Q.PerGroup(48))
    with pytest.raises(UnsupportedError, match="no declared format"):
        Q.block_format(Q.PerGroup(64), 8)


def test_mapping_of_qconfigs() -> None:
    a, b, c = (Q.QConfig(Q.MinMaxObserver, m) for m in (Q.MinMaxObserver, Q.NoopObserver, Q.HistogramObserver))
    model = hs.nn.Sequential(hs.nn.Linear(2, 2), hs.nn.Sequential(hs.nn.Linear(2, 2), hs.nn.ReLU()))
    mapping = Q.QConfigMapping().set_global(a).set_object_type(hs.nn.ReLU, None).set_module_name("1", b)
    mapping.set_module_name_regex("0", c)
    Q.propagate_qconfig_(model, Q.QConfigMapping.from_dict(mapping.to_dict()))
    assert (model[0].qconfig, model[1][0].qconfig, model[1][1].qconfig) == (c, b, b)
    ours, theirs = Q.get_default_qconfig_mapping(), peer.get_default_qconfig_mapping()
    for cls in ("Linear", "ConvTranspose2d", "LayerNorm", "Sigmoid"):
        found = ours.qconfig_of("x", getattr(hs.nn, cls)(*[2] * {"Linear": 2, "ConvTranspose2d": 3, "LayerNorm": 1}.get(
            cls, 0)))  # fmt: skip
        wanted = theirs.object_type_qconfigs.get(getattr(torch.nn, cls), theirs.global_qconfig)
        assert type(found.activation()).__name__ == type(wanted.activation()).__name__
        assert type(found.weight()).__name__ == type(wanted.weight()).__name__
