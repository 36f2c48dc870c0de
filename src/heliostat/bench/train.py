"""Times the train suite: steps of heliostat, of torch and of torch.compile in turn, after a check that their losses
agree; first steps with an empty and with a filled cache, and peak memory, each in a process of its own.

On a GPU, steps of a round are given to the device one after the other and the last loss is read; memory is what either
side's pool had at most, and the first step with an empty cache that of the steps which are timed: weights, contexts and
imports of one process more take longer than what is measured there.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.platform import peak_rss_bytes, rss_bytes
from ..settings import override
from ..tensor.compile import compile
from .compare import Clock, Seconds, clocks_in_turn
from .training import CUDA_WORKLOADS, WORKLOADS, Built, Library, Workload, copy_parameters, heliostat, torch

CHECKED = 3  # steps whose losses are compared


@dataclass(frozen=True)
class TrainRow:
    """One workload. Seconds of a step; `note`: why something was not measured. `error`: largest difference of the first
    losses over their size. First steps in seconds, the peer's compiled one with what it keeps on disk; memory in bytes
    above what the process had before the model."""

    name: str
    own: Seconds | None = None
    peer: Seconds | None = None
    peer_compiled: Seconds | None = None
    error: float | None = None
    gflops: float | None = None
    cold_s: float | None = None
    cached_s: float | None = None
    nbytes: int | None = None
    peer_nbytes: int | None = None
    peer_compiled_s: float | None = None
    peer_compiled_nbytes: int | None = None
    note: str = ""


@dataclass
class _Side:
    """A step of one library. `first_s`: seconds of the first; `nbytes`: the most of its GPU's memory."""

    lib: Library
    built: Built
    step: Callable[..., Any]
    before: int = 0
    first_s: float = 0.0
    nbytes: int | None = None

    def read(self) -> Any:
        """One step, and its loss, or what it made."""
        found = self.step(*self.built.inputs)
        return found if self.built.model is None else float(found)

    def checked(self, count: int) -> list[Any]:
        """What so many steps gave. On a GPU the most memory so far is noted."""
        started = time.perf_counter()
        found = [self.read()]
        self.first_s = time.perf_counter() - started
        found += [self.read() for _ in range(count - 1)]
        if self.lib.on_gpu:
            self.nbytes = _memory(self.lib)[1] - self.before
        return found

    def clock(self) -> Clock:
        """Times steps, each waited for on a CPU, all together on a GPU."""

        def seconds(count: int) -> float:
            started = time.perf_counter()
            if self.lib.on_gpu and self.built.model is not None:
                for _ in range(count - 1):
                    self.step(*self.built.inputs)
                count = 1
            for _ in range(count):
                self.read()
            return time.perf_counter() - started

        return seconds


def chosen(only: str = "", device: str = "cpu") -> list[Workload]:
    """Workloads of a device whose name contains `only`."""
    return [w for w in (WORKLOADS if device == "cpu" else CUDA_WORKLOADS) if only.lower() in w.name.lower()]


def bench_train(
    workloads: Sequence[Workload],
    threads: int,
    peer: str | None,
    rounds: int,
    quick: bool = False,
    device: str = "cpu",
    tune: bool = False,
) -> Iterator[TrainRow]:
    """Measure workloads one by one. `peer`: "torch" or None. `quick`: only steps in turn, without torch.compile, first
    steps and memory, which take the most time. `tune`: on a GPU, our first step measures who computes its products.
    Raises PeerError where torch is asked for and not there."""
    ours, theirs = heliostat(device), None if peer is None else torch(threads, device)
    for w in workloads:
        if reason := missing(w):
            yield TrainRow(w.name, note=reason)
            continue
        with contextlib.ExitStack() as kept:
            changes: dict[str, Any] = {"tune": True} if tune else {}
            if device != "cpu" and not quick:
                changes["cache_dir"] = Path(kept.enter_context(tempfile.TemporaryDirectory()))
            kept.enter_context(override(**changes))
            row = _row(w, ours, theirs, rounds, quick, str(changes.get("cache_dir", "")))
        yield row


def _row(w: Workload, ours: Library, theirs: Library | None, rounds: int, quick: bool, cache: str) -> TrainRow:
    """`cache`: where our side keeps what it compiles, if that is empty so far."""
    notes: list[str] = []
    device, peer = ours.device, None if theirs is None else theirs.name
    sides = {"own": _side(ours, w, compile if w.compiled else None)}
    error = None
    if theirs is None:
        sides["own"].checked(CHECKED)
    else:
        sides["peer"] = _side(theirs, w, None)
        copy_parameters(ours, sides["own"].built.model, theirs, sides["peer"].built.model)
        error = _difference(list(sides.values()))
        if w.compiled and not quick and (side := _torch_compile(theirs, w, notes)) is not None:
            sides["peer_compiled"] = side
    clocks = [side.clock() for side in sides.values()]
    times = dict(zip(sides, clocks_in_turn(clocks, rounds, each=0.5), strict=True))
    flops = w.flops(w.sizes)
    found: dict[str, Any] = {**times, "error": error, "cold_s": sides["own"].first_s if cache else None}
    found["gflops"] = flops / times["own"].best / 1e9 if flops else None
    if "peer_compiled" in sides:
        found["peer_compiled_s"] = sides["peer_compiled"].first_s
    for name, side in sides.items():
        key = {"own": "nbytes", "peer": "peer_nbytes"}.get(name, f"{name}_nbytes")
        found[key] = side.nbytes
    del sides, clocks
    if device != "cpu":
        _give_back(ours, theirs)
    if w.compiled and not quick:
        apart = _apart(w.name, peer, notes, device, cache)
        found |= {key: value for key, value in apart.items() if value is not None}
    return TrainRow(w.name, **found, note="; ".join(notes))


