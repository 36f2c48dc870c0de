"""Schedule of `dequantize` of a cache of blocks into the layout that attention of many tokens reads, on a GPU: a warp
makes eight neighbouring positions of a head floats, a thread an element of each.
"""

from __future__ import annotations

from ..ir.types import DType, TensorType, bf16, f16, i32
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Kernel
from ..kernel.warp import WARP
from ..quant.format import BlockFormat
from ..targets.target import Target
from . import dequantize
from .block_attention import run_refusal, vectors_of
from .cache import RUN, CacheRows, CacheWriter, row_nbytes, value_runs
from .cache_layout import KeyPanels, ValuePanels
from .dequantize import BlockReader
from .group import Accept, Dims, Group, Refuse

ROOTS = ("dequantize",)
START = TensorType(i32, ())


def refusal(cache: TensorType, target: Target) -> str | None:
    """Why a cache of blocks is not made floats in panels; None where it is."""
    if target.capability < 80:
        return f"{target.name} has no tensor cores that read panels of halves"
    if not isinstance(cache.element, BlockFormat) or cache.layout is not None or cache.rank != 3 or not cache.static:
        return f"{cache} is no cache of blocks of known size"
    if int(cache.shape[1]) % (2 * WARP) or int(cache.shape[2]) % WARP:  # type: ignore[arg-type]
        return f"{cache} is no whole panels"
    return dequantize.refusal(cache.element) or run_refusal(cache.element, target.lanes)


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "dequantize":
        return Refuse(f"root is {group.root.op.name}, not dequantize")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into dequantize")
    result = group.outputs[0].type
    layout = result.layout
    if not isinstance(layout, (KeyPanels, ValuePanels)) or layout.run != RUN or result.element not in (f16, bf16):
        return Refuse(f"results are {result}, not halves in panels")
    if isinstance(layout, KeyPanels) and layout.keys != WARP:
        return Refuse(f"panels of {layout.keys} keys")
    reason = refusal(group.root.inputs[0].type, target)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (H, C, D) blocks, out: the same in f16 or bf16. Reads x once, writes 2 bytes an element; keys in pieces of 2
    bytes, values of 16.
    """
    k = KernelBuilder(name)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    Dims(k, group.symbols)
    cache, result = group.root.inputs[0].type, group.outputs[0].type
    format = cache.element
    assert isinstance(format, BlockFormat)
    assert isinstance(result.element, DType)
    heads, capacity, size = (int(d) for d in cache.shape)  # type: ignore[arg-type]
    reader, nbytes = BlockReader(k, format, source), row_nbytes(cache)
    writer = CacheWriter(k, out, result, CacheRows(k, Dims(k, ()), result, START, None, {}))
    for item in k.parallel(heads * capacity // RUN):
        for b in k.loop(size // format.block):
            first = item * (RUN * nbytes) + b * format.nbytes
            rows = [vectors_of(reader, WARP, first + n * nbytes) for n in range(RUN)]
            for v in range(format.block // WARP):
                at = b * format.block + v * WARP
                if isinstance(result.layout, ValuePanels):
                    runs = value_runs(k, [row[v] for row in rows], result.element.name)
                    k.store(out, (item * (RUN * size) + at * RUN) * result.element.nbytes, runs)
                    continue
                for n, row in enumerate(rows):
                    head, position = item // (capacity // RUN), item % (capacity // RUN) * RUN + n
                    writer.store(position, head, at, row[v])
    return k.finish()
