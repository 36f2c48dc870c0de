"""Fields as a `.lum` declaration writes them: a type, a count and packing words, laid out one behind the other.

`FieldSpec` states what a declaration may say; `BlockFormat.from_fields` makes the format. The way back is `text.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heliostat.diagnostics import FormatError
from heliostat.ir.types import DType, bf16, f16, f32
from heliostat.quant.bits import Bits, Digits, Part, Stream, place, uniform_width
from heliostat.quant.fields import Codes, Field, Rule, Scalar, SumOf, e8m0, sequential, ue4m3


@dataclass(frozen=True)
class Packing:
    """A word behind a field's type in a `.lum` declaration, with its arguments: `split`, `bits(at=2, ...)`."""

    name: str
    args: tuple[int | float | str, ...] = ()
    named: tuple[tuple[str, int | float | str], ...] = ()

    def numbers(self, field: str, order: Sequence[str], required: int) -> dict[str, int]:
        """The arguments as ints by name, positional ones in `order`. Raises FormatError for any other."""
        pairs = [*zip(order, self.args, strict=False), *self.named]
        found: dict[str, int] = {}
        for key, value in pairs:
            if key not in order or key in found or not isinstance(value, int):
                raise FormatError(f"field {field}: {self.name}({key}={value}): expected ints named {', '.join(order)}")
            found[key] = value
        if len(self.args) > len(order) or any(key not in found for key in order[:required]):
            raise FormatError(f"field {field}: {self.name} takes {', '.join(order)}, the first {required} required")
        return found


_PARTS: dict[str, tuple[Callable[..., Part], tuple[str, ...], int]] = {
    "bits": (Bits, ("at", "width", "run", "shift", "stride", "start", "count"), 3),
    "stream": (Stream, ("at", "width", "step", "per", "stride", "shift", "start", "count"), 2),
    "digits": (Digits, ("at", "radix", "digits", "run", "start", "count"), 4),
}


@dataclass(frozen=True)
class FieldSpec:
    """One field of a `.lum` declaration: `name: type[count] packing ...;`.

    type: f16 bf16 f32 e8m0 ue4m3, or u<w> / i<w> of w bits (i<w> is two's complement). count None is a single value.
    packing, all in bytes of the block, in any order:
      (none)              values of w bits one after the other, lowest bit first, without regard to bytes
      split               byte i of a plane holds elements i, n + i, 2n + i ..., n the plane's bytes: u4[32] puts
                          element i low and 16 + i high; other widths are planes of 4, 2, 1 bits, low bits first
      split(r)            the same within every r bytes: u4[256] split(32) is Q4_K
      at(n)               begins at byte n instead of behind the field before
      bits(at, width, run, shift=0, stride=run, start=0, count=all)      explicit planes: see `Bits`; several stack
      stream(at, width, step=width, per=all, stride=0, shift=0, start=0, count=all)  an explicit stream: see `Stream`
      digits(at, radix, digits, run, start=0, count=all)                 digits of another base: see `Digits`
      sum(q), sum(q, d)   a scalar that decoding does not need: the sum of the codes q, times d: see `SumOf`
      quantize(scale, over, rounding)                                    how scales are picked, on the codes: see `Rule`
    """

    name: str
    type: str
    count: int | None = None
    packing: tuple[Packing, ...] = ()

    def build(self, block: int, at: int) -> tuple[Field, Rule | None]:
        """The field, beginning at byte `at` unless its packing says otherwise, and the rule that it states if any."""
        dtype = scalar_type(self.type, self.name)
        count = 1 if self.count is None else self.count
        if count < 1:
            raise FormatError(f"field {self.name}: needs at least one value, has {count}")
        parts: list[Part] = []
        split: Packing | None = None
        sum_of: SumOf | None = None
        rule: Rule | None = None
        for word in self.packing:
            if word.name == "at":
                at = word.numbers(self.name, ("byte",), 1)["byte"]
            elif word.name == "split":
                split = word
            elif word.name == "sum":
                names = [a for a in word.args if isinstance(a, str)]
                if word.named or len(names) != len(word.args) or len(names) not in (1, 2):
                    raise FormatError(f"field {self.name}: sum takes the name of the codes, and of a factor if any")
                sum_of = SumOf(names[0], names[1] if len(names) == 2 else None)
            elif word.name == "quantize":
                rule = _rule(self.name, word)
            elif word.name in _PARTS:
                make, order, required = _PARTS[word.name]
                parts.append(make(**word.numbers(self.name, order, required)))
            else:
                known = ", ".join(("split", "at", *_PARTS, "sum", "quantize"))
                raise FormatError(f"field {self.name}: no packing is named {word.name}", help=f"there are {known}")
        if split is not None and parts:
            raise FormatError(f"field {self.name}: split and explicit bits exclude each other")
        if split is not None:
            run = split.numbers(self.name, ("run",), 0).get("run")
            planes = split_parts(dtype.bits, count, at, run)
            if planes is None:
                runs = "whole bytes" if run is None else f"runs of {run} bytes"
                raise FormatError(f"field {self.name}: {count} values of {dtype.bits} bits cannot be split into {runs}")
            parts = list(planes)
        elif not parts:
            parts = sequential(dtype.bits, at)
        width = uniform_width(place(tuple(parts), count, self.name), self.name)
        if width != dtype.bits:
            raise FormatError(f"field {self.name}: its parts have {width} bits, {self.type} has {dtype.bits}")
        if not dtype.is_float and count == block and sum_of is None:
            return Codes(self.name, parts, signed=dtype.kind == "i"), rule
        if rule is not None:
            raise FormatError(f"field {self.name}: quantize stands on the field of the codes")
        return Scalar(self.name, dtype, count=count, bits=parts, sum_of=sum_of), None


def scalar_type(name: str, field: str) -> DType:
    """The type of a field by name. Raises FormatError for an unknown one."""
    for known in (f16, bf16, f32, e8m0, ue4m3):
        if name == known.name:
            return known
    if name[:1] in ("u", "i") and name[1:].isdecimal() and 1 <= int(name[1:]) <= 32:
        return DType(name, name[0], int(name[1:]))
    raise FormatError(f"field {field}: no field type is named {name}", help="f16 bf16 f32 e8m0 ue4m3, u1..u32, i1..i32")


def split_parts(width: int, count: int, at: int, run: int | None) -> tuple[Part, ...] | None:
    """The planes of `split` or `split(run)`; None if the values do not fill them."""
    if width > 8:
        return None
    parts: list[Part] = []
    for plane in (8, 4, 2, 1):
        if not width & plane:
            continue
        size, rest = divmod(count * plane, 8)
        if rest or (run is not None and (run < 1 or size % run)):
            return None
        parts.append(Bits(at, plane, run=run or size))
        at += size
    return tuple(parts)


def _rule(field: str, word: Packing) -> Rule:
    named = dict(zip(("scale", "over", "rounding"), word.args, strict=False)) | dict(word.named)
    scale, over, rounding = (named.get(k) for k in ("scale", "over", "rounding"))
    if len(named) != 3 or not (isinstance(scale, str) and isinstance(over, int | float) and isinstance(rounding, str)):
        raise FormatError(f"field {field}: quantize takes scale, over, rounding", help="quantize(absmax, 127, away)")
    return Rule(scale, float(over), rounding)
