"""Indexing of every kind, reading and writing, and gather, scatter and their relatives, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, IndexOutOfRangeError, ShapeError

from .compare import bools, check, floats, integers, torch

X = floats(5, 4, 3)
MASK = bools(5, 4, 3)


def at(m: Any, *numbers: Any) -> Any:
    return m.tensor(list(numbers))


INDICES: dict[str, Any] = {
    "int": lambda m: 2, "negative": lambda m: -1, "two": lambda m: (1, 2), "all": lambda m: (1, -2, 0),
    "slice": lambda m: slice(1, 3), "open": lambda m: slice(None, -1), "step": lambda m: slice(None, None, 2),
    "empty": lambda m: slice(3, 3), "beyond": lambda m: slice(2, 99), "back to front": lambda m: slice(3, 1),
    "slices": lambda m: (slice(1, 4), slice(None), slice(0, 2)), "mixed": lambda m: (slice(1, 4), 1, slice(0, 2)),
    "ellipsis": lambda m: (..., 1), "ellipsis inside": lambda m: (1, ..., slice(1, 2)), "only ellipsis": lambda m: ...,
    "range": lambda m: range(1, 4), "ranges": lambda m: (range(3), range(1, 4)),
    "none": lambda m: None, "nones": lambda m: (None, slice(None), None, 1), "list": lambda m: [0, 2, 2],
    "tensor": lambda m: at(m, 1, -1, 0), "matrix": lambda m: at(m, [0, 1], [2, 3]), "scalar": lambda m: m.tensor(2),
    "two tensors": lambda m: (at(m, 0, 1), at(m, 2, 3)), "three": lambda m: (at(m, 0, 1), at(m, 2, 3), at(m, 0, 2)),
    "broadcast": lambda m: (at(m, [0], [1]), at(m, 2, 3, 1)), "tensor and int": lambda m: (at(m, 0, 3), 1),
    "int and tensor": lambda m: (1, at(m, 0, 3)), "apart": lambda m: (at(m, 0, 1), slice(None), at(m, 0, 2)),
    "apart by int": lambda m: (0, slice(None), at(m, 0, 2)), "inner": lambda m: (slice(None), at(m, 3, 1)),
    "last": lambda m: (..., at(m, 2, 0)), "slice and tensor": lambda m: (slice(1, 4), at(m, 3, 1), slice(0, 2)),
    "none and tensor": lambda m: (None, at(m, 3, 1)), "tensor and none": lambda m: (at(m, 3, 1), None),
    "mask": lambda m: m.tensor(MASK), "row mask": lambda m: m.tensor(MASK[:, 0, 0]),
    "mask of two": lambda m: m.tensor(MASK[:, :, 1]), "inner mask": lambda m: (slice(None), m.tensor(MASK[0, :, 0])),
    "mask and int": lambda m: (m.tensor(MASK[:, 0, 0]), 1), "no rows": lambda m: m.tensor(np.zeros(5, bool)),
    "empty tensor": lambda m: m.tensor(np.zeros(0, np.int64)), "int32": lambda m: m.tensor(np.array([1, 2], np.int32)),
    "computed": lambda m: m.arange(3) + 1, "list of bools": lambda m: [True, False, True, True, False],
}  # fmt: skip


@pytest.mark.parametrize("name", INDICES)
def test_reading(name: str) -> None:
    check(lambda m, x: x[INDICES[name](m)], X, grad=True)
    check(lambda m, x: x[INDICES[name](m)], MASK)


@pytest.mark.parametrize("name", INDICES)
def test_writing_a_number(name: str) -> None:
    def write(m: Any, x: Any) -> Any:
        y = x * 1
        y[INDICES[name](m)] = 7.5
        return y

    check(write, X, grad=True)
    check(write, X.astype(np.int32) if name == "int" else X)


@pytest.mark.parametrize("name", sorted(set(INDICES) - {"mask"}))
def test_writing_a_tensor(name: str) -> None:
    """A row that is named twice: NumPy and we keep the last, PyTorch any."""

    def write(m: Any, x: Any, value: Any) -> Any:
        y = x * 1
        index = INDICES[name](m)
        y[index] = (
            value[0].expand(y[index].shape)
            if name == "list"
            else value.reshape(-1)[: y[index].numel()].reshape(y[index].shape)
        )
        return y

    check(write, X, floats(20, 4, 3, seed=1), grad=name != "list")


def test_writing_broadcasts_and_adds() -> None:
    def write(m: Any, x: Any, row: Any) -> Any:
        y = x * 1
        y[1:3] = row
        y[at(m, 0, 4)] = row * 2
        y[:, 1] += 1
        y[at(m, 3), at(m, 2)] *= 2
        y[m.tensor(MASK)] = m.tensor(-1.0, dtype=y.dtype)
        return y

    check(write, X, floats(3, seed=2), grad=True)
    check(lambda m, x: x.index_put((at(m, 0, 0, 1),), m.ones(4, 3, dtype=x.dtype), accumulate=True), X, grad=True)
    check(lambda m, x, v: x.index_put((at(m, 0, 2), at(m, 1, 3)), v), X, floats(2, 3), grad=True)
    check(lambda m, x: x.clone().index_put_((at(m, 0, 2),), m.zeros(1, dtype=x.dtype)), X)
    check(lambda m, x: [x[m.tensor(MASK)], m.masked_select(x, m.tensor(MASK))], X, grad=True)
    check(lambda m, x, v: x.masked_scatter(m.tensor(MASK), v), X, floats(60), grad=True)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_by_number_along_an_axis(dim: int) -> None:
    size = X.shape[dim]
    shape = list(X.shape)
    shape[dim] = 2
    index = np.random.default_rng(1).permuted(np.broadcast_to(np.arange(size), (*X.shape[:dim], size)), axis=-1)
    index = np.argsort(floats(*X.shape, seed=4), axis=dim).take([0, 1], dim)  # no number twice
    some = np.random.default_rng(2).integers(0, size, shape)
    src = floats(*shape, seed=3)
    check(lambda m, x, i: m.gather(x, dim, i), X, some, grad=True)
    check(lambda m, x, i, s: m.scatter(x, dim, i, s), X, index, src, grad=True)
    check(lambda m, x, i: m.scatter(x, dim, i, 2.5), X, some, grad=True)
    check(lambda m, x, i, s: m.scatter_add(x, dim, i, s), X, some, src, grad=True)
    check(lambda m, x, i: m.take_along_dim(x, i, dim), X, some, grad=True)
    for how in ("sum", "mean", "prod", "amax", "amin"):
        for own in (True, False):
            check(lambda m, x, i, s, h=how, o=own: x.scatter_reduce(dim, i, s, h, include_self=o), X, some, src)
    ids = np.array([2, 0, 2])
    check(lambda m, x, i: m.index_select(x, dim, i), X, ids, grad=True)
    part = floats(*X.shape, seed=5).take([0, 1], dim)
    check(lambda m, x, s: m.index_copy(x, dim, at(m, 2, 0), s), X, part, grad=True)
    check(lambda m, x, s: m.index_add(x, dim, at(m, 1, 1), s, alpha=0.5), X, part, grad=True)
    check(lambda m, x: m.index_fill(x, dim, at(m, 1, 0), 3.0), X, grad=True)


def test_scatter_with_smaller_indices() -> None:
    index = integers(2, 3, 2, low=0, high=3)
    src = floats(2, 3, 2, seed=1)
    check(lambda m, x, i, s: [m.scatter_add(x, 1, i, s), m.gather(x, 0, i)], X, index, src, grad=True)


def test_no_numbers() -> None:
    none = np.zeros((2, 0), np.int64)
    check(lambda m, x, i: [m.gather(x, 0, i), m.take(x, i)], floats(5), none, grad=True)
    check(lambda m, x, i: [m.gather(x, 1, i), m.take(x, i[0])], floats(0, 3), none)


def test_by_number_among_all() -> None:
    check(lambda m, x: m.take(x, m.tensor([[0, 5], [-1, 59]])), X, grad=True)
    check(lambda m, x: x.put(m.tensor([0, 5]), m.tensor([1.0, 2.0], dtype=x.dtype)) if m is hs else torch.put(
        x, m.tensor([0, 5]), m.tensor([1.0, 2.0], dtype=x.dtype)), X, grad=True)  # fmt: skip
    check(lambda m, x: [m.nonzero(x > 0), m.argwhere(x > 1), *m.nonzero(x > 0, as_tuple=True)], X)
    check(lambda m, x: list(m.where(x > 0)), X)


def test_parts_replaced() -> None:
    check(lambda m, x, s: m.select_scatter(x, s, 1, 2), X, floats(5, 3), grad=True)
    check(lambda m, x, s: m.slice_scatter(x, s, 0, 1, 5, 2), X, floats(2, 4, 3), grad=True)
    check(lambda m, x, s: m.diagonal_scatter(x, s, 1, 0, 1), X, floats(3, 3), grad=True)
    check(lambda m, x: x.clone().fill_diagonal_(9.0), floats(3, 3))
    check(lambda m, x: m.tril(x).masked_fill(m.eye(4, dtype=m.bool), -1.0), floats(4, 4), grad=True)


@pytest.mark.parametrize("seed", range(25))
def test_random_indices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, rng.integers(1, 5)))
    items: list[Any] = []
    wide = tuple(rng.integers(1, 4, rng.integers(0, 3)))
    for size in shape[: rng.integers(1, len(shape) + 1)]:
        kind = rng.integers(0, 5)
        if kind == 0:
            items.append(int(rng.integers(-size, size)))
        elif kind == 1:
            a, b = sorted(rng.integers(0, size + 1, 2))
            items.append(slice(int(a), int(b), int(rng.integers(1, 3))))
        elif kind == 2:
            items.append(rng.integers(-size, size, wide))
        elif kind == 3:
            items += [None, slice(None)]
        else:
            items.append(slice(None))

    def index(m: Any) -> Any:
        return tuple(m.tensor(i) if isinstance(i, np.ndarray) else i for i in items)

    x = floats(*shape, seed=seed)
    check(lambda m, x: x[index(m)], x, grad=True)

    def write(m: Any, x: Any) -> Any:
        y = x.clone()
        y[index(m)] = 4.0
        return y

    check(write, x, grad=True)


def test_single_bools() -> None:
    for flag in (True, False):
        check(lambda m, x, flag=flag: [x[flag], x[m.tensor(flag)], x[0, 0][m.tensor(flag)]], floats(2, 3), grad=True)


def test_errors() -> None:
    x = hs.zeros(3, 4)
    for index in (
        3,
        -4,
        (0, 4),
        hs.tensor([0, 3]),
        hs.tensor([-4]),
        (0, 0, 0),
        (..., 0, ...),
        hs.tensor([True, False]),
    ):
        with pytest.raises(IndexOutOfRangeError):
            x[index]
        with pytest.raises(IndexError):
            x[index] = 1.0
    for index in (1.5, "a", hs.tensor([0.5]), {}):
        with pytest.raises(DTypeError, match="index"):
            x[index]
    for f in (
        lambda: x[::0], lambda: x.gather(0, hs.tensor([0])), lambda: x.gather(0, hs.zeros(1, 5, dtype=hs.int64)),
        lambda: x.__setitem__(0, hs.zeros(3)), lambda: x.__setitem__(hs.tensor([0, 1]), hs.zeros(3, 4)),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            f()
    for f in (
        lambda: x.gather(0, hs.tensor([[3]])), lambda: x.index_select(1, hs.tensor([4])),
        lambda: x.take(hs.tensor([12])),
        lambda: x.scatter(1, hs.tensor([[-5]]), 1.0), lambda: x.gather(2, hs.tensor([[0]])),
    ):  # fmt: skip
        with pytest.raises(IndexOutOfRangeError):
            f()
    assert x.sum().item() == 0


def test_a_mask_of_another_shape_is_refused() -> None:
    x = hs.ones(2, 3)
    for mask in (hs.ones(1, 3, dtype=hs.bool), hs.ones(2, 1, dtype=hs.bool), hs.ones(3, dtype=hs.bool)):
        with pytest.raises(IndexError, match="mask"):
            x[mask]
        with pytest.raises(IndexError, match="mask"):
            x[mask] = 1


def test_masks_of_size_0_mean_no_element() -> None:
    """As in NumPy and the array API standard: an axis may be 0 in the mask, whatever its size."""
    a = floats(2, 3)
    for shape in ((0,), (0, 3), (2, 0), (0, 0)):
        x, mask = hs.tensor(a), np.zeros(shape, bool)
        assert tuple(x[hs.tensor(mask)].shape) == a[mask].shape
        for value in (7.0, hs.ones(0, *a.shape[mask.ndim :])):
            x[hs.tensor(mask)] = value
        np.testing.assert_array_equal(x.numpy(), a)
    for shape in ((0, 2), (3, 0), (0, 0, 0)):
        with pytest.raises(IndexError):
            hs.tensor(a)[hs.zeros(*shape, dtype=hs.bool)]
        with pytest.raises(IndexError):
            hs.tensor(a)[hs.zeros(*shape, dtype=hs.bool)] = 1.0


@pytest.mark.parametrize("dtype", ["float32", "int64", "complex64", "bool"])
@pytest.mark.parametrize("seed", range(5))
def test_writing_by_negative_steps(dtype: str, seed: int) -> None:
    """Against NumPy, with what is broadcast, new axes and numbers of elements among the slices."""
    rng = np.random.default_rng(seed)
    for _ in range(4):
        shape = tuple(rng.integers(1, 5, rng.integers(1, 4)))
        items: list[Any] = []
        for size in shape:
            bounds = [None if rng.random() < 0.4 else int(b) for b in rng.integers(-size - 1, size + 2, 2)]
            items.append(slice(*bounds, int(rng.choice([-3, -2, -1, 1, 2]))))
            items += [None] * int(rng.random() < 0.1)
        if rng.random() < 0.5:
            items[0] = rng.permutation(shape[0])[:2] if rng.random() < 0.5 else -1
        index = tuple(items)
        a = (floats(*shape, seed=seed) * 9).astype(dtype)
        x, into = hs.tensor(a), a[index].shape
        value = rng.integers(-9, 9, into[1:] if rng.random() < 0.3 else into).astype(dtype)
        a[index] = value
        x[tuple(hs.tensor(i) if isinstance(i, np.ndarray) else i for i in index)] = hs.tensor(value)
        np.testing.assert_array_equal(x.numpy(), a, str(index))


def test_gradients_of_writing_by_negative_steps() -> None:
    x, value = (hs.tensor(floats(4, 3, seed=s)).requires_grad_() for s in (1, 2))
    weight = hs.tensor(floats(4, 3, seed=3))
    y = x.clone()
    y[::-2, ::-1] = value[:2]
    (y * weight).sum().backward()
    w = weight.numpy()
    left = np.array([[1], [0], [1], [0]], np.float32)
    np.testing.assert_array_equal(x.grad.numpy(), w * left)
    np.testing.assert_array_equal(value.grad.numpy(), np.concatenate([w[::-2, ::-1], np.zeros((2, 3), np.float32)]))


WRITES: dict[str, Any] = {
    "an element": lambda m, x, v: x.__setitem__(0, v),
    "a list": lambda m, x, v: x.__setitem__(slice(0, 2), m.tensor([v, v], dtype=x.dtype) if m is not hs else [v, v]),
    "a mask": lambda m, x, v: x.__setitem__(m.tensor([True, False, True]), v),
    "numbers": lambda m, x, v: x.__setitem__(m.tensor([0, 1]), v),
    "fill": lambda m, x, v: x.fill_(v),
    "masked_fill": lambda m, x, v: x.masked_fill_(m.tensor([True, False, True]), v),
    "index_fill": lambda m, x, v: x.index_fill_(0, m.tensor([1]), v),
    "scatter": lambda m, x, v: x.scatter_(0, m.tensor([1]), v),
    "sum": lambda m, x, v: x.add_(v),
}


@pytest.mark.parametrize("write", WRITES)
def test_python_numbers_are_written_with_all_of_their_bits(write: str) -> None:
    """Not with those of the default dtype: float32 has neither 2 ** 24 + 1 nor 1e300, nor do its bools 1e-60."""
    cases: list[tuple[str, Any]] = [("float64", 16777217.0), ("float64", 1e300), ("float64", np.float64(0.1))]
    if write not in ("scatter", "index_fill"):  # which have no complex numbers, or only tensors of them, in PyTorch
        cases += [("complex128", 16777217j), ("complex128", 0.1)]
    if write == "an element":
        cases += [("int64", 16777217.7), ("bool", 1e-60), ("complex64", 0.1j), ("float32", 0.1), ("float16", 0.1)]
    for dtype, value in cases:
        ours, theirs = (m.zeros(3, dtype=getattr(m, dtype)) for m in (hs, torch))
        WRITES[write](hs, ours, value)
        WRITES[write](torch, theirs, value)
        assert ours.tolist() == theirs.tolist(), (dtype, value)


def test_masks_behind_an_ellipsis() -> None:
    """They fit the axes that they stand for, counted from the end."""
    x, last, two = floats(4, 2, 3), np.array([True, False, True]), floats(2, 3, seed=1) > 0

    def read(m: Any, x: Any, last: Any, two: Any) -> list[Any]:
        return [x[..., last], x[..., last, None], x[..., two], x[0, ..., last], x[None, ..., two], x[:, ..., 1, last]]

    def written(m: Any, x: Any, last: Any, two: Any) -> list[Any]:
        x, y = x.clone(), x.clone()
        x[..., last] = 3.0
        y[..., two] += 1.0
        return [x, y]

    check(read, x, last, two, grad=True)
    check(written, x, last, two)
    with pytest.raises(IndexError, match="mask"):
        hs.zeros(3, 4)[..., hs.tensor([True, False, True])]


@pytest.mark.parametrize("reduce", ["prod", "amax", "amin"])
def test_reductions_stay_in_their_rows(reduce: str) -> None:
    """Numbers below 0 count from the end, and others outside of the axis reach no other row, as those of `scatter`."""

    def f(i: Any) -> Any:
        return hs.full((2, 3), 2.0).scatter_reduce(1, i, hs.tensor([[3.0, 5.0], [1.0, 7.0]]), reduce)

    below, outside = hs.tensor([[0, -1], [-3, 1]]), hs.tensor([[7, 0], [-8, -9]])
    np.testing.assert_array_equal(f(below).numpy(), f(below % 3).numpy())
    np.testing.assert_array_equal(hs.compile(f)(below).numpy(), f(below % 3).numpy())
    assert hs.compile(lambda i: f(i + 0))(outside)[1].tolist() == [2, 2, 2]
    for call in (f, hs.compile(f)):
        with pytest.raises(IndexOutOfRangeError, match="index 7"):
            call(outside)


@pytest.mark.parametrize("flag", [True, False])
def test_single_bools_among_indices(flag: bool) -> None:
    """A new axis with its only place, or with none, beside the places of other indices."""

    def call(m: Any, x: Any) -> Any:
        t, i = m.tensor(flag), m.tensor([[0], [2]])
        y = x.clone()
        y[flag, 1:, i] = 5
        y[..., t] += 1
        z = x * 1
        z[flag] = 7
        return [
            x[flag],
            x[flag, 1],
            x[None, t, ..., None],
            x[:, flag, 1:],
            x[i, t],
            x[t, :, i],
            x[flag, t, 0],
            y,
            z,
        ]

    check(call, floats(3, 4), grad=flag)


def test_places_without_axes_are_written_by_index_put() -> None:
    def call(m: Any, x: Any) -> Any:
        i, one, two = m.tensor([[1, 0, 2]]), m.tensor(-1), m.tensor(2)
        return [
            m.index_put(x, (i, one), m.tensor(2.0, dtype=x.dtype), True), m.index_put(x, (one, two), x[0, 0]),
            x.clone().index_put_((one,), x[0], accumulate=True), x.index_put((one, i), x[0, :3]),
        ]  # fmt: skip

    check(call, floats(3, 4), grad=True)


def test_one_value_is_scattered_from_a_tensor_without_axes() -> None:
    def call(m: Any, x: Any) -> Any:
        i, value = m.tensor([1]), m.tensor(2.0, dtype=x.dtype)
        return [m.scatter(x[0], 0, i, value), m.scatter_add(x[0], 0, i, value), m.scatter(x[0, 0], 0, i[0] - 1, value)]

    check(call, floats(3, 4), grad=True)
    with pytest.raises(ShapeError, match="as many axes"):
        hs.scatter(hs.ones(3), 0, hs.tensor([0, 1]), hs.tensor(2.0))
