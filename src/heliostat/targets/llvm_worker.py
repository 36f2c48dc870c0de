"""LLVM in a process of its own: requests come on standard input, machine code goes out on standard output.

llvmlite lets one thread at a time into LLVM, so two compilations at once need two processes. A request is the stage
(`object` or `assembly`), the target as JSON, and LLVM IR text; the answer is empty where LLVM refuses the text. Other
compilers that take text are served alike (`answer`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import IO

from ..diagnostics import HeliostatError
from .target import Target

_LENGTH = 8  # bytes before each part of a message, little-endian


def write_request(file: IO[bytes], stage: str, text: str, target: Target) -> None:
    """Raises OSError where nobody reads."""
    described = asdict(target) | {"features": sorted(target.features)}
    for part in (json.dumps([stage, described]).encode(), text.encode()):
        _write(file, part)
    file.flush()


def read_answer(file: IO[bytes]) -> bytes | None:
    """The machine code; None where there is none, as LLVM refused the text or the process ended."""
    return _read(file) or None


def emit(stage: str, text: str, target: Target) -> bytes:
    """Machine code (`object`) or assembly of LLVM IR text. Raises CompileError for text that LLVM refuses."""
    from .llvm_compile import emit_assembly, emit_object

    return emit_object(text, target) if stage == "object" else emit_assembly(text, target).encode()


def serve() -> None:
    """Answer requests until the input ends."""
    answer(emit)


def answer(make: Callable[[str, str, Target], bytes]) -> None:
    """Answer requests by `make(stage, text, target)` until the input ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between answers
    while (head := _read(source)) is not None:
        stage, described = json.loads(head)
        text = (_read(source) or b"").decode()
        target = Target(**(described | {"features": frozenset(described["features"])}))
        try:
            _write(sink, make(stage, text, target))
        except HeliostatError:
            _write(sink, b"")
        sink.flush()


def _write(file: IO[bytes], part: bytes) -> None:
    file.write(len(part).to_bytes(_LENGTH, "little"))
    file.write(part)


def _read(file: IO[bytes]) -> bytes | None:
    head = file.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    nbytes = int.from_bytes(head, "little")
    part = file.read(nbytes)
    return part if len(part) == nbytes else None
