"""PyTorch's files: every dtype and layout, refusal of all that is no data, damage."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim, serialization
from heliostat.diagnostics import FileFormatError, HeliostatError, UnsupportedError
from heliostat.serialization import get_unsafe_globals_in_checkpoint, load

torch = pytest.importorskip("torch")


def saved(x: Any, **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(x, stream, **options)
    stream.seek(0)
    return stream


def archive(pickled: bytes, **records: bytes) -> io.BytesIO:
    """A file as PyTorch's with a given pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr("archive/version", b"3\n")
        for name, data in records.items():
            z.writestr(f"archive/data/{name}", data)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_state_dicts(protocol: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Conv2d(2, 4, 3))
    expected = model.state_dict()
    found = load(saved(expected, pickle_protocol=protocol))
    assert type(found) is OrderedDict
    assert list(found) == list(expected)
    for k, v in expected.items():
        assert tuple(found[k].shape) == tuple(v.shape)
        assert found[k].tolist() == v.tolist()


@pytest.mark.parametrize(
    "dtype",
    [
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16",
        "uint32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
    ],
)  # fmt: skip
def test_dtypes(dtype: str) -> None:
    x = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    y, part = load(saved([x, x[:, 1:].t()]))
    assert y.dtype == part.dtype == getattr(hs, dtype)
    if "float8" in dtype:
        x, y, part = x.float(), y.float(), part.float()
    assert y.tolist() == x.tolist()
    assert part.tolist() == x[:, 1:].t().tolist()


def test_bytes_of_bools_are_true_or_false() -> None:
    found = load(archive(tensor_pickle(0, (4,), (1,), 4, storage=torch.BoolStorage), **{"0": b"\0\2\1\xff"}))
    assert found.tolist() == [False, True, True, True]
    assert found.to(hs.int32).sum().item() == 3


def test_tensors_that_share_a_storage() -> None:
    """As many names for one tensor as a file may have take its memory once, and each changes alone."""
    x = torch.arange(12.0)
    found = load(saved({str(n): x.detach() for n in range(30)} | {"half": x[::2]}))
    assert len({id(found[str(n)].value) for n in range(30)}) == 1
    found["3"].add_(1)
    assert found["3"].tolist() == (x + 1).tolist()
    assert found["4"].tolist() == x.tolist()
    assert found["half"].tolist() == x[::2].tolist()
    weights = [found[str(n)].requires_grad_(True) for n in range(2)]
    optimizer = optim.SGD(weights[:1], lr=0.5)

    @hs.compile
    def step() -> Any:
        optimizer.zero_grad()
        (weights[0] * weights[1]).sum().backward()
        optimizer.step()

    step()
    step()
    assert weights[1].tolist() == x.tolist()
    assert weights[0].tolist() == [0.0] * 12


def test_layouts_and_values() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    values = {
        "t": base.transpose(0, 2), "part": base[1, ::2, 1:], "scalar": torch.tensor(3.0), "none": torch.zeros(0, 5),
        "wide": torch.ones(1).expand(4), "p": torch.nn.Parameter(torch.ones(2)), "size": torch.Size([1, 2]),
        "dtype": torch.float16, "device": torch.device("cpu"), "list": [1, 2.5, True, None, ("a", (b"b", 1 << 70))],
        "set": {1, 2}, "many": list(range(3000)), "dtypes": (torch.int64, [torch.bool]),
    }  # fmt: skip
    found = load(saved(values))
    for k in ("t", "part", "scalar", "none", "wide", "p"):
        assert tuple(found[k].shape) == tuple(values[k].shape)
        assert found[k].tolist() == values[k].tolist()
    assert found["p"].requires_grad
    assert found["size"] == hs.Size([1, 2])
    assert found["dtype"] == hs.float16
    assert found["dtypes"] == (hs.int64, [hs.bool])
    for k in ("list", "set", "many"):
        assert found[k] == values[k]
    w = torch.ones(2)
    both = load(saved([w, w]))
    assert both[0] is both[1]


