"""Generation of several sequences together: one program takes a token of each, so that weights are read once for all.

A sequence has a row of the batch, and a part of its caches, or pages. Prompts go through the model's own cache, which
is then copied there, or straight into pages; rows become free as answers end, and take the next prompt. Where pages are
short, a prompt waits; a row that finds none for its next token goes back to those that wait, the latest first.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..diagnostics import CacheFullError
from ..kernel.program import Compiled, Program
from ..session.place import Place
from .answer import Answer, Piece
from .draw import Choice
from .paged_cache import PagedCache
from .pages import PagedSequence
from .sample import Sample, Sampler
from .stepper import Last, Stepper

if TYPE_CHECKING:
    from .model import LanguageModel, Timing


class Batch:
    """`rows` sequences: their caches, and the program that takes one token of each. Bound by the model that has it."""

    def __init__(
        self,
        place: Place,
        rows: int,
        decode: Compiled,
        choices: Mapping[Choice, Program],
        vocabulary: int,
        given: Mapping[str, Any],
    ) -> None:
        """`given`: weights and frequencies by name. Raises DeviceMemoryError where the caches do not fit."""
        self.place, self.rows = place, rows
        inputs = place.inputs({"start": rows, "tokens": rows, "positions": rows})
        run = place.executable(decode.program, {**given, **inputs.buffers})
        self.steps = Stepper(place, rows, inputs, run, choices, vocabulary)
        self.states = states_of(run)
        self._caches = {p.name: b for p, b in self.states}
        self.run: object | None = None
        """Whose sequences the rows are: a run of `generate_batch` that may have ended without notice."""

    def fill(self, row: int, source: Any) -> None:
        """Copy the caches of a single sequence, those of an executable, to a row's part."""
        self.steps.forget()
        for plan, buffer in states_of(source):
            whole = self._caches[plan.name]
            part = plan.nbytes
            self.place.copy(whole.slice(row * part, part), buffer.slice(0, part))

    def hold(self, row: int, last: Last, ahead: bool = False) -> bool:
        """Whether there is room for a row's next token, and `ahead` for the one behind it."""
        return True

    def release(self, row: int) -> None:
        """A row's sequence has ended."""


class PagedBatch(Batch):
    """Sequences whose caches are pages that they share with the model's own."""

    def __init__(
        self,
        place: Place,
        rows: int,
        decode: Compiled,
        choices: Mapping[Choice, Program],
        vocabulary: int,
        given: Mapping[str, Any],
        cache: PagedCache,
    ) -> None:
        """`given`: the states too."""
        self.table = cache.table(rows)
        super().__init__(place, rows, decode, choices, vocabulary, {**given, "table": self.table.buffer})
        self.sequences: list[PagedSequence | None] = [None] * rows

    def put(self, row: int, sequence: PagedSequence) -> None:
        """Make a sequence that of a row."""
        self.release(row)
        self.sequences[row] = sequence
        self._name(row, sequence.pages)

    def hold(self, row: int, last: Last, ahead: bool = False) -> bool:
        sequence, (token, position) = self.sequences[row], last
        assert sequence is not None
        try:
            changed = sequence.reserve(position, position + (2 if ahead else 1))
        except CacheFullError:
            return False
        if changed:
            self._name(row, sequence.pages)
        del sequence.tokens[position:]
        sequence.tokens.append(token)
        return True

    def release(self, row: int) -> None:
        """Give a row's pages back."""
        sequence = self.sequences[row]
        if sequence is not None:
            self.steps.forget()
            self.sequences[row] = None
            sequence.cut(0)
            self._name(row, ())

    def _name(self, row: int, pages: Sequence[int]) -> None:
        self.table.name(row, pages)
        self.table.send()


def states_of(executable: Any) -> list[tuple[Any, Any]]:
    """Plans and buffers of an executable's caches."""
    pairs = zip(executable.program.buffers, executable.buffers, strict=True)
    return [(plan, buffer) for plan, buffer in pairs if plan.kind == "state"]


class _Row:
    """A sequence that has a row: the tokens so far, and the one that was chosen last. `turn`: when it got its row."""

    def __init__(self, number: int, history: list[int], answer: Answer, sampler: Sampler) -> None:
        self.number, self.history, self.answer, self.sampler = number, history, answer, sampler
        self.turn = 0

    @property
    def last(self) -> Last:
        return self.history[-1], len(self.history) - 1


