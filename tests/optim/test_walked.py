"""A step that is one node of the graph equals one that is walked rule by rule."""

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim
from heliostat.tensor import recorded

CASES = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, {"lr": 0.01}),
    (optim.Adam, {"lr": 0.01, "amsgrad": True, "maximize": True}),
    (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True}),
    (optim.Adagrad, {"lr": 0.1}),
    (optim.Adadelta, {}),
    (optim.Adamax, {}),
    (optim.NAdam, {}),
    (optim.RAdam, {}),
    (optim.Rprop, {}),
    (optim.ASGD, {}),
    (optim.Adafactor, {}),
]


def run(kind, options, change, steps=6, seed=3):
    rng = np.random.default_rng(seed)
    params = [hs.tensor(rng.standard_normal(s).astype("f4")).requires_grad_(True) for s in ((3, 4), (5,), ())]
    o = kind([{"params": params[:2]}, {"params": params[2:], "lr": 0.05}], **options)
    for n in range(steps):
        loss = sum((p * p * (n + 1)).sum() for k, p in enumerate(params) if (n + k) % 4)  # not all have one each time
        o.zero_grad()
        loss.backward()
        change(o, n)
        o.step()
    state = {k: {n: np.asarray(v) for n, v in s.items()} for k, s in o.state_dict()["state"].items()}
    return [p.detach().numpy() for p in params], state


def schedule(o, n):
    for group in o.param_groups:
        group["lr"] = group["lr"] * 0.9 if n != 3 else 0.0 * group["lr"] + 0.02


def switch(o, n):
    for group in o.param_groups:
        if n == 2 and "weight_decay" in group:
            group["weight_decay"] = 0.2
        if n == 4 and "maximize" in group:
            group["maximize"] = not group["maximize"]


@pytest.mark.parametrize(("kind", "options", "change"), [(*c, (schedule, switch)[i % 2]) for i, c in enumerate(CASES)])
def test_one_node_equals_the_rule(kind, options, change, monkeypatch):
    one = run(kind, options, change)
    monkeypatch.setattr(recorded, "allowed", lambda: False)
    many = run(kind, options, change)
    for a, b in zip(one[0], many[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1].keys() == many[1].keys()
    for k, s in one[1].items():
        assert s.keys() == many[1][k].keys()
        for n, v in s.items():
            np.testing.assert_array_equal(v, many[1][k][n])


def test_rules_are_walked_once_for_all_steps(monkeypatch):
    walked = []
    rule = optim.Adam.rule
    monkeypatch.setattr(optim.Adam, "rule", lambda self, *a: walked.append(1) or rule(self, *a))
    run(optim.Adam, {}, schedule, steps=2)
    few = len(walked)
    run(optim.Adam, {}, schedule, steps=14)
    assert len(walked) - few <= 24  # four sets of parameters that have gradients, each at first sight


def test_a_learning_rate_that_is_a_tensor():
    def once(lr):
        p = hs.tensor([1.0, 2.0]).requires_grad_(True)
        o = optim.SGD([p], lr=lr)
        for n in range(4):
            o.zero_grad()
            (p * p).sum().backward()
            if n == 2 and isinstance(lr, hs.Tensor):
                lr.fill_(0.3)
            elif n == 2:
                o.param_groups[0]["lr"] = 0.3
            o.step()
        return p.detach().numpy()

    np.testing.assert_allclose(once(hs.tensor(0.1)), once(0.1), rtol=1e-6)


def test_what_transforms_make_of_parameters_that_are_not_computed_yet():
    p = hs.tensor([1.0, 2.0, 3.0]).requires_grad_(True)
    o = optim.Adam([p], lr=0.5)
    (p * p).sum().backward()
    o.step()  # open: one node
    rows = hs.tensor(np.arange(6, dtype="f4").reshape(2, 3))
    got = hs.vmap(lambda x: (x * p.detach()).sum())(rows).numpy()
    np.testing.assert_allclose(got, (rows.numpy() * p.detach().numpy()).sum(1), rtol=1e-6)
    o.zero_grad()
    (p * p).sum().backward()
    o.step()
    jac = hs.func.jacrev(lambda x: x * x * p.detach())(rows[0]).numpy()
    np.testing.assert_allclose(jac, np.diag(2 * rows[0].numpy() * p.detach().numpy()), rtol=1e-6)
    step = hs.compile(lambda x: x @ p.detach())
    o.zero_grad()
    (p * p).sum().backward()
    o.step()
    np.testing.assert_allclose(step(rows[1]).numpy(), rows[1].numpy() @ p.detach().numpy(), rtol=1e-6)
