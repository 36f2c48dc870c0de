"""Memory that loops free and want again; and numbers as buffers."""

import gc
import struct

import numpy as np
import pytest

from heliostat.runtime.buffer import Buffer
from heliostat.runtime.free_list import SMALLEST, FreeList, free_list
from heliostat.runtime.number import NumberBuffer

SIZES = [SMALLEST, 200_000, 1 << 20, 3 << 20]


def recycled(n):
    return Buffer.allocate(n, zeroed=False, recycled=True)


@pytest.mark.parametrize("size", SIZES)
def test_a_loop_gets_the_same_memory_again_but_not_while_a_view_lives(size):
    free_list.clear()
    held = recycled(size)  # as much as is in use may be kept
    first = recycled(size)
    address, view = first.address, first.array(np.uint8)[5:9]
    view[:] = 7
    del first
    other = recycled(size)
    assert other.address != address  # the view is still there
    other.array(np.uint8)[:] = 1
    assert view.tolist() == [7] * 4
    del view
    gc.collect()
    again = recycled(size)
    assert (again.address, again.address % 64, again.nbytes, again.writable) == (address, 0, size, True)
    assert len({held.address, other.address, again.address}) == 3


def test_only_what_asks_for_it_is_recycled():
    free_list.clear()
    held = recycled(1000)
    del held
    before = free_list.nbytes
    plain = Buffer.allocate(200_000, zeroed=False)
    del plain
    assert free_list.nbytes == before
    one = recycled(200_000)
    one.array(np.uint8)[:] = 1
    del one
    kept = free_list.nbytes
    assert kept > before
    zeroed = Buffer.allocate(200_000)
    assert not zeroed.array(np.uint8).any()
    assert free_list.nbytes == kept
    free_list.clear()
    assert free_list.nbytes == 0


def test_no_more_is_kept_than_is_in_use_and_than_the_limit():
    few = FreeList(most=3 * SMALLEST, least=0)
    arrays = [few.lend(np.empty(SMALLEST, np.uint8)) for _ in range(10)]
    for n in range(9):
        arrays.pop()
        assert few.lent == (9 - n) * SMALLEST
        assert few.nbytes == min(n + 1, 3) * SMALLEST
    two = FreeList(most=3 * SMALLEST, least=0)
    arrays = [two.lend(np.empty(SMALLEST, np.uint8)) for _ in range(2)]
    del arrays[:]
    assert two.nbytes == SMALLEST
    assert few.take(SMALLEST + 1) is None
    assert few.take(SMALLEST) is not None


NUMBERS = [("f32", "f", 1.5), ("f64", "d", 0.1), ("i64", "q", -(1 << 60)), ("i32", "i", 7)]


@pytest.mark.parametrize(("dtype", "code", "number"), NUMBERS)
def test_numbers_are_memory_of_their_own(dtype, code, number):
    made = [NumberBuffer(number, dtype) for _ in range(1200)]  # of more than two pages
    assert len({b.address for b in made}) == len(made)
    want = struct.pack(code, number)
    for b in made[::97]:
        assert (b.writable, b.nbytes, bytes(b.array(np.uint8))) == (False, len(want), want)
        assert b.array(np.uint8).__array_interface__["data"][0] == b.address
    with pytest.raises((OverflowError, struct.error)):
        NumberBuffer(1e300 if code == "f" else 1 << 80 if code != "d" else 10**400, dtype)
