"""Sixty steps of every schedule against PyTorch, rates and momentum; saving in the middle and going on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import heliostat as hs
from heliostat import optim
from heliostat.optim import lr_scheduler

torch = pytest.importorskip("torch")

Make = Callable[[Any, Any], Any]


def both_rooms(optimizer: str = "SGD", **options: Any) -> list[tuple[Any, Any, Any]]:
    """(schedulers, optimizer, a parameter) of ours and of PyTorch, two groups of different rates."""
    found = []
    for library, room, schedules in ((hs, optim, lr_scheduler), (torch, torch.optim, torch.optim.lr_scheduler)):
        ps = [library.zeros(2).requires_grad_(True) for _ in range(2)]
        groups = [{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.3}]
        options = options or ({"momentum": 0.9} if optimizer == "SGD" else {})
        found.append((schedules, getattr(room, optimizer)(groups, lr=0.5, **options), ps[0]))
    return found


def seen(optimizer: Any) -> list[float]:
    rows = []
    for group in optimizer.param_groups:
        rows.append(float(group["lr"]))
        rows.append(float(group["momentum"] if "momentum" in group else group["betas"][0]))
    return rows


class Falling:
    """A function with state, which state dicts keep."""

    def __init__(self) -> None:
        self.base = 0.9

    def __call__(self, epoch: float) -> float:
        return self.base**epoch


def sequence(s: Any, o: Any) -> Any:
    parts = [s.ConstantLR(o, 0.2, 4), s.LinearLR(o, 0.5, 1.0, 8), s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, milestones=[5, 20])


def nested(s: Any, o: Any) -> Any:
    inner = s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 7)], milestones=[10])
    return s.ChainedScheduler([inner, s.ExponentialLR(o, 0.97)])


CASES: list[tuple[str, Make]] = [
    ("LambdaLR", lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (1 + e)])),
    ("LambdaLR of an object", lambda s, o: s.LambdaLR(o, Falling())),
    ("MultiplicativeLR", lambda s, o: s.MultiplicativeLR(o, lambda e: 0.97 if e % 3 else 1.01)),
    ("StepLR", lambda s, o: s.StepLR(o, 7, gamma=0.3)),
    ("MultiStepLR", lambda s, o: s.MultiStepLR(o, [3, 20, 20, 41], gamma=0.5)),
    ("ConstantLR", lambda s, o: s.ConstantLR(o, 0.25, 11)),
    ("LinearLR", lambda s, o: s.LinearLR(o, 0.1, 0.9, 30)),
    ("ExponentialLR", lambda s, o: s.ExponentialLR(o, 0.93)),
    ("PolynomialLR", lambda s, o: s.PolynomialLR(o, 40, 1.7)),
    ("CosineAnnealingLR", lambda s, o: s.CosineAnnealingLR(o, 13, 0.01)),
    ("CosineAnnealingWarmRestarts", lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.02)),
    ("CosineAnnealingWarmRestarts 1", lambda s, o: s.CosineAnnealingWarmRestarts(o, 9)),
    ("CyclicLR", lambda s, o: s.CyclicLR(o, 0.01, 0.4, 6, 9)),
    ("CyclicLR 2", lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.4, 0.3], 6, mode="triangular2")),
    ("CyclicLR exp", lambda s, o: s.CyclicLR(o, 0.01, 0.4, 6, mode="exp_range", gamma=0.95)),
    ("CyclicLR own", lambda s, o: s.CyclicLR(o, 0.01, 0.4, 6, scale_fn=Falling(), scale_mode="iterations")),
    ("OneCycleLR", lambda s, o: s.OneCycleLR(o, 0.8, total_steps=60)),
    ("OneCycleLR linear", lambda s, o: s.OneCycleLR(o, [0.8, 0.4], epochs=6, steps_per_epoch=11,
                                                   anneal_strategy="linear", pct_start=0.4)),
    ("OneCycleLR three", lambda s, o: s.OneCycleLR(o, 0.8, total_steps=61, three_phase=True, final_div_factor=10)),
    ("SequentialLR", sequence),
    ("ChainedScheduler", nested),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(("name", "make"), CASES, ids=[n for n, _ in CASES])
def test_schedules_equal_pytorch(name: str, make: Make, optimizer: str) -> None:
    (s, a, _), (t, b, _) = both_rooms(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = make(s, a), make(t, b)
        assert seen(a) == pytest.approx(seen(b), rel=1e-12, abs=1e-300)
        for n in range(60):
            x.step()
            y.step()
            assert seen(a) == pytest.approx(seen(b), rel=1e-12, abs=1e-14), n
            assert x.get_last_lr() == [g["lr"] for g in a.param_groups]


@pytest.mark.parametrize(("name", "make"), CASES, ids=[n for n, _ in CASES])
def test_a_loaded_schedule_goes_on(name: str, make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (s, a, _), _ = both_rooms()
        x = make(s, a)
        for _ in range(23):
            x.step()
        (s, b, _), _ = both_rooms()
        y = make(s, b)
        y.load_state_dict(x.state_dict())
        b.load_state_dict(a.state_dict())
        for _ in range(30):
            x.step()
            y.step()
            assert seen(a) == seen(b)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 7])
def test_swalr_equals_pytorch(strategy: str, epochs: int) -> None:
    (s, a, _), (_, b, _) = both_rooms()
    x = s.SWALR(a, [0.05, 0.06], epochs, strategy)
    y = torch.optim.swa_utils.SWALR(b, [0.05, 0.06], epochs, strategy)
    a._opt_called = b._opt_called = True
    for _ in range(60):
        x.step()
        y.step()
        assert seen(a) == pytest.approx(seen(b), rel=1e-12)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 3])
def test_plateaus_equal_pytorch(mode: str, threshold_mode: str, cooldown: int) -> None:
    (s, a, _), (t, b, _) = both_rooms()
    options = {"mode": mode, "threshold_mode": threshold_mode, "cooldown": cooldown, "patience": 2, "factor": 0.5,
               "min_lr": [0.01, 0.02], "threshold": 0.01}  # fmt: skip
    x, y = s.ReduceLROnPlateau(a, **options), t.ReduceLROnPlateau(b, **options)
    for n in range(60):
        measure = math.sin(n / 4) + (n % 7) * 0.05
        x.step(measure)
        y.step(measure)
        assert seen(a) == pytest.approx(seen(b), rel=1e-12)
        assert (x.num_bad_epochs, x.cooldown_counter) == (y.num_bad_epochs, y.cooldown_counter)
    assert a.param_groups[0]["lr"] < 0.5


@pytest.mark.parametrize("name", ["StepLR", "LinearLR", "CosineAnnealingLR", "PolynomialLR", "ExponentialLR"])
def test_a_given_epoch_uses_the_closed_form(name: str) -> None:
    arguments: dict[str, Any] = {"StepLR": (3,), "CosineAnnealingLR": (9,), "ExponentialLR": (0.9,)}
    (s, a, _), (t, b, _) = both_rooms()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = (getattr(m, name)(o, *arguments.get(name, ())) for m, o in ((s, a), (t, b)))
        for epoch in (4, 17, 2):
            x.step(epoch)
            y.step(epoch)
            assert seen(a) == pytest.approx(seen(b), rel=1e-12)


def test_noam_follows_its_formula() -> None:
    (s, a, _), _ = both_rooms("Adam")
    a._opt_called = True
    x = s.NoamScheduler(a, model_size=64, warmup_steps=10, factor=2.0)
    a._opt_called = True
    for n in range(1, 40):
        x.step()
        assert a.param_groups[1]["lr"] == pytest.approx(2 * 64**-0.5 * min(n**-0.5, n * 10**-1.5), rel=1e-12)


def test_a_rate_that_is_a_tensor_keeps_its_place() -> None:
    lr = hs.tensor(0.5)
    p = hs.ones(2).requires_grad_(True)
    o = optim.SGD([p], lr=lr)
    x = lr_scheduler.ExponentialLR(o, 0.5)
    p.grad = hs.ones(2)
    o.step()
    x.step()
    assert o.param_groups[0]["lr"] is lr
    assert float(lr) == 0.25
    assert p.tolist() == [0.5, 0.5]


def test_stepping_before_the_optimizer_warns() -> None:
    (s, a, p), _ = both_rooms()
    x = s.StepLR(a, 3)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        x.step()
    (s, a, p), _ = both_rooms()
    x = s.StepLR(a, 3)
    p.grad = hs.ones(2)
    a.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x.step()


def test_wrong_arguments_are_refused() -> None:
    (s, a, _), _ = both_rooms()
    (_, b, _), _ = both_rooms("Adadelta", rho=0.9)
    with pytest.raises(TypeError, match="not an Optimizer"):
        s.StepLR(3, 4)
    with pytest.raises(ValueError, match="momentum or beta1"):
        s.OneCycleLR(b, 0.1, total_steps=9)
    with pytest.raises(ValueError, match="total_steps"):
        s.OneCycleLR(a, 0.1)
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        s.ChainedScheduler([s.ReduceLROnPlateau(a)])
    with pytest.raises(ValueError, match="same optimizer"):
        s.SequentialLR(a, [s.StepLR(b, 3)], [])
    with pytest.raises(KeyError, match="initial_lr"):
        s.StepLR(both_rooms()[0][1], 3, last_epoch=4)
