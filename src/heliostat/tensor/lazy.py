"""Lazy values: data on leaves of a growing graph, closing the part that is wanted, and running it.

`realize` walks from the wanted values down to those that have data, looks the structure up among the programs made so
far, compiles it if it is new, and runs it. Everything that is alive and still open is computed in the same program, so
that a training step is one program whichever of its values is read first.
"""

from __future__ import annotations

import math
import operator
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..diagnostics import CaptureError, GradientError, HeliostatError, UnsupportedError
from ..ir.graph import CONSTANT, PARAMETER, Graph, Node, Value, parameter
from ..ir.rewrite import copy
from ..ir.types import DType, TensorType, tensor
from ..ops import REGISTRY
from ..runtime.buffer import Buffer
from ..session import engine
from ..session.devices import engine_of, gpu_engine, gpus_in_use, program_device
from . import determinism
from .recall import Plan, Plans
from .repeats import Cut, Repeats
from .sizes import SymbolicProgram, SymbolicPrograms

Array = np.ndarray[Any, np.dtype[Any]]
CONCAT, RESHAPE = REGISTRY["concat"], REGISTRY["reshape"]
DETACH = REGISTRY["detach"]
TO_DEVICE = REGISTRY["to_device"]
NUMPY: dict[str, Any] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": np.uint16, "i64": np.int64, "i32": np.int32,
    "i16": np.int16, "i8": np.int8, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8, "bool": np.bool_,
}  # fmt: skip
"""The NumPy dtype of a value's bytes; bf16 lies in uint16."""

MANY = 20_000
"""So many open tensors are computed without being asked for: memory does not grow with steps that nobody reads."""

KEPT_PROGRAMS = 512

MANY_JOINED = 8
"""Operands that `cat` and `stack` join at once, where all have their data, and not by a program."""

META = "meta"
"""The device of tensors that have a shape and a dtype and no data: their values grow graphs that are never run."""


class Meta:
    """What a lazy value has beside its node.

    buffer: its data, once computed, a Buffer or that of a GPU. leaf: the tensor that gathers its gradient, and that
    gradients end at unless it is passing: kept by `retain_grad` on their way. function: the user's `Function` that made
    it. hooks: called with its gradient. fill: for an input of a captured step, its number at the next run.
    uses: the values that its gradient may need, each with the tensor that held it and that tensor's version. spent,
    kept: a backward went through it that did not keep, or that kept the graph. casts: a number in other dtypes,
    with the thread that asked for it.
    """

    __slots__ = ("__dict__", "buffer")

    # Of the class until they are set, which most never are: one is made for each value that is computed.
    leaf: weakref.ref[Any] | None = None
    function: Any = None
    hooks: list[Callable[..., Any]] | None = None
    fill: Callable[[], float] | None = None
    uses: tuple[tuple[Value, weakref.ref[Any], int], ...] = ()
    spent = kept = passing = False
    casts: dict[str, tuple[int, Value]] | None = None

    def __init__(self, buffer: Any = None) -> None:
        self.buffer: Any = buffer

    @property
    def is_end(self) -> bool:
        """Whether gradients end here, even where it was computed (an optimizer's update, say). It holds when the tensor
        is gone too."""
        return self.leaf is not None and not self.passing


_LEAF = Node(PARAMETER, (), {"name": "", "kind": "input"}, ())
STAND_IN = Node(PARAMETER, (), {"name": "", "kind": "input"}, ())
"""Of the values that stand for others while a step is captured."""


def leaf(buffer: Any, type: TensorType, device: str | None = None) -> Value:
    """A value that has its data. device: where the data lies; None for data of the host that goes where it is used."""
    v = Value(_LEAF, 0, type)
    v.meta = Meta(buffer)
    v.device = device
    return v


def leaf_of(array: Array, dtype: DType, device: str | None = None) -> Value:
    """A value over the memory of an array of `NUMPY[dtype]`, which must be contiguous and not change any more."""
    return leaf(Buffer.of(array), tensor(dtype, *array.shape), device)


def meta(v: Value) -> Meta:
    """The value's meta, made where it has none."""
    if v.meta is None:
        v.meta = Meta()
    found: Meta = v.meta
    return found


def buffer_of(v: Value) -> Any:
    return None if v.meta is None else v.meta.buffer


