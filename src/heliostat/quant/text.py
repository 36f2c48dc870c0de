"""A format's declaration as `.lum` text, so that a file can carry the format of its own tensors."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields

from heliostat.diagnostics import UnsupportedError
from heliostat.quant.bits import Bits, Digits, Part, Stream, uniform_width
from heliostat.quant.fields import Codes, Grid, Scalar, sequential
from heliostat.quant.format import BlockFormat
from heliostat.quant.spec import split_parts


def to_lum(fmt: BlockFormat) -> str:
    """The `.lum` declaration that says the same: fields in order, explicit bits only where the short forms do not fit.

    Raises UnsupportedError for a format with a grid, whose table of vectors the language has no words for yet.
    """
    rows = [f"block {fmt.block};"]
    rows += [f"{t.name}: table [{', '.join(map(repr, t.values))}];" for t in fmt.tables]
    at = 0
    for field in fmt.fields:
        if isinstance(field, Grid):
            raise UnsupportedError(f"format {fmt.name}: field {field.name} is a grid, which has no text form")
        words = _packing(field, at)
        if fmt.rule is not None and isinstance(field, Codes):
            words.append(f"quantize({fmt.rule.scale}, {fmt.rule.over!r}, {fmt.rule.rounding})")
        rows.append(" ".join([f"{field.name}: {_type(field)}", *words]) + ";")
        at = 1 + max(s.byte_offset for e in field.all_slices() for s in e)
    rows.append(f"value = {fmt.value};")
    return f"format {fmt.name.lower()} {{\n" + "".join(f"  {row}\n" for row in rows) + "}\n"


def _type(field: Scalar | Codes) -> str:
    if isinstance(field, Codes):
        return f"{'i' if field.signed else 'u'}{field.width}[{field.count}]"
    return f"{field.dtype}[{field.count}]" if field.count > 1 else field.dtype.name


def _packing(field: Scalar | Codes, at: int) -> list[str]:
    """The packing words of a field that would begin at byte `at`."""
    words = _placement(field, at)
    if isinstance(field, Scalar) and field.sum_of is not None:
        words.append(f"sum({', '.join(n for n in (field.sum_of.codes, field.sum_of.times) if n)})")
    return words


def _placement(field: Scalar | Codes, at: int) -> list[str]:
    width = uniform_width(field.all_slices(), field.name)
    begin = min((p.at for p in field.parts), default=at)
    moved = [f"at({begin})"] if begin != at else []
    if field.parts == tuple(sequential(width, begin)):
        return moved
    for part in field.parts:
        if not isinstance(part, Bits):
            break
        for run, word in ((None, "split"), (part.run, f"split({part.run})")):
            if field.parts == split_parts(width, field.count, begin, run):
                return [word, *moved]
    return [_call(p) for p in field.parts]


_NAMES: dict[type, str] = {Bits: "bits", Stream: "stream", Digits: "digits"}


def _call(part: Part) -> str:
    shown = [
        f"{f.name}={getattr(part, f.name)}"
        for f in dataclass_fields(part)
        if getattr(part, f.name) != f.default  # what is left out has its default
    ]
    return f"{_NAMES[type(part)]}({', '.join(shown)})"
