"""How a quantized block format is declared: fields of a block, and a value rule that decodes them.

A declaration is checked when it is made, knows every bit's place and its own normal form. The codec, the panels and all
kernels are derived from it. The shipped declarations stand in `formats.py`, their text form in `text.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heliostat.diagnostics import FormatError
from heliostat.ir.types import Element
from heliostat.quant.algebra import (
    Expr,
    Lookup,
    NormalForm,
    Operand,
    Symbol,
    Symbols,
    Table,
    build,
    normal_form,
    walk,
)
from heliostat.quant.bits import MAX_ELEMENTS, Bits, Digits, Part, Piece, Slice, Stream
from heliostat.quant.fields import Codes, Field, Grid, Rule, Scalar, SumOf, bind, e8m0, sint, ue4m3, uint
from heliostat.quant.spec import FieldSpec, Packing
from heliostat.quant.verify import check_layout, check_lookups, check_rule, check_sums

__all__ = [  # all that a declaration is written with
    "Bits", "BlockFormat", "Codes", "Digits", "Field", "FieldSpec", "Grid", "Packing", "Part", "Piece",
    "Rule", "Scalar", "Slice", "Stream", "SumOf", "e8m0", "sint", "ue4m3", "uint",
]  # fmt: skip


class BlockFormat(Element):
    """A quantized format: `block` elements in `nbytes` bytes, made of fields, decoded by a value rule.

    `value` is a tree, or a callable that is called once with the fields as symbols. `source` says where the layout is
    stated. Two formats are equal when name and declaration are; `source` and `rule` do not count. Raises FormatError if
    fields overlap, reach past the end, lack bits, or share a name.
    """

    fields: tuple[Field, ...]
    value: Expr
    source: str
    rule: Rule | None
    normal: NormalForm | None
    reason: str | None

    def __init__(
        self,
        name: str,
        block: int,
        nbytes: int,
        fields: Sequence[Field],
        value: Callable[[Symbols], Operand] | Expr,
        source: str = "",
        rule: Rule | None = None,
    ) -> None:
        if block < 1 or nbytes < 1:
            raise FormatError(f"format {name}: block ({block}) and nbytes ({nbytes}) must be at least 1")
        if block > MAX_ELEMENTS or nbytes > 4 * MAX_ELEMENTS:
            raise FormatError(f"format {name}: a block of {block} elements in {nbytes} bytes is too large")
        bound = tuple(bind(f, block) for f in fields)
        check_layout(name, block, nbytes, bound)
        names = tuple(f.name for f in bound)
        tree = build(value, names)
        check_lookups(name, tree, bound)
        symbols = {f.name: _symbol(f, block) for f in bound}
        check_sums(name, bound)
        found = normal_form(tree, symbols, block)
        if rule is not None:
            check_rule(name, rule, found)
        state: dict[str, object] = {
            "name": name,
            "_block": block,
            "_nbytes": nbytes,
            "fields": bound,
            "value": tree,
            "source": source,
            "rule": rule,
            "normal": found if isinstance(found, NormalForm) else None,
            "reason": found if isinstance(found, str) else None,
        }
        state["_hash"] = hash((name, block, nbytes, bound, tree))
        for key, item in state.items():
            object.__setattr__(self, key, item)

    @classmethod
    def from_fields(
        cls,
        name: str,
        block: int,
        fields: Sequence[FieldSpec],
        value: Callable[[Symbols], Operand] | Expr,
        source: str = "",
    ) -> BlockFormat:
        """A format from fields in order, as a `.lum` declaration gives them: each begins where the one before it ends.

        A field of integers with as many values as the block has elements holds the codes; all others are scalars.
        What a field's packing may say stands at `FieldSpec`. Raises FormatError that names the field.
        """
        made: list[Field] = []
        rule: Rule | None = None
        at = 0
        for spec in fields:
            field, stated = spec.build(block, at)
            made.append(field)
            rule = stated or rule
            at = 1 + max(s.byte_offset for e in bind(field, block).all_slices() for s in e)
        ends = [s.byte_offset for f in made for e in bind(f, block).all_slices() for s in e]
        return cls(name, block, 1 + max(ends, default=0), made, value, source, rule)

    @property
    def block(self) -> int:
        return int(self.__dict__["_block"])

    @property
    def nbytes(self) -> int:
        return int(self.__dict__["_nbytes"])

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The scalar fields in declaration order."""
        return tuple(f for f in self.fields if isinstance(f, Scalar))

    @property
    def codes(self) -> Codes:
        """The field that holds one code per element. Raises FormatError where there is none, or more than one."""
        found = [f for f in self.fields if isinstance(f, Codes)]
        if len(found) != 1:
            raise FormatError(f"format {self.name} has {len(found)} code fields, not one")
        return found[0]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The codebooks that the value rule looks up, each once."""
        return tuple(dict.fromkeys(n.table for n in walk(self.value) if isinstance(n, Lookup)))

    @property
    def bits_per_element(self) -> float:
        return 8.0 * self.nbytes / self.block

    def field(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(name)

    def scalar(self, name: str) -> Scalar:
        found = self.field(name)
        if not isinstance(found, Scalar):
            raise KeyError(name)
        return found

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.block, self.nbytes, self.fields, self.value)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, BlockFormat) and hash(self) == hash(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return int(self.__dict__["_hash"])

    def __repr__(self) -> str:
        return f"BlockFormat({self.name!r}, block={self.block}, nbytes={self.nbytes})"

    def __reduce__(self) -> tuple[object, ...]:
        return (
            BlockFormat,
            (self.name, self.block, self.nbytes, self.fields, self.value, self.source, self.rule),
        )


def _symbol(field: Field, block: int) -> Symbol:
    if isinstance(field, Scalar):
        return Symbol(field.name, "float" if field.dtype.is_float else "int", field.count, field.width, field.signed)
    if isinstance(field, Codes):
        return Symbol(field.name, "code", block, field.width, field.signed)
    return Symbol(field.name, "grid", block)
