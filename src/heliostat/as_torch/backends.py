"""`torch.backends`: switches of libraries that PyTorch calls. What can be set here changes nothing but the precision of
float32 products and convolutions on GPUs: programs are heliostat's own, and their results are repeatable."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from ..session.devices import Float32Products
from ..tensor import cuda as gpus
from ..tensor import lazy
from ..tensor.questions import get_float32_matmul_precision, set_float32_matmul_precision


class _Precision(SimpleNamespace):
    """`fp32_precision`, another name for `allow_tf32`."""

    allow_tf32: bool

    @property
    def fp32_precision(self) -> str:
        return "tf32" if self.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in ("ieee", "tf32", "none"):
            raise ValueError(f"fp32_precision is 'ieee', 'tf32' or 'none', not {precision!r}")
        self.allow_tf32 = precision == "tf32"


class _Convolutions(_Precision):
    """`torch.backends.cudnn`: `allow_tf32` and `fp32_precision` say whether convolutions of float32 on GPUs may take
    TF32. Until one is set they do where products do; PyTorch's do without being asked."""

    @property
    def allow_tf32(self) -> bool:
        return Float32Products.tf32_convolutions()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        with lazy.between_programs():
            Float32Products.convolutions = allowed


class _Products(_Precision):
    """`torch.backends.cuda.matmul`: `allow_tf32` and `fp32_precision` are other names for what
    `set_float32_matmul_precision` sets."""

    @property
    def allow_tf32(self) -> bool:
        return get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        set_float32_matmul_precision("high" if allowed else "highest")


def _yes() -> bool:
    return True


def _no() -> bool:
    return False


def _ignored(*args: Any, **kwargs: Any) -> None:
    return None


def _within(*args: Any, **kwargs: Any) -> Any:
    return nullcontext()


cudnn = _Convolutions(
    enabled=True, benchmark=False, benchmark_limit=10, deterministic=False, is_available=_no, version=lambda: None,
    flags=_within,
)  # fmt: skip
cuda = SimpleNamespace(
    is_built=gpus.is_available,
    matmul=_Products(
        allow_fp16_reduced_precision_reduction=False, allow_bf16_reduced_precision_reduction=False
    ),
    sdp_kernel=_within, enable_flash_sdp=_ignored, enable_math_sdp=_ignored, enable_mem_efficient_sdp=_ignored,
    enable_cudnn_sdp=_ignored, flash_sdp_enabled=_yes, math_sdp_enabled=_yes, mem_efficient_sdp_enabled=_yes,
    cudnn_sdp_enabled=_no,
)  # fmt: skip
mps = SimpleNamespace(is_available=_no, is_built=_no)
mkl = SimpleNamespace(is_available=_no)
mkldnn = SimpleNamespace(enabled=False, is_available=_no, flags=_within, fp32_precision="ieee")
openmp = SimpleNamespace(is_available=_no)
opt_einsum = SimpleNamespace(enabled=True, strategy="auto", is_available=_yes)
quantized = SimpleNamespace(engine="fbgemm", supported_engines=["fbgemm", "qnnpack"])
cpu = SimpleNamespace(get_cpu_capability=lambda: "DEFAULT")
