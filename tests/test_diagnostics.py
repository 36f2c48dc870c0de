"""The rendering of diagnostics, and errors that keep their fields."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heliostat as hs
from heliostat import diagnostics
from heliostat.diagnostics import Diagnostic, HeliostatError, Note, ShapeError, Span, brief

SOURCE = "fn f() {\n  let y = 1;\n  return x @ transpose(w);\n}\n"


def span(line: int, start: int, end: int, path: str = "f.lum") -> Span:
    return Span(path, line, start, line, end)


def test_operands_are_marked_with_their_types_as_in_the_style_guide() -> None:
    found = Diagnostic(
        "`@` needs equal inner dimensions, got 4096 and 4095",
        span(3, 12, 13),
        (Note(span(3, 10, 11), "tensor<f16, [M, 4096]>"), Note(span(3, 14, 26), "tensor<f16, [4095, 512]>")),
        "w is declared [512, 4095] at 2:49; its last dimension must be 4096",
    )
    assert found.render(SOURCE) == (
        "f.lum:3:12: error: `@` needs equal inner dimensions, got 4096 and 4095\n"
        "  3 |   return x @ transpose(w);\n"
        "    |          ~ ^ ~~~~~~~~~~~~ tensor<f16, [4095, 512]>\n"
        "    |          tensor<f16, [M, 4096]>\n"
        "  help: w is declared [512, 4095] at 2:49; its last dimension must be 4096"
    )


def test_a_caret_alone() -> None:
    assert Diagnostic("no `y`", span(3, 10, 11)).render(SOURCE) == (
        "f.lum:3:10: error: no `y`\n  3 |   return x @ transpose(w);\n    |          ^"
    )


def test_without_source_the_notes_say_where_they_stand() -> None:
    found = Diagnostic("no", span(3, 1, 2), (Note(span(1, 4, 5), "here"),))
    assert found.render() == "f.lum:3:1: error: no\n  note: f.lum:1:4: here"


def test_a_note_on_another_line_or_in_another_file() -> None:
    notes = (Note(span(1, 4, 5), "first"), Note(span(9, 1, 2, "g.lum"), "there"))
    assert Diagnostic("twice", span(3, 3, 9), notes).render(SOURCE) == (
        "f.lum:3:3: error: twice\n"
        "  1 | fn f() {\n"
        "    |    ~ first\n"
        "    ...\n"
        "  3 |   return x @ transpose(w);\n"
        "    |   ^^^^^^\n"
        "  note: g.lum:9:1: there"
    )


def test_a_data_file_has_no_place() -> None:
    assert Diagnostic("m.gguf: bad magic").render() == "error: m.gguf: bad magic"


def test_wide_characters_and_tabs_keep_the_marks_below_their_text() -> None:
    text = "\t값 @ y;"
    rendered = Diagnostic("no", span(1, 4, 5), (Note(span(1, 2, 3), "left"),)).render(text).splitlines()
    assert rendered[1:] == ["  1 |  값 @ y;", "    |  ~~ ^", "    |  left"]


def test_long_lines_are_cut_around_the_place() -> None:
    text = "x" * 5000 + "!" + "y" * 5000
    rows = Diagnostic("no", span(1, 5001, 5002)).render(text).splitlines()
    assert max(map(len, rows)) < 160
    assert rows[1].index("!") == rows[2].index("^")


def test_control_characters_do_not_reach_the_terminal() -> None:
    rendered = Diagnostic("no", span(1, 1, 2)).render("\x1b[31m\u202e boo \x00\r")
    assert "\x1b" not in rendered
    assert "\u202e" not in rendered
    assert "\x00" not in rendered
    assert "\r" not in rendered


def test_nor_do_those_of_names_in_messages() -> None:
    rendered = Diagnostic("a\x1b[31m\u202eb\r", help="c\x07 é 한\nd").render()
    assert rendered == "error: a\\x1b[31m\\u202eb\\r\n  help: c\\x07 é 한\nd"


def test_color_changes_nothing_but_colors() -> None:
    import re

    found = Diagnostic("no", span(3, 12, 13), (Note(span(3, 10, 11), "type"),), "help")
    assert re.sub(r"\x1b\[[0-9;]*m", "", found.render(SOURCE, color=True)) == found.render(SOURCE)


def test_lines_can_stand_for_the_text() -> None:
    found = Diagnostic("no", span(3, 12, 13))
    assert found.render(SOURCE.split("\n")) == found.render(SOURCE)


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 80), st.integers(0, 90)), min_size=1, max_size=4),
)
def test_rendering_never_fails(text: str, places: list[tuple[int, int, int]]) -> None:
    spans = [Span("f", line, column, line, column + width) for line, column, width in places]
    Diagnostic("m", spans[0], tuple(Note(s, "n") for s in spans[1:]), "h").render(text)


KINDS = [k for k in vars(diagnostics).values() if isinstance(k, type) and issubclass(k, HeliostatError)]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind: type[HeliostatError]) -> None:
    error = kind("message", at=span(1, 2, 3), notes=[(span(4, 5, 6), "n")], help="h", source="s")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.diagnostic, again.source, str(again)) == (error.diagnostic, "s", "message (h)")


def test_errors_derive_from_the_builtin_that_fits() -> None:
    assert issubclass(ShapeError, ValueError)
    with pytest.raises(ValueError, match="no"):
        raise ShapeError("no")


def test_long_lists_and_words_are_left_out_in_their_midst() -> None:
    numbers = list(range(10_000))
    assert brief(f"got {numbers}, not [1, 2]") == "got [0, 1, 2, 3, 4, 5, ... 9992 more ..., 9998, 9999], not [1, 2]"
    assert brief(f"got {tuple(map(str, numbers))}").endswith("'4', '5', ... 9992 more ..., '9998', '9999')")
    assert brief("x" * 10_000) == f"{'x' * 80}... 9900 more characters ...{'x' * 20}"
    assert len(brief(str([[1, 2]] * 100_000))) < 21_000
    names = f"Missing: {', '.join(repr(f'layer.{n}.weight') for n in range(300))}"  # no list in brackets: all are told
    assert brief(names) == names
    assert brief(f"{list(range(24))}") == f"{list(range(24))}"


def test_errors_are_brief_and_stay_so_when_they_are_pickled() -> None:
    with pytest.raises(ShapeError) as caught:
        hs.zeros(5).reshape(list(range(10_000)))
    assert len(str(caught.value)) < 200
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(HeliostatError, match="more characters") as caught:
        hs.zeros(2).to("x" * 100_000)
    assert len(str(caught.value)) < 300
