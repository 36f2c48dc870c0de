"""A `Target` is data: the machine that kernels are built and printed for. Nothing here asks the machine it runs on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..diagnostics import UnsupportedError


@dataclass(frozen=True)
class Target:
    """`features` are LLVM feature names that are on. `vector_bytes` is the widest register that kernels use.
    `machine`: the GPU that it is of, whose choices of the tuner it takes; "" for any."""

    name: str
    architecture: str
    triple: str
    cpu: str
    features: frozenset[str]
    vector_bytes: int
    vector_registers: int
    machine: str = ""

    @property
    def lanes(self) -> int:
        """f32 or i32 lanes of one vector."""
        return self.vector_bytes // 4

    def lanes_of(self, nbytes: int) -> int:
        """Lanes of a vector whose widest elements have so many bytes: a thread of a GPU has one, however wide."""
        return self.lanes if self.gpu else self.vector_bytes // max(4, nbytes)

    @property
    def gpu(self) -> bool:
        """Whether a worker is a warp, or a block of warps, and not a core."""
        return self.architecture == "nvptx64"

    @property
    def spare_ports(self) -> bool:
        """Whether shifts, additions and selections of the widest vectors have ports beside those that multiply: AMD's
        cores have (Zen 4 and 5), Intel's do all of AVX-512 on two."""
        return self.cpu.startswith("znver")

    @property
    def capability(self) -> int:
        """Ten times the compute capability of an NVIDIA GPU, 90 say; 0 for anything else."""
        return int(self.cpu.removeprefix("sm_").removesuffix("a")) if self.gpu else 0

    @property
    def shared_bytes(self) -> int:
        """Shared memory that a block of an NVIDIA GPU may have, when asked for; 0 for anything else."""
        return GPUS[self.capability][1] << 10 if self.gpu else 0

    def blocks_held(self, warps: int, shared: int, busy: int | None = None) -> int:
        """Blocks of so many warps and bytes of shared memory that a multiprocessor of this GPU holds at once, at least
        one. `busy`: warps that registers leave room for, where that is fewer than it holds."""
        room = self.shared_bytes + BLOCK_BYTES  # what one block may have, and what goes with it
        most = min(GPUS[self.capability][2], busy or GPUS[self.capability][2])
        return max(1, min(most // warps, room // (shared + BLOCK_BYTES)))

    @property
    def feature_string(self) -> str:
        """Features as LLVM's target machine wants them, sorted, so equal targets have equal text. Dot products of pairs
        are fast: without that LLVM makes two instructions of one wherever a chain of them gets shorter by it, which
        takes two slots, and tiles have chains enough."""
        tuning = {"fast-dpwssd"} if "avx512vnni" in self.features else set()
        return ",".join(f"+{f}" for f in sorted(self.features | tuning))

    def __str__(self) -> str:
        return self.name


GPUS = {
    70: (70, 96, 64), 72: (70, 96, 64), 75: (70, 64, 32), 80: (75, 163, 64), 86: (75, 99, 48), 87: (75, 163, 48),
    88: (90, 99, 48), 89: (78, 99, 48), 90: (83, 227, 64), 100: (86, 227, 64), 103: (88, 227, 64), 110: (90, 227, 48),
    120: (87, 99, 48), 121: (88, 99, 48),
}  # fmt: skip
"""By compute capability: the version of PTX, without which LLVM ends the process, KB of shared memory of a block, and
warps that a multiprocessor holds. Source: CUDA C++ programming guide, technical specifications; PTX ISA, history."""

BLOCK_BYTES = 1024  # of shared memory that goes with each block
WARPS_AT_WORK = 32  # of a multiprocessor that streams: with 64 registers for each thread

_X86_AVX2 = frozenset(
    {"avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "popcnt", "sse4.2", "ssse3", "movbe", "cx16"}
)
_X86_AVX512 = _X86_AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "evex512"} - {"evex512"}
_ARM = frozenset({"neon", "fp-armv8", "fullfp16", "dotprod"})


def x86_target(features: frozenset[str], cpu: str = "x86-64-v3", triple: str = "x86_64-unknown-linux-gnu") -> Target:
    """An x86-64 target whose vector width follows from its features. AVX2, FMA and F16C are the least.

    Raises UnsupportedError where they are missing.
    """
    missing = {"avx2", "fma", "f16c"} - features
    if missing:
        raise UnsupportedError(
            f"this x86-64 CPU lacks {', '.join(sorted(missing))}",
            help="Heliostat needs AVX2, FMA and F16C (Intel since 2013, AMD since 2015)",
        )
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features
    return Target("x86-64", "x86-64", triple, cpu, features, 64 if wide else 32, 32 if wide else 16)


def aarch64_target(
    features: frozenset[str] = _ARM, cpu: str = "generic", triple: str = "aarch64-unknown-linux-gnu"
) -> Target:
    """A 64-bit ARM target: NEON always; the int8 dot product where `dotprod` is among the features."""
    return Target("aarch64", "aarch64", triple, cpu, features | {"neon"}, 16, 32)


def cuda_target(capability: tuple[int, int] = (9, 0)) -> Target:
    """An NVIDIA GPU of a compute capability: a warp is a worker with vectors of 32 lanes. Raises UnsupportedError."""
    major, minor = capability
    if major < 7:
        raise UnsupportedError(f"GPUs of compute capability {major}.{minor} are not supported", help="7.0 is the least")
    known = max(n for n in GPUS if n <= 10 * major + minor)  # PTX for a GPU runs on later ones
    ptx, cpu = f"ptx{GPUS[known][0]}", f"sm_{known}"
    if (major, minor) == (9, 0):
        cpu += "a"  # with what only this generation has: products by four warps together
    return Target(f"cuda-sm{major}{minor}", "nvptx64", "nvptx64-nvidia-cuda", cpu, frozenset({ptx}), 128, 32)


X86_AVX2 = replace(x86_target(_X86_AVX2), name="x86-64-avx2")
X86_AVX512 = replace(x86_target(_X86_AVX512, cpu="x86-64-v4"), name="x86-64-avx512")
X86_VNNI = replace(x86_target(_X86_AVX512 | {"avx512vnni"}, cpu="x86-64-v4"), name="x86-64-vnni")
AARCH64 = aarch64_target()
CUDA = cuda_target()

NAMED = {"x86-64": X86_VNNI, "x86-64-avx2": X86_AVX2, "x86-64-avx512": X86_AVX512, "aarch64": AARCH64, "cuda": CUDA}
