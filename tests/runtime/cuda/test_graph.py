from __future__ import annotations

import gc

import numpy as np
import pytest

from heliostat.diagnostics import DeviceError, KernelFaultError
from heliostat.runtime.cuda import Device, DeviceBuffer, Graph, Launch, Module, Stream, capture, copy_bandwidth
from runtime.cuda.fake_bindings import FakeBindings, Kernel


@pytest.fixture
def order(fake: FakeBindings) -> list[int]:
    """Which of the kernels `k0` to `k3` ran, in order."""
    ran: list[int] = []

    def kernel(index: int) -> Kernel:
        return Kernel(lambda *launch: ran.append(index))

    for i in range(4):
        fake.kernels[f"k{i}"] = kernel(i)
    return ran


def launches(gpu: Device) -> list[Launch]:
    module = Module(gpu, "ptx", program="p")
    return [module.function(f"k{i}").prepare(1, 32) for i in range(4)]


def test_chain(gpu: Device, stream: Stream, order: list[int]) -> None:
    graph = Graph.build(gpu, launches(gpu), name="g")
    assert not order
    graph.launch(stream)
    graph.launch(stream)
    stream.synchronize()
    assert order == [0, 1, 2, 3] * 2
    assert [str(k) for k in graph.kernels][:2] == ["`k0` of program `p`", "`k1` of program `p`"]
    assert len(graph) == 4


def test_dependencies(fake: FakeBindings, gpu: Device, stream: Stream, order: list[int]) -> None:
    graph = Graph.build(gpu, launches(gpu), [[], [], [1, 1, 0], [0]])
    graph.launch(stream)
    stream.synchronize()
    assert [node.before for node in next(iter(fake.executables.values()))] == [[], [], [1, 0], [0]]
    assert order.index(2) > max(order.index(0), order.index(1))
    assert order.index(3) > order.index(0)
    for bad in ([[], [1], [], []], [[], [-1], [], []], [[]]):
        with pytest.raises(DeviceError, match=r"only wait for earlier|dependencies for 1"):
            Graph.build(gpu, launches(gpu), bad)


def test_arguments_are_those_of_the_last_update(gpu: Device, stream: Stream) -> None:
    x, y = (DeviceBuffer.of(np.ones(4, np.float32), stream) for _ in "xy")
    axpy = Module(gpu, "ptx").function("axpy")
    steps = [axpy.prepare(1, 32, [y, x, 4, a]) for a in (1.0, 10.0)]
    graph = Graph.build(gpu, steps, name="g")
    steps[1].arguments[3] = 100.0
    graph.launch(stream)  # 1 + 10
    graph.update(1)
    graph.launch(stream)  # 1 + 100
    graph.update(0, axpy.prepare(1, 32, [y, x, 2, 1000.0]))
    graph.launch(stream)  # 1000 for two of them, + 100
    assert y.array(np.float32, stream=stream).tolist() == [1213.0, 1213.0, 213.0, 213.0]
    with pytest.raises(IndexError):
        graph.update(2)


def test_capture(fake: FakeBindings, gpu: Device, stream: Stream, order: list[int]) -> None:
    steps = launches(gpu)
    with capture(stream, name="c") as captured:
        with pytest.raises(DeviceError, match="before its capture has ended"):
            _ = captured.graph
        steps[2](stream)
        steps[0](stream)
    stream.synchronize()
    assert not order
    graph = captured.graph
    graph.launch(stream)
    stream.synchronize()
    assert order == [2, 0]
    assert [k.kernel for k in graph.kernels] == ["k2", "k0"]
    with pytest.raises(DeviceError, match="captured and has no launches to update"):
        graph.update(0)
    with capture(stream, name="d") as other:
        steps[1](stream)
        steps[3](stream)
    graph.replace(other.graph)
    del other
    assert [k.kernel for k in graph.kernels] == ["k1", "k3"]
    graph.launch(stream)
    stream.synchronize()
    assert order == [2, 0, 1, 3]
    with pytest.raises(DeviceError, match=r"`c` \(2 kernels\) cannot take what `e` \(4\) does"):
        graph.replace(Graph.build(gpu, steps, name="e"))