def on_host(v: Value) -> bool:
    """Whether a value has its data, in memory that the host reads."""
    return v.meta is not None and isinstance(v.meta.buffer, Buffer)


def is_data(v: Value) -> bool:
    """Whether a value is known data and nothing else: no gradient goes to it or through it, and no capture asks for it
    anew at each run."""
    m = v.meta
    if m is None or m.buffer is None or capturing():
        return False
    return not v.node.inputs and m.leaf is None and m.function is None and m.fill is None and not m.hooks


def array_of(v: Value) -> Array:
    """The data of a realized value as an array over its buffer, bf16 as uint16; of a GPU a copy."""
    buffer = v.meta.buffer
    shape: Any = v.type.shape
    kind = NUMPY[v.type.element.name]
    if isinstance(buffer, Buffer):
        return buffer.array(kind, shape)
    assert v.device is not None
    data = gpu_engine(v.device).download(buffer, math.prod(shape) * np.dtype(kind).itemsize)
    return data.view(kind).reshape(shape)


def refused(what: str, help: str) -> CaptureError:
    """The error of what a captured function may not do. The capture fails by it also where the function catches it: its
    handler would go another way than the function does without a capture."""
    error = CaptureError(what, help=help)
    scope = _capture.get()
    scope.refused = scope.refused or error
    return error


def join(v: Value) -> bool:
    """Give data to a value that is a `concat` of others, where all of those have theirs on the host, and say whether
    that was so. A program would be made for each count of operands. What gradients need stays known."""
    node = v.node
    if node.op is not CONCAT or v.device not in (None, "cpu") or v.type.element.name not in NUMPY:
        return False
    parts: list[Array] = []
    for u in node.inputs:
        source = u
        while not _has_data(source) and source.node.op in (RESHAPE, DETACH):
            source = source.node.inputs[0]
        if on_host(source):
            parts.append(array_of(source).reshape(u.type.shape))
        elif source.node.op is CONSTANT:
            kind: Any = NUMPY[source.type.element.name]
            parts.append(_constant(source).array(kind, u.type.shape))  # type: ignore[arg-type]
        else:
            return False
    array = np.ascontiguousarray(np.concatenate(parts, node.attrs["axis"]))
    meta(v).buffer = Buffer.owning(array)
    return True


def note_joined(v: Value) -> None:
    """Remember a value that `join` gave data to, and that gradients may flow through: the next run cuts it off from
    what it was made of where none does, as it does with what it computes."""
    _open.of.joined.append(v)


def is_cut(v: Value) -> bool:
    """Whether a value without data lost what it was made of."""
    return v.node is _LEAF and buffer_of(v) is None and v.device != META


def check_kept(v: Value) -> None:
    """Raise GradientError for a gradient that a compiled step did not keep: what is made of it, parameters say, could
    not be read any more. In a capture nothing is raised: the step that is made of it says so."""
    if is_cut(v) and not capturing():
        raise _unknown(v.node)


def leaf_on_meta(type: TensorType) -> Value:
    """A value of the device `meta`: a type alone."""
    return leaf(None, type, META)


def no_data() -> UnsupportedError:
    """What is said where the data of a value on `meta` is needed."""
    return UnsupportedError(
        "Cannot copy out of meta tensor; no data!", help="make it on another device: to_empty() for modules, empty_like"
    )


# --- capture --------------------------------------------------------------------------------------------------------
_capture: ContextVar[Any] = ContextVar("heliostat_step", default=None)
"""The `capture.Scope` of the step that this thread captures."""


def capturing() -> bool:
    """Whether a step is being captured: nothing may be computed then."""
    return _capture.get() is not None


class _Anomaly:
    """`active`: the `anomaly.Anomaly` that looks for NaN, if any."""

    active: Any = None


anomaly = _Anomaly()
# --- transforms -----------------------------------------------------------------------------------------------------
_levels: ContextVar[tuple[Any, ...]] = ContextVar("heliostat_levels", default=())
"""The `levels.Level`s of vmap that are open in this thread, the innermost last."""


def is_placeholder(v: Value) -> bool:
    """Whether a value stands for one element of a batch, for which there is no data."""
    return v.node.op is PARAMETER and v.node is not _LEAF and not _has_data(v)


