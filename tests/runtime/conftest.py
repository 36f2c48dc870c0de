"""Small native kernels for the runtime's tests, and launch tables of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from heliostat.runtime import jit, llvm_jit

# Arguments of every kernel: int64 arrays. `count` adds 1 to a[tid]. `shift` sets b[tid] = a[(tid + 1) % n] + 1, so two
# of them in turn are right only if a barrier stands between. `work` spins a[0] * (tid + 1) turns. `await` adds 1 to
# a[0], but of tid 0, which waits for all others to have done that.
KERNELS = """
define void @count(ptr %args, i64 %tid, i64 %n) {
  %a = load ptr, ptr %args
  %p = getelementptr i64, ptr %a, i64 %tid
  %x = load i64, ptr %p
  %y = add i64 %x, 1
  store i64 %y, ptr %p
  ret void
}
define void @shift(ptr %args, i64 %tid, i64 %n) {
  %a = load ptr, ptr %args
  %b.p = getelementptr ptr, ptr %args, i64 1
  %b = load ptr, ptr %b.p
  %next = add i64 %tid, 1
  %from = urem i64 %next, %n
  %p = getelementptr i64, ptr %a, i64 %from
  %x = load i64, ptr %p
  %y = add i64 %x, 1
  %q = getelementptr i64, ptr %b, i64 %tid
  store i64 %y, ptr %q
  ret void
}
define void @work(ptr %args, i64 %tid, i64 %n) {
  %a = load ptr, ptr %args
  %m = load i64, ptr %a
  %k = add i64 %tid, 1
  %turns = mul i64 %m, %k
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %j, %loop ]
  call void asm sideeffect "", ""()
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %turns
  br i1 %more, label %loop, label %out
out:
  ret void
}
define void @half(ptr %args, i64 %tid, i64 %n) {
  %a = load ptr, ptr %args
  %p = getelementptr double, ptr %a, i64 %tid
  %x = load double, ptr %p
  %y = fmul double %x, 5.000000e-01
  store double %y, ptr %p
  ret void
}
define void @await(ptr %args, i64 %tid, i64 %n) {
  %a = load ptr, ptr %args
  %first = icmp eq i64 %tid, 0
  br i1 %first, label %wait, label %come
come:
  %before = atomicrmw add ptr %a, i64 1 acq_rel
  ret void
wait:
  %x = load atomic i64, ptr %a acquire, align 8
  %y = add i64 %x, 1
  %some = icmp ult i64 %y, %n
  br i1 %some, label %wait, label %out
out:
  ret void
}
"""

Array = npt.NDArray[np.generic]


class Table:
    """A launch table over arrays, which it keeps alive."""

    def __init__(self, launches: Sequence[tuple[int, Sequence[Array], int]]) -> None:
        self.count = len(launches)
        self._alive = [(arrays, np.array([a.ctypes.data for a in arrays], np.int64)) for _, arrays, _ in launches]
        rows = [
            (function, pointers.ctypes.data, flags)
            for (function, _, flags), (_, pointers) in zip(launches, self._alive, strict=True)
        ]
        self._rows = np.array(rows, np.int64).reshape(-1, 3)
        self.address = int(self._rows.ctypes.data)


@pytest.fixture(scope="session")
def kernels() -> Iterator[jit.Loaded]:
    """The kernels of this file, loaded."""
    with jit.load_objects([llvm_jit.compile_text(KERNELS)]) as code:
        yield code


@pytest.fixture(scope="session")
def make_table() -> Callable[[Sequence[tuple[int, Sequence[Array], int]]], Table]:
    """`Table` itself, so that test modules need not import this file."""
    return Table
