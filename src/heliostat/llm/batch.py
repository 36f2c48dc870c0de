"""Generation of several sequences together: one program takes a token of each, so that weights are read once for all.

A sequence has a row of the batch, and a part of its caches. Prompts go through the model's own cache, which is then
copied there; rows become free as answers end, and take the next prompt.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..kernel.program import Compiled
from ..session.place import Place
from .answer import Answer, Piece
from .choice import is_greedy
from .sample import Sample, Sampler
from .stepper import Stepper

if TYPE_CHECKING:
    from .model import LanguageModel


class Batch:
    """`rows` sequences: their caches, and the program that takes one token of each. Bound by the model that has it."""

    def __init__(
        self,
        place: Place,
        rows: int,
        decode: Compiled,
        choice: Compiled | None,
        given: Mapping[str, Any],
    ) -> None:
        """`given`: weights and frequencies by name. Raises DeviceMemoryError where the caches do not fit."""
        self.place, self.rows = place, rows
        inputs = place.inputs({"start": rows, "tokens": rows, "positions": rows})
        run = place.executable(decode.program, {**given, **inputs.buffers})
        self.steps = Stepper(place, rows, inputs, run, None if choice is None else choice.program)
        self._caches = {p.name: b for p, b in _states(run)}

    def fill(self, row: int, source: Any) -> None:
        """Copy the caches of a single sequence, those of an executable, to a row's part."""
        self.steps.forget()
        for plan, buffer in _states(source):
            whole = self._caches[plan.name]
            part = plan.nbytes
            self.place.copy(whole.slice(row * part, part), buffer.slice(0, part))


def _states(executable: Any) -> list[tuple[Any, Any]]:
    """Plans and buffers of an executable's caches."""
    pairs = zip(executable.program.buffers, executable.buffers, strict=True)
    return [(plan, buffer) for plan, buffer in pairs if plan.kind == "state"]


class _Row:
    """A sequence that has a row: the tokens so far, and the one that was chosen last."""

    def __init__(self, number: int, history: list[int], answer: Answer, sampler: Sampler) -> None:
        self.number, self.history, self.answer, self.sampler = number, history, answer, sampler


def generate_batch(
    model: LanguageModel,
    batch: Batch,
    prompts: Sequence[list[int]],
    answers: Sequence[Answer],
    samplers: Sequence[Sampler],
) -> Iterator[tuple[int, Piece]]:
    """Continue prompts, `batch.rows` at a time; pieces with the number of their prompt. A row's next prompt is taken
    when its answer has ended. Raises SamplingError for logits that hold NaN.
    """
    waiting = deque(
        _Row(n, list(ids), answer, sampler)
        for n, (ids, answer, sampler) in enumerate(zip(prompts, answers, samplers, strict=True))
        if not answer.done
    )
    rows: list[_Row | None] = [None] * batch.rows
    timing = model.timing
    while True:
        for place in range(batch.rows):
            while rows[place] is None and waiting:
                row = waiting.popleft()
                started = time.perf_counter()
                chosen = row.sampler.sample(model.fill(batch, place, row.history), row.history)
                timing.prompt_tokens += len(row.history)
                timing.prompt_seconds += time.perf_counter() - started
                yield from _take(row, chosen)
                rows[place] = None if row.answer.done else row
        if not any(rows):
            return
        started = time.perf_counter()
        last = [(r.history[-1], len(r.history) - 1) if r is not None else None for r in rows]
        there = [r is None or is_greedy(r.sampler) for r in rows]
        found: list[Sample | None] = [None] * batch.rows
        if any(r is not None and is_greedy(r.sampler) for r in rows):
            found = batch.steps.greedy(last, all(there) and all(r is None or r.answer.left > 1 for r in rows))
        else:
            batch.steps.run(last)
        for place, one in enumerate(rows):
            if one is not None:
                likeliest = found[place] if there[place] else None
                chosen = likeliest or one.sampler.sample(batch.steps.logits()[place], one.history)
                timing.generated_tokens += 1
                pieces = list(_take(one, chosen))
                rows[place] = None if one.answer.done else one
                timing.generated_seconds += time.perf_counter() - started
                yield from pieces
                started = time.perf_counter()


def _take(row: _Row, chosen: Sample) -> Iterator[tuple[int, Piece]]:
    piece = row.answer.push(chosen)
    row.history.append(chosen.token)
    if piece is not None:
        yield row.number, piece
