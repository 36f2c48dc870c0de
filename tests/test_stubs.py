"""The stubs of the package are what would be written now, have every public name, and find mistakes of programs."""

from __future__ import annotations

import ast
import os
import re
from importlib import import_module
from pathlib import Path

import pytest

import heliostat as hs
from heliostat import serialization, stubs, tensor
from heliostat.stubs.files import ROOMS, path_of
from heliostat.stubs.names import Names, origin
from heliostat.stubs.signatures import Declarations
from heliostat.tensor.outputs import TAKE_OUT
from heliostat.tensor.register import METHODS

SOURCES = Path(hs.__file__).parent.parent

PROGRAM = """
import heliostat as hs
import heliostat.nn.functional as F

x = hs.randn(2, 3, requires_grad=True, device="cpu")
y: hs.Tensor = hs.add(x, 1.0, alpha=2)
z: hs.Tensor = hs.add(x, x, out=y)
y.add_(1).mul_(x)
s: hs.Tensor = (x + 1 - 2 * y).sum(dim=(0, 1)).mean(axis=0, keepdims=True)
p: hs.Tensor = F.relu(-x @ y.T ** 2, inplace=True)
t = hs.tensor([1, 2], dtype=hs.float32)
lengths: hs.Tensor = hs.linalg.norm(x) + hs.fft.rfft(x, dim=-1).abs().sum() + hs.special.erfcx(x, out=None)
chosen: hs.Tensor = x[(x > 0) & (x != 1)]
values, places = hs.topk(x, 2)
largest: hs.Tensor = x.max() + x.max(0).values + x.max(x) + x.cumsum(axis=0).to(hs.device("cpu"))
hs.compile(hs.compile.disable(print), dynamic=True)
report: str = hs.compile.diagnose(F.gelu, x).reason or ""
count: int = x.size(0) + x.numel() + x.ndim + x.shape[0]
rows: list[hs.Tensor] = [row for row in x]
layer = hs.nn.Linear(3, 4)
hs.optim.SGD(layer.parameters(), lr=0.1).step()
with hs.no_grad(), hs.profiler():
    x.grad = None

hs.zeros(2, 3, dtypes=hs.float32)  # call-arg
hs.sum(x, dim="rows")  # arg-type
hs.add(x)  # call-arg
hs.add(x, "one")  # arg-type
x.sum(dims=1)  # call-arg
x.cumsum()  # call-overload
most: int = x.max(1)  # assignment
hs.compile.disabled(print)  # attr-defined
x.added(1)  # attr-defined
x.reshape_(2, 3).view(dims=3)  # attr-defined
x.ndim = 3  # misc
F.relu(x, place=True)  # call-arg
hs.linalg.norm(x, dims=0)  # call-arg
hs.adds(x, 1)  # attr-defined
number: int = x.mean()  # assignment
"""
"""Below the empty line every line is wrong, in the way that it says."""

BELOW = ("session", "compiler", "runtime", "kernel", "targets", "ops")
BESIDE = ("ao", "amp", "data", "distributions", "einops", "export", "func", "signal", "utils")
SKIPPED = ",".join(["numpy.*", "llvmlite.*", *(f"heliostat.{name}.*" for name in (*BELOW, *BESIDE))])
OPTIONS = f"""[mypy]
strict = true
[mypy-{SKIPPED}]
follow_imports = skip
ignore_missing_imports = true
[mypy-heliostat.*]
ignore_errors = true
"""
"""A checker reads all that is imported, which takes long: what the program does not use is skipped."""
STUBS_TOO = f"[mypy-{','.join(stubs.STUBS)}]\nignore_errors = false\n"


def test_stubs_are_what_would_be_written_now() -> None:
    assert not stubs.outdated(), "run `python -m heliostat.stubs`"


