"""GGUF model files: reading (mapped, checked) and writing (atomic)."""

from .metadata import Metadata
from .reader import GGUFFile, TensorInfo
from .types import TensorKind, ValueType
from .writer import GGUFWriter

__all__ = ["GGUFFile", "GGUFWriter", "Metadata", "TensorInfo", "TensorKind", "ValueType"]
