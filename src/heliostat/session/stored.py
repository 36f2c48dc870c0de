"""Compiled programs on disk: plans as JSON with the machine code behind, so that a warm start needs no compiler.

An entry lies in the object cache, whose checks (checksum, private directory) come first. The key is the caller's, with
the target, the settings and the state of this package's source added: a change of any file compiles anew.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..ir.types import Dim, DType, Symbol, SymbolicDim, TensorType, element, tensor, u8
from ..kernel.ir import Kernel
from ..kernel.program import BufferPlan, Compiled, Launch, Program
from ..runtime.object_cache import ObjectCache, cache_key
from ..settings import settings
from ..targets.target import Target

_LENGTH = struct.Struct("<Q")
PACKAGE = Path(__file__).parent.parent


@cache
def package_state() -> str:
    """Names, sizes and times of this package's files, as Python itself judges its caches; "" where it is no folder."""
    rows: list[tuple[str, int, int]] = []
    places = [str(PACKAGE)]
    try:
        while places:
            with os.scandir(places.pop()) as scan:
                for item in scan:
                    if item.is_dir(follow_symlinks=False):
                        places.append(item.path)
                    elif not item.name.endswith(".pyc"):
                        status = item.stat()
                        rows.append((item.path, status.st_size, status.st_mtime_ns))
    except OSError:
        return ""
    return repr(sorted(rows))


def program_key(parts: Sequence[str], target: Target) -> str | None:
    """The key of programs made from `parts`; None where nothing may be kept or found: stages are looked at or
    replaced, or the package's state is not known."""
    now = settings()
    if now.debug.stages or now.dump is not None or now.override is not None or not package_state():
        return None
    machine = (target.triple, target.cpu, target.feature_string, str(target.vector_bytes), str(now.code_key()))
    return cache_key(["programs 1", package_state(), *machine, *parts])


def load_programs(key: str | None) -> tuple[list[Compiled], dict[str, bytes]] | None:
    """Programs kept under a key, and their kernels' objects by name; the kernels themselves have no body."""
    data = None if key is None else ObjectCache.default().get(key)
    if data is None:
        return None
    try:
        return _decode(data)
    except (ValueError, KeyError, TypeError, IndexError, struct.error):
        return None  # of a kind that this version does not know: compiled and written anew


def save_programs(key: str | None, compiled: Sequence[Compiled], objects: Mapping[str, bytes]) -> None:
    """Keep programs whose kernels are all in `objects`; a full or read-only disk is no error."""
    names = {k.name for c in compiled for p in (c.program, *c.loads.values()) for k in p.kernels}
    if key is not None and names <= objects.keys():
        ObjectCache.default().put(key, _encode(compiled, objects))


# --- form ---------------------------------------------------------------------------------------------------------
def _encode(compiled: Sequence[Compiled], objects: Mapping[str, bytes]) -> bytes:
    tail = bytearray()

    def put(data: bytes) -> tuple[int, int]:
        tail.extend(data)
        return len(tail) - len(data), len(data)

    document = {
        "objects": {name: put(data) for name, data in objects.items()},
        "compiled": [
            {"program": _program(c.program, put), "loads": [(n, _program(p, put)) for n, p in c.loads.items()]}
            for c in compiled
        ],
    }
    head = json.dumps(document, separators=(",", ":")).encode()
    return _LENGTH.pack(len(head)) + head + tail


def _decode(data: bytes) -> tuple[list[Compiled], dict[str, bytes]]:
    (size,) = _LENGTH.unpack_from(data)
    document = json.loads(data[_LENGTH.size : _LENGTH.size + size])
    tail = memoryview(data)[_LENGTH.size + size :]

    def take(place: Sequence[int]) -> bytes:
        start, length = place
        if not 0 <= start <= start + length <= len(tail):
            raise ValueError("a piece lies outside")
        return bytes(tail[start : start + length])

    kernels: dict[str, Kernel] = {}
    compiled = [
        Compiled(
            _program_of(c["program"], take, kernels), {n: _program_of(p, take, kernels) for n, p in c["loads"]}, None
        )
        for c in document["compiled"]
    ]
    return compiled, {name: take(place) for name, place in document["objects"].items()}


def _program(p: Program, put: Any) -> dict[str, Any]:
    return {
        "name": p.name,
        "kernels": [k.name for k in p.kernels],
        "symbols": [(s.name, s.upper, s.lower) for s in p.symbols],
        "buffers": [(b.name, b.kind, _type(b.type, b.nbytes), b.nbytes, b.offset, put(b.data)) for b in p.buffers],
        "launches": [(x.kernel, x.buffers, x.symbols, x.barrier, x.note, x.chunks) for x in p.launches],
        "inputs": p.inputs,
        "outputs": p.outputs,
        "arena": p.arena_nbytes,
        "operations": p.operations,
        "constraints": [(_dim(d), meaning) for d, meaning in p.constraints],
        "report": [dict(row) for row in p.report],
    }


def _program_of(d: Mapping[str, Any], take: Any, kernels: dict[str, Kernel]) -> Program:
    return Program(
        d["name"],
        [kernels.setdefault(name, Kernel(name, (), ())) for name in d["kernels"]],
        [
            BufferPlan(name, kind, _type_of(type), nbytes, offset, take(data))
            for name, kind, type, nbytes, offset, data in d["buffers"]
        ],
        [
            Launch(n, tuple(buffers), tuple(symbols), barrier, note, chunks)
            for n, buffers, symbols, barrier, note, chunks in d["launches"]
        ],
        tuple(Symbol(*s) for s in d["symbols"]),
        tuple(d["inputs"]),
        tuple(d["outputs"]),
        d["arena"],
        d["operations"],
        tuple((SymbolicDim(_terms(terms)), meaning) for terms, meaning in d["constraints"]),
        d["report"],
    )


def _type(t: TensorType, nbytes: int) -> list[Any]:
    """A type; that of quantized or packed data is its bytes, which is all that a runtime wants of it."""
    if not isinstance(t.element, DType) or t.layout is not None:
        t = tensor(u8, nbytes)
    return [t.element.name, [_dim(d) for d in t.shape]]


def _dim(d: Dim) -> Any:
    if isinstance(d, int):
        return d
    return [([(s.name, s.upper, s.lower) for s in symbols], factor) for symbols, factor in d.terms]


def _terms(d: Any) -> Any:
    return tuple((tuple(Symbol(*s) for s in symbols), factor) for symbols, factor in d)


def _type_of(d: Sequence[Any]) -> TensorType:
    name, shape = d
    return TensorType(element(name), tuple(n if isinstance(n, int) else SymbolicDim(_terms(n)) for n in shape))
