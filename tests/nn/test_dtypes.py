"""Modules keep the dtype of their input: f64 to its accuracy, short floats near f32's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn

from .sweep import copy_state, torch, values

MODULES: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("Linear", (4, 3), {}, (2, 4)), ("Conv1d", (2, 3, 3), {}, (2, 2, 6)), ("Conv2d", (2, 3, 3), {}, (1, 2, 5, 5)),
    ("Conv3d", (1, 2, 2), {}, (1, 1, 3, 3, 3)), ("ConvTranspose2d", (2, 3, 3), {}, (1, 2, 3, 3)),
    ("LayerNorm", (4,), {}, (3, 4)), ("RMSNorm", (4,), {}, (3, 4)), ("GroupNorm", (2, 4), {}, (2, 4, 3)),
    ("BatchNorm1d", (3,), {}, (4, 3)), ("LSTM", (3, 4), {}, (3, 2, 3)), ("GRU", (3, 4), {}, (3, 2, 3)),
    ("GELU", (), {}, (3, 4)), ("ELU", (), {}, (3, 4)), ("Softplus", (), {}, (3, 4)), ("Hardtanh", (), {}, (3, 4)),
    ("MaxPool2d", (2,), {}, (1, 2, 4, 4)), ("AvgPool2d", (2,), {}, (1, 2, 4, 4)),
    ("AdaptiveAvgPool2d", (3,), {}, (1, 2, 5, 4)), ("AdaptiveMaxPool2d", (3,), {}, (1, 2, 5, 4)),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, (1, 2, 3, 3)), ("ReflectionPad1d", (1,), {}, (1, 2, 3)),
    ("TransformerEncoderLayer", (4, 2), {"dim_feedforward": 5, "dropout": 0.0}, (3, 2, 4)),
    ("LogSoftmax", (-1,), {}, (3, 4)), ("PReLU", (), {}, (3, 4)), ("LocalResponseNorm", (3,), {}, (1, 4, 3)),
]  # fmt: skip
TOLERANCE = {"float64": 1e-10, "float16": 2e-2, "bfloat16": 1e-1}


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shape", "dtype"),
    [(*m, dtype) for i, m in enumerate(MODULES) for dtype in ("float64", ("float16", "bfloat16")[i % 2])],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_dtype(name: str, args: Any, kwargs: Any, shape: Any, dtype: str) -> None:
    module, other = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    copy_state(module, other)
    module.to(getattr(hs, dtype))
    other.to(torch.float64)
    a = hs.tensor(values(shape).astype(np.float64)).to(getattr(hs, dtype)).requires_grad_(True)
    b = torch.tensor(values(shape).astype(np.float64), requires_grad=True)
    y, z = module(a), other(b)
    y, z = (y[0], z[0]) if isinstance(y, tuple) else (y, z)
    assert y.dtype == getattr(hs, dtype)
    bound = TOLERANCE[dtype]
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), atol=bound, rtol=bound)
    seed = values(tuple(z.shape), 9).astype(np.float64)
    (y * hs.tensor(seed).to(y.dtype)).sum().backward()
    (z * torch.tensor(seed)).sum().backward()
    assert a.grad.dtype == a.dtype
    if dtype == "float64":
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-9, rtol=1e-9)
    for p in module.parameters():
        assert p.grad is not None
        assert p.grad.dtype == p.dtype
