"""The GGUF writer: gguf-py reads what it writes and the other way, splits open by any part, failures change nothing."""

from __future__ import annotations

import errno
import math
import os
import struct
from array import array
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import FileFormatError, ShapeError
from heliostat.llm.gguf import GGUFFile, GGUFWriter, TensorKind, ValueType

KINDS: dict[ValueType, st.SearchStrategy[Any]] = {
    **{
        kind: st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
        if kind.name[0] == "I"
        else st.integers(0, (1 << bits) - 1)
        for kind in ValueType
        if "INT" in kind.name
        for bits in [int(kind.name.split("INT")[1])]
    },
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(max_size=12),
}
VALUES = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.one_of(
        st.tuples(st.just(kind), KINDS[kind]),
        st.tuples(st.just((ValueType.ARRAY, kind)), st.lists(KINDS[kind], min_size=1, max_size=5)),
    )
)
KEYS = st.dictionaries(st.text("abc.é", min_size=1, max_size=6), VALUES, max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS, alignment=st.sampled_from([8, 32, 256]))
def test_what_we_write_reads_back_here_and_in_gguf_py(tmp_path: Path, keys: dict[str, Any], alignment: int) -> None:
    path = tmp_path / "m.gguf"
    w = GGUFWriter(path, "llama", alignment)
    for key, (kind, value) in keys.items():
        w.add(key, value, kind)
    data = np.arange(96, dtype=np.float32).reshape(3, 32)
    w.add_tensor("t", data, "F32", data.shape)
    w.add_tensor("q", bytes(range(34)), "Q8_0", (32,))
    assert w.write() == [path]
    ours, theirs = GGUFFile.open(path), gguf.GGUFReader(path)
    for key, (kind, value) in keys.items():
        assert ours.metadata[key] == value
        assert ours.value_types[key] == kind
        assert theirs.fields[key].contents() == value
    for found in theirs.tensors:
        assert found.data.tobytes() == ours.data(found.name).tobytes()
        assert found.data_offset == ours.tensors[found.name].offset
    assert ours.alignment == alignment
    again = GGUFWriter(tmp_path / "again.gguf", "llama", alignment)
    for key, value in ours.metadata.items():
        if key not in ("general.architecture", "general.alignment"):
            again.add(key, value, ours.value_types[key])
    for name, info in ours.tensors.items():
        again.add_tensor(name, ours.data(name), info.type_name, info.shape)
    again.write()
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS)
def test_what_gguf_py_writes_is_read(tmp_path: Path, keys: dict[str, Any]) -> None:
    path = tmp_path / "m.gguf"
    w = gguf.GGUFWriter(path, "qwen2")
    for key, (kind, value) in keys.items():
        if isinstance(kind, tuple):
            w.add_key_value(key, value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType(kind[1]))
        else:
            w.add_key_value(key, value, gguf.GGUFValueType(kind))
    w.add_tensor("t", np.arange(6, dtype=np.float16).reshape(2, 3))
    w.add_tensor("q", np.arange(68, dtype=np.uint8).reshape(2, 34), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    file = GGUFFile.open(path)
    assert file.architecture == "qwen2"
    assert {k: v for k, v in file.metadata.items() if k != "general.architecture"} == {
        k: v for k, (_, v) in keys.items()
    }
    assert (file.tensors["q"].type_name, file.tensors["q"].shape) == ("Q8_0", (2, 32))
    assert file.data("t").view(np.float16).tolist() == list(range(6))
    assert file.data("q").tolist() == list(range(68))


def test_nan_and_infinity_stay(tmp_path: Path) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama")
    w.add("x", [math.nan, math.inf, -math.inf])
    w.write()
    a, b, c = GGUFFile.open(tmp_path / "m.gguf").metadata["x"]
    assert math.isnan(a)
    assert (b, c) == (math.inf, -math.inf)


@pytest.mark.parametrize("alignment", [32, 128])
def test_split_models_open_by_any_part(tmp_path: Path, alignment: int) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama", alignment, split_bytes=300)
    for i in range(5):
        w.add_tensor(f"t{i}", np.full(32, i, np.float32), "F32", (32,))
    paths = w.write()
    assert [p.name for p in paths] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for path in paths:
        file = GGUFFile.open(path)
        assert file.architecture == "llama"
        assert [file.data(f"t{i}").view(np.float32)[0] for i in range(5)] == list(range(5))
        assert file.size == sum(p.stat().st_size for p in paths)
    paths[1].unlink()
    with pytest.raises(FileFormatError, match=paths[1].name):
        GGUFFile.open(paths[0])
    paths[0].rename(tmp_path / "other.gguf")
    with pytest.raises(FileFormatError, match="name"):
        GGUFFile.open(tmp_path / "other.gguf")


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("call", ["os.fsync", "Path.replace"])
def test_a_split_that_fails_in_a_part_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, call: str
) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama", split_bytes=100)
    for i in range(3):
        w.add_tensor(f"t{i}", np.full(32, i, np.float32), "F32", (32,))
    calls = iter(range(9))
    owner, name = (os, "fsync") if call == "os.fsync" else (Path, "replace")
    real = getattr(owner, name)

    def failing(*arguments: Any) -> Any:
        if next(calls) == part:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        with pytest.raises(OSError, match="No space"):
            w.write()
    assert not list(tmp_path.iterdir())
    assert len(w.write()) == 3


