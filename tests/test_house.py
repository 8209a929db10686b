"""The house rules of the source tree: imports run one way, and describing a network never imports torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from imports import FILES, REPOSITORY, SOURCE, circles, graph, imports, is_module, module_name, relative, room

# room -> the rooms right below it; what those may import, it may import too.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "machine": {"errors"},
    "layers": {"errors", "machine"},
    "design": {"layers"},
    "catalogue": {"design"},
    "readers": {"catalogue", "files"},
    "analysis": {"design", "files"},
    "edits": {"analysis"},
    "timing": {"analysis"},
    "critique": {"edits", "timing"},
    "data": {"files", "machine"},
    "runs": {"readers", "data"},
    "training": {"runs", "analysis", "timing"},
    "explain": {"runs", "analysis"},
    "export": {"runs", "analysis"},
    "compress": {"runs", "edits", "timing", "training"},
    "search": {"catalogue", "edits", "analysis", "critique", "timing", "training"},
    "report": {"explain", "export", "compress", "search"},
    "commands": {"report"},
    "page": {"report"},
    "cli": {"commands", "page"},
    "cnnatomy": {"critique", "training"},
}
# `net.account()` is what everyone types: such a method may fetch, inside itself, what lives on a higher floor.
CONVENIENCES = {("design/network.py", "analysis")}

# Files that are imported only on the day something is built, and so may name torch at module level.
IMPORTED_LAZILY = (
    "layers/torch_modules.py",
    "design/build.py",
    "timing/*",
    "data/*",
    "runs/*",
    "runs/weights/*",
    "training/*",
    "readers/torch/*",
    "readers/onnx/*",
    "report/training.py",
)
# What takes a noticeable time to import: the rooms that describe, count and compare do without.
HEAVY = {"torch", "lightning", "torchmetrics", "tensorboard", "numpy", "scipy", "sklearn", "PIL"}
LIGHT_ROOMS = (
    *("errors", "files", "machine", "layers", "design", "catalogue", "readers", "analysis", "edits", "critique"),
    *("commands", "cli"),
)


def allowed(name: str) -> set[str]:
    """The room itself and every room below it."""
    return {name}.union(*(allowed(other) for other in BELOW[name]))


def is_imported_lazily(file: Path) -> bool:
    return any(Path(relative(file)).match(pattern) for pattern in IMPORTED_LAZILY)


def test_every_room_has_its_place() -> None:
    rooms = {room(module_name(file)) for file in FILES}
    assert rooms <= set(BELOW), "say in BELOW what a new room may import"


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_run_one_way(file: Path) -> None:
    here = room(module_name(file))
    wrong = [
        f"{relative(file)}:{found.line} imports {found.module}"
        for found in imports(file)
        if found.module.partition(".")[0] == "cnnatomy" and room(found.module) not in allowed(here)
        if found.when == "at import" or (relative(file), room(found.module)) not in CONVENIENCES
    ]
    assert not wrong, f"{here} may import {', '.join(sorted(allowed(here)))} only: " + "; ".join(wrong)


def test_no_files_import_one_another_in_a_circle() -> None:
    """Not even inside functions; only types may be named both ways."""
    assert circles(graph()) == []


def test_a_circle_is_found() -> None:
    edges = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["e"], "e": []}
    assert circles(edges) == [["a", "b", "c"]]


def test_no_function_shadows_a_module() -> None:
    """`import cnnatomy.design.graph as g` gives the module: no package has a function of one of its modules' names."""
    shadowed = [
        f"{module_name(file)}.{name}"
        for file in FILES
        if file.name == "__init__.py"
        for name in public_names(file)
        if is_module(f"{module_name(file)}.{name}")
    ]
    assert not shadowed


def public_names(file: Path) -> set[str]:
    """What a file defines, or imports under a name that is not a module's."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname or alias.name for alias in node.names if not is_module(f"{node.module}.{alias.name}")
            }
    return names


@pytest.mark.parametrize("file", [file for file in FILES if not is_imported_lazily(file)], ids=relative)
def test_torch_is_not_imported_at_module_level(file: Path) -> None:
    heavy = [
        f"{relative(file)}:{found.line} imports {found.module}"
        for found in imports(file)
        if found.when == "at import" and found.module.partition(".")[0] in HEAVY
    ]
    assert not heavy, "import it inside the function that needs it: " + "; ".join(heavy)


@pytest.mark.parametrize(
    "module", ["cnnatomy", *(f"cnnatomy.{room}" for room in LIGHT_ROOMS if is_module(f"cnnatomy.{room}"))]
)
def test_importing_leaves_torch_unimported(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


def test_the_version_is_one() -> None:
    import cnnatomy

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert getattr(cnnatomy, "__version__", project["version"]) == project["version"]


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml asks for, in any extra, has its version in constraints.txt."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(wish for extra in project["optional-dependencies"].values() for wish in extra)]
    names = {normal(wish.partition(">=")[0]) for wish in asked if not wish.startswith("cnnatomy[")}
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {normal(line.partition("==")[0]) for line in lines}


def normal(distribution: str) -> str:
    return distribution.strip().lower().replace("_", "-").replace(".", "-")
