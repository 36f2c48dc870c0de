"""Lazy programs of symbolic sizes on GPUs: here by the lock-step interpreter, on a GPU with `pytest -m cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.session import cuda_runner
from heliostat.tensor import lazy, sizes
from targets.gpus import KINDS, gpu

from .sizes_of_loops import array, misses, no_programs

F = nn.functional


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """cuda, where there is a GPU or what stands for one."""
    with gpu(request.param), no_programs():
        yield "cuda"


def test_training_on_batches_of_any_size(device: str) -> None:
    counts = [8, 5, 7, 8, 3]

    def run(where: str) -> tuple[list[float], list[int]]:
        hs.manual_seed(0)
        rng = np.random.default_rng(2)
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).to(where)
        optimizer = hs.optim.SGD(model.parameters(), 0.1)
        losses: list[float] = []

        def step(n: int) -> None:
            x, target = array(rng, n, 4, device=where), hs.tensor(rng.integers(0, 3, n), device=where)
            loss = F.cross_entropy(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        step(8)  # draws the weights too
        return losses, misses(step, counts)

    found, made = run(device)
    assert made[2:] == [0, 0, 0], [kind.reason for kind in lazy.programs.symbolic.kinds.values()]
    np.testing.assert_allclose(found, run("cpu")[0], rtol=1e-5)


def test_programs_of_devices_are_apart(device: str) -> None:
    for where in ("cpu", device):
        for n in (3, 5, 4):
            assert (hs.ones(n, device=where) * 2).sum().item() == 2 * n
    assert {key[0] for key in lazy.programs.symbolic.kinds} == {"cpu", "cuda:0"}


def test_results_take_the_memory_of_their_sizes(device: str) -> None:
    x = hs.ones(9, 4096, device=device)
    y: Any = [x[:n] * 2 + 1 for n in (4, 9, 2)]
    for part in y[:2]:
        part.sum().item()
    before = hs.cuda.memory_allocated()
    assert (y[2].sum(), y[2].shape) == (3 * 4096 * 2, (2, 4096))
    assert hs.cuda.memory_allocated() - before < 9 * 4096 * 4


def test_rows_of_data_are_copied_at_once(device: str) -> None:
    rows = np.random.default_rng(3).standard_normal((12, 5)).astype(np.float32)
    x = hs.tensor(rows, device=device)

    def f(n: int) -> None:
        np.testing.assert_allclose((x[n : n + 3] * 2).cpu().numpy(), rows[n : n + 3] * 2)
        np.testing.assert_allclose((x[n] * 2).cpu().numpy(), rows[n] * 2)

    assert misses(f, [0, 3, 6, 9]) == [2, 0, 0, 0]
    part = x[2:4]
    x += 1
    np.testing.assert_allclose(part.cpu().numpy(), rows[2:4] + 1, rtol=1e-6)
    assert x[3:3].tolist() == []


def test_parts_that_begin_at_0_behind_others(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of 0 is sent too: what lies where sizes are read was somebody's before."""
    made = cuda_runner._Launches.__init__

    def in_used_memory(self: Any, program: Any, owner: Any) -> None:
        made(self, program, owner)
        self.device_slots.copy_from_host(np.full_like(self.slots, 1 << 40), owner.place.stream)

    monkeypatch.setattr(cuda_runner._Launches, "__init__", in_used_memory)
    x = hs.tensor(np.arange(24, dtype=np.float32).reshape(12, 2), device=device)
    for n in (6, 0, 3):
        assert (x * 2)[n : n + 3].sum().item() == 2 * sum(range(2 * n, 2 * n + 6))


def test_a_size_that_comes_often_gets_a_program_of_its_own(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "OFTEN", 3)
    x = {n: hs.ones(n, 2, device=device) for n in (5, 6)}
    assert misses(lambda n: (x[n] * 2 + 1).sum().item(), [5, 6, 6, 6, 6, 6, 6]) == [1, 1, 0, 0, 1, 0, 0]


def test_structures_follow_plans(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def f(n: int) -> None:
        x = hs.tensor(np.arange(n, dtype=np.float32), device=device)
        assert (x[1:] * 2 + n).sum().item() == n * (n - 1) + n * (n - 1)

    for n in (3, 5, 4):
        f(n)

    def refused(*_: Any) -> Any:
        raise AssertionError("no plan was found")

    with monkeypatch.context() as patch:
        patch.setattr(lazy, "_run_on", refused)
        for n in (7, 3, 30):
            f(n)


def test_too_much_scratch_is_not_taken(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from heliostat.session.devices import gpu_engine

    monkeypatch.setattr(gpu_engine("cuda:0"), "most_scratch", 0)
    x = hs.ones(2, 3, device=device)
    for n in (2, 5, 4):
        y = hs.ones(n, 3, device=device)
        assert (y.softmax(0).cumsum(0) @ x.T).sum().item() == pytest.approx(3 * (n + 1), rel=1e-5)
    reasons = [kind.reason for kind in lazy.programs.symbolic.kinds.values()]
    assert not any(kind.entries for kind in lazy.programs.symbolic.kinds.values()), reasons
