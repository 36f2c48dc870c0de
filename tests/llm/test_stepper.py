"""Steps that are given before the one before them is done, beside steps that the host waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy_forward
import pytest
from numpy_forward import write_model

from heliostat.llm import LanguageModel, load
from heliostat.llm.draw import FIELDS, Choice
from heliostat.llm.sample import Sampler
from heliostat.llm.stepper import Last, Stepper, steps_together
from heliostat.session.place import AHEAD, Inputs
from heliostat.session.rounds import CudaRounds
from targets.fake_gpu import fake_gpu

VOCABULARY, ROOM = 50, 12


def following(token: int, position: int, chance: float = 0.0) -> int:
    return (token * 31 + position * 7 + 5 + int(chance * 1000)) % VOCABULARY


class Device:
    """Runs what it is given only when a result is waited for. Logits are 1 at `following`, 0 elsewhere."""

    full = property(lambda self: len(self.results) == AHEAD)

    def __init__(self, rows: int) -> None:
        arrays = {name: np.zeros(rows, np.int32) for name in ("tokens", "positions", "start")}
        self.inputs = Inputs(arrays, dict.fromkeys(arrays), self.send)
        self.program = SimpleNamespace(outputs=(0,))
        self.buffers = [None]
        self.tokens = self.positions = np.zeros(rows, np.int32)
        self.sent = 0
        self.work: list[Any] = []
        self.results: deque[list[Any]] = deque()
        self.calls: list[int] = []
        self.refused = False

    def send(self) -> None:
        self.sent += 1
        tokens, positions = (self.inputs.arrays[n].copy() for n in ("tokens", "positions"))
        self.work.append(lambda: self.set(tokens, positions))

    def set(self, tokens: Any, positions: Any) -> None:
        self.tokens, self.positions = tokens, positions

    def step(self) -> None:
        assert self.positions.max() < ROOM
        self.logits = np.zeros((len(self.tokens), VOCABULARY), np.float32)
        for row, (token, position) in enumerate(zip(self.tokens, self.positions, strict=True)):
            self.logits[row, following(int(token), int(position))] = 1

    def round(self, found: list[Any], draws: Any) -> None:
        """With `draws`, the token is as far behind the largest as the random number says."""
        self.step()
        moved = self.logits.argmax(1) + (0 if draws is None else (draws[:, 0] * 1000).astype(int))
        self.set(moved % VOCABULARY, self.positions + 1)
        logprob = np.full(len(self.tokens), np.nan if self.refused else -1.0)
        found.append((self.tokens, logprob))

    def finish(self) -> None:
        while self.work:
            self.work.pop(0)()

    # what a place, an executable and rounds are asked for
    def executable(self, program: Any, given: Any) -> None: ...

    def rounds(self, executables: Any, inputs: Any, together: int) -> Device:
        self.together = together
        return self

    def run(self) -> None:
        self.work.append(self.step)

    def output(self, n: int, symbols: Any) -> Any:
        self.finish()
        return self.logits

    def give(self, inputs: Any) -> None:
        assert not self.full
        assert len(inputs) in (1, self.together)
        self.calls.append(len(inputs))
        self.results.append([])
        for own in inputs:
            draws = np.frombuffer(own["draws"]).reshape(-1, FIELDS) if own else None
            self.work.append(partial(self.round, self.results[-1], draws))

    def take(self) -> Any:
        self.finish()
        return [np.array(part) for part in zip(*self.results.popleft(), strict=True)]

    def forget(self) -> None:
        self.results.clear()


def stepper(rows: int, together: int = 1) -> tuple[Device, Stepper]:
    device = Device(rows)
    choices: Any = dict.fromkeys(Choice, SimpleNamespace())
    return device, Stepper(device, rows, device.inputs, device, choices, VOCABULARY, together)  # type: ignore[arg-type]


def random_ahead(rng: np.random.Generator, rows: list[Last | None]) -> int:
    """How many steps may follow one of some rows: seldom none, and no more than there is room for."""
    room = min(ROOM - 1 - row[1] for row in rows if row is not None)
    return int(rng.integers(room + 1)) if rng.random() < 0.9 else 0


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_begin_and_end_in_any_order(seed: int) -> None:
    """Random sequences on three rows, up to the last place there is; nothing runs beyond it."""
    rng = np.random.default_rng(seed)
    _, steps = stepper(3, 1 + seed % 4)
    rows: list[Last | None] = [None] * 3
    for _ in range(60):
        for n, row in enumerate(rows):
            if row is None and rng.random() < 0.3:
                rows[n] = int(rng.integers(VOCABULARY)), int(rng.integers(ROOM - 1))
        if not any(rows):
            continue
        if rng.random() < 0.1:
            steps.run(rows)
            found = [int(t) for t in steps.logits().argmax(1)]
        else:
            samples = steps.choose(rows, ahead=random_ahead(rng, rows))
            found = [s.token for s in samples if s is not None]
        logits = steps.logits() if rng.random() < 0.1 else None
        for n, row in enumerate(rows):
            if row is not None:
                assert found[n] == following(*row)
                assert logits is None or int(logits[n].argmax()) == found[n]
                ends = row[1] + 1 >= ROOM or rng.random() < 0.2
                rows[n] = None if ends else (found[n], row[1] + 1)


def test_an_interrupt_while_a_result_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step behind it, which was given already, is not taken for the one that is asked for again."""
    device, steps = stepper(1)
    (first,) = steps.choose([(3, 0)], ahead=True)
    assert first is not None

    def interrupted() -> Any:
        device.results.popleft()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(device, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            steps.choose([(first.token, 1)], ahead=True)
    (second,) = steps.choose([(first.token, 1)], ahead=True)
    assert second is not None
    assert second.token == following(first.token, 1)


def test_one_that_goes_on_sends_once() -> None:
    device, steps = stepper(1)
    token = 3
    for position in range(8):
        (sample,) = steps.choose([(token, position)], ahead=7 - position)
        assert sample is not None
        assert sample.token == following(token, position)
        token = sample.token
    assert device.sent == 1
    assert device.calls == [1] * 8


def test_steps_are_given_together() -> None:
    """The first one alone, so that its token is there soon, and no more than are wanted."""
    device, steps = stepper(1, 4)
    token, calls = 3, []
    for position in range(ROOM):
        (sample,) = steps.choose([(token, position)], ahead=ROOM - 1 - position)
        assert sample is not None
        token = sample.token
        calls.append(len(device.calls))
    assert device.calls == [1, 4, 4, 1, 1, 1]
    assert calls == [2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6]  # the next are on their way before any is waited for
    assert steps.furthest == 7


def test_steps_together_read_what_takes_milliseconds() -> None:
    def program(*weights: int) -> Any:
        plans = [SimpleNamespace(kind="weight", nbytes=n) for n in weights]
        return SimpleNamespace(buffers=[*plans, SimpleNamespace(kind="state", nbytes=1 << 60)])

    wanted = {(): 4, (10**6, 10**9): 4, (3 * 10**9,): 2, (4 * 10**9, 10**9): 2, (6 * 10**9,): 1, (10**12,): 1}
    for weights, count in wanted.items():
        assert steps_together(program(*weights)) == count


def test_a_row_that_is_not_finite_is_left_to_a_sampler() -> None:
    device, steps = stepper(1)
    device.refused = True
    assert steps.choose([(3, 0)], ahead=1) == [None]
    assert int(steps.logits()[0].argmax()) == following(3, 0)


def test_an_interrupted_step_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    _, steps = stepper(1, 4)
    token, take = 3, Device.take

    def interrupted(device: Device) -> Any:
        take(device)
        monkeypatch.setattr(Device, "take", take)
        raise KeyboardInterrupt

    for position in range(ROOM):
        if position in (1, 6):
            monkeypatch.setattr(Device, "take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                steps.choose([(token, position)], ahead=ROOM - 1 - position)
        (sample,) = steps.choose([(token, position)], ahead=ROOM - 1 - position)
        assert sample is not None
        assert sample.token == following(token, position)
        token = sample.token


def test_other_samplers_of_the_same_numbers_draw_anew() -> None:
    device, steps = stepper(1, 4)
    steps.choose([(3, 0)], [Sampler(0.7, seed=1)], 8)
    first = Sampler(0.7, seed=1)
    first.drawn()
    second = Sampler(0.2, seed=1)
    second.drawn()
    token = following(3, 0, Sampler(0.7, seed=1).coming())
    for sent, sampler in enumerate((first, second), 2):
        (sample,) = steps.choose([(token, 1)], [sampler], 8)
        assert sample is not None
        assert device.sent == sent


@pytest.mark.parametrize("seed", range(10))
def test_draws_take_the_random_numbers_of_their_rows_in_order(seed: int) -> None:
    """Rows that draw, begin, end and are read in any order: each uses up its sampler's numbers one by one."""
    rng = np.random.default_rng(seed)
    device, steps = stepper(2, 1 + seed % 4)
    rows: list[Last | None] = [None] * 2
    samplers: list[Sampler | None] = [None] * 2
    numbers: list[Any] = [None] * 2
    for _ in range(60):
        for n, row in enumerate(rows):
            if row is None:
                rows[n] = int(rng.integers(VOCABULARY)), int(rng.integers(ROOM - 1))
                given = int(rng.integers(1 << 30))
                samplers[n], numbers[n] = Sampler(0.7, seed=given), np.random.Generator(np.random.PCG64(given))
        device.refused = bool(rng.random() < 0.2)
        found = steps.choose(rows, samplers, random_ahead(rng, rows))
        if rng.random() < 0.1:
            steps.logits()
        for n, row in enumerate(rows):
            assert row is not None
            chance = numbers[n].random()
            sample, sampler = found[n], samplers[n]
            assert sampler is not None
            if sample is None:  # left to the sampler, which takes its number
                assert sampler.drawn() == chance
                token = int(rng.integers(VOCABULARY))
            else:
                token = sample.token
                assert token == following(*row, chance)
            rows[n] = None if row[1] + 1 >= ROOM or rng.random() < 0.2 else (token, row[1] + 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageModel]:
    """A small model on a simulated GPU."""
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    with pytest.MonkeyPatch.context() as patch, fake_gpu():
        for name, size in {"HIDDEN": 64, "LAYERS": 1, "HEADS": 2, "KV": 1, "FEED": 64}.items():
            patch.setattr(numpy_forward, name, size)
        write_model(path, "llama", "BF16")
        yield load(path, device="cuda", context=10)


@pytest.mark.parametrize("way", [{}, {"top_k": 20, "top_p": 0.9}, {"repetition_penalty": 1.2}], ids=str)
def test_draws_on_a_simulated_gpu(model: LanguageModel, way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn tokens are those that a sampler draws from the logits; it sees those of the prompt alone, but for a
    penalty."""
    sampler, ids, length = Sampler(1.5, seed=3, **way), [3, 1], 9
    found = [sampler.sample(model.restart(ids), ids)]
    while len(ids) + len(found) < length:
        history = ids + [s.token for s in found]
        found.append(sampler.sample(model.extend(history[-1], len(history) - 1), history))
    seen: list[Any] = []
    look = Sampler.sample
    monkeypatch.setattr(Sampler, "sample", lambda *args: seen.append(args) or look(*args))
    pieces = list(model.generate(ids, length - len(ids), temperature=1.5, seed=3, ignore_eos=True, **way))
    assert [p.token for p in pieces] == [s.token for s in found]
    assert [p.logprob for p in pieces] == pytest.approx([s.logprob for s in found], abs=1e-4)
    assert len(seen) == (len(found) if "repetition_penalty" in way else 1)


def test_tokens_on_a_simulated_gpu(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The greedy tokens are those that the host finds in logits, also of two in turn, of one that ends while steps are
    on their way, and at the context's end."""
    calls: list[int] = []
    give = CudaRounds.give
    monkeypatch.setattr(CudaRounds, "give", lambda rounds, inputs: calls.append(len(inputs)) or give(rounds, inputs))
    wanted = []
    for ids in ([3, 1], [9]):
        found = [int(np.argmax(model.restart(ids)))]
        while len(ids) + len(found) <= model.context:
            found.append(int(np.argmax(model.extend(found[-1], len(ids) + len(found) - 1))))
        wanted.append(found)
    whole, block = model.restart([3, 1, 9]).copy(), model.block
    model.restart([4, 9, 7])
    model.block = 1  # blocks before the last one end with their caches
    np.testing.assert_array_equal(model.restart([3, 1, 9]), whole)
    model.block = block
    first, second = model.generate([3, 1]), model.generate([9])
    assert [next(first).token for _ in range(2)] == wanted[0][:2]
    assert [p.token for p in second] == wanted[1]
    assert [p.token for p in first] == wanted[0][2:]
    model.restart([9])
    assert [list(islice(model.follow(wanted[1][n], 1 + n, 6), 3)) for n in (0, 3)] == [wanted[1][1:4], wanted[1][4:7]]
    np.testing.assert_array_equal(model.extend(wanted[1][6], 7).argmax(), wanted[1][7])
    assert calls == [1, 4, 1, 4, 4, 1, 4, 1, 1, 4, 1, 1]  # the second `follow` goes on with what is on its way


@pytest.mark.parametrize("format", ["BF16", "Q8_0"])
def test_logits_of_one_row_on_a_simulated_gpu(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program for a prompt's last row takes other kernels than that for several rows, which `logits` asks for."""
    for name, size in {"HIDDEN": 64, "LAYERS": 1, "HEADS": 2, "KV": 1, "FEED": 64}.items():
        monkeypatch.setattr(numpy_forward, name, size)
    write_model(tmp_path / "m.gguf", "llama", format)
    ids = [3, 1, 9, 2, 7]
    with fake_gpu():
        model = load(tmp_path / "m.gguf", device="cuda", context=8)
        several = model.logits(ids).copy()
        for count in (1, 5):
            one = model.restart(ids[:count])
            np.testing.assert_allclose(one, several[count - 1], rtol=0, atol=0.02 * np.abs(several).max())
