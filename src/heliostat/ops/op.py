"""`Op`: one closed record per operation: type rule, reference, lowering or decomposition, gradient and policies.

A record that lacks a slot fails at import. The registry maps names to records; the modules of this package fill it.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, get_type_hints

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import NO_ATTRIBUTES, Node, Value
from ..ir.types import TensorType
from .error import Bound
from .samples import Sample, Samples

Array = np.ndarray[Any, np.dtype[Any]]
Numeric = Value | float | int | bool
P = ParamSpec("P")
R = TypeVar("R")


class Amp(enum.Enum):
    """What automatic mixed precision does with an op's float inputs."""

    KEEP_INPUT = "keep"
    LOWER = "lower"  # run in the lower precision: products
    FLOAT32 = "float32"  # run in f32: sums, exponentials, norms


class Batching(enum.Enum):
    """How an op takes one more leading axis on its operands (`vmap`)."""

    BROADCAST = "broadcast"  # it is elementwise: the axis broadcasts
    DECOMPOSE = "decompose"  # as its decomposition does
    RULE = "rule"  # by the record's own `batch`
    REFUSED = "refused"  # it does not: an error names the op


class Forward(enum.Enum):
    """How a derivative goes forward through an op (`jvp`)."""

    DIAGONAL = "diagonal"  # an element depends on the elements at its place: the gradient rule serves both ways
    LINEAR = "linear"  # linear in all float operands together: the op itself, of their tangents
    MULTILINEAR = "multilinear"  # linear in each: a sum over operands, each with its tangent in its place
    TRANSPOSED = "transposed"  # by the gradient rule, which is linear in g: its own gradient, taken with the tangent


