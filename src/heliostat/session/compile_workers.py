"""Many kernels compiled at once, in processes beside this one.

Python prints LLVM IR; LLVM turns it into machine code, which takes most of the time, and for a GPU into PTX, which the
driver's assembler takes as long for again. The caller takes its share of the
texts, the longest first, and does what a process leaves undone: nothing depends on one that starts late or dies.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.jit import llvm_lock
from ..runtime.platform import available_cpus, default_threads
from ..settings import settings
from ..targets.llvm_worker import emit, read_answer, write_request
from ..targets.target import Target


@dataclass(frozen=True)
class Maker:
    """A compiler of texts: `make(stage, text, target)` here, and `module.serve()` in a process. `text`: characters for
    which one more process is worth its start."""

    make: Callable[[str, str, Target], bytes]
    module: str
    text: int


TEXT = 250_000
"""Characters of LLVM IR for which one more process is worth its start of 0.2 s: LLVM takes about 2 s for a million."""

PTX_TEXT = 300_000
"""The same of PTX: a process takes 1 s to come to the device, and the driver 3 s for a million characters."""

MOST = 8
"""Processes at most: each holds about 100 MB."""


def emit_all(
    stage: str,
    texts: Sequence[str],
    target: Target,
    keep: Callable[[int, bytes], object] = lambda n, code: None,
    done: Callable[[int], object] = lambda count: None,
    maker: Maker | None = None,
) -> list[bytes]:
    """Machine code (`object`) or `assembly` of every text, or what another `maker` than LLVM makes of it.

    `keep` gets the number of a text and its code as soon as that is made, in any thread; `done` how many are, in the
    caller's. Raises CompileError for text that LLVM refuses.
    """
    maker = maker or Maker(emit, "heliostat.targets.llvm_worker", TEXT)
    made: dict[int, bytes] = {}
    todo = sorted(range(len(texts)), key=lambda n: len(texts[n]))

    def take(make: Callable[[str], bytes | None]) -> bool:
        """Make one. Whether there was one to make, and it is made."""
        try:
            n = todo.pop()
        except IndexError:
            return False
        code = make(texts[n])
        if code is not None:
            made[n] = code
            keep(n, code)
        return code is not None

    def make(text: str) -> bytes:
        with llvm_lock:
            return maker.make(stage, text, target)

    def take_all() -> None:
        while take(make):
            done(len(made))

    workers = [_Worker(stage, target, take, maker.module) for _ in range(_processes(texts, maker.text))]
    try:
        take_all()
    except BaseException:  # Ctrl-C, or text that LLVM refuses: what others are at is of no use
        todo.clear()
        for worker in workers:
            worker.stop()
        raise
    finally:
        for worker in workers:
            worker.join()
    todo += [n for n in range(len(texts)) if n not in made]
    take_all()
    return [made[n] for n in range(len(texts))]


def _processes(texts: Sequence[str], text: int) -> int:
    """How many beside this one."""
    if not sys.executable or getattr(sys, "frozen", False):  # Python inside another program, which it would start anew
        return 0
    asked = settings().compile_workers
    if asked is not None:
        return min(asked, max(len(texts) - 1, 0))
    cores = min(len(available_cpus()), settings().threads or default_threads())
    return max(0, min(cores - 1, len(texts) - 1, MOST, sum(map(len, texts)) // text))


class _Worker(threading.Thread):
    """Has a process of its own make texts, one at a time, until none is left or the process fails."""

    def __init__(
        self, stage: str, target: Target, take: Callable[[Callable[[str], bytes | None]], bool], module: str
    ) -> None:
        super().__init__(name="heliostat-compile", daemon=True)
        self.stage, self.target, self.take, self.module = stage, target, take, module
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self.start()

    def stop(self) -> None:
        """Give up what it is at."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def run(self) -> None:
        here, paths = str(Path(__file__).parents[2]), [str(path) for path in sys.path]
        if here not in paths:
            paths = [here, *paths]
        code = f"import sys; sys.path[:] = {paths!r}; from {self.module} import serve; serve()"
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError:
            return
        with contextlib.suppress(OSError), process:  # a process that is gone does not take what was begun for it
            self._process = process
            while not self._stopped and self.take(lambda text: self._made(process, text)):
                pass
            process.kill()  # it holds nothing that is not kept

    def _made(self, process: subprocess.Popen[bytes], text: str) -> bytes | None:
        assert process.stdin
        assert process.stdout
        try:
            write_request(process.stdin, self.stage, text, self.target)
            return read_answer(process.stdout)
        except (OSError, MemoryError, OverflowError):  # gone, or an answer that is none: its length is anything
            return None