@pytest.mark.parametrize(("no", "count"), [(0, 2), (1, 3), (None, 2)])
def test_parts_that_contradict_their_names_are_refused(tmp_path: Path, no: int | None, count: int) -> None:
    for n in range(2):
        w = GGUFWriter(tmp_path / f"m-{n + 1:05d}-of-00002.gguf", "llama")
        if n == 0 or no is not None:
            w.add("split.no", n if n == 0 else no, ValueType.UINT16)
        w.add("split.count", 2 if n == 0 else count, ValueType.UINT16)
        w.write()
    with pytest.raises(FileFormatError, match="00002-of-00002") as caught:
        GGUFFile.open(tmp_path / "m-00001-of-00002.gguf")
    assert ("unlike its name" if no is not None else "split.no is missing") in str(caught.value)


def test_nested_arrays_keep_the_types_of_their_items(tmp_path: Path) -> None:
    u8, i64, text = ((ValueType.ARRAY, t) for t in (ValueType.UINT8, ValueType.INT64, ValueType.STRING))
    values = {
        "mixed": ([[1, 2], [3], []], (ValueType.ARRAY, [u8, i64, text])),
        "deep": ([[[1], [2]], []], (ValueType.ARRAY, [(ValueType.ARRAY, [u8, u8]), (ValueType.ARRAY, [])])),
    }
    w = GGUFWriter(tmp_path / "a", "llama")
    for key, (value, kind) in values.items():
        w.add(key, value, kind)
    w.add("all", [[1], [2]], (ValueType.ARRAY, u8))
    w.write()
    file = GGUFFile.open(tmp_path / "a")
    assert {k: (file.metadata[k], file.value_types[k]) for k in values} == values
    assert file.value_types["all"] == (ValueType.ARRAY, [u8, u8])
    again = GGUFWriter(tmp_path / "b", "llama")
    for key in (*values, "all"):
        again.add(key, file.metadata[key], file.value_types[key])
    again.write()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1e300, None),
        ([1.0, -1e300], None),
        (1 << 64, None),
        (-1, ValueType.UINT32),
        ("x", ValueType.INT32),
        (7, ValueType.STRING),
        ([[1], [300]], (ValueType.ARRAY, (ValueType.ARRAY, ValueType.UINT8))),
        ([[1], [2]], (ValueType.ARRAY, [(ValueType.ARRAY, ValueType.UINT8)])),
        ("\ud800", None),
    ],
)
def test_values_that_do_not_fit_name_their_key(tmp_path: Path, value: Any, kind: Any) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama")
    w.add("some.key", value, kind)
    with pytest.raises(ValueError, match=r"metadata key some\.key"):
        w.write()
    assert not list(tmp_path.iterdir())


def test_writing_twice_gives_the_same_file(tmp_path: Path) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama")
    w.declare_format(TensorKind("mine", 32, 8), "format mine {}")
    w.write()
    first = (tmp_path / "m.gguf").read_bytes()
    w.write()
    assert (tmp_path / "m.gguf").read_bytes() == first


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heliostat.llm.gguf.writer.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        GGUFWriter(path, "llama").write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "llama")
    with pytest.raises(ShapeError, match="takes 34 bytes"):
        w.add_tensor("t", bytes(33), "Q8_0", (32,))
    with pytest.raises(FileFormatError, match="no tensor type"):
        w.add_tensor("t", bytes(33), "Q9", (32,))
    with pytest.raises(ValueError, match="already"):
        w.add("general.architecture", "x")
    with pytest.raises(ValueError, match="power of two"):
        GGUFWriter(tmp_path / "m.gguf", "llama", alignment=24)
    w.add("k", 300, ValueType.UINT8)
    with pytest.raises(ValueError, match="metadata key k"):
        w.write()
    assert not list(tmp_path.iterdir())


def test_layout_of_a_small_file_byte_for_byte(tmp_path: Path) -> None:
    w = GGUFWriter(tmp_path / "m.gguf", "x")
    w.add_tensor("t", b"\1\2\3\4", "F32", (1,))
    w.write()
    key = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 1) + b"x"
    info = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 1, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + info
    expected = head + bytes(-len(head) % 32) + b"\1\2\3\4" + bytes(28)
    assert (tmp_path / "m.gguf").read_bytes() == expected


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/m\.gguf'"):
        GGUFWriter(tmp_path / "m.gguf", "llama").write()
    assert not list(tmp_path.iterdir())


def test_arrays_that_no_type_of_metadata_is_for(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'u'"):
        GGUFWriter(tmp_path / "a", "llama").add("key", array("u", "ab"))