def missing(w: Workload) -> str:
    """Why a workload cannot run here; "" if it can."""
    if w.amp and importlib.util.find_spec("heliostat.amp") is None:
        return "skipped: heliostat has no autocast yet"
    return ""


def _side(lib: Library, w: Workload, compiled: Callable[[Any], Any] | None) -> _Side:
    before = 0
    if lib.on_gpu:
        lib.root.cuda.reset_peak_memory_stats(lib.device)
        before = _memory(lib)[0]
    built = w.build(lib, w.sizes)
    return _Side(lib, built, built.step if compiled is None else compiled(built.step), before)


def _memory(lib: Library) -> tuple[int, int]:
    """Bytes in use, and the most there were: of a GPU's memory by the library's pool, else of this process."""
    if lib.on_gpu:
        cuda = lib.root.cuda
        return int(cuda.memory_allocated(lib.device)), int(cuda.max_memory_allocated(lib.device))
    return rss_bytes(), _peak()


def _give_back(*libraries: Library | None) -> None:
    """Memory of a GPU that a workload no longer uses."""
    gc.collect()
    for lib in libraries:
        if lib is not None:
            lib.root.cuda.empty_cache()


def _difference(sides: Sequence[_Side]) -> float:
    rows = [[np.asarray(loss, np.float64) for loss in side.checked(CHECKED)] for side in sides]
    return max(float(np.abs(a - b).max() / max(1e-30, np.abs(b).max())) for a, b in zip(*rows, strict=True))


def _torch_compile(lib: Library, w: Workload, notes: list[str]) -> _Side | None:
    if not lib.on_gpu and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        notes.append("torch.compile skipped: no C++ compiler")
        return None
    side = _side(lib, w, lib.root.compile)
    try:
        side.checked(CHECKED)
    except Exception as error:  # what the peer cannot do is its result, not ours
        notes.append(f"torch.compile failed: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
        return None
    return side


# --- processes of their own -------------------------------------------------------------------------------------------
_CODE = "import sys; from heliostat.bench.train import first_steps; first_steps(*sys.argv[1:])"


def first_steps(side: str, name: str, device: str = "cpu", steps: str = "4") -> None:
    """Print what the first step took and what `steps` took of memory, as JSON. Run in a process of its own."""
    (w,) = [w for w in chosen("", device) if w.name == name]
    lib = heliostat(device) if side == "heliostat" else torch(os.cpu_count() or 1, device)
    before = _memory(lib)[0]
    made = _side(lib, w, compile if side == "heliostat" and w.compiled else None)
    made.checked(int(steps) + 1)
    print(json.dumps({"first_s": made.first_s, "nbytes": _memory(lib)[1] - before}))


def _peak() -> int:
    """Most bytes of this program that were in memory; what `getrusage` tells includes its parent before `exec`."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return peak_rss_bytes()


def _apart(name: str, peer: str | None, notes: list[str], device: str, cache: str) -> dict[str, Any]:
    """`cache`: what our first step left on disk; "" where there was none."""
    if cache:
        return {"cached_s": _process("heliostat", name, cache, notes, device).get("first_s")}
    with tempfile.TemporaryDirectory() as empty:
        cold, cached = (_process("heliostat", name, empty, notes, device) for _ in range(2))
    other = {} if peer is None else _process("torch", name, "", notes, device)
    return {
        "cold_s": cold.get("first_s"), "cached_s": cached.get("first_s"), "nbytes": cached.get("nbytes"),
        "peer_nbytes": other.get("nbytes"),
    }  # fmt: skip


def _process(side: str, name: str, cache: str, notes: list[str], device: str = "cpu") -> dict[str, Any]:
    environment = dict(os.environ)
    if cache:  # the driver of a GPU keeps what it makes of PTX in a folder of its own
        environment |= {"HELIOSTAT_CACHE_DIR": cache, "CUDA_CACHE_PATH": str(Path(cache, "driver"))}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, side, name, device], capture_output=True, text=True, check=False, env=environment
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        notes.append(f"{side} by itself failed: {why[:100]}")
        return {}
    return found
