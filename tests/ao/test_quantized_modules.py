"""Modules of codes against PyTorch's, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.ao.nn import intrinsic
from heliostat.ao.nn import quantized as Q
from heliostat.ao.nn.intrinsic import quantized as FQ
from heliostat.ao.quantization import choose_qparams
from heliostat.diagnostics import DTypeError, ShapeError, UnsupportedError

from .peer import assert_codes, codes, take_state, torch, values

TQ = torch.ao.nn.quantized
TFQ = torch.ao.nn.intrinsic.quantized


def weights(shape: tuple[int, ...], per_channel: bool) -> tuple[Any, Any]:
    w = values(shape, 1, 0.3)
    if not per_channel:
        return codes(w, 0.01, 0, "qint8")
    scales = np.abs(w.reshape(len(w), -1)).max(1) / 127
    zeros = np.zeros(len(w), np.int64)
    ours = hs.quantize_per_channel(hs.tensor(w), hs.tensor(scales), hs.tensor(zeros), 0, hs.qint8)
    return ours, torch.quantize_per_channel(torch.tensor(w), torch.tensor(scales), torch.tensor(zeros), 0, torch.qint8)


PRODUCTS = [
    ("Linear", (10, 6), (6, 10), (2, 3, 10)), ("Conv1d", (4, 6, 3), (6, 4, 3), (2, 4, 9)),
    ("Conv2d", (4, 6, 3, 2, 1, 1, 2), (6, 2, 3, 3), (2, 4, 7, 8)),
    ("Conv3d", (2, 3, 2), (3, 2, 2, 2, 2), (1, 2, 3, 3, 2)),
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1), (4, 6, 3, 3), (1, 4, 3, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "shape", "given"), PRODUCTS)
def test_products_equal_pytorch(name: str, args: Any, shape: Any, given: Any) -> None:
    per_channel = "Transpose" not in name
    ours, theirs = getattr(Q, name)(*args), getattr(TQ, name)(*args)
    a, b = weights(shape, per_channel)
    bias = values((args[1],), 2)
    ours.set_weight_bias(a, hs.tensor(bias))
    theirs.set_weight_bias(b, torch.tensor(bias))
    theirs.scale, theirs.zero_point = 0.07, 120
    ours.set_output(0.07, 120)
    x, y = codes(values(given, 3))
    assert_codes(ours(x), theirs(y))
    fused = {"Linear": "LinearReLU", "Conv2d": "ConvReLU2d"}.get(name)
    if fused:
        ours, theirs = getattr(FQ, fused)(*args), getattr(TFQ, fused)(*args)
        ours.set_weight_bias(a, hs.tensor(bias))
        theirs.set_weight_bias(b, torch.tensor(bias))
        theirs.scale, theirs.zero_point = 0.07, 12
        ours.set_output(0.07, 12)
        assert_codes(ours(x), theirs(y))


def test_dynamic_products() -> None:
    """PyTorch's dynamic convolutions round their results to the scale of their input; ours do not."""
    bias, x = values((6,), 2), values((3, 10), 3, 2.0)
    a, b = weights((6, 10), True)
    ours, theirs = Q.dynamic.Linear(10, 6), TQ.dynamic.Linear(10, 6)
    ours.set_weight_bias(a, hs.tensor(bias))
    theirs.set_weight_bias(b, torch.tensor(bias))
    expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(hs.tensor(x)).numpy(), expected, 1e-5, 1e-5)
    np.testing.assert_allclose(hs.compile(ours)(hs.tensor(x)).numpy(), expected, 1e-5, 1e-5)
    for shape in ((0, 10), (0, 2, 10)):
        assert tuple(ours(hs.zeros(shape)).shape) == tuple(theirs(torch.zeros(shape)).shape)
    conv = Q.dynamic.Conv2d(4, 6, 3)
    a, b = weights((6, 4, 3, 3), True)
    conv.set_weight_bias(a, hs.tensor(bias))
    x = values((2, 4, 5, 5), 3)
    scale, zero = (t.item() for t in choose_qparams(hs.tensor(x.min()), hs.tensor(x.max()), 0, 127))
    rounded = torch.fake_quantize_per_tensor_affine(torch.tensor(x), scale, zero, 0, 127)
    expected = torch.nn.functional.conv2d(rounded, b.dequantize(), torch.tensor(bias)).numpy()
    np.testing.assert_allclose(conv(hs.tensor(x)).numpy(), expected, 1e-4, 1e-4)


