"""Quantization of models: `quantization` has observers, preparation and conversion, `nn` the modules that they make."""
