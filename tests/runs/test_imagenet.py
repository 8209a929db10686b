"""Real ImageNet weights on real photographs: what `benchmarks/imagenet_weights.py` does, through the commands."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from _datasets import FetchError, mobilenet_v2, photographs
from cnnatomy.cli import main
from imagenet_weights import CONTENT


@pytest.mark.slow
def test_mobilenet_v2_says_what_is_on_photographs(tmp_path):
    try:
        weights, images = mobilenet_v2(), photographs()
    except FetchError as error:
        pytest.skip(str(error))
    run = tmp_path / "run"
    result = CliRunner().invoke(main, ["weights", "mobilenet-v2", "--from", str(weights), "--run", str(run)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["predict", str(run), *(str(images / name) for name in CONTENT), "--format=json"])
    assert result.exit_code == 0, result.output
    answers = json.loads(result.output)
    first = within_five = 0
    for answer, right in zip(answers, CONTENT.values(), strict=True):
        names = [prediction["class"] for prediction in answer["predictions"]]
        first += names[0] in right
        within_five += bool(right & set(names))
    assert (first, within_five) == (4, 5)