def _stands_for_one(v: Value, known: dict[int, bool]) -> bool:
    """Whether a value depends on a placeholder. `known`: of values that were looked at before."""
    stack = [v]
    while stack:
        u = stack[-1]
        if id(u) not in known and not _has_data(u):
            new = [i for i in u.node.inputs if id(i) not in known]
            if new:
                stack += new
                continue
        known.setdefault(id(u), not _has_data(u) and (is_placeholder(u) or any(known[id(i)] for i in u.node.inputs)))
        stack.pop()
    return known[id(v)]


# --- what is open ---------------------------------------------------------------------------------------------------
class _Entries:
    """Tensors of one thread whose values are not computed yet, in the order of their making."""

    def __init__(self) -> None:
        self.entries: list[weakref.ref[Any]] = []
        self.joined: list[Value] = []  # what `join` gave data to, for `_forget` at the next run
        self.thread = weakref.ref(threading.current_thread())

    @property
    def left(self) -> bool:
        """Whether its thread has ended."""
        thread = self.thread()
        return thread is None or not thread.is_alive()


class _Open(threading.local):
    """Each thread has its own: what another one is about to build on must not be cut off behind its back."""

    def __init__(self) -> None:
        self.of = _Entries()
        _threads.append(self.of)


_threads: list[_Entries] = []
_open = _Open()


def note_open(t: Any) -> None:
    """Remember a tensor whose value is not computed yet. Those of a captured step are computed by its program."""
    if _capture.get() is None:
        add_open(t)


def add_open(t: Any) -> None:
    """`note_open` where no step is captured."""
    entries = _open.of.entries
    entries.append(_ref(t))
    if len(entries) > MANY:
        flush()


_ref, _object = weakref.ref, object.__new__


def _take_open() -> list[Any]:
    mine = _open.of
    entries, mine.entries = mine.entries, []
    if len(_threads) > 1:
        for other in [e for e in _threads if e.left]:
            _threads.remove(other)
            entries += other.entries
    return [t for r in entries if (t := r()) is not None]


def _of_others() -> dict[int, Any]:
    """Open tensors of other threads, by the id of their value."""
    found: dict[int, Any] = {}
    if len(_threads) == 1:
        return found
    for entries in list(_threads):
        if entries is not _open.of:
            for r in list(entries.entries):
                t = r()
                if t is not None:
                    found[id(t._v)] = t
    return found


# --- programs -------------------------------------------------------------------------------------------------------
class Programs:
    """Programs by structure. `hits` and `misses` count look-ups. plans: those that ran lately. symbolic:
    those for many sizes. repeats: loops that were met in graphs."""

    def __init__(self) -> None:
        self.found: OrderedDict[Any, Any] = OrderedDict()
        self.plans = Plans()
        self.symbolic = SymbolicPrograms()
        self.repeats = Repeats()
        self.hits = self.misses = 0

    def get(self, key: Any, build: Callable[[], Graph], device: str = "cpu") -> Any:
        """The program of that structure on a device, compiled if it is new. Raises CompileError."""
        key = _placed_key(key, device)
        runner = self.found.get(key)
        if runner is None:
            self.misses += 1
            runner = self.found[key] = engine_of(device).compile(build())
            if len(self.found) > KEPT_PROGRAMS:
                self.found.popitem(last=False)
                self.plans.clear()  # they hold programs too
        else:
            self.hits += 1
            self.found.move_to_end(key)
        return runner

    def has_own(self, closed: Closed, device: str) -> bool:
        """Whether a structure has a program of its own on a device, or must get one: whether pieces or one for many
        sizes serve depends on what ran before, which determinism does not allow."""
        return determinism.are_deterministic_algorithms_enabled() or _placed_key(closed.key, device) in self.found

    def for_sizes(self, closed: Closed, device: str) -> tuple[SymbolicProgram, tuple[int, ...]] | None:
        """The program of symbols for a structure that has none of its own on a device, with their values; None where it
        is to get one."""
        if not self.symbolic.active:
            return None
        found = self.symbolic.find(closed, program_device(device), engine_of(device).compile)
        if found is None:
            return None
        entry, sizes, new = found
        if new:
            self.misses += 1
        else:
            self.hits += 1
        return entry, sizes


def _placed_key(key: Any, device: str) -> Any:
    """What the program of a structure is kept by."""
    return key if device == "cpu" else (program_device(device), key)


programs = Programs()


_SERIAL = operator.attrgetter("node.serial")


