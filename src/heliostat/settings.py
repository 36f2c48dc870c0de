"""Every environment variable that Heliostat reads, typed and documented in one place.

`settings()` reads the environment once, at first use; `override()` replaces fields for a test or one call.
No other module looks at `os.environ` for a `HELIOSTAT_` name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .diagnostics import HeliostatError

GIB = 1 << 30


class SettingError(HeliostatError, ValueError):
    """An environment variable has a value that cannot be used. The message starts with its name."""


@dataclass(frozen=True)
class Debug:
    """HELIOSTAT_DEBUG: whether errors show Python tracebacks, and which compiler stages are printed."""

    tracebacks: bool = False
    stages: frozenset[str] = frozenset()


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("must be 0 or 1")


def _debug(text: str) -> Debug:
    words = [word.strip() for word in text.split(",") if word.strip()]
    stages = {word for word in words if word not in ("0", "1")}
    for word in stages:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", word):
            raise ValueError(f"must be 1 or stage names like graph,fuse,kernel,llvm,asm; `{word}` is neither")
    return Debug("1" in words, frozenset(stages))


def _path(text: str) -> Path | None:
    if "\0" in text:
        raise ValueError("must be a path, and holds a zero byte")
    return Path(text).expanduser() if text else None


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be an integer from {least} to {most}")
        return int(text)

    return parse


def _optional(parse: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text in ("", "auto") else parse(text)


def _nbytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})\s*([kmgt]?)i?b?", text.strip().lower())
    if not match:
        raise ValueError("must be a number of bytes such as 500M or 2G")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match[2]]


def _features(text: str) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    for name in names:
        if not re.fullmatch(r"[+-][A-Za-z0-9_.-]+", name):
            raise ValueError(f"must list LLVM features with a sign, such as -avx512f,+avx2; `{name}` is not one")
    return names


def _variable(env: str, parse: Callable[[str], Any], doc: str, *, code: bool = False) -> dict[str, Any]:
    """Metadata of a field. `code`: its value changes compiled code."""
    return {"env": env, "parse": parse, "doc": doc, "code": code}


@dataclass(frozen=True)
class Settings:
    """One field per environment variable. `describe()` gives the table of names, defaults and meanings."""

    debug: Debug = field(
        default=Debug(),
        metadata=_variable(
            "HELIOSTAT_DEBUG",
            _debug,
            "1 shows Python tracebacks; stage names (graph,fuse,kernel,llvm,asm) print those stages; or both.",
        ),
    )
    dump: Path | None = field(
        default=None,
        metadata=_variable("HELIOSTAT_DUMP", _path, "Directory that every stage is written to, as numbered files."),
    )
    override: Path | None = field(
        default=None,
        metadata=_variable(
            "HELIOSTAT_OVERRIDE", _path, "Directory of edited dumps that replace the stage of their name.", code=True
        ),
    )
    cache: bool = field(
        default=True,
        metadata=_variable("HELIOSTAT_CACHE", _flag, "0 compiles everything anew and writes no cache."),
    )
    cache_dir: Path | None = field(
        default=None,
        metadata=_variable(
            "HELIOSTAT_CACHE_DIR", _path, "Where compiled objects are kept; unset: the user's cache directory."
        ),
    )
    cache_bytes: int = field(
        default=2 * GIB,
        metadata=_variable(
            "HELIOSTAT_CACHE_BYTES",
            _nbytes,
            "Most bytes that the cache keeps, such as 500M or 2G; the least recently used entries go first.",
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=_variable(
            "HELIOSTAT_THREADS",
            _optional(_integer(1, 1024)),
            "Worker threads, the caller's included; unset: the physical cores this process may use.",
        ),
    )
    compile_workers: int | None = field(
        default=None,
        metadata=_variable(
            "HELIOSTAT_COMPILE_WORKERS",
            _optional(_integer(0, 64)),
            "Processes that compile kernels beside this one; unset: up to 8, where cores and the kernels are many.",
        ),
    )
    spin_us: int = field(
        default=200,
        metadata=_variable(
            "HELIOSTAT_SPIN_US",
            _integer(0, 1_000_000),
            "Microseconds that an idle worker spins before it sleeps; 0: it sleeps at once.",
        ),
    )
    profile: bool = field(
        default=False,
        metadata=_variable(
            "HELIOSTAT_PROFILE",
            _flag,
            "1 prints the kernels of a step of generation behind run, chat and bench llm: time, bytes, share of limit.",
        ),
    )
    cpu_features: tuple[str, ...] = field(
        default=(),
        metadata=_variable(
            "HELIOSTAT_CPU_FEATURES",
            _features,
            "Changes to the detected CPU features, such as -avx512f (LLVM names, each with a sign).",
            code=True,
        ),
    )
    huge_pages: bool = field(
        default=True,
        metadata=_variable("HELIOSTAT_HUGE_PAGES", _flag, "0 asks the system for no huge pages for large buffers."),
    )
    tune: bool = field(
        default=False,
        metadata=_variable(
            "HELIOSTAT_TUNE",
            _flag,
            "1 measures the products of programs for a GPU when they are first compiled, and keeps what was fastest.",
        ),
    )
    cuda_blocking: bool = field(
        default=False,
        metadata=_variable(
            "HELIOSTAT_CUDA_BLOCKING",
            _flag,
            "1 waits for each CUDA kernel after its launch, so that a fault names the kernel that made it.",
        ),
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Parse the variables of `environment`; an empty value counts as unset.

        Raises SettingError that names the first variable whose value cannot be used.
        """
        values: dict[str, Any] = {}
        for spec in fields(cls):
            env = spec.metadata["env"]
            text = environment.get(env, "").strip()
            if not text:
                continue
            try:
                values[spec.name] = spec.metadata["parse"](text)
            except (ValueError, RuntimeError) as error:  # RuntimeError: `~user` of an unknown user
                raise SettingError(f"{env}={text!r}: {error}") from None
        return cls(**values)

    def code_key(self) -> tuple[str, ...]:
        """`NAME=value` of the settings that change compiled code: part of every cache key."""
        return tuple(f"{s.metadata['env']}={getattr(self, s.name)!r}" for s in fields(self) if s.metadata["code"])


def describe() -> list[tuple[str, str, str]]:
    """Rows (variable, default, meaning) of every setting, in order of declaration."""
    return [(spec.metadata["env"], str(spec.default), spec.metadata["doc"]) for spec in fields(Settings)]


_current: Settings | None = None
_texts: dict[str, str] = {}  # of variables when they were read


def settings() -> Settings:
    """The settings of this process. Reads the environment at the first call. Raises SettingError on a bad value."""
    global _current
    if _current is None:
        _current = Settings.from_environment(os.environ)
        _texts.update((spec.name, os.environ.get(spec.metadata["env"], "")) for spec in fields(Settings))
    return _current


def current(name: str) -> Any:
    """One setting, by its field, as the environment has it now where that changed since it was read. Raises
    SettingError on a bad value."""
    global _current
    before = settings()
    env = next(spec.metadata["env"] for spec in fields(Settings) if spec.name == name)
    text = os.environ.get(env, "")
    if text != _texts[name]:
        changed = getattr(Settings.from_environment({env: text}), name)
        _texts[name], _current = text, replace(before, **{name: changed})
    return getattr(settings(), name)


@contextmanager
def override(**changes: Any) -> Iterator[Settings]:
    """Replace fields of `settings()` inside a `with` block, for all threads; field names, not variable names."""
    global _current
    before = settings()
    _current = replace(before, **changes)
    try:
        yield _current
    finally:
        _current = before
