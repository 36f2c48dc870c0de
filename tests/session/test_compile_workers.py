"""Kernels compiled in several processes: what one makes alone, whatever happens to the others."""

from __future__ import annotations

import sys

import pytest

from heliostat.diagnostics import CompileError
from heliostat.session.compile_workers import emit_all
from heliostat.session.host import host_target
from heliostat.settings import override
from heliostat.targets.llvm import emit_assembly, emit_object


def _text(name: str, value: int) -> str:
    return (
        f'target triple = "{host_target().triple}"\n'
        f"define void @{name}(ptr %p) {{\nstore i64 {value}, ptr %p\nret void\n}}\n"
    )


TEXTS = [_text("f" * n, n) for n in (3, 1, 9, 2, 5, 7)]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_text_is_made_once(workers: int) -> None:
    target = host_target()
    kept: dict[int, bytes] = {}
    counts: list[int] = []

    def keep(n: int, code: bytes) -> None:
        assert n not in kept
        kept[n] = code

    with override(compile_workers=workers):
        made = emit_all("object", TEXTS, target, keep, counts.append)
    assert made == [emit_object(text, target) for text in TEXTS]
    assert kept == dict(enumerate(made))
    assert counts == sorted(counts)
    assert all(1 <= count <= len(TEXTS) for count in counts)


def test_assembly() -> None:
    with override(compile_workers=2):
        made = emit_all("assembly", TEXTS, host_target())
    assert made == [emit_assembly(text, host_target()).encode() for text in TEXTS]


@pytest.mark.parametrize(
    "program", ["import os; os._exit(0)", "import os; os.read(0, 20); os.write(1, b'12345678abc')"]
)
def test_a_process_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    import subprocess

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **kw: real([*command[:-1], program], **kw))
    with override(compile_workers=2):
        assert emit_all("object", TEXTS, host_target()) == [emit_object(text, host_target()) for text in TEXTS]


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with override(compile_workers=2):
        assert emit_all("object", TEXTS[:2], host_target()) == [emit_object(t, host_target()) for t in TEXTS[:2]]


def test_text_that_llvm_refuses() -> None:
    with override(compile_workers=2), pytest.raises(CompileError, match="not valid"):
        emit_all("object", [*TEXTS, "define void @g() {\nstore i64 %x, ptr null\nret void\n}\n"], host_target())