def _has_data(v: Value) -> bool:
    m = v.meta
    return m is not None and m.buffer is not None


class Inlined:
    """An op that stands for a graph of others over its operands: `recorded.Recorded`. Equal ones have equal graphs."""

    name: str
    version: int
    deterministic: bool
    graph: Graph
    infer_types: Callable[..., tuple[TensorType, ...]]

    def inline(self, inputs: Sequence[Value], copy: Callable[..., Sequence[Value]] = copy) -> list[Value]:
        """The graph's outputs over these inputs, each node copied by `copy(node, inputs)`."""
        new = {id(p): v for p, v in zip(self.graph.parameters, inputs, strict=True)}
        for node in self.graph.nodes():
            if node.op is not PARAMETER:
                for old, value in zip(node.results, copy(node, tuple(new[id(i)] for i in node.inputs)), strict=True):
                    new[id(old)] = value
        return [new[id(v)] for v in self.graph.outputs]


def _unknown(node: Node) -> HeliostatError:
    """Why the value of a node without operands cannot be computed."""
    if node is not _LEAF:
        what = "the value of one element of a batch is read inside of vmap, or after it"
        return UnsupportedError(what, help="choose with where() instead of if, and return what is wanted")
    what = "a value is read that was not kept: a gradient after a compiled step, or what a failed capture made"
    return GradientError(what, help="call zero_grad() first, return it from the step, or compile with keep_grads=True")


class Closed:
    """The open part of a graph: its key, the leaves it reads, and its results without repetition."""

    def __init__(self, roots: Sequence[Value], fixed: Callable[[Value], bool] | None = None) -> None:
        """`fixed`: which values count as leaves; those with data where it is left out."""
        self.fixed = fixed or _has_data
        self.number: dict[Value, int] = {}
        self.leaves: list[Value] = []
        order, fixed_here = self._walk(roots)
        self.order = order
        rows: list[Any] = []  # flat: an op, its attributes, its operands; hashing one tuple is fastest
        number, add = self.number, rows.append
        constants: set[int] = set()
        count = 0
        several: dict[int, int] = {}  # nodes of several results, of which those are rows of their own
        for v in order:
            node = v.node
            if v in fixed_here:
                number[v] = count
                count += 1
                self.leaves.append(v)
                type = v.type
                add("leaf")
                add(type.element.name)
                add(type.shape)
                continue
            op = node.op
            if op is DETACH or op is TO_DEVICE:
                number[v] = number[node.inputs[0]]
                continue
            if op is PARAMETER:
                raise _unknown(node)
            number[v] = count
            if op is CONSTANT:
                constants.add(count)
                rows += ("constant", v.type.element.name, v.type.shape, node.attrs["value"].tobytes())
            elif id(node) in several:
                rows += ("result", several[id(node)], v.index)
            else:
                add(op if isinstance(op, Inlined) else op.name)
                add(tuple(node.attrs.items()) if node.attrs else ())
                for i in node.inputs:
                    add(number[i])
                if len(node.results) > 1:
                    several[id(node)] = count
                    rows += ("first", v.index)
            count += 1
        self.results: list[Value] = []
        self.constants: list[Value] = []  # wanted, and known already
        seen = {number[v] for v in self.leaves}
        for v in roots:
            n = number[v]
            if n not in seen:
                seen.add(n)
                (self.constants if n in constants else self.results).append(v)
        self.key = (tuple(rows), tuple([number[v] for v in self.results]))

    def _walk(self, roots: Sequence[Value]) -> tuple[list[Value], dict[Value, None]]:
        """Everything down to the leaves, operands before users (who is used was made before), and the leaves."""
        fixed = self.fixed
        by_data = fixed is _has_data
        found: dict[Value, None] = {}
        leaves: dict[Value, None] = {}
        stack = list(reversed(roots))
        pop, push = stack.pop, stack.extend
        while stack:
            v = pop()
            if v not in found:
                found[v] = None
                if ((m := v.meta) is not None and m.buffer is not None) if by_data else fixed(v):
                    leaves[v] = None
                elif inputs := v.node.inputs:
                    push(inputs)
        return sorted(found, key=_SERIAL), leaves

    def same(self, v: Value) -> Value | None:
        """The operand that a value which is no leaf is only another name of."""
        op = v.node.op
        return v.node.inputs[0] if op is DETACH or op is TO_DEVICE else None

    def graph(self, name: str = "lazy", copy: Callable[..., Sequence[Value]] = copy) -> Graph:
        """A graph over parameters for the leaves, each node copied by `copy(node, inputs)`."""
        new: dict[int, Value] = {}
        inlined: dict[int, list[Value]] = {}
        parameters: list[Value] = []
        for v in self.order:
            if self.fixed(v):
                p = parameter(f"p{len(parameters)}", v.type)
                parameters.append(p)
                new[id(v)] = p
            elif (source := self.same(v)) is not None:
                new[id(v)] = new[id(source)]
            elif isinstance(v.node.op, Inlined):
                if id(v.node) not in inlined:
                    inlined[id(v.node)] = v.node.op.inline([new[id(i)] for i in v.node.inputs], copy)
                new[id(v)] = inlined[id(v.node)][v.index]
            else:
                new[id(v)] = copy(v.node, tuple(new[id(i)] for i in v.node.inputs))[v.index]
        return Graph(name, parameters, [new[id(v)] for v in self.results])


