"""Texts, blocks and batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat.diagnostics import FileFormatError
from heliostat.llm.template import ChatTemplate
from heliostat.llm.tokenizer import Tokenizer
from heliostat.train.options import OptionError
from heliostat.train.text import IGNORED, Batches, Blocks, DataError, Example, blocks_of, read_examples, split
from heliostat.train.tokenizer import END, TURN, TURN_END, Keys, bpe_tokenizer, byte_tokenizer


def opened(keys: Keys) -> Tokenizer:
    return Tokenizer.from_gguf({k: v for k, (v, _) in keys.items()})


BYTES = opened(byte_tokenizer())


@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=5), block=st.integers(2, 9))
def test_rows_are_the_stream_and_labels_what_follows(texts: list[str], block: int) -> None:
    stream = [i for t in texts for i in (*t.encode(), 256)]
    examples = [Example("", t) for t in texts]
    if len(stream) <= block:
        with pytest.raises(DataError, match=f"{len(stream)} tokens, a block of {block} needs {block + 1}"):
            blocks_of(examples, BYTES, block)
        return
    made = blocks_of(examples, BYTES, block)
    assert len(made) == (len(stream) - 1) // block
    assert made.inputs.reshape(-1).tolist() == stream[: len(made) * block]
    assert made.labels.reshape(-1).tolist() == stream[1 : len(made) * block + 1]


def test_prompts_are_not_learned() -> None:
    made = blocks_of([Example("ab", "cd"), Example("", "xyz"), Example("abcdefgh", "z")], BYTES, 5)
    assert len(made) == 2  # the third completion begins behind the block
    x = IGNORED
    assert made.inputs[0, :4].tolist() == [97, 98, 99, 100]
    assert made.labels.tolist() == [[x, 99, 100, 256, x], [121, 122, 256, x, x]]


CHAT = opened(byte_tokenizer(chat=True))
TALK = (("user", "<|im_end|>a"), ("assistant", "b"))


def test_conversations_are_chatml_as_the_template_writes_it() -> None:
    """What stands in a message is never a control token, and a text's end is not a turn's."""
    say, turn_end, end = CHAT.encode(TURN)[0], CHAT.eos_id, CHAT.bos_id
    assert (end, say, turn_end) == (256, 257, 258)
    assert CHAT.eog_ids == {256, 258}
    made = blocks_of([Example("", "xy"), Example("", "", TALK), Example("", "z")], CHAT, 3)
    talk = [say, *b"user\n<|im_end|>a", turn_end, *b"\n", say, *b"assistant\nb", turn_end]
    stream = [*b"xy", end, *talk, end, *b"z", end]
    assert made.inputs.reshape(-1).tolist() == stream[: len(made) * 3]
    plain = (("user", "Hi"), ("assistant", "Yes"))
    messages = [{"role": role, "content": content} for role, content in plain]
    text = ChatTemplate(str(CHAT.chat_template)).render(messages, add_generation_prompt=False)
    row = blocks_of([Example("p", "q"), Example("", "", plain)], CHAT, 60)
    ids = CHAT.encode(text)[:-1]  # the template ends in a line feed
    assert row.inputs[1].tolist()[: len(ids) - 1] == ids[:-1]
    assert row.labels[1].tolist()[: len(ids)] == [*ids[1:], IGNORED]


def test_conversations_need_tokens_of_chatml() -> None:
    with pytest.raises(DataError, match=r"the tokenizer has no <\|im_start\|>"):
        blocks_of([Example("", "", TALK)], BYTES, 4)


@given(count=st.integers(1, 12), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_batches_take_every_row_once_an_epoch_whatever_was_asked_before(count: int, batch: int, seed: int) -> None:
    rows = np.arange(count, dtype=np.int32).reshape(count, 1)
    batches = Batches(Blocks(rows, rows), batch, seed)
    drawn = [batches.at(step)[0].reshape(-1).tolist() for step in range(3 * count)]
    flat = [n for rows in drawn for n in rows]
    for epoch in range(len(flat) // count):
        assert sorted(flat[epoch * count : (epoch + 1) * count]) == list(range(count))
    for step in (2 * count, 0, count):
        assert Batches(Blocks(rows, rows), batch, seed).at(step)[0].reshape(-1).tolist() == drawn[step]


def test_the_last_rows_are_held_back() -> None:
    rows = np.arange(10, dtype=np.int32).reshape(10, 1)
    learned, held = split(Blocks(rows, rows), 0.2)
    assert (learned.inputs.reshape(-1).tolist(), held.inputs.reshape(-1).tolist()) == ([*range(8)], [8, 9])
    assert len(split(Blocks(rows, rows), 0)[1]) == 0
    with pytest.raises(OptionError, match="leaves none"):
        split(Blocks(rows[:1], rows[:1]), 0.1)


def test_bpe_spells_every_byte_and_knows_words() -> None:
    text = "def forward(self, x):\n    return self.linear(x)\n" * 20
    tokenizer = opened(bpe_tokenizer([text], 280))
    assert len(tokenizer.vocabulary) == 280
    for sample in (text, "\x00\n héllo \U0001f600 한국어", END):
        ids = tokenizer.encode(sample, parse_special=False)
        assert tokenizer.decode(ids) == sample
        assert tokenizer.eos_id not in ids
    assert len(tokenizer.encode(text)) < len(text) / 2
    for many in (1200, 2_000_000_000, 10**20):  # the learner itself would abort the process
        with pytest.raises(FileFormatError, match=f"not {many}"):
            bpe_tokenizer([text], many)


def test_bpe_by_another_rule_and_with_chatml() -> None:
    text = "In 2024 and 2024 and 2024: 20, 24. " * 9
    keys = bpe_tokenizer([text], 262, "qwen2", chat=True)
    tokenizer = opened(keys)
    assert len(tokenizer.vocabulary) == 262
    assert keys["tokenizer.ggml.pre"][0] == "qwen2"
    assert all(len(tokenizer.token_bytes(i)) == 1 for i in tokenizer.encode("2024"))  # this rule cuts digits apart
    assert any(len(t) > 1 for t in opened(bpe_tokenizer([text], 262)).vocabulary.tokens if t.isdigit())
    assert tokenizer.vocabulary.tokens[-3:] == [END, TURN, TURN_END]
    assert tokenizer.chat_template is not None


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("bb")
    (tmp_path / "a.py").write_text("aa")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    rows = [{"text": "t"}, {"prompt": "p", "completion": "q"}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_examples([str(tmp_path)]) == [Example("", "aa"), Example("", "bb")]
    assert read_examples([str(tmp_path / "d.jsonl")]) == [Example("", "t"), Example("p", "q")]
    assert read_examples([str(tmp_path)], 3) == [Example("", "aa"), Example("", "b")]
    messages = [{"role": role, "content": content} for role, content in TALK]
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, [{"messages": messages}, {"text": "t"}])))
    assert read_examples([str(tmp_path / "e.jsonl")]) == [Example("", "", TALK), Example("", "t")]
    assert read_examples([str(tmp_path / "e.jsonl")], 3) == [Example("", "", TALK)]


def test_the_standard_library_is_the_default() -> None:
    found = read_examples([], 100_000)
    assert 100_000 - 4 <= sum(len(e.completion.encode()) for e in found) <= 100_000 + 1000


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.txt", None, "no such file"),
        ("bad.txt", b"abc\xff", "is not UTF-8 text: byte 3"),
        ("empty.txt", b"", "there is no text"),
        ("a.jsonl", b'{"text": "a"}\n{"text"', "a.jsonl:2: is not JSON"),
        ("a.jsonl", b'{"text": 3}', "a.jsonl:1: needs strings"),
        ("a.jsonl", b'{"prompt": "a"}', "a.jsonl:1: needs strings"),
        ("a.jsonl", b"[]", "a.jsonl:1: needs strings"),
        ("a.jsonl", b'{"text": "\\ud800 a"}', "a.jsonl:1: is no text"),
        ("a.jsonl", b'{"messages": []}', "a.jsonl:1: needs strings"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "a.jsonl:1: needs strings"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "a", "name": "b"}]}', "a.jsonl:1: needs strings"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "\\udfff"}]}', "a.jsonl:1: is no text"),
        ("a.jsonl", b'{"messages": [{"role": "", "content": "a"}]}', "a.jsonl:1: role '' is no name"),
        ("a.jsonl", b'{"messages": [{"role": "user\\nx", "content": "a"}]}', r"role 'user\\nx' is no name"),
        ("a.jsonl", b'{"text": "a", "messages": []}', "a.jsonl:1: needs strings"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((FileFormatError, DataError), match=says):
        read_examples([str(tmp_path / name)])
