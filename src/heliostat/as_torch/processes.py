"""What `torch.multiprocessing` has beyond `multiprocessing`."""

from __future__ import annotations

from . import refusal

spawn = refusal.function("torch.multiprocessing.spawn", "heliostat trains in one process; call the function itself")


def get_all_sharing_strategies() -> set[str]:
    """The one name that `set_sharing_strategy` takes."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """`file_system`."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Nothing: workers of loaders send batches as they are. Raises ValueError for a name that PyTorch does not know."""
    if new_strategy not in ("file_system", "file_descriptor"):
        raise ValueError(f"there is no sharing strategy {new_strategy!r}")