backwards: dict[int, tuple[list[Value], dict[int, Value]]] = {}
"""Outputs and gradients so far of each backward that is under way: a rule may read values on the host in between, and
what the other rules need must outlast that."""


def realize(values: Iterable[Value]) -> None:
    """Give data to values, and to every open tensor that is alive. Raises CompileError, in a capture CaptureError."""
    if capturing():
        raise refused(
            "a value is read while a step is captured, but it is known only when the step runs",
            help="return the tensor from the step, and choose with where() instead of if",
        )
    with engine().lock:
        _realize(list(values))


def _realize(values: list[Value]) -> None:
    if any(v.device == META for v in values):
        raise no_data()
    live, roots = [], []
    for t in _take_open():
        v = t._v if t._base is None else t.value
        if v.device == META:
            if not t._rg:
                v.node = _LEAF  # nobody asks what it was made of: memory does not grow with steps
            continue
        if (m := v.meta) is None or m.buffer is None:
            live.append(t)
            roots.append(v)
    single: list[Any] = []
    if levels := _levels.get():
        known: dict[int, bool] = {}
        single = [t for t in live if _stands_for_one(t.value, known)]
        live = [t for t in live if not known[id(t.value)]]
        roots = [t.value for t in live]
    roots += values
    if len(_threads) > 1 and (
        others := _of_others()
    ):  # a value that another thread's tensor holds, and that is on the way, is computed for it too
        held = [t for v in _behind(roots) if (t := others.get(id(v))) is not None]
        live += held
        roots += [t._v for t in held]
    try:
        done = _run(roots)
        mine = _open.of
        if mine.joined:
            done, mine.joined = mine.joined + done, []
    except BaseException as error:
        for t in live:
            note_open(t)
        if isinstance(error, HeliostatError) and values and live:
            _run(values)  # what nobody reads must not keep others from being read
            return
        whole = [] if values else [v for v in roots if not any(map(is_cut, _behind([v])))]
        if not values and len(whole) < len(roots):  # nor from being computed
            _run(whole)
            return
        raise
    if anomaly.active is not None:
        anomaly.active.check(done)
    wanted = [t._v for t in live if t._rg and not t._leaf]  # what a gradient may still flow to
    for outputs, total in list(backwards.values()) if backwards else ():
        wanted += [*outputs, *list(total.values())]
    if levels:
        wanted += [t.value for t in single] + [v for level in levels for v in level.held()]
        for t in single:
            note_open(t)
    _forget(done, wanted)


def drop_singles() -> None:
    """Forget open tensors that stand for one element of a batch: nothing will ever be known of them."""
    known: dict[int, bool] = {}
    for t in _take_open():
        if buffer_of(t.value) is None and not _stands_for_one(t.value, known):
            note_open(t)


def _behind(roots: Sequence[Value]) -> list[Value]:
    """Everything that is not computed yet and that the roots are made of."""
    found: list[Value] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        v = stack.pop()
        if id(v) not in seen and not _has_data(v):
            seen.add(id(v))
            found.append(v)
            stack.extend(v.node.inputs)
    return found


def flush() -> None:
    """Compute every open tensor."""
    realize(())


