"""Rounds of programs on a GPU that need nothing of the host in between: some are given while others run."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.plan import type_nbytes
from ..runtime.cuda import Event, PinnedBuffer, capture
from ..runtime.cuda import Graph as CudaGraph
from .cuda import CudaExecutable, Ready, plain_dtype
from .place import AHEAD

LINE = 64  # bytes: what a round reads or writes begins where another's ended, rounded up to these


class CudaRounds:
    """Programs that run one behind the other, and what the last one's outputs are after them: a round.

    The host gives one round, or `together` of them, by one call and does not wait; what was given is taken in the same
    order. Each of AHEAD calls has page-locked memory of its own for results, to which kernels write them: nothing may
    read them there. The same holds for small inputs that are new in each round, which kernels read there.
    """

    def __init__(self, executables: Sequence[CudaExecutable], inputs: Sequence[str] = (), together: int = 1) -> None:
        """`inputs`: those of the last program that each round has of its own. Raises DeviceMemoryError where the system
        locks no more pages."""
        *before, last = executables
        self.together = together
        self.stream = last.place.stream
        plans, place = last.program.buffers, last.place
        names = {name: last.program.by_name(name) for name in inputs}
        numbers = dict.fromkeys([*last.program.outputs, *names.values()])
        lines = {number: -(-plans[number].nbytes // LINE) * LINE for number in numbers}
        memory = [{number: place.pinned(n * together) for number, n in lines.items()} for _ in range(AHEAD)]

        def rows(number: int, pinned: PinnedBuffer) -> npt.NDArray[Any]:
            """A value of each round, (together, elements)."""
            kind, nbytes = plain_dtype(plans[number].type), type_nbytes(plans[number].type)
            return pinned.array(kind).reshape(together, -1)[:, : nbytes // kind.itemsize]

        every = [{number: rows(number, pinned) for number, pinned in each.items()} for each in memory]
        self.inputs = [{name: list(map(_bytes, each[number])) for name, number in names.items()} for each in every]
        self.results: list[dict[int, list[npt.NDArray[Any]]]] = []
        self.graphs: list[dict[int, CudaGraph]] = []
        self.events = [Event(place.gpu, timing=False) for _ in range(AHEAD)]
        first = _launches(before, [])
        again: list[Ready] = []  # of all rounds but a call's first: they may begin before what is ahead has ended
        for each, arrays in zip(memory, every, strict=True):
            launches: list[Ready] = []
            self.graphs.append({})
            self.results.append({})
            for round in range(together):
                if round:
                    again = again or _launches(before, launches)
                launches += again if round else first
                own = {n: pinned.on_device().slice(round * lines[n], lines[n]) for n, pinned in each.items()}
                launches += last.launches_behind(launches, own)
                if round + 1 in (1, together):
                    self.graphs[-1][round + 1] = self._captured(launches, last.program.name)
                    self.results[-1][round + 1] = [arrays[n][: round + 1] for n in last.program.outputs]
        self._given: deque[tuple[int, int]] = deque()  # of each call: whose memory it has, and its rounds
        self._next = 0

    def _captured(self, launches: Sequence[Ready], name: str) -> CudaGraph:
        with capture(self.stream, name=name) as captured:
            for launch in launches:
                launch(self.stream)
        return captured.graph

    @property
    def full(self) -> bool:
        """Whether AHEAD calls are on their way: one has to be taken before another is given."""
        return len(self._given) == AHEAD

    def give(self, inputs: Sequence[Mapping[str, bytes]]) -> None:
        """One more round, or `together` of them, behind all that was given to run, each with the bytes of its own
        inputs."""
        assert not self.full
        number, count = self._next, len(inputs)
        for name, memory in self.inputs[number].items():
            for round, own in enumerate(inputs):
                memory[round][:] = own[name]
        self.graphs[number][count].launch(self.stream)
        self.events[number].record(self.stream)
        self._given.append((number, count))
        self._next = (number + 1) % AHEAD

    def take(self) -> list[npt.NDArray[Any]]:
        """The results, (rounds, elements), of the oldest call that was not taken, when its rounds are done; valid until
        another AHEAD were given. Raises KernelFaultError."""
        number, count = self._given.popleft()
        self.events[number].synchronize()
        return self.results[number][count]

    def forget(self) -> None:
        """Take nothing of the rounds on their way. They run all the same."""
        self._given.clear()


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """The memory of an array."""
    return array.view(np.uint8).data


def _launches(executables: Sequence[CudaExecutable], ahead: Sequence[Ready]) -> list[Ready]:
    """Those of programs one behind the other, behind others."""
    made = list(ahead)
    for executable in executables:
        made += executable.launches_behind(made, {})
    return made[len(ahead) :]
