"""Rounds of programs on a GPU that need nothing of the host in between: one is given while another runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ..runtime.cuda import Event, capture
from .cuda import CudaExecutable, plain_dtype

AHEAD = 2  # rounds that may be given before the first of them is waited for


class CudaRounds:
    """Programs that run one behind the other, and what the last one's first output is after them: a round.

    The host gives a round by one call and does not wait; results are taken in the order of their rounds. Each of AHEAD
    rounds has page-locked memory of its own for its result.
    """

    def __init__(self, executables: Sequence[CudaExecutable]) -> None:
        """Raises DeviceMemoryError where the system locks no more pages."""
        last = executables[-1]
        self.stream = last.place.stream
        number = last.program.outputs[0]
        type = last.program.buffers[number].type
        self.dtype, self.shape = plain_dtype(type), tuple(int(d) for d in type.shape)  # type: ignore[arg-type]
        self.results = [last.place.pinned(last.program.buffers[number].nbytes) for _ in range(AHEAD)]
        self.events = [Event(last.place.gpu, timing=False) for _ in range(AHEAD)]
        self.graphs = []
        for result in self.results:
            with capture(self.stream, name=last.program.name) as captured:
                for executable in executables:
                    for launch in executable.launches:
                        launch(self.stream)
                last.buffers[number].copy_to_host(result, self.stream)
            self.graphs.append(captured.graph)
        self.given: deque[int] = deque()
        self.next = 0

    def give(self) -> None:
        """One more round, behind all that was given to run. No more than AHEAD may be on their way."""
        assert len(self.given) < AHEAD
        self.graphs[self.next].launch(self.stream)
        self.events[self.next].record(self.stream)
        self.given.append(self.next)
        self.next = (self.next + 1) % AHEAD

    def take(self) -> npt.NDArray[Any]:
        """The result of the oldest round that was not taken, when it is done; valid until another AHEAD were given.
        Raises KernelFaultError."""
        number = self.given.popleft()
        self.events[number].synchronize()
        return self.results[number].array(self.dtype, self.shape)

    def forget(self) -> None:
        """Take nothing of the rounds on their way. They run all the same."""
        self.given.clear()
