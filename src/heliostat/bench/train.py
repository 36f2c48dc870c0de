"""Times the train suite: steps of heliostat, of torch and of torch.compile in turn, after a check that their losses
agree; first steps with an empty and with a filled cache, and peak memory, each in a process of its own.
"""

from __future__ import annotations

import contextlib
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
from ..tensor.compile import compile
from .compare import Seconds, time_in_turn
from .training import WORKLOADS, Built, Library, Workload, copy_parameters, heliostat, torch

CHECKED = 3  # steps whose losses are compared


@dataclass(frozen=True)
class TrainRow:
    """One workload. Seconds of a step; `note`: why something was not measured. `error`: largest difference of the first
    losses over their size. First steps in seconds; memory in bytes above what the process had before the model."""

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
    note: str = ""


def chosen(only: str = "") -> list[Workload]:
    """Workloads whose name contains `only`."""
    return [w for w in WORKLOADS if only.lower() in w.name.lower()]


def bench_train(
    workloads: Sequence[Workload], threads: int, peer: str | None, rounds: int, quick: bool = False
) -> Iterator[TrainRow]:
    """Measure workloads one by one. `peer`: "torch" or None. `quick`: only steps in turn, without torch.compile, first
    steps and memory, which take the most time. Raises PeerError where torch is asked for and not there."""
    ours, theirs = heliostat(), None if peer is None else torch(threads)
    for w in workloads:
        reason = missing(w)
        if reason:
            yield TrainRow(w.name, note=reason)
            continue
        notes: list[str] = []
        built = w.build(ours, w.sizes)
        sides: list[Callable[[], object]] = [_call(ours, w, built, compile if w.compiled else None)]
        names = ["own"]
        error = None
        if theirs is not None:
            other = w.build(theirs, w.sizes)
            copy_parameters(ours, built.model, theirs, other.model)
            sides.append(_call(theirs, w, other, None))
            names.append("peer")
            error = _difference(sides)
            if w.compiled and not quick:
                call = _torch_compile(theirs, w, notes)
                if call is not None:
                    sides.append(call)
                    names.append("peer_compiled")
        times = dict(zip(names, time_in_turn(sides, rounds, each=0.5), strict=True))
        flops = w.flops(w.sizes)
        found: dict[str, Any] = {**times, "error": error}
        found["gflops"] = flops / times["own"].best / 1e9 if flops else None
        if w.compiled and not quick:
            found |= _apart(w.name, peer, notes)
        yield TrainRow(w.name, **found, note="; ".join(notes))


def missing(w: Workload) -> str:
    """Why a workload cannot run here; "" if it can."""
    if w.amp and importlib.util.find_spec("heliostat.amp") is None:
        return "skipped: heliostat has no autocast yet"
    return ""


def _call(lib: Library, w: Workload, built: Built, compiled: Callable[[Any], Any] | None) -> Callable[[], object]:
    """One step, whose loss is read."""
    step = built.step if compiled is None else compiled(built.step)
    if built.model is None:
        return lambda: step(*built.inputs)
    return lambda: float(step(*built.inputs))


def _difference(sides: Sequence[Callable[[], Any]]) -> float:
    rows = [[np.asarray(call(), np.float64) for _ in range(CHECKED)] for call in sides[:2]]
    return max(float(np.abs(a - b).max() / max(1e-30, np.abs(b).max())) for a, b in zip(*rows, strict=True))


def _torch_compile(lib: Library, w: Workload, notes: list[str]) -> Callable[[], object] | None:
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        notes.append("torch.compile skipped: no C++ compiler")
        return None
    call = _call(lib, w, w.build(lib, w.sizes), lib.root.compile)
    try:
        call()
    except Exception as error:  # what the peer cannot do is its result, not ours
        notes.append(f"torch.compile failed: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
        return None
    return call


# --- processes of their own -------------------------------------------------------------------------------------------
_CODE = "import sys; from heliostat.bench.train import first_steps; first_steps(*sys.argv[1:])"


def first_steps(side: str, name: str, steps: str = "4") -> None:
    """Print what the first step took and what `steps` took of memory, as JSON. Run in a process of its own."""
    (w,) = [w for w in WORKLOADS if w.name == name]
    lib = heliostat() if side == "heliostat" else torch(os.cpu_count() or 1)
    before = rss_bytes()
    built = w.build(lib, w.sizes)
    call = _call(lib, w, built, compile if side == "heliostat" and w.compiled else None)
    started = time.perf_counter()
    call()
    seconds = time.perf_counter() - started
    for _ in range(int(steps)):
        call()
    print(json.dumps({"first_s": seconds, "nbytes": _peak() - before}))


def _peak() -> int:
    """Most bytes of this program that were in memory; what `getrusage` tells includes its parent before `exec`."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return peak_rss_bytes()


def _apart(name: str, peer: str | None, notes: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        cold, cached = (_process("heliostat", name, cache, notes) for _ in range(2))
    other = {} if peer is None else _process("torch", name, "", notes)
    return {
        "cold_s": cold.get("first_s"), "cached_s": cached.get("first_s"), "nbytes": cached.get("nbytes"),
        "peer_nbytes": other.get("nbytes"),
    }  # fmt: skip


def _process(side: str, name: str, cache: str, notes: list[str]) -> dict[str, Any]:
    environment = {**os.environ, **({"HELIOSTAT_CACHE_DIR": cache} if cache else {})}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, side, name], capture_output=True, text=True, check=False, env=environment
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        notes.append(f"{side} by itself failed: {why[:100]}")
        return {}
    return found
