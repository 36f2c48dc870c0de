"""torch.signal.windows' windows against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import pytest

import heliostat as hs
from heliostat.signal import windows

from .tensor.compare import same, torch

MORE: dict[str, list[dict[str, Any]]] = {
    "exponential": [{"tau": 2.5}, {"tau": 2.0, "center": 1.5, "sym": False}],
    "gaussian": [{"std": 2.5}],
    "general_cosine": [{"a": [0.4, 0.3, 0.2]}, {"a": [1.0]}],
    "general_hamming": [{"alpha": 0.7}],
    "kaiser": [{"beta": 3.0}, {"beta": 0.0}],
}


OF_SCIPY = ("general_gaussian", "triangular")


@pytest.mark.parametrize("name", [name for name in windows.__all__ if name not in OF_SCIPY])
def test_windows(name: str) -> None:
    f, g = getattr(windows, name), getattr(torch.signal.windows, name)
    for more in MORE.get(name, []) + ([] if name == "general_cosine" else [{}]):
        for count in (0, 1, 2, 5, 16):
            for sym in (True, False):
                given = {"sym": sym, **more}
                same(f(count, **given, dtype=hs.float64), g(count, **given, dtype=torch.float64), 1e-9)
                same(f(count, **given), g(count, **given), 1e-5)


def test_names_and_what_is_refused() -> None:
    assert sorted({*windows.__all__} - {*OF_SCIPY}) == sorted(torch.signal.windows.__all__)
    assert hs.signal.windows.hann(3, requires_grad=True).requires_grad
    for error, call in [
        (ValueError, lambda: windows.hann(-1)),
        (TypeError, lambda: windows.hann(3, dtype=hs.int64)),
        (TypeError, lambda: windows.hann(3, width=2)),
        (ValueError, lambda: windows.exponential(5, center=2.0)),
        (ValueError, lambda: windows.exponential(5, tau=0.0)),
        (ValueError, lambda: windows.gaussian(5, std=-1.0)),
        (ValueError, lambda: windows.kaiser(5, beta=-1.0)),
        (ValueError, lambda: windows.general_cosine(5, a=[])),
    ]:
        with pytest.raises(error):
            call()


def test_windows_of_scipy() -> None:
    assert windows.triangular(4).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert windows.triangular(3).tolist() == [0.5, 1, 0.5]
    assert windows.triangular(3, sym=False).tolist() == [0.25, 0.75, 0.75]
    made = windows.general_gaussian(5, p=1.5, sig=3.0, dtype=hs.float64)
    assert made.tolist() == pytest.approx([math.exp(-0.5 * abs(n / 3) ** 3) for n in (-2, -1, 0, 1, 2)])
    same(windows.general_gaussian(6, sig=2.0, sym=False), torch.signal.windows.gaussian(6, std=2.0, sym=False), 1e-6)
    with pytest.raises(ValueError, match="sig is above 0"):
        windows.general_gaussian(3, sig=0.0)
