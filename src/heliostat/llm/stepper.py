"""Steps of generation: a token of each of some sequences, and the choice of the next where the logits are."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..kernel.program import Program
from ..session.place import AHEAD, Inputs, Place
from .choice import chosen
from .draw import Choice, Draws, choice_of
from .sample import Sample, Sampler

if TYPE_CHECKING:
    from ..session.rounds import CudaRounds

REST = 15
"""Steps that are left to samplers behind one that had to be: flat logits mostly come again, and there a step that is on
its way runs twice."""

TOGETHER = 4
"""Rounds that one call gives to a device, at most: what the host does for a call, its caches cold, is done once."""

READ_TOGETHER = 10_000_000_000
"""Bytes of weights that the rounds of one call read, at most, a few milliseconds: text comes by calls, and after the
token that ends it up to AHEAD of them are still on their way."""

Last = tuple[int, int]
"""A sequence's last token and its position."""

Numbers = list[float]
"""A random number for each row; none where the largest logits are taken."""


def steps_together(program: Program) -> int:
    """Steps of a decode program, a power of two, that are best given to a device by one call."""
    read = max(1, sum(plan.nbytes for plan in program.buffers if plan.kind == "weight"))
    return min(TOGETHER, 1 << max(1, READ_TOGETHER // read).bit_length() - 1)


class Stepper:
    """Runs a decode program of `rows` sequences. Where the place runs by itself, steps may be given before those
    before them are done: their tokens are chosen there. Rows without a sequence are None, and run token 0 at position
    0.
    """

    def __init__(
        self,
        place: Place,
        rows: int,
        inputs: Inputs,
        decode: Any,
        choices: Mapping[Choice, Program],
        vocabulary: int,
        together: int = 1,
    ) -> None:
        """`inputs`: tokens, positions and start, which `decode`, an executable, is bound to. `choices`: the programs
        that there are, which are bound when they are first asked for; draws need a place that runs by itself.
        `together`: steps that are given by one call where so many follow."""
        self.rows, self.decode, self.together = rows, decode, together
        self._inputs, self._place = inputs, place
        self._vocabulary = vocabulary
        logits = decode.buffers[decode.program.outputs[0]]
        self._given = {"logits": logits, **inputs.buffers}
        self._choices = dict(choices)
        self._bound: dict[Choice, tuple[Any, CudaRounds | None]] = {}
        if Choice.GREEDY in self._choices:
            self._bind(Choice.GREEDY)
        self._last: Sequence[Last | None] = []
        self._asked: list[Sampler | None] | None = None
        """The samplers that were last asked for; what follows from them, in `_way` and `_draws`, is kept."""
        self._way: Choice | None = None
        self._draws: Draws | None = None
        self._coming: tuple[list[Last | None], Numbers] | None = None
        """What the next step that was given ahead runs: the last token of each row, and its random numbers."""
        self._ahead: deque[Numbers] = deque()
        """The random numbers of each step that was given and not asked for yet."""
        self._found: deque[list[Sample | None]] = deque()
        """What those of them found that are done: the first ones."""
        self._rest = 0  # steps whose logits samplers look at without trying
        self._logits: npt.NDArray[np.float32] | None = None

    def _bind(self, way: Choice) -> tuple[Any, CudaRounds | None]:
        """A choice's executable, and its rounds where the place runs by itself."""
        executable = self._place.executable(self._choices[way], self._given)
        own = () if way is Choice.GREEDY else ("draws",)
        self._bound[way] = made = executable, self._place.rounds([self.decode, executable], own, self.together)
        return made

    @property
    def furthest(self) -> int:
        """The most steps that run before what this one finds is known."""
        return AHEAD * self.together - 1

    def way(self, samplers: Sequence[Sampler | None]) -> Choice | None:
        """How the next tokens of all rows can be chosen where the logits are; None where samplers have to look at them.
        None for a sampler is the largest logit."""
        way: Choice | None = None
        for sampler in samplers:
            if sampler is not None:
                found = choice_of(sampler, self._vocabulary)
                if found is None or way not in (None, found):
                    return None
                way = found
        way = way or Choice.GREEDY
        return way if way in self._choices else None

    def run(self, last: Sequence[Last | None]) -> None:
        """Run one token of every sequence."""
        self.forget()
        self._send(last)
        self.decode.run()

    def logits(self) -> npt.NDArray[np.float32]:
        """Of the last step, (rows, V), valid until the next. Others may have been given since: then that step runs
        again, which changes nothing else."""
        if self._ahead:
            self.run(self._last)
        if self._logits is None:
            self._logits = self.decode.output(0, {})
        return self._logits

    def choose(
        self, last: Sequence[Last | None], samplers: Sequence[Sampler | None] = (), ahead: int = 0
    ) -> list[Sample | None]:
        """Run one token of every sequence; the next one behind it, None where a sampler has to look at the logits.

        `samplers`: of each row, by which its token is chosen; the largest logit where there are none. One whose token
        was drawn is as if it had drawn it itself. `ahead`: so many steps will run what this one finds, if nothing else
        comes between, and every sequence has room for them. Rows without one run position 0, 1 and so on meanwhile; one
        that ends is sent back to 0.
        """
        if self._asked != samplers:
            self._ask(samplers)
        way = self._way
        if way is None or self._rest:
            self._rest = max(0, self._rest - 1)
            self.run(last)
            return [None] * self.rows
        executable, rounds = self._bound.get(way) or self._bind(way)
        if rounds is None:
            self.run(last)
            executable.run()
            results = [executable.output(n, {}).ravel().tolist() for n in range(len(executable.program.outputs))]
            return chosen(*results)
        places, draws = list(last), self._draws
        if self._coming != (places, draws.numbers() if draws is not None else []):
            self.forget()
            self._send(places)
            self._give(rounds, 1)
        self._coming = None  # an interrupt from here on leaves nothing that a later step could take for its own
        if not self._found:
            following = ahead + 1 - len(self._ahead)
            if following > 0 and not rounds.full:
                self._give(rounds, self.together if following >= self.together else 1)
            self._found.extend(map(chosen, *[part.tolist() for part in rounds.take()]))
        found = self._found.popleft()
        self._ahead.popleft()
        self._last, self._logits = places, None
        if self._ahead:
            following_places = [
                None if one is None else (-1 if sample is None else sample.token, one[1] + 1)
                for sample, one in zip(found, places, strict=True)
            ]
            self._coming = following_places, self._ahead[0]
        if draws is not None:
            for sampler, sample in zip(draws.samplers, found, strict=True):
                if sampler is not None and sample is not None:
                    sampler.drawn()
        if None in found and any(s is None and one is not None for s, one in zip(found, places, strict=True)):
            self._rest = REST
        return found

    def _ask(self, samplers: Sequence[Sampler | None]) -> None:
        """Choose by these samplers from now on."""
        way = self.way(samplers)
        if way is not self._way or way is not Choice.GREEDY:  # equal numbers of others do not draw the same
            self.forget()
        self._asked, self._way = list(samplers), way
        self._draws = None if way in (None, Choice.GREEDY) else Draws(samplers, self._vocabulary)

    def _give(self, rounds: CudaRounds, count: int) -> None:
        """Give steps behind all that are on their way."""
        draws, first = self._draws, len(self._ahead)
        if draws is None:
            rounds.give([{}] * count)
            self._ahead.extend([[]] * count)
            return
        numbers = [draws.numbers(first + n) for n in range(count)]
        rounds.give([{"draws": draws.packed(each)} for each in numbers])
        self._ahead.extend(numbers)

    def forget(self) -> None:
        """Steps that were given ahead will not be asked for: what they read was changed, or is about to be."""
        for _, rounds in self._bound.values():
            if rounds is not None:
                rounds.forget()
        self._coming = None
        self._ahead.clear()
        self._found.clear()

    def _send(self, last: Sequence[Last | None]) -> None:
        arrays = self._inputs.arrays
        for row, one in enumerate(last):
            token, position = one or (0, 0)
            arrays["tokens"][row] = token
            arrays["positions"][row] = arrays["start"][row] = position
        self._inputs.send()
        self._last, self._logits = list(last), None
