"""Tokens: kinds, values, and one report for each malformed one."""

from __future__ import annotations

import pytest

from heliostat.lang.lex import lex
from heliostat.lang.source import Source


def tokens(text: str) -> tuple[list[tuple[str, object]], list[str]]:
    reports: list[str] = []
    found = list(lex(Source(text), lambda start, end, message, help: reports.append(message)))
    assert found[-1].kind == "end"
    return [(t.kind, t.text if t.value is None else t.value) for t in found[:-1]], reports


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12", "int", 12),
        ("1_000", "int", 1000),
        ("0xFF", "int", 255),
        ("007", "int", 7),
        ("9223372036854775807", "int", 2**63 - 1),
        ("1.5", "float", 1.5),
        ("1e-6", "float", 1e-6),
        ("2.5E+3", "float", 2500.0),
        ("1e3", "float", 1000.0),
        ('"a\\"b\\n"', "string", 'a"b\n'),
        ("rms_norm", "name", "rms_norm"),
        ("return", "return", "return"),
        ("for", "for", "for"),
    ],
)
def test_one_token(text: str, kind: str, value: object) -> None:
    assert tokens(text) == ([(kind, value)], [])


def test_signs_take_the_longest_match() -> None:
    kinds = [kind for kind, _ in tokens("a->b**c<=d==e!=f>=g<h>i@j")[0] if kind != "name"]
    assert kinds == ["->", "**", "<=", "==", "!=", ">=", "<", ">", "@"]


def test_comments_are_no_tokens() -> None:
    assert tokens("a // b \u20ac\n/* c * / ** */ d /**/ e/f")[0] == [
        ("name", "a"),
        ("name", "d"),
        ("name", "e"),
        ("/", "/"),
        ("name", "f"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.2.3", "`1.2.3` is not a number"),
        ("12abc", "`12abc` is not a number"),
        ("1e", "`1e` is not a number"),
        (".5", "`.5` is not a number"),
        ("1.", "`1.` is not a number"),
        ("1__0", "`1__0` is not a number"),
        ("0x", "`0x` is not a number"),
        ("1e999", "this number is too large for a float"),
        ("9223372036854775808", "this integer does not fit in 64 bits"),
        ("9" * 100_000, "this integer does not fit in 64 bits"),
        ('"abc', "this string is not closed"),
        ('"abc\n', "this string is not closed"),
        ('"a\\q"', "unknown escape `\\q`"),
        ("/* abc", "this comment is not closed"),
        ("/*/", "this comment is not closed"),
        ("# abc", "`#` starts nothing"),
        ("'a", "`'` starts nothing"),
        ("\x00", "unexpected character U+0000"),
        ("\u20ac\u20ac", "unexpected text `\u20ac\u20ac`"),
        ("$", "unexpected character `$`"),
    ],
)
def test_a_malformed_token_is_reported_once(text: str, message: str) -> None:
    assert tokens(text)[1][0] == message


def test_a_minus_behind_an_exponent_letter_is_an_operator_where_no_digit_follows() -> None:
    assert tokens("0xe-1")[0] == [("int", 14), ("-", "-"), ("int", 1)]
