"""Modules for NVIDIA GPUs: kernels that are launched together, and their entries, as text for the NVPTX back end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..diagnostics import CompileError
from ..kernel.ir import Kernel
from ..kernel.warp import WARP
from .nvptx import GLOBAL, METADATA, ThreadPrinter
from .nvptx_blocks import overlaps, shared_bytes, warps
from .target import WARPS_AT_WORK, Target

FEW_BLOCKS = 64  # of a launch, that leave multiprocessors idle whatever they hold


@dataclass(frozen=True)
class Phase:
    """Kernels that do not need each other, as one launch: the blocks of the first, then those of the second ...

    `blocks`: of each; None for a single kernel that takes all blocks of its launch.
    """

    name: str
    kernels: tuple[Kernel, ...]
    blocks: tuple[int, ...] | None = None

    @property
    def threads(self) -> int:
        """Of a block: what the widest kernel wants."""
        return WARP * max(warps(k) for k in self.kernels)

    @property
    def shared(self) -> int:
        """Bytes of dynamic shared memory of a block."""
        return max(shared_bytes(k) for k in self.kernels)

    @property
    def ahead(self) -> bool:
        """Whether kernels ask for the bytes of an iteration before the one ahead of it is done."""
        return any(i.op == "parallel" and i.attrs.get("ahead") for k in self.kernels for i in k.walk())

    def least(self, target: Target) -> int:
        """Blocks that registers must allow on a multiprocessor at once, 0 for any number: as many as kernels say, or
        plan for that ask for the next iteration's bytes, and one where there are no more, or where the widest kernel of
        a launch leaves fewer than 64 registers for each thread, unless that one asks for it."""
        if self.blocks is not None and sum(self.blocks) <= FEW_BLOCKS:
            return 1
        if own := max(k.blocks for k in self.kernels if WARP * warps(k) == self.threads):
            return min(own, target.blocks_held(self.threads // WARP, 0))
        asked, most = max(k.blocks for k in self.kernels), WARPS_AT_WORK * WARP // self.threads
        if asked or not self.ahead:
            return min(asked, most)
        count = target.blocks_held(self.threads // WARP, self.shared, WARPS_AT_WORK)
        return count if count > 1 else 0


def single(kernel: Kernel) -> Phase:
    """A kernel as a launch of its own."""
    return Phase(kernel.name, (kernel,))


def _entry(phase: Phase, target: Target) -> str:
    """The kernel that the driver launches: it finds out whose block this is."""
    parameters: list[str] = []
    lines = ["%ctaid = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()"]
    if phase.blocks is None:
        lines.append("%nctaid = call i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()")
    if overlaps(target):
        lines.append('call void asm sideeffect "griddepcontrol.launch_dependents;", ""()')
    start = 0
    for n, kernel in enumerate(phase.kernels):
        threads = WARP * warps(kernel)
        names = [f"%p{len(parameters) + j}" for j in range(len(kernel.parameters))]
        parameters += [f"{GLOBAL} align 16 {name}" for name in names]
        of = "%nctaid" if phase.blocks is None else str(phase.blocks[n])
        given = [*(f"{GLOBAL} {name}" for name in names), f"i32 %c{n}", f"i32 {of}"]
        call = f"call void @{kernel.name}_body({', '.join(given)})"
        lines.append(f"%c{n} = sub i32 %ctaid, {start}")
        if phase.blocks is None:
            lines.append(call)
            continue
        start += phase.blocks[n]
        lines += [f"%i{n} = icmp ult i32 %ctaid, {start}", f"br i1 %i{n}, label %k{n}, label %n{n}", f"k{n}:"]
        if threads < phase.threads:
            lines += [
                f"%t{n} = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()", f"%u{n} = icmp ult i32 %t{n}, {threads}",
                f"br i1 %u{n}, label %r{n}, label %done", f"r{n}:",
            ]  # fmt: skip
        lines += [call, "br label %done", f"n{n}:"]
    lines += ["br label %done", "done:", "ret void"]
    attributes = _numbered(phase.threads, phase.least(target))
    head = f"define ptx_kernel void @{phase.name}({', '.join(parameters)}) #{attributes} {{"
    return "\n".join([head, *lines, "}\n"])


def _check_shared(phase: Phase, target: Target) -> None:
    for kernel in phase.kernels:
        if (wanted := shared_bytes(kernel)) > target.shared_bytes:
            raise CompileError(
                f"kernel {kernel.name} needs {wanted} bytes of shared memory, a block of {target} has"
                f" {target.shared_bytes}",
                help="this is a bug in the schedule for GPUs",
            )


def _numbered(threads: int, least: int) -> int:
    """The number of a launch's attributes."""
    return threads + 4096 * least


def print_nvptx(phases: Sequence[Phase], target: Target) -> str:
    """One LLVM module with a kernel for each phase: `void NAME(buffers of its kernels...)`. Raises CompileError for
    what cannot be spread over threads, and for more shared memory than a block of the target has."""
    for phase in phases:
        _check_shared(phase, target)
    declarations: dict[str, None] = {
        f"declare i32 @llvm.nvvm.read.ptx.sreg.{name}.x()": None for name in ("tid", "ctaid", "nctaid")
    }
    globals: list[str] = []
    if any(phase.shared for phase in phases):
        globals.append("@dynamic_shared = external addrspace(3) global [0 x i8], align 1024")
    kernels = {k.name: k for phase in phases for k in phase.kernels}
    bodies = [ThreadPrinter(kernel, target, declarations).run() for kernel in kernels.values()]
    entries = [_entry(phase, target) for phase in phases]
    head = f'target triple = "{target.triple}"\n'
    attributes = []
    for threads, least in sorted({(phase.threads, phase.least(target)) for phase in phases}):
        more = f' "nvvm.minctasm"="{least}"' if least else ""
        attributes.append(f'attributes #{_numbered(threads, least)} = {{ nounwind "nvvm.maxntid"="{threads}"{more} }}')
    return "\n".join([head, *globals, *declarations, *bodies, *entries, *attributes, *METADATA, ""])
