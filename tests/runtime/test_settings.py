from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from heliostat import settings as module
from heliostat.diagnostics import HeliostatError
from heliostat.settings import Debug, SettingError, Settings, current, describe, override, settings


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("HELIOSTAT_DEBUG", "1", "debug", Debug(tracebacks=True)),
        ("HELIOSTAT_DEBUG", "0", "debug", Debug()),
        ("HELIOSTAT_DEBUG", "graph, llvm", "debug", Debug(False, frozenset({"graph", "llvm"}))),
        ("HELIOSTAT_DEBUG", "1,asm", "debug", Debug(True, frozenset({"asm"}))),
        ("HELIOSTAT_DUMP", "some/where", "dump", Path("some/where")),
        ("HELIOSTAT_DUMP", " ", "dump", None),
        ("HELIOSTAT_CACHE", "0", "cache", False),
        ("HELIOSTAT_CACHE", "on", "cache", True),
        ("HELIOSTAT_CACHE_DIR", "/c", "cache_dir", Path("/c")),
        ("HELIOSTAT_CACHE_BYTES", "500M", "cache_bytes", 500 << 20),
        ("HELIOSTAT_CACHE_BYTES", "2 GiB", "cache_bytes", 2 << 30),
        ("HELIOSTAT_CACHE_BYTES", "77", "cache_bytes", 77),
        ("HELIOSTAT_THREADS", "4", "threads", 4),
        ("HELIOSTAT_THREADS", "auto", "threads", None),
        ("HELIOSTAT_SPIN_US", "0", "spin_us", 0),
        ("HELIOSTAT_PROFILE", "1", "profile", True),
        ("HELIOSTAT_CPU_FEATURES", "-avx512f,+avx2", "cpu_features", ("-avx512f", "+avx2")),
        ("HELIOSTAT_HUGE_PAGES", "no", "huge_pages", False),
        ("HELIOSTAT_CUDA_BLOCKING", "1", "cuda_blocking", True),
        ("HELIOSTAT_TUNE", "1", "tune", True),
    ],
)
def test_values(name: str, text: str, field: str, value: object) -> None:
    assert getattr(Settings.from_environment({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HELIOSTAT_DEBUG", "Graph"),
        ("HELIOSTAT_DEBUG", "graph;fuse"),
        ("HELIOSTAT_CACHE", "maybe"),
        ("HELIOSTAT_CACHE_BYTES", "lots"),
        ("HELIOSTAT_CACHE_BYTES", "-1"),
        ("HELIOSTAT_CACHE_BYTES", "9" * 40),
        ("HELIOSTAT_THREADS", "0"),
        ("HELIOSTAT_THREADS", "2.5"),
        ("HELIOSTAT_THREADS", "1025"),
        ("HELIOSTAT_THREADS", "9" * 5000),
        ("HELIOSTAT_SPIN_US", "-1"),
        ("HELIOSTAT_CPU_FEATURES", "avx2"),
        ("HELIOSTAT_CPU_FEATURES", "+avx2 +fma"),
        ("HELIOSTAT_DUMP", "~no_such_user_here/x"),
    ],
)
def test_bad_value_is_one_line_that_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({name: text})
    assert str(caught.value).startswith(f"{name}='")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, HeliostatError)
    assert isinstance(caught.value, ValueError)


def test_environment_is_read_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_current", None)
    monkeypatch.setenv("HELIOSTAT_THREADS", "3")
    assert settings().threads == 3
    monkeypatch.setenv("HELIOSTAT_THREADS", "5")
    assert settings().threads == 3


def test_a_setting_that_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_current", None)
    monkeypatch.setattr(module, "_texts", {})
    monkeypatch.delenv("HELIOSTAT_TUNE", raising=False)
    assert not settings().tune
    monkeypatch.setenv("HELIOSTAT_TUNE", "1")
    assert not settings().tune
    assert current("tune")
    assert settings().tune
    with override(tune=False):
        assert not current("tune")
    monkeypatch.delenv("HELIOSTAT_TUNE")
    assert not current("tune")
    monkeypatch.setenv("HELIOSTAT_TUNE", "perhaps")
    with pytest.raises(SettingError, match="HELIOSTAT_TUNE"):
        current("tune")


def test_override_is_undone_after_an_error() -> None:
    before = settings()

    def fail() -> None:
        with override(threads=7, profile=True) as inside:
            assert settings() is inside
            assert (inside.threads, inside.profile) == (7, True)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert settings() is before
    with pytest.raises(TypeError), override(nonsense=1):
        pass
    assert settings() is before


def test_settings_that_change_code_are_in_the_key() -> None:
    plain = Settings()
    assert plain.code_key() == Settings(threads=3, spin_us=9, cache=False).code_key()
    assert plain.code_key() != Settings(cpu_features=("-avx2",)).code_key()
    assert plain.code_key() != Settings(override=Path("x")).code_key()


def test_every_variable_is_documented_once() -> None:
    rows = describe()
    assert len({name for name, _, _ in rows}) == len(rows) == len(fields(Settings))
    assert all(name.startswith("HELIOSTAT_") and doc.endswith(".") for name, _, doc in rows)
