"""`torch.testing`: a comparison that says where values differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..tensor import PUBLIC, Tensor
from ..tensor.conversion import as_tensor

# The defaults of PyTorch's assert_close by dtype: relative, absolute.
_TOLERANCES = {
    PUBLIC[name]: both
    for name, both in {
        "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
        "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
    }.items()
}  # fmt: skip


def _array(t: Tensor) -> Any:
    t = t.detach().cpu()
    return (t.double() if t.dtype.is_float else t).numpy()


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Any = None,
) -> None:
    """Raise AssertionError unless tensors, numbers, or sequences and dicts of them have one shape and dtype and differ
    by `atol + rtol * |expected|` at most; defaults follow from the dtypes. `msg`: what is said, or a function of
    that."""
    how: dict[str, Any] = {
        "rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_device": check_device, "check_dtype": check_dtype,
        "msg": msg,
    }  # fmt: skip

    def fail(said: str) -> None:
        raise AssertionError(msg(said) if callable(msg) else msg or said)

    if (rtol is None) != (atol is None):
        raise ValueError("rtol and atol must both be specified or both be unspecified")
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            fail(f"the keys differ: {sorted(map(str, actual))} and {sorted(map(str, expected))}")
        for key in actual:
            assert_close(actual[key], expected[key], **how)
        return
    if isinstance(actual, Sequence) and isinstance(expected, Sequence) and not isinstance(actual, str):
        if len(actual) != len(expected):
            fail(f"the lengths of the sequences differ: {len(actual)} and {len(expected)}")
        for a, b in zip(actual, expected, strict=True):
            assert_close(a, b, **how)
        return
    a, b = (t if isinstance(t, Tensor) else as_tensor(t) for t in (actual, expected))
    if a.shape != b.shape:
        fail(f"The values for attribute 'shape' do not match: {tuple(a.shape)} != {tuple(b.shape)}.")
    if check_device and a.device != b.device:
        fail(f"The values for attribute 'device' do not match: {a.device} != {b.device}.")
    if check_dtype and a.dtype != b.dtype:
        fail(f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.")
    if rtol is None or atol is None:
        rtol, atol = (max(side) for side in zip(*[_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, b)], strict=True))
    x, y = _array(a), _array(b)
    wrong = ~np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if wrong.any():
        size = np.abs(np.subtract(x, y, dtype=np.result_type(x, y, np.float64)))
        at = np.unravel_index(np.argmax(np.where(wrong & ~np.isnan(size), size, 0)), x.shape)
        fail(
            f"Tensor-likes are not close!\n\nMismatched elements: {int(wrong.sum())} / {wrong.size}"
            f" ({100 * wrong.mean():.1f}%)\nGreatest absolute difference: {size[at]} at index"
            f" {tuple(map(int, at))} (up to {atol} allowed, rtol {rtol})"
        )
