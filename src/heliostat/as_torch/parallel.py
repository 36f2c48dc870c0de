"""`torch.nn.parallel`: one module on one device."""

from __future__ import annotations

from typing import Any

from ..diagnostics import UnsupportedError
from ..nn import Module
from ..tensor import cuda
from . import refusal
from .distributed import ONE_PROCESS

DistributedDataParallel = refusal.a_class("torch.nn.parallel.DistributedDataParallel", ONE_PROCESS)
data_parallel = refusal.function("torch.nn.parallel.data_parallel", "call the module: one GPU takes the whole batch")


class DataParallel(Module):
    """A module by the name `module` within, called on one device. Raises UnsupportedError for several GPUs."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise UnsupportedError("DataParallel of several GPUs is not supported", help="leave device_ids out")
        self.module = module.cuda() if cuda.is_available() else module
        self.device_ids, self.dim = device_ids or [], dim

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        return self.module(*args, **kwargs)
