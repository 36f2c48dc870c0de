"""Kernels compiled in several processes: what one makes alone, whatever happens to the others."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from heliostat.diagnostics import CompileError
from heliostat.session import compile_workers
from heliostat.session.compile_workers import Maker, emit_all
from heliostat.session.host import host_target
from heliostat.settings import override
from heliostat.targets.llvm_compile import emit_assembly, emit_object
from heliostat.targets.target import Target


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


def test_another_compiler_here_and_in_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the driver of a GPU makes of PTX goes the same way."""
    (tmp_path / "upper.py").write_text(
        "from heliostat.targets.llvm_worker import answer\n"
        "def serve():\n    answer(lambda stage, text, target: (stage + text).upper().encode())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    here: list[str] = []

    def make(stage: str, text: str, target: Target) -> bytes:
        here.append(text)
        time.sleep(0.2)  # others take their share
        return (stage + text).upper().encode()

    texts = [c * 9 for c in "abcdefghijkl"]
    with override(compile_workers=2):
        made = emit_all("x ", texts, host_target(), maker=Maker(make, "upper", 1))
    assert made == [f"X {text.upper()}".encode() for text in texts]
    assert 0 < len(here) < len(texts)


def test_assembly() -> None:
    with override(compile_workers=2):
        made = emit_all("assembly", TEXTS, host_target())
    assert made == [emit_assembly(text, host_target()).encode() for text in TEXTS]


@pytest.mark.parametrize(
    "program", ["import os; os._exit(0)", "import os; os.read(0, 20); os.write(1, b'12345678abc')"]
)
@pytest.mark.parametrize("comment", [0, 200_000])  # what does not fit a pipe is still held when the process is gone
def test_a_process_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch, program: str, comment: int) -> None:
    real = subprocess.Popen

    def start(command: list[str], **kw: Any) -> subprocess.Popen[bytes]:
        process = real([*command[:-1], program], **kw)
        if "exit" in program:
            process.wait()
        return process

    monkeypatch.setattr(subprocess, "Popen", start)
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    texts = [text + ";" * comment for text in TEXTS]
    with override(compile_workers=2):
        assert emit_all("object", texts, host_target()) == [emit_object(text, host_target()) for text in texts]
    assert not errors


def test_an_interrupt_ends_what_the_processes_are_at(monkeypatch: pytest.MonkeyPatch) -> None:
    real, program = subprocess.Popen, "import time; time.sleep(60)"
    started: list[subprocess.Popen[bytes]] = []
    ready = threading.Event()

    def start(command: list[str], **kw: Any) -> subprocess.Popen[bytes]:
        started.append(real([*command[:-1], program], **kw))
        ready.set()
        return started[-1]

    def interrupted(stage: str, text: str, target: Target) -> bytes:
        assert ready.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(compile_workers, "emit", interrupted)
    begun = time.perf_counter()
    with override(compile_workers=1), pytest.raises(KeyboardInterrupt):
        emit_all("object", TEXTS, host_target())
    assert time.perf_counter() - begun < 30
    assert [process.poll() is None for process in started] == [False]


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", "")])
def test_no_process_where_python_is_inside_of_another_program(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(sys, name, value, raising=False)
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **kw: started.append(command))
    with override(compile_workers=2):
        assert emit_all("object", TEXTS[:2], host_target()) == [emit_object(t, host_target()) for t in TEXTS[:2]]
    assert not started


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with override(compile_workers=2):
        assert emit_all("object", TEXTS[:2], host_target()) == [emit_object(t, host_target()) for t in TEXTS[:2]]


def test_text_that_llvm_refuses() -> None:
    with override(compile_workers=2), pytest.raises(CompileError, match="not valid"):
        emit_all("object", [*TEXTS, "define void @g() {\nstore i64 %x, ptr null\nret void\n}\n"], host_target())
