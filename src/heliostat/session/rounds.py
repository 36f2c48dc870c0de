"""Rounds of programs on a GPU that need nothing of the host in between: one is given while another runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime.cuda import Event, capture
from .cuda import CudaExecutable, Ready, plain_dtype

AHEAD = 2  # rounds that may be given before the first of them is waited for


class CudaRounds:
    """Programs that run one behind the other, and what the last one's outputs are after them: a round.

    The host gives a round by one call and does not wait; results are taken in the order of their rounds. Each of AHEAD
    rounds has page-locked memory of its own for its results, to which kernels write them: nothing may read them there.
    The same holds for small inputs that are new in each round, which kernels read there.
    """

    def __init__(self, executables: Sequence[CudaExecutable], inputs: Sequence[str] = ()) -> None:
        """`inputs`: those of the last program that each round has of its own. Raises DeviceMemoryError where the system
        locks no more pages."""
        last = executables[-1]
        self.stream = last.place.stream
        plans = {number: last.program.buffers[number] for number in last.program.outputs}
        types = [(plain_dtype(p.type), tuple(int(d) for d in p.type.shape)) for p in plans.values()]  # type: ignore[arg-type]
        results = [[last.place.pinned(p.nbytes) for p in plans.values()] for _ in range(AHEAD)]
        self.results = [[m.array(*type) for m, type in zip(each, types, strict=True)] for each in results]
        names = {name: last.program.by_name(name) for name in inputs}
        sizes = {name: last.program.buffers[number].nbytes for name, number in names.items()}
        inputs_of = [{name: last.place.pinned(n) for name, n in sizes.items()} for _ in range(AHEAD)]
        self.inputs = [{name: m.array(np.uint8) for name, m in each.items()} for each in inputs_of]
        self.events = [Event(last.place.gpu, timing=False) for _ in range(AHEAD)]
        self.graphs = []
        for made, given in zip(results, inputs_of, strict=True):
            own = {number: result.on_device() for number, result in zip(plans, made, strict=True)}
            own.update({names[name]: memory.on_device() for name, memory in given.items()})
            launches: list[Ready] = []
            for executable in executables:
                launches += executable.launches_behind(launches, own if executable is last else {})
            with capture(self.stream, name=last.program.name) as captured:
                for launch in launches:
                    launch(self.stream)
            self.graphs.append(captured.graph)
        self.given: deque[int] = deque()
        self.next = 0

    def give(self, inputs: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """One more round, behind all that was given to run, with the bytes of its own inputs. No more than AHEAD may be
        on their way."""
        assert len(self.given) < AHEAD
        for name, memory in self.inputs[self.next].items():
            memory[:] = inputs[name]
        self.graphs[self.next].launch(self.stream)
        self.events[self.next].record(self.stream)
        self.given.append(self.next)
        self.next = (self.next + 1) % AHEAD

    def take(self) -> list[npt.NDArray[Any]]:
        """The results of the oldest round that was not taken, when it is done; valid until another AHEAD were given.
        Raises KernelFaultError."""
        number = self.given.popleft()
        self.events[number].synchronize()
        return self.results[number]

    def forget(self) -> None:
        """Take nothing of the rounds on their way. They run all the same."""
        self.given.clear()
