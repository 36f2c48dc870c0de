"""What goes with training: memory that is counted, deterministic mode, looking for NaN, several threads at once."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import AnomalyError, NondeterministicError, UnsupportedError
from heliostat.ops import REGISTRY


# --- memory -----------------------------------------------------------------------------------------------------------
def used(s: hs.MemoryStats) -> int:
    return int(s.current_bytes - s.pooled_bytes)


def test_memory_is_counted() -> None:
    gc.collect()
    before = hs.memory_stats()
    x = hs.ones(1000, 1000) * 2
    x.tolist()
    y = hs.tensor(np.ones((500, 1000), np.float32))
    made = hs.memory_stats()
    assert 5_999_000 <= used(made) - used(before) < 6_100_000  # numbers that were kept may go meanwhile
    assert made.peak_bytes >= made.current_bytes
    assert made.alloc_count >= before.alloc_count + 2
    hs.reset_peak_memory_stats()
    view = x[:10]
    view.tolist()
    del x, y
    gc.collect()
    after = hs.memory_stats()
    assert used(after) - used(before) < 4_200_000  # the view needs its base
    del view
    gc.collect()
    last = hs.memory_stats()
    assert abs(used(last) - used(before)) < 100_000
    assert last.free_count > before.free_count
    assert last.peak_bytes >= made.current_bytes
    hs.reset_peak_memory_stats()
    assert hs.max_memory_allocated() == hs.memory_reserved() == hs.memory_stats().current_bytes
    assert hs.memory_allocated() == hs.memory_reserved() - hs.memory_stats().pooled_bytes
    hs.reset_accumulated_memory_stats()
    assert hs.memory_stats().alloc_count == 0
    assert "peak" in hs.memory_summary()


def test_held_memory_goes_back() -> None:
    def run() -> Any:
        x = hs.ones(600, 600)
        return ((x @ x).exp() @ x).sum().item()

    expected = run()
    assert hs.memory_stats().pooled_bytes >= 600 * 600 * 4
    hs.empty_cache()
    assert hs.memory_stats().pooled_bytes < 1000
    assert run() == expected


# --- determinism ------------------------------------------------------------------------------------------------------
@pytest.fixture
def tanh_is_not(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No op of today's is nondeterministic: one plays it."""
    monkeypatch.setattr(type(REGISTRY["tanh"]), "deterministic", False)
    yield
    hs.set_deterministic(False)


def test_an_op_that_is_not_deterministic_is_named(tanh_is_not: None) -> None:
    x = hs.ones(3)
    step = hs.compile(lambda a: a.tanh())
    assert x.tanh().tolist()
    assert step(x).tolist()
    hs.set_deterministic(True)
    with pytest.raises(NondeterministicError, match=r"tanh of a result of .*\[3\].*set_deterministic\(False\)"):
        x.tanh().tolist()
    with pytest.raises(NondeterministicError, match="tanh"):
        step(x)
    assert x.exp().sum().item() == pytest.approx(3 * np.e)
    hs.use_deterministic_algorithms(True, warn_only=True)
    with pytest.warns(UserWarning, match="tanh"):
        x.tanh().tolist()
    hs.set_deterministic(False)
    assert x.tanh().tolist()


def test_modes() -> None:
    asked: list[Callable[[], Any]] = [
        hs.are_deterministic_algorithms_enabled, hs.is_deterministic_algorithms_warn_only_enabled,
        hs.get_deterministic_debug_mode,
    ]  # fmt: skip
    try:
        for mode, expected in (("warn", [True, True, 1]), (2, [True, False, 2]), ("default", [False, False, 0])):
            hs.set_deterministic_debug_mode(mode)
            assert [f() for f in asked] == expected
        hs.set_deterministic(True)
        assert hs.is_deterministic()
        for bad in (3, "sometimes"):
            with pytest.raises(UnsupportedError, match="0, 1, 2 or default, warn, error"):
                hs.set_deterministic_debug_mode(bad)
    finally:
        hs.set_deterministic(False)


