"""Bad input: each kind raises its own exception, which says what was wrong, where, and what to do."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import heliostat as hs
import heliostat.nn.functional as F
from heliostat import diagnostics, nn
from heliostat.diagnostics import (
    CaptureError,
    DTypeError,
    FileFormatError,
    GradientError,
    HeliostatError,
    IndexOutOfRangeError,
    ScopeError,
    ShapeError,
    UnsupportedError,
)

HERE = Path(__file__)


def x() -> Any:
    return hs.ones(2, 3)


def w() -> Any:
    return hs.ones(2, 3, requires_grad=True)


def twice() -> None:
    y = (w() ** 2).sum()
    y.backward()
    y.backward()


def changed() -> None:
    a = w() * 2
    b = a * a
    a.add_(1)
    b.sum().backward()


def written(a: Any, n: int) -> None:
    a[hs.tensor([n])] = 1


def damaged(place: Path, how: Callable[[bytes], bytes]) -> None:
    hs.save(nn.Linear(3, 2).state_dict(), str(place / "a"))
    (place / "a").write_bytes(how((place / "a").read_bytes()))
    hs.load(str(place / "a"))


Raises = type[HeliostatError]
CASES: dict[str, tuple[Callable[[], Any], Raises, str]] = {
    "shapes of add": (lambda: x() + hs.ones(2, 4), ShapeError, r"add.*\[2, 3\].*\[2, 4\]"),
    "shapes of matmul": (lambda: x() @ hs.ones(2, 4), ShapeError, r"matmul.*\[2, 3\].*\[2, 4\]"),
    "shapes of linear": (lambda: nn.Linear(4, 2)(x()), ShapeError, r"linear.*\[2, 3\].*must be 4"),
    "channels": (lambda: nn.Conv2d(3, 4, 3)(hs.ones(1, 2, 5, 5)), ShapeError, "3 channels, but got 2.*axis 1"),
    "reshape": (lambda: x().reshape(4, 2), ShapeError, r"\[2, 3\] \(6 elements\) to \[4, 2\].*product"),
    "cat": (lambda: hs.cat([x(), hs.ones(2, 4)]), ShapeError, r"\[2, 3\] and \[2, 4\].*must be equal"),
    "shapes in place": (lambda: hs.ones(3).add_(x()), ShapeError, r"\[2, 3\].*\[3\]"),
    "dtypes of matmul": (lambda: x() @ hs.ones(3, 2, dtype=hs.float64), DTypeError, r"f32 and f64.*to\(dtype\)"),
    "dtype of linear": (lambda: nn.Linear(3, 2)(x().double()), DTypeError, "f64 and f32.*to"),
    "dtypes in place": (lambda: hs.ones(2, dtype=hs.int64).add_(0.5), DTypeError, "f32.*i64.*to"),
    "bits of floats": (lambda: x() & x(), DTypeError, "bitwise_and takes integers.*f32.*to"),
    "gradient of integers": (lambda: hs.ones(2, dtype=hs.int64).requires_grad_(), DTypeError, "floats.*i64.*to"),
    "backward of many": (lambda: (w() * 2).backward(), GradientError, r"one element.*\[2, 3\].*sum it"),
    "backward of none": (lambda: x().sum().backward(), GradientError, "does not require grad.*requires_grad"),
    "backward through freed": (twice, GradientError, "not kept.*retain_graph=True"),
    "in-place change": (changed, GradientError, r"gradient of mul.*\[2, 3\].*in place.*clone"),
    "leaf in place": (lambda: w().add_(1), GradientError, "leaf.*in place.*no_grad"),
    "device": (lambda: x().to("abacus"), UnsupportedError, "no device 'abacus'.*devices:"),
    "device of new": (lambda: hs.ones(2, device="abacus"), UnsupportedError, "no device 'abacus'.*devices:"),
    "index": (lambda: x()[5], IndexOutOfRangeError, r"index 5.*axis 0.*\[2, 3\].*-2 to 1"),
    "indices": (lambda: x()[hs.tensor([0, 7])], IndexOutOfRangeError, "index 7.*axis 0"),
    "indices to write": (lambda: written(x(), 4), IndexOutOfRangeError, "index 4.*axis 0.*-2 to 1"),
    "axis": (lambda: x().sum(7), IndexOutOfRangeError, "sum: axis 7.*2 axes.*-2 to 1"),
    "gather": (lambda: x().gather(1, hs.tensor([[5]])), IndexOutOfRangeError, "index 5.*axis 1"),
    "scatter": (lambda: x().scatter(1, hs.tensor([[5]]), 1.0), IndexOutOfRangeError, "index 5.*axis 1"),
    "index_select": (lambda: x().index_select(0, hs.tensor([9])), IndexOutOfRangeError, "index 9.*axis 0"),
    "embedding": (lambda: nn.Embedding(3, 2)(hs.tensor([1, 5])), IndexOutOfRangeError, "row 5, element 1.*0 to 2"),
    "negative row": (lambda: nn.Embedding(3, 2)(hs.tensor([-1])), IndexOutOfRangeError, "row -1.*0 to 2"),
    "class": (lambda: F.cross_entropy(x(), hs.tensor([0, 5])), IndexOutOfRangeError, "class 5, element 1.*0 to 2"),
    "class of nll": (lambda: F.nll_loss(x(), hs.tensor([0, -5])), IndexOutOfRangeError, "class -5.*0 to 2"),
    "class of one_hot": (lambda: F.one_hot(hs.tensor([5]), 3), IndexOutOfRangeError, "class 5.*0 to 2"),
    "value in a capture": (lambda: hs.compile(lambda a: a * a.sum().item())(x()), CaptureError, "captured.*return"),
    "scaler": (lambda: hs.amp.GradScaler().update(), ScopeError, "update.*step"),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_say_what_where_and_what_to_do(name: str) -> None:
    call, kind, words = CASES[name]
    with pytest.raises(kind, match=words) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    assert error.help
    assert error.caller is not None
    assert error.caller.path == str(HERE)
    assert 0 < error.caller.line <= len(HERE.read_text().splitlines())
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.help, copied.caller) == (kind, str(error), error.help, error.caller)


@pytest.mark.parametrize(
    "how", [lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:], lambda b: b[: len(b) // 2], lambda b: b""]
)
def test_damaged_checkpoints(how: Any, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError) as caught:
        damaged(tmp_path, how)
    assert str(tmp_path / "a") in caught.value.message
    assert caught.value.help


def test_what_is_ignored_is_no_class() -> None:
    assert F.cross_entropy(x(), hs.tensor([0, -100])).item() == pytest.approx(1.0986, abs=1e-3)
    with pytest.raises(IndexOutOfRangeError):
        F.cross_entropy(x(), hs.tensor([0, -100]), ignore_index=1)


def test_computed_indices_never_read_outside() -> None:
    """What is known only when it is computed: row 0 is read, or nothing written."""
    a = hs.tensor([[1.0, 2.0], [3.0, 4.0]])
    far = hs.tensor([1000000]) * 1000
    assert a[far].tolist() == [[1.0, 2.0]]
    assert a.index_add(0, far + 1, hs.ones(1, 2)).tolist() == a.tolist()


def test_every_exception_is_one_of_ours_and_a_builtin() -> None:
    kinds = [k for k in vars(diagnostics).values() if isinstance(k, type) and issubclass(k, HeliostatError)]
    assert len(kinds) > 8 + 1
    for k in kinds:
        assert (k.__doc__ or "").strip()
        if k is not HeliostatError:
            assert any(b.__module__ == "builtins" and b is not Exception for b in k.__mro__[:-3]), k
