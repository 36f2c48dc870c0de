"""Streams, which run work in order, and events, which are points in them: waiting, ordering, time on the device."""

from __future__ import annotations

import weakref
from collections import deque
from itertools import count
from typing import Any

from ...diagnostics import DeviceError
from .device import Device, KernelName
from .driver import NOT_READY

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no order with the legacy default stream
_TRAIL = 1024  # launches that are remembered between two synchronizations
_keys = count(1)
_DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: a node of the graph, not an edge of its capture


class Stream:
    """Work of one device that runs in the order it was given. Released with the object, after its work.

    Make few and keep them: memory that was freed on a stream is used again on it alone, or after `pool.empty()`.
    """

    def __init__(self, device: Device, *, priority: int = 0) -> None:
        """`priority`: lower numbers run first, 0 is the usual one. Raises what `Device.call` raises."""
        self.device = device
        self.handle: Any = device.call("cuStreamCreateWithPriority", _NON_BLOCKING, priority)
        self.key = next(_keys)
        """What the pool tells streams apart by: a number that no other stream of the process had. (A handle may come
        back for a new stream while work of the old one still runs.)"""
        self.trail: deque[tuple[KernelName, ...]] = deque(maxlen=_TRAIL)
        """What was launched and is not known to be done, for the message of a fault."""
        self.captured: list[object] | None = None
        """While the stream is captured into a graph: what the graph has to keep alive."""
        self._kept: list[object] = []
        device.streams.add(self)
        self._release = weakref.finalize(self, device.quietly, "cuStreamDestroy", self.handle)
        self._release.atexit = False

    def synchronize(self) -> None:
        """Wait until all work given so far is done. Raises KernelFaultError if a kernel failed, DeviceError while the
        stream is captured."""
        self.not_captured("waiting for it")
        self.device.call("cuStreamSynchronize", self.handle)
        self.finished()

    def not_captured(self, what: str) -> None:
        """Raise DeviceError if the stream is captured; the driver would spoil the whole capture."""
        if self.captured is not None:
            raise DeviceError(
                f"{self} is captured into a graph, and {what} cannot be part of one",
                help="do it before or after the capture; copies between device and PinnedBuffer can be captured",
            )

    def finished(self) -> None:
        """Note that all work given so far is known to be done."""
        self.trail.clear()
        self._kept.clear()

    def done(self) -> bool:
        """Whether all work given so far is done. Raises KernelFaultError if a kernel failed."""
        self.device.activate()
        status = self.device.driver.function("cuStreamQuery")(self.handle)[0]
        if status == NOT_READY:
            return False
        if status != 0:
            raise self.device.failed("cuStreamQuery", status)
        return True

    def record(self, event: Event | None = None) -> Event:
        """Mark this point in the stream by an event (a new one with timing if none is given)."""
        event = event or Event(self.device)
        event.record(self)
        return event

    def wait(self, event: Event) -> None:
        """Let work given from now on begin after the event. The host does not wait."""
        self.device.call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def keep(self, what: object) -> None:
        """Hold an object (host memory of a copy, say) until the stream is next synchronized; while the stream is
        captured, as long as the graph lives."""
        (self._kept if self.captured is None else self.captured).append(what)

    def __repr__(self) -> str:
        return f"Stream({self.key} on {self.device})"


class Event:
    """A point in a stream. `timing` False makes it cheaper where only order is asked for."""

    def __init__(self, device: Device, *, timing: bool = True) -> None:
        self.device = device
        self.timing = timing
        self.handle: Any = device.call("cuEventCreate", 0 if timing else _DISABLE_TIMING)
        self._record = device.driver.function("cuEventRecord")
        self._synchronize = device.driver.function("cuEventSynchronize")
        self._release = weakref.finalize(self, device.quietly, "cuEventDestroy", self.handle)
        self._release.atexit = False

    def record(self, stream: Stream) -> None:
        """Move the event to the end of the work given to `stream`; while the stream is captured, each run of the graph
        records it. Raises DeviceError on streams of other devices."""
        if stream.device is not self.device:
            raise DeviceError(f"an event of {self.device} cannot be recorded on a stream of {stream.device}")
        if stream.captured is not None:
            self.device.call("cuEventRecordWithFlags", self.handle, stream.handle, _EXTERNAL)
            stream.keep(self)
            return
        self.device.ready()
        status = self._record(self.handle, stream.handle)[0]
        if status != 0:
            raise self.device.failed("cuEventRecord", status)

    def done(self) -> bool:
        """Whether the device has passed it; True for one that was never recorded."""
        self.device.activate()
        status = self.device.driver.function("cuEventQuery")(self.handle)[0]
        if status == NOT_READY:
            return False
        if status != 0:
            raise self.device.failed("cuEventQuery", status)
        return True

    def synchronize(self) -> None:
        """Wait until the device has passed it. Raises KernelFaultError if a kernel before it failed."""
        self.device.ready()
        status = self._synchronize(self.handle)[0]
        if status != 0:
            raise self.device.failed("cuEventSynchronize", status)

    def elapsed_ms(self, since: Event) -> float:
        """Milliseconds of device time from `since` to this event, to about 0.5 us. Waits for both.

        Raises DeviceError if one has no timing or was not recorded.
        """
        if not (self.timing and since.timing):
            raise DeviceError("time between events needs timing=True for both")
        since.synchronize()
        self.synchronize()
        return float(self.device.call("cuEventElapsedTime", since.handle, self.handle))
