"""Launches whose shares are cut into chunks, which threads that are through with their own take over from others.

Kernels say how many chunks (`Kernel.chunks`); `hs_share` of `runtime/walker.py` hands them out.
"""

from __future__ import annotations

import os
import weakref

import numpy as np

from ..kernel.program import Launch, Program
from ..runtime.buffer import Buffer
from ..runtime.walker import Share
from ..runtime.worker_pool import native


class Shares:
    """What is counted for a bound program's launches. Hold it for as long as the program's table of launches is run.

    `alone`: whether the program always runs on the caller's thread, where there is nothing to take over."""

    def __init__(self, program: Program, threads: int, alone: bool) -> None:
        self.each = Share.nbytes(threads)
        cut = [n for n, x in enumerate(program.launches) if x.chunks > 1] if threads > 1 and not alone else []
        self.places = {launch: self.each * n for n, launch in enumerate(cut)}
        if cut:
            self.memory = Buffer.allocate(self.each * len(cut))
            _shared.add(self)

    def bound(self, n: int, launch: Launch, code: int, arguments: int) -> tuple[int, int]:
        """Function and arguments for the table of launches, of launch number n with these of its kernel."""
        if n not in self.places:
            return code, arguments
        share = self.memory.slice(self.places[n], self.each)
        share.array(np.int64, 3)[:] = code, arguments, launch.chunks
        return native().share, share.address

    def begin_anew(self) -> None:
        """In a forked child: nobody is at work, so that all chunks are to be taken."""
        counts = self.memory.array(np.int64).reshape(-1, self.each // 8)
        counts[:, Share.DONE // 8 :] = 0


_shared: weakref.WeakSet[Shares] = weakref.WeakSet()
"""Those that count chunks, which a fork may find half done by another thread."""


def _after_fork() -> None:
    for shares in list(_shared):
        shares.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
