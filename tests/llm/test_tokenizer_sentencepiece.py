"""SentencePiece-style merging against a plain quadratic implementation, byte fallback, unused tokens, faults."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_data import metadata, tokenizer

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer import Tokenizer


def plain(text: str, data: dict[str, Any], prefix: bool = True) -> list[int]:
    """Merge the best-scored pair of neighbours, of equals the leftmost; spell what is no token in bytes."""
    tokens, types = data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"]
    scores = data["tokenizer.ggml.scores"]
    ids = {text: i for i, text in reversed(list(enumerate(tokens))) if types[i] in (1, 4)}
    parts = list((" " if prefix else "") + text) if text else []
    parts = [part.replace(" ", "\u2581") for part in parts]
    while True:
        pairs = [one + two for one, two in pairwise(parts)]
        known = [(-scores[ids[pair]], i) for i, pair in enumerate(pairs) if pair in ids]
        if not known:
            break
        i = min(known)[1]
        parts[i : i + 2] = [pairs[i]]
    out: list[int] = []
    for part in parts:
        out += [ids[part]] if part in ids else [tokens.index(f"<0x{byte:02X}>") for byte in part.encode()]
    return out


WORDS = st.sampled_from(
    ["the ", "running", " and", "  ", "한국어 ", "ill", "\n", "1234", "é", "!=", "aaaaaaa", "\u2581"]
)


@settings(max_examples=150, deadline=None)
@given(text=st.lists(st.one_of(WORDS, st.text(max_size=4)), max_size=8).map("".join))
def test_against_a_plain_implementation(text: str) -> None:
    assert tokenizer("llama-spm").encode(text, parse_special=False) == plain(text, metadata("llama-spm"))


def tiny(pieces: dict[str, float], *, kinds: dict[str, int] | None = None, **keys: Any) -> dict[str, Any]:
    """Metadata with <unk>, <s>, </s>, the bytes and `pieces` with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    data = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + list(pieces.values()),
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [(kinds or {}).get(piece, 1) for piece in pieces],
    }
    data |= {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    return {key: value for key, value in data.items() if value is not None}


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.dictionaries(st.text("ab\u2581", min_size=1, max_size=4), st.integers(-3, 0).map(float), max_size=14),
    text=st.text("ab ", max_size=14),
    prefix=st.booleans(),
)
def test_random_vocabularies(pieces: dict[str, float], text: str, prefix: bool) -> None:
    """Equal scores, and tokens with a space inside, where words are not independent."""
    data = tiny(pieces, add_space_prefix=prefix)
    assert Tokenizer.from_gguf(data).encode(text) == plain(text, data, prefix)


def spelt(data: dict[str, Any], text: str) -> list[str]:
    return [data["tokenizer.ggml.tokens"][token] for token in Tokenizer.from_gguf(data).encode(text)]


def test_unused_tokens_stand_between_merges_only() -> None:
    pieces = {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -1.0, "abc": -2.0}
    assert spelt(tiny(pieces, add_space_prefix=False), "abcab") == ["abc", "ab"]
    unused = tiny(pieces, kinds={"ab": 5}, add_space_prefix=False)
    assert spelt(unused, "abcab") == ["abc", "a", "b"]


def test_control_and_byte_names_are_no_pieces() -> None:
    pieces = dict.fromkeys("</s>0x41", -9.0) | {"</": -1.0, "s>": -1.0}
    data = tiny(pieces, add_space_prefix=False)
    made = Tokenizer.from_gguf(data)
    assert made.encode("</s>") == [2]
    assert spelt(data, "</s><0x41>")[0] == "</s>"
    assert [data["tokenizer.ggml.tokens"][i] for i in made.encode("</s>", parse_special=False)] == ["</", "s>"]
    assert made.decode(made.encode("<0x41>")) == "<0x41>"


def test_without_bytes() -> None:
    tokens = ["<unk>", "<s>", "</s>", "\u2581", "a"]
    data = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 5,
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1],
    }
    assert Tokenizer.from_gguf(data).encode("a한") == [3, 4, 0]
    with pytest.raises(TokenizerError, match="no token for '한'"):
        Tokenizer.from_gguf(data | {"tokenizer.ggml.token_type": [1, 3, 3, 1, 1]}).encode("a한")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "scores is missing"),
        ({"scores": [0.0]}, "1 entries for 260 tokens"),
        ({"scores": [float("nan")] * 260}, r"scores\[0\] is not finite"),
        ({"scores": ["a"] * 260}, "not an array of numbers"),
        ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces"),
        ({"add_space_prefix": "yes"}, "not a boolean"),
        ({"unknown_token_id": 260}, "unknown_token_id is 260, outside"),
        ({"token_type": [6] * 260}, "not of the form <0x00>"),
    ],
)
def test_faults(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_gguf(tiny({"a": 0.0}, **change)).encode("a")
