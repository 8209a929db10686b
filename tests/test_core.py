"""The core (describe, count, criticise, and all that JSON says of it) needs PyYAML and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import core
from imports import SOURCE


@pytest.mark.slow
def test_the_core_runs_with_pyyaml_alone():
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, core.__file__]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "with PyYAML alone" in ran.stdout


@pytest.mark.parametrize("name", ["click", "rich.console", "pydantic", "torch", "numpy"])
def test_what_is_not_of_the_core_is_not_found_there(name):
    with pytest.raises(ModuleNotFoundError, match=f"{name} is not of the core"):
        core.Nothing().find_spec(name)


@pytest.mark.parametrize("name", ["json", "yaml.nodes", "cnnatomy.layers"])
def test_what_is_of_the_core_is_looked_for_as_ever(name):
    assert core.Nothing().find_spec(name) is None