VALUES = [
    ("ELU", (0.03, 40), (2, 5, 4)), ("Hardswish", (0.03, 40), (2, 5, 4)), ("LeakyReLU", (0.03, 40, 0.2), (2, 5, 4)),
    ("Sigmoid", (1 / 256, 0), (2, 5, 4)), ("ReLU6", (), (2, 5, 4)),
    ("Softmax", (1, 1 / 256, 0), (3, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "shape"), VALUES)
def test_activations_equal_pytorch(name: str, args: Any, shape: Any) -> None:
    x, y = codes(values(shape, 3, 2.0))
    assert_codes(getattr(Q, name)(*args)(x), getattr(TQ, name)(*args)(y), 0.05)


def theirs_of(*arrays: Any) -> list[Any]:
    return [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def test_norms_equal_pytorch() -> None:
    x, y = codes(values((2, 4, 5, 6), 3, 2.0))
    gain, shift = values((4,), 4), values((4,), 5)
    for name, args in (("GroupNorm", (2, 4)), ("InstanceNorm2d", (4,))):
        ours = getattr(Q, name)(*args, nn.Parameter(hs.tensor(gain)), nn.Parameter(hs.tensor(shift)), 0.03, 90)
        theirs = getattr(TQ, name)(*args, *theirs_of(gain, shift), 0.03, 90)
        assert_codes(ours(x), theirs(y), 0.02)
    gain, shift = values((6,), 4), values((6,), 5)
    ours = Q.LayerNorm(6, nn.Parameter(hs.tensor(gain)), nn.Parameter(hs.tensor(shift)), 0.03, 90)
    theirs = TQ.LayerNorm(6, *theirs_of(gain, shift), 0.03, 90)
    assert_codes(ours(x), theirs(y), 0.02)
    for cls, peer_cls in ((Q.BatchNorm2d, TQ.BatchNorm2d), (FQ.BNReLU2d, TFQ.BNReLU2d)):
        ours, theirs = cls(4), peer_cls(4)
        theirs.running_mean.copy_(torch.tensor(values((4,), 6)))
        theirs.running_var.copy_(torch.tensor(values((4,), 7) ** 2 + 0.5))
        theirs.scale, theirs.zero_point = torch.tensor(0.04), torch.tensor(70)
        take_state(ours, theirs)
        assert_codes(ours(x), theirs(y), 0.02)


def test_functions_of_codes_equal_pytorch() -> None:
    x, y = codes(values((2, 4, 6, 8), 3, 2.0))
    f, g = nn.functional, torch.nn.functional
    for ours, theirs in (
        (f.max_pool2d(x, 2), g.max_pool2d(y, 2)), (f.avg_pool2d(x, 2), g.avg_pool2d(y, 2)),
        (f.adaptive_avg_pool2d(x, (3, 2)), g.adaptive_avg_pool2d(y, (3, 2))), (hs.relu(x), torch.relu(y)),
        (f.hardtanh(x, -1, 2), g.hardtanh(y, -1, 2)), (x.mean((2, 3)), y.mean((2, 3))),
        (f.interpolate(x, scale_factor=2), g.interpolate(y, scale_factor=2)), (f.sigmoid(x), torch.sigmoid(y)),
        (hs.cat([x, x], 1), torch.cat([y, y], 1)), (x.flatten(1), y.flatten(1)), (x.permute(0, 2, 3, 1)[1], y.permute(
            0, 2, 3, 1)[1]), (f.dropout(x, 0.5, False), y), (f.leaky_relu(x, 0.1), g.leaky_relu(y, 0.1)),
    ):  # fmt: skip
        assert_codes(ours, theirs, 0.01)


def test_functional_modules_equal_pytorch() -> None:
    (x, y), (u, v) = codes(values((3, 5), 1)), codes(values((3, 5), 2), 0.04, 110)
    ours, theirs = Q.QFunctional(), TQ.QFunctional()
    theirs.scale, theirs.zero_point = 0.06, 90
    ours.set_output(0.06, 90)
    for name in ("add", "mul", "add_relu"):
        assert_codes(getattr(ours, name)(x, u), getattr(theirs, name)(y, v), 0.1)
    assert_codes(ours.cat([x, u], 1), theirs.cat([y, v], 1), 0.02)
    with pytest.raises(RuntimeError, match="not called"):
        ours(x)


def test_tables_equal_pytorch() -> None:
    w = values((12, 8), 1)
    low, high = w.min(1), w.max(1)
    scales = ((high - low) / 255).astype(np.float32)
    zeros = (-low / scales).astype(np.float32)
    a = hs.quantize_per_channel(hs.tensor(w), hs.tensor(scales), hs.tensor(zeros), 0, hs.quint8)
    b = torch.quantize_per_channel(torch.tensor(w), torch.tensor(scales), torch.tensor(zeros), 0, torch.quint8)
    rows = np.array([[3, 1, 4], [11, 0, 3]])
    ours, theirs = Q.Embedding(12, 8, _weight=a), TQ.Embedding(12, 8, _weight=b)
    np.testing.assert_allclose(ours(hs.tensor(rows)).numpy(), theirs(torch.tensor(rows)).numpy(), 1e-5, 1e-5)
    ours, theirs = Q.EmbeddingBag(12, 8, _weight=a), TQ.EmbeddingBag(12, 8, _weight=b, mode="sum")
    offsets = np.array([0, 2, 5])
    flat = rows.reshape(-1)
    got = ours(hs.tensor(flat), hs.tensor(offsets))
    np.testing.assert_allclose(got.numpy(), theirs(torch.tensor(flat), torch.tensor(offsets)).numpy(), 1e-4, 1e-4)
    with pytest.raises(IndexError):
        Q.Embedding(12, 8, _weight=a)(hs.tensor([12]))


def test_fused_sums() -> None:
    conv = intrinsic.ConvAddReLU2d(nn.Conv2d(2, 2, 1), hs.add, nn.ReLU())
    x = hs.tensor(values((1, 2, 3, 3)))
    np.testing.assert_allclose(conv(x, x).tolist(), hs.relu(conv[0](x) + x).tolist(), 1e-6)


def test_what_is_refused() -> None:
    layer = Q.Linear(4, 3)
    with pytest.raises(DTypeError, match="QuantStub"):
        layer(hs.ones(2, 4))
    with pytest.raises(ShapeError, match="does not fit"):
        layer.set_weight_bias(codes(values((4, 3)), 0.1, 0, "qint8")[0], None)
    x, _ = codes(values((1, 4, 3, 3)))
    turned = Q.ConvTranspose2d(4, 6, 3)
    turned.set_weight_bias(weights((4, 6, 3, 3), True)[0], None)
    with pytest.raises(UnsupportedError, match="scales for their first axis"):
        turned(x)
    with pytest.raises(TypeError, match="LinearReLU takes Linear, ReLU"):
        intrinsic.LinearReLU(nn.ReLU(), nn.Linear(2, 2))
    assert "QuantizedLinear" in repr(layer)
