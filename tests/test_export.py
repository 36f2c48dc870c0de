"""Programs in files: what was captured runs again, and files that are no programs are refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import export, nn, ops
from heliostat.diagnostics import CaptureError, FileFormatError, ShapeError
from heliostat.ops import REGISTRY
from heliostat.ops.older import OLDER, Older, versions_of


def array(*shape: int) -> Any:
    return hs.tensor(np.random.default_rng(shape).normal(size=shape).astype(np.float32))


def model() -> nn.Module:
    hs.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).eval()


def again(program: Any) -> Any:
    file = io.BytesIO()
    export.save(program, file)
    return export.load(io.BytesIO(file.getvalue()))


def test_a_module_from_a_file() -> None:
    m, x = model(), array(5, 2, 4, 4)
    program = export.export(m, (x,))
    assert program.state_dict.keys() <= m.state_dict().keys()
    loaded = again(program)
    expected = m(x).tolist()
    np.testing.assert_allclose(program(x).tolist(), expected, 1e-6)
    np.testing.assert_allclose(loaded(x).tolist(), expected, 1e-6)
    np.testing.assert_allclose(hs.compile(loaded.module())(x).tolist(), expected, 1e-5)
    assert "conv2d" in loaded.graph_dump()
    with pytest.raises(ShapeError, match="is asked for, found"):
        loaded(array(6, 2, 4, 4))


def test_sizes_that_are_not_fixed() -> None:
    m = model()
    loaded = again(export.export(m, (array(5, 2, 4, 4),), dynamic_shapes=({0: export.Dim("batch", max=16)},)))
    for n in (2, 9):
        x = array(n, 2, 4, 4)
        np.testing.assert_allclose(loaded(x).tolist(), m(x).tolist(), 1e-5, 1e-6)
    with pytest.raises(ShapeError, match="batch"):
        loaded(array(17, 2, 4, 4))
    with pytest.raises(ShapeError, match="which is not that of"):
        export.export(m, (array(5, 2, 4, 4),), dynamic_shapes=({0: export.Dim("batch", max=4)},))


def test_nested_arguments_and_results() -> None:
    def f(pair: Any, *, scale: Any, up: bool) -> Any:
        assert hs.compile.is_exporting()
        a, b = pair
        return {"sum": (a + b) * scale, "both": (a, [b * 2 if up else b])}

    given = ((array(2), array(2)),)
    program = again(export.export(f, given, {"scale": array(1), "up": True}))
    assert not hs.compile.is_exporting()
    found = program(*given, scale=array(1), up=True)
    a, b = given[0]
    assert found["sum"].tolist() == ((a + b) * array(1)).tolist()
    assert found["both"][0].tolist() == a.tolist()
    assert isinstance(found["both"], tuple)
    assert found["both"][1][0].tolist() == (b * 2).tolist()
    with pytest.raises(ShapeError, match="nested"):
        program(*given, scale=array(1), up=False)


def test_what_is_not_exported() -> None:
    x = array(3)
    counter = hs.zeros(3)
    for function, text in (
        (lambda x: counter.add_(x), "writes tensors"), (lambda x: hs.rand(3) + x, "random numbers"),
        (lambda x: x if x.sum() > 0 else -x, "value is read"), (lambda x: hs.ones(2), "does not depend"),
    ):  # fmt: skip
        with pytest.raises(CaptureError, match=text):
            export.export(function, (x,))
    with pytest.raises(ValueError, match="are none"):
        export.Dim("n", min=5, max=4)


def test_files_that_are_no_programs() -> None:
    file = io.BytesIO()
    export.save(export.export(model(), (array(1, 2, 4, 4),)), file)
    data = file.getvalue()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    other = io.BytesIO()
    hs.save({"a": hs.ones(2)}, other)
    for wrong in (bytes(damaged), data[:-5], data[: len(data) // 3], other.getvalue(), b"", b"PK"):
        with pytest.raises(FileFormatError):
            export.load(io.BytesIO(wrong))
    good = hs.load(io.BytesIO(data))
    for key, value in (
        ("graph", "graph x() { }"), ("graph", 3), ("state", {}), ("inputs", [1]), ("outputs", {"tensor": 7}),
        ("outputs", {"tensor": -1}), ("version", 2), ("graph", good["graph"].replace("conv2d", "conv9d")),
        ("graph", good["graph"].replace("relu", "matmul")), ("outputs", {"tuple": 3}), ("outputs", {"tensor": 0.5}),
        ("outputs", {"dict": [3]}),
        ("outputs", {"dict": [[[], 3]]}), ("outputs", {"complex": 0}), ("outputs", {}), ("inputs", {"tensor": True}),
    ):  # fmt: skip
        changed = io.BytesIO()
        hs.save({**good, key: value}, changed)
        with pytest.raises(FileFormatError):
            export.load(io.BytesIO(changed.getvalue()))


def test_ops_of_earlier_versions_keep_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files say of which version their ops are; the first ones did not, and all ops were of version 1."""
    x = array(2, 3)
    file = io.BytesIO()
    export.save(export.export(lambda x: (x.relu() * 2).sum(1), (x,), dynamic_shapes=({0: export.Dim("n")},)), file)
    kept = hs.load(io.BytesIO(file.getvalue()))
    assert kept["ops"].keys() >= {"relu", "sum"}
    assert all(kept["ops"][name] == REGISTRY[name].version for name in kept["ops"])

    def loaded(**changes: Any) -> Any:
        changed = io.BytesIO()
        hs.save({k: v for k, v in {**kept, **changes}.items() if v is not None}, changed)
        return export.load(io.BytesIO(changed.getvalue()))

    expected = np.maximum(x.numpy(), 0).sum(1) * 2
    monkeypatch.setattr(type(REGISTRY["relu"]), "version", 3)
    with pytest.raises(FileFormatError, match="relu is of version 1, known is 3"):
        loaded()
    was = Older("relu", 1, lambda t: t, lambda v: ops.neg(ops.relu(ops.neg(v))))  # as if it had been min(x, 0)
    monkeypatch.setitem(OLDER, ("relu", 1), was)
    for program in (loaded(), loaded(ops=None)):
        rows = array(5, 3)
        np.testing.assert_allclose(program(rows).numpy(), np.minimum(rows.numpy(), 0).sum(1) * 2, rtol=1e-6)
        assert versions_of(program.graph)["relu"] == 3
    newest = loaded(ops={**kept["ops"], "relu": 3})
    np.testing.assert_allclose(newest(x).numpy(), expected, rtol=1e-6)
    without = {name: version for name, version in kept["ops"].items() if name != "relu"}
    for wrong in ({**kept["ops"], "relu": 4}, {**kept["ops"], "relu": "1"}, without, [1]):
        with pytest.raises(FileFormatError):
            loaded(ops=wrong)


