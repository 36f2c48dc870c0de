"""Values to blocks: choosing scales, offsets and codes for any declared format that has a normal form.

A format with a `rule` is quantized in its customary way, bit for bit as the reference quantizers do where those exist.
Any other, a user's own included, is searched: scales and offsets of least squared error for each sub-block, then for
the stored scalars, then for the codes, in turn. Decoding and bit places are `codec.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import Any

import numpy as np
import numpy.typing as npt

from heliostat.diagnostics import FormatError, UnsupportedError
from heliostat.ir.types import DType
from heliostat.quant import codec
from heliostat.quant.algebra import Factor, NormalForm
from heliostat.quant.format import BlockFormat, Rule, Scalar

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

# Scales tried, as multiples of the smallest one that clips nothing. Few-bit codes want to clip the outermost values.
_SYMMETRIC_TRIALS = np.linspace(0.6, 1.12, 27, dtype=np.float32)
_RANGE_TRIALS = np.linspace(0.7, 1.1, 17, dtype=np.float32)
_ROUNDS = 2  # of refitting integers, floats and codes to each other


def quantize(array: npt.ArrayLike, fmt: codec.Format) -> bytes:
    """The bytes of `array` in a format, row by row.

    array: floats (..., K), K a multiple of the format's block. fmt: a name such as "Q4_0" (also F32, F16, BF16) or a
    declaration. A scale beyond the range of its type becomes infinite under a customary rule, as in the reference; a
    searched one stays finite. Raises ShapeError for another K, FormatError if a value is NaN or infinite (it would
    spoil its block; the plain types keep it), UnsupportedError if the value rule has no normal form to solve.
    """
    return encode(array, fmt).tobytes()


def encode(array: npt.ArrayLike, fmt: codec.Format) -> Bytes:
    """As `quantize`, but the bytes as an array (..., K / block * nbytes)."""
    element = codec.resolve(fmt)
    values = np.ascontiguousarray(array, dtype=np.float32)
    codec.check_shape(values.shape, element)
    if isinstance(element, DType):
        flat = np.atleast_1d(values)
        return codec.encode_scalar(flat, element).view(np.uint8)
    rows = values.reshape(-1, element.block)
    out = np.empty((rows.shape[0], element.nbytes), np.uint8)
    step = max(1, codec.CHUNK_ELEMENTS // element.block)
    for start in range(0, rows.shape[0], step):
        chunk = rows[start : start + step]
        if not np.isfinite(chunk).all():
            _refuse(values, element)
        out[start : start + step] = encode_blocks(chunk, element)
    return out.reshape(*values.shape[:-1], values.shape[-1] // element.block * element.nbytes)


def _refuse(values: F32, fmt: BlockFormat) -> None:
    first = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
    place = ", ".join(str(int(i)) for i in first)
    raise FormatError(
        f"cannot quantize to {fmt.name}: element [{place}] is {values[first]}",
        help="its scale would spoil all of its block; replace NaN and infinite values first",
    )


def encode_blocks(x: F32, fmt: BlockFormat) -> Bytes:
    """Finite values (n, block) as blocks (n, nbytes)."""
    if fmt.normal is None:
        raise UnsupportedError(f"cannot quantize to {fmt.name}: {fmt.reason}", help="its bytes can only be decoded")
    subs = x.reshape(x.shape[0], fmt.block // fmt.normal.sub, fmt.normal.sub)
    with np.errstate(all="ignore"):
        if fmt.rule is not None:
            fit = _Fit(fmt, fmt.normal, subs)
            _by_rule(fit, fmt.rule)
        else:
            fit = _normalized(fmt, fmt.normal, subs)
            _search(fit)
        return _finish(fit)


def _normalized(fmt: BlockFormat, normal: NormalForm, x: F32) -> _Fit:
    """The state for a search, each block scaled by a power of two so that squares neither overflow nor vanish."""
    factors = [f.floats for f in (normal.scale, normal.offset) if f is not None]
    carriers = {floats[0] for floats in factors if floats}
    if any(sum(name in carriers for name in floats) != 1 for floats in factors):
        return _Fit(fmt, normal, x)  # no float scalar takes the power of two alone
    exponent = np.frexp(np.abs(x).max(axis=(1, 2)))[1]
    return _Fit(fmt, normal, np.ldexp(x, -exponent[:, None, None]), exponent[:, None], frozenset(carriers))


@dataclass
class _Fit:
    """The state of a chunk of blocks x (n, subs, sub). `bits`, `values`: scalars as stored and as decoded, (n, count).

    x is the input divided by 2**exponent, (n, 1), and so are the values of the float scalars named in `carriers`.
    `exact` has the floats before they were rounded to their type, where a rule computes with those. `u`: codes like x.
    """

    fmt: BlockFormat
    normal: NormalForm
    x: F32
    exponent: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((1, 1), np.int32))
    carriers: frozenset[str] = frozenset()
    bits: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    exact: dict[str, F32] = field(default_factory=dict)
    u: Array = field(default_factory=lambda: np.zeros(0, np.uint8))

    @property
    def subs(self) -> int:
        return int(self.x.shape[1])

    @property
    def levels(self) -> F32:
        """t(u) - zero of every code that can be stored."""
        return np.array(self.normal.levels[: self.fmt.codes.radix], np.float32)

    def store(self, name: str, values: Array) -> None:
        """Round `values` (n, count) to the type of scalar `name` and keep both forms."""
        dtype = self.fmt.scalar(name).dtype
        if name in self.carriers:
            values = np.ldexp(values, self.exponent)
        if dtype.is_float:
            largest = _LARGEST.get(dtype.name)
            self.exact[name] = values.astype(np.float32)
            if largest is not None and self.fmt.rule is None:
                values = np.clip(values, -largest, largest)
        self.bits[name] = codec.encode_scalar(values, dtype)
        self.values[name] = codec.decode_scalar(self.bits[name], dtype)
        if name in self.carriers:
            self.values[name] = np.ldexp(self.values[name], -self.exponent)

    def copy(self, *, empty: bool = False) -> _Fit:
        """The same blocks, with scalars and codes of its own; with none yet if `empty`."""
        fresh = _Fit(self.fmt, self.normal, self.x, self.exponent, self.carriers)
        if not empty:
            fresh.bits, fresh.values, fresh.exact = dict(self.bits), dict(self.values), dict(self.exact)
            fresh.u = self.u
        return fresh

    def spread(self, name: str) -> Array:
        """Scalar `name` per sub-block: (n, subs), or (n, 1) if there is one for the block."""
        values = self.values[name]
        return values if values.shape[1] in (1, self.subs) else np.repeat(values, self.subs // values.shape[1], axis=1)

    def product(self, factor: Factor, without: str | None = None) -> F32:
        """The stored value of a factor per sub-block, (n, subs), scalar `without` left out with its bias."""
        total = np.full((self.x.shape[0], self.subs), factor.constant, np.float32)
        for name in factor.floats:
            if name != without:
                total *= self.spread(name)
        if factor.integer is not None and factor.integer[0] != without:
            total *= (self.spread(factor.integer[0]) + factor.integer[1]).astype(np.float32)
        return total

    def scale(self) -> F32:
        return self.product(self.normal.scale)

    def offset(self) -> F32 | None:
        return self.product(self.normal.offset) if self.normal.offset is not None else None

    def choose(self) -> F32:
        """Set the codes to the nearest under the stored scalars; the squared error of each block: (n,)."""
        scale, offset = self.scale()[:, :, None], self.offset()
        x = self.x if offset is None else self.x - offset[:, :, None]
        self.u = nearest_codes(x * _inverse(scale), self)
        error = x - scale * self.levels[self.u]
        total: F32 = np.einsum("nij,nij->n", error, error)
        return total


_LARGEST = {"f16": 65504.0, "bf16": 3.3895314e38, "f32": 3.4028235e38}


def _inverse(a: F32) -> F32:
    """1 / a, and 0 where that is not finite: such a scale is stored as zero or next to it."""
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / a
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def nearest_codes(y: F32, fit: _Fit) -> Array:
    """The codes whose level t(u) - zero is nearest to y, ties to either."""
    table = fit.normal.table
    if table is None:
        u = np.rint(y + np.float32(fit.normal.zero))
        clipped: Array = np.clip(u, 0, fit.fmt.codes.radix - 1)
        return clipped.astype(np.uint8 if fit.normal.width <= 8 else np.uint32)
    codes, low = _lookup(fit)
    index = np.clip(np.floor(y * np.float32(2)), low, low + codes.size - 1).astype(np.intp)
    found: Array = codes[index - low]
    return found


def _lookup(fit: _Fit) -> tuple[npt.NDArray[np.uint8], int]:
    """The nearest code for every floor(2 y): levels are integers, so no midpoint lies inside such a step."""
    levels = fit.levels
    low, high = int(2 * levels.min()) - 1, int(2 * levels.max()) + 1
    centres = (np.arange(low, high + 1, dtype=np.float32) + np.float32(0.5)) / 2
    return np.argmin(np.abs(centres[:, None] - levels), axis=1).astype(np.uint8), low


# Customary quantizers


def _by_rule(fit: _Fit, rule: Rule) -> None:
    """Set scalars and codes as `rule` says. The order of f32 operations is that of the reference quantizers."""
    normal = fit.normal
    name = normal.scale.floats[0]
    scalar = fit.fmt.scalar(name)
    x = fit.x
    low = x.min(axis=2, keepdims=True) if rule.scale == "range" else None
    if low is not None:
        extreme = x.max(axis=2, keepdims=True) - low
    elif rule.scale == "signed_max":
        extreme = np.take_along_axis(x, np.abs(x).argmax(axis=2, keepdims=True), axis=2)
    elif rule.scale == "absmax":
        extreme = np.abs(x).max(axis=2, keepdims=True)
    else:
        extreme = np.abs(x).mean(axis=2, keepdims=True)
    d = extreme / np.float32(rule.over)
    if scalar.dtype.name == "e8m0":
        # The power of two at or below: of the extreme itself, since log2 of d would round differently.
        exponent = np.floor(np.log2(extreme[:, :, 0])) - log2(rule.over) + 128
        fit.bits[name] = np.where(extreme[:, :, 0] > 0, np.clip(exponent, 0, 254), 0).astype(np.uint8)
        fit.values[name] = codec.decode_scalar(fit.bits[name], scalar.dtype)
    else:
        fit.store(name, d[:, :, 0])
    if normal.offset is not None and low is not None:
        fit.store(normal.offset.floats[0], low[:, :, 0])
    if rule.rounding == "nearest":
        fit.u = _nearest_values(fit)
        return
    inverse = _inverse(d)
    y = x * inverse if low is None else (x - low) * inverse
    zero = np.float32(normal.zero if low is None else 0)
    if rule.rounding == "shifted":
        u = np.trunc(y + (zero + np.float32(0.5)))
    elif rule.rounding == "away":
        magnitude = np.abs(y)
        whole = np.floor(magnitude)
        u = np.sign(y) * (whole + np.floor(2 * (magnitude - whole))) + zero
    else:
        u = np.rint(y) + zero
    fit.u = np.clip(u, 0, fit.fmt.codes.radix - 1).astype(np.uint8)


def _nearest_values(fit: _Fit) -> npt.NDArray[np.uint8]:
    """The first code of least |scale * level - x| under the stored scale, compared in f32 as the reference does."""
    scale = fit.scale()[:, :, None]
    best = np.zeros(fit.x.shape, np.uint8)
    least: F32 | None = None
    for u, level in enumerate(fit.levels):
        error = np.abs(scale * level - fit.x)
        if least is None:
            least = error
            continue
        better = error < least
        best[better] = u
        np.minimum(least, error, out=least)
    return best


# Search


def _bounds(scalar: Scalar, bias: int) -> tuple[int, int]:
    low = -(1 << (scalar.width - 1)) if scalar.signed else 0
    return low + bias, low + bias + (1 << scalar.width) - 1


def _signs(fit: _Fit, factor: Factor) -> tuple[bool, bool]:
    """Whether a factor can be positive, and negative, in every sub-block independently of its neighbours."""
    low, high = (1, 1) if factor.integer is None else _bounds(fit.fmt.scalar(factor.integer[0]), factor.integer[1])
    per_sub = [fit.fmt.scalar(n) for n in factor.floats if fit.fmt.scalar(n).count == fit.subs]
    free = any(s.dtype.name not in codec.UNSIGNED_FLOATS for s in per_sub) or (low < 0 < high)
    positive = factor.constant > 0 if high > 0 else factor.constant < 0
    return free or positive, free or not positive


def _search(fit: _Fit) -> None:
    """Set scalars and codes for least squared error."""
    normal = fit.normal
    offset_factor = normal.offset
    if offset_factor is None:
        scale = _symmetric(fit, fit.x)
        _store_factor(fit, normal.scale, scale)
    elif (offset_factor.floats, offset_factor.integer) == (normal.scale.floats, normal.scale.integer):
        shift = np.full(fit.x.shape[:2], offset_factor.constant / normal.scale.constant, np.float32)
        _store_factor(fit, normal.scale, _symmetric(fit, fit.x, shift))
    elif set(offset_factor.floats) <= set(normal.scale.floats):
        _search_zero_point(fit, offset_factor)
        return
    else:
        scale, offset = _ranged(fit, _signs(fit, offset_factor))
        _store_factor(fit, normal.scale, scale)
        _store_factor(fit, offset_factor, offset)
    _refit(fit)


def _symmetric(fit: _Fit, x: F32, shift: F32 | None = None) -> F32:
    """The scale (n, subs) of least squared error for x = scale * level, or * (level + shift) with shift (n, subs)."""
    levels = fit.levels
    low, high = np.float32(levels.min()), np.float32(levels.max())
    move = np.zeros((1, 1), np.float32) if shift is None else shift
    can_be_positive, can_be_negative = _signs(fit, fit.normal.scale)
    best = np.zeros(x.shape[:2], np.float32)
    gain = np.zeros(x.shape[:2], np.float32)
    for sign in (1.0, -1.0):
        if not (can_be_positive if sign > 0 else can_be_negative):
            continue
        top, bottom = x.max(axis=2), x.min(axis=2)
        if sign < 0:
            top, bottom = -bottom, -top
        above, below = high + move, low + move
        reach = np.maximum(
            np.where(above > 0, np.maximum(top, 0) * _inverse(above), 0),
            np.where(below < 0, np.minimum(bottom, 0) * _inverse(below), 0),
        )
        for trial in _SYMMETRIC_TRIALS:
            inverse = _inverse(np.float32(sign) * trial * reach)[:, :, None]
            y = x * inverse
            if shift is not None:
                y = y - move[:, :, None]
            level = levels[nearest_codes(y, fit)]
            if shift is not None:
                level = level + move[:, :, None]
            xl = np.einsum("nij,nij->ni", x, level)
            ll = np.einsum("nij,nij->ni", level, level)
            fitted = xl * _inverse(ll)
            found = fitted * xl
            better = (found > gain) & (fitted * np.float32(sign) > 0)
            best = np.where(better, fitted, best)
            gain = np.where(better, found, gain)
    return best


def _ranged(fit: _Fit, offset_signs: tuple[bool, bool]) -> tuple[F32, F32]:
    """Scale and offset (n, subs) of least squared error for x = scale * level + offset, scale >= 0.

    `offset_signs`: whether the offset may be positive, and negative; (False, True) clamps it to at most 0.
    """
    x, levels = fit.x, fit.levels
    bottom, span = np.float32(levels.min()), np.float32(levels.max() - levels.min())
    least, most = x.min(axis=2), x.max(axis=2)
    may_rise, may_fall = offset_signs

    def clamp(offset: F32) -> F32:
        lower = offset if may_fall else np.maximum(offset, 0)
        return lower if may_rise else np.minimum(lower, 0)

    count = np.float32(x.shape[2])
    sum_x, sum_xx = x.sum(axis=2), np.einsum("nij,nij->ni", x, x)
    best_scale = np.zeros(x.shape[:2], np.float32)
    best_offset = clamp(sum_x / count)
    error = sum_xx - 2 * best_offset * sum_x + count * best_offset * best_offset
    start = clamp(least)
    for trial in _RANGE_TRIALS:
        scale = trial * np.maximum(most - start, 0) / span
        offset = start - bottom * scale + np.float32(0.5) * (1 - trial) * np.where(start == least, span * scale, 0)
        offset = clamp(offset) if bottom == 0 else offset
        for _ in range(2):  # the second time from the fitted line
            level = levels[nearest_codes((x - offset[:, :, None]) * _inverse(scale)[:, :, None], fit)]
            l1, l2 = level.sum(axis=2), np.einsum("nij,nij->ni", level, level)
            xl = np.einsum("nij,nij->ni", x, level)
            bend = _inverse(count * l2 - l1 * l1)
            free = (l2 * sum_x - l1 * xl) * bend
            held = np.where(bend > 0, clamp(free), offset)  # one level throughout leaves the offset open
            scale = np.where(
                (bend > 0) & (held == free), (count * xl - sum_x * l1) * bend, (xl - held * l1) * _inverse(l2)
            )
            offset = held
            found = (
                sum_xx + scale * scale * l2 + count * offset * offset
                + 2 * (scale * offset * l1 - scale * xl - offset * sum_x)
            )  # fmt: skip
            better = (found < error) & (scale > 0)
            best_scale = np.where(better, scale, best_scale)
            best_offset = np.where(better, offset, best_offset)
            error = np.where(better, found, error)
    return best_scale, best_offset


def _search_zero_point(fit: _Fit, offset_factor: Factor) -> None:
    """scale * (level - z), z an integer under the same floats: the better of a free z and one within the codes."""
    if offset_factor.integer is None or fit.normal.table is not None or fit.normal.scale.integer is not None:
        raise UnsupportedError(
            f"cannot quantize to {fit.fmt.name}: scale {fit.normal.scale} and offset {offset_factor} share scalars",
            help="give the offset a scalar of its own, or make it scale * integer",
        )
    name, bias = offset_factor.integer
    low, high = _bounds(fit.fmt.scalar(name), bias)
    ratio = np.float32(offset_factor.constant / fit.normal.scale.constant)  # offset / scale = ratio * (integer + bias)
    scale, offset = _ranged(fit, (True, True))
    levels = fit.levels
    free = offset * _inverse(scale) / ratio
    least, most = np.minimum(fit.x.min(axis=2), 0), np.maximum(fit.x.max(axis=2), 0)
    covering = (least * _inverse((most - least) / np.float32(levels.max() - levels.min())) - levels.min()) / ratio
    best: _Fit | None = None
    errors: F32 | None = None
    for target in (free, covering):
        trial = fit.copy(empty=True)
        integer = np.clip(np.rint(_share(target, fit.fmt.scalar(name).count)), low, high)
        trial.store(name, integer.astype(np.int32) - bias)
        shift = ratio * (trial.spread(name) + bias).astype(np.float32)
        _store_factor(trial, fit.normal.scale, _symmetric(trial, fit.x, np.broadcast_to(shift, fit.x.shape[:2])))
        error = _refit(trial)
        if best is None or errors is None:
            best, errors = trial, error
        else:
            _take(best, trial, error < errors)
    assert best is not None
    fit.bits, fit.values, fit.exact, fit.u = best.bits, best.values, best.exact, best.u


def _take(into: _Fit, other: _Fit, better: npt.NDArray[np.bool_]) -> None:
    """Replace the blocks of `into` where `better` (n,) by those of `other`."""
    for mine, theirs in ((into.bits, other.bits), (into.values, other.values), (into.exact, other.exact)):
        for name, value in theirs.items():
            mine[name] = np.where(better[:, None], value, mine[name])
    into.u = np.where(better[:, None, None], other.u, into.u)


def _share(target: F32, count: int) -> F32:
    """(n, subs) as (n, count): the mean of each share."""
    return target if target.shape[1] == count else target.reshape(target.shape[0], count, -1).mean(axis=2)


def _store_factor(fit: _Fit, factor: Factor, target: F32) -> None:
    """Store the scalars of `factor` so that its value per sub-block comes close to `target` (n, subs).

    Floats come first, coarse to fine: one above an integer or a finer float is as small as lets that reach the largest
    target. Scalars that are stored already are taken as given.
    """
    left = target / np.float32(factor.constant)
    for name in factor.floats:
        if name in fit.values:
            left = left * _inverse(fit.spread(name).astype(np.float32))
    todo = sorted(dict.fromkeys(n for n in factor.floats if n not in fit.values), key=lambda n: fit.fmt.scalar(n).count)
    for position, name in enumerate(todo):
        scalar = fit.fmt.scalar(name)
        finer = [fit.fmt.scalar(n) for n in todo[position + 1 :]]
        if factor.integer is not None and factor.integer[0] not in fit.values:
            low, high = _bounds(fit.fmt.scalar(factor.integer[0]), factor.integer[1])
            reach = low if -low > high else high
        elif finer:
            low, reach = 0, _REACH.get(finer[-1].dtype.name, 1)
        else:
            low, reach = 0, 0
        if position and factor.integer is not None:
            values = np.ones((left.shape[0], scalar.count), np.float32)  # the coarsest float has set the range
        elif reach:
            share = left.reshape(left.shape[0], scalar.count, -1)
            peak = np.take_along_axis(share, np.abs(share).argmax(axis=2, keepdims=True), axis=2)[:, :, 0]
            values = (peak if low < 0 or not finer else np.abs(peak)) / np.float32(reach)
        else:
            values = _share(left, scalar.count)
        fit.store(name, values)
        left = left * _inverse(fit.spread(name).astype(np.float32))
    if factor.integer is not None and factor.integer[0] not in fit.values:
        _store_integer(fit, factor, left)


_REACH = {"ue4m3": 224, "e8m0": 1}  # the largest value of a fine float scale that a coarse one should need


def _store_integer(fit: _Fit, factor: Factor, target: F32) -> None:
    assert factor.integer is not None
    name, bias = factor.integer
    scalar = fit.fmt.scalar(name)
    low, high = _bounds(scalar, bias)
    fit.store(name, np.clip(np.rint(_share(target, scalar.count)), low, high).astype(np.int32) - bias)


def _refit(fit: _Fit) -> F32:
    """Improve integers, floats and codes in turn, block by block where the error falls; the final errors (n,)."""
    errors = fit.choose()
    for _ in range(_ROUNDS):
        trial = fit.copy()
        factors = [f for f in (fit.normal.scale, fit.normal.offset) if f is not None]
        for factor in factors:
            if factor.integer is not None:
                _refit_scalar(trial, factor.integer[0])
        trial.choose()
        for name in dict.fromkeys(n for f in factors for n in f.floats):
            _refit_scalar(trial, name)
        found = trial.choose()
        better = found < errors
        _take(fit, trial, better)
        errors = np.where(better, found, errors)
    return errors


def _refit_scalar(fit: _Fit, name: str) -> None:
    """Move scalar `name` to its least-squares value, all else as it is: the value rule is linear in every scalar."""
    normal, scalar = fit.normal, fit.fmt.scalar(name)
    level = fit.levels[fit.u]
    scale, offset = fit.scale(), fit.offset()
    left = fit.x - scale[:, :, None] * level
    slope = np.zeros_like(fit.x)
    if name in (*normal.scale.floats, *(normal.scale.integer or ())[:1]):
        slope += fit.product(normal.scale, without=name)[:, :, None] * level
    if normal.offset is not None and offset is not None:
        left -= offset[:, :, None]
        if name in (*normal.offset.floats, *(normal.offset.integer or ())[:1]):
            slope += fit.product(normal.offset, without=name)[:, :, None]
    shape = (fit.x.shape[0], scalar.count, -1)
    left, slope = left.reshape(shape), slope.reshape(shape)
    step = np.einsum("nij,nij->ni", left, slope) * _inverse(np.einsum("nij,nij->ni", slope, slope))
    moved = fit.values[name] + step
    if not scalar.dtype.is_float:
        low, high = _bounds(scalar, 0)
        moved = np.clip(np.rint(moved), low, high).astype(np.int32)
    fit.store(name, moved)


# Bytes


def _finish(fit: _Fit) -> Bytes:
    """Fill the fields that decoding does not read, and assemble the blocks."""
    fmt = fit.fmt
    n = fit.x.shape[0]
    u = fit.u.reshape(n, fmt.block)
    stored = u ^ u.dtype.type(fmt.codes.flip)
    for scalar in fmt.scalars:
        if scalar.name in fit.bits:
            continue
        if scalar.sum_of is None:
            fit.bits[scalar.name] = np.zeros((n, scalar.count), codec.encode_scalar(np.zeros(1), scalar.dtype).dtype)
            continue
        sums = (u.astype(np.int32) - fmt.codes.flip).reshape(n, scalar.count, -1).sum(axis=2)
        times = scalar.sum_of.times
        fit.store(scalar.name, sums if times is None else sums.astype(np.float32) * fit.exact[times])
    return codec.assemble(fmt, {**fit.bits, fmt.codes.name: stored})
