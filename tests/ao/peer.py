"""PyTorch beside heliostat: the same arrays, states and seeds for both."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import heliostat as hs

torch: Any = pytest.importorskip("torch")
peer: Any = pytest.importorskip("torch.ao.quantization")
warnings.filterwarnings("ignore", category=UserWarning, module="torch")
torch.backends.quantized.engine = "fbgemm"


def values(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Any:
    """Normal numbers in float32."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def take_state(module: Any, from_: Any) -> None:
    """Give a module the state of one of PyTorch's."""
    module.load_state_dict({k: hs.tensor(v.numpy()) for k, v in from_.state_dict().items()})


def codes(x: Any, scale: float = 0.05, zero_point: int = 100, dtype: str = "quint8") -> tuple[Any, Any]:
    """The same quantized tensor for both."""
    ours = hs.quantize_per_tensor(hs.tensor(x), scale, zero_point, getattr(hs, dtype))
    return ours, torch.quantize_per_tensor(torch.tensor(x), scale, zero_point, getattr(torch, dtype))


def assert_codes(ours: Any, theirs: Any, off: float = 0.0) -> None:
    """Codes are equal; a share `off` of them may be the next one, where a value lies between two."""
    assert str(theirs.dtype).endswith(str(ours.dtype))
    np.testing.assert_allclose(ours.q_scale(), theirs.q_scale(), 1e-6)
    assert ours.q_zero_point() == theirs.q_zero_point()
    apart = np.abs(ours.int_repr().numpy().astype(int) - theirs.int_repr().numpy().astype(int))
    assert apart.max(initial=0) <= (1 if off else 0), f"codes are {apart.max()} apart"
    assert (apart > 0).mean() <= off
