"""Which features of x86-64 CPUs build on which others, by LLVM's names.

LLVM turns on what a feature builds on: code for `+avx512vnni` may hold any instruction of AVX-512. A feature that is
to be off needs all off that build on it. Source: LLVM's X86.td, the implied features of each.
"""

from __future__ import annotations

from collections.abc import Iterable

X86_BASE = frozenset({"64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2"})
"""What every x86-64 CPU has, and LLVM's base of that name with it."""

BUILDS_ON = {
    "sse3": "sse2", "ssse3": "sse3", "sse4.1": "ssse3", "sse4.2": "sse4.1", "sse4a": "sse3", "avx": "sse4.2",
    "aes": "sse2", "pclmul": "sse2", "sha": "sse2", "gfni": "sse2", "vaes": "avx2 aes", "vpclmulqdq": "avx pclmul",
    "avx2": "avx", "f16c": "avx", "fma": "avx", "fma4": "avx sse4a", "xop": "fma4",
    "avxvnni": "avx2", "avxvnniint8": "avx2", "avxvnniint16": "avx2", "avxifma": "avx2", "avxneconvert": "avx2",
    "sha512": "avx2", "sm3": "avx", "sm4": "avx2",
    "avx512f": "avx2 f16c fma", "avx512bw": "avx512f", "avx512cd": "avx512f", "avx512dq": "avx512f",
    "avx512vl": "avx512f", "avx512ifma": "avx512f", "avx512vnni": "avx512f", "avx512vpopcntdq": "avx512f",
    "avx512vp2intersect": "avx512f", "avx512vbmi": "avx512bw", "avx512vbmi2": "avx512bw", "avx512bitalg": "avx512bw",
    "avx512bf16": "avx512bw", "avx512fp16": "avx512bw",
    "avx10.1": "avx512cd avx512vbmi avx512ifma avx512vnni avx512bf16 avx512vpopcntdq avx512vbmi2 avx512bitalg "
    "avx512fp16 avx512dq avx512vl",
    "avx10.2": "avx10.1",
    "amx-bf16": "amx-tile", "amx-complex": "amx-tile", "amx-fp16": "amx-tile", "amx-fp8": "amx-tile",
    "amx-int8": "amx-tile", "amx-movrs": "amx-tile", "amx-tf32": "amx-tile", "amx-avx512": "amx-tile avx10.2",
    "xsavec": "xsave", "xsaveopt": "xsave", "xsaves": "xsave", "widekl": "kl",
}  # fmt: skip
"""A feature, and those that it needs at once, in words."""


def building_on(name: str, features: Iterable[str]) -> set[str]:
    """Of `features`, `name` and all that need it, at once or through others."""
    found, more = {name}, True
    while more:
        new = {f for f, needs in BUILDS_ON.items() if f not in found and found & set(needs.split())}
        found, more = found | new, bool(new)
    return found & set(features)
