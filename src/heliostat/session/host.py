"""The target that this machine is, with the settings' changes to its features."""

from __future__ import annotations

import json
from functools import lru_cache

from ..runtime.jit import host_machine
from ..runtime.object_cache import ObjectCache, cache_key
from ..runtime.platform import cpu_description
from ..settings import settings
from ..targets.target import Target, aarch64_target, x86_target


def _asked() -> tuple[str, str, list[str]]:
    """Triple, CPU and features of this machine, as LLVM sees them."""
    from ..runtime.llvm_jit import host_cpu, host_features, host_triple  # not imported where the answer is kept

    return host_triple(), host_cpu(), host_features()


def _machine() -> tuple[str, str, list[str]]:
    """The same, kept in the object cache for as long as this machine runs."""
    description = cpu_description()
    cache = ObjectCache.default()
    key = cache_key(["machine 1", description])
    data = cache.get(key) if description else None
    if data is not None:
        try:
            triple, cpu, features = json.loads(data)
            return str(triple), str(cpu), [str(name) for name in features]
        except (ValueError, TypeError):
            pass  # of another kind: asked for and written anew
    found = _asked()
    if description:
        cache.put(key, json.dumps(found).encode())
    return found


@lru_cache(maxsize=8)
def _detect(changes: tuple[str, ...]) -> Target:
    triple, cpu, names = _machine()
    features = set(names)
    for change in changes:
        if change.startswith("-"):
            features.discard(change[1:])
            if change == "-avx512f":  # what builds on it goes too
                features = {f for f in features if not f.startswith("avx512")}
        else:
            features.add(change.lstrip("+"))
    if host_machine() == "aarch64":
        return aarch64_target(frozenset(features), cpu, triple)
    # the CPU's name brings its features with it: with changed features a plain base must stand in
    return x86_target(frozenset(features), "x86-64" if changes else cpu, triple)


def host_target() -> Target:
    """This machine. Raises UnsupportedError where its CPU lacks what kernels need."""
    return _detect(tuple(settings().cpu_features))
