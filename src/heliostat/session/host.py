"""The target that this machine is, with the settings' changes to its features."""

from __future__ import annotations

from functools import lru_cache

import llvmlite.binding as llvm

from ..runtime.jit import host_machine, host_triple
from ..settings import settings
from ..targets.target import Target, aarch64_target, x86_target


@lru_cache(maxsize=8)
def _detect(changes: tuple[str, ...]) -> Target:
    features = {name for name, on in llvm.get_host_cpu_features().items() if on}
    for change in changes:
        if change.startswith("-"):
            features.discard(change[1:])
            if change == "-avx512f":  # what builds on it goes too
                features = {f for f in features if not f.startswith("avx512")}
        else:
            features.add(change.lstrip("+"))
    cpu = llvm.get_host_cpu_name()
    if host_machine() == "aarch64":
        return aarch64_target(frozenset(features), cpu, host_triple())
    # the CPU's name brings its features with it: with changed features a plain base must stand in
    return x86_target(frozenset(features), "x86-64" if changes else cpu, host_triple())


def host_target() -> Target:
    """This machine. Raises UnsupportedError where its CPU lacks what kernels need."""
    return _detect(tuple(settings().cpu_features))
