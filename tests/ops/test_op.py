"""Records are closed: a slot that is missing fails at import. Public functions carry what the record says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import numpy as np
import pytest

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError
from heliostat.ir.graph import Value, parameter
from heliostat.ir.types import TensorType, f32, i32, tensor
from heliostat.ops import REGISTRY, Amp, Batching, NotDifferentiable, Op
from heliostat.ops.composite import Composite
from heliostat.ops.elementwise import Elementwise, Unary
from heliostat.ops.error import EXACT
from heliostat.ops.op import LOWERING, SLOTS
from heliostat.ops.samples import Uniform

FUNCTIONS = [getattr(ops, name) for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]


def whole() -> dict[str, Any]:
    """The body of a record that lacks nothing."""
    return {
        "__doc__": "Twice x.",
        "samples": Uniform(),
        "error": EXACT,
        "reference": lambda self, x: 2 * x,
        "scalar": lambda self, k, x: x + x,
        "gradient": lambda self, g, x, y: (g + g,),
    }


def declare(body: dict[str, Any], base: type[Op] = Unary, **given: Any) -> type[Op]:
    made: type[Op] = type("Twice", (base,), body, **{"name": "twice", "version": 1, "amp": Amp.KEEP_INPUT, **given})
    return made


@pytest.fixture(autouse=True)
def registry() -> Any:
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_a_whole_record_is_registered() -> None:
    declare(whole())
    op = ops.get("twice")
    assert op(parameter("x", tensor(f32, 3))).type == tensor(f32, 3)
    assert (op.version, op.amp, op.deterministic, op.batching) == (1, Amp.KEEP_INPUT, True, Batching.BROADCAST)
    assert op.elementwise
    assert str(op) == "twice"


@pytest.mark.parametrize("slot", ["samples", "error", "reference", "scalar", "gradient"])
def test_a_missing_slot_fails_at_import(slot: str) -> None:
    body = whole()
    del body[slot]
    with pytest.raises(TypeError, match=f"op twice lacks {slot}"):
        declare(body)
    assert "twice" not in REGISTRY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "lacks version"),
        ({"amp": None}, "lacks amp"),
        ({"base": Composite}, "lacks infer, call, decompose"),
        ({"base": Op}, "lacks batching, infer, call"),
        ({"base": Elementwise}, "lacks call"),
        ({"name": "exp"}, "op exp exists already"),
    ],
)
def test_other_faults_fail_too(change: dict[str, Any], message: str) -> None:
    body = whole()
    with pytest.raises(TypeError, match=message):
        declare(body, **change)


def test_a_record_has_a_docstring_of_its_own() -> None:
    body = whole()
    del body["__doc__"]
    with pytest.raises(TypeError, match="op twice lacks a docstring"):
        declare(body)


@pytest.mark.parametrize("op", REGISTRY.values(), ids=str)
def test_every_record_is_closed(op: Op) -> None:
    for slot in (*SLOTS, LOWERING[op.kind]):
        assert slot is None or getattr(op, slot, None) is not None
    assert op.cases()
    assert isinstance(op.gradient, NotDifferentiable) or callable(op.gradient)
    assert op.name in ops.__all__ or op.name == "rope_angles"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_public_functions_are_typed_and_described(function: Callable[..., Any]) -> None:
    assert inspect.getdoc(function)
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    assert set(hints) == {*signature.parameters, "return"}
    record = REGISTRY.get(function.__name__)
    if record is not None:
        assert inspect.getdoc(function) == inspect.cleandoc(type(record).__doc__ or "")


def test_signatures_are_those_of_the_records() -> None:
    assert str(inspect.signature(ops.rms_norm)).replace("heliostat.ir.graph.", "") == (
        "(x: Value, weight: Value, eps: float = 1e-06) -> Value"
    )
    with pytest.raises(TypeError, match="unexpected keyword"):
        ops.rms_norm(parameter("x", tensor(f32, 3)), parameter("w", tensor(f32, 3)), epsilon=1)  # type: ignore[call-arg]


def test_left_out_attributes_are_the_defaults() -> None:
    """So that a graph has one structural key and one text, however it was called."""
    x, w = parameter("x", tensor(f32, 3)), parameter("w", tensor(f32, 3))
    assert ops.get("rms_norm").build(x, w).node.attrs == {"eps": 1e-6} == ops.rms_norm(x, w).node.attrs
    assert ops.slice(x, 0, 0, 2).node.attrs == {"axis": 0, "start": 0, "stop": 2, "step": 1}


def test_only_tensors_and_numbers_are_operands() -> None:
    x = parameter("x", tensor(f32, 3))
    with pytest.raises(DTypeError, match="exp takes tensors, found 1"):
        ops.exp(1)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="add takes tensors and numbers, found str"):
        ops.add(x, "1")  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="add needs at least one tensor"):
        ops.add(1, 2)
    with pytest.raises(DTypeError, match="add takes 2 operands, found 1"):
        ops.get("add").build(x)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda x, y: x + y, ShapeError, "operands of add do not broadcast: [3, 4] and [4, 5]"),
        (lambda x, y: x @ ops.transpose(y), ShapeError, "`@` needs equal inner dimensions, got 4 and 5"),
        (lambda x, y: ops.reshape(x, (5, 2)), ShapeError, "cannot reshape [3, 4] to [5, 2]: 12 elements are not 10"),
        (lambda x, y: ops.reshape(x, (5, -1)), ShapeError, "cannot tell the size left open in [5, -1] from [3, 4]"),
        (lambda x, y: ops.concat(x, y, axis=0), ShapeError, "concat along axis 0: [3, 4] and [4, 5] differ elsewhere"),
        (lambda x, y: ops.rms_norm(x, y), ShapeError, "operand 2 must have shape [4], found tensor<f32, [4, 5]>"),
        (lambda x, y: ops.broadcast_to(x, (3, 5)), ShapeError, "shapes of broadcast_to do not broadcast: [3, 4] and"),
        (lambda x, y: ops.sum(x, (0, 0)), ShapeError, "sum: an axis is named twice in [0, 0]"),
        (lambda x, y: ops.sum(x, 2), ShapeError, "sum: axis 2 is outside a tensor of 2 axes"),
        (lambda x, y: ops.slice(x, 0, 1, 4), ShapeError, "slice 1:4 does not lie in axis 0 of tensor<f32, [3, 4]>"),
        (lambda x, y: ops.squeeze(x, 0), ShapeError, "squeeze: axis 0 of tensor<f32, [3, 4]> has size 3, not 1"),
        (lambda x, y: ops.swiglu(x, y), ShapeError, "swiglu needs equal shapes, found [3, 4] and [4, 5]"),
        (lambda x, y: ops.embedding(x, y), ShapeError, "embedding needs a table (V, K) and ids (N,), found"),
        (lambda x, y: ops.logical_not(x), DTypeError, "logical_not takes bools, found tensor<f32, [3, 4]>"),
        (lambda x, y: ops.where(x, x, y), DTypeError, "where needs a bool condition, found tensor<f32, [3, 4]>"),
        (lambda x, y: (x > 0) - (x > 1), DTypeError, "sub takes numbers, found tensor<bool, [3, 4]>"),
        (lambda x, y: ops.dequantize(x), DTypeError, "dequantize takes quantized blocks, found tensor<f32, [3, 4]>"),
        (lambda x, y: ops.concat(x, ops.cast(x, i32)), DTypeError, "concat needs tensors of one dtype, found"),
        (lambda x, y: ops.max(ops.slice(x, 0, 0, 0)), ShapeError, "max of an empty axis has no value"),
    ],
)
def test_type_rules_show_what_does_not_fit(
    build: Callable[[Value, Value], Value], error: type[Exception], message: str
) -> None:
    x, y = parameter("x", tensor(f32, 3, 4)), parameter("y", tensor(f32, 4, 5))
    with pytest.raises(error) as caught:
        build(x, y)
    assert message in str(caught.value)


def test_a_record_of_several_results() -> None:
    class Both(Op):
        """x and 2x."""

        name = "both"

        def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
            return x, x

        def reference(self, x: Any) -> tuple[Any, Any]:
            return x, 2 * x

        def gradient(self, g: Any, x: Value, y: Any) -> tuple[Value]:
            return (g[0] + 2.0 * g[1],)

    x = parameter("x", tensor(f32, 3))
    _, double = Both().build_all(x)
    (grad,) = ops.gradients([double], [parameter("g", x.type)], [x])
    assert grad is not None
    assert grad.type == x.type
    assert np.shape(Both().reference(np.ones(3))) == (2, 3)
