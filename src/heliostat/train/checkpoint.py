"""Checkpoints of a run: parameters, optimizer, random numbers, position in the data and the losses so far, in one file
that is replaced in one step. `hs.load` refuses a damaged one by its checksum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..diagnostics import FileFormatError, UnsupportedError
from ..serialization import load, save

FORMAT = "heliostat training run"
NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a run is. `losses`: of each step. `checks`: (steps done, loss on the validation rows)."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    checks: list[tuple[int, float]] = field(default_factory=list)


def write_checkpoint(folder: Path, identity: dict[str, Any], progress: Progress, state: dict[str, Any]) -> None:
    """Write the checkpoint of a run. identity: what must be equal for a run to go on, plain values by name."""
    checks = [list(c) for c in progress.checks]
    save({
        "format": FORMAT, "identity": identity, "step": progress.step, "losses": progress.losses, "checks": checks,
        "state": state,
    }, folder / NAME)  # fmt: skip


def read_checkpoint(folder: Path, identity: dict[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """Progress and state of a run that may go on with this identity.

    Raises FileFormatError for a missing or damaged file, UnsupportedError, with the name, for another identity."""
    path = folder / NAME
    found = load(str(path))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FileFormatError(f"{path}: is not the checkpoint of a training run")
    try:
        return _progress(path, found, identity), found["state"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"{path}: the checkpoint is not complete: {error}") from None


def _progress(path: Path, found: dict[str, Any], identity: dict[str, Any]) -> Progress:
    for name, value in identity.items():
        before = found["identity"].get(name)
        before = tuple(before) if isinstance(value, tuple) and isinstance(before, list) else before
        if before != value:
            raise UnsupportedError(
                f"{path}: the run was begun with {name} = {_shown(before)}, now it is {_shown(value)}",
                help="resume with the same, or begin another run in another folder",
            )
    checks = [(int(n), float(v)) for n, v in found["checks"]]
    return Progress(int(found["step"]), [float(v) for v in found["losses"]], checks)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
