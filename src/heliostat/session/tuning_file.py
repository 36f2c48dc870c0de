"""Where tile choices are kept, by machine (a GPU's name, or CPU and features).

What was measured here lies in one JSON file of the cache directory. It is safe to delete, is replaced whole, and is
passed over if it is damaged, of another version, or writable by others. Results that ship with the package are the
base; what was measured here goes over them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ..runtime import fork
from ..runtime.object_cache import ObjectCache
from ..settings import settings
from ..targets.target import Target

VERSION = 1
FILE = "tuning.json"
_lock = fork.made_new()


def machine_key(target: Target) -> str:
    """What results belong to: the GPU's name, or the CPU's and the width of its vectors, with the settings' changes of
    features."""
    if target.machine:
        return target.machine
    changes = "".join(settings().cpu_features)
    return f"{target.cpu} {target.vector_bytes}{' ' + changes if changes else ''}"


def tuning_entries(target: Target) -> dict[str, Mapping[str, Any]]:
    """The choices for this machine, as text: those of the package, and over them those that were measured here."""
    entries = _entries(_parsed(shipped_text()), machine_key(target))
    path = _path()
    if path is not None:
        entries.update(_entries(_read(path), machine_key(target)))
    return entries


def shipped_text() -> str:
    """The table that comes with the package, "" where it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return resources.files("heliostat").joinpath("data", FILE).read_text(encoding="utf-8")
    return ""


def save_tuning(target: Target, found: Mapping[str, Mapping[str, Any]]) -> Path | None:
    """Add choices to the file of this user and return its path; None where no cache is kept. Raises OSError."""
    path = _path()
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock, _alone(path):
        data = _read(path)
        machines = data.get("machines")
        data = {"version": VERSION, "machines": machines if isinstance(machines, dict) else {}}
        mine = data["machines"].get(machine_key(target))
        data["machines"][machine_key(target)] = {**(mine if isinstance(mine, dict) else {}), **found}
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1, sort_keys=True)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process adds choices: each of two would write what it read, without the other's. Where a system
    has no such locks, the file still is one of the two, whole."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # not on Windows

            file = stack.enter_context(path.with_name(f"{FILE}.lock").open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path() -> Path | None:
    directory = ObjectCache.default().stats().directory
    return None if directory is None or not settings().cache else directory / FILE


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.stat().st_size <= 16 << 20:
            return _parsed(path.read_text(encoding="utf-8"))
    return {}


def _parsed(text: str) -> dict[str, Any]:
    """A table; an empty one for text that is none of this version."""
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(text)
        if isinstance(data, dict) and data.get("version") == VERSION:
            return data
    return {}


def _entries(data: Mapping[str, Any], machine: str) -> dict[str, Mapping[str, Any]]:
    machines = data.get("machines")
    mine = machines.get(machine) if isinstance(machines, dict) else None
    return {k: v for k, v in mine.items() if isinstance(v, dict)} if isinstance(mine, dict) else {}
