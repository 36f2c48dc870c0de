"""Tools around training, under the names of `torch.utils`."""

from . import benchmark, checkpoint, data

__all__ = ["benchmark", "checkpoint", "data"]
