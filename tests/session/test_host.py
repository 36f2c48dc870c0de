"""The target that this machine is: changes to its features are refused where it could not run what they lead to."""

from __future__ import annotations

import pytest

from heliostat.cli.main import main
from heliostat.diagnostics import UnsupportedError
from heliostat.session import host
from heliostat.session.host import host_target
from heliostat.settings import SettingError, override
from heliostat.targets.x86_features import BUILDS_ON, X86_BASE, building_on

AVX2 = sorted(building_on("sse2", BUILDS_ON) - building_on("avx512f", BUILDS_ON))
KNOWN = {n: n in AVX2 or n in ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni") for n in BUILDS_ON}
KNOWN |= dict.fromkeys(X86_BASE, True)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core with AVX-512 and VNNI, without bf16."""
    monkeypatch.setattr(host, "_machine", lambda: ("x86_64-unknown-linux-gnu", "cascadelake", KNOWN))
    monkeypatch.setattr(host, "host_machine", lambda: "x86-64")
    monkeypatch.setattr(host, "_detect", host._detect.__wrapped__)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("+avx512bf16",), "this CPU lacks avx512bf16"),
        (("+avx512f", "+amx-int8"), "this CPU lacks amx-int8"),
        (("-avx512fo",), "`avx512fo` is no feature"),
        (("+neon",), "`neon` is no feature"),
        (("-avx2",), "leaves too little: this x86-64 CPU lacks avx2"),
        (("-avx",), "leaves too little: this x86-64 CPU lacks avx2, f16c, fma"),
        (("-sse2",), "every x86-64 CPU has sse2"),
    ],
)
def test_what_would_end_the_process_is_refused(changes: tuple[str, ...], said: str) -> None:
    with override(cpu_features=changes), pytest.raises(SettingError, match=r"^HELIOSTAT_CPU_FEATURES='") as caught:
        host_target()
    assert said in str(caught.value)


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with override(cpu_features=("+avx512bf16",)):
        assert main(["run", "-p", "a", "-n", "1"]) == 2
    assert "lacks avx512bf16" in capsys.readouterr().err


def test_what_builds_on_a_feature_goes_with_it() -> None:
    """LLVM would turn it on again."""
    with override(cpu_features=("-avx512bw",)):
        assert host_target().vector_bytes == 32
        assert "avx512vnni" in host_target().features
    with override(cpu_features=("-avx512f", "+avx2")):
        target = host_target()
    assert not any(name.startswith("avx512") for name in target.features)
    assert (target.vector_bytes, target.cpu) == (32, "x86-64")
    with override(cpu_features=("-avx512f", "+avx512f", "-avx512vnni")):
        assert "avx512vnni" not in host_target().features


def test_a_machine_that_is_too_small_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_machine", lambda: ("x86_64-unknown-linux-gnu", "nehalem", KNOWN | {"avx2": False}))
    for changes in ((), ("-avx512f",)):
        with override(cpu_features=changes), pytest.raises(UnsupportedError, match=r"^this x86-64 CPU lacks avx2"):
            host_target()


def test_names_are_those_of_llvm() -> None:
    from heliostat.runtime.jit import host_machine
    from heliostat.runtime.llvm_jit import host_features

    if host_machine() == "x86-64":
        known = set(host_features())
        assert set(BUILDS_ON) | X86_BASE <= known
        assert {w for needs in BUILDS_ON.values() for w in needs.split()} <= known
