"""What must hold of a format's declaration. Every finding is a FormatError that names the format and the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heliostat.diagnostics import FormatError
from heliostat.quant.algebra import Binary, Expr, Lookup, Negate, NormalForm, Number, Ref, references, walk
from heliostat.quant.bits import Slice
from heliostat.quant.fields import Codes, Field, Grid, Rule, Scalar


def _bounds(node: Expr, fields: Mapping[str, Field]) -> tuple[int, int]:
    """The least and largest value of an integer expression. Raises TypeError where it is none."""
    if isinstance(node, Number) and isinstance(node.value, int):
        return node.value, node.value
    if isinstance(node, Ref):
        field = fields[node.name]
        if isinstance(field, Codes):
            return (-(1 << (field.width - 1)), (1 << (field.width - 1)) - 1) if field.signed else (0, field.radix - 1)
        if isinstance(field, Scalar) and not field.dtype.is_float:
            low = -(1 << (field.width - 1)) if field.signed else 0
            return low, low + (1 << field.width) - 1
    if isinstance(node, Negate):
        low, high = _bounds(node.operand, fields)
        return -high, -low
    if isinstance(node, Binary):
        (a, b), (c, d) = _bounds(node.left, fields), _bounds(node.right, fields)
        ends = {"+": (a + c, b + d), "-": (a - d, b - c)}
        products = (a * c, a * d, b * c, b * d)
        return ends.get(node.op, (min(products), max(products)))
    raise TypeError(str(node))


def check_lookups(name: str, value: Expr, fields: Sequence[Field]) -> None:
    """Raise FormatError if the value reads an unknown field, or a table outside of its entries."""
    names = {f.name for f in fields}
    for used in references(value):
        if used not in names:
            raise FormatError(f"format {name}: value reads {used}, but there is no such field")
    for node in walk(value):
        if not isinstance(node, Lookup):
            continue
        try:
            low, high = _bounds(node.index, {f.name: f for f in fields})
        except TypeError:
            raise FormatError(
                f"format {name}: table {node.table.name} needs an integer index, not {node.index}"
            ) from None
        if low < 0 or high >= len(node.table.values):
            raise FormatError(
                f"format {name}: {node.index} goes from {low} to {high}, "
                f"table {node.table.name} has {len(node.table.values)} entries"
            )


def check_sums(name: str, fields: Sequence[Field]) -> None:
    kinds = {f.name: f for f in fields}
    for field in fields:
        if not isinstance(field, Scalar) or field.sum_of is None:
            continue
        times = kinds.get(field.sum_of.times or "")
        if not isinstance(kinds.get(field.sum_of.codes), Codes):
            raise FormatError(
                f"format {name}: field {field.name} sums {field.sum_of.codes}, which is no field of codes"
            )
        if field.sum_of.times is not None and not (isinstance(times, Scalar) and times.dtype.is_float):
            raise FormatError(
                f"format {name}: field {field.name} multiplies by {field.sum_of.times}, which is no float"
            )


def check_rule(name: str, rule: Rule, found: NormalForm | str) -> None:
    """Raise FormatError unless a format has the one float scale, and offset, that customary quantizers pick."""
    if rule.scale not in RULE_SCALES or rule.rounding not in RULE_ROUNDINGS or not rule.over:
        known = f"{', '.join(RULE_SCALES)}; {', '.join(RULE_ROUNDINGS)}"
        raise FormatError(
            f"format {name}: no quantize rule is ({rule.scale}, {rule.over:g}, {rule.rounding})", help=known
        )
    simple = isinstance(found, NormalForm) and all(
        len(f.floats) == 1 and f.integer is None and f.constant == 1.0
        for f in (found.scale, found.offset)
        if f is not None
    )
    if not (isinstance(found, NormalForm) and simple) or (found.offset is not None) != (rule.scale == "range"):
        raise FormatError(f"format {name}: a quantize rule needs value = d * code, or d * code + m with scale range")
    if found.table is not None and rule.rounding != "nearest":
        raise FormatError(f"format {name}: codes that index a table are rounded to nearest, not {rule.rounding}")


RULE_SCALES = ("absmax", "signed_max", "range", "mean")
RULE_ROUNDINGS = ("shifted", "away", "even", "nearest")


def check_layout(name: str, block: int, nbytes: int, fields: Sequence[Field]) -> None:
    """Raise FormatError for the first thing that is wrong with a declaration."""
    owner: list[str | None] = [None] * (8 * nbytes)
    seen: set[str] = set()
    for field in fields:
        if field.name in seen:
            raise FormatError(f"format {name}: two fields are named {field.name}", help="field names must differ")
        seen.add(field.name)
        if isinstance(field, Scalar) and block % field.count:
            raise FormatError(
                f"format {name}: field {field.name} has {field.count} values, which do not divide {block} elements"
            )
        elements = field.all_slices()
        if isinstance(field, Codes):
            _ = field.width
        overlapping = isinstance(field, Grid)
        for element, slices in enumerate(elements):
            for s in slices:
                if not 0 <= s.byte_offset < nbytes:
                    raise FormatError(
                        f"format {name}: field {field.name}: element {element} lies in byte {s.byte_offset}, "
                        f"past the end of {nbytes} bytes"
                    )
                if not s.radix:
                    _claim(name, field.name, owner, s, overlapping)
        for byte in {s.byte_offset for e in elements for s in e if s.radix}:
            _claim(name, field.name, owner, Slice(byte, 0, 8, 0), False)
    for byte in range(nbytes):
        if not any(owner[8 * byte : 8 * byte + 8]):
            raise FormatError(
                f"format {name}: byte {byte} of {nbytes} belongs to no field", help="check nbytes and the offsets"
            )


def _claim(name: str, field: str, owner: list[str | None], s: Slice, overlapping: bool) -> None:
    for bit in range(8 * s.byte_offset + s.shift, 8 * s.byte_offset + s.shift + s.width):
        if owner[bit] is not None and not (overlapping and owner[bit] == field):
            raise FormatError(
                f"format {name}: field {field} overlaps field {owner[bit]} at bit {bit % 8} of byte {bit // 8}"
            )
        owner[bit] = field
