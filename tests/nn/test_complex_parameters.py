"""Modules with complex parameters, against PyTorch: linear maps, convolutions, products of frequencies."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs

torch = pytest.importorskip("torch")


def complexes(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def spectral(m: Any) -> Any:
    """A layer as of Fourier neural operators: the lowest frequencies of rows are multiplied by weights."""

    class Spectral(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = m.nn.Parameter(0.1 * m.rand(2, 3, 4, dtype=m.cfloat))
            self.scale = m.nn.Parameter(m.ones(3, 1))

        def forward(self, x: Any) -> Any:
            low = m.einsum("bix,iox->box", m.fft.rfft(x)[..., :4], self.weight)
            return m.fft.irfft(low, n=x.shape[-1]) * self.scale

    return Spectral()


MODELS: dict[str, Any] = {
    "linear": (lambda m: m.nn.Linear(3, 2, dtype=m.complex64), (4, 3)),
    "conv": (lambda m: m.nn.Conv1d(2, 3, 3, dtype=m.complex64), (2, 2, 7)),
    "spectral": (spectral, (2, 2, 16)),
}
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda m, p: m.optim.SGD(p, lr=0.05, momentum=0.9), "adam": lambda m, p: m.optim.Adam(p, lr=0.01),
    "adamw": lambda m, p: m.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda m, p: m.optim.RMSprop(p, lr=0.01),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_training(name: str, optimizer: str) -> None:
    make, shape = MODELS[name]
    x = complexes(*shape).real if name == "spectral" else complexes(*shape)
    mine, theirs = make(hs), make(torch)
    assert [tuple(p.shape) for p in mine.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    mine.load_state_dict({k: hs.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()})
    found: list[list[float]] = []
    for m, model in ((hs, mine), (torch, theirs)):
        step, losses = OPTIMIZERS[optimizer](m, model.parameters()), []
        for _ in range(5):
            step.zero_grad()
            loss = (model(m.tensor(x)) - 0.5).abs().pow(2).mean()
            loss.backward()
            m.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step.step()
            losses.append(loss.item())
        found.append(losses)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_a_complex_parameter_is() -> None:
    w = hs.nn.Parameter(hs.tensor(complexes(2, 2)))
    assert isinstance(w, hs.nn.Parameter)
    assert (w.requires_grad, w.is_leaf, w.dtype, tuple(w.shape)) == (True, True, hs.complex64, (2, 2))
    for other in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert isinstance(other, hs.nn.Parameter)
        assert other.requires_grad
        assert other.tolist() == w.tolist()
    assert repr(w).startswith("Parameter containing:\ntensor(")
    assert not hs.nn.Parameter(hs.tensor(complexes(2)), requires_grad=False).requires_grad


def test_draws() -> None:
    hs.manual_seed(0)
    z = hs.rand(20000, dtype=hs.cfloat).numpy()
    assert 0 <= min(z.real.min(), z.imag.min()) < max(z.real.max(), z.imag.max()) < 1
    assert abs(z.mean() - (0.5 + 0.5j)) < 0.01
    for z in (hs.randn(20000, dtype=hs.complex128).numpy(), hs.zeros(20000, dtype=hs.cfloat).normal_(0, 1).numpy()):
        assert abs(z.var() - 1) < 0.05
        assert abs(z.real.var() - 0.5) < 0.05
        assert abs((z.real * z.imag).mean()) < 0.02
    assert abs(hs.zeros(20000, dtype=hs.cfloat).normal_(2 + 1j, 1).numpy().mean() - (2 + 1j)) < 0.05
    low = hs.zeros(100, dtype=hs.cfloat).uniform_(-1, 0).numpy()
    assert max(low.real.max(), low.imag.max()) < 0


def test_files(tmp_path: Path) -> None:
    model = hs.nn.Linear(3, 2, dtype=hs.complex64)
    x = hs.tensor(complexes(4, 3))
    step = hs.optim.Adam(model.parameters())
    model(x).abs().sum().backward()
    step.step()
    hs.save({"model": model.state_dict(), "step": step.state_dict(), "one": model.weight}, tmp_path / "mine")
    found = hs.load(tmp_path / "mine")
    assert found["one"].requires_grad
    other = hs.nn.Linear(3, 2, dtype=hs.complex64)
    other.load_state_dict(found["model"])
    assert other(x).tolist() == model(x).tolist()
    again = hs.optim.Adam(other.parameters())
    again.load_state_dict(found["step"])
    assert again.state[other.weight]["exp_avg"].tolist() == step.state[model.weight]["exp_avg"].tolist()
    theirs = torch.nn.Linear(3, 2, dtype=torch.complex64)
    torch.save({"model": theirs.state_dict(), "wide": theirs.weight.to(torch.complex128)[:, 1:]}, tmp_path / "theirs")
    read = hs.load(tmp_path / "theirs")
    assert read["wide"].dtype == hs.complex128
    np.testing.assert_array_equal(read["wide"].detach().numpy(), theirs.weight.detach().numpy()[:, 1:])
    other.load_state_dict(read["model"])
    np.testing.assert_allclose(other(x).detach().numpy(), theirs(torch.tensor(x.numpy())).detach().numpy(), rtol=1e-5)


def test_a_compiled_step() -> None:
    def trained(compiled: bool) -> list[float]:
        hs.manual_seed(1)
        model = spectral(hs)
        optimizer = hs.optim.Adam(model.parameters(), lr=0.01)
        x = hs.tensor(complexes(2, 2, 16).real)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        run = hs.compile(step) if compiled else step
        return [run(x).item() for _ in range(4)]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)
