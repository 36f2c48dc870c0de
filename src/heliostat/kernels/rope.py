"""Schedule of `rope`: pairs of elements rotated by their position's angle, into a tensor or straight into a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Node
from ..ir.types import DType, f32
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel, Operand
from ..kernel.warp import WARP
from ..targets.target import Target
from .cache import CacheRows, CacheRuns, CacheWriter, Sequences, cache_refusal, table_of, vector_length
from .cache_layout import KeyPanels
from .group import Accept, Dims, Group, Refuse, TensorOperand

ROOTS = ("rope",)

Put = Callable[[Instruction, Instruction, Operand, Instruction], None]


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "rope":
        return Refuse(f"root is {group.root.op.name}, not rope")
    x, cos, _ = group.root.inputs
    if not isinstance(x.type.element, DType) or not all(
        isinstance(d, int) for d in (*x.type.shape[1:], cos.type.shape[1])
    ):
        return Refuse("heads of unknown number or size")
    if len(group.nodes) == 1:
        return Accept()
    second = group.nodes[1]
    if len(group.nodes) > 2 or second.op.name != "cache_update" or second.inputs[1] is not group.root.results[0]:
        return Refuse("only the update of a cache is fused into rope")
    if any(v is group.root.results[0] for v in group.outputs):
        return Refuse("the rotated rows are needed elsewhere too")
    reason = cache_refusal(second.inputs[0].type)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (N, H, D), cos and sin: (N, R / 2) f32, out: (N, H, D) or a cache (H, C, D). 6 operations a pair."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    x, cos, sin = (TensorOperand(k, dims, buffers[v], v.type) for v in group.root.inputs)
    put: Put
    if len(group.nodes) == 2:
        cache, _, start = group.nodes[1].inputs[:3]
        where = Sequences(k, dims, buffers[start], start.type, group.root.inputs[0].type.shape[0])
        each = int(x.type.shape[1])  # type: ignore[arg-type]
        places = CacheRows(k, dims, cache.type, start.type, table_of(group.nodes[1]), buffers)
        writer = CacheWriter(k, out, cache.type, places)

        def put(n: Instruction, h: Instruction, at: Operand, value: Instruction) -> None:
            position, place = where.place(n, h, each)
            writer.store(position, place, at, value)
    else:
        result = TensorOperand(k, dims, out, group.outputs[0].type)

        def put(n: Instruction, h: Instruction, at: Operand, value: Instruction) -> None:
            result.store([n, h, at], value)

    def one(n: Instruction, h: Instruction) -> None:
        rotate_head(k, target, group.root, x, (cos, sin), (n, h), put)

    if len(group.nodes) == 2 and _in_runs(group, target):
        assert where.first is not None
        new = buffers[group.root.inputs[0]], x.type
        runs = CacheRuns(k, out, cache.type, places, new, dims(x.type.shape[0]), where.first)
        angles = [buffers[v] for v in group.root.inputs[1:]]
        half, interleaved = int(cos.type.shape[1]), bool(group.root.attrs["interleaved"])  # type: ignore[arg-type]
        runs.write(lambda token, head: _rotate_run(runs, angles, half, interleaved, token, head), one)
        return k.finish()
    heads = int(x.type.shape[1])  # type: ignore[arg-type]
    for item in k.parallel(dims(x.type.shape[0]) * heads):
        one(item // heads, item % heads)
    return k.finish()


def _in_runs(group: Group, target: Target) -> bool:
    """Whether rotated keys go to their cache in runs, which a thread has whole, with what they are rotated with."""
    x, cos, sin = group.root.inputs
    cache, _, start = group.nodes[1].inputs[:3]
    if CacheRuns.refusal(target, cache.type, x.type, start.type) is not None:
        return False
    whole = WARP // 2 if group.root.attrs["interleaved"] else WARP
    angles = all(v.type.element is f32 and v.type.shape == (x.type.shape[0], cos.type.shape[1]) for v in (cos, sin))
    return isinstance(cache.type.layout, KeyPanels) and angles and int(cos.type.shape[1]) % whole == 0  # type: ignore[arg-type]


def _rotate_run(
    runs: CacheRuns,
    angles: Sequence[Instruction],
    half: int,
    interleaved: bool,
    token: Instruction,
    head: Instruction,
) -> None:
    """What `_rotate` does, for a run of keys: eight elements of each in a thread."""
    k = runs.k

    def turns(at: int, part: int) -> list[Instruction]:
        """Four angles for each thread, from one on, `part` apart for the next thread of a key."""
        lanes = runs.key * (half * 4) + runs.part * (part * 4)
        return [k.gather(v, (token * half + at) * 4, lanes, "f32", 4) for v in angles]

    def split(v: Instruction) -> list[Instruction]:
        return [k.shuffle(v, v, range(n, v.lanes, 2)) for n in (0, 1)]

    kind = runs.type.dtype.name
    for place in runs.rows.for_writing(head, runs.first + token):
        words: dict[int, list[Instruction]] = {}
        for d in range(0, half, WARP // 2) if interleaved else ():
            c, s = turns(d, 4)
            words[2 * d] = []
            for n, v in enumerate(runs.elements(token, head, 2 * d)):
                a, b = split(v)
                mine = [4 * t + 2 * n + e for t in range(WARP) for e in range(2)]
                cn, sn = k.shuffle(c, c, mine), k.shuffle(s, s, mine)
                words[2 * d].append(k.pack_pair(a * cn - b * sn, b * cn + a * sn, kind))
        for d in () if interleaved else range(0, half, WARP):
            firsts, seconds = runs.elements(token, head, d), runs.elements(token, head, d + half)
            both = [turns(d + n, 8) for n in (0, 4)]
            words[d] = [runs.words(a * c - b * s) for a, b, (c, s) in zip(firsts, seconds, both, strict=True)]
            words[d + half] = [runs.words(b * c + a * s) for a, b, (c, s) in zip(firsts, seconds, both, strict=True)]
        for d in range(2 * half, runs.size, WARP):
            words[d] = [runs.words(v) for v in runs.elements(token, head, d)]
        runs.store_keys(place, words)


def rotate_head(
    k: KernelBuilder,
    target: Target,
    node: Node,
    x: TensorOperand,
    angles: Sequence[TensorOperand],
    where: tuple[Instruction, Instruction],
    put: Put,
) -> None:
    """One head of one row: `where` (n, h). Elements that are not rotated are put as they are."""
    (cos, sin), (n, h) = angles, where
    size, half = int(x.type.shape[2]), int(cos.type.shape[1])  # type: ignore[arg-type]
    _rotate(k, target, x, cos, sin, n, h, half, bool(node.attrs["interleaved"]), put)
    if size > 2 * half:
        lanes = vector_length(size - 2 * half, target)
        for d in k.loop(2 * half, size, lanes):
            put(n, h, d, x.load([n, h, d], lanes))


def _rotate(
    k: KernelBuilder,
    target: Target,
    x: TensorOperand,
    cos: TensorOperand,
    sin: TensorOperand,
    n: Instruction,
    h: Instruction,
    half: int,
    interleaved: bool,
    put: Put,
) -> None:
    lanes = vector_length(half, target)
    for i in k.loop(0, half, lanes):
        c, s = cos.load([n, i], lanes), sin.load([n, i], lanes)
        if interleaved:
            both = x.load([n, h, i * 2], 2 * lanes)
            a = k.shuffle(both, both, range(0, 2 * lanes, 2)) if lanes > 1 else k.extract(both, 0)
            b = k.shuffle(both, both, range(1, 2 * lanes, 2)) if lanes > 1 else k.extract(both, 1)
        else:
            a, b = x.load([n, h, i], lanes), x.load([n, h, i + half], lanes)
        first, second = a * c - b * s, b * c + a * s
        if interleaved and lanes > 1:
            woven = [j // 2 + (lanes if j % 2 else 0) for j in range(2 * lanes)]
            put(n, h, i * 2, k.shuffle(first, second, woven))
        elif interleaved:
            put(n, h, i * 2, first)
            put(n, h, i * 2 + 1, second)
        else:
            put(n, h, i, first)
            put(n, h, i + half, second)
