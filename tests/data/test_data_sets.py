"""Data sets made of others, samplers, collation and mixing."""

from __future__ import annotations

from collections import Counter, namedtuple
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from data.data_sets import Shares, Squares
from heliostat import data
from heliostat.diagnostics import ShapeError, UnsupportedError

torch = pytest.importorskip("torch")
Pair = namedtuple("Pair", "x y")


def test_tensor_data_sets() -> None:
    d = data.TensorDataset(hs.tensor([[1.0, 2.0], [3.0, 4.0]]), hs.tensor([5, 6], dtype=hs.bfloat16))
    assert len(d) == 2
    assert d[1][0].tolist() == [3.0, 4.0]
    assert d[-1][1].dtype == hs.bfloat16
    assert [row[1].item() for row in d.__getitems__([1, 0])] == [6.0, 5.0]
    with pytest.raises(ValueError, match="length"):
        data.TensorDataset(hs.zeros(2), hs.zeros(3))


def test_data_sets_of_data_sets() -> None:
    both = data.ConcatDataset([[1, 2], [3], [4, 5, 6]])
    assert [both[i] for i in range(-6, 6)] == [1, 2, 3, 4, 5, 6] * 2
    with pytest.raises(IndexError):
        both[6]
    assert (Squares(2) + Squares(3))[4][0] == 2
    assert list(Shares(2) + Shares(3)) == [0, 1, 0, 1, 2]
    assert len(data.ChainDataset([Shares(2), Shares(3)])) == 5
    assert data.StackDataset([1, 2], "ab")[1] == (2, "b")
    named = data.StackDataset(x=[1, 2], y=data.Subset([7, 8, 9], [2, 0]))
    assert named[0] == {"x": 1, "y": 9}
    assert named.__getitems__([1, 0]) == [{"x": 2, "y": 7}, {"x": 1, "y": 9}]
    with pytest.raises(ValueError, match="Size"):
        data.StackDataset([1], [2, 3])
    with pytest.raises(TypeError, match="ChainDataset"):
        data.ConcatDataset([Shares(2)])


def test_random_split() -> None:
    parts = data.random_split(range(10), [0.5, 0.25, 0.25], hs.Generator().manual_seed(2))
    assert [len(p) for p in parts] == [6, 2, 2]
    assert sorted(i for p in parts for i in p) == list(range(10))
    again = data.random_split(range(10), [5, 5], hs.Generator().manual_seed(2))
    assert list(again[0]) == list(parts[0])[:5]
    with pytest.raises(ValueError, match="Sum"):
        data.random_split(range(10), [3, 4])


def test_samplers() -> None:
    g = hs.Generator().manual_seed(1)
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    assert sorted(data.RandomSampler(range(5), generator=g)) == [0, 1, 2, 3, 4]
    assert Counter(data.RandomSampler(range(3), num_samples=7)).total() == 7
    drawn = list(data.RandomSampler(range(3), replacement=True, num_samples=70, generator=g))
    assert len(drawn) == 70
    assert set(drawn) == {0, 1, 2}
    assert sorted(data.SubsetRandomSampler([7, 3, 5], generator=g)) == [3, 5, 7]
    assert set(data.WeightedRandomSampler([0.0, 1.0, 2.0], 50, generator=g)) == {1, 2}
    assert sorted(data.WeightedRandomSampler([0.5, 1.0, 2.0], 3, replacement=False, generator=g)) == [0, 1, 2]
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    for bad in ({"replacement": 1}, {"num_samples": 0}):
        with pytest.raises((TypeError, ValueError)):
            data.RandomSampler(range(3), **bad)
    with pytest.raises(ValueError, match="batch_size"):
        data.BatchSampler(range(3), 0, False)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [2, 10, 11, 12])
def test_distributed_samplers_without_shuffling_equal_pytorch(n: int, drop_last: bool) -> None:
    for rank in range(3):
        ours = data.DistributedSampler(range(n), 3, rank, shuffle=False, drop_last=drop_last)
        theirs = torch.utils.data.DistributedSampler(range(n), 3, rank, shuffle=False, drop_last=drop_last)
        if n < 3 and drop_last:
            continue  # PyTorch has a negative number of samples there
        assert list(ours) == list(theirs)
        assert len(ours) == len(theirs)


