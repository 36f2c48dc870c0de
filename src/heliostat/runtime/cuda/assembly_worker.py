"""The driver's assembler in a process of its own, which has a context of its own on the device.

One process assembles one PTX text at a time, whatever threads it has; requests and answers are those of
`targets.llvm_worker`. The stage is `cubin N` of device N, the text PTX, the answer an entry as the cache holds it.
"""

from __future__ import annotations

from ...targets.llvm_worker import answer
from ...targets.target import Target
from .assemble import linked, packed
from .device import device


def emit(stage: str, text: str, target: Target) -> bytes:
    """The entry of a PTX text. Raises CompileError, DeviceError."""
    return packed(linked(device(int(stage.split()[1])), text))


def serve() -> None:
    """Answer requests until the input ends."""
    answer(emit)
