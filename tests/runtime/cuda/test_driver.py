from __future__ import annotations

import os
import pickle
import sys
import threading
import types
from collections.abc import Callable

import pytest

from heliostat.diagnostics import DeviceMemoryError, DeviceUnavailableError, KernelFaultError
from heliostat.runtime.cuda import CudaError, Device, DeviceBuffer, Driver, Graph, Module, Stream, device_count
from heliostat.runtime.cuda.driver import load_bindings
from heliostat.settings import override
from runtime.cuda.fake_bindings import FakeBindings


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))  # no package: it has no `bindings`
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.delitem(sys.modules, "cuda.bindings.driver", raising=False)
    with pytest.raises(DeviceUnavailableError, match=r"need the package cuda-bindings .*heliostat\[cuda\]"):
        load_bindings()


def test_without_a_driver() -> None:
    bindings = FakeBindings()

    class Missing(FakeBindings):
        def __getattribute__(self, name: str) -> object:
            if name == "cuInit":

                def fail(*args: object) -> object:
                    raise RuntimeError('"cuda" is an NVIDIA driver library and can only be found via system search.')

                return fail
            return super().__getattribute__(name)

    with pytest.raises(DeviceUnavailableError, match=r"driver cannot be used: .*nvidia-smi"):
        Driver(Missing())
    assert Driver(bindings).version == 12080


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (100, "no device .*nvidia-smi"),
        (34, "stub"),
        (304, "container"),
        (803, "reboot"),
        (802, "fabric manager"),
        (999, "text of 999"),
    ],
)
def test_driver_that_does_not_start(code: int, says: str) -> None:
    fake = FakeBindings()
    fake.fail["cuInit"] = code
    with pytest.raises(DeviceUnavailableError, match=says):
        Driver(fake)


def test_driver_too_old() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"serves CUDA 11\.4, and 12\.0 is the least .*525"):
        Driver(FakeBindings(version=11040))


def test_function_that_driver_or_bindings_lack(gpu: Device) -> None:
    with pytest.raises(DeviceUnavailableError, match="cuda-bindings has no cuFuture"):
        gpu.call("cuFuture")

    def absent(*args: object) -> object:
        raise RuntimeError('Function "cuNew" not found')

    gpu.driver.bindings.__dict__["cuNew"] = absent
    gpu.driver._functions["cuNew"] = absent
    with pytest.raises(DeviceUnavailableError, match=r"driver has no cuNew.*update the NVIDIA driver"):
        gpu.call("cuNew")


def test_codes_become_types(fake: FakeBindings, gpu: Device) -> None:
    fake.fail["cuMemGetInfo"] = 1
    with pytest.raises(CudaError, match=r"text of 1 \(CUDA_ERROR_INVALID_VALUE from cuMemGetInfo\)") as caught:
        gpu.memory()
    assert caught.value.code == 1
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.message) == (1, caught.value.message)
    fake.fail["cuMemGetInfo"] = 2
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        gpu.memory()
    fake.fail["cuMemGetInfo"] = 12345
    with pytest.raises(CudaError, match="CUresult 12345"):
        gpu.memory()
    gpu.check()  # none of these is a fault


