"""Saving and loading our own files: every value, damage, crashes."""

from __future__ import annotations

import errno
import io
import math
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim
from heliostat.diagnostics import DeviceUnavailableError, FileFormatError, HeliostatError, UnsupportedError
from heliostat.serialization import load, load_safetensors, save, save_safetensors

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool",
]  # fmt: skip


def again(x: Any) -> Any:
    stream = io.BytesIO()
    save(x, stream)
    stream.seek(0)
    return load(stream)


def test_values_come_back_as_they_were() -> None:
    values: dict[Any, Any] = {
        "none": None, "yes": True, "int": 1 << 80, "float": 0.1, "zero": -0.0, "inf": -math.inf, "text": "ü\n\0",
        "bytes": b"\0\xff", "complex": complex(1, -math.inf), "tuple": (1, [2, (3,)], ()), 7: "seven", (1, "a"): [],
        "set": {1, 2}, "frozen": frozenset({"a"}), "size": hs.Size([2, 3]), "dtype": hs.bfloat16, None: {},
        "$": {"$": "tensor", "is": "x"}, 2.5: 1,
    }  # fmt: skip
    found = again(values)
    assert found == values
    assert list(found) == list(values)
    assert math.copysign(1, found["zero"]) == -1
    assert type(found["size"]) is hs.Size
    assert type(found["yes"]) is bool
    assert type(again({"a": 1.0})["a"]) is float
    assert math.isnan(again(math.nan))
    assert again(OrderedDict(a=1)) == OrderedDict(a=1)
    assert type(again(Counter("aab"))) is Counter
    assert again(hs.device("cpu")) == hs.device("cpu")
    assert again(5) == 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_come_back_with_every_bit(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((), (3,), (2, 3), (0, 4)):
        x = hs.tensor(rng.integers(0, 2, shape) if dtype == "bool" else rng.integers(0, 99, shape), dtype=dtype)
        y = again({"x": x})["x"]
        assert y.dtype == x.dtype
        assert tuple(y.shape) == shape
        assert y.tolist() == x.tolist()


def test_special_floats_views_and_lazy_tensors() -> None:
    x = hs.tensor([math.nan, math.inf, -0.0, 1e-45])
    assert again(x).numpy().tobytes() == x.numpy().tobytes()
    y = hs.arange(6).reshape(2, 3).transpose(0, 1)
    assert again(y * 2).tolist() == [[0, 6], [2, 8], [4, 10]]
    w = hs.ones(2).requires_grad_(True)
    found = again([w, w, w * 2, w.detach()])
    assert found[0] is found[1]
    assert [t.requires_grad for t in found] == [True, True, False, False]
    assert found[2].tolist() == [2.0, 2.0]
    assert again({"a": np.arange(3, dtype=np.int16), "b": np.float32(0.5)})["a"].dtype == np.int16
    assert type(again(np.float32(0.5))) is np.float32


def test_names_are_those_of_the_keys(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    save({"w": hs.ones(2, 2), "deep": {"b": hs.zeros(3)}, "deep.b": hs.ones(1), "n": 5}, tmp_path / "a")
    found = safetensors.load_file(tmp_path / "a")
    assert {k: v.shape for k, v in found.items()} == {"w": (2, 2), "deep.b": (3,), "deep.b#2": (1,)}


def test_generators_and_random_state() -> None:
    g = hs.Generator().manual_seed(5)
    hs.rand(3, generator=g)
    state = again({"g": g, "all": hs.get_rng_state()})
    assert hs.rand(4, generator=state["g"]).tolist() == hs.rand(4, generator=g).tolist()
    expected = hs.rand(4).tolist()
    hs.set_rng_state(state["all"])
    assert hs.rand(4).tolist() == expected


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "ASGD", "Adafactor", "LBFGS"])
def test_optimizers_go_on(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}

    def run(steps: int, resume: bool) -> list[Any]:
        p = hs.tensor([[1.0, -2.0], [0.5, 3.0]]).requires_grad_(True)
        o = getattr(optim, name)([p], lr=0.1, **options)
        s = optim.lr_scheduler.MultiStepLR(o, [2, 5], gamma=0.5)

        def closure() -> Any:
            o.zero_grad()
            loss = (p * p * p.cos()).sum()
            loss.backward()
            return loss

        for n in range(steps):
            if resume and n == 3:
                save({"p": p, "o": o.state_dict(), "s": s.state_dict()}, tmp_path / "state")
                found = load(tmp_path / "state")
                p = found["p"]
                o = getattr(optim, name)([p], lr=0.9, **options)
                s = optim.lr_scheduler.MultiStepLR(o, [1])
                o.load_state_dict(found["o"])
                s.load_state_dict(found["s"])
            o.step(closure)
            s.step()
        return p.tolist()

    assert run(7, True) == run(7, False)


# --- what cannot be saved ---------------------------------------------------------------------------------------------
class Thing:
    pass


def test_other_types_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save({"a": 1}, place)
    before = place.read_bytes()
    loop: list[Any] = []
    loop.append(loop)
    for value, match in (
        ({"x": {"y": Thing()}}, r"'x\.y' is a .*Thing"),
        ({"f": len}, "'f' is a"),
        ([loop], "nested in itself"),
        ({"d": {hs.ones(1): 1}}, "key of 'd'"),
        ({"a": np.array(["x"])}, "dtype"),
    ):
        with pytest.raises(HeliostatError, match=match):
            save(value, place)
    assert place.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(UnsupportedError, match="deep"):
        save(deep, place)
    with pytest.raises(UnsupportedError, match="pickle_module"):
        load(place, pickle_module=pickle)
    with pytest.raises(UnsupportedError, match="metal"):
        load(place, map_location="metal")
    with pytest.raises(UnsupportedError, match="map_location"):
        load(place, map_location={"cpu": "cuda"})


