"""Proves of a program that no two launches without a barrier between them touch the same bytes, one of them writing,
and that every scratch value is still there when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from heliostat.kernel.program import Launch, Program


@dataclass(frozen=True)
class Access:
    """Bytes `begin` .. `end` of a space, the arena or a buffer of its own, that launch number `launch` touches."""

    launch: int
    space: str
    begin: int
    end: int
    writes: bool

    def overlaps(self, other: Access) -> bool:
        return self.space == other.space and self.begin < other.end and other.begin < self.end


def accesses(program: Program, number: int) -> Iterator[Access]:
    """What one launch may touch: each buffer as a whole, as its kernel's parameter modes say; nothing of empty ones."""
    launch = program.launches[number]
    kernel = program.kernels[launch.kernel]
    assert len(kernel.parameters) == len(launch.buffers) + len(launch.symbols)
    for parameter, buffer in zip(kernel.parameters, launch.buffers, strict=False):
        plan = program.buffers[buffer]
        scratch = plan.kind == "scratch"
        space, begin = ("arena", plan.offset) if scratch else (f"{plan.kind} {buffer}", 0)
        if plan.nbytes:
            yield Access(number, space, begin, begin + plan.nbytes, parameter.mode != "r")


def find_races(program: Program) -> list[tuple[Access, Access]]:
    """Pairs of accesses of two launches of one phase, one of them a write, to the same bytes."""
    found: list[tuple[Access, Access]] = []
    phase: list[Access] = []
    for n, launch in enumerate(program.launches):
        mine = list(accesses(program, n))
        found += [(a, b) for a in phase for b in mine if (a.writes or b.writes) and a.overlaps(b)]
        phase = [] if launch.barrier else phase + mine
    return found


def find_lost(program: Program) -> list[tuple[int, str]]:
    """Reads (launch, buffer) of scratch values that were never written, or whose bytes another value has taken. A value
    may lie inside of another, or be made of several that lie side by side."""
    holds: dict[int, tuple[int, int]] = {}  # scratch buffers whose value is whole, with their bytes
    found: list[tuple[int, str]] = []
    for n, launch in enumerate(program.launches):
        kernel = program.kernels[launch.kernel]
        pairs = list(zip(kernel.parameters, launch.buffers, strict=False))
        for parameter, buffer in pairs:
            plan = program.buffers[buffer]
            if plan.kind == "scratch" and parameter.mode != "w" and buffer not in holds:
                at = plan.offset
                for begin, end in sorted(holds.values()):
                    at = max(at, end) if begin <= at else at
                if at < plan.offset + plan.nbytes:
                    found.append((n, plan.name))
        for parameter, buffer in pairs:
            plan = program.buffers[buffer]
            if plan.kind != "scratch" or parameter.mode == "r":
                continue
            begin, end = plan.offset, plan.offset + plan.nbytes
            holds = {b: s for b, s in holds.items() if b == buffer or s[1] <= begin or end <= s[0]}
            holds[buffer] = (begin, end)
    return found


def outside(program: Program) -> list[str]:
    """Scratch buffers that reach past the arena."""
    return [
        p.name
        for p in program.buffers
        if p.kind == "scratch" and not 0 <= p.offset <= p.offset + p.nbytes <= program.arena_nbytes
    ]


def without_barrier(program: Program, number: int) -> Program:
    launches: list[Launch] = list(program.launches)
    launches[number] = replace(launches[number], barrier=False)
    return replace(program, launches=launches)
