"""`torch.utils.cpp_extension`: operators in C++ and CUDA are not built."""

from __future__ import annotations

from typing import Any

from . import refusal

_HELP = "write the operator as a function of tensors, or a torch.autograd.Function: compile makes kernels of them"
CUDA_HOME = ROCM_HOME = CUDNN_HOME = None
IS_HIP_EXTENSION = False
load = refusal.function("torch.utils.cpp_extension.load", _HELP)
load_inline = refusal.function("torch.utils.cpp_extension.load_inline", _HELP)
CppExtension = refusal.function("torch.utils.cpp_extension.CppExtension", _HELP)
CUDAExtension = refusal.function("torch.utils.cpp_extension.CUDAExtension", _HELP)
include_paths = refusal.function("torch.utils.cpp_extension.include_paths", _HELP)
library_paths = refusal.function("torch.utils.cpp_extension.library_paths", _HELP)
BuildExtension = refusal.a_class("torch.utils.cpp_extension.BuildExtension", _HELP)


def is_ninja_available() -> bool:
    """False: nothing is built."""
    return False


def verify_ninja_availability() -> Any:
    """Raises RuntimeError, as PyTorch's without ninja."""
    raise RuntimeError("Ninja is required to load C++ extensions, and heliostat loads none")
