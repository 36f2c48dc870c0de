from __future__ import annotations

import gc

import numpy as np
import pytest

from heliostat.diagnostics import CompileError, DeviceError, DeviceUnavailableError
from heliostat.runtime.cuda import Device, DeviceBuffer, Module, Stream
from runtime.cuda.fake_bindings import FakeBindings, Kernel


def test_launch(gpu: Device, stream: Stream) -> None:
    axpy = Module(gpu, "ptx").function("axpy")
    x = DeviceBuffer.of(np.arange(1000, dtype=np.float32), stream)
    y = DeviceBuffer.of(np.ones(1000, np.float32), stream)
    axpy.launch((2, 2), (16, 4, 4), [y, x, 1000, 0.5], stream=stream)
    axpy.launch(4, 256, [y.slice(40, 400), x, np.int32(100), np.float32(2)], stream=stream)
    want = 1 + np.arange(1000, dtype=np.float32) / 2
    want[10:110] += 2 * np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(y.array(np.float32, stream=stream), want)


def test_prepared_launch_sees_changed_arguments(gpu: Device, stream: Stream) -> None:
    x, y = (DeviceBuffer.of(np.ones(8, np.float32), stream) for _ in "xy")
    step = Module(gpu, "ptx").function("axpy").prepare(1, 32, [y, x, 8, 1.0])
    step(stream)
    step.arguments[3] = 10.0
    step.arguments[2] = 4
    step(stream)  # the launch before keeps its arguments: they are copied when it is given
    assert y.array(np.float32, stream=stream).tolist() == [12.0] * 4 + [2.0] * 4
    with pytest.raises(DeviceError, match="argument 2 of `axpy`"):
        step.arguments[2] = 1 << 40
    assert step.arguments[2] == 4


def test_launch_is_one_call(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    step = Module(gpu, "ptx").function("nothing").prepare(1, 32)
    fake.calls.clear()
    for _ in range(3):
        step(stream)
    assert fake.calls == ["cuLaunchKernel"] * 3


def test_cooperative_clusters_and_overlap(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    function = Module(gpu, "ptx").function("nothing")
    step = function.prepare(64, 128, cooperative=True, cluster=(4, 4), overlap=True, shared=1024)
    step(stream)
    other = Stream(gpu)
    step(other)
    config = fake.configs[0]
    assert (config.gridDimX, config.gridDimY, config.blockDimX, config.sharedMemBytes) == (64, 1, 128, 1024)
    got = {a.id: a.value for a in config.attrs}
    assert set(got) == {"COOPERATIVE", "CLUSTER_DIMENSION", "PROGRAMMATIC_STREAM_SERIALIZATION"}
    cluster = got["CLUSTER_DIMENSION"].clusterDim
    assert (cluster.x, cluster.y, cluster.z) == (4, 4, 1)
    assert config.hStream == other.handle
    assert fake.kernels["nothing"].attributes["NON_PORTABLE_CLUSTER_SIZE_ALLOWED"] == 1  # 16 blocks


def test_large_shared_memory_is_opted_into(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    function = Module(gpu, "ptx").function("nothing")
    function.launch(1, 32, [], stream=stream, shared=100 << 10)
    assert fake.kernels["nothing"].attributes["MAX_DYNAMIC_SHARED_SIZE_BYTES"] == 100 << 10
    with pytest.raises(DeviceError, match="asks for 307200 bytes of shared memory and cuda:0 has 232448"):
        function.prepare(1, 32, shared=300 << 10)


def test_sizes_that_the_device_refuses(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    fake.kernels["nothing"].attributes.update(MAX_THREADS_PER_BLOCK=256, NUM_REGS=255)
    function = Module(gpu, "ptx", program="p").function("nothing")
    with pytest.raises(DeviceError, match=r"`nothing` of program `p` cannot be launched .*at most 256 threads of 255"):
        function.launch(1, 512, [], stream=stream)
    for bad in (0, (1, 0), (1, 2, 3, 4), ()):
        with pytest.raises(DeviceError, match="grid must be one to three positive sizes"):
            function.prepare(bad, 32)
    function.launch(1, 256, [], stream=stream)
    stream.synchronize()


def test_function_attributes(fake: FakeBindings, gpu: Device) -> None:
    attributes = {"NUM_REGS": 77, "LOCAL_SIZE_BYTES": 16, "SHARED_SIZE_BYTES": 2048, "MAX_THREADS_PER_BLOCK": 768}
    fake.kernels["k"] = Kernel(lambda *launch: None, (8, 2), attributes)
    k = Module(gpu, "ptx").function("k")
    assert (k.registers, k.local_bytes, k.shared_bytes, k.max_threads) == (77, 16, 2048, 768)
    assert (k.parameter_sizes, k.max_dynamic_shared, k.blocks_per_sm(512)) == ((8, 2), 48 << 10, 4)


def test_parameters_are_counted_without_an_error(fake: FakeBindings, gpu: Device) -> None:
    """Tools that watch the driver take a call that fails for a fault of the program."""
    fake.kernels["k"] = Kernel(lambda *launch: None, (8, 2))
    k = Module(gpu, "ptx").function("k")
    assert fake.calls.count("cuFuncGetParamInfo") == 2

    def absent(*args: object) -> object:
        raise RuntimeError('Function "cuFuncGetParamCount" not found')

    gpu.driver._functions["cuFuncGetParamCount"] = absent
    assert Module(gpu, "ptx").function("k").parameter_sizes == k.parameter_sizes == (8, 2)


def test_drivers_that_do_not_tell_parameters(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    def absent(*args: object) -> object:
        raise RuntimeError('Function "cuFuncGetParamInfo" not found')

    gpu.driver._functions["cuFuncGetParamInfo"] = absent
    axpy = Module(gpu, "ptx").function("axpy")
    assert axpy.parameter_sizes is None
    x, y = (DeviceBuffer.of(np.ones(8, np.float32), stream) for _ in "xy")
    axpy.launch(1, 32, [y, x, np.int32(8), np.float32(3)], stream=stream)
    assert y.array(np.float32, stream=stream).tolist() == [4.0] * 8


def test_names_that_are_not_there(gpu: Device) -> None:
    with pytest.raises(CompileError, match="program `p` has no kernel `axpby`"):
        Module(gpu, "ptx", program="p").function("axpby")


def test_functions_keep_the_module(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    step = Module(gpu, "ptx").function("nothing").prepare(1, 1)
    gc.collect()
    assert "module" not in fake.destroyed
    step(stream)
    del step
    gc.collect()
    assert "module" in fake.destroyed


def test_ptx_that_does_not_assemble(fake: FakeBindings, gpu: Device) -> None:
    ptx = ".version 8.0\n.target sm_90\n  frob.f32 %f1;\n"
    fake.link_log = ("", "ptxas application ptx input, line 3; error   : Not a name of any known instruction: 'frob'")
    with pytest.raises(CompileError, match="program `p` does not assemble for cuda:0") as caught:
        Module(gpu, ptx, program="p")
    assert "known instruction" in caught.value.message
    assert "  3 |   frob.f32 %f1;" in caught.value.message
    assert fake.destroyed == ["link"]


def test_ptx_newer_than_the_driver(fake: FakeBindings, gpu: Device) -> None:
    fake.fail["cuLinkAddData"] = 222
    with pytest.raises(DeviceUnavailableError, match=r"CUDA 12\.8\) is too old for PTX 9\.3, which program `p`"):
        Module(gpu, "// made by hand\n.version 9.3\n.target sm_90\n", program="p")
