"""Which launches of a program become one on a GPU: blocks of a launch all have as many threads, as many registers and
as much shared memory as the kernel that needs most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..kernel.ir import Instruction, Kernel
from ..kernel.program import Program
from ..kernel.warp import team_size
from ..targets.nvptx_blocks import SHARED_BYTES, dynamic_bytes, private_bytes, warps
from ..targets.nvptx_module import Phase
from ..targets.target import WARPS_AT_WORK, Target

ROUNDS = 3  # of blocks of a team, where it is not known how many have work
TURNS = 4  # of a block's iterations that ask for each other's bytes: more of them even out better over more blocks
QUEUED = 64  # times as many blocks as run at once, where each is known to have work
WARPS_PER_SM = 64  # that a multiprocessor holds at most: more would wait
MOST_KERNELS = 8  # of a launch: the driver takes 10 s for a function of 52


@dataclass(frozen=True)
class _Needs:
    """What a kernel needs of a block, or some kernels of a launch. `together`: products by four warps together.
    `alone`: a library's product, which is a launch already. `dynamic`, `fixed`: bytes of shared memory, of which those
    of kernels add up, by name."""

    warps: int
    together: bool
    dynamic: int
    fixed: tuple[tuple[str, int], ...]
    alone: bool = False

    @classmethod
    def of(cls, kernel: Kernel, library: bool = False) -> _Needs:
        dynamic, count = dynamic_bytes(kernel), warps(kernel)
        private = 0 if dynamic else private_bytes(kernel) * (1 if team_size(kernel) else count)
        together = any(i.op == "warpgroup_mma" for i in kernel.walk())
        alone = library and kernel.library is not None
        return cls(count, together, dynamic, ((kernel.name, private),) if private else (), alone)

    def __or__(self, other: _Needs) -> _Needs:
        fixed = tuple(dict.fromkeys((*self.fixed, *other.fixed)))
        return _Needs(max(self.warps, other.warps), self.together, max(self.dynamic, other.dynamic), fixed)

    @property
    def fixed_bytes(self) -> int:
        return sum(nbytes for _, nbytes in self.fixed)

    def held(self, target: Target) -> int:
        """Blocks that a multiprocessor holds at once."""
        return target.blocks_held(self.warps, self.dynamic + self.fixed_bytes)


def phases_of(
    program: Program, target: Target, multiprocessors: int, library: bool = False
) -> tuple[list[Phase], list[list[int]]]:
    """The launches between two barriers as few, on a GPU of so many multiprocessors, and the numbers of the program's
    launches in each. `library`: whether a library's products are launches of its own."""
    phases: list[Phase] = []
    members: list[list[int]] = []
    needs = [_Needs.of(k, library) for k in program.kernels]
    blocks = [launch_blocks(k, target, multiprocessors) for k in program.kernels]
    now: list[int] = []
    for n, launch in enumerate(program.launches):
        now.append(program.launches[n].kernel)
        if not launch.barrier and n < len(program.launches) - 1:
            continue
        grouped = _grouped([(needs[k], blocks[k]) for k in now], target, multiprocessors)
        for numbers in (part for whole in grouped for part in _parts(whole, now)):
            kernels = tuple(program.kernels[now[m]] for m in numbers)
            phases.append(Phase("", kernels, tuple(blocks[now[m]] for m in numbers)))
            members.append([n + 1 - len(now) + m for m in numbers])
        now = []
    return phases, members


def _grouped(kernels: Sequence[tuple[_Needs, int]], target: Target, multiprocessors: int) -> list[list[int]]:
    """Kernels that do not need each other, by needs and blocks, as launches. One joins another's launch where all of
    them have as many warps at work as alone, or all that they have; products by four warps together, which need most
    of everything, are by themselves."""
    launches: list[tuple[_Needs, list[int]]] = []

    def fit(both: _Needs, numbers: Sequence[int]) -> bool:
        held, found = both.held(target), ((kernels[n][0].held(target), kernels[n][1]) for n in numbers)
        return all(held >= own or held * multiprocessors >= blocks for own, blocks in found)

    for n in sorted(range(len(kernels)), key=lambda n: -kernels[n][0].warps):
        own = kernels[n][0]
        for at, (needs, numbers) in enumerate(launches):
            both = needs | own
            if needs.alone or own.alone:
                continue
            if needs.together is own.together and both.fixed_bytes <= SHARED_BYTES and fit(both, [*numbers, n]):
                launches[at] = both, sorted([*numbers, n])
                break
        else:
            launches.append((own, [n]))
    # tiles of long sums are few: begun first, they leave no multiprocessor alone with one at the end
    return [sorted(m, key=lambda n: kernels[n][1]) if needs.together else m for needs, m in launches]


def _parts(numbers: list[int], kernels: Sequence[int]) -> list[list[int]]:
    """A launch as several where it has too many kernels for one function. Equal ones are together then, so that
    launches are equal too, whose code is made once."""
    if len(numbers) <= MOST_KERNELS:
        return [numbers]
    ordered = sorted(numbers, key=lambda n: kernels[n])
    return [ordered[at : at + MOST_KERNELS] for at in range(0, len(ordered), MOST_KERNELS)]


def launch_blocks(kernel: Kernel, target: Target, multiprocessors: int) -> int:
    """Blocks of a launch: a warp, or a team, for each iteration of the largest parallel region, as far as the device
    holds them; several times as many where all are known to have work, since the device hands them out evenly, unless a
    worker asks for what its next iteration reads.
    """
    most = multiprocessors * WARPS_PER_SM
    found, known, ahead = 1, True, False
    for i in kernel.walk():
        if i.op == "parallel":
            count: Instruction = i.args[0]
            known &= count.op == "const"
            ahead |= bool(i.attrs.get("ahead"))
            found = max(found, int(count.value) if count.op == "const" else most)
    team = team_size(kernel)
    each = 1 if team else warps(kernel)
    if team and not known:  # blocks without work take time too; a few rounds even out what iterations take
        at_once = multiprocessors * target.blocks_held(team, private_bytes(kernel))
        found = min(found, at_once * (1 if dynamic_bytes(kernel) else ROUNDS))
    elif team and ahead:  # those of a second round would begin with nothing asked for
        at_once = multiprocessors * target.blocks_held(team, private_bytes(kernel), WARPS_AT_WORK)
        found = min(found, at_once) if found <= TURNS * at_once else found
    elif known and not dynamic_bytes(kernel):
        most *= QUEUED
    return -(-min(most, found) // each)
