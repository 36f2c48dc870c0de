"""Which kernels ran, for how long, over how many bytes, how near to the machine's limit: `with hs.profiler() as p:`.

Names as in `torch.profiler`. Times are of execution: every kernel is timed in native code where it runs, in compiled
steps too, and every launch on a GPU by events of the device.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .events import OpEvent
from .profile import Profiler, ProfilerActivity, profile, record_function, supported_activities
from .schedule import ProfilerAction, schedule, tensorboard_trace_handler
from .summaries import ProfileSummary, Summaries


class _Room(ModuleType):
    """This module, which can be called: `hs.profiler()` is `hs.profiler.profile()`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Profiler:
        return profile(*args, **kwargs)


_Room.__call__.__doc__ = Profiler.__doc__
sys.modules[__name__].__class__ = _Room

__all__ = [
    "OpEvent", "ProfileSummary", "Profiler", "ProfilerAction", "ProfilerActivity", "Summaries", "profile",
    "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
