"""The worker processes of a loader: starting, orders, answers, death, end."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import weakref
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from ..diagnostics import DataWorkerError, UnsupportedError
from .worker import work

if TYPE_CHECKING:
    from .loader import DataLoader

PATIENCE = 5.0  # seconds that a worker has to end by itself


class Workers:
    """Processes with a pipe to each. `epoch` counts passes over the data."""

    def __init__(self, loader: DataLoader) -> None:
        context = _context(loader.multiprocessing_context)
        self.count, self.timeout, self.epoch = loader.num_workers, loader.timeout or None, 0
        self.processes: list[Any] = []
        self.links: list[Any] = []
        self._close = weakref.finalize(self, _end, self.processes, self.links)
        try:
            for number in range(self.count):
                ours, theirs = context.Pipe()
                arguments = (number, self.count, theirs, loader.fetching, loader.worker_init_fn)
                process = context.Process(target=work, args=arguments, name=f"data worker {number}", daemon=True)
                self.links.append(ours)
                try:
                    process.start()
                finally:
                    theirs.close()
                self.processes.append(process)
        except BaseException as error:
            self._close()
            if isinstance(error, pickle.PicklingError | AttributeError | TypeError):
                _name_culprit(loader, error, len(self.processes))
            raise

    @property
    def closed(self) -> bool:
        """Whether the processes have ended."""
        return not self._close.alive

    def begin(self, seed: int) -> int:
        """Start a pass over the data, and give its number. What is on its way from the one before is thrown away."""
        self.epoch += 1
        for worker in range(self.count):
            self._tell(worker, ("epoch", self.epoch, seed))
        return self.epoch

    def send(self, worker: int, batch: int, indices: Any) -> None:
        """Order a batch."""
        self._tell(worker, ("batch", self.epoch, batch, indices))

    def _tell(self, worker: int, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # `receive` says so, in its turn
            self.links[worker].send(message)

    def receive(self, worker: int, batch: int, indices: Any) -> Any:
        """The answer to an order. Raises DataWorkerError if the worker is dead or takes longer than the timeout."""
        link, process = self.links[worker], self.processes[worker]
        while True:
            ready = wait([link, process.sentinel], self.timeout)
            if not ready:
                process.terminate()  # it would not see that it is to end either
                raise DataWorkerError(
                    f"data worker {worker} made nothing of batch {batch} (indices {indices}) in {self.timeout} s",
                    worker=worker, batch=batch, index=indices, kind="timeout",
                )  # fmt: skip
            try:
                if link not in ready:
                    raise EOFError
                epoch, _, found = pickle.loads(link.recv_bytes())
            except (EOFError, OSError):
                raise self._death(worker, batch, indices) from None
            if epoch == self.epoch:
                return found

    def _death(self, worker: int, batch: int, indices: Any) -> DataWorkerError:
        process = self.processes[worker]
        process.join(PATIENCE)
        code = process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return DataWorkerError(
            f"data worker {worker} died {how} before it had made batch {batch} (indices {indices})",
            worker=worker, batch=batch, index=indices, kind="death",
            help="if it died at its start, see that the script has `if __name__ == '__main__'`",
        )  # fmt: skip

    def close(self) -> None:
        """End the processes; a second time does nothing."""
        self._close()


def _context(given: Any) -> Any:
    context = multiprocessing.get_context(given or "spawn") if isinstance(given, str | None) else given
    method = context.get_start_method()
    if method == "fork":
        raise UnsupportedError("DataLoader: worker processes cannot be forked", help="use spawn or forkserver")
    return context


def _name_culprit(loader: DataLoader, error: BaseException, worker: int) -> None:
    """Raise DataWorkerError that names what cannot be pickled, if that is so."""
    named = {"dataset": loader.dataset, "collate_fn": loader.collate_fn, "worker_init_fn": loader.worker_init_fn}
    for name, value in named.items():
        if not _pickles(value):
            raise DataWorkerError(
                f"the {name} cannot be sent to a data worker: {error}",
                worker=worker, kind="start", help="define it at the top of a module",
            ) from error  # fmt: skip


def _pickles(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _end(processes: list[Any], links: list[Any]) -> None:
    for link in links:
        with contextlib.suppress(OSError):
            link.send(None)
        link.close()  # one that is sending ends by this
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.terminate()
            process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
