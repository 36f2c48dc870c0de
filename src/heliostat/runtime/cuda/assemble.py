"""PTX to a cubin by the linker of the driver, so that no toolkit is needed; cubins are kept on disk."""

from __future__ import annotations

import contextlib
import ctypes
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...diagnostics import CompileError, DeviceError, DeviceUnavailableError
from ..object_cache import ObjectCache, cache_key
from .device import Device
from .driver import CudaError, version_text

_LOG_BYTES = 64 << 10
_JIT_ERRORS = {200, 209, 218, 300}  # invalid image, no binary for the GPU, invalid PTX, invalid source
_UNSUPPORTED_PTX = 222
_NO_COMPILER = {221, 223}
_INPUT_PTX = 1  # CU_JIT_INPUT_PTX
_ENTRY = struct.Struct("<8sI")  # magic, bytes of the log; then log and cubin
_MAGIC = b"HelioGPU"


@dataclass(frozen=True)
class Cubin:
    """Machine code of one device. `log` is what the assembler said: registers, spills and shared memory by kernel."""

    image: bytes
    log: str = ""


def assemble(
    device: Device, ptx: str, *, program: str = "", max_registers: int | None = None, cache: ObjectCache | None = None
) -> Cubin:
    """Machine code of PTX for `device`, from the cache of compiled objects where it is known.

    `max_registers` bounds the registers of a thread (more than it needs are spilled). `cache` None: the default cache.
    Raises CompileError, with the assembler's errors and the lines they are about, and DeviceUnavailableError if the
    driver is too old for the PTX version.
    """
    cache = cache or ObjectCache.default()
    key = entry_key(device, ptx, max_registers)
    stored = unpacked(cache.get(key))
    if stored is not None:
        return stored
    made = linked(device, ptx, program, max_registers)
    cache.put(key, packed(made))
    return made


def entry_key(device: Device, ptx: str, max_registers: int | None = None) -> str:
    """By what the cache knows the machine code of PTX: it is of one driver, too."""
    major, minor = device.compute_capability
    return cache_key(["cuda", f"sm_{major}{minor}", str(device.driver.version), f"registers {max_registers}", ptx])


def packed(cubin: Cubin) -> bytes:
    """An entry of the cache."""
    log = cubin.log.encode()
    return _ENTRY.pack(_MAGIC, len(log)) + log + cubin.image


def unpacked(entry: bytes | None) -> Cubin | None:
    """What `packed` made an entry of; None where it is none."""
    if entry is None or entry[: len(_MAGIC)] != _MAGIC or len(entry) < _ENTRY.size:
        return None
    length = _ENTRY.unpack_from(entry)[1]
    log = entry[_ENTRY.size : _ENTRY.size + length]
    return Cubin(entry[_ENTRY.size + length :], log.decode(errors="replace"))


class JitLog:
    """Options that let the driver's compiler write its logs into memory of this object."""

    def __init__(self, bindings: Any, extra: Sequence[tuple[str, Any]] = ()) -> None:
        self._info = bytearray(_LOG_BYTES)
        self._errors = bytearray(_LOG_BYTES)
        pairs = [
            ("INFO_LOG_BUFFER", self._info),
            ("INFO_LOG_BUFFER_SIZE_BYTES", _LOG_BYTES),
            ("ERROR_LOG_BUFFER", self._errors),
            ("ERROR_LOG_BUFFER_SIZE_BYTES", _LOG_BYTES),
            ("LOG_VERBOSE", 1),
            *extra,
        ]
        self.options = [getattr(bindings.CUjit_option, f"CU_JIT_{name}") for name, _ in pairs]
        self.values = [value for _, value in pairs]

    @property
    def arguments(self) -> tuple[int, list[Any], list[Any]]:
        """Count, names and values, as the driver's functions take them."""
        return len(self.options), self.options, self.values

    @property
    def info(self) -> str:
        """What the compiler said without errors."""
        return _text(self._info)

    @property
    def errors(self) -> str:
        """What the compiler said of errors."""
        return _text(self._errors)


def jit_error(device: Device, error: CudaError, log: JitLog, ptx: str, program: str) -> DeviceError | CompileError:
    """The exception for an image that the driver refused, with its log and the lines of PTX it names."""
    where = f"program `{program}`" if program else "a module"
    if error.code == _UNSUPPORTED_PTX:
        version = re.search(r"^\s*\.version\s+([0-9.]+)", ptx, re.MULTILINE)
        return DeviceUnavailableError(
            f"the driver of {device} (CUDA {version_text(device.driver.version)}) is too old for PTX"
            f" {version[1] if version else 'of this version'}, which {where} is written in",
            help="update the NVIDIA driver",
        )
    if error.code in _NO_COMPILER:
        return DeviceUnavailableError(
            f"the driver of {device} has no PTX compiler: {error.message}",
            help="install the driver's libnvidia-ptxjitcompiler, and unset CUDA_DISABLE_PTX_JIT",
        )
    if error.code not in _JIT_ERRORS and not log.errors:
        return error
    said = log.errors or error.message
    lines = ptx.split("\n")
    quoted = []
    for number in dict.fromkeys(int(n) for n in re.findall(r"line (\d+)", said)):
        if 1 <= number <= len(lines):
            quoted.append(f"  {number} | {lines[number - 1].rstrip()}")
    excerpt = "\n" + "\n".join(quoted[:10]) if quoted else ""
    return CompileError(f"{where} does not assemble for {device}: {said}{excerpt}")


def linked(device: Device, ptx: str, program: str = "", max_registers: int | None = None) -> Cubin:
    """Machine code of PTX by the driver's linker, now. Raises as `assemble` does."""
    bindings = device.driver.bindings
    extra: list[tuple[str, Any]] = [] if max_registers is None else [("MAX_REGISTERS", max_registers)]
    specific = re.search(r"^\s*\.target\s+sm_(\d+)a\b", ptx, re.MULTILINE)
    target = getattr(bindings.CUjit_target, f"CU_TARGET_COMPUTE_{specific[1]}A", None) if specific else None
    if target is not None:  # wgmma and the like are in a target of their own, which the context alone does not say
        with contextlib.suppress(CompileError, CudaError):
            return _link_with(device, ptx, program, [*extra, ("TARGET", target)])
    return _link_with(device, ptx, program, extra)


def _link_with(device: Device, ptx: str, program: str, extra: Sequence[tuple[str, Any]]) -> Cubin:
    log = JitLog(device.driver.bindings, extra)
    source = ptx.encode() + b"\0"
    kind = device.driver.bindings.CUjitInputType(_INPUT_PTX)
    name = (program or "module").encode()
    try:
        state = device.call("cuLinkCreate", *log.arguments)
        try:
            device.call("cuLinkAddData", state, kind, source, len(source), name, 0, [], [])
            address, nbytes = device.call("cuLinkComplete", state)
            image = _read(address, int(nbytes))
        finally:
            device.quietly("cuLinkDestroy", state)
    except CudaError as error:
        raise jit_error(device, error, log, ptx, program) from None
    return Cubin(image, log.info)


def _read(address: int, nbytes: int) -> bytes:
    return ctypes.string_at(int(address), nbytes)


def _text(raw: bytearray) -> str:
    return bytes(raw).split(b"\0")[0].decode(errors="replace").strip()
