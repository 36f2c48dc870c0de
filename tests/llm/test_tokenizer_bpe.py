"""Byte-level BPE against a plain implementation, and every pre-tokenizer against another regex engine."""

from __future__ import annotations

import sys
import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_data import metadata, tokenizer

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer.bpe import BytePairEncoder, LibraryEngine
from heliostat.llm.tokenizer.byte_pairs import BytePairs
from heliostat.llm.tokenizer.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer, pre_tokenizer
from heliostat.llm.tokenizer.vocabulary import CHAR_OF, Vocabulary

ALPHABET = Vocabulary(list(CHAR_OF.values()), bytes([1] * 256), "byte_level")


ENGINES = [LibraryEngine, BytePairs]


def pieces(rule: PreTokenizer, text: str, engine: Any = LibraryEngine) -> list[str]:
    """The words that an engine cuts `text` into."""
    return list(engine(ALPHABET.ids, [], rule).words(text))


def plain_pieces(rule: PreTokenizer, text: str) -> list[str]:
    """The same by `regex`: matches and what lies between them, pattern after pattern."""
    regex = pytest.importorskip("regex")
    parts = [text]
    for pattern in rule.patterns:
        cut: list[str] = []
        for part in parts:
            at = 0
            for match in regex.finditer(pattern, part):
                cut += [part[at : match.start()], match.group()]
                at = match.end()
            cut.append(part[at:])
        parts = [part for part in cut if part]
    return parts


SPLITS = {
    "gpt-2": ("I'll SAY'LL 1234  x!!\n\n y", ["I", "'ll", " SAY", "'", "LL", " 1234", " ", " x", "!!", "\n\n", " y"]),
    "exaone": ("a 123", ["a", " ", "1", "2", "3"]),
    "llama-bpe": ("I'LL 1234 (x)\n\n y", ["I", "'LL", " ", "123", "4", " (", "x", ")\n\n", " y"]),
    "qwen2": ("12 e\u0301a !\n", ["1", "2", " e", "\u0301a", " !\n"]),
    "qwen35": ("12 e\u0301a", ["1", "2", " e\u0301a"]),
    "gpt-4o": ("HelloWorld it's 1234/x HTMLParser", ["Hello", "World", " it's", " ", "123", "4", "/x", " HTMLParser"]),
    "tekken": ("helloWorld's 12", ["hello", "World", "'s", " ", "1", "2"]),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SPLITS)
def test_words(name: str, engine: Any) -> None:
    text, words = SPLITS[name]
    assert pieces(PRE_TOKENIZERS[name], text, engine) == words


def test_equal_rules_have_all_their_names() -> None:
    same = {name: PRE_TOKENIZERS[name] for name in ("gpt-2", "a.x-4.0", "exaone4", "trillion")}
    assert len(set(same.values())) == 1
    assert PRE_TOKENIZERS["midm-2.0"] == PRE_TOKENIZERS["llama-bpe"]
    assert PRE_TOKENIZERS["kanana2"] == PRE_TOKENIZERS["gpt-4o"]
    assert PRE_TOKENIZERS["smollm"] == PRE_TOKENIZERS["exaone"]
    assert [name for name, rule in PRE_TOKENIZERS.items() if rule.ignore_merges and not rule.add_bos] == []


def test_unknown_names() -> None:
    with pytest.raises(TokenizerError, match="unknown pre-tokenizer 'default'"):
        pre_tokenizer("default")


@pytest.mark.parametrize(
    "rule", sorted(set(PRE_TOKENIZERS.values()), key=repr), ids=lambda rule: rule.patterns[-1][:20]
)
@settings(max_examples=200, deadline=None)
@given(text=st.text("aA'sSlL dDzé한\u1112\u1161ǅʰ٣1²Ⅳ!/.\n\r\t\u00a0\u3000\u0301\u0308🙂_$", max_size=25))
def test_words_against_another_engine(rule: PreTokenizer, text: str) -> None:
    assert pieces(rule, text) == plain_pieces(rule, text)
    if all(unicodedata.category(char) != "Cn" for char in text):  # the library may know newer characters than Python
        assert pieces(rule, text, BytePairs) == pieces(rule, text)


def plain_bpe(text: str, ids: dict[str, int], ranks: dict[tuple[str, str], int], rule: PreTokenizer) -> list[int]:
    """Merge the lowest-ranked pair, of equals the leftmost, until none is left."""
    out = []
    for piece in plain_pieces(rule, text):
        parts = [CHAR_OF[byte] for byte in piece.encode()]
        if rule.ignore_merges and "".join(parts) in ids:
            parts = ["".join(parts)]
        while True:
            known = [(ranks[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in ranks]
            if not known:
                break
            i = min(known)[1]
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        out += [ids[part] for part in parts]
    return out


@pytest.mark.parametrize("name", ["demo", "llama-bpe"])
def test_against_a_plain_implementation(name: str) -> None:
    data = metadata(name)
    ids = {token: i for i, token in enumerate(data["tokenizer.ggml.tokens"])}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(data["tokenizer.ggml.merges"])}
    rule = PRE_TOKENIZERS[data["tokenizer.ggml.pre"]]
    words = st.sampled_from(
        ["the ", "install", " package", "입니다", "한국어 ", "don't", "\n\n", "   ", "1234", "é", "!="]
    )

    @settings(max_examples=150, deadline=None)
    @given(text=st.lists(st.one_of(words, st.text(max_size=4)), max_size=8).map("".join))
    def check(text: str) -> None:
        wanted = plain_bpe(text, ids, ranks, rule)
        assert tokenizer(name).encode(text, parse_special=False) == wanted
        assert alone.encode(text) == wanted

    alone = BytePairs(ids, [tuple(merge.split(" ")) for merge in data["tokenizer.ggml.merges"]], rule)
    check()
    long = "a" * 3000 + " " * 3000 + "\n" * 500
    assert alone.encode(long) == tokenizer(name).encode(long)


@pytest.mark.parametrize("merges", [[("a", "nowhere")], [("a", "b")], [("Ġ", "Ġ")]])
def test_merges_that_do_not_fit(merges: list[tuple[str, str]]) -> None:
    for engine in ENGINES:
        with pytest.raises(TokenizerError, match="do not fit the vocabulary"):
            engine(ALPHABET.ids, merges, PRE_TOKENIZERS["gpt-2"])


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    encoder = BytePairEncoder(ALPHABET, [], PRE_TOKENIZERS["gpt-2"])
    assert isinstance(encoder.engine, BytePairs)
    assert encoder.encode_batch([("ab", True), (" c", False)]) == [
        encoder.encode("ab", True),
        encoder.encode(" c", False),
    ]
