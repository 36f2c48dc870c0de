"""`torch.distributed`: there is one process. Programs that ask are told so; what needs several is refused where it is
used."""

from __future__ import annotations

from enum import Enum
from typing import Any

from . import refusal

ONE_PROCESS = "heliostat trains in one process; leave the branch for several out"
_FUNCTIONS = (
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "barrier", "broadcast",
    "broadcast_object_list", "destroy_process_group", "distribute_tensor", "enable_wrap", "fully_shard", "gather",
    "init_device_mesh", "init_process_group", "init_rpc", "irecv", "isend", "monitored_barrier", "new_group",
    "parallelize_module", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "remote", "rpc_async",
    "rpc_sync", "scatter", "send", "shutdown", "wrap",
)  # fmt: skip
_CLASSES = (
    "DTensor", "DeviceMesh", "DistributedOptimizer", "FSDPModule", "FullyShardedDataParallel", "ProcessGroup", "RRef",
    "RemoteModule", "Replicate", "Shard", "ZeroRedundancyOptimizer",
)  # fmt: skip
globals().update({n: refusal.function(f"torch.distributed.{n}", ONE_PROCESS) for n in _FUNCTIONS})
globals().update({n: refusal.a_class(f"torch.distributed.{n}", ONE_PROCESS) for n in _CLASSES})
ReduceOp = Enum("ReduceOp", "SUM AVG PRODUCT MIN MAX BAND BOR BXOR")


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_torchelastic_launched = is_available


def get_rank(group: Any = None) -> int:
    """Raises ValueError, as PyTorch's without a group of processes."""
    raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")


get_world_size = get_backend = get_global_rank = get_rank