def test_training_is_bitwise_repeatable() -> None:
    def train() -> list[Any]:
        hs.manual_seed(4)
        model = nn.Sequential(nn.Linear(40, 32), nn.Dropout(0.3), nn.ReLU(), nn.Linear(32, 5))
        optimizer = optim.Adam(model.parameters())
        for _ in range(3):
            loss = nn.functional.cross_entropy(model(hs.randn(64, 40)), hs.randint(0, 5, (64,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [p.detach().numpy().tobytes() for p in model.parameters()]

    hs.set_deterministic(True)
    try:
        assert train() == train()
    finally:
        hs.set_deterministic(False)


# --- NaN --------------------------------------------------------------------------------------------------------------
def test_the_op_and_line_that_make_nan_are_named() -> None:
    x = hs.tensor([1.0, -1.0, 4.0])
    with hs.autograd.detect_anomaly():
        y = x.log() + 1
        z = (y * 2).sum()
        with pytest.raises(AnomalyError, match=r"log made NaN.*test_practice.py:\d+: y = x.log") as caught:
            z.item()
    at = caught.value.at
    assert at is not None
    assert at.path == __file__
    assert "x.log()" in Path(__file__).read_text().splitlines()[at.line - 1]
    assert np.isnan(z.item())
    with pytest.raises(AnomalyError, match="sqrt made NaN"), hs.autograd.detect_anomaly():
        _kept = x.sqrt()  # nobody reads it: found at the end
    with hs.autograd.detect_anomaly():
        given = hs.tensor([float("nan"), 1.0])
        assert np.isnan((given * 2).sum().item())  # it was there before


def test_a_gradient_that_is_nan_is_named() -> None:
    x = hs.tensor([0.0, 4.0], requires_grad=True)
    with hs.autograd.detect_anomaly():
        y = x.sqrt()
        z = (y * hs.tensor([0.0, 1.0])).sum()
        with pytest.raises(AnomalyError, match=r"backward of \w+ gives NaN.*y = x.sqrt"):
            z.backward()

    class Bad(hs.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            return a * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * float("nan")

    w = hs.ones(2, requires_grad=True)
    with hs.autograd.detect_anomaly():
        loss = Bad.apply(w).sum()
        with pytest.raises(AnomalyError, match=r"a Function.*loss = Bad"):
            loss.backward()
    with hs.autograd.detect_anomaly(check_nan=False):
        Bad.apply(w).sum().backward()
    assert np.isnan(w.grad.tolist()).all()


def test_anomaly_mode_in_training_and_compiled_functions() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @hs.compile
    def step(x: Any) -> Any:
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    x = hs.ones(3, 4)
    with hs.autograd.detect_anomaly():
        assert hs.autograd.is_anomaly_enabled()
        losses = [step(x).item() for _ in range(3)]
    assert losses[2] < losses[0]
    assert step(x).item() < losses[2]
    assert not hs.autograd.is_anomaly_enabled()
    mode = hs.autograd.set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError, match="log made NaN"):
            step(x).log().mul(0).sub(1).log().item()
    finally:
        mode.__exit__(None)


# --- threads ----------------------------------------------------------------------------------------------------------
def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(n: int) -> None:
        try:
            gate.wait()
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("compiled", [False, True])
def test_threads_run_one_module_at_once(compiled: bool, ready: bool) -> None:
    """Results are those of one thread; with parameters that are not computed yet when the threads begin, too."""
    hs.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3), nn.Softmax(-1)).eval()
    weights = [np.asarray(p.detach().tolist()) for p in model.parameters()] if ready else []
    call = hs.compile(model) if compiled else model
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(5, 6)).astype(np.float32) for _ in range(8)]
    found: dict[tuple[int, int], Any] = {}

    def work(n: int) -> None:
        for k in range(12):
            x = hs.tensor(inputs[(n + k) % 8])
            y = call(x) if (n + k) % 3 else model(x)
            found[n, k] = y.detach().tolist()

    in_threads(work)
    expected = [model(hs.tensor(x)).tolist() for x in inputs]
    for (n, k), y in found.items():
        np.testing.assert_allclose(y, expected[(n + k) % 8], rtol=1e-5, atol=1e-6)
    for before, p in zip(weights, model.parameters(), strict=False):
        np.testing.assert_array_equal(before, p.detach().tolist())


def test_threads_draw_other_numbers() -> None:
    rows: list[tuple[float, ...]] = []
    in_threads(lambda n: rows.extend(tuple(hs.rand(3).tolist()) for _ in range(20)))
    assert len(set(rows)) == len(rows) == 80


def test_what_a_thread_leaves_open_can_be_used() -> None:
    made: list[Any] = []

    def work() -> None:
        x = hs.ones(3) * 3
        made.extend([x, x + 1])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    y = made[1] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert y.tolist() == [8.0] * 3
        assert made[0].tolist() == [3.0] * 3
        assert made[1].tolist() == [4.0] * 3


def test_threads_share_a_number_that_is_converted() -> None:
    codes, zero, lost = hs.ones(16, 8, dtype=hs.int8), hs.tensor(3), []

    def compute() -> None:
        try:
            for _ in range(100):
                (codes.to(hs.float32) - zero.to(hs.float32)).numpy()
        except Exception as error:
            lost.append(error)

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not lost
