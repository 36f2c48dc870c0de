"""The GGUF reader: what it must read, and that damage of any kind ends in FileFormatError without large allocations."""

from __future__ import annotations

import contextlib
import itertools
import struct
import tracemalloc
from array import array
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import FileFormatError
from heliostat.llm.gguf import GGUFFile, GGUFWriter, ValueType, reader
from heliostat.llm.gguf.strings import Strings
from heliostat.llm.gguf.types import CODES, REMOVED, TENSOR_KINDS
from heliostat.llm.weights import DecoderWeights


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(name: bytes, dims: list[int], type_id: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, type_id, offset)


def file_of(keys: list[bytes] = [], tensors: list[bytes] = [], data: int = 0, version: int = 3) -> bytes:  # noqa: B006
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def refuse(path: Path, content: bytes) -> str:
    """The message with which `content` is refused; it names the file, and little memory is used on the way."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError) as caught:
            GGUFFile.open(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def sample(path: Path) -> bytes:
    """A file with every value type, nested arrays and three tensors."""
    w = GGUFWriter(path, "llama")
    for kind in ValueType:
        if kind not in (ValueType.STRING, ValueType.ARRAY, ValueType.BOOL):
            w.add(f"k.{kind.name}", 7, kind)
    w.add("tokens", ["a", "bc", "", "\uac00"])
    w.add("nested", [[1, 2], [3]])
    w.add("flag", True)
    w.add_tensor("a", np.arange(32, dtype=np.float32), "F32", (2, 16))
    w.add_tensor("q", bytes(range(68)), "Q8_0", (2, 32))
    w.add_tensor("s", np.float32([5]), "F32", ())
    w.write()
    return path.read_bytes()


def test_type_table_agrees_with_gguf_py() -> None:
    assert not set(TENSOR_KINDS) & set(REMOVED)
    for kind, (block, nbytes) in gguf.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # gguf-py says 40 bytes, ggml 36: two f16 and 32 int8
            found = TENSOR_KINDS[int(kind)]
            assert (found.name, found.block, found.nbytes) == (kind.name, block, nbytes)


def test_views_are_read_only_and_outlive_the_file(tmp_path: Path) -> None:
    sample(tmp_path / "m.gguf")
    with GGUFFile.open(tmp_path / "m.gguf") as file:
        view, again = file.data("a"), file.data("a")
        assert file.tensors["a"].shape == (2, 16)
        assert file.tensors["s"].shape == ()
        assert file.architecture == "llama"
    assert np.shares_memory(view, again)
    assert not view.flags.writeable
    np.testing.assert_array_equal(view.view(np.float32), np.arange(32))


def test_version_2_and_files_without_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(file_of([text(b"k") + struct.pack("<IQ", 10, 1 << 63)], version=2))
    file = GGUFFile.open(path)
    assert (file.version, dict(file.metadata), dict(file.tensors)) == (2, {"k": 1 << 63}, {})


def test_tokens_keep_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(file_of([text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 1) + text(b"\xff\xfe")]))
    (token,) = GGUFFile.open(path).metadata["tokenizer.ggml.tokens"]
    assert token.encode("utf-8", "surrogateescape") == b"\xff\xfe"


U32_KEY = text(b"k") + struct.pack("<II", 4, 1)
HUGE = 1 << 60


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "too few"),
        (b"GGML" + bytes(40), "not a GGUF file"),
        (file_of(version=1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(40), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE), "ends inside"),
        (file_of([U32_KEY, U32_KEY]), "twice"),
        (file_of([text(b"k") + struct.pack("<II", 13, 1)]), "unknown type 13"),
        (file_of([text(b"k") + struct.pack("<IIQ", 9, 0, HUGE)]), "ends inside"),
        (file_of([text(b"k") + struct.pack("<IIQ", 9, 8, HUGE)]), "ends inside"),
        (file_of([text(b"k") + struct.pack("<IIQ", 9, 9, HUGE)]), "ends inside"),
        (file_of([text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50]), "deeper"),
        (file_of([text(b"k") + struct.pack("<I", 8) + text(b"\xff")]), "UTF-8"),
        (file_of([text(b"general.alignment") + struct.pack("<II", 4, 0)]), "power of two"),
        (file_of([text(b"general.alignment") + struct.pack("<II", 4, 48)]), "power of two"),
        (file_of([text(b"general.alignment") + struct.pack("<If", 6, 32.0)]), "power of two"),
        (file_of([text(b"k") + struct.pack("<IB", 7, 2)]), "the byte 2 for a boolean"),
        (file_of([text(b"k") + struct.pack("<IIQBBB", 9, 7, 3, 0, 1, 255)]), "the byte 255 for a boolean"),
        (file_of([text(b"split.count") + text(b"x").join([struct.pack("<I", 8), b""])]), "an integer"),
        (file_of([], [tensor(b"t", [0, 1 << 63], 0, 0)], 256), "too many"),
        (file_of([], [tensor(b"t", [32], 0, 0)] * 2, 256), "twice"),
        (file_of([], [tensor(b"t", [32], 0, 8)], 256), "not aligned"),
        (file_of([], [tensor(b"t", [32], 0, HUGE)], 256), "past the end"),
        (file_of([], [tensor(b"t", [65], 0, 0)], 256), "past the end"),
        (file_of([], [tensor(b"t", [64], 0, 0), tensor(b"u", [32], 0, 128)], 256), "overlap"),
        (file_of([], [tensor(b"t", [1 << 40, 1 << 40], 0, 0)], 256), "too many"),
        (file_of([], [tensor(b"t", [33], 2, 0)], 256), "multiple of 32"),
        (file_of([], [tensor(b"t", [1] * 5, 0, 0)], 256), "at most 4"),
        (file_of([], [tensor(b"t", [32], 4, 0)], 256), "Q4_2"),
        (file_of([], [tensor(b"t", [32], 99, 0)], 256), "unknown type 99"),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refuse(tmp_path / "m.gguf", content)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.gguf"):
        with pytest.raises(FileFormatError, match=r"is a directory|no such file"):
            GGUFFile.open(path)


def test_a_size_of_zero_is_read_as_in_llama_cpp(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(file_of([], [tensor(b"t", [32, 0], 2, 0), tensor(b"u", [32], 0, 0)], 128))
    file = GGUFFile.open(path)
    assert (file.tensors["t"].shape, file.tensors["t"].nbytes, file.data("t").size) == ((0, 32), 0, 0)
    assert file.data("u").size == 128
    w = GGUFWriter(path, "llama")
    w.add_tensor("token_embd.weight", b"", "F32", (0, 32))
    w.write()
    with pytest.raises(FileFormatError, match="no rows"):
        DecoderWeights(GGUFFile.open(path))


def test_data_of_a_closed_file_is_refused(tmp_path: Path) -> None:
    sample(tmp_path / "m.gguf")
    file = GGUFFile.open(tmp_path / "m.gguf")
    file.close()
    with pytest.raises(ValueError, match=r"m\.gguf: the file is closed, tensor a"):
        file.data("a")


def test_getters_name_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    sample(path)
    m = GGUFFile.open(path).metadata
    assert (m.integer("k.INT8"), m.integer("none", -1), m.number("k.FLOAT32"), m.number("k.INT8")) == (7, -1, 7.0, 7.0)
    assert (m.string("general.architecture"), m.boolean("flag"), m.boolean("none", False)) == ("llama", True, False)
    assert (m.strings("tokens")[1], m.strings("none", ()), m.integers("none", (1,))) == ("bc", (), (1,))
    for getter, wrong in (
        (m.integer, ["flag", "k.FLOAT32", "tokens"]),
        (m.number, ["flag", "tokens"]),
        (m.string, ["flag", "k.INT8", "tokens"]),
        (m.boolean, ["k.INT8", "tokens"]),
        (m.integers, ["k.INT8", "tokens", "nested"]),
        (m.strings, ["k.INT8", "nested", "general.architecture"]),
    ):
        for key in wrong:
            with pytest.raises(FileFormatError, match=rf"m\.gguf: metadata key {key} must be an?"):
                getter(key)
        with pytest.raises(FileFormatError, match=r"m\.gguf: metadata key none is missing"):
            getter("none")
    with pytest.raises(FileFormatError, match=r"k\.INT8 is 7, outside 8 \.\. 9"):
        m.integer("k.INT8", low=8, high=9)


def test_every_byte_of_the_header_flipped(tmp_path: Path) -> None:
    """Only FileFormatError or a sound file may come of it."""
    path = tmp_path / "m.gguf"
    content = sample(path)
    end = min(info.offset for info in GGUFFile.open(path).tensors.values())
    opened = 0
    for at in range(end):
        for value in {content[at] ^ 1, content[at] ^ 0x80, content[at] ^ 0xFF, 0, 0xFF} - {content[at]}:
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            with contextlib.suppress(FileFormatError):
                sound(GGUFFile.open(path))
                opened += 1
    assert opened > 100  # names and values may be anything


def sound(file: GGUFFile) -> None:
    """All tensors lie inside the file, apart from each other, and metadata has the types that it says."""
    spans = sorted((i.offset, i.offset + i.nbytes) for i in file.tensors.values())
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert not spans or spans[-1][1] <= file.size
    assert all(len(file.data(name)) == info.nbytes for name, info in file.tensors.items())
    w = GGUFWriter(Path(file.path).with_name("again"), "x")
    for key, value in file.metadata.items():
        if key not in ("general.architecture", "general.alignment"):
            w.add(key, value, file.value_types[key])
    if "general.alignment" not in file.metadata:
        (path,) = w.write()
        again = GGUFFile.open(path)
        assert {k: again.value_types[k] for k in again.metadata} | {"general.architecture": 8} == dict(
            file.value_types
        ) | {"general.architecture": 8}


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    content = sample(path)
    last = max(info.offset + info.nbytes for info in GGUFFile.open(path).tensors.values())
    for cut in range(last):
        path.write_bytes(content[:cut])
        with pytest.raises(FileFormatError):
            GGUFFile.open(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_headers_are_read_or_refused(tmp_path: Path, draw: st.DataObject) -> None:
    """Bytes flipped, or eight of them made a huge number."""
    path = tmp_path / "m.gguf"
    content = bytearray(sample(path))
    end = min(info.offset for info in GGUFFile.open(path).tensors.values())
    for at in draw.draw(st.lists(st.integers(4, end - 9), min_size=1, max_size=3)):
        if draw.draw(st.booleans()):
            content[at] ^= draw.draw(st.integers(1, 255))
        else:
            content[at : at + 8] = struct.pack("<Q", draw.draw(st.sampled_from([HUGE, 2**64 - 1, 2**32, 2**31])))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with contextlib.suppress(FileFormatError):
            file = GGUFFile.open(path)
            assert all(len(file.data(name)) == info.nbytes for name, info in file.tensors.items())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(
    st.lists(
        st.binary(max_size=20)
        | st.binary(min_size=250, max_size=600)
        | st.just(b"\0")
        | st.text(max_size=8).map(str.encode),
        min_size=1,
        max_size=40,
    ),
    st.binary(max_size=64),
)
def test_many_strings_by_the_short_way_are_what_the_long_way_finds(strings: list[bytes], after: bytes) -> None:
    data = b"".join(struct.pack("<Q", len(s)) + s for s in strings) + after
    short, long = reader._Cursor("x", memoryview(data)), reader._Cursor("x", memoryview(data))
    long._short_strings = lambda count: None  # type: ignore[method-assign]
    assert short.strings(len(strings), "strings") == long.strings(len(strings), "strings")
    assert short.at == long.at == len(data) - len(after)


@pytest.mark.parametrize("byte", range(2, 8))
def test_a_length_with_a_high_byte_is_refused(byte: int) -> None:
    data = bytearray(b"".join(struct.pack("<Q", 3) + b"abc" for _ in range(9)))
    data[3 * 11 + byte] = 1
    with pytest.raises(FileFormatError, match="ends inside"):
        reader._Cursor("x", memoryview(bytes(data))).strings(9, "strings")


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    sample(path)
    file = GGUFFile.open(path)
    before = {name: file.data(name).copy() for name in file.tensors}
    file.release_all()
    for name, data in before.items():
        np.testing.assert_array_equal(file.data(name), data)


def test_many_strings_are_what_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    raw = [rng.integers(0, 256, rng.integers(0, 9), np.uint8).tobytes() for _ in range(5000)]
    raw[7], raw[4000], raw[4500] = b"", b"x" * 700, b"<|im_end|>"
    array = struct.pack("<IQ", ValueType.STRING, len(raw)) + b"".join(map(text, raw))
    path = tmp_path / "many.gguf"
    path.write_bytes(file_of([text(b"words") + struct.pack("<I", ValueType.ARRAY) + array]))
    many = GGUFFile.open(path).metadata["words"]
    monkeypatch.setattr(reader, "MANY_STRINGS", 1 << 40)
    few = GGUFFile.open(path).metadata["words"]
    assert (type(few), type(many)) == (list, Strings)
    assert few == [r.decode("utf-8", "surrogateescape") for r in raw]
    assert many == few
    assert few != many[:-1]
    assert (many[0], many[-1], many[4000]) == (few[0], few[-1], few[4000])
    assert many[10:4900:7] == few[10:4900:7]
    assert list(reversed(many)) == few[::-1]
    with pytest.raises(IndexError):
        many[5000]
    wanted = {"<|im_end|>", "", few[11], "y" * 700}
    assert list(many.find(wanted)) == [(n, s) for n, s in enumerate(few) if s in wanted]
    copy = tmp_path / "copy.gguf"
    w = GGUFWriter(copy, "llama")
    w.add("words", many)
    w.write()
    assert GGUFFile.open(copy).metadata["words"] == many


@pytest.mark.parametrize("kind", [k for k in CODES if k is not ValueType.BOOL], ids=lambda k: k.name)
def test_many_numbers_are_what_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ValueType) -> None:
    kept = np.dtype("<" + CODES[kind])
    raw = np.random.default_rng(4).integers(0, 120, 5000 * kept.itemsize, np.uint8).tobytes()
    path, copy = tmp_path / "many.gguf", tmp_path / "copy.gguf"
    head = struct.pack("<IIQ", ValueType.ARRAY, kind, 5000)
    path.write_bytes(file_of([text(b"numbers") + head + raw]))
    many = GGUFFile.open(path).metadata
    monkeypatch.setattr(reader, "MANY_NUMBERS", 1 << 40)
    few = GGUFFile.open(path).metadata["numbers"]
    assert (type(few), type(many["numbers"])) == (list, array)
    assert few == list(many["numbers"]) == np.frombuffer(raw, kept).tolist()
    w = GGUFWriter(copy, "llama")
    w.add("numbers", many["numbers"])
    w.write()
    again = GGUFFile.open(copy)
    assert again.metadata["numbers"] == few
    assert again.value_types["numbers"] == (ValueType.ARRAY, kind)
    if kept.kind == "f":
        with pytest.raises(FileFormatError, match="an array of integers"):
            many.integers("numbers")
    else:
        assert list(many.integers("numbers")) == few


@pytest.mark.parametrize("byte", range(2, 8))
def test_a_length_beyond_the_file_among_many_strings(tmp_path: Path, byte: int) -> None:
    raw = bytearray(b"".join(map(text, [b"ab"] * 5000)))
    raw[10 * 2500 + byte] = 1
    path = tmp_path / "m.gguf"
    array = struct.pack("<IQ", ValueType.STRING, 5000) + raw
    assert "inside" in refuse(path, file_of([text(b"words") + struct.pack("<I", ValueType.ARRAY) + array]))
