"""NVIDIA GPUs through the CUDA driver: devices, memory, streams, kernels, graphs. Needs the extra `[cuda]`."""

from .arguments import Argument, Arguments
from .buffer import DeviceBuffer, PinnedBuffer
from .device import Device, KernelName, device
from .driver import CudaError, Driver, device_count
from .module import Function, Launch, Module
from .pool import Pool, PoolStats
from .stream import Event, Stream

__all__ = [
    "Argument",
    "Arguments",
    "CudaError",
    "Device",
    "DeviceBuffer",
    "Driver",
    "Event",
    "Function",
    "KernelName",
    "Launch",
    "Module",
    "PinnedBuffer",
    "Pool",
    "PoolStats",
    "Stream",
    "device",
    "device_count",
]