class NotDifferentiable:
    """The gradient slot of an op that has none; `reason` goes to the error of who asks for it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


REGISTRY: dict[str, Op] = {}

# What a record must have beside its lowering. Families of ops (`Elementwise`, `Reduction` ...) may give some for all.
SLOTS = ("version", "amp", "deterministic", "batching", "samples", "error", "infer", "reference", "gradient", "call")
LOWERING = {"elementwise": "scalar", "composite": "decompose", "kernel": None}


REMEMBERED = 1024
"""Types of results that an op remembers."""


class Op:
    """Base of all records. `class Add(Elementwise, name="add", version=1, amp=...)` registers one; without a name the
    class is a family. The slots:

    kind: how it is lowered: "elementwise" (by `scalar`), "composite" (by `decompose`), or "kernel" (a schedule takes it
        as it is; then `decompose`, where there is one, is a second road and the test oracle).
    version: counts changes of meaning, for caches and files (`older`).
    amp: see `Amp`. deterministic: equal inputs give equal results.
    infer(*types, **attrs): the type rule; raises ShapeError or DTypeError. Defaults of attributes are its defaults.
    reference(*arrays, **attrs): the meaning, in NumPy. Floats come and go as float64, blocks as the floats they stand
        for, symbolic sizes in attributes as ints.
    scalar(k, *x, **attrs): kernel expression of one element; `k` has exp, log, select ... as `kernels.math.Math`.
    decompose(*values, **attrs): the same as a graph of other ops.
    gradient(g, *inputs, y, **attrs): each input's gradient as graph, None for zero; or `NotDifferentiable(reason)`.
    batching: see `Batching`; with RULE, `batch(size, batched, *inputs, **attrs)` gives the result with a new leading
        axis of `size` elements, which operand i has where batched[i].
    forward: see `Forward`. samples: what tests feed it. error: how far a target may be from the reference.
    call(...): the public function of values, numbers and attributes, which builds the op.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int]
    amp: ClassVar[Amp]
    deterministic: ClassVar[bool] = True
    batching: ClassVar[Batching]
    forward: ClassVar[Forward] = Forward.TRANSPOSED
    batch: Callable[..., Value]
    kind: ClassVar[str] = "kernel"
    samples: ClassVar[Samples]
    error: ClassVar[Bound]
    gradient: Any
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    reference: Callable[..., Any]
    call: Callable[..., Any]
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        self._known: dict[Any, tuple[TensorType, ...]] = {}
        # The same without attributes, by the ids of types, which it keeps: hashing types is half of making a node.
        self._seen: dict[tuple[int, ...], tuple[tuple[TensorType, ...], list[TensorType]]] = {}

    def __init_subclass__(cls, *, name: str = "", version: int = 0, amp: Amp | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if version:
            cls.version = version
        if amp is not None:
            cls.amp = amp
        if not name:
            return
        cls.name = name
        lowering = LOWERING[cls.kind]
        wanted = SLOTS if lowering is None else (*SLOTS, lowering)
        if getattr(cls, "batching", None) is Batching.RULE:
            wanted = (*wanted, "batch")
        missing = [slot for slot in wanted if getattr(cls, slot, None) is None]
        if missing:
            raise TypeError(f"op {name} lacks {', '.join(missing)}")
        if not (cls.__doc__ or "").strip() or "__doc__" not in cls.__dict__:
            raise TypeError(f"op {name} lacks a docstring")
        if name in REGISTRY:
            raise TypeError(f"op {name} exists already")
        cls.defaults = _defaults(cls.infer)
        REGISTRY[name] = cls()

    @property
    def elementwise(self) -> bool:
        return self.kind == "elementwise"

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """The type rule as the graph calls it: always a tuple. Raises ShapeError or DTypeError."""
        result = self.infer(*inputs, **attrs)
        return result if isinstance(result, tuple) else (result,)

    def build(self, *inputs: Value, **attrs: Any) -> Value:
        """A node with one result. Attributes that are left out have the type rule's defaults."""
        return self.build_all(*inputs, **attrs)[0]

    def build_all(self, *inputs: Value, **attrs: Any) -> tuple[Value, ...]:
        """A node, and all its results. Raises ShapeError or DTypeError as the type rule does."""
        for v in inputs:
            if not isinstance(v, Value):
                raise DTypeError(f"{self.name} takes tensors, found {v!r}")
        full = {**self.defaults, **attrs} if attrs or self.defaults else attrs
        return Node(self, inputs, full, self._inferred([v.type for v in inputs], full)).results

    def plain(self, *inputs: Value) -> Value:
        """`build` of an op without attributes: types are looked up by their ids, as hashing them takes longer than
        making a node."""
        try:
            found = self._seen.get(tuple([id(v.type) for v in inputs]))
        except AttributeError:  # not a value: `build_all` says so
            found = None
        if found is None:
            made = self.build_all(*inputs)
            if self.defaults:
                return made[0]
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            kinds, value = [v.type for v in inputs], made[0]
            # an operand's own object where it is equal: a chain of ops then knows its types by the same ids
            value.type = next((t for t in kinds if t == value.type), value.type)
            self._seen[tuple(map(id, kinds))] = (value.type,), kinds
            return made[0]
        return Node(self, inputs, NO_ATTRIBUTES, found[0]).results[0]

    def _inferred(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """`infer_types`, remembered: loops build the same nodes again and again."""
        known = self._known
        try:
            key = (*inputs, *attrs.items()) if attrs else tuple(inputs)
            found: tuple[TensorType, ...] | None = known.get(key)
        except TypeError:  # a list among the attributes
            return self.infer_types(inputs, attrs)
        if found is None:
            found = self.infer_types(inputs, attrs)
            if len(known) >= REMEMBERED:
                known.clear()
            known[key] = found
        return found

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        return self.call(*inputs, **attrs)

    def cases(self) -> tuple[Sample, ...]:
        """The samples, written out."""
        if not isinstance(self.samples, tuple) or not all(isinstance(s, Sample) for s in self.samples):
            raise TypeError(f"op {self.name} has samples that its family cannot write out")
        return tuple(s for s in self.samples if isinstance(s, Sample))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _defaults(infer: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(infer).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def get(name: str) -> Op:
    """The record of that name. Raises KeyError."""
    return REGISTRY[name]


def public(record: type[Op], call: Callable[Concatenate[Any, P], R]) -> Callable[P, R]:
    """The public function of a record, from its method `call`: name, docstring and signature are the record's."""
    op = REGISTRY[record.name]

    def function(*args: P.args, **kwargs: P.kwargs) -> R:
        return call(op, *args, **kwargs)

    signature = inspect.signature(call)
    hints = get_type_hints(call)
    shown = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in list(signature.parameters.values())[1:]]
    function.__name__ = function.__qualname__ = record.name
    function.__module__ = record.__module__
    function.__doc__ = inspect.cleandoc(record.__doc__ or "")
    function.__annotations__ = {k: v for k, v in hints.items() if k != "self"}
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=shown, return_annotation=hints.get("return", Value)
    )
    return function
