from __future__ import annotations

import gc

import pytest

from heliostat.diagnostics import DeviceError
from heliostat.runtime.cuda import Device, DeviceBuffer, Driver, Event, Module, Stream
from runtime.cuda.fake_bindings import FakeBindings


def test_done_and_synchronize(gpu: Device, stream: Stream) -> None:
    assert stream.done()
    Module(gpu, "ptx").function("nothing").launch(1, 1, [], stream=stream)
    assert not stream.done()
    event = stream.record()
    assert not event.done()
    event.synchronize()
    assert event.done()
    assert stream.done()


def test_events_order_streams(gpu: Device, stream: Stream) -> None:
    other = Stream(gpu)
    buffer, copy = DeviceBuffer.allocate(gpu, 4, stream), DeviceBuffer.allocate(gpu, 4, other)
    buffer.fill(3, stream)
    other.wait(stream.record(Event(gpu, timing=False)))
    copy.copy_from(buffer, other)
    assert copy.array("u1", stream=other).tolist() == [3, 3, 3, 3]  # ran `stream` first


def test_elapsed_time_and_events_without_it(gpu: Device, stream: Stream) -> None:
    first = stream.record()
    Module(gpu, "ptx").function("nothing").launch(1, 1, [], stream=stream)
    assert stream.record().elapsed_ms(first) == 1.0  # the fake counts a millisecond for each piece of work
    with pytest.raises(DeviceError, match="timing=True"):
        Event(gpu, timing=False).elapsed_ms(first)


def test_event_of_another_device_is_refused() -> None:
    driver = Driver(FakeBindings(devices=2))
    with pytest.raises(DeviceError, match="event of cuda:0 cannot be recorded on a stream of cuda:1"):
        Event(Device(0, driver)).record(Stream(Device(1, driver)))


def test_released_with_the_object(fake: FakeBindings, gpu: Device) -> None:
    stream, event = Stream(gpu), Event(gpu)
    del stream, event
    gc.collect()
    assert sorted(fake.destroyed) == ["event", "stream"]


def test_what_is_kept_lives_until_synchronize(stream: Stream) -> None:
    class Thing:
        pass

    thing = Thing()
    stream.keep(thing)
    count = len(gc.get_referrers(thing))
    stream.synchronize()
    assert len(gc.get_referrers(thing)) == count - 1
