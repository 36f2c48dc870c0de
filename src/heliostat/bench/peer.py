"""Where a peer stands that was asked for: what its absence is called, and PyTorch with CUDA."""

from __future__ import annotations

from typing import Any

from ..diagnostics import HeliostatError


class PeerError(HeliostatError):
    """The peer that was asked for is not installed, has no device, or failed."""


def torch_with_cuda() -> Any:
    """The package torch. Raises PeerError where PyTorch or its CUDA is missing."""
    try:
        import torch
    except ImportError:
        raise PeerError("PyTorch is not installed", help="install a PyTorch with CUDA, or leave --vs out") from None
    if not torch.cuda.is_available():
        raise PeerError(
            f"PyTorch {torch.__version__} finds no CUDA device",
            help="install a PyTorch with CUDA, or leave --vs out",
        )
    return torch
