"""Bring kernels' object files into this process without LLVM: sections copied, addresses filled in, made executable.

For what kernels are made of: 64-bit ELF objects of x86-64 with code and constants, and references between those. An
object that holds anything else is not taken (`Unfit`), and LLVM's loader, which knows all kinds, is asked instead.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import platform

_PROGBITS, _SYMTAB, _RELA, _GROUP, _UNWIND = 1, 2, 4, 17, 0x70000001
_WRITE, _ALLOC, _THREAD = 1, 2, 0x400
_JUMP = b"\xff\x25\0\0\0\0"  # jmp to the address in the 8 bytes that follow
_R_64, _R_PC32, _R_PLT32 = 1, 2, 4  # System V psABI for AMD64, table 4.9


class Unfit(Exception):
    """The object holds something that this loader does not do."""


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


class Image:
    """Objects in memory of this process, ready to run, with the addresses of their functions by name."""

    def __init__(self, memory: mmap.mmap, addresses: dict[str, int]) -> None:
        self._memory: mmap.mmap | None = memory
        self._kept = False
        self.addresses = addresses

    def detach(self) -> None:
        """Let the code stay in memory until the process ends."""
        if self._memory is not None and not self._kept:
            # No module may hold it: the interpreter empties modules at its end, when threads may still be inside.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))
            self._kept = True

    def close(self) -> None:
        """Release the code; no thread may be inside it."""
        memory, self._memory = self._memory, None
        if memory is not None and not self._kept:
            memory.close()


def fits_here() -> bool:
    """Whether this process takes code in this way."""
    return sys.platform == "linux"


def load_elf(objects: Sequence[bytes], externals: Mapping[str, int]) -> Image:
    """Objects bound to each other and to `externals`. Raises Unfit; ValueError, IndexError or struct.error for bytes
    that are no whole object; OSError where the system gives no executable memory."""
    files = [_File(data) for data in objects]
    size = 0
    for file in files:
        size = file.place(size)
    if not size:
        raise Unfit("there is no code")
    memory = mmap.mmap(-1, size + len(_JUMP) * len(externals) + 8 * len(externals))
    base = ctypes.addressof(anchor := ctypes.c_char.from_buffer(memory))
    del anchor  # or the memory could not be closed
    calls: dict[str, int] = {}  # functions outside may lie further than a call reaches: it goes to a jump here
    for name, address in externals.items():
        calls[name] = base + size
        code = _JUMP + struct.pack("<Q", address)
        memory[size : size + len(code)] = code
        size += len(code)
    names: dict[str, int] = {}
    for file in files:
        names.update(file.defined(base))
    for file in files:
        file.copy(memory)
        file.relocate(memory, base, names, calls)
    platform.protect_code(base, size)
    return Image(memory, names)


class _File:
    """One object: its sections, and where those lie that are loaded."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", data, 16) != (1, 62):
            raise Unfit("not a relocatable 64-bit ELF object of x86-64")
        (table,) = struct.unpack_from("<Q", data, 40)
        step, count = struct.unpack_from("<HH", data, 58)
        self.sections = []
        for n in range(count):
            _, kind, flags, _, offset, size, link, info, align, _ = struct.unpack_from(
                "<IIQQQQIIQQ", data, table + n * step
            )
            self.sections.append(_Section(kind, flags, offset, size, link, info, align))
        self.starts: dict[int, int] = {}
        self.symbols = self._symbols()

    def bytes_of(self, section: _Section) -> bytes:
        if section.offset + section.size > len(self.data):
            raise ValueError("a section lies past the end")
        return self.data[section.offset : section.offset + section.size]

    def place(self, at: int) -> int:
        """Give loaded sections their places from `at` on; where the next may begin."""
        for n, section in enumerate(self.sections):
            if section.kind == _GROUP or section.flags & _THREAD:
                raise Unfit("the object has section groups or memory of threads")
            if not section.flags & _ALLOC or not section.size or section.kind == _UNWIND:
                continue  # nobody unwinds through kernels: they raise nothing
            if section.flags & _WRITE or section.kind != _PROGBITS:
                raise Unfit("the object has data that is neither code nor constant")
            if section.offset + section.size > len(self.data):
                raise ValueError("a section lies past the end")
            align = max(section.align, 1)
            if align > mmap.PAGESIZE:
                raise Unfit(f"a section is aligned to {align} bytes")
            self.starts[n] = -(-at // align) * align
            at = self.starts[n] + section.size
        return -(-at // 64) * 64

    def _symbols(self) -> list[tuple[str, int, int, int]]:
        """Name, kind and binding, section and value of every symbol."""
        tables = [s for s in self.sections if s.kind == _SYMTAB]
        if len(tables) != 1:
            raise ValueError("not one symbol table")
        names, raw = self.bytes_of(self.sections[tables[0].link]), self.bytes_of(tables[0])
        return [
            (names[name : names.index(b"\0", name)].decode(), info, section, value)
            for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", raw)
        ]

    def address(self, base: int, section: int, value: int) -> int:
        if section not in self.starts or value > self.sections[section].size:
            raise Unfit("a symbol lies in no loaded section")
        return base + self.starts[section] + value

    def defined(self, base: int) -> dict[str, int]:
        """Addresses of the global symbols that stand in this object."""
        return {
            name: self.address(base, section, value)
            for name, info, section, value in self.symbols
            if name and info >> 4 and section
        }

    def copy(self, memory: mmap.mmap) -> None:
        for n, start in self.starts.items():
            content = self.bytes_of(self.sections[n])
            memory[start : start + len(content)] = content

    def relocate(self, memory: mmap.mmap, base: int, names: Mapping[str, int], calls: Mapping[str, int]) -> None:
        """Fill in what instructions and constants say of addresses. `calls`: where calls of what lies outside go."""
        for section in self.sections:
            if section.kind != _RELA or section.info not in self.starts:
                continue
            start, end = self.starts[section.info], self.sections[section.info].size
            for offset, info, addend in struct.iter_unpack("<QQq", self.bytes_of(section)):
                kind, place = info & 0xFFFFFFFF, start + offset
                if kind not in (_R_64, _R_PC32, _R_PLT32):
                    raise Unfit(f"relocations of kind {kind}")
                if offset + (8 if kind == _R_64 else 4) > end:
                    raise ValueError("a relocation lies past the end")
                name, _, index, value = self.symbols[info >> 32]
                if index:
                    target = self.address(base, index, value) + addend
                elif name in names:
                    target = names[name] + addend
                elif name in calls and kind == _R_PLT32:
                    target = calls[name] + addend
                else:
                    raise Unfit(f"symbol {name} has no address")
                if kind == _R_64:
                    struct.pack_into("<Q", memory, place, target & (1 << 64) - 1)
                else:
                    struct.pack_into("<i", memory, place, target - base - place)
