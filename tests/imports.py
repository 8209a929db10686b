"""Which file of the package imports which: read from the source, for `test_house` and `docs/architecture.md`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src"
PACKAGE = SOURCE / "cnnatomy"
FILES = sorted(PACKAGE.rglob("*.py"))

When = Literal["at import", "inside a function", "for types"]


class Import(NamedTuple):
    """One module imported by a file: at which line, and when."""

    line: int
    module: str
    when: When


def relative(file: Path) -> str:
    """`layers/space.py`."""
    return file.relative_to(PACKAGE).as_posix()


def room(module: str) -> str:
    """`cnnatomy.layers.space` -> `layers`; `cnnatomy` itself -> `cnnatomy`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "cnnatomy"


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = SOURCE / name.replace(".", "/")
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


def imports(file: Path) -> Iterator[Import]:
    """Everything that a file imports, by absolute name; of our own package the submodule, where it is one."""
    here = module_name(file).split(".")
    package = here if file.name == "__init__.py" else here[:-1]
    for statement, when in _statements(ast.parse(file.read_text(encoding="utf-8")), "at import"):
        if isinstance(statement, ast.Import):
            yield from (Import(statement.lineno, alias.name, when) for alias in statement.names)
            continue
        module = statement.module or ""
        if statement.level:
            module = ".".join([*package[: len(package) - statement.level + 1], *filter(None, [module])])
        for alias in statement.names:
            submodule = f"{module}.{alias.name}"
            ours = module.partition(".")[0] == "cnnatomy" and is_module(submodule)
            yield Import(statement.lineno, submodule if ours else module, when)


def _statements(node: ast.AST, when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom, When]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _statements(child, "inside a function")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inside in child.body:
                yield from _statements(ast.Module([inside], []), "for types")
            for other in child.orelse:
                yield from _statements(ast.Module([other], []), when)
        else:
            yield from _statements(child, when)


def graph() -> dict[str, set[str]]:
    """Every module of the package -> those of the package that it imports when it runs, at once or in a function."""
    return {
        module_name(file): {
            found.module
            for found in imports(file)
            if found.module.partition(".")[0] == "cnnatomy" and found.when != "for types"
        }
        for file in FILES
    }


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The sets of modules that import one another round in a circle (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in edges[name]:
            if other not in edges:
                continue
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            circle = stack[stack.index(name) :]
            del stack[-len(circle) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for name in edges:
        if name not in number:
            visit(name)
    return found