def test_samplers_of_several_processes() -> None:
    parts = [data.DistributedSampler(range(10), 2, r, seed=4) for r in range(2)]
    assert sorted([*parts[0], *parts[1]]) == list(range(10))
    before = list(parts[0])
    parts[0].set_epoch(1)
    assert list(parts[0]) != before
    repeated = [list(data.RASampler(range(10), 2, r, shuffle=False)) for r in range(2)]
    assert repeated == [[0, 0, 1, 2, 2], [0, 1, 1, 2, 3]]
    with pytest.raises(UnsupportedError, match="num_replicas"):
        data.DistributedSampler(range(3))
    with pytest.raises(ValueError, match="rank"):
        data.DistributedSampler(range(3), 2, 2)


BATCHES: list[list[Any]] = [
    [1, 2, 3],
    [1.5, 2.5],
    [True, False],
    ["a", "b"],
    [(1, 2.0), (3, 4.0)],
    [[1, "x"], [2, "y"]],
    [{"a": 1, "b": [2.0, 3]}, {"a": 4, "b": [5.0, 6]}],
    [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    [np.float64(1.0), np.float64(2.0)],
    [np.int16(1), np.int16(2)],
    [Pair(1, 2.0), Pair(3, 4.0)],
]


def plain(x: Any) -> Any:
    """Tensors as (dtype, values), with the containers they are in."""
    if hasattr(x, "dtype") and hasattr(x, "tolist"):
        return hs.tensor(np.zeros(0, x.numpy().dtype)).dtype.name, x.tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        made = [plain(v) for v in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    return x


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_collation_equals_pytorch(batch: list[Any]) -> None:
    assert plain(data.default_collate(batch)) == plain(torch.utils.data.default_collate(batch))
    assert plain(data.default_convert(batch)) == plain(torch.utils.data.default_convert(batch))


def test_collation_of_tensors_and_own_types() -> None:
    found = data.default_collate([hs.ones(2, dtype=hs.bfloat16), hs.zeros(2, dtype=hs.bfloat16)])
    assert found.dtype == hs.bfloat16
    assert found.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    w = hs.ones(2).requires_grad_(True)
    assert data.default_collate([w, w]).requires_grad
    own = data.collate([1j, 2j], collate_fn_map={complex: lambda batch, *, collate_fn_map: sum(batch)})
    assert own == 3j
    with pytest.raises(TypeError, match="NoneType"):
        data.default_collate([None, None])
    with pytest.raises(ShapeError, match="one shape"):
        data.default_collate([np.ones(2), np.ones(3)])
    with pytest.raises(ShapeError, match="equal size"):
        data.default_collate([[1], [1, 2]])


@pytest.mark.parametrize(
    "collator",
    [
        data.MixupCollator(num_classes=4),
        data.CutMixCollator(num_classes=4),
        data.RandomMixupCutMixCollator(num_classes=4),
    ],
    ids=lambda c: type(c).__name__,
)
def test_mixing_keeps_images_and_labels_in_step(collator: Any) -> None:
    hs.manual_seed(3)
    batch = [(hs.tensor(np.full((1, 8, 8), float(k), np.float32)), k) for k in range(4)]
    for _ in range(6):
        x, y = collator(batch)
        assert tuple(x.shape) == (4, 1, 8, 8)
        np.testing.assert_allclose(y.numpy().sum(-1), 1, rtol=1e-6)
        np.testing.assert_allclose(x.numpy().mean((1, 2, 3)), y.numpy() @ np.arange(4), atol=1e-5)
    hs.manual_seed(3)
    first = collator(batch)[0].tolist()
    hs.manual_seed(3)
    assert collator(batch)[0].tolist() == first


def test_mixing_may_be_off_and_refuses_nonsense() -> None:
    batch = [(hs.ones(1, 2, 2), 1)]
    assert data.CutMixCollator(num_classes=2, p=0.0)(batch)[1].tolist() == [[0.0, 1.0]]
    for options in ({"alpha": 0.0}, {"p": 2.0}):
        with pytest.raises(ValueError, match="must be"):
            data.MixupCollator(num_classes=2, **options)
    with pytest.raises(TypeError, match="float"):
        data.MixupCollator(num_classes=2)([(hs.ones(1, 2, 2, dtype=hs.uint8), 1)])
