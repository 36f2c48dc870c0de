"""`format` declarations: what they make, and what is said of wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import Diagnostic
from heliostat.lang import ast
from heliostat.lang.findings import Findings
from heliostat.lang.formats import declared_format
from heliostat.lang.parse import parse
from heliostat.lang.source import Source
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.quantize import quantize
from heliostat.quant.text import to_lum

Q3Z = "format q3z { block 64; d: f16; z: i8; q: u3[64]; value = d * (q - z); }"


def declared(text: str) -> tuple[BlockFormat | None, list[Diagnostic]]:
    tree, errors = parse(Source(text))
    findings = Findings(Source(text), errors)
    (node,) = tree.declarations
    assert isinstance(node, ast.Format)
    return declared_format(node, findings), findings.all


def test_a_three_bit_format_is_a_format() -> None:
    made, errors = declared(Q3Z)
    assert errors == []
    assert made is not None
    assert (made.name, made.block, made.nbytes) == ("q3z", 64, 2 + 1 + 24)
    assert made.normal is not None


def test_a_declared_format_quantizes() -> None:
    made, _ = declared(Q3Z)
    assert made is not None
    array = np.linspace(-1, 1, 128, dtype=np.float32)
    data = quantize(array, made)
    assert len(data) == 2 * made.nbytes
    assert np.abs(dequantize(data, made) - array).max() < 0.2


@pytest.mark.parametrize("fmt", formats.all(), ids=str)
def test_the_text_form_of_every_built_in_format_declares_it_again(fmt: BlockFormat) -> None:
    try:
        text = to_lum(fmt)
    except NotImplementedError:
        pytest.skip("no text form")
    made, errors = declared(text)
    assert [e.message for e in errors] == []
    assert made is fmt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("q - z", "q - y"), "the format has no field `y`"),
        (("u3[64]", "u3[60]"), "u3[60]"),
        (("block 64;", ""), "the format `q3z` does not say how many elements a block has"),
        (("block 64;", "block 0;"), "a block has 1 to 4096 elements, not 0"),
        (("block 64;", "block 1000000;"), "a block has 1 to 4096 elements, not 1000000"),
        (("block 64;", "block 64; block 64;"), "`block` is given twice"),
        (("value = d * (q - z);", ""), "the format `q3z` does not say what an element is worth"),
        (("d: f16; ", "d: f16; d: f16; "), "`d` is declared twice"),
        (("d: f16", "d: f17"), "no field type is named f17"),
        (("u3[64]", "u3[64] slit"), "no packing is named slit"),
        (("u3[64]", "u3[64] split(-1)"), "this is out of range"),
        (("d * (q", "d / z * (q"), "a value rule has no `/`: only `+`, `-` and `*`"),
        (("d * (q", "f(d) * (q"), "a value rule is made of fields, numbers, `+`, `-`, `*` and `table[code]`"),
        (("d * (q", "d[q] * (q"), "only a table can be indexed"),
        (("d * (q", "d * inf * (q"), "a value rule is made of fields, numbers, `+`, `-`, `*` and `table[code]`"),
        (("d * (q", "d * d * d * d * (q"), "a value rule has at most 64 terms and multiplies at most 4 fields"),
        (("q3z", "q4_0"), "`q4_0` is a built-in element type"),
        (("q3z", "f32"), "`f32` is a built-in element type"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_reported_once(change: tuple[str, str], message: str) -> None:
    text = Q3Z.replace(*change)
    assert text != Q3Z
    made, errors = declared(text)
    if message == "u3[60]":  # 60 values are one for each of 60 parts of a block: that they do not divide it is said
        assert made is None
        assert len(errors) == 1
        return
    assert made is None
    assert [e.message for e in errors] == [message]


def test_a_table() -> None:
    text = "format t2 { block 32; levels: table [-4, -1, 1, 4]; d: f16; q: u2[32]; value = d * levels[q]; }"
    made, errors = declared(text)
    assert errors == []
    assert made is not None
    assert made.normal is not None
    assert made.normal.levels == (-4, -1, 1, 4)
    _, errors = declared(text.replace("levels[q]", "lvels[q]"))
    assert [(e.message, e.help) for e in errors] == [("only a table can be indexed", "did you mean `levels`?")]
    _, errors = declared(text.replace("-4, -1", "-4, x"))
    assert [e.message for e in errors] == ["a table holds numbers"]
    _, errors = declared(text.replace(", 4]", "]"))
    assert len(errors) == 1


def test_a_built_in_format_may_be_said_again() -> None:
    text = "format q4_0 { block 32; d: f16; q: u4[32] split; value = d * (q - 8); }"
    made, errors = declared(text)
    assert errors == []
    assert made is not None
    assert made.name == "Q4_0"


PIECES = ["format", "q", "{", "}", "block", "32", "64", ";", "d", ":", "f16", "u4", "[", "]", "value", "=", "*", "+"]
PIECES += ["-", "table", "1", "-1", "1e300", "split", "at", "bits", "(", ")", ",", "sum", "quantize", "0", "u33", "i8"]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40), st.lists(st.sampled_from(PIECES), max_size=6), st.integers(0, 4))
def test_mutated_declarations_give_diagnostics_only(at: int, put: list[str], drop: int) -> None:
    text = "format q { block 32 ; t : table [ 1 , 2 ] ; d : f16 ; q : u4 [ 32 ] split ( 16 ) ; value = d * q ; }"
    words = text.split()
    words[at : at + drop] = put
    tree, errors = parse(Source(" ".join(words)))
    findings = Findings(Source(" ".join(words)), errors)
    for node in tree.declarations:
        if isinstance(node, ast.Format) and declared_format(node, findings) is None:
            assert findings.all
