"""A captured function as a native program: which tensor lies in which buffer, and what a run leaves behind.

States that the function writes are written in place. A tensor's memory is written only while nobody but the tensor
holds it; where somebody does, a view, an array or a value that is not computed yet, the tensor moves to other memory
first, and those keep what they saw.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..diagnostics import CaptureError
from ..ir.graph import Graph, Node, Value, constant, parameter
from ..ir.rewrite import copy
from ..ir.types import TensorType, concrete, f32, tensor
from ..runtime.buffer import Buffer
from ..session.runner import nbytes_at
from ..session.step import bound_step, compiled_step
from . import determinism, lazy
from .capture import Captured, Outside, is_stand_in
from .core import Tensor, new
from .structure import mapped


def _holders(v: Value) -> int:
    """How many references there are to a value and its memory."""
    m = v.meta
    buffer = m.buffer
    data = buffer._bytes
    count = sys.getrefcount
    return count(v) + count(m) + count(buffer) + count(data) + count(data.base)


class _Held:
    __slots__ = ("_rg", "_v")
    _v: Value
    _rg: bool


def _unshared() -> int:
    t = _Held()
    t._v = lazy.leaf(Buffer.allocate(64), tensor(f32, 1))
    v = t._v
    return _holders(v)


def _memory(array: Any) -> memoryview:
    return memoryview(array)


_PACKAGE = __name__.partition(".")[0] + "."

ALONE = _unshared()
"""`_holders` of a value that one tensor and one local variable hold."""


def _gpu_holders(v: Value) -> int:
    m = v.meta
    buffer = m.buffer
    count = sys.getrefcount
    return count(v) + count(m) + count(buffer) + count(buffer._owner)


def _unshared_of_gpu() -> int:
    class Memory:
        _owner = object()

    t, memory = _Held(), Memory()
    memory._owner = object()
    t._v = lazy.leaf(memory, tensor(f32, 1))
    del memory
    v = t._v
    return _in_call(v)


def _in_call(v: Value) -> int:
    return _gpu_holders(v)


ALONE_IN_CALL = _unshared_of_gpu()
"""`_gpu_holders` of a value that its tensor and a local variable hold, seen from a function that was given it."""


class Moved(Exception):
    """A tensor from outside is not what it was at the capture; the message says how."""


def _hooks(v: Value) -> tuple[Any, ...]:
    return () if v.meta is None else tuple(v.meta.hooks or ())


def _check_hooks(v: Value, hooks: tuple[Any, ...]) -> None:
    if _hooks(v) != hooks:
        raise Moved("the hooks of a tensor from outside changed")


class State:
    """A tensor from outside that the program reads or writes. `of`: whose gradient it is, if it is found that way."""

    __slots__ = ("address", "device", "hooks", "made", "number", "of", "rg", "sent", "tensor", "type", "written")

    def __init__(self, o: Outside, number: int, written: bool, of: Tensor | None) -> None:
        self.tensor, self.number, self.written, self.of = o.tensor, number, written, of
        self.address = 0
        self.type: TensorType = o.before[0].type
        self.device: str | None = o.before[0].device
        self.sent: Any = None  # where a number of the host lies on a GPU
        self.rg = o.before[1]
        self.hooks = _hooks(o.before[0])


def _unmoved(states: Sequence[State], alone: int) -> int:
    """How many states, from the first on, lie where they lay at the run before and may be read and written there:
    those with which `Step._place` would do nothing, in one frame for all of them. alone: `_holders` as counted here."""
    count, leaf = sys.getrefcount, lazy._LEAF
    n = 0
    for state in states:
        t = state.tensor
        v = t._v
        m = v.meta
        if m is None or state.of is not None:
            return n
        b = m.buffer
        if b is None or b.address != state.address or v.type is not state.type or v.device is not state.device:
            return n
        if t._rg is not state.rg or m.hooks or state.hooks:
            return n
        if state.written:
            data = b._bytes
            held = count(v) + count(m) + count(b) + count(data) + count(data.base)
            if held != alone or not b.writable or v.node is not leaf:
                return n
        n += 1
    return n


def _unshared_state() -> int:
    """What `_unmoved` counts of a value that its tensor alone holds."""
    t: Any = _Held()
    t._v, t._rg = lazy.leaf(Buffer.allocate(64), tensor(f32, 1)), False
    state = object.__new__(State)
    state.tensor, state.written, state.of, state.rg, state.hooks = t, True, None, False, ()
    state.address, state.type, state.device = t._v.meta.buffer.address, t._v.type, None
    return next(n for n in range(100) if _unmoved([state], n))


ALONE_AS_STATE = _unshared_state()


class Plan:
    """The graph of a capture, with the names of its parameters."""

    def __init__(self, c: Captured, roots: Sequence[Value], updates: Sequence[tuple[Value, Value]]) -> None:
        """`updates`: stand-ins that are written in place, each with its new value."""
        closed = lazy.Closed(
            [*roots, *(v for _, v in updates)], lambda v: is_stand_in(v) or lazy.buffer_of(v) is not None
        )
        number = closed.number
        fills = {id(v) for v in c.fills}
        written = {id(p) for p, _ in updates}
        self.leaves: list[tuple[Value, str]] = []  # not the constants
        self.roots = list(roots)
        self.parameters: dict[int, Value] = {}
        self.constants: dict[int, Value] = {}
        kinds: list[Any] = []
        self.device = _device(closed, [*roots, *(v for pair in updates for v in pair)])
        for v in closed.leaves:
            if not is_stand_in(v) and id(v) not in fills and v.type.shape == ():
                self.constants[id(v)] = _as_constant(v)
                kinds.append(lazy.array_of(v).tobytes())
                continue
            kind = "state" if id(v) in written else "input"
            self.parameters[id(v)] = parameter(f"p{len(self.leaves)}", v.type, kind)
            self.leaves.append((v, f"p{len(self.leaves)}"))
            kinds.append(kind)
        missing = [(p, v) for p, v in updates if id(p) not in self.parameters]
        for p, _ in missing:  # written, but not read
            self.parameters[id(p)] = parameter(f"p{len(self.leaves)}", p.type, "state")
            self.leaves.append((p, f"p{len(self.leaves)}"))
            kinds.append(("unread", p.type.element.name, p.type.shape))
        place = {id(p): n for n, p in enumerate(v for v, _ in self.leaves)}
        determinism.check(closed.order)
        self.closed, self.updates = closed, list(updates)
        own = all(type(v.node.op).__module__.startswith(_PACKAGE) for v in closed.order)
        self.nodes = len(closed.order) if own else 0  # what an op from elsewhere means, its name does not say
        self.key = (
            closed.key[0], tuple(kinds), tuple(number[v] for v in roots),
            tuple((place[id(p)], number[v]) for p, v in updates),
        )  # fmt: skip

    def graph(self) -> Graph:
        """The graph: an output for each root."""
        new_: dict[int, Value] = {**self.parameters, **self.constants}
        for v in self.closed.order:
            if id(v) in new_:
                continue
            if v.node.op is lazy.DETACH or v.node.op is lazy.TO_DEVICE:
                new_[id(v)] = new_[id(v.node.inputs[0])]
            else:
                new_[id(v)] = copy(v.node, tuple(new_[id(i)] for i in v.node.inputs))[v.index]
        outputs = [new_[id(v)] for v in self.roots]
        updates = [(new_[id(p)], new_[id(v)]) for p, v in self.updates]
        return Graph("step", [self.parameters[id(v)] for v, _ in self.leaves], outputs, updates)


def _device(closed: lazy.Closed, values: Sequence[Value]) -> str:
    """The one device of a step. Raises CaptureError where there are two, or data goes from one to another."""
    for v in closed.order:
        if v.node.op is lazy.TO_DEVICE and not closed.fixed(v):
            source = v.node.inputs[0]
            if source.device not in (None, v.device):
                raise CaptureError(
                    f"a compiled step copies a tensor from {source.device} to {v.device}",
                    help="copy it before the step, or after: a step is one program on one device",
                )
    found = dict.fromkeys(v.device for v in (*closed.leaves, *values) if v.device not in (None, "cpu"))
    if not found:
        return "cpu"
    found.update(dict.fromkeys(v.device for v in closed.leaves if v.device == "cpu" and v.type.shape))
    found.update(dict.fromkeys(v.device for v in values if v.device == "cpu"))
    if len(found) > 1:
        raise CaptureError(
            f"a compiled step works on two devices, {' and '.join(map(str, list(found)[:2]))}",
            help="compile a function for each, or move all tensors to one",
        )
    return str(next(iter(found)))


def _as_constant(v: Value) -> Value:
    array = lazy.array_of(v)
    if v.type.element.name == "bf16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return constant(array, v.type)


class Step:
    """A captured function, ready to run."""

    def __init__(self, c: Captured, keep_grads: bool, symbols: Sequence[tuple[str, int]] = ()) -> None:
        """`symbols`: names of symbolic dimensions, each with the argument whose leading axis it is.

        Raises CompileError where there is no program for it."""
        self.captured, self.symbols = c, symbols
        self.once = bool(c.kept)
        inside = {id(t) for t in c.arguments}
        outside = {id(o.tensor): o for o in c.outside}
        finals = c.finals
        self.result = c.result
        known = {id(o.tensor) for o in c.outside}
        self.returned = [t for t in _unique(c.result) if id(t) not in inside and id(t) not in known]
        tracked = [t for t in self.returned if t._rg and not _spent(finals[id(t)])]
        self.tracked = {id(t) for t in tracked}
        self.gradients = _gradients(c, keep_grads)
        self.lost: dict[int, tuple[Tensor, Value]] = {}  # what stands for gradients that are not kept, by their numbers
        roots = [finals[id(t)] for t in (*self.returned, *c.kept)]
        roots += [finals[id(g)] for _, g in self.gradients if isinstance(g, Tensor)]
        self.written_arguments = [
            n for n, (t, v) in enumerate(zip(c.arguments, c.values, strict=True)) if finals[id(t)] is not v
        ]
        roots += [finals[id(c.arguments[n])] for n in self.written_arguments]
        self.argument_grads = [n for n, t in enumerate(c.arguments) if t._grad is not None]
        roots += [c.arguments[n]._grad.value for n in self.argument_grads]  # type: ignore[union-attr]
        changed = [o for o in c.outside if o.final is not None]
        donate = not tracked and not any(lazy.is_cut(o.before[0]) for o in changed)
        self.replaced = [] if donate else [o.tensor for o in changed]
        if not donate:
            roots += [o.final for o in changed if o.final is not None]
        updates = [(o.value, o.final) for o in changed if o.value is not None and o.final is not None and donate]
        plan = Plan(c, roots, updates)
        self.device = plan.device
        compiled, self.found = compiled_step(plan.key, plan.graph, plan.device, nodes=plan.nodes)
        self.native: Any = bound_step(compiled, plan.device)
        self._bind(c, plan, outside, {id(o.tensor) for o in changed} if donate else set())
        # a loss, and nothing else that anybody looks at
        self.simple = type(self.result) is Tensor and len(self.returned) == len(roots) == 1 and not tracked
        if tracked:
            _check_trackable(finals[id(t)] for t in tracked)

    # --- binding --------------------------------------------------------------------------------------------------
    def _bind(self, c: Captured, plan: Plan, outside: dict[int, Outside], donated: set[int]) -> None:
        native = self.native
        by_value = {id(o.value): o for o in outside.values()}
        owners = {id(o.grad): o.tensor for o, _ in c.grads if o.grad is not None}
        argument = {id(v): n for n, v in enumerate(c.values)}
        filled = {id(v) for v in c.fills}
        self.states: list[State] = []
        self.written: list[State] = []
        self.given: list[tuple[int, int]] = []  # argument, number of its buffer
        self.fixed: list[Buffer] = []
        self.source: dict[int, Any] = {}  # of a buffer's number: an argument's number, a State or a Buffer
        for v, name in plan.leaves:
            number = native.by_name[name]
            if id(v) in by_value:
                o = by_value[id(v)]
                if lazy.is_cut(o.before[0]):
                    raise CaptureError(
                        "the step reads a gradient that an earlier compiled step did not keep",
                        help="call zero_grad() first, or compile that one with keep_grads=True",
                    )
                state = State(o, number, id(o.tensor) in donated, owners.get(id(o.tensor)))
                if state.written and self.device != "cpu" and state.device != self.device:
                    raise CaptureError(
                        f"a compiled step on {self.device} writes a tensor {state.type} on {state.device or 'cpu'}",
                        help=f"make it on {self.device}, or move it there before",
                    )
                self.states.append(state)
                if state.written:
                    self.written.append(state)
                self.source[number] = state
            elif id(v) in argument:
                self.given.append((argument[id(v)], number))
                self.source[number] = argument[id(v)]
            elif id(v) not in filled:
                buffer = native.uploaded(v.meta.buffer)
                self.fixed.append(buffer)
                self.source[number] = buffer
                native.set(number, buffer.address)
        numbers = {id(v): native.by_name[name] for v, name in plan.leaves}
        self.fills: list[tuple[Any, Any]] = []
        self.slots = Buffer.allocate(64 * max(1, len(c.fills)))
        there = native.numbers_at(self.slots)
        for n, v in enumerate(c.fills):
            words = self.slots.slice(64 * n, v.type.element.nbytes).array(lazy.NUMPY[v.type.element.name])
            words[0] = lazy.array_of(v)
            self.fills.append((v.meta.fill, _memory(words)))
            if id(v) in numbers:
                slot = there.slice(64 * n, v.type.element.nbytes)
                native.set(numbers[id(v)], slot.address)
                self.source[numbers[id(v)]] = slot
        plans = native.program.buffers
        self.outputs: list[tuple[int, Any]] = []
        for number in native.program.outputs:
            constant_ = plans[number].kind == "constant"
            fresh = number not in self.source and not constant_
            self.outputs.append((number, native.outputs(plans[number].nbytes) if fresh else None))
            if constant_:
                data = plans[number].data
                self.source[number] = native.uploaded(Buffer.of(np.frombuffer(data, np.uint8).copy()))
        self.types = [v.type for v in plan.roots]
        self.devices = [v.device if self.device == "cpu" else self.device for v in plan.roots]
        placed = {id(s.tensor) for s in self.states}
        self.unread = [(o.tensor, _hooks(o.before[0])) for o in c.outside if o.before[1] and id(o.tensor) not in placed]
        for o in c.outside:
            o.before = ()  # it would hold what lay in the tensor
        self.made = [(n, o) for n, o in dict(self.outputs).items() if o is not None]

    def fits(self, arguments: Sequence[Tensor]) -> bool:
        """Whether sizes are within the bounds of the symbols."""
        bounds = self.native.bounds
        given = [t for t in arguments if type(t) is Tensor]
        sizes = ((name, given[n]._v.type.shape[0]) for name, n in self.symbols if name in bounds)
        return all(bounds[name][0] <= size <= bounds[name][1] for name, size in sizes)

    # --- running --------------------------------------------------------------------------------------------------
    def run(self, arguments: Sequence[Tensor], first: bool = False) -> Any:
        """One run. Hold the engine's lock. With nothing done it raises Moved where another capture is needed, and
        IndexOutOfRangeError for arguments with indices that are outside of what they index."""
        native = self.native
        if self.written_arguments and len({id(t) for t in arguments}) != len(arguments):
            raise CaptureError("a tensor is given twice to a compiled function that writes into it", help="clone() one")
        for t, hooks in self.unread:
            _check_hooks(t._v, hooks)
        states = self.states
        unmoved = _unmoved(states, ALONE_AS_STATE) if self.device == "cpu" else 0
        if unmoved < len(states):
            for state in states[unmoved:]:
                self._place(state)
        buffers: list[Buffer] = []
        values: list[Value] = []
        for t in arguments:
            v = t._v if t._base is None else t.value
            m = v.meta
            if m is None or m.buffer is None:
                lazy.realize([v])
                m = v.meta
            values.append(v)
            buffers.append(m.buffer if self.device == "cpu" else native.uploaded(m.buffer))
        sizes: dict[str, int] | None = None
        if self.symbols:
            sizes = {name: _length(values[n]) for name, n in self.symbols}
        for asked in self.captured.asked:
            asked.check(values, sizes)
        if sizes is not None:
            native.set_symbols(sizes)
        for n, number in self.given:
            native.set(number, buffers[n].address)
        if not first:
            for fill, words in self.fills:
                words[0] = fill()
        found: dict[int, Buffer] = {}
        for number, outputs in self.made:
            if sizes is None:
                buffer = found[number] = outputs.next()
            else:
                type = native.program.buffers[number].type
                buffer = found[number] = native.allocate(max(1, nbytes_at(type, sizes)))
            native.set(number, buffer.address)
        befores = [s.tensor._v for s in self.states] if self.tracked else []
        native.run()
        for state in self.written:
            state.tensor._version += 1
        made: list[tuple[Buffer, TensorType]] = []
        for (number, _), type in zip(self.outputs, self.types, strict=True):
            b = found.get(number)
            if b is None:
                source = self.source[number]
                if isinstance(source, State):
                    b = source.tensor._v.meta.buffer
                else:
                    b = buffers[source] if isinstance(source, int) else source
            made.append((b, type if sizes is None else concrete(type, sizes)))
        return self._leave(arguments, values, befores, made, sizes)

    def _place(self, state: State) -> None:
        """See to it that the program reads, and writes, a tensor where it lies."""
        t = state.tensor
        if state.of is not None:
            now = state.of._grad
            if now is None:
                raise Moved("a gradient that was there is None")
            state.tensor = t = now
        v = t._v
        m = v.meta
        if m is None or m.buffer is None:
            lazy.realize([v])
            m = v.meta
        if v.type is not state.type or t._rg is not state.rg:
            if v.type != state.type or t._rg is not state.rg:
                raise Moved(f"a tensor from outside was {state.type}, is {v.type}, or requires_grad changed")
            state.type = v.type
        if m.hooks or state.hooks:
            _check_hooks(v, state.hooks)
        if v.device is not state.device and v.device != state.device:
            if self.device != "cpu" or v.device not in (None, "cpu"):
                raise Moved(f"a tensor from outside was on {state.device or 'cpu'}, is on {v.device or 'cpu'}")
            state.device = v.device
        if self.device != "cpu":
            del m
            self._place_on_gpu(state, t, v)
            return
        address = m.buffer.address
        if state.written:
            del m
            if _holders(v) != ALONE or address % 64 or not v.meta.buffer.writable or v.node is not lazy._LEAF:
                address = self._move(t, v)
        if address != state.address:
            state.address = address
            self.native.set(state.number, address)

    def _place_on_gpu(self, state: State, t: Tensor, v: Value) -> None:
        if isinstance(v.meta.buffer, Buffer):  # a number, or data without a place of its own, which may be another now
            state.sent = self.native.uploaded(v.meta.buffer)
            address = state.sent.address
        elif state.written and (_gpu_holders(v) != ALONE_IN_CALL or v.node is not lazy._LEAF):
            address = self._move(t, v)
        else:
            address = v.meta.buffer.address
        if address != state.address:
            state.address = address
            self.native.set(state.number, address)

    def _move(self, t: Tensor, v: Value) -> int:
        """Give a tensor memory that nobody else holds, with what it has. Returns its address."""
        made = self.native.copied(v.meta.buffer)
        replace(t, lazy.leaf(made, v.type, v.device))
        return int(made.address)

    def _leave(
        self,
        arguments: Sequence[Tensor],
        values: Sequence[Value],
        befores: Sequence[Value],
        made: Sequence[tuple[Buffer, TensorType]],
        sizes: Mapping[str, int] | None,
    ) -> Any:
        if self.simple:
            ((b, type_),) = made
            t: Tensor = new(Tensor, lazy.leaf(b, type_, self.devices[0]))
            self._leave_gradients([])
            return t
        c = self.captured
        leaves = [lazy.leaf(b, type, device) for (b, type), device in zip(made, self.devices, strict=True)]
        results: dict[int, Tensor] = {id(s): a for s, a in zip(c.arguments, arguments, strict=True)}
        at = len(self.returned)
        if self.tracked:
            self._with_history(values, befores, leaves, sizes)
        for t, v in zip(self.returned, leaves, strict=False):
            results[id(t)] = new(Tensor, v, id(t) in self.tracked)
        for t in c.kept:
            t._v = leaves[at]
            at += 1
            if t._rg and t._leaf:
                lazy.meta(t._v).leaf = weakref.ref(t)
            elif t._rg:
                t._rg, t._leaf = False, True
        at += self._leave_gradients(leaves[at:])
        for n in self.written_arguments:
            arguments[n]._write(leaves[at], False)
            at += 1
        for n in self.argument_grads:
            t, g = arguments[n], new(Tensor, leaves[at])
            t._grad = g if t._grad is None else t._grad + g
            at += 1
        for t in self.replaced:
            replace(t, leaves[at])
            t._version += 1
            at += 1
        result = self.result
        if type(result) is Tensor:
            return results.get(id(result), result)
        return mapped(result, lambda t: results.get(id(t), t))

    def _leave_gradients(self, leaves: Sequence[Value]) -> int:
        """Give tensors from outside the gradients that they have after a run. Returns how many leaves it took."""
        at = 0
        for n, (p, g) in enumerate(self.gradients):
            if g is LOST:
                kept = self.lost.get(n)
                if kept is None or p._grad is not kept[0] or kept[0]._v is not kept[1]:
                    p._grad = stand = lost(p)
                    self.lost[n] = stand, stand._v
            elif g is None:
                p._grad = None
            else:
                p._grad = new(Tensor, leaves[at])
                at += 1
        return at

    def _with_history(
        self, values: Sequence[Value], befores: Sequence[Value], leaves: list[Value], sizes: Mapping[str, int] | None
    ) -> None:
        """Give the results the graph that they were computed by, over the values of this run, for gradients."""
        c = self.captured
        now: dict[int, Value] = {id(s): v for s, v in zip(c.values, values, strict=True)}
        by_tensor = {id(s.tensor): v for s, v in zip(self.states, befores, strict=True)}
        for o in c.outside:
            if o.value is not None and id(o.tensor) in by_tensor:
                now[id(o.value)] = by_tensor[id(o.tensor)]
        for v, (_, words) in zip(c.fills, self.fills, strict=True):
            now[id(v)] = lazy.leaf(Buffer.of(np.array(words)), v.type)
        for n, t in enumerate(self.returned):
            if id(t) in self.tracked:
                final, buffer = c.finals[id(t)], leaves[n].meta.buffer
                made = _rebuilt(final, now, sizes)
                if not is_stand_in(final):  # else a copy of what came in, which has its own memory
                    lazy.meta(made).buffer = buffer
                leaves[n] = made


def replace(t: Tensor, v: Value) -> None:
    """Give a tensor another value, as it was."""
    before = t._v.meta
    if t._rg and t._leaf:
        m = lazy.meta(v)
        m.leaf = weakref.ref(t)
        m.hooks = None if before is None else before.hooks
    else:
        t._rg, t._leaf = False, True
    t._v = v


def lost(p: Tensor) -> Tensor:
    """A gradient that was computed and not kept: it is there, and cannot be read."""
    t = object.__new__(Tensor)
    t._v = Value(lazy._LEAF, 0, p._v.type)
    t._v.device = p._v.device
    t._rg, t._leaf = False, True
    t._grad = t._base = t._view = t._post = None
    t._seen = t._version = 0
    t._retain = False
    return t


class _Lost:
    """Stands for a gradient that is not kept."""


LOST: Any = _Lost()


def _gradients(c: Captured, keep: bool) -> list[tuple[Tensor, Any]]:
    """What each tensor's gradient is after a run: a tensor of the capture, None, or LOST."""
    found: list[tuple[Tensor, Any]] = []
    changed = {id(o.tensor) for o in c.outside if o.final is not None}
    for o, g in c.grads:
        if g is o.grad:
            continue
        if g is not None and not keep and id(o.tensor) in changed:
            found.append((o.tensor, LOST))
        else:
            found.append((o.tensor, g))
    return found


