"""A backward whose structure is known is one node, and gives what the whole way gives."""

from __future__ import annotations

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim
from heliostat.diagnostics import GradientError
from heliostat.tensor import lazy, rewound

torch = pytest.importorskip("torch")

RULES = [
    lambda x, y: x * y, lambda x, y: x + y, lambda x, y: (x - y).tanh(), lambda x, y: x.relu() * 2.0,
    lambda x, y: x.exp().clamp(-2, 2), lambda x, y: x.sum(0, keepdim=True) + y, lambda x, y: x @ y.transpose(0, 1) @ x,
    lambda x, y: x.softmax(-1), lambda x, y: x.reshape(2, 6).sigmoid().reshape(4, 3) / (y * y + 1.0),
    lambda x, y: x.split([1, 2], 1)[1].sum() * y, lambda x, y: x * (y > 0), lambda x, y: x.detach() * y,
    lambda x, y: x[[2, 0, 1, 3]] * y[:, [1, 1, 2]], lambda x, y: x.pow(2).mean() - y,
]  # fmt: skip


def _step(lib, structure, data, read):
    """Gradients of a random graph over two leaves and a plain tensor."""
    rng = np.random.default_rng(structure)
    leaves = [lib.tensor(a.copy()).requires_grad_(True) for a in data[:2]]
    found = [*leaves, lib.tensor(data[2].copy())]
    for _ in range(6):
        rule = RULES[rng.integers(len(RULES))]
        i, j = rng.integers(len(found), size=2)
        found.append(rule(found[i], found[j]))
    outputs = [t for t in found[3:] if t.requires_grad]
    if not outputs:
        return [None, None]
    how = rng.integers(4)
    if how == 0:
        loss = outputs[-1].sum()
        if read:
            float(loss.detach())
        loss.backward()
    elif how == 1:
        outputs[-1].backward(lib.tensor(np.resize(data[3], tuple(outputs[-1].shape)).copy()))
    elif how == 2:
        firsts = [lib.tensor(np.resize(data[3], tuple(t.shape)).copy()) for t in outputs]
        lib.autograd.backward(outputs, firsts)
    else:
        outputs[0].mean().backward(retain_graph=True)
        outputs[0].mean().backward()
    return [t.grad for t in leaves]


@pytest.mark.parametrize("structure", range(30))
def test_gradients_of_random_graphs_equal_torch(structure):
    for seed in range(3):  # the first time by rules, then as one node
        data = np.random.default_rng(100 * structure + seed).uniform(-1, 1, (4, 4, 3)).astype(np.float32)
        ours, theirs = (_step(lib, structure, data, seed == 2) for lib in (hs, torch))
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


def _again(monkeypatch):
    """Whether each backward was one node."""
    found = []
    plain = rewound.Behind.again

    def again(self):
        made = plain(self)
        found.append(made is not None)
        return made

    monkeypatch.setattr(rewound.Behind, "again", again)
    return found


def test_a_loop_goes_the_whole_way_once(monkeypatch):
    rewound._known.clear()
    known = _again(monkeypatch)
    w = hs.tensor([1.0, 2.0]).requires_grad_(True)
    optimizer = optim.SGD([w], lr=0.1)
    for n in range(4):
        optimizer.zero_grad()
        loss = ((w * hs.tensor([3.0, float(n)]) - 1.0) ** 2).sum()
        loss.backward()
        optimizer.step()
        loss.item()
        if n == 1:
            misses = lazy.programs.misses
    assert known == [False, True, True, True]
    assert lazy.programs.misses == misses


def test_which_operands_are_the_same_is_part_of_the_structure():
    rewound._known.clear()
    for _ in range(2):
        for same in (False, True, False):
            x = hs.tensor([2.0, 3.0]).requires_grad_(True)
            y = x if same else hs.tensor([5.0, 7.0])
            (x * y).backward(hs.ones(2))
            assert x.grad.tolist() == ([4.0, 6.0] if same else [5.0, 7.0])


