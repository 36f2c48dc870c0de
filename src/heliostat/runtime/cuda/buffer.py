"""Memory of a device, pinned memory of the host, and copies between the two. No shapes, no dtypes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...diagnostics import DeviceError, DeviceMemoryError
from .device import Device
from .pool import Block
from .stream import Event, Stream

STAGING_CHUNK = 8 << 20
"""Bytes of one piece of a staged copy: large enough for the full rate of the bus, small enough to overlap two."""

STAGING_CHUNKS = 4
"""Pieces that a device keeps: the most pinned memory that staging takes is the product of both."""


class DeviceBuffer:
    """`nbytes` bytes at `address` on `device`. Slices share the allocation, which goes back to the pool with the last.

    A buffer belongs to the stream it was allocated for. Before work on another stream uses it, tell `used_on`.
    """

    __slots__ = ("_owner", "address", "device", "nbytes")

    def __init__(self, device: Device, address: int, nbytes: int, owner: object = None) -> None:
        """A view of memory that `owner` keeps alive. To allocate, use `DeviceBuffer.allocate`."""
        self.device = device
        self.address = address
        self.nbytes = nbytes
        self._owner = owner

    @classmethod
    def allocate(cls, device: Device, nbytes: int, stream: Stream | None = None) -> DeviceBuffer:
        """Undefined bytes, aligned to 512, from the device's pool. Without a stream the memory is for all streams, as
        weights are, and handed out again once all that they were given before its release is done.

        Raises DeviceMemoryError, and what `Device.check` raises."""
        device.check()
        block = device.pool.allocate(nbytes, stream.key if stream is not None else 0)
        return cls(device, block.address, nbytes, _Allocation(device, block))

    @classmethod
    def of(cls, array: npt.NDArray[Any], stream: Stream) -> DeviceBuffer:
        """A copy of an array's bytes. The array may be changed once this returns. Raises DeviceMemoryError."""
        buffer = cls.allocate(stream.device, array.nbytes, stream)
        buffer.copy_from_host(array, stream)
        return buffer

    def slice(self, offset: int, nbytes: int) -> DeviceBuffer:
        """A part of this memory, which shares its owner. Raises ValueError if it does not lie inside."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"bytes {offset} to {offset + nbytes} do not lie in a buffer of {self.nbytes}")
        return DeviceBuffer(self.device, self.address + offset, nbytes, self._owner)

    def used_on(self, stream: Stream) -> None:
        """Say that `stream` uses the memory too: it is handed out again only after that stream's work at release."""
        if isinstance(self._owner, _Allocation):
            self._owner.streams.add(stream)

    def copy_from_host(self, source: npt.NDArray[Any] | PinnedBuffer, stream: Stream) -> None:
        """Copy host bytes to the start of this buffer, in the order of `stream`.

        From a PinnedBuffer the host does not wait, and the source must not change until the stream is synchronized.
        An array is staged through pinned memory and may change once this returns.
        Raises ValueError if the bytes do not fit or the array is not C-contiguous.
        """
        self._own(stream)
        if isinstance(source, PinnedBuffer):
            self._fit(source.nbytes)
            stream.keep((source, self._owner))
            self.device.call("cuMemcpyHtoDAsync", self.address, source.address, source.nbytes, stream.handle)
            return
        stream.not_captured("copying an array")
        data = _bytes(source)
        self._fit(data.nbytes)
        staging = Staging.of(self.device)
        for at in range(0, data.nbytes, STAGING_CHUNK):
            part = data[at : at + STAGING_CHUNK]
            with staging.piece() as piece:
                piece.memory.array(np.uint8, part.nbytes)[:] = part
                self.device.call(
                    "cuMemcpyHtoDAsync", self.address + at, piece.memory.address, part.nbytes, stream.handle
                )
                piece.event.record(stream)

    def copy_to_host(self, target: npt.NDArray[Any] | PinnedBuffer, stream: Stream) -> None:
        """Copy the first `target.nbytes` bytes to the host, in the order of `stream`.

        Into a PinnedBuffer the host does not wait: the bytes are there once the stream is synchronized. Into an array
        they are there when this returns. Raises ValueError if there are not as many bytes, KernelFaultError.
        """
        self._own(stream)
        if isinstance(target, PinnedBuffer):
            self._fit(target.nbytes)
            stream.keep((target, self._owner))
            self.device.call("cuMemcpyDtoHAsync", target.address, self.address, target.nbytes, stream.handle)
            return
        stream.not_captured("copying to an array")
        if not target.flags.writeable:
            raise ValueError("the array to copy into is read-only")
        data = _bytes(target)
        self._fit(data.nbytes)
        staging = Staging.of(self.device)
        for at in range(0, data.nbytes, STAGING_CHUNK):
            part = data[at : at + STAGING_CHUNK]
            with staging.piece() as piece:
                self.device.call(
                    "cuMemcpyDtoHAsync", piece.memory.address, self.address + at, part.nbytes, stream.handle
                )
                piece.event.record(stream)
                piece.event.synchronize()
                part[:] = piece.memory.array(np.uint8, part.nbytes)

    def copy_from(self, source: DeviceBuffer, stream: Stream) -> None:
        """Copy device bytes to the start of this buffer, in the order of `stream`; also between two devices.

        Raises ValueError if they do not fit.
        """
        self._fit(source.nbytes)
        if source.device is self.device:
            self._own(stream)
            self.device.call("cuMemcpyDtoDAsync", self.address, source.address, source.nbytes, stream.handle)
            return
        self.device.reach(source.device)
        peers = (self.address, self.device.context, source.address, source.device.context)
        stream.keep((self._owner, source._owner))
        stream.device.call("cuMemcpyPeerAsync", *peers, source.nbytes, stream.handle)

    def fill(self, byte: int, stream: Stream) -> None:
        """Set every byte to one value, 0 to 255, in the order of `stream`."""
        self._own(stream)
        if self.nbytes:
            self.device.call("cuMemsetD8Async", self.address, byte, self.nbytes, stream.handle)

    def array(self, dtype: npt.DTypeLike, shape: Sequence[int] | int = -1, *, stream: Stream) -> npt.NDArray[Any]:
        """The content as a new host array, after the work of `stream`; shape -1 takes all of it.

        Raises ValueError if the shape needs more bytes than there are, KernelFaultError if a kernel failed.
        """
        kind = np.dtype(dtype)
        if isinstance(shape, int):
            shape = (self.nbytes // kind.itemsize if shape == -1 else shape,)
        out = np.empty(tuple(shape), kind)
        self.copy_to_host(out, stream)
        stream.synchronize()
        return out

    def release(self) -> None:
        """Give the memory back now, for all slices. Work given to its stream before may still use it."""
        if isinstance(self._owner, _Allocation):
            self._owner.release()
        self._owner = None

    def _own(self, stream: Stream) -> None:
        if stream.device is not self.device:
            raise DeviceError(f"a buffer of {self.device} was given a stream of {stream.device}")

    def _fit(self, nbytes: int) -> None:
        if nbytes > self.nbytes:
            raise ValueError(f"{nbytes} bytes do not fit in a buffer of {self.nbytes}")

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        return f"DeviceBuffer({self.nbytes} bytes at {self.address:#x} on {self.device})"


class _Allocation:
    """A block of the pool, given back once: by `release`, or with the last buffer that holds it."""

    __slots__ = ("__weakref__", "_block", "_device", "streams")

    def __init__(self, device: Device, block: Block) -> None:
        self._device = device
        self._block: Block | None = block
        self.streams: set[Stream] = set()

    def release(self) -> None:
        block, self._block = self._block, None
        if block is None or self._device.broken is not None:  # a lost context has freed everything
            return
        streams = self.streams if block.stream else set(self._device.streams)
        for stream in list(self._device.streams):
            if stream.captured is not None and (stream in streams or stream.key == block.stream):
                heir = _Allocation(self._device, block)  # the graph's launches may use it: it lives as long as they
                heir.streams = self.streams
                stream.keep(heir)
                return
        fences: list[Event] = []
        for stream in streams:
            if stream.key != block.stream:
                event = Event(self._device, timing=False)
                event.record(stream)
                fences.append(event)
        self._device.pool.free(block, fences)

    def __del__(self) -> None:
        try:
            self.release()
        except Exception:  # a finalizer has nobody to tell; the block stays reserved
            return


class PinnedBuffer:
    """Page-locked host memory, which the device reads and writes by itself. Costly to make: keep and reuse it."""

    def __init__(self, device: Device, nbytes: int) -> None:
        """Raises DeviceMemoryError if the system does not lock as many pages, ValueError if nbytes is negative."""
        if nbytes < 0:
            raise ValueError(f"nbytes must not be negative, got {nbytes}")
        self.device = device
        self.nbytes = nbytes
        try:
            self.address = int(device.call("cuMemHostAlloc", max(nbytes, 1), 1))  # CU_MEMHOSTALLOC_PORTABLE
        except DeviceMemoryError:
            raise DeviceMemoryError(
                f"the system cannot lock {nbytes / 1e6:.1f} MB of host memory",
                requested=nbytes,
                help="free memory of the host, or raise the limit on locked memory (`ulimit -l`)",
            ) from None
        self._bytes = _Pinned(device, self.address, nbytes)

    def on_device(self) -> DeviceBuffer:
        """The same memory for kernels, which write to it over the bus: addresses of both sides are one. What they wrote
        is there for the host once an event behind them is done."""
        return DeviceBuffer(self.device, self.address, self.nbytes, self)

    def array(self, dtype: npt.DTypeLike, shape: Sequence[int] | int = -1) -> npt.NDArray[Any]:
        """A NumPy view from the start, which keeps the memory alive; shape -1 takes all of it.

        Raises ValueError if the shape needs more bytes than there are.
        """
        kind = np.dtype(dtype)
        if isinstance(shape, int):
            shape = (self.nbytes // kind.itemsize if shape == -1 else shape,)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if count < 0 or count * kind.itemsize > self.nbytes:
            raise ValueError(f"{kind} array of shape {tuple(shape)} does not fit in {self.nbytes} bytes")
        return self._bytes.view()[: count * kind.itemsize].view(kind).reshape(tuple(shape))

    def __len__(self) -> int:
        return self.nbytes


class _Pinned:
    """Keeps pinned memory while an array looks at it."""

    def __init__(self, device: Device, address: int, nbytes: int) -> None:
        self.__array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
        self._release = weakref.finalize(self, device.quietly, "cuMemFreeHost", address)
        self._release.atexit = False

    def view(self) -> npt.NDArray[np.uint8]:
        return np.asarray(self)


class _Piece:
    """One pinned piece of the staging memory, and the event after which it is free again."""

    __slots__ = ("_home", "event", "memory")

    def __init__(self, home: Staging) -> None:
        self._home = home
        self.memory = PinnedBuffer(home.device, STAGING_CHUNK)
        self.event = Event(home.device, timing=False)

    def __enter__(self) -> _Piece:
        return self

    def __exit__(self, *error: object) -> None:
        self._home.give_back(self)


class Staging:
    """The pinned pieces of one device, at most STAGING_CHUNKS, made when they are first needed."""

    _all: ClassVar[weakref.WeakKeyDictionary[Device, Staging]] = weakref.WeakKeyDictionary()
    _all_lock = threading.Lock()

    def __init__(self, device: Device) -> None:
        self._device = weakref.ref(device)
        self._condition = threading.Condition()
        self._ready: list[_Piece] = []
        self._made = 0

    @classmethod
    def of(cls, device: Device) -> Staging:
        """The staging memory of a device; the same object each time."""
        with cls._all_lock:
            found = cls._all.get(device)
            if found is None:
                found = cls._all[device] = cls(device)
            return found

    @property
    def device(self) -> Device:
        """The device that the pieces are for."""
        found = self._device()
        assert found is not None
        return found

    @property
    def nbytes(self) -> int:
        """Pinned memory held now."""
        return self._made * STAGING_CHUNK

    def piece(self) -> _Piece:
        """A piece that no copy uses any more; waits for the oldest if all are in use."""
        with self._condition:
            make = not self._ready or (not self._ready[0].event.done() and self._made < STAGING_CHUNKS)
            if make and self._made < STAGING_CHUNKS:
                piece = _Piece(self)
                self._made += 1
                return piece
            while not self._ready:
                self._condition.wait()
            piece = self._ready.pop(0)
        piece.event.synchronize()
        return piece

    def give_back(self, piece: _Piece) -> None:
        """Take a piece back; its event says when it is free."""
        with self._condition:
            self._ready.append(piece)
            self._condition.notify()


def _bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if not array.flags.c_contiguous:
        raise ValueError(f"array of shape {array.shape} and strides {array.strides} is not contiguous")
    return array.reshape(-1).view(np.uint8)
