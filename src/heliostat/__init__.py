"""Heliostat: a tensor compiler in Python with lazy tensors and a local LLM engine on top of it.

`import heliostat as hs` loads nothing heavy: the tensor layer comes with the first of its names, `hs.tensor`,
`hs.zeros`, `hs.float32`, `hs.Tensor`, `hs.no_grad` ... (`heliostat.tensor.PUBLIC` has them all).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
# Rooms that need no import.
ROOMS = (
    "amp", "ao", "array_api", "autograd", "cuda", "distributions", "einops", "export", "fft", "func", "linalg", "nn",
    "optim", "profiler", "random", "signal", "special", "tensor", "utils",
)  # fmt: skip


def _public() -> dict[str, Any]:
    from importlib import import_module

    found: dict[str, Any] = {}
    for room in (".tensor", ".serialization"):
        found.update(import_module(room, __name__).PUBLIC)
    return found


def __getattr__(name: str) -> Any:
    """A name of the tensor layer. Raises AttributeError for others, those of modules too: they are to be imported."""
    from importlib import import_module
    from importlib.util import find_spec

    if name == "__all__":
        return sorted({"tensor", *_public()})
    if name in ROOMS:
        return import_module(f".{name}", __name__)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is None:
        public = _public()
        if name in public:
            return globals().setdefault(name, public[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ROOMS, *_public()})
