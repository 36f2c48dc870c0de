"""What a block of a GPU holds of a kernel: warps, bytes of shared memory, and when launches begin."""

from __future__ import annotations

from ..diagnostics import CompileError
from ..kernel.ir import Kernel
from ..kernel.warp import team_size
from .target import Target

WARPS = 4  # of a block, where shared memory is enough for the private memory of so many
SHARED_BYTES = 48 << 10  # of a block, without asking for more


def private_bytes(kernel: Kernel) -> int:
    """Private memory of a worker."""
    return sum(-(-i.attrs["nbytes"] // 128) * 128 for i in kernel.walk() if i.op == "alloc")


def dynamic_bytes(kernel: Kernel) -> int:
    """Private memory of a team that wants more than SHARED_BYTES, or copies; 0 for other kernels."""
    private = private_bytes(kernel)
    asks = private > SHARED_BYTES or any(i.op == "copy_async" for i in kernel.walk())
    return private if team_size(kernel) and asks else 0


def shared_bytes(kernel: Kernel) -> int:
    """Shared memory of a block, that a launch asks for: private memory of a team, or of every warp.

    What is asked for serves all kernels of a launch in turn; fixed amounts would add up.
    """
    private = private_bytes(kernel)
    return private * (1 if team_size(kernel) or not private else warps(kernel))


def warps(kernel: Kernel) -> int:
    """Warps of a block: of a team, or as many as have enough shared memory without asking for more. Raises CompileError
    where not even one has."""
    private = private_bytes(kernel)
    if team := team_size(kernel):
        return team
    count = WARPS
    while count * private > SHARED_BYTES:
        count //= 2
    if not count:
        raise CompileError(
            f"kernel {kernel.name} needs {private} bytes of private memory, a block of a GPU has {SHARED_BYTES}",
            help="this is a bug in the schedule for GPUs",
        )
    return count


def overlaps(target: Target) -> bool:
    """Whether a launch may begin before the one ahead of it has ended: from compute capability 9.0 on."""
    return target.capability >= 90
