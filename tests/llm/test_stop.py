"""Streaming text: whole characters, stop strings across tokens, the same cut for every division into tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_data import tokenizer

from heliostat.diagnostics import TokenizerError
from heliostat.llm.stop import TextStream
from heliostat.llm.tokenizer import Tokenizer, Vocabulary
from heliostat.llm.tokenizer.vocabulary import CHAR_OF


def stream(
    made: Tokenizer, ids: list[int], stop: list[str] | str = (), **options: bool
) -> tuple[list[str], TextStream]:
    """The pieces of `ids`, the last one from `finish`."""
    found = TextStream(made, stop, **options)
    pieces = [found.push(token) for token in ids]
    return [*pieces, found.finish()], found


def letters(*tokens: str) -> Tokenizer:
    """A tokenizer that only decodes: ids 0 to 255 are the bytes, then `tokens`."""
    spelt = ["".join(CHAR_OF[byte] for byte in token.encode()) for token in tokens]
    vocabulary = Vocabulary(
        [*(CHAR_OF[byte] for byte in range(256)), *spelt], bytes([1] * (256 + len(spelt))), "byte_level"
    )

    def build() -> None:
        raise AssertionError("decoding built an encoder")

    return Tokenizer(
        vocabulary, build, bos_id=None, eos_id=None, eog_ids=frozenset(), prefix=[], suffix=[],
        strips_space=False, chat_template=None,
    )  # fmt: skip


def test_pieces_end_between_characters() -> None:
    pieces, found = stream(letters(), list("a한🙂".encode()))
    assert pieces == ["a", "", "", "한", "", "", "", "🙂", ""]
    assert found.stopped
    assert found.stop_text is None


def test_an_incomplete_character_at_the_end() -> None:
    assert stream(letters(), list("a한".encode())[:-1])[0] == ["a", "", "", "\ufffd"]
    assert "".join(stream(letters(), [0xFF, 0x61])[0]) == "\ufffda"


def test_a_stop_string_across_tokens() -> None:
    made = letters("Hello", " wor", "ld END", "ED more", "E", "ND")
    pieces, found = stream(made, [256, 257, 258, 259], ["ENDED"])
    assert pieces == ["Hello", " wor", "ld ", "", ""]
    assert found.stop_text == "ENDED"
    pieces, found = stream(made, [256, 260, 256, 260, 261, 256], ["END"])
    assert pieces == ["Hello", "", "EHello", "", "", "", ""], "what was held back comes when it is no stop string"
    assert found.stopped


def test_a_stop_string_inside_its_own_beginning() -> None:
    for text, stop, before in [("aaab", "aab", "a"), ("abababc", "ababc", "ab"), ("aabaabaaa", "aabaaa", "aab")]:
        assert "".join(stream(letters(), list(text.encode()), stop)[0]) == before


def test_an_unfinished_stop_string_is_text() -> None:
    pieces, found = stream(letters("abc EN"), [256], ["END"])
    assert pieces == ["abc ", "EN"]
    assert found.stop_text is None


def test_nothing_after_the_stop() -> None:
    found = TextStream(letters("x\n\ny"), "\n\n")
    assert found.push(256) == "x"
    assert found.stopped
    assert found.push(256) == ""
    assert found.finish() == ""


def test_control_tokens() -> None:
    demo = tokenizer("demo")
    ids = demo.encode("Hi<|im_end|> 한국")
    assert "".join(stream(demo, ids)[0]) == "Hi 한국"
    assert "".join(stream(demo, ids, skip_special=False)[0]) == "Hi<|im_end|> 한국"
    assert "".join(stream(demo, ids, "<|im_end|>", skip_special=False)[0]) == "Hi"


@pytest.mark.parametrize("stop", ["", [""], ["a", 3], [None]])
def test_faults(stop: object) -> None:
    with pytest.raises(TokenizerError, match="stop string"):
        TextStream(letters(), stop)
    with pytest.raises(TokenizerError, match="token id 999"):
        TextStream(letters()).push(999)


def plain_cut(text: str, stops: list[str]) -> str:
    """The text before the stop string that ends first, of those the longest."""
    for end in range(len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - max(map(len, met))]
    return text


@settings(max_examples=400, deadline=None)
@given(
    tokens=st.lists(st.text("ab한", min_size=1, max_size=4), max_size=8),
    stops=st.lists(st.text("ab한", min_size=1, max_size=5), max_size=3),
)
def test_the_cut_does_not_depend_on_tokens(tokens: list[str], stops: list[str]) -> None:
    made, expected = letters(*tokens), plain_cut("".join(tokens), stops)
    pieces, found = stream(made, list(range(256, 256 + len(tokens))), stops)
    assert "".join(pieces) == expected
    assert "".join(stream(made, list("".join(tokens).encode()), stops)[0]) == expected
    assert (found.stop_text is not None) == any(stop in "".join(tokens) for stop in stops)
    shown = ""
    for piece, end in zip(pieces, range(1, len(tokens) + 1), strict=False):
        shown += piece
        rest = "".join(tokens[:end])[len(shown) :] if not found.stop_text else ""
        assert not rest or any(stop.startswith(rest) for stop in stops), "held back without need"


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40))
def test_a_stream_is_the_decoded_text(text: str) -> None:
    demo = tokenizer("demo")
    assert "".join(stream(demo, demo.encode(text, parse_special=False))[0]) == text


def test_long_stop_strings_stay_linear() -> None:
    made = letters("a" * 50_000)
    pieces, _ = stream(made, [256, 256], ["a" * 99_999 + "b"])
    assert "".join(pieces) == "a" * 100_000
