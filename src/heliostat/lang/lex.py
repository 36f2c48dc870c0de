"""Text to tokens, lazily, so that a bad file costs no more memory than its first errors.

A token's kind is `name`, `int`, `float`, `string`, `end`, or its own text for keywords and signs. What is wrong with a
token is reported here once; it still comes out, as `bad` or, where a literal was meant, as `broken`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from heliostat.lang.source import Source

KEYWORDS = frozenset({"fn", "format", "let", "return", "and", "or", "not", "true", "false", "none", "inf", "nan"})
RESERVED = frozenset({"if", "else", "for", "while", "import", "match", "break", "continue"})

_TOKEN = re.compile(
    r"""
      (?P<space>   [ \t\r\n]+ | //[^\n]* )
    | (?P<comment> /\*(?:[^*]|\*(?!/))*+(?:\*/)?+ )
    | (?P<name>    [A-Za-z_][A-Za-z0-9_]*+ )
    | (?P<number>  0[xXbBoO][0-9A-Za-z_.]*+ | \.?[0-9](?:[eE][+-](?=[0-9])|[0-9A-Za-z_.])*+ )
    | (?P<string>  "(?:[^"\\\n]|\\.)*+"?+ )
    | (?P<sign>    ->|\*\*|<=|>=|==|!=|&&|\|\||[-+*/%@<>=!&|^~(){}\[\],;:.] )
    | (?P<bad>     [^ \t\r\nA-Za-z0-9_"(){}\[\],;:]  )
    """,
    re.VERBOSE,
)
_INT = re.compile(r"[0-9]+(?:_[0-9]+)*")
_HEX = re.compile(r"0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*")
_FLOAT = re.compile(r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+)?")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
_BAD_RUN = re.compile(r"[^\x21-\x7e \t\r\n]+|#[^\n]*|[$`?'\\]+")

INT_LIMIT = (1 << 63) - 1


class Token(NamedTuple):
    """One token: `value` holds what a literal means, `text` what stands in the source from `start` up to `end`."""

    kind: str
    text: str
    start: int
    end: int
    value: int | float | str | None = None


Report = Callable[[int, int, str, str | None], None]
"""Called with start, end, message and help."""


def lex(source: Source, report: Report) -> Iterator[Token]:
    """The tokens of `source`, then one of kind `end`."""
    text, at, size = source.text, 0, len(source.text)
    match = _TOKEN.match
    while at < size:
        found = match(text, at)
        group = found.lastgroup if found is not None else "bad"
        end = found.end() if found is not None else at + 1
        if group == "space":
            at = end
            continue
        word = text[at:end]
        if group == "name":
            kind = word if word in KEYWORDS or word in RESERVED else "name"
            yield Token(kind, word, at, end)
        elif group == "sign":
            yield Token(word, word, at, end)
        elif group == "number":
            yield _number(word, at, end, report)
        elif group == "string":
            yield _string(word, at, end, report)
        elif group == "comment":
            if len(word) < 4 or not word.endswith("*/"):
                report(at, at + 2, "this comment is not closed", "end it with `*/`")
        else:
            run = _BAD_RUN.match(text, at)
            end = run.end() if run is not None else at + 1
            _report_bad(text[at:end], at, report)
            if text[at] != "#":  # what was meant as a comment is no token
                yield Token("bad", text[at:end], at, end)
        at = end
    yield Token("end", "", size, size)


def _report_bad(word: str, at: int, report: Report) -> None:
    first = word[0]
    if first == "#":
        report(at, at + 1, "`#` starts nothing", "comments start with `//`, or stand between `/*` and `*/`")
    elif first == "'":
        report(at, at + 1, "`'` starts nothing", 'strings stand between double quotes: `"tanh"`')
    elif first.isprintable():
        shown = word if len(word) <= 20 else word[:20] + "..."
        advice = "names are made of a to z, A to Z, 0 to 9 and `_`" if first.isalpha() else None
        report(at, at + len(word), f"unexpected {'character' if len(word) == 1 else 'text'} `{shown}`", advice)
    else:
        report(at, at + len(word), f"unexpected character U+{ord(first):04X}", "is this a text file?")


def _number(word: str, start: int, end: int, report: Report) -> Token:
    if _INT.fullmatch(word) or _HEX.fullmatch(word):
        digits = word.replace("_", "")
        base = 16 if digits[:2] in ("0x", "0X") else 10
        value = int(digits, base) if len(digits) <= 20 else INT_LIMIT + 1
        if value > INT_LIMIT:
            report(start, end, "this integer does not fit in 64 bits", f"the largest is {INT_LIMIT}")
            return Token("broken", word, start, end)
        return Token("int", word, start, end, value)
    if _FLOAT.fullmatch(word):
        number = float(word.replace("_", ""))
        if number in (float("inf"), float("-inf")):
            report(start, end, "this number is too large for a float", "write `inf` for infinity")
            return Token("broken", word, start, end)
        return Token("float", word, start, end, number)
    advice = "write `0.5`, not `.5`" if word.startswith(".") else "numbers look like 12, 1_000, 0xff, 0.5 or 1e-6"
    shown = word if len(word) <= 40 else word[:40] + "..."
    report(start, end, f"`{shown}` is not a number", advice)
    return Token("broken", word, start, end)


def _string(word: str, start: int, end: int, report: Report) -> Token:
    closed = len(word) >= 2 and re.fullmatch(r'"(?:[^"\\]|\\.)*+"', word) is not None
    if not closed:
        report(start, end, "this string is not closed", 'end it with `"` on the same line')
        return Token("broken", word, start, end)
    body = word[1:-1]
    out: list[str] = []
    i = 0
    while i < len(body):
        if body[i] == "\\" and i + 1 < len(body):
            escaped = _ESCAPES.get(body[i + 1])
            if escaped is None:
                report(
                    start + 1 + i, start + 3 + i, f"unknown escape `\\{body[i + 1]}`", 'known are \\" \\\\ \\n and \\t'
                )
            out.append(escaped or body[i + 1])
            i += 2
        else:
            out.append(body[i])
            i += 1
    return Token("string", word, start, end, "".join(out))
