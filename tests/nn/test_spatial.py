"""Convolutions, poolings, paddings, resizing and normalizations against PyTorch, one table for all modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, torch, values

T = torch.nn.functional

CONVOLUTIONS: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("Conv1d", (2, 4, 3), {}, (2, 2, 9)),
    ("Conv1d", (2, 4, 3), {"stride": 2, "padding": 1, "dilation": 2}, (2, 9)),
    ("Conv1d", (4, 4, 4), {"padding": "same", "groups": 2}, (2, 4, 7)),
    ("Conv1d", (2, 2, 3), {"padding": 2, "padding_mode": "circular"}, (1, 2, 6)),
    ("Conv2d", (3, 4, 3), {}, (2, 3, 6, 7)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "groups": 2, "bias": False}, (2, 4, 7, 6)),
    ("Conv2d", (2, 2, 3), {"dilation": 2, "padding": "same"}, (2, 6, 5)),
    ("Conv2d", (2, 2, 2), {"padding": "same", "padding_mode": "reflect"}, (1, 2, 5, 4)),
    ("Conv2d", (3, 3, 3), {"groups": 3, "padding": 1}, (1, 3, 5, 5)),
    ("Conv3d", (2, 4, 2), {}, (1, 2, 4, 3, 5)),
    ("Conv3d", (2, 4, (2, 1, 3)), {"stride": (1, 2, 1), "padding": (1, 0, 1), "groups": 2}, (2, 3, 4, 4)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, (2, 4, 5)),
    ("ConvTranspose1d", (2, 3, 2), {"dilation": 3, "output_padding": 2}, (2, 4)),
    ("ConvTranspose2d", (3, 2, 3), {}, (2, 3, 4, 5)),
    ("ConvTranspose2d", (2, 4, (2, 3)), {"stride": (2, 3), "padding": (0, 1), "groups": 2}, (1, 2, 3, 4)),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2, "output_padding": (1, 0, 1), "bias": False}, (1, 2, 2, 3, 2)),
]

OTHERS: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("MaxPool1d", (3,), {}, (2, 3, 10)),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}, (3, 10)),
    ("MaxPool2d", (2,), {}, (2, 3, 6, 7)),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "padding": (1, 0), "ceil_mode": True}, (2, 2, 6, 5)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "return_indices": True}, (2, 2, 7, 7)),
    ("MaxPool3d", (2,), {"return_indices": True}, (1, 2, 4, 5, 4)),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 9)),
    ("AvgPool2d", (2,), {}, (2, 3, 6, 7)),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, (2, 2, 6, 7)),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 6, 8)),
    ("AvgPool3d", ((2, 1, 3),), {"divisor_override": 5}, (1, 2, 4, 3, 6)),
    ("LPPool1d", (2, 3), {"stride": 2}, (2, 3, 9)),
    ("LPPool2d", (2, 2), {"ceil_mode": True}, (1, 2, 5, 6)),
    ("LPPool3d", (2, 2), {}, (1, 2, 4, 4, 4)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 10)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 7, 5)),
    ("AdaptiveAvgPool3d", (2,), {}, (2, 4, 5, 6)),
    ("AdaptiveMaxPool1d", (4,), {}, (2, 3, 10)),
    ("AdaptiveMaxPool2d", ((3, 4),), {"return_indices": True}, (2, 2, 7, 6)),
    ("AdaptiveMaxPool3d", (2,), {}, (1, 2, 3, 5, 4)),
    ("ZeroPad1d", (2,), {}, (2, 3, 4)), ("ZeroPad2d", ((1, 0, 2, 1),), {}, (2, 3, 4)),
    ("ZeroPad3d", (1,), {}, (1, 2, 2, 2, 2)), ("ConstantPad1d", ((2, 1), 3.5), {}, (2, 3)),
    ("ConstantPad2d", (1, -2.0), {}, (1, 2, 3, 4)), ("ConstantPad3d", (1, 2.5), {}, (1, 2, 2, 2, 2)),
    ("ReflectionPad1d", ((2, 1),), {}, (2, 3, 4)), ("ReflectionPad2d", ((1, 2, 0, 1),), {}, (1, 2, 4, 4)),
    ("ReflectionPad3d", (1,), {}, (1, 2, 3, 3, 3)), ("ReplicationPad1d", ((2, 1),), {}, (2, 4)),
    ("ReplicationPad2d", ((1, 2, 0, 1),), {}, (1, 2, 3, 4)), ("ReplicationPad3d", (1,), {}, (1, 2, 2, 3, 2)),
    ("CircularPad1d", ((2, 1),), {}, (1, 2, 4)), ("CircularPad2d", ((1, 2, 0, 1),), {}, (1, 2, 3, 4)),
    ("CircularPad3d", (1,), {}, (1, 2, 2, 3, 2)),
    ("Flatten", (), {}, (2, 3, 4)), ("Unflatten", (1, (2, 3)), {}, (2, 6, 4)),
    ("Unfold", ((2, 3),), {"dilation": 2, "padding": 1, "stride": (1, 2)}, (2, 3, 5, 6)),
    ("Fold", ((5, 6), (2, 3)), {"padding": 1, "stride": 2}, (2, 12, 9)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 2)), ("PixelUnshuffle", (2,), {}, (2, 2, 4, 6)),
    ("ChannelShuffle", (2,), {}, (1, 6, 2, 2)),
    ("Upsample", (), {"scale_factor": 2}, (1, 2, 3, 4)),
    ("Upsample", (), {"size": (5, 7), "mode": "bilinear"}, (1, 2, 3, 4)),
    ("UpsamplingNearest2d", (), {"size": 5}, (1, 2, 3, 4)),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, (1, 2, 3, 4)),
    ("LayerNorm", (5,), {}, (2, 3, 5)), ("LayerNorm", ((3, 5),), {"bias": False}, (2, 3, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False, "eps": 1e-3}, (2, 5)),
    ("RMSNorm", (5,), {}, (2, 3, 5)), ("RMSNorm", ((3, 5),), {"eps": 1e-3}, (2, 3, 5)),
    ("RMSNorm", (5,), {"elementwise_affine": False}, (2, 5)),
    ("GroupNorm", (2, 6), {}, (2, 6, 3, 2)),
    ("GroupNorm", (2, 6), {"bias": False}, (2, 6, 3)), ("GroupNorm", (3, 6), {"affine": False}, (2, 6, 4)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 5)), ("InstanceNorm2d", (3,), {"affine": True}, (3, 4, 5)),
    ("InstanceNorm3d", (2,), {"affine": True}, (2, 2, 2, 3, 2)),
    ("LocalResponseNorm", (3,), {"alpha": 0.3, "k": 2.0}, (2, 5, 3)),
    ("LocalResponseNorm", (2,), {"alpha": 0.3}, (2, 5, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), CONVOLUTIONS + OTHERS, ids=str)
def test_module(name: str, args: Any, kwargs: Any, shape: Any) -> None:
    compare_modules(name, args, [shape], kwargs=kwargs)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        ("BatchNorm1d", {}, (4, 3)), ("BatchNorm1d", {"momentum": None}, (4, 3, 5)),
        ("BatchNorm2d", {"affine": False}, (2, 3, 4, 5)), ("BatchNorm2d", {"track_running_stats": False}, (2, 3, 2, 2)),
        ("BatchNorm3d", {"momentum": 0.3}, (2, 3, 2, 2, 2)),
        ("InstanceNorm1d", {"affine": True, "track_running_stats": True}, (2, 3, 5)),
    ], ids=str,
)  # fmt: skip
def test_running_statistics(name: str, kwargs: Any, shape: Any, train: bool) -> None:
    compare_modules(name, (3,), [shape], kwargs=kwargs, train=train, steps=2 if train else 1)


def test_norm_over_channels_is_that_of_neighbours() -> None:
    x = hs.tensor(values((2, 5, 3, 2)))
    found = nn.CrossMapLRN2d(3, alpha=0.3, k=2)(x)
    np.testing.assert_allclose(found.numpy(), nn.LocalResponseNorm(3, alpha=0.3, k=2.0)(x).numpy(), rtol=1e-5)


@pytest.mark.parametrize("at", [(3, 1, 1), (3, 2, 1), (2, 1, 1), (3, 2, 1, 1, True)], ids=str)
def test_maxima_of_windows_of_minus_infinity_are_inside(at: tuple[Any, ...]) -> None:
    x = np.full((1, 2, 4, 5), -np.inf, np.float32)
    x[0, :, 0, 0], x[0, 1, 3, 4] = 5.0, 2.0
    a, b = hs.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    for indices in (False, True):
        found, expected = F.max_pool2d(a, *at), T.max_pool2d(b, *at)
        if indices:
            (found, mine), (expected, other) = (m.max_pool2d(t, *at, return_indices=True) for m, t in ((F, a), (T, b)))
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
        np.testing.assert_array_equal(found.detach().numpy(), expected.detach().numpy())
        found.backward(hs.ones(*found.shape))
        expected.backward(torch.ones(expected.shape))
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_maxima_of_no_images() -> None:
    x = hs.zeros(0, 3, 4, 4, requires_grad=True)
    y = F.max_pool2d(x, 2)
    y.sum().backward()
    assert y.tolist() == []
    assert x.grad is not None
    assert x.grad.shape == (0, 3, 4, 4)


def test_unpooling() -> None:
    def run(m: Any) -> Any:
        def f(x: Any) -> Any:
            y, at = m.max_pool2d(x, 2, return_indices=True)
            return m.max_unpool2d(y, at, 2, output_size=(2, 3, 5, 6)), m.max_unpool2d(y * 2, at, 2)

        return f

    x = values((2, 3, 4, 6))
    a = run(F)(hs.tensor(x[:, :, :4]))[1]
    b = run(T)(torch.tensor(x[:, :, :4]))[1]
    np.testing.assert_allclose(a.numpy(), b.numpy())
    compare_functions(run(F), run(T), values((2, 3, 5, 6)))

    def shared(m: Any, start: Any) -> Any:
        at = start([[[0, 3, 3, 0]]])  # as windows that overlap give them
        return lambda x: m.max_unpool1d(x, at, 2)

    x = hs.tensor(values((1, 1, 4)), requires_grad=True)
    shared(F, hs.tensor)(x).backward(hs.arange(8.0).reshape(1, 1, 8))
    assert x.grad is not None
    assert x.grad.tolist() == [[[0, 3, 3, 0]]]
    x.grad = None
    hs.compile(shared(F, hs.tensor))(x).backward(hs.arange(8.0).reshape(1, 1, 8))  # out of what is compiled
    assert x.grad.tolist() == [[[0, 3, 3, 0]]]
    y = shared(F, hs.tensor)(hs.tensor([[[np.inf, -0.0, -0.0, np.inf]]], requires_grad=True)).detach().numpy()
    assert y[0, 0, 0] == np.inf
    assert np.signbit(y[0, 0, 3])


@pytest.mark.parametrize("axes", [2, 3])
def test_fractional(axes: int) -> None:
    shape = (2, 3, *[7, 9, 8][:axes])
    samples = np.random.default_rng(0).random((2, 3, axes)).astype(np.float32)
    name = f"fractional_max_pool{axes}d"

    def run(m: Any, tensor: Any) -> Any:
        return lambda x: getattr(m, name)(
            x, 2, output_size=[4, 5, 4][:axes], return_indices=True, _random_samples=tensor(samples)
        )

    compare_functions(run(F, hs.tensor), run(T, torch.tensor), values(shape))


@pytest.mark.parametrize("align", [None, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear"])
@pytest.mark.parametrize("how", [{"size": 7}, {"scale_factor": 0.6}, {"scale_factor": 1.7}], ids=str)
def test_interpolate(mode: str, how: Any, align: Any) -> None:
    if align and "linear" not in mode and "cubic" not in mode:
        return
    axes = {"linear": 1, "trilinear": 3}.get(mode, 2)
    x = values((1, 2, *[5, 4, 6][:axes]))
    compare_functions(
        lambda x: F.interpolate(x, mode=mode, align_corners=align, **how),
        lambda x: T.interpolate(x, mode=mode, align_corners=align, **how), x,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_interpolate_with_a_filter(mode: str) -> None:
    compare_functions(
        lambda x: F.interpolate(x, (3, 4), mode=mode, antialias=True),
        lambda x: T.interpolate(x, (3, 4), mode=mode, antialias=True), values((1, 2, 9, 10)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "padding", "align"),
    [
        (mode, padding, align)
        for i, mode in enumerate(("bilinear", "nearest", "bicubic"))
        for j, padding in enumerate(("zeros", "border", "reflection"))
        for align in ((False, True) if mode == "bilinear" else ((i + j) % 2 == 0,))
    ],
)
def test_grid_sample(mode: str, padding: str, align: bool) -> None:
    grid = np.random.default_rng(1).uniform(-1.4, 1.4, (2, 3, 4, 2)).astype(np.float32)
    kw = {"mode": mode, "padding_mode": padding, "align_corners": align}
    x = values((2, 2, 5, 6))
    compare_functions(
        lambda x, g: F.grid_sample(x, g, **kw), lambda x, g: T.grid_sample(x, g, **kw), x, grid, atol=5e-5
    )


def test_grid_sample_of_volumes_and_affine_grids() -> None:
    theta = values((2, 3, 4), 3) * 0.5
    for align in (False, True):
        compare_functions(
            lambda x, t, a=align: F.grid_sample(x, F.affine_grid(t, [2, 2, 3, 4, 5], a), align_corners=a),
            lambda x, t, a=align: T.grid_sample(x, T.affine_grid(t, [2, 2, 3, 4, 5], a), align_corners=a),
            values((2, 2, 4, 5, 3)), theta, atol=5e-5,
        )  # fmt: skip


@pytest.mark.parametrize("axes", [1, 2])
def test_integers(axes: int) -> None:
    rng = np.random.default_rng(axes)
    x, w = rng.integers(-9, 9, (2, 4, *[7] * axes)), rng.integers(-9, 9, (6, 2, *[3] * axes))
    for name, extra in ((f"conv{axes}d", (w,)), (f"avg_pool{axes}d", ()), (f"max_pool{axes}d", ())):
        kwargs = {"stride": 2, "padding": 1} | ({"groups": 2} if extra else {"kernel_size": 3})
        found = getattr(F, name)(*(hs.tensor(a) for a in (x, *extra)), **kwargs)
        kind = torch.float64 if name == "max_pool1d" else torch.int64  # PyTorch has none of integers
        expected = getattr(T, name)(*(torch.tensor(a).to(kind) for a in (x, *extra)), **kwargs)
        assert found.dtype == hs.int64
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_conv_tbc() -> None:
    arrays = (values((6, 2, 3)), values((3, 3, 4)), values((4,)))
    compare_functions(lambda x, w, b: F.conv_tbc(x, w, b, 1), lambda x, w, b: T.conv_tbc(x, w, b, 1), *arrays)


def test_output_size_of_transposed_convolutions() -> None:
    module, other = nn.ConvTranspose2d(2, 3, 3, stride=2), torch.nn.ConvTranspose2d(2, 3, 3, stride=2)
    module.load_state_dict({k: hs.tensor(v.numpy()) for k, v in other.state_dict().items()})
    x = values((1, 2, 4, 4))
    found, expected = module(hs.tensor(x), output_size=[10, 9]), other(torch.tensor(x), output_size=[10, 9])
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="valid sizes range"):
        module(hs.tensor(x), output_size=[12, 9])


def test_a_second_derivative_of_a_convolution() -> None:
    def run(m: Any, grad: Any) -> Any:
        def f(x: Any, w: Any) -> Any:
            (g,) = grad((m.conv2d(x, w, padding=1) ** 3).sum(), [w], create_graph=True)
            return g

        return f

    arrays = (values((1, 2, 4, 4)) * 0.5, values((2, 2, 3, 3)) * 0.5)
    compare_functions(run(F, hs.autograd.grad), run(T, torch.autograd.grad), *arrays, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_convolutions(seed: int) -> None:
    """Those of inputs are convolutions themselves where steps are 1 and padding stays inside of a kernel's reach."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    inner, out = (int(rng.integers(1, 20)) * groups for _ in range(2))
    kh, kw, dh, dw, ph, pw = (int(n) for n in rng.integers((1, 1, 1, 1, 0, 0), (4, 4, 3, 3, 4, 4)))
    size = (int(rng.integers(1, 4)), inner, int(rng.integers(7, 12)), int(rng.integers(7, 20)))
    given = {"stride": 1 if seed % 3 else (1, 2), "padding": (ph, pw), "dilation": (dh, dw), "groups": groups}
    x, w = values(size, seed), values((out, inner // groups, kh, kw), seed + 1)
    compare_functions(lambda x, w: F.conv2d(x, w, **given), lambda x, w: T.conv2d(x, w, **given), x, w, atol=1e-3)


def test_dropouts() -> None:
    x = hs.ones(50, 40, 10)
    for name in ("Dropout", "Dropout1d", "Dropout2d"):
        module = getattr(nn, name)(0.25)
        y = module(x).numpy()
        np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-5)
        assert 0.2 < (y == 0).mean() < 0.3
        if name != "Dropout":
            assert (y == y[:, :, :1]).all()
        assert module.eval()(x) is x
        assert repr(module) == repr(getattr(torch.nn, name)(0.25))
    y = nn.Dropout3d(0.5)(hs.ones(30, 30, 2, 2, 2)).numpy()
    assert (y == y[:, :, :1, :1, :1]).all()
    noise = hs.randn(200, 200)
    kept = nn.AlphaDropout(0.3)(noise).numpy()
    assert abs(kept.mean()) < 0.05
    assert abs(kept.std() - 1) < 0.05
    assert nn.FeatureAlphaDropout(0.3)(x).shape == x.shape
    assert (nn.Dropout(1.0)(x).numpy() == 0).all()
    hs.manual_seed(3)
    first = F.dropout(x).numpy()
    hs.manual_seed(3)
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)


