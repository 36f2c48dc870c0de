"""Safetensors: equal to the library on its own files, zero-copy, and one-line errors for everything hostile."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from heliostat.diagnostics import FileFormatError
from heliostat.llm.safetensors import INDEX, SafetensorsModel

ARRAYS = {
    "f32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "f16": np.arange(5, dtype=np.float16),
    "i64": np.arange(-3, 3, dtype=np.int64).reshape(2, 3),
    "u8": np.arange(7, dtype=np.uint8),
    "flag": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(2.5, np.float64),
}


def raw_file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refuse(path: Path, content: bytes | None = None) -> str:
    """The message with which `path` is refused: one line, its path first, and little memory used on the way."""
    if content is not None:
        path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError) as caught:
            SafetensorsModel.open(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path.parent))
    return message


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors", metadata={"format": "np"})
    with SafetensorsModel.open(tmp_path) as model:
        assert set(model.tensors) == set(ARRAYS)
        assert model.metadata == {"format": "np"}
        for name, array in ARRAYS.items():
            found = model.array(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found, array)
            assert model.data(name).tobytes() == array.tobytes()


def test_views_are_read_only_share_the_map_and_outlive_the_model(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    model = SafetensorsModel.open(tmp_path / "model.safetensors")
    first, again = model.array("f32"), model.data("f32")
    assert np.shares_memory(first, again)
    assert not first.flags.writeable
    model.close()
    np.testing.assert_array_equal(first, ARRAYS["f32"])
    with pytest.raises(ValueError, match="closed"):
        model.data("f32")


def test_bf16_is_the_uint16_of_its_bits_and_fp4_is_bytes(tmp_path: Path) -> None:
    header = {"b": entry("BF16", [1, 2], 0, 4), "f": entry("F4", [2, 2], 4, 6)}
    (tmp_path / "m.safetensors").write_bytes(raw_file(header, b"\x80\x3f\x00\xc0\x12\x34"))
    model = SafetensorsModel.open(tmp_path)
    assert model.array("b").tolist() == [[0x3F80, 0xC000]]
    assert model.data("f").tolist() == [0x12, 0x34]
    with pytest.raises(TypeError, match="F4"):
        model.array("f")


def make_shards(folder: Path) -> list[Path]:
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file({"a": ARRAYS["f32"]}, folder / names[0])
    save_file({"b": ARRAYS["f16"]}, folder / names[1])
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}))
    return [folder / name for name in names]


def test_shards_open_by_folder_index_or_any_shard(tmp_path: Path) -> None:
    shards = make_shards(tmp_path)
    for path in (tmp_path, tmp_path / INDEX, *shards):
        model = SafetensorsModel.open(path)
        assert model.parts == tuple(shards)
        np.testing.assert_array_equal(model.array("b"), ARRAYS["f16"])


def test_configuration_files_are_found(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    assert SafetensorsModel.open(tmp_path).config is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    (tmp_path / "tokenizer.json").write_text("{}")
    model = SafetensorsModel.open(tmp_path)
    assert model.config == {"model_type": "llama"}
    assert model.generation_config == {"eos_token_id": 2}
    assert model.tokenizer_path == tmp_path / "tokenizer.json"
    assert "config.json" in refuse_config(tmp_path)


def refuse_config(folder: Path) -> str:
    (folder / "config.json").write_text("[1]")
    return refuse(folder)


def test_broken_indexes_are_refused(tmp_path: Path) -> None:
    shards = make_shards(tmp_path)
    index = tmp_path / INDEX
    for places, said in (
        ({"a": "../x.safetensors"}, "not a file beside it"),
        ({"a": "gone.safetensors"}, "no such file"),
        ({"a": shards[1].name, "b": shards[0].name}, "as the index says"),
        ({}, "empty"),
        ([], "must map"),
    ):
        index.write_text(json.dumps({"weight_map": places}))
        assert said in refuse(index)
    save_file({"a": ARRAYS["f32"]}, shards[1])
    index.write_text(json.dumps({"weight_map": {"a": shards[0].name, "b": shards[1].name}}))
    assert "too" in refuse(index)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "too few"),
        (struct.pack("<Q", 1 << 62) + b"{}", "does not fit"),
        (raw_file(b"[1,2]"), "does not start with"),
        (raw_file(b'{"a": ' + b"[" * 200_000), "not valid"),
        (raw_file(b'{"a": 1, "a": 2}'), "twice"),
        (raw_file(b'{"a\xff": 1}'), "not valid"),
        (raw_file({"a\nb": 1}), "entry is not an object"),
        (raw_file({"a": entry("Q9", [1], 0, 1)}, b"0"), "unknown dtype"),
        (raw_file({"a": entry("U8", [True], 0, 1)}, b"0"), "shape"),
        (raw_file({"a": entry("U8", [-1], 0, 1)}, b"0"), "shape"),
        (raw_file({"a": entry("U8", [2**62, 2**62], 0, 1)}, b"0"), "larger than the file"),
        (raw_file({"a": entry("F32", [1], 0, 2)}, b"00"), "does not take"),
        (raw_file({"a": entry("U8", [2], 0, 2)}, b"0"), "past the end"),
        (raw_file({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"000"), "overlaps"),
        (raw_file({"a": entry("U8", [1], 1, 2)}, b"00"), "gap"),
        (raw_file({"a": entry("U8", [1], 0, 1)}, b"00"), "belong to none"),
        (raw_file({"__metadata__": {"a": 1}}), "__metadata__"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_hostile_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refuse(tmp_path / "m.safetensors", content)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    assert "no such file" in refuse(tmp_path / "gone.safetensors")
    assert "no safetensors file" in refuse_folder(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "regular" in refuse(tmp_path / "pipe")


def refuse_folder(folder: Path) -> str:
    (folder / "empty").mkdir()
    return refuse(folder / "empty")


GOOD = save({"a": ARRAYS["f32"], "b": ARRAYS["f16"]})


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for cut in range(len(GOOD)):
        path.write_bytes(GOOD[:cut])
        with pytest.raises(FileFormatError):
            SafetensorsModel.open(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_read_or_refused(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for at, bits in flips:
        content[at] ^= bits
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(FileFormatError):
        model = SafetensorsModel.open(path)
        assert all(model.array(name).nbytes == info.nbytes for name, info in model.tensors.items())
