"""`torch.onnx`: no files of that format are written; packages may register how their operators would stand there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from . import refusal

_HELP = "use torch.export.save to keep a program of heliostat"
export = refusal.function("torch.onnx.export", _HELP)
dynamo_export = refusal.function("torch.onnx.dynamo_export", _HELP)
operators = symbolic_opset11 = SimpleNamespace()
TrainingMode = SimpleNamespace(EVAL=0, PRESERVE=1, TRAINING=2)
OperatorExportTypes = SimpleNamespace(ONNX=0, ONNX_ATEN=1, ONNX_ATEN_FALLBACK=2, ONNX_FALLTHROUGH=3)


def parse_args(*descriptors: str) -> Any:
    """A decorator that returns the function itself."""
    return lambda fn: fn


symbolic_helper = SimpleNamespace(parse_args=parse_args)


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Any, opset_version: int) -> None:
    """Nothing."""


def is_in_onnx_export() -> bool:
    """False."""
    return False
