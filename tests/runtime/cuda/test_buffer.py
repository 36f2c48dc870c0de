from __future__ import annotations

import gc

import numpy as np
import pytest

from heliostat.diagnostics import DeviceError, DeviceMemoryError, KernelFaultError
from heliostat.runtime.cuda import Device, DeviceBuffer, Driver, Module, PinnedBuffer, Stream
from heliostat.runtime.cuda.buffer import STAGING_CHUNK, STAGING_CHUNKS, Staging
from runtime.cuda.fake_bindings import POISON, FakeBindings


@pytest.mark.parametrize("nbytes", [0, 1, 4097, STAGING_CHUNK, 5 * STAGING_CHUNK + 3])
def test_copies_through_staging(fake: FakeBindings, gpu: Device, stream: Stream, nbytes: int) -> None:
    """The fake copies as late as it may, so a piece that is filled again too early would show."""
    data = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    sent = data.copy()
    buffer = DeviceBuffer.of(sent, stream)
    sent[:] = 0  # the array is free once the call returns
    np.testing.assert_array_equal(buffer.array(np.uint8, stream=stream), data)
    assert Staging.of(gpu).nbytes <= STAGING_CHUNKS * STAGING_CHUNK
    assert sum(size for size, _ in fake.pinned.values()) == Staging.of(gpu).nbytes


def test_shapes_and_dtypes_of_downloads(stream: Stream) -> None:
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    buffer = DeviceBuffer.of(data, stream)
    np.testing.assert_array_equal(buffer.array(np.float32, (2, 3, 4), stream=stream), data)
    np.testing.assert_array_equal(buffer.array(np.float32, (3,), stream=stream), data.ravel()[:3])
    with pytest.raises(ValueError, match="do not fit"):
        buffer.array(np.float32, 25, stream=stream)
    with pytest.raises(ValueError, match="not contiguous"):
        buffer.copy_from_host(data.T, stream)
    data.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        buffer.copy_to_host(data, stream)


def test_slices_copies_and_fill(gpu: Device, stream: Stream) -> None:
    a = DeviceBuffer.of(np.arange(10, dtype=np.uint8), stream)
    b = DeviceBuffer.allocate(gpu, 10, stream)
    b.fill(7, stream)
    b.slice(2, 3).copy_from(a.slice(5, 3), stream)
    assert b.array(np.uint8, stream=stream).tolist() == [7, 7, 5, 6, 7, 7, 7, 7, 7, 7]
    assert b.slice(2, 3).slice(1, 2).address == b.address + 3
    for offset, nbytes in ((-1, 2), (9, 2), (0, -1)):
        with pytest.raises(ValueError, match="do not lie"):
            b.slice(offset, nbytes)
    with pytest.raises(ValueError, match="10 bytes do not fit in a buffer of 4"):
        b.slice(0, 4).copy_from(a, stream)


def test_memory_goes_back_with_the_last_slice(gpu: Device, stream: Stream) -> None:
    buffer = DeviceBuffer.allocate(gpu, 1000, stream)
    part = buffer.slice(500, 10)
    del buffer
    gc.collect()
    assert gpu.pool.stats().allocated == 1024
    del part
    gc.collect()
    assert gpu.pool.stats().allocated == 0
    other = DeviceBuffer.allocate(gpu, 1000, stream)
    other.release()
    other.release()
    assert gpu.pool.stats().allocated == 0


def test_use_on_another_stream_delays_reuse(gpu: Device, stream: Stream) -> None:
    other = Stream(gpu)
    buffer = DeviceBuffer.of(np.arange(100, dtype=np.uint8), stream)
    stream.synchronize()
    target = DeviceBuffer.allocate(gpu, 100, other)
    buffer.used_on(other)
    target.copy_from(buffer, other)
    address = buffer.address
    buffer.release()
    again = DeviceBuffer.allocate(gpu, 100, stream)
    assert again.address != address  # `other` has not read it yet
    other.synchronize()
    assert DeviceBuffer.allocate(gpu, 100, stream).address == address


