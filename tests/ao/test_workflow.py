"""From a model of floats to one of codes: calibration, training with rounded weights, weights alone."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.ao import quantization as Q
from heliostat.diagnostics import UnsupportedError

from .peer import peer, take_state, torch, values


def network(nn_: Any, quantization: Any) -> Any:
    class Network(nn_.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv, self.bn, self.relu = nn_.Conv2d(2, 4, 3, padding=1), nn_.BatchNorm2d(4), nn_.ReLU()
            self.pool, self.fc, self.relu2, self.last = (
                nn_.MaxPool2d(2),
                nn_.Linear(16, 6),
                nn_.ReLU(),
                nn_.Linear(6, 3),
            )
            self.sum = (
                quantization.FloatFunctional()
                if hasattr(quantization, "FloatFunctional")
                else (Q if nn_ is nn else torch.ao).nn.quantized.FloatFunctional()
            )

        def forward(self, x: Any) -> Any:
            x = self.pool(self.relu(self.bn(self.conv(self.quant(x)))))
            x = self.relu2(self.fc(x.flatten(1)))
            return self.dequant(self.last(self.sum.add(x, x)))

    return Network()


GROUPS = [["conv", "bn", "relu"], ["fc", "relu2"]]


def both(training: bool) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs, ours = network(torch.nn, peer), network(nn, Q)
    with torch.no_grad():
        theirs.bn.running_mean.normal_()
        theirs.bn.running_var.uniform_(0.5, 2)
    take_state(ours, theirs)
    return ours.train(training), theirs.train(training)


@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])
def test_calibration_equals_pytorch(backend: str) -> None:
    ours, theirs = both(False)
    ours, theirs = Q.fuse_modules(ours, GROUPS), peer.fuse_modules(theirs, GROUPS)
    ours.qconfig, theirs.qconfig = Q.get_default_qconfig(backend), peer.get_default_qconfig(backend)
    ours, theirs = Q.prepare(ours), peer.prepare(theirs)
    for n in range(2):
        x = values((4, 2, 4, 4), n)
        np.testing.assert_allclose(ours(hs.tensor(x)).tolist(), theirs(torch.tensor(x)).tolist(), 1e-5, 1e-6)
    stats = Q.get_observer_state_dict(ours)
    assert stats.keys() == peer.get_observer_state_dict(theirs).keys()
    Q.load_observer_state_dict(ours, stats)
    calibrated = copy.deepcopy(ours)
    ours, theirs = Q.convert(ours), peer.convert(theirs)
    x = values((16, 2, 4, 4), 9)
    y = ours(hs.tensor(x)).numpy()
    np.testing.assert_allclose(y, theirs(torch.tensor(x)).numpy(), 1e-5, theirs.last.scale * 1.01)
    assert (np.abs(y - theirs(torch.tensor(x)).numpy()) > 1e-4).mean() < 0.03
    np.testing.assert_allclose(hs.compile(ours)(hs.tensor(x)).numpy(), y, 1e-6, 1e-6)
    assert not any(hasattr(m, "qconfig") or hasattr(m, "activation_post_process") for m in ours.modules())
    file = io.BytesIO()
    hs.save(ours.state_dict(), file)
    file.seek(0)
    again = Q.convert(calibrated)
    for m in again.modules():
        for name in ("scale", "zero_point"):
            if name in m._buffers:
                m._buffers[name] = hs.zeros_like(m._buffers[name])
    again.load_state_dict(hs.load(file))
    assert again(hs.tensor(x)).tolist() == y.tolist()


@pytest.mark.parametrize("version", [0, 1])
def test_training_equals_pytorch(version: int) -> None:
    ours, theirs = both(True)
    ours, theirs = Q.fuse_modules_qat(ours, GROUPS), peer.fuse_modules_qat(theirs, GROUPS)
    ours.qconfig = Q.get_default_qat_qconfig("fbgemm", version)
    theirs.qconfig = peer.get_default_qat_qconfig("fbgemm", version)
    ours, theirs = Q.prepare_qat(ours), peer.prepare_qat(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    one, two = hs.optim.SGD(ours.parameters(), 0.05), torch.optim.SGD(theirs.parameters(), 0.05)

    def step(x: Any) -> Any:
        one.zero_grad()
        loss = (ours(x) ** 2).mean()
        loss.backward()
        one.step()
        return loss

    for n in range(3):
        x = values((8, 2, 4, 4), n)
        two.zero_grad()
        expected = (theirs(torch.tensor(x)) ** 2).mean()
        expected.backward()
        two.step()
        np.testing.assert_allclose(step(hs.tensor(x)).item(), expected.item(), 1e-4)
    ours.apply(Q.nn.intrinsic.qat.freeze_bn_stats)
    assert not ours.train().conv.bn.training
    ours, theirs = Q.convert(ours.eval()), peer.convert(theirs.eval())
    x = values((16, 2, 4, 4), 9)
    a, b = ours(hs.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(a, b, 1e-4, theirs.last.scale * 1.01)
    assert (np.abs(a - b) > 1e-4).mean() < 0.1


def test_a_captured_step_trains_as_an_eager_one() -> None:
    models = []
    for compiled in (False, True):
        hs.manual_seed(0)
        model = nn.Sequential(Q.QuantStub(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), Q.DeQuantStub())
        model.qconfig = Q.get_default_qat_qconfig()
        model = Q.prepare_qat(model.train())
        model(hs.ones(3, 4))  # channels are counted outside of the step
        optimizer = hs.optim.SGD(model.parameters(), 0.1)

        def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        run = hs.compile(step) if compiled else step
        models.append([run(hs.tensor(values((3, 4), n))).item() for n in range(3)])
    np.testing.assert_allclose(models[0], models[1], 1e-5)


@pytest.mark.parametrize("dtype", ["qint8", "float16"])
@pytest.mark.parametrize(("name", "args", "shape"), [
    ("Linear", (6, 4), (5, 6)), ("LSTM", (6, 5, 2, True, False, 0.0, True), (4, 3, 6)), ("GRU", (6, 5), (4, 3, 6)),
    ("LSTMCell", (6, 5), (3, 6)), ("GRUCell", (6, 5), (3, 6)), ("RNNCell", (6, 5), (3, 6)),
])  # fmt: skip
def test_dynamic_quantization_equals_pytorch(name: str, args: Any, shape: Any, dtype: str) -> None:
    theirs = torch.nn.Sequential(getattr(torch.nn, name)(*args))
    ours = nn.Sequential(getattr(nn, name)(*args))
    take_state(ours, theirs)
    ours = Q.quantize_dynamic(ours, dtype=getattr(hs, dtype))
    theirs = peer.quantize_dynamic(theirs, dtype=getattr(torch, dtype))
    assert "Dynamic" in repr(ours)
    x = values(shape, 3)
    a, b = ours(hs.tensor(x)), theirs(torch.tensor(x))
    while isinstance(a, tuple):
        a, b = a[0], b[0]
    np.testing.assert_allclose(a.numpy(), b.detach().numpy(), 1e-4, 1e-5)


def test_tables_are_quantized() -> None:
    model = nn.Sequential(nn.Embedding(20, 16))
    rows = hs.tensor([[3, 19], [0, 3]])
    quantized = Q.quantize_dynamic(model, dtype=hs.quint8)
    np.testing.assert_allclose(quantized(rows).tolist(), model(rows).tolist(), 0, 0.02)
    bag = Q.quantize_dynamic(nn.Sequential(nn.EmbeddingBag(20, 16, mode="sum")), dtype=hs.quint4x2)
    assert bag[0].weight().dtype is hs.quint4x2


def test_other_modules_are_converted() -> None:
    model = nn.Sequential(
        Q.QuantStub(), nn.Conv1d(3, 4, 3), nn.LeakyReLU(), nn.GroupNorm(2, 4), nn.Hardswish(), nn.ELU(), nn.PReLU(),
        nn.ConvTranspose1d(4, 4, 3), nn.InstanceNorm1d(4), nn.Dropout(), nn.ReLU6(), nn.Sigmoid(), Q.DeQuantStub(),
    )  # fmt: skip
    model.qconfig = Q.default_qconfig
    model[6].qconfig = Q.default_quint8_weight_qconfig = Q.QConfig(Q.MinMaxObserver, Q.MinMaxObserver)
    x = hs.tensor(values((4, 3, 12)))
    done = Q.quantize(model, lambda m, x: m(x), (x,))
    assert [type(m).__module__.split(".")[1] for m in done] == ["ao"] * 11 + ["nn", "ao"]
    np.testing.assert_allclose(done(x).tolist(), model.eval()(x).tolist(), 0, 0.12)
    wrapped = nn.Sequential(nn.Linear(3, 2))
    wrapped.qconfig = wrapped[0].qconfig = Q.default_qconfig
    Q.add_quant_dequant(wrapped)
    done = Q.quantize(wrapped, lambda m, x: m(x), (hs.ones(2, 3),))
    assert done(hs.ones(2, 3)).shape == (2, 2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        Q.prepare_qat(nn.Linear(2, 2).eval())
    with pytest.raises(UnsupportedError, match="no fusion of ReLU, Linear"):
        Q.fuse_modules(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), ["0", "1"])
    with pytest.raises(ValueError, match="all be in training mode"):
        Q.fuse_modules(nn.Sequential(nn.Conv2d(2, 2, 1).eval(), nn.BatchNorm2d(2)), ["0", "1"])
    with pytest.raises(UnsupportedError, match="is_reference"):
        Q.convert(nn.Linear(2, 2), is_reference=True)
    transposed = nn.ConvTranspose1d(2, 2, 1)
    transposed.qconfig = Q.get_default_qconfig()
    with pytest.raises(UnsupportedError, match="one scale"):
        Q.prepare(transposed)
