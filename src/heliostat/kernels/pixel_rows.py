"""Schedule of `pixel_rows` on GPUs, for images of few channels in two bytes: a thread reads its pixel of every channel,
and writes the pixel's 16 bytes at once."""

from __future__ import annotations

from ..ir.graph import Node
from ..ir.types import bf16, f16
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from .group import Accept, Group, Refuse
from .tensor_linear import zipped

ROOTS = ("pixel_rows",)
CHANNELS = 8  # of a row: 16 bytes


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `fits` takes, by itself."""
    reason = fits(group.root, target)
    if reason is None and len(group.nodes) != 1:
        reason = "images as rows stand by themselves"
    return Accept() if reason is None else Refuse(reason)


def fits(root: Node, target: Target) -> str | None:
    """Why images become rows in another way; None for rows of 8 channels of bf16 or f16 on a GPU."""
    if root.op.name != "pixel_rows":
        return f"root is {root.op.name}, no images as rows"
    x, channels = root.inputs[0].type, root.attrs["channels"]
    if not target.gpu or x.element not in (bf16, f16) or x.layout is not None or channels != CHANNELS:
        return f"{target.name} has no kernel for {x} as rows of {channels}"
    return None


def build(group: Group, target: Target, name: str) -> Kernel:
    """x: (N, C, H, W), out: (N * H * W, 8). Reads and writes every element once."""
    k = KernelBuilder(name, target.capability)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    count, channels, height, width = (int(d) for d in group.root.inputs[0].type.shape)  # type: ignore[arg-type]
    pixels = height * width
    parts = -(-pixels // WARP)
    nothing = k.zeros("i16", WARP)
    for item in k.parallel(k.const(count * parts, "i64")):
        image, first = item // parts, item % parts * WARP
        mask = wide = None
        if pixels % WARP:
            left = k.convert(k.minimum(k.const(pixels, "i64") - first, WARP), "i32")
            mask = k.iota("i32", WARP) < k.splat(left, WARP)
            wide = k.iota("i32", CHANNELS * WARP) < k.splat(left * CHANNELS, CHANNELS * WARP)

        starts = [((image * channels + c) * pixels + first) * 2 for c in range(channels)]
        held = [k.load(source, start, "i16", WARP, mask) for start in starts]
        held += [nothing] * (CHANNELS - channels)
        while len(held) > 1:  # neighbours of a thread: 1, 2, 4 and 8
            run = CHANNELS // len(held)
            held = [zipped(k, held[n], held[n + 1], run) for n in range(0, len(held), 2)]
        k.store(out, (image * pixels + first) * (2 * CHANNELS), held[0], wide)
    return k.finish()
