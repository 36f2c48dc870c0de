"""Quantized block formats: declarations, reference codec, quantizers and the packed layout of matrices.

`quantize(array, "Q4_0") -> bytes` and `dequantize(data, "Q4_0") -> float32` work for every declared format.
"""

from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel
from heliostat.quant.quantize import quantize

__all__ = ["BlockFormat", "Panel", "dequantize", "quantize"]
