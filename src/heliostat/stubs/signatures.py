"""Declarations of functions as a stub has them: signatures with defaults, `out=`, overloads, further names."""

from __future__ import annotations

import inspect
import math
from inspect import Parameter
from typing import Any, get_overloads

from ..tensor.create import OPTIONS
from .names import Names

OPERATORS = frozenset((
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul",
))  # fmt: skip
"""Operators of two operands, with those from the right and in place; `divmod` gives two tensors."""

COMPARISONS = frozenset(("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"))


def first_line(f: Any) -> str:
    """The first paragraph of a docstring up to its first full stop, "" where there is none."""
    doc = inspect.getdoc(f) or ""
    text = " ".join(doc.split("\n\n")[0].split())
    end = text.find(". ")
    text = text if end < 0 else text[: end + 1]
    return text.replace("\\", "\\\\").replace('"', "'")


def default(value: Any) -> str:
    """A default as a stub shows it: what is no plain constant is `...`."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value) if type(value) in (type(None), bool, int, str, float) else "..."
    if isinstance(value, tuple) and all(type(v) in (int, bool, float) for v in value):
        return repr(value)
    return "..."


def _home(f: Any) -> str:
    """The module whose names a function's annotations are written in."""
    plain = inspect.unwrap(f)
    plain = getattr(plain, "__func__", plain)
    return str(getattr(plain, "__globals__", {}).get("__name__", getattr(plain, "__module__", "builtins")))


def _options(f: Any, parameters: list[Parameter]) -> list[Parameter]:
    """`**rest` of a function that makes tensors, by name: what `tensor.create.finished` takes."""
    code = getattr(inspect.unwrap(f), "__code__", None)
    rest = next((p for p in parameters if p.kind is Parameter.VAR_KEYWORD), None)
    if rest is None or code is None or "finished" not in code.co_names:
        return parameters
    have = {p.name for p in parameters}
    names = [*OPTIONS, "requires_grad"] if "requires_grad" in code.co_consts else [*OPTIONS]
    more = [
        Parameter(n, Parameter.KEYWORD_ONLY, default=False if n in ("pin_memory", "requires_grad") else None,
                  annotation=bool if n in ("pin_memory", "requires_grad") else "Any")
        for n in names if n not in have
    ]  # fmt: skip
    return [p for p in parameters if p is not rest] + more


def _spelled(f: Any, parameters: list[Parameter]) -> list[list[Parameter]]:
    """The ways to name parameters: NumPy's names (`axis`, `keepdims`) are further arguments by name where there is a
    default, and another way where there is none."""
    others: dict[str, str] = getattr(f, "other_names", {})
    numpy = {ours: theirs for theirs, ours in others.items() if theirs in ("axis", "keepdims")}
    named = [p for p in parameters if p.name in numpy and p.kind is not Parameter.POSITIONAL_ONLY]
    if any(p.default is Parameter.empty for p in named):
        return [parameters, [p.replace(name=numpy.get(p.name, p.name)) for p in parameters]]
    return [_with_named(parameters, [p.replace(name=numpy[p.name], kind=Parameter.KEYWORD_ONLY) for p in named])]


def _with_named(parameters: list[Parameter], more: list[Parameter]) -> list[Parameter]:
    """Parameters with more of them that are given by name: before `**rest`."""
    at = next((i for i, p in enumerate(parameters) if p.kind is Parameter.VAR_KEYWORD), len(parameters))
    return [*parameters[:at], *more, *parameters[at:]]


