"""Steps of generation: a token of each of some sequences, and the greedy choice of the next where the logits are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernel.program import Program
from ..session.place import Inputs, Place
from .choice import chosen
from .sample import Sample

Last = tuple[int, int]
"""A sequence's last token and its position."""


class Stepper:
    """Runs a decode program of `rows` sequences. Where the place runs by itself, a step may be given before the one
    before it is done: its tokens are chosen there. Rows without a sequence are None, and run token 0 at position 0.
    """

    def __init__(self, place: Place, rows: int, inputs: Inputs, decode: Any, choice: Program | None) -> None:
        """`inputs`: tokens, positions and start, which `decode`, an executable, is bound to."""
        self.rows, self.decode = rows, decode
        self._inputs = inputs
        logits = decode.buffers[decode.program.outputs[0]]
        given = {"logits": logits, **inputs.buffers}
        self._choice = None if choice is None else place.executable(choice, given)
        self._rounds = None if choice is None else place.rounds([decode, self._choice])
        self._last: Sequence[Last | None] = []
        self._coming: list[Last | None] | None = None  # what the step that was given ahead runs
        self._logits: npt.NDArray[np.float32] | None = None

    @property
    def chooses(self) -> bool:
        """Whether there is a program for the greedy choice."""
        return self._choice is not None

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

    def greedy(self, last: Sequence[Last | None], ahead: bool = False) -> list[Sample | None]:
        """Run one token of every sequence; the likeliest one behind it, None where a sampler has to look at the logits.

        `ahead`: the next step will run those, if nothing else comes between, and every sequence has room for it. Rows
        without one run position 0, 1 and so on meanwhile; one that ends is sent back to 0.
        """
        rounds = self._rounds
        if rounds is None:
            self.run(last)
            if self._choice is None:
                return [None] * self.rows
            self._choice.run()
            return chosen([self._choice.output(n, {}) for n in range(len(self._choice.program.outputs))])
        coming = self._coming
        if coming is None or coming != list(last):
            self.forget()
            self._send(last)
            rounds.give()
        self._last, self._logits, self._coming = list(last), None, None
        if ahead:
            rounds.give()
        found = chosen(rounds.take())
        if ahead:
            self._coming = [
                None if one is None else (-1 if sample is None else sample.token, one[1] + 1)
                for sample, one in zip(found, last, strict=True)
            ]
        return found

    def forget(self) -> None:
        """A step that was given ahead will not be asked for: what it read was changed, or is about to be."""
        if self._rounds is not None:
            self._rounds.forget()
        self._coming = None

    def _send(self, last: Sequence[Last | None]) -> None:
        arrays = self._inputs.arrays
        for row, one in enumerate(last):
            token, position = one or (0, 0)
            arrays["tokens"][row] = token
            arrays["positions"][row] = arrays["start"][row] = position
        self._inputs.send()
        self._last, self._logits = list(last), None
