"""How much memory tensors and programs take, under names of `torch.cuda`'s."""

from __future__ import annotations

from ..runtime.buffer import small_buffers
from ..runtime.free_list import free_list
from ..runtime.memory import MemoryStats, account
from ..session import engine

__all__ = [
    "MemoryStats", "empty_cache", "max_memory_allocated", "memory_allocated", "memory_reserved", "memory_stats",
    "memory_summary", "reset_accumulated_memory_stats", "reset_peak_memory_stats",
]  # fmt: skip


def memory_stats() -> MemoryStats:
    """Bytes alive, their peak, bytes held for the next run, and counts. What NumPy or others own is not in it."""
    return account.stats(engine().arena.nbytes + small_buffers.idle(), free_list.nbytes)


def memory_allocated() -> int:
    """Bytes that are in use."""
    s = memory_stats()
    return s.current_bytes - s.pooled_bytes


def max_memory_allocated() -> int:
    """The most bytes since the beginning or `reset_peak_memory_stats`."""
    return memory_stats().peak_bytes


def memory_reserved() -> int:
    """Bytes that are in use or held for the next run."""
    return memory_stats().current_bytes


def reset_peak_memory_stats() -> None:
    """Begin a new peak at what is alive."""
    account.reset_peak()


def reset_accumulated_memory_stats() -> None:
    """Count allocations and frees from 0 again."""
    account.reset_counts()


def empty_cache() -> None:
    """Give back the memory that is held for the next run."""
    engine().release()


def memory_summary() -> str:
    """`memory_stats` as text."""
    s = memory_stats()
    rows = (
        ("in use", s.current_bytes - s.pooled_bytes), ("held for the next run", s.pooled_bytes), ("peak", s.peak_bytes)
    )  # fmt: skip
    lines = [f"{name:<24}{nbytes / 1e6:>14.3f} MB" for name, nbytes in rows]
    return "\n".join([*lines, f"{'allocations':<24}{s.alloc_count:>14}", f"{'frees':<24}{s.free_count:>14}"])
