"""Whole models under autocast against PyTorch's: dtypes of every module's result, values, gradients, training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.optim import SGD
from heliostat.tensor.printing import long_name

torch = pytest.importorskip("torch")


class Last:
    """Makes a recurrent layer's outputs a tensor: those of the last step."""

    @staticmethod
    def forward(self: Any, x: Any) -> Any:
        return self.rnn(x)[0][-1]


def recurrent(room: Any, kind: str) -> Any:
    made = type("Last", (room.Module,), {"forward": Last.forward})()
    made.rnn = getattr(room, kind)(6, 8, num_layers=2)
    return made


def mlp(room: Any) -> Any:
    return room.Sequential(room.Linear(6, 16), room.ReLU(), room.BatchNorm1d(16), room.Linear(16, 4))


def cnn(room: Any) -> Any:
    return room.Sequential(
        room.Conv2d(2, 6, 3, padding=1), room.BatchNorm2d(6), room.ReLU(), room.MaxPool2d(2),
        room.Conv2d(6, 8, 3), room.GELU(), room.AdaptiveAvgPool2d(1), room.Flatten(), room.Linear(8, 4),
    )  # fmt: skip


def transformer(room: Any) -> Any:
    return room.TransformerEncoder(room.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2)


MODELS = {
    "mlp": (mlp, (5, 6)), "cnn": (cnn, (3, 2, 8, 8)), "lstm": (lambda r: recurrent(r, "LSTM"), (4, 3, 6)),
    "gru": (lambda r: recurrent(r, "GRU"), (4, 3, 6)), "transformer": (transformer, (2, 5, 8)),
}  # fmt: skip


def pair(name: str) -> tuple[Any, Any, Any]:
    """Our model and PyTorch's with the same weights, and an input."""
    make, shape = MODELS[name]
    torch.manual_seed(5)
    theirs, mine = make(torch.nn), make(nn)
    mine.load_state_dict({k: hs.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return mine, theirs, np.random.default_rng(len(name)).uniform(-1, 1, shape).astype(np.float32)


def dtypes(model: Any) -> dict[str, list[str]]:
    """A record that fills with the dtypes of the result of each module when it is called."""
    found: dict[str, list[str]] = {}

    def note(name: str) -> Any:
        def hook(module: Any, args: Any, result: Any) -> None:
            ts = [t for r in (result if isinstance(result, tuple) else (result,)) if r is not None
                  for t in (r if isinstance(r, tuple) else (r,)) if t is not None]  # fmt: skip
            shown = [str(t.dtype).removeprefix("torch.") for t in ts]
            found[name] = [s if "float" in s else long_name(t.dtype) for s, t in zip(shown, ts, strict=True)]

        return hook

    for name, m in model.named_modules():
        m.register_forward_hook(note(name))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_module_is_as_pytorchs(name: str) -> None:
    mine, theirs, x = pair(name)
    ours, expected = dtypes(mine), dtypes(theirs)
    with torch.autocast("cpu", torch.bfloat16):
        y = theirs(torch.tensor(x))
        loss = (y.float() ** 2).mean()
    with hs.autocast("cpu", hs.bfloat16):
        z = mine(hs.tensor(x))
        found = (z.float() ** 2).mean()
    assert ours == expected
    np.testing.assert_allclose(z.detach().float().numpy(), y.detach().float().numpy(), atol=4e-2, rtol=4e-2)
    loss.backward()
    found.backward()
    grads = dict(theirs.named_parameters())
    for key, p in mine.named_parameters():
        g = grads[key].grad.numpy()
        assert p.grad.dtype == hs.float32
        np.testing.assert_allclose(p.grad.numpy(), g, atol=0.04 * max(np.abs(g).max(), 1e-2), err_msg=key)


@pytest.mark.parametrize("compiled", [False, True])
def test_training(compiled: bool) -> None:
    """A loss under autocast goes down as PyTorch's, in a compiled step too."""
    mine, theirs, x = pair("mlp")
    t = np.array([0, 1, 2, 3, 1])
    a, b = SGD(mine.parameters(), lr=0.2), torch.optim.SGD(theirs.parameters(), lr=0.2)

    def step(x: Any, t: Any) -> Any:
        with hs.autocast("cpu"):
            loss = nn.functional.cross_entropy(mine(x), t)
        a.zero_grad()
        loss.backward()
        a.step()
        return loss

    run = hs.compile(step) if compiled else step
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16):
            expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t))
        b.zero_grad()
        expected.backward()
        b.step()
        found = run(hs.tensor(x), hs.tensor(t)).item()
        assert found == pytest.approx(expected.item(), abs=0.05)
    assert mine[0].weight.dtype == hs.float32