def test_capture_that_fails_leaves_nothing(fake: FakeBindings, gpu: Device, stream: Stream, order: list[int]) -> None:
    steps = launches(gpu)

    def fail() -> None:
        with capture(stream):
            steps[0](stream)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fake.destroyed == ["link", "graph"]
    with capture(stream), pytest.raises(DeviceError, match="captured already"), capture(stream):
        pass
    steps[1](stream)
    stream.synchronize()
    assert order == [1]


def test_what_cannot_be_captured_is_refused_before_it_spoils_the_capture(gpu: Device, stream: Stream) -> None:
    buffer = DeviceBuffer.allocate(gpu, 4, stream)
    with capture(stream) as captured:
        for use in (
            stream.synchronize,
            lambda: DeviceBuffer.of(np.ones(4), stream),
            lambda: buffer.array(np.uint8, stream=stream),
        ):
            with pytest.raises(DeviceError, match=r"is captured into a graph, and .*before or after"):
                use()
    captured.graph.launch(stream)


def test_buffers_of_a_graph_live_as_long(gpu: Device, stream: Stream) -> None:
    axpy = Module(gpu, "ptx").function("axpy")
    x, y = (DeviceBuffer.of(np.ones(4, np.float32), stream) for _ in "xy")
    stream.synchronize()
    with capture(stream) as captured:
        scratch = DeviceBuffer.allocate(gpu, 16, stream)
        axpy.launch(1, 32, [y, x, 4, 1.0], stream=stream)
        axpy.launch(1, 32, [scratch, x, 4, 1.0], stream=stream)
        scratch.release()
    del scratch, x
    gc.collect()
    assert gpu.pool.stats().allocated == 3 * 512
    fresh = DeviceBuffer.of(np.zeros(4, np.float32), stream)  # not the graph's memory
    captured.graph.launch(stream)
    assert fresh.array(np.float32, stream=stream).tolist() == [0.0] * 4
    assert y.array(np.float32, stream=stream).tolist() == [2.0] * 4
    del captured
    gc.collect()
    assert gpu.pool.stats().allocated == 2 * 512


def test_attributes_of_nodes(fake: FakeBindings, gpu: Device, order: list[int]) -> None:
    k = Module(gpu, "ptx").function("k0")
    Graph.build(gpu, [k.prepare(8, 32), k.prepare(8, 32, cluster=2, cooperative=True, overlap=True)])
    plain, special = next(iter(fake.graphs.values()))
    assert plain.attributes == {}
    assert set(special.attributes) == {"CLUSTER_DIMENSION", "COOPERATIVE"}
    assert special.attributes["CLUSTER_DIMENSION"].clusterDim.x == 2


def test_fault_in_a_graph_names_its_kernels(gpu: Device, stream: Stream) -> None:
    module = Module(gpu, "ptx", program="decode")
    graph = Graph.build(gpu, [module.function(n).prepare(1, 1) for n in ("nothing", "fault")])
    graph.launch(stream)
    with pytest.raises(KernelFaultError, match="one of 2 kernels") as caught:
        stream.synchronize()
    assert caught.value.kernels == (("decode", "nothing"), ("decode", "fault"))
    with pytest.raises(KernelFaultError, match="lost"):
        graph.launch(stream)


def test_destroyed_with_the_object(fake: FakeBindings, gpu: Device, order: list[int]) -> None:
    graph = Graph.build(gpu, launches(gpu))
    del graph
    gc.collect()
    assert [d for d in fake.destroyed if d != "module" and d != "link"] == ["executable", "graph"]
    fake.fail["cuGraphAddKernelNode"] = 1
    with pytest.raises(DeviceError, match="INVALID_VALUE"):
        Graph.build(gpu, launches(gpu))
    assert [d for d in fake.destroyed if d != "module" and d != "link"] == ["executable", "graph", "graph"]


def test_copy_bandwidth(fake: FakeBindings, gpu: Device) -> None:
    # The fake counts a millisecond for each copy, and has 256 MiB: two buffers of 128 MiB are what fits of 1 GiB each.
    assert copy_bandwidth(gpu, repeats=3) == 2 * (128 << 20) / 1e-3
    assert not fake.live
    assert gpu.pool.stats().reserved == 0
