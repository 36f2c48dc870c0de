"""Tools around training, under the names of `torch.utils`."""

from . import benchmark, checkpoint

__all__ = ["benchmark", "checkpoint"]