class Declarations:
    """Writes functions with the names of a stub."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def function(self, name: str, f: Any, method: bool = False) -> list[str]:
        """The lines of a function, or of a method of Tensor, under a name; several where it is overloaded."""
        doc = first_line(f)
        if method and (lines := self._operator(name)) is not None:
            return lines
        said = (get_overloads(inspect.unwrap(f)) if not name.endswith("_") else []) or [f]
        variants = [
            (g, p) for g in said for p in _spelled(f, _options(g, list(inspect.signature(g).parameters.values())))
        ]
        if len(variants) == 1:
            return [self._one(name, f, *variants[0], method, doc)]
        found: list[str] = []
        for i, (g, parameters) in enumerate(variants):
            found += [f"@{self.names.local('typing', 'overload')}"]
            found += [self._one(name, f, g, parameters, method, doc if i == 0 else "")]
        return found

    def _one(self, name: str, f: Any, said: Any, parameters: list[Parameter], method: bool, doc: str) -> str:
        """A function, by one of its overloads or itself, with parameters as they are spelled."""
        kind = inspect.getattr_static(f, "__func__", None)
        signature = inspect.signature(said)
        home = _home(said)
        result = signature.return_annotation
        out = getattr(f, "has_out", False) and "out" not in signature.parameters
        if method and kind is None:
            result = self._of_method(name, parameters, result)
        returned = "" if result is inspect.Signature.empty else self._type(result, home)
        if out:
            into = Parameter("out", Parameter.KEYWORD_ONLY, default=None, annotation=_Written(self._into(returned)))
            parameters = _with_named(parameters, [into])
        text = self._parameters(parameters, home)
        body = f'\n    """{doc}"""' if doc else " ..."
        return f"def {name}({text}) -> {returned or self._any()}:{body}"

    def _of_method(self, name: str, parameters: list[Parameter], result: Any) -> Any:
        """A method's parameters, with `self` first; in place returns the tensor."""
        if parameters and parameters[0].kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.POSITIONAL_ONLY):
            parameters[0] = Parameter("self", parameters[0].kind)
        elif not parameters or parameters[0].kind is Parameter.KEYWORD_ONLY:
            parameters.insert(0, Parameter("self", Parameter.POSITIONAL_OR_KEYWORD))
        else:
            parameters.insert(0, Parameter("self", Parameter.POSITIONAL_ONLY))
        written = name.endswith("_") and not name.startswith("__")
        return _Written(self._tensor()) if written and result is not None and result != "None" else result

    def _operator(self, name: str) -> list[str] | None:
        """An operator of tensors, whose function takes whatever is asked and may answer NotImplemented."""
        tensor = self._tensor()
        if name in COMPARISONS:
            ignore = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
            return [f"def {name}(self, other: {self._operand()}) -> {tensor}: ...{ignore}"]
        plain = name.strip("_")
        if name.startswith("__") and (plain in OPERATORS or (plain[1:] in OPERATORS and plain[0] in "ri")):
            return [f"def {name}(self, other: {self._operand()}) -> {tensor}: ..."]
        if name == "__divmod__":
            return [f"def {name}(self, other: {self._operand()}) -> tuple[{tensor}, {tensor}]: ..."]
        return None

    def _into(self, returned: str) -> str:
        """What is given as `out=` to a function that returns something: a tensor, or as many as it makes."""
        tensor, any_ = self._tensor(), self._any()
        if returned == any_:
            return any_
        many = (
            f"{self.names.local('builtins', 'tuple')}[{tensor}, ...] | {self.names.local('builtins', 'list')}[{tensor}]"
        )
        return f"{tensor} | None" if returned == tensor else f"{many} | None"

    def _operand(self) -> str:
        return self.names.annotation("Operand", "heliostat.tensor.operators")

    def _tensor(self) -> str:
        return self.names.local("heliostat.tensor.core", "Tensor")

    def _any(self) -> str:
        return self.names.local("typing", "Any")

    def _type(self, annotation: Any, home: str) -> str:
        if isinstance(annotation, _Written):
            return annotation.text
        if annotation == "Any":
            return self._any()
        return "None" if annotation is None else self.names.annotation(annotation, home)

    def _parameters(self, parameters: list[Parameter], home: str) -> str:
        found: list[str] = []
        starred = False
        for i, p in enumerate(parameters):
            if p.kind is Parameter.KEYWORD_ONLY and not starred:
                found.append("*")
                starred = True
            starred = starred or p.kind is Parameter.VAR_POSITIONAL
            stars = "*" * (p.kind is Parameter.VAR_POSITIONAL) + "**" * (p.kind is Parameter.VAR_KEYWORD)
            text = stars + p.name
            if p.annotation is not Parameter.empty:
                text += f": {self._type(p.annotation, home)}"
            elif not (i == 0 and p.name in ("self", "cls")):
                text += f": {self._any()}"
            if p.default is not Parameter.empty:
                text += f" = {default(p.default)}"
            found.append(text)
            last = i + 1 == len(parameters)
            if p.kind is Parameter.POSITIONAL_ONLY and (last or parameters[i + 1].kind is not p.kind):
                found.append("/")
        return ", ".join(found)


class _Written:
    """An annotation that is in the stub's own words already."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Written) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)
