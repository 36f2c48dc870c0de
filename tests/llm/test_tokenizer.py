"""Tokenizers from GGUF metadata: llama.cpp's vectors, round trips, special tokens, faults."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_data import NAMES, metadata, tokenizer, vectors

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer import Tokenizer, TokenType
from heliostat.llm.tokenizer.special import MAX_LENGTH, SpecialTokens
from heliostat.llm.tokenizer.vocabulary import CHAR_OF

BYTE_LEVEL = ("gpt-2", "llama-bpe", "qwen2", "demo")

hangul = st.sampled_from("\u1100\u1112\u1161\u1175\u11a8\u11c2가각힣ㄱㅎㅏ한국어\u3131\uffa1")
marks = st.sampled_from("\u0301\u0308\u0323\u20dd\u3099\u200d\ufe0f\u093f")
blanks = st.sampled_from(" \t\n\r\u00a0\u3000\u2028\u0085\x00\u2581")
characters = st.one_of(hangul, marks, blanks, st.sampled_from("aAzZ'sTreVEll019!?/.<|>_"), st.characters(codec="utf-8"))
texts = st.text(characters, max_size=60)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parse_special", [True, False])
def test_vectors_of_llama_cpp(name: str, parse_special: bool) -> None:
    made = tokenizer(name)
    cases = list(zip(vectors()["texts"], vectors()["ids"][name], strict=True))
    assert len(cases) == 46
    for text, ids in cases:
        assert made.encode(text, parse_special=parse_special) == ids, text
        assert made.decode(ids) == text


def test_vectors_of_the_demo_model() -> None:
    demo = vectors()["demo"]
    for text, ids in zip(demo["texts"], demo["ids"], strict=True):
        assert tokenizer("demo").encode(text) == ids, text
        assert tokenizer("demo").decode(ids) == text


@pytest.mark.parametrize("name", [*NAMES, "demo"])
@settings(max_examples=150, deadline=None)
@given(text=texts, parse_special=st.booleans())
def test_decoding_returns_the_text(name: str, text: str, parse_special: bool) -> None:
    made = tokenizer(name)
    if name == "llama-spm":
        text = text.replace("\u2581", "")  # SentencePiece's own sign for the space comes back as one
    ids = made.encode(text, parse_special=parse_special)
    assert all(0 <= token < made.vocab_size for token in ids)
    assert made.decode(ids) == text
    if name != "llama-spm":
        assert made.decode_bytes(ids) == text.encode()
        assert b"".join(map(made.token_bytes, ids)) == text.encode()


@pytest.mark.parametrize("name", [*NAMES, "demo"])
@settings(max_examples=8, deadline=None)
@given(some=st.lists(texts, max_size=6), parse_special=st.booleans(), together=st.integers(1, 80))
def test_a_batch_is_each_text(name: str, some: list[str], parse_special: bool, together: int) -> None:
    made = tokenizer(name)
    some = [*some, "<|im_start|>a<|im_end|>", ""]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heliostat.llm.tokenizer.bpe.TOGETHER", together)
        found = made.encode_batch(some, parse_special)
    assert found == [made.encode(text, parse_special=parse_special) for text in some]


@pytest.mark.parametrize("text", ["a", " ", "\n", "!", "1", "한", "\u0301", "aB", "a b", " \n", "<"])
@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm"])
def test_long_repetitions(name: str, text: str) -> None:
    long = text * (100_000 // len(text))
    assert tokenizer(name).decode(tokenizer(name).encode(long)) == long


def test_a_megabyte_of_one_letter() -> None:
    for name in ("gpt-2", "llama-spm"):
        ids = tokenizer(name).encode("a" * 1_000_000)
        assert tokenizer(name).decode(ids) == "a" * 1_000_000


def test_too_long_for_the_regex_engine() -> None:
    with pytest.raises(TokenizerError, match="5000000 characters"):
        tokenizer("demo").encode(" " * 5_000_000)


def test_roles() -> None:
    llama, demo, qwen, spm = map(tokenizer, ("llama-bpe", "demo", "qwen2", "llama-spm"))
    assert (llama.bos_id, llama.eos_id, llama.add_bos, llama.add_eos) == (128000, 128001, True, False)
    assert (spm.bos_id, spm.eos_id, spm.add_bos, spm.vocab_size) == (1, 2, True, 32000)
    assert (demo.bos_id, demo.eos_id, demo.add_bos, demo.vocab_size) == (8189, 8191, False, 8192)
    assert demo.eog_ids == {8189, 8191}
    assert llama.eog_ids == {128001, 128009}
    assert qwen.eog_ids == {151643, 151645}, "an HTML tag among Qwen's ordinary tokens ends nothing"
    assert spm.eog_ids == {2}
    assert demo.chat_template is not None
    assert "<|im_start|>" in demo.chat_template
    assert spm.chat_template is None
    assert demo.is_control(8190)
    assert not demo.is_control(0)


def test_special_tokens_and_surroundings() -> None:
    demo, llama, spm = map(tokenizer, ("demo", "llama-bpe", "llama-spm"))
    chat = "<|im_start|>user\nHi<|im_end|>\n"
    assert demo.encode(chat) == [8190, 3691, 198, 39, 72, 8191, 198]
    literal = demo.encode(chat, parse_special=False)
    assert not {8190, 8191} & set(literal)
    assert demo.decode(literal) == chat
    assert demo.decode(demo.encode(chat), skip_special=True) == "user\nHi\n"
    assert llama.encode("Hi", add_special=True) == [128000, *llama.encode("Hi")]
    once = llama.encode("<|begin_of_text|>Hi", add_special=True)
    assert once == [128000, *llama.encode("Hi")], "a template that spells BOS does not get a second one"
    assert llama.encode("", add_special=True) == [128000]
    assert spm.encode("", add_special=True) == [1]
    assert spm.encode("</s>", parse_special=False) != [2]
    assert spm.decode(spm.encode("Hello", add_special=True)) == "<s>Hello"
    assert spm.decode(spm.encode("Hello", add_special=True), skip_special=True) == "Hello"
    assert spm.encode("a</s>b") == [*spm.encode("a"), 2, *spm.encode("b")]


def test_the_longest_special_token_wins() -> None:
    found = SpecialTokens([("<a>", 0), ("<a>b", 1), ("<a>bcd", 2), ("b", 3), ("", 4), ("<a>", 5), ("<", 6)])
    assert list(found.split("x<a>bc<a>bcd<a>b b")) == ["x", 1, "c", 2, 1, " ", 3]
    assert list(found.split("<a><")) == [0, 6]
    assert list(found.split("")) == []
    assert list(SpecialTokens([]).split("<a>")) == ["<a>"]


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.text("ab<", min_size=1, max_size=4)), text=st.text("ab< ", max_size=30))
def test_special_tokens_against_a_plain_search(words: list[str], text: str) -> None:
    expected: list[str | int] = []
    at = 0
    while at < len(text):
        here = [word for word in words if text.startswith(word, at)]
        if here:
            best = max(here, key=len)
            expected.append(words.index(best))
            at += len(best)
        else:
            if expected and isinstance(expected[-1], str):
                expected[-1] += text[at]
            else:
                expected.append(text[at])
            at += 1
    assert list(SpecialTokens((word, i) for i, word in enumerate(words)).split(text)) == expected


def test_user_defined_tokens_are_always_found() -> None:
    data = tiny_bpe(tokens=[*CHAR_OF.values(), "<tool>"], types=[1] * 256 + [4])
    made = Tokenizer.from_gguf(data)
    assert made.encode("a<tool>", parse_special=False)[-1] == 256
    assert made.decode(made.encode("a<tool>b"), skip_special=True) == "a<tool>b"


def test_unpaired_surrogate() -> None:
    with pytest.raises(TokenizerError, match="character 1 of the text is an unpaired surrogate"):
        tokenizer("demo").encode("a\ud800")


@pytest.mark.parametrize("bad", [-1, 8192, 10**12])
def test_ids_outside(bad: int) -> None:
    for call in (tokenizer("demo").token_bytes, tokenizer("demo").is_control, lambda i: tokenizer("demo").decode([i])):
        with pytest.raises(TokenizerError, match=f"token id {bad} is outside of the vocabulary of 8192"):
            call(bad)


def tiny_bpe(*, tokens: Any = None, merges: Any = (), types: Any = None, **keys: Any) -> dict[str, Any]:
    """Metadata of a byte-level vocabulary with the 256 bytes; `keys` with `__` for the dot."""
    data: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list(CHAR_OF.values()) if tokens is None else tokens,
        "tokenizer.ggml.merges": list(merges) if isinstance(merges, tuple) else merges,
        "tokenizer.ggml.token_type": types,
    }
    data |= {"tokenizer." + key.replace("__", "."): value for key, value in keys.items()}
    return {key: value for key, value in data.items() if value is not None}


def test_a_tiny_vocabulary() -> None:
    data = tiny_bpe(tokens=[*CHAR_OF.values(), "ab", "abc"], merges=("a b", "ab c", "a b"))
    assert Tokenizer.from_gguf(data).encode("abcab") == [257, 256]
    assert Tokenizer.from_gguf(data | {"tokenizer.ggml.token_type": np.ones(258, np.int32)}).encode("ab") == [256]


BYTES = list(CHAR_OF.values())
FAULTS = {
    "no tokenizer": ({}, "tokenizer.ggml.model is missing"),
    "kind": (tiny_bpe(ggml__model="t5"), "unknown tokenizer 't5'"),
    "pre": (tiny_bpe(ggml__pre="nonesuch"), "unknown pre-tokenizer 'nonesuch'"),
    "pre of another type": (tiny_bpe(ggml__pre=3), "tokenizer.ggml.pre is missing"),
    "no tokens": (tiny_bpe(tokens=[]), "tokens is empty"),
    "tokens no array": (tiny_bpe(tokens="abc"), "not an array of strings"),
    "tokens not strings": (tiny_bpe(tokens=[*BYTES, 3]), "not an array of strings"),
    "types short": (tiny_bpe(types=[1] * 255), "255 entries for 256 tokens"),
    "types long": (tiny_bpe(types=[1] * 257), "257 entries for 256 tokens"),
    "types not integers": (tiny_bpe(types=[1.5] * 256), "not an array of integers"),
    "types unknown": (tiny_bpe(types=[1] * 255 + [9]), r"token_type\[255\] is 9"),
    "types negative": (tiny_bpe(types=[-1] + [1] * 255), r"token_type\[0\] is -1"),
    "types nested": (tiny_bpe(types=[[1], [1, 2]] * 128), "not an array of integers"),
    "types huge": (tiny_bpe(types=[10**30] * 256), "not an array of integers"),
    "byte token": (tiny_bpe(tokens=[*BYTES, "<0xZZ>"], types=[1] * 256 + [6]), "not of the form <0x00>"),
    "merges not strings": (tiny_bpe(merges=[1, 2]), "merges is not an array of strings"),
    "merge of one": (tiny_bpe(merges=("ab",)), r"merges\[0\] is 'ab'"),
    "merge of three": (tiny_bpe(merges=("a b", "a b c")), r"merges\[1\] is 'a b c'"),
    "merge of nothing": (tiny_bpe(merges=(" ",)), r"merges\[0\] is ' '"),
    "merge of strangers": (tiny_bpe(merges=("xx yy",)), "do not fit the vocabulary"),
    "merge into a stranger": (tiny_bpe(merges=("a b",)), "do not fit the vocabulary"),
    "surrogates": (tiny_bpe(tokens=[*BYTES, "\ud800"]), "do not fit the vocabulary"),
    "bos outside": (tiny_bpe(ggml__bos_token_id=256), "bos_token_id is 256, outside"),
    "eos negative": (tiny_bpe(ggml__eos_token_id=-1), "eos_token_id is -1, outside"),
    "eos text": (tiny_bpe(ggml__eos_token_id="</s>"), "eos_token_id is '</s>', not a token id"),
    "bos wanted": (tiny_bpe(ggml__add_bos_token=True), "no bos_token_id"),
    "flag": (tiny_bpe(ggml__add_bos_token=1), "not a boolean"),
    "template": (tiny_bpe(chat_template=["a"]), "chat_template is not a string"),
    "long special": (tiny_bpe(tokens=[*BYTES, "x" * (MAX_LENGTH + 1)], types=[1] * 256 + [3]), "1001 characters long"),
    "missing bytes": (tiny_bpe(tokens=["a"]), "no token for byte 0x62"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_typed(fault: str) -> None:
    data, message = FAULTS[fault]
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_gguf(data).encode("ab")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_duplicates_and_foreign_characters() -> None:
    made = Tokenizer.from_gguf(tiny_bpe(tokens=[*BYTES, "a", "é ü한", ""]))
    assert made.encode("a") == [BYTES.index("a")]
    assert made.token_bytes(257) == b"\xe9 \xfc\xed\x95\x9c", "what is not in the byte alphabet stands for itself"
    assert made.token_bytes(258) == b""


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_random_metadata_never_crashes(data: st.DataObject) -> None:
    value = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 300),
        st.floats(),
        st.text(max_size=5),
        st.lists(st.text("ab <>x0", max_size=4), max_size=8),
        st.lists(st.integers(-1, 7), max_size=8),
        st.lists(st.floats(), max_size=8),
    )
    found = tiny_bpe() | {
        "tokenizer.ggml.scores": [0.0] * 256,
        "tokenizer.ggml.model": data.draw(st.sampled_from(["gpt2", "llama"])),
    }
    for key in data.draw(
        st.lists(st.sampled_from([*found, "tokenizer.ggml.bos_token_id", "tokenizer.ggml.token_type"]), max_size=3)
    ):
        found[key] = data.draw(value)
    try:
        made = Tokenizer.from_gguf(found)
        made.decode(made.encode("ab <a> 한", add_special=True))
    except TokenizerError:
        pass


def test_decoding_needs_no_encoder() -> None:
    made = Tokenizer.from_gguf(metadata("demo") | {"tokenizer.ggml.merges": ["broken"]})
    assert made.decode([39, 1057, 78]) == "Hello"
    with pytest.raises(TokenizerError, match="broken"):
        made.encode("Hello")


def test_types_of_control_tokens_are_mended() -> None:
    data = tiny_bpe(tokens=[*BYTES, "<|im_end|>", "</s>"], types=[1] * 258)
    made = Tokenizer.from_gguf(data)
    assert made.eog_ids == {256}
    assert made.vocabulary.types[256] == TokenType.CONTROL
    assert made.encode("<|im_end|>") == [256]
    harmony = tiny_bpe(tokens=[*BYTES, "<|end|>", "<|return|>", "<|call|>"], types=[1] * 256 + [3] * 3)
    assert Tokenizer.from_gguf(harmony).eog_ids == {257, 258}


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_random_ids_decode(name: str) -> None:
    made = tokenizer(name)
    ids = [random.Random(1).randrange(made.vocab_size) for _ in range(2000)]
    assert made.decode(ids) == made.decode_bytes(ids).decode("utf-8", "replace")
