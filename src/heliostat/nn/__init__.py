"""Modules: named parameters and a `forward` that builds graph.

The same definition captures quantized or float weights.
"""

from .layers import Embedding, Linear, RMSNorm
from .module import Module, ModuleList, Parameter, capture

__all__ = ["Embedding", "Linear", "Module", "ModuleList", "Parameter", "RMSNorm", "capture"]
