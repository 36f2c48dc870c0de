"""CUDA graphs: a step's launches given to the device by one call, captured from a stream or built from a list."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...diagnostics import DeviceError
from ...settings import settings
from .cublaslt import LibraryLaunch
from .device import Device, KernelName
from .driver import OUT_OF_MEMORY, CudaError
from .module import Launch
from .stream import Stream

_UPDATE_REFUSED = 910


class Graph:
    """Launches in a fixed order, made ready to run many times. Arguments are read when the graph is made or updated.

    The graph keeps alive the buffers among its arguments, and what was released while it was captured. It is destroyed
    with the object. `len(graph)` is the number of launches, `kernels` their names in order.
    """

    def __init__(self, device: Device, handle: Any, name: str, kept: Sequence[object], nodes: Sequence[Any]) -> None:
        """Use `Graph.build` or `capture`."""
        self.device = device
        self.name = name
        self._handle = handle
        self._nodes = list(nodes)
        self._kept = list(kept)
        self.kernels: tuple[KernelName, ...] = ()
        self._name_kernels()
        destroy_graph = weakref.finalize(self, device.quietly, "cuGraphDestroy", handle)
        destroy_graph.atexit = False
        self._executable: Any = device.call("cuGraphInstantiate", handle, 0)
        destroy = weakref.finalize(self, device.quietly, "cuGraphExecDestroy", self._executable)
        destroy.atexit = False
        self._local = device.driver.local
        self._call = device.driver.function("cuGraphLaunch")
        self._blocking = settings().cuda_blocking

    @classmethod
    def build(
        cls,
        device: Device,
        launches: Sequence[Launch],
        dependencies: Sequence[Sequence[int]] | None = None,
        *,
        name: str = "",
    ) -> Graph:
        """A graph of prepared launches. `dependencies[i]` holds the indices of the earlier launches that launch i waits
        for; None: each waits for the one before. `overlap` of a launch has no effect here (in a captured graph it has).

        Raises DeviceError if an index is not earlier, or the device refuses a launch.
        """
        if dependencies is None:
            dependencies = [[i - 1] if i else [] for i in range(len(launches))]
        if len(dependencies) != len(launches):
            raise DeviceError(f"graph `{name}` has {len(launches)} launches and dependencies for {len(dependencies)}")
        for i, (launch, before) in enumerate(zip(launches, dependencies, strict=True)):
            if launch.device is not device:
                raise DeviceError(f"graph `{name}` of {device} has a launch on {launch.device}")
            if any(not 0 <= j < i for j in before):
                raise DeviceError(f"graph `{name}`: launch {i} can only wait for earlier ones, not {list(before)}")
        handle = device.call("cuGraphCreate", 0)
        nodes: list[Any] = []
        try:
            for launch, before in zip(launches, dependencies, strict=True):
                waits = [nodes[j] for j in dict.fromkeys(before)]
                node = device.call("cuGraphAddKernelNode", handle, waits, len(waits), launch.node_parameters())
                for kind, value in launch.attributes(node=True):
                    device.call("cuGraphKernelNodeSetAttribute", node, kind, value)
                nodes.append(node)
        except DeviceError:
            device.quietly("cuGraphDestroy", handle)
            raise
        return cls(device, handle, name, launches, nodes)

    def launch(self, stream: Stream) -> None:
        """Run the whole graph once, in the order of `stream`. The host does not wait.

        Raises KernelFaultError if a kernel before failed (with HELIOSTAT_CUDA_BLOCKING=1, if one of these fails).
        """
        device = self.device
        if device.broken is not None or getattr(self._local, "device", None) is not device:
            device.activate()
        status = self._call(self._executable, stream.handle)[0]
        if status == OUT_OF_MEMORY and device.make_room():
            status = self._call(self._executable, stream.handle)[0]
        if status != 0:
            raise device.failed("cuGraphLaunch", status, f"graph `{self.name}` cannot be launched")
        if stream.captured is not None:
            stream.captured.append(self)
            return
        stream.trail.append(self.kernels)
        if self._blocking:
            stream.synchronize()

    def upload(self, stream: Stream) -> None:
        """Copy the graph's description to the device now rather than at its first launch."""
        self.device.call("cuGraphUpload", self._executable, stream.handle)

    def update(self, index: int, launch: Launch | None = None) -> None:
        """Let later runs use another launch at `index`, or without one the arguments that the launch has now.

        Runs that were given before keep theirs. Raises DeviceError on captured graphs, and if the device refuses it.
        """
        if not self._nodes:
            raise DeviceError(
                f"graph `{self.name}` was captured and has no launches to update",
                help="capture it again and use `replace`, or build it by `Graph.build`",
            )
        launch = launch or self._launch(index)
        parameters = launch.node_parameters()
        self.device.call("cuGraphExecKernelNodeSetParams", self._executable, self._nodes[index], parameters)
        self._kept[index] = launch
        self._name_kernels()

    def replace(self, other: Graph) -> None:
        """Let later runs do what `other` does. It must have the same nodes and edges; sizes and arguments may differ.

        Much cheaper than making a graph anew. Raises DeviceError if the device refuses it; the graph is then as before.
        """
        try:
            self.device.call("cuGraphExecUpdate", self._executable, other._handle)
        except CudaError as error:
            if error.code != _UPDATE_REFUSED:
                raise
            raise DeviceError(
                f"graph `{self.name}` ({len(self)} kernels) cannot take what `{other.name}` ({len(other)}) does:"
                " their nodes or edges differ",
                help="make the graph anew",
            ) from error
        self._kept = list(other._kept)
        self._name_kernels()

    def _launch(self, index: int) -> Launch:
        launch = self._kept[index]
        assert isinstance(launch, Launch)
        return launch

    def _name_kernels(self) -> None:
        names: list[KernelName] = []
        for part in self._kept:
            if isinstance(part, (Launch, LibraryLaunch)):
                names += part.names
            elif isinstance(part, Graph):
                names += part.kernels
        self.kernels = tuple(names)

    def __len__(self) -> int:
        return len(self.kernels)

    def __repr__(self) -> str:
        return f"Graph({self.name or 'unnamed'}, {len(self)} kernels on {self.device})"


