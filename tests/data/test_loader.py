"""Loaders, here and with worker processes: order, errors, death, timeouts, seeds."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from data.data_sets import (
    Big,
    Dying,
    Failing,
    Mark,
    Shares,
    Slow,
    Squares,
    Uneven,
    Unsendable,
    Who,
    as_list,
    refuse,
)  # fmt: skip
from heliostat.data import DataLoader, RandomSampler, TensorDataset, get_worker_info
from heliostat.diagnostics import DataWorkerError, UnsupportedError
from heliostat.tensor import lazy


@pytest.fixture(scope="module", autouse=True)
def prepared_server() -> None:
    """Workers of `working` come from a process that has the package: by `spawn` each takes a second to start."""
    multiprocessing.set_forkserver_preload(["pytest", "heliostat.data", "heliostat.tensor"])


def working(*arguments: Any, **options: Any) -> DataLoader:
    """A loader with worker processes that start quickly."""
    return DataLoader(*arguments, multiprocessing_context="forkserver", **options)


def numbers(loader: Any) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def test_batches_here() -> None:
    loader = DataLoader(Squares(10), batch_size=4)
    found = list(loader)
    assert [b[0].tolist() for b in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert tuple(found[0][1].shape) == (4, 3)
    assert found[1][1][1].tolist() == [25.0] * 3
    assert found[0][0].dtype == hs.int64
    assert len(loader) == 3
    assert len(DataLoader(Squares(10), batch_size=4, drop_last=True)) == 2
    assert numbers(DataLoader(Squares(10), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_without_batches_items_are_converted() -> None:
    found = list(DataLoader(Squares(3), batch_size=None))
    assert [f[0] for f in found] == [0, 1, 2]
    assert found[2][1].tolist() == [4.0] * 3
    assert [list(b) for b in DataLoader([1, 2, 3], batch_size=2, collate_fn=as_list)] == [[1, 2], [3]]
    assert list(DataLoader(range(5), batch_sampler=[[4, 0], [2]], collate_fn=as_list)) == [[4, 0], [2]]


def test_shuffling_follows_the_seed() -> None:
    def order(seed: int) -> list[int]:
        g = hs.Generator().manual_seed(seed)
        return [i for batch in numbers(DataLoader(Squares(20), 3, shuffle=True, generator=g)) for i in batch]

    assert order(3) == order(3) != order(4)
    assert sorted(order(3)) == list(range(20))
    hs.manual_seed(1)
    loader = DataLoader(Squares(20), 20, shuffle=True)
    first, second = numbers(loader), numbers(loader)
    assert first != second
    hs.manual_seed(1)
    assert numbers(loader) == first


def test_batches_compile_nothing() -> None:
    rows = TensorDataset(hs.tensor(np.arange(60.0).reshape(20, 3)), hs.tensor(np.arange(20)))
    list(DataLoader(rows, 4, shuffle=True))
    before = lazy.programs.misses
    for x, y in DataLoader(rows, 4, shuffle=True):
        assert (x[:, 0].numpy() == y.numpy() * 3).all()
    assert lazy.programs.misses <= before + 1


def test_a_tensor_is_a_data_set() -> None:
    x = hs.tensor(np.arange(60.0).reshape(20, 3))
    before = lazy.programs.misses
    found = [b.tolist() for b in DataLoader(x, 8)]
    assert [row for b in found for row in b] == x.tolist()
    assert lazy.programs.misses == before


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_give_the_same_batches(method: str) -> None:
    expected = numbers(DataLoader(Uneven(11), 2))
    loader = DataLoader(Uneven(11), 2, num_workers=2, multiprocessing_context=method, prefetch_factor=3)
    assert numbers(loader) == expected
    ((_, x), *_) = list(loader)
    assert x[1].tolist() == [1.0] * 3


def test_workers_have_numbers_and_seeds() -> None:
    def rows(seed: int) -> list[Any]:
        loader = working(Who(6), 1, num_workers=2, generator=hs.Generator().manual_seed(seed), collate_fn=as_list)
        return [row[:4] for (row,) in loader]

    first = rows(5)
    assert [r[:2] for r in first] == [(i, i % 2) for i in range(6)]
    assert len({r[2] for r in first}) == len({r[3] for r in first}) == 6
    assert rows(5) == first
    assert rows(6) != first
    assert get_worker_info() is None


def test_persistent_workers_stay(tmp_path: Path) -> None:
    loader = working(
        Who(8), 2, num_workers=2, persistent_workers=True, collate_fn=as_list, worker_init_fn=Mark(str(tmp_path))
    )
    first = list(loader)
    it = iter(loader)
    next(it)  # a pass that is given up
    second = list(loader)
    with pytest.raises(RuntimeError, match="newer pass"):
        next(it)
    assert {row[4] for b in first for row in b} == {row[4] for b in second for row in b}
    assert [row[0] for b in second for row in b] == list(range(8))
    assert [row[2] for b in second for row in b] != [row[2] for b in first for row in b]
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"0": "x", "1": "x"}


def test_an_error_names_worker_and_index() -> None:
    loader = working(Failing(8), 2, num_workers=2)
    it = iter(loader)
    assert next(it)[0].tolist() == [0, 1]
    assert next(it)[0].tolist() == [2, 3]
    with pytest.raises(DataWorkerError, match=r"worker 0 failed at index 5: KeyError: .*no such picture") as caught:
        next(it)
    error = caught.value
    assert (error.worker, error.batch, error.index, error.kind) == (0, 2, 5, "KeyError")
    assert isinstance(error.__cause__, KeyError)
    assert "__getitem__" in error.trace
    assert pickle.loads(pickle.dumps(error)).index == 5
    assert next(it)[0].tolist() == [6, 7]
    with pytest.raises(StopIteration):
        next(it)


def test_death_names_worker_and_indices() -> None:
    loader = working(Dying(8), 2, num_workers=2, prefetch_factor=1)
    it = iter(loader)
    assert [next(it)[0].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(DataWorkerError, match=r"worker 0 died by signal 9 .*batch 2 \(indices \[4, 5\]\)") as caught:
        next(it)
    assert (caught.value.worker, caught.value.kind, caught.value.index) == (0, "death", [4, 5])
    assert numbers(working(Squares(2), 2, num_workers=1)) == [[0, 1]]


def test_a_timeout_is_an_error() -> None:
    with pytest.raises(DataWorkerError, match=r"made nothing of batch . \(indices \[.\]\) in 3 s") as caught:
        list(working(Slow(4), 1, num_workers=2, timeout=3))
    assert caught.value.kind == "timeout"


def test_a_failing_start_is_an_error() -> None:
    with pytest.raises(DataWorkerError, match="worker 0 failed in batch 0: ValueError: worker 0 will not"):
        list(working(Squares(4), 2, num_workers=1, worker_init_fn=refuse))
    with pytest.raises(DataWorkerError, match="collate_fn cannot be sent"):
        list(working(Squares(4), 2, num_workers=1, collate_fn=lambda b: b))


def test_a_batch_that_cannot_be_sent_is_an_error() -> None:
    loader = working(Unsendable(4), 2, num_workers=1, collate_fn=as_list)
    it = iter(loader)
    assert next(it) == [0, 1]
    with pytest.raises(DataWorkerError, match="batch 1"):
        next(it)


def test_batches_larger_than_a_pipe() -> None:
    loader = working(Big(6), 1, num_workers=2)
    assert [float(b[0, -1]) for b in loader] == list(map(float, range(6)))
    it = iter(loader)
    next(it)
    del it  # workers that are sending end
    gc.collect()
    assert not multiprocessing.active_children()


def test_iterable_data_sets() -> None:
    assert [b.tolist() for b in DataLoader(Shares(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in DataLoader(Shares(7), 3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(DataLoader(Shares(3), None)) == [0, 1, 2]
    found = [b.tolist() for b in working(Shares(9), 2, num_workers=2)]
    assert found == [[0, 2], [1, 3], [4, 6], [5, 7], [8]]
    assert len(DataLoader(Shares(9), 2)) == 5


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"num_workers": -1}, ValueError, "num_workers"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor"),
        ({"persistent_workers": True}, ValueError, "persistent_workers"),
        ({"shuffle": True, "sampler": range(4)}, ValueError, "exclusive"),
        ({"batch_sampler": [[1]], "batch_size": 3}, ValueError, "batch_sampler"),
        ({"batch_size": None, "drop_last": True}, ValueError, "drop_last"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"in_order": False}, UnsupportedError, "in_order"),
        ({"pin_memory_device": "cuda"}, UnsupportedError, "pin_memory_device"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        DataLoader(Squares(4), **options)


def test_options_that_would_be_ignored_cannot_be_set() -> None:
    loader = DataLoader(Squares(4), 2)
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ValueError, match=name):
            setattr(loader, name, getattr(loader, name))
    loader.collate_fn = as_list
    assert [len(batch) for batch in loader] == [2, 2]
    assert [len(batch) for batch in DataLoader(loader.dataset, 3, collate_fn=as_list)] == [3, 1]


def test_more_refusals() -> None:
    with pytest.raises(ValueError, match="shuffle"):
        DataLoader(Shares(4), shuffle=True)
    with pytest.raises(UnsupportedError, match="forked"):
        iter(DataLoader(Squares(4), num_workers=1, multiprocessing_context="fork"))
    assert len(DataLoader(Squares(4), sampler=RandomSampler(Squares(4)), pin_memory=True)) == 4
