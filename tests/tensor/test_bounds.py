"""Indices that are out of range: known ones, views of them, and arguments of compiled functions at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import IndexOutOfRangeError

F = nn.functional
ROWS, CLASSES = 8, 5


def ids(*rows: Any, dtype: Any = np.int64) -> Any:
    return hs.tensor(np.array(rows, dtype))


TABLE = hs.tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3))
USES: dict[str, Callable[[Any], Any]] = {
    "classes": lambda i: F.cross_entropy(hs.zeros(i.numel(), 4), i.reshape(-1)),
    "classes of rows": lambda i: F.nll_loss(hs.zeros(i.shape[0], 4, i.shape[1]), i),
    "rows": lambda i: F.embedding(i, TABLE),
    "rows of a slice": lambda i: F.embedding(i[:, 1:], TABLE),
    "an index": lambda i: TABLE[i],
    "a transposed index": lambda i: TABLE[i.t(), 0],
    "gather": lambda i: TABLE.gather(0, i),
    "take": lambda i: TABLE[:, 0].take(i.view(-1)),
    "one hot": lambda i: F.one_hot(i, 4),
    "scatter": lambda i: hs.zeros(4, 3).scatter(0, i, 1.0),
    "index_add": lambda i: hs.zeros(4).index_add(0, i.flatten(), hs.ones(i.numel())),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_numbers_that_are_known_are_checked(use: Callable[[Any], Any], compiled: bool) -> None:
    f = hs.compile(use) if compiled else use
    good = ids((0, 1, 3), (3, 2, 0))
    expected = use(good).tolist()
    assert f(good).tolist() == expected
    for bad in (ids((0, 1, 4), (3, 2, 0)), ids((0, 1, 3), (3, 2, -5))):
        with pytest.raises(IndexOutOfRangeError):
            f(bad)
    assert f(good).tolist() == expected


def test_what_is_not_read_may_be_anything() -> None:
    """Elements that a slice leaves out, those that are ignored, and negative indices from the back."""
    f = hs.compile(lambda i: (F.embedding(i[:, :-1], TABLE), TABLE[i[0, :2] - 0], i))
    assert f(ids((0, 1, 9), (3, 2, -7)))[0].shape == (2, 2, 3)
    loss = hs.compile(lambda z, i: F.cross_entropy(z, i.view(-1)))
    assert loss(hs.zeros(4, 5), ids((1, -100), (-100, 4))).item() == pytest.approx(np.log(5))
    assert hs.compile(lambda i: TABLE[i])(ids(-4, -1)).tolist() == TABLE[[0, 3]].tolist()
    wide = hs.compile(lambda i: TABLE[i.to(hs.int64)])
    with pytest.raises(IndexOutOfRangeError):
        wide(ids(1, 200, dtype=np.uint8))
    narrow = hs.compile(lambda i: TABLE[i.to(hs.int8).to(hs.int64)])  # 256 becomes 0: nothing is known of that
    assert narrow(ids(1, 256)).tolist() == TABLE[[1, 0]].tolist()


def test_a_refused_step_changes_nothing() -> None:
    hs.manual_seed(3)
    table, head = nn.Embedding(ROWS, 4), nn.Linear(4, ROWS)
    parameters = [*table.parameters(), *head.parameters()]
    optimizer = optim.Adam(parameters, lr=0.1)

    @hs.compile
    def step(batch: Any) -> Any:
        inputs, labels = batch[:, :-1], batch[:, 1:]
        logits = F.dropout(head(table(inputs)), 0.1)
        loss = F.cross_entropy(logits.view(-1, ROWS), labels.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)

    def batch(rows: int) -> Any:
        return rng.integers(0, ROWS, (rows, 5))

    for rows in (2, 3, 3, 4):  # from the second size on the leading axis is a symbol
        step(hs.tensor(batch(rows)))
    captures = step.cache_info().misses
    for rows in (2, 3, 6):
        before = [p.detach().numpy().copy() for p in parameters], hs.get_rng_state().tolist()
        count = [float(s["step"]) for s in optimizer.state.values()]
        for place, number, name in (((-1, -2), ROWS, "row"), ((0, -1), ROWS, "class"), ((rows - 1, 0), -1, "row")):
            wrong = batch(rows)
            wrong[place] = number
            with pytest.raises(IndexOutOfRangeError, match=f"{name} {number}"):
                step(hs.tensor(wrong))
        for p, old in zip(parameters, before[0], strict=True):
            assert np.array_equal(p.detach().numpy(), old)
        assert hs.get_rng_state().tolist() == before[1]
        assert [float(s["step"]) for s in optimizer.state.values()] == count
    assert step.cache_info().misses == captures


def test_a_call_that_fails_draws_nothing() -> None:
    """Random numbers go on as if it had not been: after an error inside, and after one in the first call's check."""
    own = hs.Generator().manual_seed(5)

    @hs.compile
    def step(i: Any, fails: bool) -> Any:
        made = F.dropout(TABLE[i]) + hs.rand(3, generator=own)
        if fails:
            raise KeyError("no")
        return made

    hs.manual_seed(1)
    states = hs.get_rng_state().tolist(), own.get_state().tolist()
    with pytest.raises(IndexOutOfRangeError):
        step(ids(4), False)
    with pytest.raises(KeyError):
        step(ids(1), True)
    assert (hs.get_rng_state().tolist(), own.get_state().tolist()) == states
    expected = step(ids(1), False).tolist()
    hs.manual_seed(1)
    own.manual_seed(5)
    assert step(ids(1), False).tolist() == expected
    assert hs.compile(lambda i: step.function(i, False))(ids(1)).tolist() != expected
