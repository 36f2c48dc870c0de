"""What `compile` is asked besides compiling: disable, is_compiling, mark_dynamic, reset, set_stance."""

from __future__ import annotations

from typing import Any

import pytest

import heliostat as hs
from heliostat.diagnostics import CaptureError, UnsupportedError


def test_code_that_asks_whether_it_is_captured() -> None:
    seen = []

    @hs.compile
    def f(x: Any) -> Any:
        seen.append(hs.compile.is_compiling())
        return x * 2

    assert f(hs.ones(3)).tolist() == [2, 2, 2]
    assert seen == [True]
    assert not hs.compile.is_compiling()


def test_a_disabled_function_stays_python() -> None:
    calls = []

    @hs.compile.disable(reason="it prints")
    def f(x: Any) -> Any:
        calls.append(x.sum().item())
        return x + 1

    assert hs.compile(f) is f
    assert f(hs.ones(2)).tolist() == [2, 2]
    with pytest.raises(CaptureError, match=r"f is disabled .*it prints"):
        hs.compile(lambda x: f(x) * 2)(hs.ones(2))
    assert calls == [2.0]
    compiled = hs.compile(lambda x: x * 3)
    plain = hs.compile.disable(compiled)
    assert plain(hs.ones(2)).tolist() == [3, 3]
    assert compiled.cache_info().misses == 0
    with pytest.raises(UnsupportedError, match="module"):
        hs.compile.disable(hs.nn.Linear(2, 2))
    with pytest.raises(UnsupportedError, match="recursive"):
        hs.compile.disable(lambda x: x, recursive=False)


def test_reset_forgets_all_programs() -> None:
    f, g = hs.compile(lambda x: x + 1), hs.compile(lambda x: x - 1)
    for h in (f, g):
        h(hs.ones(2))
        assert h.cache_info().signatures == 1
    hs.compile.reset()
    assert f.cache_info() == g.cache_info() == (0, 0, 0, 0, ())
    assert f(hs.ones(2)).tolist() == [2, 2]


def test_a_marked_axis_is_a_symbol_from_the_first_call() -> None:
    f = hs.compile(lambda x: x * 2)
    x = hs.ones(3, 2)
    hs.compile.mark_dynamic(x, 0)
    for y in (x, hs.ones(5, 2), hs.ones(7, 2)):
        assert f(y).shape == y.shape
    assert f.cache_info()[:2] == (2, 1)
    unmarked = hs.compile(lambda x: x * 2)
    for n in (3, 5, 7):
        unmarked(hs.ones(n, 2))
    assert unmarked.cache_info().misses == 2
    for t, axis in ((x, 1), (hs.tensor(1.0), 0), (hs.ones(1, 2), 0)):
        with pytest.raises(UnsupportedError, match="mark_dynamic"):
            hs.compile.mark_dynamic(t, axis)


def test_axes_that_stay_are_no_symbols() -> None:
    def f(x: hs.Tensor, w: hs.Tensor, y: hs.Tensor) -> hs.Tensor:
        shapes.append(w.shape[0])
        return (x @ w.transpose(0, 1)).sum(1) + y

    shapes: list[object] = []
    for marked in (True, False):
        shapes.clear()
        compiled = hs.compile(f)
        w = hs.ones(4, 2)
        for n in (3, 5, 7, 8):
            x = hs.ones(n, 2)
            if marked and n == 3:
                hs.compile.mark_dynamic(x, 0)
            assert compiled(x, w, hs.zeros(n)).tolist() == [8.0] * n
        assert set(map(type, shapes)) == {int}
        assert compiled.cache_info().misses == 2 - marked
        # another size of what stayed is never read by the program of the first
        assert compiled(hs.ones(6, 2), hs.ones(2, 2), hs.zeros(6)).tolist() == [4.0] * 6
        assert compiled(hs.ones(9, 2), hs.ones(3, 2), hs.zeros(9)).tolist() == [6.0] * 9
        assert compiled(hs.ones(11, 2), w, hs.zeros(11)).tolist() == [8.0] * 11


def test_sizes_0_and_1_are_no_symbols() -> None:
    f = hs.compile(lambda x, y: x.sum(0) + y.sum(0), dynamic=True)
    for _ in range(2):
        for n, m in ((4, 1), (5, 3), (6, 0), (7, 1), (1, 5), (0, 1), (8, 2)):
            assert f(hs.ones(n, 2), hs.ones(m, 2)).tolist() == [n + m] * 2
    assert f.cache_info().misses == 5


def test_stances() -> None:
    f = hs.compile(lambda x: x * 2)
    f(hs.ones(2))
    with hs.compile.set_stance("fail_on_recompile"):
        assert f(hs.ones(2)).tolist() == [2, 2]
        with pytest.raises(CaptureError, match=r"shape of x was \[2\], is \[3\]"):
            f(hs.ones(3))
    with hs.compile.set_stance("eager_on_recompile"):
        assert f(hs.ones(3)).tolist() == [2, 2, 2]
    with hs.compile.set_stance("force_eager"):
        assert f(hs.ones(2)).tolist() == [2, 2]
    assert f.cache_info()[:2] == (1, 1)
    f(hs.ones(3))
    assert f.cache_info().misses == 2
    again = hs.compile(lambda x: x + 1)
    assert hs.compile.set_stance("force_eager")(again)(hs.ones(1)).tolist() == [2]
    assert again.cache_info().misses == 0
    again(hs.ones(1))  # the stance was the decorated function's alone
    assert again.cache_info().misses == 1
    with pytest.raises(ValueError, match="there is no 'fast'"):
        hs.compile.set_stance("fast")