def test_old_ways_of_saying_cpu(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save({"x": hs.ones(2)}, place)
    for where in ("cpu", None, hs.device("cpu"), {"cuda:0": "cpu"}, lambda storage, place: storage, lambda s, p: None):
        found = load(place, where, weights_only=False, mmap=True)["x"]
        assert found.tolist() == [1, 1]
        assert found.device.type == "cpu"
    if not hs.cuda.is_available():
        with pytest.raises(DeviceUnavailableError):
            load(place, lambda storage, place: storage.cuda(0))


# --- damage -----------------------------------------------------------------------------------------------------------
def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save({"w": hs.tensor(np.arange(6.0)), "n": [1, 2.5, "text", (None,)], "b": hs.tensor([True, False])}, place)
    data = place.read_bytes()
    for at in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            damaged = bytearray(data)
            damaged[at] ^= flip
            place.write_bytes(damaged)
            try:
                found = load(place)
            except (FileFormatError, UnsupportedError):
                continue
            assert data[at] == 0x20, (at, flip, found)  # padding of the header may be other white space


def test_every_truncation_is_found(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save({"w": hs.tensor(np.arange(6.0)), "n": [1, 2]}, place)
    data = place.read_bytes()
    for length in range(len(data)):
        place.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match=str(place)):
            load(place)
    place.write_bytes(data + b"\0")
    with pytest.raises(FileFormatError):
        load(place)
    with pytest.raises(FileFormatError, match="no such file"):
        load(tmp_path / "b")


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save([1], place)
    data = place.read_bytes()
    place.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(FileFormatError, match="version 2"):
        load(place)


# --- crashes ----------------------------------------------------------------------------------------------------------
KILLED = """
import os, sys
from heliostat.serialization import files
def pieces():
    yield b"x" * 100_000
    print("half", flush=True)
    os.kill(os.getpid(), 9)
files.write_all(sys.argv[1], pieces())
"""


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "a"
    save({"old": 1}, place)
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "half\n"
    assert load(place) == {"old": 1}


def test_what_a_kill_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next save of that file alone, and not while somebody writes it."""
    from heliostat.serialization import files

    place = tmp_path / "a[1]"
    left, others, written = (tmp_path / f".{name}.part" for name in ("a[1].0f", "a1.0f", "a[1].1f"))
    for part in (left, others, written):
        part.write_bytes(b"half")
    save(1, place)
    assert left.exists()  # it may have been made just now
    monkeypatch.setattr(files, "FRESH", -1.0)
    with written.open("rb+") as file:
        assert files.lock_file(file)
        save(2, place)
        assert {p.name for p in tmp_path.iterdir()} == {place.name, others.name, written.name}
    save(3, place)
    assert {p.name for p in tmp_path.iterdir()} == {place.name, others.name}
    assert load(place) == 3


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    from heliostat.serialization.files import write_all

    place = tmp_path / "a"
    save({"old": 1}, place)

    def pieces() -> Any:
        yield b"some"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_all(place, pieces())
    assert load(place) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(FileNotFoundError):
        save([1], tmp_path / "missing" / "a")


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    tensors = {"w": hs.ones(3)}
    for write, name in ((save, "a.hs"), (save_safetensors, "a.safetensors")):
        with pytest.raises(OSError, match=f"No space left on device: .*{name}'"):
            write(tensors, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_links_and_modes_stay(tmp_path: Path) -> None:
    place, link = tmp_path / "a", tmp_path / "b"
    save([1], place)
    place.chmod(0o640)
    link.symlink_to(place)
    save([2], link)
    assert link.is_symlink()
    assert load(place) == [2]
    assert place.stat().st_mode & 0o777 == 0o640


# --- safetensors ------------------------------------------------------------------------------------------------------
def test_safetensors_files_go_both_ways(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    ours = {"a": hs.tensor([[1.5, 2.0]]), "b": hs.tensor([1, 2], dtype=hs.int8), "c": hs.ones(3, dtype=hs.bfloat16)}
    save_safetensors(ours, tmp_path / "a", {"by": "us"})
    found = theirs.load_file(tmp_path / "a")
    assert {k: (v.tolist(), str(v.dtype)) for k, v in found.items()} == {
        "a": ([[1.5, 2.0]], "torch.float32"), "b": ([1, 2], "torch.int8"), "c": ([1.0] * 3, "torch.bfloat16"),
    }  # fmt: skip
    theirs.save_file({"x": torch.arange(3), "y": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "b")
    for read in (load_safetensors, load):
        made = read(tmp_path / "b")
        assert made["x"].tolist() == [0, 1, 2]
        assert made["y"].dtype == hs.bfloat16
    with pytest.raises(UnsupportedError, match="use save"):
        save_safetensors({"a": 1}, tmp_path / "c")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1]}}',
        b'{"a":5}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"__metadata__":{"a":1}}',
        b'{"a":[[[[[',
    ],
)
def test_wrong_headers_are_refused(header: bytes) -> None:
    data = len(header).to_bytes(8, "little") + header + b"\0" * 4
    with pytest.raises(FileFormatError):
        load(io.BytesIO(data))


def test_names_of_the_package() -> None:
    assert hs.save is save
    assert hs.load is load
