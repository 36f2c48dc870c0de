"""Options of the whole suite."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec

import pytest

# Each process of the suite has one core. Threads of the peers' own would spin there, for longer than their work takes,
# and kernels compiled in other processes would wait for one; these names are read after this file.
os.environ.setdefault("HELIOSTAT_COMPILE_WORKERS", "0")
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")


# New objects from which on garbage is looked for. Compiling makes many that stay until a program is finished: after as
# few as Python's 700 they would be looked through again and again.
GARBAGE = (10_000, 10, 10)

if find_spec("hypothesis"):  # a machine with a GPU may run the tests that are marked for it without
    from hypothesis import HealthCheck, settings

    # Where others work too, how long an example takes says nothing about it.
    settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is produced now as the expected text of golden tests"
    )


def pytest_collection() -> None:
    """Look for no garbage while objects are only made."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Take what collecting made, and what its imports did, out of every later search for garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(*GARBAGE)
