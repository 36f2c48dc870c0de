"""Averages of models beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import UnsupportedError

torch = pytest.importorskip("torch", reason="compares with PyTorch")
ours, theirs = optim.swa_utils, torch.optim.swa_utils


def multi(means: Any, newest: Any, count: Any) -> None:
    for mean, now in zip(means, newest, strict=True):
        mean.mul_(0.75).add_(now * 0.25)


CASES = [
    ("plain", {}, {}),
    ("moving", {"avg_fn": ours.get_ema_avg_fn(0.8)}, {"avg_fn": theirs.get_ema_avg_fn(0.8)}),
    ("own", {"multi_avg_fn": multi}, {"multi_avg_fn": multi}),
    ("plain of many", {"multi_avg_fn": ours.get_swa_multi_avg_fn()}, {"multi_avg_fn": theirs.get_swa_multi_avg_fn()}),
    (
        "moving of many, buffers too",
        {"multi_avg_fn": ours.get_ema_multi_avg_fn(0.8), "use_buffers": True},
        {"multi_avg_fn": theirs.get_ema_multi_avg_fn(0.8), "use_buffers": True},
    ),
    ("buffers too", {"use_buffers": True}, {"use_buffers": True}),
]


def models() -> tuple[nn.Module, Any]:
    a = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    b = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    b.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in a.state_dict().items()})
    return a, b


def same(a: Any, b: Any) -> None:
    x, y = a.state_dict(), b.state_dict()
    assert list(x) == list(y)
    for k in y:
        assert x[k].numpy().dtype == y[k].numpy().dtype, k
        np.testing.assert_allclose(x[k].numpy(), y[k].numpy(), atol=1e-6, err_msg=k)


@pytest.mark.parametrize(("options", "of_torch"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_averages_equal_pytorch(options: Any, of_torch: Any) -> None:
    a, b = models()
    x, y = ours.AveragedModel(a, **options), theirs.AveragedModel(b, **of_torch)
    rng = np.random.default_rng(3)
    for _ in range(4):
        for p, q in zip([*a.parameters(), *a.buffers()], [*b.parameters(), *b.buffers()], strict=True):
            new = rng.integers(0, 50, tuple(q.shape)) if "int" in str(q.dtype) else rng.standard_normal(tuple(q.shape))
            with hs.no_grad(), torch.no_grad():
                p.copy_(hs.tensor(new).to(p.dtype))
                q.copy_(torch.tensor(new).to(q.dtype))
        x.update_parameters(a)
        y.update_parameters(b)
        same(x, y)


def test_an_averaged_model_is_a_module() -> None:
    """The recipe of PyTorch's documentation: an average of the last steps, whose batch norms see the data again."""
    a, b = models()
    rng = np.random.default_rng(4)
    data = [rng.standard_normal((8, 3)).astype(np.float32) for _ in range(3)]
    x, y = ours.AveragedModel(a), theirs.AveragedModel(b)
    for step in range(3):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            with hs.no_grad(), torch.no_grad():
                p.mul_(1 + step / 4)
                q.mul_(1 + step / 4)
        x.update_parameters(a)
        y.update_parameters(b)
    ours.update_bn([hs.tensor(d) for d in data], x)
    theirs.update_bn([torch.from_numpy(d) for d in data], y)
    same(x, y)
    x.eval()
    y.eval()
    assert not x.module[1].training
    np.testing.assert_allclose(
        x(hs.tensor(data[0])).detach().numpy(), y(torch.from_numpy(data[0])).detach().numpy(), atol=1e-5
    )
    again = ours.AveragedModel(models()[0])
    again.load_state_dict(x.state_dict())
    same(again, x)
    assert int(again.n_averaged) == 3


def test_bad_options() -> None:
    with pytest.raises(UnsupportedError, match="avg_fn and multi_avg_fn"):
        ours.AveragedModel(nn.Linear(2, 2), avg_fn=ours.get_swa_avg_fn(), multi_avg_fn=multi)
    for make in (ours.get_ema_avg_fn, ours.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match=r"1\.5"):
            make(1.5)
