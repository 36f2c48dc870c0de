"""Orders of indices. Random ones come from a `Generator`: the same seed gives the same order everywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..diagnostics import UnsupportedError
from ..ir.types import f64
from ..tensor.conversion import as_tensor
from ..tensor.random import Generator, default_generator, multinomial, rand, randint, randperm


def new_seed(generator: Generator | None) -> int:
    """A seed drawn from a generator, on the host."""
    g = generator or default_generator
    words = np.random.Philox(key=g.initial_seed(), counter=[0, 0, g.next_draw(), 1]).random_raw(1)
    return int(words[0]) >> 1


class Sampler:
    """Base of all samplers: an iterable of indices, or of lists of them."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} needs __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2 ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """All indices in random order, again and again for more samples; with replacement each drawn by itself."""

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, left = len(self.data_source), self.num_samples
        g = self.generator or Generator().manual_seed(new_seed(None))
        while left > 0:
            drawn = randint(n, size=(min(left, 32),), generator=g) if self.replacement else randperm(n, generator=g)
            found = drawn.tolist()[:left]
            yield from found
            left -= len(found)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in randperm(len(self.indices), generator=self.generator).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with weights."""

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = as_tensor(weights, f64)
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but have shape {tuple(self.weights.shape)}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        if not self.replacement:
            return iter(multinomial(self.weights, self.num_samples, generator=self.generator).tolist())
        edges = np.cumsum(self.weights.array())
        if not (self.weights.array() >= 0).all() or not 0 < edges[-1] < np.inf:
            raise ValueError("weights must be at least 0, finite, and not all 0")
        drawn = rand(self.num_samples, generator=self.generator, dtype=f64).array() * edges[-1]
        return iter(np.searchsorted(edges, drawn, side="right").clip(max=len(edges) - 1).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of batch_size indices of another sampler."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler: Any = sampler
        self.batch_size, self.drop_last = batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class DistributedSampler(Sampler):
    """The indices of one of several processes, padded so that all have as many. Both numbers must be given."""

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        replicas, own = _place(num_replicas, rank)
        self.dataset, self.num_replicas, self.rank = dataset, replicas, own
        self.epoch, self.drop_last, self.shuffle, self.seed = 0, drop_last, shuffle, seed
        n = len(dataset)
        self.num_samples = n // replicas if drop_last else math.ceil(n / replicas)
        self.total_size = self.num_samples * replicas

    def __iter__(self) -> Iterator[int]:
        found = _shuffled(len(self.dataset), self.seed + self.epoch if self.shuffle else None)
        repeats = -(-self.total_size // max(1, len(found)))
        return iter((found * repeats)[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch


class RASampler(Sampler):
    """Each index `repetitions` times in a row, spread over processes. Source: arXiv 2105.13343."""

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        repetitions: int = 3,
    ) -> None:
        replicas, own = _place(num_replicas, rank)
        self.dataset, self.num_replicas, self.rank = dataset, replicas, own
        self.epoch, self.shuffle, self.seed, self.repetitions = 0, shuffle, seed, repetitions
        n = len(dataset)
        self.num_samples = math.ceil(n * repetitions / replicas)
        self.total_size = self.num_samples * replicas
        self.num_selected_samples = math.floor((n // 256 * 256 if n >= 256 else n) / replicas)

    def __iter__(self) -> Iterator[int]:
        once = _shuffled(len(self.dataset), self.seed + self.epoch if self.shuffle else None)
        found = [i for i in once for _ in range(self.repetitions)]
        found += found[: self.total_size - len(found)]
        return iter(found[self.rank : self.total_size : self.num_replicas][: self.num_selected_samples])

    def __len__(self) -> int:
        return self.num_selected_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch


def _place(replicas: int | None, rank: int | None) -> tuple[int, int]:
    if replicas is None or rank is None:
        raise UnsupportedError("there are no process groups to ask", help="give num_replicas and rank")
    if not 0 <= rank < replicas:
        raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {replicas - 1}]")
    return replicas, rank


def _shuffled(n: int, seed: int | None) -> list[int]:
    if seed is None:
        return list(range(n))
    found: list[int] = randperm(n, generator=Generator().manual_seed(seed)).tolist()
    return found
