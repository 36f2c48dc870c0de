"""GGUF model files: a memory-mapped reader and an atomic writer, split files included.

`types` has the container's value and tensor types, `reader` opens files, `writer` makes them. What the blocks of a
quantized tensor mean is not known here; see `heliostat.quant`. Source: ggml `docs/gguf.md`, version 3.
"""

from heliostat.llm.gguf.reader import GGUFFile, TensorInfo
from heliostat.llm.gguf.types import TENSOR_TYPES, ArrayType, TensorType, Value, ValueType
from heliostat.llm.gguf.writer import GGUFWriter

__all__ = ["TENSOR_TYPES", "ArrayType", "GGUFFile", "GGUFWriter", "TensorInfo", "TensorType", "Value", "ValueType"]