def test_arguments_by_name_and_kind() -> None:
    def f(a: Any, *, left: Any, right: Any) -> Any:
        return {"tuple": a + left - right, "tensor": hs.complex(a, right)}

    a, x, y = hs.ones(2), array(2), hs.zeros(2)
    program = again(export.export(f, (nn.Parameter(a),), {"left": x, "right": y}))
    found = program(a, right=y, left=x)  # in another order
    assert found["tuple"].tolist() == (a + x).tolist()
    assert found["tensor"].tolist() == [1 + 0j, 1 + 0j]
    z = hs.complex(x, a)
    doubled = again(export.export(lambda z, scale: z * scale, (z, float("nan"))))
    assert doubled(z, float("nan")).isnan().all().item()
    for wrong in ((x, float("nan")), (z, 1), (z,), (np.ones(2), float("nan"))):
        with pytest.raises(ShapeError, match="nested"):
            doubled(*wrong)


def test_sizes_by_name() -> None:
    rows = export.Dim("rows", max=9)
    program = export.export(lambda a, b: a.sum() + b, (array(3), array(3)), dynamic_shapes={"b": {0: rows}})
    assert program(array(3), array(5)).shape == (5,)
    x = (array(3),)
    for shapes, error, text in (
        ({"c": {0: rows}}, ShapeError, "such are a"), (({1: rows},), ShapeError, "has no axis"),
        (({0: 3},), TypeError, "is a Dim or None"), ((rows,), TypeError, "is a dict"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            export.export(lambda a: a * 2, x, dynamic_shapes=shapes)
    with pytest.raises(CaptureError, match="sizes that are not fixed"):
        export.export(lambda a: a[::2], x, dynamic_shapes=({0: rows},))


def test_what_would_be_lost_is_refused() -> None:
    weight = hs.ones(3, requires_grad=True)

    def backward(x: Any) -> Any:
        with hs.enable_grad():
            (weight * x).sum().backward()
        return weight.grad * 2

    with pytest.raises(CaptureError, match="leaves gradients"):
        export.export(backward, (array(3),))
    with pytest.raises(CaptureError, match="writes its arguments"):
        export.export(lambda x: x.add_(1) * 2, (array(3),))
    with pytest.raises(CaptureError, match="NumPy"):
        export.export(lambda x: x, (np.ones(3),))


def test_sizes_of_a_file_that_no_argument_has() -> None:
    file = io.BytesIO()
    export.save(export.export(lambda x: x + 1, (array(3),), dynamic_shapes=({0: export.Dim("n")},)), file)
    good = hs.load(io.BytesIO(file.getvalue()))
    for old, new in (("[n]", "[2*n]"), ("n <= 65536>", "n <= 65536, m <= 9>")):
        assert old in good["graph"]
        changed = io.BytesIO()
        hs.save({**good, "graph": good["graph"].replace(old, new)}, changed)
        with pytest.raises(FileFormatError):
            export.load(io.BytesIO(changed.getvalue()))
