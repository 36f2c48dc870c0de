"""GGUF model files: reading (mapped, checked) and writing (atomic)."""

from .reader import GGUFFile, TensorInfo
from .types import TensorKind, ValueType
from .writer import GGUFWriter

__all__ = ["GGUFFile", "GGUFWriter", "TensorInfo", "TensorKind", "ValueType"]
