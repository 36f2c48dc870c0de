"""`torch.nn.parallel`: one module on one device."""

from __future__ import annotations

from typing import Any

from ..diagnostics import UnsupportedError
from ..nn import Module
from ..tensor import Device, Tensor, cuda
from . import refusal
from .distributed import ONE_PROCESS
from .tree import tree_map_only

DistributedDataParallel = refusal.a_class("torch.nn.parallel.DistributedDataParallel", ONE_PROCESS)
data_parallel = refusal.function("torch.nn.parallel.data_parallel", "call the module: one GPU takes the whole batch")


class DataParallel(Module):
    """A module by the name `module` within, called on one device: the first of `device_ids` or the current GPU, to
    which its arguments are copied; where there is no GPU, as it is. Raises UnsupportedError for several GPUs."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise UnsupportedError("DataParallel of several GPUs is not supported", help="leave device_ids out")
        self.device_ids, self.dim = device_ids or [], dim
        self.module = module
        self._place: Device | None = None
        if cuda.is_available():
            self._place = Device(self.device_ids[0] if self.device_ids else cuda.current_device())
            self.module = module.to(self._place)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        if self._place is not None:
            args, kwargs = tree_map_only(Tensor, lambda t: t.to(self._place), (args, kwargs))
        return self.module(*args, **kwargs)