def test_an_optimizer_of_pytorch_goes_on_here(tmp_path: Path) -> None:
    p = torch.tensor([1.0, -2.0], requires_grad=True)
    a = torch.optim.AdamW([p], lr=0.1, amsgrad=True)
    s = torch.optim.lr_scheduler.MultiStepLR(a, [2, 4], 0.5)

    def advance(x: Any, o: Any, schedule: Any) -> None:
        o.zero_grad()
        (x * x * x).sum().backward()
        o.step()
        schedule.step()

    for _ in range(3):
        advance(p, a, s)
    torch.save({"p": p, "o": a.state_dict(), "s": s.state_dict()}, tmp_path / "a.pt")
    found = load(tmp_path / "a.pt")
    q = found["p"]
    b = optim.AdamW([q], lr=0.3)
    t = optim.lr_scheduler.MultiStepLR(b, [7])
    b.load_state_dict(found["o"])
    t.load_state_dict({k: v for k, v in found["s"].items() if not k.startswith("_get") and k != "_is_initial"})
    for _ in range(4):
        advance(p, a, s)
        advance(q, b, t)
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-6)
    assert b.param_groups[0]["lr"] == a.param_groups[0]["lr"]


# --- what is refused --------------------------------------------------------------------------------------------------
class Evil:
    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.place}",)


def test_nothing_is_run(tmp_path: Path) -> None:
    place = tmp_path / "touched"
    for stream in (
        saved(Evil(str(place))),
        saved({"a": [Evil(str(place))]}),
        saved(Evil(str(place)), pickle_protocol=4),
    ):
        with pytest.raises(UnsupportedError, match=r"system"):
            load(stream)
        stream.seek(0)
        assert get_unsafe_globals_in_checkpoint(stream) == ["posix.system"]
    assert not place.exists()


@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Linear(2, 2), np.float64(1.0), torch.ones(2).to_sparse(),
        torch.float32.__class__, OrderedDict,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_is_no_data_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"torch|numpy|collections"):
        load(saved({"x": value}))


def test_programs_and_plain_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="plain pickle"):
        load(saved({"a": 1}, _use_new_zipfile_serialization=False))
    with pytest.raises(UnsupportedError, match="plain pickle"):
        load(io.BytesIO(pickle.dumps({"a": 1})))
    stream = archive(pickle.dumps({"a": 1}, 2))
    with zipfile.ZipFile(stream, "a") as z:
        z.writestr("archive/constants.pkl", b"")
    stream.seek(0)
    with pytest.raises(UnsupportedError, match="TorchScript"):
        load(stream)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("x", b"1")
    stream.seek(0)
    with pytest.raises(FileFormatError, match=r"no data\.pkl"):
        load(stream)


