"""The house rules of the source tree: imports run one way, and describing a network never imports torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src"
PACKAGE = SOURCE / "cnnatomy"

# room -> the rooms that it may import; "cnnatomy" is the package's own `__init__`.
_DESCRIBE = {"layers", "network", "catalogue"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "options": set(),
    "verbs": set(),
    "layers": set(),
    "network": {"layers"},
    "catalogue": {"layers", "network"},
    "readers": {"layers", "network", "catalogue"},
    "analysis": {"layers", "network"},
    "critique": {"layers", "network", "analysis"},
    "timing": {"layers", "network", "analysis"},
    "data": set(),
    "training": {*_DESCRIBE, "readers", "analysis", "data"},
    "explain": {*_DESCRIBE, "readers", "analysis", "data", "training"},
    "compress": {*_DESCRIBE, "readers", "analysis", "data", "training"},
    "search": {*_DESCRIBE, "readers", "analysis", "critique", "data", "training"},
}
# These see every room but those above them.
MAY_IMPORT["export"] = set(MAY_IMPORT)
MAY_IMPORT["cnnatomy"] = set(MAY_IMPORT)
MAY_IMPORT["web"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}
EVERYONE_MAY_IMPORT = {"errors"}
# `net.account()` is what everyone types: such a method may fetch, inside itself, what lives on a higher floor.
CONVENIENCES = {("network/network.py", "analysis")}

# Files that are imported only on the day something is built, and so may name torch at module level.
IMPORTED_LAZILY = (
    "layers/torch_modules.py",
    "network/build.py",
    "timing/*",
    "data/*",
    "training/*",
    "readers/torch_*.py",
    "readers/onnx_*.py",
)
# What takes a noticeable time to import: the rooms that describe, count and compare do without.
HEAVY = {"torch", "lightning", "torchmetrics", "tensorboard", "numpy", "scipy", "sklearn", "PIL"}
LIGHT_ROOMS = ("layers", "network", "catalogue", "readers", "analysis", "critique", "errors", "cli")

FILES = sorted(PACKAGE.rglob("*.py"))


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def room(module: str) -> str:
    """`cnnatomy.layers.space` -> `layers`; `cnnatomy` itself -> `cnnatomy`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "cnnatomy"


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def statements(node: ast.AST, *, at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements under a node; with `at_import`, only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(other, at_import=at_import)
        else:
            yield from statements(child, at_import=at_import)


def imported_modules(file: Path, *, at_import: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of every module that a file imports."""
    here = module_name(file).split(".")
    for statement in statements(ast.parse(file.read_text(encoding="utf-8")), at_import=at_import):
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
            continue
        module = statement.module or ""
        if statement.level:
            package = here if file.name == "__init__.py" else here[:-1]
            module = ".".join([*package[: len(package) - statement.level + 1], *filter(None, [module])])
        for alias in statement.names:
            # `from cnnatomy import layers` imports a room, `from cnnatomy import network` (the function) the package.
            submodule = f"{module}.{alias.name}"
            yield statement.lineno, submodule if module == "cnnatomy" and is_module(submodule) else module


def is_module(name: str) -> bool:
    path = SOURCE / name.replace(".", "/")
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


def is_imported_lazily(file: Path) -> bool:
    return any(Path(relative(file)).match(pattern) for pattern in IMPORTED_LAZILY)


def test_every_room_has_its_place() -> None:
    rooms = {room(module_name(file)) for file in FILES}
    assert rooms <= set(MAY_IMPORT), "say in MAY_IMPORT what a new room may import"


def test_the_rules_themselves_make_no_circle() -> None:
    seen: set[str] = set()
    while ready := {name for name, below in MAY_IMPORT.items() if name not in seen and below - {name} <= seen}:
        seen |= ready
    assert seen == set(MAY_IMPORT)


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_run_one_way(file: Path) -> None:
    here = room(module_name(file))
    allowed = MAY_IMPORT.get(here, set()) | EVERYONE_MAY_IMPORT | {here}
    at_import = set(imported_modules(file, at_import=True))
    wrong = [
        f"{relative(file)}:{line} imports {module}"
        for line, module in imported_modules(file, at_import=False)
        if module.partition(".")[0] == "cnnatomy" and room(module) not in allowed
        if (line, module) in at_import or (relative(file), room(module)) not in CONVENIENCES
    ]
    assert not wrong, f"{here} may import {', '.join(sorted(allowed))} only: " + "; ".join(wrong)


@pytest.mark.parametrize("file", [file for file in FILES if not is_imported_lazily(file)], ids=relative)
def test_torch_is_not_imported_at_module_level(file: Path) -> None:
    heavy = [
        f"{relative(file)}:{line} imports {module}"
        for line, module in imported_modules(file, at_import=True)
        if module.partition(".")[0] in HEAVY
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