@contextmanager
def between_programs() -> Iterator[None]:
    """For changes of what programs depend on: no other thread compiles then, and what was asked for before is computed
    as it was asked for."""
    with engine().lock:
        flush()
        yield


def _forget(done: Sequence[Value], tensors: Sequence[Value]) -> None:
    """Cut values off from what they were computed of, except where a gradient may still flow: to `tensors`, to what a
    function of tensors made, and through graphs that were kept.

    Everything that is alive has its data now. Values and nodes refer to each other: what is not cut, and the buffers
    that it reads, would stay until the garbage collector comes round."""
    kept: set[int] = set()
    if tensors:
        _keep([v for v in tensors if v.meta is None or not v.meta.spent], kept)
    for v in reversed(done):  # users before operands: who is not held by then has lost all of its users
        if not v.node.inputs or (kept and id(v) in kept):
            continue
        m = v.meta
        if m is None:
            v.node = _LEAF
            continue
        if not m.spent and not m.is_end:
            held = m.kept or m.function is not None
            if held or (m.uses and sys.getrefcount(v) > _UNHELD + sum([u[0] is v for u in m.uses])):
                _keep([v], kept)
                continue
        cut(v)


def _keep(stack: list[Value], kept: set[int]) -> None:
    """Add to `kept` what a gradient to these values may still flow through, by id. Empties `stack`."""
    while stack:
        v = stack.pop()
        if id(v) not in kept and not (v.meta is not None and v.meta.is_end):
            kept.add(id(v))
            stack.extend(v.node.inputs)
            if v.meta is not None and v.meta.function is not None:
                stack.extend(v.meta.function.needs())


def keep_graph(order: Sequence[Value]) -> None:
    """Mark values that a backward went through, so that they are not cut off: another one will follow. Gradients may
    read operands that none flows to, a mask say."""
    for v in order:
        for p in (v, *v.node.inputs):
            if p.node.inputs:
                meta(p).kept = True


def let_go(order: Sequence[Value]) -> None:
    """Undo `keep_graph`."""
    for v in order:
        if v.meta is not None and v.meta.kept:
            for p in (v, *v.node.inputs):
                if p.meta is not None:
                    p.meta.kept = False


_UNHELD = 4
"""References to a value that nobody holds: from the list, its node, a variable and the count itself."""


def cut(v: Value) -> None:
    """Forget how a value was made."""
    v.node = _LEAF
    if v.meta is not None:
        v.meta.uses, v.meta.function = (), None


def _run(roots: Sequence[Value]) -> list[Value]:
    """Give data to the roots. Returns them and all values that were computed on the way."""
    wanted = [v for v in dict.fromkeys(roots) if (m := v.meta) is None or m.buffer is None]
    if not wanted:
        return []
    return _run_placed(wanted) if gpus_in_use() else _run_of("cpu", wanted)


def _run_of(device: str, wanted: Sequence[Value], piece: bool = False) -> list[Value]:
    """Give data to values of one device. piece: whether they are of a graph that was cut at its loop already. Returns
    them and all values that were computed on the way."""
    if not determinism.are_deterministic_algorithms_enabled():
        known = programs.plans.find(wanted, program_device(device), programs.symbolic.active)
        if known is not None:
            return _run_plan(wanted, *known)
    return _run_on(device, wanted, piece)


def _run_plan(
    wanted: Sequence[Value], plan: Plan, given: list[Any], computed: list[Value], sizes: Sequence[int]
) -> list[Value]:
    """`_run` of a structure that was run before, maybe at other sizes."""
    programs.hits += 1
    made = plan.runner.run(given, sizes)
    for v, (new, n) in zip(wanted, plan.sources, strict=True):
        buffer = made[n] if new else given[n]
        m = v.meta
        if m is None:
            m = _object(Meta)
            m.buffer = buffer
            v.meta = m  # whole: other threads look at it without a lock
        else:
            m.buffer = buffer
    return computed


