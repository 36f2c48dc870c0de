"""What needs a GPU is skipped before it prepares anything."""

from __future__ import annotations

import pytest

from targets.device import gpu


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None and isinstance(place := gpu(), str):
        pytest.skip(place)