def test_a_first_gradient_that_is_an_operand():
    for _ in range(2):
        for same in (False, True):
            x, y = hs.tensor([2.0, 3.0]).requires_grad_(True), hs.tensor([5.0, 7.0])
            (x * y).backward(y if same else hs.tensor([1.0, 10.0]))
            assert x.grad.tolist() == ([25.0, 49.0] if same else [5.0, 70.0])
            (z := x * y).backward(z.detach())
            x.grad = None


def test_numbers_and_attributes_count():
    for factor in (2.0, 3.0, 2.0):
        for axis in (0, 1):
            for exponent in (2, 3):
                x = hs.tensor([[1.0, 2.0], [3.0, 4.0]]).requires_grad_(True)
                (x.sum(axis) * x[0] * factor).pow(exponent).sum().backward()
                t = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).requires_grad_(True)
                (t.sum(axis) * t[0] * factor).pow(exponent).sum().backward()
                np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy())


def test_which_tensors_require_grad_counts():
    for wanted in ((True, False), (True, True), (False, True)) * 2:
        x, y = (hs.tensor([float(n)]).requires_grad_(on) for n, on in zip((2, 3), wanted, strict=True))
        (x * y).exp().backward()
        assert (x.grad is not None, y.grad is not None) == wanted


def test_a_second_backward_is_refused_both_times():
    for _ in range(3):
        x = hs.tensor([2.0]).requires_grad_(True)
        y = (x * x).exp()
        y.backward()
        with pytest.raises(GradientError, match="second time"):
            y.backward()


def test_a_change_in_place_is_found_both_times():
    for change in (False, False, True, True):
        x = hs.tensor([2.0]).requires_grad_(True)
        y = (x * 3.0).exp()
        z = (y * y).sum()
        if not change:
            z.backward()
            np.testing.assert_allclose(x.grad.numpy(), [6 * np.exp(12.0)], rtol=1e-5)
            continue
        y.mul_(2.0)
        with pytest.raises(GradientError, match="changed in place"):
            z.backward()


def test_hooks_and_retained_gradients_are_served():
    for hooked in (False, True, False, True):
        x = hs.tensor([2.0]).requires_grad_(True)
        y = x * 3.0
        if hooked:
            y.retain_grad()
            x.register_hook(lambda g: g * 10)
        (y * y).sum().backward()
        assert x.grad.tolist() == [360.0 if hooked else 36.0]
        assert not hooked or y.grad.tolist() == [12.0]


def test_gradients_gather_and_kept_graphs_go_twice():
    x = hs.tensor([2.0]).requires_grad_(True)
    for n in range(3):
        y = (x * x).sum()
        y.backward(retain_graph=True)
        y.backward()
        assert x.grad.tolist() == [8.0 * (n + 1)]


def test_a_derivative_forward_through_a_backward():
    def f(x):
        w = hs.tensor([3.0]).requires_grad_(True)
        (w * x).exp().sum().backward()
        return x * x + w.grad.sum() * 0.0

    for _ in range(2):
        _, tangent = hs.func.jvp(f, (hs.tensor([2.0]),), (hs.tensor([1.0]),))
        assert tangent.tolist() == [4.0]


def test_other_dtypes_go_the_same_way():
    for dtype in (hs.float64, hs.bfloat16, hs.float64, hs.bfloat16):
        x = hs.tensor([1.5, -2.0], dtype=dtype).requires_grad_(True)
        (x * x).float().sum().backward()
        assert x.grad.dtype == dtype
        assert x.grad.float().tolist() == [3.0, -4.0]


def test_remembered_structures_are_bounded(monkeypatch):
    monkeypatch.setattr(rewound, "KEPT", 4)
    for n in range(12):
        x = hs.ones(n + 1).requires_grad_(True)
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0] * (n + 1)
    assert len(rewound._known) <= 4


def test_structures_of_many_rows_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewound, "_known", {})
    monkeypatch.setattr(rewound, "KEPT_ROWS", 60)
    held = []
    for count in (3, 5, 7, 9):
        y = hs.ones(2, requires_grad=True)
        for _ in range(count):
            y = y.tanh()
        y.sum().backward()
        held.append(len(rewound._known))
    assert max(held) < 4, held
    assert held[0] == 1
