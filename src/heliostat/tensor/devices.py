"""Which device a tensor lies on: `Device`, the default device, and values placed on one."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, UnsupportedError
from ..ir.graph import Value
from ..runtime.buffer import Buffer
from ..session.devices import device_name, gpu_engine
from . import lazy
from .lazy import META

_default: ContextVar[str | None] = ContextVar("heliostat_device", default=None)


class Current:
    """number: of the GPU that `cuda` without a number means."""

    number = 0


class Device:
    """Where tensors lie and are computed: cpu, cuda with the number of a GPU, or meta.

    `Device("cuda")` is the current GPU, by `cuda.set_device`. As a context manager it is the default device of
    functions that make tensors. Raises UnsupportedError for other names; that a GPU is there shows when it is used.
    `Device("meta")` is that of tensors without data: functions of them find shapes and dtypes, and compute nothing."""

    __slots__ = ("_before", "index", "name", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, int) and not isinstance(type, bool):
            type = f"cuda:{type}"
        text = str(type)
        if index is not None:
            if ":" in text:
                raise UnsupportedError(f"device {text!r} has a number already, found {index} beside it")
            text = f"{text}:{index}"
        self.name = name_of(text)
        self.type, _, number = self.name.partition(":")
        self.index: int | None = int(number) if number else None
        self._before: list[Token[str | None]] = []

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Device):
            return self.name == other.name
        if not isinstance(other, str):
            return NotImplemented
        try:
            return self.name == name_of(other)
        except UnsupportedError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{number})"

    def __reduce__(self) -> Any:
        return Device, (self.name,)

    def __enter__(self) -> Device:
        self._before.append(_default.set(name_of(self)))
        return self

    def __exit__(self, *rest: object) -> None:
        _default.reset(self._before.pop())


def name_of(device: Any) -> str:
    """The name of a device given as such, by name or by the number of a GPU. Raises UnsupportedError."""
    if isinstance(device, Device):
        return device.name
    if isinstance(device, int) and not isinstance(device, bool):
        return device_name(f"cuda:{device}")
    if not isinstance(device, str):
        raise DTypeError(f"a device is a name, a number or a device, found {type(device).__name__}")
    if device == META:
        return META
    return device_name(f"cuda:{Current.number}" if device == "cuda" else device)


CPU = Device("cpu")
_known: dict[str, Device] = {"cpu": CPU}


def device_of(v: Value) -> Device:
    """Where a value lies; what has no place of its own counts as on the cpu."""
    name = v.device or "cpu"
    found = _known.get(name)
    if found is None:
        found = _known[name] = Device(name)
    return found


def default_name(device: Any = None) -> str:
    """The device that is named, else the default one."""
    return name_of(device) if device is not None else _default.get() or "cpu"


def get_default_device() -> Device:
    """Where functions that make tensors put them."""
    return Device(default_name())


def set_default_device(device: Any) -> None:
    """Where functions that make tensors put them from here on, by name or as a device; None is cpu.

    Raises UnsupportedError for a device that is not known."""
    _default.set(None if device is None else name_of(device))


def placed(v: Value, device: str) -> Value:
    """A value on a device. What has no place yet gets one: numbers are sent, and what only depends on numbers is
    computed there; anything else is copied, and to `meta` its type alone, through which no gradient flows. Raises
    DeviceUnavailableError for a GPU that is not there, and UnsupportedError for a value on `meta` that is wanted
    elsewhere."""
    if v.device == device or (device == "cpu" and v.device is None and not v.type.shape):
        return v
    if device == META:
        return lazy.leaf_on_meta(v.type)
    if v.device == META:
        raise lazy.no_data()
    if device == "cpu":
        if v.device is None:
            v.device = "cpu"
            return v
        return ops.to_device(v, device)
    owner = gpu_engine(device)
    if v.device is None and not lazy.capturing() and isinstance(buffer := lazy.buffer_of(v), Buffer):
        nbytes = lazy.nbytes_of(v)
        return lazy.leaf(owner.upload(buffer.array(np.uint8)[:nbytes]), v.type, device)
    return ops.to_device(v, device)


def beside(v: Value, other: Value) -> Value:
    """A value without a place of its own where another one lies; a placed one as it is."""
    if v.device is not None or other.device is None:
        return v
    return placed(v, other.device)
