"""Gradients, with the names of `torch.autograd`: `backward`, `grad`, `Function`, checks, and what `functional`,
`forward_ad` and `graph` add. How they are made is `tensor.autograd`."""

from ..tensor.anomaly import detect_anomaly, is_anomaly_check_nan_enabled, is_anomaly_enabled, set_detect_anomaly
from ..tensor.autograd import (
    backward,
    enable_grad,
    grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from ..tensor.checkpoint import checkpoint, checkpoint_sequential
from ..tensor.core import RemovableHandle
from ..tensor.function import Function, FunctionCtx, once_differentiable
from ..tensor.gradcheck import GradcheckError, gradcheck, gradgradcheck
from ..tensor.gradient_mode import is_grad_enabled
from . import forward_ad, function, functional, graph

__all__ = [
    "Function", "FunctionCtx", "GradcheckError", "RemovableHandle", "backward", "checkpoint", "checkpoint_sequential",
    "detect_anomaly", "enable_grad", "forward_ad", "function", "functional", "grad", "gradcheck", "gradgradcheck",
    "graph", "inference_mode", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_grad_enabled", "no_grad",
    "once_differentiable", "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip
