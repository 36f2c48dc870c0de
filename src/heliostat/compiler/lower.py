"""Passes on graphs before fusion: canonical products, layouts and activations for weights, decomposition of
composites.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..ir.graph import PARAMETER, Graph, Node, Value, parameter
from ..ir.rewrite import rewrite, share_equal
from ..ir.types import DType, TensorType, bf16, f16, f32, numel, upper_bound
from ..kernel.library import LibraryProduct
from ..kernels import (
    convolution_weights,
    dequantize_cache,
    dot,
    expanded,
    few_linear,
    row_attention,
    row_attention_gradient,
    tensor_linear,
    warpgroup_attention,
    warpgroup_linear,
    window_maximum,
)
from ..kernels.cache_layout import KeyPanels, ValuePanels
from ..kernels.group import ALIASES, Accept, Group
from ..kernels.matmul_tiles import KINDS, fits, kind_of
from ..ops import (
    REGISTRY,
    abs,
    cast,
    dequantize,
    lt,
    maximum,
    minimum,
    mul,
    quantize,
    repack,
    reshape,
    transpose,
    where,
)
from ..quant.format import BlockFormat
from ..quant.panel import Panel, refusal
from ..targets.target import Target

RUN_BYTES = 16  # that a thread of a GPU loads at once
MOVED_AGAIN = 4  # an element of a product that is transposed behind it costs as much as packing so many
MANY_ROWS, MANY_ROWS_APART, APART = 512, 2048, 1024  # measured; f32 elements in 4 KiB
MOST_F16 = 65504.0  # the largest finite number of f16
PRECISION_BUDGET = 0.04  # measured: enough to come closer to exact arithmetic than one plane everywhere can


# Composites that a schedule may take whole
_CLAIMS = {
    "conv2d_weight_gradient": convolution_weights,
    "dot_product_attention": row_attention,
    "dot_product_attention_gradient": row_attention_gradient,
    "max_pool2d": window_maximum,
    "max_pool2d_gradient": window_maximum,
}


def share(graph: Graph) -> Graph:
    """Equal subexpressions become one."""
    return share_equal(graph)


def canonicalize(graph: Graph) -> Graph:
    """x @ transpose(w) of a matrix w becomes linear(x, w); products of vectors become products of matrices; transposes
    are put together and moved into products."""

    users: dict[int, int] = {}
    for value in (*(v for node in graph.nodes() for v in node.inputs), *graph.results()):
        users[id(value)] = users.get(id(value), 0) + 1

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name == "transpose":
            return _turned(node, inputs[0], users[id(node.inputs[0])] == 1)
        if node.op.name != "matmul" or node.attrs["transpose_a"]:
            return None
        a, b = inputs
        source = b.node
        if b.type.rank == 2 and source.op.name == "transpose" and source.attrs["axes"] == (1, 0):
            return (REGISTRY["linear"].build(a, source.inputs[0]),)
        if a.type.rank == 1 or b.type.rank == 1:
            wide_a = a if a.type.rank > 1 else reshape(a, (1, *a.type.shape))
            wide_b = b if b.type.rank > 1 else reshape(b, (*b.type.shape, 1))
            y = REGISTRY["matmul"].build(wide_a, wide_b)
            return (reshape(y, node.results[0].type.shape),)
        return None

    return rewrite(graph, replace)


def _turned(node: Node, x: Value, alone: bool) -> Sequence[Value] | None:
    """transpose(transpose(x)) is x or one transpose; that of a product which nobody else reads is the product of the
    transposed operands the other way round, where one of them is transposed already: gradients of weights are that."""
    axes, inner = node.attrs["axes"], x.node
    if inner.op.name == "transpose":
        axes = tuple(inner.attrs["axes"][i] for i in axes)
        source = inner.inputs[0]
        return (source if axes == tuple(range(len(axes))) else transpose(source, axes),)
    if not alone or axes != (1, 0) or inner.op.name != "matmul" or any(v.type.rank != 2 for v in inner.inputs):
        return None
    a, b = inner.inputs
    if a.node.op.name != "transpose":
        return None
    left = b.node.inputs[0] if b.node.op.name == "transpose" else transpose(b, (1, 0))
    return (REGISTRY["matmul"].build(left, a.node.inputs[0]),)


def operands_of_products(graph: Graph, target: Target, alone: bool = False) -> Graph:
    """transpose(a) @ b reads a as it lies. A matrix on the right of several products, or of one with many rows unless
    `alone`, becomes the transpose of a weight, which is packed once for all of them."""
    right = Counter(id(n.inputs[1]) for n in graph.nodes() if n.op.name == "matmul")

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "matmul" or node.attrs["transpose_a"]:
            return None
        a, b = inputs
        worth = (right[id(node.inputs[1])] > 1 and not _takes_rows(node, target)) or (
            not target.gpu and not alone and _has_many_rows(node.inputs[0])
        )
        if worth and b.type.rank == 2 and b.type.static and _is_packable(a.type, b.type):
            return (REGISTRY["linear"].build(a, transpose(b)),)
        if a.node.op.name == "transpose" and b.type.rank > 1:
            axes, (source,) = a.node.attrs["axes"], a.node.inputs
            if axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2):
                return (REGISTRY["matmul"].build(source, b, transpose_a=True),)
        return None

    return rewrite(graph, replace)


def _takes_rows(node: Node, target: Target) -> bool:
    """Whether a product's operands are best read as they lie: by tensor cores that serve one warp, for tf32, and by
    tiles of f32, which take no other."""
    if target.capability < 80 or node.op.name not in ("matmul", "linear"):
        return False
    kind = kind_of(node)
    if kind == "f32":
        return fits(node, target, KINDS) is None
    return kind == "tf32" or (target.capability != 90 and kind is not None)


def _has_many_rows(a: Value) -> bool:
    """Whether packing a matrix once costs less than a large product's own copies, which take f32 rows of `a` too. Rows
    that lie 4 KiB apart fall on the same lines of the cache."""
    if a.node.op.name == "transpose" or not a.type.static or a.type.element is not f32 or a.type.rank < 2:
        return False
    rows = upper_bound(numel(a.type.shape[:-1]))
    return rows >= (MANY_ROWS_APART if upper_bound(a.type.shape[-1]) % APART == 0 else MANY_ROWS)


def _is_packable(x: TensorType, w: TensorType) -> bool:
    """Whether products of x with w may read panels of w."""
    floats = {x.dtype.name, w.dtype.name} <= {"f32", "f16", "bf16"}
    return floats and w.layout is None and isinstance(x.shape[-1], int)


def assign_layouts(
    graph: Graph,
    target: Target,
    activations: str = "int8",
    library: Callable[[Graph], Mapping[int, LibraryProduct]] = lambda graph: {},
) -> Graph:
    """Weights of products go into panels, int8 activations where the format allows, key caches into key panels.

    `library`: the products of a graph that a tuner gave to a library, which reads rows as they lie.
    `activations`: "int8" quantizes the inputs of quantized products, "float" dequantizes weights in registers. A
    product
    of one row waits for memory, so there int8 takes two planes, which are as good as exact and cost no time. So do the
    smallest products of a graph, as long as that adds no more than PRECISION_BUDGET to all multiplications.
    """
    lanes = target.lanes
    packed: dict[int, Value] = {}
    given = library(graph)
    fixed = _fixed(graph)
    as_rows = {  # which our kernels read too
        id(n)
        for n in graph.nodes()
        if (id(n) in given or (_takes_rows(n, target) and not fixed[id(n.inputs[1].node)]))
        and fits(n, target, KINDS) is None
    }
    linear_weights = {id(n.inputs[1]) for n in graph.nodes() if n.op.name == "linear" and id(n) not in as_rows}
    precise = _small_products(graph)
    turned = set() if target.gpu else _turned_products(graph, lanes)
    key_caches = {id(_state(n.inputs[1])) for n in graph.nodes() if n.op.name == "attention"}
    value_caches = {id(_state(n.inputs[2])) for n in graph.nodes() if n.op.name == "attention"}

    def pack(old: Value, w: Value) -> Value:
        if w.type.layout is not None:
            return w
        element = w.type.element
        assert isinstance(element, (BlockFormat, DType))
        if not w.type.static or refusal(element, lanes) is not None:
            return w
        if id(w) not in packed:
            run = RUN_BYTES // element.nbytes if target.gpu and isinstance(element, DType) else 1
            whole = isinstance(w.type.shape[1], int) and w.type.shape[1] % max(8, run) == 0
            packed[id(w)] = repack(w, Panel(lanes, run if whole else 1))
            packed[id(w)].name = w.name and f"{w.name}.panels"
        return packed[id(w)]

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is PARAMETER and id(node.results[0]) in key_caches:
            type = node.results[0].type
            if _fits_key_panels(type, lanes):
                kept = TensorType(type.element, type.shape, KeyPanels(lanes, _cache_run(type, target)))
                return (parameter(node.attrs["name"], kept, node.attrs["kind"]),)
        if node.op is PARAMETER and id(node.results[0]) in value_caches:
            type = node.results[0].type
            if _fits_key_panels(type, lanes) and (run := _cache_run(type, target)) > 1:
                kept = TensorType(type.element, type.shape, ValuePanels(run))
                return (parameter(node.attrs["name"], kept, node.attrs["kind"]),)
        if node.op.name == "cast" and (source := _narrow(inputs[0])) is not inputs[0]:
            return (cast(source, node.attrs["dtype"]),)
        if node.op.name == "attention":
            if _over_blocks(node, target):
                q, keys, values, start = inputs
                floats = REGISTRY["dequantize"]
                keys = floats.build(keys, dtype=f16, layout=KeyPanels(lanes, RUN_BYTES // f16.nbytes))
                values = floats.build(values, dtype=f16, layout=ValuePanels(RUN_BYTES // f16.nbytes))
                inputs = (q, keys, values, start)
            rounded = _rounded_queries(node, inputs, target)
            return (REGISTRY["attention"].build(*inputs, **node.attrs) if rounded is None else rounded,)
        if node.op.name == "embedding" and id(node.inputs[0]) in linear_weights:
            return (REGISTRY["embedding"].build(pack(node.inputs[0], inputs[0]), inputs[1]),)
        if node.op.name == "linear":
            if id(node) in as_rows:
                return None
            x, w = inputs
            element = w.type.element
            if isinstance(element, BlockFormat):
                if refusal(element, lanes) is not None:
                    return (REGISTRY["linear"].build(_floats(x), repack(dequantize(w), Panel(lanes))),)
                if activations == "int8" and _many(x.type, target, element):
                    # codes or values in bf16 on tensor cores, which is closer to exact than int8 activations
                    return (REGISTRY["linear"].build(_halves(x), pack(node.inputs[1], w), dtype=f32),)
                # int8 codes stand for f32 values; a result of another dtype is rounded to it afterwards
                if activations == "int8" and dot.refusal(element) is None:
                    rows = upper_bound(numel(x.type.shape[:-1]))
                    planes = 2 if id(node) in precise else 1
                    x = quantize(_floats(x), expanded.partner(element, planes, target, rows))
                y = REGISTRY["linear"].build(x, pack(node.inputs[1], w))
                return (cast(y, node.results[0].type.dtype),)
            if element is bf16 and _pairs(x.type, target, activations):
                # half of the multiplications: the machine adds products of bf16 pairs
                return (REGISTRY["linear"].build(_halves(x), pack(node.inputs[1], w), dtype=f32),)
            if element is f16 and _narrows(x.type, target, activations):
                return (REGISTRY["linear"].build(_saturated(x), pack(node.inputs[1], w), dtype=f32),)
            if w.type.static and _is_packable(x.type, w.type):
                if id(node) in turned:
                    y = transpose(REGISTRY["linear"].build(w, pack(node.inputs[0], x)))
                    return (cast(y, node.results[0].type.dtype),)
                y = REGISTRY["linear"].build(x, pack(node.inputs[1], w))
                return (cast(y, node.results[0].type.dtype),)
            wide = x if x.type.rank > 1 else reshape(x, (1, *x.type.shape))
            y = REGISTRY["matmul"].build(wide, transpose(w))
            return (reshape(y, node.results[0].type.shape),)
        return None

    return rewrite(graph, replace)


def _turned_products(graph: Graph, lanes: int) -> set[int]:
    """Products (by node id) of weights that change from run to run, of which packing fewer rows of x instead is less
    work than packing the weight, also with the result to be transposed."""
    fixed = _fixed(graph)
    uses = Counter(id(v) for n in graph.nodes() for v in n.inputs if n.op.name in ("linear", "embedding"))
    chosen = set()
    for node in graph.nodes():
        if node.op.name != "linear" or fixed[id(node.inputs[1].node)]:
            continue
        x, w = (v.type for v in node.inputs)
        if x.rank != 2 or not (x.static and w.static) or {x.element, w.element} != {f32} or w.layout is not None:
            continue
        rows, outputs, depth = (upper_bound(d) for d in (x.shape[0], *w.shape))
        once = uses[id(node.inputs[1])] == uses[id(node.inputs[0])] == 1
        if once and rows % lanes == 0 and rows * (depth + MOVED_AGAIN * outputs) < outputs * depth:
            chosen.add(id(node))
    return chosen


def _many(x: TensorType, target: Target, element: BlockFormat) -> bool:
    """Whether products of x with weights of a format are for tensor cores that take bf16."""
    rows = upper_bound(numel(x.shape[:-1]))
    if not target.gpu or x.element is not f32 or rows < few_linear.LEAST_ROWS:
        return False
    if rows <= few_linear.MOST_ROWS and few_linear.refusal(element, x.shape[-1], target) is None:
        return True
    return warpgroup_linear.refusal(bf16, element, x.shape[-1], target) is None


def _pairs(x: TensorType, target: Target, activations: str) -> bool:
    """Whether products of x with bf16 weights round x to bf16 as well, as is usual for such models."""
    even = isinstance(x.shape[-1], int) and x.shape[-1] % 2 == 0
    fitting = even and x.element is f32 and numel(x.shape[:-1]) != 1
    many = upper_bound(numel(x.shape[:-1])) >= tensor_linear.TILE
    few = target.capability >= 80 and even and x.shape[-1] % few_linear.DEPTH == 0
    fast = "avx512bf16" in target.features or (target.gpu and (many or few))
    return fitting and activations == "int8" and fast


def _narrows(x: TensorType, target: Target, activations: str) -> bool:
    """Whether products of x with f16 weights round x to f16 as well: those of many rows, on tensor cores."""
    whole = isinstance(x.shape[-1], int) and x.shape[-1] % (2 * tensor_linear.TILE) == 0
    many = upper_bound(numel(x.shape[:-1])) >= tensor_linear.TILE
    return activations == "int8" and target.capability >= 80 and x.element is f32 and whole and many


def _rounded_queries(node: Node, inputs: Sequence[Value], target: Target) -> Value | None:
    """Attention whose queries the product that makes them rotates, scales and rounds, as attention would where it reads
    them; None where no schedules take that."""
    q, keys = inputs[:2]
    made = _made_by_product(q.node.inputs[0]) if q.node.op.name == "rope" else None
    many = target.gpu and upper_bound(q.type.shape[0]) > few_linear.MOST_ROWS
    if made is None or not many or q.type.element is not f32 or keys.type.element not in (f16, bf16):
        return None
    scaled = mul(q, float(node.attrs["scale"]) * math.log2(math.e))  # for powers of two
    halves = cast(scaled, keys.type.element)
    y = REGISTRY["attention"].build(halves, *inputs[1:], **{**node.attrs, "scale": math.log(2)})
    nodes = (*made, q.node, scaled.node, halves.node)
    inside = {id(n) for n in nodes}
    read = tuple(v for n in nodes for v in n.inputs if id(v.node) not in inside and not v.is_constant)
    product, reader = Group(nodes, read, (halves,), made[0]), Group((y.node,), y.node.inputs, (y,), y.node)
    taken = warpgroup_linear.accepts(product, target), warpgroup_attention.accepts(reader, target)
    return cast(y, f32) if all(isinstance(verdict, Accept) for verdict in taken) else None


def _made_by_product(value: Value) -> tuple[Node, ...] | None:
    """The product of which elementwise nodes, a bias say, and names make a value, and these, in order; None where it is
    made otherwise."""
    nodes = [value.node]
    while nodes[0].op.name != "linear":
        named = nodes[0].op.name in ALIASES
        if not named and not getattr(nodes[0].op, "elementwise", False):
            return None
        shape = nodes[0].results[0].type.shape
        source = next((v for v in nodes[0].inputs if named or v.type.shape == shape), None)
        if source is None:
            return None
        nodes.insert(0, source.node)
    return tuple(nodes)


def _small_products(graph: Graph) -> set[int]:
    """Products (by node id) whose inputs get two planes: those of one row, and the smallest within the budget."""
    products = [n for n in graph.nodes() if n.op.name == "linear"]
    sizes = {id(n): upper_bound(numel(n.inputs[1].type.shape)) for n in products}
    chosen = {id(n) for n in products if numel(n.inputs[0].type.shape[:-1]) == 1}
    budget = PRECISION_BUDGET * sum(sizes.values())
    for size in sorted(set(sizes.values())):
        equal = [n for n in products if sizes[id(n)] == size]
        budget -= size * len(equal)
        if budget < 0:
            break
        chosen |= {id(n) for n in equal}
    return chosen


def _halves(x: Value) -> Value:
    """x in bf16; of a name for a value, that value, so that the kernel which makes it can round it."""
    node = x.node
    return reshape(_halves(node.inputs[0]), x.type.shape) if node.op.name == "reshape" else cast(_narrow(x), bf16)


def _narrow(x: Value) -> Value:
    """What x is a wider float of, or x."""
    source = x.node.inputs[0] if x.node.op.name == "cast" and x.type.element is f32 else x
    return source if source.type.element in (f16, bf16) else x


def _saturated(x: Value) -> Value:
    """x in f16, of which what is finite stays so: activations may pass its range."""
    node = x.node
    if node.op.name == "reshape":
        return reshape(_saturated(node.inputs[0]), x.type.shape)
    inside = minimum(maximum(x, -MOST_F16), MOST_F16)
    return cast(where(lt(abs(x), math.inf), inside, x), f16)


def _floats(x: Value) -> Value:
    return cast(x, f32)


def _state(value: Value) -> Value:
    while value.node.op.name == "cache_update":
        value = value.node.inputs[0]
    return value


def _over_blocks(node: Node, target: Target) -> bool:
    """Whether attention of many tokens of one sequence reads caches of blocks, which become halves first: tensor cores
    take no blocks.
    """
    if len(node.inputs) > 4 or node.inputs[3].type.rank or node.inputs[0].type.shape[0] == 1:
        return False
    return all(dequantize_cache.refusal(v.type, target) is None for v in node.inputs[1:3])


def _cache_run(type: TensorType, target: Target) -> int:
    """Neighbours in a cache that one thread reads at once: where tensor cores take the cache's dtype."""
    return RUN_BYTES // type.element.nbytes if target.capability >= 80 and type.element in (f16, bf16) else 1


def _fits_key_panels(type: TensorType, lanes: int) -> bool:
    return (
        type.layout is None
        and type.static
        and isinstance(type.element, DType)
        and type.shape[-2] % 64 == 0
        and type.shape[-1] % lanes == 0
    )


def expand(graph: Graph, when: Callable[[Node], bool]) -> Graph:
    """Composites that `when` holds of as the ops that define them."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not when(node):
            return None
        y: Value = node.op.decompose(*inputs, **node.attrs)  # type: ignore[attr-defined]
        return (y,)

    return rewrite(graph, replace)


def claimed(node: Node, target: Target) -> bool:
    """Whether a schedule takes a composite whole."""
    schedule = _CLAIMS.get(node.op.name)
    return schedule is not None and schedule.refusal(node, target) is None


def decompose(graph: Graph, target: Target) -> Graph:
    """Composites become the ops that define them, until none is left but those that a schedule takes whole."""

    def whole(node: Node) -> bool:
        return getattr(node.op, "kind", "") != "composite" or claimed(node, target)

    while not all(map(whole, graph.nodes())):
        graph = expand(graph, lambda node: not whole(node))
    return graph


def load_time(graph: Graph) -> tuple[Graph, dict[str, Graph]]:
    """Move what depends on weights alone into programs of its own, run once when weights are bound.

    Returns the graph over the results, as new weights, and by their names the graphs that make them.
    """
    fixed = _fixed(graph)
    made: dict[str, Graph] = {}
    new: dict[int, Value] = {}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not fixed[id(node)] or node.op is PARAMETER:
            return None
        value = node.results[0]
        if id(value) not in new:
            sources = _parameters_of(value)
            name = value.name or f"{'+'.join(s.name for s in sources)}.{node.op.name}"
            while name in made:
                name += "'"
            made[name] = Graph(f"load_{node.op.name}", sources, (value,))
            new[id(value)] = parameter(name, value.type, kind="weight")
        return (new[id(value)],)

    result = rewrite(graph, replace)
    used = {id(v) for n in result.nodes() for v in n.inputs} | {id(v) for v in result.results()}
    extra = [v for v in new.values() if id(v) in used]
    kept = [p for p in result.parameters if p.kind != "weight" or id(p) in used]
    return Graph(result.name, [*kept, *extra], result.outputs, result.updates), {v.name: made[v.name] for v in extra}


def _fixed(graph: Graph) -> dict[int, bool]:
    """Of each node (by id), whether it depends on weights alone and is worth being made once."""
    fixed: dict[int, bool] = {}
    for node in graph.nodes():
        if node.op is PARAMETER:
            fixed[id(node)] = node.attrs["kind"] == "weight"
        else:
            fixed[id(node)] = bool(node.inputs) and all(fixed[id(v.node)] for v in node.inputs) and _worth_moving(node)
    return fixed


def _worth_moving(node: Node) -> bool:
    return node.op.name in ("repack", "dequantize", "transpose", "cast", "reshape", "concat")


def _parameters_of(value: Value) -> list[Value]:
    found: dict[int, Value] = {}
    stack = [value]
    while stack:
        v = stack.pop()
        if v.is_parameter:
            found.setdefault(id(v), v)
        stack += list(v.node.inputs)
    return list(found.values())
