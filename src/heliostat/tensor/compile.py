"""`compile`: a function of tensors, a module or a whole training step as one native program for each signature.

The function runs in Python once per signature (`capture.py`); later calls bind their arguments and run the program
(`step.py`). Python that the function does besides is done at the capture only.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from ..diagnostics import CaptureError, IndexOutOfRangeError, UnsupportedError
from ..ir.types import Symbol, TensorType, dim, tensor
from ..session import engine
from ..session.artifacts import load_cache_artifacts, save_cache_artifacts
from ..session.devices import Float32Products
from . import lazy, stance
from .autocast import signature
from .capture import capture, hooked, take_back
from .core import Tensor
from .determinism import get_deterministic_debug_mode
from .diagnose import DiagnosisReport, OpInfo, diagnose
from .dtypes import get_default_dtype
from .gradient_mode import is_grad_enabled
from .step import Moved, Step
from .structure import NOTHING, TENSOR, differing, taken_apart
from .watch import Kept, Watch, is_module, reached

KEPT = 64  # signatures of one function
TRIES = 4  # captures in a row that leave tensors outside
ROOM = 4  # a symbolic axis may become so many times as long as it was at the capture

Key = tuple[Any, ...]


class CacheInfo(NamedTuple):
    """`hits`: calls that found their program. `misses`: captures. `compiled`: programs that were compiled for them.
    `signatures`: programs that are kept. `reasons`: why each capture was made."""

    hits: int
    misses: int
    compiled: int
    signatures: int
    reasons: tuple[str, ...]


_NONE: frozenset[int] = frozenset()


class Entry:
    """A program for a signature, valid while what it depends on besides is as it was. symbolic: the numbers of the
    tensors whose leading axis is a symbol in it; those of the others have the sizes that they have in the key."""

    __slots__ = ("key", "reason", "step", "symbolic", "watch")

    def __init__(self, key: Key, step: Step, watch: Watch, reason: str, symbolic: frozenset[int] = _NONE) -> None:
        self.key, self.step, self.watch, self.reason, self.symbolic = key, step, watch, reason, symbolic

    def others(self, key: Key) -> frozenset[int]:
        """The tensors without a symbol whose leading axis has another size in a key."""
        return _changed(self.key, key) - self.symbolic


class Last:
    """The entry that ran last, and what its signature was made of, compared by identity: a key takes longer to make,
    hash and find than a small step's arguments to bind."""

    __slots__ = ("entry", "modes", "rows")

    def __init__(self, entry: Entry, args: Sequence[Tensor]) -> None:
        self.entry, self.modes = entry, _modes()
        self.rows = [(t._v.type, t._v.device) for t in args]

    @classmethod
    def of(cls, entry: Entry, args: Sequence[Any]) -> Last | None:
        """None unless all arguments are plain tensors that gather no gradient."""
        return cls(entry, args) if all(type(t) is Tensor and not t._rg for t in args) else None

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether a call with these arguments has the signature."""
        if len(args) != len(self.rows):
            return False
        for t, (kind, device) in zip(args, self.rows, strict=True):
            if t.__class__ is not Tensor or t._rg or (v := t._v).type is not kind or v.device != device:
                return False
        return _modes() == self.modes


def _modes() -> tuple[Any, ...]:
    """What functions depend on besides their arguments."""
    modes = is_grad_enabled(), get_default_dtype().name, signature(), get_deterministic_debug_mode()
    return *modes, Float32Products.key()


class Compiled:
    """A function that runs as one native program. Made by `compile`."""

    def __init__(self, function: Callable[..., Any], dynamic: bool | None, keep_grads: bool) -> None:
        self.function, self.dynamic, self.keep_grads = function, dynamic, keep_grads
        self.entries: OrderedDict[Key, list[Entry]] = OrderedDict()
        self.reasons: list[str] = []
        self.hits = self.misses = self.compiled = 0
        self.last: Last | None = None
        self.symbolic: dict[Key, Entry] = {}
        self.static_because: dict[Key, str] = {}
        self._failures: Counter[Key] = Counter()
        functools.update_wrapper(self, function, updated=())
        stance.known.add(self)

    # --- calling --------------------------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if lazy._capture.get() is not None or lazy.anomaly.active is not None:  # part of a larger step; or looked into
            return self.function(*args, **kwargs)
        if (how := stance.stance()) == "force_eager":
            return self.function(*args, **kwargs)
        last = self.last
        if last is not None and not kwargs and last.fits(args):
            with engine().lock:
                if last.entry.watch.changed() is None:
                    try:
                        made = last.entry.step.run(args)
                    except Moved:
                        pass  # why it cannot run is asked again below
                    else:
                        self.hits += 1
                        return made
        tensors: list[Tensor] = []
        spec: list[Any] = []
        for a in args:
            if type(a) is Tensor:
                tensors.append(a)
                spec.append(TENSOR)
            else:
                spec.append(taken_apart(a, tensors))
        if kwargs:
            spec.append(taken_apart(kwargs, tensors))
        rows = [
            (t._v.type.shape, t._v.type.element.name, t._rg and ("hooks" if hooked(t) else True), t._v.device)
            for t in tensors
        ]
        with engine().lock:
            key = (tuple(spec), tuple(rows), *_modes())  # here: modes of the process do not change while it is held
            why = None  # of the newest
            for entry in self.entries.get(key, ()):
                changed = entry.watch.changed()
                if changed is None:
                    try:
                        made = entry.step.run(_given(tensors))
                    except Moved as moved:
                        changed = str(moved)
                    else:
                        self.hits += 1
                        self.last = None if kwargs else Last.of(entry, args)
                        return made
                why = why or changed
            if self.symbolic:
                found = self.symbolic.get(_blurred(key))
                if (
                    found is not None
                    and found.watch.changed() is None
                    and not found.others(key)
                    and found.step.fits(tensors)
                ):
                    try:
                        made = found.step.run(_given(tensors))
                    except Moved as moved:
                        why = str(moved)
                    else:
                        self.hits += 1
                        return made
            if how == "default":
                return self._capture(key, args, kwargs, tensors, why)
            if how == "fail_on_recompile":
                why = why or self._difference(key)
                raise CaptureError(f"{self._name()} would be captured, the stance is fail_on_recompile: {why}")
        return self.function(*args, **kwargs)

    def __get__(self, owner: Any, cls: Any = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    # --- capturing ------------------------------------------------------------------------------------------------
    def _capture(self, key: Key, args: Any, kwargs: Any, tensors: Sequence[Tensor], why: str | None) -> Any:
        reason = why or self._difference(key)
        given = _given(tensors)
        modules, optimizers = reached(self.function, (*args, *kwargs.values()))
        kept = Kept(optimizers)
        kept.make()
        watch = Watch(modules, optimizers)
        types = [t._v.type for t in given]
        symbols: list[tuple[str, int]] = []
        blurred = _blurred(key)
        place = [n for n, t in enumerate(tensors) if type(t) is Tensor]  # of those that are given, among all
        which = self._symbolic_axes(key, blurred, {t.shape[0] for t in given if stance.is_marked(t)}) & set(place)
        if which:
            types, symbols = _symbolic(types, [n for n, at in enumerate(place) if at in which])
        try:
            if symbols:
                try:
                    step, watch_ = self._step(args, kwargs, types, symbols, watch)
                except Exception as error:
                    kept.restore()
                    self.static_because[blurred] = f"{type(error).__name__}: {error}"
                    symbols, types = [], [t._v.type for t in given]
                    step, watch_ = self._step(args, kwargs, types, symbols, watch)
            else:
                step, watch_ = self._step(args, kwargs, types, symbols, watch)
        except BaseException:
            kept.restore()
            raise
        self.misses += 1
        self.compiled += not step.found
        if symbols:
            reason += "; its leading axis is symbolic now"
        elif blurred in self.static_because and self.dynamic is not False:
            reason += f"; the leading axis stays as it is: {self.static_because[blurred]}"
        if step.once:
            shapes = ", ".join(str(list(t.shape)) for t in step.captured.kept[:4])
            reason += f"; tensors of shapes {shapes} made inside stay alive outside, so the next call captures again"
            self._failures[key] += 1
            if self._failures[key] >= TRIES:
                kept.restore()
                raise CaptureError(
                    f"each run of {self._name()} leaves new tensors outside of it, of shapes {shapes}",
                    help="write into tensors that are there before, by copy_() or [...] =, or return them",
                )
        else:
            kept.forget({id(o.tensor) for o in step.captured.outside if o.final is not None})
            self._failures.pop(key, None)
            entry = Entry(key, step, watch_, reason, which if symbols else _NONE)
            if symbols:
                self.symbolic[blurred] = entry
            else:
                rows = self.entries.setdefault(key, [])
                rows.insert(0, entry)
                del rows[4:]
                self.entries.move_to_end(key)
                if len(self.entries) > KEPT:
                    self.entries.popitem(last=False)
        self.reasons.append(reason)
        try:
            return step.run(given, first=True)
        except IndexOutOfRangeError:  # of an argument: nothing was done
            take_back(step.captured.drawn)
            raise

    def _step(
        self, args: Any, kwargs: Any, types: Sequence[TensorType], symbols: Sequence[tuple[str, int]], watch: Watch
    ) -> tuple[Step, Watch]:
        captured = capture(self.function, args, kwargs, _by_identity, types)
        watch.note(captured)
        return Step(captured, self.keep_grads, symbols), watch

    def _symbolic_axes(self, key: Key, blurred: Key, marked: set[int]) -> frozenset[int]:
        """The numbers of the tensors whose leading axis is to be a symbol: all if `dynamic`, else those of a size that
        was marked, and those that had another size before. Weights that are arguments stay as they are."""
        if self.dynamic is False or blurred in self.static_because or blurred is key:
            return _NONE
        sizes = {n: shape[0] for n, (shape, *_) in enumerate(key[1]) if shape}
        if self.dynamic:
            return frozenset(sizes)
        found = {n for n, size in sizes.items() if size in marked}
        if (known := self.symbolic.get(blurred)) is not None:
            found |= known.symbolic | known.others(key)
        for k in self.entries:
            if k != key and _blurred(k) == blurred:
                found |= _changed(k, key)
        return frozenset(found)

    # --- saying what happened -------------------------------------------------------------------------------------
    def _name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _difference(self, key: Key) -> str:
        if not self.entries:
            return "the call before it left tensors outside" if self.reasons else "the first call"
        if key in self.entries:
            return "what it reads from outside changed"
        names = self._names()
        best: list[str] | None = None
        for other in reversed(self.entries):
            found: list[str] = []
            for n, (old, now) in enumerate(itertools.zip_longest(other[0], key[0], fillvalue=NOTHING)):
                if old != now:
                    name = names[n] if n < len(names) else f"argument {n}"
                    found += [name + change for change in differing(old, now)]
            for n, (a, b) in enumerate(zip(other[1], key[1], strict=False)):
                name = names[n] if n < len(names) else f"tensor {n}"
                for what, x, y in zip(("shape", "dtype", "requires_grad", "device"), a, b, strict=True):
                    if x != y:
                        found.append(f"{what} of {name} was {_plain(x)}, is {_plain(y)}")
            if len(other[1]) != len(key[1]):
                found.append(f"there were {len(other[1])} tensors, now {len(key[1])}")
            if other[2] != key[2]:
                found.append(f"gradients were {'on' if other[2] else 'off'}")
            if other[3] != key[3]:
                found.append(f"the default dtype was {other[3]}, is {key[3]}")
            if other[5] != key[5]:
                found.append(f"the deterministic mode was {other[5]}, is {key[5]}")
            if other[6] != key[6]:
                found.append(f"the precision of float32 products was {other[6]}, is {key[6]}")
            if other[4] != key[4]:
                found.append(f"autocast was {_scope(other[4])}, is {_scope(key[4])}")
            if best is None or len(found) < len(best):
                best = found
        return "; ".join(best or ["another signature"])

    def _names(self) -> list[str]:
        try:
            return list(inspect.signature(self.function).parameters)
        except (TypeError, ValueError):
            return []

    def cache_info(self) -> CacheInfo:
        """Counts of calls and captures, and why each capture was made."""
        signatures = sum(map(len, self.entries.values())) + len(self.symbolic)
        return CacheInfo(self.hits, self.misses, self.compiled, signatures, tuple(self.reasons))

    def clear_cache(self) -> None:
        """Forget all programs of this function."""
        with engine().lock:
            for table in (self.entries, self.symbolic, self.static_because, self._failures, self.reasons):
                table.clear()
            self.hits = self.misses = self.compiled = 0
            self.last = None

    def explain(self) -> str:
        """Each signature with the reason of its capture, and the kernels of its program."""
        lines = [f"{self._name()}: {self.hits} calls found their program, {self.misses} captures"]
        lines += [f"  capture {n}: {reason}" for n, reason in enumerate(self.reasons, 1)]
        for entry in [*(e for rows in self.entries.values() for e in rows), *self.symbolic.values()]:
            shown = ", ".join(f"{name}{list(shape)}" for shape, name, *_ in entry.key[1])
            lines.append(f"({shown}) {len(entry.step.states)} tensors from outside, "
                         f"{sum(s.written for s in entry.step.states)} written in place")  # fmt: skip
            lines += ["  " + line for line in entry.step.native.explain().splitlines()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<compiled {self._name()}>"


def _plain(x: Any) -> str:
    return str(list(x)) if isinstance(x, tuple) else str(x)


def _scope(devices: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{device} {dtype}" for device, dtype in devices) or "off"


def _by_identity(t: Tensor) -> bool:
    return type(t) is not Tensor


def _given(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t for t in tensors if type(t) is Tensor]


def _blurred(key: Key) -> Key:
    """The key without the sizes of leading axes that may be symbols; the key itself if there is none."""
    rows = key[1]
    if not any(len(shape) for shape, *_ in rows):
        return key
    sizes = [shape[0] for shape, *_ in rows if shape]
    alike = tuple((sizes.index(shape[0]) if shape[0] > 1 else -2 - shape[0]) if shape else -1 for shape, *_ in rows)
    blurred = tuple((len(shape), shape[1:], *rest) for shape, *rest in rows)
    return (key[0], blurred, alike, *key[2:])


def _changed(a: Key, b: Key) -> frozenset[int]:
    """The tensors whose leading axes differ in size between two keys that are alike otherwise."""
    rows = enumerate(zip(a[1], b[1], strict=True))
    return frozenset(n for n, ((x, *_), (y, *_)) in rows if x and x[0] != y[0])


def _symbolic(types: Sequence[TensorType], which: Collection[int]) -> tuple[list[TensorType], list[tuple[str, int]]]:
    """Types with symbols for leading axes of some, the same for equal sizes; and of which argument each is taken."""
    names: dict[Any, Symbol] = {}
    symbols: list[tuple[str, int]] = []
    made: list[TensorType] = []
    for n, type in enumerate(types):
        if n not in which or not type.shape or type.shape[0] in (0, 1):
            made.append(type)
            continue
        size = type.shape[0]
        if size not in names:
            most = max(64, ROOM << (int(size) - 1).bit_length())  # type: ignore[arg-type]
            names[size] = Symbol(f"N{len(names)}", upper=most, lower=2)
            symbols.append((names[size].name, n))
        made.append(tensor(type.dtype, dim(names[size]), *type.shape[1:]))
    return made, symbols


class CompiledModule(Compiled):
    """A module whose call is compiled. All else is the module's: what is asked of it and set, and its class as
    `isinstance` sees it, so that it stands where a module may. Methods that return the module return this."""

    def __init__(self, module: Any, dynamic: bool | None, keep_grads: bool) -> None:
        self.__dict__["module"] = module
        super().__init__(module, dynamic, keep_grads)
        self.__dict__["_own"] = frozenset(self.__dict__)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__dict__["module"]) if "module" in self.__dict__ else CompiledModule

    def __getattr__(self, name: str) -> Any:
        if "module" not in self.__dict__:  # while it is copied
            raise AttributeError(name)
        module = self.__dict__["module"]
        found = getattr(module, name)
        if getattr(found, "__self__", None) is not module:
            return found

        @functools.wraps(found)
        def method(*args: Any, **kwargs: Any) -> Any:
            made = found(*args, **kwargs)
            return self if made is module else made

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if "_own" not in self.__dict__ or name in self.__dict__["_own"]:
            object.__setattr__(self, name, value)
        else:
            setattr(self.__dict__["module"], name, value)

    def __reduce__(self) -> Any:
        return CompiledModule, (self.module, self.dynamic, self.keep_grads)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        return CompiledModule(deepcopy(self.module, memo), self.dynamic, self.keep_grads)

    def _kept(self) -> dict[str, Any]:
        raise UnsupportedError("save: a compiled module is not stored", help="save its `module`, or its state_dict")


def compile(
    function: Callable[..., Any] | None = None, *, dynamic: bool | None = None, keep_grads: bool = False
) -> Any:
    """A function, a module or a training step that runs as one native program for each signature of its arguments.

    Tensors that the function reads from outside stay bound; those that it writes are written in place. Numbers that it
    asks optimizers for, and random numbers, are new at each run. Python numbers among the arguments are part of the
    signature. dynamic: whether the leading axis of arguments is a symbol, so that another batch size needs no
    compilation; None makes it one at the second size. keep_grads: whether gradients that a step has used up for its
    update can be read after it. Raises CaptureError where the function looks at a value."""
    if function is None:
        return functools.partial(compile, dynamic=dynamic, keep_grads=keep_grads)
    if isinstance(function, Compiled) or stance.is_disabled(function):
        return function
    made = CompiledModule if is_module(function) else Compiled
    return made(function, dynamic, keep_grads)


def compile_optimizer(optimizer: Any, **options: Any) -> Compiled:
    """`optimizer.step` compiled: one program for all updates of its parameters. options: those of `compile`."""

    def step() -> None:
        optimizer.step()

    made: Compiled = compile(step, **options)
    return made


def make_step(model: Any, loss: Callable[..., Any], optimizer: Any, **options: Any) -> Compiled:
    """A compiled training step: `step(input, *targets)` is the loss(model(input), *targets) before the update, which
    it makes, with gradients from zero on. options: those of `compile`."""

    def step(input: Any, *targets: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(input), *targets)
        value.backward()
        optimizer.step()
        return value.detach()

    made: Compiled = compile(step, **options)
    return made


for _f in (
    stance.allow_in_graph, stance.assume_constant_result, stance.disable, stance.is_compiling, stance.is_exporting,
    stance.list_backends, stance.mark_dynamic, stance.reset, stance.set_stance, stance.wrap_numpy, compile_optimizer,
    make_step, CompiledModule, diagnose, DiagnosisReport, OpInfo, save_cache_artifacts, load_cache_artifacts,
):  # fmt: skip
    setattr(compile, _f.__name__, _f)
