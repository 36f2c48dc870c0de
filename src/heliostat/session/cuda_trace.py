"""Times of the launches of a GPU's program while a profiler is open.

Launches and the events between them are one CUDA graph, so that what an event sees is the device's own time: the host
takes longer to ask for a small kernel than the kernel takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..runtime.cuda import Event, Launch, LibraryLaunch, Stream, capture


class GpuTrace:
    """The launches of a program once more, with events between them. None begins before the one ahead has ended, so
    that each time is that of one launch alone."""

    def __init__(self, name: str, launches: Sequence[Launch | LibraryLaunch]) -> None:
        self.name = name
        self.launches = [launch.alone() for launch in launches]
        self.words = [launch.arguments.words() for launch in self.launches]
        device = launches[0].device
        self.events = [Event(device) for _ in range(len(launches) + 1)]

    def run(self, stream: Stream, fill: Callable[[Sequence[npt.NDArray[np.int64]]], None]) -> npt.NDArray[np.float64]:
        """Run all launches and wait for them; `fill` writes their arguments. The times of the marks, see
        `recorder.GpuRun`."""
        fill(self.words)
        with capture(stream, name=self.name) as captured:
            self.events[0].record(stream)
            for launch, event in zip(self.launches, self.events[1:], strict=True):
                launch(stream)
                event.record(stream)
        captured.graph.launch(stream)
        stream.synchronize()
        end = time.perf_counter_ns()
        passed = np.array([event.elapsed_ms(self.events[0]) for event in self.events]) * 1e6
        return np.asarray(end - passed[-1] + passed, np.float64)
