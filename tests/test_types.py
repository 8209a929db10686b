"""What users get is typed: mypy finds no `Any` in a file of theirs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imports import REPOSITORY

TYPED = REPOSITORY / "tests" / "typed"


@pytest.mark.slow
def test_nothing_that_a_user_gets_is_any() -> None:
    """`disallow_any_expr` holds in these files, by pyproject.toml."""
    files = sorted(map(str, TYPED.glob("*.py")))
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *files], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == f"Success: no issues found in {len(files)} source file", ran.stdout


def test_the_function_network_shadows_no_module() -> None:
    import cnnatomy
    import cnnatomy.design.graph as graph
    from cnnatomy import design

    assert cnnatomy.network("lenet-5").graph().nodes[0].__class__ is graph.Node
    assert cnnatomy.design is design
