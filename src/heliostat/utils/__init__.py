"""Tools around training, under the names of `torch.utils`."""

from . import checkpoint

__all__ = ["checkpoint"]
