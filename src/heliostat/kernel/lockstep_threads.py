"""What the text of a kernel of threads tells of its values: which are the same in all threads of a warp, which grow
evenly from thread to thread, and which flags hold in a single one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ir import Instruction, Kernel
from .warp import WARP


@dataclass(frozen=True)
class Even:
    """An integer that is the sum of integers that all threads share, each times a factor, of a constant, and of a step
    times the thread's number."""

    terms: tuple[tuple[Instruction, int], ...]
    constant: int
    step: int

    def times(self, factor: int) -> Even:
        terms = tuple((i, f * factor) for i, f in self.terms)
        return Even(terms, self.constant * factor, self.step * factor)

    def plus(self, other: Even) -> Even:
        return Even(self.terms + other.terms, self.constant + other.constant, self.step + other.step)


@dataclass(frozen=True)
class One:
    """A flag that holds in thread `thread` alone, and there if `guard`, which all threads share, does."""

    thread: int
    guard: Instruction | None


class Threads:
    """The values of a kernel, by the ids of their instructions."""

    def __init__(self, kernel: Kernel) -> None:
        self.instructions = list(kernel.walk())
        self.sums = list({id(v): None for i in self.instructions if i.op == "warpgroup_mma" for v in sums_of(i)})
        self.even: dict[int, Even] = {}
        self.one: dict[int, One] = {}
        self._rows = self._count_rows()
        self._find_even_and_one()
        self._needed = self._find_needed()

    def rows(self, i: Instruction) -> int:
        """1 where all threads hold the same, or else 32."""
        return self._rows.get(id(i), 1)  # constants and buffers are not among them

    def is_skipped(self, i: Instruction) -> bool:
        """Whether nobody takes a value but through `even` or `one`."""
        return (id(i) in self.even or id(i) in self.one) and id(i) not in self._needed

    def _count_rows(self) -> dict[int, int]:
        differ = set(self.sums)  # variables
        rows: dict[int, int] = {}
        while True:
            before = len(differ)
            for i in self.instructions:
                of = [rows.get(id(a), 1) for a in i.args]
                if i.op in ("thread", "mma", "load_matrices") or id(i) in differ:
                    found = WARP
                elif i.op == "from_thread":
                    found = min(of)
                else:
                    found = WARP if WARP in of and i.op != "across" else 1
                rows[id(i)] = found
                if found > 1 and i.op in ("var", "set"):
                    differ.add(id(i) if i.op == "var" else id(i.args[0]))
            if len(differ) == before:
                return rows

    def _find_even_and_one(self) -> None:
        for i in self.instructions:
            if i.op == "thread":
                self.even[id(i)] = Even((), 0, 1)
            elif i.type is not None and i.type.lanes == 1 and self.rows(i) > 1:
                even = self._even(i)
                if even is not None and (_fits(even, 31) if i.elem == "i32" else _fits(even, 40)):
                    self.even[id(i)] = even
                one = self._one(i)
                if one is not None:
                    self.one[id(i)] = one

    def _as_even(self, i: Instruction) -> Even | None:
        if i.op == "const":
            return Even((), i.value, 0)
        return Even(((i, 1),), 0, 0) if self.rows(i) == 1 else self.even.get(id(i))

    def _even(self, i: Instruction) -> Even | None:
        if i.op not in ("zext", "sext", "add", "mul", "shl") or i.elem not in ("i32", "i64"):
            return None
        found = [self._as_even(a) for a in i.args]
        if any(e is None for e in found):
            return None
        parts = [e for e in found if e is not None]
        if i.op in ("zext", "sext"):  # of i32, which fits and is not negative
            return parts[0] if i.args[0].elem == "i32" and parts[0].constant >= 0 else None
        if i.op == "add":
            return parts[0].plus(parts[1])
        if i.op == "mul" and i.args[0].op == "const":
            parts.reverse()
        factor = i.args[1] if i.op == "shl" or i.args[1].op == "const" else i.args[0]
        if factor.op != "const":
            return None
        return parts[0].times(factor.value if i.op == "mul" else 1 << factor.value)

    def _one(self, i: Instruction) -> One | None:
        a, b = i.args[:2] if len(i.args) == 2 else (None, None)
        if a is None or b is None:
            return None
        if i.op == "eq" and a.op == "thread" and b.op == "const" and 0 <= b.value < WARP:
            return One(b.value, None)
        if i.op == "and":
            for one, guard in ((self.one.get(id(a)), b), (self.one.get(id(b)), a)):
                if one is not None and one.guard is None and self.rows(guard) == 1:
                    return One(one.thread, guard)
        return None

    def _find_needed(self) -> set[int]:
        needed: set[int] = set()
        for i in reversed(self.instructions):  # who takes a value before the value
            skipped = id(i) not in needed
            for n, a in enumerate(i.args):
                if id(a) in self.even:
                    taken = (skipped and id(i) in self.even) or n in _OFFSETS.get(i.op, ())
                else:
                    taken = (skipped and id(i) in self.one) or (i.op == "if" and only_stores(i))
                if not taken:
                    needed.add(id(a))
        return needed


_OFFSETS = {"load": (1,), "store": (1,), "gather": (1,), "scatter": (1,), "copy_async": (1, 4), "load_matrices": (1,)}


def _fits(even: Even, bits: int) -> bool:
    """Whether no thread's number leaves so many bits by what the kernel's text tells: of i32s all, not to wrap."""
    if bits < 32 and (even.terms or even.constant < 0 or even.step < 0):
        return False
    return max(abs(even.constant), (WARP - 1) * abs(even.step)) < 1 << bits - 1


def only_stores(i: Instruction) -> bool:
    """Whether an `if` does nothing but store where its condition holds: its threads may part."""
    return not i.blocks[1] and all(x.op in ("store", "scatter") for x in i.blocks[0])


def sums_of(i: Instruction) -> list[Instruction]:
    """The variables that a `warpgroup_mma` adds to."""
    return [v for v in i.args if v.op == "var"]
