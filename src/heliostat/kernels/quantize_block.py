"""Blocks of int8 activations made of f32 values in registers, bit for bit as `ActivationFormat.encode`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..kernel.warp import WARP
from ..quant.activation import FINE, FLOAT_BIAS, FLOAT_BIAS_BITS, ActivationFormat
from .plain_math import whole

SPREAD = 4  # neighbours of a thread where blocks lie across a warp
MOST_LANES = 16  # of a CPU's vector: on a GPU lanes are threads, and permutations messages


def quantize_block(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    values: Sequence[Instruction],
) -> None:
    """Codes, scale and sums of one block: `values` are its elements, from element `at` on of a row of `size` elements
    that begins at byte `base` of the buffer.
    """
    lanes = values[0].lanes
    largest = tree([k.fabs(v) for v in values], k.maximum)
    if lanes > MOST_LANES:  # of a GPU, which compares integers of a warp at once; these have the floats' order
        largest = k.bitcast(k.reduce_max(k.bitcast(largest, "i32")), "f32")
    else:
        largest = k.reduce_max(largest)
    if format.most:
        largest = k.maximum(largest, _largest_sum(k, format, values) * format.limit)
    scale = largest * (1 / 127)
    inverse = k.splat(k.select(largest > 0.0, 127.0 / largest, 0.0), lanes)
    _planes(k, format, size, buffer, base, at, [v * inverse for v in values], scale)


def quantize_blocks(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    blocks: Sequence[Sequence[Instruction]],
) -> None:
    """What `quantize_block` makes of each of `blocks`, neighbours of a row. On a CPU all at once: one tree of maxima,
    one division, one tree of sums; by itself a block waits for one after the other.
    """
    if format.most or not _side_by_side([values[0] for values in blocks]):
        for n, values in enumerate(blocks):
            quantize_block(k, format, size, buffer, base, at + n * format.block, values)
        return
    lanes = blocks[0][0].lanes
    largest = _reduce_each(k, [tree([k.fabs(v) for v in values], k.maximum) for values in blocks], k.maximum)
    scale = largest * (1 / 127)
    inverse = k.select(largest > 0.0, 127.0 / largest, 0.0)
    factors = [k.splat(k.extract(inverse, n), lanes) for n in range(len(blocks))]
    scaled = [v * factor for values, factor in zip(blocks, factors, strict=True) for v in values]
    _planes(k, format, size, buffer, base, at, scaled, scale)


def spreads(format: ActivationFormat) -> bool:
    """Whether `quantize_spread` makes blocks of a format."""
    whole_threads = format.sub % SPREAD == 0 and format.sub <= format.block
    plain = not format.most and not format.biased
    return format.block == WARP and whole_threads and plain and format.sums != "i16"


def quantize_spread(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    value: Instruction,
) -> None:
    """What `quantize_block` makes, of SPREAD blocks of 32 that lie across a warp, as many neighbours to a thread: what
    is done once for a block is done for all of them at once. On GPUs.
    """
    largest = k.bitcast(_of_threads(k, k.bitcast(k.fabs(value), "i32"), WARP // SPREAD, k.maximum), "f32")
    scale = largest * (1 / 127)
    inverse = k.select(largest > 0.0, 127.0 / largest, 0.0)
    scaled = value * k.shuffle(inverse, inverse, [t for t in range(WARP) for _ in range(SPREAD)])
    rounded = k.rint(scaled)
    _spread_plane(k, format, size, buffer, base, at, rounded, scale)
    if format.planes == 2:
        rest = k.rint((scaled - rounded) * float(FINE))
        _spread_plane(k, format, size, buffer, base + format.plane_bytes(size), at, rest, scale * (1 / FINE))


def _spread_plane(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    rounded: Instruction,
    scale: Instruction,
) -> None:
    """One plane of these blocks: codes, scales, and sums, which all threads of a block or a sum know and store."""
    thread = k.iota("i32", WARP)
    codes = whole(k, rounded)
    k.store(buffer, base + at, k.convert(codes, "i8"))
    number = (thread >> ((WARP // SPREAD).bit_length() - 1)) * 4
    k.scatter(buffer, base + (at // format.block * 4 + format.scales_at(size)), number, scale)
    threads = format.sub // SPREAD
    total = _of_threads(k, codes, threads, lambda a, b: a + b)
    total = scale * k.convert(total, "f32") if format.sums == "f32" else total * format.factor
    number = (thread >> (threads.bit_length() - 1)) * format.sum_bytes
    k.scatter(buffer, base + (at // format.sub * format.sum_bytes + format.sums_at(size)), number, total)


def _of_threads(
    k: KernelBuilder,
    value: Instruction,
    threads: int,
    combine: Callable[[Instruction, Instruction], Instruction],
) -> Instruction:
    """A thread's elements and those of its neighbours, so many threads in all, combined for each of them."""
    found = tree([k.shuffle(value, value, range(e, value.lanes, SPREAD)) for e in range(SPREAD)], combine)
    mask = 1
    while mask < threads:
        found = combine(found, k.shuffle(found, found, [t ^ mask for t in range(WARP)]))
        mask *= 2
    return found


