from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heliostat.runtime import platform
from heliostat.runtime.platform import _core_of, cpu_quota


def test_counts_agree() -> None:
    cpus = platform.available_cpus()
    assert 1 <= platform.default_threads() <= platform.physical_cores() <= len(cpus)
    assert sorted(platform.cpus_by_core(cpus)) == cpus
    if hasattr(os, "sched_getaffinity"):
        assert set(cpus) == os.sched_getaffinity(0)


def test_one_hardware_thread_of_every_core_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "LINUX", True)
    monkeypatch.setattr(platform, "_core_of", lambda cpu: f"core{cpu // 2}")
    assert platform.cpus_by_core([0, 1, 2, 3, 5]) == [0, 2, 5, 1, 3]
    monkeypatch.setattr(platform, "available_cpus", lambda: [0, 1, 2, 3, 5])
    monkeypatch.setattr(platform, "cpu_quota", lambda: None)
    assert platform.physical_cores() == platform.default_threads() == 3
    for quota, threads in ((0.5, 1), (1.0, 1), (1.5, 2), (2.0, 2), (7.0, 3)):
        monkeypatch.setattr(platform, "cpu_quota", lambda quota=quota: quota)
        assert platform.default_threads() == threads


def test_core_is_read_from_its_siblings(tmp_path: Path) -> None:
    for cpu in (0, 4):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text("0,4\n")
    assert _core_of(0, tmp_path) == _core_of(4, tmp_path) == "0,4"
    assert _core_of(7, tmp_path) == "7"


@pytest.mark.skipif(not platform.LINUX, reason="control groups are Linux's")
@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({"a/cpu.max": "150000 100000\n"}, "0::/a\n", 1.5),
        ({"a/cpu.max": "max 100000\n"}, "0::/a\n", None),
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 4.0),
        ({"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "300000 100000\n"}, "0::/a/b\n", 1.0),
        ({"cpu.max": "50000 100000\n"}, "0::/not/visible/here\n", 0.5),
        ({"cpu/g/cpu.cfs_quota_us": "200000\n", "cpu/g/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/g\n", 2.0),
        ({"cpu/g/cpu.cfs_quota_us": "-1\n", "cpu/g/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/g\n", None),
        ({"a/cpu.max": "nonsense\n"}, "0::/a\n", None),
        ({"a/cpu.max": ""}, "0::/a\n", None),
        ({}, "", None),
        ({}, "what is this", None),
    ],
)
def test_cpu_quota(tmp_path: Path, files: dict[str, str], membership: str, quota: float | None) -> None:
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "self").write_text(membership)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "self") == quota
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "missing") is None


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if platform.WINDOWS:
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
        assert platform.cache_directory() == tmp_path / "heliostat" / "cache"
        return
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert platform.cache_directory() == tmp_path / "heliostat"
    monkeypatch.setenv("HOME", "/home/somebody")
    for xdg in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        place = "Library/Caches" if sys.platform == "darwin" else ".cache"
        assert platform.cache_directory() == Path("/home/somebody") / place / "heliostat"


def test_memory_queries() -> None:
    assert 1 << 20 < platform.rss_bytes() <= platform.peak_rss_bytes() * 1.1


def test_native_addresses() -> None:
    assert platform.yield_address() > 0
    assert all(platform.memory_functions().values())
    if platform.getcpu_address() is not None:
        assert platform.current_cpu() in range(1 << 16)


@pytest.mark.skipif(not platform.LINUX, reason="reads /proc")
def test_pages_of_a_library_are_given_back_and_read_again() -> None:
    """In a process of its own: the library's pages go, what it computes stays, and its variables too."""
    code = """
from pathlib import Path
import llvmlite.binding as llvm
from heliostat.runtime import platform
from heliostat.runtime.jit import release_compiler
from heliostat.runtime.llvm_jit import compile_text
text = "define i32 @f(i32 %x) { %y = mul i32 %x, 3 ret i32 %y }"
once = compile_text(text)
before = platform.rss_bytes()
release_compiler()
assert before - platform.rss_bytes() > 4 << 20
assert compile_text(text) == once
assert platform.release_library_pages(Path("none.so")) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
