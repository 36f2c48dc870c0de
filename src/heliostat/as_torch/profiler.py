"""`torch.profiler` and `torch.autograd.profiler` of programs: what they ask for beyond kernels and ranges is named in a
warning, and not recorded."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

from ..profiler import Profiler, ProfilerActivity, supported_activities
from . import refusal

_LEFT_OUT = (
    "profile_memory", "with_stack", "with_modules", "experimental_config", "execution_trace_observer", "acc_events",
    "custom_trace_id_callback", "post_processing_timeout_s",
)  # fmt: skip


class profile(Profiler):
    """`heliostat.profiler.profile`. Activities that this machine has not, and what a profile does not record (memory,
    stacks, modules), are left out with a UserWarning. `use_cuda` and `use_device` of older programs choose nothing."""

    def __init__(self, activities: Any = None, *, use_cuda: Any = None, use_device: Any = None, **options: Any) -> None:
        left_out = [name for name in _LEFT_OUT if options.pop(name, None)]
        wanted = None if activities is None else set(activities)
        if wanted is not None and (absent := wanted - supported_activities()):
            left_out += sorted(map(str, absent))
            wanted -= absent
        if left_out:
            warnings.warn(f"a profile does not record {', '.join(left_out)}", stacklevel=2)
        super().__init__(wanted or None, **options)

    def __str__(self) -> str:
        return self.table()


class _Older(profile):
    """`torch.autograd.profiler.profile`, whose first argument says whether it records."""

    def __new__(cls, enabled: bool = True, **options: Any) -> Any:
        return super().__new__(cls) if enabled else nullcontext()

    def __init__(self, enabled: bool = True, *, use_cpu: bool = True, use_kineto: bool = False, **options: Any) -> None:
        super().__init__(**options)


class older:
    """Names of `torch.autograd.profiler`."""

    profile = _Older
    emit_nvtx = refusal.a_class("torch.autograd.profiler.emit_nvtx", "use torch.profiler.profile")
    emit_itt = refusal.a_class("torch.autograd.profiler.emit_itt", "use torch.profiler.profile")


__all__ = ["ProfilerActivity", "older", "profile"]