def _run_placed(wanted: Sequence[Value]) -> list[Value]:
    """`_run` of values on several devices: a program for each device and for each time that data goes to another."""
    step: dict[int, int] = {}  # of values without data: how often data goes to another device before they are known
    needed: dict[int, dict[int, Value]] = {}
    copies: dict[int, list[Value]] = {}
    for v in sorted(_behind(wanted), key=lambda v: v.node.serial):
        at, copied = 0, False
        for u in v.node.inputs:
            before = step.get(id(u))
            if u.device == v.device or (u.device is None and not (v.node.op is TO_DEVICE and before is None)):
                at = max(at, before or 0)
                continue
            copied = v.node.op is TO_DEVICE
            if before is not None:
                needed.setdefault(before, {})[id(u)] = u
                at = max(at, before + 1)
        step[id(v)] = at
        if copied:
            copies.setdefault(at, []).append(v)
    for v in wanted:
        needed.setdefault(step[id(v)], {})[id(v)] = v
    done: list[Value] = []
    for n in sorted({*needed, *copies}):
        for v in copies.get(n, ()):
            meta(v).buffer = _copied(v.node.inputs[0], v)
            done.append(v)
        groups: dict[str, list[Value]] = {}
        for v in needed.get(n, {}).values():
            if not _has_data(v):
                groups.setdefault(v.device or "cpu", []).append(v)
        for device in sorted(groups, key=lambda d: d != "cpu"):
            done += _run_of(device, groups[device])
    return done


def nbytes_of(v: Value) -> int:
    """Bytes of a value's elements."""
    shape: list[int] = [int(d) for d in v.type.shape]  # type: ignore[arg-type]
    return math.prod(shape) * v.type.dtype.nbytes


def _copied(source: Value, v: Value) -> Any:
    """The data of a value in the memory of another device."""
    buffer, nbytes = source.meta.buffer, nbytes_of(v)
    if v.device == "cpu" or v.device is None:
        return buffer if isinstance(buffer, Buffer) else Buffer.owning(array_of(source))
    owner = gpu_engine(v.device)
    if isinstance(buffer, Buffer):
        return owner.upload(buffer.array(np.uint8)[:nbytes])
    return owner.copy(buffer, nbytes)


def _data_alone(v: Value) -> Meta:
    """The meta of a value that has the data of another, and nothing else of it."""
    return Meta(v.meta.buffer)


def _run_parts(device: str, parts: Cut) -> None:
    """Give data to all values of a graph that was cut."""
    for values in parts.pieces:
        if len(values) > 1 or device != "cpu" or not join(values[0]):
            _run_of(device, values, piece=True)
    for v, source in parts.names:
        meta(v).buffer = source.meta.buffer
    for v in parts.made:
        if v.node.op is PARAMETER:
            v.meta = None


def _run_on(device: str, wanted: Sequence[Value], piece: bool) -> list[Value]:
    """`_run_of` of values that no plan is known for."""
    closed = Closed(wanted)
    determinism.check(closed.order)
    computed = [v for v in closed.order if buffer_of(v) is None]
    own = programs.has_own(closed, device)
    if not (piece or own) and (parts := programs.repeats.cut(closed, wanted, device, _data_alone)) is not None:
        before = programs.misses
        _run_parts(device, parts)
        parts.compiled(programs.misses - before)
        if left := [v for v in wanted if not _has_data(v)]:  # constants, other names of data
            _run_of(device, left, piece=True)
        return [*computed, *parts.made]
    number = closed.number
    given = [v.meta.buffer for v in closed.leaves]
    found: dict[int, Any] = {number[v]: b for v, b in zip(closed.leaves, given, strict=True)}
    for v in closed.constants:
        found[number[v]] = _constant(v)
    if closed.results:
        symbolic, sizes = (None if own else programs.for_sizes(closed, device)) or (None, ())
        runner = programs.get(closed.key, closed.graph, device) if symbolic is None else symbolic.runner
        made = runner.run(given, sizes)
        if not closed.constants:
            programs.plans.keep(wanted, program_device(device), _has_data, closed, runner, symbolic)
        for v, buffer in zip(closed.results, made, strict=True):
            found[number[v]] = buffer
    for v in wanted:
        buffer = found[number[v]]
        if device != "cpu" and isinstance(buffer, Buffer):  # a constant, or data of the host that nothing was done with
            buffer = gpu_engine(device).upload(buffer.array(np.uint8))
        meta(v).buffer = buffer
    return computed


def _constant(v: Value) -> Buffer:
    while v.node.op is DETACH or v.node.op is TO_DEVICE:
        v = v.node.inputs[0]
    array = v.node.attrs["value"]
    if v.type.element.name == "bf16":
        array = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return Buffer.of(np.array(array, order="C").reshape(array.shape))
