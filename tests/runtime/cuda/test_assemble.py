from __future__ import annotations

from pathlib import Path

import pytest

from heliostat.runtime.cuda import Device, Driver, Module, assemble, assembly_worker
from heliostat.runtime.cuda.assemble import linked, unpacked
from heliostat.runtime.object_cache import ObjectCache
from heliostat.targets.target import CUDA
from runtime.cuda.fake_bindings import FakeBindings

PTX = ".version 8.0\n.target sm_90a\n"


def test_cubin_and_log(fake: FakeBindings, gpu: Device) -> None:
    fake.link_log = ("ptxas info : Used 40 registers", "")
    cubin = assemble(gpu, PTX)
    assert cubin.image == b"\x7fELF" + PTX.encode()  # read before the linker's state, and its memory, went away
    assert cubin.log == "ptxas info : Used 40 registers"
    assert fake.destroyed == ["link"]


def test_target_of_its_own_is_asked_for(fake: FakeBindings, gpu: Device) -> None:
    assemble(gpu, PTX, max_registers=128)
    assert fake._link_values["TARGET"] == "COMPUTE_90A"
    assert fake._link_values["MAX_REGISTERS"] == 128
    assemble(gpu, PTX.replace("sm_90a", "sm_90"))
    assert "TARGET" not in fake._link_values


def test_cubins_are_kept(fake: FakeBindings, gpu: Device, tmp_path: Path) -> None:
    fake.link_log = ("the log", "")
    first = assemble(gpu, PTX, cache=ObjectCache(tmp_path / "c"))
    fake.calls.clear()
    assert assemble(gpu, PTX, cache=ObjectCache(tmp_path / "c")) == first
    module = Module(gpu, PTX, cache=ObjectCache(tmp_path / "c"))
    assert module.log == "the log"
    assert not [name for name in fake.calls if name.startswith("cuLink")]


@pytest.mark.parametrize("change", ["ptx", "driver", "registers", "device", "damage"])
def test_what_differs_is_made_anew(fake: FakeBindings, gpu: Device, tmp_path: Path, change: str) -> None:
    def cache() -> ObjectCache:
        return ObjectCache(tmp_path / "c")

    assemble(gpu, PTX, cache=cache())
    fake.calls.clear()
    if change == "ptx":
        assemble(gpu, PTX + " ", cache=cache())
    elif change == "driver":
        assemble(Device(0, Driver(_newer(fake))), PTX, cache=cache())
    elif change == "registers":
        assemble(gpu, PTX, max_registers=64, cache=cache())
    elif change == "device":
        gpu.__dict__["compute_capability"] = (10, 0)
        assemble(gpu, PTX, cache=cache())
    else:
        (entry,) = (tmp_path / "c").glob("*.o")
        entry.write_bytes(entry.read_bytes()[:-1])
        assemble(gpu, PTX, cache=cache())
    assert "cuLinkComplete" in fake.calls


def _newer(fake: FakeBindings) -> FakeBindings:
    fake.version = 13000
    return fake


def test_a_process_answers_with_entries_of_the_cache(
    fake: FakeBindings, gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.link_log = ("the log", "")
    monkeypatch.setattr(assembly_worker, "device", lambda number: {0: gpu}[number])
    entry = assembly_worker.emit("cubin 0", PTX, CUDA)
    assert unpacked(entry) == linked(gpu, PTX)
    for damaged in (None, b"", entry[:5], b"x" + entry):
        assert unpacked(damaged) is None
