"""The house rules of the source tree: imports run one way, and describing a network imports PyYAML and no more."""

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
    "errors": {"limits"},
    "limits": set(),
    "fields": {"errors"},
    "files": {"errors", "limits"},
    "machine": {"errors"},
    "plain": {"errors", "limits"},
    "layers": {"errors", "machine", "limits"},
    "design": {"layers"},
    "catalogue": {"design"},
    "readers": {"catalogue", "files", "plain"},
    "analysis": {"design", "files", "plain"},
    "edits": {"analysis"},
    "timing": {"analysis"},
    "critique": {"edits", "timing"},
    "tasks": {"readers"},
    "data": {"tasks", "machine", "fields"},
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
    "__main__": {"cli"},
}
# `net.account()` is what everyone types: such a method may fetch, inside itself, what lives on a higher floor.
CONVENIENCES = {("design/network.py", "analysis")}

# Files that are imported only on the day something is built or trained, and so may name torch at module level.
IMPORTED_LAZILY = (
    "layers/torch_modules.py",
    "design/build.py",
    "timing/*",
    "data/[!s]*.py",
    "data/s*.py",
    "data/sources/[!t]*.py",
    "data/inspection/*",
    "data/augmentation/*",
    "tasks/*",
    "runs/*",
    "runs/weights/*",
    "training/*",
    "readers/torch/*",
    "readers/onnx/*",
    "report/sheets/*",
)
# What all other files may import beside the standard library: the core runs with PyYAML alone, the commands with click.
CORE = {"cnnatomy", "yaml"}
COMMAND_LINE = CORE | {"click"}
LIGHT_ROOMS = (
    *("errors", "limits", "fields", "files", "machine", "plain", "layers", "design", "catalogue", "readers"),
    *("analysis", "edits", "critique", "report", "commands", "cli"),
)


def needs(room: str) -> set[str]:
    """What this light room may import beside the standard library."""
    return COMMAND_LINE if room in ("commands", "cli") else CORE


def allowed(name: str) -> set[str]:
    """The room itself and every room below it."""
    return {name}.union(*(allowed(other) for other in BELOW[name]))


def is_imported_lazily(file: Path) -> bool:
    return any(Path(relative(file)).match(pattern) for pattern in IMPORTED_LAZILY)


def test_every_room_has_its_place() -> None:
    rooms = {room(module_name(file)) for file in FILES}
    assert rooms <= set(BELOW), "say in BELOW what a new room may import"


def test_imports_run_one_way() -> None:
    wrong = [
        f"{relative(file)}:{found.line} imports {found.module}; {here} may import {', '.join(sorted(allowed(here)))}"
        for file in FILES
        for here in [room(module_name(file))]
        for found in imports(file)
        if found.module.partition(".")[0] == "cnnatomy" and room(found.module) not in allowed(here)
        if found.when == "at import" or (relative(file), room(found.module)) not in CONVENIENCES
    ]
    assert not wrong, "\n".join(wrong)


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


def test_a_light_file_imports_pyyaml_and_no_more() -> None:
    others = [
        f"{relative(file)}:{found.line} imports {found.module}"
        for file in FILES
        if not is_imported_lazily(file)
        for found in imports(file)
        if found.when == "at import"
        if found.module.partition(".")[0] not in needs(room(module_name(file))) | sys.stdlib_module_names
    ]
    assert not others, "import it inside the function that needs it: " + "; ".join(others)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["cnnatomy", *(f"cnnatomy.{room}" for room in LIGHT_ROOMS if is_module(f"cnnatomy.{room}"))]
)
def test_importing_a_light_room_imports_pyyaml_and_no_more(module: str) -> None:
    files = "[name for name, module in sys.modules.items() if name not in before and getattr(module, '__file__', '')]"
    program = f"import sys; before = {{*sys.modules}}; import {module}; print(*{files})"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert loaded - sys.stdlib_module_names <= needs(room(module))


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


@pytest.mark.slow
def test_reading_a_run_leaves_lightning_unimported() -> None:
    """Nor what only training and evaluation need: `predict` starts nearly as fast as torch (benchmarks/start.py)."""
    heavy = {"lightning", "torchmetrics", "tensorboard", "sklearn", "scipy", "rich"}
    program = f"import sys, cnnatomy.runs, cnnatomy.report.training; print(*sorted({heavy!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, []), ran.stderr