def test_device_that_is_not_visible(fake: FakeBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(fake)
    assert device_count(driver) == 1
    with pytest.raises(DeviceUnavailableError, match=r"cuda:3 does not exist; devices of this process: cuda:0"):
        Device(3, driver)
    with pytest.raises(DeviceUnavailableError, match="cuda:-1 does not exist"):
        Device(-1, driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    fake.devices = 0
    with pytest.raises(DeviceUnavailableError, match="CUDA_VISIBLE_DEVICES='7' hides"):
        Driver(fake)


def test_properties(gpu: Device) -> None:
    assert (gpu.name, gpu.compute_capability, gpu.sm_count) == ("Fake GPU", (9, 0), 132)
    assert (gpu.total_memory, gpu.l2_bytes, gpu.max_shared_bytes) == (256 << 20, 50 << 20, 227 << 10)
    assert gpu.memory() == (256 << 20, 256 << 20)
    assert str(gpu) == "cuda:0"
    with pytest.raises(DeviceUnavailableError, match="no device attribute colour"):
        gpu.attribute("colour")


def without_memory(fake: FakeBindings, monkeypatch: pytest.MonkeyPatch, name: str, room: bool) -> None:
    """Let a function find no memory, with `room` until a segment is given back."""
    fake.fail[name] = 2
    release = type(fake).cuMemFree

    def free(address: int) -> None:
        release(fake, address)
        if room:
            fake.fail.pop(name, None)

    monkeypatch.setattr(fake, "cuMemFree", free)


CALLS: dict[str, Callable[[Device, Stream], object]] = {
    "cuModuleLoadDataEx": lambda gpu, stream: Module(gpu, "ptx"),
    "cuStreamCreateWithPriority": lambda gpu, stream: Stream(gpu),
    "cuLaunchKernel": lambda gpu, stream: Module(gpu, "ptx").function("nothing").launch(1, 32, [], stream=stream),
    "cuGraphInstantiate": lambda gpu, stream: Graph.build(gpu, [Module(gpu, "ptx").function("nothing").prepare(1, 32)]),
    "cuGraphLaunch": lambda gpu, stream: Graph.build(
        gpu, [Module(gpu, "ptx").function("nothing").prepare(1, 32)], name="g"
    ).launch(stream),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_find_no_memory_get_what_the_pool_keeps(
    fake: FakeBindings, gpu: Device, stream: Stream, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The pool is emptied and the call made once more; without room the error says where the memory is, and the next
    call finds a device that works."""
    DeviceBuffer.allocate(gpu, 8 << 20, stream).release()
    assert gpu.pool.stats().pooled
    without_memory(fake, monkeypatch, name, room=True)
    CALLS[name](gpu, stream)
    assert gpu.pool.stats().pooled == 0

    DeviceBuffer.allocate(gpu, 8 << 20, stream).release()
    held = DeviceBuffer.allocate(gpu, 3 << 20, stream)
    without_memory(fake, monkeypatch, name, room=False)
    with pytest.raises(DeviceMemoryError, match=rf"cuda:0 is out of memory: {name}.*free are .*GB.*pooled") as caught:
        CALLS[name](gpu, stream)
    assert caught.value.free == gpu.free_bytes()
    assert caught.value.pooled == gpu.pool.stats().pooled
    fake.fail.clear()
    CALLS[name](gpu, stream)
    stream.synchronize()
    held.release()


def test_a_fault_that_the_second_try_reports(
    fake: FakeBindings, gpu: Device, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the kernel's that ran before, and the device is lost, as by a first try."""
    DeviceBuffer.allocate(gpu, 8 << 20, stream).release()
    without_memory(fake, monkeypatch, "cuModuleLoadDataEx", room=False)
    free = fake.cuMemFree
    monkeypatch.setattr(fake, "cuMemFree", lambda address: (free(address), fake.fail.update(cuModuleLoadDataEx=700))[0])
    with pytest.raises(KernelFaultError, match="cuda:0"):
        Module(gpu, "ptx")
    assert gpu.broken is not None


def test_context_is_current_in_each_thread(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    launch = Module(gpu, "ptx").function("nothing").prepare(1, 32)
    launch(stream)
    fake.calls.clear()
    launch(stream)
    assert fake.calls == ["cuLaunchKernel"]
    thread = threading.Thread(target=launch, args=(stream,))
    thread.start()
    thread.join()
    assert fake.calls == ["cuLaunchKernel", "cuCtxSetCurrent", "cuLaunchKernel"]


def test_fault_names_the_only_kernel_and_loses_the_device(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    module = Module(gpu, "ptx", program="decode")
    module.function("nothing").launch(1, 32, [], stream=stream)
    stream.synchronize()  # known to be done: no longer a suspect
    module.function("fault").launch(1, 32, [], stream=stream)
    with pytest.raises(KernelFaultError, match="kernel `fault` of program `decode` read or wrote an illegal") as caught:
        stream.synchronize()
    assert caught.value.kernels == (("decode", "fault"),)
    assert pickle.loads(pickle.dumps(caught.value)).kernels == caught.value.kernels
    calls = len(fake.calls)
    for use in (
        stream.synchronize,
        gpu.synchronize,
        gpu.memory,
        lambda: Stream(gpu),
        lambda: module.function("nothing"),
    ):
        with pytest.raises(KernelFaultError, match=r"cuda:0 is lost since an earlier fault.*`fault`.*restart"):
            use()
    assert len(fake.calls) == calls  # nothing is asked of a lost context


def test_fault_lists_suspects_of_all_streams(gpu: Device, stream: Stream) -> None:
    module = Module(gpu, "ptx", program="decode")
    module.function("nothing").launch(1, 32, [], stream=stream)
    other = Stream(gpu)
    module.function("fault").launch(1, 32, [], stream=other)
    with pytest.raises(KernelFaultError, match=r"one of 2 kernels .*HELIOSTAT_CUDA_BLOCKING=1 tells which") as caught:
        gpu.synchronize()
    assert set(caught.value.kernels) == {("decode", "nothing"), ("decode", "fault")}


def test_blocking_launches_name_the_kernel(gpu: Device, stream: Stream) -> None:
    with override(cuda_blocking=True):
        module = Module(gpu, "ptx", program="decode")
        module.function("nothing").launch(1, 32, [], stream=stream)
        with pytest.raises(KernelFaultError) as caught:
            module.function("fault").launch(1, 32, [], stream=stream)
    assert caught.value.kernels == (("decode", "fault"),)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_gets_an_error(gpu: Device, stream: Stream) -> None:
    launch = Module(gpu, "ptx").function("nothing").prepare(1, 32)
    launch(stream)
    pid = os.fork()
    if pid == 0:
        refused = 0
        for use in (lambda: launch(stream), stream.synchronize, gpu.memory, lambda: gpu.driver.call("cuInit", 0)):
            try:
                use()
            except DeviceUnavailableError as error:
                refused += "forked" in str(error) and "spawn" in str(error)
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    launch(stream)  # the parent goes on


def test_close_releases_context_and_pool(fake: FakeBindings, gpu: Device) -> None:
    gpu.pool.free(gpu.pool.allocate(100))
    gpu.close()
    gpu.close()
    assert fake.destroyed == ["context"]
    assert not fake.live
    with pytest.raises(DeviceUnavailableError, match="closed"):
        gpu.memory()
