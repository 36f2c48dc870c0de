"""Names of types in a stub: where a name of an annotation comes from, and what the stub calls it.

Annotations are text that means something where it was written. A stub imports each name from the module that
defines it, which is found in the sources, since imports for type checkers alone do not exist at run time.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

PACKAGE = __name__.split(".")[0]


@functools.cache
def _tree(module: str) -> tuple[dict[str, tuple[str, str]], frozenset[str]]:
    """What a module of the package imports, {its name: (module, name there, "" of a module itself)}, and defines."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"no source of {module}")
    path = Path(spec.origin)
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imported: dict[str, tuple[str, str]] = {}
    defined: set[str] = set()

    def walk(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom):
                dots = "." * node.level + (node.module or "")
                source = importlib.util.resolve_name(dots, inside) if node.level else dots
                imported.update((a.asname or a.name, (source, a.name)) for a in node.names)
            elif isinstance(node, ast.Import):
                imported.update((a.asname or a.name, (a.name, "")) for a in node.names)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined.add(node.name)
            elif isinstance(node, ast.Assign):
                defined.update(t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
            elif isinstance(node, ast.If):
                walk(node.body)

    walk(ast.parse(path.read_text(encoding="utf-8")).body)
    return imported, frozenset(defined)


def origin(module: str, name: str) -> tuple[str, str]:
    """The module that defines a name which another one uses, and the name there: "" for a module itself.

    Raises LookupError where there is none."""
    while module.split(".")[0] == PACKAGE:
        imported, defined = _tree(module)
        if name in defined:
            return module, name
        if name not in imported:
            if hasattr(builtins, name):
                return "builtins", name
            raise LookupError(f"{module} has no name {name!r}")
        module, name = imported[name]
        if not name:
            break
    return module, name


class Names:
    """The imports of a stub. reserved: the stub's own names, with what they are where that can be imported, (module,
    name there). A type whose name means something else in the stub gets an underscore."""

    def __init__(self, module: str, reserved: Mapping[str, tuple[str, str] | None]) -> None:
        self.module, self.reserved = module, reserved
        self.imports: dict[tuple[str, str], str] = {}

    def local(self, module: str, name: str) -> str:
        """What the stub calls a name of a module: "" is the module itself."""
        wanted = name or ("np" if module == "numpy" else module)
        if self.reserved.get(wanted) == (module, name):
            return wanted
        if module == "builtins" and wanted not in self.reserved:
            return wanted
        if (module, name) not in self.imports:
            while wanted in self.reserved or wanted in self.imports.values():
                wanted = f"_{wanted}"
            self.imports[module, name] = wanted
        return self.imports[module, name]

    def annotation(self, text: object, module: str) -> str:
        """An annotation of a module in the words of the stub. Raises LookupError for a name that is nowhere."""
        if isinstance(text, type):
            text = text.__qualname__ if text.__module__ == "builtins" else f"{text.__module__}.{text.__qualname__}"
        tree = ast.parse(str(text), mode="eval")

        def renamed(node: ast.AST) -> ast.AST:
            for child in ast.walk(node):
                if isinstance(child, ast.Constant) and isinstance(child.value, str):
                    raise LookupError(f"an annotation within an annotation: {text}")
                if isinstance(child, ast.Name):
                    child.id = self.local(*origin(module, child.id))
            return node

        return ast.unparse(renamed(tree))

    def lines(self) -> list[str]:
        """The imports, in order."""
        found = []
        for (module, name), local in sorted(self.imports.items()):
            if not name:
                found.append(f"import {module}" + ("" if local == module else f" as {local}"))
            else:
                found.append(f"from {module} import {name}" + ("" if local == name else f" as {local}"))
        return found