def test_memory_without_a_stream_waits_for_all(gpu: Device, stream: Stream) -> None:
    buffer = DeviceBuffer.allocate(gpu, 100)
    buffer.fill(1, stream)
    address = buffer.address
    buffer.release()
    assert DeviceBuffer.allocate(gpu, 100).address != address
    stream.synchronize()
    assert DeviceBuffer.allocate(gpu, 100).address == address


def test_pinned_memory(fake: FakeBindings, gpu: Device, stream: Stream) -> None:
    pinned = PinnedBuffer(gpu, 40)
    values = pinned.array(np.int32)
    values[:] = range(10)
    buffer = DeviceBuffer.allocate(gpu, 40, stream)
    buffer.copy_from_host(pinned, stream)
    back = PinnedBuffer(gpu, 40)
    buffer.copy_to_host(back, stream)
    out = back.array(np.int32)
    del back, pinned
    gc.collect()
    stream.synchronize()
    assert out.tolist() == list(range(10))
    with pytest.raises(ValueError, match="does not fit"):
        PinnedBuffer(gpu, 40).array(np.int32, 11)
    del out, values
    gc.collect()
    assert not fake.pinned
    fake.fail["cuMemHostAlloc"] = 2
    with pytest.raises(DeviceMemoryError, match=r"cannot lock 5\.0 MB of host memory .*ulimit"):
        PinnedBuffer(gpu, 5_000_000)


def test_out_of_memory_and_after(gpu: Device, stream: Stream) -> None:
    with pytest.raises(DeviceMemoryError, match="asked for") as caught:
        DeviceBuffer.allocate(gpu, 300 << 20, stream)
    assert caught.value.requested == 300 << 20
    assert set(DeviceBuffer.allocate(gpu, 100, stream).array(np.uint8, stream=stream)) == {POISON}


def test_stream_of_another_device_is_refused(stream: Stream) -> None:
    fake = FakeBindings(devices=2)
    driver = Driver(fake)
    one, two = Device(0, driver), Device(1, driver)
    buffer = DeviceBuffer.allocate(one, 10)
    with pytest.raises(DeviceError, match="a buffer of cuda:0 was given a stream of cuda:1"):
        buffer.fill(0, Stream(two))


@pytest.mark.parametrize("peers", [True, False])
def test_copies_between_devices(peers: bool) -> None:
    """Both reach each other's memory before the first copy, where the machine can; a second library may have asked."""
    fake = FakeBindings(devices=2, memory=64 << 20)
    fake.peers = peers
    driver = Driver(fake)
    one, two = Device(0, driver), Device(1, driver)
    fake.enabled += [two.context] * peers
    streams = Stream(one), Stream(two)
    x = np.arange(9, dtype=np.int32)
    source, there = DeviceBuffer.of(x, streams[0]), DeviceBuffer.allocate(two, 36, streams[1])
    streams[0].synchronize()
    for _ in range(2):
        there.copy_from(source, streams[1])
    assert there.array(np.int32, stream=streams[1]).tolist() == x.tolist()
    back = DeviceBuffer.allocate(one, 36, streams[0])
    back.copy_from(there, streams[0])
    assert back.array(np.int32, stream=streams[0]).tolist() == x.tolist()
    assert fake.calls.count("cuCtxEnablePeerAccess") == 2 * peers
    assert set(fake.enabled) == ({one.context, two.context} if peers else set())


def test_buffers_of_a_lost_device_die_in_silence(gpu: Device, stream: Stream) -> None:
    buffer = DeviceBuffer.allocate(gpu, 10, stream)
    Module(gpu, "ptx").function("fault").launch(1, 1, [], stream=stream)
    with pytest.raises(KernelFaultError):
        buffer.array(np.uint8, stream=stream)
    with pytest.raises(KernelFaultError, match="lost"):
        DeviceBuffer.allocate(gpu, 10, stream)
    buffer.release()
    del buffer, stream
    gc.collect()