def test_wrong_arguments_are_named() -> None:
    x = hs.zeros(1, 2, 8, 8)
    with pytest.raises(ValueError, match=r"to have 3 channels, but got 2 channels instead"):
        nn.Conv2d(3, 4, 3)(x)
    with pytest.raises(ValueError, match=r"Kernel size can't be greater than actual input size"):
        nn.Conv2d(2, 4, 9)(x)
    with pytest.raises(ValueError, match=r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d"):
        nn.Conv2d(2, 4, 3)(hs.zeros(2, 2))
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="not supported for strided"):
        nn.Conv2d(2, 4, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match="at most half of effective kernel size"):
        F.max_pool2d(x, 2, padding=2)
    with pytest.raises(ValueError, match=r"expected 4D input \(got 3D input\)"):
        nn.BatchNorm2d(2)(hs.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(2)(hs.zeros(1, 2))
    with pytest.raises(ValueError, match="expected input with shape"):
        nn.LayerNorm(5)(hs.zeros(2, 4))
    with pytest.raises(ValueError, match="divisible by num_groups"):
        nn.GroupNorm(4, 6)
    with pytest.raises(NotImplementedError, match="no mode 'cubic'"):
        F.interpolate(x, 4, mode="cubic")
    with pytest.raises(ValueError, match="padding_mode"):
        F.grid_sample(x, hs.zeros(1, 2, 2, 2), padding_mode="wrap")
