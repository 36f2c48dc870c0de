"""Steps of generation: a token of each of some sequences, and the choice of the next where the logits are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..kernel.program import Program
from ..session.place import Inputs, Place
from .choice import chosen
from .draw import Choice, choice_of, draws_of
from .sample import Sample, Sampler

if TYPE_CHECKING:
    from ..session.rounds import CudaRounds

REST = 15
"""Steps that are left to samplers behind one that had to be: flat logits mostly come again, and there a step that is on
its way runs twice."""

Last = tuple[int, int]
"""A sequence's last token and its position."""


class Stepper:
    """Runs a decode program of `rows` sequences. Where the place runs by itself, a step may be given before the one
    before it is done: its tokens are chosen there. Rows without a sequence are None, and run token 0 at position 0.
    """

    def __init__(
        self, place: Place, rows: int, inputs: Inputs, decode: Any, choices: Mapping[Choice, Program], vocabulary: int
    ) -> None:
        """`inputs`: tokens, positions and start, which `decode`, an executable, is bound to. `choices`: the programs
        that there are, which are bound when they are first asked for; draws need a place that runs by itself."""
        self.rows, self.decode = rows, decode
        self._inputs, self._place = inputs, place
        self._vocabulary = vocabulary
        logits = decode.buffers[decode.program.outputs[0]]
        self._given = {"logits": logits, **inputs.buffers}
        self._choices = dict(choices)
        self._bound: dict[Choice, tuple[Any, CudaRounds | None]] = {}
        if Choice.GREEDY in self._choices:
            self._bind(Choice.GREEDY)
        self._last: Sequence[Last | None] = []
        self._coming: tuple[Choice, list[Last | None], bytes] | None = None
        """What the step that was given ahead runs: its choice, the last token of each row, and the input `draws`."""
        self._rest = 0  # steps whose logits samplers look at without trying
        self._logits: npt.NDArray[np.float32] | None = None

    def _bind(self, way: Choice) -> tuple[Any, CudaRounds | None]:
        """A choice's executable, and its rounds where the place runs by itself."""
        executable = self._place.executable(self._choices[way], self._given)
        own = () if way is Choice.GREEDY else ("draws",)
        self._bound[way] = made = executable, self._place.rounds([self.decode, executable], own)
        return made

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
        """Of the last step, (rows, V), valid until the next. Another one may have been given since: then that step runs
        again, which changes nothing else."""
        if self._coming is not None:
            self.run(self._last)
        if self._logits is None:
            self._logits = self.decode.output(0, {})
        return self._logits

    def choose(
        self, last: Sequence[Last | None], samplers: Sequence[Sampler | None] = (), ahead: bool = False
    ) -> list[Sample | None]:
        """Run one token of every sequence; the next one behind it, None where a sampler has to look at the logits.

        `samplers`: of each row, by which its token is chosen; the largest logit where there are none. One whose token
        was drawn is as if it had drawn it itself. `ahead`: the next step will run those, if nothing else comes between,
        and every sequence has room for it. Rows without one run position 0, 1 and so on meanwhile; one that ends is
        sent back to 0.
        """
        way = self.way(samplers)
        if way is None or self._rest:
            self._rest = max(0, self._rest - 1)
            self.run(last)
            return [None] * self.rows
        executable, rounds = self._bound.get(way) or self._bind(way)
        if rounds is None:
            self.run(last)
            executable.run()
            return chosen([executable.output(n, {}) for n in range(len(executable.program.outputs))])
        places, greedy = list(last), way is Choice.GREEDY
        draws = b"" if greedy else self._draws(samplers, 0)
        coming, self._coming = self._coming, None  # an interrupt may take a round without its result
        if coming != (way, places, draws):
            self.forget()
            self._send(places)
            rounds.give(_inputs(draws))
        following = b"" if greedy or not ahead else self._draws(samplers, 1)
        if ahead:
            rounds.give(_inputs(following))
        found = chosen(rounds.take())
        self._last, self._logits = places, None
        if ahead:
            next_places = [
                None if one is None else (-1 if sample is None else sample.token, one[1] + 1)
                for sample, one in zip(found, places, strict=True)
            ]
            self._coming = way, next_places, following
        if not greedy:
            for sampler, sample in zip(samplers, found, strict=True):
                if sampler is not None and sample is not None:
                    sampler.drawn()
        if None in found and any(s is None and one is not None for s, one in zip(found, places, strict=True)):
            self._rest = REST
        return found

    def _draws(self, samplers: Sequence[Sampler | None], ahead: int) -> bytes:
        return draws_of(samplers, self._vocabulary, ahead).tobytes()

    def forget(self) -> None:
        """A step that was given ahead will not be asked for: what it read was changed, or is about to be."""
        for _, rounds in self._bound.values():
            if rounds is not None:
                rounds.forget()
        self._coming = None

    def _send(self, last: Sequence[Last | None]) -> None:
        arrays = self._inputs.arrays
        for row, one in enumerate(last):
            token, position = one or (0, 0)
            arrays["tokens"][row] = token
            arrays["positions"][row] = arrays["start"][row] = position
        self._inputs.send()
        self._last, self._logits = list(last), None


def _inputs(draws: bytes) -> dict[str, npt.NDArray[np.uint8]]:
    """What a round has of its own, by name."""
    return {"draws": np.frombuffer(draws, np.uint8)} if draws else {}
