"""Schedule of `pixel_sums` on GPUs: sums over the rows of matrices, and the elementwise nodes that make these.

Teams of warps share the rows of a part; threads hold neighbouring columns. What has one value for a column, a mean say,
is read once. Everything else is read once and nothing is written but the sums.
"""

from __future__ import annotations

from ..ir.graph import Value
from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .elementwise import PointEvaluator
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem

ROOTS = ("pixel_sums",)
TEAM = 8  # warps that share a part
MOST_RUN = 8  # columns of a thread
AT_ONCE = 4  # rows that a warp asks for before it adds the first
MOST_READ = 6  # matrices


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """`pixel_sums` of known sizes, and elementwise nodes before it whose operands have its matrices' shape or are one
    value for a column."""
    root = group.root
    if root.op.name != "pixel_sums" or not target.gpu:
        return Refuse("root is no sum over pixels, or the target no GPU")
    if group.outputs != root.results or group.nodes[-1] is not root:
        return Refuse("something but the sums is wanted of the kernel")
    shape = root.inputs[0].type.shape
    for v in group.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse("operands must be plain and row-major")
        if v.type.shape != shape and not _of_columns(v):
            return Refuse(f"{v.type} is no value for each column of {shape}")
    for node in group.nodes[:-1]:
        broadcast = node.op.name == "broadcast_to" and _of_columns(node.inputs[0])
        if not (getattr(node.op, "elementwise", False) or broadcast):
            return Refuse(f"{node.op.name} is not elementwise")
    if sum(v.type.shape == shape for v in group.inputs) > MOST_READ:
        return Refuse("too many matrices at once")
    return Accept()


def _of_columns(v: Value) -> bool:
    """Whether a value is the same for all rows of a matrix."""
    return all(d == 1 for d in v.type.shape[:-1])


def build(group: Group, target: Target, name: str) -> Kernel:
    """Operands: (P, C), or (C,); out: (matrices, parts, C). Reads each operand once for each row."""
    k = KernelBuilder(name, target.capability)
    root = group.root
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, ())
    operands = {v: TensorOperand(k, dims, b, v.type) for v, b in buffers.items()}
    result = TensorOperand(k, dims, out, root.results[0].type)
    pixels, columns = (int(d) for d in root.inputs[0].type.shape)  # type: ignore[arg-type]
    parts, many = root.attrs["parts"], len(root.inputs)
    elem = compute_elem(root.results[0].type.dtype)
    rows = pixels // parts
    lanes = WARP * _run(group, columns)
    wide, even = -(-columns // lanes), columns % lanes == 0
    nbytes = lanes * ELEMENT_BYTES[elem]
    meeting = k.alloc(TEAM * many * nbytes)
    evaluate = PointEvaluator(k, dims, operands)

    def add(
        numbers: list[Instruction],
        column: Instruction,
        mask: Instruction | None,
        known: dict[Value, Instruction],
        totals: list[Variable],
    ) -> None:
        """Rows of some numbers, all of which are read before one is added."""
        found = [evaluate.all_at(root.inputs, [n, column], lanes, mask, known) for n in numbers]
        for m, total in enumerate(totals):
            value = total.get()
            for each in found:
                value = value + k.splat(k.convert(each[m], elem), lanes)
            total.set(value)

    for item in k.parallel(k.const(parts * wide, "i64")):
        column, first = item % wide * lanes, item // wide * rows
        mask = None
        if not even:
            left = k.convert(k.minimum(k.const(columns, "i64") - column, lanes), "i32")
            mask = k.iota("i32", lanes) < k.splat(left, lanes)
        for member in k.team(TEAM):
            known = {
                v: operands[v].load([k.const(0, "i64"), column], lanes, mask) for v in group.inputs if _of_columns(v)
            }
            totals = [k.var(k.zeros(elem, lanes)) for _ in root.inputs]

            step = TEAM * AT_ONCE
            whole = rows // step * step
            for row in k.loop(member, whole, step):
                add([first + row + n * TEAM for n in range(AT_ONCE)], column, mask, known, totals)
            for row in k.loop(member + whole, rows, TEAM):
                add([first + row], column, mask, known, totals)
            k.barrier()  # what a part before left there has been read
            for m, total in enumerate(totals):
                k.store(meeting, (member * many + m) * nbytes, total.get())
            k.barrier()
            for m in range(many):
                for _ in k.when(k.binary("eq", member, m % TEAM)):
                    value = k.load(meeting, m * nbytes, elem, lanes)
                    for n in range(1, TEAM):
                        value = value + k.load(meeting, (n * many + m) * nbytes, elem, lanes)
                    result.store([k.const(m, "i64"), item // wide, column], value, mask)
    return k.finish()


def _run(group: Group, columns: int) -> int:
    """Columns of a thread: 16 bytes of the widest operand, no more than there are."""
    shape = group.root.inputs[0].type.shape
    widest = max((v.type.dtype.nbytes for v in group.inputs if v.type.shape == shape), default=4)
    run = min(MOST_RUN, MOST_ALIGNED // widest)
    while run > 1 and (columns % (WARP * run) or columns < WARP * run):
        run //= 2
    return run
