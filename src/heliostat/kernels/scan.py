"""Schedule of `scan`: one row is one worker's, element after element."""

from __future__ import annotations

import math

from ..ir.types import DType, numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .elementwise import wrapped
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem
from .math import Math

ROOTS = ("scan",)


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "scan" or len(group.nodes) != 1:
        return Refuse("not a scan by itself")
    x = group.root.inputs[0].type
    if not isinstance(x.element, DType) or x.layout is not None:
        return Refuse("operands must be plain and row-major")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Reads x once and writes the result once; rows in parallel."""
    k = KernelBuilder(name)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    node = group.root
    type, made = node.inputs[0].type, node.results[0].type
    shape = (numel(type.shape[:-1]), type.shape[-1])
    x = TensorOperand(k, dims, source, type.with_shape(shape))
    y = TensorOperand(k, dims, out, made.with_shape(shape))
    elem = compute_elem(made.dtype)
    elem = "i32" if elem == "i1" else elem
    columns = dims(shape[1])
    math_ = Math(k)
    kind = node.attrs["kind"]

    def combine(a: Instruction, b: Instruction) -> Instruction:
        if kind in ("sum", "prod"):
            return a + b if kind == "sum" else a * b
        return math_.maximum(a, b) if kind == "max" else math_.minimum(a, b)

    start: float = {"sum": 0, "prod": 1, "max": -math.inf, "min": math.inf}[kind]
    if elem in ("i32", "i64") and kind in ("max", "min"):
        half = 1 << int(elem[1:]) - 1
        start = -half if kind == "max" else half - 1
    for row in k.parallel(dims(shape[0])):
        total = k.var(k.const(start, elem))
        for i in k.loop(columns):
            c = columns - 1 - i if node.attrs["reverse"] else i
            value = x.load([row, c])
            value = k.convert(value, elem, signed=value.elem != "i1")
            total.set(combine(total.get(), value))
            y.store([row, c], wrapped(k, total.get(), made.dtype))
    return k.finish()
