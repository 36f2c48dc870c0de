"""What a data worker does: it gets lists of indices, makes batches of them, and sends these back.

A thread of its own sends, so that the next batch is made while one is on its way.
"""

from __future__ import annotations

import itertools
import os
import pickle
import queue
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..settings import override
from ..tensor.random import default_generator


@dataclass(frozen=True)
class WorkerInfo:
    """Of a worker process: its number, how many there are, its seed, and its copy of the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Here:
    info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """What this worker process is; None elsewhere."""
    return _Here.info


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker. `index`: of the item, None where it is not known. `cause`: pickled, or None."""

    kind: str
    text: str
    trace: str
    index: Any
    cause: bytes | None

    def error(self) -> BaseException | None:
        """The error itself, where it could be pickled."""
        if self.cause is None:
            return None
        found: BaseException = pickle.loads(self.cause)
        return found


class EndOfData:
    """Sent in place of a batch when an iterable data set has no more."""


class Fetcher:
    """Makes batches of a data set. `index` is that of the item being fetched."""

    def __init__(self, dataset: Any, iterable: bool, batched: bool, collate: Callable[[Any], Any], drop: bool) -> None:
        self.dataset, self.iterable, self.batched, self.collate, self.drop = dataset, iterable, batched, collate, drop
        self.items = iter(dataset) if iterable else None
        self.index: Any = None

    def fetch(self, indices: Any) -> Any:
        """A batch of indices; of an iterable data set the next batch of as many. Raises StopIteration at the end."""
        self.index = None
        if self.items is not None:
            if not self.batched:
                return self.collate(next(self.items))
            found = list(itertools.islice(self.items, len(indices)))
            if not found or (self.drop and len(found) < len(indices)):
                raise StopIteration
            return self.collate(found)
        if not self.batched:
            self.index = indices
            found = self.dataset[indices]
        elif callable(getattr(self.dataset, "__getitems__", None)):
            self.index = indices
            found = self.dataset.__getitems__(indices)
        else:
            found = []
            for self.index in indices:
                found.append(self.dataset[self.index])
        self.index = None
        return self.collate(found)


def failure(error: BaseException, index: Any) -> Failure:
    """A record of an error, with the error itself where it can be pickled."""
    try:
        cause = pickle.dumps(error)
        pickle.loads(cause)
    except Exception:  # whatever a user's exception does
        cause = None
    return Failure(type(error).__name__, str(error), "".join(traceback.format_exception(error)), index, cause)


def work(number: int, count: int, link: Connection, make: tuple[Any, bool, bool, Any, bool], begin: Any) -> None:
    """The worker's whole life. Messages in: ("epoch", n, seed), ("batch", n, index of it, indices), None to end. Out:
    (epoch, index of the batch, Failure | EndOfData | the batch)."""
    with override(threads=1):
        out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        sender = threading.Thread(target=_send, args=(link, out), daemon=True)
        sender.start()
        try:
            _serve(number, count, link, out, make, begin)
        except (EOFError, OSError, KeyboardInterrupt):
            return  # the parent is gone
        out.put(None)
        sender.join()


def _send(link: Connection, out: Any) -> None:
    while (message := out.get()) is not None:
        try:
            link.send_bytes(message)
        except OSError:
            os._exit(1)  # nobody listens any more


def _packed(epoch: int, batch: int, found: Any) -> bytes:
    try:
        return pickle.dumps((epoch, batch, found), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # the batch holds what cannot be pickled
        return pickle.dumps((epoch, batch, failure(error, None)))


def _serve(number: int, count: int, link: Connection, out: Any, make: Any, begin: Any) -> None:
    fetcher: Fetcher | None = None
    problem: Failure | None = None
    epoch, begun, ended = 0, False, False
    while (message := link.recv()) is not None:
        if message[0] == "epoch":
            _, epoch, seed = message
            fetcher, problem, ended = None, None, False
            seed += number
            random.seed(seed)
            np.random.seed(seed & 0xFFFFFFFF)
            default_generator.manual_seed(seed)
            _Here.info = WorkerInfo(number, count, seed, make[0])
            try:
                if not begun and begin is not None:
                    begin(number)
                begun = True
                fetcher = Fetcher(*make)
            except Exception as error:
                problem = failure(error, None)
            continue
        _, _, batch, indices = message
        found: Any
        if fetcher is None:
            found = problem
        elif ended:
            found = EndOfData()
        else:
            try:
                found = fetcher.fetch(indices)
            except StopIteration as error:
                ended = fetcher.iterable
                found = EndOfData() if ended else failure(error, fetcher.index)
            except Exception as error:
                found = failure(error, fetcher.index)
        out.put(_packed(epoch, batch, found))
