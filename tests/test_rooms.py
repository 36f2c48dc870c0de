"""Modules that stand for PyTorch's are imported as PyTorch's are."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import heliostat as hs

NAMES = {
    "autograd": "Function grad backward no_grad gradcheck gradgradcheck detect_anomaly set_detect_anomaly",
    "autograd.forward_ad": "dual_level make_dual unpack_dual", "autograd.function": "Function once_differentiable",
    "autograd.functional": "jacobian hessian jvp vjp hvp vhp", "autograd.graph": "saved_tensors_hooks Node",
    "cuda": "is_available synchronize Event max_memory_allocated", "random": "manual_seed fork_rng get_rng_state",
    "utils.checkpoint": "checkpoint checkpoint_sequential", "utils.data": "DataLoader Dataset TensorDataset",
}  # fmt: skip


def test_rooms_are_imported_first() -> None:
    """In a process where nothing else has imported them."""
    lines = [f"from heliostat.{room} import {', '.join(names.split())}" for room, names in NAMES.items()]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=120)


@pytest.mark.parametrize("room", NAMES)
def test_rooms_are_attributes(room: str) -> None:
    found = hs
    for part in room.split("."):
        found = getattr(found, part)
    assert found is import_module(f"heliostat.{room}")
    assert set(NAMES[room].split()) <= set(found.__all__)


@pytest.mark.parametrize(("room", "made"), [
    ("autograd.forward_ad", "tensor.forward_ad"), ("autograd.functional", "tensor.functional"),
    ("autograd.graph", "tensor.saved"), ("cuda", "tensor.cuda"), ("utils.data", "data"),
])  # fmt: skip
def test_rooms_have_all_names(room: str, made: str) -> None:
    assert sorted(import_module(f"heliostat.{room}").__all__) == sorted(import_module(f"heliostat.{made}").__all__)


def test_a_room_has_one_of_each() -> None:
    assert hs.autograd.Function is hs.Function
    assert hs.random.default_generator is hs.default_generator
    assert hs.utils.data.DataLoader is import_module("heliostat.data").DataLoader