def test_a_stub_has_every_public_name() -> None:
    """By another way than the writer's: what the package lists, and what a tensor answers to."""
    found = _names("heliostat", "")
    assert {*hs.ROOMS, *tensor.PUBLIC, *serialization.PUBLIC, "__version__"} <= found
    methods = _names("heliostat.tensor.core", "Tensor")
    assert {n for n in dir(hs.Tensor) if not n.startswith("_")} <= methods
    assert {"__add__", "__radd__", "__iadd__", "__getitem__", "__eq__", "add_", "T", "shape"} <= methods
    for room in ROOMS:
        assert set(import_module(f"heliostat.{room}").__all__) <= _names(f"heliostat.{room}", ""), room


def test_forms_with_out_and_in_place_are_those_of_the_tables() -> None:
    declared = [node for node in ast.parse(path_of("heliostat").read_text()).body if isinstance(node, ast.FunctionDef)]
    with_out = {f.name for f in declared if "out" in {a.arg for a in f.args.kwonlyargs}}
    assert with_out == TAKE_OUT
    [methods] = [
        node.body
        for node in ast.parse(path_of("heliostat.tensor.core").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Tensor"
    ]
    results = {f.name: ast.unparse(f.returns) for f in methods if isinstance(f, ast.FunctionDef) and f.returns}
    in_place = {name for name in METHODS if name.endswith("_") and not name.startswith("_")}
    assert in_place
    assert {results[name] for name in in_place} == {"Tensor"}


def test_checkers_find_mistakes_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "mypy.ini").write_text(OPTIONS + STUBS_TOO)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("MYPYPATH", str(SOURCES))
    monkeypatch.chdir(tmp_path)
    out, problems, _ = api.run(["--config-file", "mypy.ini", "--cache-dir", os.devnull, "program.py"])
    assert not problems
    found = {int(n): kind for n, kind in re.findall(r"^program.py:(\d+): error: .*\[([a-z-]+)\]$", out, re.M)}
    wanted = {i: m[1] for i, line in enumerate(PROGRAM.split("\n"), 1) if (m := re.search(r"# ([a-z-]+)$", line))}
    assert found == wanted, out
    assert not [line for line in out.splitlines() if ".pyi:" in line and ": error:" in line]


def test_names_that_mean_something_else_get_an_underscore() -> None:
    names = Names("heliostat", {"float": None, "Tensor": ("heliostat.tensor.core", "Tensor")})
    assert names.annotation("Tensor | float | None", "heliostat.tensor.reduce") == "Tensor | _float | None"
    assert names.annotation("Axes", "heliostat.array_api.reduce") == "Axes"
    assert names.annotation("Axes", "heliostat.array_api.shape") == "_Axes"
    assert names.lines() == [
        "from builtins import float as _float",
        "from heliostat.array_api.reduce import Axes",
        "from heliostat.array_api.shape import Axes as _Axes",
    ]
    assert origin("heliostat.tensor.shape", "Sequence") == ("collections.abc", "Sequence")
    with pytest.raises(LookupError, match="nowhere"):
        names.annotation("list[nowhere]", "heliostat.tensor.reduce")


def test_declarations() -> None:
    found = {"__name__": "heliostat.tensor.reduce"}  # whose names the annotations are
    exec(FUNCTION, found)
    names = Names("heliostat.tensor.core", {"Tensor": ("heliostat.tensor.core", "Tensor")})
    declared = Declarations(names)
    [text] = declared.function("f", found["f"])
    head = "def f(input: Tensor, n: Dims, *rest: int, at: float = ..., name: str = 'a') -> None:"
    assert text == f'{head}\n    """One line, with a \'quote\'."""'
    [text] = declared.function("f_", found["f"], method=True)
    assert text.startswith("def f_(self, n: Dims, *rest")
    assert names.lines() == ["from heliostat.tensor.reduce import Dims"]


FUNCTION = """
from __future__ import annotations
def f(input: Tensor, n: Dims, *rest: int, at: float = float("inf"), name: str = "a") -> None:
    'One line, with a "quote". Another.'
"""


def _names(module: str, inside: str) -> set[str]:
    body: list[ast.stmt] = ast.parse(path_of(module).read_text()).body
    if inside:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == inside)
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname for a in node.names if a.asname}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found
