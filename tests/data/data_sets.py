"""Data sets that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import heliostat as hs
from heliostat import data


class Squares(data.Dataset):
    """(i, i^2) as an int and a tensor of 3."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return i, hs.tensor(np.full(3, float(i * i), np.float32))


class Uneven(Squares):
    """As Squares, the even items late."""

    def __getitem__(self, i: int) -> Any:
        time.sleep(0.05 if i % 2 == 0 else 0)
        return super().__getitem__(i)


class Failing(Squares):
    """Item 5 raises."""

    def __getitem__(self, i: int) -> Any:
        if i == 5:
            raise KeyError("no such picture")
        return super().__getitem__(i)


class Dying(Squares):
    """Item 5 kills the process."""

    def __getitem__(self, i: int) -> Any:
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


class Slow(Squares):
    """Item 2 takes very long."""

    def __getitem__(self, i: int) -> Any:
        time.sleep(60 if i == 2 else 0)
        return super().__getitem__(i)


class Unsendable(Squares):
    """Item 3 cannot be pickled."""

    def __getitem__(self, i: int) -> Any:
        return (lambda: i) if i == 3 else i


class Big(Squares):
    """Items of 4 MB, far more than a pipe holds."""

    def __getitem__(self, i: int) -> Any:
        return np.full(1 << 20, i, np.float32)


class Who(Squares):
    """(i, the worker's number, a random number, the process)."""

    def __getitem__(self, i: int) -> Any:
        info = data.get_worker_info()
        assert info is not None
        return i, info.id, float(hs.rand(1)), float(np.random.random()), os.getpid()


class Shares(data.IterableDataset):
    """0 .. n - 1; each worker gives its share."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        info = data.get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.n, step))


class Mark:
    """A worker_init_fn that leaves a file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, worker: int) -> None:
        with open(f"{self.folder}/{worker}", "a") as file:  # noqa: PTH123
            file.write("x")


def refuse(worker: int) -> None:
    raise ValueError(f"worker {worker} will not")


def as_list(batch: Any) -> Any:
    return list(batch)