def tensor_pickle(offset: int, size: Any, stride: Any, count: int, storage: Any = torch.FloatStorage) -> bytes:
    """A pickle of a tensor of any numbers."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):  # type: ignore[name-defined]
        def persistent_id(self, x: Any) -> Any:
            return ("storage", storage, "0", "cpu", count) if isinstance(x, Storage) else None

    class Made:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, OrderedDict())

    stream = io.BytesIO()
    Pickler(stream, 2).dump(Made())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride", "count"),
    [
        (0, (5,), (1,), 4), (1, (4,), (1,), 4), (0, (2, 2), (3, 1), 4), (-1, (2,), (1,), 4), (0, (2,), (-1,), 4),
        (0, (1 << 40,), (0,), 4), (0, (2,), (1, 1), 4), (0, (4,), (1,), 9), (0, ("a",), (1,), 4), (0, 4, 1, 4),
    ],
)  # fmt: skip
def test_tensors_that_reach_out_of_their_storage_are_refused(offset: int, size: Any, stride: Any, count: int) -> None:
    with pytest.raises(FileFormatError):
        load(archive(tensor_pickle(offset, size, stride, count), **{"0": b"\0" * 16}))
    assert load(archive(tensor_pickle(1, (3,), (1,), 4), **{"0": b"\0" * 16})).tolist() == [0.0] * 3
    with pytest.raises(FileFormatError, match="missing"):
        load(archive(tensor_pickle(1, (3,), (1,), 4)))


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02.", b"\x80\x02N", b"\x80\x02h\x07.", b"\x80\x02(.", b"\x80\x02]K\x01s.", b"\x80\x02NR.", b"junk", b"",
        b"\x80\x02K\x01\x85\x86.", b"\x80\x02]]K\x01K\x02u.", b"\x80\x02NNN.", b"\x80\x02NQ.",
    ],
)  # fmt: skip
def test_broken_pickles_are_refused(code: bytes) -> None:
    with pytest.raises(HeliostatError):
        load(archive(code))


DEEP, MANY = 100_000, 2000
NESTED = b")" + b"\x85" * DEEP
OF_SET, OF_TEXT = b"c__builtin__\nset\nq\1", b"c_codecs\nencode\nq\1"
TEXT = OF_TEXT + b"X\xd0\7\0\0" + b"a" * 2000 + b"X\6\0\0\0latin1\x86q\2]"


def part(offset: int) -> bytes:
    """Instructions that append to a list 2 MiB of a storage of 4 MiB."""
    name = b"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuJ\0\0\x10\0t"
    where = b"M" + offset.to_bytes(2, "little") + b"J\0\0\x08\0\x85K\1\x85\x89Nt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + name + b"Q" + where + b"Ra"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"}" + NESTED + b"Ns.", "key"), (b"}(" + NESTED + b"Nu.", "key"), (OF_SET + NESTED + b"\x85\x85R.", "key"),
        (b"\x8f(" + NESTED + b"\x90.", "key"), (b"}K\1" + b"\x85q\0h\0\x86" * 50 + b"Ns.", "key"),
        (NESTED + b".", "nested"), (b"]" * DEEP + b"a" * (DEEP - 1) + b".", "nested"), (b"]q\0h\0a.", "nested"),
        (b"}q\0K\1h\0s.", "nested"), (NESTED + b"X\1\0\0\0a\x93.", "needed"), (NESTED + b"Q.", "recursion"),
        (OF_SET + b"(" + b"K\1" * MANY + b"t\x85q\2]" + b"h\1h\2Ra" * MANY + b".", "more is made"),
        (TEXT + b"h\1h\2Ra" * MANY + b".", "more is made"),
        (b"]" + b"".join(map(part, range(200))) + b".", "too large"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_hostile_pickles_are_refused(code: bytes, why: str) -> None:
    """What would end the process (Python hashes tuples by recursion without a limit), or take memory and time without
    a bound by naming one value many times."""
    with pytest.raises(FileFormatError, match=why):
        load(archive(b"\x80\2" + code, **{"0": b"\0" * (4 << 20)}))


def test_damage_is_found() -> None:
    data = saved({"w": torch.arange(5.0), "n": [1, "two"]}).getvalue()
    expected = load(io.BytesIO(data))
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 400):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            found = load(io.BytesIO(bytes(damaged)))
        except HeliostatError:
            continue
        assert found["w"].tolist() == expected["w"].tolist()  # the byte was padding, or a date
        assert found["n"] == expected["n"]
    for length in range(0, len(data), 37):
        with pytest.raises(HeliostatError):
            load(io.BytesIO(data[:length]))


class Settings:
    """What a checkpoint may hold besides data."""

    def __init__(self, rate: float) -> None:
        self.rate = rate


def test_classes_that_are_named_as_safe() -> None:
    data = {"settings": Settings(0.5), "weight": torch.ones(2), "shared": (s := Settings(2.0), s)}
    with pytest.raises(UnsupportedError, match="Settings"):
        load(saved(data))
    with serialization.safe_globals([Settings]):
        assert serialization.get_safe_globals() == [Settings]
        found = load(saved(data))
    assert type(found["settings"]) is Settings
    assert found["settings"].rate == 0.5
    assert found["shared"][0] is found["shared"][1]
    assert found["weight"].tolist() == [1, 1]
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(OtherSettings, f"{__name__}.Settings")])
    try:
        assert type(load(saved(data))["settings"]) is OtherSettings
        assert serialization.get_safe_globals() == [(OtherSettings, f"{__name__}.Settings")]
    finally:
        serialization.clear_safe_globals()
    with pytest.raises(UnsupportedError, match="Settings"):
        load(saved(data))
    for wrong in (3, (Settings, "Settings")):
        with pytest.raises(TypeError, match="safe global"):
            serialization.add_safe_globals([wrong])  # type: ignore[list-item]


class OtherSettings:
    """Takes the state of Settings."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.rate = state["rate"]
