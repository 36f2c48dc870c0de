"""When a profiler records: a schedule of steps, and a handler that writes each finished recording to a file."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ProfilerAction(enum.Enum):
    """What happens in one step."""

    NONE = 0
    WARMUP = 1  # nothing is kept, but programs are compiled as usual
    RECORD = 2
    RECORD_AND_SAVE = 3  # the last step of a recording


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """After `skip_first` steps, in turn: `wait` steps without, `warmup` that are not kept, `active` that are recorded;
    `repeat` times, 0 for ever. Raises ValueError for negative numbers or no active step."""
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise ValueError(f"schedule: wait={wait}, warmup={warmup}, active={active}, repeat={repeat} are not possible")
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < skip_first or (repeat and (step - skip_first) // length >= repeat):
            return ProfilerAction.NONE
        at = (step - skip_first) % length
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None) -> Callable[[Any], None]:
    """An `on_trace_ready` that writes each recording to `dir_name` as TensorBoard wants it named."""

    def handle(p: Any) -> None:
        where = Path(dir_name)
        where.mkdir(parents=True, exist_ok=True)
        p.export_chrome_trace(str(where / f"{worker_name or 'worker0'}.{time.time_ns()}.pt.trace.json"))

    return handle
