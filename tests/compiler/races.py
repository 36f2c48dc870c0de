"""Checks a program's launches as the workers see them: without a barrier between two, neither may touch what the other
writes, and whatever is read must have been written before and not been overwritten since."""

from __future__ import annotations

from heliostat.kernel.program import Program

Range = tuple[str, int, int]


def byte_range(program: Program, buffer: int) -> Range:
    """Where a buffer lies: scratch in the arena, anything else in memory of its own."""
    plan = program.buffers[buffer]
    if plan.kind == "scratch":
        return "arena", plan.offset, plan.offset + plan.nbytes
    return f"{plan.kind} {buffer}", 0, plan.nbytes


def overlap(a: Range, b: Range) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


def accesses(program: Program, n: int) -> tuple[set[int], set[int]]:
    """The buffers that launch n reads and writes, by its kernel's parameters."""
    launch = program.launches[n]
    parameters = [p for p in program.kernels[launch.kernel].parameters if not p.is_dim]
    assert len(parameters) == len(launch.buffers)
    pairs = list(zip(parameters, launch.buffers, strict=True))
    return {b for p, b in pairs if "r" in p.mode}, {b for p, b in pairs if "w" in p.mode}


def problems(program: Program) -> list[str]:
    """One line for each thing that is wrong; none for a sound program."""
    found: list[str] = []
    phase: list[int] = []
    valid: set[int] = set()
    for n, launch in enumerate(program.launches):
        reads, writes = accesses(program, n)
        for m in phase:
            before_reads, before_writes = accesses(program, m)
            for mine, theirs in ((writes, before_reads | before_writes), (reads, before_writes)):
                for a in mine:
                    for b in theirs:
                        if overlap(byte_range(program, a), byte_range(program, b)):
                            found.append(f"launches {m} and {n} race: buffers {b} and {a} share bytes")
        for b in reads:
            if program.buffers[b].kind == "scratch" and b not in valid:
                found.append(f"launch {n} reads buffer {b}, which holds nothing or something else by now")
        for b in writes:
            here = byte_range(program, b)
            valid = {v for v in valid if not overlap(byte_range(program, v), here)} | {b}
        phase = [] if launch.barrier else [*phase, n]
    return found


def arena_fits(program: Program) -> bool:
    return all(b.offset + b.nbytes <= program.arena_nbytes for b in program.buffers if b.kind == "scratch")