def _unique(result: Any) -> list[Tensor]:
    found: dict[int, Tensor] = {}

    def add(t: Tensor) -> None:
        found.setdefault(id(t), t)

    mapped(result, add)
    return list(found.values())


def _spent(v: Value) -> bool:
    m = v.meta
    return m is not None and m.spent


def _length(v: Value) -> int:
    """The size of an argument's leading axis, which a program has a symbol for."""
    size: Any = v.type.shape[0]
    return int(size)


def _check_trackable(roots: Any) -> None:
    stack, seen = list(roots), set()
    while stack:
        v = stack.pop()
        if id(v) in seen:
            continue
        seen.add(id(v))
        if v.meta is not None and (v.meta.function is not None or (v.meta.hooks and not is_stand_in(v))):
            raise CaptureError(
                "gradients flow out of a compiled function through a Function or a hook of its own",
                help="compile the whole step with its backward, or leave that part out",
            )
        stack.extend(v.node.inputs)


def _rebuilt(root: Value, now: dict[int, Value], sizes: Mapping[str, int] | None) -> Value:
    """A value over others, with the sizes of this run where the capture has symbols."""
    stack = [(root, False)]
    while stack:
        v, placed = stack.pop()
        if id(v) in now:
            continue
        if not v.node.inputs and (sizes is None or v.type.static):
            now[id(v)] = v
        elif placed:
            node = v.node
            attrs, types = node.attrs, [r.type for r in node.results]
            if sizes is not None:
                attrs = {name: concrete(a, sizes) for name, a in attrs.items()}
                types = [concrete(type, sizes) for type in types]
            made = Node(node.op, [now[id(i)] for i in node.inputs], attrs, types)
            for old, fresh in zip(node.results, made.results, strict=True):
                now[id(old)] = fresh
        else:
            stack.append((v, True))
            stack.extend((i, False) for i in v.node.inputs if id(i) not in now)
    return now[id(root)]
