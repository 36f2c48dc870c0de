"""The target that this machine is, with the settings' changes to its features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from ..diagnostics import UnsupportedError
from ..runtime.jit import host_machine
from ..runtime.object_cache import ObjectCache, cache_key
from ..runtime.platform import cpu_description
from ..settings import SettingError, settings
from ..targets.target import Target, aarch64_target, x86_target
from ..targets.x86_features import X86_BASE, building_on


def _asked() -> tuple[str, str, dict[str, bool]]:
    """Triple and CPU of this machine, as LLVM sees them, and whether it has each feature that LLVM knows."""
    from ..runtime.llvm_jit import host_cpu, host_features, host_triple  # not imported where the answer is kept

    return host_triple(), host_cpu(), host_features()


def _machine() -> tuple[str, str, dict[str, bool]]:
    """The same, kept in the object cache for as long as this machine runs."""
    description = cpu_description()
    cache = ObjectCache.default()
    key = cache_key(["machine 2", description])
    data = cache.get(key) if description else None
    if data is not None:
        try:
            triple, cpu, features = json.loads(data)
            return str(triple), str(cpu), {str(name): bool(on) for name, on in features.items()}
        except (ValueError, TypeError, AttributeError):
            pass  # of another kind: asked for and written anew
    found = _asked()
    if description:
        cache.put(key, json.dumps(found).encode())
    return found


def _changed(known: Mapping[str, bool], changes: tuple[str, ...], x86: bool) -> frozenset[str]:
    """The features of a machine after the setting's changes: one that is taken away takes those that build on it.

    `known`: whether the machine has a feature, by name. Raises SettingError for a name that LLVM does not know, for a
    feature that the machine lacks, as its instructions would end the process, and for one that cannot be taken away.
    """
    features = {name for name, on in known.items() if on}
    wrong = f"HELIOSTAT_CPU_FEATURES={','.join(changes)!r}"
    for change in changes:
        sign, name = change[0], change[1:]
        if name not in known:
            near = get_close_matches(name, known, 3)
            hint = f"near it: {', '.join(near)}" if near else "LLVM's names, such as avx512f, avx512vnni, avx2"
            raise SettingError(f"{wrong}: `{name}` is no feature that LLVM finds on such CPUs", help=hint)
        if sign == "+" and not known[name]:
            raise SettingError(f"{wrong}: this CPU lacks {name}", help="features can only be taken away")
        if sign == "+":
            features |= {name}
        elif x86 and name in X86_BASE:
            raise SettingError(f"{wrong}: every x86-64 CPU has {name}")
        else:
            features -= building_on(name, features) if x86 else {name}
    return frozenset(features)


@lru_cache(maxsize=8)
def _detect(changes: tuple[str, ...]) -> Target:
    triple, cpu, known = _machine()
    if host_machine() == "aarch64":
        return aarch64_target(_changed(known, changes, x86=False), cpu, triple)
    plain = x86_target(frozenset(name for name, on in known.items() if on), cpu, triple)
    if not changes:
        return plain
    try:  # the CPU's name brings its features with it: with changed features a plain base must stand in
        return x86_target(_changed(known, changes, x86=True), "x86-64", triple)
    except UnsupportedError as error:
        raise SettingError(
            f"HELIOSTAT_CPU_FEATURES={','.join(changes)!r} leaves too little: {error.message}", help=error.help
        ) from None


def host_target() -> Target:
    """This machine. Raises UnsupportedError where its CPU lacks what kernels need, SettingError where the settings ask
    for features that it does not have."""
    return _detect(tuple(settings().cpu_features))
