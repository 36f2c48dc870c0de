"""Lazy tensors with PyTorch's names, their gradients, and capture of whole steps.

`PUBLIC` is what `import heliostat as hs` offers as `hs.NAME`.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

from . import (
    arrange,
    autograd,
    buckets,
    checkpoint,
    comparison,
    complex,
    complex_arrays,
    complex_composed,
    complex_matrices,
    copies,
    create,
    cuda,
    determinism,
    fake_quantize,
    float8,
    forward_ad,
    functional,
    gamma,
    gradcheck,
    index,
    linalg,
    memory,
    memory_formats,
    operators,
    parts,
    pointwise,
    quantized,
    quantized_functions,
    questions,
    random,
    reduce,
    saved,
    shape,
    sorting,
    special,
    spectra,
    spectrum,
    storage,
    strided,
    triangles,
)  # fmt: skip
from . import compile as compile_
from .autocast import autocast, get_autocast_dtype, is_autocast_available, is_autocast_enabled
from .autograd import backward, enable_grad, grad, inference_mode, no_grad, set_grad_enabled
from .core import RemovableHandle, Tensor
from .devices import Device, get_default_device, set_default_device
from .dims import Size
from .dtypes import NAMES, finfo, get_default_dtype, iinfo, promote_types, set_default_dtype
from .function import Function
from .gradient_mode import is_grad_enabled
from .printing import set_printoptions
from .random import Generator, default_generator
from .register import FUNCTIONS, METHODS, attach
from .vectorize import vmap

METHODS["backward"] = autograd.backward_method
attach(Tensor)
complex_arrays.attach_complex()
quantized_functions.attach_quantized()
float8.attach_float8()

PUBLIC: dict[str, Any] = {
    **FUNCTIONS, **{name: create.on_default_device(name, FUNCTIONS[name]) for name in create.MAKERS}, **NAMES,
    "Function": Function, "Generator": Generator, "Size": Size, "Tensor": Tensor,
    "autocast": autocast, "compile": compile_.compile, "default_generator": default_generator, "device": Device,
    "dtype": type(NAMES["float32"]), "enable_grad": enable_grad, "finfo": finfo,
    "get_default_device": get_default_device, "set_default_device": set_default_device,
    "get_autocast_dtype": get_autocast_dtype, "is_autocast_available": is_autocast_available,
    "is_autocast_enabled": is_autocast_enabled, "get_default_dtype": get_default_dtype, "iinfo": iinfo,
    "inference_mode": inference_mode, "is_grad_enabled": is_grad_enabled, "no_grad": no_grad,
    "promote_types": promote_types, "set_default_dtype": set_default_dtype,
    "set_grad_enabled": set_grad_enabled,
    "set_printoptions": set_printoptions, "vmap": vmap, **quantized.PUBLIC,
    **{f.__name__: f for f in (
        memory.empty_cache, memory.max_memory_allocated, memory.memory_allocated, memory.memory_reserved,
        memory.memory_stats, memory.memory_summary, memory.reset_accumulated_memory_stats,
        memory.reset_peak_memory_stats, determinism.are_deterministic_algorithms_enabled,
        determinism.get_deterministic_debug_mode, determinism.is_deterministic_algorithms_warn_only_enabled,
        determinism.set_deterministic, determinism.set_deterministic_debug_mode,
        determinism.use_deterministic_algorithms,
    )},
    "MemoryStats": memory.MemoryStats, "OutOfMemoryError": cuda.OutOfMemoryError,
    **memory_formats.PUBLIC, "is_deterministic": determinism.is_deterministic,
    "e": math.e, "inf": math.inf, "nan": math.nan, "newaxis": None, "pi": math.pi,
}  # fmt: skip
make = PUBLIC["tensor"]
del PUBLIC["tensor"]  # this module itself, which can be called


class _Room(ModuleType):
    """This module. `heliostat.tensor` names a module and, as users know it, the function that makes tensors: it is
    both."""

    def __call__(self, data: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
        return make(data, dtype=dtype, requires_grad=requires_grad, device=device)


_Room.__call__.__doc__ = create.tensor.__doc__
sys.modules[__name__].__class__ = _Room

__all__ = [
    "FUNCTIONS", "PUBLIC", "Device", "Function", "Generator", "RemovableHandle", "Size", "Tensor", "arrange",
    "autograd", "backward", "buckets", "checkpoint", "comparison", "complex", "complex_arrays", "complex_composed",
    "complex_matrices", "copies", "create", "default_generator", "enable_grad", "fake_quantize", "forward_ad",
    "functional", "gamma", "grad", "gradcheck", "index", "inference_mode", "is_grad_enabled", "linalg", "no_grad",
    "operators",
    "parts", "pointwise", "quantized", "quantized_functions", "questions", "random", "reduce", "saved",
    "set_grad_enabled", "set_printoptions", "shape", "sorting", "special", "spectra", "spectrum", "storage", "strided",
    "triangles", "vmap",
]  # fmt: skip
