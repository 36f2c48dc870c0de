"""The symbol tables of object files: which names an object defines and which it needs. ELF, Mach-O and COFF, 64 bit.

LLVM's loader ends the process when a name is missing, so `jit` asks here first. Nothing is loaded or run.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..diagnostics import DeviceError


@dataclass(frozen=True)
class ObjectSymbols:
    """`machine` is "x86-64" or "aarch64". Names are as in LLVM text: without Mach-O's leading underscore."""

    machine: str
    defined: frozenset[str]
    undefined: frozenset[str]


_ELF_MACHINES = {62: "x86-64", 183: "aarch64"}
_MACHO_CPUS = {0x01000007: "x86-64", 0x0100000C: "aarch64"}
_COFF_MACHINES = {0x8664: "x86-64", 0xAA64: "aarch64"}


def read_symbols(data: bytes) -> ObjectSymbols:
    """Global symbols of one object file. Raises DeviceError if the bytes are not a whole 64-bit object."""
    try:
        if data[:4] == b"\x7fELF":
            return _elf(data)
        if data[:4] == b"\xcf\xfa\xed\xfe":
            return _macho(data)
        if len(data) >= 20 and struct.unpack_from("<H", data)[0] in _COFF_MACHINES:
            return _coff(data)
    except (struct.error, ValueError, IndexError, OverflowError):
        raise DeviceError("compiled object is truncated or corrupt") from None
    raise DeviceError("compiled object is of no known format (ELF, Mach-O, COFF)")


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _part(data: bytes, offset: int, size: int) -> bytes:
    if offset < 0 or size < 0 or offset + size > len(data):
        raise ValueError("past the end")
    return data[offset : offset + size]


def _machine(table: dict[int, str], code: int) -> str:
    if code not in table:
        raise DeviceError(f"compiled object is for an unknown machine ({code:#x})")
    return table[code]


def _elf(data: bytes) -> ObjectSymbols:
    bits, order = data[4], data[5]
    if bits != 2 or order != 1:
        raise DeviceError("compiled object is not 64-bit little-endian")
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = []
    for i in range(count):
        at = table + i * size
        kind = struct.unpack_from("<I", data, at + 4)[0]
        offset, nbytes = struct.unpack_from("<QQ", data, at + 24)
        sections.append((kind, offset, nbytes, struct.unpack_from("<I", data, at + 40)[0]))
        if kind not in (0, 8):  # not empty, not zero-filled: the bytes must be there
            _part(data, offset, nbytes)
    defined: set[str] = set()
    undefined: set[str] = set()
    for kind, offset, nbytes, link in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = _part(data, sections[link][1], sections[link][2])
        for at in range(offset, offset + nbytes, 24):
            name, info, _, index = struct.unpack_from("<IBBH", data, at)
            if not name or info >> 4 == 0:  # STB_LOCAL
                continue
            (undefined if index == 0 else defined).add(_text(names, name))
    return ObjectSymbols(_machine(_ELF_MACHINES, machine), frozenset(defined), frozenset(undefined))


def _macho(data: bytes) -> ObjectSymbols:
    cpu, _, _, commands = struct.unpack_from("<IIII", data, 4)
    defined: set[str] = set()
    undefined: set[str] = set()
    at = 32
    for _ in range(commands):
        kind, size = struct.unpack_from("<II", data, at)
        if size < 8:
            raise ValueError("load command of no size")
        if kind == 0x19:  # LC_SEGMENT_64
            offset, nbytes = struct.unpack_from("<QQ", data, at + 40)
            _part(data, offset, nbytes)
        if kind == 0x2:  # LC_SYMTAB
            table, count, strings, nbytes = struct.unpack_from("<IIII", data, at + 8)
            names = _part(data, strings, nbytes)
            for i in range(count):
                name, flags, _, _, _ = struct.unpack_from("<IBBHQ", data, table + 16 * i)
                if flags & 0xE0 or not flags & 1:  # debugger entries, private symbols
                    continue
                text = _text(names, name).removeprefix("_")
                (undefined if flags & 0x0E == 0 else defined).add(text)
        at += size
    return ObjectSymbols(_machine(_MACHO_CPUS, cpu), frozenset(defined), frozenset(undefined))


def _coff(data: bytes) -> ObjectSymbols:
    machine, sections, _, table, count, optional, _ = struct.unpack_from("<HHIIIHH", data)
    for i in range(sections):
        nbytes, offset = struct.unpack_from("<II", data, 20 + optional + 40 * i + 16)
        if offset:
            _part(data, offset, nbytes)
    strings = table + 18 * count
    names = _part(data, strings, struct.unpack_from("<I", data, strings)[0])
    defined: set[str] = set()
    undefined: set[str] = set()
    i = 0
    while i < count:
        at = table + 18 * i
        zeros, offset = struct.unpack_from("<II", data, at)
        name = _text(names, offset) if zeros == 0 else _part(data, at, 8).rstrip(b"\0").decode()
        value, section, _, storage, extra = struct.unpack_from("<IhHBB", data, at + 8)
        i += 1 + extra
        if storage == 2:  # IMAGE_SYM_CLASS_EXTERNAL
            (undefined if section == 0 and value == 0 else defined).add(name)
    return ObjectSymbols(_machine(_COFF_MACHINES, machine), frozenset(defined), frozenset(undefined))
