"""Memory for packed weights, brought in while the rest of a model is loaded."""

from __future__ import annotations

import threading
from pathlib import Path

from ..diagnostics import DeviceError
from ..runtime.buffer import Buffer
from ..runtime.platform import populate_pages, release_pages
from .checkpoint import Checkpoint
from .gguf import GGUFFile


class Reserve:
    """Memory for packed weights, whose pages the system brings in while the file's header is read and programs are
    found. Handed out in pieces."""

    def __init__(self, path: str | Path) -> None:
        """Room for what a file of that size packs into; less than half of it, and at most 1 GB, is brought in before
        `prepare` or `expect` says what is needed."""
        place = Path(path)
        size = place.stat().st_size if place.is_file() else 0
        try:
            self.memory = Buffer.allocate(size + size // 4 + 64, zeroed=False)
        except DeviceError:  # no model may be in such a file: the reader says so first
            size, self.memory = 0, Buffer.allocate(64, zeroed=False)
        self.used = self._next = self._expected = 0
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.expect(min(size * 2 // 5, 1 << 30), threads=1)

    def prepare(self, nbytes: int) -> None:
        """So many bytes will be taken if the file's header is what it seems: they are brought in as far as there is
        room, while its vocabulary and programs are read."""
        if nbytes <= self.memory.nbytes:
            self.expect(nbytes, threads=1)

    def expect(self, nbytes: int, threads: int = 2) -> None:
        """So many bytes will be taken in all. Starts again with other memory where that is more than was set aside."""
        if nbytes > self.memory.nbytes:
            self.memory, self._next = Buffer.allocate(nbytes, zeroed=False), 0
        self._expected = nbytes
        for _ in range(threads):
            thread = threading.Thread(target=self._populate, name="heliostat-populate", daemon=True)
            self._threads.append(thread)
            thread.start()

    def give_back(self) -> None:
        """Give back the pages that are there, none of which may be taken yet; `expect` brings them in again."""
        with self._lock:
            self._expected = 0
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        release_pages(self.memory.address, self.memory.nbytes)
        self._next = 0

    def _populate(self) -> None:
        step = 32 << 20  # piece by piece: the packing of the first need not wait for the last
        while True:
            with self._lock:
                memory, start = self.memory, self._next
                end = min(start + step, self._expected)  # pages that nobody takes would stay
                if start >= end:
                    return
                self._next = end
            if not populate_pages(memory.address + start, end - start):
                return

    def take(self, nbytes: int) -> Buffer:
        """The next piece, at a multiple of 4096 bytes; new memory where too little was set aside."""
        start = -(-self.used // 4096) * 4096
        if start + nbytes > self.memory.nbytes:
            return Buffer.allocate(max(nbytes, 64), zeroed=False)
        self.used = start + nbytes
        return self.memory.slice(start, nbytes)


def packed_nbytes(file: GGUFFile | Checkpoint, lanes: int) -> int:
    """About what the matrices of a file take in panels, alignment included. Embeddings are read as they are, unless
    they are the output head too.
    """
    total = 0
    for info in file.tensors.values():
        if (
            len(info.shape) == 2
            and info.nbytes
            and not (info.name == "token_embd.weight" and "output.weight" in file.tensors)
        ):
            rows = info.shape[0]
            total += -(-rows // lanes) * lanes * (info.nbytes // rows) + 4096
    return total
