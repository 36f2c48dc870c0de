"""`DataLoader`: batches of a data set, made here or by worker processes, always in the same order.

Batch n is made by worker n modulo their number and taken in turn, so the order does not depend on who is faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..diagnostics import DataWorkerError, UnsupportedError
from ..tensor.random import Generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .pool import Workers
from .sampler import BatchSampler, RandomSampler, SequentialSampler, new_seed
from .worker import EndOfData, Failure, Fetcher

FIXED = frozenset({"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"})
"""Options that stay as a loader was made with."""


class DataLoader:
    """Batches of a data set. Options as torch.utils.data.DataLoader; worker processes start afresh (spawn or
    forkserver), so what they get must be picklable and a script needs `if __name__ == "__main__"`."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check(num_workers, timeout, prefetch_factor, persistent_workers, in_order, pin_memory_device)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory  # without meaning: there is one memory
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.generator, self.persistent_workers, self.in_order = generator, persistent_workers, in_order
        self.iterable = isinstance(dataset, IterableDataset)
        if self.iterable:
            for name, value in (("shuffle", shuffle), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value not in (None, False):
                    raise ValueError(f"DataLoader with IterableDataset: {name} has no meaning, found {value!r}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler excludes batch_size, shuffle, sampler, and drop_last")
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None makes no batches, and drop_last has no meaning")
        if sampler is None and not self.iterable and batch_sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None and not self.iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        elif batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        self.batch_size, self.drop_last, self.sampler, self.batch_sampler = (
            batch_size,
            drop_last,
            sampler,
            batch_sampler,
        )
        self.collate_fn = collate_fn or (default_collate if self._batched else default_convert)
        self._workers: Workers | None = None
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Raise ValueError for options that what was made of them would not follow."""
        if name in FIXED and getattr(self, "_made", False):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _batched(self) -> bool:
        return self.batch_sampler is not None or (self.iterable and self.batch_size is not None)

    def _indices(self) -> Iterator[Any]:
        if self.iterable:
            return itertools.repeat(range(self.batch_size or 1))
        order: Iterable[Any] = self.batch_sampler if self.batch_sampler is not None else self.sampler
        return iter(order)

    @property
    def fetching(self) -> tuple[Any, bool, bool, Callable[[Any], Any], bool]:
        """What a `Fetcher` is made with."""
        return self.dataset, self.iterable, self._batched, self.collate_fn, self.drop_last

    def __iter__(self) -> Iterator[Any]:
        seed = new_seed(self.generator)
        if self.num_workers == 0:
            return self._here()
        if self._workers is None or self._workers.closed or not self.persistent_workers:
            self._workers = Workers(self)
        return _Parallel(self, self._workers, seed)

    def _here(self) -> Iterator[Any]:
        fetcher = Fetcher(*self.fetching)
        for indices in self._indices():
            try:
                found = fetcher.fetch(indices)
            except StopIteration:
                if self.iterable:
                    return
                raise RuntimeError(f"the data set raised StopIteration for index {fetcher.index}") from None
            yield found

    def __len__(self) -> int:
        if not self.iterable:
            return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _check(workers: int, timeout: float, ahead: int | None, stay: bool, in_order: bool, device: str) -> None:
    if workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if workers == 0 and ahead is not None:
        raise ValueError("prefetch_factor option needs num_workers > 0")
    if ahead is not None and ahead < 1:
        raise ValueError("prefetch_factor option should be at least 1")
    if stay and workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if not in_order:
        raise UnsupportedError("DataLoader: in_order=False is not supported", help="batches come in order here")
    if device not in ("", "cpu"):
        raise UnsupportedError(f"DataLoader: pin_memory_device={device!r} is not supported", help="devices: cpu")


class _Parallel:
    """One pass over the data by workers. An item's error is raised in its turn, and the pass can go on after it."""

    def __init__(self, loader: DataLoader, workers: Workers, seed: int) -> None:
        self.workers, self.keep = workers, loader.persistent_workers
        self.epoch = workers.begin(seed)
        self.indices = enumerate(loader._indices())
        self.pending: list[tuple[int, int, Any]] = []
        for _ in range(loader.prefetch_factor or 1):
            for worker in range(loader.num_workers):
                self._order(worker)

    def _order(self, worker: int) -> None:
        found = next(self.indices, None)
        if found is not None:
            self.workers.send(worker, *found)
            self.pending.append((worker, *found))

    def __iter__(self) -> _Parallel:
        return self

    def __next__(self) -> Any:
        if self.epoch != self.workers.epoch:
            raise RuntimeError("the workers are busy with a newer pass over this loader")
        while self.pending:
            worker, batch, indices = self.pending.pop(0)
            try:
                found = self.workers.receive(worker, batch, indices)
            except BaseException:
                self.pending.clear()
                self.workers.close()
                raise
            if isinstance(found, EndOfData):
                continue
            self._order(worker)
            if isinstance(found, Failure):
                raise _error(worker, batch, indices, found)
            return found
        if not self.keep:
            self.workers.close()
        raise StopIteration

    def __del__(self) -> None:
        if not getattr(self, "keep", True):
            self.workers.close()


def _error(worker: int, batch: int, indices: Any, found: Failure) -> DataWorkerError:
    index = found.index
    where = f"at index {index}" if index is not None else f"in batch {batch}"
    error = DataWorkerError(
        f"data worker {worker} failed {where}: {found.kind}: {found.text}",
        worker=worker, batch=batch, index=index, kind=found.kind, trace=found.trace,
    )  # fmt: skip
    error.__cause__ = found.error()
    return error
