"""The examples, in a short form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "epochs", "least"), [("mlp", 12, 0.965), ("cnn", 5, 0.955)])
def test_digits_are_learned(kind: str, epochs: int, least: float) -> None:
    pytest.importorskip("sklearn")
    assert example("train_digits").train(kind, epochs, lr=2e-3) >= least