class Capture:
    """What `capture` gives: `graph` is there once the block has ended."""

    def __init__(self) -> None:
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The captured graph. Raises DeviceError inside the block."""
        if self._graph is None:
            raise DeviceError("the graph is not there before its capture has ended")
        return self._graph


@contextmanager
def capture(stream: Stream, *, name: str = "") -> Iterator[Capture]:
    """Record what is given to `stream` inside a `with` block, instead of running it, as `Capture.graph`.

    Copies from or to arrays and everything that waits for the stream do not belong into it: the driver refuses them.
    Raises DeviceError then, or whatever the block raises; nothing is left behind.
    """
    device = stream.device
    if stream.captured is not None:
        raise DeviceError(f"{stream} is being captured already")
    # Relaxed: the pool may ask the driver for memory meanwhile; that is no work of the stream.
    mode = device.driver.bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    device.call("cuStreamBeginCapture", stream.handle, mode)
    kept: list[object] = []
    stream.captured = kept
    out = Capture()
    try:
        yield out
    except BaseException:
        stream.captured = None
        _abandon(stream)
        raise
    stream.captured = None
    handle = device.call("cuStreamEndCapture", stream.handle)
    out._graph = Graph(device, handle, name, kept, ())


def _abandon(stream: Stream) -> None:
    """End a capture whose block failed, and drop what it has."""
    device = stream.device
    if device.broken is not None:
        return
    status, *values = device.driver.function("cuStreamEndCapture")(stream.handle)
    if status == 0 and values and int(values[0] or 0):
        device.quietly("cuGraphDestroy", values[0])