def _largest_sum(k: KernelBuilder, format: ActivationFormat, values: Sequence[Instruction]) -> Instruction:
    """The largest sum of absolute values of `format.sub` neighbours, each added by halves."""
    lanes, sub = values[0].lanes, format.sub
    parts: list[Instruction] = []
    for n in range(len(values) * lanes // sub):
        part = [k.fabs(v) for v in values[n * sub // lanes : max((n + 1) * sub // lanes, n * sub // lanes + 1)]]
        while len(part) > 1:
            half = len(part) // 2
            part = [a + b for a, b in zip(part[:half], part[half:], strict=True)]
        parts.append(_narrowed(k, part[0], n % max(1, lanes // sub), sub))
    if _side_by_side(parts):
        return k.reduce_max(_reduce_each(k, parts))
    return tree([k.reduce_add(part) for part in parts], k.maximum)


def _planes(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    scaled: Sequence[Instruction],
    scale: Instruction,
) -> None:
    """The planes of a block, or of neighbours, of elements that are scaled to codes: the second has what rounding left
    of the first. FLOAT_BIAS and an element is the nearest whole number, which an operation for it takes two slots for.
    """
    moved = [v + float(FLOAT_BIAS) for v in scaled]
    _plane(k, format, size, buffer, base, at, moved, scale)
    if format.planes == 2:
        left = [v - (m - float(FLOAT_BIAS)) for v, m in zip(scaled, moved, strict=True)]
        rest = [v * float(FINE) + float(FLOAT_BIAS) for v in left]
        _plane(k, format, size, buffer, base + format.plane_bytes(size), at, rest, scale * (1 / FINE))


def _plane(
    k: KernelBuilder,
    format: ActivationFormat,
    size: int,
    buffer: Instruction,
    base: Instruction,
    at: Instruction,
    moved: Sequence[Instruction],
    scale: Instruction,
) -> None:
    """One plane of a block, or of neighbours whose scales are the lanes of `scale`: scales, codes, and the sum of every
    `format.sub` codes. `moved`: codes that FLOAT_BIAS was added to."""
    lanes = moved[0].lanes
    k.store(buffer, base + (at // format.block * 4 + format.scales_at(size)), scale)
    codes = [k.bitcast(m, "i32") - FLOAT_BIAS_BITS for m in moved]
    for n, c in enumerate(codes):
        k.store(buffer, base + at + n * lanes, k.convert(c, "i8"))
    each = max(1, format.sub // lanes)
    narrow = max(1, lanes // format.sub)  # sums that a vector holds side by side
    groups = []
    for n in range(len(codes) // each * narrow):
        group = codes[n // narrow * each : (n // narrow + 1) * each]
        groups.append(_narrowed(k, tree(group, _added), n % narrow, format.sub))
    together = _side_by_side(groups)
    of_block = len(groups) // scale.lanes  # sums
    for n, total in enumerate([_reduce_each(k, groups)] if together else [k.reduce_add(g) for g in groups]):
        slot = base + (at // format.sub + n) * format.sum_bytes + format.sums_at(size)
        if format.sums == "i16":
            k.store(buffer, slot, k.convert(total, "i16"))
        elif format.sums == "f32":
            if together:
                factor = (
                    k.splat(scale, total.lanes)
                    if scale.lanes == 1
                    else k.shuffle(scale, scale, [i // of_block for i in range(total.lanes)])
                )
            else:
                factor = scale if scale.lanes == 1 else k.extract(scale, n // of_block)
            k.store(buffer, slot, factor * k.convert(total, "f32"))
        else:
            total = total * format.factor
            k.store(buffer, slot, total + FLOAT_BIAS_BITS if format.biased else total)


def _added(a: Instruction, b: Instruction) -> Instruction:
    return a + b


def _side_by_side(vectors: Sequence[Instruction]) -> bool:
    """Whether sums of vectors are made together: a power of two of them, no more than their lanes, on a CPU."""
    count, lanes = len(vectors), vectors[0].lanes
    return 1 < count <= lanes <= MOST_LANES and count & (count - 1) == 0


def _reduce_each(
    k: KernelBuilder,
    vectors: Sequence[Instruction],
    combine: Callable[[Instruction, Instruction], Instruction] = _added,
) -> Instruction:
    """A vector of the sums of each vector's lanes, added by halves as `reduce_add` does, in a quarter of its steps:
    two vectors become one of both their half sums until one is left. Or of what else they are combined by.
    """
    left, lanes = list(vectors), vectors[0].lanes
    run = lanes  # lanes of one sum's parts, which lie side by side
    while run > 1:
        run //= 2
        low = [n for n in range(lanes * (2 if len(left) > 1 else 1)) if n % (2 * run) < run]
        pairs = zip(left[::2], left[1::2], strict=True) if len(left) > 1 else ((left[0], left[0]),)
        left = [combine(k.shuffle(a, b, low), k.shuffle(a, b, [n + run for n in low])) for a, b in pairs]
        lanes = len(low)
    return left[0]


def _narrowed(k: KernelBuilder, codes: Instruction, n: int, sub: int) -> Instruction:
    """Only the n-th `sub` lanes of a vector; all of one that is not wider."""
    if codes.lanes <= sub:
        return codes
    lane = k.iota("i32", codes.lanes)
    return k.select((lane >= n * sub) & (lane < (n + 1) * sub), codes, k.zeros(codes.elem, codes.lanes))


def tree(parts: Sequence[Instruction], combine: Callable[[Instruction, Instruction], Instruction]) -> Instruction:
    """Neighbours combined, and their results, until one is left."""
    left = list(parts)
    while len(left) > 1:
        left = [combine(*left[i : i + 2]) if i + 1 < len(left) else left[i] for i in range(0, len(left), 2)]
    return left[0]