def generate_batch(
    model: LanguageModel,
    batch: Batch,
    prompts: Sequence[list[int]],
    answers: Sequence[Answer],
    samplers: Sequence[Sampler],
) -> Iterator[tuple[int, Piece]]:
    """Continue prompts, `batch.rows` at a time; pieces with the number of their prompt. A row's next prompt is taken
    when its answer has ended. Where another run has taken the batch since the last piece, sequences are computed again.
    Raises SamplingError for logits that hold NaN.
    """
    waiting = deque(
        _Row(n, list(ids), answer, sampler)
        for n, (ids, answer, sampler) in enumerate(zip(prompts, answers, samplers, strict=True))
        if not answer.done
    )
    rows: list[_Row | None] = [None] * batch.rows
    timing = model.timing
    turns = itertools.count()
    run = object()
    try:
        while True:
            with model.turn():  # but not while pieces are handed out: others may run then
                if batch.run is not run:
                    _claim(model, batch, rows, waiting)
                    batch.run = run
                place = next((n for n, row in enumerate(rows) if row is None), None)
                if place is not None and waiting and _fits(model, batch, rows, waiting[0]):
                    rows[place] = row = waiting.popleft()
                    row.turn = next(turns)
                    pieces = list(_begin(model, batch, place, row, timing))
                elif any(rows):
                    pieces = list(_step(model, batch, rows, waiting, timing))
                else:
                    return
                for place, one in enumerate(rows):
                    if one is not None and one.answer.done:
                        rows[place] = None
                        model.release(batch, place)
            yield from pieces
    finally:
        with model.turn():
            if batch.run is run:
                batch.run = None
                for place in range(batch.rows):
                    model.release(batch, place)


def _claim(model: LanguageModel, batch: Batch, rows: list[_Row | None], waiting: deque[_Row]) -> None:
    """Take a batch that another run may have: rows are free, and what stood in them waits before all others."""
    waiting.extendleft(sorted((r for r in rows if r is not None), key=lambda r: -r.turn))
    for place in range(batch.rows):
        rows[place] = None
        model.release(batch, place)


def _fits(model: LanguageModel, batch: Batch, rows: list[_Row | None], row: _Row) -> bool:
    """Whether a sequence may begin beside those that have rows. Alone it may always: pages hold a whole context."""
    return not any(rows) or model.has_room(batch, row.history)


def _begin(model: LanguageModel, batch: Batch, place: int, row: _Row, timing: Timing) -> Iterator[tuple[int, Piece]]:
    """Run the prompt of a row; the first piece behind it."""
    started = time.perf_counter()
    chosen = row.sampler.sample(model.fill(batch, place, row.history), row.history)
    timing.prompt_tokens += len(row.history)
    timing.prompt_seconds += time.perf_counter() - started
    yield from _take(row, chosen)


def _step(
    model: LanguageModel, batch: Batch, rows: list[_Row | None], waiting: deque[_Row], timing: Timing
) -> Iterator[tuple[int, Piece]]:
    """Run one token of every row; the next pieces."""
    started = time.perf_counter()
    there = batch.steps.way([r.sampler for r in rows if r is not None]) is not None
    ahead = there and all(r is None or r.answer.left > 1 for r in rows)
    ahead = _hold(model, batch, rows, waiting, ahead)
    last = [r.last if r is not None else None for r in rows]
    found = batch.steps.choose(last, [None if r is None else r.sampler for r in rows], ahead)
    for place, one in enumerate(rows):
        if one is not None:
            chosen = found[place] or one.sampler.sample(batch.steps.logits()[place], one.history)
            timing.generated_tokens += 1
            yield from _take(one, chosen)
    timing.generated_seconds += time.perf_counter() - started


def _hold(model: LanguageModel, batch: Batch, rows: list[_Row | None], waiting: deque[_Row], ahead: bool) -> bool:
    """Make room for the next token of every row, and for one more if `ahead`: whether there is room for that. A row
    that got its place last gives it up where there is none for all.
    """
    live = [(place, row) for place, row in enumerate(rows) if row is not None]
    if ahead and all(model.hold(batch, place, row.last, True) for place, row in live):
        return True
    for place, row in sorted(live, key=lambda pair: pair[1].turn):
        while rows[place] is not None and not model.hold(batch, place, row.last):
            latest = max((n for n, r in enumerate(rows) if r is not None), key=lambda n: rows[n].turn)  # type: ignore[union-attr]
            model.release(batch, latest)
            waiting.appendleft(rows[latest])  # type: ignore[arg-type]
            rows[latest] = None
    return False


def _take(row: _Row, chosen: Sample) -> Iterator[tuple[int, Piece]]:
    piece = row.answer.push(chosen)
    row.history.append(chosen.token)
    if piece is not None:
        yield row.number, piece
